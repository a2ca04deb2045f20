//! A data base of pumps whose column `pressure_bar` becomes `pressure_pa`, and the commands of that migration.
//!
//! The SQL is that of `fixtures/database`, one file for each command. Not here: who orders a command, and who writes meanwhile
//! (`writers`).

use std::{fs, thread, time::Duration};

use crate::Postgres;

/// Rows before the migration.
pub const ROWS: u32 = 50_000;

/// Every command of the executor for data bases, with its SQL.
const COMMANDS: [(&str, &str); 11] = [
    ("schema-status", include_str!("../fixtures/database/schema-status.sql")),
    ("old-code-count", include_str!("../fixtures/database/old-code-count.sql")),
    ("new-code-count", include_str!("../fixtures/database/new-code-count.sql")),
    ("expand", include_str!("../fixtures/database/expand.sql")),
    ("expand-undo", include_str!("../fixtures/database/expand-undo.sql")),
    ("dual-write-on", include_str!("../fixtures/database/dual-write-on.sql")),
    ("dual-write-off", include_str!("../fixtures/database/dual-write-off.sql")),
    ("dual-write-status", include_str!("../fixtures/database/dual-write-status.sql")),
    ("backfill-batch", include_str!("../fixtures/database/backfill-batch.sql")),
    ("fill-back-batch", include_str!("../fixtures/database/fill-back-batch.sql")),
    ("contract", include_str!("../fixtures/database/contract.sql")),
];

/// A data base with [`ROWS`] pumps. `None` after it was said why the test is skipped.
///
/// # Panics
/// If PostgreSQL is installed and doesn't start.
#[must_use]
pub fn pumps() -> Option<Postgres> {
    let postgres = Postgres::start()?;
    let _ = postgres.asks("CREATE TABLE pumps (id bigint PRIMARY KEY, pressure_bar numeric(12,5))");
    let _ = postgres
        .asks(&format!("INSERT INTO pumps SELECT id, id / 100.0 FROM generate_series(1, {ROWS}) AS id"));
    Some(postgres)
}

/// The command lines, by name, with the files that they run.
///
/// # Panics
/// If a file can't be written.
#[must_use]
pub fn pump_commands(postgres: &Postgres) -> Vec<(&'static str, Vec<String>)> {
    let command = |(name, sql): (&'static str, &str)| {
        let file = postgres.dir().join(format!("{name}.sql"));
        fs::write(&file, sql).unwrap_or_else(|e| panic!("cannot write {name}.sql: {e}"));
        (name, postgres.argv(&file))
    };
    COMMANDS.into_iter().map(command).collect()
}

/// Waits for something, with a bound.
///
/// # Panics
/// If it doesn't come about.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} doesn't come about");
}
