//! What an open view keeps resident. A test binary of its own: what other tests touch would be counted, too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use backstay_store::{Change, Options, Tree, View};

/// What a view with nothing in it may add to the process, in KiB. The agent has 16 MB for everything, so sled is
/// allowed 4 MB; 0.8 is what it takes, and 21.7 without the features named in Cargo.toml.
const OPEN_KIB_MAX: u64 = 4096;

fn resident_kib() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_open_view_fits_a_small_device() {
    let dir = tempfile::tempdir().unwrap();
    let before = resident_kib();
    let mut view = View::open(dir.path(), Options::new(Some(1), 1)).view;
    view.apply(1, &[Change::put(Tree::State, *b"k", *b"value")]).unwrap();
    view.flush().unwrap();
    let grown = resident_kib().saturating_sub(before);
    assert!(grown <= OPEN_KIB_MAX, "an open view takes {grown} KiB; are both of sled's features still on?");
}
