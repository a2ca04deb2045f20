//! What steering of plugins leads to: whom to believe was looked at before; what is left is order and meaning, as for the
//! product (`device`).
//!
//! Not here: what becomes of a bundle that is wanted (`trial`).

use alloc::format;

use backstay_model::{
    Cause, Digest, Direction, Mono, Refused, Release, RolloutId, Steer, Ticket, UpgradeStep,
};

use super::{ALLOWANCE, Effects, Phase, REMEMBERED_MAX, Upgrade, UpgradeEffect, record};
use crate::{
    Freshness, Steered,
    hearing::{Heard, heed, reaches},
};

impl Upgrade {
    pub(super) fn steered(&mut self, Steered { steer, freshness, by, .. }: Steered, out: &mut Effects) {
        let Some(identity) = &self.identity else { return };
        let refuse = |why| {
            let what = format!("steering of plugins of {}", steer.cohort);
            UpgradeEffect::Refuse(Refused { what, why, count: 1 })
        };
        let (rollout, generation) = (steer.rollout.clone(), steer.generation);
        let (direction, reach) = (steer.direction, steer.reach);
        let told =
            record(steer.release.clone(), UpgradeStep::Steered { rollout, generation, direction, reach });
        match heed(&steer, &identity.cohort, self.least, self.steering.as_ref()) {
            Err(why) => return out.push(refuse(why)),
            Ok(Heard::Again) => {
                self.freshness = freshness;
                // Who has said it may be news, and has to outlive a power cut.
                out.extend(self.heights.note(by, generation.0).then_some(told));
                return;
            }
            Ok(Heard::New) => {}
        }
        self.heights.note(by, generation.0);
        out.push(told);
        if direction == Direction::Home {
            self.turn(&steer, out);
        }
        self.steering = Some(steer);
        self.freshness = freshness;
        out.push(UpgradeEffect::Report);
    }

    /// Leaves what nobody wants any more, and never follows that rollout forward again.
    fn turn(&mut self, steer: &Steer, out: &mut Effects) {
        self.turn_from(steer.rollout.clone());
        let bundle = &steer.release.digest;
        let cause = Cause::Steering { rollout: steer.rollout.clone(), generation: steer.generation };
        let is_tried =
            matches!(&self.phase, Phase::Trial { bundle: tried, .. } if tried.release.digest == *bundle);
        if is_tried {
            return self.leave(bundle, cause, out);
        }
        match self.seats.step_back(bundle) {
            Some(Ok(())) => self.leave(bundle, cause, out),
            // It is on its way here, or nowhere.
            None => self.call_off(bundle),
            // One step leads back, to what was granted and had the job: whoever steers leaves nobody without.
            Some(Err(why)) => {
                let what = format!("plugin {} is called home", steer.release);
                out.push(UpgradeEffect::Refuse(Refused { what, why: why.into(), count: 1 }));
            }
        }
    }

    pub(super) fn turn_from(&mut self, rollout: RolloutId) {
        self.turned.retain(|turned| *turned != rollout);
        self.turned.insert(0, rollout);
        self.turned.truncate(REMEMBERED_MAX);
    }

    /// What is on its way is not waited for any more.
    pub(super) fn call_off(&mut self, bundle: &Digest) {
        if matches!(&self.phase, Phase::Fetching { bundle: wanted, .. } if wanted.digest == *bundle) {
            self.phase = Phase::Idle;
        }
    }

    /// Begins what steering asks for, where nothing keeps this device from it.
    pub(super) fn consider(&mut self, now: Mono, out: &mut Effects) {
        let Some(steer) = self.steering.clone().filter(|steer| self.is_wanted(steer)) else { return };
        match &self.phase {
            Phase::Fetching { bundle, .. } if *bundle == steer.release => return,
            Phase::Trial { bundle, .. } if bundle.release.digest == steer.release.digest => return,
            // Two at once have nobody to be compared with: the newer wish counts.
            Phase::Trial { bundle, .. } => {
                let tried = bundle.release.digest;
                let (rollout, generation) = (steer.rollout.clone(), steer.generation);
                self.leave(&tried, Cause::Steering { rollout, generation }, out);
            }
            Phase::Idle | Phase::Fetching { .. } => {}
        }
        if self.budget.check(now, ALLOWANCE).is_err() {
            // It is fetched when the oldest one is past.
            self.phase = Phase::Idle;
            return;
        }
        self.budget.spend(now);
        self.ticket = Ticket(self.ticket.0.saturating_add(1));
        let (ticket, rollout, bundle) = (self.ticket, steer.rollout, steer.release);
        out.push(UpgradeEffect::Fetch { ticket, bundle: bundle.clone() });
        out.push(UpgradeEffect::Report);
        self.phase = Phase::Fetching { ticket, rollout, bundle };
    }

    pub(super) fn is_wanted(&self, steer: &Steer) -> bool {
        let Some(identity) = &self.identity else { return false };
        let bundle = &steer.release.digest;
        steer.direction == Direction::Forward
            && self.freshness == Freshness::Fresh
            && reaches(steer, identity)
            && !steer.frozen
            && !self.held
            && !self.sits_out()
            && !self.turned.contains(&steer.rollout)
            && !self.condemned.iter().any(|condemned| condemned.bundle == *bundle)
            && !self.seats.has_job(bundle)
    }

    /// Whether there is something to sit out: what has its job is none.
    pub(super) fn sits_out(&self) -> bool {
        let Some(steer) = self.steering.as_ref().filter(|steer| !self.seats.has_job(&steer.release.digest))
        else {
            return false;
        };
        self.setback.as_ref().is_some_and(|setback| setback.keeps_from(&steer.rollout))
            || self.gave_up_forward()
    }

    /// Steering asks for what the configuration was changed away from.
    fn gave_up_forward(&self) -> bool {
        let forward = self.steering.as_ref().filter(|steer| steer.direction == Direction::Forward);
        forward.is_some_and(|steer| self.turned.contains(&steer.rollout))
    }

    pub(super) fn is_still_wanted(&self, bundle: &Release) -> bool {
        self.steering.as_ref().is_some_and(|steer| steer.release == *bundle && self.is_wanted(steer))
    }
}
