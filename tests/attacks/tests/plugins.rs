//! Every plugin in `plugins/`: signed by a vendor and an operator who did not look, and wrong in a way of its own. Each is
//! refused in the words that its folder names, here and in a process of its own; the process that asked survives them all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backstay_config::Plugin as PluginConfig;
use backstay_core::{Confidence, Terms};
use backstay_host::{
    CallError, Config, Description, Engine, Event, Plugin, engine_profile, machine, world_of,
};
use backstay_model::{Action, Event as Told, HandoverStep, Millis, Mono, Name, PluginRole};
use backstay_plugins::{
    Adviser as _, Judge, LoadError, Loader, Ready, Tier, as_release, trace,
    worker::{ARGUMENT, Program},
};
use backstay_test_attacks::{Keys, Shipped, guests};
use backstay_trust::{Limits, Permissions, VerifiedPlugin, Want};
use serde::Deserialize;

/// What a folder says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attack {
    /// What is wrong with it.
    about: String,
    #[serde(default)]
    world: World,
    /// What is called, where it isn't what every plugin of its world is for.
    call: Option<Call>,
    #[serde(default = "memory")]
    parts: String,
    #[serde(default = "nothing")]
    describe: String,
    #[serde(default = "nothing")]
    validate: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    after: String,
    /// What the refusal begins with.
    expects: String,
    #[serde(default)]
    permissions: Granted,
    #[serde(default)]
    limits: Held,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum World {
    #[default]
    Policy,
    Executor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Call {
    Describe,
    Validate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Granted {
    endpoints: Vec<Name>,
    commands: Vec<Name>,
    topics: Vec<Name>,
    paths: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Held {
    call_ms: Option<u64>,
}

fn memory() -> String {
    guests::MEMORY.into()
}

fn nothing() -> String {
    guests::NOTHING.into()
}

impl Attack {
    fn component(&self) -> Vec<u8> {
        let (world, own) = match self.world {
            World::Policy => ("policy", guests::deciding(&self.body)),
            World::Executor => ("executor", guests::stepping(&self.body, &self.after)),
        };
        guests::guest(world, &self.parts, &self.describe, &self.validate, &own)
    }

    fn shipped(&self, keys: &Keys) -> Shipped {
        let Granted { endpoints, commands, topics, paths } = &self.permissions;
        let permissions = Permissions {
            endpoints: endpoints.clone(),
            commands: commands.clone(),
            topics: topics.clone(),
            paths: paths.clone(),
            slots: false,
        };
        // All the time that can be granted, but for those who use it up: the machine may be busy.
        let call = self.limits.call_ms.map_or(Limits::MAX.call, Millis);
        let limits = Limits { call, ..Limits::DEFAULT };
        guests::shipped(keys, &self.component(), permissions, limits, 1)
    }
}

fn corpus() -> Vec<(String, Attack)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let read = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(folder.join("attack.toml")).unwrap();
        let attack = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, attack)
    };
    folders.into_iter().map(read).collect()
}

fn load(engine: &Engine, keys: &Keys, shipped: &Shipped, component: &[u8]) -> Plugin {
    Plugin::load(engine, &verified(keys, shipped, component)).unwrap()
}

fn verified(keys: &Keys, shipped: &Shipped, component: &[u8]) -> VerifiedPlugin {
    let (target, profile, world) = (machine(), engine_profile(), world_of(component).unwrap());
    let floors = BTreeMap::new();
    let want = Want { target: &target, engine: &profile, world: &world, floors: &floors, attested: None };
    let artifact = shipped.artifact.clone();
    keys.keyring.verify_plugin(&shipped.release, &shipped.grant, artifact, &want).unwrap()
}

fn attacked(plugin: &Plugin, call: Option<Call>) -> CallError {
    let config = Config::default();
    let begin = Event::Begin(guests::order());
    let error = match (plugin, call) {
        (Plugin::Policy(policy), None) => policy.decide(&config, &guests::facts(), b"").err(),
        (Plugin::Executor(executor), None) => executor.step(&config, b"", &begin).err(),
        (Plugin::Policy(policy), Some(Call::Describe)) => policy.describe().err(),
        (Plugin::Executor(executor), Some(Call::Describe)) => executor.describe().err(),
        (Plugin::Policy(policy), Some(Call::Validate)) => policy.validate(&config).err(),
        (Plugin::Executor(executor), Some(Call::Validate)) => executor.validate(&config).err(),
    };
    error.unwrap_or_else(|| panic!("it was answered"))
}

fn holds(name: &str, attack: &Attack, error: &CallError) {
    let told = error.to_string();
    assert!(told.starts_with(&attack.expects), "{name} ({}): {told}", attack.about);
    assert!(told.len() < 1024 && error.help().is_some(), "{name}: {told}");
}

#[test]
fn every_plugin_of_the_corpus_is_refused_in_its_words_and_the_host_goes_on() {
    let (keys, engine) = (Keys::new(), Engine::new().unwrap());
    let good = guests::policy(guests::MEMORY, "");
    let shipped = guests::shipped(&keys, &good, Permissions::default(), Limits::DEFAULT, 1);
    let good = load(&engine, &keys, &shipped, &good);
    let corpus = corpus();
    for (name, attack) in &corpus {
        let plugin = load(&engine, &keys, &attack.shipped(&keys), &attack.component());
        // As bad the second time, and nobody else feels it.
        for _ in 0..2 {
            holds(name, attack, &attacked(&plugin, attack.call));
        }
        let Plugin::Policy(good) = &good else { panic!("it is a policy") };
        assert!(good.decide(&Config::default(), &guests::facts(), b"").is_ok(), "after {name}");
    }
    println!("{} plugins were refused", corpus.len());
    assert!(corpus.len() >= 58, "plugins are missing: {}", corpus.len());
}

#[test]
fn every_plugin_of_the_corpus_is_refused_by_its_worker_which_goes_on() {
    let (keys, engine, dir) = (Keys::new(), Engine::new().unwrap(), tempfile::tempdir().unwrap());
    let program = Program { path: env!("CARGO_BIN_EXE_worker").into(), arguments: vec![ARGUMENT.into()] };
    let bundle = dir.path().join("attack.bundle");
    let keyring = &keys.keyring;
    let loader = Loader::new(Tier::Device, &engine, keyring);
    let config = PluginConfig { bundle: bundle.clone(), ..PluginConfig::default() };
    for (name, attack) in corpus() {
        fs::write(&bundle, attack.shipped(&keys).bundle()).unwrap();
        let workers = match attack.world {
            World::Policy => loader.policy_workers(&config, &program),
            World::Executor => loader.executor_workers(&config, &program),
        };
        let mut worker = match (workers, attack.call) {
            (Ok(mut workers), None) => workers.remove(0),
            (Err(LoadError::Apart { source, .. }), _) => {
                assert!(source.to_string().contains(&attack.expects), "{name}: {source}");
                continue;
            }
            (workers, _) => panic!("{name}: {workers:?}"),
        };
        let process = worker.process();
        for _ in 0..2 {
            let error = match attack.world {
                World::Policy => worker.decide(Mono(0), &guests::facts(), b"").err(),
                World::Executor => worker.step(Mono(0), b"", &Event::Begin(guests::order())).err(),
            };
            holds(&name, &attack, &error.unwrap());
        }
        assert_eq!(worker.process(), process, "{name} cost a process");
    }
}

/// Each policy of the corpus as the next version of a good one: it is watched, it is refused, and no question is lost.
#[test]
fn no_plugin_of_the_corpus_takes_over_and_no_question_is_lost() {
    let (keys, engine) = (Keys::new(), Engine::new().unwrap());
    let ready = |component: &[u8], shipped: &Shipped| {
        let verified = verified(&keys, shipped, component);
        let plugin = Plugin::load(&engine, &verified).unwrap().into_policy().unwrap();
        let config = Config::default();
        let which = (plugin.id(), plugin.version(), plugin.grant());
        let nothing = Description { about: String::new(), settings: vec![] };
        let equipped = trace::equipped(PluginRole::Policy, which, &config, &nothing);
        Ready {
            plugin,
            config,
            granted: verified.granted().clone(),
            equipped,
            bundle: as_release(verified.version(), component),
            revoked: false,
            mark: None,
        }
    };
    let limits = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };
    let good = |sequence| {
        let component = guests::policy(guests::MEMORY, "");
        ready(&component, &guests::shipped(&keys, &component, Permissions::default(), limits, sequence))
    };
    let terms = Terms { windows: 3, soak: 3, disagreements_max: 1 };
    let asked = |candidate, terms: Terms| {
        let judge = Judge::new([good(1)]).with_candidate(candidate, terms);
        let (mut judge, mut confidence) = (judge, Confidence::default());
        let mut steps: Vec<_> = judge.seat(&mut confidence).into_iter().collect();
        for minute in 0..8 {
            let asked = judge.ask(Mono(minute * 60_000), &guests::facts(), &mut confidence);
            assert_eq!(asked.answer.unwrap().action, Action::Proceed, "the good one says so");
            steps.extend(asked.events);
        }
        let step = |told| if let Told::Handover(handover) = told { Some(handover.step) } else { None };
        steps.into_iter().filter_map(step).collect::<Vec<_>>()
    };
    for (name, attack) in corpus() {
        if attack.world != World::Policy || attack.call.is_some() {
            continue;
        }
        let candidate = ready(&attack.component(), &attack.shipped(&keys));
        let steps = asked(candidate, terms);
        let last = steps.last().unwrap();
        assert!(matches!(last, HandoverStep::Refused { was_deciding: false, .. }), "{name}: {last:?}");
    }
    // What says something else each time is well-behaved and yet not the same policy.
    let component = guests::policy(guests::MEMORY, "(i32.store8 (i32.const 4) (i32.const 4))");
    let shipped = guests::shipped(&keys, &component, Permissions::default(), limits, 2);
    let steps = asked(ready(&component, &shipped), terms);
    assert!(matches!(steps.last(), Some(HandoverStep::Refused { was_deciding: false, .. })), "{steps:?}");
    let steps = asked(good(2), terms);
    assert!(
        matches!(
            &steps[..],
            [HandoverStep::Shadows { .. }, HandoverStep::TakesOver { .. }, HandoverStep::Settles { .. }]
        ),
        "{steps:?}"
    );
}
