//! What is steered by itself: a cohort on one of its two channels. Each has its own rollout, waves, breaker and freeze.
//!
//! Not here: what is steered on which (`core` leads both alike).

use std::fmt;

use backstay_model::{Channel, CohortId};

/// A cohort on one channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane {
    /// Which cohort.
    pub(crate) cohort: CohortId,
    /// What about.
    pub(crate) channel: Channel,
}

impl Lane {
    /// A cohort's on this channel.
    pub(crate) fn new(cohort: &CohortId, channel: Channel) -> Self {
        Self { cohort: cohort.clone(), channel }
    }

    /// Both of a cohort.
    pub(crate) fn both(cohort: &CohortId) -> [Self; 2] {
        Channel::ALL.map(|channel| Self::new(cohort, channel))
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.channel {
            Channel::Product => self.cohort.fmt(f),
            Channel::Plugins => write!(f, "{} (plugins)", self.cohort),
        }
    }
}
