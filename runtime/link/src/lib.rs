//! The link to the MQTT broker: it carries bytes and decides nothing.
//!
//! Here: connecting and connecting again, subscribing, handing over what is to be published, and telling
//! what came. The broker is an untrusted mailbox (`runtime/decisions/0009-mqtt-as-an-untrusted-mailbox.md`):
//! it may lose, repeat, reorder, delay, enlarge or invent anything, and none of that may stop the link.
//!
//! Not here: what a topic or a payload means (`wire`), who signed it (`trust`), and what has to be sent again
//! after a broken connection. The link remembers nothing from one connection to the next, so it is no
//! outbox: the journal past the last receipt is. An MQTT acknowledgement says that the *broker* has the
//! bytes, which is a hint for pacing and never a reason to forget anything.
//!
//! A link is no task of its own: whoever waits for what happens on it drives it meanwhile, as one loop drives a device. A
//! message then wakes one task and not two.
//!
//! Words: a *connection* is one MQTT session from CONNACK to its end.
//! A *filter* is one subscription. A filter is *poisoned* while it holds a message too large to be read.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod address;
#[cfg(feature = "embedded-broker")]
mod broker;
mod configured;
mod connection;
mod desk;
mod files;
mod filters;
mod flight;
mod handle;
mod link;
mod packets;
mod pause;
mod settings;
mod socket;
#[cfg(feature = "testing")]
pub mod testing;
mod trouble;

pub use address::{Address, AddressError};
#[cfg(feature = "embedded-broker")]
pub use broker::{Broker, BrokerError};
pub use bytes::Bytes;
pub use files::{FileError, Tls};
pub use handle::{Handle, Happening, Incoming, Message, Outgoing, PublishError, Token};
pub use link::Link;
pub use settings::{Filter, Identity, Qos, Settings, SettingsError, Will};
pub use trouble::Trouble;
