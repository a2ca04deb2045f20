//! What reads bytes that anybody may have written, each as one target: a function of bytes that ends in a panic where
//! something doesn't hold.
//!
//! Here: the targets, what has to hold of each, and the inputs that they begin with. Not here: who makes more inputs of them
//! (`engine`, libFuzzer, which is guided by coverage), and who starts it (`cargo xtask fuzz`). `tests/replay.rs` runs all that
//! is kept in `corpus/` without it.
//!
//! *Input*: bytes. The first byte says how the rest is meant: as it stands, or as a script by which something valid is made
//! and damaged (`script`). So an engine that knows nothing of signatures and checksums gets behind them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed assumption is what a target is there to find"
)]

mod answers;
mod blocks;
mod bundle;
mod configuration;
mod effects;
mod envelope;
mod http;
mod journal;
mod keyring;
mod memory;
mod names;
mod packets;
mod policies;
mod records;
mod script;
mod signals;
mod statement;
mod steering;
mod verdict;
#[path = "../../../runtime/wire/tests/samples/mod.rs"]
mod words;
#[path = "../../../runtime/trust/tests/world/mod.rs"]
mod world;

/// Whether an input got through to what is behind the first checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was taken.
    Taken,
    /// It was refused, as most are.
    Refused,
}

/// One reader of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// The longest input that finds anything new, in bytes.
    pub bytes_max: usize,
    /// Reads one input, and panics where something doesn't hold.
    pub run: fn(&[u8]) -> Came,
    /// Inputs that are taken: where an engine begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "answers", bytes_max: 2048, run: answers::run, seeds: answers::seeds },
    Target { name: "blocks", bytes_max: 4096, run: blocks::run, seeds: blocks::seeds },
    Target { name: "bundle", bytes_max: 2048, run: bundle::run, seeds: bundle::seeds },
    Target { name: "configuration", bytes_max: 8192, run: configuration::run, seeds: configuration::seeds },
    Target { name: "effects", bytes_max: 2048, run: effects::run, seeds: effects::seeds },
    Target { name: "envelope", bytes_max: 4096, run: envelope::run, seeds: envelope::seeds },
    Target { name: "http", bytes_max: 2048, run: http::run, seeds: http::seeds },
    Target { name: "journal", bytes_max: 256, run: journal::run, seeds: journal::seeds },
    Target { name: "keyring", bytes_max: 2048, run: keyring::run, seeds: keyring::seeds },
    Target { name: "names", bytes_max: 160, run: names::run, seeds: names::seeds },
    Target { name: "packets", bytes_max: 512, run: packets::run, seeds: packets::seeds },
    Target { name: "policies", bytes_max: 2048, run: policies::run, seeds: policies::seeds },
    Target { name: "records", bytes_max: 1024, run: records::run, seeds: records::seeds },
    Target { name: "signals", bytes_max: 4096, run: signals::run, seeds: signals::seeds },
    Target { name: "statement", bytes_max: 2048, run: statement::run, seeds: statement::seeds },
    Target { name: "steering", bytes_max: 1024, run: steering::run, seeds: steering::seeds },
    Target { name: "verdict", bytes_max: 4096, run: verdict::run, seeds: verdict::seeds },
];

/// One that has a fault on purpose, far behind where chance would find it: what finds nothing in it isn't guided.
pub const PLANTED: Target = Target {
    name: "planted",
    bytes_max: 64,
    run: |bytes| {
        // Byte by byte: each that is right is a branch more.
        let is_found = matches!(bytes, [b'b', b'u', b'r', b'i', b'e', b'd', ..]);
        assert!(!is_found, "the planted fault was found");
        Came::Taken
    },
    seeds: || vec![b"b".to_vec()],
};

/// The target of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().chain([&PLANTED]).find(|target| target.name == name)
}

/// That what an error says is something, and can't pass for another line in a log.
fn is_told(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        is_told_text(&error.to_string());
        next = error.source();
    }
}

/// The same of what is no error.
fn is_told_text(told: &str) {
    assert!(!told.is_empty(), "nothing is said");
    assert!(!told.contains(|c: char| c.is_control()), "what is said has control characters: {told:?}");
}

/// Inputs whose rest is meant as it stands.
fn as_they_are(texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Vec<u8>> {
    texts.into_iter().map(|text| [&[script::PLAIN], text.as_ref()].concat()).collect()
}
