//! `cargo xtask bench`: the measurements of tests/bench.
//!
//! Here: finding and starting them. Not here: what they measure and against which budget; each is a program of
//! tests/bench that says so itself, and that runs its peer in the same run.

use crate::dist;
use crate::plugins;
use crate::programs::{self, Profile};
use crate::steps::run_loudly;
use crate::toolchain;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

const PACKAGE: &str = "backstay-test-bench";

/// The measurement of the agent as it ships.
const AGENT: &str = "agent";

/// Runs the named measurements; without a name it lists them.
pub(crate) fn run(workspace: &Workspace, names: &[String]) -> Result<(), Trouble> {
    let known = workspace.package(PACKAGE).map_or(&[][..], |package| &package.programs);
    let list = known.join(", ");
    if names.is_empty() {
        println!(
            "measurements: {list}\n  help: `cargo xtask bench NAME`; what measures the programs needs `cargo xtask build --release` first"
        );
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(
            Trouble::new(format!("there is no measurement {unknown}")).help(format!("there are: {list}"))
        );
    }
    for name in names {
        let mut command = cargo();
        if name == AGENT {
            // Measured from outside: what ships has to be there, whoever measures may be built any way.
            let agent = dist::build(workspace, toolchain::host()?)?.file;
            plugins::build(workspace)?;
            command
                .args(["run", "-p", PACKAGE, "--bin", name])
                .env("BACKSTAY_AGENT", agent)
                .env("BACKSTAY_DIST", workspace.target.join("dist"))
                .env("BACKSTAY_PROGRAMS", programs::build_with_play(workspace)?)
                .env("BACKSTAY_PLUGINS", workspace.plugins());
            run_loudly(&mut command, &format!("measure {name}"))?;
            continue;
        }
        command
            .args(["run", "--release", "-p", PACKAGE, "--bin", name])
            .env("BACKSTAY_PROGRAMS", workspace.programs().join(Profile::Release.folder()))
            .env("BACKSTAY_PLUGINS", workspace.plugins());
        run_loudly(&mut command, &format!("measure {name}"))?;
    }
    Ok(())
}
