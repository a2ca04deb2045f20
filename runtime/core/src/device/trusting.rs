//! Which keys may steer, and what becomes of what the others have said.
//!
//! Not here: whether a keyring holds, and which keys it names (`trust`); how the highest counts are kept apart by key (`heights`).

use alloc::{format, string::String, vec::Vec};

use backstay_model::{Digest, Generation, Refused};

use super::{Device, Effect, Effects};

impl Device {
    /// These are the keys that may steer by now. What another one has said binds nobody any more: neither how far it has
    /// counted, nor where it has steered to. What takes its place comes again, or was there before. Only records come of it.
    pub fn trust(&mut self, directors: &[Digest]) -> Vec<Effect> {
        let mut out = Effects::new();
        let known = self.watermarks().generation.0;
        let newest = self.state.heights.steering.trust(known, directors);
        if newest != known {
            self.state.least = Generation(newest);
        }
        if self.steering().is_some_and(|steer| steer.generation.0 > newest) {
            self.state.steering = None;
            // The generation may come again, and say something that nobody has seconded.
            self.forget_seconds();
        }
        if newest < known {
            self.refuse(gone("steering", format!("generation {known}")), &mut out);
        }
        let known = self.state.told;
        self.state.told = self.state.heights.words.trust(known, directors);
        if self.state.told < known {
            self.refuse(gone("words for this device", format!("sequence {known}")), &mut out);
        }
        out
    }
}

/// What was heard with a key that is not the director's any more.
fn gone(what: &str, which: String) -> Refused {
    let why = format!("{which} was signed with a key that is not trusted any more: it does not count");
    Refused { what: what.into(), why, count: 1 }
}
