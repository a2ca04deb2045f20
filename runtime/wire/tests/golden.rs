//! The bytes of today's version are kept in `tests/wire/`. `BACKSTAY_REWRITE_GOLDEN=1` writes them anew: do
//! that for a new version of a body only, and keep the old file under its old name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod events;
mod samples;

use std::{collections::BTreeMap, env, fmt::Debug, fs, path::PathBuf};

use backstay_model::{Event, Mono, Report};
use backstay_wire::{AnchorWords, Body, Entry, TrustFloor, decode, encode};

/// That `value` has the bytes that are kept, and that they are read as `value`.
fn keeps<T: Body + PartialEq + Debug>(name: &str, value: &T) {
    let file = format!("../../tests/wire/{name}-{}.hex", T::VERSION);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let bytes = encode(value).unwrap();
    if env::var_os("BACKSTAY_REWRITE_GOLDEN").is_some() {
        fs::write(&path, hex(&bytes)).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(hex(&bytes), kept, "{name} is no longer written as {} has it", path.display());
    assert_eq!(&decode::<T>(&unhex(&kept), T::BYTES_MAX).unwrap(), value, "{name} is read otherwise");
}

fn hex(bytes: &[u8]) -> String {
    let digits = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(digits).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_bytes_stay_as_they_are() {
    keeps("entry", &samples::entry());
    keeps("steer", &samples::steer());
    keeps("device-order", &samples::device_order());
    keeps("report", &samples::report());
    keeps("plugin-report", &samples::plugin_report());
    keeps("presence", &samples::presence());
    keeps("beat", &samples::beat());
    keeps("log-batch", &samples::log_batch());
    keeps("receipt", &samples::receipt());
    keeps("anchor-words", &samples::anchor_words());
    keeps("trust-floor", &samples::trust_floor());
}

/// What the version before wrote, kept as bytes: a device that was updated opens its own past.
#[test]
fn the_bytes_of_the_version_before_are_read() {
    assert_eq!(of_before::<Report>("report"), samples::report());
    let words = AnchorWords { starts: 0, ways: BTreeMap::new(), ..samples::anchor_words() };
    assert_eq!(of_before::<AnchorWords>("anchor-words"), words);
    assert_eq!(of_before::<TrustFloor>("trust-floor"), samples::trust_floor());
}

fn kept(name: &str, version: u16) -> String {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/wire/{name}-{version}.hex"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn of_before<T: Body>(name: &str) -> T {
    decode(&unhex(&kept(name, T::VERSION - 1)), T::BYTES_MAX).unwrap()
}

/// The position of an event among its kinds is its number in every journal that was ever written, and so it
/// is with a cause. One line for each, in their order: a new kind is a new line at the end of its block.
#[test]
fn every_event_and_cause_keeps_its_number() {
    let froze = events::causes().into_iter().map(|cause| Event::Froze { cause });
    let mut lines = String::new();
    for event in events::all().into_iter().chain(froze).chain(events::handovers()).chain(events::upgrades()) {
        let entry = Entry { at: Mono(0), event, snapshot: None };
        let bytes = encode(&entry).unwrap();
        assert_eq!(decode::<Entry>(&bytes, Entry::BYTES_MAX).unwrap(), entry);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&(digits + "\n"));
    }
    let file = format!("../../tests/wire/events-and-causes-{}.hex", Entry::VERSION);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("BACKSTAY_REWRITE_GOLDEN").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    assert_eq!(lines, fs::read_to_string(&path).unwrap(), "events are no longer written as they were");
    for (at, event) in events::all().iter().enumerate() {
        assert_eq!(events::number(event), at, "{event:?} has no sample, or another has two");
    }
    for (at, cause) in events::causes().iter().enumerate() {
        assert_eq!(events::cause_number(cause), at, "{cause:?} has no sample, or another has two");
    }
}

/// What the version before wrote is read as what it was: a journal outlives the agent that began it.
#[test]
fn entries_of_the_version_before_are_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire");
    let kept = fs::read_to_string(folder.join("events-and-causes-1.hex")).unwrap();
    let read = |line: &str| decode::<Entry>(&unhex(line), Entry::BYTES_MAX).unwrap();
    let kept: Vec<_> = kept.lines().map(|line| read(line).event).collect();
    // There were 31 kinds of events and 18 of causes.
    let causes = events::causes().into_iter().take(18).map(|cause| Event::Froze { cause });
    let then = events::all().into_iter().take(31).chain(causes);
    assert_eq!(kept, then.collect::<Vec<_>>());
    let kept = fs::read_to_string(folder.join("entry-1.hex")).unwrap();
    assert_eq!(decode::<Entry>(&unhex(&kept), Entry::BYTES_MAX).unwrap(), samples::entry());
}
