//! From an input of a target to everything that follows: what is written down, who is asked, which run begins.
//!
//! One commit holds all records of a step, and is durable before anything else of it. Not here: what follows (`core`).

use std::collections::VecDeque;

use backstay_api::PageBody;
use backstay_core::{Reply, TargetEffect, TargetInput};
use backstay_model::{Event, Facts, IncidentId, Rail, TargetId, Ticket};
use backstay_plugins::Consulted;

use super::{
    super::{clock::Now, diary::Diary, judge::Ask, server::Server},
    Todo, Whose, told,
};

impl<D: Diary, P: Ask> Server<D, P> {
    /// Gives a target an input, and does what it wants done, in order.
    pub(in super::super) fn give(&mut self, now: Now, id: &TargetId, input: TargetInput) {
        self.give_after(now, id, Vec::new(), input);
    }

    /// The same, with events that led to it: they are written down with what follows.
    pub(super) fn give_after(&mut self, now: Now, id: &TargetId, before: Vec<Event>, input: TargetInput) {
        let effects = self.targets.estate.step(now.mono, id, input);
        let _about = self.about(id).entered();
        self.follow_after(now, before, effects);
    }

    /// What is told inside is about this target, and the incident that is open there.
    pub(super) fn about(&self, id: &TargetId) -> tracing::Span {
        let incident = self.targets.estate.target(id).and_then(|target| target.state().incident());
        match incident {
            Some(incident) => tracing::info_span!("target", target = %id, incident = incident.id.0),
            None => tracing::info_span!("target", target = %id),
        }
    }

    /// Does what targets want done, in order.
    pub(in super::super) fn follow_targets(&mut self, now: Now, effects: Vec<TargetEffect>) {
        self.follow_after(now, Vec::new(), effects);
    }

    fn follow_after(&mut self, now: Now, mut before: Vec<Event>, effects: Vec<TargetEffect>) {
        let mut steps = VecDeque::from([(effects, None::<(Ticket, Consulted)>)]);
        while let Some((effects, consulted)) = steps.pop_front() {
            let mut events = std::mem::take(&mut before);
            events.extend(effects.iter().filter_map(recorded));
            // With an answer goes the call that it came from, so that it can be made again.
            let call = consulted.filter(|(ticket, _)| events.iter().any(|event| event.answers(*ticket)));
            events.extend(call.map(|(ticket, consulted)| consulted.about(ticket)));
            self.targets.figures.count(now.mono, &effects);
            self.record(now, &events);
            for effect in effects {
                match effect {
                    TargetEffect::Record(_) | TargetEffect::Note(_) => {}
                    TargetEffect::Ask { target, ticket, facts } => {
                        let (reply, consulted) = self.consult(now, &target, &facts);
                        let input = TargetInput::Policy { ticket, reply };
                        let effects = self.targets.estate.step(now.mono, &target, input);
                        steps.push_back((effects, consulted.map(|consulted| (ticket, consulted))));
                    }
                    TargetEffect::Run { target, order, grant } => self.take_run(now, target, order, grant),
                    TargetEffect::Abandon { target, ticket, outcome } => {
                        self.targets.runs.remove(&ticket);
                        self.targets.todo.push_back(Todo::LetGo(Whose::Run(ticket)));
                        let input = TargetInput::Ended { ticket, outcome };
                        steps.push_back((self.targets.estate.step(now.mono, &target, input), None));
                    }
                    TargetEffect::Look { target } => self.look_anew(now, &target),
                    TargetEffect::Page { target, incident, rail } => self.page(&target, incident, &rail),
                }
            }
        }
    }

    /// Asks the target's policy. What was decided before is what it remembers of this target alone.
    fn consult(&mut self, now: Now, id: &TargetId, facts: &Facts) -> (Reply, Option<Consulted>) {
        let nobody = |why: String| (Reply::Unanswered { why }, None);
        let Some(watch) = self.targets.watches.get(id) else { return nobody(format!("{id} is not watched")) };
        let name = watch.watched.policy.clone();
        let Some(policies) = self.targets.policies.get_mut(&name) else {
            return nobody(format!("no policy {name} is loaded"));
        };
        let memos = policies.memos.remove(id).unwrap_or_default();
        policies.judge.exchange(memos);
        let asked = policies.judge.ask(now.mono, facts, &mut policies.confidence);
        let consulted = policies.judge.consulted();
        let memos = policies.judge.exchange(backstay_plugins::Memos::default());
        policies.memos.insert(id.clone(), memos);
        self.record(now, &asked.events);
        match asked.answer {
            Ok(decision) => (Reply::Decided(decision), consulted),
            Err(why) => (Reply::Unanswered { why }, consulted),
        }
    }

    fn page(&mut self, id: &TargetId, incident: Option<IncidentId>, rail: &Rail) {
        let runbook = self.targets.watches.get(id).and_then(|watch| watch.watched.runbook.clone());
        let body = PageBody {
            schema: PageBody::SCHEMA,
            fleet: self.director.fleet().to_string(),
            service: id.clone(),
            incident: incident.map(|incident| incident.0),
            why: rail.to_string(),
            runbook,
            evidence: incident.map(|incident| format!("/v1/incidents/{incident}")),
        };
        self.targets.todo.push_back(Todo::Page(body));
    }
}

fn recorded(effect: &TargetEffect) -> Option<Event> {
    match effect {
        TargetEffect::Record(event) => Some(event.clone()),
        TargetEffect::Note(event) => Some(told::recorded(event)),
        TargetEffect::Ask { .. }
        | TargetEffect::Run { .. }
        | TargetEffect::Abandon { .. }
        | TargetEffect::Look { .. }
        | TargetEffect::Page { .. } => None,
    }
}
