//! The two programs, built each alone.
//!
//! Here: building `backstay-agent` and `backstay`, and where they are put. Not here: builds for other machines (`dist`).
//!
//! One cargo command for both would unify their features and bring the server's compiler into the agent. And a
//! test build may put such an agent into cargo's own folder at any time, so what was built is copied to a folder that
//! only this file writes.

use std::fs;
use std::path::PathBuf;

use crate::dist;
use crate::steps::run_loudly;
use crate::toolchain;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// How the programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; what tests and the demo run.
    Dev,
    /// As it ships; minutes to build.
    Release,
}

impl Profile {
    /// Cargo's folder for it, and ours.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        }
    }
}

/// The package of the device's program. It is built alone, always: with others it would get their features.
pub(crate) const AGENT: &str = "backstay-agent";

/// The packages whose programs ship, in the order in which they are built.
const SHIPPED: &[&str] = &[AGENT, SLOTS, SERVER];

/// The server, which is the operators' command line, too.
const SERVER: &str = "backstay";

/// The package of the program that works the slots of a board.
const SLOTS: &str = "backstay-boot";

/// What the demo and the tests of real processes need beside them: the fleet, and the service on its devices.
const PLAY: &[&str] = &["backstay-test-fleet", "backstay-test-service"];

/// Builds the programs that ship and those that play with them, and returns the folder that all of them are in.
pub(crate) fn build_with_play(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    build_all(workspace, Profile::Dev, PLAY)?;
    build(workspace, Profile::Dev)
}

/// Builds the program of slots alone, and returns the folder that it is in.
pub(crate) fn build_slots(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    build_all(workspace, Profile::Dev, &[SLOTS])
}

/// Builds the server alone, and returns the folder that it is in.
pub(crate) fn build_server(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    build_all(workspace, Profile::Dev, &[SERVER])
}

/// Builds the programs that ship and returns the folder that they are in.
pub(crate) fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf, Trouble> {
    build_all(workspace, profile, SHIPPED)
}

fn build_all(workspace: &Workspace, profile: Profile, packages: &[&str]) -> Result<PathBuf, Trouble> {
    let folder = workspace.programs().join(profile.folder());
    fs::create_dir_all(&folder)
        .map_err(|why| Trouble::new(format!("cannot make {}", folder.display())).why(why))?;
    for name in packages {
        if profile == Profile::Release && *name == AGENT {
            // The agent ships in a profile of its own.
            put(&dist::build(workspace, toolchain::host()?)?.file, &folder.join(AGENT))?;
            continue;
        }
        let mut command = cargo();
        command.args(["build", "-p", name, "--bins"]);
        if profile == Profile::Release {
            command.arg("--release");
        }
        run_loudly(&mut command, &format!("build {name}"))?;
        put_programs(workspace, profile, name, &folder)?;
    }
    Ok(folder)
}

/// Builds the agent, and puts the others beside it as they were built together with all tests: alone they would have
/// other features, and half of what they depend on would be compiled again for that.
pub(crate) fn build_beside_tests(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    let folder = build_all(workspace, Profile::Dev, &[AGENT])?;
    for name in SHIPPED.iter().chain(PLAY).filter(|name| **name != AGENT) {
        put_programs(workspace, Profile::Dev, name, &folder)?;
    }
    Ok(folder)
}

fn put_programs(
    workspace: &Workspace,
    profile: Profile,
    package: &str,
    folder: &std::path::Path,
) -> Result<(), Trouble> {
    for program in workspace.package(package).into_iter().flat_map(|package| &package.programs) {
        let program = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        put(&workspace.target.join(profile.folder()).join(&program), &folder.join(&program))?;
    }
    Ok(())
}

/// Copies a program to its place. One that runs at that place goes on with its old file.
pub(crate) fn put(from: &std::path::Path, to: &std::path::Path) -> Result<(), Trouble> {
    let unfinished = to.with_extension("part");
    fs::copy(from, &unfinished)
        .and_then(|_| fs::rename(&unfinished, to))
        .map_err(|why| Trouble::new(format!("cannot copy {} to {}", from.display(), to.display())).why(why))
}
