//! The instance's clock: goes on from where it stood, whatever the wall clock does.

use std::{fs, time::Instant};

use backstay_model::{BootId, Mono};

/// Counts the time that this instance has been up, over all its starts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Mono,
    since: Instant,
}

impl Clock {
    /// Goes on from `base`.
    #[must_use]
    pub fn from(base: Mono) -> Self {
        Self { base, since: Instant::now() }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Mono {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Mono(self.base.0.saturating_add(passed))
    }

    /// The moment of the system's own clock at which this clock shows `at`.
    #[must_use]
    pub fn instant(&self, at: Mono) -> Instant {
        self.since + std::time::Duration::from_millis(at.0.saturating_sub(self.base.0))
    }
}

/// Which boot of the machine this is: the kernel draws it anew at each.
#[must_use]
pub fn boot_id() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    BootId(u128::from_str_radix(&digits, 16).unwrap_or(0))
}
