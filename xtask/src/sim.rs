//! `cargo xtask sim`: fleets in virtual time, from many seeds, held against the invariants.
//!
//! Here: building the simulation as fast as it is built quickly, and handing over to it (`tests/sim`). Not here: what it does
//! and its options, of which `cargo xtask sim --help` tells.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::steps::run_loudly;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

const PACKAGE: &str = "backstay-test-sim";
/// A profile that is optimised and yet built in half a minute.
const QUICK: &str = "quick";

/// Builds the simulation and starts it with its own arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Trouble> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", QUICK, "-p", PACKAGE, "--bin", PACKAGE]);
    run_loudly(&mut command, &format!("build {PACKAGE}"))?;
    let program = workspace.target.join(QUICK).join(PACKAGE);
    // It takes the place of this process, so that Ctrl-C reaches it and its exit code is ours.
    let why = Command::new(&program).args(arguments).exec();
    Err(Trouble::new(format!("cannot start {}", program.display())).why(why))
}
