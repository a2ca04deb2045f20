//! The programs and the plugins that are tested, as they were built.

use std::path::{Path, PathBuf};

/// Where they are.
#[derive(Clone, Debug)]
pub struct Built {
    /// `backstay`, `backstay-agent` and `demo-service`.
    pub programs: PathBuf,
    /// The portable plugins with their manifests.
    pub plugins: PathBuf,
}

/// What the environment names (`BACKSTAY_PROGRAMS`, `BACKSTAY_PLUGINS`), else where `cargo xtask build` puts them.
///
/// # Panics
/// If they are not built.
#[must_use]
pub fn built() -> Built {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let path =
        |name: &str, usual: &str| std::env::var_os(name).map_or_else(|| target.join(usual), PathBuf::from);
    let programs = path("BACKSTAY_PROGRAMS", "programs/debug");
    assert!(
        programs.join("demo-service").is_file(),
        "the programs are not built: cargo xtask test real builds them"
    );
    Built { programs, plugins: path("BACKSTAY_PLUGINS", "plugins") }
}
