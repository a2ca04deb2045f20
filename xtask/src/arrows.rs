//! Who may depend on whom.
//!
//! Here: the table of allowed arrows, the packages that one crate alone may use, and the comparison with what cargo
//! says. Not here: why the arrows point as they do (`runtime/ARCHITECTURE.md`, `runtime/decisions/0001`).
//!
//! A new arrow is a bigger event than a hundred new lines: it gets a commit of its own that changes this table and
//! says why.

use std::fmt;

use crate::trouble::Trouble;
use crate::workspace::{Dependency, Origin, When, Workspace};

/// What one of our packages may depend on.
struct Row {
    name: &'static str,
    /// Ours, in what ships. Its tests may use these and all of [`Row::tests`].
    ours: &'static [&'static str],
    /// Ours, in tests only.
    tests: &'static [&'static str],
    /// Others' packages that may ship in it; `None` where [`EXCLUSIVE`] says enough.
    others: Option<&'static [&'static str]>,
    /// What to do instead.
    why: &'static str,
}

const MODEL: &str = "backstay-model";
const CONFIG: &str = "backstay-config";
const MEMORY: &str = "backstay-memory";
const PLUGINS: &str = "backstay-plugins";
const KIT: &str = "backstay-kit";
const CORE: &str = "backstay-core";
const TARGETS: &str = "backstay-targets";
const WIRE: &str = "backstay-wire";
const EVIDENCE: &str = "backstay-evidence";
const TRUST: &str = "backstay-trust";
const JOURNAL: &str = "backstay-journal";
const STORE: &str = "backstay-store";
const LINK: &str = "backstay-link";
const HOST: &str = "backstay-host";
const BLOCKS: &str = "backstay-blocks";
const HANDS: &str = "backstay-hands";
const SIGNALS: &str = "backstay-signals";
const API: &str = "backstay-api";
const SLOTS: &str = "backstay-slots";
const BOOT: &str = "backstay-boot";
const SDK: &str = "backstay-sdk";
const KUBERNETES: &str = "backstay-kubernetes";
const AGENT: &str = "backstay-agent";
const SERVER: &str = "backstay";

/// All that the two programs join.
const PARTS: &[&str] = &[
    MODEL, CONFIG, CORE, WIRE, EVIDENCE, TRUST, JOURNAL, STORE, MEMORY, LINK, HOST, PLUGINS, BLOCKS, HANDS,
    SIGNALS, API, SLOTS, KIT, TARGETS,
];

const WORDS: &str = "`model` is the words that all share; whatever it needs, all need";
const DECIDES: &str =
    "`core` decides and never acts: do the work in a crate of its own and give `core` the result as an input";
const PURE: &str =
    "it is bytes and rules without an outside; what touches the outside belongs in a crate of its own";
const OUTSIDE: &str = "it knows one outside thing and decides nothing; join the two in `agent` or `backstay`";
const WIT: &str =
    "WIT is the whole contract between a plugin and the runtime; what is missing belongs in wit/";
const JOINS: &str =
    "what both programs join has a crate of its own; neither program is a library for the other";
const TOOL: &str =
    "every command waits for xtask to compile; what needs the runtime is a program under tests/";

/// The arrows. The programs and the tests see everything; nothing sees them.
const TABLE: &[Row] = &[
    row(MODEL, &[], &[], Some(&["serde"]), WORDS),
    row(CORE, &[MODEL], &[], Some(&["serde"]), DECIDES),
    row(WIRE, &[MODEL], &[], None, PURE),
    row(EVIDENCE, &[], &[], None, PURE),
    row(TRUST, &[MODEL], &[], None, PURE),
    row(CONFIG, &[MODEL], &[], None, OUTSIDE),
    // Rungs and back-offs are in the words of `core`, objectives in those of `signals`: each gets what it can use as it is.
    row(TARGETS, &[MODEL, CONFIG, CORE, SIGNALS], &[], None, OUTSIDE),
    // Who reads the bytes of `wire` holds the words of `model` in the hand.
    row(JOURNAL, &[MODEL, WIRE, EVIDENCE], &[], None, OUTSIDE),
    row(STORE, &[MODEL, WIRE], &[], None, OUTSIDE),
    // The truth and its view, kept in step: the one crate that knows both. Whom an instance trusts by now is remembered, too.
    row(MEMORY, &[MODEL, WIRE, EVIDENCE, TRUST, JOURNAL, STORE], &[], None, OUTSIDE),
    // How to reach the broker is said in the same words in every configuration.
    row(LINK, &[MODEL, WIRE, CONFIG], &[], None, OUTSIDE),
    // A verdict is a document around signed bytes: both sides read it by one function, which checks the two against each other.
    // What a pipeline measured is a field of its question, and has one reader.
    row(API, &[MODEL, WIRE, TRUST, SIGNALS, BLOCKS], &[], None, OUTSIDE),
    // Its tests hold what a plugin does in the sandbox against the same plugin compiled natively.
    row(HOST, &[MODEL, TRUST], &[SDK, "policy-tree", "executor-ota"], None, OUTSIDE),
    // From a configuration to a plugin that can be asked; who is asked after a failure, `core` says.
    row(PLUGINS, &[MODEL, CONFIG, CORE, TRUST, HOST], &[], None, OUTSIDE),
    // Plugins held against what they promise, and recorded calls made again: by the fold and the digests of `plugins`.
    row(KIT, &[MODEL, WIRE, EVIDENCE, TRUST, HOST, PLUGINS], &[SDK, "executor-ota"], None, OUTSIDE),
    row(BLOCKS, &[MODEL], &[], Some(&["miniz_oxide", "sha2"]), PURE),
    // Who fetches an artifact by its blocks, and who makes them, mean the same file.
    row(HANDS, &[MODEL, BLOCKS], &[], None, OUTSIDE),
    row(SIGNALS, &[MODEL], &[], None, OUTSIDE),
    row(SLOTS, &[MODEL], &[], None, OUTSIDE),
    // It keeps what `slots` promises, in the same words, and by few other packages: it may touch raw devices. RAUC and SWUpdate are
    // programs that it runs within bounds, so it has to end a process group.
    // Its program has a configuration, whose mistakes are told by line as everywhere, and a command line.
    row(BOOT, &[MODEL, SLOTS, CONFIG], &[], Some(&["lexopt", "rustix", "serde", "sha2"]), OUTSIDE),
    row(AGENT, PARTS, &[], None, JOINS),
    row(SERVER, PARTS, &[], None, JOINS),
    row(SDK, &[], &[], Some(&["wit-bindgen"]), WIT),
    row("policy-tree", &[SDK], &[], None, WIT),
    // Its numbers have to be the same bits on every processor, so it brings its own logarithm.
    row("policy-sequential", &[SDK], &[], Some(&["libm"]), WIT),
    row("executor-ota", &[SDK], &[], None, WIT),
    row("executor-db", &[SDK], &[], None, WIT),
    row("executor-commands", &[SDK], &[], None, WIT),
    row("executor-http-lb", &[SDK], &[], None, WIT),
    // What the executors for Kubernetes share: it speaks JSON, and its revisions are compressed.
    row(KUBERNETES, &[SDK], &[], None, WIT),
    row("executor-deployment", &[SDK, KUBERNETES], &[], None, WIT),
    row("executor-rollouts", &[SDK, KUBERNETES], &[], None, WIT),
    // Held against the page on all three.
    row("executor-helm", &[SDK, KUBERNETES], &["executor-deployment", "executor-rollouts"], None, WIT),
    row("xtask", &[], &[], None, TOOL),
];

/// What ships as WebAssembly and can be called natively: tests may, to be quick or to compare.
const NATIVE: &[&str] = &[
    SDK,
    "policy-tree",
    "policy-sequential",
    "executor-ota",
    "executor-db",
    "executor-commands",
    "executor-http-lb",
    KUBERNETES,
    "executor-deployment",
    "executor-rollouts",
    "executor-helm",
];

/// Packages below this folder may use every part, and the plugins' SDK: they are tests.
const TESTS_FOLDER: &str = "tests";

/// Others' packages that only the named crates may use: an outside thing has one home.
///
/// A name that ends in `*` stands for all that begin so. The packages under tests/ that are named use it as a peer to
/// measure against, or to play the world.
const EXCLUSIVE: &[(&str, &[&str])] = &[
    ("sled", &[STORE, "backstay-test-bench", "backstay-test-faults", "backstay-test-lab-writer"]),
    ("redb", &["backstay-test-bench"]),
    ("rumqttc", &[LINK, "backstay-test-bench", "backstay-test-real"]),
    ("rumqttd", &[LINK, "backstay-test-bench", "backstay-test-real"]),
    ("wasmtime*", &[HOST, "backstay-test-bench"]),
    ("cranelift*", &[]),
    ("wit-component", &[HOST, "xtask", "backstay-test-attacks"]),
    // What a plugin's process may not do is taken from it where it is started.
    ("seccompiler", &[PLUGINS]),
    (
        "wit-bindgen",
        &[
            SDK,
            "policy-tree",
            "executor-ota",
            "executor-db",
            "executor-commands",
            "executor-http-lb",
            "executor-deployment",
            "executor-rollouts",
            "executor-helm",
        ],
    ),
    ("ed25519-dalek", &[TRUST]),
];

/// The crates that are `no_std`: nothing in their trees may ask for a standard library.
pub(crate) const NO_STD: &[&str] = &[MODEL, CORE, WIRE, EVIDENCE, TRUST];

/// Packages that have a feature `std` switched on in a `no_std` tree and yet don't need one, with the reason.
const STD_IS_HARMLESS: &[(&str, &str)] = &[];

/// What must not be in the device's program, and why.
const AGENT_WITHOUT: &[(&str, &str)] = &[
    (
        "cranelift-codegen",
        "a device runs what a grant names and compiles nothing: take wasmtime without `cranelift`",
    ),
    ("winch-codegen", "a device compiles nothing"),
    ("wit-component", "components are made where plugins are built"),
    ("rumqttd", "a device is a client of the broker"),
    ("axum", "a device listens on nothing"),
    (
        "schemars",
        "the schema of a configuration is for editors and pipelines: take backstay-config without `schema`",
    ),
    ("backstay-targets", "a device watches its own slot; targets are the server's"),
    ("backstay-kit", "what tries plugins out is for whoever writes them"),
    ("backstay-signals", "a device judges itself by its own probes"),
    ("shlex", "a device reaches no other machine: take hands without `server`"),
    ("aws-lc-sys", "TLS on a device is rustls with ring: aws-lc costs 0.6 MB more"),
    ("openssl-sys", "TLS on a device is rustls with ring"),
];

const fn row(
    name: &'static str,
    ours: &'static [&'static str],
    tests: &'static [&'static str],
    others: Option<&'static [&'static str]>,
    why: &'static str,
) -> Row {
    Row { name, ours, tests, others, why }
}

/// One arrow that the table doesn't have.
#[derive(Debug, PartialEq, Eq)]
struct Stray {
    from: String,
    to: String,
    why: String,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} is not allowed: {}", self.from, self.to, self.why)
    }
}

/// Compares every declared dependency with the table.
pub(crate) fn check(workspace: &Workspace) -> Result<(), Trouble> {
    let mut strays = Vec::new();
    for package in &workspace.packages {
        let is_test = package.folder.starts_with(TESTS_FOLDER);
        strays.extend(strays_of(&package.name, is_test, &package.dependencies));
    }
    judge(
        "an arrow that is not in the table",
        &strays,
        "take the dependency out; or, if the arrow is right, change xtask/src/arrows.rs in a commit of its own that \
         says why",
    )
}

fn strays_of(name: &str, is_test: bool, dependencies: &[Dependency]) -> Vec<Stray> {
    let stray = |to: &str, why: &str| Stray { from: name.into(), to: to.into(), why: why.into() };
    let row = TABLE.iter().find(|row| row.name == name);
    if row.is_none() && !is_test {
        return vec![stray("anything", "it has no row in the table yet: say what it may depend on")];
    }
    let mut strays = Vec::new();
    for Dependency { name: to, when, origin } in dependencies {
        match origin {
            Origin::Ours => {
                let allowed = match row {
                    Some(row) => {
                        row.ours.contains(&to.as_str())
                            || (*when == When::Tests && row.tests.contains(&to.as_str()))
                    }
                    None => {
                        PARTS.contains(&to.as_str())
                            // In a program of its own, and a part all the same.
                            || to == BOOT
                            || NATIVE.contains(&to.as_str())
                            || to.starts_with("backstay-test-")
                    }
                };
                if !allowed {
                    strays
                        .push(stray(to, row.map_or("tests use the parts, not the programs", |row| row.why)));
                }
            }
            Origin::Others => {
                let listed = row.and_then(|row| Some((row.others?, row.why)));
                if let Some((others, why)) = listed
                    && *when == When::Shipped
                    && !others.contains(&to.as_str())
                {
                    strays.push(stray(to, why));
                } else if let Some((_, homes)) = EXCLUSIVE.iter().find(|(pattern, _)| is_meant(pattern, to))
                    && !homes.contains(&name)
                {
                    let home = homes.first().copied().unwrap_or("nobody's");
                    strays.push(stray(to, &format!("its home is {home}: ask for what you need there")));
                }
            }
        }
    }
    strays
}

/// If a name, or a pattern with `*` at its end, means `name`.
fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Looks at what is really linked: no compiler in the agent, no standard library in the pure crates.
pub(crate) fn check_trees(workspace: &Workspace) -> Result<(), Trouble> {
    let mut strays = Vec::new();
    if workspace.package(AGENT).is_some() {
        // All targets: what hides behind `cfg(target_arch)` counts as well.
        let tree = tree(workspace, &["-p", AGENT, "--target", "all"])?;
        strays.extend(forbidden_in_agent(&tree));
    }
    for name in NO_STD.iter().filter(|name| workspace.package(name).is_some()) {
        let tree = tree(workspace, &["-p", name, "--target", crate::toolchain::WASM])?;
        strays.extend(asks_for_std(name, &tree));
    }
    judge(
        "something is linked that must not be",
        &strays,
        "`cargo tree -p FROM -e normal,features -i TO` shows who brings it: take it with `default-features = false`",
    )
}

/// Each package once, as `name feature,feature`.
fn tree(workspace: &Workspace, selection: &[&str]) -> Result<String, Trouble> {
    let form = ["-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p} [{f}]"];
    workspace.cargo_tree(&[&form[..], selection].concat())
}

fn forbidden_in_agent(tree: &str) -> Vec<Stray> {
    let linked = |name: &&(&str, &str)| tree.lines().any(|line| line.split(' ').next() == Some(name.0));
    let stray = |(to, why): &(&str, &str)| Stray { from: AGENT.into(), to: (*to).into(), why: (*why).into() };
    AGENT_WITHOUT.iter().filter(linked).map(stray).collect()
}

fn asks_for_std(name: &str, tree: &str) -> Vec<Stray> {
    let mut strays: Vec<Stray> = Vec::new();
    for line in tree.lines() {
        let Some(to) = line.split(' ').next() else { continue };
        let features = line.rsplit_once('[').map_or("", |(_, rest)| rest).split([']', ',']);
        let harmless = STD_IS_HARMLESS.iter().any(|(harmless, _)| *harmless == to);
        if features.into_iter().any(|feature| feature == "std") && !harmless {
            let why = format!("its feature `std` is on, and {name} runs without a standard library");
            let stray = Stray { from: name.into(), to: to.into(), why };
            if !strays.contains(&stray) {
                strays.push(stray);
            }
        }
    }
    strays
}

fn judge(what: &str, strays: &[Stray], help: &str) -> Result<(), Trouble> {
    if strays.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = strays.iter().map(Stray::to_string).collect();
    Err(Trouble::new(what).why(told.join("\n")).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(name: &str, when: When, origin: Origin) -> Dependency {
        Dependency { name: name.into(), when, origin }
    }

    fn told(name: &str, dependency: Dependency) -> String {
        strays_of(name, false, &[dependency]).iter().map(Stray::to_string).collect()
    }

    /// The rule of this file, held against the tree that it is in.
    #[test]
    fn every_arrow_of_the_workspace_is_in_the_table() {
        if let Err(trouble) = check(&Workspace::read().unwrap()) {
            panic!("{trouble}");
        }
    }

    #[test]
    fn core_with_a_runtime_in_it_is_told_what_to_do_instead() {
        let told = told(CORE, needs("tokio", When::Shipped, Origin::Others));
        assert_eq!(
            told,
            "backstay-core -> tokio is not allowed: `core` decides and never acts: do the work in a crate of its own \
             and give `core` the result as an input"
        );
    }

    #[test]
    fn an_outside_thing_is_used_in_its_home_only() {
        assert_eq!(told(STORE, needs("sled", When::Shipped, Origin::Others)), "");
        assert!(
            told(AGENT, needs("sled", When::Shipped, Origin::Others)).contains("its home is backstay-store")
        );
        assert!(told(AGENT, needs("wasmtime-wasi", When::Shipped, Origin::Others)).contains("backstay-host"));
        // A test that goes round the home is a second home.
        assert!(told(AGENT, needs("rumqttc", When::Tests, Origin::Others)).contains("backstay-link"));
    }

    #[test]
    fn a_plugin_knows_nothing_of_the_runtime() {
        assert!(
            told("policy-tree", needs(MODEL, When::Tests, Origin::Ours))
                .contains("WIT is the whole contract")
        );
        assert_eq!(told("policy-tree", needs(SDK, When::Shipped, Origin::Ours)), "");
    }

    #[test]
    fn a_crate_without_a_row_is_asked_for_one() {
        assert!(told("backstay-new", needs(MODEL, When::Shipped, Origin::Ours)).contains("no row"));
        assert_eq!(strays_of("backstay-test-new", true, &[needs(CORE, When::Shipped, Origin::Ours)]), []);
    }

    #[test]
    fn arrows_of_ours_never_run_in_a_circle() {
        // Rows that are already known to lead nowhere but out.
        let mut settled: Vec<&str> = Vec::new();
        while settled.len() < TABLE.len() {
            let before = settled.len();
            let free =
                |row: &&Row| !settled.contains(&row.name) && row.ours.iter().all(|to| settled.contains(to));
            settled.extend(TABLE.iter().filter(free).map(|row| row.name).collect::<Vec<_>>());
            assert!(settled.len() > before, "a circle among the rows beside {settled:?}");
        }
    }

    #[test]
    fn a_compiler_in_the_agent_is_seen() {
        let clean = "backstay-agent v0.1.0 (/x) []\nwasmtime v48.0.8 [runtime]\ncranelift-entity v0.1 []\n";
        assert_eq!(forbidden_in_agent(clean), []);
        let strays = forbidden_in_agent(&format!("{clean}cranelift-codegen v0.135.8 [std]\n"));
        assert!(strays[0].to_string().starts_with("backstay-agent -> cranelift-codegen is not allowed"));
    }

    #[test]
    fn a_standard_library_in_a_pure_crate_is_seen_once() {
        let tree =
            "backstay-core v0.1.0 (/x) []\nserde v1.0.229 [alloc,std]\nserde v1.0.229 [alloc,std] (*)\n";
        let strays = asks_for_std(CORE, tree);
        assert_eq!(strays.len(), 1);
        assert_eq!(strays[0].to, "serde");
    }
}
