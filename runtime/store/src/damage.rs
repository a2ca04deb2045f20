//! What can be wrong with a view, and the errors that its callers get.
//!
//! Two kinds of trouble are kept apart all the way: *damage*, where what is on disk is not to be used any more
//! and is set aside, and a *disk* that can't be written, where what is on disk may be good and stays.

use std::{any::Any, error::Error, fmt, io};

use crate::change::{KEY_BYTES_MAX, Tree, VALUE_BYTES_MAX};

/// The most bytes of a panic's text that are kept.
const PANIC_BYTES_MAX: usize = 200;

/// Why a view is not to be used any more. The journal is the truth: set the view aside, and rebuild it.
#[derive(Debug)]
pub enum Damage {
    /// sled panicked, with this text (200 bytes at most).
    Panicked(String),
    /// sled said what is wrong.
    Refused(Box<dyn Error + Send + Sync>),
    /// The process ended while it opened the view, this many times in a row.
    Died {
        /// How many times.
        tries: u8,
    },
    /// The row that says what was applied is missing, or its checksum is wrong.
    Head,
    /// The values do not add up to what was applied: some are missing, old, or too many.
    Contents,
    /// A value is not what was written.
    Value {
        /// Where.
        tree: Tree,
        /// Under which key.
        key: Vec<u8>,
        /// In which way.
        flaw: Flaw,
    },
    /// Written in another form, by an older or a newer release.
    Format {
        /// The number of that form.
        found: u16,
    },
    /// It stands for records that the journal does not have.
    Ahead {
        /// The highest sequence applied to the view.
        applied: u64,
        /// The highest sequence in the journal; none if the journal is empty.
        journal_head: Option<u64>,
    },
    /// It stands for records of another epoch of the journal, which may say something else under the same sequence.
    Epoch {
        /// The view's epoch.
        found: u32,
        /// The journal's epoch.
        journal: u32,
    },
    /// An earlier call failed half-way, so nobody knows what the view holds.
    Unsure,
    /// The caller found something wrong with the meaning of a value.
    Meaning(String),
}

/// In which way the bytes of a value are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They are not what the checksum was made of.
    Checksum,
    /// There are fewer or more of them than there should be.
    Length,
    /// They are in a form that is not known here.
    Version(u16),
}

impl Damage {
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("(no text)");
        let end = text.floor_char_boundary(PANIC_BYTES_MAX);
        Self::Panicked(text.get(..end).unwrap_or_default().into())
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Died { .. } => Some("if it happens again with an empty view, look for too little memory"),
            Self::Format { .. } => Some("nothing: this is what a change of release looks like"),
            Self::Ahead { .. } | Self::Epoch { .. } => {
                Some("nothing, if the journal was repaired; else look whether an old journal was put back")
            }
            Self::Panicked(_)
            | Self::Refused(_)
            | Self::Head
            | Self::Contents
            | Self::Value { .. }
            | Self::Unsure
            | Self::Meaning(_) => {
                Some("set the view aside and rebuild it; if it happens often, suspect the disk")
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(f, "sled panicked: {text}"),
            Self::Refused(_) => f.write_str("sled refused to go on"),
            Self::Died { tries } => write!(f, "the process ended {tries} times while it opened the view"),
            Self::Head => f.write_str("the record of what was applied is missing or damaged"),
            Self::Contents => f.write_str("the values do not add up to what was applied"),
            Self::Value { tree, key, flaw } => {
                write!(f, "the value under {} in {tree:?} ", key.escape_ascii())?;
                match flaw {
                    Flaw::Checksum => f.write_str("has a wrong checksum"),
                    Flaw::Length => f.write_str("has a wrong length"),
                    Flaw::Version(version) => write!(f, "has the unknown version {version}"),
                }
            }
            Self::Format { found } => {
                write!(f, "the view has format {found}, which is not the one used here")
            }
            Self::Ahead { applied, journal_head: Some(head) } => {
                write!(f, "the view is at record {applied}, but the journal ends at {head}")
            }
            Self::Ahead { applied, journal_head: None } => {
                write!(f, "the view is at record {applied}, but the journal is empty")
            }
            Self::Epoch { found, journal } => {
                write!(f, "the view is of epoch {found}, but the journal is at {journal}")
            }
            Self::Unsure => f.write_str("an earlier call failed half-way"),
            Self::Meaning(what) => write!(f, "a value makes no sense: {what}"),
        }
    }
}

impl Error for Damage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(source) => Some(&**source),
            Self::Panicked(_)
            | Self::Died { .. }
            | Self::Head
            | Self::Contents
            | Self::Value { .. }
            | Self::Format { .. }
            | Self::Ahead { .. }
            | Self::Epoch { .. }
            | Self::Unsure
            | Self::Meaning(_) => None,
        }
    }
}

/// What went wrong in sled.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The disk is full, read-only or not ours. What is on it may be good.
    Disk(io::Error),
    /// Another handle in this process has not let go of the file yet.
    Busy,
    Damage(Damage),
}

impl From<Damage> for Trouble {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<sled::Error> for Trouble {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) if about_the_disk(&error) => Self::Disk(error),
            // sled has no kind of its own for a lock that is taken.
            sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => Self::Busy,
            sled::Error::Io(_)
            | sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. } => Self::Damage(Damage::Refused(Box::new(error))),
        }
    }
}

/// Whether an error speaks of the disk or the process as a whole, and not of these files.
fn about_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    // Too many open files, in the system and in the process, have no kind yet.
    let files = cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24));
    files
        || [OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull]
            .contains(&error.kind())
}

/// Why a value could not be read.
#[derive(Debug)]

pub enum ReadError {
    /// "cannot read from the view: it is damaged"; [`View::set_aside`](crate::View::set_aside) takes the damage.
    Damaged(Damage),
}

/// Why changes were not applied.
#[derive(Debug)]
pub enum ApplyError {
    /// "record 7 is already in the view, which is at 9". Nothing was changed.
    Order {
        /// The sequence that was to be applied.
        seq: u64,
        /// The highest one applied.
        applied: u64,
    },
    /// "record 8 can't follow record 7, which was refused". Nothing was changed: a view that left out what was
    /// refused would not be what it says it is.
    Gap {
        /// The sequence that was to be applied.
        seq: u64,
        /// The one that was refused.
        refused: u64,
    },
    /// "a key of 300 bytes does not fit". Nothing was changed.
    Key {
        /// Its length in bytes.
        length: usize,
    },
    /// "a value of 300000 bytes does not fit". Nothing was changed.
    Value {
        /// Its length in bytes.
        length: usize,
    },
    /// "the view would hold 2359307 bytes, and 2097152 are allowed". Nothing was changed.
    Full {
        /// What it would hold, in bytes of keys and values.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// "cannot write to the view". What is on the disk is good, what is in memory is not: open the view again.
    Disk(io::Error),
    /// "cannot write to the view: it is damaged"; [`View::set_aside`](crate::View::set_aside) takes the damage.
    Damaged(Damage),
}

/// Why the view was not made durable. The journal has it all the same.
#[derive(Debug)]
pub enum FlushError {
    /// "cannot write the view to disk". What is on the disk is good: open the view again.
    Disk(io::Error),
    /// "cannot write the view to disk: it is damaged"; [`View::set_aside`](crate::View::set_aside) takes the damage.
    Damaged(Damage),
}

const REOPEN: &str = "free some space or make the disk writable; until then the view goes on in memory once it is opened again";

impl ReadError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        let Self::Damaged(damage) = self;
        damage.help()
    }
}

impl ApplyError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Order { .. } => Some("replay the journal from the record after the one applied"),
            Self::Gap { .. } => Some(
                "apply the refused record again without what did not fit; until then the view stays behind",
            ),
            Self::Key { .. } => Some("use 1 to 256 bytes, for instance a digest of what is longer"),
            Self::Value { .. } => {
                Some("keep what is longer than 256 KiB in a file, and its digest in the view")
            }
            Self::Full { .. } => Some("remove what is no longer needed, or raise the bound of the view"),
            Self::Disk(_) => Some(REOPEN),
            Self::Damaged(damage) => damage.help(),
        }
    }
}

impl FlushError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Disk(_) => Some(REOPEN),
            Self::Damaged(damage) => damage.help(),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot read from the view: it is damaged")
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { seq, applied } => {
                write!(f, "record {seq} is already in the view, which is at {applied}")
            }
            Self::Gap { seq, refused } => {
                write!(f, "record {seq} can't follow record {refused}, which was refused")
            }
            Self::Key { length } => {
                write!(f, "a key of {length} bytes does not fit: expected 1 to {KEY_BYTES_MAX}")
            }
            Self::Value { length } => {
                write!(f, "a value of {length} bytes does not fit: expected at most {VALUE_BYTES_MAX}")
            }
            Self::Full { bytes, bytes_max } => {
                write!(f, "the view would hold {bytes} bytes, and {bytes_max} are allowed")
            }
            Self::Disk(_) => f.write_str("cannot write to the view"),
            Self::Damaged(_) => f.write_str("cannot write to the view: it is damaged"),
        }
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(_) => f.write_str("cannot write the view to disk"),
            Self::Damaged(_) => f.write_str("cannot write the view to disk: it is damaged"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let Self::Damaged(damage) = self;
        Some(damage)
    }
}

impl Error for ApplyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disk(source) => Some(source),
            Self::Damaged(source) => Some(source),
            Self::Order { .. }
            | Self::Gap { .. }
            | Self::Key { .. }
            | Self::Value { .. }
            | Self::Full { .. } => None,
        }
    }
}

impl Error for FlushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disk(source) => Some(source),
            Self::Damaged(source) => Some(source),
        }
    }
}

/// The damage of one value.
pub(crate) fn value(tree: Tree, key: &[u8], flaw: Flaw) -> Damage {
    Damage::Value { tree, key: key.to_vec(), flaw }
}
