//! What a closed window and a policy's answer lead to.
//!
//! The policy proposes; the rails are here, and no plugin can switch one off: nothing is good without data,
//! nobody goes home without a failure of their own, and a trial ends, also when no policy answers.

use alloc::string::String;

use backstay_model::{Action, Cause, Decision, Event, Health, Millis, Mono, Name, Scope, Ticket, Window};

use super::{
    Device, Effect, Effects,
    homing::Verdict,
    phase::{Healing, Phase, Trial},
    state::{Asked, Idle},
};
use crate::ladder::{Climb, Ladder, Outlook};

impl Device {
    /// A window has closed: asks the policy where there is something to judge.
    pub(super) fn judge(&mut self, now: Mono, out: &mut Effects) {
        let trial = match &self.state.phase {
            Phase::Settled | Phase::Frozen(_) => None,
            Phase::Trial(trial) => Some(trial),
            Phase::Vetting(_)
            | Phase::Installing(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Leaving(_)
            | Phase::Seeking(_)
            | Phase::Homing(_) => return,
        };
        let facts = self.facts(now, trial);
        let ticket = self.ticket();
        self.state.asked = Some(Asked { ticket, facts: facts.clone() });
        out.push(Effect::Ask { ticket, facts });
    }

    pub(super) fn answered(&mut self, now: Mono, ticket: Ticket, decision: Decision, out: &mut Effects) {
        let Some(asked) = self.state.asked.take_if(|asked| asked.ticket == ticket) else { return };
        let leads_nowhere = match decision.action {
            Action::Proceed | Action::Slow { .. } | Action::Freeze | Action::Pause => {
                matches!(self.state.phase, Phase::Settled | Phase::Frozen(_))
            }
            Action::Heal { .. } | Action::RollBack { .. } => {
                matches!(self.state.phase, Phase::Frozen(_)) || self.rests(now)
            }
        };
        let idle = leads_nowhere.then(|| Idle::Answered(decision.action.clone()));
        if self.is_news(idle) {
            out.push(Effect::Record(Event::Asked { ticket, facts: asked.facts }));
            out.push(Effect::Record(Event::Decided { ticket, decision: decision.clone() }));
        }
        match self.state.phase.clone() {
            Phase::Trial(trial) => self.try_on(now, trial, decision, out),
            Phase::Settled if self.rests(now) => {}
            Phase::Settled => self.look_after(now, decision, out),
            Phase::Frozen(_)
            | Phase::Vetting(_)
            | Phase::Installing(_)
            | Phase::Confirming(_)
            | Phase::Healing(_)
            | Phase::Leaving(_)
            | Phase::Seeking(_)
            | Phase::Homing(_) => {}
        }
        self.count_window(out);
    }

    pub(super) fn unanswered(&mut self, ticket: Ticket, why: String, out: &mut Effects) {
        let Some(asked) = self.state.asked.take_if(|asked| asked.ticket == ticket) else { return };
        if self.is_news(Some(Idle::Unanswered)) {
            out.push(Effect::Record(Event::Asked { ticket, facts: asked.facts }));
            out.push(Effect::Record(Event::Unanswered { ticket, why }));
        }
        if let Phase::Trial(trial) = self.state.phase.clone() {
            self.stand_still(trial, Cause::NoPolicy, out);
        }
        self.count_window(out);
    }

    /// What leads nowhere is written down once, and then only what is new: flash is worn by writing.
    fn is_news(&mut self, idle: Option<Idle>) -> bool {
        let before = core::mem::replace(&mut self.state.idle, idle);
        self.state.idle.is_none() || self.state.idle != before
    }

    /// What time alone leads to: a trial that was never passed, and a way that waited.
    pub(super) fn overdue(&mut self, now: Mono, out: &mut Effects) {
        self.set_out(now, out);
        let is_over = |trial: &&Trial| trial.began.after(self.settings.trial_limit) <= now;
        let Some(trial) = self.state.phase.trial().filter(is_over).cloned() else { return };
        if self.state.windows.has_local_failure() {
            let cause = Cause::TrialFailed { after: now.since(trial.began) };
            return self.fail_trial(now, trial, cause, out);
        }
        // Nothing that is known speaks against it, and not enough speaks for it: it starts over. A restart of
        // the machine falls back meanwhile, because nothing is confirmed.
        let needs = self.settings.trial;
        self.stand_still(Trial { began: now, good: Millis(0), needs, ..trial }, Cause::NoData, out);
    }

    /// What looked well until it hung was not: its trial begins anew, and its limit holds.
    pub(super) fn crashed(&mut self) {
        if let Phase::Trial(trial) | Phase::Healing(Healing { trial: Some(trial), .. }) =
            &mut self.state.phase
        {
            trial.good = Millis(0);
        }
    }

    fn try_on(&mut self, now: Mono, trial: Trial, decision: Decision, out: &mut Effects) {
        let span = self.newest_span();
        if !self.state.windows.has_data() && !self.state.windows.has_local_failure() {
            return self.stand_still(trial, Cause::NoData, out);
        }
        let cause = Cause::Policy { decision: decision.clone() };
        match decision.action {
            Action::Proceed => match self.state.windows.health() {
                Health::Good => {
                    let trial = self.go_on(trial, out);
                    let good = Millis(trial.good.0.saturating_add(span.0));
                    let trial = Trial { good, ..trial };
                    if good >= trial.needs {
                        self.confirm(now, trial, cause, out);
                    } else {
                        self.keep(trial);
                    }
                }
                // Healthy for the whole of the trial means from its start: a bad window begins it anew.
                Health::Bad => self.keep(Trial { good: Millis(0), ..trial }),
                Health::Unknown => self.stand_still(trial, Cause::NoData, out),
            },
            Action::Slow { windows } => {
                // It may ask for longer, but not for longer than a trial can last: that ends with a window.
                let window = self.settings.window.0;
                let most = self.settings.trial_limit.0.saturating_sub(window).max(trial.needs.0);
                let needs = trial.needs.0.saturating_add(window.saturating_mul(windows.into())).min(most);
                self.keep(Trial { needs: Millis(needs), ..trial });
            }
            Action::Heal { playbook } => self.mend(now, playbook.as_ref(), Some(trial), cause, out),
            Action::RollBack { .. } if self.state.windows.has_own_fault() => {
                self.fail_trial(now, trial, cause, out);
            }
            Action::RollBack { .. } => {
                self.restrain(decision.action, self.not_mine(), out);
                self.stand_still(trial, self.not_mine(), out);
            }
            Action::Freeze | Action::Pause => self.stand_still(trial, cause, out),
        }
    }

    fn look_after(&mut self, now: Mono, decision: Decision, out: &mut Effects) {
        let cause = Cause::Policy { decision: decision.clone() };
        match decision.action {
            Action::Proceed | Action::Slow { .. } | Action::Freeze | Action::Pause => {}
            Action::Heal { playbook } => self.mend(now, playbook.as_ref(), None, cause, out),
            Action::RollBack { .. } if self.state.windows.has_own_fault() => match self.home() {
                Some(to) => self.leave(now, to, cause, Verdict::Condemned, out),
                None => self.mend(now, None, None, cause, out),
            },
            Action::RollBack { .. } => self.restrain(decision.action, self.not_mine(), out),
        }
    }

    /// Tries the next rung of the ladder; at its end, the way home.
    fn mend(
        &mut self,
        now: Mono,
        wanted: Option<&Name>,
        trial: Option<Trial>,
        cause: Cause,
        out: &mut Effects,
    ) {
        let failed = self.state.windows.has_local_failure() || self.state.windows.has_trouble();
        if !failed {
            return self.restrain(Action::Heal { playbook: wanted.cloned() }, self.not_mine(), out);
        }
        match self.state.ladder.climb(now, &self.settings.ladder, wanted) {
            Climb::Try(playbook) => self.heal(now, playbook, trial, cause, out),
            Climb::Wait(_) => {}
            // Mending didn't help, and leaving wouldn't either.
            Climb::Spent if !self.state.windows.has_own_fault() => {}
            Climb::Spent => {
                let cause = Cause::LadderSpent { attempts: self.state.ladder.attempts() };
                match (trial, self.home()) {
                    (Some(trial), _) => self.fail_trial(now, trial, cause, out),
                    (None, Some(to)) => self.leave(now, to, cause, Verdict::Condemned, out),
                    (None, None) => {
                        self.state.ladder = Ladder::default();
                        self.strand(now, Cause::NoWayHome, out);
                    }
                }
            }
        }
    }

    fn fail_trial(&mut self, now: Mono, trial: Trial, cause: Cause, out: &mut Effects) {
        self.turn_home(now, trial.back, cause, Verdict::Condemned, out);
    }

    /// The clock of the trial stands, and that is said once.
    fn stand_still(&mut self, trial: Trial, cause: Cause, out: &mut Effects) {
        if !trial.frozen {
            out.push(Effect::Record(Event::Froze { cause }));
        }
        self.keep(Trial { frozen: true, ..trial });
    }

    fn go_on(&self, trial: Trial, out: &mut Effects) -> Trial {
        if trial.frozen {
            out.push(Effect::Record(Event::Thawed { cause: Cause::NoData }));
        }
        Trial { frozen: false, ..trial }
    }

    fn keep(&mut self, trial: Trial) {
        self.state.phase = Phase::Trial(trial);
    }

    fn restrain(&self, wanted: Action, rail: Cause, out: &mut Effects) {
        out.push(Effect::Record(Event::Restrained { wanted, rail }));
    }

    /// Why a failure is not this device's own: that of something it depends on, or there is no data at all.
    fn not_mine(&self) -> Cause {
        let failing = |window: &Window| window.bad > 0;
        let others =
            self.state.windows.objectives().iter().filter(|objective| objective.scope == Scope::Dependency);
        let mut failing = others.filter(|objective| objective.candidate.last().is_some_and(failing));
        failing.next().map_or(Cause::NoData, |objective| Cause::Dependency { probe: objective.name.clone() })
    }

    fn newest_span(&self) -> Millis {
        let newest =
            self.state.windows.objectives().iter().filter_map(|objective| objective.candidate.last());
        newest.map(|window| window.span).min().unwrap_or_default()
    }

    /// What was healed is cured when it holds.
    fn count_window(&mut self, out: &mut Effects) {
        let outlook = match self.state.windows.health() {
            Health::Good => Outlook::Good,
            Health::Bad | Health::Unknown => Outlook::NotGood,
        };
        if let Some(attempts) = self.state.ladder.window(outlook, self.settings.cured_after) {
            out.push(Effect::Record(Event::Cured { attempts }));
        }
        self.count_stranded(out);
    }
}
