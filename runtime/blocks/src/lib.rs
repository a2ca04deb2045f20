//! Artifacts by their blocks: who has an older image fetches only what is new in it.
//!
//! Beside an artifact `<digest>` lies a file `<digest>.blocks`: an [`Index`] of the artifact's blocks, and behind it a *pack*,
//! the artifact once more, compressed so that each block can be had alone. It is a plain file, asked for by plain ranges, so
//! any server of files will do. Numbers are little-endian:
//!
//! ```text
//! magic      8 bytes  "BKSTBLK1"
//! digest    32 bytes  SHA-256 of the artifact
//! length     8 bytes  of the artifact
//! keys       8 bytes for each block  the first of its SHA-256; a last block that is short counts as if zeros followed
//! sizes      2 bytes for each block  of what is stored of it, less one; never more than the block has
//! sum       32 bytes  SHA-256 of all before: it finds accidents
//! pack                what is stored of each block, one behind the other: as it is, where it has the block's own size;
//!                     else deflated (RFC 1951), with the 32 KiB of the artifact before it as what went before
//! ```
//!
//! An artifact is put together from its front, so what went before a block is there when the block is unpacked: each can
//! be had alone, and is nearly as small as if all were compressed as one.
//!
//! How large blocks are and how many, and with it where the pack begins, follows from the artifact's length alone
//! ([`Shape`]), which is known from something signed. So the file has no word in it that could ask for memory, and sizes
//! that follow one another can neither overlap nor lead anywhere else.
//!
//! Nothing in it is believed: what comes of it is held against the signed digest like any artifact.
//!
//! Here: the format, making it (feature `write`), and what is to be fetched and what is not ([`Plan`]). Not here: sockets and
//! files (`hands`), where the file lies (`api`, and who runs a mirror).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod index;
mod plan;
mod search;
mod shape;
#[cfg(any(test, feature = "write"))]
mod write;

use sha2::{Digest as _, Sha256};

pub use index::{BlockError, Index, IndexError};
pub use plan::{Plan, Step};
pub use search::{Found, Place, Search};
pub use shape::{HISTORY_BYTES, Shape};
#[cfg(any(test, feature = "write"))]
pub use write::{WriteError, Written, write};

/// What a file of blocks is called: the artifact's digest, a dot, and this.
pub const EXTENSION: &str = "blocks";

/// By what a block is known: the first bytes of its SHA-256. It is enough to find it; that it is the right one, the digest
/// of all says.
fn key(block: &[u8], block_bytes: usize) -> u64 {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut hasher = Sha256::new();
    hasher.update(block);
    let mut missing = block_bytes.saturating_sub(block.len());
    while missing > 0 {
        let some = missing.min(ZEROS.len());
        hasher.update(&ZEROS[..some]);
        missing -= some;
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hasher.finalize());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
