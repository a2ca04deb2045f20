//! The plugins that an instance is configured with.
//!
//! Here: from a `[policy]` or `[executor]` in a configuration to something that can be asked: the bundle is read,
//! its statements are verified, the code is loaded, the settings are checked by the plugin itself. And asking:
//! who failed too often is no longer asked, the one before takes over, and at the end nobody, which everybody
//! downstream reads as "hold". Moving a run on, and what is recorded of every call. Agent and server both ask through this. Not here: what counts as too often
//! (`core`), what a strike is (`host`), what an answer leads to (`core`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod images;
mod judge;
mod load;
mod load_error;
mod mark;
mod run;
pub mod trace;
#[cfg(feature = "worker")]
pub mod worker;

pub use images::{configured, pin};
pub use judge::{Adviser, Asked, Consulted, Judge, Memos};
pub use load::{Loader, Ready, Tier, as_release, floors_after, taken_back, terms};
pub use load_error::LoadError;
pub use mark::{Left, Mark};
pub use run::{Next, Run, Steps, Stuck};
