//! A view that nothing keeps: what a device goes on with while its disk can't be written.
//!
//! Not here: the bound on its bytes and the sums over it, which are the same for both kinds (`view`).

use std::collections::BTreeMap;

use crate::change::{Pair, Tree};

/// All entries, in order.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<(Tree, Vec<u8>), Vec<u8>>);

impl Memory {
    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(&(tree, key.to_vec())).cloned()
    }

    /// Up to `most` entries whose keys begin with `prefix` and come after `after`.
    pub(crate) fn scan(&self, tree: Tree, prefix: &[u8], after: Option<&[u8]>, most: usize) -> Vec<Pair> {
        let from = after.map_or(prefix, |after| after.max(prefix)).to_vec();
        self.0
            .range((tree, from)..)
            .take_while(|((of, key), _)| *of == tree && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_slice() > after))
            .take(most)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(crate) fn write(&mut self, tree: Tree, key: &[u8], value: Option<&[u8]>) {
        let place = (tree, key.to_vec());
        match value {
            Some(value) => self.0.insert(place, value.to_vec()),
            None => self.0.remove(&place),
        };
    }
}
