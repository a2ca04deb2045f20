//! How late a run-away guest is stopped: idle, and with twice as many busy threads as there are processors.
//!
//! `cargo run --profile quick -p backstay-host --features compile --example runaway [ROUNDS]`
//!
//! A call of 50 ms may go on until the tick after its time, so 10 ms over it are within what is promised; what comes on
//! top is what it takes to wake threads. The load is bounded: it ends with the measurement.

#![allow(clippy::unwrap_used, reason = "a measurement that can't be taken has nothing else to say")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/guests.rs"]
mod guests;

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use backstay_host::{Config, Engine, StrikeKind};
use backstay_model::Millis;
use backstay_trust::{Limits, Permissions};

const CALL: Millis = Millis(50);

fn main() {
    let rounds = env::args().nth(1).map_or(100, |rounds| rounds.parse().unwrap());
    let endless = guests::policy(guests::MEMORY, "(loop $l (br $l))");
    let limits = Limits { call: CALL, ..Limits::DEFAULT };
    let engine = Engine::new().unwrap();
    let policy = common::load(&engine, &endless, Permissions::default(), limits).into_policy().unwrap();
    let facts = guests::facts();
    let processors = thread::available_parallelism().unwrap().get();
    for busy in [0, processors, 2 * processors] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..busy {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let mut over: Vec<Duration> = (0..rounds)
                .map(|_| {
                    let begun = Instant::now();
                    let error = policy.decide(&Config::default(), &facts, &[]).unwrap_err();
                    let took = begun.elapsed();
                    assert_eq!(error.as_strike().unwrap().kind, StrikeKind::OutOfTime);
                    took.saturating_sub(Duration::from_millis(CALL.0))
                })
                .collect();
            stop.store(true, Ordering::Relaxed);
            over.sort();
            let at = |share: usize| {
                over[(over.len() * share / 100).min(over.len() - 1)].as_micros() as f64 / 1000.0
            };
            println!(
                "{busy} busy threads on {processors} processors: stopped after {CALL} and p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
                at(50),
                at(99),
                at(100)
            );
        });
    }
}
