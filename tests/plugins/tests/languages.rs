//! The examples, and what `plugin new` writes, in every language: each is built, checked, and tried in all that an
//! executor or a policy has to stand.
//!
//! The short form does that for no language: a toolchain is a download of up to 100 MB, and Python's native code takes a
//! minute to compile. What `plugin new` writes for Rust is what the page shows (`page.rs`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{fs, path::Path};

use backstay_test_plugins::{Language, is_long, plugin, root};
use serde_json::Value;

/// Builds a project and tries what comes out. What `check` says of it, as JSON.
fn stands(language: Language, project: &Path, playbooks: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("plugin.wasm").display().to_string();
    let (project, manifest) =
        (project.display().to_string(), project.join("manifest.toml").display().to_string());
    plugin(dir.path(), &["build", &project, "--out", &component]).unwrap();
    let mut words = vec!["--manifest", manifest.as_str(), "--output", "json"];
    words.extend(playbooks.iter().flat_map(|playbook| ["--playbook", playbook]));
    plugin(dir.path(), &[&["test", &component], &words[..]].concat()).unwrap();
    let check = ["check", &component, "--tier", language.tier()];
    serde_json::from_str(&plugin(dir.path(), &[&check, &words[..]].concat()).unwrap()).unwrap()
}

fn example(language: Language) {
    if !is_long() || !language.is_here() {
        return;
    }
    let folder = root().join("plugins/examples").join(language.word());
    let checked = stands(language, &folder, &["maintenance-on", "maintenance-off"]);
    let (bytes, system) = (checked["bytes"].as_u64().unwrap(), checked["system"].as_array().unwrap());
    println!("summary: maintenance in {language}: {bytes} bytes, {} interfaces of the system", system.len());
    // What says that it is too large for a device is too large.
    assert_eq!(bytes > 1_500_000, language.tier() == "server");
    assert_eq!(system.is_empty(), matches!(language, Language::Rust | Language::C), "{system:?}");
}

fn template(language: Language) {
    if !is_long() || !language.is_here() {
        return;
    }
    for shape in ["--executor", "--policy"] {
        let dir = tempfile::tempdir().unwrap();
        plugin(dir.path(), &["new", shape, "pump", "--lang", language.word()]).unwrap();
        stands(language, &dir.path().join("pump"), &[]);
    }
}

#[test]
fn the_example_in_rust_stands() {
    example(Language::Rust);
}

#[test]
fn the_example_in_c_stands() {
    example(Language::C);
}

#[test]
fn the_example_in_javascript_stands() {
    example(Language::Js);
}

#[test]
fn the_example_in_python_stands() {
    example(Language::Python);
}

#[test]
fn what_is_written_for_rust_stands() {
    template(Language::Rust);
}

#[test]
fn what_is_written_for_c_stands() {
    template(Language::C);
}

#[test]
fn what_is_written_for_javascript_stands() {
    template(Language::Js);
}

#[test]
fn what_is_written_for_python_stands() {
    template(Language::Python);
}

/// They show one executor in four languages: what it has to do is one set of files.
#[test]
fn the_examples_are_held_to_the_same() {
    let examples = root().join("plugins/examples");
    let vectors = |language: Language| {
        let folder = examples.join(language.word()).join("tests");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let text =
            |file: &std::path::PathBuf| (file.file_name().map(ToOwned::to_owned), fs::read(file).unwrap());
        files.iter().map(text).collect::<Vec<_>>()
    };
    let first = vectors(Language::Rust);
    assert!(first.len() >= 4);
    for language in Language::ALL {
        assert_eq!(vectors(language), first, "{language}");
        assert!(examples.join(language.word()).join("README.md").is_file(), "{language}");
    }
}
