//! Who is asked about rollouts and targets.

use backstay_core::Confidence;
use backstay_model::{Digest, Event, Facts, Mono};
use backstay_plugins::{Asked, Consulted, Judge, Memos};
use backstay_trust::Keyring;

/// Answers questions about rollouts and targets.
pub(crate) trait Ask {
    /// Asks about these facts. What counts against a plugin was counted in `confidence`.
    fn ask(&mut self, now: Mono, facts: &Facts, confidence: &mut Confidence) -> Asked;

    /// Holds what is remembered against who is here, before the first question.
    fn seat(&self, confidence: &mut Confidence) -> Option<Event>;

    /// Whether the plugin under this grant is loaded.
    fn has(&self, grant: &Digest) -> bool;

    /// How each of those who are asked is configured, to be recorded before the first answer.
    fn equipped(&self) -> Vec<Event>;

    /// The call that the last answer came from.
    fn consulted(&mut self) -> Option<Consulted>;

    /// Gives them what they remember of what they are asked about next, and takes what they remembered before.
    fn exchange(&mut self, memos: Memos) -> Memos;

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

    fn has(&self, grant: &Digest) -> bool {
        self.granted().any(|granted| granted.grant() == grant)
    }

    fn equipped(&self) -> Vec<Event> {
        Judge::equipped(self).collect()
    }

    fn consulted(&mut self) -> Option<Consulted> {
        self.consulted()
    }

    fn exchange(&mut self, memos: Memos) -> Memos {
        self.exchange(memos)
    }

    fn heed(&mut self, keyring: &Keyring) -> Vec<Event> {
        self.heed(keyring)
    }
}
