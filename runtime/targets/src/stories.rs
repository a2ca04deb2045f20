//! Configurations, right and wrong, and what is told of them.

mod migrating;
mod mistakes;

use std::{collections::BTreeSet, fs, path::Path};

use backstay_config::Document;
use backstay_core::SharedData;
use backstay_model::{Millis, Mode, Name, Scope, TargetId};
use backstay_signals::{Limit, Source};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Reading, Secret, Table, Targets, target_schema};

/// The page that people read: its examples are what is tried here.
const PAGE: &str = include_str!("../../../docs/targets.md");

/// The examples of [`PAGE`]: what targets share, a service with all its keys, the smallest one, a data base that migrates.
fn examples() -> [String; 4] {
    let examples = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    examples.collect::<Vec<_>>().try_into().unwrap()
}

/// A server's configuration in a folder of its own.
struct World {
    folder: TempDir,
    main: String,
}

impl World {
    /// The tables of the example, and no target yet.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [shared, ..] = examples();
        let main = shared.replace("/etc/backstay/targets.d", folder.path().to_str().unwrap());
        Self { folder, main }
    }

    /// With a target as the example has it.
    fn example() -> Self {
        let [_, target, ..] = examples();
        Self::new().has("checkout.toml", &target)
    }

    fn has(self, file: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(file), text).unwrap();
        self
    }

    fn says(self, from: &str, to: &str) -> Self {
        assert!(self.main.contains(from), "{from}");
        Self { main: self.main.replacen(from, to, 1), ..self }
    }

    fn reads(&self) -> Reading {
        Reading::of(&Document::new(Path::new("backstay.toml"), &self.main))
    }

    fn targets(&self) -> Targets {
        let Reading { targets, problems, .. } = self.reads();
        targets.unwrap_or_else(|| panic!("{problems:#?}"))
    }

    /// What is wrong, a line each, with the folder left out.
    fn told(&self) -> Vec<String> {
        let Reading { targets, problems, .. } = self.reads();
        assert_eq!(targets.is_some(), problems.is_empty(), "all of it or nothing");
        self.lines(&problems)
    }

    fn warned(&self) -> Vec<String> {
        self.lines(&self.reads().warnings)
    }

    fn lines(&self, problems: &[backstay_config::Problem]) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        problems
            .iter()
            .map(|problem| {
                problem.to_string().replace(&format!("{folder}/"), "").replace(folder, "targets.d")
            })
            .collect()
    }
}

fn id(text: &str) -> TargetId {
    TargetId::parse(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// What the page shows is what is read, key by key.
#[test]
fn the_examples_of_the_page_are_right() {
    let [_, _, smallest, base] = examples();
    let world = World::example().has("checkout-db.toml", &base).has("small.toml", &smallest);
    let targets = world.targets();
    assert_eq!(world.warned(), Vec::<String>::new());
    let checkout = targets.get(&id("checkout")).unwrap();
    assert_eq!(
        (checkout.domain.as_str(), checkout.mode, checkout.window),
        ("eu-west", Mode::Enforce, Millis::from_secs(60))
    );
    assert_eq!(checkout.playbooks.iter().map(|rung| rung.attempts).collect::<Vec<_>>(), [3, 1]);
    assert_eq!((&checkout.schema, checkout.looks), (&Some(SharedData::Version(7)), true));
    assert!(checkout.holds && checkout.settings.contains_key(&name("healthy")));
    let forms = checkout
        .objectives
        .iter()
        .map(|objective| (objective.name.as_str(), objective.critical, objective.scope));
    assert_eq!(
        forms.collect::<Vec<_>>(),
        [
            ("errors", true, Scope::Local),
            ("latency", true, Scope::Local),
            ("budget", false, Scope::Local),
            ("ci-errors", false, Scope::Local),
            ("database", false, Scope::Dependency)
        ]
    );
    assert!(matches!(&checkout.objectives[0].source, Source::Ratio { baseline: Some(_), .. }));
    assert!(
        matches!(&checkout.objectives[1].source, Source::Value { limit: Limit::Above(limit), .. } if limit.get() == 0.3)
    );
    let shared = targets.shared();
    assert_eq!((shared.brakes.per_hour(), shared.brakes.per_domain_hour()), (20, 5));
    let page = shared.page.as_ref().unwrap().credential.as_ref().unwrap();
    assert!(matches!(&page.secret, Secret::Command { keep, .. } if *keep == Millis::from_secs(600)));
    assert_eq!(shared.commands[&name("restart-remote")].ssh.as_ref().unwrap().port(), 22);
}

/// What isn't said is as the page says: who names a policy and a metric is observed, with usual rails.
#[test]
fn the_smallest_target_is_observed() {
    let [_, _, smallest, _] = examples();
    let world = World::new().has("small.toml", &smallest);
    let targets = world.targets();
    let small = targets.get(&id("small")).unwrap();
    assert_eq!(
        (small.mode, small.domain.as_str(), small.window),
        (Mode::Observe, "default", Millis::from_secs(60))
    );
    assert_eq!(small.rails, crate::Rails::default());
    let rails = small.rails;
    assert_eq!((rails.breaker, rails.run_limit), (Millis::from_secs(2700), Millis::from_secs(900)));
    assert_eq!(
        (rails.confirm_windows, rails.cure_windows, rails.rollbacks_per_hour, rails.heals_per_hour),
        (3, 3, 3, 12)
    );
    // The example writes the defaults out, so it can't drift from them.
    assert_eq!(World::example().targets().get(&id("checkout")).unwrap().rails, rails);
    assert!(small.executor.is_none() && small.prometheus.is_none() && small.schema.is_none());
    assert!(!small.looks && small.migration.is_none());
}

#[test]
fn without_targets_nothing_is_watched() {
    let none = Reading::of(&Document::new(
        Path::new("backstay.toml"),
        "state = \"/var\"\n[api]\ntoken_file = \"t\"\n",
    ));
    assert!(none.targets.is_some_and(|targets| targets.is_empty()), "{:?}", none.problems);
}

/// One mistake each in the example: what is changed, into what, and all that is told.
#[test]
fn each_mistake_is_told_with_its_place_and_what_was_expected() {
    for (from, to, told) in mistakes::OF_A_TARGET {
        let [_, target, ..] = examples();
        assert!(target.contains(from), "{from}");
        let world = World::new().has("checkout.toml", &target.replacen(from, to, 1));
        assert_eq!(world.told(), [*told], "{from} -> {to}");
    }
    for (from, to, told) in mistakes::OF_WHAT_IS_SHARED {
        assert_eq!(World::example().says(from, to).told(), [*told], "{from} -> {to}");
    }
}

/// A file with many mistakes and a shared table with one: all are told in one go, and what follows from them isn't.
#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let world = World::example()
        .has("a.toml", "policy = \"tree\"\nwindow = \"2s\"\nmode = \"no\"\n[[objective]]\nname = \"a\"\nmetric = \"m\"\n[[objective]]\nname = \"a\"\nalert = \"A\"\ncolour = 1\n[rails]\nbackoff_base = \"1h\"\n")
        .has("b.toml", "policy = \"tree\"\nobjective = []\n")
        .says("per_hour = 20", "per_hour = 0");
    let told = world.told();
    let places: Vec<_> =
        told.iter().map(|line| line.splitn(4, ": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        places,
        [
            "backstay.toml:48: brakes.per_hour",
            "a.toml:2: window",
            "a.toml:3: mode",
            "a.toml:4: objective[0].above",
            "a.toml:8: objective[1].name",
            "a.toml:10: objective[1].colour",
            "a.toml:12: rails.backoff_base",
            "b.toml:2: objective",
        ],
        "{told:#?}"
    );
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let none = Reading::of(&Document::new(Path::new("backstay.toml"), "targets = \"/nowhere/targets.d\"\n"));
    let told = none.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].starts_with(
            "backstay.toml:1: targets: expected a folder that can be read, /nowhere/targets.d: "
        ),
        "{told:#?}"
    );
}

#[test]
fn a_service_has_one_file() {
    let [_, _, smallest, _] = examples();
    let world = World::example().has("also.toml", &format!("service = \"checkout\"\n{smallest}"));
    assert_eq!(
        world.told(),
        ["checkout.toml:1: service: \"checkout\" is the target of also.toml already: expected each once"]
    );
    // A file that is wrong in another way owns its name as well.
    let world =
        World::example().has("also.toml", "service = \"checkout\"\npolicy = \"tree\"\nobjective = []\n");
    assert_eq!(world.told().len(), 2, "{:#?}", world.told());
}

/// An executor is told of each target apart, on top of what it is told of all of them. The target is named for which that is too much.
#[test]
fn a_target_has_no_more_to_be_told_of_it_than_is_recorded() {
    let [_, _, smallest, _] = examples();
    let texts = |count: usize| format!("[{}]", vec![format!("\"{}\"", "x".repeat(996)); count].join(", "));
    let target =
        |count: usize| format!("executor = \"db\"\nsettings = {{ objects = {} }}\n{smallest}", texts(count));
    let world = World::new().has("small.toml", &target(16)).has("shop.toml", &target(8));
    assert_eq!(world.targets().len(), 2);
    let world = world.has("shop.toml", &target(17));
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("shop.toml:2: settings: expected at most 16384 bytes"), "{told:#?}");
    let db = "bundle = \"/usr/share/backstay/executor-db.bundle\"";
    let world =
        world.has("shop.toml", &target(8)).says(db, &format!("{db}\nsettings = {{ common = {} }}", texts(8)));
    let told = world.told();
    assert!(told.len() == 1 && told[0].starts_with("small.toml:2: settings: "), "{told:#?}");
}

#[test]
fn what_is_in_the_folder_and_is_no_target_is_told() {
    let world = World::example().has(".hidden.toml", "no").has("notes.md", "no").has("old.toml~", "no");
    fs::create_dir(world.folder.path().join("more.toml")).unwrap();
    assert_eq!(world.targets().len(), 1);
    assert_eq!(
        world.warned(),
        [
            ".hidden.toml: is not read: it is hidden",
            "more.toml: is not read: it is no file",
            "notes.md: is not read: its name doesn't end in .toml",
            "old.toml~: is not read: its name doesn't end in .toml",
        ]
    );
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    let [_, target, ..] = examples();
    let target = target
        .replace("window = \"1m\"", "window = \"30s\"")
        .replace("breaker = \"45m\"", "breaker = \"5m\"");
    let world = World::new().has("checkout.toml", &target);
    assert_eq!(world.targets().len(), 1);
    let warned = world.warned();
    assert_eq!(warned.len(), 5, "{warned:#?}");
    assert_eq!(
        warned[0],
        "checkout.toml:23: objective[0].candidate.bad: it counts over [1m], and the window is 30s"
    );
    assert_eq!(warned[4], "checkout.toml:49: rails.breaker: 5m is unusual: 30m to 60m lets a cause be found");
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let world = World::example();
    fs::write(world.folder.path().join("bytes.toml"), [0xff, 0xfe]).unwrap();
    fs::write(world.folder.path().join("huge.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    std::os::unix::fs::symlink("nowhere", world.folder.path().join("link.toml")).unwrap();
    let told = world.told();
    assert_eq!(told.len(), 3, "{told:#?}");
    for (line, file) in told.iter().zip(["bytes", "huge", "link"]) {
        assert!(line.starts_with(&format!("{file}.toml: cannot be read: ")), "{line}");
    }
}

#[test]
fn two_hundred_targets_are_read_and_a_thousand_and_one_are_not() {
    let [_, target, smallest, _] = examples();
    let mut world = World::new();
    for number in 0..200 {
        world =
            world.has(&format!("t{number}.toml"), &target.replace("\"checkout\"", &format!("\"t{number}\"")));
    }
    assert_eq!(world.targets().len(), 200);
    for number in 200..=1000 {
        world = world.has(&format!("t{number}.toml"), &smallest);
    }
    assert_eq!(
        world.told(),
        ["backstay.toml:1: targets: expected at most 1000 files in targets.d, found 1001"]
    );
}

/// Whatever becomes of any key of a right configuration, it is read or refused, and each refusal says where.
#[test]
fn no_change_of_a_right_configuration_makes_it_panic() {
    let [shared, target, ..] = examples();
    let mut refused = 0;
    for replaced in [
        "",
        "5",
        "-1",
        "\"\"",
        "\"x\"",
        "[]",
        "[1]",
        "{}",
        "{ x = 1 }",
        "true",
        "nan",
        "1979-05-27",
        "\u{0}",
        "'''",
    ] {
        for (at, line) in target
            .lines()
            .enumerate()
            .chain(shared.lines().enumerate().skip(1).map(|(at, line)| (at + 1000, line)))
        {
            let Some((key, _)) = line.split_once('=') else { continue };
            let changed = if replaced.is_empty() { String::new() } else { format!("{key} = {replaced}") };
            let text = |text: &str, from: usize| -> String {
                let lines = text.lines().enumerate().map(|(number, line)| {
                    if number + from == at { changed.clone() } else { line.to_owned() }
                });
                lines.collect::<Vec<_>>().join("\n")
            };
            let mut world = World::new().has("checkout.toml", &text(&target, 0));
            if at >= 1000 {
                world.main = text(&world.main, 1000);
            }
            let Reading { targets, problems, .. } = world.reads();
            assert_eq!(targets.is_none(), !problems.is_empty(), "{changed}");
            refused += problems.len();
            for problem in problems {
                let file = problem.file.to_str().unwrap();
                assert!(file.ends_with("backstay.toml") || file.ends_with("checkout.toml"), "{problem}");
                let is_told = problem.line.is_some() || problem.why.starts_with("is missing");
                assert!(is_told && !problem.why.is_empty(), "{problem}");
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// A server is told to read anew: what is another now is named, and what is wrong changes nothing.
#[test]
fn a_reload_says_what_it_changes() {
    let [_, target, smallest, _] = examples();
    let world = World::example().has("small.toml", &smallest).has("stays.toml", &smallest);
    let old = world.targets();
    assert!(world.targets().changes(&old).is_empty());

    let world = world.has("small.toml", &smallest.replace("0.01", "0.02")).has("new.toml", &smallest);
    fs::rename(world.folder.path().join("checkout.toml"), world.folder.path().join("renamed.toml")).unwrap();
    let changes = world.targets().changes(&old);
    assert_eq!(
        (changes.added, changes.removed, changes.changed),
        (vec![id("new")], vec![], vec![id("small")])
    );

    // The executor of one target, and what nobody names.
    let before = world.targets();
    let world = world
        .says("executor-commands.bundle", "executor-commands-2.bundle")
        .says("per_hour = 20", "per_hour = 30");
    let changes = world.targets().changes(&before);
    assert_eq!(
        (changes.changed, changes.tables),
        (vec![id("checkout")], vec![Table::Executors, Table::Brakes])
    );

    fs::remove_file(world.folder.path().join("renamed.toml")).unwrap();
    assert_eq!(world.targets().changes(&before).removed, [id("checkout")]);

    let world = world.has("wrong.toml", &target.replace("\"tree\"", "\"bush\""));
    let main = Document::new(Path::new("backstay.toml"), &world.main);
    assert!(Targets::load(&main).is_err(), "all of it or nothing");
}

/// The file that editors use is what the code generates; `BACKSTAY_REWRITE=1` writes it anew.
#[test]
fn the_committed_schema_is_what_the_code_generates() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/target.schema.json");
    let generated = format!("{}\n", serde_json::to_string_pretty(&target_schema()).unwrap());
    if std::env::var_os("BACKSTAY_REWRITE").is_some() {
        fs::write(file, &generated).unwrap();
    }
    assert!(fs::read_to_string(file).unwrap() == generated, "BACKSTAY_REWRITE=1 writes {file} anew");
}

/// What the page shows, the schema knows: each key of each table of the examples, and no key is left out.
#[test]
fn the_examples_show_each_key_of_the_schema() {
    let schema = target_schema();
    let [_, target, _, base] = examples();
    let [target, base]: [toml::Table; 2] = [target, base].map(|text| text.parse().unwrap());
    let known = |schema: &Value| -> BTreeSet<String> {
        assert_eq!(schema["additionalProperties"], false);
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let shown = |tables: &[&toml::Value]| -> BTreeSet<String> {
        tables.iter().flat_map(|table| table.as_table().unwrap().keys().cloned()).collect()
    };
    assert_eq!(target.keys().chain(base.keys()).cloned().collect::<BTreeSet<_>>(), known(&schema));
    let objectives: Vec<_> = target["objective"].as_array().unwrap().iter().collect();
    let mut objective = known(&schema["$defs"]["Objective"]);
    assert!(objective.remove("below"), "the comment beside `above` names it");
    assert_eq!(shown(&objectives), objective);
    let mut shared_data = known(&schema["$defs"]["Schema"]);
    assert!(shared_data.remove("of"), "the comment beside `version` names it");
    assert_eq!(shown(&[&target["schema"]]), shared_data);
    for (definition, table) in [("Rails", &target["rails"]), ("Migration", &base["migration"])] {
        assert_eq!(shown(&[table]), known(&schema["$defs"][definition]), "{definition}");
    }
}
