//! A number that can be compared: neither NaN nor infinite.
//!
//! Not here: what it measures.

use std::fmt;

use backstay_model::Permille;

use crate::NoData;

/// A finite number. Whoever holds one needs no thought about NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Finite(f64);

impl Finite {
    /// `None` for NaN and both infinities.
    #[must_use]
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// 1 for yes, 0 for no.
    pub(crate) const fn from_bool(is: bool) -> Self {
        Self(if is { 1.0 } else { 0.0 })
    }

    /// This number as a share: an anomaly score from 0 to 1, rounded to thousandths.
    ///
    /// # Errors
    /// It is below 0 or above 1, so it is no share, and says nothing.
    pub fn share(self) -> Result<Permille, NoData> {
        let out = NoData::NotAShare { value: self };
        if !(0.0..=1.0).contains(&self.0) {
            return Err(out);
        }
        // From 0 to 1000 after the check, so nothing is cut off.
        Permille::new((self.0 * 1000.0).round() as u16).ok_or(out)
    }

    /// This number as a count of events: rounded to the nearest, `u32::MAX` where it is more than that.
    ///
    /// # Errors
    /// It is negative, so it counts nothing. What rounds to 0 does not fail.
    pub(crate) fn count(self) -> Result<u32, NoData> {
        if self.0 <= -0.5 {
            return Err(NoData::Negative { value: self });
        }
        // A cast from a float ends at the bounds of the integer.
        Ok(self.0.round() as u32)
    }
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_compared_is_no_number() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Finite::new(number), None);
        }
        assert_eq!(Finite::new(0.25).map(Finite::get), Some(0.25));
    }

    #[test]
    fn a_score_is_a_share_or_says_nothing() {
        let share = |number| Finite::new(number).unwrap().share().map(Permille::get);
        assert_eq!(share(0.0), Ok(0));
        assert_eq!(share(0.9996), Ok(1000));
        assert_eq!(share(0.1234), Ok(123));
        for number in [-0.001, 1.001, 87.0, f64::MAX] {
            assert!(matches!(share(number), Err(NoData::NotAShare { .. })), "{number}");
        }
    }

    #[test]
    fn a_count_is_rounded_and_ends_at_its_bounds() {
        let count = |number| Finite::new(number).unwrap().count();
        for (number, counted) in [
            (-0.4, 0),
            (-0.0, 0),
            (0.4, 0),
            (0.5, 1),
            (41.7, 42),
            (4_294_967_295.4, u32::MAX),
            (1e300, u32::MAX),
        ] {
            assert_eq!(count(number), Ok(counted), "{number}");
        }
        assert!(matches!(count(-0.5), Err(NoData::Negative { .. })));
        assert!(matches!(count(-1e300), Err(NoData::Negative { .. })));
    }
}
