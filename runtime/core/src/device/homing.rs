//! Where home is, and getting there.
//!
//! A device goes home by itself; nobody needs to be asked, and nothing that it can't verify is home. What it
//! leaves for its own failure is condemned first, and durably: else it would be fetched again.

use backstay_model::{Cause, Digest, Event, Mono, Outcome, Release, Task, Ticket, Transience};

use super::{
    Device, Effect, Effects,
    input::Vetted,
    phase::{Homing, Leaving, Phase, Seeking},
};

/// Whether what is left has shown itself to be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It failed here: never again by itself.
    Condemned,
    /// Somebody wants it left.
    Unwanted,
}

/// Where a way home leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To a release that was verified here once.
    Known(Release),
    /// To one that somebody names. It proves nothing: the release keys are asked first.
    Unknown(Release),
    /// Nowhere.
    None,
}

impl Device {
    /// The release to go back to by the device's own decision: of those that were verified here the one at hand, the
    /// last known good one first; then that one from afar.
    pub(super) fn home(&self) -> Option<Release> {
        let good = [Some(&self.state.confirmed), self.state.last_known_good.as_ref()];
        let other = self.state.other.as_ref();
        let near = good.into_iter().chain([other]).flatten().filter(|to| self.is_at_hand(&to.digest));
        let mut ways = near.chain(good.into_iter().flatten()).filter(|to| self.is_open(to));
        ways.next().cloned()
    }

    /// The same where somebody names a release to go back to: that one if it is at hand, else the device's own way, else
    /// from afar, once the release keys have vouched for it.
    pub(super) fn way_home(&self, back: Option<&Release>) -> Way {
        let here = |back: &Release| {
            let slots = [self.state.other.as_ref(), Some(&self.state.confirmed)];
            // What the slots say of it was verified, and not what steering says.
            slots.into_iter().flatten().find(|slot| slot.digest == back.digest && self.is_open(slot)).cloned()
        };
        match (back.and_then(here).or_else(|| self.home()), back) {
            (Some(to), _) => Way::Known(to),
            (None, Some(back)) if self.is_open(back) => Way::Unknown(back.clone()),
            (None, Some(_) | None) => Way::None,
        }
    }

    /// Whether the release keys allow the way from what runs, and nothing here speaks against it.
    fn is_open(&self, to: &Release) -> bool {
        let here = &self.state.on;
        to.digest != here.release.digest
            && here.way.allows(&to.digest)
            && !self.state.condemned.contains(&to.digest)
            && to.security_epoch >= self.state.floor
    }

    fn is_at_hand(&self, digest: &Digest) -> bool {
        self.state.other.as_ref().is_some_and(|other| other.digest == *digest)
    }

    /// Asks what the release keys say of where the fleet is steered back to.
    pub(super) fn seek(&mut self, now: Mono, back: Release, cause: Cause, out: &mut Effects) {
        if let Err(spent) = self.state.budget.check(now, self.settings.allowance) {
            return self.out_of_budget(now, spent, out);
        }
        let seeking = Seeking { ticket: Ticket(0), back, cause, attempts: 0, again_at: None };
        self.ask_again(seeking, out);
    }

    pub(super) fn ask_again(&mut self, seeking: Seeking, out: &mut Effects) {
        let ticket = self.ticket();
        out.push(Effect::Vet { ticket, release: seeking.back.clone() });
        self.state.phase = Phase::Seeking(Seeking { ticket, again_at: None, ..seeking });
    }

    pub(super) fn sought(
        &mut self,
        now: Mono,
        seeking: Seeking,
        ticket: Ticket,
        verdict: Vetted,
        out: &mut Effects,
    ) {
        if seeking.ticket != ticket || seeking.again_at.is_some() {
            return;
        }
        let (transience, why) = match self.admit_home(&seeking.back, verdict) {
            Ok(to) => {
                self.state.phase = Phase::Settled;
                if !self.is_open(&to.release) {
                    return self.freeze(Cause::NoWayHome, out);
                }
                let release = to.release.clone();
                self.state.sought = Some(to);
                return self.leave(now, release, seeking.cause, Verdict::Unwanted, out);
            }
            Err(refused) => refused,
        };
        if transience == Transience::Permanent {
            return self.freeze(why, out);
        }
        let (attempts, at) = self.next_try(now, seeking.attempts, why, out);
        self.state.phase = Phase::Seeking(Seeking { attempts, again_at: Some(at), ..seeking });
    }

    /// Counts a try on the way home that failed for a passing reason, and says when the next one is: soon, or, where
    /// it was the last, slowly.
    fn next_try(&mut self, now: Mono, before: u32, why: Cause, out: &mut Effects) -> (u32, Mono) {
        let attempts = before.saturating_add(1);
        if attempts >= self.settings.retries {
            return (0, self.strand(now, why, out));
        }
        let until = now.after(self.settings.retry_backoff.wait(attempts, &mut self.state.rng));
        out.push(Effect::Record(Event::Waits { attempts, until }));
        (attempts, until)
    }

    /// The next try on the way home is due now.
    pub(super) fn hurry(&mut self, now: Mono) {
        match &mut self.state.phase {
            Phase::Homing(Homing { again_at, .. }) | Phase::Seeking(Seeking { again_at, .. }) => {
                *again_at = again_at.map(|_| now);
            }
            Phase::Leaving(_)
            | Phase::Settled
            | Phase::Vetting(_)
            | Phase::Installing(_)
            | Phase::Trial(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Frozen(_) => {}
        }
    }

    /// The budget doesn't let it leave yet. That passes.
    fn out_of_budget(&mut self, now: Mono, spent: Cause, out: &mut Effects) {
        self.state.phase = Phase::Settled;
        if !self.rests(now) {
            self.strand(now, spent, out);
        }
    }

    /// The way home from a trial: always open, whatever the budget.
    pub(super) fn turn_home(
        &mut self,
        now: Mono,
        to: Release,
        cause: Cause,
        verdict: Verdict,
        out: &mut Effects,
    ) {
        let from = self.state.on.release.clone();
        if verdict == Verdict::Condemned {
            self.state.condemn(from.digest);
            out.push(Effect::Record(Event::Condemned { release: from.clone(), cause: cause.clone() }));
        }
        if let Some(rollout) =
            self.steering().filter(|steer| steer.release.digest == self.state.on.release.digest)
        {
            let rollout = rollout.rollout.clone();
            self.turn_away(&rollout);
        }
        self.state.budget.spend(now);
        let homing = Homing { ticket: Ticket(0), from, to, decided: now, cause, attempts: 0, again_at: None };
        self.head_home(now, homing, out);
    }

    /// The way home from a confirmed release: within the budget, and where the device decides by itself, not at
    /// the same moment as all the others.
    pub(super) fn leave(
        &mut self,
        now: Mono,
        to: Release,
        cause: Cause,
        verdict: Verdict,
        out: &mut Effects,
    ) {
        if let Err(spent) = self.state.budget.check(now, self.settings.allowance) {
            return self.out_of_budget(now, spent, out);
        }
        match verdict {
            Verdict::Unwanted => self.turn_home(now, to, cause, verdict, out),
            Verdict::Condemned => {
                let at = now.after(self.state.rng.span(self.settings.leave_jitter));
                self.state.phase = Phase::Leaving(Leaving { at, decided: now, to, cause });
            }
        }
    }

    /// Leaves, or tries once more to get home, if that is due.
    pub(super) fn set_out(&mut self, now: Mono, out: &mut Effects) {
        if self.state.phase.waits_until().is_none_or(|at| now < at) {
            return;
        }
        match self.state.phase.clone() {
            Phase::Leaving(leaving) => {
                self.turn_home(now, leaving.to, leaving.cause, Verdict::Condemned, out);
                if let Phase::Homing(homing) = &mut self.state.phase {
                    homing.decided = leaving.decided;
                }
            }
            Phase::Homing(homing) => self.head_home(now, homing, out),
            Phase::Seeking(seeking) => self.ask_again(seeking, out),
            Phase::Settled
            | Phase::Vetting(_)
            | Phase::Installing(_)
            | Phase::Trial(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Frozen(_) => {}
        }
    }

    pub(super) fn head_home(&mut self, now: Mono, homing: Homing, out: &mut Effects) {
        let order = self.give(now, Task::GoHome { release: homing.to.clone() }, homing.cause.clone(), out);
        self.state.phase = Phase::Homing(Homing { ticket: order.ticket, again_at: None, ..homing });
    }

    pub(super) fn came_home(&mut self, now: Mono, homing: Homing, outcome: Outcome, out: &mut Effects) {
        if self.state.on.release.digest == homing.to.digest {
            let took = now.since(homing.decided);
            let (from, to, cause) = (homing.from, homing.to, homing.cause);
            out.push(Effect::Record(Event::CameHome { from, to, took, cause }));
            self.refloat(out);
            return self.settle(now);
        }
        match &outcome {
            Outcome::Failed { transience: Transience::Transient, .. } => {
                let (attempts, at) = self.next_try(now, homing.attempts, Cause::RunFailed { outcome }, out);
                self.state.phase = Phase::Homing(Homing { attempts, again_at: Some(at), ..homing });
            }
            Outcome::Failed { transience: Transience::Permanent, .. } => {
                self.freeze(Cause::RunFailed { outcome }, out);
            }
            // Everything was done and yet what was left runs: home did not come up.
            Outcome::Done => self.freeze(Cause::FellBack, out),
        }
    }
}
