//! Dry runs: what an order would do, shown without doing it; and how a run that only looks is driven (`looking`).
//!
//! What only looks is done. What changes is shown, and the executor is told that it went well, so that it says what would come
//! next; what it looks at afterwards is as it was, so a dry run often ends where the executor waits for its change to show. Nothing
//! of it is written down, and no lock is taken. Not here: what an order would be (`core`).

use std::collections::VecDeque;

use backstay_api::{ApiError, DryRunView, Kind, Planned, PlannedEffect, Reply};
use backstay_core::{GateMove, GateWish, TargetWish};
use backstay_model::{
    Access, Action, Answer, Deed, Digest, Effect, Fence, How, Name, Order, Outcome, Output, Rail, TargetId,
    Task, Ticket,
};
use backstay_plugins::{Next, Run, Stuck};

use super::{
    super::{clock::Now, diary::Diary, judge::Ask, server::Server},
    Key, Todo, Whose,
    answering::{kept_back, no_target},
    looking::READINGS,
};

/// The most effects of a dry run. An executor that waits for its change to show looks again and again.
const EFFECTS_MAX: usize = 64;
/// The most dry runs at a time.
const DRY_MAX: usize = 16;

/// A run of which nothing that changes is done.
pub(super) struct Dry {
    target: TargetId,
    executor: (Name, Digest),
    run: Run,
    /// How many effects it has asked for.
    asked: usize,
    /// What was asked for and is to be looked at, by ordinal.
    open: Vec<(u32, String)>,
    of: Of,
}

/// Whose it is.
pub(super) enum Of {
    /// Of a person who waits for what is shown.
    Person {
        /// So far.
        shown: DryRunView,
        /// Whether anything would have been changed by now.
        changed: bool,
        /// Who waits.
        reply: Reply<DryRunView>,
    },
    /// The target's executor looks.
    Look {
        /// What it attached.
        readings: Option<Vec<u8>>,
    },
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// Begins a dry run; its asker is answered when it ends.
    pub(super) fn plan_dry(&mut self, now: Now, id: &TargetId, planned: Planned, reply: Reply<DryRunView>) {
        let refused = |reply: Reply<DryRunView>, error| drop(reply.send(Err(error)));
        let Some(target) = self.targets.estate.target(id) else { return refused(reply, no_target(id)) };
        let (wanted, wish) = match planned {
            Planned::Rollback => (Action::RollBack { how: How::AbortCanary }, TargetWish::RollBack),
            Planned::Heal(playbook) => {
                let wish = playbook.clone().map(TargetWish::Heal);
                (Action::Heal { playbook }, wish.unwrap_or(TargetWish::RollBack))
            }
            Planned::MigrateNext => return self.plan_step(now, id, GateWish::Next, reply),
            Planned::MigrateBack => return self.plan_step(now, id, GateWish::Back, reply),
            Planned::Contract => return self.plan_step(now, id, GateWish::Contract, reply),
        };
        if let Some(why) = target.heeds(&wish) {
            return refused(reply, ApiError::new(Kind::Refused, why));
        }
        let preview = self.targets.estate.preview(now.mono, id, &wanted);
        let (task, restrained) = match preview.unwrap_or(Err(Rail::Observed)) {
            Ok(task) => (task, None),
            Err(rail) => match self.targets.estate.task(now.mono, id, &wanted) {
                Some(task) => (task, Some(rail.to_string())),
                None => return refused(reply, ApiError::new(Kind::Refused, rail.to_string())),
            },
        };
        self.show_dry(now, id, task, restrained, reply);
    }

    /// A step of a migration. What the gate is asked for isn't ordered by it.
    fn plan_step(&mut self, now: Now, id: &TargetId, wish: GateWish, reply: Reply<DryRunView>) {
        let target = self.targets.estate.target(id);
        if let Some(why) = target.and_then(|target| target.heeds(&TargetWish::Migrate(wish))) {
            return drop(reply.send(Err(ApiError::new(Kind::Refused, why))));
        }
        let preview = self.targets.estate.preview_step(now.mono, id, wish);
        let step = match preview.unwrap_or(Err(Rail::NoPlaybook)) {
            Ok(GateMove::Run(step)) => step,
            Ok(GateMove::Stands(phase)) => {
                let end = format!("there is nothing to do: it is {phase} then");
                let task = format!("migration to {phase}");
                let shown = DryRunView { task, restrained: None, effects: Vec::new(), end };
                return drop(reply.send(Ok(shown)));
            }
            Err(rail) => return drop(reply.send(Err(kept_back(id, rail)))),
        };
        let playbook = Name::parse(step.playbook());
        let Ok(playbook) = playbook else { return };
        self.show_dry(now, id, Task::Heal { playbook }, None, reply);
    }

    fn show_dry(
        &mut self,
        now: Now,
        id: &TargetId,
        task: Task,
        restrained: Option<String>,
        reply: Reply<DryRunView>,
    ) {
        let refused = |reply: Reply<DryRunView>, error| drop(reply.send(Err(error)));
        let persons = self.targets.dry.values().filter(|dry| matches!(dry.of, Of::Person { .. })).count();
        if persons >= DRY_MAX {
            let what = format!("{DRY_MAX} dry runs are under way");
            return refused(reply, ApiError::new(Kind::Unavailable, what).help("ask again in a moment"));
        }
        let executor = match self.executor_of(id, None) {
            Ok(executor) => executor,
            Err(why) => return refused(reply, ApiError::new(Kind::Refused, why)),
        };
        let shown =
            DryRunView { task: task.to_string(), restrained, effects: Vec::new(), end: String::new() };
        self.begin_dry(now, id, executor, task, Of::Person { shown, changed: false, reply });
    }

    /// Begins a run of which nothing that changes is done.
    pub(super) fn begin_dry(
        &mut self,
        now: Now,
        target: &TargetId,
        executor: (Name, Digest),
        task: Task,
        of: Of,
    ) {
        let Some(chosen) = self.targets.chosen(target, &executor) else {
            let why = "its executor is not loaded any more".into();
            return self.ends_dry(now, 0, target, of, Err(why));
        };
        chosen.executor.at(now.mono);
        // No ticket is used up: an executor's answer doesn't hang on it.
        let order = Order { ticket: Ticket(0), fence: Fence(0), task };
        match Run::begin(&chosen, order) {
            Ok((run, next)) => {
                self.targets.dry_runs += 1;
                let number = self.targets.dry_runs;
                if let Of::Look { .. } = &of {
                    self.targets.looks.insert(target.clone(), number);
                }
                let dry = Dry { target: target.clone(), executor, run, asked: 0, open: Vec::new(), of };
                self.go_on_dry(now, number, dry, next);
            }
            Err(stuck) => self.ends_dry(now, 0, target, of, Err(told(&stuck))),
        }
    }

    /// What a dry run looked at.
    pub(super) fn dry_looked(&mut self, now: Now, number: u64, ordinal: u32, answer: Answer) {
        let Some(mut dry) = self.targets.dry.remove(&number) else { return };
        if let Some(at) = dry.open.iter().position(|(open, _)| *open == ordinal) {
            let (_, what) = dry.open.remove(at);
            dry.shows(what, false, came(&answer));
        }
        self.answer_dry(now, number, dry, ordinal, answer);
    }

    fn answer_dry(&mut self, now: Now, number: u64, mut dry: Dry, ordinal: u32, answer: Answer) {
        let Some(chosen) = self.targets.chosen(&dry.target, &dry.executor) else {
            let why = "its executor was taken back in the middle of it".into();
            return self.ends_dry(now, number, &dry.target, dry.of, Err(why));
        };
        chosen.executor.at(now.mono);
        match dry.run.answer(&chosen, ordinal, answer) {
            Ok(next) => self.go_on_dry(now, number, dry, next),
            Err(stuck) => self.ends_dry(now, number, &dry.target, dry.of, Err(told(&stuck))),
        }
    }

    fn go_on_dry(&mut self, now: Now, number: u64, mut dry: Dry, next: Next) {
        let effects = match next {
            Next::End(outcome) => return self.ends_dry(now, number, &dry.target, dry.of, Ok(outcome)),
            Next::Do(effects) => effects,
        };
        let mut assumed = VecDeque::new();
        for Effect { ordinal, access, deed } in effects {
            if dry.asked >= EFFECTS_MAX {
                let why = format!("it goes on; {EFFECTS_MAX} effects are shown");
                return self.ends_dry(now, number, &dry.target, dry.of, Err(why));
            }
            dry.asked += 1;
            let what = deed.to_string();
            if let (Of::Look { readings }, Deed::Attach { name, content }) = (&mut dry.of, &deed)
                && name.as_str() == READINGS
            {
                *readings = Some(content.clone());
            }
            let looks = access == Access::Looks || self.targets.only_asks(&deed);
            match (looks, &deed) {
                // Nobody waits for a change that isn't made.
                (_, Deed::Sleep { .. } | Deed::Attach { .. }) => assumed.push_back((ordinal, Answer::Done)),
                (true, _) => {
                    dry.open.push((ordinal, what));
                    let key = Key { whose: Whose::Dry(number), ordinal };
                    self.targets.todo.push_back(Todo::Effect { key, deed });
                }
                (false, _) if matches!(dry.of, Of::Look { .. }) => {
                    assumed.push_back((ordinal, Answer::Refused("a look changes nothing".into())));
                }
                (false, _) => {
                    let answer = goes_well(&deed);
                    dry.shows(what, true, format!("assumed: {}", came(&answer)));
                    assumed.push_back((ordinal, answer));
                }
            }
        }
        match assumed.pop_front() {
            Some((ordinal, answer)) => {
                // What is assumed at once comes one after the other, like everything that an executor hears.
                for (ordinal, answer) in assumed {
                    self.targets.assumed.push_back((number, ordinal, answer));
                }
                self.answer_dry(now, number, dry, ordinal, answer);
            }
            None => {
                self.targets.dry.insert(number, dry);
            }
        }
        while let Some((number, ordinal, answer)) = self.targets.assumed.pop_front() {
            if let Some(dry) = self.targets.dry.remove(&number) {
                self.answer_dry(now, number, dry, ordinal, answer);
            }
        }
    }
}

impl<D: Diary, P: Ask> Server<D, P> {
    /// It is over: by itself, or because it can't go on.
    fn ends_dry(&mut self, now: Now, number: u64, target: &TargetId, of: Of, end: Result<Outcome, String>) {
        self.targets.todo.push_back(Todo::LetGo(Whose::Dry(number)));
        match of {
            Of::Person { shown, changed, reply } => {
                let end = end.map_or_else(|why| why, |outcome| ended(&outcome, changed));
                // Whoever asked may have gone.
                let _ = reply.send(Ok(DryRunView { end, ..shown }));
            }
            Of::Look { readings } => self.look_ended(now, target, readings, end),
        }
    }
}

impl Dry {
    fn shows(&mut self, what: String, changes: bool, came: String) {
        if let Of::Person { shown, changed, .. } = &mut self.of {
            *changed |= changes;
            shown.effects.push(PlannedEffect { what, changes, came });
        }
    }
}

fn ended(outcome: &Outcome, changed: bool) -> String {
    match (outcome, changed) {
        (Outcome::Done, true) => "done".into(),
        (Outcome::Done, false) => "done: there is nothing to change".into(),
        (failed @ Outcome::Failed { .. }, true) => {
            format!("from here on it depends on what the changes do; without them: {failed}")
        }
        (failed @ Outcome::Failed { .. }, false) => failed.to_string(),
    }
}

/// What a change comes to if it works.
fn goes_well(deed: &Deed) -> Answer {
    match deed {
        Deed::Run { .. } => Answer::Exited { code: Some(0), output: Output::default() },
        Deed::Http { .. } => Answer::Response { status: 200, body: Output::default() },
        Deed::File { .. }
        | Deed::Slot(_)
        | Deed::Publish { .. }
        | Deed::Sleep { .. }
        | Deed::Attach { .. } => Answer::Done,
    }
}

/// An answer in a line.
fn came(answer: &Answer) -> String {
    let text = |output: &Output| {
        let text = String::from_utf8_lossy(&output.bytes);
        let line: String = text.lines().next().unwrap_or_default().chars().take(120).collect();
        if line.is_empty() { String::new() } else { format!(": {line}") }
    };
    match answer {
        Answer::Done => "done".into(),
        Answer::Exited { code: Some(code), output } => format!("exit code {code}{}", text(output)),
        Answer::Exited { code: None, output } => format!("ended by a signal{}", text(output)),
        Answer::Response { status, body } => format!("status {status}{}", text(body)),
        Answer::Content(output) => format!("{} bytes", output.bytes.len()),
        Answer::Slots(_) => "slots".into(),
        Answer::Failed(outcome) => outcome.to_string(),
        Answer::TimedOut => "timed out".into(),
        Answer::Refused(why) => format!("refused: {why}"),
        Answer::InDoubt => "in doubt".into(),
    }
}

fn told(stuck: &Stuck) -> String {
    format!("its executor can't go on: {}", stuck.error)
}
