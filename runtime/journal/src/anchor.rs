//! The anchor file: two slots of 4 KiB, written in turn, so that one of them is whole whenever the power goes.
//!
//! Each holds a generation, the durable head at that time, which segments there were, and the caller's words. The
//! slot with the higher generation holds. An anchor is what the journal is judged by: it may not be older.

use std::io;

use backstay_evidence::{Head, crc32c};

use crate::{
    disk::{Disk, DiskFile},
    segment::array,
};

/// The most bytes of words: 3.5 KiB.
pub const WORDS_BYTES_MAX: usize = 3584;

pub(crate) const FILE: &str = "anchor";
const TEMPORARY: &str = "anchor.tmp";
const SLOT_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"bstyanc1";
const WORDS_AT: usize = 8 + 4 + 8 + 4 + 8 + 32 + 32 + 8 + 8 + 2;

/// What was anchored last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Grows with every anchor.
    pub generation: u64,
    /// The durable head at that time.
    pub head: Head,
    /// The caller's, opaque here. At most [`WORDS_BYTES_MAX`] bytes.
    pub words: Vec<u8>,
    /// The oldest segment that is kept: what is below was pruned.
    pub(crate) first: u64,
    /// The newest segment that there was.
    pub(crate) newest: u64,
}

/// What the anchor file holds.
pub(crate) enum Found {
    /// No such file.
    Nothing,
    /// A file, and what its slots say. One of its own genesis, the newer one first; none if it is bad.
    Slots { newest: Option<(usize, Anchor)>, bad: Vec<usize> },
}

impl Anchor {
    fn encode(&self, genesis: &[u8; 32]) -> Vec<u8> {
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&[0; 4]);
        slot.extend_from_slice(&self.generation.to_le_bytes());
        slot.extend_from_slice(&self.head.epoch.to_le_bytes());
        slot.extend_from_slice(&self.head.seq.to_le_bytes());
        slot.extend_from_slice(&self.head.hash);
        slot.extend_from_slice(genesis);
        slot.extend_from_slice(&self.first.to_le_bytes());
        slot.extend_from_slice(&self.newest.to_le_bytes());
        slot.extend_from_slice(&(self.words.len() as u16).to_le_bytes());
        slot.extend_from_slice(&self.words);
        let sum = crc32c(&[&slot]);
        slot[8..12].copy_from_slice(&sum.to_le_bytes());
        slot.resize(SLOT_BYTES, 0);
        slot
    }

    fn decode(slot: &[u8], genesis: &[u8; 32]) -> Option<Self> {
        let words_len = usize::from(u16::from_le_bytes(array(slot, WORDS_AT - 2)));
        let used = slot.get(..WORDS_AT + words_len).filter(|_| words_len <= WORDS_BYTES_MAX)?;
        let sum = crc32c(&[&used[..8], &[0; 4], &used[12..]]);
        if &array(slot, 0) != MAGIC
            || u32::from_le_bytes(array(slot, 8)) != sum
            || &array::<32>(slot, 64) != genesis
        {
            return None;
        }
        let head = Head {
            epoch: u32::from_le_bytes(array(slot, 20)),
            seq: u64::from_le_bytes(array(slot, 24)),
            hash: array(slot, 32),
        };
        Some(Self {
            generation: u64::from_le_bytes(array(slot, 12)),
            head,
            words: used[WORDS_AT..].to_vec(),
            first: u64::from_le_bytes(array(slot, 96)),
            newest: u64::from_le_bytes(array(slot, 104)),
        })
    }
}

/// Reads both slots. What can't be read is as bad as what is damaged.
pub(crate) fn find<D: Disk>(disk: &D, genesis: &[u8; 32]) -> Found {
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(_) => return Found::Slots { newest: None, bad: vec![0, 1] },
    };
    let slots = [0, 1].map(|slot| {
        let mut bytes = [0; SLOT_BYTES];
        file.read((slot * SLOT_BYTES) as u64, &mut bytes).ok()?;
        Anchor::decode(&bytes, genesis)
    });
    let bad = slots.iter().enumerate().filter(|(_, slot)| slot.is_none()).map(|(slot, _)| slot).collect();
    let good = slots.into_iter().enumerate().filter_map(|(slot, anchor)| anchor.map(|anchor| (slot, anchor)));
    Found::Slots { newest: good.max_by_key(|(_, anchor)| anchor.generation), bad }
}

/// Writes `anchor` into `slot` and makes it durable.
pub(crate) fn write<F: DiskFile>(
    file: &F,
    slot: usize,
    anchor: &Anchor,
    genesis: &[u8; 32],
) -> Result<(), Step> {
    file.write((slot * SLOT_BYTES) as u64, &anchor.encode(genesis)).map_err(Step::Write)?;
    file.sync().map_err(Step::Sync)
}

/// Makes the file with `anchor` in both slots, so that a slot which is not whole always is damage.
pub(crate) fn create<D: Disk>(disk: &D, anchor: &Anchor, genesis: &[u8; 32]) -> Result<D::File, Step> {
    let file = disk.create(TEMPORARY).map_err(Step::Write)?;
    let older = Anchor { generation: anchor.generation.saturating_sub(1), ..anchor.clone() };
    let both = [anchor.encode(genesis), older.encode(genesis)].concat();
    // Until it has its name nothing depends on it, so a sync that fails here has done no harm.
    file.write(0, &both).and_then(|()| file.sync()).map_err(Step::Write)?;
    disk.rename(TEMPORARY, FILE).map_err(Step::Write)?;
    disk.sync().map_err(Step::Sync)?;
    Ok(file)
}

/// At which step the disk failed. After a failed sync nothing is known, after a failed write there is.
pub(crate) enum Step {
    Write(io::Error),
    Sync(io::Error),
}
