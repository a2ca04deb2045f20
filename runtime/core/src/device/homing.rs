//! Where home is, and getting there.
//!
//! A device goes home by itself; nobody needs to be asked, and nothing that it can't verify is home. What it
//! leaves for its own failure is condemned first, and durably: else it would be fetched again.

use backstay_model::{Cause, Digest, Event, Mono, Outcome, Release, Task, Ticket, Transience};

use super::{
    Device, Effect, Effects,
    phase::{Homing, Leaving, Phase},
};

/// Whether what is left has shown itself to be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It failed here: never again by itself.
    Condemned,
    /// Somebody wants it left.
    Unwanted,
}

impl Device {
    /// The release to go back to, best first: the one that was asked for, the last confirmed one, the one in the
    /// other slot; only where the release keys allow the way and it has not failed here.
    pub(super) fn home(&self, wanted: Option<&Release>) -> Option<Release> {
        let here = &self.state.on;
        let open = |release: &&Release| {
            release.digest != here.release.digest
                && here.way.allows(&release.digest)
                && !self.state.condemned.contains(&release.digest)
                && release.security_epoch >= self.state.floor
        };
        let at_hand =
            |digest: &Digest| self.state.other.as_ref().is_some_and(|other| other.digest == *digest);
        let candidates = [wanted, Some(&self.state.confirmed), self.state.other.as_ref()];
        let mut ways = candidates.into_iter().flatten().filter(open);
        let mut near = candidates.into_iter().flatten().filter(open);
        near.find(|release| at_hand(&release.digest)).or_else(|| ways.next()).cloned()
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
            self.condemn(from.digest);
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
        self.head_home(homing, out);
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
            return self.freeze(spent, out);
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
        match self.state.phase.clone() {
            Phase::Leaving(leaving) if leaving.at <= now => {
                self.turn_home(now, leaving.to, leaving.cause, Verdict::Condemned, out);
                if let Phase::Homing(homing) = &mut self.state.phase {
                    homing.decided = leaving.decided;
                }
            }
            Phase::Homing(homing) if homing.again_at.is_some_and(|at| at <= now) => {
                self.head_home(homing, out)
            }
            Phase::Leaving(_)
            | Phase::Homing(_)
            | Phase::Settled
            | Phase::Vetting(_)
            | Phase::Installing(_)
            | Phase::Trial(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Frozen(_) => {}
        }
    }

    pub(super) fn head_home(&mut self, homing: Homing, out: &mut Effects) {
        let order = self.give(Task::GoHome { release: homing.to.clone() }, homing.cause.clone(), out);
        self.state.phase = Phase::Homing(Homing { ticket: order.ticket, again_at: None, ..homing });
    }

    pub(super) fn came_home(&mut self, now: Mono, homing: Homing, outcome: Outcome, out: &mut Effects) {
        if self.state.on.release.digest == homing.to.digest {
            let took = now.since(homing.decided);
            let (from, to, cause) = (homing.from, homing.to, homing.cause);
            out.push(Effect::Record(Event::CameHome { from, to, took, cause }));
            return self.settle(now);
        }
        let attempts = homing.attempts.saturating_add(1);
        let again = match &outcome {
            Outcome::Failed { transience: Transience::Transient, .. } => attempts < self.settings.retries,
            Outcome::Failed { transience: Transience::Permanent, .. } | Outcome::Done => false,
        };
        if !again {
            return self.freeze(Cause::RunFailed { outcome }, out);
        }
        let at = now.after(self.settings.retry_backoff.wait(attempts, &mut self.state.rng));
        out.push(Effect::Record(Event::Waits { attempts, until: at }));
        self.state.phase = Phase::Homing(Homing { attempts, again_at: Some(at), ..homing });
    }
}
