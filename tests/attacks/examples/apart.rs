//! What it costs to ask a policy in a process of its own: the same decision here and there, side by side in one run.
//!
//! `cargo run --profile quick -p backstay-test-attacks --example apart [ROUNDS]`
//!
//! The policy is the one that ships, with facts of eight objectives of four windows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that can't be taken has nothing else to say"
)]

#[path = "../../../runtime/host/tests/common/mod.rs"]
mod common;

use std::{
    collections::BTreeMap,
    env, fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use backstay_config::Plugin;
use backstay_host::Engine;
use backstay_model::{Millis, Mono, Name, Objective, Scope, Window};
use backstay_plugins::{
    Adviser, Loader, Tier,
    worker::{self, Program},
};
use backstay_test_attacks::{Keys, guests};
use backstay_trust::{Limits, Permissions};

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(worker::ARGUMENT) {
        return worker::run(|| {});
    }
    let rounds = env::args().nth(1).map_or(20_000, |rounds| rounds.parse().unwrap());
    let (keys, engine, dir) = (Keys::new(), Engine::new().unwrap(), tempfile::tempdir().unwrap());
    let component = common::component("policy-tree");
    // All the time that can be granted: a machine that stands still for a moment is no reason to stop measuring.
    let limits = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };
    let shipped = guests::shipped(&keys, &component, Permissions::default(), limits, 1);
    let bundle = dir.path().join("policy.bundle");
    fs::write(&bundle, shipped.bundle()).unwrap();
    let config = Plugin { bundle, ..Plugin::default() };
    let (keyring, floors) = (&keys.keyring, BTreeMap::new());
    let loader = Loader {
        tier: Tier::Server,
        engine: &engine,
        keyring,
        floors: &floors,
        attested: None,
        mark: None,
        held: None,
    };

    let mut here = loader.policies(&config).unwrap().remove(0);
    let mut there = loader.policy_workers(&config, &Program::this()).unwrap().remove(0);
    let window = |n: u64| Window { opened: Mono(n * 60_000), span: Millis(60_000), samples: 12, bad: 0 };
    let objective = |n: u64| Objective {
        name: Name::parse(&format!("objective-{n}")).unwrap(),
        critical: true,
        scope: Scope::Local,
        candidate: (0..4).map(window).collect(),
        baseline: vec![],
    };
    let facts = backstay_model::Facts { objectives: (0..8).map(objective).collect(), ..guests::facts() };
    // Turn about, so that what else the machine does meets both alike.
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (times, adviser) in times.iter_mut().zip([&mut here as &mut dyn Adviser, &mut there]) {
            let begun = Instant::now();
            adviser.decide(Mono(0), &facts, b"").unwrap();
            times.push(begun.elapsed());
        }
    }
    for (what, times) in ["in this process", "in a worker"].iter().zip(&mut times) {
        show(what, times);
    }
    let mut starts: Vec<Duration> = (0..50)
        .map(|_| {
            let begun = Instant::now();
            let mut worker = loader.policy_workers(&config, &Program::this()).unwrap().remove(0);
            worker.decide(Mono(0), &facts, b"").unwrap();
            begun.elapsed()
        })
        .collect();
    show("a new worker and its first decision", &mut starts);
    let status = fs::read_to_string(format!("/proc/{}/status", there.process().unwrap())).unwrap();
    for line in status.lines().filter(|line| {
        ["VmRSS", "RssAnon", "Threads", "Seccomp:", "NoNewPrivs", "CapEff"]
            .iter()
            .any(|name| line.starts_with(name))
    }) {
        println!("worker: {line}");
    }
    ExitCode::SUCCESS
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort();
    let at =
        |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)].as_nanos() as f64 / 1000.0;
    println!("{what:<36} p50 {:8.1} us   p99 {:8.1} us   min {:8.1} us", at(500), at(990), at(0));
}
