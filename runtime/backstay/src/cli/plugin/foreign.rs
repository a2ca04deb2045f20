//! Building a plugin that is not written in Rust: by the toolchain of its language, against the contract beside it.
//!
//! Here: finding the toolchain, in the project before on the PATH, and calling it; what to install where it is missing.
//! Not here: the system that a run-time library imports. What is compiled for a machine has none (`backstay-host`).

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_host::componentize;
use backstay_trust::World;
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::manifest::Manifest;
use crate::{Exit, Failure};

/// A language with its source file and its tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// `plugin.js`, by componentize-qjs.
    Js,
    /// `plugin.py`, by componentize-py.
    Python,
    /// `plugin.c` and whatever other `.c` files there are, by zig's C compiler.
    C,
}

/// For the smallest module with a C library in it: what it imports of the system is what it calls, as a rule nothing.
const C_FLAGS: [&str; 9] = [
    "cc",
    "-target",
    "wasm32-wasi",
    "-mexec-model=reactor",
    "-Os",
    "-flto",
    "-Wl,--strip-all",
    // Plugins have little to keep there, and it is memory that counts against their limit.
    "-Wl,-z,stack-size=65536",
    "-Wall",
];

impl Foreign {
    /// Which language a project is in, if it is one of these.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        [Self::Js, Self::Python, Self::C].into_iter().find(|language| dir.join(language.source()).is_file())
    }

    fn source(self) -> &'static str {
        match self {
            Self::Js => "plugin.js",
            Self::Python => "plugin.py",
            Self::C => "plugin.c",
        }
    }

    /// What it may be called. zig from PyPI has a name of its own.
    fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Js => &["componentize-qjs"],
            Self::Python => &["componentize-py"],
            Self::C => &["python-zig", "zig"],
        }
    }

    /// Where a project keeps tools of its own.
    fn own(self) -> &'static str {
        match self {
            Self::Js => "node_modules/.bin",
            Self::Python | Self::C => ".venv/bin",
        }
    }

    fn install(self) -> &'static str {
        match self {
            Self::Js => "in the project: npm install componentize-qjs@0.4.5",
            Self::Python => {
                "in the project: python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1"
            }
            Self::C => "in the project: python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1",
        }
    }

    /// Builds the project in `dir`, and says what the component is called.
    pub(super) fn build(self, dir: &Path) -> Result<(String, Vec<u8>), Failure> {
        let manifest_path = dir.join("manifest.toml");
        let manifest = Manifest::read(&manifest_path)?;
        let identity = manifest.identity(&manifest_path)?;
        let world = world(identity.world.as_ref()).ok_or_else(|| {
            let what = format!("{} doesn't say for which world it is", manifest_path.display());
            Failure::new(Exit::Configuration, what)
                .help("world = \"backstay:plugin/executor@0.1.0\", or policy in its place")
        })?;
        let tool = self.find(dir)?;
        let trouble = |why: std::io::Error| {
            Failure::new(Exit::Trouble, format!("cannot build {}", dir.display())).why(why)
        };
        let folder = tempfile::tempdir().map_err(trouble)?;
        let out = folder.path().join("component.wasm");
        let mut command = Command::new(&tool);
        match self {
            Self::Js => {
                command.args(["--wit", "wit", "--world", world, "--js", self.source()]);
                // The smaller run-time library needs tail calls, which are switched off.
                command.args(["--sync", "--minify", "--output"]).arg(&out);
                command.current_dir(dir);
            }
            Self::Python => {
                // A copy: importing leaves files beside the sources.
                for entry in fs::read_dir(dir).map_err(trouble)? {
                    let path = entry.map_err(trouble)?.path();
                    if path.extension().is_some_and(|ending| ending == "py") {
                        let name = path.file_name().unwrap_or_default();
                        fs::copy(&path, folder.path().join(name)).map_err(trouble)?;
                    }
                }
                let wit = fs::canonicalize(dir.join("wit")).map_err(trouble)?;
                command.arg("--wit-path").arg(wit).args(["--world", world, "componentize"]);
                command
                    .args(["--python-path", ".", "plugin", "--output"])
                    .arg(&out)
                    .current_dir(folder.path());
            }
            Self::C => {
                let bindings = c_bindings(&dir.join("wit"), world).map_err(|why| {
                    Failure::new(
                        Exit::Configuration,
                        format!("{} is not the contract", dir.join("wit").display()),
                    )
                    .why(why)
                    .help("backstay plugin new writes it beside the plugin")
                })?;
                command.args(C_FLAGS).arg("-I").arg(folder.path());
                for (name, content) in bindings.iter() {
                    let path = folder.path().join(name);
                    fs::write(&path, content).map_err(trouble)?;
                    if !name.ends_with(".h") {
                        command.arg(path);
                    }
                }
                command.args(c_files(dir).map_err(trouble)?).arg("-o").arg(&out).current_dir(dir);
            }
        }
        let status = command.stdout(Stdio::null()).status().map_err(trouble)?;
        if !status.success() {
            return Err(Failure::new(Exit::Trouble, format!("cannot build {}", dir.display()))
                .help(format!("{} has said above why", self.tools().join(" or "))));
        }
        let mut built = fs::read(&out).map_err(trouble)?;
        if self == Self::C {
            built = componentize(&built).map_err(|why| {
                Failure::new(Exit::Trouble, format!("cannot make a component of {}", dir.display()))
                    .why(why)
                    .help("it calls the system: leave out what prints, opens, or asks for the time")
            })?;
        }
        let name = identity.id.as_str().split('/').next_back().unwrap_or("plugin").to_owned();
        Ok((name, built))
    }

    fn find(self, dir: &Path) -> Result<PathBuf, Failure> {
        let own = dir.join(self.own());
        // A program of a Python environment finds it by its own path: links are not followed.
        let here = self.tools().iter().map(|tool| own.join(tool)).find(|path| path.is_file());
        let here = here.and_then(|path| std::path::absolute(path).ok());
        let found = here.or_else(|| self.tools().iter().find_map(|tool| on_path(tool)));
        found.ok_or_else(|| {
            let what =
                format!("{} is neither in {} nor on the PATH", self.tools().join(" or "), own.display());
            Failure::new(Exit::NotFound, what).help(self.install())
        })
    }
}

/// The name of the world within the contract.
fn world(world: Option<&World>) -> Option<&'static str> {
    let text = world?.as_str();
    ["policy", "executor"].into_iter().find(|name| text.starts_with(&format!("backstay:plugin/{name}@")))
}

/// The bindings of a world for C: a header, a source, and an object that says which world it is.
fn c_bindings(wit: &Path, world: &str) -> Result<Files, Box<dyn std::error::Error>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    Ok(files)
}

/// The sources of a project in C, sorted: the same files are the same component.
fn c_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "c") {
            files.extend(path.file_name().map(PathBuf::from));
        }
    }
    files.sort();
    Ok(files)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|dir| dir.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_tells_its_language_by_its_source_and_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Foreign::of(dir.path()), None);
        fs::write(dir.path().join("plugin.py"), "").unwrap();
        assert_eq!(Foreign::of(dir.path()), Some(Foreign::Python));
        fs::write(dir.path().join("plugin.js"), "").unwrap();
        assert_eq!(Foreign::of(dir.path()), Some(Foreign::Js));
        let manifest = "id = \"acme/pump\"\nversion = \"1.0.0\"\n";
        fs::write(dir.path().join("manifest.toml"), manifest).unwrap();
        let failure = Foreign::Js.build(dir.path()).unwrap_err();
        assert!(failure.to_string().contains("for which world"), "{failure}");
    }
}
