//! `cargo xtask test`: which tests there are and in which order they run.
//!
//! Here: the groups, their order, and how each is told about the programs. Not here: the tests. Not here either: formatting,
//! lints and arrows (`check`).
//!
//! All test programs but the agent's are built by one cargo command, and then started one by one from here. One command
//! for each crate would compile what they share again and again, because each selection of crates has features of
//! its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use serde_json::Value;

use crate::check::colour;
use crate::dist;
use crate::k8s::{self, GO_HELP, Missing};
use crate::plugins;
use crate::programs::{self, AGENT, Profile};
use crate::setup::{self, Need};
use crate::steps::{Counts, Row, Step, Tally, Work};
use crate::toolchain;
use crate::trouble::Trouble;
use crate::workspace::{Library, Package, Workspace, cargo};

/// How a group of tests is recognised: by the beginning of its packages' folders. The first that fits takes a package.
///
/// From inside to outside: what the others lean on fails first.
const GROUPS: &[(&str, &[&str])] = &[
    ("pure crates", &["runtime/model", "runtime/core", "runtime/wire", "runtime/evidence", "runtime/trust"]),
    ("agent", &["runtime/agent"]),
    ("server", &["runtime/backstay"]),
    ("outside things", &["runtime", "firmware-integration"]),
    ("plugins", &["plugins"]),
    ("xtask", &["xtask"]),
    ("stories", &["tests/stories"]),
    ("wire", &["tests/wire"]),
    ("sim", &["tests/sim"]),
    ("models", &["tests/model"]),
    ("bench", &["tests/bench", "tests/judge", "tests/instructions"]),
    ("faults", &["tests/faults"]),
    ("attacks", &["tests/attacks"]),
    ("fuzz", &["tests/fuzz"]),
    ("gate", &["tests/gate"]),
    ("real", &["tests/real"]),
    (BOARD_TIER, &["tests/firmware"]),
    ("languages", &["tests/plugins"]),
    ("lab", &["tests/lab"]),
    (K8S_TIER, &["tests/k8s"]),
];

/// The tier whose long form also runs the agent for 64-bit ARM, under an emulator: minutes to build, so it isn't part of what
/// the pipeline runs.
const EMULATED_TIER: &str = "real";

/// What the tests of [`EMULATED_TIER`] are told: the agent for 64-bit ARM, or why there is none.
const EMULATED_AGENT: &str = "BACKSTAY_AGENT_AARCH64";
const EMULATED_AGENT_MISSING: &str = "BACKSTAY_AGENT_AARCH64_MISSING";

/// What `backstay replay` is told: the program that makes recorded calls again there.
const EMULATED_RERUN: &str = "BACKSTAY_RERUN_AARCH64";

/// What tests/real are told if there is no registry to start, and why.
const REGISTRY_MISSING: &str = "BACKSTAY_REGISTRY_MISSING";

/// The tier whose long form makes plugins in every language: toolchains are downloads of up to 100 MB, and Python's native
/// code takes minutes to compile.
const LANGUAGES_TIER: &str = "plugins";

/// The tier on a real control plane of Kubernetes: its programs take 10 to 20 minutes to build the first time, and its tests
/// minutes, so nothing of it is part of what the pipeline runs.
const K8S_TIER: &str = "k8s";

/// The tier that installs on a board: it starts the program of slots and no other of ours, so that is all that is built for it.
const BOARD_TIER: &str = "firmware";

/// What its tests are told: where the programs are, or why there are none.
const K8S: &str = "BACKSTAY_K8S";
const K8S_MISSING: &str = "BACKSTAY_K8S_MISSING";

/// Runs what the pipeline runs, or the long form of one folder of tests/.
///
/// What a tier alone needs and can't be had is a failure, or is told as missing if `allow_missing`.
pub(crate) fn run(workspace: Workspace, tier: Option<&str>, allow_missing: bool) -> Result<Tally, Trouble> {
    let workspace = Rc::new(workspace);
    let selected = select(&workspace, tier)?;
    let control_plane = (tier == Some(K8S_TIER)).then(|| match k8s::build(&workspace) {
        Ok(()) => Ok((K8S, k8s::folder(&workspace).into())),
        Err(Missing::Go(trouble)) if allow_missing => Ok((K8S_MISSING, trouble.to_string().into())),
        Err(Missing::Go(trouble)) => {
            Err(trouble.help(format!("{GO_HELP}\nor say --allow-missing: its tests are skipped, and say so")))
        }
        Err(Missing::Broken(trouble)) => Err(trouble),
    });
    let control_plane = control_plane.transpose()?;
    // Only the tests that talk to a broker can do without one: they are told as not run.
    let broker = setup::ensure_all(&[Need::Broker, Need::BrokerClients]);
    setup::ensure(Need::Wasm)?;
    let pushes = selected.iter().any(|package| package.folder == Path::new("tests").join(EMULATED_TIER));
    // It is built by a toolchain of its own, which a machine may lack: its tests say so, and the others run.
    let registry = if pushes { setup::ensure(Need::Registry).err() } else { None };
    if pushes {
        // The same: what is missing is told by the test that wants it.
        let _ = setup::ensure_all(&Need::SERVICES);
    }
    if selected.iter().any(|package| package.folder == Path::new("tests/gate")) {
        // Its tests of Jenkins files say that they were skipped if it isn't there.
        let _ = setup::ensure(Need::Groovy);
    }
    if selected.iter().any(|package| package.folder == Path::new("xtask")) {
        // The same for those that read recipes.
        let _ = setup::ensure_all(&[Need::BitBake, Need::Kconfig]);
    }
    if selected.iter().any(|package| package.folder == Path::new("tests").join(BOARD_TIER)) {
        // What is missing is told by the tests that want it; by the tier that runs them on purpose, as a failure.
        let tools = setup::ensure_all(&Need::FIRMWARE);
        if tier.is_some() && !allow_missing {
            tools?;
        }
    }
    if selected.iter().any(|package| package.folder == Path::new("tests/faults")) {
        let tools = setup::ensure_all(&Need::FAULTS);
        if tier.is_some() && !allow_missing {
            tools?;
        }
    }
    if tier == Some(LANGUAGES_TIER) {
        setup::ensure_all(&Need::LANGUAGES)?;
    }

    let groups: Vec<_> = GROUPS
        .iter()
        .map(|(name, folders)| (*name, members(&selected, folders)))
        .filter(|(_, members)| !members.is_empty())
        .collect();
    let with_examples: Vec<_> =
        selected.iter().filter(|package| package.library == Library::Rust).copied().collect();
    let emulated = (tier == Some(EMULATED_TIER)).then(dist::emulated);
    let on_a_board = tier == Some(BOARD_TIER);
    // Plugins, test programs, the agent's, programs; then the groups; then examples in the documentation.
    let length = 2
        + usize::from(!on_a_board)
        + usize::from(matches!(emulated, Some(Ok(_))))
        + groups.len()
        + usize::from(tier.is_none());
    let mut row = Row::new(workspace.target.join("xtask/test"), length)?;

    if !on_a_board {
        row.run(preparation("building the plugins", "cargo xtask plugins", {
            let workspace = Rc::clone(&workspace);
            move || plugins::build(&workspace).map(|_| ())
        }));
    }
    let built = Rc::new(RefCell::new(BTreeMap::new()));
    row.run(preparation(
        "building the tests",
        "cargo build --workspace --exclude backstay-agent --tests --bins",
        {
            let built = Rc::clone(&built);
            let workspace = Rc::clone(&workspace);
            let names: Vec<_> = selected.iter().map(|package| package.name.clone()).collect();
            move || {
                let packages = names.iter().filter_map(|name| workspace.package(name));
                let (agent, others): (Vec<_>, Vec<_>) = packages.partition(|package| package.name == AGENT);
                let mut outcome = Ok(());
                for packages in [others, agent].into_iter().filter(|packages| !packages.is_empty()) {
                    outcome = outcome.and(build_tests(&packages, &mut built.borrow_mut()));
                }
                outcome
            }
        },
    ));
    // After the tests: a test build of the agent may have left an agent with a compiler in cargo's folder.
    row.run(preparation("building the programs", "cargo xtask build", {
        let workspace = Rc::clone(&workspace);
        let all = tier.is_none();
        move || {
            let built = match (all, on_a_board) {
                (true, _) => programs::build_beside_tests(&workspace),
                (false, true) => programs::build_slots(&workspace),
                (false, false) => programs::build_with_play(&workspace),
            };
            built.map(|_| ())
        }
    }));
    let told = Rc::new(RefCell::new(Vec::<(&str, OsString)>::new()));
    told.borrow_mut().extend(control_plane);
    told.borrow_mut().extend(registry.map(|trouble| (REGISTRY_MISSING, trouble.to_string().into())));
    match emulated {
        None => {}
        Some(Err(trouble)) => told.borrow_mut().push((EMULATED_AGENT_MISSING, trouble.to_string().into())),
        Some(Ok(target)) => row.run(preparation("building the agent for aarch64", "cargo xtask dist", {
            let (workspace, told) = (Rc::clone(&workspace), Rc::clone(&told));
            move || {
                let built = dist::build(&workspace, target)?;
                told.borrow_mut().push((EMULATED_AGENT, built.file.into()));
                told.borrow_mut().push((EMULATED_RERUN, dist::build_rerun(&workspace)?.into()));
                Ok(())
            }
        })),
    }
    let (built, told) = (built.borrow(), told.borrow());
    for (name, members) in groups {
        let names: Vec<_> = members.iter().map(|package| package.name.as_str()).collect();
        let commands: Vec<_> = members
            .iter()
            .flat_map(|package| built.get(&package.name).into_iter().flatten().map(|file| (*package, file)))
            .map(|(package, file)| started_for(&workspace, package, file, tier, &told))
            .collect();
        let missing = names.iter().any(|name| !built.contains_key(*name));
        let work = match &broker {
            Err(trouble) if name == "real" => Work::Impossible(trouble.to_string()),
            _ if name == K8S_TIER && tier.is_none() => {
                Work::Impossible("it wants a control plane of Kubernetes: cargo xtask test k8s".into())
            }
            _ if missing && commands.is_empty() => Work::Impossible("it could not be built".into()),
            _ => Work::Quiet(commands),
        };
        let alone = format!("cargo test -p {}", names.join(" -p "));
        row.run(Step { name: name.into(), alone, counts: Counts::Tests, work });
    }
    if tier.is_none() {
        row.run(examples(&with_examples));
    }
    Ok(row.finish())
}

/// The packages that are tested: all, or the one of a tier.
fn select<'a>(workspace: &'a Workspace, tier: Option<&str>) -> Result<Vec<&'a Package>, Trouble> {
    let Some(tier) = tier else { return Ok(workspace.packages.iter().collect()) };
    let folder = Path::new("tests").join(tier);
    let found: Vec<_> = workspace.packages.iter().filter(|package| package.folder == folder).collect();
    if found.is_empty() {
        let tiers: Vec<_> = workspace
            .below("tests")
            .filter_map(|package| Some(package.folder.file_name()?.to_string_lossy().into_owned()))
            .collect();
        return Err(Trouble::new(format!("there is no tier {tier}"))
            .help(format!("a tier is a folder of tests/: {}", tiers.join(", "))));
    }
    Ok(found)
}

fn members<'a>(selected: &[&'a Package], folders: &[&str]) -> Vec<&'a Package> {
    let group = |package: &Package| {
        GROUPS.iter().find(|(_, folders)| folders.iter().any(|folder| package.folder.starts_with(folder)))
    };
    let fits = |package: &&&Package| group(package).is_some_and(|(_, own)| *own == folders);
    selected.iter().filter(fits).copied().collect()
}

fn preparation(name: &str, alone: &str, work: impl FnOnce() -> Result<(), Trouble> + 'static) -> Step {
    Step { name: name.into(), alone: alone.into(), counts: Counts::Failure, work: Work::Loud(Box::new(work)) }
}

/// Builds the programs and the test programs of `packages`, and enters the test programs under the package's name. What
/// can be built is built, also if something else can't.
fn build_tests(packages: &[&Package], built: &mut BTreeMap<String, Vec<PathBuf>>) -> Result<(), Trouble> {
    let mut command = cargo();
    command.args([
        "build",
        "--tests",
        "--bins",
        "--keep-going",
        "--message-format",
        "json-render-diagnostics",
    ]);
    for package in packages {
        command.args(["-p", &package.name]);
        for feature in package.features.iter().filter(|feature| !feature.starts_with("xtask/")) {
            command.args(["--features", feature]);
        }
    }
    let failed = || Trouble::new("cannot build all tests");
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|why| failed().why(why))?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        let Some((package, program)) = test_program(&message) else { continue };
        let programs = built.entry(package).or_default();
        programs.extend(program);
    }
    if output.status.success() { Ok(()) } else { Err(failed().why("what the compiler says is above")) }
}

/// The package of one of cargo's messages, and its test program if the message is about one.
fn test_program(message: &Value) -> Option<(String, Option<PathBuf>)> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    // The id of a package has had three forms; the id's name is after `#` or is the folder's.
    let id = message["package_id"].as_str()?;
    let name = id.rsplit_once('#').map_or(id, |(_, rest)| rest);
    let name = match name.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => manifest.parent()?.file_name()?.to_string_lossy().into_owned(),
    };
    Some((name, message["executable"].as_str().map(PathBuf::from)))
}

/// A test program as cargo would start it, and told where the programs and plugins are.
fn started_for(
    workspace: &Workspace,
    package: &Package,
    program: &Path,
    tier: Option<&str>,
    told: &[(&str, OsString)],
) -> Command {
    let folder = workspace.root.join(&package.folder);
    let mut command = Command::new(program);
    command
        .env("CARGO_MANIFEST_DIR", &folder)
        .env("CARGO_PKG_NAME", &package.name)
        .env("CARGO_PKG_VERSION", &package.version)
        .env("BACKSTAY_PROGRAMS", workspace.programs().join(Profile::Dev.folder()))
        .env("BACKSTAY_PLUGINS", workspace.plugins())
        .env("BACKSTAY_TOOLCHAINS", toolchain::languages())
        .envs(told.iter().map(|(name, value)| (*name, value)))
        .current_dir(folder);
    if tier.is_some() {
        command.env("BACKSTAY_LONG", "1");
    }
    command
}

/// The examples in the documentation are compiled and run, too.
fn examples(packages: &[&Package]) -> Step {
    let mut command = cargo();
    command.args(["test", "--doc", "--no-fail-fast"]).env("CARGO_TERM_COLOR", colour());
    for package in packages {
        command.args(["-p", &package.name]);
    }
    let alone = "cargo test --doc --workspace".to_owned();
    let work = if packages.is_empty() { Work::Quiet(Vec::new()) } else { Work::Quiet(vec![command]) };
    Step { name: "examples in the documentation".into(), alone, counts: Counts::Tests, work }
}
