//! The only place that knows WebAssembly: loads verified plugins and calls them in a sandbox.
//!
//! Here: the engine and its settings, a fresh instance for every call, the limits, the way of facts into a
//! plugin and of decisions and effects out of it, each checked. Not here: who may run (`trust`), what a decision
//! leads to and when a plugin is put out (`core`), doing what a plugin asks for (`hands`, `slots`).
//!
//! A plugin gets nothing but its arguments: a component that wants to import a function is refused. What it gives
//! back is believed in nothing: every text is bounded, every name parsed, every effect held against the grant.
//! Whatever goes wrong is a value, a [`CallError`], and never takes the host with it.
//!
//! Only artifacts that were compiled before are loaded. The compiler is behind the feature `compile`, which the
//! device doesn't have (`runtime/decisions/0006-wasmtime-settings.md`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod bindings;
#[cfg(feature = "compile")]
mod compile;
mod config;
mod convert;
mod engine;
mod error;
mod executor;
mod hosted;
mod plugin;
mod policy;
mod sandbox;
#[cfg(feature = "compile")]
mod stub;
#[cfg(feature = "testing")]
pub mod testing;
mod ticker;

#[cfg(feature = "compile")]
pub use compile::{
    CompileError, Compiled, Machine, compile_component, compile_once, componentize, system_of, world_of,
};
pub use config::{Config, ConfigError, Description, Kind, Problem, SettingInfo, Value};
pub use engine::{Engine, EngineError, engine_profile, machine, world_executor, world_policy};
pub use error::{CallError, Strike, StrikeKind};
pub use executor::{Event, Executor, ForExecutor, Stepped};
pub use hosted::Hosted;
pub use plugin::{LoadError, Plugin};
pub use policy::{Decided, ForPolicy, Policy};
