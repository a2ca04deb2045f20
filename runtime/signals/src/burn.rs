//! How fast an error budget is spent.
//!
//! A burn rate of 1 spends the whole budget in exactly the time of the SLO; 14.4 spends 2 % of a 30-day budget in one
//! hour. An alarm looks at a long window, so that a blip raises none, and at a short one, so that it ends soon after
//! the trouble does. Source: Google, *The Site Reliability Workbook*, chapter 5 "Alerting on SLOs", "6: Multiwindow,
//! Multi-Burn-Rate Alerts", table 5-8.
//!
//! Not here: asking for the two error ratios (`prometheus`).

use std::fmt;

use backstay_model::Millis;

use crate::Finite;

/// An SLO and the speed of spending its budget that is too fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRate {
    slo: f64,
    factor: f64,
}

/// An SLO or a factor that can't be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BurnRateError {
    /// The SLO isn't above 0 and below 1.
    Slo {
        /// What was given.
        slo: f64,
    },
    /// The factor isn't above 0 and finite.
    Factor {
        /// What was given.
        factor: f64,
    },
    /// No error ratio up to 1 could ever be that fast.
    Unreachable {
        /// The SLO.
        slo: f64,
        /// The factor.
        factor: f64,
    },
}

/// A usual pair of windows and its factor, for an SLO over 30 days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnWindows {
    /// The long window.
    pub long: Millis,
    /// The short one, a twelfth of it.
    pub short: Millis,
    /// The burn rate above which both have to be.
    pub factor: f64,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

impl BurnWindows {
    /// 2 % of the budget within an hour.
    pub const FAST: Self = Self::of(HOUR, 5 * MINUTE, 14.4);
    /// 5 % of the budget within six hours.
    pub const MEDIUM: Self = Self::of(6 * HOUR, 30 * MINUTE, 6.0);
    /// 10 % of the budget within three days.
    pub const SLOW: Self = Self::of(72 * HOUR, 6 * HOUR, 1.0);
    /// All three, the fastest first.
    pub const ALL: [Self; 3] = [Self::FAST, Self::MEDIUM, Self::SLOW];

    const fn of(long_secs: u64, short_secs: u64, factor: f64) -> Self {
        Self { long: Millis::from_secs(long_secs), short: Millis::from_secs(short_secs), factor }
    }
}

impl BurnRate {
    /// An SLO as a share, 0.999, and the factor by which its budget may not be spent faster.
    ///
    /// # Errors
    /// One of them is out of its bounds.
    pub fn new(slo: f64, factor: f64) -> Result<Self, BurnRateError> {
        if !(slo > 0.0 && slo < 1.0) {
            return Err(BurnRateError::Slo { slo });
        }
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(BurnRateError::Factor { factor });
        }
        let rate = Self { slo, factor };
        if rate.threshold() >= 1.0 {
            return Err(BurnRateError::Unreachable { slo, factor });
        }
        Ok(rate)
    }

    /// The error ratio above which a window burns too fast: `factor * (1 - slo)`.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.factor * (1.0 - self.slo)
    }

    /// Whether both windows spend the budget faster than the factor says.
    #[must_use]
    pub fn burns(&self, long: Finite, short: Finite) -> bool {
        long.get() > self.threshold() && short.get() > self.threshold()
    }
}

impl BurnRateError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Slo { .. } => Some("give the SLO as a share, 0.999 for 99.9 %"),
            Self::Factor { .. } => Some("usual are 14.4 over (1h, 5m), 6 over (6h, 30m) and 1 over (3d, 6h)"),
            Self::Unreachable { .. } => Some("take a smaller factor, or a plain ratio objective"),
        }
    }
}

impl fmt::Display for BurnRateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slo { slo } => write!(f, "an SLO of {slo} isn't above 0 and below 1"),
            Self::Factor { factor } => write!(f, "a burn rate of {factor} isn't above 0"),
            Self::Unreachable { slo, factor } => {
                write!(f, "with an SLO of {slo} no error ratio burns {factor} times too fast")
            }
        }
    }
}

impl std::error::Error for BurnRateError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn finite(number: f64) -> Finite {
        Finite::new(number).unwrap()
    }

    #[test]
    fn both_windows_have_to_burn() {
        let rate = BurnRate::new(0.999, 14.4).unwrap();
        assert!((rate.threshold() - 0.0144).abs() < 1e-12);
        for (long, short, burns) in [
            (0.02, 0.02, true),
            (0.02, 0.01, false), // it is over
            (0.01, 0.02, false), // it has only begun
            (0.0, 0.0, false),
            (1.0, 1.0, true),
        ] {
            assert_eq!(rate.burns(finite(long), finite(short)), burns, "{long} {short}");
        }
    }

    /// Held against the source: the budget that is gone after the long window.
    #[test]
    fn the_usual_windows_spend_what_the_book_says() {
        let days_30 = Millis::from_secs(30 * 24 * HOUR).0 as f64;
        for (windows, spent) in BurnWindows::ALL.into_iter().zip([0.02, 0.05, 0.10]) {
            let share = windows.factor * windows.long.0 as f64 / days_30;
            assert!((share - spent).abs() < 1e-9, "{windows:?}");
            assert_eq!(windows.long.0, windows.short.0 * 12, "{windows:?}");
        }
    }

    #[test]
    fn what_could_never_burn_is_refused() {
        for slo in [0.0, 1.0, 99.9, -1.0, f64::NAN] {
            assert!(matches!(BurnRate::new(slo, 1.0), Err(BurnRateError::Slo { .. })), "{slo}");
        }
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(BurnRate::new(0.99, factor), Err(BurnRateError::Factor { .. })), "{factor}");
        }
        assert!(matches!(BurnRate::new(0.9, 14.4), Err(BurnRateError::Unreachable { .. })));
    }
}
