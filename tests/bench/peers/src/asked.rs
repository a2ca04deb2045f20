//! What a peer is asked: those of the facts that the tree reads, in the plainest shape that every language has.
//!
//! The guest of extism is built with this file, too, so it does without a standard library.

use alloc::{string::String, vec::Vec};

use backstay_sdk::policy;
use serde::{Deserialize, Serialize};

/// The facts that the tree reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub stage: i64,
    pub on_trial: bool,
    pub objectives: Vec<Objective>,
    /// 0 where nobody says so: the tree takes both alike.
    pub anomaly: i64,
    pub infra: Vec<Infra>,
    pub attempts: i64,
    /// Whether the release before can't live with the data as they are.
    pub one_way: bool,
}

/// A promise, and how it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    pub name: String,
    pub critical: bool,
    /// Whether it is the device's own, and not a dependency's.
    pub own: bool,
    pub candidate: Vec<Window>,
}

/// A window of an objective.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub opened: i64,
    pub samples: i64,
    pub bad: i64,
}

/// Trouble with the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Infra {
    pub kind: String,
    pub count: i64,
}

impl Asked {
    /// As the tree itself takes it.
    pub fn facts(&self) -> policy::Facts {
        let window = |window: &Window| policy::Window {
            opened: number(window.opened),
            span: 60_000,
            samples: number(window.samples),
            bad: number(window.bad),
        };
        let objective = |objective: &Objective| policy::Objective {
            name: objective.name.clone(),
            critical: objective.critical,
            scope: if objective.own { policy::Scope::Local } else { policy::Scope::Dependency },
            candidate: objective.candidate.iter().map(window).collect(),
            baseline: Vec::new(),
        };
        let infra = |infra: &Infra| policy::Infra {
            kind: match infra.kind.as_str() {
                "network" => policy::InfraKind::Network,
                "disk" => policy::InfraKind::Disk,
                _ => policy::InfraKind::ProcessExited,
            },
            count: number(infra.count),
        };
        policy::Facts {
            now: 0,
            release: policy::Release {
                version: String::new(),
                digest: String::new(),
                length: 0,
                security_epoch: 0,
            },
            stage: number(self.stage),
            on_trial: self.on_trial,
            objectives: self.objectives.iter().map(objective).collect(),
            anomaly: Some(number(self.anomaly)),
            infra: self.infra.iter().map(infra).collect(),
            attempts: number(self.attempts),
            breaker: policy::Breaker::Closed,
            schema: if self.one_way { policy::Schema::OneWay(1) } else { policy::Schema::Unknown },
        }
    }
}

/// A decision's action as one word, which all of them answer with.
pub fn word(action: &policy::Action) -> String {
    match action {
        policy::Action::Proceed => "proceed".into(),
        policy::Action::Slow(windows) => alloc::format!("slow {windows}"),
        policy::Action::Heal(None) => "heal".into(),
        policy::Action::Heal(Some(playbook)) => alloc::format!("heal {playbook}"),
        policy::Action::RollBack(policy::How::AbortCanary) => "abort-canary".into(),
        policy::Action::RollBack(policy::How::SwitchAndFreeze) => "switch-and-freeze".into(),
        policy::Action::Freeze => "freeze".into(),
        policy::Action::Pause => "pause".into(),
    }
}

/// Counts are small, and never below 0.
fn number<T: TryFrom<i64> + Default>(value: i64) -> T {
    T::try_from(value).unwrap_or_default()
}
