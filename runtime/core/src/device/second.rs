//! When the server's word alone is not enough: a release that has long been good is left backwards only with a second
//! signature, by operators.
//!
//! The server's key is online, and whoever steals it can send home. While a release is young that is what it is for. One
//! that has been confirmed for long and isn't seen to do badly is another matter: there is no hurry, so people with keys that are
//! offline have to agree. The device's own way home asks nobody, and going forward asks for one signature only.
//!
//! Not here: the signatures (`trust`), and where home is (`homing`).

use alloc::format;

use backstay_model::{Digest, Generation, Health, Mono, Refused, Steer};
use serde::{Deserialize, Serialize};

use super::{Device, Effects};

/// Whether operators have signed a steering message, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Second {
    /// The server's signature stands alone.
    #[default]
    Missing,
    /// As many operators as have to sign a grant.
    Given,
}

/// How long what is confirmed has been so, and what was said about leaving it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tenure {
    /// Which release, and since when.
    since: Option<(Digest, Mono)>,
    /// The steering that operators have signed, too.
    seconded: Option<Generation>,
    /// The steering that was told to wait for them.
    waits: Option<Generation>,
}

impl Device {
    /// Notes since when what is confirmed has been so. Where nothing is known of that it counts from now.
    pub(super) fn count_tenure(&mut self, now: Mono) {
        let confirmed = self.state.confirmed.digest;
        let tenure = &mut self.state.tenure;
        if tenure.since.is_none_or(|(of, _)| of != confirmed) {
            tenure.since = Some((confirmed, now));
        }
    }

    /// Notes that operators have signed the steering of this generation. That it comes again without them takes nothing
    /// back.
    pub(super) fn second(&mut self, generation: Generation, second: Second) {
        match second {
            Second::Given => self.state.tenure.seconded = Some(generation),
            Second::Missing => {}
        }
    }

    /// What was said about leaving it was about steering that counts no more.
    pub(super) fn forget_seconds(&mut self) {
        let tenure = &mut self.state.tenure;
        (tenure.seconded, tenure.waits) = (None, None);
    }

    /// Whether `steer` leads away from what has long been good, and nobody but the server says so. Said once.
    pub(super) fn lacks_second(&mut self, now: Mono, steer: &Steer, out: &mut Effects) -> bool {
        let Some(long) = self.settings.second_after else { return false };
        let on = self.state.on.release.digest;
        let good_for = match self.state.tenure.since {
            Some((of, since)) if of == on => now.since(since),
            Some(_) | None => return false,
        };
        let seconded = self.state.tenure.seconded == Some(steer.generation);
        // Whoever can cut its power could else have it not know, for a window, how it does.
        let does_badly = self.health() == Health::Bad || self.state.ladder.attempts() > 0;
        if seconded || good_for < long || does_badly {
            return false;
        }
        if self.state.tenure.waits != Some(steer.generation) {
            self.state.tenure.waits = Some(steer.generation);
            let what = format!("home of {}", steer.rollout);
            let why = format!(
                "{} has been good for {good_for}: operators have to sign it, too",
                steer.release.version
            );
            self.refuse(Refused { what, why, count: 1 }, out);
        }
        true
    }
}
