//! How strongly the counts say that the candidate is worse, as e-values.
//!
//! An *e-value* for a claim is a number that is at least 0 and, if the claim is true, at most 1 on average. A product of
//! e-values of one window after another is a nonnegative supermartingale, so that the chance that it *ever* reaches `1 / a`
//! is at most `a` (Ville, 1939). That is why it may be looked at after each window; a p-value may be looked at once. As a
//! likelihood ratio that is mixed over alternatives: Robbins, Statistical methods related to the law of the iterated
//! logarithm (Ann. Math. Stat., 1970); for A/B tests Johari, Koomen, Pekelis and Walsh, Always valid inference (Operations
//! Research, 2022); as confidence sequences Howard, Ramdas, McAuliffe and Sekhon (Annals of Statistics, 2021); for two
//! samples of yes and no Turner, Ly and Grunwald, Generic e-variables (J. Stat. Plan. Inference, 2024).
//!
//! # One window
//! Of `t` bad samples, `c` are the candidate's. The claim "the candidate's rate is at most `m` times the baseline's" makes
//! each of them the candidate's with a probability of at most `p(m) = m n / (m n + k)`, for `n` samples of the candidate and
//! `k` of the baseline; an alternative `r > m` says `p(r)`. The e-value is the ratio of the two binomial likelihoods,
//! `(r / m)^c ((m n + k) / (r n + k))^t`. Whatever makes *both* sides worse changes `t` and not `p`. Where bad samples are not
//! rare, `c` given `t` is hypergeometric at `m = 1`; that is less spread than the binomial, and the average of a convex
//! function only falls (Hoeffding, JASA 1963, section 6), so the claim of 1 on average holds for latency at any share.
//!
//! # Tempering
//! With bursts, `t` bad samples say as much as `t / (1 + (t - 1) r)` independent ones; the logarithm of each cluster's
//! e-value is divided by that. It is a quasi-likelihood (Wedderburn, Biometrika 1974), not exact, and stands only
//! *beside* the exact one. The assumption that it mends is the one under which Waudby-Smith, Arbour, Sinha, Kennedy and
//! Ramdas (Annals of Statistics, 2024) need clusters that are independent.
//!
//! All of it is `+ - * /` and the logarithm and exponential of `libm`, which are the same bits on every processor.

use backstay_sdk::policy::Window;

use crate::dispersion::Count;

/// How many times worse a candidate may be: the alternatives, each with the same weight. Between a ratio and the nearest
/// of them little is lost, and further ones would take weight from all.
const RATIOS: [f64; 5] = [2.0, 3.0, 5.0, 9.0, 17.0];

/// An alternative has to be this many times what the claim allows: a nearer one can't be told from it in an hour.
const APART: f64 = 1.5;

/// The same span on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) candidate: Count,
    pub(crate) baseline: Count,
}

impl Count {
    /// Of a window; more bad samples than samples are as many.
    pub(crate) fn of(window: &Window) -> Self {
        Self { samples: window.samples, bad: window.bad.min(window.samples) }
    }
}

impl Pair {
    /// `None` where the sum has no room.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            candidate: self.candidate.plus(other.candidate)?,
            baseline: self.baseline.plus(other.baseline)?,
        })
    }

    /// Whether there is something on both sides to compare.
    pub(crate) fn compares(&self) -> bool {
        self.candidate.samples > 0 && self.baseline.samples > 0
    }
}

/// The natural logarithm of the e-value against "the candidate's rate is at most `allowed` times the baseline's".
///
/// `correlation`: within a pair's bad samples, from 0 to 1; at 0 and with `allowed` 1 the e-value is exact.
pub(crate) fn worse(pairs: &[Pair], allowed: f64, correlation: f64) -> f64 {
    let far = |ratio: &&f64| **ratio >= allowed * APART;
    let logs = RATIOS.iter().filter(far).map(|&ratio| likelihood(pairs, allowed, ratio, correlation));
    mean_of(logs)
}

/// The natural logarithm of the e-value against "the candidate's rate is at least `tolerable` times the baseline's".
pub(crate) fn no_worse(pairs: &[Pair], tolerable: f64, correlation: f64) -> f64 {
    likelihood(pairs, tolerable, 1.0, correlation)
}

/// The logarithm of how much likelier the counts are at the ratio `r` of the rates than at the ratio `m`.
fn likelihood(pairs: &[Pair], m: f64, r: f64, correlation: f64) -> f64 {
    let step = libm::log(r / m);
    let mut sum = 0.0;
    for pair in pairs.iter().filter(|pair| pair.compares()) {
        let bad = f64::from(pair.candidate.bad) + f64::from(pair.baseline.bad);
        if bad == 0.0 {
            continue;
        }
        let (n, k) = (f64::from(pair.candidate.samples), f64::from(pair.baseline.samples));
        let exact = f64::from(pair.candidate.bad) * step - bad * libm::log((r * n + k) / (m * n + k));
        sum += exact / design_effect(bad, n / (n + k), correlation);
    }
    sum
}

/// How many times less `bad` samples say than independent ones would.
///
/// The correlation was measured between halves of one side. It comes from the variance of a side's rate, and of that a
/// share `p` of the samples sees `4 p (1 - p)` of what a half sees.
fn design_effect(bad: f64, p: f64, correlation: f64) -> f64 {
    1.0 + (bad - 1.0) * (correlation * 4.0 * p * (1.0 - p)).min(1.0)
}

/// The logarithm of the mean of what these are the logarithms of, without overflow.
fn mean_of(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let (sum, count) = logs.fold((0.0, 0.0), |(sum, count), log| (sum + libm::exp(log - most), count + 1.0));
    // Without an alternative nothing is said: an e-value of 1.
    if count == 0.0 { 0.0 } else { most + libm::log(sum / count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u32, c: u32, k: u32, b: u32) -> Pair {
        Pair { candidate: Count { samples: n, bad: c }, baseline: Count { samples: k, bad: b } }
    }

    /// The property that all rests on, summed up in full: the mean of the e-value over what can happen is 1 where the
    /// rates are equal, and less where the candidate is better.
    #[test]
    fn an_e_value_is_at_most_1_on_average() {
        let choose = |n: u32, k: u32| (0..k).map(|i| f64::from(n - i) / f64::from(k - i)).product::<f64>();
        for (n, k) in [(50, 50), (5, 95), (95, 5), (30, 70)] {
            for t in 0..=30_u32 {
                for (ratio, least) in [(1.0, 1.0 - 1e-9), (0.5, 0.0)] {
                    let p = ratio * f64::from(n) / (ratio * f64::from(n) + f64::from(k));
                    let mean: f64 = (0..=t)
                        .map(|c| {
                            let chance = choose(t, c) * p.powf(c.into()) * (1.0 - p).powf((t - c).into());
                            chance * worse(&[pair(n, c, k, t - c)], 1.0, 0.0).exp()
                        })
                        .sum();
                    assert!((least..=1.0 + 1e-9).contains(&mean), "{n} {k} {t} at {ratio}: {mean}");
                }
            }
        }
    }

    /// Latency: half of all samples are bad, and what is drawn is not put back.
    #[test]
    fn an_e_value_is_at_most_1_on_average_where_bad_is_not_rare() {
        let choose = |n: u32, k: u32| (0..k).map(|i| f64::from(n - i) / f64::from(k - i)).product::<f64>();
        let (n, k, t) = (20_u32, 30_u32, 25_u32);
        let all: f64 = choose(n + k, t);
        let mean: f64 = (0..=n.min(t))
            .filter(|c| t - c <= k)
            .map(|c| choose(n, c) * choose(k, t - c) / all * worse(&[pair(n, c, k, t - c)], 1.0, 0.0).exp())
            .sum();
        assert!(mean < 1.0, "{mean}");
    }

    #[test]
    fn what_both_sides_have_is_no_evidence() {
        let minutes = [pair(300, 15, 300, 15); 60];
        assert!(worse(&minutes, 1.0, 0.0) < 0.0);
        assert!(no_worse(&minutes, 2.0, 0.0) > 20.0_f64.ln());
    }

    #[test]
    fn bursts_and_margins_only_take_away() {
        let minutes = [pair(300, 3, 300, 1); 10];
        let exact = worse(&minutes, 1.0, 0.0);
        assert!(exact > 2.0, "{exact}");
        assert!(worse(&minutes, 1.0, 0.3) < exact);
        assert!(worse(&minutes, 1.5, 0.0) < exact);
        // All or nothing: a minute is one observation.
        assert!((worse(&minutes[..1], 1.0, 1.0) - worse(&[pair(300, 3, 300, 1)], 1.0, 1.0)).abs() < 1e-12);
    }

    #[test]
    fn nothing_and_the_most_there_is_are_numbers() {
        assert_eq!(worse(&[], 1.0, 0.0), 0.0);
        assert_eq!(worse(&[pair(0, 0, 300, 9), pair(300, 9, 0, 0), pair(5, 0, 5, 0)], 1.0, 0.0), 0.0);
        let full = [pair(u32::MAX, u32::MAX, u32::MAX, 0); 60];
        assert!(worse(&full, 1.0, 0.0).is_finite());
        assert!(worse(&full, 1.0, 1.0).is_finite());
        // No alternative is far enough from eighteen times.
        assert_eq!(worse(&full, 18.0, 0.0), 0.0);
    }

    /// The same bits everywhere: a decision is made again on other processors, and has to come out the same.
    #[test]
    fn the_bits_are_those_of_every_processor() {
        let minutes = [pair(301, 4, 298, 1), pair(50, 0, 950, 2), pair(300, 7, 300, 0)];
        let bits = [worse(&minutes, 1.0, 0.0), worse(&minutes, 1.5, 0.2), no_worse(&minutes, 2.0, 0.1)];
        assert_eq!(bits.map(f64::to_bits), BITS);
    }

    const BITS: [u64; 3] = [4_615_632_521_794_931_979, 4_604_907_528_608_249_750, 13_833_658_451_201_626_804];
}
