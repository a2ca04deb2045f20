//! Runs of targets: the executor that takes one, its steps, and the effects that it asks for.
//!
//! What came of an effect, what the executor makes of it and what begins next are written down in one go: an executor remembers
//! nothing by itself, so it may hear first. Nothing begins before the record that explains it is durable. Not here: which run there is, and what its end means (`core`).

use backstay_core::TargetInput;
use backstay_host::CallError;
use backstay_memory::Step;
use backstay_model::{
    Access, Answer, Came, Digest, Effect, Event, Name, Order, Outcome, Reason, TargetId, Ticket, Transience,
};
use backstay_plugins::{Next, Run, Stuck, trace};

use super::{
    super::{clock::Now, diary::Diary, judge::Ask, server::Server},
    Key, Open, Todo, Whose,
};

impl<D: Diary, P: Ask> Server<D, P> {
    /// Finds the executor of a run, and begins it, or goes on with it where the journal knows it.
    pub(super) fn take_run(&mut self, now: Now, target: TargetId, order: Order, grant: Option<Digest>) {
        let ticket = order.ticket;
        // What couldn't be written down isn't begun: after a crash nobody would know of it.
        if !self.is_durable() {
            let why = "nothing can be written down, so nothing is begun".into();
            return self.end_run(now, &target, ticket, transient(why), Vec::new());
        }
        let executor = match self.executor_of(&target, grant) {
            Ok(found) => found,
            Err(why) => return self.end_run(now, &target, ticket, transient(why), Vec::new()),
        };
        let chosen = self.targets.chosen(&target, &executor);
        let setup = chosen.and_then(|chosen| chosen.equipped().map(trace::setup));
        let before = self.targets.estate.setups().get(&ticket);
        // It would go on from what it found out about what may have been another object.
        if before.is_some_and(|before| setup != Some(*before)) {
            let why = "its executor was set up in another way in the middle of it".into();
            return self.end_run(now, &target, ticket, transient(why), Vec::new());
        }
        self.equips(now, &target, &executor);
        self.give(now, &target, TargetInput::Taken { ticket, grant: executor.1, setup });
        let steps = self.diary.steps(ticket);
        let doubts = Step::in_doubt(&steps);
        let doubts: Vec<Event> =
            doubts.into_iter().map(|ordinal| Step::ended(ticket, ordinal, &Answer::InDoubt)).collect();
        self.record(now, &doubts);
        let answers = Step::answers(&self.diary.steps(ticket));
        let Some(chosen) = self.targets.chosen(&target, &executor) else { return };
        chosen.executor.at(now.mono);
        let equipped = chosen.equipped().cloned();
        match Run::resume(&chosen, order, answers) {
            Ok((run, next)) => {
                let came = run.came();
                self.targets.runs.insert(ticket, Open { target, executor, equipped, run });
                self.go_on(now, ticket, came, next, Vec::new());
            }
            Err(stuck) => self.stuck(now, &target, ticket, &executor, &stuck, Vec::new()),
        }
    }

    /// Writes down how an executor is set up for a target, where it was set up in another way for the run before.
    fn equips(&mut self, now: Now, target: &TargetId, executor: &(Name, Digest)) {
        let equipped = self.targets.chosen(target, executor).and_then(|chosen| chosen.equipped().cloned());
        if let Some(equipped) = equipped
            && self.targets.equipped.get(&executor.1) != Some(&equipped)
        {
            self.record(now, &[Event::Equipped(equipped.clone())]);
            self.targets.equipped.insert(executor.1, equipped);
        }
    }

    /// The executor that began a run, or else the newest that may be asked.
    pub(super) fn executor_of(
        &self,
        target: &TargetId,
        grant: Option<Digest>,
    ) -> Result<(Name, Digest), String> {
        let watch = self.targets.watches.get(target).ok_or_else(|| format!("{target} is not watched"))?;
        let name = watch.watched.executor.clone();
        let name = name.ok_or_else(|| format!("no executor is configured for {target}"))?;
        let all = self.targets.executors.get(&name).ok_or_else(|| format!("no executor {name} is loaded"))?;
        let grants: Vec<Digest> = all.iter().map(|executor| *executor.grant()).collect();
        let chosen = match &grant {
            None => self.targets.out.choose(&grants),
            Some(grant) => grants.iter().find(|of| *of == grant && !self.targets.out.is_out(of)),
        };
        match (chosen, grant) {
            (Some(chosen), _) => Ok((name, *chosen)),
            (None, Some(grant)) => {
                Err(format!("the executor that began it (grant {}) may not be asked any more", grant.short()))
            }
            (None, None) => Err(format!("every executor of {name} is in quarantine or revoked")),
        }
    }

    /// Writes down what led to an executor's step, what came of it and that its effects begin, and begins them.
    fn go_on(&mut self, now: Now, ticket: Ticket, came: Came, next: Next, mut events: Vec<Event>) {
        let Some(open) = self.targets.runs.get(&ticket) else { return self.record(now, &events) };
        let (target, grant) = (open.target.clone(), open.executor.1);
        events.push(Event::Stepped { ticket, grant, came });
        match next {
            Next::End(outcome) => self.end_run(now, &target, ticket, outcome, events),
            Next::Do(effects) => {
                events.extend(effects.iter().map(|Effect { ordinal, access, deed }| {
                    let (what, changes) = (Reason::new(deed.to_string()).0, *access == Access::Changes);
                    Event::EffectBegan { ticket, ordinal: *ordinal, what, changes }
                }));
                self.record(now, &events);
                if !self.is_durable() && effects.iter().any(|effect| effect.access == Access::Changes) {
                    let why = "nothing can be written down, so nothing more is changed".into();
                    return self.end_run(now, &target, ticket, transient(why), Vec::new());
                }
                for Effect { ordinal, deed, .. } in effects {
                    let key = Key { whose: Whose::Run(ticket), ordinal };
                    self.targets.todo.push_back(Todo::Effect { key, deed });
                }
            }
        }
    }

    fn stuck(
        &mut self,
        now: Now,
        target: &TargetId,
        ticket: Ticket,
        executor: &(Name, Digest),
        stuck: &Stuck,
        mut events: Vec<Event>,
    ) {
        let grant = executor.1;
        events.push(Event::Stepped { ticket, grant, came: stuck.came() });
        let plugin = self.targets.executor(executor).map(|executor| executor.id().clone());
        if let (CallError::Strike(strike), Some(plugin)) = (&stuck.error, plugin) {
            let why = Reason::new(strike.to_string()).0;
            let strikes = self.targets.out.strike(now.mono, grant);
            events.extend(strikes.map(|strikes| Event::Quarantined { plugin, grant, strikes, why }));
        }
        self.end_run(now, target, ticket, stuck.outcome(), events);
    }

    /// A run has ended, and these events led to it. Effects of it that are under way lead nowhere.
    fn end_run(&mut self, now: Now, target: &TargetId, ticket: Ticket, outcome: Outcome, events: Vec<Event>) {
        self.targets.runs.remove(&ticket);
        self.targets.todo.push_back(Todo::LetGo(Whose::Run(ticket)));
        self.give_after(now, target, events, TargetInput::Ended { ticket, outcome });
    }

    /// An effect of a run has ended.
    pub(in super::super) fn effect_ended(&mut self, now: Now, Key { whose, ordinal }: Key, answer: Answer) {
        let ticket = match whose {
            Whose::Run(ticket) => ticket,
            Whose::Dry(dry) => return self.dry_looked(now, dry, ordinal, answer),
        };
        // What comes of an effect of a run that was let go of leads nowhere.
        let Some(open) = self.targets.runs.get(&ticket) else { return };
        let (target, executor) = (open.target.clone(), open.executor.clone());
        let _about = self.about(&target).entered();
        let events = vec![Step::ended(ticket, ordinal, &answer)];
        // Taken out while its executor is asked: both are parts of one thing.
        let Some(mut open) = self.targets.runs.remove(&ticket) else { return };
        let Some(chosen) = self.targets.chosen(&target, &executor) else {
            let why = "its executor was taken back in the middle of it".into();
            return self.end_run(now, &target, ticket, transient(why), events);
        };
        // What it found out so far may be about another object than what it would change now.
        if chosen.equipped() != open.equipped.as_ref() {
            let why = "its executor was set up in another way in the middle of it".into();
            return self.end_run(now, &target, ticket, transient(why), events);
        }
        chosen.executor.at(now.mono);
        let answered = open.run.answer(&chosen, ordinal, answer);
        let came = open.run.came();
        self.targets.runs.insert(ticket, open);
        match answered {
            Ok(next) => self.go_on(now, ticket, came, next, events),
            Err(stuck) => self.stuck(now, &target, ticket, &executor, &stuck, events),
        }
    }
}

fn transient(why: String) -> Outcome {
    Outcome::Failed { transience: Transience::Transient, why: Reason::new(why).0 }
}
