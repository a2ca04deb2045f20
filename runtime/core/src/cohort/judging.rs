//! What the end of a window, a failure, and a policy's answer lead to.
//!
//! A policy proposes; what is here restrains it:
//! - it is asked only where there is data, and only on data is anybody turned round;
//! - so many failures that the plan calls them a breach turn the cohort round without asking;
//! - silence, the lack of an answer and the lack of an end hold, and never turn;
//! - "proceed" counts only if the wave can be judged, its share of successes is enough, and its newest devices
//!   have something to say.
//!
//! A freeze that no person put there is lifted by good windows in a row. Where a wave came to no end, and there is no more to
//! judge by, it takes as many as the wave had, then twice, then four times as many: else it would come to no end again and
//! again, with two messages to everybody each time.

use backstay_model::{Action, Breaker, Cause, Decision, Event, Mono, Ticket};

use super::{
    Cohort, CohortEffect, Effects, Reply,
    helm::{Course, Freeze, Held, Home, Phase, Question, Underway},
    operating::clip,
    roster::Pulse,
    tally::Tally,
};

impl Cohort {
    /// Does what the time asks for.
    pub(super) fn wake(&mut self, now: Mono, out: &mut Effects) {
        self.helm.breaker.wake(now);
        if self.helm.phase.closes().is_some_and(|at| at <= now) {
            match self.helm.take() {
                Phase::Forward(under) => self.judge_forward(now, under, out),
                Phase::Held(held) => self.judge_held(now, held, out),
                Phase::Home(home) => self.judge_home(now, home, out),
                phase @ (Phase::Idle | Phase::Arrived(_) | Phase::Ended(_)) => self.helm.phase = phase,
            }
        }
        self.helm.reassert(now, out);
    }

    /// Turns round at once if a device's word was one failure too many: a window's end need not be waited for.
    pub(super) fn failed(&mut self, now: Mono, out: &mut Effects) {
        let Some(under) = self.helm.phase.under() else { return };
        let (tally, course) = (self.tally(now, under), under.course.clone());
        if tally.breaches(&course.plan.plan) {
            self.turn(now, course, tally.cause(), out);
        }
    }

    fn tally(&self, now: Mono, under: &Underway) -> Tally {
        let Course { plan: rollout, reach } = &under.course;
        Tally::take(&self.roster, now, &rollout.release, &rollout.plan, under.wave.before, *reach)
    }

    fn judge_forward(&mut self, now: Mono, mut under: Underway, out: &mut Effects) {
        let (tally, missed) = self.close(now, &mut under, out);
        let plan = &under.course.plan.plan;
        if tally.breaches(plan) {
            return self.turn(now, under.course, tally.cause(), out);
        }
        let hold = if missed.is_some() {
            Some(Cause::NoPolicy)
        } else if tally.is_silent(plan) {
            Some(Cause::NoData)
        } else if under.wave.windows >= plan.windows_max {
            Some(if tally.succeeds(plan) { Cause::NoData } else { tally.cause() })
        } else {
            None
        };
        let (is_spent, stuck) = (under.wave.windows >= plan.windows_max, self.helm.stuck);
        match hold {
            Some(why) => self.hold(under, why, out),
            None => self.widen(under, out),
        }
        if is_spent && matches!(self.helm.phase, Phase::Held(_)) {
            self.helm.stuck = Some(tally.stuck().or_more(stuck));
        }
        self.ask(now, tally, out);
    }

    fn judge_held(&mut self, now: Mono, mut held: Held, out: &mut Effects) {
        let (tally, missed) = self.close(now, &mut held.under, out);
        let plan = &held.under.course.plan.plan;
        if tally.breaches(plan) {
            return self.turn(now, held.under.course, tally.cause(), out);
        }
        if tally.is_silent(plan) || missed.is_some() {
            held.calm = 0;
        } else if !tally.has_data() && held.why == Cause::NoData && tally.live > 0 && self.is_news(&tally) {
            // What was missing was signs of life, and they are back. There is nothing yet to ask about.
            return self.calmer(now, held, &tally, out);
        }
        self.helm.phase = Phase::Held(held);
        self.ask(now, tally, out);
    }

    /// Whether there is more to judge by than when a wave came to no end. Without that, going on would most likely come
    /// to no end again.
    fn is_news(&self, tally: &Tally) -> bool {
        let now = tally.stuck();
        self.helm.stuck.is_none_or(|stuck| now.open > stuck.open || now.tried > stuck.tried)
    }

    /// Closes the window that is open and opens the next. Also says which question nobody answered in it.
    fn close(&self, now: Mono, under: &mut Underway, out: &mut Effects) -> (Tally, Option<Ticket>) {
        let tally = self.tally(now, under);
        under.history.push(under.opened, now, tally);
        under.opened = now;
        under.wave.windows = under.wave.windows.saturating_add(1);
        let missed = under.question.take().map(|question| question.ticket);
        out.extend(missed.map(|ticket| {
            CohortEffect::Record(Event::Unanswered { ticket, why: "no answer came within a window".into() })
        }));
        (tally, missed)
    }

    /// Asks the policy, if there is anything to judge by.
    fn ask(&mut self, now: Mono, tally: Tally, out: &mut Effects) {
        if tally.has_data() {
            self.question(now, tally, out);
        }
    }

    fn question(&mut self, now: Mono, tally: Tally, out: &mut Effects) {
        let (ticket, breaker) = (self.helm.ticket(), self.helm.breaker.at(now));
        let Some(under) = self.helm.phase.under_mut() else { return };
        let facts = under.history.facts(now, &under.course.plan.release, under.stage(), breaker);
        under.question = Some(Question { ticket, tally });
        out.push(CohortEffect::Record(Event::Asked { ticket, facts: facts.clone() }));
        out.push(CohortEffect::Ask { ticket, facts });
    }

    /// Asks again what was asked before a restart: nobody remembers the question.
    pub(super) fn ask_again(&mut self, now: Mono, out: &mut Effects) {
        let asked = self.helm.phase.under_mut().and_then(|under| under.question.take());
        if let Some(question) = asked {
            self.question(now, question.tally, out);
        }
    }

    pub(super) fn answered(&mut self, now: Mono, ticket: Ticket, reply: Reply, out: &mut Effects) {
        let Some(under) = self.helm.phase.under_mut() else { return };
        let Some(Question { tally, .. }) = under.question.take_if(|question| question.ticket == ticket)
        else {
            return;
        };
        match reply {
            Reply::Unanswered { why } => {
                out.push(CohortEffect::Record(Event::Unanswered { ticket, why: clip(why) }));
                self.object(Cause::NoPolicy, out);
            }
            Reply::Decided(decision) => {
                out.push(CohortEffect::Record(Event::Decided { ticket, decision: decision.clone() }));
                self.act(now, &tally, decision, out);
            }
        }
    }

    fn act(&mut self, now: Mono, tally: &Tally, decision: Decision, out: &mut Effects) {
        match &decision.action {
            Action::Proceed => match self.helm.take() {
                Phase::Forward(under) => self.proceed(now, under, tally, out),
                Phase::Held(held) => self.calmer_if(now, held, tally, out),
                phase @ (Phase::Idle | Phase::Arrived(_) | Phase::Ended(_) | Phase::Home(_)) => {
                    self.helm.phase = phase;
                }
            },
            Action::Slow { windows } => {
                if let Some(under) = self.helm.phase.under_mut() {
                    let most = under.course.plan.plan.windows_max;
                    under.wave.needs = under.wave.needs.saturating_add(*windows).min(most);
                }
            }
            Action::RollBack { .. } if tally.has_data() => {
                if let Some(course) = self.helm.phase.under().map(|under| under.course.clone()) {
                    self.turn(now, course, Cause::Policy { decision }, out);
                }
            }
            Action::RollBack { .. } => {
                let wanted = decision.action;
                out.push(CohortEffect::Record(Event::Restrained { wanted, rail: Cause::NoData }));
                self.object(Cause::NoData, out);
            }
            // Devices heal themselves. What they can't heal sends them home, and that is counted.
            Action::Heal { .. } | Action::Freeze | Action::Pause => {
                self.object(Cause::Policy { decision }, out);
            }
        }
    }

    /// One good window more, if it was one.
    fn proceed(&mut self, now: Mono, mut under: Underway, tally: &Tally, out: &mut Effects) {
        let plan = &under.course.plan.plan;
        let is_over = now.since(under.wave.opened) >= plan.patience;
        if !tally.succeeds(plan) {
            under.wave.needs = under.wave.needs.max(plan.good_windows);
            out.push(CohortEffect::Record(Event::Restrained {
                wanted: Action::Proceed,
                rail: tally.cause(),
            }));
        } else if (tally.is_complete() || is_over) && tally.newest_answered() {
            under.wave.needs = under.wave.needs.saturating_sub(1);
            if under.wave.needs == 0 {
                return self.advance(now, under, tally, out);
            }
        }
        self.helm.phase = Phase::Forward(under);
    }

    /// The wave is good: opens the next one that adds anybody, or ends the rollout.
    fn advance(&mut self, now: Mono, under: Underway, tally: &Tally, out: &mut Effects) {
        let rollout = &under.course.plan;
        let last = rollout.plan.last_wave();
        if self.helm.breaker != crate::Breaker::Closed {
            // The small stage was good.
            self.helm.breaker.close();
            out.push(CohortEffect::Record(Event::BreakerClosed));
        }
        if under.wave.number >= last && under.course.reach == backstay_model::Reach::ALL {
            return self.complete(under, tally, out);
        }
        let adds = |number: &usize| self.reach(rollout, *number) > under.course.reach;
        let number = (under.wave.number + 1..last).find(adds).unwrap_or(last);
        self.open_wave(now, under, number, out);
        // Where the last wave adds nobody, nothing is left to learn.
        let Some(under) = self.helm.phase.under() else { return };
        let tally = self.tally(now, under);
        if under.wave.number >= last && tally.newest == 0 {
            let under = under.clone();
            self.complete(under, &tally, out);
        }
    }

    /// Everybody who is there is done. Who is away follows the same message later.
    fn complete(&mut self, under: Underway, tally: &Tally, out: &mut Effects) {
        if tally.pending > 0 {
            self.helm.phase = Phase::Forward(under);
            return;
        }
        out.push(CohortEffect::Record(Event::Completed {
            rollout: under.course.plan.rollout.clone(),
            confirmed: tally.settled,
            excluded: tally.excluded,
        }));
        self.helm.settled = Some(under.course.plan.release.clone());
        self.helm.phase = Phase::Arrived(under.course);
    }

    /// The roster may have grown: the wave holds its share of those who are there now. It never shrinks.
    fn widen(&mut self, mut under: Underway, out: &mut Effects) {
        let reach = self.reach(&under.course.plan, under.wave.number);
        let grows = reach > under.course.reach;
        under.course.reach = reach.max(under.course.reach);
        self.helm.phase = Phase::Forward(under);
        if grows {
            self.helm.publish(out);
        }
    }

    /// Something speaks against going on.
    fn object(&mut self, why: Cause, out: &mut Effects) {
        match self.helm.take() {
            Phase::Forward(under) => self.hold(under, why, out),
            Phase::Held(held) => self.helm.phase = Phase::Held(Held { calm: 0, ..held }),
            phase @ (Phase::Idle | Phase::Arrived(_) | Phase::Ended(_) | Phase::Home(_)) => {
                self.helm.phase = phase;
            }
        }
    }

    /// Nobody starts anything, and no other rollout begins.
    pub(super) fn hold(&mut self, under: Underway, why: Cause, out: &mut Effects) {
        out.push(CohortEffect::Record(Event::Froze { cause: why.clone() }));
        self.helm.phase = Phase::Held(Held { under, why, calm: 0 });
        self.helm.stuck = None;
        self.helm.publish(out);
    }

    fn calmer_if(&mut self, now: Mono, mut held: Held, tally: &Tally, out: &mut Effects) {
        let plan = &held.under.course.plan.plan;
        if tally.succeeds(plan) && !tally.is_silent(plan) && (tally.has_data() || self.is_news(tally)) {
            return self.calmer(now, held, tally, out);
        }
        held.calm = 0;
        self.helm.phase = Phase::Held(held);
    }

    /// One good window more. Enough of them lift a freeze, unless a person put it there.
    fn calmer(&mut self, now: Mono, mut held: Held, tally: &Tally, out: &mut Effects) {
        held.calm = held.calm.saturating_add(1);
        let plan = &held.under.course.plan.plan;
        let by_itself = plan.thaw_windows > 0 && !is_lifted_by_a_person_alone(&held.why);
        let needed = match self.helm.stuck {
            // What kept devices from following may have passed without a word.
            Some(stuck) if !self.is_news(tally) => stuck.waits(plan).max(plan.thaw_windows),
            Some(_) | None => plan.thaw_windows,
        };
        let is_open = matches!(self.helm.breaker.at(now), Breaker::Open { .. });
        if by_itself && held.calm >= needed && !is_open {
            self.go_on(now, held, out);
        } else {
            self.helm.phase = Phase::Held(held);
        }
    }

    /// Everybody who is on the release goes home, and nothing else begins for a while. One message.
    pub(super) fn turn(&mut self, now: Mono, course: Course, why: Cause, out: &mut Effects) {
        let Course { plan: rollout, .. } = &course;
        let on_release = u32::try_from(self.roster.on(&rollout.release.digest)).unwrap_or(u32::MAX);
        let until = self.helm.breaker.trip(now, rollout.plan.breaker);
        self.helm.leave(rollout);
        self.helm.is_current = true;
        let records = [
            Event::Turned {
                cohort: self.helm.cohort.clone(),
                rollout: rollout.rollout.clone(),
                on_release,
                cause: why.clone(),
            },
            Event::Condemned { release: rollout.release.clone(), cause: why.clone() },
            Event::BreakerOpened { until },
            Event::Froze { cause: why.clone() },
        ];
        out.extend(records.map(CohortEffect::Record));
        let freeze = Some(Freeze { why, opened: now, calm: 0 });
        self.helm.phase = Phase::Home(Home { course, freeze });
        self.helm.publish(out);
    }

    /// Counts the windows in which all who are there are home and well.
    fn judge_home(&mut self, now: Mono, mut home: Home, out: &mut Effects) {
        let plan = &home.course.plan.plan;
        let is_calm = self.is_calm(now, &home.course);
        if let Some(freeze) = &mut home.freeze {
            freeze.opened = now;
            freeze.calm = if is_calm { freeze.calm.saturating_add(1) } else { 0 };
            let is_open = matches!(self.helm.breaker.at(now), Breaker::Open { .. });
            let by_itself = !is_lifted_by_a_person_alone(&freeze.why);
            if freeze.calm >= plan.thaw_windows && !is_open && by_itself {
                return self.thaw(home, out);
            }
        }
        self.helm.phase = Phase::Home(home);
    }

    fn is_calm(&self, now: Mono, course: &Course) -> bool {
        let Course { plan: rollout, .. } = course;
        let mut tally = Tally::default();
        for member in self.roster.members() {
            match member.pulse(now, rollout.plan.silence) {
                Pulse::Live => {
                    tally.expected += 1;
                    tally.live += 1;
                    tally.pending += u32::from(member.is_on(&rollout.release.digest));
                    tally.unwell += u32::from(member.health() == backstay_model::Health::Bad);
                }
                Pulse::Silent => {
                    tally.expected += 1;
                    tally.silent += 1;
                }
                Pulse::Away => {}
            }
        }
        tally.live > 0 && tally.pending == 0 && tally.unwell == 0 && !tally.is_silent(&rollout.plan)
    }
}

/// Whether good windows are not enough to lift a freeze: a person put it there, or nobody here knows who did.
fn is_lifted_by_a_person_alone(why: &Cause) -> bool {
    matches!(why, Cause::Operator { .. } | Cause::Steering { .. })
}
