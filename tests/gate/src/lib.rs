//! What the tests of pipelines share: verdicts that are really signed, a server that gives them, doubles for control flow, and
//! the runners of what ships: Groovy for Jenkins, the steps of GitHub and GitLab out of their YAML.
//!
//! Not here: what is tested; that stands in `tests/`, one file for each thing that ships. A runner that isn't installed makes
//! its tests print why they were skipped, and pass.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test that made it")]

mod double;
mod groovy;
mod server;
mod shop;
mod yaml;

pub use double::{Double, Ended};
pub use groovy::{Groovy, Played};
pub use server::{Answer, Server};
pub use shop::{FLEET, Shop};
pub use yaml::scripts;

use std::path::{Path, PathBuf};

/// What ships, as it ships.
#[must_use]
pub fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pipelines").join(file).canonicalize().unwrap()
}

/// The program `backstay` as it was built, or none after it was said that the test is skipped.
#[must_use]
pub fn backstay() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/programs/debug");
    let folder = std::env::var_os("BACKSTAY_PROGRAMS").map_or(target, PathBuf::from);
    let program = folder.join("backstay");
    if program.is_file() {
        return Some(program);
    }
    println!("skipped, because {} is not built: cargo xtask build", program.display());
    None
}

/// A program of the system, or none after it was said that the test is skipped.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped, because {name} is not installed");
    }
    found
}
