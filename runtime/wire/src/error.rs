//! What can be wrong with bytes, and with values that are to become bytes.

use core::fmt;

use crate::Schema;

/// Bytes that are not what was asked for. Nothing was taken from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// "journal entry ends after 7 of 40 bytes"
    Truncated {
        /// Bytes that are there.
        bytes: usize,
        /// Bytes that there have to be, as far as that is known by then.
        needed: usize,
    },
    /// "5000000 bytes are more than the 4096 that a steering message may have"
    TooLarge {
        /// Bytes that are there, or that a header claims.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// "3 bytes follow the end of the steering message"
    Trailing {
        /// What was read.
        schema: Schema,
        /// Bytes behind it.
        bytes: usize,
    },
    /// "schema 99 is not known here"
    UnknownSchema {
        /// The one that was found.
        schema: Schema,
    },
    /// "a steering message was expected, this is a beat"
    OtherSchema {
        /// The one that was asked for.
        wanted: Schema,
        /// The one that was found.
        found: Schema,
    },
    /// "device report has flags 0x0006 that are not known here"
    UnknownFlags {
        /// What was read.
        schema: Schema,
        /// All its flags.
        flags: u16,
    },
    /// "device report is of version 4, versions up to 3 can be read here"
    TooNew {
        /// What was read.
        schema: Schema,
        /// Its version.
        version: u16,
        /// The version that this reader writes; it reads one more if that only appends fields.
        ours: u16,
    },
    /// "device report is of version 1, versions from 3 on can be read here"
    TooOld {
        /// What was read.
        schema: Schema,
        /// Its version.
        version: u16,
        /// The version that this reader writes; it reads one less.
        ours: u16,
    },
    /// "device report of version 2 does not hold what it should"
    Malformed {
        /// What was read.
        schema: Schema,
        /// Its version.
        version: u16,
    },
    /// A value that could be read is outside its bounds; [`OutOfBounds`] is the `source()`.
    OutOfBounds {
        /// What was read.
        schema: Schema,
        /// The bound.
        source: OutOfBounds,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { bytes, needed } => write!(f, "item ends after {bytes} of {needed} bytes"),
            Self::TooLarge { bytes, max } => {
                write!(f, "{bytes} bytes are more than the {max} that are allowed")
            }
            Self::Trailing { schema, bytes } => write!(f, "{bytes} bytes follow the end of the {schema}"),
            Self::UnknownSchema { schema } => write!(f, "schema {} is not known here", schema.0),
            Self::OtherSchema { wanted, found } => write!(f, "a {wanted} was expected, this is a {found}"),
            Self::UnknownFlags { schema, flags } => {
                write!(f, "{schema} has flags {flags:#06x} that are not known here")
            }
            Self::TooNew { schema, version, ours } => {
                write!(
                    f,
                    "{schema} is of version {version} and can't be read here, where version {ours} is written"
                )
            }
            Self::TooOld { schema, version, ours } => {
                write!(
                    f,
                    "{schema} is of version {version}, too old for here, where version {ours} is written"
                )
            }
            Self::Malformed { schema, version } => {
                write!(f, "{schema} of version {version} does not hold what it should")
            }
            Self::OutOfBounds { schema, .. } => write!(f, "{schema} holds a value outside its bounds"),
        }
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfBounds { source, .. } => Some(source),
            Self::Truncated { .. }
            | Self::TooLarge { .. }
            | Self::Trailing { .. }
            | Self::UnknownSchema { .. }
            | Self::OtherSchema { .. }
            | Self::UnknownFlags { .. }
            | Self::TooNew { .. }
            | Self::TooOld { .. }
            | Self::Malformed { .. } => None,
        }
    }
}

impl DecodeError {
    /// What to do about it, where that can be known.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooNew { .. } | Self::UnknownSchema { .. } | Self::UnknownFlags { .. } => {
                Some("a newer Backstay wrote this: update the reader, by no more than one version at a time")
            }
            Self::TooOld { .. } => Some("update the writer, or read it with the version in between first"),
            Self::Truncated { .. } => Some("fetch or send it again: its end is missing"),
            Self::TooLarge { .. }
            | Self::Trailing { .. }
            | Self::OtherSchema { .. }
            | Self::Malformed { .. }
            | Self::OutOfBounds { .. } => Some("ask who wrote it: no released Backstay writes this"),
        }
    }
}

/// A value that may not become bytes, because no reader would take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// "journal entry takes 200000 bytes, 98304 are allowed"
    TooLarge {
        /// What was to be written.
        schema: Schema,
        /// Bytes that it takes.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// A value is outside its bounds; [`OutOfBounds`] is the `source()`.
    OutOfBounds {
        /// What was to be written.
        schema: Schema,
        /// The bound.
        source: OutOfBounds,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { schema, bytes, max } => {
                write!(f, "{schema} takes {bytes} bytes, {max} are allowed")
            }
            Self::OutOfBounds { schema, .. } => write!(f, "{schema} would hold a value outside its bounds"),
        }
    }
}

impl core::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutOfBounds { source, .. } => Some(source),
            Self::TooLarge { .. } => None,
        }
    }
}

impl EncodeError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => {
                Some("split it, or keep the large part elsewhere and name it by its digest")
            }
            Self::OutOfBounds { .. } => Some("drop what is least needed before it is written"),
        }
    }
}

/// "condemned has 40 elements, 32 are allowed"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// Which field.
    pub field: &'static str,
    /// How many elements or bytes it has.
    pub has: usize,
    /// How few it may have.
    pub min: usize,
    /// How many it may have.
    pub max: usize,
}

impl OutOfBounds {
    /// Checks that `field` has `min` to `max` elements or bytes.
    ///
    /// # Errors
    /// If it doesn't.
    pub fn check(field: &'static str, has: usize, min: usize, max: usize) -> Result<(), Self> {
        if (min..=max).contains(&has) { Ok(()) } else { Err(Self { field, has, min, max }) }
    }
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, has, min, max } = self;
        write!(f, "{field} has a size of {has}, {min} to {max} is allowed")
    }
}

impl core::error::Error for OutOfBounds {}
