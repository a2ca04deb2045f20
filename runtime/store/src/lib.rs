//! sled as a view: state, runs and indexes in a form that is quick to read, with the journal sequence they
//! stand for.
//!
//! Here: opening a view whatever state its directory is in, applying what a journal record changed, reading it
//! back with its checksum. Not here: the truth. That is the journal, and whatever this crate loses or throws
//! away is rebuilt from it; so damage is never an error that stops anybody, it is a reason to begin afresh.
//!
//! - A *view* holds values under keys in a few *trees*, and the highest journal sequence *applied* to it.
//! - *Exact* means: the values are those that the changes up to `applied` made, no more and no less. A view may
//!   be behind the journal (sled quietly opens an older state when the end of its file is gone). It is never
//!   anything but exact: a digest over all values stands beside `applied`, and opening compares the two.
//! - *Set aside* means: the directory was renamed for somebody to look at, and an empty view took its place.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod aside;
mod change;
mod damage;
mod disk;
mod head;
mod memory;
mod opened;
mod pending;
mod row;
mod view;

pub use aside::SetAside;
pub use change::{BYTES_MAX, Change, KEY_BYTES_MAX, Pair, Tree, VALUE_BYTES_MAX};
pub use damage::{ApplyError, Damage, Flaw, FlushError, ReadError};
pub use opened::{Backing, Opened, Options, Volatile};
pub use view::View;
