//! The few words that decide about booting, as they stand in the two anchor slots beside the journal.
//!
//! They are there twice, apart from the journal, because a device that lost its journal must still not boot
//! what it condemned and not follow what it has long left behind. Not here: the slots (`journal`).

use alloc::{collections::BTreeMap, vec::Vec};

use backstay_model::{Digest, Mono, Release, UnixMs, WayHome};
use serde::{Deserialize, Serialize};

use crate::{Body, DecodeError, OutOfBounds, Schema, body::all_of};

/// What an instance has to know before it reads its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorWords {
    /// The instance's clock when they were written; it goes on from here at the earliest.
    pub clock: Mono,
    /// The latest time that the server has signed for.
    pub attested: Option<UnixMs>,
    /// What a restart brings back.
    pub confirmed: Release,
    /// The release before that one which passed its trial here, if there is one.
    pub last_known_good: Option<Release>,
    /// The highest that was accepted of each stream. One for each at most.
    pub marks: Vec<Mark>,
    /// Releases that will not be run again by themselves, newest first. At most
    /// [`AnchorWords::CONDEMNED_MAX`]; the oldest is given up for a new one.
    pub condemned: Vec<Digest>,
    /// The lowest security epoch that is accepted. It only grows.
    pub security_floor: u32,
    /// Until when the breaker is open, if it is.
    pub breaker_until: Option<Mono>,
    /// The epoch of the mark of [`Stream::Receipt`]: with it the mark names a head of the journal. 0: there is none, or
    /// it is not known.
    pub receipt_epoch: u32,
    /// How often the instance has started, as its reports are counted by it. 0: it is not known. An anchor's place is taken
    /// beforehand, so that this gets written on a disk that is full, too.
    pub starts: u32,
    /// What releases may be left for, by their digests. At most [`AnchorWords::WAYS_MAX`], each to
    /// [`AnchorWords::WAY_MAX`] at most.
    pub ways: BTreeMap<Digest, WayHome>,
}

/// The words as version 2 had them.
#[derive(Deserialize)]
struct Second {
    clock: Mono,
    attested: Option<UnixMs>,
    confirmed: Release,
    last_known_good: Option<Release>,
    marks: Vec<Mark>,
    condemned: Vec<Digest>,
    security_floor: u32,
    breaker_until: Option<Mono>,
    receipt_epoch: u32,
}

/// The highest that was accepted of a stream. Equal number, other digest: somebody signed two histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Of what.
    pub stream: Stream,
    /// The generation of a steering message, the sequence of anything else.
    pub counter: u64,
    /// Of what was accepted with it.
    pub digest: Digest,
}

/// What a device accepts in order only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Steering of the product.
    Product,
    /// Steering of the plugins.
    Plugins,
    /// Orders for this device.
    Order,
    /// Keyring, revocations and floor.
    Trust,
    /// This device's enrolment.
    Enrolment,
    /// Receipts for this device's journal.
    Receipt,
}

impl Stream {
    /// How many kinds there are.
    const COUNT: usize = 6;
}

impl AnchorWords {
    /// The most condemned releases that a device keeps in mind.
    pub const CONDEMNED_MAX: usize = 32;

    /// The most releases of which it is kept what they may be left for.
    pub const WAYS_MAX: usize = 8;

    /// The most releases that each of them may be left for.
    pub const WAY_MAX: usize = 4;

    /// The highest that was accepted of `stream`, if anything was.
    #[must_use]
    pub fn mark(&self, stream: Stream) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.stream == stream)
    }

    /// Notes that `mark` was accepted, in place of what stood there for its stream.
    pub fn accept(&mut self, mark: Mark) {
        match self.marks.iter_mut().find(|old| old.stream == mark.stream) {
            Some(old) => *old = mark,
            None => self.marks.push(mark),
        }
    }

    /// Notes that `digest` is condemned; the oldest gives way where there are too many.
    pub fn condemn(&mut self, digest: Digest) {
        self.condemned.retain(|old| *old != digest);
        self.condemned.insert(0, digest);
        self.condemned.truncate(Self::CONDEMNED_MAX);
    }
}

impl Body for AnchorWords {
    const SCHEMA: Schema = Schema::ANCHOR_WORDS;
    /// 2 has the epoch of the receipt, 3 the starts and the ways.
    const VERSION: u16 = 3;
    const OPTIONAL: bool = false;
    // An anchor slot is one block of 4 KiB with a header of its own.
    const BYTES_MAX: usize = 3584;

    fn from_previous(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let second: Second = all_of(Self::SCHEMA, version, body)?;
        let Second {
            clock,
            attested,
            confirmed,
            last_known_good,
            marks,
            condemned,
            security_floor,
            breaker_until,
            receipt_epoch,
        } = second;
        Ok(Self {
            clock,
            attested,
            confirmed,
            last_known_good,
            marks,
            condemned,
            security_floor,
            breaker_until,
            receipt_epoch,
            starts: 0,
            ways: BTreeMap::new(),
        })
    }

    fn check(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::check("marks", self.marks.len(), 0, Stream::COUNT)?;
        OutOfBounds::check("condemned", self.condemned.len(), 0, Self::CONDEMNED_MAX)?;
        OutOfBounds::check("ways", self.ways.len(), 0, Self::WAYS_MAX)?;
        let longest = self.ways.values().map(|way| way.0.len()).max();
        OutOfBounds::check("way", longest.unwrap_or_default(), 0, Self::WAY_MAX)
    }
}
