//! What a policy proposes once it knows that something is wrong: to mend, to go back, or to hold still.
//!
//! Policies differ in how they find that a release is bad. What is done about it need not differ: how a release is left
//! depends on the stage and the data, and a machine in trouble is mended a few times before that counts as not helping.
//! Here: that, the three settings that it takes, and its words. Not here: any judgement of a release, and the rails,
//! which hold whatever a policy proposes.
//!
//! ```
//! use backstay_sdk::{
//!     policy::{Action, Breaker, Facts, How, Infra, InfraKind, Release, Schema},
//!     remedy::Remedy,
//! };
//!
//! let release = Release { version: "1.5.0".into(), digest: "ab".repeat(32), length: 1, security_epoch: 0 };
//! let infra = vec![Infra { kind: InfraKind::Disk, count: 2 }];
//! let mut facts = Facts {
//!     now: 0, release, stage: 100, on_trial: true, objectives: vec![], anomaly: None, infra, attempts: 0,
//!     breaker: Breaker::Closed, schema: Schema::Unknown,
//! };
//! let remedy = Remedy::read(&[]);
//! let decision = remedy.for_the_machine(&facts);
//! assert_eq!(decision.action, Action::Heal(None));
//! assert_eq!(decision.reasons, ["the machine is in trouble: disk 2 times; healed 0 of 3 times"]);
//! facts.attempts = 3;
//! assert_eq!(remedy.for_the_machine(&facts).action, Action::RollBack(How::AbortCanary));
//! ```

use alloc::{format, string::String, vec, vec::Vec};

use crate::{
    policy::{Action, Decision, Facts, How, InfraKind, Schema},
    settings::{Number, Problem, Setting, Text, is_name, problem},
};

/// The most reasons that a decision has.
pub const REASONS_MAX: usize = 8;

/// From which stage on going back is a switch.
pub const SWITCH_STAGE: Number = Number {
    name: "switch-stage-permille",
    default: 500,
    least: 0,
    most: 1000,
    help: "From this share of the traffic on, in permille, all of it is switched back at once and the target is \
           frozen. Below it, the canary is aborted.",
};
/// How often mending is tried.
pub const HEAL_ATTEMPTS: Number = Number {
    name: "heal-attempts",
    default: 3,
    least: 0,
    most: 20,
    help: "So many times is mending tried before it counts as not helping.",
};
/// What to mend with.
pub const PLAYBOOK: Text = Text {
    name: "playbook",
    default: "",
    help: "The playbook to mend with first. Empty: the runtime's ladder chooses.",
};

/// The three settings, read, and what follows from them.
#[derive(Clone, Copy, Debug)]
pub struct Remedy<'a> {
    switch_stage: u32,
    attempts: u32,
    playbook: &'a str,
}

impl<'a> Remedy<'a> {
    /// Reads [`SWITCH_STAGE`], [`HEAL_ATTEMPTS`] and [`PLAYBOOK`]. A policy that uses it describes these three.
    #[must_use]
    pub fn read(config: &'a [Setting]) -> Self {
        Self {
            switch_stage: SWITCH_STAGE.count(config),
            attempts: HEAL_ATTEMPTS.count(config),
            playbook: PLAYBOOK.of(config),
        }
    }

    /// What is wrong with the three, for `validate`.
    #[must_use]
    pub fn problem(config: &[Setting]) -> Option<Problem> {
        let playbook = PLAYBOOK.of(config);
        let why = "a playbook is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -";
        (!playbook.is_empty() && !is_name(playbook)).then(|| problem(PLAYBOOK.name, why))
    }

    /// How often mending is tried before it counts as not helping.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether mending may still help.
    #[must_use]
    pub const fn may_heal(&self, facts: &Facts) -> bool {
        facts.attempts < self.attempts
    }

    /// To mend what runs.
    #[must_use]
    pub fn heal(&self, reasons: Vec<String>) -> Decision {
        let playbook = (!self.playbook.is_empty()).then(|| self.playbook.into());
        Decision { action: Action::Heal(playbook), reasons }
    }

    /// Back, in the way that the stage asks for; unless the data can't go back.
    #[must_use]
    pub fn roll_back(&self, facts: &Facts, mut reasons: Vec<String>) -> Decision {
        let (stage, switch) = (u32::from(facts.stage), self.switch_stage);
        let (action, why) = match facts.schema {
            Schema::OneWay(version) => (
                Action::Pause,
                format!("the release before can't live with schema {version}: neither forward nor back"),
            ),
            Schema::Unknown | Schema::Compatible(_) if stage < switch => (
                Action::RollBack(How::AbortCanary),
                format!("stage {stage} of 1000 permille, below {switch}: the canary is aborted"),
            ),
            Schema::Unknown | Schema::Compatible(_) => (
                Action::RollBack(How::SwitchAndFreeze),
                format!(
                    "stage {stage} of 1000 permille, at least {switch}: all is switched to stable, and frozen"
                ),
            ),
        };
        reasons.truncate(REASONS_MAX - 1);
        reasons.push(why);
        Decision { action, reasons }
    }

    /// Nothing is known of the release, for these reasons, so nothing moves. A machine that is known to be in trouble is
    /// mended: that is data.
    #[must_use]
    pub fn without_data(&self, facts: &Facts, mut reasons: Vec<String>) -> Decision {
        reasons.truncate(REASONS_MAX - 1);
        if facts.infra.is_empty() || !self.may_heal(facts) {
            reasons.push("what is missing never moves anything".into());
            return Decision { action: Action::Freeze, reasons };
        }
        reasons.insert(0, self.trouble(facts));
        self.heal(reasons)
    }

    /// The machine is in trouble and nothing says that it is the code.
    #[must_use]
    pub fn for_the_machine(&self, facts: &Facts) -> Decision {
        let reasons = vec![self.trouble(facts)];
        if self.may_heal(facts) {
            return self.heal(reasons);
        }
        // A network that is gone is gone for everybody on it, and no release brings it back.
        if facts.infra.iter().all(|infra| infra.kind == InfraKind::Network) {
            return Decision { action: Action::Freeze, reasons };
        }
        self.roll_back(facts, reasons)
    }

    fn trouble(&self, facts: &Facts) -> String {
        let mut text = String::from("the machine is in trouble:");
        for (n, infra) in facts.infra.iter().enumerate() {
            let kind = match infra.kind {
                InfraKind::ProcessExited => "process exited",
                InfraKind::OutOfMemory => "out of memory",
                InfraKind::MachineLost => "machine lost",
                InfraKind::Disk => "disk",
                InfraKind::Network => "network",
            };
            let comma = if n == 0 { "" } else { "," };
            text.push_str(&format!("{comma} {kind} {} times", infra.count));
        }
        text.push_str(&format!("; healed {} of {} times", facts.attempts, self.attempts));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Breaker, Infra, Release},
        settings::Value,
    };

    fn facts(infra: &[InfraKind]) -> Facts {
        let release =
            Release { version: "1.5.0".into(), digest: "ab".repeat(32), length: 1, security_epoch: 0 };
        Facts {
            now: 0,
            release,
            stage: 1000,
            on_trial: true,
            objectives: vec![],
            anomaly: None,
            infra: infra.iter().map(|&kind| Infra { kind, count: 1 }).collect(),
            attempts: 0,
            breaker: Breaker::Closed,
            schema: Schema::Compatible(7),
        }
    }

    fn why(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("reason {number}")).collect()
    }

    #[test]
    fn the_way_back_is_the_one_that_stage_and_data_leave_open() {
        let remedy = Remedy::read(&[]);
        for (stage, schema, action) in [
            (499, Schema::Unknown, Action::RollBack(How::AbortCanary)),
            (500, Schema::Compatible(7), Action::RollBack(How::SwitchAndFreeze)),
            (499, Schema::OneWay(8), Action::Pause),
            (1000, Schema::OneWay(8), Action::Pause),
        ] {
            let decision = remedy.roll_back(&Facts { stage, schema, ..facts(&[]) }, why(12));
            assert_eq!((decision.action, decision.reasons.len()), (action, REASONS_MAX));
        }
    }

    #[test]
    fn without_data_a_machine_in_trouble_is_mended_and_nothing_else_moves() {
        let playbook = Setting { name: "playbook".into(), value: Value::Text("restart".into()) };
        let config = [playbook];
        let remedy = Remedy::read(&config);
        let decision = remedy.without_data(&facts(&[InfraKind::Disk]), why(12));
        assert_eq!(
            (decision.action, decision.reasons.len()),
            (Action::Heal(Some("restart".into())), REASONS_MAX)
        );
        for facts in [facts(&[]), Facts { attempts: 3, ..facts(&[InfraKind::Disk]) }] {
            let decision = remedy.without_data(&facts, why(12));
            assert_eq!((decision.action, decision.reasons.len()), (Action::Freeze, REASONS_MAX));
        }
    }

    #[test]
    fn no_release_brings_a_network_back() {
        let remedy = Remedy::read(&[]);
        let spent = |infra: &[InfraKind]| Facts { attempts: 3, ..facts(infra) };
        let gone = remedy.for_the_machine(&spent(&[InfraKind::Network]));
        assert_eq!(gone.action, Action::Freeze);
        let more = remedy.for_the_machine(&spent(&[InfraKind::Network, InfraKind::Disk]));
        assert_eq!(more.action, Action::RollBack(How::SwitchAndFreeze));
        let why = "the machine is in trouble: network 1 times, disk 1 times; healed 3 of 3 times";
        assert_eq!(more.reasons.first().map(String::as_str), Some(why));
    }

    #[test]
    fn a_playbook_has_a_name() {
        let playbook = |text: &str| [Setting { name: "playbook".into(), value: Value::Text(text.into()) }];
        assert_eq!((Remedy::problem(&[]), Remedy::problem(&playbook("restart-2"))), (None, None));
        assert!(Remedy::problem(&playbook("rm -rf /")).is_some());
    }
}
