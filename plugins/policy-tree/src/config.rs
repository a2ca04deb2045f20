//! What can be set, and what holds where nobody did.

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::{
    remedy::{HEAL_ATTEMPTS, PLAYBOOK, Remedy, SWITCH_STAGE},
    settings::{Description, Number, Problem, Setting, Texts, is_name, problem},
};

const BREACH: Number = Number {
    name: "breach-permille",
    default: 200,
    least: 1,
    most: 1000,
    help: "An objective is broken in a window in which at least this share of the samples, in permille, was bad.",
};
const BREACH_OF: Texts = Texts {
    name: "breach-permille-of",
    help: "Another share for one objective, each as name=permille: \"http=50\".",
};
const SAMPLES: Number = Number {
    name: "samples-min",
    default: 1,
    least: 1,
    most: 1_000_000,
    help: "A window with fewer samples than this says nothing.",
};
const CONSECUTIVE: Number = Number {
    name: "consecutive",
    default: 2,
    least: 1,
    most: 16,
    help: "In so many consecutive windows a critical objective has to be broken before a release is left.",
};
const ANOMALY: Number = Number {
    name: "anomaly-permille",
    default: 700,
    least: 1,
    most: 1000,
    help: "From this anomaly score on, in permille, a release is slowed down.",
};
const SLOW_WINDOWS: Number = Number {
    name: "slow-windows",
    default: 3,
    least: 1,
    most: 100,
    help: "For so many windows more is looked when a release is slowed down.",
};
/// The thresholds, read.
pub(crate) struct Config<'a> {
    breach: u32,
    breach_of: &'a [String],
    pub(crate) samples: u32,
    pub(crate) consecutive: u32,
    pub(crate) anomaly: u32,
    pub(crate) slow_windows: u32,
    pub(crate) remedy: Remedy<'a>,
}

impl<'a> Config<'a> {
    pub(crate) fn read(config: &'a [Setting]) -> Self {
        Self {
            breach: BREACH.count(config),
            breach_of: BREACH_OF.of(config),
            samples: SAMPLES.count(config),
            consecutive: CONSECUTIVE.count(config),
            anomaly: ANOMALY.count(config),
            slow_windows: SLOW_WINDOWS.count(config),
            remedy: Remedy::read(config),
        }
    }

    /// The share of bad samples, in permille, from which on `objective` is broken.
    pub(crate) fn breach(&self, objective: &str) -> u32 {
        // The last word on an objective holds.
        let mut own = self.breach_of.iter().rev().filter_map(|text| exception(text));
        own.find(|(name, _)| *name == objective).map_or(self.breach, |(_, share)| share)
    }
}

/// `name=permille`, taken apart.
fn exception(text: &str) -> Option<(&str, u32)> {
    let (name, share) = text.split_once('=')?;
    let share = share.parse().ok().filter(|share| (1..=1000).contains(share))?;
    is_name(name).then_some((name, share))
}

pub(crate) fn describe() -> Description {
    Description {
        about: "Goes home when a critical objective is broken in consecutive windows, slows down on an anomaly, mends \
                what is no fault of the code."
            .into(),
        settings: vec![
            BREACH.info(),
            BREACH_OF.info(),
            SAMPLES.info(),
            CONSECUTIVE.info(),
            SWITCH_STAGE.info(),
            ANOMALY.info(),
            SLOW_WINDOWS.info(),
            HEAL_ATTEMPTS.info(),
            PLAYBOOK.info(),
        ],
    }
}

pub(crate) fn validate(config: &[Setting]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for text in BREACH_OF.of(config).iter().filter(|text| exception(text).is_none()) {
        let shown: String = text.chars().take(100).collect();
        let why = format!("\"{shown}\" isn't name=permille with a share of 1 to 1000: write \"http=50\"");
        problems.push(problem(BREACH_OF.name, why));
    }
    problems.extend(Remedy::problem(config));
    problems
}

#[cfg(test)]
mod tests {
    use backstay_sdk::settings::Value;

    use super::*;

    fn texts(texts: &[&str]) -> Vec<Setting> {
        let texts = texts.iter().map(|&text| text.into()).collect();
        vec![Setting { name: "breach-permille-of".into(), value: Value::Texts(texts) }]
    }

    #[test]
    fn an_objective_may_have_a_share_of_its_own() {
        let config = texts(&["http=50", "disk=900", "http=60"]);
        let config = Config::read(&config);
        assert_eq!(config.breach("http"), 60);
        assert_eq!(config.breach("disk"), 900);
        assert_eq!(config.breach("login"), 200);
    }

    #[test]
    fn a_share_that_is_none_is_a_problem() {
        for text in ["http", "http=", "http=0", "http=1001", "=5", "Http=5", "http=5 ", "http=99999999999"] {
            assert_eq!(validate(&texts(&[text])).len(), 1, "{text}");
        }
        assert_eq!(validate(&texts(&["http=1", "b-2=1000"])), []);
        assert_eq!(validate(&[]), []);
        let playbook = Setting { name: "playbook".into(), value: Value::Text("rm -rf /".into()) };
        assert_eq!(validate(&[playbook]).len(), 1);
    }
}
