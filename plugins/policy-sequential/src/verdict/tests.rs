//! The answers, as stories: what is seen window by window, and what is said about it.

use backstay_sdk::{
    policy::{Breaker, How, Infra, InfraKind, Policy, Release, Schema},
    settings::{Setting, Value},
};

use super::*;
use crate::Sequential;

const ABORT: Action = Action::RollBack(How::AbortCanary);
const SWITCH: Action = Action::RollBack(How::SwitchAndFreeze);

/// Whoever asks after each window, and keeps the memo.
struct Server {
    facts: Facts,
    config: Vec<Setting>,
    memo: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        let facts = Facts {
            now: 0,
            release: Release {
                version: "1.5.0".into(),
                digest: "5a".repeat(32),
                length: 1,
                security_epoch: 0,
            },
            stage: 50,
            on_trial: true,
            objectives: vec![],
            anomaly: None,
            infra: vec![],
            attempts: 0,
            breaker: Breaker::Closed,
            schema: Schema::Unknown,
        };
        Self { facts, config: vec![], memo: vec![] }.watching("http", true, Scope::Local)
    }

    fn watching(mut self, name: &str, critical: bool, scope: Scope) -> Self {
        let objective = Objective { name: name.into(), critical, scope, candidate: vec![], baseline: vec![] };
        self.facts.objectives.push(objective);
        self
    }

    /// Ten seconds go by: (samples, bad) of both sides, for each objective.
    fn sees(&mut self, windows: &[[(u32, u32); 2]]) -> Decision {
        self.facts.now += 10_000;
        let opened = self.facts.now - 10_000;
        for (objective, [candidate, baseline]) in self.facts.objectives.iter_mut().zip(windows) {
            for (side, &(samples, bad)) in
                [(&mut objective.candidate, candidate), (&mut objective.baseline, baseline)]
            {
                side.push(Window { opened, span: 10_000, samples, bad });
                let over = side.len().saturating_sub(16);
                side.drain(..over);
            }
        }
        self.asks()
    }

    fn asks(&mut self) -> Decision {
        let decided = Sequential::decide(&self.config, &self.facts, &self.memo).unwrap();
        let reasons = &decided.decision.reasons;
        assert!((1..=8).contains(&reasons.len()), "{reasons:?}");
        assert!(reasons.iter().all(|reason| reason.len() <= 256), "{reasons:?}");
        assert!(decided.memo.len() <= 65_536);
        self.memo = decided.memo;
        decided.decision
    }

    /// The same window again and again; the first answer that isn't like the one before, and after how many windows.
    fn sees_until(&mut self, windows: &[[(u32, u32); 2]], action: &Action) -> Option<usize> {
        (1..=360).find(|_| self.sees(windows).action == *action)
    }
}

const GOOD: [(u32, u32); 2] = [(50, 0), (50, 0)];

#[test]
fn a_candidate_that_is_worse_goes_back_with_the_numbers() {
    let mut server = Server::new();
    let after = server.sees_until(&[[(50, 2), (50, 0)]], &ABORT).unwrap();
    assert!((3..=12).contains(&after), "{after}");
    let decision = server.asks();
    assert_eq!(decision.action, ABORT);
    let told = &decision.reasons[0];
    assert!(told.starts_with("http is worse: candidate ") && told.contains("(4.00 %)"), "{told}");
    assert!(told.contains("of 10^2.10, bursts 10^") && told.contains("of 10^1.30"), "{told}");
    assert_eq!(decision.reasons[1], "stage 50 of 1000 permille, below 500: the canary is aborted");
}

#[test]
fn from_half_of_the_traffic_on_all_is_switched_and_one_way_data_pause() {
    let mut server = Server::new();
    server.facts.stage = 500;
    assert!(server.sees_until(&[[(50, 2), (50, 0)]], &SWITCH).is_some());
    server.facts.schema = Schema::OneWay(7);
    assert_eq!(server.asks().action, Action::Pause);
}

#[test]
fn little_that_was_seen_is_slow_and_enough_goes_on() {
    let mut server = Server::new();
    let first = server.sees(&[GOOD]);
    assert_eq!(first.action, Action::Slow(39));
    assert!(first.reasons[0].contains("isn't shown to be worse, but only 50 samples were seen"), "{first:?}");
    assert_eq!(server.sees_until(&[GOOD], &Action::Proceed), Some(39));
}

#[test]
fn evidence_that_it_is_no_worse_goes_on_before_the_exposure() {
    let mut server = Server::new();
    server.config = vec![Setting { name: "exposure-samples".into(), value: Value::Number(1_000_000_000) }];
    let after = server.sees_until(&[[(500, 5), (500, 5)]], &Action::Proceed).unwrap();
    assert!((5..=30).contains(&after), "{after}");
}

#[test]
fn what_hits_both_sides_freezes_and_then_goes_on() {
    let mut server = Server::new();
    for _ in 0..60 {
        server.sees(&[GOOD]);
    }
    let bad = [(50, 5), (50, 4)];
    assert!(server.sees_until(&[bad], &Action::Freeze).unwrap() <= 6);
    for _ in 0..30 {
        let decision = server.sees(&[bad]);
        assert_eq!(decision.action, Action::Freeze);
        assert!(decision.reasons[0].contains("the world is bad, not the candidate"), "{decision:?}");
    }
    assert!(server.sees_until(&[GOOD], &Action::Proceed).unwrap() <= 13);
}

#[test]
fn missing_data_never_moves_anybody() {
    let mut server = Server::new();
    assert!(server.sees_until(&[[(50, 2), (50, 0)]], &ABORT).is_some());
    // The evidence is there, and the telemetry goes away on one side.
    for side in [[(0, 0), (50, 0)], [(50, 2), (0, 0)], [(0, 0), (0, 0)]] {
        let after = server.sees_until(&[side], &Action::Freeze).unwrap();
        assert!(after <= 6);
        assert!(server.asks().reasons[0].starts_with("no data for objective http of the "));
    }
    server.facts.objectives.clear();
    assert_eq!(server.asks().action, Action::Freeze);
}

/// It was let out to everybody, so there is no stable side any more. It goes on, and is confirmed in time.
#[test]
fn a_release_with_all_the_traffic_has_nothing_to_be_compared_with() {
    let mut server = Server::new();
    server.sees(&[GOOD]);
    server.facts.objectives[0].baseline.clear();
    server.facts.stage = 1000;
    let decision = server.asks();
    assert_eq!(decision.action, Action::Proceed, "{decision:?}");
    assert!(decision.reasons[0].contains("all the traffic"), "{decision:?}");
}

#[test]
fn a_trial_without_a_baseline_freezes_and_a_confirmed_release_is_watched() {
    let mut server = Server::new();
    server.sees(&[GOOD]);
    server.facts.objectives[0].baseline.clear();
    let decision = server.asks();
    assert_eq!(decision.action, Action::Freeze);
    assert!(decision.reasons[0].contains("has no baseline"), "{decision:?}");
    server.facts.on_trial = false;
    assert_eq!(server.asks().action, Action::Proceed);
}

#[test]
fn a_dependency_freezes_and_a_minor_objective_slows() {
    let mut server = Server::new().watching("bank", true, Scope::Dependency);
    assert!(server.sees_until(&[GOOD, [(50, 2), (50, 0)]], &Action::Freeze).is_some());
    let mut server = Server::new().watching("thumbs", false, Scope::Local);
    for _ in 0..60 {
        server.sees(&[GOOD, [(50, 2), (50, 0)]]);
    }
    assert_eq!(server.asks().action, Action::Slow(6));
}

#[test]
fn more_critical_objectives_take_more_evidence() {
    let worse = [(50, 2), (50, 0)];
    let alone = Server::new().sees_until(&[worse], &ABORT).unwrap();
    let mut server = Server::new();
    for n in 0..31 {
        server = server.watching(&format!("other-{n}"), true, Scope::Local);
    }
    let windows: Vec<_> = std::iter::once(worse).chain([GOOD; 31]).collect();
    let among_many = server.sees_until(&windows, &ABORT).unwrap();
    assert!(among_many > alone, "{among_many} {alone}");
}

#[test]
fn one_burst_is_not_a_worse_candidate_where_bursts_are_usual() {
    // A day of the release before: every tenth minute has twelve errors at once.
    let mut server = Server::new();
    server.facts.on_trial = false;
    for n in 0..2000 {
        server.facts.objectives[0].baseline.clear();
        server.facts.now += 10_000;
        let window = Window {
            opened: server.facts.now - 10_000,
            span: 10_000,
            samples: 50,
            bad: if n % 60 == 7 { 12 } else { 0 },
        };
        server.facts.objectives[0].candidate = vec![window];
        server.asks();
    }
    server.facts.release.version = "1.6.0".into();
    server.facts.on_trial = true;
    server.facts.objectives[0].candidate.clear();
    let burst = [(50, 12), (50, 0)];
    assert!(matches!(server.sees(&[burst]).action, Action::Slow(_)));
    assert!((0..20).all(|_| matches!(server.sees(&[GOOD]).action, Action::Slow(_))));
    // Whoever has never seen it takes it for what it looks like.
    assert_eq!(Server::new().sees(&[burst]).action, ABORT);
}

#[test]
fn a_new_release_is_judged_anew() {
    let mut server = Server::new();
    assert!(server.sees_until(&[[(50, 2), (50, 0)]], &ABORT).is_some());
    server.facts.release.version = "1.5.1".into();
    assert!(matches!(server.sees(&[GOOD]).action, Action::Slow(_)));
}

#[test]
fn a_late_regression_is_found_although_hours_were_good() {
    let mut server = Server::new();
    for _ in 0..3 * 360 {
        server.sees(&[[(50, 0), (50, 0)]]);
    }
    let after = server.sees_until(&[[(50, 2), (50, 0)]], &ABORT).unwrap();
    assert!(after <= 30, "{after}");
}

#[test]
fn a_memo_of_another_version_starts_afresh_and_says_so() {
    let mut server = Server::new();
    server.sees(&[GOOD]);
    server.memo = b"seq\x02 from the future".to_vec();
    let decision = server.sees(&[GOOD]);
    assert_eq!(
        decision.reasons.last().unwrap(),
        "what was remembered can't be read by this version: judged afresh"
    );
    let next = server.sees(&[GOOD]);
    assert!(!next.reasons.iter().any(|reason| reason.contains("afresh")));
}

#[test]
fn a_machine_in_trouble_is_mended_first() {
    let mut server = Server::new();
    server.facts.infra.push(Infra { kind: InfraKind::OutOfMemory, count: 2 });
    assert_eq!(server.sees(&[GOOD]).action, Action::Heal(None));
    server.facts.attempts = 3;
    assert_eq!(server.sees(&[GOOD]).action, ABORT);
    server.facts.infra[0].kind = InfraKind::Network;
    assert_eq!(server.sees(&[GOOD]).action, Action::Freeze);
    // Without data, too: that the machine is in trouble is data.
    server.facts.attempts = 0;
    server.facts.objectives[0].candidate.clear();
    assert_eq!(server.asks().action, Action::Heal(None));
    server.facts.attempts = 3;
    assert_eq!(server.asks().action, Action::Freeze);
}

#[test]
fn an_anomaly_slows() {
    let mut server = Server::new();
    server.facts.anomaly = Some(700);
    assert_eq!(server.sees(&[GOOD]).action, Action::Slow(6));
}

/// Anything that the contract allows, however unlikely.
#[test]
fn the_largest_facts_are_answered() {
    let mut server = Server::new();
    for n in 0..31 {
        server = server.watching(&format!("{n:0>64}"), true, Scope::Local);
    }
    let windows = vec![[(u32::MAX, u32::MAX), (u32::MAX, 0)]; 32];
    for _ in 0..40 {
        server.sees(&windows);
    }
    assert_eq!(server.asks().action, ABORT);
}
