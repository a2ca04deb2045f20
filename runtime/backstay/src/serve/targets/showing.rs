//! Targets and incidents as people see them.

use backstay_api::{
    ApiError, BreakerState, EventView, IncidentView, JudgedView, LastStep, MigrationView, OutView, TargetView,
};
use backstay_core::{Code, FlagState, GateMove, GateWish, Hold, Migration, Past, Target, Work};
use backstay_model::{Breaker, Event, IncidentId, Mono, Rail, TargetId, Ticket};

use super::{
    super::{clock::Now, diary::Diary, judge::Ask, server::Server},
    answering::no_target,
    target_event,
};

/// The most records of one incident that are shown.
const EVENTS_MAX: usize = 1000;
/// Records that are read in one go.
const CHUNK: usize = 1000;

impl<D: Diary, P: Ask> Server<D, P> {
    pub(super) fn target_views(&self, now: Now) -> Vec<TargetView> {
        self.targets.estate.targets().filter_map(|(id, target)| self.shown(now, id, target)).collect()
    }

    pub(super) fn target_view(&self, now: Now, id: &TargetId) -> Result<TargetView, ApiError> {
        let target = self.targets.estate.target(id);
        target.and_then(|target| self.shown(now, id, target)).ok_or_else(|| no_target(id))
    }

    fn shown(&self, now: Now, id: &TargetId, target: &Target) -> Option<TargetView> {
        let watch = self.targets.watches.get(id)?;
        let (state, settings) = (target.state(), target.settings());
        let age = |at: Mono| now.mono.since(at).0;
        let (breaker, breaker_ms) = match state.breaker().at(now.mono) {
            Breaker::Closed => (BreakerState::Closed, None),
            Breaker::HalfOpen => (BreakerState::HalfOpen, None),
            Breaker::Open { left } => (BreakerState::Open, Some(left.0)),
        };
        let run = match state.work() {
            Work::Idle => None,
            Work::Running(running) => Some(format!("run {}: {}", running.order.ticket, running.order.task)),
            Work::Waiting { task, at, tries, .. } => {
                let left = at.since(now.mono);
                Some(format!("{task} failed {tries} times, and is tried again in {left}"))
            }
        };
        Some(TargetView {
            service: id.clone(),
            mode: settings.mode,
            domain: settings.domain.clone(),
            policy: watch.watched.policy.clone(),
            executor: watch.watched.executor.clone(),
            out: state.out().map(|out| OutView {
                release: out.release.clone(),
                stage: out.stage,
                build: out.build.clone(),
                confirmed: out.confirmed,
                age_ms: age(out.since),
            }),
            good: state.good().iter().map(|good| good.release.clone()).collect(),
            quarantine: state.quarantine().to_vec(),
            hold: state.hold().rail().map(ToString::to_string),
            frozen: matches!(state.hold(), Hold::Frozen { .. }),
            breaker,
            breaker_ms,
            run,
            incident: state.incident().map(|incident| incident.id),
            judged: state.judged().map(|judged| JudgedView {
                action: judged.decision.action.to_string(),
                reasons: judged.decision.reasons.iter().map(|reason| reason.0.clone()).collect(),
                age_ms: age(judged.at),
            }),
            attempts: state.attempts(),
            missing: watch.missing.clone(),
            runbook: watch.watched.runbook.clone(),
            migration: self.migration(now, id),
        })
    }

    fn migration(&self, now: Now, id: &TargetId) -> Option<MigrationView> {
        let gate = self.targets.estate.gate(id)?;
        let Migration { from, to, release, .. } = gate.migration().clone();
        let next = self.targets.estate.preview_step(now.mono, id, GateWish::Next)?;
        let (hindrance, way_out) = match &next {
            Err(Rail::Migration { why, way_out }) => (Some(why.clone()), Some(way_out.clone())),
            Err(rail) => (Some(rail.to_string()), None),
            Ok(_) => (None, None),
        };
        let next = next.ok().map(|next| match next {
            GateMove::Run(step) => step.playbook().into(),
            GateMove::Stands(phase) => phase.to_string(),
        });
        let code = match gate.code() {
            Code::Unknown => "unknown",
            Code::Old => "old",
            Code::New => "new",
            Code::Both => "both",
        };
        let dual_write = match gate.flag() {
            FlagState::Unknown => "unknown",
            FlagState::On => "on",
            FlagState::Off => "off",
        };
        let migrating = self.targets.estate.migrations().get(id)?;
        let wanted = migrating.wanted.as_ref();
        let wanted = wanted.map(|wanted| format!("{}, by {}", wanted.step.playbook(), wanted.who));
        let last = migrating.last.map(|(step, done)| LastStep { step: step.playbook().into(), done });
        Some(MigrationView {
            from,
            to,
            release,
            phase: if gate.is_seen() { gate.phase().to_string() } else { "unknown".into() },
            step: gate.step().map(|step| step.playbook().into()),
            in_doubt: gate.is_in_doubt(),
            wanted,
            last,
            code: code.into(),
            dual_write: dual_write.into(),
            next,
            hindrance,
            way_out,
        })
    }

    /// Those that are remembered, newest first.
    pub(super) fn incident_views(&self, now: Now) -> Vec<IncidentView> {
        let mut views: Vec<IncidentView> = Vec::new();
        for (service, state) in self.targets.estate.states() {
            let runbook = self.targets.watches.get(service).and_then(|watch| watch.watched.runbook.clone());
            views.extend(state.incident().map(|incident| IncidentView {
                id: incident.id,
                service: service.clone(),
                why: incident.why.clone(),
                age_ms: now.mono.since(incident.opened).0,
                took_ms: None,
                end: None,
                left: incident.left().cloned(),
                label: incident.doubt,
                runbook: runbook.clone(),
            }));
            views.extend(state.past().iter().map(Past::clone).map(|past| IncidentView {
                id: past.id,
                service: service.clone(),
                why: past.why,
                age_ms: now.mono.since(past.opened).0,
                took_ms: Some(past.took.0),
                end: Some(past.end),
                left: past.left,
                label: past.label,
                runbook: runbook.clone(),
            }));
        }
        views.sort_by_key(|view| std::cmp::Reverse(view.id));
        views
    }

    pub(super) fn service_of(&self, id: IncidentId) -> Option<TargetId> {
        let mut states = self.targets.estate.states();
        let of = states.find(|(_, state)| {
            state.past().iter().any(|past| past.id == id)
                || state.incident().is_some_and(|incident| incident.id == id)
        });
        of.map(|(service, _)| service.clone())
    }

    /// What the journal has of an incident: its own records, and those of questions and runs that they name.
    pub(super) fn events_of(&self, id: IncidentId) -> Vec<EventView> {
        let (mut after, mut tickets, mut shown) = (0, Vec::<Ticket>::new(), Vec::new());
        loop {
            let entries = self.diary.after(after, CHUNK);
            let Some((last, _)) = entries.last() else { return shown };
            after = *last;
            for (seq, entry) in entries {
                let what = match target_event(&entry.event) {
                    Some(event) if event.incident == Some(id) => {
                        tickets.extend(event.step.ticket());
                        event.to_string()
                    }
                    Some(_) => continue,
                    None if ticket_of(&entry.event).is_some_and(|of| tickets.contains(&of)) => {
                        entry.event.to_string()
                    }
                    None => continue,
                };
                if shown.len() >= EVENTS_MAX {
                    return shown;
                }
                shown.push(EventView { seq, at_ms: entry.at.0, what });
            }
        }
    }
}

/// The question or the run that an event is about.
#[expect(clippy::wildcard_enum_match_arm, reason = "few of the many kinds of event have a ticket")]
fn ticket_of(event: &Event) -> Option<Ticket> {
    match event {
        Event::Asked { ticket, .. }
        | Event::Decided { ticket, .. }
        | Event::Unanswered { ticket, .. }
        | Event::Ended { ticket, .. }
        | Event::EffectBegan { ticket, .. }
        | Event::EffectEnded { ticket, .. }
        | Event::RunTaken { ticket, .. } => Some(*ticket),
        Event::Ordered { order, .. } => Some(order.ticket),
        _ => None,
    }
}
