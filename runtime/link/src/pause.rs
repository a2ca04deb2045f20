//! How long to wait before the next try to connect.
//!
//! Full jitter: the wait is drawn evenly from nothing to the window, so a whole fleet that lost its broker in
//! the same second comes back spread over the window. The window is the fleet's size over the connections
//! that the broker can take in a second; the server knows both and sends it, signed. While tries go on to
//! fail the window doubles, up to a multiple. The first that fails doesn't widen it: who came too early to a
//! broker that is being started is spread over the same window once more, and so all are back one window
//! after the broker is.
//!
//! Not here: a clock or the system's randomness. The seed is the caller's, so a simulated fleet repeats itself.

use backstay_model::Millis;

/// The smallest window. Below it a device that is refused at once would keep a processor busy.
pub(crate) const WINDOW_MIN: Millis = Millis(100);
/// The largest window. A message that says more is obeyed as if it said this.
pub(crate) const WINDOW_MAX: Millis = Millis::from_secs(3600);
/// How often the window doubles while tries fail: up to eight times what was asked for.
const DOUBLINGS_MAX: u32 = 3;

#[derive(Debug)]
pub(crate) struct Pause {
    random: u64,
    window: Millis,
    failures: u32,
}

impl Pause {
    pub(crate) fn new(seed: u64, window: Millis) -> Self {
        Self { random: seed, window: within_bounds(window), failures: 0 }
    }

    pub(crate) fn set_window(&mut self, window: Millis) {
        self.window = within_bounds(window);
    }

    /// The wait before the first try, or after a connection that did its work.
    pub(crate) fn fresh(&mut self) -> Millis {
        self.failures = 0;
        self.draw()
    }

    /// The wait after a try that failed, or after a connection that ended before it was of any use.
    pub(crate) fn failed(&mut self) -> Millis {
        self.failures = self.failures.saturating_add(1);
        self.draw()
    }

    fn draw(&mut self) -> Millis {
        let widest = self.window.0 << self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        // The high half of the product is even over 0..=widest, to within 2^-64.
        let product = u128::from(self.next()) * (u128::from(widest) + 1);
        Millis(u64::try_from(product >> 64).expect("a 128-bit number has 64 bits above its lower 64"))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): spreads tries, and keeps no secret.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn within_bounds(window: Millis) -> Millis {
    window.clamp(WINDOW_MIN, WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand devices with seeds in a row lose their broker at once. Each tenth of the window gets a
    /// tenth of them, to within five standard deviations (150 of 1000).
    #[test]
    fn a_fleet_spreads_evenly_over_the_window() {
        let mut tenths = [0_u32; 10];
        for seed in 0..10_000 {
            let wait = Pause::new(seed, Millis(60_000)).fresh();
            assert!(wait <= Millis(60_000));
            tenths[usize::try_from(wait.0 * 10 / 60_001).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (850..1150).contains(n)), "{tenths:?}");
    }

    /// The largest of a thousand draws is close to the end of the window that they came from.
    #[test]
    fn failing_widens_to_eight_windows_and_success_narrows_again() {
        let mut pause = Pause::new(7, Millis(1000));
        for (failures, widest) in
            [(0, 1000), (1, 1000), (2, 2000), (3, 4000), (4, 8000), (5, 8000), (u32::MAX, 8000)]
        {
            pause.failures = failures;
            let largest = (0..1000).map(|_| pause.draw().0).max().unwrap();
            assert!((widest * 9 / 10..=widest).contains(&largest), "{largest} after {failures}");
        }
        assert!(pause.fresh() <= Millis(1000));
        assert_eq!(pause.failures, 0);
    }

    #[test]
    fn a_window_out_of_bounds_is_brought_to_the_nearest_bound() {
        let mut pause = Pause::new(7, Millis(0));
        assert_eq!(pause.window, WINDOW_MIN);
        pause.set_window(Millis(u64::MAX));
        assert_eq!(pause.window, WINDOW_MAX);
        pause.set_window(Millis(500));
        assert!(pause.fresh() <= Millis(500));
    }

    #[test]
    fn the_same_seed_waits_the_same() {
        let waits = |seed| {
            let mut pause = Pause::new(seed, Millis(9000));
            [pause.fresh(), pause.failed(), pause.failed()]
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }
}
