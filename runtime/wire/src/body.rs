//! What an item can hold, and how it becomes bytes and comes back.
//!
//! The rule of versions: a reader of version n takes n-1, n and n+1. To make that cheap, a new version only
//! *appends* fields to its body. Then n+1 is read by leaving its end unread, and n-1 by filling in what it
//! doesn't have ([`Body::from_previous`]). What is nested in a body never changes, except that enums get new
//! kinds at their end: a reader that meets one of those in version n+1 says [`DecodeError::TooNew`].

use alloc::{vec, vec::Vec};

use serde::{Serialize, de::DeserializeOwned};

use crate::{DecodeError, EncodeError, HEADER_BYTES, Item, OutOfBounds, Schema};

/// A value that is stored or sent.
pub trait Body: Serialize + DeserializeOwned {
    /// Which kind it is.
    const SCHEMA: Schema;
    /// The version that is written, from 1.
    const VERSION: u16;
    /// Whether a reader that doesn't know it may pass over it.
    const OPTIONAL: bool;
    /// The most bytes of it as an item, header included.
    const BYTES_MAX: usize;

    /// Checks what its type alone can't say: the sizes of lists and texts. Both writer and reader ask.
    ///
    /// # Errors
    /// Names the field that is too long, or too short.
    fn check(&self) -> Result<(), OutOfBounds> {
        Ok(())
    }

    /// Reads the body of an item of version [`VERSION`](Body::VERSION)` - 1` and fills in what it doesn't have,
    /// mostly by [`Body::from_body`] of the type that was written then. The first version has nothing before it,
    /// which is what the default says.
    ///
    /// # Errors
    /// [`DecodeError::TooOld`] without a previous version, or that the body doesn't hold what it should.
    fn from_previous(version: u16, _body: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError::TooOld { schema: Self::SCHEMA, version, ours: Self::VERSION })
    }

    /// Reads the body of an item of `version`, without its header.
    ///
    /// # Errors
    /// If the version can't be read here, or the body doesn't hold what it should.
    fn from_body(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let (schema, ours) = (Self::SCHEMA, Self::VERSION);
        let value = if version == ours {
            let malformed = |_| DecodeError::Malformed { schema, version };
            let (value, rest) = postcard::take_from_bytes::<Self>(body).map_err(malformed)?;
            if !rest.is_empty() {
                return Err(DecodeError::Trailing { schema, bytes: rest.len() });
            }
            value
        } else if Some(version) == ours.checked_add(1) {
            // The next version only appends, so what this one knows is the front of it. Where it isn't, the
            // next version uses a word that this one doesn't have, and to guess would be to misread.
            let too_new = |_| DecodeError::TooNew { schema, version, ours };
            postcard::take_from_bytes::<Self>(body).map_err(too_new)?.0
        } else if version > ours {
            return Err(DecodeError::TooNew { schema, version, ours });
        } else if version != 0 && version.checked_add(1) == Some(ours) {
            Self::from_previous(version, body)?
        } else {
            return Err(DecodeError::TooOld { schema, version, ours });
        };
        value.check().map_err(|source| DecodeError::OutOfBounds { schema, source })?;
        Ok(value)
    }
}

/// Reads `body`, all of it, as what the version that wrote it had.
pub(crate) fn all_of<T: DeserializeOwned>(
    schema: Schema,
    version: u16,
    body: &[u8],
) -> Result<T, DecodeError> {
    let malformed = |_| DecodeError::Malformed { schema, version };
    let (value, rest) = postcard::take_from_bytes::<T>(body).map_err(malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing { schema, bytes: rest.len() }) }
}

/// `body` as the bytes of one item.
///
/// # Errors
/// If it is outside its bounds, so that no reader would take it.
pub fn encode<T: Body>(body: &T) -> Result<Vec<u8>, EncodeError> {
    let schema = T::SCHEMA;
    body.check().map_err(|source| EncodeError::OutOfBounds { schema, source })?;
    encode_as::<T>(body)
}

/// `body`, which is written like a `T` without being one, as the bytes of one item: what is borrowed need not be copied
/// first. Its bounds are not checked.
///
/// # Errors
/// If it is larger than any reader takes.
pub fn encode_as<T: Body>(body: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let schema = T::SCHEMA;
    let too_large = |bytes| EncodeError::TooLarge { schema, bytes, max: T::BYTES_MAX };
    // Writing to memory can't fail, and every body is of a type whose length postcard knows beforehand.
    let mut bytes = postcard::to_extend(body, vec![0; HEADER_BYTES]).map_err(|_| too_large(usize::MAX))?;
    let whole = bytes.len();
    let length = u32::try_from(whole.saturating_sub(HEADER_BYTES)).map_err(|_| too_large(whole))?;
    if whole > T::BYTES_MAX {
        return Err(too_large(whole));
    }
    for (to, from) in bytes.iter_mut().zip(Item::header::<T>(length)) {
        *to = from;
    }
    Ok(bytes)
}

/// The value of the one item that `bytes` are.
///
/// `limit` is the most bytes that the place they came from may have; what the kind of item may have at most
/// holds in any case.
///
/// # Errors
/// If they are anything else than exactly one item of this kind, in a version that can be read.
pub fn decode<T: Body>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    let limit = limit.min(T::BYTES_MAX);
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { bytes: bytes.len(), max: limit });
    }
    let (item, rest) = Item::split(bytes, limit)?;
    if !rest.is_empty() {
        return Err(DecodeError::Trailing { schema: item.schema, bytes: rest.len() });
    }
    item.decode()
}
