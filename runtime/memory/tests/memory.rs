//! What is recorded is found again, whatever became of the view.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::{fs, path::Path};

use backstay_evidence::Chain;
use backstay_memory::{Durability, Memory, Options, Recalled, Step};
use backstay_model::{Cause, Event, Fence, Mono, Name, Order, Outcome, Task, Ticket};
use backstay_wire::Receipt;

fn open(dir: &Path) -> (Memory, Recalled) {
    Memory::open(dir, Options { instance: "pump-7".into(), bytes_max: 2 << 20 }).unwrap()
}

fn degraded(what: &str) -> Event {
    Event::Degraded { what: what.into() }
}

fn records_something(dir: &Path) {
    let (mut memory, recalled) = open(dir);
    assert_eq!((recalled.clock, recalled.snapshot, recalled.findings), (Mono(0), None, vec![]));
    let ticket = Ticket(1);
    let began = Event::EffectBegan { ticket, ordinal: 0, what: "slot status".into(), changes: false };
    let ended = Event::EffectEnded { ticket, ordinal: 0, outcome: vec![1, 2, 3] };
    assert_eq!(memory.record(Mono(5), &[degraded("a"), began], Some(vec![1])), Durability::Durable);
    assert_eq!(memory.record(Mono(7), &[ended], None), Durability::Durable);
    assert_eq!(memory.record(Mono(9), &[degraded("b")], Some(vec![2])), Durability::Durable);
}

fn finds_it_again(dir: &Path) {
    let (memory, recalled) = open(dir);
    assert_eq!((recalled.clock, recalled.snapshot), (Mono(9), Some(vec![2])));
    let steps = [Step::Began { ordinal: 0 }, Step::Ended { ordinal: 0, answer: vec![1, 2, 3] }];
    assert_eq!(memory.steps(Ticket(1)), steps);
    assert_eq!(memory.head().seq, 4);
}

#[test]
fn what_was_recorded_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    finds_it_again(dir.path());
    finds_it_again(dir.path());
}

#[test]
fn a_lost_view_is_built_anew_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    fs::remove_dir_all(dir.path().join("view")).unwrap();
    finds_it_again(dir.path());
}

/// Journal, anchors and view are gone: nothing in them can say so, and yet this is no first day.
#[test]
fn a_journal_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    for gone in ["journal", "view"] {
        fs::remove_dir_all(dir.path().join(gone)).unwrap();
    }
    let gone = degraded("the journal is gone, with all that was remembered: this begins anew");
    for _ in 0..2 {
        assert_eq!(open(dir.path()).1.findings, std::slice::from_ref(&gone), "until it is recorded");
    }
    let (mut memory, recalled) = open(dir.path());
    assert_eq!(memory.record(Mono(1), &recalled.findings, None), Durability::Durable);
    drop(memory);
    assert_eq!(open(dir.path()).1.findings, []);
}

fn spoil(path: &Path) {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().for_each(|entry| spoil(&entry.unwrap().path()));
    }
    let length = fs::metadata(path).unwrap().len() as usize;
    fs::write(path, vec![0xa5; length.min(4096)]).unwrap();
}

#[test]
fn a_view_that_cannot_be_opened_is_set_aside_and_said() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    spoil(&dir.path().join("view"));
    let (memory, recalled) = open(dir.path());
    assert_eq!(recalled.snapshot, Some(vec![2]));
    assert_eq!(recalled.findings.len(), 1, "{:?}", recalled.findings);
    assert_eq!(memory.steps(Ticket(1)).len(), 2);
}

#[test]
fn a_run_that_ended_leaves_no_steps() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    let (mut memory, _) = open(dir.path());
    memory.record(Mono(10), &[ended(1)], Some(vec![3]));
    assert!(memory.steps(Ticket(1)).is_empty());
    drop(memory);
    assert!(open(dir.path()).0.steps(Ticket(1)).is_empty());
}

/// A power cut in the write of both can leave the end of a run without the state that knows of it. Then the run is open, and from its
/// steps it comes to the same end; without them it would begin anew, and do everything twice.
#[test]
fn a_run_keeps_its_steps_until_a_state_knows_of_its_end() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    let (mut memory, _) = open(dir.path());
    memory.record(Mono(10), &[ended(1)], None);
    assert_eq!(memory.steps(Ticket(1)).len(), 2);
    drop(memory);
    let (mut memory, _) = open(dir.path());
    assert_eq!(memory.steps(Ticket(1)).len(), 2);
    // It is brought to its end again.
    memory.record(Mono(11), &[ended(1), degraded("what follows")], Some(vec![3]));
    assert!(memory.steps(Ticket(1)).is_empty());
    drop(memory);
    assert!(open(dir.path()).0.steps(Ticket(1)).is_empty());
}

#[test]
fn what_has_no_receipt_is_sent_again_and_a_receipt_for_another_history_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    records_something(dir.path());
    let (mut memory, _) = open(dir.path());
    let batch = memory.unreceipted().unwrap();
    assert_eq!((batch.first, batch.count), (1, 4));
    let chain = Chain::new("pump-7");
    let head = chain.verify_bytes(&batch.records, chain.genesis()).unwrap();
    assert_eq!(head, memory.head());
    let foreign = Receipt { epoch: 1, seq: 4, head: backstay_model::Digest([9; 32]) };
    assert!(memory.receipted(&foreign).is_err());
    assert!(memory.receipted(&Receipt { seq: 5, ..foreign }).is_err());
    assert_eq!(memory.unreceipted().unwrap().first, 1);
    memory.receipted(&Receipt { epoch: 1, seq: 4, head: backstay_model::Digest(head.hash) }).unwrap();
    assert_eq!(memory.unreceipted(), None);
}

#[test]
fn a_full_outbox_drops_the_oldest_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, _) = open(dir.path());
    for n in 0..200 {
        assert_eq!(memory.record(Mono(n), &[degraded("x")], Some(vec![0; 20_000])), Durability::Durable);
    }
    let batch = memory.unreceipted().unwrap();
    assert!(batch.first > 1);
    let said = memory.entries(0).any(|(_, entry)| entry.event.to_string().contains("dropped unsent"));
    assert!(said);
    drop(memory);
    assert_eq!(open(dir.path()).1.snapshot, Some(vec![0; 20_000]));
}

fn effect_began(n: u64) -> Event {
    Event::EffectBegan { ticket: Ticket(n), ordinal: 0, what: "slot status".into(), changes: false }
}

fn ended(n: u64) -> Event {
    Event::Ended { ticket: Ticket(n), fence: Fence(1), outcome: Outcome::Done }
}

fn effect_ended(n: u64) -> Event {
    Event::EffectEnded { ticket: Ticket(n), ordinal: 0, outcome: vec![1] }
}

/// An effect that outlasts its run comes to its end when the run is over. That opens no run.
#[test]
fn an_effect_that_outlasts_its_run_leaves_no_steps() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, _) = open(dir.path());
    memory.record(Mono(1), &[effect_began(1), ended(1), effect_ended(1)], Some(vec![1]));
    assert!(memory.steps(Ticket(1)).is_empty());
    drop(memory);
    assert!(open(dir.path()).0.steps(Ticket(1)).is_empty());
}

/// The state was lost, and tickets are counted anew: what was done under this one then was for another order.
#[test]
fn a_new_order_begins_without_the_steps_of_an_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, _) = open(dir.path());
    memory.record(Mono(1), &[effect_began(1), effect_ended(1)], None);
    let task = Task::Heal { playbook: Name::parse("restart").unwrap() };
    let order = Order { ticket: Ticket(1), fence: Fence(1), task };
    memory.record(Mono(2), &[Event::Ordered { order, cause: Cause::NoData }], None);
    assert!(memory.steps(Ticket(1)).is_empty());
    drop(memory);
    assert!(open(dir.path()).0.steps(Ticket(1)).is_empty());
}

/// A run hangs, and no server is there to take the records. The journal goes on all the same.
#[test]
fn a_run_that_never_ends_does_not_fill_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, _) = open(dir.path());
    memory.record(Mono(1), &[effect_began(1)], None);
    for n in 0..200 {
        assert_eq!(
            memory.record(Mono(n), &[degraded("x")], Some(vec![n as u8; 60_000])),
            Durability::Durable,
            "{n}"
        );
    }
    let unsent = memory.unreceipted().unwrap();
    assert!(memory.head().seq - unsent.first > 8, "the oldest goes first, and not all at once");
}

/// A state that no record can hold is not lost in silence, and what happened is recorded without it.
#[test]
fn a_state_that_is_too_large_is_said_and_what_happened_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut memory, _) = open(dir.path());
    let kept = memory.record(Mono(1), &[degraded("a")], Some(vec![0; 100_000]));
    assert!(matches!(kept, Durability::Degraded(_)), "{kept:?}");
    assert_eq!(memory.head().seq, 1);
    assert_eq!(memory.record(Mono(2), &[degraded("b")], Some(vec![1])), Durability::Durable);
    drop(memory);
    assert_eq!(open(dir.path()).1.snapshot, Some(vec![1]));
}
