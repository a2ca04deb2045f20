//! Words for single devices: numbered, and repeated until the device is seen to have taken them.
//!
//! The broker keeps only the newest order of a device, so each holds all words that are open. Not here: signing
//! (`director`), and keeping them (`kept`).

use std::collections::BTreeMap;

use backstay_model::{DeviceId, Word};
use backstay_wire::DeviceOrder;
use serde::{Deserialize, Serialize};

/// A sequence this far beyond the newest is not believed: what goes up by one doesn't get there, and whoever stole the server's
/// key could else use up all of them in one message. The server would count no further, also with a key of its own again.
const SEQUENCE_LEAD_MAX: u64 = 1 << 32;

/// The orders of all devices that were ever told something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders(BTreeMap<DeviceId, Standing>);

/// How a device's orders stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    /// Of the newest order, or the largest that somebody has seen.
    sequence: u64,
    /// What it has not been seen to take.
    open: Vec<Word>,
}

/// More words than an order can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) usize);

impl Orders {
    /// Tells `device` something more.
    ///
    /// # Errors
    /// If there would be too many words open. Nothing changes.
    pub(crate) fn tell(&mut self, device: &DeviceId, words: &[Word]) -> Result<DeviceOrder, TooMany> {
        let mut open = self.0.get(device).map(|standing| standing.open.clone()).unwrap_or_default();
        for word in words {
            // The later of two words about the same is what counts.
            open.retain(|before| !overrules(word, before));
            open.push(*word);
        }
        if open.is_empty() || open.len() > DeviceOrder::WORDS_MAX {
            return Err(TooMany(open.len()));
        }
        let standing = self.0.entry(device.clone()).or_default();
        standing.sequence = standing.sequence.saturating_add(1);
        standing.open = open;
        Ok(DeviceOrder { sequence: standing.sequence, words: standing.open.clone() })
    }

    /// The device was seen to have taken everything up to `sequence`. Says whether that was news.
    pub(crate) fn taken(&mut self, device: &DeviceId, sequence: u64) -> bool {
        let Some(standing) = self.0.get_mut(device).filter(|standing| standing.sequence <= sequence) else {
            return false;
        };
        !std::mem::take(&mut standing.open).is_empty()
    }

    /// Somebody has seen an order of ours with this sequence: the next one is larger. Says if it was beyond ours, and not so far
    /// that we can't have said it.
    pub(crate) fn seen(&mut self, device: &DeviceId, sequence: u64) -> bool {
        let standing = self.0.entry(device.clone()).or_default();
        let lead = sequence.saturating_sub(standing.sequence);
        let ahead = (1..=SEQUENCE_LEAD_MAX).contains(&lead);
        if ahead {
            standing.sequence = sequence;
        }
        ahead
    }

    /// Of the newest order for `device`.
    pub(crate) fn sequence(&self, device: &DeviceId) -> u64 {
        self.0.get(device).map_or(0, |standing| standing.sequence)
    }

    /// What is open, to be published again.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&DeviceId, DeviceOrder)> {
        let open = self.0.iter().filter(|(_, standing)| !standing.open.is_empty());
        open.map(|(device, Standing { sequence, open })| {
            (device, DeviceOrder { sequence: *sequence, words: open.clone() })
        })
    }
}

fn overrules(word: &Word, before: &Word) -> bool {
    match (word, before) {
        (Word::Hold | Word::Thaw, Word::Hold | Word::Thaw) => true,
        (Word::Lift(digest), Word::Lift(other)) => digest == other,
        (Word::Hold | Word::Thaw, Word::Lift(_)) | (Word::Lift(_), Word::Hold | Word::Thaw) => false,
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::Digest;

    use super::*;

    fn device() -> DeviceId {
        DeviceId::parse("pump-7").unwrap()
    }

    #[test]
    fn what_was_not_taken_is_said_again() {
        let mut orders = Orders::default();
        let lift = Word::Lift(Digest([1; 32]));
        assert_eq!(orders.tell(&device(), &[Word::Hold]).unwrap().words, [Word::Hold]);
        assert_eq!(orders.tell(&device(), &[lift]).unwrap().words, [Word::Hold, lift]);
        let third = orders.tell(&device(), &[Word::Thaw]).unwrap();
        assert_eq!((third.sequence, third.words), (3, vec![lift, Word::Thaw]));
        assert!(!orders.taken(&device(), 2), "an older order is not the newest");
        assert_eq!(orders.open().count(), 1);
        assert!(orders.taken(&device(), 3) && !orders.taken(&device(), 3));
        assert_eq!((orders.open().count(), orders.sequence(&device())), (0, 3));
    }

    #[test]
    fn numbers_go_on_from_the_largest_that_was_seen() {
        let mut orders = Orders::default();
        assert!(orders.seen(&device(), 41) && !orders.seen(&device(), 7));
        assert_eq!(orders.tell(&device(), &[Word::Hold]).unwrap().sequence, 42);
    }

    /// A thief has told a device the last that there is. Whoever has the next key goes on from what was counted.
    #[test]
    fn a_number_that_nobody_can_have_counted_to_is_not_believed() {
        let mut orders = Orders::default();
        assert!(!orders.seen(&device(), u64::MAX) && !orders.seen(&device(), SEQUENCE_LEAD_MAX + 1));
        assert_eq!(orders.tell(&device(), &[Word::Hold]).unwrap().sequence, 1);
        assert!(orders.seen(&device(), SEQUENCE_LEAD_MAX + 1));
    }

    #[test]
    fn an_order_is_bounded() {
        let mut orders = Orders::default();
        let lifts: Vec<Word> = (0..40).map(|n| Word::Lift(Digest([n; 32]))).collect();
        assert_eq!(orders.tell(&device(), &lifts), Err(TooMany(40)));
        assert_eq!(orders.tell(&device(), &[]), Err(TooMany(0)));
        assert_eq!(orders, Orders::default());
    }
}
