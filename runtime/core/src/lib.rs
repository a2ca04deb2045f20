//! The decisions: pure state machines from `(now, input)` to effects.
//!
//! Here: every `if` about health, releases, waves, retries, locks and breakers. Not here: a clock, a socket, a
//! file, a thread. The same code runs on a device, on the server and in a simulated fleet of thousands.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod backoff;
mod budget;
mod device;
mod ladder;
mod quarantine;
mod rng;
mod windows;

pub use backoff::Backoff;
pub use budget::{Allowance, Budget};
pub use device::{Device, DeviceSettings, DeviceState, Effect, Freshness, Identity, Input, Steered, Vetted};
pub use ladder::{Climb, Ladder, Outlook, RUNGS_MAX, Rung};
pub use quarantine::Quarantine;
pub use rng::Rng;
pub use windows::{Watched, Windows};
