//! The pages for operators, held against the programs: every console block of docs/cli.md and docs/server.md is run,
//! with a broker, a server that speaks TLS, and two devices that fetch from it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{fs, path::Path};

use backstay_test_fleet::{Build, Fleet, Pace, Tls};
use backstay_test_real::{Built, Certificates, built, commands, program};

#[test]
fn what_the_pages_show_is_what_comes_out() {
    // The pages show what is published by hand, so a broker that outlives its clients is needed, and its client.
    if program("mosquitto").is_none() || program("mosquitto_pub").is_none() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let Built { programs, plugins } = built();
    let dir = tempfile::tempdir().unwrap();
    let Certificates { ca, certificate, key } = Certificates::make(dir.path(), "api", "localhost");
    let tls = Tls { ca, certificate, key };
    let ca = tls.ca.display().to_string();
    let mut fleet = Fleet::start_with(dir.path(), &programs, &plugins, Pace::default(), Some(tls)).unwrap();
    for device in ["pump-7", "pump-8"] {
        fleet.add(device, "canary").unwrap();
    }

    let here = dir.path();
    fs::copy(here.join("server/token"), here.join("token")).unwrap();
    let tree = plugins.join("policy-tree.wasm");
    let build = Build { plugin: "policy-tree", component: &tree, version: Some("1.1.0"), sequence: 2 };
    let bundle = fleet.layout.grant(&fleet.cli, &plugins, build).unwrap();
    fs::copy(bundle, here.join("policy-tree-1.1.0.bundle")).unwrap();
    fs::write(here.join("app-1.4.0.img"), "one").unwrap();
    fs::write(here.join("app-2.0.0.img"), "two").unwrap();
    let map = r#"{"kind":"ConfigMap","metadata":{"name":"shop","namespace":"prod","resourceVersion":"812"},"data":{"mode":"safe","app.properties":"retries=3\ntimeout=5s\n","db-password":"hunter2"}}"#;
    fs::write(here.join("shop.json"), map).unwrap();
    let wrong =
        fs::read_to_string(here.join("server/backstay.toml")).unwrap().replace("listen =", "listne =");
    fs::write(here.join("wrong.toml"), wrong).unwrap();
    fs::copy(here.join("server/backstay.toml"), here.join("backstay.toml")).unwrap();
    let env = [
        ("PATH", format!("{}:{}:/usr/sbin", programs.display(), std::env::var("PATH").unwrap())),
        ("BACKSTAY_SERVER", fleet.cli.server().to_owned()),
        ("BACKSTAY_TOKEN_FILE", "token".into()),
        ("BACKSTAY_CA", ca),
        ("BROKER", format!("-h 127.0.0.1 -p {}", fleet.layout.broker)),
        ("NO_COLOR", "1".into()),
    ];
    let (mut ran, mut wrong) = (0, Vec::new());
    for page in ["docs/cli.md", "docs/server.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for shown in commands(&text) {
            // All of it is told at once: who mends a page wants to know the rest, too.
            wrong.extend(shown.run(here, &env).err().map(|why| format!("{page}: {why}")));
            ran += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran > 30, "the pages show {ran} commands");
}
