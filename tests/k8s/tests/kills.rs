//! The server is killed at each request that a run makes of the API server, before it was heard and after it was done, and starts
//! again: each time the run ends as the one did that nobody cut off, and nothing is done twice.
//!
//! For each kind of run there is one first that isn't cut off. Its requests are the points; what it leaves is what each of
//! the others has to leave. `BACKSTAY_TRIALS` says how many kills of each kind there are at most, spread over the points; without
//! it there are as many as take some minutes. docs/faults.md has what all of them came to.
//!
//! Here: which kinds there are. Not here: one kill and what is looked at after it (`trial`), the moments (`points`), and the kinds (`kinds`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod kinds;
#[path = "kills/points.rs"]
mod points;
#[path = "kills/trial.rs"]
mod trial;

use std::sync::OnceLock;

use kinds::{
    Kind,
    healing::{Healed, Paced},
    helm::{Found, Helmed},
    undoing::Undone,
    workloads::{Deployed, Rolled},
};
use trial::Trials;

/// Each of them, one after the other: what one waits for would be felt by the others.
fn are_tried(kinds: &[&dyn Kind]) {
    let Some(trials) = Trials::opens() else { return };
    for kind in kinds {
        trials.tries(*kind);
    }
}

#[test]
fn deployments_come_home() {
    are_tried(&[&Deployed]);
}

#[test]
fn rollouts_come_home() {
    are_tried(&[&Rolled::to(20), &Rolled::to(60), &Rolled::to(100)]);
}

#[test]
fn canaries_are_held() {
    are_tried(&[&Paced::Held, &Paced::GoesOn]);
}

#[test]
fn playbooks_come_to_their_end() {
    are_tried(&[
        &Healed::Restart,
        &Healed::Resize,
        &Healed::Drain,
        &Healed::Scale,
        &Healed::Outliers,
        &Healed::Lkg(OnceLock::new()),
    ]);
}

#[test]
fn what_was_done_is_taken_back() {
    are_tried(&[&Undone::Unfreeze, &Undone::Undrain, &Undone::OutliersOff]);
}

#[test]
fn helm_releases_come_home() {
    are_tried(&[&Helmed::by(3, Found::Whole), &Helmed::by(4, Found::Whole)]);
}

#[test]
fn helm_releases_that_are_pending_come_home() {
    are_tried(&[&Helmed::by(3, Found::Pending), &Helmed::by(4, Found::Pending)]);
}

#[test]
fn helm_releases_are_repaired() {
    are_tried(&[&Helmed::by(3, Found::Unsettled), &Helmed::by(4, Found::Unsettled)]);
}
