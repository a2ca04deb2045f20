//! The page about pipelines, held against the program: every console block of docs/ci.md is run, in the order in which it
//! stands, and prints what it says there. And what the page names is there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{fs, path::Path};

use backstay_model::VerdictAction::{Freeze, Proceed, Rollback, Slow};
use backstay_test_gate::{Answer, Double, Server, Shop, backstay};
use backstay_test_real::commands;

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn the_page_says_what_happens() {
    let Some(backstay) = backstay() else { return };
    let page = fs::read_to_string(docs().join("ci.md")).unwrap();
    let server = Server::with(&[Slow, Proceed, Rollback, Freeze].map(Answer::Says));
    let workspace = Double::real(&backstay);
    fs::write(workspace.path().join("keyring"), Shop::new().keyring().encode()).unwrap();
    let env = [
        ("PATH", workspace.search_path()),
        ("BACKSTAY_SERVER", server.url()),
        ("BACKSTAY_TOKEN_FILE", workspace.path().join("token").display().to_string()),
    ];
    let all = commands(&page);
    assert!(all.len() > 8);
    for shown in all {
        shown.run(workspace.path(), &env).unwrap_or_else(|why| panic!("docs/ci.md, {why}"));
    }
}

#[test]
fn what_the_page_links_to_is_there() {
    let page = fs::read_to_string(docs().join("ci.md")).unwrap();
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 8);
    for link in links {
        assert!(docs().join(link).exists(), "{link}");
    }
}
