//! `cargo xtask bench`: the measurements of tests/bench, the judges' of tests/judge, and the counts of tests/instructions.
//!
//! Here: finding, building and starting them. Not here: what they measure and against which budget; each is a program of
//! tests/bench that says so itself, and that runs its peer in the same run.
//!
//! Peers that nothing else needs live in a workspace of their own (tests/bench/peers), so that neither the pipeline nor
//! our lock file knows of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::dist;
use crate::k8s::{self, Missing};
use crate::plugins;
use crate::programs;
use crate::setup::{self, Need};
use crate::steps::{run_long, run_loudly};
use crate::toolchain::{self, WASM, cargo_for};
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

const PACKAGE: &str = "backstay-test-bench";

/// Release without the long link; what is compared is compiled alike.
const PROFILE: &str = "quick";

/// The measurements of the agent as it ships: how large it is, and what it takes beside others.
const AGENT: &str = "agent";
const IDLE: &str = "idle";
/// The one that asks the server.
const BEATS: &str = "beats";
/// The one with the policy in it.
const DECISION: &str = "decision";
/// The one with the peers in other languages.
const PLUGINS: &str = "plugins";

/// The one that simulates hours and calls policies natively: it has a package of its own, so that nobody has to build the
/// runtime for it.
const JUDGE: &str = "judge";
/// Measured on a server that is built as quickly as it.
const TARGETS: &str = "targets";
/// The same on a Kubernetes control plane: a program of the package that starts one.
const KUBERNETES: &str = "k8s";
const KUBERNETES_PACKAGE: &str = "backstay-test-k8s";
const KUBERNETES_PROGRAM: &str = "rollback";
const JUDGE_PACKAGE: &str = "backstay-test-judge";
/// The one that counts instead of timing. A package of its own: what stands beside code changes what is made of it.
const INSTRUCTIONS: &str = "instructions";
const INSTRUCTIONS_PACKAGE: &str = "backstay-test-instructions";

/// The workspace of [`PLUGINS`], from the root.
const PEERS: &str = "tests/bench/peers/Cargo.toml";
/// The plug-in that is built for one of the peers.
const GUEST: &str = "backstay-bench-guest";

/// What is run, and what it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) names: Vec<String>,
    /// For the measurement itself.
    pub(crate) arguments: Vec<OsString>,
}

impl Request {
    /// Names first; from the first option on, all of it is the measurement's.
    pub(crate) fn of(words: impl Iterator<Item = OsString>) -> Self {
        let mut words = words.peekable();
        let mut names = Vec::new();
        while let Some(word) = words.next_if(|word| !word.to_string_lossy().starts_with('-')) {
            names.push(word.to_string_lossy().into_owned());
        }
        words.next_if(|word| word == "--");
        Self { names, arguments: words.collect() }
    }
}

/// Runs the named measurements; without a name it lists them.
pub(crate) fn run(workspace: &Workspace, request: &Request) -> Result<(), Trouble> {
    let Request { names, arguments } = request;
    let mut known = workspace.package(PACKAGE).map_or_else(Vec::new, |package| package.programs.clone());
    known.extend([PLUGINS.into(), JUDGE.into(), KUBERNETES.into(), INSTRUCTIONS.into()]);
    known.sort();
    let list = known.join(", ");
    if names.is_empty() {
        println!(
            "measurements: {list}\n  help: `cargo xtask bench NAME` measures, `cargo xtask bench NAME --help` says what and how much"
        );
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(
            Trouble::new(format!("there is no measurement {unknown}")).help(format!("there are: {list}"))
        );
    }
    if names.len() > 1 && !arguments.is_empty() {
        return Err(Trouble::new("options go with one measurement").help("measure one after the other"));
    }
    names.iter().try_for_each(|name| measure(workspace, name, arguments))
}

fn measure(workspace: &Workspace, name: &str, arguments: &[OsString]) -> Result<(), Trouble> {
    let mut command = cargo();
    match name {
        AGENT | IDLE => {
            if name == IDLE {
                setup::ensure_all(&[Need::Broker, Need::Rauc, Need::SwUpdate, Need::Mender, Need::Bus])?;
            }
            // Measured from outside: what ships has to be there, whoever measures may be built any way.
            let agent = dist::build(workspace, toolchain::host()?)?.file;
            plugins::build(workspace)?;
            command
                .args(["run", "-p", PACKAGE, "--bin", name])
                .env("BACKSTAY_AGENT", agent)
                .env("BACKSTAY_DIST", workspace.target.join("dist"))
                .env("BACKSTAY_PROGRAMS", programs::build_with_play(workspace)?);
        }
        PLUGINS => {
            plugins::build(workspace)?;
            // Two engines with their compilers: that takes longer than a measurement may.
            let mut peers = cargo();
            peers.args([
                "build",
                "--profile",
                PROFILE,
                "--manifest-path",
                PEERS,
                "--bin",
                name,
                "--target-dir",
            ]);
            run_long(peers.arg(&workspace.target), "build the peers")?;
            command
                .args(["run", "--profile", PROFILE, "--manifest-path", PEERS, "--bin", name, "--target-dir"])
                .arg(&workspace.target)
                .env("BACKSTAY_GUEST", build_guest(&workspace.target)?);
        }
        KUBERNETES => {
            k8s::build(workspace).map_err(|(Missing::Go(trouble) | Missing::Broken(trouble))| trouble)?;
            build_server(workspace)?;
            command
                .args(["run", "--profile", PROFILE, "-p", KUBERNETES_PACKAGE, "--bin", KUBERNETES_PROGRAM])
                .env("BACKSTAY_PROGRAMS", workspace.target.join(PROFILE));
        }
        JUDGE => {
            command.args(["run", "--profile", PROFILE, "-p", JUDGE_PACKAGE, "--bin", name]);
        }
        INSTRUCTIONS => {
            // Where it can't be had, nothing is counted, and that is said.
            let _ = setup::ensure(Need::Valgrind);
            command.args(["run", "--profile", PROFILE, "-p", INSTRUCTIONS_PACKAGE, "--bin", name]);
        }
        _ => {
            command.args(["run", "--profile", PROFILE, "-p", PACKAGE, "--bin", name]);
            if name == DECISION {
                plugins::build(workspace)?;
            } else {
                // Nobody else calls a plugin, so nobody else has to wait until the runtime is built.
                command.arg("--no-default-features");
            }
            if name == BEATS || name == TARGETS {
                build_server(workspace)?;
            }
            command.env("BACKSTAY_PROGRAMS", workspace.target.join(PROFILE));
        }
    }
    command.env("BACKSTAY_PLUGINS", workspace.plugins()).arg("--").args(arguments);
    run_loudly(&mut command, &format!("measure {name}"))
}

/// Builds the server that is measured, and what it loads.
fn build_server(workspace: &Workspace) -> Result<(), Trouble> {
    // A fleet that is laid out has a broker; without this one it has a small one of its own.
    let _ = setup::ensure(Need::Broker);
    // A fleet lays out the service of its devices, whether it has any or not.
    for package in ["backstay", "backstay-test-service"] {
        let mut build = cargo();
        build.args(["build", "--profile", PROFILE, "-p", package, "--bins"]);
        run_long(&mut build, &format!("build {package}"))?;
    }
    plugins::build(workspace).map(|_| ())
}

/// Builds the tree as a plug-in for extism, size first like ours.
fn build_guest(target: &Path) -> Result<PathBuf, Trouble> {
    setup::ensure(Need::Wasm)?;
    let mut guest = cargo_for(WASM, "rustc")?;
    guest.args(["--release", "--lib", "--crate-type", "cdylib", "-p", GUEST, "--manifest-path", PEERS]);
    guest.arg("--target-dir").arg(target);
    guest.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z").env("CARGO_PROFILE_RELEASE_LTO", "fat");
    guest.env("CARGO_PROFILE_RELEASE_PANIC", "abort").env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run_loudly(&mut guest, &format!("build {GUEST} for {WASM}"))?;
    Ok(target.join(WASM).join("release").join(format!("{}.wasm", GUEST.replace('-', "_"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> (String, String) {
        let Request { names, arguments } = Request::of(line.split_whitespace().map(Into::into));
        let arguments: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        (names.join(" "), arguments.join(" "))
    }

    #[test]
    fn names_come_first_and_the_rest_is_the_measurements() {
        let told = |names: &str, arguments: &str| (names.to_owned(), arguments.to_owned());
        assert_eq!(request(""), told("", ""));
        assert_eq!(request("journal agent"), told("journal agent", ""));
        assert_eq!(request("fanout --rounds 3"), told("fanout", "--rounds 3"));
        assert_eq!(request("fanout -- --rounds 3"), told("fanout", "--rounds 3"));
        assert_eq!(request("fanout --help"), told("fanout", "--help"));
    }
}
