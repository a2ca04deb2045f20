//! How long to wait before the next try: exponential, capped, with full jitter.
//!
//! Not here: how often something may be tried (the ladder, the exclusion) and the timer.

use backstay_model::Millis;
use serde::{Deserialize, Serialize};

use crate::Rng;

/// Waits that double from `base` up to `cap`. The wait before try `n` is drawn evenly from nothing up to the
/// n-th of these ("full jitter"), so that many who failed together don't come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The most to wait before the second try.
    pub base: Millis,
    /// The most to wait before any try.
    pub cap: Millis,
}

impl Backoff {
    /// The wait after `failures` tries that failed, 1 or more.
    pub fn wait(&self, failures: u32, rng: &mut Rng) -> Millis {
        let doublings = failures.saturating_sub(1).min(63);
        let most = self.base.0.saturating_mul(1 << doublings).min(self.cap.0);
        rng.span(Millis(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let backoff = Backoff { base: Millis(1000), cap: Millis(5000) };
        let mut rng = Rng::new(7);
        for (failures, most) in [(1, 1000), (2, 2000), (3, 4000), (4, 5000), (200, 5000)] {
            let longest = (0..500).map(|_| backoff.wait(failures, &mut rng).0).max().unwrap();
            assert!(longest <= most && longest > most * 9 / 10, "{longest} after {failures} failures");
        }
    }
}
