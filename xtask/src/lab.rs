//! `cargo xtask lab`: boards of one's own, and what happens to them.
//!
//! Here: building what runs on a board and on the other side, getting the emulator, and handing over to the lab (`tests/lab`). Not
//! here: boards, stories and power cuts. What is built for a board is what ships, by the same commands as `dist`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::deb;
use crate::dist;
use crate::plugins;
use crate::programs;
use crate::setup::{self, Need};
use crate::steps::{run_long, run_loudly};
use crate::toolchain::{ARM_MUSL, cargo_for};
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// What tells the stories, and its program.
const PACKAGE: &str = "backstay-test-lab";
const PROGRAM: &str = "lab";
/// What writes records on a board while its power is cut.
const WRITER_PACKAGE: &str = "backstay-test-lab-writer";
const WRITER: &str = "lab-writer";
/// The writer is quick to build: nothing is measured under an emulator.
const QUICK: &str = "quick";
/// The word for the story of a stock Debian, and what its page has a workstation make one with: program and Debian's package.
const STOCK: &str = "debian";
const STOCK_TOOLS: [(&str, &str); 3] =
    [("mmdebstrap", "mmdebstrap"), ("arch-test", "arch-test"), ("sfdisk", "fdisk")];
/// Where no board can be had, that is told and nothing has failed.
const ALLOW_MISSING: &str = "--allow-missing";

/// Builds what is needed and starts the lab with its own arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Trouble> {
    let (allowed, arguments): (Vec<_>, Vec<_>) = arguments.iter().partition(|word| *word == ALLOW_MISSING);
    let only_tells = |word: &&OsString| ["--list", "--help", "-h", "help"].iter().any(|tells| *word == tells);
    let mut command = cargo();
    command.args(["build", "--quiet", "-p", PACKAGE, "--bin", PROGRAM]);
    run_loudly(&mut command, &format!("build {PROGRAM}"))?;
    let mut lab = Command::new(workspace.target.join("debug").join(PROGRAM));
    if !arguments.iter().any(only_tells) {
        let is_stock = arguments.iter().any(|word| *word == STOCK);
        if let Err(trouble) = ready(is_stock) {
            if allowed.is_empty() {
                return Err(trouble);
            }
            eprintln!("lab: skipped, because {trouble}");
            return Ok(());
        }
        for program in dist::build_shipped(workspace, ARM_MUSL)? {
            let name = if program.program == programs::AGENT { "--agent" } else { "--slots" };
            lab.arg(name).arg(program.file);
        }
        if is_stock {
            lab.arg("--package").arg(package(workspace)?);
        }
        if arguments.iter().any(|word| *word == "cuts") {
            let mut command = cargo_for(ARM_MUSL, "build")?;
            command.args(["--profile", QUICK, "-p", WRITER_PACKAGE, "--bin", WRITER]);
            run_long(&mut command, &format!("build {WRITER} for {ARM_MUSL}"))?;
            lab.arg("--writer").arg(workspace.target.join(ARM_MUSL).join(QUICK).join(WRITER));
        } else {
            plugins::build(workspace)?;
            lab.arg("--programs").arg(programs::build_server(workspace)?);
            lab.arg("--plugins").arg(workspace.plugins());
        }
        lab.arg("--dir").arg(workspace.target.join("lab"));
    }
    // It takes the place of this process, so that Ctrl-C reaches it and its exit code is ours.
    let why = lab.args(arguments).exec();
    Err(Trouble::new(format!("cannot start {PROGRAM}")).why(why))
}

/// That there is what a board takes; for a stock Debian also what a workstation makes one with.
fn ready(is_stock: bool) -> Result<(), Trouble> {
    setup::ensure_all(&Need::BOARD)?;
    if !is_stock {
        return Ok(());
    }
    setup::ensure_all(&[Need::ArmRunner])?;
    let is_missing = |(program, _): &&(&str, &str)| setup::on_path(program).is_none();
    STOCK_TOOLS.iter().find(is_missing).map_or(Ok(()), |(program, package)| {
        Err(Trouble::new(format!("there is no {program} here")).help(format!("apt-get install {package}")))
    })
}

/// The agent's package for the board, of the programs that were just built.
fn package(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    let packages = deb::pack_all(workspace)?;
    let is_for_arm = |file: &PathBuf| file.to_string_lossy().ends_with("_arm64.deb");
    packages.into_iter().find(is_for_arm).ok_or_else(|| Trouble::new("no package for arm64 was made"))
}
