//! Doubles and trials: a disk in memory that fails on purpose, and what a journal has to survive on it.
//!
//! Here because more than one crate needs them: our own tests, `tests/faults` for the long runs, and whoever tests
//! what stands on a journal. Behind the feature `testing`: none of it is in a product.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what runs a test may fail it")]

mod cuts;
mod memory;
mod random;
mod rot;

pub use cuts::{CutReport, Scenario, cut_everywhere};
pub use memory::{Memory, MemoryFile, Survival};
pub use random::Random;
pub use rot::{Verdict, rot};
