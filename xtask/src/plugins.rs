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
use crate::workspace::{Package, Workspace, cargo};

/// Who depends on it is a plugin.
const SDK: &str = "backstay-sdk";

/// One plugin that was built.
pub(crate) struct Component {
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}

/// Builds every plugin below plugins/. The file is called as the package: `policy-tree.wasm`.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Component>, Trouble> {
    // What plugins share uses the SDK as well; who ships says so in a manifest.
    let manifest = |package: &Package| workspace.root.join(&package.folder).join("manifest.toml");
    let is_plugin = |package: &&Package| {
        package.dependencies.iter().any(|needed| needed.name == SDK) && manifest(package).is_file()
    };
    let plugins: Vec<_> = workspace.below("plugins").filter(is_plugin).collect();
    if plugins.is_empty() {
        eprintln!("no package below plugins/ depends on {SDK}: there is no plugin to build");
        return Ok(Vec::new());
    }
    setup::ensure(Need::Wasm)?;

    for plugin in &plugins {
        // The crate type is given here and not in the manifest, so that on this machine a plugin is an ordinary library
        // that tests can call.
        let mut module = cargo_for(WASM, "rustc")?;
        module.args(["--release", "--lib", "--crate-type", "cdylib", "-p", &plugin.name]);
        // A plugin goes over the air to small boxes: size first. That overflow traps comes from the profile.
        module.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "z");
        run_loudly(&mut module, &format!("build {} for {WASM}", plugin.name))?;
    }
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
        // What the vendor says of it stands beside it: both are needed to sign it.
        let manifest = manifest(plugin);
        fs::copy(&manifest, file.with_extension("toml"))
            .map_err(|why| Trouble::new(format!("cannot copy {}", manifest.display())).why(why))?;
        let bytes = fs::metadata(&file).map_err(|why| failed().why(why))?.len();
        components.push(Component { file, bytes });
    }
    Ok(components)
}
