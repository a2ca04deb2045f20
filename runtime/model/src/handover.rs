//! What is told of a plugin on its way to take over from another.
//!
//! Not here: when it may (`core`), and what a call of it brought.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{Action, Digest, PluginId, Version};

/// One step of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Which plugin is to take over.
    pub plugin: PluginId,
    /// For people.
    pub version: Version,
    /// The grant under which it runs.
    pub grant: Digest,
    /// What became of it.
    pub step: HandoverStep,
}

/// What became of a candidate. New kinds are added at the end: the position of a kind is its number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoverStep {
    /// From now on it is asked beside the one that decides, and only compared.
    Shadows {
        /// The grant of the one that decides.
        beside: Digest,
    },
    /// The two wanted different things.
    Differs {
        /// What the candidate wanted. None: it did not answer.
        wanted: Option<Action>,
        /// What the other wanted. None: it did not answer.
        other: Option<Action>,
        /// How often they differed by now, in this stage.
        differed: u32,
        /// Of how many windows, in this stage.
        windows: u32,
    },
    /// It decides, from the next question on, and is still watched.
    TakesOver {
        /// The grant of the one before, which stays as the last good one.
        from: Digest,
        /// How often they differed in the shadow.
        differed: u32,
        /// Of how many windows.
        windows: u32,
    },
    /// It stays.
    Settles {
        /// How often they differed in the soak.
        differed: u32,
        /// Of how many windows.
        windows: u32,
    },
    /// It is not asked any more.
    Refused {
        /// The grant of the one that decides, still or again.
        back_to: Digest,
        /// Whether the candidate was deciding already.
        was_deciding: bool,
        /// Why. At most 256 bytes.
        why: String,
    },
}
