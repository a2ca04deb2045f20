//! The plugins that ship, built as components.
#![allow(dead_code, reason = "each test file uses what it needs of it")]

use std::{env, fs, path::Path, process::Command};

use backstay_host::{Machine, componentize, machine};
use backstay_kit::Trial;
use backstay_model::Name;
use backstay_trust::{EffectKind, Limits, Permissions};

/// Builds a plugin of this workspace as a portable component.
pub(crate) fn component(package: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A directory of its own: the outer cargo holds the lock of the other one.
    let target = root.join("target/plugins");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["rustc", "--quiet", "--lib", "--crate-type", "cdylib", "--target", "wasm32-unknown-unknown"]);
    cargo.args(["--profile", "plugin", "--package", package, "--target-dir"]).arg(&target);
    let status = cargo.current_dir(&root).status().unwrap();
    assert!(status.success(), "{package} can't be built: is the target wasm32-unknown-unknown installed?");
    let module =
        target.join("wasm32-unknown-unknown/plugin").join(package.replace('-', "_")).with_extension("wasm");
    componentize(&fs::read(module).unwrap()).unwrap()
}

/// A plugin that ships, under keys of the moment, for this machine and for the portable engine.
pub(crate) fn trial(package: &str, version: &str) -> Trial {
    let executor = package.starts_with("executor");
    let commands = ["restart", "no-such-playbook"].map(|name| Name::parse(name).unwrap()).to_vec();
    let (wants, permissions) = if executor {
        (
            vec![EffectKind::Run, EffectKind::Slot],
            Permissions { commands, slots: true, ..Permissions::default() },
        )
    } else {
        (Vec::new(), Permissions::default())
    };
    trial_with(package, version, &wants, &permissions)
}

/// The same, for a plugin that wants something else.
pub(crate) fn trial_with(
    package: &str,
    version: &str,
    wants: &[EffectKind],
    permissions: &Permissions,
) -> Trial {
    let here = Machine::ALL.into_iter().find(|kind| kind.target() == machine()).unwrap();
    let component = component(package);
    let code = Trial::code(&component, &[here, Machine::Pulley64]).unwrap();
    Trial::of(
        &component,
        &format!("backstay/{package}").parse().unwrap(),
        &version.parse().unwrap(),
        wants,
        permissions,
        Limits::DEFAULT,
        &code,
    )
    .unwrap()
}
