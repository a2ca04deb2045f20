//! A judge that holds the candidate against the baseline, and may be asked as often as one likes.
//!
//! Thresholds can't tell "the candidate is bad" from "the world is bad", and a test that is looked at after every window
//! is wrong far more often than it says. This policy compares the two sides, window by window, with e-values: their
//! product may be looked at at any time, and reaches `1 / a` by chance with a probability of at most `a`.
//!
//! ```text
//! windows (samples, bad) of both sides
//!   -> each once (`ledger`), in clusters of a minute
//!   -> how bursty is this objective? (`dispersion`), learned while nothing is on trial, too
//!   -> evidence that the candidate is worse, and that it isn't (`evidence`)
//!   -> an answer with its numbers (`verdict`)
//! ```
//!
//! An objective is judged by the share of its samples that were bad. So latency needs nothing of its own: it is the
//! share of requests that were slower than promised.
//!
//! A roll-back needs three things at once, because each has a case in which the others are wrong:
//!
//! 1. *Exact evidence* at the configured error rate that the candidate is worse at all. It holds whatever happens to both
//!    sides alike: incidents, the time of day, a changing share of the traffic.
//! 2. The same evidence *tempered* by how bursty the objective is, in clusters of one minute and of five. Errors that
//!    come in bursts make each request worth less than a request.
//! 3. Evidence that it is worse by more than a *practical margin*: no two machines are alike.
//!
//! Here: the policy. Not here: how a release is left and a machine mended (the SDK's `remedy`); rails such as budgets and
//! retries, which hold whatever a policy says; and promises: a release that breaks them together with its baseline is for
//! `policy-tree`.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod config;
mod dispersion;
mod evidence;
mod ledger;
mod memo;
mod verdict;

use alloc::vec::Vec;

use backstay_sdk::{
    policy::{Decided, Facts, Policy, Refusal},
    settings::{Description, Problem, Setting},
};

use crate::{config::Config, memo::Memo};

/// The policy that this component exports. What it has seen of the trial, and learned before it, is its memo.
#[derive(Clone, Copy, Debug)]
pub struct Sequential;

impl Policy for Sequential {
    fn describe() -> Description {
        config::describe()
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        config::validate(config)
    }

    fn decide(config: &[Setting], facts: &Facts, prior: &[u8]) -> Result<Decided, Refusal> {
        let config = Config::read(config);
        let (mut memo, start) = Memo::read(prior);
        memo.take(&config, facts);
        Ok(Decided { decision: verdict::judge(&config, facts, &memo, start), memo: memo.bytes() })
    }
}

backstay_sdk::export_policy!(Sequential);
