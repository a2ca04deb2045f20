//! What is asked for when a view is opened, and what is found.
//!
//! Not here: the opening itself (`view`), and what can be wrong with what was there (`damage`).

use std::io;

use crate::{
    aside::SetAside,
    change::BYTES_MAX,
    damage::{Damage, Trouble},
    view::View,
};

/// How a view is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The highest sequence that is durable in the journal; none if the journal is empty. A view that is ahead of
    /// it is set aside.
    pub journal_head: Option<u64>,
    /// The journal's epoch. A view of another one is set aside: a journal that lost records and went on in a new
    /// epoch may say something else under the same sequence.
    pub epoch: u32,
    /// The most bytes of keys and values. What would go beyond is refused.
    pub bytes_max: u64,
    /// How much sled may keep of its pages, in bytes; 256 at least. It is shared out to 256 parts, so that much less
    /// than the values need makes sled read a lot.
    pub cache_bytes: u64,
    /// How many set-aside copies stay, 1 at least. The oldest is removed after a new one was made.
    pub aside_max: u8,
}

impl Options {
    /// For a journal that ends at `journal_head` in `epoch`: 2 MiB of values, 16 MiB of cache, 4 copies.
    #[must_use]
    pub fn new(journal_head: Option<u64>, epoch: u32) -> Self {
        Self { journal_head, epoch, bytes_max: BYTES_MAX, cache_bytes: 16 * 1024 * 1024, aside_max: 4 }
    }
}

/// A view, and what was found when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// Ready to be read, and to have the records after `applied` applied to it.
    pub view: View,
    /// The highest sequence that the view stands for; none if it is empty and the journal has to be replayed from
    /// its beginning.
    pub applied: Option<u64>,
    /// What was there before and was not to be used. Goes into the journal as evidence.
    pub set_aside: Option<SetAside>,
}

/// Where a view is kept.
#[derive(Debug)]
pub enum Backing {
    /// On disk: [`View::flush`] makes it durable.
    Disk,
    /// In memory: at the next start it is empty, or what the disk has.
    Memory {
        /// Why not on disk.
        why: Volatile,
    },
}

/// Why a view is in memory only.
#[derive(Debug)]
pub enum Volatile {
    /// The disk is full, read-only or not ours. What is on it was left as it is.
    Disk(io::Error),
    /// Another process, or another view in this one, has the directory open.
    InUse,
    /// Not even an empty view could be opened.
    Damaged(Damage),
    /// That is what was asked for.
    Asked,
}

impl From<Trouble> for Volatile {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Disk(error) => Self::Disk(error),
            Trouble::Busy => Self::InUse,
            Trouble::Damage(damage) => Self::Damaged(damage),
        }
    }
}
