//! Every limit of a grant: a guest that needs just what it was granted, and the same guest with a little less.
//!
//! Whoever adds a limit finds its place here, because the test takes all of them apart by name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod common;
#[path = "common/guests.rs"]
mod guests;

use backstay_host::{CallError, Config, Engine, Event, StrikeKind};
use backstay_model::Millis;
use backstay_trust::{Limits, Permissions};
use guests::MEMORY;

const PAGE: u32 = 64 << 10;

/// How a call went: well, or with which strike.
type Went = Result<(), StrikeKind>;

struct Bench(Engine);

impl Bench {
    fn decides(&self, component: &[u8], limits: Limits) -> Went {
        let policy = common::load(&self.0, component, Permissions::default(), limits).into_policy().unwrap();
        went(policy.decide(&Config::default(), &guests::facts(), &[]))
    }

    fn steps(&self, component: &[u8], limits: Limits) -> Went {
        let executor = common::load(&self.0, component, Permissions::default(), limits);
        let executor = executor.into_executor().unwrap();
        went(executor.step(&Config::default(), &[], &Event::Begin(guests::order())))
    }
}

fn went<T>(called: Result<T, CallError>) -> Went {
    called.map(drop).map_err(|error| error.as_strike().unwrap_or_else(|| panic!("{error}")).kind)
}

#[test]
fn every_limit_is_held_at_its_very_edge() {
    use StrikeKind::{BadOutput, OutOfMemory, OutOfTime};
    let bench = Bench(Engine::new().unwrap());
    let limits = common::PATIENT;
    // Taken apart without `..`: a limit that is added has to be shown here to hold.
    let Limits { memory_bytes, table_elements, call, output_bytes, state_bytes, effects_per_step } = limits;
    assert!(memory_bytes >= 33 * PAGE && table_elements >= 100 && effects_per_step >= 3);

    // It has 32 pages and takes one more.
    let grows = guests::policy(
        MEMORY,
        "(if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))",
    );
    let memory = |memory_bytes| Limits { memory_bytes, ..limits };
    assert_eq!(bench.decides(&grows, memory(33 * PAGE)), Ok(()));
    assert_eq!(bench.decides(&grows, memory(33 * PAGE - 1)), Err(OutOfMemory));

    let table = guests::policy(r#"(memory (export "memory") 32) (table 60 funcref) (table 40 funcref)"#, "");
    let elements = |table_elements| Limits { table_elements, ..limits };
    assert_eq!(bench.decides(&table, elements(100)), Ok(()));
    assert_eq!(bench.decides(&table, elements(99)), Err(OutOfMemory), "both tables count");

    // Two bytes of "ok" and the memory that the lists of reasons take, no more than 64 of them.
    let says = guests::policy(MEMORY, "");
    let output = |output_bytes| Limits { output_bytes, ..limits };
    assert_eq!(bench.decides(&says, output(64)), Ok(()));
    assert_eq!(bench.decides(&says, output(1)), Err(BadOutput));
    assert!(output_bytes > 64);

    let remembers = guests::policy(
        MEMORY,
        "(i32.store (i32.const 28) (i32.const 0)) (i32.store (i32.const 32) (i32.const 1000))",
    );
    let keeps = guests::executor(MEMORY, "(global.set $kept (i32.const 1000))", "");
    let state = |state_bytes| Limits { state_bytes, ..limits };
    assert!(state_bytes > 1000);
    assert_eq!(bench.decides(&remembers, state(1000)), Ok(()));
    assert_eq!(bench.decides(&remembers, state(999)), Err(BadOutput));
    assert_eq!(bench.steps(&keeps, state(1000)), Ok(()));
    assert_eq!(bench.steps(&keeps, state(999)), Err(BadOutput));

    let naps = guests::executor(MEMORY, "(global.set $naps (i32.const 3))", "");
    let effects = |effects_per_step| Limits { effects_per_step, ..limits };
    assert_eq!(bench.steps(&naps, effects(3)), Ok(()));
    assert_eq!(bench.steps(&naps, effects(2)), Err(BadOutput));

    // How long it goes on shows in ticks of the engine's clock; that no tick is too many, `sandbox` shows.
    let endless = guests::policy(MEMORY, "(loop $l (br $l))");
    for call in [Millis(20), Millis(300)] {
        let before = bench.0.ticks();
        assert_eq!(bench.decides(&endless, Limits { call, ..limits }), Err(OutOfTime));
        let took = bench.0.ticks() - before;
        assert!(took >= call.0 / 10, "{took} ticks for {call}");
    }
    assert!(call > Millis(300));
}

/// What no grant can change.
#[test]
fn what_every_plugin_has_the_same_of_is_bounded_too() {
    use StrikeKind::{OutOfMemory, OutOfStack};
    let bench = Bench(Engine::new().unwrap());
    let limits = common::PATIENT;
    let deep = guests::policy(MEMORY, "(drop (call $deep (i32.const 0)))");
    assert_eq!(bench.decides(&deep, limits), Err(OutOfStack));
    let tables =
        |count: usize| guests::policy(&format!("{MEMORY} {}", "(table 1 funcref)".repeat(count)), "");
    assert_eq!(bench.decides(&tables(10), limits), Ok(()));
    let error = {
        let policy = common::load(&bench.0, &tables(17), Permissions::default(), limits);
        policy.into_policy().unwrap().decide(&Config::default(), &guests::facts(), &[]).unwrap_err()
    };
    assert!(
        error.as_strike().is_none_or(|strike| strike.kind == OutOfMemory),
        "more parts than any plugin needs: {error}"
    );
}

/// An answer that goes through the same buffer again and again costs the host, not the guest, so it counts each time.
#[test]
fn what_is_said_a_thousand_times_is_counted_a_thousand_times() {
    let bench = Bench(Engine::new().unwrap());
    // 100,000 effects would be 5.6 MB, and the guest has 2: they reach outside of its memory.
    let floods = guests::executor(MEMORY, "", "(i32.store (i32.const 16) (i32.const 100000))");
    assert_eq!(bench.steps(&floods, common::PATIENT), Err(StrikeKind::BadOutput));
    // The same text of 60 KB as each of eight reasons.
    let repeats = guests::policy(
        MEMORY,
        "(i32.store (i32.const 24) (i32.const 8))
         (i64.store (i32.const 100) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 108) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 116) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 124) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 132) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 140) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 148) (i64.const 0x0000ea60000186a0))
         (i64.store (i32.const 156) (i64.const 0x0000ea60000186a0))",
    );
    assert_eq!(bench.decides(&repeats, common::PATIENT), Err(StrikeKind::BadOutput));
    let roomy = Limits { output_bytes: 1 << 20, ..common::PATIENT };
    assert_eq!(bench.decides(&repeats, roomy), Ok(()), "it is the sum that counts, and reasons are cut");
}
