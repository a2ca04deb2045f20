//! The heal ladder: what to try, how often, and how long to wait between tries.
//!
//! A rung that didn't help is tried again up to its number of attempts, then the next one is. Attempts are
//! counted until the target has been healthy for a while, so that a fault that keeps coming back climbs.
//! Not here: doing any of it (an executor), and whether to heal at all (the policy).

use backstay_model::{Mono, Name};
use serde::{Deserialize, Serialize};

use crate::{Backoff, Rng};

/// One way to mend what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// What the executor is asked to do.
    pub playbook: Name,
    /// How often, at most 100. With 0 it isn't climbed: only who names it has it done.
    pub attempts: u32,
}

/// Where on the ladder a target stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    attempts: u32,
    not_before: Mono,
    good: u32,
}

/// What the ladder has to say to somebody who wants to heal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Climb {
    /// Try this now.
    Try(Name),
    /// A try was made; give it until then.
    Wait(Mono),
    /// Everything was tried.
    Spent,
}

impl Ladder {
    /// Tries since the target was last healthy.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What to try at `now`; `wanted` goes before what the ladder would take, if it is one of its rungs.
    #[must_use]
    pub fn climb(&self, now: Mono, rungs: &[Rung], wanted: Option<&Name>) -> Climb {
        let mut left = self.attempts;
        let Some(next) = rungs.iter().find(|rung| {
            let here = left < rung.attempts;
            left = left.saturating_sub(rung.attempts);
            here
        }) else {
            return Climb::Spent;
        };
        if now < self.not_before {
            return Climb::Wait(self.not_before);
        }
        let wanted = rungs.iter().find(|rung| Some(&rung.playbook) == wanted);
        Climb::Try(wanted.unwrap_or(next).playbook.clone())
    }

    /// Counts a try that ended at `now`, and draws how long to wait before the next.
    pub fn tried(&mut self, now: Mono, backoff: Backoff, rng: &mut Rng) -> Mono {
        self.attempts = self.attempts.saturating_add(1);
        self.good = 0;
        self.not_before = now.after(backoff.wait(self.attempts, rng));
        self.not_before
    }

    /// Counts a window: after `needed` good ones in a row the target counts as cured, and the number of tries
    /// that it took is given.
    pub fn window(&mut self, window: Outlook, needed: u32) -> Option<u32> {
        match window {
            Outlook::Good => self.good = self.good.saturating_add(1),
            Outlook::NotGood => self.good = 0,
        }
        if self.attempts == 0 || self.good < needed {
            return None;
        }
        let attempts = self.attempts;
        *self = Self::default();
        Some(attempts)
    }
}

/// Whether a window speaks for a cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// There was data and it was good.
    Good,
    /// Anything else.
    NotGood,
}

/// The most rungs of a ladder.
pub const RUNGS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use backstay_model::Millis;

    use super::*;

    #[test]
    fn a_fault_that_stays_climbs_until_the_ladder_is_spent() {
        let rung = |playbook, attempts| Rung { playbook: Name::parse(playbook).unwrap(), attempts };
        let rungs = [rung("restart", 2), rung("reboot", 1)];
        let backoff = Backoff { base: Millis(100), cap: Millis(100) };
        let (mut ladder, mut rng, mut now) = (Ladder::default(), Rng::new(1), Mono(0));
        let mut tried = Vec::new();
        while let Climb::Try(playbook) = ladder.climb(now, &rungs, None) {
            tried.push(playbook);
            now = ladder.tried(now, backoff, &mut rng);
        }
        assert_eq!(tried.iter().map(Name::as_str).collect::<Vec<_>>(), ["restart", "restart", "reboot"]);
        assert_eq!(ladder.climb(now, &rungs, None), Climb::Spent);
        assert_eq!(ladder.window(Outlook::Good, 2), None);
        assert_eq!(ladder.window(Outlook::NotGood, 2), None);
        assert_eq!(ladder.window(Outlook::Good, 2), None);
        assert_eq!(ladder.window(Outlook::Good, 2), Some(3));
        assert_eq!(ladder.attempts(), 0);
    }
}
