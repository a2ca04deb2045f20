//! How long a decision takes: cold (load, link, first decision; signatures not counted) and warm (a fresh sandbox).
//!
//! `cargo run --profile quick -p backstay-host --features compile --example decision [FOLDER]`
//!
//! With a folder, the components and artifacts that were made are left there to be looked at.

#![allow(clippy::unwrap_used, reason = "a measurement that can't be taken has nothing else to say")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use backstay_host::{Config, Engine, Machine, Plugin, compile_component};
use backstay_model::{
    Breaker, Digest, Facts, Millis, Mono, Name, Objective, Permille, Release, Schema, Scope, Window,
};
use backstay_trust::{Limits, Permissions};

fn facts() -> Facts {
    let window = |n: u64| Window { opened: Mono(n * 60_000), span: Millis(60_000), samples: 12, bad: 0 };
    let objective = |n: u64| Objective {
        name: Name::parse(&format!("objective-{n}")).unwrap(),
        critical: true,
        scope: Scope::Local,
        candidate: (0..4).map(window).collect(),
        baseline: vec![],
    };
    Facts {
        now: Mono(240_000),
        release: Release {
            version: "1.5.0".parse().unwrap(),
            digest: Digest([5; 32]),
            length: 1,
            security_epoch: 0,
        },
        stage: Permille::ALL,
        on_trial: true,
        objectives: (0..8).map(objective).collect(),
        anomaly: None,
        infra: vec![],
        attempts: 0,
        breaker: Breaker::Closed,
        schema: Schema::Unknown,
    }
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at =
        |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)].as_nanos() as f64 / 1000.0;
    println!("{what:<42} p50 {:8.1} us   p99 {:8.1} us   min {:8.1} us", at(500), at(990), at(0));
}

fn time<T>(rounds: usize, mut what: impl FnMut() -> T) -> Vec<Duration> {
    (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let made = what();
            let took = begun.elapsed();
            drop(made);
            took
        })
        .collect()
}

fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = env::args_os().nth(1) {
        fs::write(PathBuf::from(folder).join(name), bytes).unwrap();
    }
}

fn main() {
    for package in ["policy-tree", "executor-ota"] {
        let component = common::component(package);
        println!("{package}: component {} bytes", component.len());
        keep(&format!("{package}.wasm"), &component);
        for machine in Machine::ALL {
            let compiled = compile_component(&component, machine).unwrap();
            println!("{package}: {} {} bytes", compiled.target, compiled.bytes.len());
            keep(&format!("{package}.{}.cwasm", compiled.target), &compiled.bytes);
        }
    }
    let component = common::component("policy-tree");
    let verified = common::verified(&component, Permissions::default(), Limits::DEFAULT);
    let (config, facts) = (Config::default(), facts());
    let cold = time(200, || {
        let engine = Engine::new().unwrap();
        let policy = Plugin::load(&engine, &verified).unwrap().into_policy().unwrap();
        let decided = policy.decide(&config, &facts, &[]).unwrap();
        (engine, policy, decided)
    });
    show("engine + load + first decision", cold);
    let engine = Engine::new().unwrap();
    show(
        "load + first decision",
        time(200, || {
            let policy = Plugin::load(&engine, &verified).unwrap().into_policy().unwrap();
            let decided = policy.decide(&config, &facts, &[]).unwrap();
            (policy, decided)
        }),
    );
    let policy = Plugin::load(&engine, &verified).unwrap().into_policy().unwrap();
    show(
        "decision, fresh sandbox, 8 objectives",
        time(5000, || policy.decide(&config, &facts, &[]).unwrap()),
    );
}
