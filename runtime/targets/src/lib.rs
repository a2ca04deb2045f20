//! What the server watches and can bring back: the configuration of targets, read and checked whole.
//!
//! Here: the keys of `backstay.toml` that targets share ([`Shared`]), the file of one target, their rules, what a reload
//! changes, and the JSON schema of both. A [`Targets`] can be had only by [`Reading::of`] or [`Targets::load`], so whoever holds one needs
//! to check nothing: each name that a target uses is there, and each quantity is within its bounds.
//! Not here: asking Prometheus, running commands, loading plugins (whoever does it is given these types), and the rest of the
//! server's configuration.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod bounds;
mod changes;
mod credential;
mod file;
mod known;
mod migration;
mod objective;
mod ranges;
mod reading;
mod schema;
mod shared;
#[cfg(test)]
mod stories;
mod target;
mod text;

pub use bounds::{NumberIn, SpanIn};
pub use changes::{Changes, Table};
pub use credential::{Credential, Secret};
pub use reading::{FILES_MAX, Reading, Targets};
pub use schema::{NameText, merged, target_schema};
pub use shared::{Brakes, Command, Endpoint, Method, Page, Prometheus, Shared, Ssh};
pub use target::{Rails, Target};
pub use text::{AbsolutePath, Argument, HeaderName, HeaderValue, Host, HttpUrl, PathPrefix, User, Variable};
