//! The truth of an instance: what is durable here was so before anything was done about it.
//!
//! Here: segment files of records ([`backstay_evidence`]), two anchor slots beside them, the scan that tells a
//! torn write from damage, and what is done about either. Not here: what a body or an anchor's words mean
//! (the caller), signatures (`trust`), and views of the journal (`store`).
//!
//! *Segment*: a file of fixed size, filled with zeros before use, so that a commit is one write and one sync
//! that move no metadata. *Anchor*: a head and the caller's few words, in two slots written in turn. *Torn tail*:
//! a last write that the power cut short; it was never acknowledged. *Gap*: records that were lost. A gap is
//! never closed in silence: it is a finding, and the first record of a new epoch.
//!
//!   open -- whole --> append, commit, append, ...
//!   open -- torn tail --> the tail is cleared --> append, ...
//!   open -- damage --> gap record in a segment of its own; what is damaged stays --> append, ...
//!   commit -- the disk failed to sync --> failed until opened again ("reopen"): such a sync is never tried twice
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod anchor;
mod disk;
mod finding;
mod journal;
mod ledger;
mod reader;
mod segment;
#[cfg(test)]
mod stories;
mod survey;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use anchor::{Anchor, WORDS_BYTES_MAX};
pub use backstay_evidence::{Head, Record};
pub use disk::{Disk, DiskFile, Folder, FolderError, FolderFile};
pub use finding::{Cause, Finding, Loss, Witness};
pub use journal::{Ballast, Journal, OpenError, Opened, Options};
pub use ledger::{AnchorError, AppendError, CommitError, Ledger, PruneError, ReadError};
pub use reader::Reader;
