//! `cargo xtask dist`: the agent as it ships, for both CPUs.
//!
//! Here: the release builds, their names, and the budget for their size. Not here: packages (deb, ipk) and signatures.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::programs::put;
use crate::setup::{self, Need, on_path};
use crate::steps::run_loudly;
use crate::toolchain::{self, ARM_GNU, ARM_MUSL, cargo_for};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

const AGENT: &str = "backstay-agent";

/// The budget of the agent with everything in it, stripped, in bytes.
const AGENT_BYTES_MAX: u64 = 4_000_000;

/// Builds the agent for each CPU, puts it into `target/dist` and tells its size.
///
/// The files are there also when the budget is not kept; only the exit code is not 0.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Trouble> {
    setup::ensure_all(&[Need::Arm, Need::ArmCompiler])?;
    if let Err(trouble) = setup::ensure(Need::ArmRunner) {
        eprintln!("setup: {trouble}");
    }
    let folder = workspace.target.join("dist");
    fs::create_dir_all(&folder)
        .map_err(|why| Trouble::new(format!("cannot make {}", folder.display())).why(why))?;
    let version = workspace.package(AGENT).map_or("0", |package| &package.version);
    // The static build runs on any distribution and under qemu; the other is what Debian's compiler can do.
    let arm = if toolchain::way(ARM_MUSL).is_some() { ARM_MUSL } else { ARM_GNU };
    let mut lines = Vec::new();
    let mut too_large = Vec::new();
    for target in [toolchain::host()?, arm] {
        let mut command = cargo_for(target, "build")?;
        command.args(["--release", "-p", AGENT]);
        run_loudly(&mut command, &format!("build {AGENT} for {target}"))?;
        let built = workspace.target.join(target).join("release").join(AGENT);
        let file = folder.join(format!("{AGENT}-{version}-{target}"));
        put(&built, &file)?;
        let bytes = fs::metadata(&file)
            .map_err(|why| Trouble::new(format!("cannot look at {}", file.display())).why(why))?
            .len();
        let share = bytes * 100 / AGENT_BYTES_MAX;
        lines.push(format!(
            "{bytes:>9} bytes, {share:>3} % of the budget  {}{}",
            file.display(),
            starts(target, &file)
        ));
        if bytes > AGENT_BYTES_MAX {
            too_large.push(format!("{target}: {bytes} bytes"));
        }
    }
    println!("{}", lines.join("\n"));
    if too_large.is_empty() {
        return Ok(());
    }
    Err(Trouble::new(format!("the agent is larger than {AGENT_BYTES_MAX} bytes"))
        .why(too_large.join("\n"))
        .help("`cargo tree -p backstay-agent -e normal,features` shows what is in it"))
}

/// If the built program starts at all, as far as this machine can tell.
fn starts(target: &str, file: &Path) -> &'static str {
    let mut command = if toolchain::host().is_ok_and(|host| host == target) {
        Command::new(file)
    } else {
        match on_path("qemu-aarch64-static") {
            Some(qemu) if target == ARM_MUSL => {
                let mut command = Command::new(qemu);
                command.arg(file);
                command
            }
            // qemu would need a whole Debian for arm64 to start a program of glibc's.
            _ => return ", not started here",
        }
    };
    let status =
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) { ", starts" } else { ", DOES NOT START" }
}
