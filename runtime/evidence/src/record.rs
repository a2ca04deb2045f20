//! One record, and how it looks as bytes.
//!
//! Header, little endian: length u32 (its top bit says that the record follows another in the same write),
//! crc32c u32 over all but itself, sequence u64, epoch u32, hash of the predecessor \[u8; 32\]. Then the body.

use alloc::vec::Vec;
use core::fmt;

use crate::checksum::crc32c;

/// The bytes in front of a body.
pub const HEADER_BYTES: usize = 52;

/// The longest body, 1 MiB: a reader never allocates more on the word of a length that it has not checked.
pub const BODY_BYTES_MAX: usize = 1 << 20;

const FOLLOWS: u32 = 1 << 31;

/// A body with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts from 1 and never comes twice, over all epochs.
    pub seq: u64,
    /// Counts from 1. It grows where records were lost, and then `seq` may jump.
    pub epoch: u32,
    /// The hash of the record before.
    pub prev: [u8; 32],
    /// Opaque here.
    pub body: Vec<u8>,
}

impl Record {
    /// The record without its own body.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        Frame { seq: self.seq, epoch: self.epoch, prev: self.prev, place: Place::First, body: &self.body }
    }

    /// The record as bytes on the wire: always a write of its own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        self.frame().write(&mut bytes);
        bytes
    }
}

/// Where a record stands in the write that brought it to the disk. It is covered by the checksum and not by the
/// hash: how records were grouped says nothing about what happened.
///
/// Writes are made durable one after the other, so a `First` after a bad record proves that the bad one had been
/// durable, and a `Next` proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It begins a write.
    First,
    /// It follows another in the same write.
    Next,
}

/// A record whose body is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// See [`Record::seq`].
    pub seq: u64,
    /// See [`Record::epoch`].
    pub epoch: u32,
    /// See [`Record::prev`].
    pub prev: [u8; 32],
    /// First of a write, or not.
    pub place: Place,
    /// See [`Record::body`]. At most [`BODY_BYTES_MAX`].
    pub body: &'a [u8],
}

/// Bytes that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes end before the record does.
    Cut,
    /// The header claims a body longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// The checksum does not fit the bytes.
    Checksum,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the bytes end before the record does"),
            Self::TooLong => write!(f, "the record claims more than {BODY_BYTES_MAX} bytes"),
            Self::Checksum => f.write_str("the checksum of the record is wrong"),
        }
    }
}

impl core::error::Error for FrameError {}

impl<'a> Frame<'a> {
    /// Appends the record to `out`. Its length is [`HEADER_BYTES`] and the body.
    pub fn write(&self, out: &mut Vec<u8>) {
        let follows = match self.place {
            Place::First => 0,
            Place::Next => FOLLOWS,
        };
        let len = self.body.len() as u32 | follows;
        let mut rest = [0; HEADER_BYTES - 8];
        rest[..8].copy_from_slice(&self.seq.to_le_bytes());
        rest[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        rest[12..].copy_from_slice(&self.prev);
        let sum = crc32c(&[&len.to_le_bytes(), &rest, self.body]);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&rest);
        out.extend_from_slice(self.body);
    }

    /// Reads the record at the beginning of `bytes`; whatever follows it is ignored.
    ///
    /// # Errors
    /// Says what is wrong with the bytes. The place in a chain is not looked at: that is for
    /// [`Chain`](crate::Chain).
    pub fn read(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(FrameError::Cut)?;
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let len = (word(0) & !FOLLOWS) as usize;
        if len > BODY_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let body = rest.get(..len).ok_or(FrameError::Cut)?;
        if crc32c(&[&header[..4], &header[8..], body]) != word(4) {
            return Err(FrameError::Checksum);
        }
        let mut prev = [0; 32];
        prev.copy_from_slice(&header[20..]);
        Ok(Self {
            seq: u64::from(word(8)) | u64::from(word(12)) << 32,
            epoch: word(16),
            prev,
            place: if word(0) & FOLLOWS == 0 { Place::First } else { Place::Next },
            body,
        })
    }

    /// How many bytes the record takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The record with a body of its own.
    #[must_use]
    pub fn to_record(&self) -> Record {
        Record { seq: self.seq, epoch: self.epoch, prev: self.prev, body: self.body.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn record() -> Record {
        Record { seq: 0x0102_0304_0506_0708, epoch: 9, prev: [7; 32], body: b"pump-7 went home".to_vec() }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut bytes = record().encode();
        bytes.extend_from_slice(b"what follows");
        assert_eq!(Frame::read(&bytes).unwrap().to_record(), record());
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let whole = record().encode();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::read(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            assert_eq!(Frame::read(&whole[..len]), Err(FrameError::Cut), "{len} bytes");
        }
    }

    #[test]
    fn a_length_is_checked_before_anything_is_done_with_it() {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&(BODY_BYTES_MAX as u32 + 1).to_le_bytes());
        assert_eq!(Frame::read(&bytes), Err(FrameError::TooLong));
    }
}
