//! What is to happen, and when: the entries of the heap. Of two at the same moment the one that was put in first comes first.
//!
//! Not here: what then happens (`devices`, `cohorts`, `faults`, `people`).

use super::mail::Parcel;
use crate::weather::Mark;

#[derive(Debug)]
pub(super) enum What {
    /// Something of this device is due.
    Unit(usize),
    /// Something of this cohort is due.
    Shore(usize),
    /// For a device, in the session with this nonce.
    ToUnit(usize, u64, Box<Parcel>),
    ToShore(usize, Box<Parcel>),
    /// The broker speaks in a device's name, if its session with this nonce is gone.
    Will(usize, u64),
    /// A fault of this kind, and when the next comes.
    Fault(Mark),
    /// A person does something.
    Person,
}

pub(super) struct Entry {
    pub(super) at: u64,
    pub(super) order: u64,
    pub(super) what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
