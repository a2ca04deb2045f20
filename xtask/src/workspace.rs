//! The workspace as cargo sees it.
//!
//! Here: which packages there are, what each declares to depend on, and where things are built. Not here: what they
//! *may* depend on (`arrows`), and how they are built (`toolchain`, `programs`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::trouble::Trouble;

/// One workspace, read by `cargo metadata`.
pub(crate) struct Workspace {
    /// Where the workspace's `Cargo.toml` is.
    pub(crate) root: PathBuf,
    /// Cargo's target directory; everything that xtask makes is below it.
    pub(crate) target: PathBuf,
    /// Sorted by name.
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its folder, relative to the root: `runtime/core`.
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// The names of its programs.
    pub(crate) programs: Vec<String>,
    pub(crate) library: Library,
    /// What its tests and programs ask for by `required-features`, as `package/feature`: without it cargo leaves them
    /// out and says nothing.
    pub(crate) features: Vec<String>,
}

/// What kind of library a package has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    None,
    /// One that other crates can use: its documentation examples are tests.
    Rust,
}

/// One line of a package's dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The package's real name, also where it was renamed.
    pub(crate) name: String,
    pub(crate) when: When,
    pub(crate) origin: Origin,
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// In what ships, at run time or while it is built.
    Shipped,
    /// By tests and examples only.
    Tests,
}

/// Who wrote a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Ours,
    Others,
}

/// The cargo that runs this very program.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Workspace {
    /// What `cargo tree` says of it with these words.
    pub(crate) fn cargo_tree(&self, words: &[&str]) -> Result<String, Trouble> {
        let failed = || Trouble::new(format!("cannot read `cargo tree {}`", words.join(" ")));
        let output = cargo().current_dir(&self.root).arg("tree").args(words).output();
        let output = output.map_err(|why| failed().why(why))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(failed().why(String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// Reads the workspace that this program was built in.
    pub(crate) fn read() -> Result<Self, Trouble> {
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        // `cargo run` sets the first; a copied binary finds the workspace from where it is called.
        if let Some(folder) = env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(folder);
        }
        let failed = || Trouble::new("cannot read the workspace");
        let output = command.output().map_err(|why| failed().why(why).help("is cargo on the PATH?"))?;
        if !output.status.success() {
            return Err(failed().why(String::from_utf8_lossy(&output.stderr)));
        }
        let json: Value = serde_json::from_slice(&output.stdout).map_err(|why| failed().why(why))?;
        Self::parse(&json)
            .ok_or_else(|| failed().why("cargo metadata has a form that this xtask doesn't know"))
    }

    /// `None` where a field is missing that every cargo since 1.40 writes.
    fn parse(json: &Value) -> Option<Self> {
        let root = PathBuf::from(json["workspace_root"].as_str()?);
        let target = PathBuf::from(json["target_directory"].as_str()?);
        let mut packages = json["packages"]
            .as_array()?
            .iter()
            .map(|package| Package::parse(package, &root))
            .collect::<Option<Vec<_>>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Workspace { root, target, packages })
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The packages in a folder of the root, such as `plugins`.
    pub(crate) fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a Package> {
        self.packages.iter().filter(move |package| package.folder.starts_with(folder))
    }

    /// Where `cargo xtask build` puts the programs: `debug` or `release` below it.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("programs")
    }

    /// Where the plugins that ship are put, as components.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }
}

impl Package {
    fn parse(json: &Value, root: &Path) -> Option<Self> {
        let manifest = Path::new(json["manifest_path"].as_str()?);
        let folder = manifest.parent()?.strip_prefix(root).ok()?.to_path_buf();
        let dependencies =
            json["dependencies"].as_array()?.iter().map(Dependency::parse).collect::<Option<_>>()?;
        let name = json["name"].as_str()?.to_owned();
        let (mut programs, mut library, mut features) = (Vec::new(), Library::None, Vec::new());
        for target in json["targets"].as_array()? {
            let required = target["required-features"].as_array().into_iter().flatten();
            features.extend(required.filter_map(Value::as_str).map(|feature| format!("{name}/{feature}")));
            for kind in target["kind"].as_array()?.iter().filter_map(Value::as_str) {
                match kind {
                    "bin" => programs.push(target["name"].as_str()?.to_owned()),
                    "lib" | "rlib" => library = Library::Rust,
                    _ => {}
                }
            }
        }
        features.sort();
        features.dedup();
        let version = json["version"].as_str()?.to_owned();
        Some(Package { name, version, folder, dependencies, programs, library, features })
    }
}

impl Dependency {
    fn parse(json: &Value) -> Option<Self> {
        Some(Dependency {
            name: json["name"].as_str()?.to_owned(),
            when: if json["kind"].as_str() == Some("dev") { When::Tests } else { When::Shipped },
            // Whatever comes by path is ours; a registry or a repository is a `source`.
            origin: if json["source"].is_null() { Origin::Ours } else { Origin::Others },
        })
    }
}
