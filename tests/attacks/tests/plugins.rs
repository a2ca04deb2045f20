//! Every plugin of the corpus once more: asked twice, in a process of its own, and as the one that is to take over. Vendor
//! and operator signed it and did not look. Each is refused in the words of its folder; whoever asked survives them all.
//!
//! Not here: the other attacks, and whether the refusal is about the attack (`corpus.rs`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, fs};

use backstay_config::Plugin as PluginConfig;
use backstay_core::{Confidence, Terms};
use backstay_host::{CallError, Config, Description, Engine, Plugin};
use backstay_model::{Action, Event as Told, HandoverStep, Mono, PluginRole};
use backstay_plugins::{
    Adviser as _, Judge, LoadError, Loader, Ready, Tier, as_release, trace,
    worker::{ARGUMENT, Program},
};
use backstay_test_attacks::{
    Keys, Shipped, chain,
    corpus::{
        Attack,
        asked::{Call, Guest, World},
    },
    guests,
};
use backstay_trust::{Limits, Permissions};

/// Fewer than these, and some have got lost.
const PLUGINS_MIN: usize = 84;

fn corpus() -> Vec<(Attack, Guest)> {
    let guest = |attack: Attack| attack.recipe.guest().map(|guest| (attack, guest));
    let all: Vec<_> = Attack::all().into_iter().filter_map(guest).collect();
    assert!(all.len() >= PLUGINS_MIN, "plugins are missing: {}", all.len());
    all
}

fn holds(attack: &Attack, error: &CallError) {
    let (name, told) = (attack.name(), chain(error));
    assert!(attack.expects(&told), "{name} ({}): {told}", attack.attack);
    assert!(told.len() < 1024 && error.help().is_some(), "{name}: {told}");
}

#[test]
fn every_plugin_of_the_corpus_is_refused_in_its_words_and_the_host_goes_on() {
    let (keys, engine) = (Keys::new(), Engine::new().unwrap());
    let good = Guest::good();
    let good_one = Plugin::load(&engine, &good.verified(&keys)).unwrap();
    let corpus = corpus();
    for (attack, guest) in &corpus {
        let plugin = Plugin::load(&engine, &guest.verified(&keys)).unwrap();
        // As bad the second time, and nobody else feels it.
        for _ in 0..2 {
            holds(attack, &guest.asked(&plugin).unwrap_err());
        }
        assert!(good.asked(&good_one).is_ok(), "after {}", attack.name());
    }
    println!("{} plugins were refused", corpus.len());
}

#[test]
fn every_plugin_of_the_corpus_is_refused_by_its_worker_which_goes_on() {
    let (keys, engine, dir) = (Keys::new(), Engine::new().unwrap(), tempfile::tempdir().unwrap());
    let program = Program { path: env!("CARGO_BIN_EXE_worker").into(), arguments: vec![ARGUMENT.into()] };
    let bundle = dir.path().join("attack.bundle");
    let loader = Loader::new(Tier::Device, &engine, &keys.keyring);
    let config = PluginConfig { bundle: bundle.clone(), ..PluginConfig::default() };
    for (attack, guest) in corpus() {
        let name = attack.name();
        fs::write(&bundle, guest.shipped(&keys).bundle()).unwrap();
        let workers = match guest.world {
            World::Policy => loader.policy_workers(&config, &program),
            World::Executor => loader.executor_workers(&config, &[BTreeMap::new()], &program),
        };
        let mut worker = match (workers, guest.call) {
            (Ok(mut workers), Call::Own) => workers.remove(0),
            (Err(LoadError::Apart { source, .. }), _) => {
                assert!(source.to_string().contains(&attack.refusal), "{name}: {source}");
                continue;
            }
            (workers, _) => panic!("{name}: {workers:?}"),
        };
        let process = worker.process();
        for _ in 0..2 {
            let error = match guest.world {
                World::Policy => worker.decide(Mono(0), &guests::facts(), &guest.before()).err(),
                World::Executor => worker.step(Mono(0), 0, &guest.before(), &guest.event()).err(),
            };
            holds(&attack, &error.unwrap());
        }
        assert_eq!(worker.process(), process, "{name} cost a process");
    }
}

/// Each policy of the corpus as the next version of a good one: it is watched, it is refused, and no question is lost.
#[test]
fn no_plugin_of_the_corpus_takes_over_and_no_question_is_lost() {
    let (keys, engine) = (Keys::new(), Engine::new().unwrap());
    let ready = |component: &[u8], shipped: &Shipped| {
        let verified = guests::verified(&keys, shipped, component);
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
    for (attack, guest) in corpus() {
        // What it is shown here fits, and what it says of its settings is heard when it is loaded.
        if guest.world != World::Policy || guest.call != Call::Own || guest.shown > 0 {
            continue;
        }
        let candidate = ready(&guest.component, &guest.shipped(&keys));
        let steps = asked(candidate, terms);
        let (name, last) = (attack.name(), steps.last().unwrap());
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
