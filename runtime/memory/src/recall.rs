//! Finding the state again after a start: from the view where it is whole, from the journal where it isn't.

use backstay_journal::Ledger;
use backstay_model::{Event, Mono, Order, Ticket};
use backstay_store::{Change, Damage, Tree, View};
use backstay_wire::{AnchorWords, Entry};

use crate::runs::Runs;

/// Where in the view the state stands.
const SNAPSHOT: &[u8] = b"snapshot";
/// Where in the view it says which record the state is of.
const SNAPSHOT_SEQ: &[u8] = b"snapshot-seq";
/// Where in the view the instance's clock stands.
const CLOCK: &[u8] = b"clock";
/// How many runs can be open at most; a device has one.
const RUNS_MAX: usize = 64;

/// What an instance finds when it starts.
#[derive(Debug)]
pub struct Recalled {
    /// The instance's clock goes on from here.
    pub clock: Mono,
    /// The newest state that was recorded; none on the first day, or when it was lost.
    pub snapshot: Option<Vec<u8>>,
    /// The few words that decide about booting, kept apart.
    pub words: Option<AnchorWords>,
    /// What was not as it should be, to be recorded first.
    pub findings: Vec<Event>,
}

/// The state that the journal's records add up to.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) snapshot: Option<Vec<u8>>,
    pub(crate) snapshot_seq: u64,
    pub(crate) clock: Mono,
    pub(crate) runs: Runs,
}

impl State {
    /// Takes a record in, and says what it changes in the view.
    #[expect(clippy::wildcard_enum_match_arm, reason = "few of the many kinds of event are about runs")]
    pub(crate) fn take(&mut self, seq: u64, entry: &Entry) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(snapshot) = &entry.snapshot {
            self.snapshot = Some(snapshot.clone());
            self.snapshot_seq = seq;
            changes.push(Change::put(Tree::State, SNAPSHOT, snapshot.as_slice()));
            changes.push(Change::put(Tree::State, SNAPSHOT_SEQ, seq.to_le_bytes()));
        }
        self.clock = self.clock.max(entry.at);
        changes.push(Change::put(Tree::State, CLOCK, self.clock.0.to_le_bytes()));
        self.runs.take(&entry.event);
        let key = |ticket: &Ticket| ticket.0.to_be_bytes();
        if entry.snapshot.is_some() {
            changes.extend(self.runs.settle().iter().map(|ended| Change::remove(Tree::Runs, key(ended))));
        }
        match &entry.event {
            Event::EffectBegan { ticket, .. } | Event::EffectEnded { ticket, .. }
                if !self.runs.of(*ticket).is_empty() =>
            {
                changes.push(Change::put(Tree::Runs, key(ticket), self.runs.encode(*ticket)));
            }
            Event::Ordered { order: Order { ticket, .. }, .. } => {
                changes.push(Change::remove(Tree::Runs, key(ticket)))
            }
            _ => {}
        }
        changes
    }

    /// What the view says.
    fn of(view: &View) -> Result<Self, Damage> {
        let number = |key| {
            let value = view.get(Tree::State, key).map_err(damage)?;
            Ok(value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes))
        };
        let mut runs = Runs::default();
        for (key, steps) in view.scan(Tree::Runs, &[], None, RUNS_MAX).map_err(damage)? {
            if let Ok(ticket) = <[u8; 8]>::try_from(key) {
                // A run whose steps can't be read begins anew: its first look tells where it stands.
                runs.decode(Ticket(u64::from_be_bytes(ticket)), &steps);
            }
        }
        let snapshot = view.get(Tree::State, SNAPSHOT).map_err(damage)?;
        Ok(Self { snapshot, snapshot_seq: number(SNAPSHOT_SEQ)?, clock: Mono(number(CLOCK)?), runs })
    }
}

/// Brings the view up to the journal's head, and reads the state from it.
///
/// # Errors
/// What is wrong with the view; the caller sets it aside and calls again with the new one.
pub(crate) fn catch_up(view: &mut View, journal: &impl Ledger) -> Result<State, Damage> {
    let mut state = State::of(view)?;
    let from = view.applied().map_or(0, |applied| applied + 1);
    for record in journal.read(from) {
        // What the journal itself can't read any more it says at its next opening; the state is of before that.
        let Ok(record) = record else { break };
        // A record of a newer version, or of a kind that isn't known, is passed over: snapshots behind it tell.
        let Ok(entry) = backstay_wire::decode::<Entry>(&record.body, Entry::SNAPSHOT_BYTES_MAX * 2) else {
            continue;
        };
        let changes = state.take(record.seq, &entry);
        // What doesn't fit the view is in the journal all the same.
        if let Err(backstay_store::ApplyError::Damaged(why)) = view.apply(record.seq, &changes) {
            return Err(why);
        }
    }
    Ok(state)
}

fn damage(error: backstay_store::ReadError) -> Damage {
    let backstay_store::ReadError::Damaged(why) = error;
    why
}
