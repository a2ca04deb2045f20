//! What a plugin is written with.
//!
//! Here: the contract of `wit/` as Rust types, settings that describe themselves, executors as straight-line
//! code, and what a plugin needs to be built for WebAssembly. Not here: anything of the runtime. A plugin knows
//! the contract and nothing else, and its tests run it natively: `cargo test` needs no WebAssembly.
//!
//! - A policy implements [`policy::Policy`] and is exported with [`export_policy!`].
//! - An executor implements [`executor::Executor`] and is exported with [`export_executor!`]. Its
//!   [`run`](executor::Executor::run) reads like a script; the SDK turns it into steps that survive a power cut.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod bare;
pub mod bindings;
pub mod deed;
pub mod executor;
mod log;
pub mod policy;
mod run;
pub mod settings;

#[doc(hidden)]
pub use alloc::vec::Vec as __Vec;
