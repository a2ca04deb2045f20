//! What was found when a journal was opened: told to people, and in the gap record to whoever checks the evidence.

use std::fmt;

use backstay_evidence::{Head, Why};

use crate::ledger::CommitError;

/// Something that was not as it should be.
#[derive(Debug)]
pub enum Finding {
    /// The last write was cut short, as by a loss of power. It had not been acknowledged; its bytes were cleared.
    TornTail {
        /// In which segment.
        segment: u64,
        /// How many bytes were there.
        bytes: u64,
        /// The last good record before it.
        after: u64,
    },
    /// Records that had been durable are lost. A new epoch admits it; the damaged files stay.
    Corrupt(Loss),
    /// Old segments are not there although they were never pruned. What follows them is whole.
    SegmentMissing {
        /// The oldest that should be there.
        first: u64,
        /// The oldest that is.
        found: u64,
    },
    /// One copy of a segment's header is bad. The other holds: no record is lost.
    HeaderDamaged {
        /// Of which segment.
        segment: u64,
    },
    /// Bytes behind the last record of a segment changed. No record is lost.
    Noise {
        /// In which segment.
        segment: u64,
    },
    /// One anchor slot is bad: a torn write that had not been acknowledged, or damage. The other holds, and may be
    /// one anchor older.
    AnchorDamaged {
        /// Which slot.
        slot: usize,
        /// The generation of the slot that holds.
        kept: u64,
    },
    /// No anchor is left: its words are lost, and the journal could not be judged by it.
    AnchorLost,
    /// The journal can be read, but not written for now.
    Degraded {
        /// Why.
        cause: CommitError,
    },
}

/// What was lost, as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The last good record: what the gap record follows.
    pub after: Head,
    /// The highest sequence that is known to have existed. Equal to `after` where no record is known to be lost.
    pub to: u64,
    /// How many records behind the damage are whole by their checksum, and are handed to the caller.
    pub salvaged: usize,
    /// In which segment it begins, and at which byte, where it was seen.
    pub place: Option<(u64, u64)>,
    /// What shows that it is damage.
    pub cause: Cause,
}

/// What shows that something is damage and no torn write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A record is bad, and it had been written whole, or others were written after it.
    Record(Why),
    /// A segment can't be read, or neither copy of its header can.
    Unreadable,
    /// A segment belongs to another instance.
    Foreign,
    /// A segment does not follow the one before it.
    Unlinked,
    /// A segment is not there.
    Missing,
    /// A segment's file has lost its end.
    Short,
    /// The journal is older than what is known of it.
    Behind(Witness),
    /// The journal tells another history than what is known of it.
    Forked(Witness),
    /// Old segments are gone that were never pruned.
    OldMissing,
}

/// Who knows better than the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The anchor.
    Anchor,
    /// The receipt that the caller brought.
    Receipt,
}

impl Finding {
    /// Whether something was lost that had been durable.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Corrupt(_)
            | Self::SegmentMissing { .. }
            | Self::AnchorLost
            | Self::AnchorDamaged { .. } => true,
            Self::TornTail { .. }
            | Self::HeaderDamaged { .. }
            | Self::Noise { .. }
            | Self::Degraded { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TornTail { .. } => None,
            Self::Corrupt(loss) => Some(match loss.cause {
                Cause::Forked(_) | Cause::Foreign => {
                    "find out who put another journal here: a copied disk image, or somebody who edits history"
                }
                Cause::Behind(_) => {
                    "an older copy was put back, or the disk lost what it had acknowledged: check the disk"
                }
                Cause::Record(_)
                | Cause::Unreadable
                | Cause::Unlinked
                | Cause::Missing
                | Cause::Short
                | Cause::OldMissing => {
                    "check the disk, and keep the damaged segments for whoever looks into it"
                }
            }),
            Self::SegmentMissing { .. } => Some("find out who removed files from the journal's folder"),
            Self::HeaderDamaged { .. } | Self::Noise { .. } => {
                Some("check the disk: its content changes by itself")
            }
            Self::AnchorDamaged { .. } => {
                Some("take the anchor's words from the journal if the power was not cut")
            }
            Self::AnchorLost => Some("take the anchor's words from the journal, and check the disk"),
            Self::Degraded { cause } => cause.help(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { segment, bytes, after } => {
                write!(
                    f,
                    "the last write was cut short: {bytes} bytes in segment {segment} after record {after}"
                )
            }
            Self::Corrupt(loss) => loss.fmt(f),
            Self::SegmentMissing { first, found } => {
                write!(f, "the segments {first} to {} are missing", found.saturating_sub(1))
            }
            Self::HeaderDamaged { segment } => {
                write!(f, "one copy of the header of segment {segment} is damaged")
            }
            Self::Noise { segment } => {
                write!(f, "bytes behind the last record of segment {segment} have changed")
            }
            Self::AnchorDamaged { slot, kept } => {
                write!(f, "anchor slot {slot} is damaged: generation {kept} holds")
            }
            Self::AnchorLost => f.write_str("both anchor slots are lost"),
            Self::Degraded { cause } => write!(f, "the journal can only be read: {cause}"),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after.seq;
        if self.to > after {
            write!(f, "records {} to {} are lost", after + 1, self.to)?;
        } else {
            write!(f, "the journal is damaged after record {after}")?;
        }
        match self.cause {
            Cause::Record(why) => write!(f, ": record {} is bad, {why}", after + 1),
            Cause::Unreadable => f.write_str(": a segment cannot be read"),
            Cause::Foreign => f.write_str(": a segment belongs to another instance"),
            Cause::Unlinked => f.write_str(": a segment does not follow the one before it"),
            Cause::Missing => f.write_str(": a segment is missing"),
            Cause::Short => f.write_str(": a segment has lost its end"),
            Cause::Behind(witness) => write!(f, ": {witness} is ahead of the journal"),
            Cause::Forked(witness) => write!(f, ": {witness} names another history"),
            Cause::OldMissing => f.write_str(": old segments are gone that were never pruned"),
        }?;
        if let Some((segment, offset)) = self.place {
            write!(f, " (segment {segment}, byte {offset})")?;
        }
        if self.salvaged > 0 {
            write!(f, "; {} records behind it are whole", self.salvaged)?;
        }
        Ok(())
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anchor => "the anchor",
            Self::Receipt => "the receipt",
        })
    }
}
