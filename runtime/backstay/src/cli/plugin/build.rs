//! `backstay plugin build`: from a project to a portable component. Other languages than Rust are in `foreign`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_host::{componentize, world_of};
use clap::Args;
use serde::Serialize;

use super::foreign::Foreign;
use crate::{Desk, Exit, Failure, file, table::Table, text};

const TARGET: &str = "wasm32-unknown-unknown";
/// The largest module that is read, in bytes.
const MODULE_BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The folder of the project: a crate, or one with a plugin.c, a plugin.js or a plugin.py
    dir: PathBuf,
    /// Where the component goes; NAME.wasm here if it is left out
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Built<'a> {
    component: &'a Path,
    digest: String,
    bytes: usize,
    world: String,
}

impl Build {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let failed = |what: String| {
            move |why: backstay_host::CompileError| {
                let help = why.help();
                Failure::new(Exit::Trouble, what).why(why).maybe_help(help)
            }
        };
        let (name, component) = if self.dir.join("Cargo.toml").is_file() {
            has_target()?;
            desk.printer.say(format_args!("building {} for {TARGET}", self.dir.display()));
            let module = compile(&self.dir)?;
            let bytes = file::read(&module, MODULE_BYTES_MAX)?;
            let component = componentize(&bytes)
                .map_err(failed(format!("cannot make a component of {}", module.display())))?;
            (module.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-"), component)
        } else if let Some(language) = Foreign::of(&self.dir) {
            desk.printer.say(format_args!("building {}", self.dir.display()));
            language.build(&self.dir)?
        } else {
            let what = format!(
                "{} is no plugin: it has no Cargo.toml, plugin.c, plugin.js or plugin.py",
                self.dir.display()
            );
            return Err(Failure::new(Exit::NotFound, what)
                .help("name the folder of the plugin, or begin one: backstay plugin new"));
        };
        let world = world_of(&component).map_err(failed(format!("{} is no plugin", self.dir.display())))?;
        let out = self.out.clone().unwrap_or_else(|| format!("{name}.wasm").into());
        file::write(&out, &component)?;
        let built = Built {
            component: &out,
            digest: file::digest_of(&component).to_string(),
            bytes: component.len(),
            world: world.to_string(),
        };
        desk.printer.show("plugin-component", &built, || {
            let mut list = Table::list();
            list.say("component", out.display());
            list.say("digest", &built.digest);
            list.say("size", text::bytes(component.len() as u64));
            list.say("world", &built.world);
            list.to_string()
        })?;
        let (manifest, component) = (self.dir.join("manifest.toml"), out.display());
        desk.printer.say(format_args!(
            "next: backstay plugin sign --manifest {} --component {component} --key vendor.pem --sequence 1 --out {}",
            manifest.display(),
            file::beside(&out, "release").display(),
        ));
        Ok(Exit::Done)
    }
}

/// A standard library for the target belongs to the toolchain. Without it, cargo says so in fifty lines.
fn has_target() -> Result<(), Failure> {
    let missing = |what: String| {
        Failure::new(Exit::NotFound, what).help(format!("rustup target add {TARGET}, then try again"))
    };
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let output = asked.map_err(|why| {
        Failure::new(Exit::NotFound, "cannot start rustc").why(why).help("install Rust: https://rustup.rs")
    })?;
    let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && dir.is_dir() {
        return Ok(());
    }
    Err(missing(format!("the Rust toolchain in use has no standard library for {TARGET}")))
}

/// Builds the crate's library as a module, and says where cargo put it.
fn compile(dir: &Path) -> Result<PathBuf, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(dir)
        .args(["rustc", "--lib", "--crate-type", "cdylib", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        // It goes over the air, to small boxes: size first.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .stderr(Stdio::inherit());
    let failed = || Failure::new(Exit::Trouble, format!("cannot build {}", dir.display()));
    let output = command.output().map_err(|why| failed().why(why).help("is cargo on the PATH?"))?;
    if !output.status.success() {
        return Err(failed().help("cargo has said above why"));
    }
    let module = String::from_utf8_lossy(&output.stdout).lines().rev().find_map(module_of);
    module.ok_or_else(|| failed().help("the crate needs a library: src/lib.rs"))
}

/// The module that a line of cargo's says was built.
fn module_of(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" {
        return None;
    }
    let files = message.get("filenames")?.as_array()?.iter().filter_map(|file| file.as_str());
    files.map(PathBuf::from).find(|file| file.extension().is_some_and(|ending| ending == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_module_is() {
        let line = r#"{"reason":"compiler-artifact","filenames":["/t/libx.rlib","/t/x.wasm"]}"#;
        assert_eq!(module_of(line), Some("/t/x.wasm".into()));
        assert_eq!(module_of(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(module_of("warning: something"), None);
    }

    #[test]
    fn what_is_no_crate_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Build { dir: dir.path().into(), out: None }.run(&Desk::quiet()).unwrap_err();
        assert_eq!(failure.exit(), Exit::NotFound);
    }
}
