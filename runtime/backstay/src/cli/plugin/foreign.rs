//! Building a plugin that is not written in Rust: by the toolchain of its language, against the contract beside it.
//!
//! Here: finding the toolchain, in the project before on the PATH, and calling it; what to install where it is missing.
//! Everything of the system is stubbed out by the toolchain. What is still imported, `plugin check` and the grant refuse.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_trust::World;

use super::manifest::Manifest;
use crate::{Exit, Failure};

/// A language with its source file and its tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// `plugin.js`, by componentize-qjs.
    Js,
    /// `plugin.py`, by componentize-py.
    Python,
}

impl Foreign {
    /// Which language a project is in, if it is one of these.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        [Self::Js, Self::Python].into_iter().find(|language| dir.join(language.source()).is_file())
    }

    fn source(self) -> &'static str {
        match self {
            Self::Js => "plugin.js",
            Self::Python => "plugin.py",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Js => "componentize-qjs",
            Self::Python => "componentize-py",
        }
    }

    /// Where a project keeps tools of its own.
    fn own(self) -> &'static str {
        match self {
            Self::Js => "node_modules/.bin",
            Self::Python => ".venv/bin",
        }
    }

    fn install(self) -> &'static str {
        match self {
            Self::Js => "in the project: npm install componentize-qjs@0.4.5",
            Self::Python => {
                "in the project: python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1"
            }
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
                command.args(["--stub-wasi", "--sync", "--opt-size", "--minify", "--output"]).arg(&out);
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
                command.arg("--wit-path").arg(wit).args(["--world", world, "componentize", "--stub-wasi"]);
                command
                    .args(["--python-path", ".", "plugin", "--output"])
                    .arg(&out)
                    .current_dir(folder.path());
            }
        }
        let status = command.stdout(Stdio::null()).status().map_err(trouble)?;
        if !status.success() {
            return Err(Failure::new(Exit::Trouble, format!("cannot build {}", dir.display()))
                .help(format!("{} has said above why", self.tool())));
        }
        let name = identity.id.as_str().split('/').next_back().unwrap_or("plugin").to_owned();
        Ok((name, fs::read(&out).map_err(trouble)?))
    }

    fn find(self, dir: &Path) -> Result<PathBuf, Failure> {
        let own = dir.join(self.own()).join(self.tool());
        let found = if own.is_file() { fs::canonicalize(own).ok() } else { on_path(self.tool()) };
        found.ok_or_else(|| {
            let what =
                format!("{} is neither in {} nor on the PATH", self.tool(), dir.join(self.own()).display());
            Failure::new(Exit::NotFound, what).help(self.install())
        })
    }
}

/// The name of the world within the contract.
fn world(world: Option<&World>) -> Option<&'static str> {
    let text = world?.as_str();
    ["policy", "executor"].into_iter().find(|name| text.starts_with(&format!("backstay:plugin/{name}@")))
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
