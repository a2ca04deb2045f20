//! Who is asked about a rollout.

use backstay_core::Confidence;
use backstay_model::{Event, Facts, Mono};
use backstay_plugins::{Asked, Judge};
use backstay_trust::Keyring;

/// Answers questions about rollouts.
pub(crate) trait Ask {
    /// Asks about these facts. What counts against a plugin was counted in `confidence`.
    fn ask(&mut self, now: Mono, facts: &Facts, confidence: &mut Confidence) -> Asked;

    /// Holds what is remembered against who is here, before the first question.
    fn seat(&self, confidence: &mut Confidence) -> Option<Event>;

    /// Asks only those any more whom `keyring` still grants.
    fn heed(&mut self, keyring: &Keyring) -> Vec<Event>;
}

impl Ask for Judge {
    fn ask(&mut self, now: Mono, facts: &Facts, confidence: &mut Confidence) -> Asked {
        self.ask(now, facts, confidence)
    }

    fn seat(&self, confidence: &mut Confidence) -> Option<Event> {
        self.seat(confidence)
    }

    fn heed(&mut self, keyring: &Keyring) -> Vec<Event> {
        self.heed(keyring)
    }
}
