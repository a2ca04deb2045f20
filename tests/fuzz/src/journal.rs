//! A journal on a disk that was damaged in any way: bits, bytes, sectors, files that are shorter, gone, or put where another was.
//!
//! What has to hold: it opens and goes on; a record that it shows was written, and stands at its place; none is lost that stands
//! before the damage; and what is lost is told. The caller holds a receipt of the newest record: without one, nobody could
//! know that the last one is another.

use std::collections::BTreeMap;

use backstay_journal::{
    Finding, Journal, Opened, Options,
    testing::{Memory, Random},
};
use backstay_journal::{Head, Ledger, Record};

use crate::{Came, is_told_text, memory::within, script::Script};

/// The first 1024 bytes of a segment are its header; a record is as long as its body, 56 bytes more, and what fills up eight.
const SLOTS_AT: usize = 1024;
/// The most commits of a course.
const COMMITS_MAX: usize = 24;
/// The most files that are damaged.
const HARMED_MAX: usize = 3;
/// A segment has 4 KiB, and one is held at a time; what is salvaged, and the records that are read, come on top.
const HELD_MAX: usize = 1 << 20;

type Contents = BTreeMap<String, Vec<u8>>;

/// What was durable.
struct Truth {
    bodies: Vec<Vec<u8>>,
    words: Vec<u8>,
    head: Head,
    contents: Contents,
    /// An older copy of all files.
    older: Contents,
}

pub(crate) fn run(input: &[u8]) -> Came {
    let mut script = Script(input);
    let truth = write(&mut script);
    let mut contents = truth.contents.clone();
    let mut first = None::<(String, usize)>;
    for _ in 0..HARMED_MAX {
        if script.is_empty() {
            break;
        }
        let (name, at) = harm(&mut contents, &truth, &mut script);
        // An edit may leave everything as it was.
        if contents.get(&name) != truth.contents.get(&name) {
            first = Some(first.map_or((name.clone(), at), |first| first.min((name, at))));
        }
    }
    if judge(&contents, &truth, first.as_ref()) > 0 { Came::Taken } else { Came::Refused }
}

fn options(receipt: Option<Head>) -> Options {
    Options { segment_bytes: 4096, ballast_bytes: 0, receipt, ..Options::new("pump-7") }
}

/// Commits of a few records each, anchors between them.
fn write(script: &mut Script<'_>) -> Truth {
    let disk = Memory::default();
    let (mut journal, _) = Journal::open(disk.clone(), options(None), |_, _| Vec::new()).unwrap();
    let (mut bodies, mut words, mut older) = (Vec::new(), Vec::new(), disk.contents());
    for _ in 0..script.below(COMMITS_MAX) {
        let how = script.byte();
        for _ in 0..=how % 3 {
            // No body holds a run of zeros as long as a sector: a write that was cut short looks like that.
            let mut random = Random::new(bodies.len() as u64);
            let body: Vec<u8> =
                (0..usize::from(script.byte()) * 2).map(|_| random.next_u64() as u8).collect();
            journal.append(&body).unwrap();
            bodies.push(body);
        }
        journal.commit().unwrap();
        if how & 0x40 != 0 {
            words = bodies.len().to_le_bytes().to_vec();
            journal.write_anchor(&words).unwrap();
        }
        if how & 0x80 != 0 {
            older = disk.contents();
        }
    }
    Truth { bodies, words, head: journal.head(), contents: disk.contents(), older }
}

/// Does something to one file. Says to which, and from which byte on.
fn harm(contents: &mut Contents, truth: &Truth, script: &mut Script<'_>) -> (String, usize) {
    let names: Vec<String> = truth.contents.keys().cloned().collect();
    let name = script.one(&names).clone();
    match script.byte() % 8 {
        0 => {
            contents.remove(&name);
            (name, 0)
        }
        1 => {
            let older = truth.older.get(&name).cloned();
            match older {
                Some(older) => contents.insert(name.clone(), older),
                None => contents.remove(&name),
            };
            (name, 0)
        }
        2 => {
            let other = script.one(&names);
            if let Some(bytes) = truth.contents.get(other) {
                contents.insert(name.clone(), bytes.clone());
            }
            (name, 0)
        }
        3 => {
            // A file that nobody made: of any number, or with any name.
            let (digits, bytes) = (script.wide(), script.bytes().to_vec());
            let name = if script.flip() { format!("{digits:016x}.seg") } else { script.text() };
            if truth.contents.contains_key(&name) || name.contains('/') {
                return (name, 0);
            }
            contents.insert(name.clone(), bytes);
            (name, 0)
        }
        4 => {
            let Some(bytes) = contents.get_mut(&name) else { return (name, 0) };
            let at = script.below(bytes.len().max(1)).min(bytes.len());
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
            (name, at)
        }
        _ => {
            let Some(bytes) = contents.get_mut(&name) else { return (name, 0) };
            let at = Script(script.bytes()).edit(bytes);
            (name, at)
        }
    }
}

fn open(disk: &Memory, receipt: Option<Head>) -> (Journal<Memory>, Opened) {
    let opened = within(HELD_MAX, || {
        Journal::open(disk.clone(), options(receipt), |finding, _| finding.to_string().into_bytes())
    });
    opened.unwrap_or_else(|error| panic!("it does not open: {error}"))
}

fn records(journal: &Journal<Memory>) -> Vec<Record> {
    let read: Result<Vec<_>, _> = journal.read(0).collect();
    read.unwrap_or_else(|error| panic!("it does not read: {error}"))
}

/// Holds what is read against what was written. Says how many records it has left.
fn judge(contents: &Contents, truth: &Truth, first: Option<&(String, usize)>) -> usize {
    let disk = Memory::holding(contents);
    let (mut journal, opened) = open(&disk, Some(truth.head));
    let found = records(&journal);
    let words = opened.anchor.as_ref().map_or(Vec::new(), |anchor| anchor.words.clone());
    for finding in &opened.findings {
        is_told_text(&finding.to_string());
        let needs_none = matches!(finding, Finding::TornTail { .. });
        assert!(needs_none || finding.help().is_some(), "{finding}: what to do?");
    }
    let lost = opened.findings.iter().any(Finding::is_loss);

    let was = |record: &Record| {
        usize::try_from(record.seq - 1).ok().and_then(|at| truth.bodies.get(at)) == Some(&record.body)
    };
    let (kept, others): (Vec<_>, Vec<_>) = found.iter().partition(|record| was(record));
    assert!(others.len() <= 1, "{} records appeared that nobody wrote", others.len());
    assert!(others.is_empty() || lost, "a record appeared that nobody wrote, without a finding");
    assert!(opened.salvaged.iter().all(was), "something was salvaged that nobody wrote");
    assert!(
        lost || (found.len() == truth.bodies.len() && others.is_empty()),
        "{} of {} records, without a finding: {:?}",
        found.len(),
        truth.bodies.len(),
        opened.findings
    );
    // An older anchor put back alone is whole: its words carry a counter that the caller compares with its records.
    let was_anchored = words == truth.words || contents.get("anchor") != truth.contents.get("anchor");
    assert!(lost || was_anchored, "the words are others, without a finding");
    let before = before(truth, first);
    assert!(
        kept.iter().take(before).enumerate().all(|(at, record)| record.seq == at as u64 + 1)
            && kept.len() >= before,
        "{before} records stand before the damage, and {} were read: {:?}",
        kept.len(),
        opened.findings
    );

    journal.append(b"it goes on").unwrap_or_else(|error| panic!("it does not go on: {error}"));
    let head = journal.commit().unwrap_or_else(|error| panic!("it does not go on: {error}"));
    drop(journal);
    let (journal, opened) = open(&disk, None);
    let again = records(&journal);
    assert_eq!(journal.head(), head, "the next start finds another head");
    assert_eq!(again.last().map(|record| record.body.as_slice()), Some(b"it goes on".as_slice()));
    assert_eq!(again.get(..found.len()), Some(found.as_slice()), "the next start finds others");
    let still: Vec<_> = opened.findings.iter().filter(|finding| finding.is_loss()).collect();
    assert!(still.is_empty(), "the next start still finds {still:?}");
    kept.len()
}

/// How many records stand before the damage, whatever stands behind it.
fn before(truth: &Truth, first: Option<&(String, usize)>) -> usize {
    let Some((name, at)) = first else { return truth.bodies.len() };
    let segments = truth.contents.iter().filter(|(name, _)| name.ends_with(".seg"));
    let mut before = 0;
    for (segment, bytes) in segments {
        if segment > name {
            break;
        }
        let mut slot = SLOTS_AT;
        while let Ok(frame) = backstay_evidence::Frame::read(bytes.get(slot..).unwrap_or_default()) {
            let end = slot + (frame.encoded_len() + 4).next_multiple_of(8);
            // What begins there is behind it, and of what ends there the mark is whole.
            if segment == name && end > *at {
                break;
            }
            (slot, before) = (end, before + 1);
        }
        if segment == name {
            break;
        }
    }
    before
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let course =
        [&[6][..], &[0, 20], &[1, 200, 9], &[0x40, 3], &[2, 100, 100, 100], &[0x80, 255], &[0, 40]].concat();
    let with = |harm: &[u8]| [&course, harm].concat();
    vec![
        course.clone(),
        with(&[0, 5, 6, 1, 0, 5, 0, 3]),
        with(&[1, 4, 0, 4]),
        with(&[2, 0]),
        with(&[1, 1]),
        with(&[0, 2, 1]),
        with(&[0, 3, 9, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4, 1]),
    ]
}
