//! What the agent keeps from one start to the next, as it goes into the journal with each record.

use std::collections::BTreeMap;

use backstay_core::{DeviceState, Quarantine};
use backstay_model::{PluginId, UnixMs};
use backstay_wire::{Body, Schema, decode, encode};
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Where the device stands.
    pub device: DeviceState,
    /// Which plugins are no longer asked.
    pub quarantine: Quarantine,
    /// The newest grant of each plugin that was accepted.
    pub floors: BTreeMap<PluginId, u64>,
    /// The latest time that the server has signed for.
    pub attested: Option<UnixMs>,
}

impl Body for Kept {
    const SCHEMA: Schema = Schema(256);
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 64 * 1024;
}

impl Kept {
    /// As bytes; none where they would be too many, which a later record makes good.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        encode(self).ok()
    }

    /// What [`Kept::encode`] wrote, here or in a version near this one. `None`: it can't be known, and the device
    /// begins anew from what its slots and anchors say.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes, usize::MAX).ok()
    }
}
