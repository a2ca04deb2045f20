//! Our policies, run natively: an hour's windows as facts, asked after each window as a server would.
//!
//! `policy-sequential` keeps its memo from question to question, and starts with what it learned before: a day of the
//! same world with nothing on trial (`Past`). `policy-tree` remembers nothing; it gets minutes, and a limit of 1 %, which is
//! what somebody would set who wants to see errors rise to that.

use backstay_sdk::{
    policy::{Action, Breaker, Facts, Objective, Policy, Release, Schema, Scope, Window as SdkWindow},
    settings::{Setting, Value},
};
use policy_sequential::Sequential;
use policy_tree::Tree;

use crate::{
    random::Random,
    rules::Rule,
    world::{Count, HOUR, MINUTE, Scenario, WINDOW_SECONDS, Window},
};

/// Facts have this many windows of each side at most.
const SHOWN: usize = 16;
/// What is watched before a trial: a day.
const PAST_WINDOWS: usize = 24 * HOUR;
const WINDOW_MS: u64 = WINDOW_SECONDS * 1000;

/// What the judge remembers when a trial begins.
#[derive(Clone, Debug, Default)]
pub struct Past {
    memo: Vec<u8>,
    /// When the trial begins.
    now: u64,
}

impl Past {
    /// A day of the stable release alone in this world.
    #[must_use]
    pub fn of(scenario: &Scenario, random: &mut Random) -> Self {
        if !scenario.has_past {
            return Self::default();
        }
        let mut past = Self::default();
        let mut facts = facts(false);
        for window in scenario.past().windows(random, PAST_WINDOWS) {
            // The stable release is what a baseline is during the trial.
            push(&mut facts.objectives[0].candidate, past.now, WINDOW_MS, window.baseline);
            past.now += WINDOW_MS;
            facts.now = past.now;
            past.memo = ask::<Sequential>(&[], &facts, &past.memo).1;
        }
        past
    }
}

/// `policy-sequential` with nothing configured.
#[derive(Debug)]
pub struct Judge<'a>(pub &'a Past);

impl Rule for Judge<'_> {
    fn name(&self) -> &'static str {
        "policy-sequential"
    }

    fn rolls_back(&self, windows: &[Window]) -> Option<usize> {
        let mut facts = facts(true);
        let mut memo = self.0.memo.clone();
        let mut now = self.0.now;
        for (window, after) in windows.iter().zip(1..) {
            push(&mut facts.objectives[0].candidate, now, WINDOW_MS, window.candidate);
            push(&mut facts.objectives[0].baseline, now, WINDOW_MS, window.baseline);
            now += WINDOW_MS;
            (facts.now, facts.stage) = (now, window.stage);
            let action;
            (action, memo) = ask::<Sequential>(&[], &facts, &memo);
            if matches!(action, Action::RollBack(_)) {
                return Some(after);
            }
        }
        None
    }
}

/// `policy-tree` on minutes with a limit of 1 %.
#[derive(Clone, Copy, Debug)]
pub struct Promises;

impl Rule for Promises {
    fn name(&self) -> &'static str {
        "policy-tree at 1 %"
    }

    fn rolls_back(&self, windows: &[Window]) -> Option<usize> {
        let config = [Setting { name: "breach-permille".into(), value: Value::Number(10) }];
        let mut facts = facts(true);
        for (minute, n) in windows.chunks_exact(MINUTE).zip(1..) {
            let sum = minute.iter().fold(Count::default(), |sum, window| Count {
                samples: sum.samples + window.candidate.samples,
                bad: sum.bad + window.candidate.bad,
            });
            push(&mut facts.objectives[0].candidate, facts.now, WINDOW_MS * MINUTE as u64, sum);
            facts.now += WINDOW_MS * MINUTE as u64;
            if matches!(ask::<Tree>(&config, &facts, &[]).0, Action::RollBack(_)) {
                return Some(n * MINUTE);
            }
        }
        None
    }
}

fn ask<P: Policy>(config: &[Setting], facts: &Facts, memo: &[u8]) -> (Action, Vec<u8>) {
    let decided = P::decide(config, facts, memo).expect("the policies that ship always answer");
    (decided.decision.action, decided.memo)
}

fn push(side: &mut Vec<SdkWindow>, opened: u64, span: u64, count: Count) {
    if side.len() == SHOWN {
        side.remove(0);
    }
    side.push(SdkWindow { opened, span, samples: count.samples, bad: count.bad });
}

fn facts(on_trial: bool) -> Facts {
    let version = if on_trial { "1.5.0" } else { "1.4.0" };
    let objective = Objective {
        name: "http".into(),
        critical: true,
        scope: Scope::Local,
        candidate: vec![],
        baseline: vec![],
    };
    Facts {
        now: 0,
        release: Release { version: version.into(), digest: String::new(), length: 1, security_epoch: 0 },
        stage: 50,
        on_trial,
        objectives: vec![objective],
        anomaly: None,
        infra: vec![],
        attempts: 0,
        breaker: Breaker::Closed,
        schema: Schema::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(scenario: &Scenario, hour: u64) -> Option<usize> {
        let past = Past::of(scenario, &mut Random::new(5, 0, 0));
        Judge(&past).rolls_back(&scenario.windows(&mut Random::new(5, 1, hour), HOUR))
    }

    #[test]
    fn a_healthy_hour_stays_and_a_bad_one_goes_back() {
        assert_eq!(judged(&Scenario::PLAIN, 1), None);
        let bad = Scenario { candidate: 0.03, ..Scenario::PLAIN };
        assert!(judged(&bad, 1).unwrap() < 24);
        assert_eq!(judged(&bad, 1), judged(&bad, 1));
        let hour = bad.windows(&mut Random::new(5, 1, 1), HOUR);
        assert!(Promises.rolls_back(&hour).unwrap() <= 24);
    }

    #[test]
    fn without_a_past_nothing_is_remembered() {
        let past = Past::of(&Scenario { has_past: false, ..Scenario::PLAIN }, &mut Random::new(5, 0, 0));
        assert_eq!((past.memo.len(), past.now), (0, 0));
    }
}
