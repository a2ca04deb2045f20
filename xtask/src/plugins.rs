//! The plugins that ship, as portable components in `target/plugins`.
//!
//! Here: building them for wasm32 and turning modules into components. Not here: compiling for a CPU, signing and
//! granting (`backstay plugin`), and the encoder itself (`componentize`).

use std::fs;
use std::path::PathBuf;

use crate::setup::{self, Need};
use crate::steps::run_loudly;
use crate::toolchain::{WASM, cargo_for};
use crate::trouble::Trouble;
use crate::workspace::{Library, Workspace, cargo};

/// One plugin that was built.
pub(crate) struct Component {
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}

/// Builds every plugin below plugins/. The file is called as the package: `policy-tree.wasm`.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Component>, Trouble> {
    let plugins: Vec<_> =
        workspace.below("plugins").filter(|package| package.library == Library::Module).collect();
    if plugins.is_empty() {
        eprintln!("no package below plugins/ has the crate type `cdylib`: there is no plugin to build");
        return Ok(Vec::new());
    }
    setup::ensure(Need::Wasm)?;

    let mut modules = cargo_for(WASM, "build")?;
    // A plugin goes over the air to small boxes: size first. That overflow traps comes from the profile.
    modules.args(["--release", "--lib"]).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z");
    for plugin in &plugins {
        modules.args(["-p", &plugin.name]);
    }
    run_loudly(&mut modules, "build the plugins")?;
    let mut encoder = cargo();
    encoder.args(["build", "-p", "xtask", "--features", "componentize", "--bin", "componentize"]);
    run_loudly(&mut encoder, "build the encoder of components")?;

    let folder = workspace.plugins();
    fs::create_dir_all(&folder)
        .map_err(|why| Trouble::new(format!("cannot make {}", folder.display())).why(why))?;
    let componentize = workspace.target.join("debug/componentize");
    let mut components = Vec::new();
    for plugin in plugins {
        let module = format!("{}.wasm", plugin.name.replace('-', "_"));
        let module = workspace.target.join(WASM).join("release").join(module);
        let file = folder.join(format!("{}.wasm", plugin.name));
        let failed = || Trouble::new(format!("cannot make a component of {}", plugin.name));
        let output = std::process::Command::new(&componentize)
            .args([&module, &file])
            .output()
            .map_err(|why| failed().why(why))?;
        if !output.status.success() {
            return Err(failed()
                .why(String::from_utf8_lossy(&output.stderr))
                .help("does its lib.rs export a world of wit/ through backstay-sdk?"));
        }
        let bytes = fs::metadata(&file).map_err(|why| failed().why(why))?.len();
        components.push(Component { file, bytes });
    }
    Ok(components)
}
