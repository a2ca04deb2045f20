//! The usual rules, in our own words and code: what they look at, and when they roll back.
//!
//! Written from the documentation and the behaviour of Argo Rollouts, Flagger and Kayenta; none of their programs runs here.
//! All three look at one minute at a time. Not here: our own policies (`policies`).

use crate::world::{Count, MINUTE, Window};

/// A minute is failed when at least this share of its requests is bad: "99 % succeed", as the documentation's examples have it.
const FAILED: f64 = 0.01;

/// Judges an hour.
pub trait Rule {
    /// In the table.
    fn name(&self) -> &'static str;
    /// After how many windows it rolls back, if it does.
    fn rolls_back(&self, windows: &[Window]) -> Option<usize>;
}

/// The minute that ends with each sixth window, and after how many windows.
fn minutes(windows: &[Window]) -> impl Iterator<Item = (usize, Count, Count)> {
    windows.chunks_exact(MINUTE).zip(1..).map(|(minute, n)| {
        let sum = |of: fn(&Window) -> Count| {
            minute.iter().map(of).fold(Count::default(), |sum, count| Count {
                samples: sum.samples + count.samples,
                bad: sum.bad + count.bad,
            })
        };
        (n * MINUTE, sum(|window| window.candidate), sum(|window| window.baseline))
    })
}

fn is_failed(minute: Count) -> bool {
    minute.samples > 0 && rate(minute) > FAILED
}

fn rate(count: Count) -> f64 {
    f64::from(count.bad) / f64::from(count.samples.max(1))
}

/// Argo Rollouts' analysis: more than `limit` failed measurements in the run, in a row or not, abort.
#[derive(Clone, Copy, Debug)]
pub struct FailureLimit {
    /// `failureLimit`; its default is 0.
    pub limit: usize,
}

impl Rule for FailureLimit {
    fn name(&self) -> &'static str {
        if self.limit == 0 { "failure limit 0" } else { "failure limit 3" }
    }

    fn rolls_back(&self, windows: &[Window]) -> Option<usize> {
        let mut failed = minutes(windows).filter(|(_, candidate, _)| is_failed(*candidate));
        failed.nth(self.limit).map(|(after, ..)| after)
    }
}

/// Flagger's analysis: `threshold` failed checks, in a row or not, roll back.
#[derive(Clone, Copy, Debug)]
pub struct FailedChecks {
    /// `threshold`; its examples have 5 and 10.
    pub threshold: usize,
}

impl Rule for FailedChecks {
    fn name(&self) -> &'static str {
        "5 failed checks"
    }

    fn rolls_back(&self, windows: &[Window]) -> Option<usize> {
        let mut failed = minutes(windows).filter(|(_, candidate, _)| is_failed(*candidate));
        failed.nth(self.threshold - 1).map(|(after, ..)| after)
    }
}

/// Kayenta's judge of one critical metric: the Mann-Whitney test of the minutes' rates, at 98 %, with a tolerance of a
/// quarter of the shift, looked at every so many minutes over all that there is.
#[derive(Clone, Copy, Debug)]
pub struct MannWhitney {
    /// Minutes from look to look.
    pub every: usize,
}

/// Two-sided 98 %.
const Z: f64 = 2.326;
/// Of the estimated shift.
const TOLERANCE: f64 = 0.25;

impl Rule for MannWhitney {
    fn name(&self) -> &'static str {
        if self.every == 60 { "Mann-Whitney at 60 min" } else { "Mann-Whitney every 10" }
    }

    fn rolls_back(&self, windows: &[Window]) -> Option<usize> {
        let mut candidate = Vec::new();
        let mut baseline = Vec::new();
        for (after, c, b) in minutes(windows) {
            candidate.push(rate(c));
            baseline.push(rate(b));
            if candidate.len().is_multiple_of(self.every) && is_high(&candidate, &baseline) {
                return Some(after);
            }
        }
        None
    }
}

/// Whether the lower end of the confidence interval of the shift is above the tolerance. The interval consists of the
/// order statistics of all differences (Hodges and Lehmann, 1963), with the normal approximation of their ranks.
fn is_high(candidate: &[f64], baseline: &[f64]) -> bool {
    if candidate == baseline {
        return false;
    }
    let mut differences: Vec<f64> =
        candidate.iter().flat_map(|c| baseline.iter().map(move |b| c - b)).collect();
    differences.sort_by(f64::total_cmp);
    let (m, n) = (candidate.len() as f64, baseline.len() as f64);
    let rank = m * n / 2.0 - Z * (m * n * (m + n + 1.0) / 12.0).sqrt();
    let estimate = differences[differences.len() / 2];
    let lower = differences[(rank.max(0.0) as usize).min(differences.len() - 1)];
    rank >= 0.0 && lower > TOLERANCE * estimate.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes with so many bad ones of 300, (candidate, baseline).
    fn hour(minutes: &[(u32, u32)]) -> Vec<Window> {
        let window = |&(candidate, baseline): &(u32, u32)| {
            let side = |bad| Count { samples: 50, bad };
            let first = Window { stage: 50, candidate: side(candidate), baseline: side(baseline) };
            let rest = Window { stage: 50, candidate: side(0), baseline: side(0) };
            [first, rest, rest, rest, rest, rest]
        };
        minutes.iter().flat_map(window).collect()
    }

    #[test]
    fn failed_minutes_are_counted_in_a_row_or_not() {
        let some = hour(&[(4, 0), (0, 0), (4, 0), (3, 0), (4, 0), (4, 0), (4, 0)]);
        assert_eq!(FailureLimit { limit: 0 }.rolls_back(&some), Some(6));
        assert_eq!(FailureLimit { limit: 3 }.rolls_back(&some), Some(36));
        assert_eq!(FailedChecks { threshold: 5 }.rolls_back(&some), Some(42));
        assert_eq!(FailedChecks { threshold: 5 }.rolls_back(&some[..36]), None);
    }

    #[test]
    fn ranks_compare_the_two_sides() {
        let rule = MannWhitney { every: 10 };
        assert_eq!(rule.rolls_back(&hour(&[(9, 1); 10])), Some(60));
        assert_eq!(rule.rolls_back(&hour(&[(9, 9); 60])), None);
        assert_eq!(rule.rolls_back(&hour(&[(1, 9); 60])), None);
        // Nine of ten minutes are alike: that one is far worse changes no rank.
        let mut one = vec![(1, 1); 9];
        one.push((50, 1));
        assert_eq!(rule.rolls_back(&hour(&one)), None);
    }
}
