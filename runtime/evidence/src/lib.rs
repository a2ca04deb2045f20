//! What makes a journal evidence: records that name their predecessor by its hash.
//!
//! Here: how a record is framed, what its hash covers, what a head is and which of its bytes are signed, and a
//! check that names the first bad record and says why it is bad. Not here: files (`journal`), signatures
//! (`trust`), and what a body means (`wire`): to the chain a body is bytes.
//!
//! *Record*: one body with its place in the chain. *Head*: the last record's place and hash; whoever knows a head
//! knows everything before it. *Epoch*: a stretch without a gap. What was lost is never papered over: a new
//! epoch begins with a record that follows the last good one and takes a sequence above all that are known.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod chain;
mod checksum;
mod record;

pub use chain::{Broken, Chain, HEAD_BYTES, Head, Why};
pub use checksum::crc32c;
pub use record::{BODY_BYTES_MAX, Frame, FrameError, HEADER_BYTES, Place, Record};
