//! The clock that ends a call. It ticks only while there are calls: an idle device isn't woken for it.
//!
//! It is a thread of its own, whatever else the process does: a run-time that is busy, or blocked in the very call
//! that has to be ended, can't keep it from ticking. Woken late, it makes up for the ticks that it missed, so that the
//! time of a call is that of the clock on the wall also where the machine has too much to do.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// One tick. A call overruns its time by one of them at most, and by what it takes to wake a thread.
pub(crate) const TICK_MS: u64 = 10;

const TICK: Duration = Duration::from_millis(TICK_MS);

/// The clock goes on for this many ticks after a call, so that a burst of calls wakes the thread once.
const IDLE_TICKS: u32 = 2;

/// Missed ticks that are made up for at once. Who was stopped as a whole, a virtual machine that was moved or a process
/// under a debugger, has missed thousands, and a call that was in the middle of it is not to blame.
const MADE_UP_MAX: u32 = 5;

/// What a tick does.
pub(crate) type Tick = Box<dyn Fn() + Send + Sync>;

/// A thread that moves an engine's epoch on.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    tick: Tick,
    /// Ticks so far.
    ticks: AtomicU64,
    /// Calls that are under way.
    running: AtomicUsize,
    /// Calls that ever began.
    begun: AtomicU64,
    /// The thread sleeps until it is woken.
    idle: AtomicBool,
    stop: AtomicBool,
    /// The thread has done all that threads do before their own work.
    started: AtomicBool,
    /// When the clock was made.
    since: Instant,
    /// Of the last tick, in microseconds after that.
    last: AtomicU64,
}

/// As long as this is there, the clock ticks.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    pub(crate) fn start(tick: Tick) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(tick));
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("plugin-clock".into()).spawn(move || of_thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A clock that stands still until it is told to tick.
    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn by_hand(tick: Tick) -> Self {
        let shared = Shared::new(tick);
        shared.idle.store(true, SeqCst);
        Self { shared: Arc::new(shared), thread: None }
    }

    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn tick(&self) {
        self.shared.tick();
    }

    #[cfg(all(test, feature = "compile"))]
    pub(crate) fn calls(&self) -> usize {
        self.shared.running.load(SeqCst)
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.shared.ticks.load(SeqCst)
    }

    pub(crate) fn has_started(&self) -> bool {
        self.thread.is_none() || self.shared.started.load(SeqCst)
    }

    /// Ticks that are late by now and will be made up for. What was missed before a call is no time of that call.
    pub(crate) fn owed(&self) -> u64 {
        if self.shared.idle.load(SeqCst) {
            return 0;
        }
        u64::from(due(self.shared.since_last()).min(MADE_UP_MAX))
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
    fn new(tick: Tick) -> Self {
        Self {
            tick,
            ticks: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            started: AtomicBool::new(false),
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn since_last(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_micros(self.last.load(SeqCst)))
    }

    /// `span` of the time since the last tick is over.
    fn pass(&self, span: Duration) {
        // It lasts for half a million years.
        self.last.fetch_add(u64::try_from(span.as_micros()).unwrap_or(0), SeqCst);
    }

    fn tick(&self) {
        // Counted first: whoever was ended by a tick finds it counted.
        self.ticks.fetch_add(1, SeqCst);
        (self.tick)();
    }

    fn run(&self) {
        self.started.store(true, SeqCst);
        let (mut seen, mut quiet) = (0, 0);
        while !self.stop.load(SeqCst) {
            thread::park_timeout(TICK.saturating_sub(self.since_last()));
            let late = self.since_last();
            let due = due(late);
            if due == 0 {
                continue;
            }
            self.pass(if due > MADE_UP_MAX { late } else { TICK * due });
            (0..due.min(MADE_UP_MAX)).for_each(|_| self.tick());
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
            // The sleep was no time of any call.
            self.pass(self.since_last());
            self.idle.store(false, SeqCst);
            quiet = 0;
        }
    }
}

/// Whole ticks in a span.
fn due(span: Duration) -> u32 {
    u32::try_from(span.as_millis() / u128::from(TICK_MS)).unwrap_or(u32::MAX)
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
        let ticker = Ticker::start(Box::new(move || {
            // Nobody listens any more once the test is over.
            let _ = ticked.send(());
        }))
        .unwrap();
        let running = ticker.running();
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
        assert!(ticker.ticks() >= 3);
        drop(running);
        drop(ticker);
        // The thread is gone, and with it the other end.
        while ticks.recv().is_ok() {}
    }

    #[test]
    fn what_was_missed_is_counted_in_whole_ticks() {
        for (micros, ticks) in [(0, 0), (9_999, 0), (10_000, 1), (34_000, 3), (1_000_000, 100)] {
            assert_eq!(due(Duration::from_micros(micros)), ticks);
        }
    }
}
