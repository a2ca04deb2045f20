//! Why a machine started anew.
//!
//! Not here: how that is told from what is left of the time before (`core`), and where the traces are (the agent).

use core::fmt;

use serde::{Deserialize, Serialize};

/// Why a machine started anew. New causes are added at the end: the position of one is its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetCause {
    /// Its power went: all that would have left a trace of another cause is there, and has none.
    Power,
    /// A watchdog wasn't fed any more.
    Watchdog,
    /// The kernel gave up.
    Panic,
    /// Somebody asked for it: what ran was stopped first.
    Asked,
    /// Nothing here can tell.
    Unknown,
}

impl fmt::Display for ResetCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power => "its power went",
            Self::Watchdog => "its watchdog ended it",
            Self::Panic => "its kernel panicked",
            Self::Asked => "somebody asked for it",
            Self::Unknown => "nothing here can tell why",
        })
    }
}
