//! What of the core is broken on purpose, so that each invariant is seen to fail.
//!
//! A sabotage changes what a core said, before anybody looks at it: as a bug would. Nothing else is changed, so whoever
//! finds it finds the bug, too.

use backstay_core::{CohortEffect, Effect};
use backstay_model::Mono;

/// Which bug.
#[derive(Clone, Copy, Debug)]
pub struct Sabotage {
    /// What it does to what devices say.
    pub device: fn(&mut Vec<Effect>, Mono, usize),
    /// What it does to what cohorts say.
    pub cohort: fn(&mut Vec<CohortEffect>, Mono),
}

impl Sabotage {
    pub(crate) fn device(self, effects: &mut Vec<Effect>, now: Mono, number: usize) {
        (self.device)(effects, now, number);
    }

    pub(crate) fn cohort(self, effects: &mut Vec<CohortEffect>, now: Mono) {
        (self.cohort)(effects, now);
    }
}
