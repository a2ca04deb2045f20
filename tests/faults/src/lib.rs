//! What breaks under Backstay, and what must not break with it.
//!
//! Here: how trials are run and counted (`trials`), what a device would have recorded (`life`), trials of all that a
//! device remembers, together (`memory`), and a fleet of real processes under fire (`fire`). What a trial of the journal
//! alone does stands with the journal, in `backstay_journal::testing`. Longer runs than the tests make:
//!
//!   cargo run -p backstay-test-faults --bin journal-faults -- --flips 1000000 --cuts 1000
//!   cargo run -p backstay-test-faults --bin memory-faults -- --trials 10000
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

pub mod block;
pub mod fire;
pub mod life;
pub mod memory;
pub mod power;
mod rot;
pub mod trials;
