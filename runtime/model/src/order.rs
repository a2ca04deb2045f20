//! What passed the rails and an executor is asked to do, and how that ended.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::{Fence, Name, Release, Ticket};

/// A task for an executor that passed every rail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Ties the outcome to this order.
    pub ticket: Ticket,
    /// The fencing number of the target's lock.
    pub fence: Fence,
    /// What is to be done.
    pub task: Task,
}

/// The closed list of what an executor can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Bring `release` in and run it on trial; what runs now stays the way home.
    Install {
        /// What is to run.
        release: Release,
    },
    /// The trial was passed: make what runs now the one that a restart brings back.
    Confirm {
        /// What runs.
        release: Release,
    },
    /// Go back to `release`, and never again by itself to what runs now.
    GoHome {
        /// Where home is.
        release: Release,
    },
    /// Mend what runs.
    Heal {
        /// In this way.
        playbook: Name,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done, and looked at.
    Done,
    /// Not done; the target is as it was.
    Failed {
        /// Whether trying again later can help.
        transience: Transience,
        /// What went wrong, in words. At most 256 bytes.
        why: String,
    },
}

/// Whether trying again later can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transience {
    /// A download, space, power: the next try may pass.
    Transient,
    /// It will never work like this.
    Permanent,
}
