//! What the executors for Kubernetes share.
//!
//! Here: asking the API server (`api`, `resource`, `clock`, `patience`) and changing what it has (`edit`, `lease`); what a workload is, how it
//! stands and how old that is (`workload`, `standing`, `pods`, `nodes`, `age`); which release it runs and ran (`template`, `revisions`), and
//! bringing that back (`restore`); who else writes it and how it is held (`owners`, `hold`); mending it (`heal`), looking at it (`look`), and
//! what can be set (`settings`). Not here: when anything is done and how often (`core`), credentials and addresses (the host), and what is
//! particular to one kind of release (the executors).
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod age;
pub mod api;
pub mod clock;
pub mod edit;
pub mod heal;
pub mod hold;
pub mod lease;
pub mod look;
pub mod nodes;
pub mod owners;
pub mod patience;
pub mod pods;
pub mod quantity;
pub mod resource;
pub mod restore;
pub mod revisions;
pub mod settings;
pub mod standing;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod workload;

pub use serde_json as json;
