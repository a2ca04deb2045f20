//! How far something that is counted was heard, apart for each key that signed it.
//!
//! Heights keep what is old from coming again. But whoever steals a key can sign the highest count that there is, and then
//! all that is said honestly counts as old: also what another key says, long after the stolen one was taken away. So a count
//! binds for as long as the key that said it is trusted and not a moment longer. What the key of a thief has said is out with
//! it, and can't come again, since nobody believes it; what was said with a key that stays is as old as it was.
//!
//! Not here: whose signature it was, and which keys are trusted (`trust`).

use alloc::vec::Vec;

use backstay_model::Digest;
use serde::{Deserialize, Serialize};

/// The most keys that are told apart: a role has no more.
const KEYS_MAX: usize = 8;

/// The highest that was heard from each key. At most eight keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heights(Vec<(Digest, u64)>);

impl Heights {
    /// Notes that `key` has said `count`. Says whether it had not said as much before.
    pub fn note(&mut self, key: Digest, count: u64) -> bool {
        if self.of(&key).is_some_and(|highest| highest >= count) {
            return false;
        }
        self.0.retain(|(known, _)| *known != key);
        self.0.push((key, count));
        // More keys than a role may have are never trusted at once. Were they, the least of them says the least.
        if self.0.len() > KEYS_MAX
            && let Some(least) = (0..self.0.len()).min_by_key(|at| self.0.get(*at).map(|(_, count)| *count))
        {
            self.0.remove(least);
        }
        true
    }

    /// The highest of all; 0 if nothing was heard.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.0.iter().map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// The highest that `key` has said; none if nothing was heard from it.
    #[must_use]
    pub fn of(&self, key: &Digest) -> Option<u64> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, count)| *count)
    }

    /// Goes on with the keys that are trusted by now, and says how far was heard from them. `known` is how far was heard from
    /// anybody.
    ///
    /// What is known and said by none of the keys here was kept without its key. It counts as said by each that is trusted,
    /// unless one has gone: then it may be that one's, and binds nobody.
    pub fn trust(&mut self, known: u64, keys: &[Digest]) -> u64 {
        let before = self.0.len();
        let is_nobodys = known > self.highest();
        self.0.retain(|(key, _)| keys.contains(key));
        if is_nobodys && self.0.len() == before {
            for key in keys {
                self.note(*key, known);
            }
        }
        self.highest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Digest = Digest([1; 32]);
    const NEW: Digest = Digest([2; 32]);

    #[test]
    fn a_count_binds_as_long_as_its_key_is_trusted() {
        let mut heights = Heights::default();
        heights.note(OLD, 7);
        heights.note(NEW, 8);
        heights.note(NEW, 3);
        heights.note(OLD, u64::MAX);
        assert_eq!((heights.highest(), heights.of(&NEW)), (u64::MAX, Some(8)));
        assert_eq!(heights.trust(u64::MAX, &[OLD, NEW]), u64::MAX, "a keyring that keeps it");
        assert_eq!(heights.trust(u64::MAX, &[NEW]), 8, "and one that doesn't");
        assert_eq!(heights.trust(8, &[]), 0);
    }

    /// An agent of before, or an anchor without its journal, knows how far was heard and not from whom.
    #[test]
    fn what_was_kept_without_its_key_is_each_ones() {
        let mut heights = Heights::default();
        assert_eq!(heights.trust(7, &[OLD, NEW]), 7);
        assert_eq!((heights.of(&OLD), heights.of(&NEW)), (Some(7), Some(7)));
        assert_eq!(heights.trust(7, &[NEW]), 7, "it is not older than that for being old");
    }

    /// Power went between the next keyring and what follows from it: the anchor has what only the stolen key had said.
    #[test]
    fn what_was_kept_without_its_key_may_be_that_of_one_that_is_gone() {
        let mut heights = Heights::default();
        heights.note(OLD, 7);
        heights.note(NEW, 6);
        assert_eq!(heights.trust(u64::MAX, &[NEW]), 6);
    }

    #[test]
    fn no_more_keys_are_told_apart_than_a_role_has() {
        let mut heights = Heights::default();
        assert!((1..=20).all(|n| heights.note(Digest([n; 32]), u64::from(n))));
        assert_eq!((heights.0.len(), heights.highest(), heights.of(&OLD)), (KEYS_MAX, 20, None));
    }
}
