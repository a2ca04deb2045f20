//! The broker: what it keeps for each topic, and who is connected. An untrusted mailbox that may forget.
//!
//! Not here: how long a message takes and whether it arrives (`fleet`).

use backstay_core::Contact;
use backstay_model::{Mono, Report, Steer, Word};

/// What a device said of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) nonce: u64,
    pub(crate) began: Mono,
    pub(crate) contact: Contact,
}

/// Words for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) sequence: u64,
    pub(crate) words: Vec<Word>,
}

/// Everything that is retained, by device and by cohort.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) steer: Vec<Option<Steer>>,
    pub(crate) state: Vec<Option<Report>>,
    pub(crate) presence: Vec<Option<Presence>>,
    pub(crate) order: Vec<Option<Words>>,
    /// Until then it isn't there.
    pub(crate) down_until: u64,
}

impl Broker {
    pub(crate) fn new(cohorts: usize, devices: usize) -> Self {
        Self {
            steer: vec![None; cohorts],
            state: vec![None; devices],
            presence: vec![None; devices],
            order: vec![None; devices],
            down_until: 0,
        }
    }

    pub(crate) fn is_up(&self, now: u64) -> bool {
        self.down_until <= now
    }
}
