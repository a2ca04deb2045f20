//! What time it is: by the instance's own clock, which orders, and by the wall's, which only signatures show.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backstay_model::{Mono, UnixMs};

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// How long this instance has been up, over all its starts.
    pub(crate) mono: Mono,
    /// For the times in signed statements.
    pub(crate) unix: UnixMs,
}

/// Counts the time that this instance has been up, over all its starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Mono,
    since: Instant,
}

impl Clock {
    /// Goes on from `base`.
    pub(crate) fn from(base: Mono) -> Self {
        Self { base, since: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Now {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A wall clock before 1970 is one that was never set; its statements are older than all others.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = UnixMs(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
        Now { mono: Mono(self.base.0.saturating_add(passed)), unix }
    }

    /// The moment of the system's own clock at which this clock shows `at`.
    pub(crate) fn instant(&self, at: Mono) -> Instant {
        self.since + Duration::from_millis(at.0.saturating_sub(self.base.0))
    }
}
