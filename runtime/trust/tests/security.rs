//! `docs/security.md` names tests as its proof. That they exist, and that no threat is left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{fs, path::PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/security.md")).unwrap()
}

/// What the page names as `path/to/file.rs::function`.
fn named(text: &str) -> Vec<(&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once(".rs::")).collect()
}

/// Whether `source` has a test of this name: the function, and an attribute that makes it one right above.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(begins) else { return false };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[test]
fn every_test_that_is_named_exists() {
    let page = page();
    let named = named(&page);
    assert!(named.len() > 50, "{} tests are named", named.len());
    for (file, test) in named {
        let path = root().join(format!("{file}.rs"));
        let source = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        assert!(has_test(&source, test), "{file}.rs has no test {test}");
    }
}

#[test]
fn every_threat_has_a_test() {
    let page = page();
    let sections: Vec<&str> = page.split("\n## ").collect();
    for threat in 1..=17 {
        let heading = format!("T{threat}: ");
        let section = sections.iter().find(|section| section.starts_with(&heading));
        let section = section.unwrap_or_else(|| panic!("there is nothing about T{threat}"));
        assert!(!named(section).is_empty(), "T{threat} has no test");
    }
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    let source =
        "#[test]\nfn a() {}\nfn b() {}\n/// Said.\n#[tokio::test(start_paused = true)]\nasync fn c() {}\n";
    assert!(has_test(source, "a") && has_test(source, "c"));
    assert!(!has_test(source, "b") && !has_test(source, "d"));
    assert_eq!(named("see `x/y.rs::z` and `w`"), [("x/y", "z")]);
}
