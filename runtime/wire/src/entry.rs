//! What a journal record holds.

use alloc::vec::Vec;

use backstay_model::{Event, Mono};
use serde::{Deserialize, Serialize};

use crate::{Body, DecodeError, OutOfBounds, Schema};

/// One event in the life of an instance, with the state after it now and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, on the instance's clock.
    pub at: Mono,
    /// What.
    pub event: Event,
    /// The core's state after it, in the core's own bytes, at most [`Entry::SNAPSHOT_BYTES_MAX`]. A restart
    /// begins at the newest one and replays what is behind it. `None`: not at this entry.
    #[serde(with = "crate::bytes::option")]
    pub snapshot: Option<Vec<u8>>,
}

impl Entry {
    /// The most bytes of a snapshot.
    pub const SNAPSHOT_BYTES_MAX: usize = 64 * 1024;
}

impl Body for Entry {
    const SCHEMA: Schema = Schema::ENTRY;
    // 2 has more kinds of event than 1, and is laid out the same.
    const VERSION: u16 = 2;
    const OPTIONAL: bool = false;
    // A full snapshot and the largest facts. It has to fit a log batch, which has to fit an MQTT message.
    const BYTES_MAX: usize = 96 * 1024;

    fn check(&self) -> Result<(), OutOfBounds> {
        let snapshot = self.snapshot.as_ref().map_or(0, Vec::len);
        OutOfBounds::check("snapshot", snapshot, 0, Self::SNAPSHOT_BYTES_MAX)
    }

    fn from_previous(_: u16, body: &[u8]) -> Result<Self, DecodeError> {
        Self::from_body(Self::VERSION, body)
    }
}
