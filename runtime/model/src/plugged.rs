//! What is written down of calls of plugins, so that each can be made again later, elsewhere.
//!
//! Not here: how a digest is made and what is left out of a configuration (`plugins`), and making a call again (`kit`).

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{Digest, Name, PluginId, Version};

/// A plugin as an instance has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equipped {
    /// What it is asked for.
    pub role: PluginRole,
    /// Which.
    pub plugin: PluginId,
    /// For people.
    pub version: Version,
    /// Of the grant under which it runs: it names the vendor's release and the code, machine by machine.
    pub grant: Digest,
    /// What it is told with each call, but for [`Equipped::withheld`]. At most 64, some 16 KiB together.
    pub settings: Vec<(Name, Told)>,
    /// Settings that are set and not written down: they are secret, or too long.
    pub withheld: Vec<Name>,
}

/// What a plugin is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PluginRole {
    /// Decisions.
    Policy,
    /// Steps of runs.
    Executor,
}

/// What a setting was set to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    Texts(Vec<String>),
}

/// What a policy remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memo {
    /// All of it, at most [`Memo::BYTES_MAX`]. Empty at the first call, and after a call that failed.
    Whole(Vec<u8>),
    /// It was longer; this is its digest.
    Long(Digest),
}

impl Memo {
    /// The longest that is written down whole, in bytes.
    pub const BYTES_MAX: usize = 4096;
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// An answer; this is its digest.
    To(Digest),
    /// None, by the plugin's own doing: the same call fails anywhere.
    Nothing,
    /// None, and the machine had a part in it: time ran out, or there was no sandbox. Elsewhere it may be answered.
    Unlucky,
}
