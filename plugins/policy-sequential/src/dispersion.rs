//! How bursty an objective is: by how much its counts vary more than independent requests would let them.
//!
//! Two neighbouring clusters of *one side* are compared. Of the `t` bad samples in both, the number `c` in the first is
//! binomial if requests fail independently, with a mean of `t p`, where `p` is the first one's share of the samples. Bursts
//! make it vary more: `(c - t p)^2` is then `t p (1 - p) (1 + (t - 1) r)` on average, where `r` is the *intra-cluster
//! correlation* of the beta-binomial distribution (0: independent; 1: all or nothing). The moment estimator of `r` is
//! that of survey statistics (the design effect of Kish, Survey Sampling, 1965), with neighbours in the place of a fixed
//! mean as in von Neumann's ratio (1941), so that slow drift doesn't look like bursts.
//!
//! It compares a side with itself. So it can be learned before a trial, from the stable release alone, and a candidate that
//! is worse, but evenly, doesn't look bursty.

/// What correlates with nothing has this much of a say, in pairs of bad samples: a few clusters make no estimate.
const SHRINKAGE: f64 = 20.0;

/// After so many pairs the older half of what was learned is forgotten: with clusters of a minute on two sides, a day.
const PAIRS_MAX: u32 = 2880;

/// Sums over pairs of clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Dispersion {
    /// By how much squares exceeded what is expected of independent requests.
    pub(crate) excess: f64,
    /// By how much they would at a correlation of 1.
    pub(crate) whole: f64,
    pub(crate) pairs: u32,
}

/// Samples and bad samples of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) samples: u32,
    /// At most `samples`.
    pub(crate) bad: u32,
}

impl Count {
    /// `None` where the sum has no room.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            samples: self.samples.checked_add(other.samples)?,
            bad: self.bad.checked_add(other.bad)?,
        })
    }

    /// The share of the bad; of nothing it is 0.
    pub(crate) fn rate(self) -> f64 {
        f64::from(self.bad) / f64::from(self.samples.max(1))
    }
}

impl Dispersion {
    /// Learns from two neighbouring clusters of one side. What has no samples, or fewer than two bad ones, says nothing.
    pub(crate) fn learn(&mut self, first: Count, second: Count) {
        if first.samples == 0 || second.samples == 0 {
            return;
        }
        let bad = f64::from(first.bad) + f64::from(second.bad);
        self.pairs = self.pairs.saturating_add(1);
        if bad >= 2.0 {
            let share = f64::from(first.samples) / (f64::from(first.samples) + f64::from(second.samples));
            let off = f64::from(first.bad) - bad * share;
            self.excess += off * off / (share * (1.0 - share)) - bad;
            self.whole += bad * (bad - 1.0);
        }
        if self.pairs > PAIRS_MAX {
            self.excess /= 2.0;
            self.whole /= 2.0;
            self.pairs /= 2;
        }
    }

    /// The correlation within a cluster that is shown, from 0 to 1: the estimate less its standard error, so that what may
    /// be chance doesn't make the judge slow. Of independent requests, the square of each pair has a variance of about
    /// `2 t (t - 1)`.
    pub(crate) fn correlation(&self) -> f64 {
        let shown = self.excess - libm::sqrt(2.0 * self.whole);
        (shown / (self.whole + SHRINKAGE)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(counts: &[u32]) -> f64 {
        let mut dispersion = Dispersion::default();
        for pair in counts.windows(2) {
            let count = |bad| Count { samples: 300, bad };
            dispersion.learn(count(pair[0]), count(pair[1]));
        }
        dispersion.correlation()
    }

    #[test]
    fn even_counts_are_independent_and_bursts_are_not() {
        assert_eq!(learned(&[3; 60]), 0.0);
        let bursts: Vec<u32> = (0..60).map(|n| if n % 7 == 0 { 12 } else { 0 }).collect();
        assert!(learned(&bursts) > 0.9, "{}", learned(&bursts));
        // A slow rise from 1 to 60 is none.
        assert_eq!(learned(&(1..60).collect::<Vec<_>>()), 0.0);
        // One change of the rate in an hour is one pair of many.
        let step: Vec<u32> = (0..60).map(|n| if n < 30 { 1 } else { 15 }).collect();
        assert!(learned(&step) < 0.05, "{}", learned(&step));
    }

    #[test]
    fn little_says_little_and_much_is_bounded() {
        assert!(learned(&[0, 3]) < 0.25);
        assert_eq!(learned(&[0, 0, 1, 0]), 0.0);
        let mut dispersion = Dispersion::default();
        for _ in 0..100_000 {
            let full = Count { samples: u32::MAX, bad: u32::MAX };
            dispersion.learn(full, Count { samples: 1, bad: 0 });
        }
        assert!(dispersion.pairs <= PAIRS_MAX);
        assert!((0.0..=1.0).contains(&dispersion.correlation()));
    }
}
