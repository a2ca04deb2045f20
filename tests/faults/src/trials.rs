//! Trials by seed, many of them, and what came out.

use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use backstay_journal::testing::{CutReport, Scenario, Verdict, cut_everywhere, rot};

/// How many trials of rot the tests make.
pub const FLIPS: u64 = 10_000;
/// How many scenarios the tests cut at every operation.
pub const CUTS: u64 = 6;
/// Steps of a scenario. One of this length makes about 150 writes, syncs and renames.
const STEPS: usize = 24;
/// Failures that are told one by one.
pub(crate) const TOLD_MAX: usize = 20;

/// What many trials of rot came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotten {
    /// The state was what it had been.
    pub harmless: u64,
    /// Something was lost, and a finding said so.
    pub reported: u64,
    /// What went wrong, with the seed; the first 20.
    pub failed: Vec<String>,
}

/// Runs the trial of each seed. A panic is a failure like any other.
#[must_use]
pub fn rot_all(seeds: Range<u64>) -> Rotten {
    let mut rotten = Rotten::default();
    for seed in seeds {
        match catch_unwind(|| rot(seed)) {
            Ok(Ok(Verdict::Harmless)) => rotten.harmless += 1,
            Ok(Ok(Verdict::Reported)) => rotten.reported += 1,
            Ok(Err(told)) => rotten.failed.push(told),
            Err(panic) => rotten.failed.push(format!("seed {seed}: panic: {}", words(panic))),
        }
        if rotten.failed.len() >= TOLD_MAX {
            break;
        }
    }
    rotten
}

/// Cuts the scenario of each seed at every operation.
///
/// # Errors
/// What was lost and at which cut.
pub fn cut_all(seeds: Range<u64>) -> Result<CutReport, String> {
    let mut sum = CutReport::default();
    for seed in seeds {
        let scenario = Scenario { seed, steps: STEPS };
        let report = catch_unwind(AssertUnwindSafe(|| cut_everywhere(scenario))).map_err(words)?;
        sum.points += report.points;
        sum.starts += report.starts;
    }
    Ok(sum)
}

pub(crate) fn words(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => {
            other.downcast::<&str>().map_or_else(|_| "no words".to_owned(), |text| (*text).to_owned())
        }
    }
}
