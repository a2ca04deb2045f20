//! `backstay plugin new`: a small project that builds at once, with all that it builds against.
//!
//! The SDK and the contract are written beside it, as they are in this program: whoever has it, and a Rust toolchain,
//! needs nothing else of this repository. Here: which files there are, and writing them. Not here: what is in them
//! (`new/`, `plugins/sdk`, `wit/`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_model::Name;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{Desk, Exit, Failure, file};

/// The SDK, file by file. A test compares it with the folder.
const SDK: &[(&str, &str)] = &[
    ("src/lib.rs", include_str!("../../../../../plugins/sdk/src/lib.rs")),
    ("src/bare.rs", include_str!("../../../../../plugins/sdk/src/bare.rs")),
    ("src/bindings.rs", include_str!("../../../../../plugins/sdk/src/bindings.rs")),
    ("src/deed.rs", include_str!("../../../../../plugins/sdk/src/deed.rs")),
    ("src/executor.rs", include_str!("../../../../../plugins/sdk/src/executor.rs")),
    ("src/executor/tests.rs", include_str!("../../../../../plugins/sdk/src/executor/tests.rs")),
    ("src/export.rs", include_str!("../../../../../plugins/sdk/src/export.rs")),
    ("src/guide.rs", include_str!("../../../../../plugins/sdk/src/guide.rs")),
    ("src/log.rs", include_str!("../../../../../plugins/sdk/src/log.rs")),
    ("src/log/frame.rs", include_str!("../../../../../plugins/sdk/src/log/frame.rs")),
    ("src/policy.rs", include_str!("../../../../../plugins/sdk/src/policy.rs")),
    ("src/quote.rs", include_str!("../../../../../plugins/sdk/src/quote.rs")),
    ("src/readings.rs", include_str!("../../../../../plugins/sdk/src/readings.rs")),
    ("src/remedy.rs", include_str!("../../../../../plugins/sdk/src/remedy.rs")),
    ("src/run.rs", include_str!("../../../../../plugins/sdk/src/run.rs")),
    ("src/settings.rs", include_str!("../../../../../plugins/sdk/src/settings.rs")),
    ("src/testing.rs", include_str!("../../../../../plugins/sdk/src/testing.rs")),
    ("guide/determinism.md", include_str!("../../../../../plugins/sdk/guide/determinism.md")),
    ("guide/idempotency.md", include_str!("../../../../../plugins/sdk/guide/idempotency.md")),
    ("guide/in-doubt.md", include_str!("../../../../../plugins/sdk/guide/in-doubt.md")),
    ("guide/state.md", include_str!("../../../../../plugins/sdk/guide/state.md")),
];

/// The contract, file by file. A test compares it with the folder.
const WIT: &[(&str, &str)] = &[
    ("common.wit", include_str!("../../../../../wit/common.wit")),
    ("decisions.wit", include_str!("../../../../../wit/decisions.wit")),
    ("effects.wit", include_str!("../../../../../wit/effects.wit")),
    ("executor.wit", include_str!("../../../../../wit/executor.wit")),
    ("facts.wit", include_str!("../../../../../wit/facts.wit")),
    ("orders.wit", include_str!("../../../../../wit/orders.wit")),
    ("policy.wit", include_str!("../../../../../wit/policy.wit")),
];

const SDK_MANIFEST: &str = include_str!("new/sdk.toml");
const CARGO: &str = include_str!("new/cargo.toml");

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The plugin's name; a folder of this name is made
    pub(super) name: Name,
    /// A policy: facts in, one decision out
    #[arg(long, required_unless_present = "executor", conflicts_with = "executor")]
    pub(super) policy: bool,
    /// An executor: does what was decided
    #[arg(long)]
    pub(super) executor: bool,
    /// In which language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub(super) lang: Language,
    /// Whose it is: the first half of the plugin's id, as the keyring has it
    #[arg(long, value_name = "NAME", default_value = "acme")]
    pub(super) vendor: Name,
    /// Where the folder is made
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(super) dir: PathBuf,
}

/// A language that plugins are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// With the SDK
    Rust,
    /// By componentize-qjs, from npm; some 1.6 MB, for a server
    Js,
    /// By componentize-py, from PyPI; some 18 MB, for a server
    Python,
    /// By zig's C compiler, from PyPI
    C,
}

/// Which of the two worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Policy,
    Executor,
}

impl Shape {
    fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Executor => "executor",
        }
    }

    /// Manifest, vector, and what both are about.
    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Policy => vec![
                ("manifest.toml", include_str!("new/policy.manifest.toml")),
                ("tests/goes-home.toml", include_str!("new/policy.vector.toml")),
                ("README.md", include_str!("new/readme.md")),
            ],
            Self::Executor => vec![
                ("manifest.toml", include_str!("new/executor.manifest.toml")),
                ("tests/restarts.toml", include_str!("new/executor.vector.toml")),
                ("tests/restarts-in-doubt.toml", include_str!("new/executor.doubt.toml")),
                ("README.md", include_str!("new/readme.md")),
            ],
        }
    }
}

impl Language {
    /// The source, and what it is called.
    fn source(self, shape: Shape) -> (&'static str, &'static str) {
        match (self, shape) {
            (Self::Rust, Shape::Policy) => ("src/lib.rs", include_str!("new/policy.rs.txt")),
            (Self::Rust, Shape::Executor) => ("src/lib.rs", include_str!("new/executor.rs.txt")),
            (Self::Js, Shape::Policy) => ("plugin.js", include_str!("new/policy.js.txt")),
            (Self::Js, Shape::Executor) => ("plugin.js", include_str!("new/executor.js.txt")),
            (Self::Python, Shape::Policy) => ("plugin.py", include_str!("new/policy.py.txt")),
            (Self::Python, Shape::Executor) => ("plugin.py", include_str!("new/executor.py.txt")),
            (Self::C, Shape::Policy) => ("plugin.c", include_str!("new/policy.c.txt")),
            (Self::C, Shape::Executor) => ("plugin.c", include_str!("new/executor.c.txt")),
        }
    }

    /// What it takes beside this program.
    fn needs(self) -> &'static str {
        match self {
            Self::Rust => {
                "Rust, with `rustup target add wasm32-unknown-unknown`. The SDK: [backstay/sdk](backstay/sdk)"
            }
            Self::Js => "node, with `npm install componentize-qjs@0.4.5` here",
            Self::Python => {
                "python3, with `python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1` here"
            }
            Self::C => "python3, with `python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1` here",
        }
    }

    /// Whether what comes out is for servers alone.
    fn is_large(self) -> bool {
        match self {
            Self::Rust | Self::C => false,
            Self::Js | Self::Python => true,
        }
    }

    fn ignored(self) -> &'static str {
        match self {
            Self::Rust => "/target\n*.wasm\n",
            Self::Js => "/node_modules\n/package*.json\n*.wasm\n",
            Self::Python => "/.venv\n__pycache__\n*.wasm\n",
            Self::C => "/.venv\n*.wasm\n",
        }
    }

    /// What the limits of the manifest have to be for what the toolchain makes.
    fn limits(self) -> [(&'static str, u32); 3] {
        let (memory, table, call) = match self {
            Self::Rust | Self::C => (4 << 20, 1_024, 250),
            Self::Js => (8 << 20, 1_024, 1_000),
            Self::Python => (16 << 20, 8_192, 5_000),
        };
        [("{{memory}}", memory), ("{{table}}", table), ("{{call}}", call)]
    }
}

#[derive(Serialize)]
struct Made<'a> {
    folder: &'a Path,
    world: &'static str,
    files: Vec<String>,
}

impl New {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let folder = self.dir.join(self.name.as_str());
        if folder.exists() {
            return Err(file::exists(&folder));
        }
        let shape = if self.policy { Shape::Policy } else { Shape::Executor };
        let mut files: Vec<(String, String)> = Vec::new();
        for (name, content) in shape.files() {
            files.push((name.into(), self.filled(content, shape)));
        }
        let (source, content) = self.lang.source(shape);
        files.push((source.into(), self.filled(content, shape)));
        files.push((".gitignore".into(), self.lang.ignored().into()));
        match self.lang {
            Language::Rust => {
                files.push(("Cargo.toml".into(), self.filled(CARGO, shape)));
                files.push(("backstay/sdk/Cargo.toml".into(), SDK_MANIFEST.into()));
                files.extend(SDK.iter().map(|(name, text)| (format!("backstay/sdk/{name}"), (*text).into())));
            }
            Language::Js | Language::Python | Language::C => {}
        }
        files.extend(WIT.iter().map(|(name, text)| (format!("wit/{name}"), (*text).into())));
        for (name, content) in &files {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(&folder);
            fs::create_dir_all(parent).map_err(|why| {
                Failure::new(Exit::Trouble, format!("cannot make {}", parent.display())).why(why)
            })?;
            file::write_new(&path, content.as_bytes(), file::Access::Public)?;
        }
        let names = files.into_iter().map(|(name, _)| name).collect();
        let made = Made { folder: &folder, world: shape.word(), files: names };
        desk.printer.show("plugin-project", &made, || {
            let named = ["manifest.toml", source, "README.md"].map(|name| folder.join(name));
            named.iter().map(|path| format!("{}\n", path.display())).collect()
        })?;
        desk.printer.say(format_args!("next: cd {} && backstay plugin build .", folder.display()));
        Ok(Exit::Done)
    }

    fn filled(&self, template: &str, shape: Shape) -> String {
        let name = self.name.as_str();
        let words = name.split('-').filter(|word| !word.is_empty());
        let ty: String = words
            .map(|word| {
                let (first, rest) = word.split_at(1);
                first.to_ascii_uppercase() + rest
            })
            .collect();
        // A type can't begin with a digit, and a package neither.
        let ty = if ty.starts_with(|c: char| c.is_ascii_digit()) { format!("Plugin{ty}") } else { ty };
        let package = if name.starts_with(|c: char| c.is_ascii_digit()) {
            format!("plugin-{name}")
        } else {
            name.into()
        };
        let limits = self.lang.limits().into_iter();
        let template =
            limits.fold(template.to_owned(), |text, (key, limit)| text.replace(key, &limit.to_string()));
        template
            .replace("{{name}}", name)
            .replace("{{package}}", &package)
            .replace("{{type}}", &ty)
            .replace("{{vendor}}", self.vendor.as_str())
            .replace("{{shape}}", shape.word())
            .replace("{{source}}", self.lang.source(shape).0)
            .replace("{{needs}}", self.lang.needs())
            .replace("{{tier}}", if self.lang.is_large() { " --tier server" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn listed(folder: &Path, below: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                listed(&path, below, into);
            } else {
                into.push(path.strip_prefix(below).unwrap().display().to_string());
            }
        }
    }

    #[test]
    fn the_sdk_and_the_contract_are_carried_whole() {
        let carried = |of: &[(&str, &str)]| {
            let mut names: Vec<String> = of.iter().map(|(name, _)| (*name).into()).collect();
            names.sort();
            names
        };
        let (sdk, wit) = (root().join("plugins/sdk"), root().join("wit"));
        let (mut in_sdk, mut in_wit) = (Vec::new(), Vec::new());
        listed(&sdk.join("src"), &sdk, &mut in_sdk);
        listed(&sdk.join("guide"), &sdk, &mut in_sdk);
        listed(&wit, &wit, &mut in_wit);
        in_sdk.sort();
        in_wit.sort();
        assert_eq!(carried(SDK), in_sdk);
        assert_eq!(carried(WIT), in_wit);
    }

    /// What the SDK is built with here, it is built with there.
    #[test]
    fn the_sdk_is_carried_with_its_dependencies() {
        let here = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let line = here.lines().find(|line| line.starts_with("wit-bindgen =")).unwrap();
        assert!(SDK_MANIFEST.contains(line), "{line}");
        let declared = fs::read_to_string(root().join("plugins/sdk/Cargo.toml")).unwrap();
        let (_, dependencies) = declared.split_once("[dependencies]\n").unwrap();
        assert_eq!(dependencies.trim(), "wit-bindgen.workspace = true", "the SDK has another dependency");
    }

    #[test]
    fn a_project_is_whole_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let new = |name: &str, policy, lang| New {
            name: Name::parse(name).unwrap(),
            policy,
            executor: !policy,
            lang,
            vendor: Name::parse("acme").unwrap(),
            dir: dir.path().into(),
        };
        use Language::{C, Js, Python, Rust};
        for (name, policy, lang) in [
            ("executor-pump", false, Rust),
            ("policy-pump", true, Rust),
            ("7up", false, Rust),
            ("executor-js", false, Js),
            ("policy-js", true, Js),
            ("executor-py", false, Python),
            ("policy-py", true, Python),
            ("executor-c", false, C),
            ("policy-c", true, C),
        ] {
            new(name, policy, lang).run(&Desk::quiet()).unwrap();
            let folder = dir.path().join(name);
            let source = lang.source(if policy { Shape::Policy } else { Shape::Executor }).0;
            for entry in ["manifest.toml", source, "README.md", "wit/policy.wit"] {
                let text = fs::read_to_string(folder.join(entry)).unwrap();
                assert!(!text.contains("{{"), "{name}/{entry}: {text}");
            }
            let manifest = super::super::manifest::Manifest::read(&folder.join("manifest.toml")).unwrap();
            let identity = manifest.identity(&folder.join("manifest.toml")).unwrap();
            assert_eq!(identity.id.as_str(), format!("acme/{name}"));
            let vectors = super::super::test::vectors(&folder.join("tests")).unwrap();
            assert_eq!(vectors.len(), if policy { 1 } else { 2 });
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            assert!(readme.lines().count() <= 24, "{readme}");
        }
        assert_eq!(new("7up", false, Rust).run(&Desk::quiet()).unwrap_err().exit(), Exit::Refused);
    }
}
