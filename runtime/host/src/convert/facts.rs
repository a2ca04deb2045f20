//! Facts in, decisions out.

use backstay_model::{
    Action, Breaker, Decision, Facts, How, InfraKind, Objective, Reason, Schema, Scope, WINDOWS_MAX,
};

use super::{Bad, at_most, bound, name, release_in, text};
use crate::{
    CallError, Decided,
    bindings::{decisions, facts as wit},
};

const OBJECTIVES_MAX: usize = 32;
const INFRA_MAX: usize = 16;
const REASONS_MAX: usize = 8;
const SLOW_WINDOWS_MAX: u32 = 100;

pub(crate) fn facts(facts: &Facts) -> Result<wit::Facts, CallError> {
    at_most("objectives", facts.objectives.len(), OBJECTIVES_MAX)?;
    at_most("kinds of trouble", facts.infra.len(), INFRA_MAX)?;
    let infra = facts.infra.iter().map(|infra| wit::Infra {
        kind: match infra.kind {
            InfraKind::ProcessExited => wit::InfraKind::ProcessExited,
            InfraKind::OutOfMemory => wit::InfraKind::OutOfMemory,
            InfraKind::MachineLost => wit::InfraKind::MachineLost,
            InfraKind::Disk => wit::InfraKind::Disk,
            InfraKind::Network => wit::InfraKind::Network,
        },
        count: infra.count,
    });
    Ok(wit::Facts {
        now: facts.now.0,
        release: release_in(&facts.release),
        stage: facts.stage.get(),
        on_trial: facts.on_trial,
        objectives: facts.objectives.iter().map(objective).collect::<Result<_, _>>()?,
        anomaly: facts.anomaly.map(|score| score.get()),
        infra: infra.collect(),
        attempts: facts.attempts,
        breaker: match facts.breaker {
            Breaker::Closed => wit::Breaker::Closed,
            Breaker::Open { left } => wit::Breaker::Open(left.0),
            Breaker::HalfOpen => wit::Breaker::HalfOpen,
        },
        schema: match facts.schema {
            Schema::Unknown => wit::Schema::Unknown,
            Schema::Compatible(version) => wit::Schema::Compatible(version),
            Schema::OneWay(version) => wit::Schema::OneWay(version),
        },
    })
}

fn objective(objective: &Objective) -> Result<wit::Objective, CallError> {
    let windows = |windows: &[backstay_model::Window]| {
        at_most("windows of an objective", windows.len(), WINDOWS_MAX)?;
        let window = |window: &backstay_model::Window| wit::Window {
            opened: window.opened.0,
            span: window.span.0,
            samples: window.samples,
            bad: window.bad.min(window.samples),
        };
        Ok(windows.iter().map(window).collect())
    };
    Ok(wit::Objective {
        name: objective.name.to_string(),
        critical: objective.critical,
        scope: match objective.scope {
            Scope::Local => wit::Scope::Local,
            Scope::Dependency => wit::Scope::Dependency,
        },
        candidate: windows(&objective.candidate)?,
        baseline: windows(&objective.baseline)?,
    })
}

pub(crate) fn decided(decided: decisions::Decided, memo_bytes_max: usize) -> Result<Decided, Bad> {
    let decisions::Decided { decision: decisions::Decision { action, reasons }, memo } = decided;
    bound("bytes of memo", memo.len(), memo_bytes_max)?;
    bound("reasons", reasons.len(), REASONS_MAX)?;
    if reasons.is_empty() {
        return Err(Bad("a decision without a reason".into()));
    }
    let action = match action {
        decisions::Action::Proceed => Action::Proceed,
        decisions::Action::Slow(windows @ 1..=SLOW_WINDOWS_MAX) => Action::Slow { windows },
        decisions::Action::Slow(windows) => {
            return Err(Bad(format!(
                "to slow down for {windows} windows, 1 to {SLOW_WINDOWS_MAX} are allowed"
            )));
        }
        decisions::Action::Heal(playbook) => {
            Action::Heal { playbook: playbook.as_deref().map(name).transpose()? }
        }
        decisions::Action::RollBack(decisions::How::AbortCanary) => {
            Action::RollBack { how: How::AbortCanary }
        }
        decisions::Action::RollBack(decisions::How::SwitchAndFreeze) => {
            Action::RollBack { how: How::SwitchAndFreeze }
        }
        decisions::Action::Freeze => Action::Freeze,
        decisions::Action::Pause => Action::Pause,
    };
    let reasons = reasons.iter().map(|reason| Reason::new(text(reason, Reason::BYTES_MAX))).collect();
    Ok(Decided { decision: Decision { action, reasons }, memo })
}
