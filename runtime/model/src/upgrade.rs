//! How a device follows steering of its plugins: what it says of that, and what is recorded.
//!
//! A plugin travels as a *bundle*, and a bundle is steered like a release: the version is the plugin's, digest and length
//! are those of the file. Not here: what follows from steering (`core`), and what is in a bundle (`trust`).

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    BootId, Cause, CohortId, Digest, Direction, Generation, Health, Mono, PluginId, PluginRole, Reach,
    Release, Report, RolloutId, Standing, Version,
};

/// What a device says of its plugins: of the one that steering is about, or of its policy while there is no steering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// Grows with each of them, so that a late one isn't taken for a new one.
    pub sequence: u64,
    /// When, on the device's clock.
    pub at: Mono,
    /// Which boot.
    pub boot: BootId,
    /// Whose steering it follows.
    pub cohort: CohortId,
    /// The newest steering that it accepted, and of which rollout.
    pub steered: Option<(RolloutId, Generation)>,
    /// The bundle that is in use: one that is asked beside the other is, too. None: there is none.
    pub runs: Option<Release>,
    /// The bundle that has the job, and keeps it after a restart. None: nobody has it.
    pub trusted: Option<Release>,
    /// Where the device stands with it.
    pub standing: Standing,
    /// Bundles that this device will not take by itself. At most 32, newest first.
    pub condemned: Vec<Digest>,
    /// How a policy that is to take over gets on with the one before.
    pub compared: Option<Compared>,
    /// Records in the journal up to this one exist.
    pub journal: u64,
}

/// How two policies that are asked the same get on, in the stage that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Whether the new one decides already, and the old one is asked beside.
    pub deciding: bool,
    /// Windows that both were asked.
    pub windows: u32,
    /// Those in which they wanted different things.
    pub differed: u32,
}

impl PluginReport {
    /// As whoever leads a rollout reads it: bundles are led like releases. A plugin that does badly is not kept in use,
    /// so one that is in use does well.
    #[must_use]
    pub fn as_report(&self) -> Report {
        let or_nobody = |bundle: &Option<Release>| bundle.clone().unwrap_or_else(nobody);
        Report {
            sequence: self.sequence,
            at: self.at,
            boot: self.boot,
            cohort: self.cohort.clone(),
            steered: self.steered.clone(),
            booted: or_nobody(&self.runs),
            confirmed: or_nobody(&self.trusted),
            standing: self.standing,
            health: Health::Good,
            condemned: self.condemned.clone(),
            journal: self.journal,
        }
    }
}

/// Stands where there is no bundle: no bundle has its digest.
fn nobody() -> Release {
    let version = Version::parse("none").expect("it is a version");
    Release { version, digest: Digest([0; 32]), length: 0, security_epoch: 0 }
}

/// Something that happened to a bundle which a device is steered to or away from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginUpgrade {
    /// Which bundle.
    pub bundle: Release,
    /// What became of it.
    pub step: UpgradeStep,
}

/// What became of a bundle. New kinds are added at the end: the position of a kind is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpgradeStep {
    /// A steering message about it was accepted.
    Steered {
        /// Which rollout.
        rollout: RolloutId,
        /// Which version of it.
        generation: Generation,
        /// Where to.
        direction: Direction,
        /// How far.
        reach: Reach,
    },
    /// It is here, it may run, and it is tried from now on.
    TrialBegan {
        /// The plugin in it.
        plugin: PluginId,
        /// What it is asked for.
        role: PluginRole,
        /// Of its grant.
        grant: Digest,
        /// The bundle that has the job meanwhile, if there is one.
        back: Option<Release>,
    },
    /// It has the job, and keeps it after a restart: for plugins this is the only event that may be read as "updated".
    Confirmed,
    /// It will not be taken again by itself.
    Condemned {
        /// Why. At most 256 bytes.
        why: String,
    },
    /// It was left for the one before.
    Left {
        /// Which has the job now. None: nobody, which means hold.
        to: Option<Release>,
        /// Why.
        cause: Cause,
    },
}
