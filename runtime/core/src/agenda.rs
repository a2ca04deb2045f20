//! What is due when, of many who each have one next moment.
//!
//! Whoever has a thousand of them and wakes a hundred times a second can't ask each: reading what has left the caches was most of
//! what a server of 200 targets took while it waited. Not here: what happens then.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use backstay_model::Mono;

/// The next moment of each.
#[derive(Clone, Debug)]
pub struct Agenda<K> {
    of: BTreeMap<K, Mono>,
    order: BTreeSet<(Mono, K)>,
}

impl<K> Default for Agenda<K> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Clone + Ord> Agenda<K> {
    /// From now on this is the next moment of `key`; none: it has none.
    pub fn set(&mut self, key: &K, at: Option<Mono>) {
        if self.of.get(key).copied() == at {
            return;
        }
        if let Some(before) = self.of.remove(key) {
            self.order.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.of.insert(key.clone(), at);
            self.order.insert((at, key.clone()));
        }
    }

    /// The soonest of all.
    #[must_use]
    pub fn first(&self) -> Option<Mono> {
        self.order.first().map(|(at, _)| *at)
    }

    /// All whose moment has come, by their names.
    #[must_use]
    pub fn due(&self, now: Mono) -> Vec<K> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        let mut due: Vec<K> = due.map(|(_, key)| key.clone()).collect();
        due.sort();
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_moment_and_the_soonest_comes_first() {
        let mut agenda = Agenda::default();
        for (key, at) in [("b", 5), ("a", 7), ("c", 9), ("b", 8)] {
            agenda.set(&key, Some(Mono(at)));
        }
        assert_eq!(agenda.first(), Some(Mono(7)));
        assert_eq!(agenda.due(Mono(8)), ["a", "b"]);
        agenda.set(&"a", None);
        agenda.set(&"unknown", None);
        assert_eq!((agenda.first(), agenda.due(Mono(7))), (Some(Mono(8)), Vec::new()));
    }
}
