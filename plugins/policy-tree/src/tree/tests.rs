//! The tree, leaf by leaf, as a table: what is seen, and what is decided.

use backstay_sdk::{
    policy::{Breaker, How, Infra, InfraKind, Policy, Release, Schema, Window},
    settings::{Setting, Value},
};

use super::*;
use crate::Tree;

const GOOD: (u32, u32) = (10, 0);
const BAD: (u32, u32) = (10, 5);
const NONE: (u32, u32) = (0, 0);

const ABORT: Action = Action::RollBack(How::AbortCanary);
const SWITCH: Action = Action::RollBack(How::SwitchAndFreeze);
const HEAL: Action = Action::Heal(None);

/// A device on trial that is all well.
fn facts() -> Facts {
    Facts {
        now: 600_000,
        release: Release { version: "1.5.0".into(), digest: "5a".repeat(32), length: 1, security_epoch: 0 },
        stage: 1000,
        on_trial: true,
        objectives: vec![],
        anomaly: None,
        infra: vec![],
        attempts: 0,
        breaker: Breaker::Closed,
        schema: Schema::Unknown,
    }
}

trait Telling {
    fn objective(self, critical: bool, scope: Scope, windows: &[(u32, u32)]) -> Self;
    fn local(self, windows: &[(u32, u32)]) -> Self;
    fn dependency(self, windows: &[(u32, u32)]) -> Self;
    fn minor(self, windows: &[(u32, u32)]) -> Self;
    fn stage(self, permille: u16) -> Self;
    fn confirmed(self) -> Self;
    fn anomaly(self, permille: u16) -> Self;
    fn infra(self, kind: InfraKind) -> Self;
    fn attempts(self, attempts: u32) -> Self;
    fn one_way(self) -> Self;
}

impl Telling for Facts {
    fn objective(mut self, critical: bool, scope: Scope, windows: &[(u32, u32)]) -> Self {
        let name = format!("objective-{}", self.objectives.len());
        let window =
            |(n, &(samples, bad)): (u64, _)| Window { opened: n * 60_000, span: 60_000, samples, bad };
        let candidate = (0..).zip(windows).map(window).collect();
        self.objectives.push(Objective { name, critical, scope, candidate, baseline: vec![] });
        self
    }
    fn local(self, windows: &[(u32, u32)]) -> Self {
        self.objective(true, Scope::Local, windows)
    }
    fn dependency(self, windows: &[(u32, u32)]) -> Self {
        self.objective(true, Scope::Dependency, windows)
    }
    fn minor(self, windows: &[(u32, u32)]) -> Self {
        self.objective(false, Scope::Local, windows)
    }
    fn stage(self, stage: u16) -> Self {
        Self { stage, ..self }
    }
    fn confirmed(self) -> Self {
        Self { on_trial: false, ..self }
    }
    fn anomaly(self, permille: u16) -> Self {
        Self { anomaly: Some(permille), ..self }
    }
    fn infra(mut self, kind: InfraKind) -> Self {
        self.infra.push(Infra { kind, count: 2 });
        self
    }
    fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }
    fn one_way(self) -> Self {
        Self { schema: Schema::OneWay(8), ..self }
    }
}

fn decide(config: &[Setting], facts: &Facts) -> Decision {
    Tree::decide(config, facts, &[]).unwrap().decision
}

#[test]
fn every_leaf_of_the_tree() {
    use InfraKind::{Disk, MachineLost, Network, OutOfMemory, ProcessExited};
    let table = [
        ("all is well", facts().local(&[GOOD, GOOD]), Action::Proceed),
        (
            "all is well for long",
            facts().local(&[GOOD; 16]).dependency(&[GOOD; 16]).confirmed(),
            Action::Proceed,
        ),
        ("it was bad once and is well again", facts().local(&[BAD, BAD, GOOD]), Action::Proceed),
        // A critical breach in two consecutive windows.
        ("broken twice, small stage", facts().local(&[BAD, BAD]).stage(100), ABORT),
        ("broken twice, just below half", facts().local(&[BAD, BAD]).stage(499), ABORT),
        ("broken twice, at half", facts().local(&[BAD, BAD]).stage(500), SWITCH),
        ("broken twice, everywhere", facts().local(&[GOOD, BAD, BAD]), SWITCH),
        ("broken twice, confirmed", facts().local(&[BAD, BAD]).confirmed(), SWITCH),
        ("broken for long", facts().local(&[BAD; 16]), SWITCH),
        ("one of several is broken", facts().local(&[GOOD; 3]).local(&[BAD; 3]), SWITCH),
        ("broken, and another has no data", facts().local(&[BAD, BAD]).local(&[GOOD, NONE]), SWITCH),
        ("broken, and a dependency, too", facts().local(&[BAD, BAD]).dependency(&[BAD, BAD]), SWITCH),
        ("broken, looks odd, in trouble", facts().local(&[BAD, BAD]).anomaly(1000).infra(Disk), SWITCH),
        ("broken, healed often", facts().local(&[BAD, BAD]).attempts(20), SWITCH),
        // Not consecutive.
        ("broken twice with a good one between", facts().local(&[BAD, GOOD, BAD]), Action::Slow(1)),
        ("broken twice with none between", facts().local(&[BAD, NONE, BAD]), Action::Slow(1)),
        // A single bad window.
        ("broken once, on trial", facts().local(&[GOOD, BAD]), Action::Slow(1)),
        ("broken once, the first window", facts().local(&[BAD]), Action::Slow(1)),
        ("broken once, confirmed", facts().local(&[GOOD, BAD]).confirmed(), HEAL),
        ("broken once, healed twice", facts().local(&[GOOD, BAD]).confirmed().attempts(2), HEAL),
        ("broken once, healed enough", facts().local(&[GOOD, BAD]).confirmed().attempts(3), Action::Slow(1)),
        ("broken once, in trouble, on trial", facts().local(&[BAD]).infra(ProcessExited), Action::Slow(1)),
        ("broken once, in trouble", facts().local(&[BAD]).infra(ProcessExited).confirmed(), HEAL),
        // A dependency moves nobody.
        ("a dependency broken once", facts().local(&[GOOD]).dependency(&[BAD]), Action::Slow(1)),
        (
            "a dependency broken once, confirmed",
            facts().local(&[GOOD]).dependency(&[BAD]).confirmed(),
            Action::Slow(1),
        ),
        ("a dependency broken", facts().local(&[GOOD; 2]).dependency(&[BAD; 2]), Action::Freeze),
        ("a dependency broken, confirmed", facts().dependency(&[BAD; 16]).confirmed(), Action::Freeze),
        ("a dependency broken at 10 %", facts().dependency(&[BAD; 16]).stage(100), Action::Freeze),
        ("a dependency broken, in trouble", facts().dependency(&[BAD; 4]).infra(Network), Action::Freeze),
        // Missing data moves nobody.
        ("nothing was promised", facts(), Action::Freeze),
        ("no window has closed yet", facts().local(&[]), Action::Freeze),
        ("no data", facts().local(&[NONE, NONE]), Action::Freeze),
        ("no data after a breach", facts().local(&[BAD, BAD, NONE]), Action::Freeze),
        ("no data for one of two", facts().local(&[GOOD]).local(&[NONE]), Action::Freeze),
        ("no data, looks odd", facts().local(&[NONE]).anomaly(1000), Action::Freeze),
        ("no data for what isn't critical", facts().local(&[GOOD]).minor(&[NONE]), Action::Proceed),
        ("no data for all that isn't critical", facts().minor(&[NONE]), Action::Freeze),
        ("no data, in trouble", facts().local(&[NONE]).infra(MachineLost), HEAL),
        (
            "no data, in trouble, healed enough",
            facts().local(&[NONE]).infra(OutOfMemory).attempts(3),
            Action::Freeze,
        ),
        // Odd, but kept.
        ("looks odd", facts().local(&[GOOD]).anomaly(700), Action::Slow(3)),
        ("looks a little odd", facts().local(&[GOOD]).anomaly(699), Action::Proceed),
        ("looks odd, in trouble", facts().local(&[GOOD]).anomaly(900).infra(Disk), Action::Slow(3)),
        ("broken, but not critical", facts().local(&[GOOD; 2]).minor(&[BAD; 2]), Action::Slow(3)),
        ("broken once, but not critical", facts().local(&[GOOD]).minor(&[BAD]), Action::Proceed),
        // An infrastructure flake, with no signal from the code.
        ("in trouble", facts().local(&[GOOD]).infra(ProcessExited), HEAL),
        ("in trouble, healed twice", facts().local(&[GOOD]).infra(OutOfMemory).attempts(2), HEAL),
        ("in trouble, healed enough", facts().local(&[GOOD]).infra(ProcessExited).attempts(3), SWITCH),
        ("the same at 10 %", facts().local(&[GOOD]).infra(Disk).attempts(3).stage(100), ABORT),
        ("no network, healed enough", facts().local(&[GOOD]).infra(Network).attempts(3), Action::Freeze),
        ("no network and more", facts().local(&[GOOD]).infra(Network).infra(Disk).attempts(9), SWITCH),
        // The data base can't go back.
        ("broken, one-way schema", facts().local(&[BAD, BAD]).one_way(), Action::Pause),
        ("broken at 10 %, one-way schema", facts().local(&[BAD, BAD]).stage(100).one_way(), Action::Pause),
        (
            "in trouble, one-way schema",
            facts().local(&[GOOD]).infra(Disk).attempts(3).one_way(),
            Action::Pause,
        ),
        ("all is well, one-way schema", facts().local(&[GOOD]).one_way(), Action::Proceed),
    ];
    for (told, facts, action) in table {
        let decision = decide(&[], &facts);
        assert_eq!(decision.action, action, "{told}: {:?}", decision.reasons);
        assert!((1..=8).contains(&decision.reasons.len()), "{told}: {:?}", decision.reasons);
        assert!(decision.reasons.iter().all(|reason| reason.len() <= 256), "{told}: {:?}", decision.reasons);
        assert_eq!(decide(&[], &facts), decision, "{told}: the same facts get the same decision");
    }
}

#[test]
fn reasons_carry_the_numbers() {
    let decision = decide(&[], &facts().local(&[BAD, BAD]).stage(100));
    assert_eq!(
        decision.reasons,
        [
            "critical objective objective-0 was broken in 2 consecutive windows of 2 that count (5 of 10 samples bad, \
             500 permille, limit 200)",
            "stage 100 of 1000 permille, below 500: the canary is aborted",
        ],
    );
    let decision = decide(&[], &facts().local(&[GOOD]).infra(InfraKind::OutOfMemory).attempts(1));
    assert_eq!(decision.reasons, ["the machine is in trouble: out of memory 2 times; healed 1 of 3 times"]);
}

#[test]
fn every_threshold_can_be_set() {
    let number = |name: &str, number| vec![Setting { name: name.into(), value: Value::Number(number) }];
    let broken = facts().local(&[BAD, BAD]);
    assert_eq!(decide(&number("breach-permille", 501), &broken).action, Action::Proceed);
    assert_eq!(decide(&number("consecutive", 3), &broken).action, Action::Slow(1));
    assert_eq!(decide(&number("consecutive", 1), &facts().local(&[BAD])).action, SWITCH);
    assert_eq!(decide(&number("samples-min", 11), &broken).action, Action::Freeze);
    assert_eq!(decide(&number("switch-stage-permille", 1000), &broken.clone().stage(999)).action, ABORT);
    assert_eq!(decide(&number("switch-stage-permille", 0), &broken.clone().stage(0)).action, SWITCH);
    let odd = facts().local(&[GOOD]).anomaly(300);
    assert_eq!(decide(&number("anomaly-permille", 300), &odd).action, Action::Slow(3));
    let set = [number("anomaly-permille", 300), number("slow-windows", 9)].concat();
    assert_eq!(decide(&set, &odd).action, Action::Slow(9));
    let flaky = facts().local(&[GOOD]).infra(InfraKind::Disk);
    assert_eq!(decide(&number("heal-attempts", 0), &flaky).action, SWITCH);
    let playbook = [Setting { name: "playbook".into(), value: Value::Text("clear-cache".into()) }];
    assert_eq!(decide(&playbook, &flaky).action, Action::Heal(Some("clear-cache".into())));
}

#[test]
fn there_are_never_too_many_reasons() {
    let mut many = facts().stage(100);
    for _ in 0..32 {
        many = many.local(&[BAD, BAD]);
    }
    let decision = decide(&[], &many);
    assert_eq!((decision.action, decision.reasons.len()), (ABORT, 8));
    let mut none = facts();
    for _ in 0..32 {
        none = none.local(&[NONE]);
    }
    assert_eq!(decide(&[], &none).reasons.len(), 8);
}
