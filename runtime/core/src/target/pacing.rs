//! Whether a release that is on its way may go further: the executor is asked to hold it where it stands, or to let it go on.
//!
//! ```text
//!   slow, freeze, pause, no answer, frozen by anybody --> Held -- proceed, or a person thaws --> Going
//! ```
//!
//! A pipeline that asks before each stage needs none of it; a controller that takes its steps by itself does. Stopping needs no
//! brake and no budget. What has been asked for isn't kept: after a restart it is asked for once more, and an executor to whom
//! that is nothing new does nothing.
//! Not here: going back (`rails`), and how anything is held (an executor).

use backstay_model::{Action, Cause, Mode, Mono, Name, Outcome, Permille, Rail, TargetStep, Task, Ticket};
use serde::{Deserialize, Serialize};

use super::{Hold, Target, Work, running::Purpose};
use crate::estate::Desk;

/// The playbook by which an executor holds a release where it stands.
pub const HOLD: &str = "hold";
/// The playbook by which it lets go of what it held itself.
pub const GO_ON: &str = "go-on";

/// Tries to hold a release before a person is told that it goes on by itself.
const TRIES_MAX: u32 = 3;

/// Whether a release on its way goes further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// It stands where it is.
    Held,
    /// It goes on by itself.
    Going,
}

impl Pace {
    /// By which playbook it comes to that.
    #[must_use]
    pub const fn playbook(self) -> &'static str {
        match self {
            Self::Held => HOLD,
            Self::Going => GO_ON,
        }
    }
}

/// What the executor was brought to.
#[derive(Clone, Debug, Default)]
pub(super) struct Paced {
    is: Option<Pace>,
    failures: u32,
    not_before: Mono,
}

impl Paced {
    /// What is known of it, for tests that compare states.
    #[cfg(test)]
    pub(super) fn known(&self) -> (Option<Pace>, u32) {
        (self.is, self.failures)
    }
}

impl Target {
    /// Has the executor hold what is on its way, or let it go on, where that isn't so yet and nothing else is being done.
    pub(super) fn paces(&mut self, now: Mono, desk: &mut Desk<'_>) {
        let Some(wanted) = self.wanted_pace() else { return };
        if self.paced.is == Some(wanted) || now < self.paced.not_before {
            return;
        }
        self.brings_to(now, wanted, desk);
    }

    /// A person says that it may go on. Nobody has seen how what was held does.
    pub(super) fn may_go_on(&mut self, now: Mono, desk: &mut Desk<'_>) {
        if self.settings.holds && self.paced.is != Some(Pace::Going) {
            self.paced = Paced::default();
            self.brings_to(now, Pace::Going, desk);
        }
    }

    fn brings_to(&mut self, now: Mono, pace: Pace, desk: &mut Desk<'_>) {
        if self.settings.mode == Mode::Observe || !matches!(self.state.work, Work::Idle) {
            return;
        }
        let Ok(playbook) = Name::parse(pace.playbook()) else { return };
        self.begin(now, Task::Heal { playbook }, Purpose::Pace(pace), 1, desk);
    }

    /// What its executor should have been asked for by now; `None`: it is left as it is.
    fn wanted_pace(&self) -> Option<Pace> {
        if !self.settings.holds {
            return None;
        }
        let (release, stage, _) = self.judged_release();
        let judged = self.state.judged.as_ref().filter(|judged| judged.about == release.digest);
        // What has all the traffic has nowhere further to go.
        let is_on_its_way = stage < Permille::ALL;
        match (&self.state.hold, judged.map(|judged| &judged.decision.action)) {
            // After that a release that is let out stands until a person says more.
            (Hold::Frozen { .. }, _) => Some(Pace::Held),
            (Hold::Held { .. }, _) => is_on_its_way.then_some(Pace::Held),
            // What was held while it was on its way, and is out by other means, is let go of.
            (Hold::Free, Some(Action::Proceed)) => {
                (is_on_its_way || self.paced.is == Some(Pace::Held)).then_some(Pace::Going)
            }
            (
                Hold::Free,
                Some(
                    Action::Slow { .. }
                    | Action::Heal { .. }
                    | Action::RollBack { .. }
                    | Action::Freeze
                    | Action::Pause,
                ),
            ) => is_on_its_way.then_some(Pace::Held),
            (Hold::Free, None) => None,
        }
    }

    /// It was held, or let go on, or could not be.
    pub(super) fn paced(
        &mut self,
        now: Mono,
        ticket: Ticket,
        pace: Pace,
        outcome: Outcome,
        desk: &mut Desk<'_>,
    ) {
        if outcome == Outcome::Done {
            self.paced = Paced { is: Some(pace), ..Paced::default() };
            return;
        }
        let failures = self.paced.failures.saturating_add(1);
        let not_before = now.after(self.settings.backoff.wait(failures, desk.rng));
        self.paced = Paced { is: None, failures, not_before };
        let failed = outcome.clone();
        self.note(TargetStep::RunFailed { ticket, outcome: failed, again: Some(not_before) }, desk);
        if pace == Pace::Held && failures >= TRIES_MAX {
            self.freeze(now, Rail::RunFailed { outcome }, desk);
        }
    }

    /// The executor brought something else about: how what is on its way stands isn't known any more.
    pub(super) fn is_paced_anew(&mut self) {
        self.paced = Paced::default();
    }

    /// Why it is held or let go on, where no person ordered it.
    pub(super) fn cause_of_pace(&self) -> Cause {
        let held_without_answer = matches!(self.state.hold.rail(), Some(Rail::NoAnswer { .. }));
        match &self.state.judged {
            _ if held_without_answer => Cause::NoPolicy,
            Some(judged) => Cause::Policy { decision: judged.decision.clone() },
            None => Cause::IsCondemned,
        }
    }
}

#[cfg(test)]
mod stories;
