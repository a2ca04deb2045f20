//! Simulated hours of canaries, and how often each judge is wrong about them, and how long it takes to be right.
//!
//! ```text
//! a seed (`random`) -> an hour of two sides (`world`) -> the usual rules (`rules`) and ours (`policies`) -> a table (`trial`)
//! ```
//!
//! All rules see the same hours. Nothing here needs the runtime: policies are called as the Rust functions that they are.
//! `cargo xtask bench judge` runs it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption fails the test"))]

pub mod policies;
pub mod random;
pub mod rules;
pub mod trial;
pub mod world;
