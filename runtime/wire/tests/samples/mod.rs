//! One value of each kind, with every field in use.
#![allow(dead_code, reason = "each test file uses what it needs of it")]

use backstay_model::{
    Beat, BootId, Cause, Compared, Digest, Direction, Event, Generation, Health, Label, Millis, Mono,
    PluginReport, Reach, Release, Report, RolloutId, Selector, Standing, Steer, UnixMs, Version, WayHome,
    Word,
};
use backstay_wire::{AnchorWords, DeviceOrder, Entry, LogBatch, Mark, Presence, Receipt, Stream, TrustFloor};

pub(crate) fn release(version: &str, byte: u8) -> Release {
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest([byte; 32]),
        length: 8_000_000,
        security_epoch: 2,
    }
}

pub(crate) fn entry() -> Entry {
    Entry {
        at: Mono(61_000),
        event: Event::CameHome {
            from: release("1.5.0", 5),
            to: release("1.4.0", 4),
            took: Millis(8_200),
            cause: Cause::TrialFailed { after: Millis(90_000) },
        },
        snapshot: Some(vec![1, 2, 3]),
    }
}

pub(crate) fn steer() -> Steer {
    Steer {
        rollout: RolloutId::parse("r-12").unwrap(),
        generation: Generation(3),
        cohort: "canary".parse().unwrap(),
        selector: Selector::Labelled(vec![Label::parse("site=basel").unwrap()]),
        release: release("1.5.0", 5),
        back: Some(release("1.4.0", 4)),
        reach: Reach::new(250_000).unwrap(),
        direction: Direction::Forward,
        frozen: false,
        policies: vec![Digest([7; 32])],
        reconnect_window: Millis::from_secs(30),
    }
}

pub(crate) fn device_order() -> DeviceOrder {
    let lift = Word::Lift(Digest([5; 32]));
    DeviceOrder { sequence: 4, words: vec![Word::Hold, Word::Thaw, lift] }
}

pub(crate) fn plugin_report() -> PluginReport {
    PluginReport {
        sequence: 17,
        at: Mono(61_000),
        boot: BootId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        cohort: "canary".parse().unwrap(),
        steered: Some((RolloutId::parse("p-12").unwrap(), Generation(3))),
        runs: Some(release("1.1.0", 7)),
        trusted: Some(release("1.0.0", 6)),
        standing: Standing::OnTrial,
        condemned: vec![Digest([8; 32])],
        compared: Some(Compared { deciding: true, windows: 40, differed: 1 }),
        journal: 900,
    }
}

pub(crate) fn report() -> Report {
    Report {
        sequence: 17,
        at: Mono(61_000),
        boot: BootId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        cohort: "canary".parse().unwrap(),
        steered: Some((RolloutId::parse("r-12").unwrap(), Generation(3))),
        booted: release("1.4.0", 4),
        confirmed: release("1.4.0", 4),
        standing: Standing::Frozen,
        health: Health::Unknown,
        condemned: vec![Digest([5; 32])],
        journal: 300,
    }
}

pub(crate) fn presence() -> Presence {
    Presence { online: true, nonce: 0x0123_4567_89ab_cdef, at: Mono(61_000) }
}

pub(crate) fn beat() -> Beat {
    Beat { nonce: 0x0123_4567_89ab_cdef, count: 300, health: Health::Good }
}

pub(crate) fn log_batch() -> LogBatch {
    LogBatch { epoch: 1, first: 300, count: 2, records: vec![0xaa; 40] }
}

pub(crate) fn receipt() -> Receipt {
    Receipt { epoch: 1, seq: 301, head: Digest([8; 32]) }
}

pub(crate) fn anchor_words() -> AnchorWords {
    AnchorWords {
        clock: Mono(61_000),
        attested: Some(UnixMs(1_795_000_000_000)),
        confirmed: release("1.4.0", 4),
        last_known_good: Some(release("1.3.0", 3)),
        marks: vec![
            Mark { stream: Stream::Product, counter: 3, digest: Digest([9; 32]) },
            Mark { stream: Stream::Receipt, counter: 301, digest: Digest([8; 32]) },
        ],
        condemned: vec![Digest([5; 32])],
        security_floor: 2,
        breaker_until: Some(Mono(90_000)),
        receipt_epoch: 1,
        starts: 41,
        ways: [(Digest([4; 32]), WayHome(vec![Digest([3; 32])]))].into(),
    }
}

pub(crate) fn trust_floor() -> TrustFloor {
    TrustFloor { sequence: 2, keyring: Digest([1; 32]), revocation: Some(Digest([2; 32])) }
}
