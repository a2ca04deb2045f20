//! What is asked of a boot loader: which slot comes next, and how often that is tried.
//!
//! Here: the [`Switch`] trait, which boot loaders differ behind, and its words. Not here: when to ask (`backend`), how
//! each loader keeps it (`uboot`, `sdboot`).

use std::{fmt, io, path::PathBuf};

use backstay_slots::{Slot, Tries};

use crate::{environment::EnvironmentError, tool::ToolError};

/// What a boot loader will do with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not started, whatever else fails.
    Barred,
    /// It is started, counted, this many times more. 0: it was tried as often as it was given.
    Tries(u8),
    /// It is started, uncounted.
    Good,
}

impl Standing {
    /// Whether it would be started.
    #[must_use]
    pub fn starts(self) -> bool {
        match self {
            Self::Barred | Self::Tries(0) => false,
            Self::Tries(_) | Self::Good => true,
        }
    }
}

/// A boot loader that switches between two slots and counts tries by itself.
///
/// Each change is durable when it returns, is one step to the loader (a cut leaves what was before or what was asked
/// for), and changes nothing where it is so already. What is read is durable, too: a word that a power cut could still
/// take back is no word to decide on.
pub trait Switch {
    /// The slot that the next boot takes; `None` where none would be started by itself.
    ///
    /// # Errors
    /// Its words can't be read.
    fn primary(&mut self) -> Result<Option<Slot>, SwitchError>;

    /// What it will do with a slot.
    ///
    /// # Errors
    /// Its words can't be read.
    fn left(&mut self, slot: Slot) -> Result<Standing, SwitchError>;

    /// Puts a slot first, counted, with all its tries. The other one stays behind it as it is.
    ///
    /// # Errors
    /// It wasn't done, or after [`SwitchError::Disk`] perhaps was.
    fn activate(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError>;

    /// Gives a slot that is on trial all its tries back. Says nothing of its place.
    ///
    /// # Errors
    /// As with [`activate`](Self::activate).
    fn refill(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError>;

    /// A slot has proved itself: uncounted where the loader has such a word, else with all its tries.
    ///
    /// # Errors
    /// As with [`activate`](Self::activate).
    fn good(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError>;

    /// Bars a slot: from then on it may hold anything.
    ///
    /// # Errors
    /// The other one is barred, so that nothing would be left to start; or as with [`activate`](Self::activate).
    fn bad(&mut self, slot: Slot) -> Result<(), SwitchError>;

    /// Makes a slot the last resort: it is started where the other one has failed as often as it may, and not before. A slot
    /// that is barred stays so.
    ///
    /// # Errors
    /// As with [`bad`](Self::bad).
    fn last_resort(&mut self, slot: Slot) -> Result<(), SwitchError>;

    /// After [`SwitchError::Lost`]: writes its words anew, `first` first, the other one behind it or barred.
    ///
    /// # Errors
    /// It isn't lost, or as with [`activate`](Self::activate).
    fn renew(&mut self, first: Slot, other: Standing, tries: Tries) -> Result<(), SwitchError>;
}

/// Which boot loader it is may be known only when the program runs.
impl<S: Switch + ?Sized> Switch for Box<S> {
    fn primary(&mut self) -> Result<Option<Slot>, SwitchError> {
        (**self).primary()
    }

    fn left(&mut self, slot: Slot) -> Result<Standing, SwitchError> {
        (**self).left(slot)
    }

    fn activate(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        (**self).activate(slot, tries)
    }

    fn refill(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        (**self).refill(slot, tries)
    }

    fn good(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        (**self).good(slot, tries)
    }

    fn bad(&mut self, slot: Slot) -> Result<(), SwitchError> {
        (**self).bad(slot)
    }

    fn last_resort(&mut self, slot: Slot) -> Result<(), SwitchError> {
        (**self).last_resort(slot)
    }

    fn renew(&mut self, first: Slot, other: Standing, tries: Tries) -> Result<(), SwitchError> {
        (**self).renew(first, other, tries)
    }
}

/// A boot loader that was not asked or not told.
#[derive(Debug)]
#[non_exhaustive]
pub enum SwitchError {
    /// Its words are damaged in every copy.
    Lost {
        /// How, and what to do.
        source: Box<EnvironmentError>,
    },
    /// Its environment was not read or not changed.
    Environment {
        /// Why.
        source: Box<EnvironmentError>,
    },
    /// It has no entry for a slot.
    NoEntry {
        /// Which slot.
        slot: Slot,
        /// Where entries are.
        dir: PathBuf,
    },
    /// The slot is the last one that would be started, and is not barred.
    LastSlot {
        /// Which slot.
        slot: Slot,
    },
    /// The program that drives it failed.
    Tool {
        /// How.
        source: Box<ToolError>,
    },
    /// The disk failed.
    Disk {
        /// What was being done: "cannot list".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SwitchError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Lost { source } | Self::Environment { source } => source.help(),
            Self::NoEntry { .. } => Some(
                "put an entry for each slot there, `backstay-1-a.conf` and `backstay-1-b.bad`, without a sort-key",
            ),
            Self::Tool { .. } => Some("see what `rauc status` says, and whether RAUC's service runs"),
            Self::LastSlot { .. } => Some("mark the slot that runs as good first"),
            Self::Disk { .. } => Some("see that the boot partition is mounted and writable"),
        }
    }
}

impl From<EnvironmentError> for SwitchError {
    fn from(error: EnvironmentError) -> Self {
        let source = Box::new(error);
        match *source {
            EnvironmentError::BothBad { .. } => Self::Lost { source },
            EnvironmentError::NotLost
            | EnvironmentError::Size { .. }
            | EnvironmentError::TooLarge { .. }
            | EnvironmentError::Unwritable { .. }
            | EnvironmentError::Busy { .. }
            | EnvironmentError::Device { .. } => Self::Environment { source },
        }
    }
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { .. } => f.write_str("the boot loader's words are lost"),
            Self::Environment { .. } => f.write_str("cannot use the boot loader's words"),
            Self::NoEntry { slot, dir } => {
                write!(f, "the boot loader has no entry for slot {slot} in {}", dir.display())
            }
            Self::LastSlot { slot } => {
                write!(f, "slot {slot} is the last one that the boot loader would start")
            }
            Self::Tool { .. } => f.write_str("RAUC did not do what it was asked"),
            Self::Disk { doing, path, .. } => write!(f, "{doing} {}", path.display()),
        }
    }
}

impl std::error::Error for SwitchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lost { source } | Self::Environment { source } => Some(source),
            Self::Tool { source } => Some(source),
            Self::Disk { source, .. } => Some(source),
            Self::NoEntry { .. } | Self::LastSlot { .. } => None,
        }
    }
}
