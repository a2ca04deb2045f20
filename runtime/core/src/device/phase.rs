//! Where a device stands between two releases, and what the end of a run leads to.
//!
//! A struct for each phase, and moves that replace it: a phase that was left is gone, and there is no "going
//! home to nothing" to guard against. Not here: what a policy's answer leads to (`judging`).

use alloc::{format, string::String};

use backstay_model::{
    Cause, Event, Millis, Mono, Name, Outcome, Release, RolloutId, SlotStatus, Task, Ticket, Transience,
};
use serde::{Deserialize, Serialize, Serializer};

use super::{Device, Effect, Effects, input::Vetted, state::Running};

/// Where a device stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Runs a release that passed its trial.
    Settled,
    /// Asks what the release keys say of a release.
    Vetting(Vetting),
    /// Brings a release in.
    Installing(Installing),
    /// Runs a release that has yet to earn trust.
    Trial(Trial),
    /// Makes what passed its trial the one that a restart brings back.
    Confirming(Confirming),
    /// Mends what runs.
    Healing(Healing),
    /// Will leave a confirmed release, a little later: not all of a fleet at once.
    Leaving(Leaving),
    /// On the way home.
    Homing(Homing),
    /// Moves nothing until somebody says more.
    Frozen(Frozen),
    /// Steered home to a release that isn't here: asks first what the release keys say of it.
    Seeking(Seeking),
}

impl Phase {
    /// The trial that is on.
    pub(super) fn trial(&self) -> Option<&Trial> {
        if let Self::Trial(trial) = self { Some(trial) } else { None }
    }

    /// When it goes on by itself, where it waits for that on the way home.
    pub(super) fn waits_until(&self) -> Option<Mono> {
        match self {
            Self::Leaving(leaving) => Some(leaving.at),
            Self::Homing(homing) => homing.again_at,
            Self::Seeking(seeking) => seeking.again_at,
            Self::Settled
            | Self::Vetting(_)
            | Self::Installing(_)
            | Self::Trial(_)
            | Self::Confirming(_)
            | Self::Healing(_)
            | Self::Frozen(_) => None,
        }
    }

    /// As the first version of the state has it. It knows no seeking: a device that is asked to go home and has not begun
    /// to is settled there.
    pub(super) fn first_form<S: Serializer>(phase: &Self, to: S) -> Result<S::Ok, S::Error> {
        match phase {
            Self::Seeking(_) => Self::Settled.serialize(to),
            Self::Settled
            | Self::Vetting(_)
            | Self::Installing(_)
            | Self::Trial(_)
            | Self::Confirming(_)
            | Self::Healing(_)
            | Self::Leaving(_)
            | Self::Homing(_)
            | Self::Frozen(_) => phase.serialize(to),
        }
    }
}

/// Asks what the release keys say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Vetting {
    pub(super) ticket: Ticket,
    pub(super) rollout: RolloutId,
    pub(super) release: Release,
}

/// Brings a release in. What runs is the way home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Installing {
    pub(super) ticket: Ticket,
    pub(super) rollout: RolloutId,
    /// What ran when the order was given: the way home, also where a restart comes in between.
    pub(super) from: Release,
    pub(super) to: Running,
}

/// Runs a release that has yet to earn trust. It owns its way home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) back: Release,
    pub(super) began: Mono,
    /// Healthy time so far.
    pub(super) good: Millis,
    /// Healthy time that it takes.
    pub(super) needs: Millis,
    /// Whether it was said that nothing can be said.
    pub(super) frozen: bool,
}

/// Confirms what passed its trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Confirming {
    pub(super) ticket: Ticket,
    pub(super) trial: Trial,
}

/// Mends what runs, in the middle of a trial or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Healing {
    pub(super) ticket: Ticket,
    pub(super) trial: Option<Trial>,
}

/// Will leave a confirmed release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaving {
    pub(super) at: Mono,
    pub(super) decided: Mono,
    pub(super) to: Release,
    pub(super) cause: Cause,
}

/// On the way home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Homing {
    pub(super) ticket: Ticket,
    pub(super) from: Release,
    pub(super) to: Release,
    pub(super) decided: Mono,
    pub(super) cause: Cause,
    pub(super) attempts: u32,
    /// When to try again, while no run is on.
    pub(super) again_at: Option<Mono>,
}

/// Asks what the release keys say of the release that it is steered back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seeking {
    pub(super) ticket: Ticket,
    /// As steering names it, which proves nothing.
    pub(super) back: Release,
    pub(super) cause: Cause,
    pub(super) attempts: u32,
    /// When to ask again, while nobody is asked.
    pub(super) again_at: Option<Mono>,
}

/// Moves nothing until somebody says more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frozen {
    pub(super) cause: Cause,
}

impl Device {
    /// Goes on after a start. The slots are believed: a boot loader may have fallen back without us.
    pub(super) fn resume(&mut self, now: Mono, slots: SlotStatus, out: &mut Effects) {
        let was_on = self.state.on.release.clone();
        self.take_over(&slots);
        let moved = was_on.digest != slots.booted.digest;
        match self.state.phase.clone() {
            // A boot that falls back falls back to what is confirmed. What runs instead got there in a time that is
            // forgotten: nothing speaks against what was on trial then, and what runs has yet to pass its own.
            Phase::Vetting(_)
            | Phase::Trial(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Leaving(_)
            | Phase::Seeking(_)
                if moved && slots.booted.digest != slots.confirmed.digest =>
            {
                self.call_off("what it was for no longer runs", out);
                self.begin_trial(now, slots.confirmed, out);
            }
            // What was on trial is gone, so there is nothing left to confirm or to mend.
            Phase::Trial(trial)
            | Phase::Confirming(Confirming { trial, .. })
            | Phase::Healing(Healing { trial: Some(trial), .. })
                if moved && slots.booted.digest == trial.back.digest =>
            {
                self.call_off("the boot fell back in the middle of it", out);
                self.fell_back(now, was_on, out);
            }
            // No boot falls back to another one than it came from: the trial is of the past, and how it ended is forgotten.
            Phase::Trial(_) | Phase::Confirming(_) | Phase::Healing(_) if moved => {
                self.call_off("what it was for no longer runs", out);
                self.settle_elsewhere(now, out);
            }
            // That it is on its way from one to the other is a memory of long ago: what came of it is in the words that were kept
            // apart, or the slots show that both were left.
            Phase::Installing(Installing { from, to: Running { release: to, .. }, .. })
            | Phase::Homing(Homing { from, to, .. })
                if self.state.condemned.contains(&to.digest)
                    || ![from.digest, to.digest].contains(&slots.booted.digest) =>
            {
                self.call_off("it is of the past: since then a release was condemned or left", out);
                // Where what ran before runs, it may never have been left: what was tried to mend it stays counted.
                self.state.phase = Phase::Settled;
                if slots.booted.digest != slots.confirmed.digest {
                    self.begin_trial(now, slots.confirmed, out);
                } else if slots.booted.digest != from.digest {
                    self.settle_elsewhere(now, out);
                }
            }
            // A run that was begun is brought to its end: the driver goes on where the journal says it stood.
            Phase::Installing(_) | Phase::Confirming(_) | Phase::Healing(_) | Phase::Homing(_) => {
                self.go_on_with_run(now, out);
            }
            Phase::Settled if slots.booted.digest != slots.confirmed.digest => {
                // What was remembered is gone, and something runs that never passed a trial here.
                self.begin_trial(now, slots.confirmed, out);
            }
            // What steering asks for of what runs now it says again.
            Phase::Settled | Phase::Vetting(_) | Phase::Leaving(_) | Phase::Seeking(_) if moved => {
                self.settle_elsewhere(now, out);
            }
            Phase::Vetting(vetting) => self.vet(vetting.rollout, vetting.release, out),
            Phase::Seeking(seeking) => self.ask_again(seeking, out),
            Phase::Trial(_) | Phase::Settled | Phase::Leaving(_) | Phase::Frozen(_) => {}
        }
    }

    /// What runs is what the slots say, and so is what a restart brings back.
    pub(super) fn take_over(&mut self, slots: &SlotStatus) {
        if let Phase::Installing(Installing { to, .. }) = &self.state.phase {
            self.state.ways.insert(to.release.digest, to.way.clone());
        }
        if let Some(sought) = &self.state.sought {
            self.state.ways.insert(sought.release.digest, sought.way.clone());
        }
        if self.state.on.release.digest != slots.booted.digest {
            let left = self.state.on.clone();
            self.state.ways.insert(left.release.digest, left.way);
            let way = self.state.ways.get(&slots.booted.digest).cloned().unwrap_or_default();
            self.state.on = Running { release: slots.booted.clone(), way };
        }
        self.state.confirmed = slots.confirmed.clone();
        self.state.other = slots.other.clone();
        // Two slots and what is on its way: no more ways than that are ever needed.
        let keep = [&slots.booted, &slots.confirmed].map(|release| release.digest);
        let other = slots.other.as_ref().map(|release| release.digest);
        self.state.ways.retain(|digest, _| keep.contains(digest) || other == Some(*digest));
    }

    fn begin_trial(&mut self, now: Mono, back: Release, out: &mut Effects) {
        let needs = self.settings.trial;
        let release = self.state.on.release.clone();
        self.state.windows.turn(now);
        self.state.ladder = crate::Ladder::default();
        self.state.asked = None;
        self.refloat(out);
        out.push(Effect::Record(Event::TrialBegan { release, back: back.clone(), needs }));
        self.state.phase = Phase::Trial(Trial { back, began: now, good: Millis(0), needs, frozen: false });
    }

    /// The release on trial did not come up, and the boot before us went back already. Where it is condemned, it was left for a reason
    /// that is forgotten, and that alone is known.
    fn fell_back(&mut self, now: Mono, from: Release, out: &mut Effects) {
        let (to, took) = (self.state.on.release.clone(), Millis(0));
        let cause = if self.state.condemned.contains(&from.digest) {
            Cause::IsCondemned
        } else {
            self.state.condemn(from.digest);
            out.push(Effect::Record(Event::Condemned { release: from.clone(), cause: Cause::FellBack }));
            Cause::FellBack
        };
        out.push(Effect::Record(Event::CameHome { from, to, took, cause }));
        self.settle(now);
    }

    /// Another release runs than the one that is remembered, and it passed its trial here: how that did, what was tried to mend it and
    /// what there was left to try say nothing of this one.
    fn settle_elsewhere(&mut self, now: Mono, out: &mut Effects) {
        self.refloat(out);
        self.settle(now);
    }

    pub(super) fn settle(&mut self, now: Mono) {
        self.state.phase = Phase::Settled;
        self.state.sought = None;
        self.state.windows.turn(now);
        self.state.ladder = crate::Ladder::default();
        self.state.asked = None;
    }

    pub(super) fn vet(&mut self, rollout: RolloutId, release: Release, out: &mut Effects) {
        let ticket = self.ticket();
        out.push(Effect::Vet { ticket, release: release.clone() });
        self.state.phase = Phase::Vetting(Vetting { ticket, rollout, release });
    }

    pub(super) fn vetted(&mut self, now: Mono, ticket: Ticket, verdict: Vetted, out: &mut Effects) {
        if let Phase::Seeking(seeking) = self.state.phase.clone() {
            return self.sought(now, seeking, ticket, verdict, out);
        }
        let Phase::Vetting(vetting) = self.state.phase.clone() else { return };
        if vetting.ticket != ticket {
            return;
        }
        self.state.phase = Phase::Settled;
        if !self.still_wants(&vetting.rollout, &vetting.release) {
            return;
        }
        match self.admit(&vetting.release, verdict) {
            Ok(to) => self.install(now, vetting.rollout, to, out),
            Err((transience, cause)) => self.set_back(now, &vetting.rollout, transience, cause, out),
        }
    }

    /// What a device refuses on its own, whoever steers.
    fn admit(&self, wanted: &Release, verdict: Vetted) -> Result<Running, (Transience, Cause)> {
        let to = self.admit_home(wanted, verdict)?;
        // A release that can't be left for what runs now would be a one-way door.
        if !to.way.allows(&self.state.on.release.digest) {
            return Err((Transience::Permanent, Cause::NoWayHome));
        }
        Ok(to)
    }

    /// The same where it is to be gone back to: the way there is what runs now to say.
    pub(super) fn admit_home(
        &self,
        wanted: &Release,
        verdict: Vetted,
    ) -> Result<Running, (Transience, Cause)> {
        let never = |why: String| (Transience::Permanent, Cause::NotVetted { why });
        let (release, way, hardware) = match verdict {
            Vetted::Genuine { release, way, hardware } => (release, way, hardware),
            Vetted::Not { transience, why } => return Err((transience, Cause::NotVetted { why })),
        };
        if release != *wanted {
            return Err(never(format!("the release keys signed another {}", wanted.version)));
        }
        if !hardware.contains(&self.settings.hardware) {
            return Err(never(format!("{} is not built for {}", release.version, self.settings.hardware)));
        }
        if release.security_epoch < self.state.floor {
            return Err((Transience::Permanent, Cause::EpochDown { floor: self.state.floor }));
        }
        Ok(Running { release, way })
    }

    fn install(&mut self, now: Mono, rollout: RolloutId, to: Running, out: &mut Effects) {
        let generation = self.steering().map(|steer| steer.generation).unwrap_or_default();
        let cause = Cause::Steering { rollout: rollout.clone(), generation };
        let order = self.give(now, Task::Install { release: to.release.clone() }, cause, out);
        let from = self.state.on.release.clone();
        self.state.phase = Phase::Installing(Installing { ticket: order.ticket, rollout, from, to });
    }

    pub(super) fn confirm(&mut self, now: Mono, trial: Trial, cause: Cause, out: &mut Effects) {
        let release = self.state.on.release.clone();
        let order = self.give(now, Task::Confirm { release }, cause, out);
        self.state.phase = Phase::Confirming(Confirming { ticket: order.ticket, trial });
    }

    pub(super) fn heal(
        &mut self,
        now: Mono,
        playbook: Name,
        trial: Option<Trial>,
        cause: Cause,
        out: &mut Effects,
    ) {
        let order = self.give(now, Task::Heal { playbook }, cause, out);
        self.state.phase = Phase::Healing(Healing { ticket: order.ticket, trial });
    }

    pub(super) fn freeze(&mut self, cause: Cause, out: &mut Effects) {
        out.push(Effect::Record(Event::Froze { cause: cause.clone() }));
        (self.state.stranded, self.state.sought) = (None, None);
        self.state.phase = Phase::Frozen(Frozen { cause });
    }

    /// Somebody signed that the device may go on from where it stands.
    pub(super) fn thaw(&mut self, now: Mono, out: &mut Effects) {
        if self.state.stranded.is_some() {
            // All of it may be tried again, now.
            self.refloat(out);
            self.state.ladder = crate::Ladder::default();
            self.hurry(now);
        }
        let Phase::Frozen(frozen) = self.state.phase.clone() else { return };
        out.push(Effect::Record(Event::Thawed { cause: frozen.cause }));
        self.settle(now);
        if self.state.on.release.digest != self.state.confirmed.digest {
            self.begin_trial(now, self.state.confirmed.clone(), out);
        }
    }

    pub(super) fn ended(
        &mut self,
        now: Mono,
        ticket: Ticket,
        outcome: Outcome,
        slots: SlotStatus,
        out: &mut Effects,
    ) {
        let phase = self.state.phase.clone();
        let waits_for = match &phase {
            Phase::Installing(installing) => installing.ticket,
            Phase::Confirming(confirming) => confirming.ticket,
            Phase::Healing(healing) => healing.ticket,
            Phase::Homing(homing) if homing.again_at.is_none() => homing.ticket,
            Phase::Homing(_)
            | Phase::Settled
            | Phase::Vetting(_)
            | Phase::Trial(_)
            | Phase::Leaving(_)
            | Phase::Seeking(_)
            | Phase::Frozen(_) => return,
        };
        if waits_for != ticket {
            return;
        }
        self.state.run = None;
        if !matches!(phase, Phase::Confirming(_)) {
            // Every other run starts something anew.
            self.state.started = now;
        }
        let fence = self.state.fence;
        out.push(Effect::Record(Event::Ended { ticket, fence, outcome: outcome.clone() }));
        let was_on = self.state.on.release.clone();
        self.take_over(&slots);
        match phase {
            Phase::Installing(installing) => self.installed(now, installing, outcome, out),
            Phase::Confirming(confirming) => self.confirmed_run(now, confirming, outcome, was_on, out),
            Phase::Healing(healing) => self.healed(now, healing, was_on, out),
            Phase::Homing(homing) => self.came_home(now, homing, outcome, out),
            Phase::Settled
            | Phase::Vetting(_)
            | Phase::Trial(_)
            | Phase::Leaving(_)
            | Phase::Seeking(_)
            | Phase::Frozen(_) => {}
        }
    }

    fn installed(&mut self, now: Mono, run: Installing, outcome: Outcome, out: &mut Effects) {
        if self.state.on.release.digest == run.to.release.digest {
            // It runs, whatever the run says of itself: so it is judged.
            self.state.budget.spend(now);
            self.state.setback.take_if(|setback| setback.rollout == run.rollout);
            self.begin_trial(now, run.from, out);
            return;
        }
        self.state.phase = Phase::Settled;
        match outcome {
            // Everything was done and yet the old release runs: the new one did not come up.
            Outcome::Done => {
                self.state.condemn(run.to.release.digest);
                out.push(Effect::Record(Event::Condemned {
                    release: run.to.release,
                    cause: Cause::FellBack,
                }));
                self.set_back(now, &run.rollout, Transience::Permanent, Cause::FellBack, out);
            }
            // It was called off, so there is nothing to try again.
            Outcome::Failed { .. } if self.state.turned.contains(&run.rollout) => {}
            Outcome::Failed { transience, .. } => {
                self.set_back(now, &run.rollout, transience, Cause::RunFailed { outcome }, out);
            }
        }
    }

    fn confirmed_run(
        &mut self,
        now: Mono,
        run: Confirming,
        outcome: Outcome,
        was_on: Release,
        out: &mut Effects,
    ) {
        let on = &self.state.on.release;
        if on.digest != was_on.digest {
            self.fell_back(now, was_on, out);
        } else if self.state.confirmed.digest == on.digest {
            let (release, boot) = (on.clone(), self.state.boot);
            self.state.last_known_good = Some(run.trial.back);
            self.state.floor = self.state.floor.max(release.security_epoch);
            out.push(Effect::Record(Event::Confirmed { release, boot }));
            self.state.phase = Phase::Settled;
        } else {
            // Still on trial: it is tried again after the next good window, and the limit of the trial holds.
            let needs = Millis(run.trial.good.0.saturating_add(1));
            out.push(Effect::Record(Event::Restrained {
                wanted: backstay_model::Action::Proceed,
                rail: Cause::RunFailed { outcome },
            }));
            self.state.phase = Phase::Trial(Trial { needs, ..run.trial });
        }
    }

    fn healed(&mut self, now: Mono, run: Healing, was_on: Release, out: &mut Effects) {
        if run.trial.is_some() && self.state.on.release.digest != was_on.digest {
            // Restarting is what tries are counted by, so mending can use up the last one.
            return self.fell_back(now, was_on, out);
        }
        let until = self.state.ladder.tried(now, self.settings.heal_backoff, &mut self.state.rng);
        out.push(Effect::Record(Event::Waits { attempts: self.state.ladder.attempts(), until }));
        self.state.windows.reopen(now);
        self.state.phase = match run.trial {
            Some(trial) => Phase::Trial(trial),
            None => Phase::Settled,
        };
    }
}
