//! The decisions: pure state machines from `(now, input)` to effects.
//!
//! Here: every `if` about health, releases, waves, retries, locks and breakers. Not here: a clock, a socket, a
//! file, a thread. The same code runs on a device, on the server and in a simulated fleet of thousands.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

