//! The toolchains that plugins are written with, and the program that calls them.
//!
//! Here: where they are, and asking `backstay plugin`. A toolchain that isn't there makes its tests say so, and pass; the tier
//! puts it in place (`cargo xtask test plugins`). Not here: what is asked; that stands in `tests/`.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// A language that plugins are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// C.
    C,
    /// JavaScript.
    Js,
    /// Python.
    Python,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Rust, Self::C, Self::Js, Self::Python];

    /// As `plugin new --lang` has it, and the folder of the example.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Js => "js",
            Self::Python => "python",
        }
    }

    /// What is too large for a device.
    #[must_use]
    pub fn tier(self) -> &'static str {
        match self {
            Self::Rust | Self::C => "device",
            Self::Js | Self::Python => "server",
        }
    }

    /// Where its toolchain has its programs, below the folder of all toolchains, and the one that is wanted.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Rust => None,
            Self::C => Some(("python/bin", "python-zig")),
            Self::Js => Some(("node/node_modules/.bin", "componentize-qjs")),
            Self::Python => Some(("python/bin", "componentize-py")),
        }
    }

    /// Whether it can be built here; if not, that was said.
    #[must_use]
    pub fn is_here(self) -> bool {
        let Some((folder, program)) = self.program() else { return true };
        let here = toolchains().join(folder).join(program).is_file();
        if !here {
            println!("skipped, because {program} is not there: cargo xtask test plugins gets it");
        }
        here
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The root of this tree.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn told(name: &str, usual: &str) -> PathBuf {
    env::var_os(name).map_or_else(|| root().join("target").join(usual), PathBuf::from)
}

fn toolchains() -> PathBuf {
    told("BACKSTAY_TOOLCHAINS", "toolchains")
}

/// Whether the long form is asked for: every language, minutes.
#[must_use]
pub fn is_long() -> bool {
    env::var_os("BACKSTAY_LONG").is_some()
}

/// What a command gets to know: our programs and the toolchains first on the path, and one folder for whatever cargo builds,
/// so that the SDK is compiled once for all.
#[must_use]
pub fn environment() -> Vec<(&'static str, String)> {
    let programs = told("BACKSTAY_PROGRAMS", "programs/debug");
    assert!(
        programs.join("backstay").is_file(),
        "the programs are not built: cargo xtask test plugins builds them"
    );
    let folders = Language::ALL.iter().filter_map(|language| language.program());
    let mut paths = vec![programs];
    paths.extend(folders.map(|(folder, _)| toolchains().join(folder)));
    paths.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let path = env::join_paths(paths).unwrap_or_default().to_string_lossy().into_owned();
    let guests = root().join("target/guests").display().to_string();
    vec![("PATH", path), ("CARGO_TARGET_DIR", guests), ("NO_COLOR", "1".into())]
}

/// Calls `backstay plugin` in a folder, and gives what it printed.
///
/// # Errors
/// It ended with something else than 0: both of its outputs.
pub fn plugin(dir: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("backstay");
    command.arg("plugin").args(words).current_dir(dir).envs(environment());
    let done = command.output().map_err(|why| format!("cannot start backstay: {why}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() {
        return Ok(text(&done.stdout));
    }
    let words = words.join(" ");
    Err(format!("backstay plugin {words}: {}\n{}{}", done.status, text(&done.stdout), text(&done.stderr)))
}
