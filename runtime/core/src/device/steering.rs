//! Whom to believe, and what steering leads to.
//!
//! Signatures were checked before anything comes here. What is left is order and meaning: the generation only
//! grows, a device works out from its own name whether it is meant, and "home" is for everybody who is on the
//! release, whatever the reach. Reach gates starting only: shrinking it moves nobody.

use alloc::format;

use backstay_model::{Cause, Digest, Direction, Event, Mono, Refused, Release, RolloutId, Steer};
use serde::{Deserialize, Serialize};

use super::{
    Device, Effect, Effects,
    homing::{Verdict, Way},
    phase::{Phase, Seeking},
    second::Second,
};
use crate::hearing::{Heard, heed, reaches};

/// A steering message whose signature, fleet and audience were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steered {
    /// What it says.
    pub steer: Steer,
    /// Of the message as it was signed.
    pub digest: Digest,
    /// Whether its time has passed.
    pub freshness: Freshness,
    /// Whether operators have signed it, too.
    pub second: Second,
    /// Whose signature it bears, by the key's digest.
    pub by: Digest,
}

/// Whether the time of a message has passed. That blocks new moves forward only: hold and home don't expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Freshness {
    /// It may start something.
    Fresh,
    /// It may not.
    Expired,
}

/// The steering that a device goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Steering {
    pub(super) steer: Steer,
    pub(super) digest: Digest,
    pub(super) freshness: Freshness,
}

impl Steering {
    pub(super) fn of(Steered { steer, digest, freshness, .. }: Steered) -> Self {
        Self { steer, digest, freshness }
    }
}

impl Device {
    pub(super) fn steered(&mut self, now: Mono, steered: Steered, out: &mut Effects) {
        let steer = &steered.steer;
        let Some(identity) = &self.state.identity else { return };
        let what = format!("steering of {}", steer.cohort);
        let known = self.state.steering.as_ref().map(|known| &known.steer);
        match (heed(steer, &identity.cohort, self.state.least, known), &mut self.state.steering) {
            (Err(why), _) => return self.refuse(Refused { what, why, count: 1 }, out),
            (Ok(Heard::Again), Some(known)) => {
                (known.digest, known.freshness) = (steered.digest, steered.freshness);
                if self.state.heights.steering.note(steered.by, steered.steer.generation.0) {
                    // It is no news, but who has said it is, and has to outlive a power cut: else what the same key said before could
                    // come again once the other key is gone.
                    out.push(told(&steered.steer));
                }
                return self.second(steered.steer.generation, steered.second);
            }
            (Ok(_), _) => {}
        }
        let Steer { rollout, generation, direction, .. } = steer.clone();
        out.push(told(steer));
        if direction == Direction::Home {
            self.turn_away(&rollout);
        }
        self.second(generation, steered.second);
        self.state.heights.steering.note(steered.by, generation.0);
        self.state.steering = Some(Steering::of(steered));
        self.report(now, out);
    }

    /// Does what steering asks for, where the phase lets it.
    pub(super) fn consider(&mut self, now: Mono, out: &mut Effects) {
        if let Phase::Seeking(seeking) = &self.state.phase
            && !self.is_still_sought(seeking)
        {
            self.state.phase = Phase::Settled;
        }
        // After nearly every input it asks for nothing, and then nothing of it is copied.
        let asks = self.state.steering.as_ref().filter(|steering| self.is_asked(steering));
        let Some(steer) = asks.map(|steering| steering.steer.clone()) else { return };
        match steer.direction {
            Direction::Hold => {}
            Direction::Home => self.obey_home(now, &steer, out),
            Direction::Forward => self.follow(now, &steer, out),
        }
    }

    /// Whether steering asks for anything of a device that stands where this one does.
    fn is_asked(&self, Steering { steer, freshness, .. }: &Steering) -> bool {
        let is_on = self.state.on.release.digest == steer.release.digest;
        match steer.direction {
            Direction::Hold => false,
            Direction::Home => match &self.state.phase {
                Phase::Installing(run) => run.to.release.digest == steer.release.digest,
                Phase::Settled | Phase::Trial(_) | Phase::Leaving(_) => is_on,
                // A run is brought to its end first, and it has one; frozen means frozen.
                Phase::Vetting(_)
                | Phase::Confirming(_)
                | Phase::Healing(_)
                | Phase::Homing(_)
                | Phase::Seeking(_)
                | Phase::Frozen(_) => false,
            },
            Direction::Forward => {
                let is_free = matches!(self.state.phase, Phase::Settled);
                is_free && *freshness == Freshness::Fresh && self.is_wanted(steer)
            }
        }
    }

    fn obey_home(&mut self, now: Mono, steer: &Steer, out: &mut Effects) {
        let cause = || Cause::Steering { rollout: steer.rollout.clone(), generation: steer.generation };
        match self.state.phase.clone() {
            // What nobody wants any more is not brought in to its end.
            Phase::Installing(_) => self.abandon("it was called off".into(), out),
            Phase::Trial(trial) => {
                let to = match self.way_home(steer.back.as_ref()) {
                    Way::Known(to) => to,
                    Way::Unknown(_) | Way::None => trial.back,
                };
                self.turn_home(now, to, cause(), Verdict::Unwanted, out);
            }
            Phase::Settled if self.rests(now) => {}
            Phase::Settled | Phase::Leaving(_) if self.lacks_second(now, steer, out) => {}
            Phase::Settled | Phase::Leaving(_) => match self.way_home(steer.back.as_ref()) {
                Way::Known(to) => self.leave(now, to, cause(), Verdict::Unwanted, out),
                Way::Unknown(back) => self.seek(now, back, cause(), out),
                Way::None => self.freeze(Cause::NoWayHome, out),
            },
            Phase::Vetting(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Homing(_)
            | Phase::Seeking(_)
            | Phase::Frozen(_) => {}
        }
    }

    /// A way is sought for as long as steering asks for it.
    fn is_still_sought(&self, seeking: &Seeking) -> bool {
        self.steered_home().is_some_and(|steer| steer.back.as_ref() == Some(&seeking.back))
    }

    /// The steering that asks for what runs to be left, if it does.
    pub(super) fn steered_home(&self) -> Option<&Steer> {
        let here = &self.state.on.release.digest;
        self.steering().filter(|steer| steer.direction == Direction::Home && steer.release.digest == *here)
    }

    fn follow(&mut self, now: Mono, steer: &Steer, out: &mut Effects) {
        if let Err(cause) = self.may_start(steer) {
            return self.set_back(now, &steer.rollout, backstay_model::Transience::Permanent, cause, out);
        }
        if self.state.budget.check(now, self.settings.allowance).is_err() {
            // It starts when the oldest switch is past; the window's tick looks again.
            return;
        }
        self.vet(steer.rollout.clone(), steer.release.clone(), out);
    }

    /// Whether `steer` asks this device for something that it isn't kept from by itself.
    fn is_wanted(&self, steer: &Steer) -> bool {
        let Some(identity) = &self.state.identity else { return false };
        let setback = self.state.setback.as_ref();
        let sits_out = setback.is_some_and(|setback| setback.keeps_from(&steer.rollout));
        steer.release.digest != self.state.on.release.digest
            && !sits_out
            && !self.state.held
            && !steer.frozen
            && !self.state.turned.contains(&steer.rollout)
            && reaches(steer, identity)
    }

    /// Whether what was asked for is still asked for: while a release was looked into, a hold or a turn may have come.
    pub(super) fn still_wants(&self, rollout: &RolloutId, release: &Release) -> bool {
        self.steering().is_some_and(|steer| {
            steer.direction == Direction::Forward
                && steer.rollout == *rollout
                && steer.release == *release
                && self.is_wanted(steer)
        })
    }

    fn may_start(&self, steer: &Steer) -> Result<(), Cause> {
        if self.state.condemned.contains(&steer.release.digest) {
            return Err(Cause::IsCondemned);
        }
        if steer.release.security_epoch < self.state.floor {
            return Err(Cause::EpochDown { floor: self.state.floor });
        }
        Ok(())
    }
}

/// How steering is told.
fn told(steer: &Steer) -> Effect {
    let Steer { rollout, generation, direction, release, reach, .. } = steer.clone();
    Effect::Record(Event::Steered { rollout, generation, direction, release, reach })
}
