//! Two releases of a program that writes to the table all the while, each through a connection of its own, with a ledger.
//!
//! Release 2.1 knows `pressure_bar` only. Release 2.2 writes the column that it reads, as the flag `read-new` says, and the other
//! one too while the flag `dual-write` is on. Each has rows of its own, so its ledger says what must be found. Not here: the table
//! (`pumps`).
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test that writes")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{FlagsDouble, Postgres, ROWS, Session, until};

/// So many writes are waited for where a test lets the writers go on.
const WRITES: u32 = 20;

/// Each of them writes some 200 rows in a second. Without a pause they would fill the table rather than use it.
const PAUSE: Duration = Duration::from_millis(5);

/// Which code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 2.1
    Old,
    /// 2.2
    New,
}

impl Release {
    /// The name that it connects under.
    const fn name(self) -> &'static str {
        match self {
            Self::Old => "pumps-2.1",
            Self::New => "pumps-2.2",
        }
    }
}

/// The last value of each row that was written, in Pa.
type Ledger = Arc<Mutex<BTreeMap<u32, u64>>>;

struct Writer {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU32>,
}

/// The writers of a test. A statement of theirs that fails, fails the test.
pub struct Writers<'a> {
    postgres: &'a Postgres,
    flags: FlagsDouble,
    running: BTreeMap<Release, Writer>,
    ledger: Ledger,
    ended: u32,
}

impl<'a> Writers<'a> {
    /// Starts these.
    ///
    /// # Panics
    /// If there is no connection, or a statement fails.
    #[must_use]
    pub fn start(postgres: &'a Postgres, flags: &FlagsDouble, releases: &[Release]) -> Self {
        let (flags, ledger) = (flags.clone(), Ledger::default());
        let mut writers = Self { postgres, flags, running: BTreeMap::new(), ledger, ended: 0 };
        for release in releases {
            writers.starts(*release);
        }
        writers
    }

    /// Starts one, and waits until it writes.
    ///
    /// # Panics
    /// If there is no connection, or a statement fails.
    pub fn starts(&mut self, release: Release) {
        let mut session = self.postgres.connect(release.name());
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, written) = (Arc::clone(&stop), Arc::clone(&writes));
        let (flags, ledger) = (self.flags.clone(), Arc::clone(&self.ledger));
        let thread = thread::spawn(move || {
            let mut turn = 0;
            while !stopped.load(Ordering::Relaxed) {
                flags.during(|| write(&mut session, release, &flags, &ledger, turn));
                turn += 1;
                thread::sleep(PAUSE);
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.running.insert(release, Writer { thread, stop, writes });
        self.go_on();
    }

    /// Stops one, and waits until its connection is gone.
    ///
    /// # Panics
    /// If one of its statements failed.
    pub fn stops(&mut self, release: Release) {
        let Some(Writer { thread, stop, writes }) = self.running.remove(&release) else { return };
        stop.store(true, Ordering::Relaxed);
        thread.join().expect("a writer's statement failed");
        self.ended += writes.load(Ordering::Relaxed);
        let name = release.name();
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        until("the end of a connection", || self.postgres.asks(&sql) == "0");
    }

    /// Lets each of them write for a while.
    ///
    /// # Panics
    /// If a statement failed.
    pub fn go_on(&self) {
        for (release, writer) in &self.running {
            let goal = writer.writes.load(Ordering::Relaxed) + WRITES;
            until("a write", || {
                assert!(!writer.thread.is_finished(), "a statement of {release:?} failed");
                writer.writes.load(Ordering::Relaxed) >= goal
            });
        }
    }

    /// What was written so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.ended + self.running.values().map(|writer| writer.writes.load(Ordering::Relaxed)).sum::<u32>()
    }

    /// Stops for a moment, and holds every row against what was written last.
    ///
    /// # Panics
    /// If a row isn't there, or isn't what it was.
    pub fn have_kept_everything(&mut self, postgres: &Postgres) {
        let running: Vec<_> = self.running.keys().copied().collect();
        for release in &running {
            self.stops(*release);
        }
        let has = |column: &str| {
            let sql = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'pumps'::regclass AND NOT attisdropped AND attname = ";
            postgres.asks(&format!("{sql}'{column}'")) == "1"
        };
        let current = match (has("pressure_bar"), self.flags.is_on("read-new")) {
            (true, false) => "round(pressure_bar * 100000)",
            (_, true) => "pressure_pa",
            (false, false) => panic!("the old column is read and gone"),
        };
        let rows = postgres.asks(&format!("SELECT id, {current} FROM pumps"));
        let found: BTreeMap<u32, u64> = rows
            .lines()
            .map(|line| {
                let (id, pascals) = line.split_once('|').unwrap();
                (id.parse().unwrap(), pascals.parse().unwrap_or_else(|_| panic!("row {id} has no value")))
            })
            .collect();
        let ledger = self.ledger.lock().unwrap();
        for id in 1..=ROWS {
            let expected = ledger.get(&id).copied().unwrap_or(u64::from(id) * 1000);
            assert_eq!(found.get(&id), Some(&expected), "row {id}");
        }
        for (id, pascals) in ledger.iter() {
            assert_eq!(found.get(id), Some(pascals), "row {id}");
        }
        assert_eq!(
            found.len(),
            (1..=ROWS).chain(ledger.keys().copied()).collect::<std::collections::BTreeSet<_>>().len()
        );
        drop(ledger);
        for release in running {
            self.starts(release);
        }
    }
}

impl Drop for Writers<'_> {
    fn drop(&mut self) {
        for writer in self.running.values() {
            writer.stop.store(true, Ordering::Relaxed);
        }
        for (_, writer) in std::mem::take(&mut self.running) {
            // Its failure was told where it was found.
            let _ = writer.thread.join();
        }
    }
}

/// Every third time a new row, otherwise another value for one that is there.
fn write(session: &mut Session, release: Release, flags: &FlagsDouble, ledger: &Ledger, turn: u32) {
    let side = u32::from(release == Release::New);
    let written = ledger.lock().unwrap().len();
    let pascals = u64::from(turn) * 7 + u64::from(side) + 1;
    let bar = format!("{pascals} / 100000.0");
    let fresh = turn.is_multiple_of(3);
    let id = if fresh {
        ROWS + 1 + u32::try_from(written).unwrap() * 2 + side
    } else {
        (turn * 613 % (ROWS / 2)) * 2 + 1 + side
    };
    let (reads_new, both) = (flags.is_on("read-new"), flags.is_on("dual-write"));
    let mut columns = Vec::new();
    if release == Release::Old || !reads_new || both {
        columns.push(("pressure_bar", bar));
    }
    if release == Release::New && (reads_new || both) {
        columns.push(("pressure_pa", pascals.to_string()));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.iter().cloned().unzip();
    let sets: Vec<_> = columns.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let sql = format!(
        "INSERT INTO pumps (id, {}) VALUES ({id}, {}) ON CONFLICT (id) DO UPDATE SET {};",
        names.join(", "),
        values.join(", "),
        sets.join(", ")
    );
    assert_eq!(session.asks(&sql), "");
    ledger.lock().unwrap().insert(id, pascals);
}
