//! Guests that are written by hand, in the words of the canonical ABI, so that each can be wrong in its own way.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses what it needs of it")]

use backstay_host::componentize;
use backstay_model::{Breaker, Digest, Facts, Fence, Mono, Order, Permille, Release, Schema, Task, Ticket};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Two megabytes.
pub const MEMORY: &str = r#"(memory (export "memory") 32)"#;

/// A policy that answers "proceed, because ok". The first line of `decide` and the parts of the module are what a guest
/// changes.
pub fn policy(parts: &str, decide: &str) -> Vec<u8> {
    guest("policy", parts, NOTHING, NOTHING, &deciding(decide))
}

/// An executor that asks for as many naps as `$naps` holds, and keeps as many bytes of state as `$kept`. `step` may set
/// either; `after` may change what is to be returned: the effects are at 1000000, 56 bytes each, the first one's deed
/// at 1000008 and what belongs to it at 1000016.
pub fn executor(parts: &str, step: &str, after: &str) -> Vec<u8> {
    guest("executor", parts, NOTHING, NOTHING, &stepping(step, after))
}

/// There is nothing that can be set, and nothing wrong with it: zeros, which is what is there.
pub const NOTHING: &str = "(i32.const 500)";

pub fn deciding(decide: &str) -> String {
    format!(
        r#"(func $ok
                (i32.store (i32.const 20) (i32.const 100))
                (i32.store (i32.const 24) (i32.const 1))
                (i32.store (i32.const 100) (i32.const 200))
                (i32.store (i32.const 104) (i32.const 2))
                (i32.store16 (i32.const 200) (i32.const 0x6b6f)))
            (func (export "decide") (param i32) (result i32)
                (call $ok)
                {decide}
                (i32.const 0))"#
    )
}

pub fn stepping(step: &str, after: &str) -> String {
    format!(
        r#"(global $naps (mut i32) (i32.const 1))
            (global $kept (mut i32) (i32.const 0))
            (func (export "step") (param i32) (result i32)
                (local $n i32) (local $at i32)
                {step}
                (i32.store (i32.const 4) (i32.const 400000))
                (i32.store (i32.const 8) (global.get $kept))
                (i32.store (i32.const 12) (i32.const 1000000))
                (i32.store (i32.const 16) (global.get $naps))
                (local.set $at (i32.const 1000000))
                (block $done (loop $next
                    (br_if $done (i32.ge_u (local.get $n) (global.get $naps)))
                    (i32.store (local.get $at) (local.get $n))
                    (i32.store8 (i32.add (local.get $at) (i32.const 8)) (i32.const 5))
                    (i64.store (i32.add (local.get $at) (i32.const 16)) (i64.const 1))
                    (local.set $at (i32.add (local.get $at) (i32.const 56)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br $next)))
                {after}
                (i32.const 0))"#
    )
}

/// A guest of a world, with all that it has to export.
pub fn guest(world: &str, parts: &str, describe: &str, validate: &str, own: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {parts}
            (global $next (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and
                    (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get 2))))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func $deep (param i32) (result i32)
                (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))
            (func (export "describe") (result i32) {describe})
            (func (export "validate") (param i32 i32) (result i32) {validate})
            {own})"#
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    componentize(&module).unwrap()
}

pub fn release() -> Release {
    Release { version: "1.5.0".parse().unwrap(), digest: Digest([5; 32]), length: 1, security_epoch: 0 }
}

/// There is nothing to be seen.
pub fn facts() -> Facts {
    Facts {
        now: Mono(0),
        release: release(),
        stage: Permille::ALL,
        on_trial: true,
        objectives: vec![],
        anomaly: None,
        infra: vec![],
        attempts: 0,
        breaker: Breaker::Closed,
        schema: Schema::Unknown,
    }
}

/// To install something.
pub fn order() -> Order {
    Order { ticket: Ticket(1), fence: Fence(1), task: Task::Install { release: release() } }
}
