//! What can be set, and what holds where nobody did.

use alloc::{vec, vec::Vec};

use backstay_sdk::{
    remedy::{HEAL_ATTEMPTS, PLAYBOOK, Remedy, SWITCH_STAGE},
    settings::{Description, Number, Problem, Setting, problem},
};

const ERROR: Number = Number {
    name: "error-permille",
    default: 10,
    least: 1,
    most: 200,
    help: "At most so many of 1000 trials of a candidate that isn't worse than its baseline end in a roll-back. It is \
           split over the critical objectives.",
};
const MARGIN: Number = Number {
    name: "margin-percent",
    default: 50,
    least: 0,
    most: 400,
    help: "A candidate whose share of bad samples is at most this much above the baseline's is as good as it, in percent \
           of the baseline's: 50 allows 0.3 % beside 0.2 %.",
};
const TOLERABLE: Number = Number {
    name: "tolerable-percent",
    default: 100,
    least: 10,
    most: 1000,
    help: "A candidate is called good before it has had its exposure when the evidence excludes that its share of bad \
           samples is this much above the baseline's, in percent of the baseline's.",
};
const EXPOSURE: Number = Number {
    name: "exposure-samples",
    default: 2000,
    least: 1,
    most: 1_000_000_000,
    help: "After so many samples of the candidate, compared with the baseline's, without evidence that it is worse, it may \
           go on.",
};
const CLUSTER: Number = Number {
    name: "cluster-seconds",
    default: 60,
    least: 1,
    most: 3600,
    help: "Windows this close together may share a burst and count as one observation. Longer than bursts usually last.",
};
const SILENT: Number = Number {
    name: "silent-windows",
    default: 6,
    least: 1,
    most: 16,
    help: "After so many windows without a sample on one of the sides there is no data.",
};
const INCIDENT: Number = Number {
    name: "incident-permille",
    default: 20,
    least: 1,
    most: 1000,
    help: "When at least this share of the samples of both sides is bad, in permille, and five times what is usual, it \
           is an incident that both have: nothing is judged and nothing moves.",
};
const ANOMALY: Number = Number {
    name: "anomaly-permille",
    default: 700,
    least: 1,
    most: 1000,
    help: "From this anomaly score on, in permille, a release is slowed down.",
};
/// The settings, read.
pub(crate) struct Config<'a> {
    /// The error rate of a whole trial, above 0 and below 1.
    pub(crate) error: f64,
    /// How many times the baseline's rate is as good as it: at least 1.
    pub(crate) margin: f64,
    /// How many times the baseline's rate has to be excluded before a candidate is called good: above 1.
    pub(crate) tolerable: f64,
    pub(crate) exposure: u32,
    pub(crate) cluster_ms: u64,
    pub(crate) silent: u32,
    /// A share, above 0 and at most 1.
    pub(crate) incident: f64,
    pub(crate) anomaly: u32,
    pub(crate) remedy: Remedy<'a>,
}

impl<'a> Config<'a> {
    pub(crate) fn read(config: &'a [Setting]) -> Self {
        Self {
            error: f64::from(ERROR.count(config)) / 1000.0,
            margin: 1.0 + f64::from(MARGIN.count(config)) / 100.0,
            tolerable: 1.0 + f64::from(TOLERABLE.count(config)) / 100.0,
            exposure: EXPOSURE.count(config),
            cluster_ms: u64::from(CLUSTER.count(config)) * 1000,
            silent: SILENT.count(config),
            incident: f64::from(INCIDENT.count(config)) / 1000.0,
            anomaly: ANOMALY.count(config),
            remedy: Remedy::read(config),
        }
    }
}

pub(crate) fn describe() -> Description {
    Description {
        about: "Compares the candidate with the baseline at a stated error rate, however often it is asked: goes home \
                when the candidate is worse, and holds still when both are bad."
            .into(),
        settings: vec![
            ERROR.info(),
            MARGIN.info(),
            TOLERABLE.info(),
            EXPOSURE.info(),
            CLUSTER.info(),
            SILENT.info(),
            INCIDENT.info(),
            SWITCH_STAGE.info(),
            ANOMALY.info(),
            HEAL_ATTEMPTS.info(),
            PLAYBOOK.info(),
        ],
    }
}

pub(crate) fn validate(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(Remedy::problem(config));
    if TOLERABLE.of(config) <= MARGIN.of(config) {
        // Between the two a candidate would be worse and good at once.
        problems.push(problem(TOLERABLE.name, "it has to be more than margin-percent"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use backstay_sdk::settings::Value;

    use super::*;

    fn set(name: &str, value: Value) -> Setting {
        Setting { name: name.into(), value }
    }

    #[test]
    fn what_contradicts_itself_is_a_problem() {
        assert_eq!(validate(&[]), []);
        assert_eq!(validate(&[set("playbook", Value::Text("restart-2".into()))]), []);
        assert_eq!(validate(&[set("playbook", Value::Text("rm -rf /".into()))]).len(), 1);
        assert_eq!(validate(&[set("margin-percent", Value::Number(100))]).len(), 1);
        let both = [set("margin-percent", Value::Number(100)), set("tolerable-percent", Value::Number(200))];
        assert_eq!(validate(&both), []);
    }

    #[test]
    fn shares_become_ratios() {
        let config = Config::read(&[]);
        assert_eq!((config.error, config.margin, config.tolerable), (0.01, 1.5, 2.0));
        assert_eq!(config.cluster_ms, 60_000);
    }
}
