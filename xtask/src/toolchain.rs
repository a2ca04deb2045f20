//! How code for another machine is built here.
//!
//! Here: the targets, the two ways to a standard library for each (rustup's, Debian's), and the cargo command line
//! that follows. Not here: putting in place what is missing (`setup`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// The machine that plugins, and the proof that a crate needs no machine, are built for.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// 64-bit ARM, static: the one that also runs under qemu.
pub(crate) const ARM_MUSL: &str = "aarch64-unknown-linux-musl";
/// 64-bit ARM with glibc: the one that Debian has a standard library for.
pub(crate) const ARM_GNU: &str = "aarch64-unknown-linux-gnu";
/// x86_64, static.
pub(crate) const INTEL_MUSL: &str = "x86_64-unknown-linux-musl";

/// Debian's compiler, from the packages `rustc-web` and `cargo-web`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How a target can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The standard library came with the toolchain in use.
    Toolchain,
    /// Debian's compiler compiles Debian's standard library along with ours.
    DebianSource,
    /// Debian's compiler with a standard library that Debian compiled.
    DebianLibrary,
}

/// How `target` can be built right now; `None` if something has to be put in place first.
pub(crate) fn way(target: &str) -> Option<Way> {
    let library = |sysroot: &Path| sysroot.join("lib/rustlib").join(target).join("lib").is_dir();
    if sysroot().is_some_and(library) {
        return Some(Way::Toolchain);
    }
    if !debian_is_new_enough() {
        return None;
    }
    let source = Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml");
    match target {
        WASM if source.exists() && lld().is_some() => Some(Way::DebianSource),
        ARM_GNU if library(Path::new("/usr")) => Some(Way::DebianLibrary),
        _ => None,
    }
}

/// Where what plugins are made with in other languages is put: below the target folder, so that nothing else finds it.
pub(crate) fn languages() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let target = || Workspace::read().map_or_else(|_| PathBuf::from("target"), |workspace| workspace.target);
    FOLDER.get_or_init(|| target().join("toolchains")).clone()
}

/// A program of one of these, if it is there.
pub(crate) fn of_languages(program: &str) -> Option<String> {
    let file = languages().join(program);
    file.is_file().then(|| file.display().to_string())
}

/// The cargo command `verb` for `target`, with all that its way asks for.
pub(crate) fn cargo_for(target: &str, verb: &str) -> Result<Command, Trouble> {
    let way = way(target).ok_or_else(|| {
        Trouble::new(format!("cannot build for {target}: its standard library is missing"))
            .help("run `cargo xtask setup`")
    })?;
    let mut command = cargo();
    command.args([verb, "--target", target]);
    match way {
        Way::Toolchain => {}
        Way::DebianSource => {
            command.arg("-Zbuild-std=std,panic_abort").env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            if let Some(lld) = lld() {
                command.env(linker_variable(target), lld);
            }
        }
        Way::DebianLibrary => {
            command.env("RUSTC", DEBIAN_RUSTC);
        }
    }
    Ok(command)
}

/// The source of the standard library that came with the toolchain in use.
pub(crate) fn library_source() -> Option<PathBuf> {
    let source = sysroot()?.join("lib/rustlib/src/rust/library");
    source.join("std/Cargo.toml").is_file().then_some(source)
}

/// Has `command` compile the standard library along with the program, where size is all: with the program's own optimisation, and
/// without what reads debug information for backtraces, which a program without symbols has none of.
///
/// It takes cargo's unstable `-Zbuild-std`, let in for this one command: the compiler and the sources stay those of the
/// stable release in use. What it brings is in runtime/decisions/0013-a-small-agent.md.
pub(crate) fn with_small_library(command: &mut Command, target: &str) {
    if target == ARM_MUSL && way(target) == Some(Way::Toolchain) {
        command.env("RUSTC_BOOTSTRAP", "1").args(["-Zbuild-std=std,panic_unwind", "-Zbuild-std-features="]);
    }
}

/// What the compiler is told that links a program for size; nothing where the linker is one that can't.
///
/// For the last step of one build, by `cargo rustc`, and not in `.cargo/config.toml`: there it would hold for every build,
/// have all that was built before built again, and reach linkers that don't know the words. What each brings is in
/// docs/benchmarks.md.
pub(crate) fn small_link(target: &str) -> &'static [&'static str] {
    if way(target) == Some(Way::Toolchain) { small(target) } else { &[] }
}

/// What the compiler is told so that no path of this machine gets into what ships: sources are named from the root of the
/// tree, packages by their own folder, and the standard library from its `library`. In the form of `CARGO_ENCODED_RUSTFLAGS`.
pub(crate) fn without_paths(workspace: &Workspace) -> OsString {
    let registries = fs::read_dir(cargo_home().join("registry/src")).into_iter().flatten().flatten();
    let library = library_source().and_then(|library| Some(library.parent()?.to_owned()));
    let folders = registries.map(|registry| registry.path()).chain([workspace.root.clone()]).chain(library);
    let mut flags = OsString::new();
    for folder in folders {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(folder);
        flags.push("/=");
    }
    flags
}

/// Where cargo keeps what it has fetched.
pub(crate) fn cargo_home() -> PathBuf {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"))).unwrap_or_default()
}

fn small(target: &str) -> &'static [&'static str] {
    match target {
        // Linked by rust-lld itself: functions with the same code become one. rustc links this target to a fixed place, so
        // there is nothing to relocate at the start. Where size is all, LLVM moves repeated instructions into functions of
        // their own on this CPU, and counts the instructions only: each such function also takes 28 bytes of unwinding
        // tables, so it has to save more than these. Those functions have repetitions of their own, so it looks again. The table
        // of sections is for linkers and debuggers: the kernel, and whoever unwinds, go by the program's headers.
        ARM_MUSL => &[
            "-Clink-arg=--icf=all",
            "-Clink-arg=-znosectionheader",
            "-Cllvm-args=-outliner-benefit-threshold=48",
            "-Cllvm-args=-machine-outliner-reruns=2",
        ],
        // This one may lie anywhere. Relocations that only add where it lies take some bits each instead of 24 bytes;
        // musl does them since 1.2.4, and std brings a later one.
        // rustc would link it behind the C compiler, whose linker knows neither word.
        INTEL_MUSL => &["-Clinker=rust-lld", "-Clink-arg=--pack-dyn-relocs=relr", "-Clink-arg=--icf=all"],
        // Linked by rust-lld behind the C compiler. Packed relocations would need glibc 2.36, which is younger than
        // distributions that devices still run.
        "x86_64-unknown-linux-gnu" => &["-Clink-arg=-Wl,--icf=all"],
        // The C compiler's own linker, which knows none of this.
        _ => &[],
    }
}

/// `CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER`
fn linker_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"))
}

/// The machine that this runs on, as rustc calls it.
pub(crate) fn host() -> Result<&'static str, Trouble> {
    static HOST: OnceLock<Option<String>> = OnceLock::new();
    HOST.get_or_init(|| {
        let told = say("rustc", &["-vV"])?;
        told.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
    })
    .as_deref()
    .ok_or_else(|| Trouble::new("cannot ask rustc which machine this is").help("is rustc on the PATH?"))
}

/// Where the compiler in use keeps its libraries.
fn sysroot() -> Option<&'static Path> {
    static SYSROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    SYSROOT.get_or_init(|| say("rustc", &["--print", "sysroot"]).map(|path| path.trim().into())).as_deref()
}

/// The linker that comes inside every rustup toolchain.
fn lld() -> Option<PathBuf> {
    let lld = sysroot()?.join("lib/rustlib").join(host().ok()?).join("bin/rust-lld");
    lld.exists().then_some(lld)
}

fn debian_is_new_enough() -> bool {
    let minor = || {
        let version = say(DEBIAN_RUSTC, &["--version"])?;
        version.strip_prefix("rustc 1.")?.split('.').next()?.parse::<u32>().ok()
    };
    minor().is_some_and(|minor| minor >= 95)
}

/// What a command prints, if it runs and succeeds.
pub(crate) fn say(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_finds_the_linker_of_a_target_by_this_name() {
        assert_eq!(linker_variable(WASM), "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER");
    }

    #[test]
    fn the_machine_that_builds_can_build_for_itself() {
        let host = host().expect("this test was built by rustc");
        assert_eq!(way(host), Some(Way::Toolchain));
        assert_eq!(way("pdp11-unknown-unix"), None);
    }
}
