//! The run that is open: from its order until it has ended.
//!
//! A device has one at a time. It has a deadline, so that nothing waits for it for ever, and it remembers which executor
//! took it: another one would make something else of what was done already. Not here: what its end leads to (`phase`),
//! and its effects (whoever drives runs).
//!
//! ```text
//!   Open -- its executor may not go on --> Halted -- that is lifted --> Open
//!   Open -- the same, and the slots show that it did what it was for --> Ending
//!   Open, Halted -- its time is up, or it was called off --> Ending: the slots tell what came of it
//! ```

use alloc::{format, string::String};

use backstay_model::{Cause, Digest, Event, Fence, Mono, Order, Outcome, Task, Ticket, Transience};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Device, Effect, Effects, phase::Phase};

/// The run that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    order: Order,
    tail: RunTail,
}

/// What is known of it beyond its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunTail {
    /// When it is ended, if it hasn't by then. `None`: it comes from a version without, and gets one with the next start.
    until: Option<Mono>,
    /// Of the executor that took it.
    grant: Option<Digest>,
    course: Course,
}

/// How it is going.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Course {
    /// It is under way.
    #[default]
    Open,
    /// Nobody may go on with it now.
    Halted,
    /// It was let go of, with this outcome.
    Ending(Outcome),
}

impl Run {
    pub(super) fn order(&self) -> &Order {
        &self.order
    }

    pub(super) fn tail(&self) -> RunTail {
        self.tail.clone()
    }

    pub(super) fn take_tail(&mut self, tail: RunTail) {
        self.tail = tail;
    }

    /// The executor that took it, by its grant.
    pub(super) fn taken_by(&self) -> Option<Digest> {
        self.tail.grant
    }

    /// When its time is up, while that matters.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.tail.course {
            Course::Open | Course::Halted => self.tail.until,
            Course::Ending(_) => None,
        }
    }

    /// As the first version has it: the order alone.
    pub(super) fn first_form<S: Serializer>(run: &Option<Self>, to: S) -> Result<S::Ok, S::Error> {
        run.as_ref().map(Self::order).serialize(to)
    }

    pub(super) fn of_first_form<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        let order = Option::<Order>::deserialize(from)?;
        Ok(order.map(|order| Self { order, tail: RunTail::default() }))
    }

    fn effect(&self) -> Effect {
        match &self.tail.course {
            Course::Open | Course::Halted => {
                Effect::Run { order: self.order.clone(), grant: self.tail.grant }
            }
            Course::Ending(outcome) => {
                Effect::Abandon { ticket: self.order.ticket, outcome: outcome.clone() }
            }
        }
    }
}

impl Device {
    /// Gives an order under the next fencing number. The record goes before it.
    pub(super) fn give(&mut self, now: Mono, task: Task, cause: Cause, out: &mut Effects) -> Order {
        self.state.fence = Fence(self.state.fence.0 + 1);
        let order = Order { ticket: self.ticket(), fence: self.state.fence, task };
        let until = Some(now.after(self.settings.run_limit));
        let run = Run { order: order.clone(), tail: RunTail { until, ..RunTail::default() } };
        out.push(Effect::Record(Event::Ordered { order: order.clone(), cause }));
        out.push(run.effect());
        self.state.run = Some(run);
        order
    }

    /// Whether `order` may begin though nothing of it can be kept, not even what is kept apart. What only narrows or mends may;
    /// what is brought in without its way home being kept may have none after a power cut.
    ///
    /// # Errors
    /// What the run ends with in place of beginning.
    pub fn begins_unkept(order: &Order) -> Result<(), Outcome> {
        match order.task {
            Task::Confirm { .. } | Task::GoHome { .. } | Task::Heal { .. } => Ok(()),
            Task::Install { .. } => Err(Outcome::Failed {
                transience: Transience::Transient,
                why: "where it may be left for can't be kept: the disk takes nothing at all".into(),
            }),
        }
    }

    /// After a start: the run goes on where the journal says it stood, or is let go of where it was being let go of.
    pub(super) fn go_on_with_run(&mut self, now: Mono, out: &mut Effects) {
        let Some(run) = &mut self.state.run else { return };
        let until = *run.tail.until.get_or_insert(now.after(self.settings.run_limit));
        let is_ending = matches!(run.tail.course, Course::Ending(_));
        // What is overdue is let go of, and not begun again before that.
        if is_ending || until > now {
            out.push(run.effect());
        }
    }

    pub(super) fn taken(&mut self, ticket: Ticket, grant: Digest, out: &mut Effects) {
        let Some(run) = self.run_of(ticket) else { return };
        let before = run.tail.grant.replace(grant);
        if run.tail.course == Course::Halted {
            run.tail.course = Course::Open;
        }
        if before != Some(grant) {
            out.push(Effect::Record(Event::RunTaken { ticket, grant }));
        }
    }

    /// Another executor may not go on in its place, so nothing moves until it may, or the time is up; unless there is
    /// nothing left to go on with.
    pub(super) fn halted(&mut self, ticket: Ticket, why: String, out: &mut Effects) {
        let is_done = self.has_reached(ticket);
        let Some(run) = self.run_of(ticket).filter(|run| run.tail.course == Course::Open) else { return };
        if is_done {
            return self.abandon(why, out);
        }
        run.tail.course = Course::Halted;
        let outcome = Outcome::Failed { transience: Transience::Transient, why };
        out.push(Effect::Record(Event::Froze { cause: Cause::RunFailed { outcome } }));
    }

    /// Somebody signed that what failed here may be tried again: so may a run whose executor that was.
    pub(super) fn lifted(&mut self, digest: &Digest, out: &mut Effects) {
        let halted = |run: &&Run| run.tail.course == Course::Halted && run.tail.grant == Some(*digest);
        out.extend(self.state.run.as_ref().filter(halted).map(Run::effect));
    }

    /// Ends a run whose time is up.
    pub(super) fn end_overdue_run(&mut self, now: Mono, out: &mut Effects) {
        if self.state.run.as_ref().and_then(Run::deadline).is_some_and(|until| until <= now) {
            self.abandon(format!("it took longer than {}", self.settings.run_limit), out);
        }
    }

    /// Lets go of the open run, once. What came of it the slots will tell.
    pub(super) fn abandon(&mut self, why: String, out: &mut Effects) {
        let Some(run) = &mut self.state.run else { return };
        if matches!(run.tail.course, Course::Ending(_)) {
            return;
        }
        run.tail.course = Course::Ending(Outcome::Failed { transience: Transience::Transient, why });
        out.push(run.effect());
    }

    /// Ends the open run without running it on: what it was for is of the past.
    pub(super) fn call_off(&mut self, why: &str, out: &mut Effects) {
        if let Some(Run { order: Order { ticket, fence, .. }, .. }) = self.state.run.take() {
            let outcome = Outcome::Failed { transience: Transience::Permanent, why: why.into() };
            out.push(Effect::Record(Event::Ended { ticket, fence, outcome }));
        }
    }

    /// Whether the slots show what the open run was for. An image that brings executors of its own has begun by then to
    /// run; how well it does is for its trial to tell.
    fn has_reached(&self, ticket: Ticket) -> bool {
        let (on, confirmed) = (self.state.on.release.digest, self.state.confirmed.digest);
        match &self.state.phase {
            Phase::Installing(run) => run.ticket == ticket && on == run.to.release.digest,
            Phase::Confirming(run) => run.ticket == ticket && on == confirmed,
            Phase::Homing(run) => run.ticket == ticket && on == run.to.digest && on == confirmed,
            // Whether it helped the slots don't show.
            Phase::Healing(_)
            | Phase::Settled
            | Phase::Vetting(_)
            | Phase::Trial(_)
            | Phase::Leaving(_)
            | Phase::Seeking(_)
            | Phase::Frozen(_) => false,
        }
    }

    fn run_of(&mut self, ticket: Ticket) -> Option<&mut Run> {
        self.state.run.as_mut().filter(|run| run.order.ticket == ticket)
    }
}
