//! What breaks under Backstay, and what must not break with it.
//!
//! Here: how trials are run and counted. What a trial does stands with the part that it tries, such as
//! `backstay_journal::testing`. A longer run than the tests make:
//!
//!   cargo run -p backstay-test-faults --bin journal-faults -- --flips 1000000 --cuts 1000

pub mod trials;
