//! Plugins that mean ill, written in WebAssembly by hand: what no toolchain would make.
//!
//! A guest answers well in the words of the canonical ABI, until the recipe's lines are put in. It is compiled, signed,
//! verified and loaded like any other, and a good one is asked after each: it must not have noticed anything.

use std::{fmt::Write as _, sync::OnceLock};

use backstay_host::{CallError, CompileError, Config, Engine, Event, Plugin as Loaded, componentize};
use backstay_model::{
    Answer, Breaker, Facts, Fence, Millis, Mono, Name, Order, Permille, Schema, Task, Ticket,
};
use backstay_trust::{Limits, Permissions};
use serde::Deserialize;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::Verdict;
use crate::granted;

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
    /// What it is called for: `decide`, if nothing is said.
    call: Option<String>,
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
    /// What it is called for: `step`, if nothing is said.
    call: Option<String>,
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

/// One effect, as a guest asks for it: nothing about it is checked.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Effect {
    /// Its place, if nothing is said.
    ordinal: Option<u32>,
    access: String,
    run: Option<String>,
    args: Vec<String>,
    file: Option<String>,
    content: Option<usize>,
    http: Option<[String; 3]>,
    body: usize,
    publish: Option<String>,
    attach: Option<String>,
    payload: usize,
    slot: Option<String>,
    sleep: Option<u64>,
    /// So often.
    times: u32,
    /// A kind that there isn't.
    kind: Option<u8>,
}

impl Default for Effect {
    fn default() -> Self {
        Self {
            ordinal: None,
            access: "changes".into(),
            run: None,
            args: Vec::new(),
            file: None,
            content: None,
            http: None,
            body: 0,
            publish: None,
            attach: None,
            payload: 0,
            slot: None,
            sleep: None,
            times: 1,
            kind: None,
        }
    }
}

/// Where a guest has what.
const EFFECTS_AT: u32 = 0x8000;
const TEXTS_AT: u32 = 0x1_0000;
/// Bytes of one effect.
const EFFECT_BYTES: u32 = 56;

/// The memory of an executor's answer, written down as data.
#[derive(Default)]
struct Image {
    effects: Vec<u8>,
    texts: Vec<u8>,
}

impl Image {
    fn text(&mut self, text: &[u8]) -> [u8; 8] {
        let at = TEXTS_AT + self.texts.len() as u32;
        self.texts.extend_from_slice(text);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&at.to_le_bytes());
        bytes[4..].copy_from_slice(&(text.len() as u32).to_le_bytes());
        bytes
    }

    fn list(&mut self, texts: &[String]) -> [u8; 8] {
        let items: Vec<u8> = texts.iter().flat_map(|text| self.text(text.as_bytes())).collect();
        // Pairs of pointer and length stand on a multiple of four.
        self.texts.resize(self.texts.len().next_multiple_of(4), 0);
        let mut bytes = self.text(&items);
        bytes[4..].copy_from_slice(&(texts.len() as u32).to_le_bytes());
        bytes
    }

    fn effect(&mut self, effect: &Effect, ordinal: u32) {
        let mut bytes = [0; EFFECT_BYTES as usize];
        bytes[..4].copy_from_slice(&effect.ordinal.unwrap_or(ordinal).to_le_bytes());
        bytes[4] = match effect.access.as_str() {
            "looks" => 0,
            "changes" => 1,
            _ => 9,
        };
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        if let Some([endpoint, method, path]) = &effect.http {
            put(16, &self.text(endpoint.as_bytes()));
            put(24, &self.text(method.as_bytes()));
            put(32, &self.text(path.as_bytes()));
            put(40, &self.text(&vec![0; effect.body]));
        } else if let Some(command) = &effect.run {
            put(8, &[1]);
            put(16, &self.text(command.as_bytes()));
            put(24, &self.list(&effect.args));
        } else if let Some(slot) = &effect.slot {
            put(8, &[2]);
            put(
                16,
                &[match slot.as_str() {
                    "status" => 0,
                    "stage" => 1,
                    _ => 9,
                }],
            );
            put(24, &self.text(b"1.5.0"));
            put(32, &self.text(b"not a digest"));
        } else if let Some(path) = &effect.file {
            put(8, &[3]);
            put(16, &self.text(path.as_bytes()));
            if let Some(content) = effect.content {
                put(24, &[1]);
                put(28, &self.text(&vec![0; content]));
            }
        } else if let Some(topic) = &effect.publish {
            put(8, &[4]);
            put(16, &self.text(topic.as_bytes()));
            put(24, &self.text(&vec![0; effect.payload]));
        } else if let Some(ms) = effect.sleep {
            put(8, &[5]);
            put(16, &ms.to_le_bytes());
        } else if let Some(name) = &effect.attach {
            put(8, &[6]);
            put(16, &self.text(name.as_bytes()));
            put(24, &self.text(&vec![0; effect.payload]));
        }
        if let Some(kind) = effect.kind {
            bytes[8] = kind;
        }
        self.effects.extend_from_slice(&bytes);
    }

    fn data(&self) -> String {
        let mut text = String::new();
        for (at, bytes) in [(EFFECTS_AT, &self.effects), (TEXTS_AT, &self.texts)] {
            let _ = write!(text, "(data (i32.const {at}) \"");
            bytes.iter().for_each(|byte| {
                let _ = write!(text, "\\{byte:02x}");
            });
            text.push_str("\")\n");
        }
        text
    }
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

    pub(super) fn tried(&self) -> Verdict {
        let engine = Engine::new().unwrap();
        let policy = load(&engine, &self.component().unwrap(), &self.limits).into_policy().unwrap();
        let verdict = told(match self.call.as_deref().unwrap_or("decide") {
            "describe" => policy.describe().map(|told| told.about),
            "validate" => policy.validate(&Config::default()).map(|problems| format!("{problems:?}")),
            _ => policy
                .decide(&Config::default(), &facts(), &vec![0; self.prior])
                .map(|decided| format!("{:?}", decided.decision)),
        });
        // As good as ever: nobody else feels it.
        let good = load(&engine, good_policy(), &Few::default()).into_policy().unwrap();
        let decided = good.decide(&Config::default(), &facts(), &[]).unwrap();
        assert_eq!(decided.decision.reasons[0].0, "ok");
        verdict
    }
}

impl Executor {
    fn component(&self) -> Result<Vec<u8>, CompileError> {
        let Self { parts, step, describe, validate, state, .. } = self;
        let parts = parts.as_deref().unwrap_or(MEMORY);
        let mut image = Image::default();
        let usual = [Effect { run: Some("restart".into()), ..Effect::default() }];
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

    pub(super) fn tried(&self) -> Verdict {
        let engine = Engine::new().unwrap();
        let executor = load(&engine, &self.component().unwrap(), &self.limits).into_executor().unwrap();
        let task = Task::Heal { playbook: Name::parse("restart").unwrap() };
        let begin = Event::Begin(Order { ticket: Ticket(1), fence: Fence(1), task });
        let answered = Event::Answered { ordinal: 0, answer: Answer::Done };
        let config = Config::default();
        let verdict = told(match self.call.as_deref().unwrap_or("step") {
            "describe" => executor.describe().map(|told| told.about),
            "validate" => executor.validate(&config).map(|problems| format!("{problems:?}")),
            _ if self.shown > 0 => executor
                .step(&config, &vec![0; self.shown], &answered)
                .map(|stepped| format!("{:?}", stepped.effects)),
            _ => executor.step(&config, &[], &begin).map(|stepped| format!("{:?}", stepped.effects)),
        });
        let good = load(&engine, good_policy(), &Few::default()).into_policy().unwrap();
        assert!(good.decide(&Config::default(), &facts(), &[]).is_ok());
        verdict
    }
}

fn told(answer: Result<String, CallError>) -> Verdict {
    match answer {
        Ok(what) => Verdict::Accepted(what),
        Err(error) => Verdict::of(&error, error.help()),
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

/// What the guests here are granted.
fn permissions() -> Permissions {
    let names = |name| vec![Name::parse(name).unwrap()];
    Permissions {
        endpoints: names("api"),
        commands: names("restart"),
        topics: names("told"),
        paths: vec!["/etc/pump".into()],
        slots: false,
    }
}

/// Compiles, signs, verifies and loads.
fn load(engine: &Engine, component: &[u8], few: &Few) -> Loaded {
    // All the time that can be granted, where time isn't what is attacked: it is that of the wall, and this may have to
    // share its machine.
    let usual = Limits { call: Limits::MAX.call, ..Limits::DEFAULT };
    let limits = Limits {
        call: few.call_ms.map_or(usual.call, Millis),
        state_bytes: few.state_bytes.unwrap_or(usual.state_bytes),
        output_bytes: few.output_bytes.unwrap_or(usual.output_bytes),
        effects_per_step: few.effects_per_step.unwrap_or(usual.effects_per_step),
        ..usual
    };
    Loaded::load(engine, &granted(component, permissions(), limits)).unwrap()
}

fn facts() -> Facts {
    Facts {
        now: Mono(0),
        release: backstay_test_stories::release("1.5.0"),
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
