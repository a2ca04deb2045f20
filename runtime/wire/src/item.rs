//! The frame around everything that is stored or sent.
//!
//! ```text
//! schema u16 | version u16 | flags u16 | length u32 | body: length bytes        all little endian
//! ```
//!
//! A frame can be read without knowing what is in it, so a reader can step over what it doesn't know. Only
//! what the writer marked as optional may be stepped over; anything else that is unknown stops the reader,
//! because a message of which half was understood is not the message that was sent.
//!
//! Not here: who wrote it (`trust`) and whether it is whole (`evidence` has the checksums).

use crate::{Body, DecodeError, Schema};

/// Bytes of a frame before its body.
pub const HEADER_BYTES: usize = 10;

/// Bit 0: a reader that doesn't know the item may go on behind it.
const OPTIONAL: u16 = 1;

/// One frame, its body still unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What it says it is.
    pub schema: Schema,
    /// The version that it was written in, from 1.
    pub version: u16,
    /// Bit 0: optional. The others are zero in every version so far.
    pub flags: u16,
    /// What is in it.
    pub body: &'a [u8],
}

impl<'a> Item<'a> {
    /// Takes one item off the front of `bytes`, and says what is behind it.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] if it takes more than `limit` bytes with its header, whether or not they are
    /// there; [`DecodeError::Truncated`] if they aren't.
    pub fn split(bytes: &'a [u8], limit: usize) -> Result<(Self, &'a [u8]), DecodeError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::Truncated { bytes: bytes.len(), needed: HEADER_BYTES });
        };
        let [s0, s1, v0, v1, f0, f1, length @ ..] = *header;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let whole = length.saturating_add(HEADER_BYTES);
        if whole > limit {
            return Err(DecodeError::TooLarge { bytes: whole, max: limit });
        }
        let Some((body, rest)) = rest.split_at_checked(length) else {
            return Err(DecodeError::Truncated { bytes: bytes.len(), needed: whole });
        };
        let item = Self {
            schema: Schema(u16::from_le_bytes([s0, s1])),
            version: u16::from_le_bytes([v0, v1]),
            flags: u16::from_le_bytes([f0, f1]),
            body,
        };
        Ok((item, rest))
    }

    /// Whether a reader that doesn't know it may go on behind it.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.flags & OPTIONAL != 0
    }

    /// Reads the body.
    ///
    /// # Errors
    /// If it is something else, of a version that can't be read, or doesn't hold what it should.
    pub fn decode<T: Body>(&self) -> Result<T, DecodeError> {
        let schema = self.schema;
        if schema != T::SCHEMA {
            return Err(DecodeError::OtherSchema { wanted: T::SCHEMA, found: schema });
        }
        if self.body.len().saturating_add(HEADER_BYTES) > T::BYTES_MAX {
            let bytes = self.body.len().saturating_add(HEADER_BYTES);
            return Err(DecodeError::TooLarge { bytes, max: T::BYTES_MAX });
        }
        if self.flags & !OPTIONAL != 0 {
            return Err(DecodeError::UnknownFlags { schema, flags: self.flags });
        }
        T::from_body(self.version, self.body)
    }

    /// Reads the body, or says `None` where it is of another kind or too new, and may be passed over.
    ///
    /// # Errors
    /// As [`Item::decode`]; what may be passed over must be marked as optional.
    pub fn decode_or_skip<T: Body>(&self) -> Result<Option<T>, DecodeError> {
        if self.schema != T::SCHEMA {
            return self.skip().map(|()| None);
        }
        match self.decode::<T>() {
            Err(DecodeError::TooNew { .. } | DecodeError::UnknownFlags { .. }) if self.is_optional() => {
                Ok(None)
            }
            decoded => decoded.map(Some),
        }
    }

    /// Passes over an item that the reader has no use for.
    ///
    /// # Errors
    /// [`DecodeError::UnknownSchema`] if it isn't marked as optional.
    pub fn skip(&self) -> Result<(), DecodeError> {
        if self.is_optional() { Ok(()) } else { Err(DecodeError::UnknownSchema { schema: self.schema }) }
    }

    /// The header of an item with `length` bytes of body.
    pub(crate) fn header<T: Body>(length: u32) -> [u8; HEADER_BYTES] {
        let [s0, s1] = T::SCHEMA.0.to_le_bytes();
        let [v0, v1] = T::VERSION.to_le_bytes();
        let [f0, f1] = if T::OPTIONAL { OPTIONAL } else { 0 }.to_le_bytes();
        let [l0, l1, l2, l3] = length.to_le_bytes();
        [s0, s1, v0, v1, f0, f1, l0, l1, l2, l3]
    }
}

/// The items of a sequence, one behind the other, until its end or the first error.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    limit: usize,
}

impl<'a> Items<'a> {
    /// Over `bytes`, of which no item may take more than `limit` bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8], limit: usize) -> Self {
        Self { rest: bytes, limit }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        // Behind an item that can't be framed there is no telling where the next one begins.
        let rest = core::mem::take(&mut self.rest);
        Some(Item::split(rest, self.limit).map(|(item, rest)| {
            self.rest = rest;
            item
        }))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use backstay_model::{Beat, Health};

    use super::*;
    use crate::{Presence, encode};

    fn beat() -> Beat {
        Beat { nonce: 7, count: 3, health: Health::Good }
    }

    fn unknown(flags: u16) -> Vec<u8> {
        let [f0, f1] = flags.to_le_bytes();
        vec![0x99, 0x09, 1, 0, f0, f1, 3, 0, 0, 0, 1, 2, 3]
    }

    #[test]
    fn what_is_optional_and_unknown_is_passed_over() {
        let bytes = [unknown(1), encode(&beat()).unwrap(), unknown(1)].concat();
        let read: Result<Vec<_>, _> =
            Items::new(&bytes, 100).map(|item| item?.decode_or_skip::<Beat>()).collect();
        assert_eq!(read.unwrap(), [None, Some(beat()), None]);
    }

    #[test]
    fn what_is_unknown_and_not_optional_stops_the_reader() {
        let bytes = [encode(&beat()).unwrap(), unknown(0), encode(&beat()).unwrap()].concat();
        let read: Result<Vec<_>, _> =
            Items::new(&bytes, 100).map(|item| item?.decode_or_skip::<Beat>()).collect();
        assert_eq!(read, Err(DecodeError::UnknownSchema { schema: Schema(0x0999) }));
    }

    #[test]
    fn a_sequence_ends_at_its_first_broken_frame() {
        let mut bytes = [encode(&beat()).unwrap(), encode(&beat()).unwrap()].concat();
        bytes.truncate(bytes.len() - 1);
        let mut items = Items::new(&bytes, 100);
        assert!(items.next().unwrap().is_ok());
        assert!(matches!(items.next(), Some(Err(DecodeError::Truncated { .. }))));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn another_kind_is_named_and_not_guessed_at() {
        let bytes = encode(&beat()).unwrap();
        let (item, _) = Item::split(&bytes, 100).unwrap();
        let wanted = DecodeError::OtherSchema { wanted: Schema::PRESENCE, found: Schema::BEAT };
        assert_eq!(item.decode::<Presence>(), Err(wanted));
    }
}
