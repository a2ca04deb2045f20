//! `componentize MODULE COMPONENT`: turns the core module of a plugin into a portable component.
//!
//! Here: the one step between rustc's wasm32 output and what a vendor signs. Not here: compiling for a
//! CPU and signing (`backstay plugin`). It is a program of its own, because `wit-component` takes six times as long
//! to compile as the rest of `xtask`, and `cargo xtask test` should start at once.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use wit_component::ComponentEncoder;

/// The largest module that is read, in bytes. The plugins that ship have less than 100 KB.
const MODULE_BYTES_MAX: u64 = 32 << 20;

/// The beginning of the name of the section in which bindings say what world a module is for.
const WORLD_SECTION: &[u8] = b"component-type";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [module, component] = arguments.as_slice() else {
        eprintln!("usage: componentize MODULE COMPONENT");
        return ExitCode::from(64);
    };
    match componentize(Path::new(module), Path::new(component)) {
        Ok(bytes) => {
            println!("{bytes}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("cannot make a component of {}\n  why:  {why}", Path::new(module).display());
            ExitCode::FAILURE
        }
    }
}

/// Writes the component and returns its size in bytes.
///
/// A module without the section that the plugin SDK's bindings put there is refused: the encoder would make an empty
/// component of it. The encoder itself refuses imports that the module's world does not name.
fn componentize(module: &Path, component: &Path) -> Result<usize, String> {
    let bytes = fs::metadata(module).map_err(|why| why.to_string())?.len();
    if bytes > MODULE_BYTES_MAX {
        return Err(format!("it has {bytes} bytes, and {MODULE_BYTES_MAX} are the most"));
    }
    let module = fs::read(module).map_err(|why| why.to_string())?;
    if !module.windows(WORLD_SECTION.len()).any(|bytes| bytes == WORLD_SECTION) {
        return Err("it doesn't say which world of wit/ it is for: it has no section `component-type`".into());
    }
    let encoded = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|why| format!("{why:#}"))?;
    // The rename makes it whole or absent for whoever reads while this writes.
    let unfinished = component.with_extension("wasm.part");
    fs::write(&unfinished, &encoded)
        .and_then(|()| fs::rename(&unfinished, component))
        .map_err(|why| format!("{}: {why}", component.display()))?;
    Ok(encoded.len())
}
