//! `cargo xtask demo`: a fleet on this machine.
//!
//! Here: building what the demo runs, and handing over to it (`tests/fleet`). Not here: a shortcut of any
//! kind; the demo starts the programs that ship, with documented settings.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::plugins;
use crate::programs;
use crate::setup::{self, Need};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// Builds what is needed and starts the fleet with the demo's own arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Trouble> {
    // Without a broker of Debian's the demo has one of its own, so this is no reason to stop.
    if let Err(trouble) = setup::ensure(Need::Broker) {
        eprintln!("setup: {trouble}");
    }
    plugins::build(workspace)?;
    let programs = programs::build_with_play(workspace)?;
    let mut fleet = Command::new(programs.join("demo-fleet"));
    fleet.arg("--programs").arg(&programs).arg("--plugins").arg(workspace.plugins());
    fleet.arg("--dir").arg(workspace.target.join("demo")).args(arguments);
    // It takes the place of this process, so that Ctrl-C reaches it and its exit code is ours.
    let why = fleet.exec();
    Err(Trouble::new(format!("cannot start {}", programs.join("demo-fleet").display())).why(why))
}
