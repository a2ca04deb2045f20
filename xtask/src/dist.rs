//! `cargo xtask dist`: what a device runs, as it ships, for both CPUs.
//!
//! Here: the builds of the agent and of what it asks for slots, their names, and the budget for the agent's size; and what runs under an emulator beside them. Not here: how small is asked for (the profile `device` in
//! the root's Cargo.toml, and `toolchain` for the linker), the archive for image builders (`device`), the server (`package`), what it is made of (`sbom`), the package for Debian (`deb`), and the signature of all
//! of it (`signature`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::deb;
use crate::device;
use crate::programs::{AGENT, Profile, put};
use crate::sbom::{self, Part};
use crate::setup::{self, Need, on_path};
use crate::signature;
use crate::steps::{run_long, run_loudly};
use crate::toolchain::{self, ARM_GNU, ARM_MUSL, INTEL_MUSL, cargo_for};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// The budget of the agent with everything in it, stripped, in bytes: on 64-bit ARM, which small boxes have. The others are
/// shown beside it.
const AGENT_BYTES_MAX: u64 = 4_000_000;

/// What makes recorded calls again, its package, and the profile that it is built in.
const RERUN: &str = "backstay-rerun";
const RERUN_PACKAGE: &str = "backstay-kit";
const QUICK: &str = "quick";

/// The profile in which [`SHIPPED`] ships.
const DEVICE: &str = "device";

/// A program that devices run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shipped {
    /// The package that it is built from, alone: with another it would get its features.
    pub(crate) package: &'static str,
    /// What it is called.
    pub(crate) program: &'static str,
}

/// Each of them, the agent first.
pub(crate) const SHIPPED: &[Shipped] = &[
    Shipped { package: AGENT, program: AGENT },
    Shipped { package: "backstay-boot", program: "backstay-slots" },
];

/// How the result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
}

/// One program that was built for one target.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) program: &'static str,
    target: String,
    /// In `target/dist`.
    pub(crate) file: PathBuf,
    bytes: u64,
    starts: Start,
}

impl Built {
    fn keeps_budget(&self) -> bool {
        self.bytes <= AGENT_BYTES_MAX || self.program != AGENT || !self.target.starts_with("aarch64")
    }
}

/// If a built program starts, as far as this machine can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Yes,
    No,
    /// This machine can't run it.
    NotTried,
}

impl Start {
    /// For a person.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Start::Yes => "yes",
            Start::No => "NO",
            Start::NotTried => "not tried",
        }
    }

    /// For a program: none where it wasn't tried.
    pub(crate) fn told(self) -> Option<bool> {
        match self {
            Start::Yes => Some(true),
            Start::No => Some(false),
            Start::NotTried => None,
        }
    }
}

/// Builds what devices run for each of `targets` (without any: one for each CPU), puts it into `target/dist` and tells its size.
///
/// The files are there also when the budget is not kept; only the exit code is not 0.
pub(crate) fn run(
    workspace: &Workspace,
    targets: &[String],
    key: Option<&Path>,
    output: Output,
) -> Result<(), Trouble> {
    signature::ready(key)?;
    let targets = if targets.is_empty() {
        vec![toolchain::host()?.to_owned(), arm()?.to_owned()]
    } else {
        targets.to_vec()
    };
    let mut built = Vec::new();
    for target in &targets {
        for shipped in SHIPPED {
            let program = build_one(workspace, target, *shipped)?;
            sbom::write(workspace, &program.file, deb::version(workspace), &[part(*shipped, target)])?;
            built.push(program);
        }
        device::pack(workspace, target)?;
    }
    deb::pack_all(workspace)?;
    signature::seal(&workspace.target.join("dist"), key)?;
    match output {
        Output::Table => println!("{}", table(&built)),
        Output::Json => println!("{:#}", told(&built)),
    }
    let list = |like: &dyn Fn(&&Built) -> bool| {
        built
            .iter()
            .filter(like)
            .map(|one| format!("{} for {}: {} bytes", one.program, one.target, one.bytes))
            .collect::<Vec<_>>()
    };
    let broken = list(&|one| one.starts == Start::No);
    if !broken.is_empty() {
        return Err(Trouble::new("what was built does not start").why(broken.join("\n")));
    }
    let too_large = list(&|one| !one.keeps_budget());
    if !too_large.is_empty() {
        return Err(Trouble::new(format!("the agent is larger than {AGENT_BYTES_MAX} bytes"))
            .why(too_large.join("\n"))
            .help("`cargo tree -p backstay-agent -e normal,features` shows what is in it"));
    }
    Ok(())
}

/// The target that ships for 64-bit ARM: the static one runs on any distribution and under qemu; the other is what
/// Debian's compiler can do.
fn arm() -> Result<&'static str, Trouble> {
    setup::ensure(Need::Arm)?;
    Ok(if toolchain::way(ARM_MUSL).is_some() { ARM_MUSL } else { ARM_GNU })
}

/// The target whose agent can be run here under an emulator; gets what that takes.
pub(crate) fn emulated() -> Result<&'static str, Trouble> {
    setup::ensure_all(&[Need::ArmRunner, Need::ArmCompiler])?;
    match arm()? {
        ARM_MUSL => Ok(ARM_MUSL),
        other => Err(Trouble::new(format!("{other} can't be run under qemu without a whole system for ARM"))
            .help(format!("run `rustup target add {ARM_MUSL}`"))),
    }
}

/// What is compiled of a program that ships.
pub(crate) fn part(shipped: Shipped, target: &str) -> Part {
    Part { package: shipped.package.into(), target: target.into() }
}

/// Where a program of this version lies once it is built for a target.
pub(crate) fn place(workspace: &Workspace, target: &str, shipped: Shipped) -> PathBuf {
    let version = deb::version(workspace);
    workspace.target.join("dist").join(format!("{}-{version}-{target}", shipped.program))
}

/// Builds the agent for one target as it ships.
pub(crate) fn build(workspace: &Workspace, target: &str) -> Result<Built, Trouble> {
    build_one(workspace, target, SHIPPED[0])
}

/// Builds all that a device runs for one target, as it ships, in the order of [`SHIPPED`].
pub(crate) fn build_shipped(workspace: &Workspace, target: &str) -> Result<Vec<Built>, Trouble> {
    SHIPPED.iter().map(|shipped| build_one(workspace, target, *shipped)).collect()
}

/// Builds a program for one target as it ships.
fn build_one(workspace: &Workspace, target: &str, shipped: Shipped) -> Result<Built, Trouble> {
    let Shipped { package, program: name } = shipped;
    let needs: &[Need] = match target {
        ARM_MUSL => &[Need::Arm, Need::ArmCompiler, Need::LibrarySource],
        ARM_GNU => &[Need::ArmGnu, Need::ArmCompiler],
        INTEL_MUSL => &[Need::IntelMusl],
        _ if target == toolchain::host()? => &[],
        _ => {
            return Err(Trouble::new(format!("{name} is not built for {target}"))
                .help(format!("there are {}, {ARM_MUSL}, {ARM_GNU}, {INTEL_MUSL}", toolchain::host()?)));
        }
    };
    setup::ensure_all(needs)?;
    let folder = workspace.target.join("dist");
    fs::create_dir_all(&folder)
        .map_err(|why| Trouble::new(format!("cannot make {}", folder.display())).why(why))?;
    let mut command = cargo_for(target, "rustc")?;
    toolchain::with_small_library(&mut command, target);
    command
        .env("CARGO_ENCODED_RUSTFLAGS", toolchain::without_paths(workspace))
        .args(["--profile", DEVICE, "-p", package, "--bin", name, "--"])
        .args(toolchain::small_link(target));
    // The first time, all that it depends on is built for that target: a busy machine takes more than half an hour.
    run_long(&mut command, &format!("build {name} for {target}"))?;
    let file = place(workspace, target, shipped);
    put(&workspace.target.join(target).join(DEVICE).join(name), &file)?;
    if target == ARM_MUSL {
        trim(&file)?;
    }
    let program =
        fs::read(&file).map_err(|why| Trouble::new(format!("cannot look at {}", file.display())).why(why))?;
    names_no_place(workspace, &file, &program)?;
    let bytes = program.len() as u64;
    let starts = tried(target, &file, &["--version".into()]);
    Ok(Built { program: name, starts, target: target.to_owned(), file, bytes })
}

/// That what ships, the bytes of `file`, has no path of this machine in it.
pub(crate) fn names_no_place(workspace: &Workspace, file: &Path, program: &[u8]) -> Result<(), Trouble> {
    let library = toolchain::library_source();
    for folder in [&workspace.root, &toolchain::cargo_home()].into_iter().chain(&library) {
        if names(program, folder.as_os_str().as_encoded_bytes()) {
            return Err(Trouble::new(format!("{} names {}", file.display(), folder.display()))
                .why("a path of the machine that builds has no business in what ships, and no two machines would build the same")
                .help("see which flags the compiler gets: `without_paths` in xtask/src/toolchain.rs"));
        }
    }
    Ok(())
}

/// Cuts off what lies behind all that is loaded: the linker was told to write no table of sections, and leaves room for it.
fn trim(file: &Path) -> Result<(), Trouble> {
    let failed = |why| Trouble::new(format!("cannot trim {}", file.display())).why(why);
    let program = fs::read(file).map_err(failed)?;
    if let Some(end) = end_of_segments(&program).filter(|end| program[*end..].iter().all(|byte| *byte == 0)) {
        let file = fs::OpenOptions::new().write(true).open(file).map_err(failed)?;
        file.set_len(end as u64).map_err(failed)?;
    }
    Ok(())
}

/// Where the last segment of a 64-bit, little-endian ELF program without a table of sections ends. Offsets are those of
/// `elf(5)`: `e_phoff`, `e_shoff`, `e_phentsize`, `e_phnum`, and of each header `p_offset` and `p_filesz`.
fn end_of_segments(program: &[u8]) -> Option<usize> {
    let long = |at: usize| Some(u64::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(u16::from_le_bytes(*program.get(at..)?.first_chunk()?));
    let is_ours = program.starts_with(b"\x7fELF\x02\x01") && long(40)? == 0;
    let (begin, size, count) = (usize::try_from(long(32)?).ok()?, short(54)?, short(56)?);
    let ends = (0..usize::from(count)).map(|number| {
        let header = begin + number * usize::from(size);
        long(header + 8)?.checked_add(long(header + 32)?)
    });
    let end = usize::try_from(ends.collect::<Option<Vec<u64>>>()?.into_iter().max()?).ok()?;
    (is_ours && (begin..=program.len()).contains(&end)).then_some(end)
}

/// Whether `program` has `path` in it. One as short as `/` says nothing.
fn names(program: &[u8], path: &[u8]) -> bool {
    path.len() > 1 && program.windows(path.len()).any(|bytes| bytes == path)
}

/// Builds what makes recorded calls again on 64-bit ARM, and puts it beside the programs of this machine, where
/// `backstay replay` looks for it.
pub(crate) fn build_rerun(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    let target = emulated()?;
    let mut command = cargo_for(target, "build")?;
    // Not what ships: quick to build counts, and nothing is timed under an emulator.
    command.args(["--profile", QUICK, "-p", RERUN_PACKAGE, "--bin", RERUN]);
    run_loudly(&mut command, &format!("build {RERUN} for {target}"))?;
    let folder = workspace.programs().join(Profile::Dev.folder());
    fs::create_dir_all(&folder)
        .map_err(|why| Trouble::new(format!("cannot make {}", folder.display())).why(why))?;
    let file = folder.join(format!("{RERUN}-aarch64"));
    put(&workspace.target.join(target).join(QUICK).join(RERUN), &file)?;
    Ok(file)
}

/// Tries a program of `target` out with these words, if this machine can.
pub(crate) fn tried(target: &str, file: &Path, words: &[String]) -> Start {
    let is_host = toolchain::host().is_ok_and(|host| host == target);
    let runs_here = is_host || (target == INTEL_MUSL && cfg!(target_arch = "x86_64"));
    let mut command = if runs_here {
        Command::new(file)
    } else {
        // qemu would need a whole Debian for arm64 to start a program of glibc's.
        let Some(qemu) = on_path("qemu-aarch64-static").filter(|_| target == ARM_MUSL) else {
            return Start::NotTried;
        };
        let mut command = Command::new(qemu);
        command.arg(file);
        command
    };
    let status =
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) { Start::Yes } else { Start::No }
}

fn share(bytes: u64) -> u64 {
    (bytes * 100).div_ceil(AGENT_BYTES_MAX)
}

/// For a person.
fn table(built: &[Built]) -> String {
    let mut lines = vec![format!(
        "{:<15} {:<28} {:>9} {:>9}  {:<9} FILE",
        "PROGRAM", "TARGET", "BYTES", "OF BUDGET", "STARTS"
    )];
    for one in built {
        let Built { program, target, bytes, .. } = one;
        let (starts, file) = (one.starts.word(), one.file.display());
        // The budget is the agent's alone.
        let share = if *program == AGENT { format!("{} %", share(*bytes)) } else { String::new() };
        lines.push(format!("{program:<15} {target:<28} {bytes:>9} {share:>9}  {starts:<9} {file}"));
    }
    lines.join("\n")
}

/// For a program.
fn told(built: &[Built]) -> Value {
    let told_of = |is_agent: bool| {
        let these = built.iter().filter(|one| (one.program == AGENT) == is_agent);
        these
            .map(|one| {
                json!({
                    "program": one.program, "target": one.target, "bytes": one.bytes, "file": one.file, "starts": one.starts.told(),
                })
            })
            .collect::<Vec<_>>()
    };
    json!({ "budget_bytes": AGENT_BYTES_MAX, "agents": told_of(true), "beside": told_of(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(bytes: u64, starts: Start) -> Built {
        Built { program: AGENT, target: ARM_MUSL.into(), file: "agent".into(), bytes, starts }
    }

    #[test]
    fn a_byte_over_the_budget_is_more_than_all_of_it() {
        assert_eq!(share(AGENT_BYTES_MAX), 100);
        assert_eq!(share(AGENT_BYTES_MAX + 1), 101);
        assert!(built(AGENT_BYTES_MAX, Start::Yes).keeps_budget());
        assert!(!built(AGENT_BYTES_MAX + 1, Start::Yes).keeps_budget());
        let other = Built { target: INTEL_MUSL.into(), ..built(AGENT_BYTES_MAX + 1, Start::Yes) };
        assert!(other.keeps_budget());
        let beside = Built { program: "backstay-slots", ..built(AGENT_BYTES_MAX + 1, Start::Yes) };
        assert!(beside.keeps_budget() && told(&[beside])["agents"].as_array().unwrap().is_empty());
    }

    #[test]
    fn a_program_ends_where_its_last_segment_does() {
        let mut program = vec![0; 64 + 2 * 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[32], program[54], program[56]) = (64, 56, 2);
        // The first is of 40 bytes from 200 on, the second of 10 from 190.
        (program[64 + 8], program[64 + 32], program[120 + 8], program[120 + 32]) = (200, 40, 190, 10);
        program.resize(300, 0);
        assert_eq!(end_of_segments(&program), Some(240));
        assert_eq!(end_of_segments(&program[..230]), None, "it is cut off");
        program[40] = 1;
        assert_eq!(end_of_segments(&program), None, "it has a table of sections");
        assert_eq!(end_of_segments(b"#!/bin/sh"), None);
    }

    #[test]
    fn a_path_of_the_machine_is_found_wherever_it_stands() {
        assert!(names(b"\0/home/ann/.cargo/registry", b"/home/ann/.cargo"));
        assert!(!names(b"\0tokio-1.54.1/src/lib.rs", b"/home/ann/.cargo"));
        assert!(!names(b"a/b", b"/") && !names(b"", b"/home"));
    }

    #[test]
    fn what_was_not_tried_is_not_said_to_start() {
        let all = [built(1, Start::Yes), built(2, Start::No), built(3, Start::NotTried)];
        let starts: Vec<_> =
            told(&all)["agents"].as_array().unwrap().iter().map(|one| one["starts"].clone()).collect();
        assert_eq!(starts, [json!(true), json!(false), Value::Null]);
        assert!(table(&all).contains("not tried"));
    }
}
