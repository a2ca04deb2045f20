//! Why an artifact was not fetched, by each source, and what to do about it.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
};

use backstay_blocks::{BlockError, IndexError};
use backstay_model::{Digest, Transience};

/// Why one source didn't give an artifact.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// It can't be reached, doesn't speak HTTP, or isn't whom it says it is.
    Unreachable {
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It answered with something other than the artifact.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// What it has under this digest has another length.
    OtherLength {
        /// As it says, or as it came.
        length: u64,
    },
    /// What it sent has another digest.
    OtherBytes,
    /// It can't give the artifact by its blocks; it was asked for the whole one then.
    Blocks {
        /// Why not.
        why: BlocksError,
    },
    /// It stopped in the middle. What came is kept.
    BrokeOff {
        /// Bytes that are there now.
        at: u64,
        /// Why, if it didn't just end.
        source: Option<io::Error>,
    },
}

impl SourceError {
    /// Whether asking this source again later can help.
    #[must_use]
    pub fn transience(&self) -> Transience {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff { .. } => Transience::Transient,
            // 404 too: a release may be announced before every store has it.
            Self::Status { status: 404 | 408 | 425 | 429 | 500.. } => Transience::Transient,
            Self::Status { .. } | Self::OtherLength { .. } | Self::OtherBytes => Transience::Permanent,
            // What became of the whole one says it.
            Self::Blocks { .. } => Transience::Permanent,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { .. } => f.write_str("it can't be asked"),
            Self::Status { status } => write!(f, "it answered with status {status}"),
            Self::OtherLength { length } => write!(f, "what it has is {length} bytes long"),
            Self::OtherBytes => f.write_str("what it has is something else"),
            Self::Blocks { .. } => f.write_str("not by its blocks"),
            Self::BrokeOff { at, .. } => write!(f, "it broke off at byte {at}"),
        }
    }
}

impl error::Error for SourceError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unreachable { source } => Some(source),
            Self::BrokeOff { source, .. } => source.as_ref().map(|source| source as _),
            Self::Blocks { why } => Some(why),
            Self::Status { .. } | Self::OtherLength { .. } | Self::OtherBytes => None,
        }
    }
}

/// An artifact that was not fetched. What came of it is kept, and the next try goes on from there.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// A source can't be used as it is configured.
    Base {
        /// What was given.
        base: String,
        /// Why not.
        why: &'static str,
    },
    /// It is larger than all that may be kept.
    TooLarge {
        /// Its length.
        length: u64,
        /// Bytes that may be kept.
        cache_bytes_max: u64,
    },
    /// None of the sources gave it.
    NoSource {
        /// Which artifact.
        digest: Digest,
        /// Each source that was asked, and why it didn't.
        tried: Vec<(String, SourceError)>,
    },
    /// The cache failed.
    Cache {
        /// What was being done: "cannot write".
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody waits for it any more.
    GivenUp,
}

impl FetchError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Base { .. } => Some("give addresses like http://host/path"),
            Self::TooLarge { .. } => Some("give the cache more room: `server.cache_mib_max` on a device"),
            Self::NoSource { .. } => Some("look whether the sources have it: <base>/v1/artifacts/<digest>"),
            Self::Cache { .. } => Some("look at the disk: full, read-only or worn out"),
            Self::GivenUp => None,
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn transience(&self) -> Transience {
        let again = match self {
            Self::NoSource { tried, .. } => {
                tried.iter().any(|(_, error)| error.transience() == Transience::Transient)
            }
            Self::Cache { .. } | Self::GivenUp => true,
            Self::Base { .. } | Self::TooLarge { .. } => false,
        };
        if again { Transience::Transient } else { Transience::Permanent }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base { base, why } => write!(f, "{base:?} is no source: {why}"),
            Self::TooLarge { length, cache_bytes_max } => {
                write!(f, "an artifact of {length} bytes doesn't fit into a cache of {cache_bytes_max}")
            }
            Self::NoSource { digest, tried } => {
                write!(f, "no source of {} gave artifact {}", tried.len(), digest.short())?;
                tried.iter().try_for_each(|(base, error)| {
                    write!(f, "; {base}: {error}")?;
                    // Several sources have several causes, so they can't be this error's one source.
                    error::Error::source(error).map_or(Ok(()), |why| write!(f, ", {why}"))
                })
            }
            Self::Cache { doing, path, .. } => write!(f, "{doing} {}", path.display()),
            Self::GivenUp => f.write_str("nobody waits for the artifact any more"),
        }
    }
}

impl error::Error for FetchError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Cache { source, .. } => Some(source),
            Self::Base { .. } | Self::TooLarge { .. } | Self::NoSource { .. } | Self::GivenUp => None,
        }
    }
}

/// Why an artifact is not fetched by its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlocksError {
    /// The source can't be asked for them.
    Unreachable {
        /// Why, in words.
        why: String,
    },
    /// It answered with something other than what was asked for.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// It knows no ranges, or means others.
    Ranges,
    /// What it sent is no index of this artifact.
    Index(IndexError),
    /// What it sent of the pack is something else than its index says.
    Block(BlockError),
    /// All was as its index says, and is another artifact.
    OtherBytes,
    /// It broke off before anything came.
    BrokeOff,
    /// It would hardly be less than the whole.
    NotWorthIt {
        /// Bytes that would have to be fetched.
        carried: u64,
        /// Bytes that are left of the artifact.
        left: u64,
    },
}

impl fmt::Display for BlocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { why } => write!(f, "its blocks can't be asked for: {why}"),
            Self::Status { status } => write!(f, "asked for its blocks it answered with status {status}"),
            Self::Ranges => f.write_str("it doesn't know ranges as they are asked for"),
            Self::Index(why) => why.fmt(f),
            Self::Block(why) => why.fmt(f),
            Self::OtherBytes => f.write_str("its blocks make something else"),
            Self::BrokeOff => f.write_str("it broke off before a block came"),
            Self::NotWorthIt { carried, left } => {
                write!(
                    f,
                    "{carried} bytes of blocks would be hardly less than the {left} bytes that are left"
                )
            }
        }
    }
}

impl error::Error for BlocksError {}

/// That something failed in the cache.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Cache { doing, path, source }
}

/// Why one source ended: it was the source, or it was us.
pub(super) enum Trouble {
    Source(SourceError),
    Ours(FetchError),
}

impl From<BlocksError> for Trouble {
    fn from(why: BlocksError) -> Self {
        Self::Source(SourceError::Blocks { why })
    }
}
