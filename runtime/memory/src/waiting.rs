//! What happened while the disk took nothing: kept in memory, and told in its order once it does again.
//!
//! Not here: when the disk is tried again (`memory`).

use std::collections::VecDeque;

use backstay_model::{Event, Mono, Reason};
use backstay_wire::Entry;

/// The most entries that wait. Beyond, the oldest goes, and how many those were is told.
const ENTRIES_MAX: usize = 512;

/// Between the first two tries of a disk that failed, in milliseconds. Each further wait is twice as long.
const WAIT_MS_MIN: u64 = 5_000;

/// The longest wait between two tries, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;

/// Entries that could not be appended.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    entries: VecDeque<Entry>,
    /// Entries that were appended and that the disk did not take then: they come with the next commit that it does take.
    refused: u64,
    /// Entries that were appended late, and that this was not told of yet.
    late: u64,
    /// Entries that were given up for want of space.
    lost: u64,
    /// Why the first of them could not be appended.
    why: String,
}

impl Waiting {
    /// Keeps `entry` until the disk takes it. Of the states that were kept with entries only the newest one matters.
    pub(crate) fn keep(&mut self, entry: Entry, why: &str) {
        if self.is_empty() {
            why.clone_into(&mut self.why);
        }
        if entry.snapshot.is_some() {
            self.entries.iter_mut().for_each(|older| older.snapshot = None);
        }
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.lost += 1;
        }
        self.entries.push_back(entry);
    }

    /// So many entries were appended, and the disk did not take them.
    pub(crate) fn refused(&mut self, entries: u64, why: &str) {
        if self.is_empty() {
            why.clone_into(&mut self.why);
        }
        self.refused = entries;
    }

    /// Whether the disk has yet to take what was appended.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused > 0
    }

    /// The disk took what was appended: what it had refused is there, late.
    pub(crate) fn taken(&mut self) {
        self.late += std::mem::take(&mut self.refused);
    }

    /// After the journal was opened again: what it had taken and lost was before all that waits, and behind what was
    /// found.
    pub(crate) fn keep_before(&mut self, missed: Vec<Entry>, found: Vec<Event>, at: Mono) {
        let found = found.into_iter().map(|event| Entry { at, event, snapshot: None });
        self.refused = 0;
        for entry in missed.into_iter().rev().chain(found.rev()) {
            self.entries.push_front(entry);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.refused == 0 && self.late == 0 && self.lost == 0
    }

    /// The oldest that waits, to be appended now.
    pub(crate) fn next(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.late += 1;
        Some(entry)
    }

    /// It could not be appended either.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.late -= 1;
        self.entries.push_front(entry);
    }

    /// An entry that tells of what waited, to go behind it; none if nothing did.
    pub(crate) fn telling(&self, at: Mono) -> Option<Entry> {
        let Self { late, lost, why, .. } = self;
        if self.is_empty() {
            return None;
        }
        let missing = if *lost == 0 { String::new() } else { format!(", {lost} are missing") };
        let what = format!("the journal took nothing for a while, {late} records came late{missing}: {why}");
        Some(Entry { at, event: Event::Degraded { what: Reason::new(what).0 }, snapshot: None })
    }
}

/// When a disk that failed is tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retry {
    at: Option<Mono>,
    wait: u64,
}

impl Retry {
    /// It failed at `now`: the next try waits, longer each time.
    pub(crate) fn failed(&mut self, now: Mono) {
        self.wait = (self.wait * 2).clamp(WAIT_MS_MIN, WAIT_MS_MAX);
        self.at = Some(now.after(backstay_model::Millis(self.wait)));
    }

    /// It works.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The time of the next try, if the disk failed.
    pub(crate) fn at(&self) -> Option<Mono> {
        self.at
    }

    pub(crate) fn is_due(&self, now: Mono) -> bool {
        self.at.is_some_and(|at| at <= now)
    }
}
