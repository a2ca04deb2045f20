//! Visitors of a shop, on both sides of a canary, as a Prometheus counts them.
//!
//! No packet is routed here: what the two sides answer, a test says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_test_real::{Exporter, RealPrometheus};

/// So many visitors come at once, and then again after a moment.
const AT_ONCE: u64 = 20;
const AGAIN: Duration = Duration::from_millis(200);

/// Visitors who come all the time.
pub(crate) struct Traffic {
    prometheus: RealPrometheus,
    /// Of a hundred, on the canary's side.
    errors: Arc<AtomicU64>,
    /// How slow some are, in permille of what is promised.
    slow: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Traffic {
    /// `None` after it was said that there is no Prometheus. `has_canary`: whether there is a pod that takes the canary's.
    pub(crate) fn begins(has_canary: impl Fn() -> bool + Send + 'static) -> Option<Self> {
        let exporter = Exporter::start();
        exporter.says(says(0, 0, 0, 0));
        let prometheus = RealPrometheus::start(&exporter)?;
        let traffic = Self { prometheus, errors: Arc::default(), slow: Arc::default(), over: Arc::default() };
        let (errors, slow, over) =
            (Arc::clone(&traffic.errors), Arc::clone(&traffic.slow), Arc::clone(&traffic.over));
        thread::spawn(move || {
            let (mut stable, mut canary, mut bad) = (0, 0, 0);
            while !over.load(Ordering::Relaxed) {
                stable += AT_ONCE;
                if has_canary() {
                    canary += AT_ONCE;
                    bad += AT_ONCE * errors.load(Ordering::Relaxed) / 100;
                }
                exporter.says(says(stable, canary, bad, slow.load(Ordering::Relaxed)));
                thread::sleep(AGAIN);
            }
        });
        Some(traffic)
    }

    /// Where Prometheus is asked.
    pub(crate) fn url(&self) -> String {
        self.prometheus.url()
    }

    /// Of a hundred visitors of the canary so many see an error from now on.
    pub(crate) fn see_errors(&self, of_a_hundred: u64) {
        self.errors.store(of_a_hundred, Ordering::Relaxed);
    }

    /// The canary is as slow as is promised, or slower.
    pub(crate) fn wait(&self, permille: u64) {
        self.slow.store(permille, Ordering::Relaxed);
    }

    /// What is promised, as a target has it: few errors, which count, and short waits, which don't count as much.
    pub(crate) fn objectives() -> String {
        let side = |track: &str| {
            format!(
                "{{ bad = 'sum(increase(errors_total{{track=\"{track}\"}}[5s]))', \
                 total = 'sum(increase(requests_total{{track=\"{track}\"}}[5s]))' }}"
            )
        };
        format!(
            "[[objective]]\nname = \"errors\"\ncandidate = {}\nbaseline = {}\n\
             [[objective]]\nname = \"waits\"\ncritical = false\nvalue = {{ candidate = 'wait_permille' }}\nabove = 1000\n",
            side("canary"),
            side("stable"),
        )
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn says(stable: u64, canary: u64, bad: u64, slow: u64) -> String {
    format!(
        "# TYPE requests_total counter\nrequests_total{{track=\"stable\"}} {stable}\nrequests_total{{track=\"canary\"}} {canary}\n\
         # TYPE errors_total counter\nerrors_total{{track=\"stable\"}} 0\nerrors_total{{track=\"canary\"}} {bad}\n\
         # TYPE wait_permille gauge\nwait_permille {slow}\n"
    )
}
