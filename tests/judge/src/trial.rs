//! Many hours of each scenario, judged by all rules on the same seeds, and what they come to.

use std::{fmt::Write as _, thread};

use crate::{
    policies::{Judge, Past, Promises},
    random::Random,
    rules::{FailedChecks, FailureLimit, MannWhitney, Rule},
    world::{Bursts, HOUR, Instances, MINUTE, Scenario},
};

/// The seed that the published figures are of.
pub const SEED: u64 = 20_261_129;

/// What is remembered at the start of a trial differs, too: so many hours share a past.
const HOURS_A_PAST: u64 = 50;

/// A healthy hour may end in a roll-back so often.
const FALSE_MAX: f64 = 0.01;

/// Whether a figure has to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most so many of the healthy hours in 100 may be rolled back.
    Healthy,
    /// Half of the hours have to be rolled back within so many minutes.
    Within(f64),
    /// There is none: it is shown, because it is what somebody will ask.
    Shown,
}

const PLAIN: Scenario = Scenario::PLAIN;
const EACH_MINUTE: Bursts = Bursts { variation: 2.0, windows: MINUTE };

/// All of them. The number of a scenario is part of its seed, so a new one goes to the end of its kind in the table and
/// gets a new number.
pub const SCENARIOS: &[(u64, Scenario, Goal)] = &[
    (1, PLAIN, Goal::Healthy),
    (2, Scenario { name: "incident on both sides", incident: true, ..PLAIN }, Goal::Healthy),
    (3, Scenario { name: "0.2 requests/s", candidate_rps: 0.2, baseline_rps: 0.2, ..PLAIN }, Goal::Healthy),
    (4, Scenario { name: "5 % against 95 %", baseline_rps: 95.0, ..PLAIN }, Goal::Healthy),
    (5, Scenario { name: "95 % against 5 %", candidate_rps: 95.0, ..PLAIN }, Goal::Healthy),
    (
        6,
        Scenario {
            name: "day and growing stage",
            candidate_rps: 10.0,
            baseline_rps: 90.0,
            drift: true,
            ..PLAIN
        },
        Goal::Healthy,
    ),
    (
        7,
        Scenario {
            name: "latency, 5 % slow",
            base: 0.05,
            candidate: 0.05,
            bursts: Bursts { variation: 0.3, windows: MINUTE },
            shared: 0.3,
            ..PLAIN
        },
        Goal::Healthy,
    ),
    (
        8,
        Scenario { name: "bursts, CV 1", bursts: Bursts { variation: 1.0, ..EACH_MINUTE }, ..PLAIN },
        Goal::Healthy,
    ),
    (9, Scenario { name: "bursts, CV 2", bursts: EACH_MINUTE, ..PLAIN }, Goal::Healthy),
    (
        10,
        Scenario {
            name: "bursts, CV 1, and incident",
            bursts: Bursts { variation: 1.0, ..EACH_MINUTE },
            incident: true,
            ..PLAIN
        },
        Goal::Healthy,
    ),
    (
        11,
        Scenario {
            name: "10 unlike machines a side",
            instances: Instances { count: 10, variation: 0.5, bad: 1.0 },
            ..PLAIN
        },
        Goal::Healthy,
    ),
    (
        12,
        Scenario {
            name: "1 of 10 five times worse",
            instances: Instances { count: 10, variation: 0.0, bad: 5.0 },
            ..PLAIN
        },
        Goal::Healthy,
    ),
    // What no rule can tell from a regression by the counts of two sides, or not yet.
    (
        13,
        Scenario {
            name: "limit: 1 of 4 ten times worse",
            instances: Instances { count: 4, variation: 0.0, bad: 10.0 },
            ..PLAIN
        },
        Goal::Shown,
    ),
    (
        14,
        Scenario {
            name: "limit: bursts of 3 min, CV 2",
            bursts: Bursts { variation: 2.0, windows: 3 * MINUTE },
            ..PLAIN
        },
        Goal::Shown,
    ),
    (
        15,
        Scenario { name: "limit: bursts, CV 2, no past", bursts: EACH_MINUTE, has_past: false, ..PLAIN },
        Goal::Shown,
    ),
    (101, Scenario { name: "0.2 -> 0.5 %", candidate: 0.005, ..PLAIN }, Goal::Shown),
    (102, Scenario { name: "0.2 -> 1 %", candidate: 0.01, ..PLAIN }, Goal::Within(7.0)),
    (103, Scenario { name: "0.2 -> 3 %", candidate: 0.03, ..PLAIN }, Goal::Within(2.0)),
    (
        104,
        Scenario { name: "0.2 -> 1 %, 5 % against 95 %", candidate: 0.01, baseline_rps: 95.0, ..PLAIN },
        Goal::Shown,
    ),
    (
        105,
        Scenario {
            name: "0.2 -> 10 %, 0.2 requests/s",
            candidate: 0.1,
            candidate_rps: 0.2,
            baseline_rps: 0.2,
            ..PLAIN
        },
        Goal::Shown,
    ),
    (
        106,
        Scenario {
            name: "latency, 5 -> 15 % slow",
            base: 0.05,
            candidate: 0.15,
            bursts: Bursts { variation: 0.3, windows: MINUTE },
            shared: 0.3,
            ..PLAIN
        },
        Goal::Shown,
    ),
    (
        107,
        Scenario {
            name: "0.2 -> 1 %, bursts, CV 1",
            candidate: 0.01,
            bursts: Bursts { variation: 1.0, ..EACH_MINUTE },
            ..PLAIN
        },
        Goal::Shown,
    ),
];

/// The usual rules, before ours.
fn usual() -> [&'static dyn Rule; 6] {
    [
        &FailureLimit { limit: 0 },
        &FailureLimit { limit: 3 },
        &FailedChecks { threshold: 5 },
        &MannWhitney { every: 60 },
        &MannWhitney { every: 10 },
        &Promises,
    ]
}

/// When each hour was rolled back, in windows: by rule, in the order of [`names`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome(pub Vec<Vec<Option<usize>>>);

/// What the rules are called.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let past = Past::default();
    usual().iter().map(|rule| rule.name()).chain([Judge(&past).name()]).collect()
}

/// Judges so many hours of one scenario, on all processors. How many there are changes nothing but the time.
#[must_use]
pub fn run(seed: u64, number: u64, scenario: &Scenario, hours: u64) -> Outcome {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let pasts = hours.div_ceil(HOURS_A_PAST);
    let mut groups: Vec<(u64, Outcome)> = thread::scope(|scope| {
        let work = |thread: u64| {
            (thread..pasts).step_by(threads as usize).map(|n| (n, group(seed, number, scenario, n, hours)))
        };
        let started: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || work(thread).collect::<Vec<_>>())).collect();
        started.into_iter().flat_map(|thread| thread.join().expect("a judge doesn't panic")).collect()
    });
    groups.sort_by_key(|(n, _)| *n);
    let mut all = vec![Vec::new(); names().len()];
    for (_, Outcome(rules)) in groups {
        all.iter_mut().zip(rules).for_each(|(all, one)| all.extend(one));
    }
    Outcome(all)
}

/// The hours that share a past.
fn group(seed: u64, number: u64, scenario: &Scenario, n: u64, hours: u64) -> Outcome {
    let past = Past::of(scenario, &mut Random::new(seed, number, u64::MAX - n));
    let judge = Judge(&past);
    let mut all = vec![Vec::new(); names().len()];
    for hour in n * HOURS_A_PAST..((n + 1) * HOURS_A_PAST).min(hours) {
        let windows = scenario.windows(&mut Random::new(seed, number, hour), HOUR);
        let rules = usual().into_iter().chain([&judge as &dyn Rule]);
        all.iter_mut().zip(rules).for_each(|(all, rule)| all.push(rule.rolls_back(&windows)));
    }
    Outcome(all)
}

/// How many hours were rolled back.
#[must_use]
pub fn rolled_back(hours: &[Option<usize>]) -> usize {
    hours.iter().flatten().count()
}

/// Half of the hours were rolled back within so many minutes; `None` where fewer than half were.
#[must_use]
pub fn median_minutes(hours: &[Option<usize>]) -> Option<f64> {
    let mut windows: Vec<usize> = hours.iter().map(|hour| hour.unwrap_or(usize::MAX)).collect();
    windows.sort_unstable();
    let middle = windows.get(windows.len() / 2).copied().filter(|&windows| windows < usize::MAX)?;
    Some(middle as f64 / MINUTE as f64)
}

/// A table that was filled.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(&'static str, Goal, bool, Outcome)>,
}

impl Table {
    /// Adds what a scenario came to.
    pub fn add(&mut self, scenario: &Scenario, goal: Goal, outcome: Outcome) {
        self.rows.push((scenario.name, goal, scenario.is_healthy(), outcome));
    }

    /// As Markdown, and last which goals our judge reached.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (is_healthy, title) in
            [(true, "healthy hours rolled back"), (false, "minutes until half are rolled back (of 100)")]
        {
            let _ = writeln!(text, "| {title} | {} |", names().join(" | "));
            let _ = writeln!(text, "|---|{}", "---|".repeat(names().len()));
            for (name, _, _, Outcome(rules)) in self.rows.iter().filter(|row| row.2 == is_healthy) {
                let cells: Vec<_> = rules.iter().map(|hours| cell(is_healthy, hours)).collect();
                let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
            }
            text.push('\n');
        }
        for (name, goal, _, Outcome(rules)) in &self.rows {
            let Some(hours) = rules.last() else { continue };
            let (is_kept, told) = match goal {
                Goal::Shown => continue,
                Goal::Healthy => {
                    let share = rolled_back(hours) as f64 / hours.len() as f64;
                    (
                        share <= FALSE_MAX,
                        format!("{:.2} % rolled back, at most {}", share * 100.0, FALSE_MAX * 100.0),
                    )
                }
                Goal::Within(minutes) => {
                    let median = median_minutes(hours);
                    let told = median.map_or("more than 60".into(), |median| format!("{median:.1}"));
                    (
                        median.is_some_and(|median| median <= *minutes),
                        format!("{told} min, at most {minutes}"),
                    )
                }
            };
            let word = if is_kept { "kept" } else { "MISSED" };
            let _ = writeln!(text, "goal {word}: policy-sequential: {name}: {told}");
        }
        text
    }
}

fn cell(is_healthy: bool, hours: &[Option<usize>]) -> String {
    let (count, of) = (rolled_back(hours), hours.len());
    if is_healthy {
        return format!("{:.2} % ({count})", count as f64 * 100.0 / of as f64);
    }
    let found = count * 100 / of.max(1);
    median_minutes(hours).map_or(format!("- ({found})"), |median| format!("{median:.1} ({found})"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_comes_to_the_same_and_every_number_is_one_scenarios() {
        let once = run(1, 9, &SCENARIOS[8].1, 4);
        assert_eq!(once, run(1, 9, &SCENARIOS[8].1, 4));
        assert!(once.0.iter().all(|hours| hours.len() == 4));
        let numbers: BTreeSet<_> = SCENARIOS.iter().map(|(number, ..)| number).collect();
        assert_eq!(numbers.len(), SCENARIOS.len());
    }

    #[test]
    fn a_median_is_one_of_all_hours() {
        assert_eq!(median_minutes(&[Some(12), None, Some(6)]), Some(2.0));
        assert_eq!(median_minutes(&[Some(12), None, None]), None);
        assert_eq!(median_minutes(&[]), None);
        assert_eq!(rolled_back(&[Some(12), None]), 1);
    }

    #[test]
    fn the_table_says_what_was_missed() {
        let mut table = Table::default();
        let outcome = |hour| Outcome(vec![vec![hour; 200]; names().len()]);
        table.add(&SCENARIOS[0].1, Goal::Healthy, outcome(Some(6)));
        table.add(&SCENARIOS[16].1, Goal::Within(7.0), outcome(Some(6)));
        let text = table.text();
        assert!(text.contains("| plain | 100.00 % (200) |"), "{text}");
        assert!(
            text.contains("goal MISSED: policy-sequential: plain: 100.00 % rolled back, at most 1\n"),
            "{text}"
        );
        assert!(text.contains("goal kept: policy-sequential: 0.2 -> 1 %: 1.0 min, at most 7\n"), "{text}");
    }
}
