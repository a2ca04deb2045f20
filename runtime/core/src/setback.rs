//! A rollout that did not work out here, and when it may be tried again: of releases and of plugins alike.
//!
//! Not here: what failed, and what is done meanwhile.

use backstay_model::{Cause, Event, Excluded, Mono, RolloutId, Transience};
use serde::{Deserialize, Serialize};

use crate::{Backoff, Rng};

/// How often a rollout is tried here, and how far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// The most tries.
    pub attempts: u32,
    /// Between two.
    pub backoff: Backoff,
}

/// How often a rollout failed here, and when it may be tried again. It is remembered however a device is steered meanwhile, since a
/// server that was brought back from an old copy may go on with this one: until it brings in what it is for, another one fails,
/// somebody thaws, or, for plugins, other keys are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setback {
    pub(crate) rollout: RolloutId,
    pub(crate) attempts: u32,
    pub(crate) wait: Wait,
}

/// When something that failed may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// The wait is over.
    Over,
    /// Not before.
    Until(Mono),
    /// Not by itself.
    ForGood,
}

impl Setback {
    /// One more, after `before` if that was of the same rollout; and what is to be recorded of it.
    pub(crate) fn after(
        before: Option<&Self>,
        rollout: &RolloutId,
        now: Mono,
        (transience, cause): (Transience, Cause),
        retries: Retries,
        rng: &mut Rng,
    ) -> (Self, Event) {
        let before =
            before.filter(|setback| setback.rollout == *rollout).map_or(0, |setback| setback.attempts);
        let attempts = before.saturating_add(1);
        let until = match transience {
            Transience::Transient if attempts < retries.attempts => {
                Some(now.after(retries.backoff.wait(attempts, rng)))
            }
            Transience::Transient | Transience::Permanent => None,
        };
        let excluded = Excluded { rollout: rollout.clone(), until, attempts, cause };
        let wait = until.map_or(Wait::ForGood, Wait::Until);
        (Self { rollout: rollout.clone(), attempts, wait }, Event::Excluded(excluded))
    }

    /// Whether this rollout is to be left alone.
    pub(crate) fn keeps_from(&self, rollout: &RolloutId) -> bool {
        self.rollout == *rollout && self.wait != Wait::Over
    }

    /// When the wait is over, if that is known.
    pub(crate) fn until(&self) -> Option<Mono> {
        match self.wait {
            Wait::Until(until) => Some(until),
            Wait::Over | Wait::ForGood => None,
        }
    }

    /// Takes note of the time. Tries stay counted.
    pub(crate) fn wake(&mut self, now: Mono) {
        if matches!(self.wait, Wait::Until(until) if until <= now) {
            self.wait = Wait::Over;
        }
    }
}
