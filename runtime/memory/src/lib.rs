//! What an instance did and where it stands: the journal, and the view of it, together.
//!
//! Here: recording events with the state after them, durably and before anything follows from them; finding
//! that state again after a start, whatever happened to the view; the steps of runs that have not ended; the
//! records that the server has no receipt for; and whom the instance trusts by now. Agent and server both remember through this. Not here: what
//! a state means (`core`; it is opaque bytes here), and files or trees (`journal`, `store`).
//!
//! The journal is the truth. The view only makes a start quick: lost, damaged or behind, it is rebuilt from the
//! journal. A disk that is full, read-only or failing stops nobody: [`Durability::Degraded`] says so, once, and the
//! instance goes on deciding. What it could not record it records late, with a word on how much that was.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod begun;
mod file;
mod memory;
mod outbox;
mod recall;
mod runs;
mod trusted;
mod waiting;

pub use file::{keep_file, keep_folder};
pub use memory::{ANCHOR_EVERY, Durability, Memory, OpenError, Options};
pub use outbox::ReceiptError;
pub use recall::Recalled;
pub use runs::Step;
pub use trusted::{Trusted, TrustedError};
