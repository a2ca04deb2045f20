//! The bytes that are stored and sent.
//!
//! Here: how a value is framed as an [`Item`], which versions of it a reader takes, what the kinds of
//! [`Body`] hold, and which [`Topic`] each of them goes to. Not here: who vouches for the bytes (`trust`), how
//! records are chained (`evidence`), where they are kept (`journal`, `store`) and what carries them (`link`).
//!
//! Three promises, and `tests/` holds this crate to them: bytes that anybody may have written never panic and
//! never allocate more than their own size warrants; a reader takes what the version before and the version
//! after wrote; the bytes of today's version stay as `tests/wire/` has them.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod anchor;
mod batch;
mod body;
mod bytes;
mod device_order;
mod entry;
mod error;
mod item;
mod message;
mod schema;
mod topic;

pub use anchor::{AnchorWords, Mark, Stream};
pub use batch::{LogBatch, Receipt};
pub use body::{Body, decode, encode, encode_as};
pub use device_order::DeviceOrder;
pub use entry::Entry;
pub use error::{DecodeError, EncodeError, OutOfBounds};
pub use item::{HEADER_BYTES, Item, Items};
pub use message::{Presence, TrustFloor};
pub use schema::Schema;
pub use topic::{Leaf, Qos, Retain, Sender, Topic, TopicError, TopicFilter, TopicKind};
