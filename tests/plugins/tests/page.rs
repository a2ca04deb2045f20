//! docs/write-a-plugin.md as a new user goes through it: in an empty folder, every console block in order.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::{fs, time::Instant};

use backstay_test_plugins::{environment, root};
use backstay_test_real::commands;

#[test]
fn from_nothing_to_a_plugin_that_runs() {
    let page = fs::read_to_string(root().join("docs/write-a-plugin.md")).unwrap();
    let (dir, env, started) = (tempfile::tempdir().unwrap(), environment(), Instant::now());
    let (mut ran, mut wrong, mut own) = (0, Vec::new(), 0);
    for shown in commands(&page) {
        own += usize::from(shown.command.starts_with("backstay plugin "));
        // All of it is told at once: who mends the page wants to know the rest, too.
        wrong.extend(shown.run(dir.path(), &env).err());
        ran += 1;
    }
    println!("summary: the page took {} s", started.elapsed().as_secs());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran >= 6 && own >= 5, "the page shows {ran} commands");
}
