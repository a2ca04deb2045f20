//! What was applied and is not in sled yet: one batch for sled, laid over it until then.
//!
//! sled writes twice for every batch, flushed or not. So the changes of all records between two flushes go to it
//! as one batch: flash lives longer, and what is on disk is always the state of a moment that was flushed (or
//! spilled, when this grew beyond its bound). Not here: the sums, and when to flush (`view`).

use std::{
    collections::{BTreeMap, btree_map::Range},
    ops::Bound,
};

use crate::change::{Pair, Tree};

/// The most bytes that wait for a flush. Beyond it the batch goes to sled early, without an fsync. One record can
/// be larger than that, by itself.
pub(crate) const PENDING_BYTES_MAX: usize = 256 * 1024;

type Place = (Tree, Vec<u8>);

/// New values by their place; none where one was removed.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    entries: BTreeMap<Place, Option<Vec<u8>>>,
    bytes: usize,
}

impl Pending {
    /// What is known here about a key: nothing, that it was removed, or its value.
    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.entries.get(&(tree, key.to_vec())).cloned()
    }

    pub(crate) fn put(&mut self, tree: Tree, key: &[u8], value: Option<&[u8]>) {
        let length = |value: Option<&[u8]>| key.len() + value.map_or(0, <[u8]>::len);
        let old = self.entries.insert((tree, key.to_vec()), value.map(<[u8]>::to_vec));
        self.bytes += length(value);
        self.bytes -= old.map_or(0, |old| length(old.as_deref()));
    }

    pub(crate) fn is_large(&self) -> bool {
        self.bytes > PENDING_BYTES_MAX
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tree, &[u8], Option<&[u8]>)> {
        self.entries.iter().map(|((tree, key), value)| (*tree, key.as_slice(), value.as_deref()))
    }

    fn range(&self, tree: Tree, prefix: &[u8], after: Option<&[u8]>) -> Range<'_, Place, Option<Vec<u8>>> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((tree, after.to_vec())),
            Some(_) | None => Bound::Included((tree, prefix.to_vec())),
        };
        self.entries.range((from, Bound::Unbounded))
    }

    /// The first `most` entries of what lies below with this laid over it.
    ///
    /// `below` is asked for as many more as could be hidden by removals here. So of what it gives at least `most`
    /// are left, and nothing from here that comes after the last of them gets in before its turn.
    pub(crate) fn over<E>(
        &self,
        (tree, prefix, after, most): (Tree, &[u8], Option<&[u8]>, usize),
        below: impl FnOnce(usize) -> Result<Vec<Pair>, E>,
    ) -> Result<Vec<Pair>, E> {
        let mine = || {
            self.range(tree, prefix, after)
                .take_while(|((of, key), _)| *of == tree && key.starts_with(prefix))
        };
        let mut merged = BTreeMap::new();
        merged.extend(below(most.saturating_add(mine().count()))?);
        for ((_, key), value) in mine() {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(most).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn scan(
        below: &[&str],
        mine: &[(&str, bool)],
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Vec<String> {
        let mut pending = Pending::default();
        for (key, stays) in mine {
            pending.put(Tree::Runs, key.as_bytes(), stays.then_some(b"new"));
            pending.put(Tree::Index, key.as_bytes(), stays.then_some(b"another tree"));
        }
        let after = after.map(str::as_bytes);
        let page = |most| {
            let keys = below.iter().map(|key| key.as_bytes());
            let keys = keys
                .filter(|key| key.starts_with(prefix.as_bytes()) && after.is_none_or(|after| *key > after));
            Ok::<_, Infallible>(keys.take(most).map(|key| (key.to_vec(), b"old".to_vec())).collect())
        };
        let Ok(found) = pending.over((Tree::Runs, prefix.as_bytes(), after, most), page);
        let text = |(key, value): Pair| [key, value].map(|bytes| String::from_utf8(bytes).unwrap()).join("=");
        found.into_iter().map(text).collect()
    }

    #[test]
    fn what_waits_covers_what_lies_below() {
        let below = ["a1", "a2", "a3", "a5", "b1"];
        assert_eq!(
            scan(&below, &[("a2", false), ("a4", true)], "a", None, 9),
            ["a1=old", "a3=old", "a4=new", "a5=old"]
        );
        assert_eq!(scan(&below, &[("a1", false), ("a9", true)], "a", None, 2), ["a2=old", "a3=old"]);
        assert_eq!(scan(&below, &[("a1", true), ("a4", true)], "a", Some("a3"), 1), ["a4=new"]);
        assert_eq!(scan(&below, &[("b1", false), ("c", true)], "", Some("a5"), 9), ["c=new"]);
        assert!(scan(&below, &[("a1", true)], "a", None, 0).is_empty());
    }

    #[test]
    fn what_was_put_twice_counts_once() {
        let mut pending = Pending::default();
        for _ in 0..1000 {
            pending.put(Tree::State, b"k", Some(&[0; 1000]));
        }
        assert!(!pending.is_large());
        pending.put(Tree::State, b"l", Some(&[0; PENDING_BYTES_MAX]));
        assert!(pending.is_large());
        pending.put(Tree::State, b"l", None);
        assert!(!pending.is_large());
    }
}
