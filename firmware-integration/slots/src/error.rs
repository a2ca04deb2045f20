//! What can go wrong with slots, and what to do about it.

use std::{fmt, io, path::PathBuf};

use backstay_model::{Outcome, Reason, Release, Transience, causes};

use crate::{environment::Slot, program::ProgramFault};

/// What to do where no file descriptor is left.
pub const RAISE_THE_LIMIT: &str =
    "raise the limit of open files (LimitNOFILE= of the unit), or end what holds so many";

/// An operation on slots that was not done. The slots are as they were; only after [`Disk`](Self::Disk) it may
/// have been done all the same, for nobody knows what reached the disk: do it again, or ask for the status.
#[derive(Debug)]
#[non_exhaustive]
pub enum SlotError {
    /// A try is open: nothing else starts until it is confirmed or given up.
    TryOpen {
        /// What is being tried.
        trying: Release,
    },
    /// The slot that would be written to holds what a restart brings back.
    HoldsConfirmed {
        /// Which slot.
        slot: Slot,
    },
    /// The release isn't whole in the slot where it has to be.
    NotThere {
        /// What was looked for.
        release: Release,
        /// Where.
        slot: Slot,
    },
    /// What runs is not this release, or was given up already.
    NotRunning {
        /// What was named.
        release: Release,
    },
    /// This release runs on trial: it can't be its own way home.
    OnTrial {
        /// What runs.
        release: Release,
    },
    /// The bytes are not the release's: another digest or another length.
    OtherBytes {
        /// What was expected.
        release: Release,
        /// Bytes that came, at most one more than expected.
        read: u64,
    },
    /// The artifact's source broke off.
    Source {
        /// Why.
        source: io::Error,
    },
    /// No slot holds anything that could run.
    NothingToRun {
        /// Which directory.
        dir: PathBuf,
    },
    /// Another process works on these slots.
    Busy {
        /// Which directory.
        dir: PathBuf,
    },
    /// Who writes slots refused or failed, and a slot may hold anything now.
    Writer {
        /// Which slot.
        slot: Slot,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        help: &'static str,
        /// Whether trying again later can help.
        transience: Transience,
    },
    /// The disk failed.
    Disk {
        /// What was being done: "cannot write".
        doing: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing can be opened any more, so nothing is known of what is on the disk.
    NoDescriptor {
        /// What was to be opened.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program that works the slots did not do it.
    Program {
        /// What it was asked for: "stage".
        asked: &'static str,
        /// What became of it.
        fault: Box<ProgramFault>,
        /// What it said of that; empty where it said nothing.
        said: String,
    },
}

impl SlotError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TryOpen { .. } => Some("confirm what is being tried, or go home from it, first"),
            Self::HoldsConfirmed { .. } => Some("restart, so that the confirmed slot runs, then stage again"),
            Self::NotThere { .. } => Some("stage the release first"),
            Self::NotRunning { .. } => Some("ask for the status: the order may be for an earlier boot"),
            Self::OnTrial { .. } => Some("name the release in the other slot as the way home"),
            Self::OtherBytes { .. } => Some("fetch the artifact again, from another source"),
            Self::Source { .. } => Some("try again when the source can be read"),
            Self::NothingToRun { .. } => Some("provision the directory anew from a factory image"),
            Self::Busy { .. } => Some("stop the other process, or ask the agent that runs"),
            Self::Writer { help, .. } => Some(help),
            Self::Disk { .. } => Some("look at the disk: full, read-only or worn out"),
            Self::NoDescriptor { .. } => Some(RAISE_THE_LIMIT),
            Self::Program { fault, .. } => Some(fault.help()),
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn transience(&self) -> Transience {
        match self {
            Self::TryOpen { .. }
            | Self::HoldsConfirmed { .. }
            | Self::Source { .. }
            | Self::Busy { .. }
            | Self::NoDescriptor { .. }
            | Self::Disk { .. } => Transience::Transient,
            // The bytes are fetched by digest and checked before: if they change on the way from there to the
            // slot, it is memory or disk that lies, and the next try reads them anew.
            Self::OtherBytes { .. } => Transience::Transient,
            Self::Writer { transience, .. } => *transience,
            Self::NotThere { .. }
            | Self::NotRunning { .. }
            | Self::OnTrial { .. }
            | Self::NothingToRun { .. } => Transience::Permanent,
            Self::Program { fault, .. } => fault.transience(),
        }
    }

    /// The error as the outcome of an effect, at most 256 bytes of words.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let why = Reason::new(causes::in_one_line(self)).0;
        Outcome::Failed { transience: self.transience(), why }
    }
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryOpen { trying } => write!(f, "release {} is still being tried", trying.version),
            Self::HoldsConfirmed { slot } => write!(f, "slot {slot} holds the confirmed release"),
            Self::NotThere { release, slot } => {
                write!(f, "slot {slot} does not hold release {} whole", release.version)
            }
            Self::NotRunning { release } => write!(f, "release {} is not what runs", release.version),
            Self::OnTrial { release } => write!(f, "release {} runs on trial itself", release.version),
            Self::OtherBytes { release, read } => {
                let (version, length, digest) = (&release.version, release.length, release.digest.short());
                write!(f, "what came is not release {version} ({length} bytes, {digest}): {read} bytes read")
            }
            Self::Source { .. } => f.write_str("the artifact's source broke off"),
            Self::NothingToRun { dir } => write!(f, "no slot in {} holds anything to run", dir.display()),
            Self::Busy { dir } => write!(f, "another process works on the slots in {}", dir.display()),
            Self::Writer { slot, .. } => write!(f, "slot {slot} was not written"),
            Self::Disk { doing, path, .. } => write!(f, "{doing} {}", path.display()),
            Self::NoDescriptor { path, .. } => {
                write!(f, "no file descriptor is left to open {}", path.display())
            }
            Self::Program { asked, said, .. } if said.is_empty() => {
                write!(f, "`{asked}` of the slot program failed")
            }
            Self::Program { asked, said, .. } => {
                write!(f, "`{asked}` of the slot program failed: {said}")
            }
        }
    }
}

impl std::error::Error for SlotError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { source } | Self::Disk { source, .. } | Self::NoDescriptor { source, .. } => {
                Some(source)
            }
            Self::Writer { source, .. } => Some(&**source),
            Self::Program { fault, .. } => Some(&**fault),
            Self::TryOpen { .. }
            | Self::HoldsConfirmed { .. }
            | Self::NotThere { .. }
            | Self::NotRunning { .. }
            | Self::OnTrial { .. }
            | Self::OtherBytes { .. }
            | Self::NothingToRun { .. }
            | Self::Busy { .. } => None,
        }
    }
}

/// A directory that was not provisioned.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProvisionError {
    /// It is already, with another release.
    Occupied {
        /// Which directory.
        dir: PathBuf,
        /// What it is provisioned with.
        with: Box<Release>,
    },
    /// Writing it failed.
    Slots(SlotError),
}

impl ProvisionError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Occupied { .. } => Some("choose an empty directory, or let the agent install the release"),
            Self::Slots(error) => error.help(),
        }
    }
}

impl fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied { dir, with } => {
                write!(f, "{} is already provisioned, with release {}", dir.display(), with.version)
            }
            Self::Slots(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProvisionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Occupied { .. } => None,
            Self::Slots(error) => error.source(),
        }
    }
}
