//! What the rest of Backstay asks of a journal, whatever it stands on.

use std::{error, fmt, io};

use backstay_evidence::{Broken, Head, Record};

/// A journal. Nothing may be done or acknowledged on the strength of a record before `commit` returned `Ok`.
pub trait Ledger {
    /// Takes `body` as the next record and says its sequence. It is not durable yet, except where room had to be
    /// made for it: then those before it are.
    ///
    /// # Errors
    /// The record was not taken, and those before it stand as they stood.
    fn append(&mut self, body: &[u8]) -> Result<u64, AppendError>;

    /// As `append`, if the last record taken is `expected`: compare and set. A head never comes twice, so it is
    /// also the fencing token: a writer that was overtaken holds a head of the past and is refused.
    ///
    /// # Errors
    /// [`AppendError::Moved`] names the head that there is. Else as `append`.
    fn append_if(&mut self, expected: Head, body: &[u8]) -> Result<u64, AppendError>;

    /// Makes durable all that was taken, in one write and one sync, and says the head. What was taken stays taken
    /// when it fails for want of room, and the next `commit` tries again.
    ///
    /// # Errors
    /// Nothing that was taken may be relied upon.
    fn commit(&mut self) -> Result<Head, CommitError>;

    /// The durable records from `from_seq` on. Each is checked again on its way; after an error nothing follows.
    fn read(&self, from_seq: u64) -> impl Iterator<Item = Result<Record, ReadError>>;

    /// The durable head.
    fn head(&self) -> Head;

    /// The head that there will be after the next `commit`: what `append_if` compares with.
    fn tail(&self) -> Head;

    /// Gives back the space of records below `below_seq`, as far as they fill whole segments.
    ///
    /// # Errors
    /// Some or none were removed; a later call goes on.
    fn prune(&mut self, below_seq: u64) -> Result<(), PruneError>;
}

/// Why nothing became durable.
#[derive(Debug)]
pub enum CommitError {
    /// The disk is full, and the ballast is spent.
    Full {
        /// What the disk said.
        source: io::Error,
    },
    /// The journal has reached the most bytes that it may take.
    Bounded {
        /// That bound.
        bytes_max: u64,
    },
    /// The disk takes no writes.
    ReadOnly {
        /// What the disk said.
        source: io::Error,
    },
    /// The disk failed, and with it the journal, until it is opened again.
    Io {
        /// What the disk said.
        source: io::Error,
    },
    /// The disk failed before, and the journal was not opened again.
    Failed,
}

impl CommitError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Full { .. } => "free space on the journal's file system, or prune below the last receipt",
            Self::Bounded { .. } => "prune below the last receipt, or allow the journal more bytes",
            Self::ReadOnly { .. } => {
                "mount the file system for writing; it may have gone read-only after an error"
            }
            Self::Io { .. } | Self::Failed => "open the journal again, and expect the disk to fail soon",
        })
    }

    /// The kind that `error` is, where it is no failed sync.
    pub(crate) fn of(source: io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};

        let kind = source.kind();
        if matches!(kind, StorageFull | QuotaExceeded) {
            Self::Full { source }
        } else if matches!(kind, ReadOnlyFilesystem | PermissionDenied) {
            Self::ReadOnly { source }
        } else {
            Self::Io { source }
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { .. } => f.write_str("the journal's disk is full"),
            Self::Bounded { bytes_max } => {
                write!(f, "the journal has reached its bound of {bytes_max} bytes")
            }
            Self::ReadOnly { .. } => f.write_str("the journal's disk is read-only"),
            Self::Io { .. } => f.write_str("the journal's disk failed"),
            Self::Failed => f.write_str("the journal's disk failed before"),
        }
    }
}

impl error::Error for CommitError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Full { source } | Self::ReadOnly { source } | Self::Io { source } => Some(source),
            Self::Bounded { .. } | Self::Failed => None,
        }
    }
}

/// Why a record was not taken.
#[derive(Debug)]
pub enum AppendError {
    /// The body does not fit a segment.
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that fits.
        bytes_max: usize,
    },
    /// The head is not the expected one: somebody else was first.
    Moved {
        /// The head that there is.
        head: Head,
    },
    /// No room could be made for it.
    NoRoom {
        /// Why.
        source: CommitError,
    },
}

impl AppendError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLong { .. } => Some("store what is long beside the journal and its digest in it"),
            Self::Moved { .. } => Some("read what was appended since, and decide anew"),
            Self::NoRoom { source } => source.help(),
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(f, "a record of {bytes} bytes is longer than a segment's {bytes_max}")
            }
            Self::Moved { head } => write!(f, "the journal has moved on to record {}", head.seq),
            Self::NoRoom { .. } => f.write_str("there is no room for another record"),
        }
    }
}

impl error::Error for AppendError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::NoRoom { source } => Some(source),
            Self::TooLong { .. } | Self::Moved { .. } => None,
        }
    }
}

/// Why an anchor was not written. The one before still holds.
#[derive(Debug)]
pub enum AnchorError {
    /// There are more words than fit.
    TooLong {
        /// How many bytes.
        bytes: usize,
    },
    /// The disk did not take it.
    Disk {
        /// Why.
        source: CommitError,
    },
}

impl AnchorError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLong { .. } => Some("keep in the anchor only what decides about booting"),
            Self::Disk { source } => source.help(),
        }
    }
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "{bytes} bytes of words are more than an anchor's {}", crate::WORDS_BYTES_MAX)
            }
            Self::Disk { .. } => f.write_str("the anchor was not written"),
        }
    }
}

impl error::Error for AnchorError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::TooLong { .. } => None,
            Self::Disk { source } => Some(source),
        }
    }
}

/// Why space was not given back.
#[derive(Debug)]
pub enum PruneError {
    /// It could not be made durable what is pruned, so nothing was.
    Anchor {
        /// Why.
        source: CommitError,
    },
    /// A file can't be removed.
    Remove {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for PruneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchor { .. } => f.write_str("the journal was not pruned"),
            Self::Remove { name, .. } => write!(f, "cannot remove the pruned segment {name}"),
        }
    }
}

impl error::Error for PruneError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Anchor { source } => Some(source),
            Self::Remove { source, .. } => Some(source),
        }
    }
}

/// Why the records can't be read any further.
#[derive(Debug)]
pub enum ReadError {
    /// A segment can't be read.
    Io {
        /// Its file name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A record is not what it was when the journal was opened.
    Broken {
        /// The segment's file name.
        name: String,
        /// Which record, and why.
        source: Broken,
    },
}

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some("open the journal again: damage is then recorded, and what can be saved is shown")
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { name, .. } => write!(f, "cannot read the journal's segment {name}"),
            Self::Broken { name, .. } => {
                write!(f, "the journal's segment {name} was damaged since it was opened")
            }
        }
    }
}

impl error::Error for ReadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Broken { source, .. } => Some(source),
        }
    }
}
