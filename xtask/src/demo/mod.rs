//! `cargo xtask demo`: a fleet on this machine.
//!
//! Here: building what the demo runs. Not here: a shortcut of any kind; the demo starts the programs that ship, with
//! documented settings.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::plugins;
use crate::programs::{self, Profile};
use crate::setup::{self, Need};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What the demo starts.
pub(crate) struct Stage {
    /// `backstay-agent` and `backstay` are in here.
    pub(crate) programs: PathBuf,
    /// The plugins that ship are in here, as components: `policy-tree.wasm`.
    pub(crate) plugins: PathBuf,
}

/// Builds what is needed and starts the fleet with the demo's own arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Trouble> {
    // Without a broker of Debian's the demo has one of its own, so this is no reason to stop.
    if let Err(trouble) = setup::ensure(Need::Broker) {
        eprintln!("setup: {trouble}");
    }
    plugins::build(workspace)?;
    let stage = Stage { programs: programs::build(workspace, Profile::Dev)?, plugins: workspace.plugins() };
    play(&stage, arguments)
}

/// The fleet itself.
fn play(stage: &Stage, _arguments: &[OsString]) -> Result<(), Trouble> {
    let (programs, plugins) = (stage.programs.display(), stage.plugins.display());
    Err(Trouble::new("there is no fleet to show yet")
        .why(format!("the programs are in {programs} and the plugins in {plugins}, and nothing starts them")))
}
