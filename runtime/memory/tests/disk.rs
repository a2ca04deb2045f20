//! A disk that fails, and comes back: what happened meanwhile is told.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::io;

use backstay_journal::testing::{Memory as Disk, Survival};
use backstay_memory::{ANCHOR_EVERY, Durability, Memory, Options, Recalled, Step};
use backstay_model::{Digest, Event, Millis, Mono, Release, Ticket, Version, WayHome};
use backstay_wire::{AnchorWords, Mark, Receipt, Stream};

fn open(disk: &Disk) -> (Memory<Disk>, Recalled) {
    Memory::open_on(disk.clone(), None, Options { instance: "pump-7".into(), bytes_max: 2 << 20 }).unwrap()
}

fn degraded(what: &str) -> Event {
    Event::Degraded { what: what.into() }
}

fn words(clock: Mono) -> AnchorWords {
    let confirmed = Release {
        version: Version::parse("1.4.0").unwrap(),
        digest: Digest([4; 32]),
        length: 1,
        security_epoch: 1,
    };
    AnchorWords {
        clock,
        attested: None,
        confirmed,
        last_known_good: None,
        marks: vec![Mark { stream: Stream::Product, counter: 3, digest: Digest([0; 32]) }],
        condemned: Vec::new(),
        security_floor: 1,
        breaker_until: None,
        receipt_epoch: 0,
        starts: 0,
        ways: Default::default(),
    }
}

fn story(memory: &Memory<Disk>) -> Vec<String> {
    memory.entries(0).map(|(_, entry)| entry.event.to_string()).collect()
}

const SECOND: Millis = Millis::from_secs(1);

/// The disk fails in the middle of a run and is back a minute later. The device went on deciding; what it decided is in
/// the journal, late and in its order, and a word on how much that was.
#[test]
fn what_happened_while_the_disk_failed_is_told_once_it_is_back() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    assert_eq!(memory.record(Mono(1), &[degraded("before")], Some(vec![1])), Durability::Durable);
    disk.fail_sync_after(0);
    assert!(matches!(
        memory.record(Mono(2), &[degraded("in doubt")], Some(vec![2])),
        Durability::Degraded(_)
    ));
    disk.refuse_writes(Some(io::ErrorKind::Other));
    let ticket = Ticket(1);
    let began = Event::EffectBegan { ticket, ordinal: 0, what: "slot status".into(), changes: false };
    assert_eq!(memory.record(Mono(3), &[began], Some(vec![3])), Durability::StillDegraded);
    let ended = Event::EffectEnded { ticket, ordinal: 0, outcome: vec![7] };
    assert_eq!(memory.record(Mono(4), &[ended, degraded("two")], Some(vec![4])), Durability::StillDegraded);
    assert!(memory.steps(ticket).is_empty(), "nothing counts that isn't durable");

    // It is tried again with backoff, and the device never waits for it.
    let mut tries = 0;
    let mut now = Mono(4);
    while now < Mono(60_000) {
        now = memory.deadline();
        assert_eq!(memory.tend(now, &words(now)), Durability::StillDegraded);
        tries += 1;
    }
    assert!((2..=6).contains(&tries), "{tries} tries in a minute");

    disk.refuse_writes(None);
    let now = memory.deadline();
    assert_eq!(memory.tend(now, &words(now)), Durability::Durable);
    let told = story(&memory);
    assert_eq!(told[..2], ["degraded: before", "degraded: in doubt"]);
    assert_eq!(told[4], "degraded: two");
    assert!(
        told[5].starts_with("degraded: the journal took nothing for a while, 3 records came late"),
        "{told:?}"
    );
    assert_eq!(told.len(), 6);
    let steps = [Step::Began { ordinal: 0 }, Step::Ended { ordinal: 0, answer: vec![7] }];
    assert_eq!(memory.steps(ticket), steps);
    drop(memory);

    let (memory, recalled) = open(&disk.survivor(Survival::Synced));
    assert_eq!((recalled.findings, recalled.snapshot), (vec![], Some(vec![4])));
    assert_eq!(memory.steps(ticket), steps);
}

/// The next thing that happens is reason enough to try the disk again, once its time has come.
#[test]
fn what_happens_next_tries_the_disk_again() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    disk.fail_sync_after(0);
    assert!(matches!(memory.record(Mono(0), &[degraded("a")], None), Durability::Degraded(_)));
    assert_eq!(memory.record(Mono(1), &[degraded("b")], None), Durability::StillDegraded, "too soon");
    assert_eq!(memory.record(Mono(60_000), &[degraded("c")], None), Durability::Durable);
    let told = story(&memory);
    assert!(told[2].contains("1 records came late"), "{told:?}");
    assert_eq!([&told[0], &told[1], &told[3]], ["degraded: a", "degraded: b", "degraded: c"]);
}

/// What was appended before the disk said no is as late as what comes after it, and is counted with it.
#[test]
fn what_the_disk_refused_to_take_is_told_as_late() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    memory.record(Mono(0), &[degraded("before")], None);
    disk.refuse_writes(Some(io::ErrorKind::ReadOnlyFilesystem));
    let kept = memory.record(Mono(1), &[degraded("a"), degraded("b")], Some(vec![1]));
    assert!(matches!(kept, Durability::Degraded(_)), "{kept:?}");
    disk.refuse_writes(None);
    let now = memory.deadline();
    assert_eq!(memory.tend(now, &words(now)), Durability::Durable);
    let told = story(&memory);
    assert_eq!(told[..3], ["degraded: before", "degraded: a", "degraded: b"]);
    assert!(told[3].contains("2 records came late: ") && told.len() == 4, "{told:?}");
    assert_eq!(open(&disk.survivor(Survival::Synced)).1.snapshot, Some(vec![1]));
    // Once it is told it is told.
    assert_eq!(memory.record(now, &[degraded("after")], None), Durability::Durable);
    assert_eq!(story(&memory).len(), 5);
}

/// A disk that is full takes no record any more, and power goes. What is kept apart has its place, so it is the newest.
#[test]
fn on_a_full_disk_the_words_are_kept_all_the_same() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    memory.record(Mono(0), &[degraded("before")], Some(vec![1]));
    memory.anchor(&words(Mono(0)));
    disk.bound(Some(disk.bytes()));
    let fills = || degraded(&"x".repeat(900));
    let mut now = 0;
    while memory.record(Mono(now), &vec![fills(); 100], Some(vec![2])) == Durability::Durable {
        now += 1;
        assert!(now < 1000, "the disk never was full");
    }
    let way = WayHome(vec![Digest([3; 32])]);
    let newest = AnchorWords { starts: 7, ways: [(Digest([4; 32]), way)].into(), ..words(Mono(now)) };
    assert_eq!(memory.anchor(&newest), Durability::Durable);
    assert_ne!(memory.record(Mono(now + 1), &[degraded("more")], Some(vec![3])), Durability::Durable);

    let (_, recalled) = open(&disk.survivor(Survival::Synced));
    assert_eq!((recalled.words, recalled.snapshot), (Some(newest), Some(vec![2])));
}

/// Away for longer than memory has room for: the oldest goes, and how many those were is told.
#[test]
fn what_no_room_was_left_for_is_counted() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    memory.record(Mono(0), &[degraded("before")], None);
    disk.refuse_writes(Some(io::ErrorKind::ReadOnlyFilesystem));
    for n in 0..2000 {
        let kept = memory.record(Mono(n), &[degraded(&format!("{n}"))], Some(vec![0; 1000]));
        assert_ne!(kept, Durability::Durable);
    }
    disk.refuse_writes(None);
    let now = memory.deadline();
    memory.tend(now, &words(now));
    let told = story(&memory);
    let telling = told.iter().find(|told| told.contains("came late")).unwrap();
    let lost: usize =
        telling.split(", ").find_map(|part| part.split_once(" are missing")?.0.parse().ok()).unwrap();
    // Some were appended before the disk said no; the rest waited, or is missing.
    assert_eq!(told.len() + lost, 2000 + 2, "{telling}");
    assert_eq!(told[told.len() - 2], "degraded: 1999");
    assert!(lost > 50);
}

/// Nothing happens for hours, and then somebody kills the device. Its clock goes back by a quarter of an hour at most.
#[test]
fn the_clock_goes_back_by_no_more_than_its_bound() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    memory.record(Mono(0), &[degraded("a")], None);
    memory.anchor(&words(Mono(0)));
    let (mut now, syncs, mut writes) = (Mono(0), disk.syncs(), 0);
    while now < Mono(10 * 3_600_000) {
        now = now.after(SECOND);
        if memory.deadline() <= now {
            assert_eq!(memory.tend(now, &words(now)), Durability::Durable);
            writes += 1;
        }
        let known = memory.words().unwrap().clock;
        assert!(now.since(known) < ANCHOR_EVERY.max(SECOND), "{known:?} is known at {now:?}");
    }
    assert_eq!((writes, disk.syncs() - syncs), (40, 40), "one write each quarter of an hour");
    drop(memory);
    let (_, recalled) = open(&disk.survivor(Survival::Synced));
    assert!(now.since(recalled.clock) < ANCHOR_EVERY.max(SECOND), "{:?} after {now:?}", recalled.clock);
}

fn receipt(memory: &Memory<Disk>) -> Receipt {
    let head = memory.head();
    Receipt { epoch: head.epoch, seq: head.seq, head: Digest(head.hash) }
}

/// The server has the journal up to here. After a restart it isn't sent all of it again.
#[test]
fn what_has_a_receipt_is_not_sent_again_after_a_restart() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    for n in 0..20 {
        memory.record(Mono(n), &[degraded("a")], None);
    }
    memory.receipted(&receipt(&memory)).unwrap();
    memory.anchor(&words(Mono(20)));
    memory.record(Mono(21), &[degraded("b")], None);
    drop(memory);
    let (memory, recalled) = open(&disk.survivor(Survival::Synced));
    assert!(recalled.findings.is_empty());
    let batch = memory.unreceipted().unwrap();
    assert_eq!((batch.first, batch.count), (21, 1));
}

/// Receipts come one for each batch; they cost no write of their own.
#[test]
fn a_receipt_alone_costs_no_write() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    memory.record(Mono(0), &[degraded("a")], None);
    memory.anchor(&words(Mono(0)));
    let syncs = disk.syncs();
    memory.receipted(&receipt(&memory)).unwrap();
    memory.anchor(&words(Mono(5)));
    assert_eq!(disk.syncs(), syncs);
    memory.anchor(&words(Mono(0).after(ANCHOR_EVERY)));
    assert_eq!(memory.words().unwrap().mark(Stream::Receipt).unwrap().counter, 1);
}

/// Somebody puts an older copy of everything back. Nothing on the device can know; the server's next receipt does.
#[test]
fn an_older_copy_of_everything_is_noticed_by_the_next_receipt() {
    let disk = Disk::default();
    let (mut memory, _) = open(&disk);
    memory.record(Mono(0), &[degraded("a")], None);
    memory.anchor(&words(Mono(0)));
    let old = disk.contents();
    for n in 0..10 {
        memory.record(Mono(n), &[degraded("b")], None);
    }
    let newest = receipt(&memory);
    memory.receipted(&newest).unwrap();
    memory.anchor(&words(Mono(0).after(ANCHOR_EVERY)));
    drop(memory);
    let (mut memory, recalled) = open(&Disk::holding(&old));
    assert!(recalled.findings.is_empty());
    assert!(memory.receipted(&newest).is_err());

    // The words alone are newer than the journal: that the journal's opening sees.
    let mut half = disk.contents();
    half.extend(old.into_iter().filter(|(name, _)| name.ends_with(".seg")));
    let (_, recalled) = open(&Disk::holding(&half));
    assert!(!recalled.findings.is_empty());
}
