//! The power is cut after every single operation of a scenario, and the journal is opened on what is left.

use super::{
    memory::{Memory, Survival},
    random::Random,
};
use crate::{
    finding::Finding,
    journal::{Journal, Options},
    ledger::Ledger,
};

/// A course of events, the same for the same seed: groups of records of many lengths, anchors, pruning, restarts.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Chooses the course.
    pub seed: u64,
    /// How many steps it has.
    pub steps: usize,
}

/// How many cuts were survived.
#[derive(Clone, Copy, Debug, Default)]
pub struct CutReport {
    /// Points at which the power was cut.
    pub points: u64,
    /// Starts on what was left, over all models; cuts within a start included.
    pub starts: u64,
}

/// What was asked of the journal and what it promised.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// Every body that was ever taken, in order.
    taken: Vec<Vec<u8>>,
    /// How many of them are durable.
    durable: usize,
    /// The words of the last anchor that was written, and of the one that may have been.
    words: Vec<u8>,
    words_next: Vec<u8>,
    /// Records below this sequence may be gone.
    pruned: u64,
}

/// What a restart writes. If it is cut in turn, the next one may find it.
const AFTER: &[u8] = b"after the cut";

fn options() -> Options {
    Options { segment_bytes: 4096, bytes_max: 1 << 20, ballast_bytes: 4096, ..Options::new("pump-7") }
}

impl Scenario {
    /// Runs on `disk` until it ends or the power goes.
    fn run(&self, disk: &Memory, promise: &mut Promise) -> Option<()> {
        let mut random = Random::new(self.seed);
        let mut journal = open(disk)?;
        for step in 0..self.steps {
            match random.below(16) {
                0 => {
                    promise.words_next = format!("words {step}").into_bytes();
                    journal.write_anchor(&promise.words_next).ok()?;
                    promise.words = promise.words_next.clone();
                }
                1 => {
                    let below = journal.head().seq.saturating_sub(12);
                    promise.pruned = promise.pruned.max(below);
                    journal.prune(below).ok()?;
                }
                2 => {
                    drop(journal);
                    journal = open(disk)?;
                }
                _ => {
                    for _ in 0..=random.below(4) {
                        let body = vec![step as u8; random.below(700)];
                        promise.taken.push(body.clone());
                        journal.append(&body).ok()?;
                    }
                    journal.commit().ok()?;
                    promise.durable = promise.taken.len();
                }
            }
        }
        Some(())
    }
}

fn open(disk: &Memory) -> Option<Journal<Memory>> {
    let opened = Journal::open(disk.clone(), options(), |finding, _| finding.to_string().into_bytes()).ok();
    let (journal, opened) = opened?;
    let degraded = opened.findings.iter().any(|finding| matches!(finding, Finding::Degraded { .. }));
    (!degraded).then_some(journal)
}

/// Opens the journal on `disk` and compares it with what was promised. None is fine if the power goes within.
fn check(disk: &Memory, promise: &Promise) -> Result<(), String> {
    let opened = Journal::open(disk.clone(), options(), |finding, _| finding.to_string().into_bytes());
    let (mut journal, opened) = opened.map_err(|error| format!("it did not open: {error}"))?;
    for finding in &opened.findings {
        match finding {
            Finding::TornTail { .. } | Finding::AnchorDamaged { .. } | Finding::Degraded { .. } => {}
            Finding::Corrupt(_)
            | Finding::SegmentMissing { .. }
            | Finding::HeaderDamaged { .. }
            | Finding::Noise { .. }
            | Finding::AnchorLost => return Err(format!("a power cut was taken for damage: {finding}")),
        }
    }
    compare(&journal, promise)?;
    let words = opened.anchor.map_or(Vec::new(), |anchor| anchor.words);
    if words != promise.words && words != promise.words_next {
        return Err(format!("the anchor says {:?}", String::from_utf8_lossy(&words)));
    }
    let Ok(seq) = journal.append(AFTER) else { return Ok(()) };
    if journal.commit().is_err() {
        return Ok(());
    }
    drop(journal);
    let Some(journal) = open(disk) else { return Ok(()) };
    match journal.read(seq).next() {
        Some(Ok(record)) if record.body == AFTER => Ok(()),
        other => Err(format!("what was written after the cut reads as {other:?}")),
    }
}

fn compare(journal: &Journal<Memory>, promise: &Promise) -> Result<(), String> {
    let read: Result<Vec<_>, _> = journal.read(0).collect();
    let read = read.map_err(|error| format!("it cannot be read: {error}"))?;
    let Some(first) = read.first().map(|record| record.seq) else {
        return if promise.durable == 0 { Ok(()) } else { Err("everything is gone".to_owned()) };
    };
    if first > 1 && first > promise.pruned {
        let pruned = promise.pruned;
        return Err(format!("it begins with record {first}, and only those below {pruned} were pruned"));
    }
    for record in &read {
        if record.body != AFTER && promise.taken.get(record.seq as usize - 1) != Some(&record.body) {
            return Err(format!("record {} was never taken like this", record.seq));
        }
    }
    let last = read.last().map_or(0, |record| record.seq);
    if last < promise.durable as u64 {
        return Err(format!("it ends with record {last}, and {} were durable", promise.durable));
    }
    Ok(())
}

/// Cuts the power after every operation of `scenario`, under every model, and in the restart after it once more.
///
/// # Panics
/// If something that was durable is lost, or the journal does not open or go on. The message names the cut.
#[must_use]
pub fn cut_everywhere(scenario: Scenario) -> CutReport {
    let whole = Memory::default();
    assert!(scenario.run(&whole, &mut Promise::default()).is_some(), "the scenario fails without any cut");
    let mut report = CutReport::default();
    for point in 0..whole.operations() {
        let disk = Memory::default();
        disk.cut_after(point);
        let mut promise = Promise::default();
        scenario.run(&disk, &mut promise);
        report.points += 1;
        let models = [
            Survival::All,
            Survival::Synced,
            Survival::Torn(1),
            Survival::Torn(512),
            Survival::Torn(4096),
            Survival::Some(scenario.seed ^ point),
            Survival::Some(!(scenario.seed ^ point)),
        ];
        for model in models {
            let told = |told: String, again: Option<u64>| {
                panic!("{scenario:?}, cut after operation {point} ({model:?}), again after {again:?}: {told}")
            };
            let left = disk.survivor(model);
            let restart = left.survivor(Survival::All);
            check(&restart, &promise).unwrap_or_else(|error| told(error, None));
            report.starts += 1;
            // One more cut somewhere in the restart: coming back has to be as safe as going on.
            let again = Random::new(scenario.seed.wrapping_add(point))
                .below(restart.operations() as usize + 1) as u64;
            left.cut_after(again);
            let _ = check(&left, &promise);
            check(&left.survivor(model), &promise).unwrap_or_else(|error| told(error, Some(again)));
            report.starts += 1;
        }
    }
    report
}
