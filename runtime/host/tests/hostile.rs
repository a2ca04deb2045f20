//! Guests that mean ill, or were written badly. The host survives each, and says which kind of wrong it was.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod common;
#[path = "common/guests.rs"]
mod guests;

use backstay_host::{Config, Engine, Policy, Strike, StrikeKind};
use backstay_model::Millis;
use backstay_trust::{Limits, Permissions};
use guests::{MEMORY, facts, policy as guest};

fn policy(engine: &Engine, component: &[u8]) -> Policy {
    within(engine, component, common::PATIENT)
}

fn within(engine: &Engine, component: &[u8], limits: Limits) -> Policy {
    common::load(engine, component, Permissions::default(), limits).into_policy().unwrap()
}

/// For guests that use up whatever time they get.
const SHORT: Limits = Limits { call: Millis(50), ..Limits::DEFAULT };

fn strike(policy: &Policy) -> Strike {
    let error = policy.decide(&Config::default(), &facts(), &[]).unwrap_err();
    assert!(error.help().is_some());
    error.as_strike().unwrap_or_else(|| panic!("{error}")).clone()
}

#[test]
fn every_kind_of_wrong_is_survived_and_named() {
    use StrikeKind::{BadOutput, OutOfMemory, OutOfStack, OutOfTime, Trapped};
    let start = r#"(memory (export "memory") 32) (func $spin (loop $l (br $l))) (start $spin)"#;
    let table = r#"(memory (export "memory") 32) (table 2000 funcref)"#;
    let table_of_all = r#"(memory (export "memory") 32) (table 4000000000 funcref)"#;
    let table = [
        ("it never ends", MEMORY, "(loop $l (br $l))", OutOfTime),
        ("it never begins", start, "", OutOfTime),
        (
            "it takes what it can",
            MEMORY,
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)",
            OutOfMemory,
        ),
        (
            "it takes it all at once",
            MEMORY,
            "(if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then (unreachable)))",
            OutOfMemory,
        ),
        ("it is too large to begin with", r#"(memory (export "memory") 200)"#, "", OutOfMemory),
        ("it is larger than any address space", r#"(memory (export "memory") 65536)"#, "", OutOfMemory),
        ("it has a large table", table, "", OutOfMemory),
        ("it has a table as large as can be", table_of_all, "", OutOfMemory),
        ("it goes too deep", MEMORY, "(drop (call $deep (i32.const 0)))", OutOfStack),
        ("it gives up", MEMORY, "(unreachable)", Trapped),
        ("it divides by zero", MEMORY, "(drop (i32.div_u (i32.const 1) (i32.const 0)))", Trapped),
        ("it reads past its memory", MEMORY, "(drop (i32.load (i32.const -4)))", Trapped),
        ("its answer is elsewhere", MEMORY, "(return (i32.const -4))", BadOutput),
        ("its answer is askew", MEMORY, "(return (i32.const 1))", BadOutput),
        ("its answer is of no kind", MEMORY, "(i32.store8 (i32.const 0) (i32.const 9))", BadOutput),
        ("its action is of no kind", MEMORY, "(i32.store8 (i32.const 4) (i32.const 99))", BadOutput),
        ("its reasons are elsewhere", MEMORY, "(i32.store (i32.const 20) (i32.const -8))", BadOutput),
        ("it has no reason", MEMORY, "(i32.store (i32.const 24) (i32.const 0))", BadOutput),
        ("it has nine reasons", MEMORY, "(i32.store (i32.const 24) (i32.const 9))", BadOutput),
        ("it has too many reasons", MEMORY, "(i32.store (i32.const 24) (i32.const 200000))", BadOutput),
        ("its reason has no end", MEMORY, "(i32.store (i32.const 104) (i32.const 0x7fffffff))", BadOutput),
        ("its reason is long", MEMORY, "(i32.store (i32.const 104) (i32.const 1000000))", BadOutput),
        ("its reason is no text", MEMORY, "(i32.store16 (i32.const 200) (i32.const 0xffff))", BadOutput),
        (
            "its memo is too long",
            MEMORY,
            "(i32.store (i32.const 28) (i32.const 0)) (i32.store (i32.const 32) (i32.const 65537))",
            BadOutput,
        ),
        (
            "its memo is far too long",
            MEMORY,
            "(i32.store (i32.const 28) (i32.const 0)) (i32.store (i32.const 32) (i32.const 2000000))",
            BadOutput,
        ),
        (
            "it slows down for ever",
            MEMORY,
            "(i32.store8 (i32.const 4) (i32.const 1)) (i32.store (i32.const 8) (i32.const 101))",
            BadOutput,
        ),
        (
            "its playbook is no name",
            MEMORY,
            "(i32.store8 (i32.const 4) (i32.const 2)) (i32.store8 (i32.const 8) (i32.const 1))
             (i32.store (i32.const 12) (i32.const 300)) (i32.store (i32.const 16) (i32.const 2))
             (i32.store16 (i32.const 300) (i32.const 0x2f2e))",
            BadOutput,
        ),
        (
            "it says that it can't judge",
            MEMORY,
            "(i32.store8 (i32.const 0) (i32.const 1)) (i32.store8 (i32.const 4) (i32.const 1))
             (i32.store (i32.const 8) (i32.const 200)) (i32.store (i32.const 12) (i32.const 2))",
            StrikeKind::Refused,
        ),
    ];
    let engine = Engine::new().unwrap();
    let good = policy(&engine, &guest(MEMORY, ""));
    for (told, parts, decide, kind) in table {
        let limits = if kind == OutOfTime { SHORT } else { common::PATIENT };
        let policy = within(&engine, &guest(parts, decide), limits);
        let strike = strike(&policy);
        assert_eq!(strike.kind, kind, "{told}: {strike}");
        assert!(strike.why.len() <= 512, "{told}: {strike}");
        // It is as bad the second time, and nobody else feels it.
        let decided = good.decide(&Config::default(), &facts(), &[]).unwrap();
        assert_eq!(decided.decision.reasons[0].0, "ok", "{told}");
    }
    assert_eq!(strike(&within(&engine, &guest(MEMORY, "(loop $l (br $l))"), SHORT)).kind, OutOfTime);
}

#[test]
fn a_memory_is_new_in_every_call() {
    let engine = Engine::new().unwrap();
    // It counts its calls in its memory, and fails at the second.
    let counts = "(i32.store (i32.const 5000) (i32.add (i32.const 1) (i32.load (i32.const 5000))))
        (if (i32.gt_u (i32.load (i32.const 5000)) (i32.const 1)) (then (unreachable)))";
    let policy = policy(&engine, &guest(MEMORY, counts));
    for _ in 0..50 {
        policy.decide(&Config::default(), &facts(), &[]).unwrap();
    }
}

#[test]
fn a_memo_that_is_too_long_to_show_is_no_strike() {
    let engine = Engine::new().unwrap();
    let policy = policy(&engine, &guest(MEMORY, ""));
    let error = policy.decide(&Config::default(), &facts(), &[0; 70_000]).unwrap_err();
    assert_eq!(error.to_string(), "too many bytes of memo: 70000 of at most 65536");
    assert!(error.as_strike().is_none());
}

#[test]
fn calls_may_come_from_several_threads() {
    let engine = Engine::new().unwrap();
    let good = policy(&engine, &guest(MEMORY, ""));
    let bad = within(&engine, &guest(MEMORY, "(loop $l (br $l))"), SHORT);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(strike(&bad).kind, StrikeKind::OutOfTime));
            scope.spawn(|| {
                for _ in 0..200 {
                    good.decide(&Config::default(), &facts(), &[]).unwrap();
                }
            });
        }
    });
}
