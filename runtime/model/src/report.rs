//! What a device says of itself. Retained by the broker, so the last word of each device is always there.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{BootId, CohortId, Digest, Generation, Mono, Release, RolloutId};

/// What a device runs and how far that is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Grows with each report of a device, so that a late one isn't taken for a new one.
    pub sequence: u64,
    /// When, on the device's clock.
    pub at: Mono,
    /// Which boot.
    pub boot: BootId,
    /// Whose steering it follows.
    pub cohort: CohortId,
    /// The newest steering that it accepted, and of which rollout.
    pub steered: Option<(RolloutId, Generation)>,
    /// What runs now.
    pub booted: Release,
    /// What a restart would bring back: the last release that passed its trial here.
    pub confirmed: Release,
    /// Where the device stands.
    pub standing: Standing,
    /// How what runs now is doing.
    pub health: Health,
    /// Releases that this device will not run again by itself. At most 32, newest first.
    pub condemned: Vec<Digest>,
    /// Records in the journal up to this one exist.
    pub journal: u64,
}

/// Where a device stands. "Updated" is said only of [`Standing::Settled`] on the wanted release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// On a release that passed its trial.
    Settled,
    /// Bringing a release in.
    Installing,
    /// On a release that has yet to earn trust.
    OnTrial,
    /// On the way home.
    GoingHome,
    /// Moves nothing until somebody says more: a person has to look.
    Frozen,
    /// Sits this rollout out until a moment of its own.
    Excluded,
    /// Has nothing left to try for now, and tries again slowly: nobody has to look, and a release may cure it.
    Stranded,
}

/// How what runs now is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// The last window was good.
    Good,
    /// It wasn't.
    Bad,
    /// There was no data.
    Unknown,
}

/// A sign of life. Unsigned and lossy: it can show that a device is there, never that it is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Which session, as the presence message has it.
    pub nonce: u64,
    /// Counts up in a session.
    pub count: u64,
    /// As of the last window.
    pub health: Health,
}
