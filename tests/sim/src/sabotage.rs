//! What of the core is broken on purpose, so that each invariant is seen to fail.
//!
//! A sabotage changes what a core said before anybody looks at it, as a bug would. Nothing else is changed: whoever finds it
//! finds the bug, too.

use backstay_core::{CohortEffect, Effect};
use backstay_model::Mono;

/// Which bug.
#[derive(Clone, Copy)]
pub enum Sabotage {
    /// Devices say something else.
    Device(fn(&mut Vec<Effect>, Mono)),
    /// Cohorts say something else.
    Cohort(fn(&mut Vec<CohortEffect>)),
    /// An executor doesn't look what it did before a restart.
    Forgetful,
    /// A core says that its time has come, and that again.
    Stuck,
    /// What a device says between two connections reaches nobody.
    Mute,
}

impl Sabotage {
    pub(crate) fn device(self, effects: &mut Vec<Effect>, now: Mono) {
        if let Self::Device(change) = self {
            change(effects, now);
        }
    }

    pub(crate) fn cohort(self, effects: &mut Vec<CohortEffect>) {
        if let Self::Cohort(change) = self {
            change(effects);
        }
    }

    pub(crate) const fn is_forgetful(self) -> bool {
        matches!(self, Self::Forgetful)
    }

    pub(crate) const fn is_stuck(self) -> bool {
        matches!(self, Self::Stuck)
    }

    pub(crate) const fn is_mute(self) -> bool {
        matches!(self, Self::Mute)
    }
}
