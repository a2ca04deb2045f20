//! Configuration files: read whole, checked whole, and what is wrong is told by file, line, key and expectation.
//!
//! Here: reading a TOML document, finding the line of a key, and the values that every configuration has
//! (spans, the broker, a plugin). Not here: the other keys: each program has its own.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod broker;
mod document;
mod plugin;
mod span;
mod whole;

pub use broker::Broker;
pub use document::{Document, Problem, Problems, ReadError};
pub use plugin::{Plugin, Setting};
pub use span::Span;
pub use whole::{Keys, Whole};

/// The exit code of a program whose configuration is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_CODE: u8 = 64;
