//! Many values, as one figure.

use std::time::Duration;

/// The value in the middle; of an even number, the higher of the two.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    percentile(values, Rank(500))
}

/// Which value of all, sorted, in permille: 500 is the median, 990 what 99 of 100 don't exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank(pub usize);

/// The value at this rank; not a number if there is none.
#[must_use]
pub fn percentile(values: &[f64], rank: Rank) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() * rank.0 / 1000).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// What the rounds of a measurement came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The round in the middle.
    pub median: f64,
    /// The round with the least.
    pub least: f64,
    /// The round with the most.
    pub most: f64,
}

impl Spread {
    /// Of these rounds.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        Self {
            median: median(values),
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// Of these against the peer's, round by round: what the machine did to a round it did to both.
    #[must_use]
    pub fn ratio(ours: &[f64], peers: &[f64]) -> Self {
        Self::of(&ours.iter().zip(peers).map(|(ours, peer)| ours / peer).collect::<Vec<_>>())
    }
}

/// In microseconds, as all short times are told.
#[must_use]
pub fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_finds_its_value() {
        let values: Vec<f64> = (0..1000).rev().map(f64::from).collect();
        assert_eq!((median(&values), percentile(&values, Rank(990))), (500.0, 990.0));
        assert_eq!((median(&[3.0]), percentile(&[3.0], Rank(1000))), (3.0, 3.0));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let ratio = Spread::ratio(&[1.0, 20.0, 300.0], &[2.0, 20.0, 200.0]);
        assert_eq!(ratio, Spread { median: 1.0, least: 0.5, most: 1.5 });
    }
}
