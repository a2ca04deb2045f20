//! Randomness that is part of the state, so that the same inputs give the same effects on any machine.
//!
//! Not here: anything secret. Keys and nonces come from the system, at the edge.

use backstay_model::Millis;
use serde::{Deserialize, Serialize};

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014): one word of state, spreads well, and every seed is a good one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng(u64);

impl Rng {
    /// Begins at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to and without `bound`; 0 where `bound` is 0. The high half of a product is
    /// close enough to even for jitter: it is off by less than `bound` in 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        (product >> 64) as u64
    }

    /// A span from nothing up to `most`.
    pub fn span(&mut self, most: Millis) -> Millis {
        Millis(self.below(most.0.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut rng = Rng::new(1);
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        let zeros = (0..7000).filter(|_| rng.below(7) == 0).count();
        assert!((800..1200).contains(&zeros), "a seventh of 7000 is about 1000, not {zeros}");
    }
}
