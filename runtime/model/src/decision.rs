//! What a policy answers. Not here: what the rails make of it (`core`).

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::Name;

/// What a policy wants done, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// Why: 1 to 8 reasons, the weightiest first.
    pub reasons: Vec<Reason>,
}

/// The closed list of what a policy can want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// All is well; go on.
    Proceed,
    /// Look for longer before going on.
    Slow {
        /// By this many windows, 1 to 100.
        windows: u32,
    },
    /// Try to mend what runs.
    Heal {
        /// What to do first, of the playbooks in the configuration; `None` leaves it to the ladder.
        playbook: Option<Name>,
    },
    /// Bring the release before back.
    RollBack {
        /// In which way.
        how: How,
    },
    /// Move nothing until somebody or something says more.
    Freeze,
    /// Stop where the data base is: neither forward nor back.
    Pause,
}

/// How to bring the release before back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// End the canary: the stable side still has most of the traffic.
    AbortCanary,
    /// All traffic to stable at once, and nothing further goes out.
    SwitchAndFreeze,
}

/// One reason with its numbers in it: "critical objective http breached in 2 of 2 windows (bad 500 of 1000 permille)".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason(pub String);

impl Reason {
    /// The longest reason, in bytes; a longer one is cut when it comes in.
    pub const BYTES_MAX: usize = 256;

    /// `text`, cut at a character's end if it is too long.
    #[must_use]
    pub fn new(mut text: String) -> Self {
        if text.len() > Self::BYTES_MAX {
            let end = (0..=Self::BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
            text.truncate(end.unwrap_or(0));
        }
        Self(text)
    }
}
