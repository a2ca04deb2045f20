//! What was decided about a cohort: small, and written down with every step that records something.
//!
//! Here: the phases, the steering message that each of them is, and the one place where a generation is given.
//! Not here: what leads from one to the next (`judging`, `operating`, `recall`), and the devices (`roster`).

use alloc::vec::Vec;
use core::mem;

use backstay_model::{
    Cause, CohortId, Digest, Direction, Event, Generation, Millis, Mono, Permille, Reach, Release, RolloutId,
    Selector, Steer, Ticket,
};
use serde::{Deserialize, Serialize};

use super::{
    CohortEffect, Effects,
    plan::Plan,
    roster::Aim,
    tally::{History, Tally},
};
use crate::Breaker;

/// The most rollouts and quarantined releases that a cohort remembers. The oldest goes when there is another one.
const REMEMBERED_MAX: usize = 256;
/// A generation this far beyond the newest is not believed: counters that go up by one don't get there, and
/// whoever makes numbers up could use up all of them in one message.
const GENERATION_LEAD_MAX: u64 = 1 << 32;
/// Where a wave comes to no end, the wait is doubled so often: with a day of windows it is four days at most.
const AGAIN_MAX: u32 = 2;
/// The shortest time between two publishes that are due only because somebody has seen a larger generation: a
/// device that makes them up costs the cohort one message in this time.
const REASSERT_SPAN: Millis = Millis::from_secs(60);
/// How long the message itself is waited for when somebody has seen a larger generation: the broker brings devices'
/// words and our own in any order, and what ours say is worth more than their number.
const REASSERT_AFTER: Millis = Millis::from_secs(10);

/// One way of a cohort to a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its name, never used twice.
    pub rollout: RolloutId,
    /// Where to.
    pub release: Release,
    /// Where back to: [`Cohort::way_back`](super::Cohort::way_back) finds it. `None`: each device to its own last
    /// known good release.
    pub back: Option<Release>,
    /// Who of the cohort is meant.
    pub selector: Selector,
    /// The policies that devices judge by. At most 8. Nobody reads them, and the server leaves this empty: plugins are
    /// steered on a channel of their own (decision 19).
    pub policies: Vec<Digest>,
    /// How.
    pub plan: Plan,
}

/// What was decided about a cohort. It is at most some 40 KiB when written down.
///
/// Fields are only added at its end, and each begins as one that is not there, so that what was written before is
/// read by filling in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helm {
    pub(super) cohort: CohortId,
    /// Of the newest message; 0 if there was none.
    pub(super) generation: Generation,
    /// The largest that anybody has seen.
    pub(super) known: Generation,
    reasserted: Option<Mono>,
    asked: Ticket,
    pub(super) phase: Phase,
    pub(super) breaker: Breaker,
    /// Releases that this cohort was turned away from, newest last.
    pub(super) quarantined: Vec<Digest>,
    /// Rollouts that were begun, newest last.
    pub(super) begun: Vec<RolloutId>,
    /// The release that the cohort was brought to last: where the next rollout leads back to.
    pub(super) settled: Option<Release>,
    /// The most that there was to judge by when the rollout was held because its wave came to no end.
    pub(super) stuck: Option<Stuck>,
    /// Whether nothing newer can have been said: something was decided since the start, or the broker has just this.
    #[serde(skip)]
    pub(super) is_current: bool,
    /// When it was first heard of a larger generation.
    #[serde(skip)]
    unheard: Option<Mono>,
    /// Whether the window that was open has been cut by a restart.
    #[serde(skip)]
    is_cut: bool,
}

/// What there was to judge by. Only more than this is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stuck {
    /// Devices that are there and not done.
    pub(super) open: u32,
    /// Those who finished a try.
    pub(super) tried: u32,
    /// How often the wave came to no end again, without any news. A restart begins to count anew.
    #[serde(skip)]
    pub(super) again: u32,
}

impl Stuck {
    /// The same, or what there was `before` where that is more: who comes and goes is news once.
    pub(super) fn or_more(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let is_news = self.open > before.open || self.tried > before.tried;
        Self {
            open: self.open.max(before.open),
            tried: self.tried.max(before.tried),
            again: if is_news { 0 } else { before.again.saturating_add(1) },
        }
    }

    /// Good windows until it goes on without any news.
    pub(super) fn waits(self, plan: &Plan) -> u32 {
        plan.windows_max.saturating_mul(1 << self.again.min(AGAIN_MAX))
    }
}

/// Where a cohort stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// It was never steered, or nothing is known of it.
    #[default]
    Idle,
    /// A wave is open.
    Forward(Underway),
    /// Nobody starts anything, and no other rollout begins. It can go on from here.
    Held(Held),
    /// Everybody is reached. Who was away follows the same message later.
    Arrived(Course),
    /// A person ended it: nobody starts anything any more, who is on the release stays.
    Ended(Course),
    /// Turned round. It never goes forward again.
    Home(Home),
}

/// A rollout and how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Course {
    pub(super) plan: Rollout,
    pub(super) reach: Reach,
}

/// A rollout with an open wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Underway {
    pub(super) course: Course,
    pub(super) wave: Wave,
    /// When the window opened that is open now.
    pub(super) opened: Mono,
    pub(super) history: History,
    pub(super) question: Option<Question>,
}

/// A wave that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wave {
    /// Counted from 0.
    pub(super) number: usize,
    /// How far the one before reached.
    pub(super) before: Reach,
    pub(super) opened: Mono,
    /// Good windows that it still needs.
    pub(super) needs: u32,
    /// Windows that it has had.
    pub(super) windows: u32,
}

/// A policy was asked and has not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) ticket: Ticket,
    /// What it was shown.
    pub(super) tally: Tally,
}

/// A rollout that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) under: Underway,
    pub(super) why: Cause,
    /// Good windows in a row.
    pub(super) calm: u32,
}

/// A rollout that was turned round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Home {
    pub(super) course: Course,
    /// `None`: the freeze was lifted.
    pub(super) freeze: Option<Freeze>,
}

/// No other rollout begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Freeze {
    pub(super) why: Cause,
    /// When the window opened that is open now.
    pub(super) opened: Mono,
    /// Good windows in a row.
    pub(super) calm: u32,
}

impl Rollout {
    pub(super) fn aim(&self) -> Aim {
        Aim { rollout: self.rollout.clone(), release: self.release.digest, selector: self.selector.clone() }
    }
}

impl Underway {
    pub(super) fn stage(&self) -> Permille {
        self.course.plan.plan.share(self.wave.number)
    }
}

impl Phase {
    pub(super) fn course(&self) -> Option<&Course> {
        match self {
            Self::Idle => None,
            Self::Forward(under) => Some(&under.course),
            Self::Held(held) => Some(&held.under.course),
            Self::Arrived(course) | Self::Ended(course) => Some(course),
            Self::Home(home) => Some(&home.course),
        }
    }

    pub(super) fn under(&self) -> Option<&Underway> {
        match self {
            Self::Forward(under) => Some(under),
            Self::Held(held) => Some(&held.under),
            Self::Idle | Self::Arrived(_) | Self::Ended(_) | Self::Home(_) => None,
        }
    }

    pub(super) fn under_mut(&mut self) -> Option<&mut Underway> {
        match self {
            Self::Forward(under) => Some(under),
            Self::Held(held) => Some(&mut held.under),
            Self::Idle | Self::Arrived(_) | Self::Ended(_) | Self::Home(_) => None,
        }
    }

    /// Why no other rollout begins, if it is for a freeze.
    pub(super) fn frozen(&self) -> Option<&Cause> {
        match self {
            Self::Held(held) => Some(&held.why),
            Self::Home(home) => home.freeze.as_ref().map(|freeze| &freeze.why),
            Self::Idle | Self::Forward(_) | Self::Arrived(_) | Self::Ended(_) => None,
        }
    }

    pub(super) fn direction(&self) -> Option<Direction> {
        match self {
            Self::Idle => None,
            Self::Forward(_) | Self::Arrived(_) => Some(Direction::Forward),
            Self::Held(_) | Self::Ended(_) => Some(Direction::Hold),
            Self::Home(_) => Some(Direction::Home),
        }
    }

    /// When the window closes that is open.
    pub(super) fn closes(&self) -> Option<Mono> {
        match self {
            Self::Forward(Underway { opened, course, .. })
            | Self::Held(Held { under: Underway { opened, course, .. }, .. }) => {
                Some(opened.after(course.plan.plan.window))
            }
            Self::Home(Home { course, freeze: Some(freeze) }) => {
                let plan = &course.plan.plan;
                (plan.thaw_windows > 0).then(|| freeze.opened.after(plan.window))
            }
            Self::Idle | Self::Arrived(_) | Self::Ended(_) | Self::Home(Home { freeze: None, .. }) => None,
        }
    }
}

impl Helm {
    pub(super) fn new(cohort: CohortId) -> Self {
        Self {
            cohort,
            generation: Generation(0),
            known: Generation(0),
            reasserted: None,
            asked: Ticket(0),
            phase: Phase::Idle,
            breaker: Breaker::Closed,
            quarantined: Vec::new(),
            begun: Vec::new(),
            settled: None,
            stuck: None,
            is_current: false,
            unheard: None,
            is_cut: false,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn cohort(&self) -> &CohortId {
        &self.cohort
    }

    /// Of the newest message; 0 if there was none.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The promotion breaker.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// The releases that the cohort was turned away from, oldest first. None of them is begun again before a
    /// person lifts it.
    #[must_use]
    pub fn quarantined(&self) -> &[Digest] {
        &self.quarantined
    }

    /// The release that the cohort was brought to last, as far as that is known.
    #[must_use]
    pub fn settled(&self) -> Option<&Release> {
        self.settled.as_ref()
    }

    /// The steering message that is in force, if there ever was one.
    #[must_use]
    pub fn steer(&self) -> Option<Steer> {
        let (course, direction) = (self.phase.course()?, self.phase.direction()?);
        let rollout = &course.plan;
        Some(Steer {
            rollout: rollout.rollout.clone(),
            generation: self.generation,
            cohort: self.cohort.clone(),
            selector: rollout.selector.clone(),
            release: rollout.release.clone(),
            back: rollout.back.clone(),
            reach: course.reach,
            direction,
            frozen: self.phase.frozen().is_some(),
            policies: rollout.policies.clone(),
            reconnect_window: rollout.plan.reconnect_window,
        })
    }

    /// Publishes what the phase is, under the next generation. Nothing else gives a generation.
    pub(super) fn publish(&mut self, out: &mut Effects) {
        let next = self.generation.max(self.known).0.saturating_add(1);
        self.generation = Generation(next);
        self.known = self.generation;
        self.unheard = None;
        let Some(steer) = self.steer() else { return };
        out.push(CohortEffect::Record(Event::Steered {
            rollout: steer.rollout.clone(),
            generation: steer.generation,
            direction: steer.direction,
            release: steer.release.clone(),
            reach: steer.reach,
        }));
        out.push(CohortEffect::Publish(steer));
    }

    /// Publishes what is in force as it is: nothing new was decided.
    pub(super) fn assert_again(&self, out: &mut Effects) {
        out.extend(self.steer().map(CohortEffect::Publish));
    }

    /// Goes on from what was written down. Nothing newer is known yet to be known.
    pub(super) fn restore(self) -> Self {
        Self { is_current: false, unheard: None, is_cut: true, ..self }
    }

    /// Opens the window anew that a restart has cut: what was there while nobody looked is nothing to judge by, and
    /// before devices and broker were heard there is nothing to decide.
    pub(super) fn reopen(&mut self, now: Mono) {
        if mem::take(&mut self.is_cut) {
            match &mut self.phase {
                Phase::Forward(under) | Phase::Held(Held { under, .. }) => under.opened = now,
                Phase::Home(Home { freeze: Some(freeze), .. }) => freeze.opened = now,
                Phase::Idle
                | Phase::Arrived(_)
                | Phase::Ended(_)
                | Phase::Home(Home { freeze: None, .. }) => {}
            }
        }
    }

    /// Takes note of a generation that somebody has seen. Says whether it was believed.
    pub(super) fn seen(&mut self, now: Mono, generation: Generation) -> bool {
        let newest = self.generation.max(self.known);
        if generation.0 > newest.0.saturating_add(GENERATION_LEAD_MAX) {
            return false;
        }
        self.known = newest.max(generation);
        self.wait_for_words(now);
        true
    }

    /// Begins to wait for the words of a larger generation, if there is one.
    pub(super) fn wait_for_words(&mut self, now: Mono) {
        if self.known > self.generation {
            self.unheard.get_or_insert(now);
        }
    }

    /// Goes on from words of ours that were lost here.
    pub(super) fn adopt(&mut self, generation: Generation, phase: Phase) {
        self.generation = generation;
        self.known = self.known.max(generation);
        self.phase = phase;
        self.stuck = None;
        self.unheard = None;
        self.is_current = true;
    }

    /// When the message in force has to be published under a generation that those hear who have seen a larger one.
    pub(super) fn reassert_at(&self) -> Option<Mono> {
        let unheard = self.unheard.filter(|_| self.known > self.generation && self.phase != Phase::Idle)?;
        let earliest = self.reasserted.map_or(Mono(0), |at| at.after(REASSERT_SPAN));
        Some(unheard.after(REASSERT_AFTER).max(earliest))
    }

    pub(super) fn reassert(&mut self, now: Mono, out: &mut Effects) {
        if self.reassert_at().is_some_and(|at| at <= now) {
            self.reasserted = Some(now);
            self.doubt(out);
            self.publish(out);
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.asked = Ticket(self.asked.0.saturating_add(1));
        self.asked
    }

    /// Leaves the phase to whoever makes the next one of it.
    pub(super) fn take(&mut self) -> Phase {
        mem::take(&mut self.phase)
    }

    pub(super) fn remember_rollout(&mut self, rollout: RolloutId) {
        remember(&mut self.begun, rollout);
    }

    /// The cohort is turned away from where a rollout leads to.
    pub(super) fn leave(&mut self, rollout: &Rollout) {
        remember(&mut self.quarantined, rollout.release.digest);
        if self.settled.as_ref().is_some_and(|settled| settled.digest == rollout.release.digest) {
            self.settled = rollout.back.clone();
        }
    }
}

fn remember<T: PartialEq>(all: &mut Vec<T>, one: T) {
    all.retain(|other| *other != one);
    if all.len() >= REMEMBERED_MAX {
        all.remove(0);
    }
    all.push(one);
}
