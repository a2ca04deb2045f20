//! The clock that ends a call. It ticks only while there are calls: an idle device isn't woken for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// One tick. A call overruns its time by two of them at most.
pub(crate) const TICK_MS: u64 = 10;

/// The clock goes on for this many ticks after a call, so that a burst of calls wakes the thread once.
const IDLE_TICKS: u32 = 100;

/// A thread that moves an engine's epoch on.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Calls that are under way.
    running: AtomicUsize,
    /// Calls that ever began.
    begun: AtomicU64,
    /// The thread sleeps until it is woken.
    idle: AtomicBool,
    stop: AtomicBool,
}

/// As long as this is there, the clock ticks.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    pub(crate) fn start(tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("plugin-clock".into()).spawn(move || of_thread.run(&tick))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn running(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        self.shared.begun.fetch_add(1, SeqCst);
        // Either the thread sees that a call runs before it goes to sleep, or it is seen here that it sleeps.
        if self.shared.idle.swap(false, SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Running(&self.shared)
    }
}

impl Shared {
    fn run(&self, tick: &dyn Fn()) {
        let (mut seen, mut quiet) = (0, 0);
        while !self.stop.load(SeqCst) {
            thread::park_timeout(Duration::from_millis(TICK_MS));
            tick();
            let begun = self.begun.load(SeqCst);
            quiet = if begun == seen && self.running.load(SeqCst) == 0 { quiet + 1 } else { 0 };
            seen = begun;
            if quiet < IDLE_TICKS {
                continue;
            }
            self.idle.store(true, SeqCst);
            while self.running.load(SeqCst) == 0 && self.idle.load(SeqCst) && !self.stop.load(SeqCst) {
                thread::park();
            }
            self.idle.store(false, SeqCst);
            quiet = 0;
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread does nothing that could panic; if it did, there is nobody here to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_clock_ticks_while_a_call_runs_and_ends_with_its_owner() {
        let (ticked, ticks) = mpsc::channel();
        let ticker = Ticker::start(move || {
            // Nobody listens any more once the test is over.
            let _ = ticked.send(());
        })
        .unwrap();
        let running = ticker.running();
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
        drop(running);
        drop(ticker);
        // The thread is gone, and with it the other end.
        while ticks.recv().is_ok() {}
    }
}
