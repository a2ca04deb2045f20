//! What keeps a target from being changed, and what lifts it.
//!
//! ```text
//!   Free -- no data, no answer, or the policy says freeze --> Held -- a good window --> Free
//!   Free, Held -- a rail that a person has to look at --> Frozen -- a person --> Free
//! ```

use backstay_model::{Mono, Name, Rail, TargetStep};
use serde::{Deserialize, Serialize};

use super::Target;
use crate::estate::Desk;

/// What keeps a target from being changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// Nothing.
    #[default]
    Free,
    /// It isn't known how it does; good windows lift it.
    Held {
        /// Why.
        rail: Rail,
        /// Since when.
        since: Mono,
    },
    /// A person has to look; a person alone lifts it.
    Frozen {
        /// Why.
        rail: Rail,
        /// Since when.
        since: Mono,
    },
}

impl Hold {
    /// Why nothing new may be let out.
    #[must_use]
    pub fn rail(&self) -> Option<&Rail> {
        match self {
            Self::Free => None,
            Self::Held { rail, .. } | Self::Frozen { rail, .. } => Some(rail),
        }
    }

    /// Whether a run may not begin. After a switch only what goes out next is a person's: the stable side is looked after
    /// as before. What is only held is mended and brought back as soon as there is a decision to.
    pub(super) fn forbids_runs(&self) -> bool {
        match self {
            Self::Free | Self::Held { .. } | Self::Frozen { rail: Rail::Switched, .. } => false,
            Self::Frozen { .. } => true,
        }
    }
}

impl Target {
    /// Nothing moves until windows are good again.
    pub(super) fn hold(&mut self, now: Mono, rail: Rail, desk: &mut Desk<'_>) {
        match &mut self.state.hold {
            Hold::Free => {
                self.state.hold = Hold::Held { rail: rail.clone(), since: now };
                self.note(TargetStep::Froze { rail }, desk);
            }
            // Told once: the newest reason is the one to show.
            Hold::Held { rail: known, .. } => *known = rail,
            Hold::Frozen { .. } => {}
        }
    }

    /// Nothing moves until a person says more, and a person is told.
    pub(super) fn freeze(&mut self, now: Mono, rail: Rail, desk: &mut Desk<'_>) {
        match &self.state.hold {
            // A freeze that stops more goes before one that stops less.
            Hold::Frozen { rail: known, .. } if *known != Rail::Switched || rail == Rail::Switched => return,
            Hold::Free | Hold::Held { .. } | Hold::Frozen { .. } => {}
        }
        self.state.hold = Hold::Frozen { rail: rail.clone(), since: now };
        self.note(TargetStep::Froze { rail: rail.clone() }, desk);
        self.page(rail, desk);
    }

    /// A window was good.
    pub(super) fn thaw_if_held(&mut self, desk: &mut Desk<'_>) {
        if matches!(self.state.hold, Hold::Held { .. }) {
            self.state.hold = Hold::Free;
            self.note(TargetStep::Thawed { who: None }, desk);
        }
    }

    /// A person lifts whatever there is.
    pub(super) fn thaw(&mut self, who: &Name, desk: &mut Desk<'_>) {
        if self.state.hold != Hold::Free {
            self.state.hold = Hold::Free;
            self.note(TargetStep::Thawed { who: Some(who.clone()) }, desk);
        }
    }
}
