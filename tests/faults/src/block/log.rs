//! What reached a block device, in its order: each write and each flush.
//!
//! The format is dm-log-writes', which `qemu-storage-daemon` writes. Not here: who writes it (`rig`).

use std::{fs, io, path::Path};

use backstay_journal::testing::Random;

const SECTOR: usize = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// What is left on the device of writes that no flush followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of them.
    All,
    /// None of them.
    None,
    /// Some, by this seed.
    Some(u64),
}

#[derive(Debug)]
struct Entry {
    /// Where it ends in the log.
    end: u64,
    at: usize,
    flush: bool,
    bytes: Vec<u8>,
}

/// The log.
#[derive(Debug)]
pub struct Log {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Log {
    /// Reads the log in a file, of a device of so many bytes.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(path: &Path, bytes: usize) -> io::Result<Self> {
        let log = fs::read(path)?;
        let word = |at: usize| {
            let word = log.get(at..at + 8).and_then(|word| word.try_into().ok());
            word.map(u64::from_le_bytes).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        if word(0)? != MAGIC || log.get(24..28) != Some(&(SECTOR as u32).to_le_bytes()) {
            return Err(io::Error::other("this is no log of writes"));
        }
        let (mut entries, mut at) = (Vec::new(), SECTOR);
        while at + SECTOR <= log.len() {
            let (sector, sectors, flags) = (word(at)? as usize, word(at + 8)? as usize, word(at + 16)?);
            let discards = flags & DISCARD != 0;
            let from = at + SECTOR;
            let length = if discards { 0 } else { sectors * SECTOR };
            let content = log.get(from..from + length).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec();
            at = from + length;
            let content = if discards { vec![0; sectors * SECTOR] } else { content };
            let flush = flags & (FLUSH | FUA) != 0;
            entries.push(Entry { end: at as u64, at: sector * SECTOR, flush, bytes: content });
        }
        Ok(Self { entries, bytes })
    }

    /// How many entries end at this place in the log or before it.
    #[must_use]
    pub fn count(&self, place: u64) -> usize {
        self.entries.partition_point(|entry| entry.end <= place)
    }

    /// The place in the log at which the first `count` entries end.
    #[must_use]
    pub fn place(&self, count: usize) -> u64 {
        count.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, |entry| entry.end)
    }

    /// How many of entries `from..to` are flushes.
    #[must_use]
    pub fn flushes(&self, from: usize, to: usize) -> usize {
        self.entries[from..to].iter().filter(|entry| entry.flush).count()
    }

    /// The device after the first `count` entries, of which those that no flush followed are kept or not.
    #[must_use]
    pub fn device(&self, count: usize, kept: Kept) -> Vec<u8> {
        let mut device = vec![0; self.bytes];
        let flushed = self.entries[..count].iter().rposition(|entry| entry.flush).map_or(0, |last| last + 1);
        let mut random = Random::new(if let Kept::Some(seed) = kept { seed } else { 0 });
        for (at, entry) in self.entries[..count].iter().enumerate() {
            let stays = at < flushed
                || match kept {
                    Kept::All => true,
                    Kept::None => false,
                    Kept::Some(_) => random.below(2) == 0,
                };
            if stays && let Some(place) = device.get_mut(entry.at..entry.at + entry.bytes.len()) {
                place.copy_from_slice(&entry.bytes);
            }
        }
        device
    }
}
