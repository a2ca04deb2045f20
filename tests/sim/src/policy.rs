//! The policy that ships, run natively: the runtime's words into the contract's, and the answer back.

use backstay_model as model;
use backstay_sdk::policy::{self as sdk, Policy as _};

/// What `policy-tree` says with nothing configured.
pub(crate) fn decide(facts: &model::Facts) -> model::Decision {
    let decided = policy_tree::Tree::decide(&[], &facts_of(facts), &[]).expect("the tree answers always");
    let reasons = decided.decision.reasons.into_iter().map(model::Reason::new).collect();
    model::Decision { action: action(decided.decision.action), reasons }
}

fn facts_of(facts: &model::Facts) -> sdk::Facts {
    sdk::Facts {
        now: facts.now.0,
        release: sdk::Release {
            version: facts.release.version.as_str().into(),
            // The tree doesn't look at it, and hexadecimal digits are half of the cost of a call.
            digest: String::new(),
            length: facts.release.length,
            security_epoch: facts.release.security_epoch,
        },
        stage: facts.stage.get(),
        on_trial: facts.on_trial,
        objectives: facts.objectives.iter().map(objective).collect(),
        anomaly: facts.anomaly.map(model::Permille::get),
        infra: facts.infra.iter().map(infra).collect(),
        attempts: facts.attempts,
        breaker: match facts.breaker {
            model::Breaker::Closed => sdk::Breaker::Closed,
            model::Breaker::Open { left } => sdk::Breaker::Open(left.0),
            model::Breaker::HalfOpen => sdk::Breaker::HalfOpen,
        },
        schema: match facts.schema {
            model::Schema::Unknown => sdk::Schema::Unknown,
            model::Schema::Compatible(version) => sdk::Schema::Compatible(version),
            model::Schema::OneWay(version) => sdk::Schema::OneWay(version),
        },
    }
}

fn objective(objective: &model::Objective) -> sdk::Objective {
    let windows = |windows: &[model::Window]| {
        let window = |w: &model::Window| sdk::Window {
            opened: w.opened.0,
            span: w.span.0,
            samples: w.samples,
            bad: w.bad,
        };
        windows.iter().map(window).collect()
    };
    sdk::Objective {
        name: objective.name.as_str().into(),
        critical: objective.critical,
        scope: match objective.scope {
            model::Scope::Local => sdk::Scope::Local,
            model::Scope::Dependency => sdk::Scope::Dependency,
        },
        candidate: windows(&objective.candidate),
        baseline: windows(&objective.baseline),
    }
}

fn infra(infra: &model::Infra) -> sdk::Infra {
    let kind = match infra.kind {
        model::InfraKind::ProcessExited => sdk::InfraKind::ProcessExited,
        model::InfraKind::OutOfMemory => sdk::InfraKind::OutOfMemory,
        model::InfraKind::MachineLost => sdk::InfraKind::MachineLost,
        model::InfraKind::Disk => sdk::InfraKind::Disk,
        model::InfraKind::Network => sdk::InfraKind::Network,
    };
    sdk::Infra { kind, count: infra.count }
}

fn action(action: sdk::Action) -> model::Action {
    match action {
        sdk::Action::Proceed => model::Action::Proceed,
        sdk::Action::Slow(windows) => model::Action::Slow { windows },
        sdk::Action::Heal(playbook) => model::Action::Heal {
            playbook: playbook.map(|name| model::Name::parse(&name).expect("the plugin checks its settings")),
        },
        sdk::Action::RollBack(sdk::How::AbortCanary) => {
            model::Action::RollBack { how: model::How::AbortCanary }
        }
        sdk::Action::RollBack(sdk::How::SwitchAndFreeze) => {
            model::Action::RollBack { how: model::How::SwitchAndFreeze }
        }
        sdk::Action::Freeze => model::Action::Freeze,
        sdk::Action::Pause => model::Action::Pause,
    }
}
