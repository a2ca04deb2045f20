//! What the broker remembers better than we do.
//!
//! A server that was brought back from an old copy, or that lost its journal, finds its own newer words at the broker.
//! They count: what was said is in force with the devices, and to cover it with something older could send them
//! forward to what they were called home from. Not here: whose words they are (the signature was checked before).
//!
//! ```text
//!   newer, and nothing was decided since the start --> taken over as it is, direction and freeze included
//!   newer, and home                                --> taken over at any time: home is never covered
//!   newer, else, or what we can't have said        --> told, and covered with what is in force
//!   newer is known of, and nobody brings the words --> forward is held: what is known here is old
//! ```

use alloc::format;

use backstay_model::{Cause, Direction, Event, Mono, Reach, Refused, Steer};

use super::{
    Cohort, CohortEffect, Effects,
    helm::{Course, Freeze, Held, Helm, Home, Phase, Rollout, Underway, Wave},
    plan::Plan,
    tally::History,
};
use crate::Breaker;

impl Cohort {
    /// Takes note of words of ours as the broker has them.
    pub(super) fn recall(&mut self, now: Mono, steer: Steer, usual: Plan, out: &mut Effects) {
        let ours = self.helm.generation;
        if steer.cohort != self.helm.cohort || steer.generation < ours {
            return self.roster.ignore();
        }
        if steer.generation == ours {
            self.helm.is_current |= self.helm.steer().as_ref() == Some(&steer);
            return;
        }
        let generation = steer.generation.0;
        if !self.helm.seen(now, steer.generation) {
            let why = format!("generation {generation} is too far ahead to be believed");
            return self.alarm(why, out);
        }
        let is_unexpected = self.helm.is_current;
        if is_unexpected {
            let why = format!(
                "generation {generation} is signed with the director key, and this server did not say it: another \
                 server or a thief has the key, or this one was restored while it ran"
            );
            self.alarm(why, out);
        }
        if is_unexpected && steer.direction != Direction::Home {
            return;
        }
        match self.as_said(now, &steer, usual) {
            Some(phase) => self.take_over(now, phase, &steer, out),
            None if is_unexpected => {}
            None => {
                let why = format!(
                    "generation {generation} says what can't have been said after generation {}",
                    ours.0
                );
                self.alarm(why, out);
            }
        }
    }

    fn alarm(&self, why: alloc::string::String, out: &mut Effects) {
        let what = format!("steering of {}", self.helm.cohort);
        out.push(CohortEffect::Record(Event::Refused(Refused { what, why, count: 1 })));
    }

    fn take_over(&mut self, now: Mono, phase: Phase, steer: &Steer, out: &mut Effects) {
        let Some(course) = phase.course().cloned() else { return };
        let (ours, theirs) = (self.helm.generation.0, steer.generation.0);
        out.push(CohortEffect::Record(Event::Degraded {
            what: format!(
                "generation {ours} was the newest known here, the broker has {theirs}: it is taken over"
            ),
        }));
        self.roster.aim(course.plan.aim());
        self.helm.remember_rollout(steer.rollout.clone());
        if let Phase::Home(_) = phase {
            // When it was turned is lost. To wait once more is the safe side.
            let until = self.helm.breaker.trip(now, course.plan.plan.breaker);
            self.helm.leave(&course.plan);
            let cause = why(steer);
            out.push(CohortEffect::Record(Event::Condemned { release: steer.release.clone(), cause }));
            out.push(CohortEffect::Record(Event::BreakerOpened { until }));
        }
        if let (Direction::Forward, Breaker::Open { .. }) = (steer.direction, self.helm.breaker) {
            // It let forward through, so it was open no longer.
            self.helm.breaker = Breaker::HalfOpen;
        }
        if let Some(cause) = phase.frozen().cloned() {
            out.push(CohortEffect::Record(Event::Froze { cause }));
        }
        self.helm.adopt(steer.generation, phase);
        out.push(CohortEffect::Record(Event::Steered {
            rollout: steer.rollout.clone(),
            generation: steer.generation,
            direction: steer.direction,
            release: steer.release.clone(),
            reach: steer.reach,
        }));
    }

    /// Where the cohort stood when it said this; none if it can't have said it after what is known here.
    fn as_said(&self, now: Mono, steer: &Steer, usual: Plan) -> Option<Phase> {
        let known = self.helm.phase.course().filter(|course| course.plan.rollout == steer.rollout);
        let is_same = known.is_none_or(|Course { plan, reach }| {
            // Of a rollout that was begun only the direction changes, and the reach grows.
            (&plan.release, &plan.back, &plan.selector) == (&steer.release, &steer.back, &steer.selector)
                && *reach <= steer.reach
        });
        let follows = match (known, &self.helm.phase) {
            // A rollout that was followed by another one is never spoken of again.
            (None, _) => !self.helm.begun.contains(&steer.rollout),
            (Some(_), Phase::Home(_)) => steer.direction == Direction::Home,
            (Some(_), Phase::Ended(_)) => steer.direction != Direction::Forward && !is_held(steer),
            (Some(_), Phase::Idle | Phase::Forward(_) | Phase::Held(_) | Phase::Arrived(_)) => true,
        };
        if !follows || !is_same {
            return None;
        }
        let plan = known.map_or(usual, |course| course.plan.plan.clone());
        let number = match self.helm.phase.under().filter(|_| known.is_some()) {
            _ if steer.reach == Reach::ALL => plan.last_wave(),
            Some(under) => under.wave.number,
            None => 0,
        };
        let needs = plan.good_windows;
        let rollout = Rollout {
            rollout: steer.rollout.clone(),
            release: steer.release.clone(),
            back: steer.back.clone(),
            selector: steer.selector.clone(),
            policies: steer.policies.clone(),
            plan: Plan { reconnect_window: steer.reconnect_window, ..plan },
        };
        let course = Course { plan: rollout, reach: steer.reach };
        // What windows there were is lost, so the wave has to show itself once more.
        let under = |course| {
            let wave = Wave { number, before: Reach::NONE, opened: now, needs, windows: 0 };
            Underway { course, wave, opened: now, history: History::default(), question: None }
        };
        let phase = match (steer.direction, steer.frozen) {
            (Direction::Forward, false) => Phase::Forward(under(course)),
            (Direction::Forward, true) => return None,
            (Direction::Hold, true) => Phase::Held(Held { under: under(course), why: why(steer), calm: 0 }),
            (Direction::Hold, false) => Phase::Ended(course),
            (Direction::Home, frozen) => {
                let freeze = frozen.then(|| Freeze { why: why(steer), opened: now, calm: 0 });
                Phase::Home(Home { course, freeze })
            }
        };
        Some(phase)
    }
}

impl Helm {
    /// Somebody has seen a larger generation, and its words did not come. If nothing was decided here since the start,
    /// what is in force is something else than what is known, and it may be home: nobody starts anything more.
    pub(super) fn doubt(&mut self, out: &mut Effects) {
        if self.is_current {
            return;
        }
        let generation = self.known;
        let old = |out: &mut Effects| {
            let what = format!("somebody has seen generation {}, and what it says is lost", generation.0);
            out.push(CohortEffect::Record(Event::Degraded { what }));
        };
        self.phase = match self.take() {
            Phase::Forward(under) => {
                old(out);
                let cause = Cause::Steering { rollout: under.course.plan.rollout.clone(), generation };
                out.push(CohortEffect::Record(Event::Froze { cause: cause.clone() }));
                Phase::Held(Held { under, why: cause, calm: 0 })
            }
            Phase::Arrived(course) => {
                old(out);
                Phase::Ended(course)
            }
            phase @ (Phase::Idle | Phase::Held(_) | Phase::Ended(_) | Phase::Home(_)) => phase,
        };
    }
}

fn why(steer: &Steer) -> Cause {
    Cause::Steering { rollout: steer.rollout.clone(), generation: steer.generation }
}

fn is_held(steer: &Steer) -> bool {
    steer.direction == Direction::Hold && steer.frozen
}
