//! The small messages, and how the words of `model` that are sent as they are become bodies.

use backstay_model::{Beat, Digest, Mono, PluginReport, Report, Selector, Steer};
use serde::{Deserialize, Serialize};

use crate::{AnchorWords, Body, DecodeError, OutOfBounds, Schema, body::all_of};

/// Whether a device is connected. Said when it connects, and by the broker in its name when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// `false` in the will and in a farewell.
    pub online: bool,
    /// Drawn anew for each session: a will that comes late can't mark the session after it as dead.
    pub nonce: u64,
    /// When the session began, on the device's clock.
    pub at: Mono,
}

impl Body for Presence {
    const SCHEMA: Schema = Schema::PRESENCE;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 64;
}

/// What the fleet trusts from now on. It names things by digest; they are fetched by content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustFloor {
    /// Grows with each of them.
    pub sequence: u64,
    /// Of the newest keyring.
    pub keyring: Digest,
    /// Of the newest revocation, if there ever was one.
    pub revocation: Option<Digest>,
}

impl Body for TrustFloor {
    const SCHEMA: Schema = Schema::TRUST_FLOOR;
    // 1 had the lowest security epoch behind it. The revokers say that now, in what is fetched: the server's word for it
    // was never acted on.
    const VERSION: u16 = 2;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 256;

    fn from_previous(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let (sequence, keyring, revocation, _): (_, _, _, u32) = all_of(Self::SCHEMA, version, body)?;
        Ok(Self { sequence, keyring, revocation })
    }
}

impl Body for Beat {
    const SCHEMA: Schema = Schema::BEAT;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = true;
    const BYTES_MAX: usize = 64;
}

impl Body for Report {
    const SCHEMA: Schema = Schema::REPORT;
    // 2 has one more standing than 1, and is laid out the same.
    const VERSION: u16 = 2;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 4 * 1024;

    fn from_previous(_: u16, body: &[u8]) -> Result<Self, DecodeError> {
        Self::from_body(Self::VERSION, body)
    }

    fn check(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::check("condemned", self.condemned.len(), 0, AnchorWords::CONDEMNED_MAX)
    }
}

impl Body for PluginReport {
    const SCHEMA: Schema = Schema::PLUGIN_REPORT;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 4 * 1024;

    fn check(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::check("condemned", self.condemned.len(), 0, AnchorWords::CONDEMNED_MAX)
    }
}

/// The most labels that a steering message selects by.
const LABELS_MAX: usize = 16;

/// The most policies that a steering message names.
const POLICIES_MAX: usize = 8;

impl Body for Steer {
    const SCHEMA: Schema = Schema::STEER;
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 4 * 1024;

    fn check(&self) -> Result<(), OutOfBounds> {
        let labels = match &self.selector {
            Selector::Nobody | Selector::All => 0,
            Selector::Labelled(labels) => labels.len(),
        };
        OutOfBounds::check("labels", labels, 0, LABELS_MAX)?;
        OutOfBounds::check("policies", self.policies.len(), 0, POLICIES_MAX)
    }
}
