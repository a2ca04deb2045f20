//! The one run that a target has at a time: begun under its lock, let go of at its limit, tried again where that can help.

use backstay_model::{
    Action, Cause, Decision, Digest, Event, How, Mono, Order, Outcome, Rail, Release, TargetStep, Task,
    Ticket, Transience,
};
use serde::{Deserialize, Serialize};

use super::{Hold, Pace, Remedy, Target, TargetEffect, history::unnamed};
use crate::{Step, estate::Desk};

/// How often a roll-back is begun before a person is told that it doesn't work.
const TRIES_MAX: u32 = 3;

/// What is being done to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Nothing.
    #[default]
    Idle,
    /// A run is open.
    Running(Running),
    /// A run failed for now, and is begun again.
    Waiting {
        /// What.
        task: Task,
        /// What for.
        purpose: Purpose,
        /// Tries so far.
        tries: u32,
        /// When.
        at: Mono,
    },
}

/// A run that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// What is to be done.
    pub order: Order,
    /// Of the executor that took it.
    pub grant: Option<Digest>,
    /// When it is let go of.
    pub until: Mono,
    /// What for.
    pub purpose: Purpose,
    /// Which try it is, from 1.
    pub tries: u32,
    /// Whether it is being let go of.
    pub ending: bool,
}

/// What a run is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// To bring a release back.
    Home {
        /// How.
        how: How,
        /// What is left.
        left: Release,
        /// When it was decided.
        since: Mono,
    },
    /// To mend what runs.
    Mend,
    /// To take a data base a step of its migration.
    Step {
        /// Which.
        step: Step,
        /// When it began.
        begun: Mono,
    },
    /// To hold what is on its way, or to let it go on.
    Pace(Pace),
}

impl Work {
    /// Whether nothing is being done, and nothing waits to be.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Idle => true,
            Self::Running(_) | Self::Waiting { .. } => false,
        }
    }

    /// The run that is open.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Running(running) => Some(running.order.ticket),
            Self::Idle | Self::Waiting { .. } => None,
        }
    }

    /// To what a run brings what is on its way, if that is all that is being done. It leaves what runs as it is, so windows are
    /// judged meanwhile, and it gives way to whatever else is to be done.
    #[must_use]
    pub fn pace(&self) -> Option<Pace> {
        match self {
            Self::Running(Running { purpose: Purpose::Pace(pace), .. }) => Some(*pace),
            Self::Idle | Self::Running(_) | Self::Waiting { .. } => None,
        }
    }

    /// Whether what runs is being changed, or is about to be.
    #[must_use]
    pub fn changes(&self) -> bool {
        !self.is_idle() && self.pace().is_none()
    }

    /// When what failed is begun again.
    pub(super) fn again(&self) -> Option<Mono> {
        match self {
            Self::Waiting { at, .. } => Some(*at),
            Self::Idle | Self::Running(_) => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Running(Running { until, ending: false, .. }) => Some(*until),
            Self::Waiting { at, .. } => Some(*at),
            Self::Idle | Self::Running(Running { ending: true, .. }) => None,
        }
    }
}

impl Target {
    /// Begins a run. The record goes before it.
    pub(super) fn begin(&mut self, now: Mono, task: Task, purpose: Purpose, tries: u32, desk: &mut Desk<'_>) {
        let ticket = desk.ticket();
        if let Task::GoHome { release } = &task
            && let Err(rail) = self.brings_in(ticket, release, desk)
        {
            return self.freeze(now, rail, desk);
        }
        self.begin_as(now, ticket, task, purpose, tries, desk);
    }

    /// The same, of a run that has its number.
    pub(super) fn begin_as(
        &mut self,
        now: Mono,
        ticket: Ticket,
        task: Task,
        purpose: Purpose,
        tries: u32,
        desk: &mut Desk<'_>,
    ) {
        self.gives_way(desk);
        let fence = match self.state.lock.take(now, ticket, self.settings.run_limit) {
            Ok(fence) => fence,
            Err(locked) => {
                let rail = Rail::Locked { ticket: locked.ticket };
                return self.freeze(now, rail, desk);
            }
        };
        let order = Order { ticket, fence, task };
        self.note(TargetStep::Ordered { ticket, fence }, desk);
        let cause = self.cause(&purpose, desk);
        desk.out.push(TargetEffect::Record(Event::Ordered { order: order.clone(), cause }));
        desk.out.push(TargetEffect::Run { target: self.id.clone(), order: order.clone(), grant: None });
        let until = now.after(self.settings.run_limit);
        self.state.work = Work::Running(Running { order, grant: None, until, purpose, tries, ending: false });
        // What the policy was asked meanwhile is about what is being changed now.
        self.state.question = None;
    }

    /// What only holds or lets go on is let go of where it stands: something else is to be done.
    fn gives_way(&mut self, desk: &mut Desk<'_>) {
        let Work::Running(Running { order, purpose: Purpose::Pace(_), .. }) = &self.state.work else {
            return;
        };
        let (ticket, fence) = (order.ticket, order.fence);
        let why = "something else was to be done first".into();
        let outcome = Outcome::Failed { transience: Transience::Transient, why };
        desk.out.push(TargetEffect::Abandon { target: self.id.clone(), ticket, outcome: outcome.clone() });
        desk.out.push(TargetEffect::Record(Event::Ended { ticket, fence, outcome }));
        desk.setups.remove(&ticket);
        // Whoever else took the lock meanwhile keeps it.
        let _ = self.state.lock.release(fence);
        self.state.work = Work::Idle;
    }

    /// What a run is begun for: what a person wants, or what the policy said, or that what is out was sent back before.
    fn cause(&self, purpose: &Purpose, desk: &Desk<'_>) -> Cause {
        if let Some(who) = desk.by.clone() {
            return Cause::Operator { who };
        }
        if let Purpose::Pace(_) = purpose {
            return self.cause_of_pace();
        }
        let said = self.state.judged.as_ref().map(|judged| judged.decision.clone());
        let is_meant = |decision: &Decision| match (&decision.action, purpose) {
            (Action::RollBack { .. }, Purpose::Home { .. }) | (Action::Heal { .. }, Purpose::Mend) => true,
            (
                Action::Proceed
                | Action::Slow { .. }
                | Action::Heal { .. }
                | Action::RollBack { .. }
                | Action::Freeze
                | Action::Pause,
                Purpose::Home { .. } | Purpose::Mend | Purpose::Step { .. } | Purpose::Pace(_),
            ) => false,
        };
        said.filter(is_meant).map_or(Cause::IsCondemned, |decision| Cause::Policy { decision })
    }

    /// After a restart: the run goes on where the journal says that it stood.
    pub(crate) fn resume(&mut self, now: Mono, desk: &mut Desk<'_>) {
        self.state.question = None;
        // How it did before says nothing of now: nobody knows for how long nobody looked.
        self.state.judged = None;
        // A page may have been on its way when the process ended: better twice than never.
        if let Hold::Frozen { rail, .. } = &self.state.hold
            && !matches!(rail, Rail::Operator { .. })
        {
            let incident = self.state.incident.as_ref().map(|incident| incident.id);
            desk.out.push(TargetEffect::Page { target: self.id.clone(), incident, rail: rail.clone() });
        }
        let Work::Running(running) = &mut self.state.work else { return };
        let order = running.order.clone();
        if running.ending || running.until <= now {
            running.ending = false;
            return self.wake_work(now, desk);
        }
        let grant = running.grant;
        desk.out.push(TargetEffect::Run { target: self.id.clone(), order, grant });
    }

    /// It isn't watched any more: what is open is let go of. Where it comes back, what is left to do is begun anew.
    pub(crate) fn unwatched(&mut self, now: Mono, desk: &mut Desk<'_>) {
        self.unwants(desk);
        let Some(ticket) = self.state.work.ticket() else { return };
        let why = "the target is not watched any more".into();
        let outcome = Outcome::Failed { transience: Transience::Transient, why };
        desk.out.push(TargetEffect::Abandon { target: self.id.clone(), ticket, outcome: outcome.clone() });
        self.ended(now, ticket, outcome, desk);
    }

    /// An executor took the run; it alone goes on with it.
    pub(super) fn taken(
        &mut self,
        ticket: Ticket,
        grant: Digest,
        setup: Option<Digest>,
        desk: &mut Desk<'_>,
    ) {
        let Work::Running(running) = &mut self.state.work else { return };
        if running.order.ticket != ticket {
            return;
        }
        if running.grant.replace(grant) != Some(grant) {
            desk.out.push(TargetEffect::Record(Event::RunTaken { ticket, grant }));
        }
        if let Some(setup) = setup
            && desk.setups.insert(ticket, setup) != Some(setup)
        {
            self.note(TargetStep::SetUp { ticket, setup }, desk);
        }
    }

    pub(super) fn wake_work(&mut self, now: Mono, desk: &mut Desk<'_>) {
        match &mut self.state.work {
            Work::Running(running) if running.until <= now && !running.ending => {
                running.ending = true;
                let ticket = running.order.ticket;
                let why = alloc::format!("it took longer than {}", self.settings.run_limit);
                let outcome = Outcome::Failed { transience: Transience::Transient, why };
                desk.out.push(TargetEffect::Abandon { target: self.id.clone(), ticket, outcome });
            }
            Work::Waiting { task, purpose, tries, at } if *at <= now => {
                let (task, purpose, tries) = (task.clone(), purpose.clone(), tries.saturating_add(1));
                self.state.work = Work::Idle;
                if self.may_run(now).is_ok() {
                    self.begin(now, task, purpose, tries, desk);
                }
            }
            Work::Idle | Work::Running(_) | Work::Waiting { .. } => {}
        }
    }

    /// A run ended.
    pub(super) fn ended(&mut self, now: Mono, ticket: Ticket, outcome: Outcome, desk: &mut Desk<'_>) {
        if self.state.work.ticket() != Some(ticket) {
            return;
        }
        let Work::Running(running) = core::mem::take(&mut self.state.work) else { return };
        let Running { order, purpose, tries, .. } = running;
        desk.setups.remove(&ticket);
        // Whoever else took the lock meanwhile keeps it.
        let _ = self.state.lock.release(order.fence);
        desk.out.push(TargetEffect::Record(Event::Ended {
            ticket,
            fence: order.fence,
            outcome: outcome.clone(),
        }));
        match purpose {
            Purpose::Mend => self.mended(now, ticket, outcome, desk),
            // What is wanted of it by now was said by whoever wanted it, and is asked for again with the next answer.
            Purpose::Pace(pace) => return self.paced(now, ticket, pace, outcome, desk),
            Purpose::Step { step, begun } => self.stepped(now, (ticket, step, begun), outcome, desk),
            Purpose::Home { how, left, since } => {
                self.brought_in(ticket, desk);
                self.is_paced_anew();
                match outcome {
                    Outcome::Done => self.came_home(now, how, left, since, &order.task, desk),
                    failed @ Outcome::Failed { .. } => {
                        let purpose = Purpose::Home { how, left, since };
                        self.home_failed(now, (ticket, failed), (order.task, purpose, tries), desk);
                    }
                }
            }
        }
        self.paces(now, desk);
    }

    /// Whether it helped, windows tell. A try that failed is a try.
    fn mended(&mut self, now: Mono, ticket: Ticket, outcome: Outcome, desk: &mut Desk<'_>) {
        if let Outcome::Failed { .. } = outcome {
            self.note(TargetStep::RunFailed { ticket, outcome, again: None }, desk);
        }
        let until = self.state.ladder.tried(now, self.settings.backoff, desk.rng);
        self.remedied(Remedy::Mended);
        self.note(TargetStep::Waits { attempts: self.state.ladder.attempts(), until }, desk);
    }

    fn came_home(
        &mut self,
        now: Mono,
        how: How,
        left: Release,
        since: Mono,
        task: &Task,
        desk: &mut Desk<'_>,
    ) {
        let home = match task {
            Task::GoHome { release } => release.clone(),
            Task::Install { .. } | Task::Confirm { .. } | Task::Heal { .. } => unnamed(),
        };
        self.is_out_again(now, &home);
        self.state.judged = None;
        // What is being looked at this moment may be what was left.
        self.looks(desk);
        let took = now.since(since);
        self.note(TargetStep::CameHome { from: left, to: home, how, took }, desk);
        if how == How::SwitchAndFreeze {
            self.freeze(now, Rail::Switched, desk);
        }
    }

    fn home_failed(
        &mut self,
        now: Mono,
        (ticket, outcome): (Ticket, Outcome),
        (task, purpose, tries): (Task, Purpose, u32),
        desk: &mut Desk<'_>,
    ) {
        let transient = matches!(outcome, Outcome::Failed { transience: Transience::Transient, .. });
        let again =
            (transient && tries < TRIES_MAX).then(|| now.after(self.settings.backoff.wait(tries, desk.rng)));
        self.note(TargetStep::RunFailed { ticket, outcome: outcome.clone(), again }, desk);
        match again {
            Some(at) => self.state.work = Work::Waiting { task, purpose, tries, at },
            None => self.freeze(now, Rail::RunFailed { outcome }, desk),
        }
    }
}
