//! A migration that people order and a server drives, with real processes: PostgreSQL with old and new code that writes to it all the
//! while, the server with its signed executors, a Prometheus, and the command line.
//!
//! The flag server and the pager are doubles. Not here: the steps themselves with every mishap (`executor-db`'s own tests, and
//! `database`), and every order of events (the gate's model check).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "migration/plant.rs"]
mod plant;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use backstay_test_real::{FlagsDouble, Postgres, ROWS, Release, Writers, pumps, until};
use plant::{Plant, refused};

/// Of the third batch: a lock on it stops that batch in its middle.
const LOCKED: u32 = 12_345;

/// Each row that a batch brought into step, each time that one did.
const TALLY: &str = "
    CREATE TABLE filled (id bigint);
    CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO filled VALUES (NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER tally AFTER UPDATE ON pumps FOR EACH ROW
      WHEN (current_setting('application_name') = 'psql') EXECUTE FUNCTION tally();";

fn number(postgres: &Postgres, sql: &str) -> u32 {
    postgres.asks(sql).parse().unwrap()
}

fn has_old_columns(postgres: &Postgres) -> bool {
    postgres.tries("SELECT pressure_bar FROM pumps LIMIT 1").is_ok()
}

/// From the first look to the contract, and what can't be done any more afterwards. The server dies in the middle of a batch.
#[test]
fn people_take_a_data_base_through_its_migration_while_two_releases_write_to_it() {
    let Some(postgres) = pumps() else { return };
    let flags = FlagsDouble::start(["read-new"]);
    let Some(mut plant) = Plant::opens(&postgres, &flags) else { return };
    let mut writers = Writers::start(&postgres, &flags, &[Release::Old]);
    plant.is_out("2.1", "6..7");
    let shown = plant.until("somebody has looked", |shown| shown["code"] == "old");
    assert_eq!((&shown["phase"], &shown["next"]), (&"before".into(), &"expand".into()), "{shown:#}");

    // What it would do is shown, and not done.
    let plan = plant.says(&["plan", "pumps-db", "migrate-next"]);
    let shown = plan.json["effects"].to_string();
    assert!(shown.contains("schema-status") && shown.contains("expand"), "{:#}", plan.json);
    assert_eq!(plant.shown()["phase"], "before");
    assert_eq!(plant.steps("next")["phase"], "expanded");

    // 2.2 goes out beside 2.1.
    plant.deploys("2.2", "50%", "7..8");
    writers.starts(Release::New);
    plant.until("both are seen", |shown| shown["code"] == "both");
    assert_eq!(plant.steps("next")["phase"], "dual write");

    is_killed_in_a_batch(&mut plant, &postgres);
    writers.have_kept_everything(&postgres);
    plant.until("both are seen again", |shown| shown["code"] == "both");
    assert_eq!(plant.steps("next")["phase"], "read new");
    assert!(flags.is_on("read-new"));
    writers.go_on();

    // As long as old code runs the way back stays open, and there is no way on.
    let old_code = "code that can't live with schema 8 runs or may start";
    plant.is_refused("next", old_code, "bring 2.2 or a later release to every instance first");
    writers.stops(Release::Old);
    plant.is_out("2.2", "7..8");
    plant.until("new code is alone", |shown| shown["code"] == "new");
    let began = Instant::now();
    assert_eq!(plant.steps("next")["phase"], "soaking");
    plant.is_refused("next", "the soak lasts ", "wait, or go back while that is possible");
    plant.is_refused("contract", "the soak lasts ", "wait, or go back while that is possible");
    writers.go_on();
    let irrevocable = "the contract is next, and nothing leads back from it";
    let shown = plant.until("the soak is over", |shown| shown["hindrance"] == irrevocable);
    println!("summary: the soak was over after {} s", began.elapsed().as_secs());
    plant.is_refused(
        "next",
        irrevocable,
        "take a copy of the data base, and then order the contract by its name",
    );
    assert_eq!(shown["phase"], "soaking");
    assert!(has_old_columns(&postgres));
    assert_eq!(plant.steps("contract")["phase"], "contracted");
    assert!(!has_old_columns(&postgres));
    writers.go_on();
    writers.have_kept_everything(&postgres);
    nothing_leads_back(&plant);
    it_is_known_who_ordered_it(&plant.events());
    println!("summary: {} writes, none lost", writers.count());
}

/// The server dies while PostgreSQL is in the middle of the third batch. It starts again, looks, and brings the rest into step.
fn is_killed_in_a_batch(plant: &mut Plant, postgres: &Postgres) {
    let _ = postgres.asks(TALLY);
    let mut other = postgres.connect("report");
    let _ = other.asks(&format!("BEGIN; SELECT id FROM pumps WHERE id = {LOCKED} FOR UPDATE;"));
    assert_eq!(plant.orders("next", &[]).exit, Some(0));
    let waits = "SELECT count(*) FROM pg_stat_activity AS other JOIN pg_stat_activity AS batch
      ON other.pid = ANY(pg_blocking_pids(batch.pid)) AND other.application_name = 'report'
      WHERE batch.application_name = 'psql'";
    until("a batch that waits for a row", || postgres.asks(waits) != "0");
    plant.fleet.kill_server();
    let filled = number(postgres, "SELECT count(*) FROM filled");
    assert!((1..ROWS / 2).contains(&filled), "{filled}");
    let _ = other.asks("COMMIT;");
    let began = Instant::now();
    plant.fleet.start_server().unwrap();
    let shown =
        plant.until("the backfill is done", |shown| shown["wanted"].is_null() && shown["step"].is_null());
    assert_eq!(shown["phase"], "backfilled", "{}", plant.events().join("\n"));
    println!(
        "summary: killed with {filled} of {ROWS} rows backfilled; the rest was done {} ms after it was started again",
        began.elapsed().as_millis()
    );
    let differing =
        "SELECT count(*) FROM pumps WHERE pressure_pa IS DISTINCT FROM round(pressure_bar * 100000)";
    assert_eq!(number(postgres, differing), 0);
    let twice = number(postgres, "SELECT count(*) - count(DISTINCT id) FROM filled");
    assert_eq!(twice, 0, "rows were filled twice");
    let _ = postgres.asks("DROP TRIGGER tally ON pumps");
    // The batch that was cut off is in doubt, and what came of it is written down once like that of every other.
    let (mut began, mut ended) = (BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
    for told in plant.events() {
        if let Some(effect) = told.strip_suffix(" ended").filter(|told| told.contains(", effect ")) {
            *ended.entry(effect.into()).or_default() += 1;
        } else if let Some((effect, _)) = told.split_once(": ").filter(|(told, _)| told.contains(", effect "))
        {
            *began.entry(effect.into()).or_default() += 1;
        }
    }
    assert_eq!(began, ended);
    assert!(began.values().all(|times| *times == 1), "{began:#?}");
}

/// Past the contract a release that needs the old columns is kept out, by whatever way it comes.
fn nothing_leads_back(plant: &Plant) {
    let (why, way_out) =
        ("release 2.1 can't live with schema 8", "keep 2.2 and switch off the flag of the feature at fault");
    refused(&plant.says(&["target", "rollback", "pumps", "--reason", "carts are empty"]), why, way_out);
    refused(&plant.says(&["plan", "pumps", "rollback"]), why, way_out);
    assert_eq!(fs::read_to_string(plant.path("version")).unwrap().trim(), "2.2");
    plant.is_refused("back", "nothing leads back from the contract", way_out);
    plant.is_refused("next", "is complete", "nothing is left to do");

    let keyring = plant.path("fleet/keys/keyring").display().to_string();
    let question = [
        "--service",
        "pumps",
        "--build",
        "99",
        "--version",
        "2.1.1",
        "--schema",
        "6..7",
        "--keyring",
        &keyring,
    ];
    let verdict = plant.pipeline(&[&["verdict"], &question[..]].concat());
    assert_eq!(verdict.json["action"], "pause", "{:#}", verdict.json);
    assert!(
        verdict.json["reasons"][0]
            .as_str()
            .unwrap()
            .starts_with("release 2.1.1 can't live with schema 8; the way out: keep 2.2")
    );
    assert_eq!(plant.pipeline(&[&["gate"], &question[..]].concat()).exit, Some(25));
    let later = [
        "gate",
        "--service",
        "pumps",
        "--build",
        "100",
        "--version",
        "2.3",
        "--schema",
        "8..8",
        "--keyring",
        &keyring,
    ];
    assert_eq!(plant.pipeline(&later).exit, Some(0));

    // It goes out all the same: nobody was asked, and somebody is told.
    plant.deploys("2.1.1", "10%", "6..7");
    plant.is_paged("release 2.1.1 can't live with schema 8; the way out: keep 2.2");
}

/// Each step has the name of the person who ordered it, with what for, and of nobody else.
fn it_is_known_who_ordered_it(events: &[String]) {
    let told = |what: &str| events.iter().filter(|told| told.contains(what)).count();
    // The backfill took two runs, by one order.
    for (step, runs) in
        [("expand", 1), ("dual-write-on", 1), ("backfill", 2), ("read-new", 1), ("contract", 1)]
    {
        assert_eq!(told(&format!("heal by {step}; ann said so")), runs, "{events:#?}");
    }
    assert_eq!(told("ann did by hand: take the migration a step further: schema 8"), 5, "{events:#?}");
    assert_eq!(told("ann did by hand: contract: schema 8"), 1, "{events:#?}");
    assert_eq!(told("contract is done: is contracted"), 1, "{events:#?}");
}

/// Up to where new columns are read, and back until nothing of it is left.
#[test]
fn every_step_is_taken_back() {
    let Some(postgres) = pumps() else { return };
    let flags = FlagsDouble::start(["read-new"]);
    let Some(plant) = Plant::opens(&postgres, &flags) else { return };
    let mut writers = Writers::start(&postgres, &flags, &[Release::Old]);
    plant.is_out("2.1", "6..7");
    plant.until("somebody has looked", |shown| shown["code"] == "old");
    plant.is_refused("back", "has not begun", "nothing is left to do");
    for phase in ["expanded", "dual write", "backfilled"] {
        assert_eq!(plant.steps("next")["phase"], phase);
        writers.go_on();
    }
    plant.is_refused(
        "next",
        "no code runs that could read schema 8",
        "bring 2.2 or a later release in first",
    );
    plant.is_out("2.2", "7..8");
    writers.starts(Release::New);
    plant.until("both are seen", |shown| shown["code"] == "both");
    assert_eq!(plant.steps("next")["phase"], "read new");
    writers.go_on();

    // Old code can be brought back in the middle of it.
    let said = plant.says(&["target", "rollback", "pumps", "--reason", "pumps stand still"]);
    assert_eq!(said.exit, Some(0), "{}", said.error);
    let shows = || plant.says(&["target", "show", "pumps"]).json;
    plant.until_shown("2.1 is back", shows, |view| view["out"]["release"]["version"] == "2.1");
    assert_eq!(fs::read_to_string(plant.path("version")).unwrap().trim(), "2.1");
    plant.until("what runs is seen", |shown| shown["code"] == "both");
    for phase in ["backfilled", "expanded", "before"] {
        assert_eq!(plant.steps("back")["phase"], phase);
        writers.go_on();
        writers.have_kept_everything(&postgres);
    }
    assert!(!flags.is_on("read-new"));
    assert!(postgres.tries("SELECT pressure_pa FROM pumps LIMIT 1").is_err());
    println!("summary: {} writes, none lost", writers.count());
}

/// All that the server knew is gone. What can be seen says where the migration stands, and it goes on from there.
#[test]
fn a_server_that_lost_all_it_knew_finds_out_by_looking() {
    let Some(postgres) = pumps() else { return };
    let flags = FlagsDouble::start(["read-new"]);
    let Some(mut plant) = Plant::opens(&postgres, &flags) else { return };
    let mut writers = Writers::start(&postgres, &flags, &[Release::Old, Release::New]);
    plant.until("both are seen", |shown| shown["code"] == "both");
    plant.steps("next");
    plant.steps("next");
    assert_eq!(plant.orders("next", &[]).exit, Some(0));
    let filled = || number(&postgres, "SELECT count(pressure_pa) FROM pumps");
    until("half of the backfill", || filled() > ROWS / 2);
    loses_everything(&mut plant);
    let shown = plant.until("somebody has looked", |shown| shown["code"] == "both");
    assert!(filled() < ROWS, "the backfill was over before anything was lost");
    assert_eq!((&shown["phase"], &shown["next"]), (&"dual write".into(), &"backfill".into()), "{shown:#}");
    assert_eq!(plant.steps("next")["phase"], "backfilled");
    assert_eq!(plant.steps("next")["phase"], "read new");
    writers.stops(Release::Old);
    plant.until("new code is alone", |shown| shown["code"] == "new");
    assert_eq!(plant.steps("next")["phase"], "soaking");

    // How long it soaked nobody knows any more, so it soaks anew.
    loses_everything(&mut plant);
    plant.until("somebody has looked", |shown| shown["code"] == "new");
    assert_eq!(plant.steps("next")["phase"], "soaking");
    plant.is_refused("contract", "the soak lasts ", "wait, or go back while that is possible");
    writers.go_on();
    writers.have_kept_everything(&postgres);

    // Somebody takes the old column away by hand.
    drop(writers);
    let _ =
        postgres.asks("DROP TRIGGER pumps_dual_write ON pumps; ALTER TABLE pumps DROP COLUMN pressure_bar");
    plant.is_paged("somebody changed the schema past the gate: it was soaking, and is contracted");
    let shown = plant.says(&["target", "show", "pumps-db"]).json;
    assert_eq!(shown["frozen"], true, "{shown:#}");
    let thawed = plant.says(&["thaw", "pumps-db", "--reason", "it was bob, and it is meant"]);
    assert_eq!(thawed.exit, Some(0), "{}", thawed.error);
    assert_eq!(plant.shown()["phase"], "contracted");
}

/// The server is killed, and its folder is gone.
fn loses_everything(plant: &mut Plant) {
    plant.fleet.kill_server();
    fs::remove_dir_all(plant.path("fleet/server/state")).unwrap();
    let began = Instant::now();
    plant.fleet.start_server().unwrap();
    plant.until("it has looked", |shown| shown["phase"] != "unknown");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    println!("summary: without its state it knew how far the migration is after {} ms", took.as_millis());
}
