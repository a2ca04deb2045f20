//! Whether a release that is on its way may go further: the executor is asked to hold it where it stands, or to let it go on.
//!
//! ```text
//!   slow, freeze, pause, no answer, frozen by anybody --> Held -- proceed, a person thaws, or another release is out --> Going
//! ```
//!
//! A pipeline that asks before each stage needs none of it; a controller that takes its steps by itself does. Stopping needs no
//! brake and no budget, and is never in the way: windows are judged while a run holds something, and whatever else is to be done
//! begins at once, in its place. What has been asked for isn't kept: after a restart it is asked for once more, and an executor to
//! whom that is nothing new does nothing.
//! Not here: going back (`rails`), and how anything is held (an executor).

use backstay_model::{Action, Cause, Mode, Mono, Name, Outcome, Permille, Rail, TargetStep, Task, Ticket};
use serde::{Deserialize, Serialize};

use super::{Hold, Target, running::Purpose};
use crate::estate::Desk;

/// The playbook by which an executor holds a release where it stands.
pub const HOLD: &str = "hold";
/// The playbook by which it lets go of what it held itself.
pub const GO_ON: &str = "go-on";

/// Tries to hold a release, or to let it go on, before a person is told that it doesn't work.
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
    /// Nothing is known while a run brings it to another.
    is: Option<Pace>,
    failing: Option<Failing>,
}

/// What it could not be brought to.
#[derive(Clone, Copy, Debug)]
struct Failing {
    pace: Pace,
    times: u32,
    not_before: Mono,
}

impl Paced {
    /// What is known of it, for tests that compare states.
    #[cfg(test)]
    pub(super) fn known(&self) -> (Option<Pace>, Option<(Pace, u32)>) {
        (self.is, self.failing.map(|failing| (failing.pace, failing.times)))
    }

    fn failing_at(&self, pace: Pace) -> Option<Failing> {
        self.failing.filter(|failing| failing.pace == pace)
    }
}

impl Target {
    /// Has the executor hold what is on its way, or let it go on, where that isn't so yet and nothing else is being done.
    pub(super) fn paces(&mut self, now: Mono, desk: &mut Desk<'_>) {
        let Some(wanted) = self.wanted_pace() else { return };
        let waits = self.paced.failing_at(wanted).is_some_and(|failing| now < failing.not_before);
        if self.paced.is == Some(wanted) || waits {
            return;
        }
        self.brings_to(now, wanted, desk);
    }

    /// A person says that it may go on, or it is another release: nobody has seen how what was held does.
    pub(super) fn may_go_on(&mut self, now: Mono, desk: &mut Desk<'_>) {
        if self.may_stand() {
            self.paced = Paced::default();
            self.brings_to(now, Pace::Going, desk);
        }
    }

    /// Whether what is on its way may stand where it is. It does where its executor was asked to hold it, and may do so where nothing
    /// is known: after a restart, or while it is being asked.
    pub(super) fn may_stand(&self) -> bool {
        self.paces_what_is_out() && self.paced.is != Some(Pace::Going)
    }

    /// Whether its executor is asked to hold what is on its way, and to let it go on.
    pub(crate) fn paces_what_is_out(&self) -> bool {
        self.settings.holds && self.settings.mode == Mode::Enforce
    }

    fn brings_to(&mut self, now: Mono, pace: Pace, desk: &mut Desk<'_>) {
        let is_under_way = self.state.work.pace() == Some(pace);
        if self.settings.mode == Mode::Observe || self.state.work.changes() || is_under_way {
            return;
        }
        let Ok(playbook) = Name::parse(pace.playbook()) else { return };
        self.paced.is = None;
        if pace == Pace::Held {
            desk.held.insert(self.id.clone());
        }
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
            // What was held while it was on its way, and is out by other means, is let go of. Where that isn't known it is asked for
            // once: what stood still for ever would be the release after it.
            (Hold::Free, Some(Action::Proceed)) => Some(Pace::Going),
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
            self.paced = Paced { is: Some(pace), failing: None };
            if pace == Pace::Going {
                desk.held.remove(&self.id);
            }
            return;
        }
        let times = self.paced.failing_at(pace).map_or(0, |failing| failing.times).saturating_add(1);
        let not_before = now.after(self.settings.backoff.wait(times, desk.rng));
        self.paced = Paced { is: None, failing: Some(Failing { pace, times, not_before }) };
        let failed = outcome.clone();
        self.note(TargetStep::RunFailed { ticket, outcome: failed, again: Some(not_before) }, desk);
        // It isn't frozen for that: what goes on by itself, or stands, may still have to go home.
        if times == TRIES_MAX {
            self.page(Rail::RunFailed { outcome }, desk);
        }
    }

    /// The executor brought something else about: how what is on its way stands isn't known any more.
    pub(super) fn is_paced_anew(&mut self) {
        self.paced = Paced::default();
    }

    /// Why it is held or let go on, where no person orders it now.
    pub(super) fn cause_of_pace(&self) -> Cause {
        let (release, _, _) = self.judged_release();
        let judged = self.state.judged.as_ref().filter(|judged| judged.about == release.digest);
        match (self.state.hold.rail(), judged) {
            (Some(Rail::NoAnswer { .. }), _) => Cause::NoPolicy,
            (Some(Rail::Operator { who }), _) => Cause::Operator { who: who.clone() },
            (Some(Rail::RunFailed { outcome }), _) => Cause::RunFailed { outcome: outcome.clone() },
            (Some(Rail::LadderSpent { attempts }), _) => Cause::LadderSpent { attempts: *attempts },
            (Some(Rail::NoWayHome { .. }), _) => Cause::NoWayHome,
            (Some(Rail::Switched | Rail::Fight { .. }), _) => Cause::IsCondemned,
            (_, Some(judged)) => Cause::Policy { decision: judged.decision.clone() },
            (_, None) => Cause::NoData,
        }
    }
}

#[cfg(test)]
mod stories;
