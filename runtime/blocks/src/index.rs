//! The index of an artifact's blocks, as whoever has the file says it is, and blocks held against it.

use std::{error::Error, fmt, ops::Range};

use backstay_model::Digest;
use miniz_oxide::inflate::core::{
    DecompressorOxide, decompress,
    inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF},
};
use sha2::{Digest as _, Sha256};

use crate::{
    Shape, key,
    shape::{HEAD_BYTES, SUM_BYTES},
};

pub(crate) const MAGIC: &[u8; 8] = b"BKSTBLK1";

/// The index of an artifact's blocks. It is whole and about this artifact, and may lie all the same.
#[derive(Clone, Debug)]
pub struct Index {
    shape: Shape,
    /// As they came: keys and sizes are read where they lie, so nothing is held twice.
    bytes: Vec<u8>,
}

/// Bytes that are no index of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexError {
    /// Artifacts of this length have none.
    NoShape {
        /// Its length.
        length: u64,
    },
    /// It has more bytes or fewer than the artifact's length makes it have.
    Size {
        /// How many there are.
        is: usize,
        /// How many there would be.
        would_be: usize,
    },
    /// It begins with something else, or in another version.
    Magic,
    /// It is about another artifact.
    OtherArtifact,
    /// Its own sum says that it was damaged.
    Damaged,
    /// More is stored of a block than the block has, and nobody who makes a pack does that.
    Stored {
        /// Which.
        block: u32,
    },
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShape { length } => write!(f, "an artifact of {length} bytes has no index of blocks"),
            Self::Size { is, would_be } => {
                write!(f, "an index of {is} bytes came, and this artifact's has {would_be}")
            }
            Self::Magic => f.write_str("what came is no index of blocks that is known here"),
            Self::OtherArtifact => f.write_str("the index is about another artifact"),
            Self::Damaged => f.write_str("the index is damaged"),
            Self::Stored { block } => {
                write!(f, "the index says that more is stored of block {block} than the block has")
            }
        }
    }
}

impl Error for IndexError {}

/// What is stored of a block is not that block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockError {
    /// Which.
    pub block: u32,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} of the pack is not what the index says", self.block)
    }
}

impl Error for BlockError {}

impl Index {
    /// Reads an index of this artifact. Whatever somebody sends, it takes no more memory than those bytes.
    ///
    /// # Errors
    /// Says why they are no such index.
    pub fn read(bytes: Vec<u8>, digest: &Digest, length: u64) -> Result<Self, IndexError> {
        let shape = Shape::of(length).ok_or(IndexError::NoShape { length })?;
        let (is, would_be) = (bytes.len(), shape.index_bytes());
        if is != would_be {
            return Err(IndexError::Size { is, would_be });
        }
        if !bytes.starts_with(MAGIC) {
            return Err(IndexError::Magic);
        }
        let (told, sum) = bytes.split_at(is - SUM_BYTES);
        if Sha256::digest(told).as_slice() != sum {
            return Err(IndexError::Damaged);
        }
        if !bytes[MAGIC.len()..].starts_with(&digest.0)
            || !bytes[HEAD_BYTES - 8..].starts_with(&length.to_le_bytes())
        {
            return Err(IndexError::OtherArtifact);
        }
        let index = Self { shape, bytes };
        let is_larger = |block: &u32| {
            let place = shape.place(*block);
            index.stored(*block) as u64 > place.end - place.start
        };
        match (0..shape.blocks()).find(is_larger) {
            Some(block) => Err(IndexError::Stored { block }),
            None => Ok(index),
        }
    }

    /// How the artifact is divided.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The key of a block; zero for one that isn't there.
    pub(crate) fn key(&self, block: u32) -> u64 {
        let at = HEAD_BYTES + block as usize * 8;
        let key = self.bytes.get(at..at + 8).filter(|_| block < self.shape.blocks());
        key.and_then(|key| key.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// How many bytes are stored of a block: at least one, and no more than the block has. None of one that isn't there.
    #[must_use]
    pub fn stored(&self, block: u32) -> usize {
        let at = self.shape.sizes_at() + block as usize * 2;
        let size = self.bytes.get(at..at + 2).filter(|_| block < self.shape.blocks());
        size.and_then(|size| size.try_into().ok()).map_or(0, |size| usize::from(u16::from_le_bytes(size)) + 1)
    }

    /// Where in the file of blocks these are stored.
    #[must_use]
    pub fn place(&self, blocks: Range<u32>) -> Range<u64> {
        let bytes = |blocks: Range<u32>| blocks.map(|block| self.stored(block) as u64).sum::<u64>();
        let from = self.shape.index_bytes() as u64 + bytes(0..blocks.start);
        from..from + bytes(blocks)
    }

    /// Whether these bytes are a block of the artifact, as the index says.
    #[must_use]
    pub fn is_block(&self, block: u32, bytes: &[u8]) -> bool {
        let place = self.shape.place(block);
        bytes.len() as u64 == place.end - place.start
            && key(bytes, self.shape.block_bytes()) == self.key(block)
    }

    /// Unpacks what was stored of a block behind the first `history` bytes of `buffer`, which are the artifact's before the
    /// block: [`HISTORY_BYTES`](crate::HISTORY_BYTES) of them, or all that there are. The block is the rest of the buffer.
    ///
    /// # Errors
    /// It is something else, or can't be read.
    pub fn unpack(
        &self,
        block: u32,
        stored: &[u8],
        buffer: &mut [u8],
        history: usize,
    ) -> Result<(), BlockError> {
        let wrong = BlockError { block };
        let into = buffer.get_mut(history..).ok_or(wrong)?;
        let bytes = into.len();
        if stored.len() == bytes {
            into.copy_from_slice(stored);
        } else {
            // The stream goes on behind the block: each ends with a flush, and none with an end.
            let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_HAS_MORE_INPUT;
            // Where it ends in the stream doesn't matter: what came is held against its key.
            let (_, _, came) = decompress(&mut DecompressorOxide::new(), stored, buffer, history, flags);
            if came != bytes {
                return Err(wrong);
            }
        }
        let came = buffer.get(history..).ok_or(wrong)?;
        if self.is_block(block, came) { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        HISTORY_BYTES,
        write::testing::{artifact, digest, made},
    };

    /// Unpacks a block as who has all before it.
    fn unpacked(index: &Index, artifact: &[u8], block: u32, stored: &[u8]) -> Result<Vec<u8>, BlockError> {
        let place = index.shape().place(block);
        let from = (place.start as usize).saturating_sub(HISTORY_BYTES);
        let history = place.start as usize - from;
        let mut buffer = artifact[from..place.start as usize].to_vec();
        buffer.resize(history + (place.end - place.start) as usize, 0);
        index.unpack(block, stored, &mut buffer, history)?;
        Ok(buffer.split_off(history))
    }

    fn stored<'a>(index: &Index, file: &'a [u8], block: u32) -> &'a [u8] {
        let place = index.place(block..block + 1);
        &file[place.start as usize..place.end as usize]
    }

    #[test]
    fn each_block_is_unpacked_with_what_is_before_it() {
        let artifact = artifact();
        let (index, file) = made(&artifact);
        let (mut as_it_is, mut smaller, mut all) = (0, 0, Vec::new());
        for block in 0..index.shape().blocks() {
            let stored = stored(&index, &file, block);
            let bytes = unpacked(&index, &artifact, block, stored).unwrap();
            if bytes.len() == stored.len() {
                as_it_is += 1;
            } else {
                smaller += 1;
            }
            all.extend_from_slice(&bytes);
        }
        assert!(all == artifact && as_it_is > 10 && smaller > 10, "{as_it_is} {smaller}");
        assert_eq!(index.place(0..index.shape().blocks()).end, file.len() as u64, "nothing follows");
    }

    #[test]
    fn an_index_that_is_cut_altered_or_anothers_is_none() {
        let artifact = artifact();
        let (digest, length) = (digest(&artifact), artifact.len() as u64);
        let shape = Shape::of(length).unwrap();
        let (_, file) = made(&artifact);
        let good = &file[..shape.index_bytes()];
        let read = |bytes: &[u8]| Index::read(bytes.to_vec(), &digest, length).map(|_| ());
        assert_eq!(read(good), Ok(()));
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]), Err(IndexError::Size { is: cut, would_be: good.len() }));
        }
        assert!(matches!(read(&file), Err(IndexError::Size { .. })), "all of the file");
        for at in 0..good.len() {
            let mut altered = good.to_vec();
            altered[at] ^= 1 << (at % 8);
            let why = if at < 8 { IndexError::Magic } else { IndexError::Damaged };
            assert_eq!(read(&altered), Err(why), "byte {at}");
        }
        let other = Index::read(good.to_vec(), &Digest([7; 32]), length).map(|_| ());
        assert_eq!(other, Err(IndexError::OtherArtifact));
        // Of as many blocks, and yet not of this one.
        let other = Index::read(good.to_vec(), &digest, length - 1).map(|_| ());
        assert_eq!(other, Err(IndexError::OtherArtifact));
        for length in [0, 1000, u64::MAX] {
            let none = Index::read(good.to_vec(), &digest, length).map(|_| ());
            assert_eq!(none, Err(IndexError::NoShape { length }));
        }
    }

    /// What is unpacked is never more than the block, and what it is unpacked from is no more either.
    #[test]
    fn an_index_that_stores_more_of_a_block_than_it_has_is_none() {
        let artifact = artifact();
        let (digest, length) = (digest(&artifact), artifact.len() as u64);
        let shape = Shape::of(length).unwrap();
        let (index, file) = made(&artifact);
        let read = |block: u32, stored: usize| {
            let mut bytes = file[..shape.index_bytes()].to_vec();
            let at = shape.sizes_at() + block as usize * 2;
            bytes[at..at + 2].copy_from_slice(&((stored - 1) as u16).to_le_bytes());
            let sum = bytes.len() - SUM_BYTES;
            let seal = Sha256::digest(&bytes[..sum]);
            bytes[sum..].copy_from_slice(&seal);
            Index::read(bytes, &digest, length).map(|_| ())
        };
        let last = shape.blocks() - 1;
        for (block, bytes) in [(0, 4096), (60, 4096), (last, 100)] {
            assert_eq!(read(block, bytes), Ok(()));
            assert_eq!(read(block, bytes + 1), Err(IndexError::Stored { block }));
            assert_eq!(read(block, 65_536), Err(IndexError::Stored { block }));
            assert!(index.stored(block) <= bytes);
        }
    }

    #[test]
    fn a_pack_that_lies_is_found_out_at_its_block() {
        let artifact = artifact();
        let (index, file) = made(&artifact);
        let last = index.shape().blocks() - 1;
        for block in [0, 1, 60, last] {
            let place = index.shape().place(block);
            let right = &artifact[place.start as usize..place.end as usize];
            let refused = |stored: &[u8]| {
                assert_eq!(unpacked(&index, &artifact, block, stored), Err(BlockError { block }));
            };
            // No bytes make another block than the right one: the end of what is stored may say nothing of it.
            let right_or_refused = |artifact: &[u8], stored: &[u8]| {
                let came = unpacked(&index, artifact, block, stored);
                assert!(came.as_ref().map_or(true, |came| came == right));
                came.is_err()
            };
            let good = stored(&index, &file, block);
            let short = (0..good.len()).filter(|cut| right_or_refused(&artifact, &good[..*cut])).count();
            assert!(short + 8 > good.len(), "{short} of {}", good.len());
            for at in 0..good.len() {
                let mut altered = good.to_vec();
                altered[at] ^= 1 << (at % 8);
                right_or_refused(&artifact, &altered);
            }
            refused(&vec![0xff; index.shape().block_bytes()]);
            refused(&vec![0xff; 65_536]);
            refused(&miniz_oxide::deflate::compress_to_vec(&vec![0; 5 << 20], 1));
            right_or_refused(&vec![9; artifact.len()], good);
        }
        assert!(index.unpack(0, &[1], &mut [], 1).is_err());
        assert!(index.unpack(u32::MAX, &[], &mut [], 0).is_err());
        assert_eq!((index.stored(u32::MAX), index.key(u32::MAX)), (0, 0));
    }
}
