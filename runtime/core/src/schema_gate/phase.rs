//! How far a migration has come, and what takes it further or back.
//!
//! Here: the words. Not here: which may follow which (the gate).

use core::fmt;

use backstay_model::Mono;
use serde::{Deserialize, Serialize};

/// How far a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Nothing has been done.
    Before,
    /// The new columns are there, and may be empty.
    Expanded,
    /// What is written goes to both columns.
    DualWrite,
    /// What was written earlier is in both, too.
    Backfilled,
    /// New code reads the new columns.
    ReadNew,
    /// The same, and no old code has run since.
    Soaking {
        /// When the soak began.
        since: Mono,
    },
    /// The old columns are gone.
    Contracted,
}

/// Work for an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Add the new columns.
    Expand,
    /// Take them away again.
    ExpandUndo,
    /// Write to both. Where new columns are read already, bring the old ones back into step.
    DualWriteOn,
    /// Write to those that are read only.
    DualWriteOff,
    /// Bring the new columns into step with the old ones.
    Backfill,
    /// Let new code read the new columns.
    ReadNew,
    /// Bring the old columns into step with the new ones, and let new code read the old ones.
    ReadOld,
    /// Take the old columns away. There is no way back from it.
    Contract,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Expand,
        Self::ExpandUndo,
        Self::DualWriteOn,
        Self::DualWriteOff,
        Self::Backfill,
        Self::ReadNew,
        Self::ReadOld,
        Self::Contract,
    ];

    /// The playbook that does it.
    #[must_use]
    pub const fn playbook(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::ExpandUndo => "expand-undo",
            Self::DualWriteOn => "dual-write-on",
            Self::DualWriteOff => "dual-write-off",
            Self::Backfill => "backfill",
            Self::ReadNew => "read-new",
            Self::ReadOld => "read-old",
            Self::Contract => "contract",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// Done, and looked at.
    Done,
    /// Not done, and a look after it showed that all is as it was.
    Failed,
    /// An executor said that it failed and nobody has looked since, or it never ended.
    InDoubt,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::Expanded => "expanded",
            Self::DualWrite => "dual write",
            Self::Backfilled => "backfilled",
            Self::ReadNew => "read new",
            Self::Soaking { .. } => "soaking",
            Self::Contracted => "contracted",
        })
    }
}
