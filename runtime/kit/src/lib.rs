//! Holds plugins against what they promise.
//!
//! Here: what any executor and any policy has to stand ([`conformance()`], [`judging()`]), a vendor's own tests
//! ([`Vector`]), making calls again on another engine or another machine ([`Job`]), and making recorded calls again
//! ([`replay()`]). Not here: signatures (`trust`), the sandbox (`host`), what is recorded (`plugins`), files and the
//! command line (`backstay`).
//!
//! Nothing of it is in a device's program: it is for whoever writes plugins, and for whoever wants to know afterwards.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

pub mod calls;
mod conformance;
mod fuzz;
mod job;
mod judging;
mod replay;
mod shelf;
#[cfg(feature = "compile")]
mod trial;
mod vectors;

pub use calls::{Call, Came, Settings, Tried};
pub use conformance::{
    CaseCame, CaseReport, Class, Conditions, UNKNOWN_PLAYBOOK, asks, case_count, conformance,
};
pub use fuzz::{Dice, facts};
pub use job::{Done, JOB_BYTES_MAX, Job, JobError, Kind, Work};
pub use judging::{Answers, judging, word};
pub use replay::{Calls, Difference, Replayed, Verdict, replay};
pub use shelf::{Shelf, ShelfError, Shelved};
#[cfg(feature = "compile")]
pub use trial::{Trial, TrialError};
pub use vectors::{For, Vector, release};
