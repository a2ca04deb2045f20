//! What sled keeps resident at open, for several settings. Each is measured in a process of its own, because the
//! allocator keeps what the one before has freed.
//!
//! `cargo run --release -p backstay-store --example open-memory` prints the table of decision 0007. To see what
//! the two features of sled are worth, take them out of Cargo.toml and run it again.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails has nothing to clean up"
)]

use std::{env, fs, process::Command};

use backstay_store::{Change, Options, Tree, View};

/// Who opens, sled's segment size in KiB, its cache in KiB, and how many values are written or already there.
const SETTINGS: [(&str, usize, u64, u64); 14] = [
    ("sled", 512, 1024 * 1024, 0),
    ("sled", 512, 1024, 0),
    ("sled", 512, 64, 0),
    ("sled", 128, 1024, 0),
    ("sled", 64, 1024, 0),
    ("sled", 16, 1024, 0),
    ("sled", 512, 1024, 1_000),
    ("sled", 128, 1024, 1_000),
    ("sled", 64, 1024, 1_000),
    ("view", 512, 16 * 1024, 0),
    ("view", 512, 16 * 1024, 300),
    ("view", 512, 16 * 1024, 1_000),
    ("view", 512, 16 * 1024, 10_000),
    ("view", 512, 1024, 10_000),
];

/// The length of a value, in bytes.
const VALUE_BYTES: usize = 300;
/// How often each value is written, and how many writes there are between two flushes.
const ROUNDS: u64 = 20;
const WRITES_PER_FLUSH: u64 = 50;

#[derive(Clone, Copy)]
struct Memory {
    rss: u64,
    anonymous: u64,
}

/// What this process keeps resident, in KiB.
fn memory() -> Memory {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    Memory { rss: field("Rss:"), anonymous: field("Anonymous:") }
}

fn main() {
    let args: Vec<_> = env::args().skip(1).collect();
    if let [who, segment, cache, values, dir, phase] = args.as_slice() {
        let (segment, cache) =
            (segment.parse::<usize>().unwrap() * 1024, cache.parse::<u64>().unwrap() * 1024);
        measure(who, segment, cache, values.parse().unwrap(), dir, phase);
        return;
    }
    println!(
        "who   segment  cache     values        before    opened            written           (KiB: rss, anonymous)"
    );
    for (who, segment, cache, values) in SETTINGS {
        let dir = tempfile::tempdir().unwrap();
        for phase in ["new", "reopened"].into_iter().take(if values == 0 { 1 } else { 2 }) {
            let line = Command::new(env::current_exe().unwrap())
                .args([who, &segment.to_string(), &cache.to_string(), &values.to_string()])
                .args([dir.path().to_str().unwrap(), phase])
                .output()
                .unwrap();
            assert!(line.status.success(), "{}", String::from_utf8_lossy(&line.stderr));
            print!("{}", String::from_utf8(line.stdout).unwrap());
        }
    }
}

fn measure(who: &str, segment: usize, cache: u64, values: u64, dir: &str, phase: &str) {
    let before = memory();
    let writes = if phase == "new" { values * ROUNDS } else { 0 };
    let (opened, written) = match who {
        "view" => {
            let options =
                Options { cache_bytes: cache, bytes_max: 16 << 20, ..Options::new(Some(u64::MAX), 1) };
            let mut view = View::open(dir.as_ref(), options).view;
            let opened = memory();
            for n in 0..writes {
                let key = (n % values).to_be_bytes();
                view.apply(n, &[Change::put(Tree::State, key, [n.to_le_bytes()[0]; VALUE_BYTES])]).unwrap();
                if n % WRITES_PER_FLUSH == 0 {
                    view.flush().unwrap();
                }
            }
            view.flush().unwrap();
            (opened, memory())
        }
        _sled => {
            let config = sled::Config::new().path(dir).cache_capacity(cache).flush_every_ms(None);
            let db = config.segment_size(segment).open().unwrap();
            let opened = memory();
            for n in 0..writes {
                db.insert((n % values).to_be_bytes(), vec![n.to_le_bytes()[0]; VALUE_BYTES]).unwrap();
                if n % WRITES_PER_FLUSH == 0 {
                    db.flush().unwrap();
                }
            }
            db.flush().unwrap();
            (opened, memory())
        }
    };
    let grown = |now: Memory| format!("+{} +{}", now.rss - before.rss, now.anonymous - before.anonymous);
    let (segment, cache) = (segment / 1024, cache / 1024);
    let (first, then) = (grown(opened), grown(written));
    println!("{who:5} {segment:7} {cache:8} {values:6} {phase:10} {:6}    {first:16}  {then:16}", before.rss);
}
