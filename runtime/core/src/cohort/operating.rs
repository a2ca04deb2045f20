//! What a person or a build wants, carried out where the rails let it.
//!
//! Here: beginning a rollout, and a wish for each phase. Not here: who may want it (tokens, at the edge), and
//! whether it can be done (`refusal`).

use alloc::{
    format,
    string::{String, ToString},
};

use backstay_model::{Action, Cause, Event, Mono, Name, Reach, Refused, causes};

use super::{
    Cohort, CohortEffect, Effects, Wish,
    helm::{Course, Held, Home, Phase, Rollout, Underway, Wave},
    refusal::{StartError, Startable},
    tally::History,
};
use crate::Breaker;

/// The longest text in a record, in bytes.
const TEXT_BYTES_MAX: usize = 256;

impl Cohort {
    pub(super) fn start(&mut self, now: Mono, who: &Name, rollout: Rollout, out: &mut Effects) {
        match self.may_start(now, &rollout) {
            Ok(Startable::Already) => {}
            Ok(Startable::New) => self.begin(now, who, rollout, out),
            Err(error) => out.push(CohortEffect::Record(refused(&rollout, &error))),
        }
    }

    fn begin(&mut self, now: Mono, who: &Name, rollout: Rollout, out: &mut Effects) {
        self.helm.is_current = true;
        self.roster.aim(rollout.aim());
        self.helm.remember_rollout(rollout.rollout.clone());
        let what = clip(format!("start rollout {} to {}", rollout.rollout, rollout.release));
        out.push(CohortEffect::Record(Event::Override { who: who.clone(), what }));
        let wave = Wave {
            number: 0,
            before: Reach::NONE,
            opened: now,
            needs: rollout.plan.good_windows,
            windows: 0,
        };
        let course = Course { reach: Reach::NONE, plan: rollout };
        let under = Underway { course, wave, opened: now, history: History::default(), question: None };
        self.open_wave(now, under, 0, out);
    }

    /// Opens wave `number`: the reach grows to what it holds, and everybody hears of it.
    pub(super) fn open_wave(&mut self, now: Mono, mut under: Underway, number: usize, out: &mut Effects) {
        let before = under.course.reach;
        let reach = self.reach(&under.course.plan, number).max(before);
        let plan = &under.course.plan.plan;
        under.wave = Wave { number, before, opened: now, needs: plan.good_windows, windows: 0 };
        under.course.reach = reach;
        out.push(CohortEffect::Record(Event::WaveOpened {
            rollout: under.course.plan.rollout.clone(),
            wave: u32::try_from(number).unwrap_or(u32::MAX),
            share: under.stage(),
            reach,
        }));
        self.helm.phase = Phase::Forward(under);
        self.helm.stuck = None;
        self.helm.publish(out);
    }

    /// How far wave `number` has to reach for what it is to hold.
    pub(super) fn reach(&self, rollout: &Rollout, number: usize) -> Reach {
        let meant = self.roster.meant();
        let (last, first) = (number == rollout.plan.last_wave(), number == 0);
        let devices = match self.helm.breaker {
            // A single wave would be everybody at once, so there the smallest wave comes first, too.
            Breaker::HalfOpen | Breaker::Open { .. } if first => rollout.plan.smallest(meant),
            // Who joins later is meant as well.
            Breaker::HalfOpen | Breaker::Open { .. } | Breaker::Closed if last => return Reach::ALL,
            Breaker::HalfOpen | Breaker::Open { .. } | Breaker::Closed => rollout.plan.devices(number, meant),
        };
        self.roster.reach_of(devices)
    }

    pub(super) fn operate(
        &mut self,
        now: Mono,
        who: Name,
        wish: Wish,
        reason: Option<&str>,
        out: &mut Effects,
    ) {
        if let Err(error) = self.may(now, &wish) {
            let what = clip(format!("{wish} by {who}"));
            let refused = Refused { what, why: clip(error.to_string()), count: 1 };
            out.push(CohortEffect::Record(Event::Refused(refused)));
            return;
        }
        self.helm.is_current = true;
        let what = reason.map_or_else(|| wish.to_string(), |reason| format!("{wish}: {reason}"));
        out.push(CohortEffect::Record(Event::Override { who: who.clone(), what: clip(what) }));
        let why = Cause::Operator { who };
        match (wish, self.helm.take()) {
            (Wish::Pause, Phase::Forward(under)) => self.hold(under, why, out),
            (Wish::Pause, Phase::Held(held)) => {
                // It is held already; now only a person lets it go on.
                out.push(CohortEffect::Record(Event::Froze { cause: why.clone() }));
                self.helm.phase = Phase::Held(Held { why, ..held });
            }
            (Wish::Resume | Wish::Thaw, Phase::Held(held)) => self.go_on(now, held, out),
            (Wish::Thaw, Phase::Home(home)) => self.thaw(home, out),
            (Wish::Abort, Phase::Forward(Underway { course, .. }))
            | (Wish::Abort, Phase::Held(Held { under: Underway { course, .. }, .. }))
            | (Wish::Abort, Phase::Arrived(course)) => {
                self.helm.phase = Phase::Ended(course);
                self.helm.publish(out);
            }
            (Wish::Rollback, Phase::Forward(Underway { course, .. }))
            | (Wish::Rollback, Phase::Held(Held { under: Underway { course, .. }, .. }))
            | (Wish::Rollback, Phase::Arrived(course) | Phase::Ended(course)) => {
                self.turn(now, course, why, out);
            }
            (Wish::Rollback, home @ Phase::Home(_)) => {
                self.helm.phase = home;
                self.helm.assert_again(out);
            }
            (Wish::Lift(release), phase) => {
                self.helm.phase = phase;
                self.helm.quarantined.retain(|quarantined| *quarantined != release);
            }
            (Wish::CloseBreaker, phase) => {
                self.helm.phase = phase;
                self.helm.breaker.close();
                out.push(CohortEffect::Record(Event::BreakerClosed));
            }
            // `may` has refused these.
            (Wish::Pause, phase @ (Phase::Idle | Phase::Arrived(_) | Phase::Ended(_) | Phase::Home(_)))
            | (
                Wish::Resume | Wish::Thaw,
                phase @ (Phase::Idle | Phase::Forward(_) | Phase::Arrived(_) | Phase::Ended(_)),
            )
            | (Wish::Resume, phase @ Phase::Home(_))
            | (Wish::Abort, phase @ (Phase::Idle | Phase::Ended(_) | Phase::Home(_)))
            | (Wish::Rollback, phase @ Phase::Idle) => self.helm.phase = phase,
        }
    }

    /// Goes on with a rollout that was held, with as much patience as its wave had at the beginning.
    pub(super) fn go_on(&mut self, now: Mono, held: Held, out: &mut Effects) {
        let Held { mut under, why, calm: _ } = held;
        under.wave.opened = now;
        under.wave.windows = 0;
        under.wave.needs = under.course.plan.plan.good_windows;
        under.question = None;
        out.push(CohortEffect::Record(Event::Thawed { cause: why }));
        self.helm.phase = Phase::Forward(under);
        self.helm.publish(out);
    }

    /// Lets other rollouts begin.
    pub(super) fn thaw(&mut self, home: Home, out: &mut Effects) {
        let Home { course, freeze } = home;
        out.extend(freeze.map(|freeze| CohortEffect::Record(Event::Thawed { cause: freeze.why })));
        self.helm.phase = Phase::Home(Home { course, freeze: None });
        self.helm.publish(out);
    }
}

fn refused(rollout: &Rollout, error: &StartError) -> Event {
    match error.rail() {
        Some(rail) => Event::Restrained { wanted: Action::Proceed, rail },
        None => {
            let why = causes::in_one_line(error);
            let what = clip(format!("start of rollout {}", rollout.rollout));
            Event::Refused(Refused { what, why: clip(why), count: 1 })
        }
    }
}

/// `text`, cut at a character's end if it is too long for a record.
pub(super) fn clip(mut text: String) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or(0));
    text
}
