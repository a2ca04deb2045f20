//! Who is asked about a rollout.

use backstay_core::Quarantine;
use backstay_model::{Decision, Facts, Mono};
use backstay_plugins::{Judge, Unanswered};

/// Answers questions about rollouts.
pub(crate) trait Ask {
    /// Asks about these facts.
    ///
    /// # Errors
    /// If there is no answer. What counts against a plugin was counted in `quarantine`.
    fn ask(&mut self, now: Mono, facts: &Facts, quarantine: &mut Quarantine) -> Result<Decision, Unanswered>;
}

impl Ask for Judge {
    fn ask(&mut self, now: Mono, facts: &Facts, quarantine: &mut Quarantine) -> Result<Decision, Unanswered> {
        self.ask(now, facts, quarantine)
    }
}
