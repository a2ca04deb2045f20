//! Why a plugin of a configuration can't be used, and what to do about it. Not here: loading it (`load`).

use std::{error, fmt, io, path::PathBuf};

use backstay_host::{CallError, Problem};
use backstay_model::{Digest, Transience};
use backstay_trust::{BundleError, PluginError};

/// A plugin that can't be used.
#[derive(Debug)]
pub enum LoadError {
    /// "cannot read the bundle /usr/share/backstay/policy-tree.bundle"
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// "the bundle ... has 60000000 bytes, and 50462720 are the most here"
    LargeBundle {
        /// The file.
        path: PathBuf,
        /// How many.
        has: u64,
        /// How many at most.
        most: u64,
    },
    /// "... is no bundle"
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BundleError,
    },
    /// "the plugin in ... may not run here"
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PluginError,
    },
    /// "the bundle ... holds no code for this machine"
    NoCode {
        /// The file.
        path: PathBuf,
    },
    /// "the plugin in ... has 36000000 bytes of code, and 16777216 are the most here"
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How many.
        has: u64,
        /// How many at most.
        most: u64,
    },
    /// "the plugin in ... can't be loaded"
    Load {
        /// The file.
        path: PathBuf,
        /// Why.
        source: backstay_host::LoadError,
    },
    /// "the settings of ... are not what it takes: ..."
    Settings {
        /// The file.
        path: PathBuf,
        /// Which of several setups it is about.
        setup: usize,
        /// What is wrong with which.
        problems: Vec<Problem>,
    },
    /// "the plugin in ... did not say what can be set"
    Silent {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CallError,
    },
    /// "the plugin in ... is not used: it failed here before"
    Out {
        /// The file.
        path: PathBuf,
        /// Of its grant.
        grant: Digest,
    },
    /// "an executor has no candidate"
    NoShadow,
    /// "the plugin in ... has no process of its own"
    Apart {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn error::Error + Send + Sync>,
    },
}

impl LoadError {
    /// Whether it may run here and doesn't, by its own doing. Otherwise it could not be had, or may not.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        matches!(self, Self::Settings { .. } | Self::Silent { .. } | Self::Out { .. })
    }

    /// Whether it may be otherwise later: the file comes, or keys that are to be trusted do.
    #[must_use]
    pub fn transience(&self) -> Transience {
        match self {
            Self::Read { .. } | Self::Untrusted { .. } => Transience::Transient,
            Self::LargeBundle { .. }
            | Self::Bundle { .. }
            | Self::NoCode { .. }
            | Self::TooLarge { .. }
            | Self::Load { .. }
            | Self::Settings { .. }
            | Self::Silent { .. }
            | Self::Out { .. }
            | Self::NoShadow
            | Self::Apart { .. } => Transience::Permanent,
        }
    }

    /// The grant of one that is out.
    #[must_use]
    pub fn out(&self) -> Option<Digest> {
        if let Self::Out { grant, .. } = self { Some(*grant) } else { None }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => Some("check the path under [policy] and [executor], and who may read it"),
            Self::LargeBundle { .. } => Some(
                "it is made for a server, or is no bundle: grant it for fewer machines (backstay plugin grant --targets)",
            ),
            Self::Bundle { source, .. } => source.help(),
            Self::Untrusted { source, .. } => source.help(),
            Self::NoCode { .. } => Some("grant it for this machine too: backstay plugin grant --targets"),
            Self::TooLarge { .. } => Some(
                "it is made for a server: backstay plugin check says how large a plugin for devices may be",
            ),
            Self::Load { .. } => Some("grant it again with the Backstay that runs here"),
            Self::Settings { .. } => Some("see what can be set: backstay plugin inspect"),
            Self::Silent { .. } => None,
            Self::Out { .. } => Some(
                "look at why in the events; sign that it may be tried again (backstay device tell), then start again",
            ),
            Self::NoShadow => Some("what an executor does can't be done twice to compare: remove the key"),
            Self::Apart { .. } => {
                Some("look at the limits on processes and memory, and whether seccomp is allowed")
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, .. } => write!(f, "cannot read the bundle {}", path.display()),
            Self::LargeBundle { path, has, most } => {
                write!(f, "the bundle {} has {has} bytes, and {most} are the most here", path.display())
            }
            Self::Bundle { path, .. } => write!(f, "{} is no plugin bundle", path.display()),
            Self::Untrusted { path, .. } => write!(f, "the plugin in {} may not run here", path.display()),
            Self::NoCode { path } => {
                write!(f, "the bundle {} holds no code for this machine", path.display())
            }
            Self::TooLarge { path, has, most } => {
                let path = path.display();
                write!(f, "the plugin in {path} has {has} bytes of code, and {most} are the most here")
            }
            Self::Load { path, .. } => write!(f, "the plugin in {} can't be loaded", path.display()),
            Self::Settings { path, problems, .. } => {
                write!(f, "the settings for {} are not what it takes", path.display())?;
                problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
            }
            Self::Silent { path, .. } => {
                write!(f, "the plugin in {} did not say what can be set", path.display())
            }
            Self::Out { path, .. } => {
                write!(f, "the plugin in {} is not used: it failed here before", path.display())
            }
            Self::NoShadow => f.write_str("an executor has no candidate"),
            Self::Apart { path, .. } => {
                write!(f, "the plugin in {} has no process of its own", path.display())
            }
        }
    }
}

impl error::Error for LoadError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Bundle { source, .. } => Some(source),
            Self::Untrusted { source, .. } => Some(source),
            Self::Load { source, .. } => Some(source),
            Self::Silent { source, .. } => Some(source),
            Self::Apart { source, .. } => Some(source.as_ref()),
            Self::LargeBundle { .. }
            | Self::NoCode { .. }
            | Self::TooLarge { .. }
            | Self::Settings { .. }
            | Self::Out { .. }
            | Self::NoShadow => None,
        }
    }
}
