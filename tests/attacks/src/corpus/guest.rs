//! Plugins that mean ill, written in WebAssembly by hand: what no toolchain would make.
//!
//! A guest answers well in the words of the canonical ABI, until the recipe's lines are put in. Not here: being signed,
//! loaded and asked like any other (`asked`).

use std::{fmt::Write as _, sync::OnceLock};

use backstay_host::{CompileError, componentize};
use backstay_model::Millis;
use backstay_trust::Limits;
use serde::Deserialize;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{
    asked::{Call, Guest, World},
    image::{EFFECTS_AT, Effect, Image},
};

/// A policy. Asked for a decision, it says "proceed, because ok".
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// In place of its memory.
    parts: Option<String>,
    /// What it does first when asked to decide.
    decide: String,
    /// What it does first when asked what can be set.
    describe: String,
    /// What it does first when asked about a configuration.
    validate: String,
    /// What it is called for.
    call: Call,
    /// Bytes of the memo that it is shown.
    prior: usize,
    /// What it may use other than what most may.
    limits: Few,
}

/// An executor. A step of it asks for the command `restart`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Executor {
    /// In place of its memory.
    parts: Option<String>,
    /// What it does first in a step.
    step: String,
    /// What it does first when asked what can be set.
    describe: String,
    /// What it does first when asked about a configuration.
    validate: String,
    /// What it is called for.
    call: Call,
    /// Bytes of the state that it returns.
    state: u32,
    /// Bytes of the state that it is shown.
    shown: usize,
    /// What it asks for instead.
    effects: Vec<Effect>,
    /// How it says that the run ended: `done`, or that it failed, in these words.
    end: Option<String>,
    /// What it may use other than what most may.
    limits: Few,
}

/// Limits that are lower than usual.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Few {
    call_ms: Option<u64>,
    state_bytes: Option<u32>,
    output_bytes: Option<u32>,
    effects_per_step: Option<u32>,
}

const MEMORY: &str = r#"(memory (export "memory") 32)"#;
/// What every guest needs to be shown anything, and something that can be called without end.
const COMMON: &str = "
    (global $next (mut i32) (i32.const 0x100000))
    (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and
            (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get 2))))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))";

impl Policy {
    fn component(&self) -> Result<Vec<u8>, CompileError> {
        let Self { parts, decide, describe, validate, .. } = self;
        let parts = parts.as_deref().unwrap_or(MEMORY);
        component(
            "policy",
            &format!(
                r#"(module {parts} {COMMON}
                (func $ok
                    (i32.store (i32.const 20) (i32.const 100))
                    (i32.store (i32.const 24) (i32.const 1))
                    (i32.store (i32.const 100) (i32.const 200))
                    (i32.store (i32.const 104) (i32.const 2))
                    (i32.store16 (i32.const 200) (i32.const 0x6b6f)))
                (func (export "describe") (result i32) {describe} (i32.const 512))
                (func (export "validate") (param i32 i32) (result i32) {validate} (i32.const 512))
                (func (export "decide") (param i32) (result i32) (local i32) (call $ok) {decide} (i32.const 0)))"#
            ),
        )
    }

    pub(super) fn guest(&self) -> Guest {
        Guest {
            world: World::Policy,
            component: self.component().unwrap(),
            limits: self.limits.limits(),
            call: self.call,
            shown: self.prior,
        }
    }
}

impl Executor {
    fn component(&self) -> Result<Vec<u8>, CompileError> {
        let Self { parts, step, describe, validate, state, .. } = self;
        let parts = parts.as_deref().unwrap_or(MEMORY);
        let mut image = Image::default();
        let usual = [Effect::run("restart")];
        let effects =
            if self.effects.is_empty() && self.end.is_none() { &usual[..] } else { &self.effects[..] };
        let mut count = 0;
        for effect in effects {
            for _ in 0..effect.times {
                image.effect(effect, count);
                count += 1;
            }
        }
        let mut end = String::new();
        if let Some(why) = &self.end {
            end.push_str("(i32.store8 (i32.const 20) (i32.const 1))");
            if why != "done" {
                let text = image.text(why.as_bytes());
                let [at, length] =
                    [0, 4].map(|from| u32::from_le_bytes(text[from..from + 4].try_into().unwrap()));
                let _ = write!(
                    end,
                    "(i32.store8 (i32.const 24) (i32.const 1)) (i32.store (i32.const 32) (i32.const {at}))
                     (i32.store (i32.const 36) (i32.const {length}))"
                );
            }
        }
        let data = image.data();
        component(
            "executor",
            &format!(
                r#"(module {parts} {COMMON} {data}
                (func $ok
                    (i32.store (i32.const 4) (i32.const 0x100000))
                    (i32.store (i32.const 8) (i32.const {state}))
                    (i32.store (i32.const 12) (i32.const {EFFECTS_AT}))
                    (i32.store (i32.const 16) (i32.const {count}))
                    {end})
                (func (export "describe") (result i32) {describe} (i32.const 512))
                (func (export "validate") (param i32 i32) (result i32) {validate} (i32.const 512))
                (func (export "step") (param i32) (result i32) (call $ok) {step} (i32.const 0)))"#
            ),
        )
    }

    pub(super) fn guest(&self) -> Guest {
        Guest {
            world: World::Executor,
            component: self.component().unwrap(),
            limits: self.limits.limits(),
            call: self.call,
            shown: self.shown,
        }
    }
}

impl Few {
    fn limits(&self) -> Limits {
        // All the time that can be granted, where time isn't what is attacked: it is that of the wall, and this may have
        // to share its machine.
        let usual = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };
        Limits {
            call: self.call_ms.map_or(usual.call, Millis),
            state_bytes: self.state_bytes.unwrap_or(usual.state_bytes),
            output_bytes: self.output_bytes.unwrap_or(usual.output_bytes),
            effects_per_step: self.effects_per_step.unwrap_or(usual.effects_per_step),
            ..usual
        }
    }
}

/// The portable component of a policy that does as it should.
pub(super) fn good_policy() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| Policy::default().component().unwrap())
}

/// That of a policy that does as it should, with `parts` in place of its memory.
pub(super) fn policy_with(parts: &str) -> Result<Vec<u8>, CompileError> {
    Policy { parts: Some(parts.into()), ..Policy::default() }.component()
}

fn component(world: &str, text: &str) -> Result<Vec<u8>, CompileError> {
    let mut module = wat::parse_str(text).unwrap_or_else(|why| panic!("{why}"));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    componentize(&module)
}
