//! How an artifact is divided, by its length alone.

use std::ops::Range;

/// How much of the artifact before a block its compression refers to, in bytes: as far as deflate looks back.
pub const HISTORY_BYTES: usize = 32 * 1024;
/// The shortest artifact that has blocks: below it, asking twice costs more than it saves.
const LENGTH_MIN: u64 = 1 << 20;
/// The smallest block: what file systems write as one.
const BLOCK_BYTES_MIN: u32 = 4096;
/// The largest block: in larger ones little is found again.
const BLOCK_BYTES_MAX: u32 = 64 * 1024;
/// The most blocks: 10 bytes of index for each are held in memory, and 8 more for where it was found.
const BLOCKS_MAX: u64 = 131_072;
/// Magic, digest and length.
pub(crate) const HEAD_BYTES: usize = 48;
pub(crate) const SUM_BYTES: usize = 32;

/// How an artifact of some length is divided into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    length: u64,
    block_bytes: u32,
}

impl Shape {
    /// Of an artifact of `length` bytes. None: it has no blocks, because it is shorter than 1 MiB or longer than 8 GiB.
    #[must_use]
    pub fn of(length: u64) -> Option<Self> {
        let mut block_bytes = BLOCK_BYTES_MIN;
        while block_bytes < BLOCK_BYTES_MAX && length.div_ceil(u64::from(block_bytes)) > BLOCKS_MAX {
            block_bytes *= 2;
        }
        let few = length.div_ceil(u64::from(block_bytes)) <= BLOCKS_MAX;
        (length >= LENGTH_MIN && few).then_some(Self { length, block_bytes })
    }

    /// Of the artifact, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How large a block is, in bytes: a power of two, 4 to 64 KiB.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.block_bytes as usize
    }

    /// How many blocks there are, at most 131,072. The last may be short.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        // At most BLOCKS_MAX, by how a block's size is chosen.
        self.length.div_ceil(u64::from(self.block_bytes)) as u32
    }

    /// How many bytes the index has: the pack begins behind it. At most 1.3 MB.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.sizes_at() + self.blocks() as usize * 2 + SUM_BYTES
    }

    /// Where the sizes begin.
    pub(crate) fn sizes_at(&self) -> usize {
        HEAD_BYTES + self.blocks() as usize * 8
    }

    /// The place of a block in the artifact; empty for one that isn't there.
    #[must_use]
    pub fn place(&self, block: u32) -> Range<u64> {
        let from = u64::from(block) * u64::from(self.block_bytes);
        from.min(self.length)..(from + u64::from(self.block_bytes)).min(self.length)
    }

    /// The block that a byte of the artifact is in; one that isn't there for its end and beyond.
    #[must_use]
    pub fn block_at(&self, at: u64) -> u32 {
        if at < self.length { (at / u64::from(self.block_bytes)) as u32 } else { self.blocks() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_as_small_as_the_most_of_them_allow() {
        for (length, block_bytes) in [
            (1 << 20, 4096),
            (300 << 20, 4096),
            (512 << 20, 4096),
            ((512 << 20) + 1, 8192),
            (4 << 30, 32_768),
            (8 << 30, 65_536),
        ] {
            let shape = Shape::of(length).unwrap();
            assert_eq!(shape.block_bytes(), block_bytes, "{length}");
            assert!(u64::from(shape.blocks()) <= BLOCKS_MAX && shape.index_bytes() < 1_311_000);
        }
        for length in [0, (1 << 20) - 1, (8 << 30) + 1, u64::MAX] {
            assert_eq!(Shape::of(length), None, "{length}");
        }
    }

    #[test]
    fn blocks_cover_an_artifact_once() {
        for length in [1 << 20, (1 << 20) + 1, 1_234_567, (600 << 20) + 4097] {
            let shape = Shape::of(length).unwrap();
            let mut at = 0;
            for block in 0..shape.blocks() {
                let place = shape.place(block);
                assert_eq!((place.start, shape.block_at(at)), (at, block));
                assert_eq!(shape.block_at(place.end - 1), block);
                at = place.end;
            }
            assert_eq!((at, shape.block_at(length)), (length, shape.blocks()));
            assert!(shape.place(shape.blocks()).is_empty() && shape.place(u32::MAX).is_empty());
        }
    }
}
