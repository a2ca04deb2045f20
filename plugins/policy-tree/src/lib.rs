//! The decision tree: facts in, one decision out, by fixed thresholds.
//!
//! ```text
//! a critical local objective is broken in 2 consecutive windows
//!     stage below 50 %  -> roll back: abort the canary
//!     else              -> roll back: all traffic to stable, and freeze
//! a critical objective of a dependency is broken as long -> freeze
//! data is missing                                        -> freeze (mend first, if the machine is in trouble)
//! a critical objective is broken in the newest window alone
//!     on trial, or a dependency's -> wait for the next window
//!     confirmed, and local        -> heal, a few times
//! looks anomalous, or an objective that isn't critical is broken -> slow
//! the machine is in trouble, and nothing says it is the code
//!     healed fewer than 3 times -> heal
//!     else                      -> roll back, as above
//! else -> proceed
//! ```
//!
//! Where the release before can't live with the data as they are, what would be a roll-back is a pause: both ways
//! are closed, and a person has to choose. Here: the tree (`tree`), how an objective's windows are read
//! (`streak`), what can be set (`config`). Not here: how a release is left and a machine mended (the SDK's `remedy`),
//! rails such as budgets and retries, which hold whatever a policy says, and any comparison with a baseline: this policy
//! judges by promises alone.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod config;
mod streak;
mod tree;

use alloc::vec::Vec;

use backstay_sdk::{
    policy::{Decided, Facts, Policy, Refusal},
    settings::{Description, Problem, Setting},
};

use crate::config::Config;

/// The policy that this component exports. It remembers nothing: its memo is empty.
#[derive(Clone, Copy, Debug)]
pub struct Tree;

impl Policy for Tree {
    fn describe() -> Description {
        config::describe()
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        config::validate(config)
    }

    fn decide(config: &[Setting], facts: &Facts, _: &[u8]) -> Result<Decided, Refusal> {
        Ok(Decided { decision: tree::judge(&Config::read(config), facts), memo: Vec::new() })
    }
}

backstay_sdk::export_policy!(Tree);
