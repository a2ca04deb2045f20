//! Which blocks of an artifact are in an older image, and where.

use crate::{Index, key};

const NOWHERE: u32 = u32::MAX;
const ZEROS: u32 = u32::MAX - 1;

/// Where blocks of an artifact were found.
#[derive(Clone, Debug)]
pub struct Found(Vec<u32>);

/// Where one block is on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is in no old image.
    Nowhere,
    /// It is all zeros: nobody has to have it.
    Zeros,
    /// The old block of this number.
    Old(u32),
}

impl Found {
    /// Where a block is.
    #[must_use]
    pub fn place(&self, block: u32) -> Place {
        match self.0.get(block as usize) {
            None | Some(&NOWHERE) => Place::Nowhere,
            Some(&ZEROS) => Place::Zeros,
            Some(&old) => Place::Old(old),
        }
    }

    /// How many blocks are somewhere.
    #[must_use]
    pub fn count(&self) -> u32 {
        // There are at most 131,072.
        self.0.iter().filter(|place| **place != NOWHERE).count() as u32
    }

    /// The old images are not what they were a moment ago: nothing in them counts any more.
    pub fn forget(&mut self) {
        for place in self.0.iter_mut().filter(|place| **place != ZEROS) {
            *place = NOWHERE;
        }
    }
}

/// A search through old images, one block after the other. Old blocks are numbered through all images.
#[derive(Debug)]
pub struct Search<'a> {
    index: &'a Index,
    /// The artifact's blocks, by their keys.
    order: Vec<u32>,
    found: Found,
    left: u32,
}

impl<'a> Search<'a> {
    /// Begins a search. Blocks of zeros are found already.
    #[must_use]
    pub fn new(index: &'a Index) -> Self {
        let blocks = index.shape().blocks();
        let mut order: Vec<u32> = (0..blocks).collect();
        order.sort_unstable_by_key(|block| index.key(*block));
        let found = Found(vec![NOWHERE; blocks as usize]);
        let mut search = Self { index, order, found, left: blocks };
        search.set(key(&[], index.shape().block_bytes()), ZEROS);
        search
    }

    /// Takes the next old block: this many bytes, as the artifact's blocks have.
    pub fn look(&mut self, number: u32, block: &[u8]) {
        if number < ZEROS {
            self.set(key(block, self.index.shape().block_bytes()), number);
        }
    }

    fn set(&mut self, key: u64, place: u32) {
        let from = self.order.partition_point(|block| self.index.key(*block) < key);
        for block in self.order.iter().skip(from) {
            // All blocks of a key are found at once, so no index can make a search long.
            match self.found.0.get_mut(*block as usize) {
                Some(found) if *found == NOWHERE && self.index.key(*block) == key => *found = place,
                Some(_) | None => break,
            }
            self.left -= 1;
        }
    }

    /// Nothing is left to be found.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// What was found.
    #[must_use]
    pub fn end(self) -> Found {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::testing::{artifact, made};

    #[test]
    fn what_is_in_an_old_image_is_found_wherever_it_lies() {
        let artifact = artifact();
        let (index, _) = made(&artifact);
        let mut search = Search::new(&index);
        let zeros = search.found.count();
        assert!(zeros > 1, "blocks of zeros are here");
        let block = |number: u32| &artifact[number as usize * 4096..][..4096];
        // The old image has them the other way round, one of them twice, and others.
        for (number, old) in [block(9), block(8), block(8), &[5; 4096], block(0)].into_iter().enumerate() {
            search.look(number as u32, old);
        }
        search.look(7, &artifact[artifact.len() - 100..]);
        search.look(u32::MAX, block(1));
        assert!(!search.is_done());
        let mut found = search.end();
        assert_eq!([9, 8, 0].map(|number| found.place(number)), [0, 1, 4].map(Place::Old));
        assert_eq!(found.place(1), Place::Nowhere);
        let last = index.shape().blocks() - 1;
        assert_eq!(found.place(last), Place::Old(7), "the short end of it");
        assert_eq!(found.place(u32::MAX), Place::Nowhere);
        found.forget();
        assert_eq!(found.count(), zeros);
    }

    #[test]
    fn of_itself_all_is_found() {
        let artifact = artifact();
        let (index, _) = made(&artifact);
        let mut search = Search::new(&index);
        for (number, block) in artifact.chunks(4096).enumerate() {
            search.look(number as u32, block);
        }
        assert!(search.is_done());
        assert_eq!(search.end().count(), index.shape().blocks());
    }
}
