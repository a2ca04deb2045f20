//! Where the server writes down what it decided, before anybody hears of it.

use backstay_memory::{Durability, Memory, Step};
use backstay_model::{Digest, Event, Mono, Ticket};
use backstay_wire::{Entry, Receipt};

/// The server's own records.
pub(crate) trait Diary {
    /// Writes events down in one go, with the state after them. Only after [`Durability::Durable`] may what they
    /// announce be done.
    fn record(&mut self, at: Mono, events: &[Event], snapshot: Option<Vec<u8>>) -> Durability;

    /// The records after one, oldest first, `most` of them.
    fn after(&self, seq: u64, most: usize) -> Vec<(u64, Entry)>;

    /// What was written down of a run that has not ended, oldest first.
    fn steps(&self, ticket: Ticket) -> Vec<Step>;
}

/// Records between two times at which the journal is told that nobody waits for what it holds.
const SPARE_EVERY: u64 = 64;

impl Diary for Memory {
    fn record(&mut self, at: Mono, events: &[Event], snapshot: Option<Vec<u8>>) -> Durability {
        let before = self.head().seq;
        let durability = self.record(at, events, snapshot);
        let head = self.head();
        if before / SPARE_EVERY != head.seq / SPARE_EVERY {
            // A device's journal waits for the server's receipt. The server's waits for nobody: what is oldest may
            // go when there is no room.
            let receipt = Receipt { epoch: head.epoch, seq: head.seq, head: Digest(head.hash) };
            if let Err(error) = self.receipted(&receipt) {
                tracing::error!(%error, "the journal does not know its own head");
            }
        }
        durability
    }

    fn after(&self, seq: u64, most: usize) -> Vec<(u64, Entry)> {
        self.entries(seq.saturating_add(1)).take(most).collect()
    }

    fn steps(&self, ticket: Ticket) -> Vec<Step> {
        Memory::steps(self, ticket).to_vec()
    }
}
