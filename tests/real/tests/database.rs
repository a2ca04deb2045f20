//! A migration of a real PostgreSQL, with old and new code writing to it all the while.
//!
//! Here: `core`'s gate says which step comes, `executor-db` says what a step does, `hands` do it, and the SQL is that of
//! `fixtures/database`, one file for each command. The flag server is a double. Not here: every order of events (the gate's
//! model check) and every mishap of a step (`executor-db`'s own tests).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "database/migration.rs"]
mod migration;

use backstay_core::{Code, DualWriter, GateMove, GateWish, Hindrance, Phase, Step};
use backstay_model::{Millis, Mono, Schema, SchemaRange, Ticket, Version};
use backstay_test_real::{FlagsDouble, Postgres, ROWS, Release, Writers, pumps};
use migration::{Cut, MigrationUnderTest, SOAK};

/// Release 2.1, which knows nothing of the new column.
const OLD: SchemaRange = SchemaRange { from: 6, to: 7 };
/// Release 2.2, which lives with both.
const NEW: SchemaRange = SchemaRange { from: 7, to: 8 };

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// Sum and count by the old column, as release 2.1 reads them.
fn read_by_old_code(postgres: &Postgres) -> String {
    postgres.asks("SELECT count(pressure_bar), count(*) FROM pumps")
}

#[test]
fn a_migration_goes_all_the_way_while_both_codes_write_and_a_backfill_is_killed() {
    let Some(postgres) = pumps() else { return };
    let flags = FlagsDouble::start(["read-new"]);
    let mut migration = MigrationUnderTest::new(&postgres, &flags, DualWriter::Database);
    let mut writers = Writers::start(&postgres, &flags, &[Release::Old]);
    migration.looks();
    assert_eq!(migration.gate.phase(), Phase::Before);

    migration.goes(GateWish::Next, Step::Expand);
    migration.brings_in("2.2", &NEW, || writers.starts(Release::New));
    migration.goes(GateWish::Next, Step::DualWriteOn);

    // The power goes in the middle of the third batch, and in the middle of the fourth.
    let backfilled = || postgres.asks("SELECT count(pressure_pa) FROM pumps").parse::<u32>().unwrap();
    let mut run = migration.begins(GateWish::Next, Step::Backfill);
    for cut in [Cut::BeforeItsAnswer, Cut::AtItsStart] {
        migration.until_batch(&mut run, 2);
        run = migration.killed(run, cut);
        let so_far = backfilled();
        assert!(so_far < ROWS, "the backfill was cut off too late to show anything: {so_far}");
        println!("summary: killed with {so_far} of {ROWS} rows backfilled");
    }
    migration.ends(run);
    assert_eq!(migration.gate.phase(), Phase::Backfilled);
    writers.have_kept_everything(&postgres);

    migration.goes(GateWish::Next, Step::ReadNew);
    writers.go_on();
    writers.have_kept_everything(&postgres);

    // Old code is there: the soak can't begin, and a contract that is ordered all the same finds it, too.
    let refused = migration.gate.wish(Mono(0), Ticket(99), GateWish::Next).unwrap_err();
    assert_eq!(refused.why(), &Hindrance::OldCode);
    let why = migration.tries("contract").unwrap_err();
    assert_eq!(why, "1 instances of old code are there: the old columns can't go");
    assert!(migration.gate.admits(&OLD), "going back is possible up to the contract");
    assert_eq!(migration.gate.facts(Some(&OLD)), Schema::Compatible(7));

    writers.stops(Release::Old);
    migration.looks();
    assert!(matches!(migration.wishes(GateWish::Next), Ok(GateMove::Stands(Phase::Soaking { .. }))));
    let refused = migration.wishes(GateWish::Next).unwrap_err();
    assert_eq!(refused.why(), &Hindrance::Soak { left: SOAK });
    writers.go_on();
    migration.now = Mono(migration.now.0 + SOAK.0);
    // Up to here, a reader of the old column had all rows.
    let reads: Vec<_> =
        read_by_old_code(&postgres).split('|').map(|count| count.parse::<u32>().unwrap()).collect();
    assert_eq!(reads[0], reads[1]);
    migration.goes(GateWish::Contract, Step::Contract);
    writers.go_on();
    writers.have_kept_everything(&postgres);
    assert!(postgres.tries("SELECT pressure_bar FROM pumps LIMIT 1").is_err());

    let refused = migration.gate.fits(&version("2.1"), &OLD).unwrap_err();
    assert_eq!(refused.to_string(), "release 2.1 can't live with schema 8");
    assert!(
        refused
            .way_out()
            .starts_with("keep 2.2 and switch off the flag of the feature at fault, or roll forward")
    );
    println!("summary: {refused}; the way out: {}", refused.way_out());
    let why = migration.tries("read-old").unwrap_err();
    assert_eq!(why, "the old columns are gone: nothing leads back from the contract");
    println!("summary: {} writes, none lost", writers.count());
}

#[test]
fn every_step_is_taken_back_until_the_contract_and_nothing_is_lost() {
    let Some(postgres) = pumps() else { return };
    let flags = FlagsDouble::start(["read-new"]);
    let mut migration = MigrationUnderTest::new(&postgres, &flags, DualWriter::Database);
    let mut writers = Writers::start(&postgres, &flags, &[Release::Old, Release::New]);
    migration.looks();
    let forward = [Step::Expand, Step::DualWriteOn, Step::Backfill, Step::ReadNew];
    let mut paths = 0;
    for far in 1..=forward.len() {
        for step in &forward[..far] {
            migration.goes(GateWish::Next, *step);
            writers.go_on();
        }
        if far == 4 {
            // Old code can come back in the middle of it, too.
            migration.brings_in("2.1", &OLD, || ());
            assert_eq!(migration.gate.phase(), Phase::ReadNew);
        }
        while migration.gate.phase() != Phase::Before {
            let Ok(GateMove::Run(step)) = migration.granted(GateWish::Back) else { panic!("no way back") };
            migration.does(step);
            writers.go_on();
            writers.have_kept_everything(&postgres);
        }
        paths += 1;
        assert_eq!(postgres.asks("SELECT count(*) FROM pg_attribute WHERE attrelid = 'pumps'::regclass AND attname = 'pressure_pa'"), "0");
    }
    println!("summary: {paths} ways there and back, {} writes, none lost", writers.count());
}

#[test]
fn where_new_code_writes_to_both_old_code_goes_first_and_a_flag_turned_off_costs_nothing() {
    let Some(postgres) = pumps() else { return };
    let flags = FlagsDouble::start(["dual-write", "read-new"]);
    let mut migration = MigrationUnderTest::new(&postgres, &flags, DualWriter::Application);
    let mut writers = Writers::start(&postgres, &flags, &[Release::Old, Release::New]);
    migration.looks();
    migration.goes(GateWish::Next, Step::Expand);
    migration.goes(GateWish::Next, Step::DualWriteOn);
    let refused = migration.wishes(GateWish::Next).unwrap_err();
    assert_eq!(refused.why(), &Hindrance::OldCode);
    writers.stops(Release::Old);
    migration.looks();
    assert_eq!(migration.code(), Code::New);
    migration.goes(GateWish::Next, Step::Backfill);
    migration.goes(GateWish::Next, Step::ReadNew);
    writers.go_on();

    // Somebody turns dual-write off. What is written now is in the new column only.
    flags.turn("dual-write", false);
    writers.go_on();
    migration.looks();
    assert_ne!(migration.status(), "in-step");
    assert!(!migration.gate.admits(&OLD), "old code would read old values");
    migration.goes(GateWish::Back, Step::DualWriteOn);
    assert_eq!(migration.status(), "in-step");
    assert!(!migration.gate.admits(&OLD), "and what it writes would be missing in the new column");
    writers.have_kept_everything(&postgres);

    migration.goes(GateWish::Back, Step::ReadOld);
    assert!(migration.gate.admits(&OLD));
    migration.goes(GateWish::Next, Step::ReadNew);
    assert!(matches!(migration.wishes(GateWish::Next), Ok(GateMove::Stands(_))));
    migration.now = Mono(migration.now.0 + Millis(SOAK.0).0);

    // Another transaction holds the table: the contract fails, and the way back is as open as before.
    let mut other = postgres.connect("report");
    let _ = other.asks("BEGIN; SELECT count(*) FROM pumps;");
    let why = migration.tries("contract").unwrap_err();
    assert!(why.starts_with("the command contract ended with exit code 3: "), "{why}");
    assert!(why.ends_with("ERROR:  canceling statement due to lock timeout"), "{why}");
    assert!(flags.is_on("dual-write"));
    assert_eq!(migration.status(), "in-step");
    drop(other);
    migration.goes(GateWish::Contract, Step::Contract);
    assert!(!flags.is_on("dual-write"));
    writers.go_on();
    writers.have_kept_everything(&postgres);
}
