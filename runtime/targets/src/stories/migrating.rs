//! A data base that migrates, the services that share its data, and what is looked at.

use backstay_core::{DualWriter, Migration};
use backstay_model::Version;

use super::*;

const STEPS: [&str; 8] = [
    "expand",
    "expand-undo",
    "dual-write-on",
    "dual-write-off",
    "backfill",
    "read-new",
    "read-old",
    "contract",
];

/// The service of the example, with its data in the data base of that name.
fn service_of(base: &str) -> String {
    let [_, service, ..] = examples();
    assert!(service.contains("\nversion = 7 "));
    service.replace("\nversion = 7 ", &format!("\nof = \"{base}\" "))
}

fn data_base() -> String {
    let [.., base] = examples();
    base
}

/// The data base of the example, and the service that shares its data.
fn both() -> World {
    World::new().has("checkout.toml", &service_of("checkout-db")).has("checkout-db.toml", &data_base())
}

#[test]
fn a_service_names_its_data_base_which_says_where_it_goes() {
    let world = both();
    let targets = world.targets();
    assert_eq!(world.warned(), Vec::<String>::new());
    let checkout = targets.get(&id("checkout")).unwrap();
    assert_eq!(checkout.schema, Some(SharedData::Of(id("checkout-db"))));
    let base = targets.get(&id("checkout-db")).unwrap();
    let migration = Migration {
        from: 7,
        to: 8,
        release: Version::parse("2.2").unwrap(),
        flag: name("dual-write"),
        writer: DualWriter::Database,
        soak: Millis::from_secs(24 * 3600),
    };
    assert_eq!((&base.migration, &base.schema), (&Some(migration.clone()), &None));
    assert!(base.looks, "nobody said so, but a migration is known by looks");

    // The example writes the defaults out, so it can't drift from them.
    let short = data_base().replace("flag =", "# flag").replace("soak =", "# soak");
    let world = world.has("checkout-db.toml", &short.replace("\"database\"", "\"application\""));
    let migration = Some(Migration { writer: DualWriter::Application, ..migration });
    assert_eq!(world.targets().get(&id("checkout-db")).unwrap().migration, migration);
}

#[test]
fn each_mistake_about_a_data_base_is_told_once() {
    for (from, to, told) in mistakes::OF_A_DATA_BASE {
        let base = data_base();
        assert!(base.contains(from), "{from}");
        let world = both().has("checkout-db.toml", &base.replacen(from, to, 1));
        assert_eq!(world.told(), [*told], "{from} -> {to}");
    }
}

#[test]
fn to_look_takes_somebody_who_can() {
    let [_, _, smallest, _] = examples();
    let world = World::new().has("small.toml", &format!("look = true\n{smallest}"));
    assert_eq!(
        world.told(),
        ["small.toml: executor: is missing: to look takes a name in [executors], which has commands, db"]
    );
    let world = world.has("small.toml", &format!("look = true\nexecutor = \"commands\"\n{smallest}"));
    assert!(world.targets().get(&id("small")).unwrap().looks);
    let world = world.has("small.toml", &format!("look = false\n{smallest}"));
    assert!(!world.targets().get(&id("small")).unwrap().looks);
}

/// A playbook of the ladder is what the policy may ask for. None of them must be able to take a migration further.
#[test]
fn no_step_of_a_migration_is_on_its_ladder() {
    let ladder = |names: &[&str]| {
        let rungs: Vec<_> = names.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
        format!("playbooks = [{}]\n", rungs.join(", "))
    };
    let world = World::new().has("checkout-db.toml", &format!("{}{}", ladder(&STEPS), data_base()));
    let expected = STEPS.iter().enumerate().map(|(at, step)| {
        format!("checkout-db.toml:1: playbooks[{at}].name: \"{step}\" is a step of the migration: expected a playbook that mends")
    });
    assert_eq!(world.told(), expected.collect::<Vec<_>>());

    // The page names them all, and elsewhere they are names like others.
    assert!(STEPS.iter().all(|step| PAGE.contains(&format!("`{step}`"))));
    let [_, _, smallest, _] = examples();
    let world = World::new().has("small.toml", &format!("{}{smallest}", ladder(&STEPS)));
    assert_eq!(world.targets().get(&id("small")).unwrap().playbooks.len(), STEPS.len());
    let world = world.has("small.toml", &format!("{}{smallest}", ladder(&["restart", "look"])));
    assert_eq!(world.told().len(), 1, "{:#?}", world.told());
}

#[test]
fn who_names_no_data_base_is_told_which_there_are() {
    let [_, _, smallest, _] = examples();
    let of = |base: &str| format!("{smallest}[schema]\nof = \"{base}\"\n");
    let world = both()
        .has("stores-db.toml", &data_base())
        .has("a.toml", &of("chekout-db"))
        .has("b.toml", &of("checkout"))
        .has("c.toml", &of("stores-db"))
        .has("d.toml", &of("Stores"));
    assert_eq!(
        world.told(),
        [
            "a.toml:8: schema.of: expected a target with a [migration]: checkout-db, stores-db; found \"chekout-db\", which is no target",
            "b.toml:8: schema.of: expected a target with a [migration]: checkout-db, stores-db; found \"checkout\", which has none",
            "d.toml:8: schema.of: \"Stores\" is no target: expected 1 to 64 of a-z, 0-9 and -",
        ]
    );
}

/// All mistakes are told at once, file by file, and what follows from one of another file isn't.
#[test]
fn a_data_base_that_is_wrong_is_still_one() {
    let [_, _, smallest, _] = examples();
    let service = |base: &str| format!("window = \"1s\"\n{smallest}[schema]\nof = \"{base}\"\n");
    let places = |world: &World| -> Vec<String> {
        let told = world.told();
        told.iter().map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": ")).collect()
    };
    // The migration can't be read, and something else of its file is wrong, too.
    let wrong = data_base().replace("to = 8", "to = \"8\"").replace("policy = \"tree\"", "policy = \"bush\"");
    let world = World::new()
        .has("checkout-db.toml", &wrong)
        .has("a.toml", &service("checkout-db"))
        .has("z.toml", &service("nowhere"));
    assert_eq!(
        places(&world),
        [
            "a.toml:1: window",
            "checkout-db.toml:1: policy",
            "checkout-db.toml:13: migration.to",
            "z.toml:1: window",
            "z.toml:9: schema.of",
        ]
    );
    // A file that doesn't even say which target it is may be the one that is meant.
    for unreadable in ["[", "policy = \"tree\"\n"] {
        let world = World::new().has("base.toml", unreadable).has("z.toml", &service("nowhere"));
        assert_eq!(world.told().len(), 2, "{:#?}", world.told());
        assert_eq!(places(&world)[1], "z.toml:1: window");
        // What is known to be something else is told all the same.
        let world = world.has("y.toml", &smallest).has("z.toml", &service("y"));
        assert_eq!(places(&world).last().map(String::as_str), Some("z.toml:9: schema.of"));
    }
}

/// A roll-back of a data base comes to a freeze, which only a person lifts.
#[test]
fn a_critical_objective_of_a_data_base_is_hardly_meant() {
    let base = data_base().replacen("critical = false", "# not said", 1);
    let world = World::new().has("checkout-db.toml", &base);
    assert_eq!(
        world.warned(),
        [
            "checkout-db.toml:5: objective[0].critical: a data base has nothing to go back to, so breaking this ends in a freeze: with critical = false breaking it holds the migration until it is good again"
        ]
    );
    assert_eq!(world.targets().len(), 1);
    // What it depends on freezes by its scope, and where nothing is critical nothing is amiss.
    let world = world.has("checkout-db.toml", &base.replacen("# not said", "scope = \"dependency\" #", 1));
    assert_eq!(world.warned(), Vec::<String>::new());
}

/// What a reload has to tell whom: a migration is its data base's own matter, also where services name it.
#[test]
fn a_reload_says_which_migration_is_another() {
    let world = both();
    let old = world.targets();
    let world = world.has("checkout-db.toml", &data_base().replace("soak = \"24h\"", "soak = \"48h\""));
    assert_eq!(world.targets().changes(&old).changed, [id("checkout-db")]);

    let before = world.targets();
    let [_, service, ..] = examples();
    let world = world.has("checkout.toml", &service);
    assert_eq!(world.targets().changes(&before).changed, [id("checkout")]);

    let before = world.targets();
    let world = world.has("checkout.toml", &service.replace("look = true", "look = false"));
    assert_eq!(world.targets().changes(&before).changed, [id("checkout")]);

    // The data base's file goes, and a service still names it: all of it or nothing.
    let world = world.has("checkout.toml", &service_of("checkout-db"));
    fs::remove_file(world.folder.path().join("checkout-db.toml")).unwrap();
    assert_eq!(world.told().len(), 1, "{:#?}", world.told());
}

/// Whatever becomes of any key of a data base's file, it is read or refused, and each refusal says where.
#[test]
fn no_change_of_a_data_base_makes_it_panic() {
    let base = data_base();
    let mut refused = 0;
    for replaced in ["", "5", "-1", "\"\"", "\"x\"", "[]", "{}", "{ x = 1 }", "true", "nan", "\u{0}", "'''"] {
        for line in base.lines() {
            let Some((key, _)) = line.split_once('=') else { continue };
            let changed = if replaced.is_empty() { String::new() } else { format!("{key} = {replaced}") };
            let world = both().has("checkout-db.toml", &base.replacen(line, &changed, 1));
            let Reading { targets, problems, .. } = world.reads();
            assert_eq!(targets.is_none(), !problems.is_empty(), "{changed}");
            refused += problems.len();
            for problem in problems {
                assert!(problem.file.ends_with("checkout-db.toml"), "{changed}: {problem}");
                assert!(problem.line.is_some() || problem.why.starts_with("is missing"), "{problem}");
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
