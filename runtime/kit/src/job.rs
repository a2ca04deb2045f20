//! Work that is done the same here and elsewhere: on this machine, in the portable engine, or by `backstay-rerun` on
//! a machine of another kind.
//!
//! Here: the work with all that it needs, as bytes, and doing it. Not here: starting a program for another machine.

use std::collections::BTreeMap;
use std::{error, fmt};

use backstay_evidence::FrameError;
use backstay_host::{Engine, EngineError};
use backstay_model::{Digest, Name, PluginId, Told};
use backstay_trust::{Keyring, KeyringError};
use serde::{Deserialize, Serialize};

use crate::{
    Call, Came, Replayed, Shelf, ShelfError,
    calls::{decisions_again, steps_again},
    replay,
};

/// How many times its granted time a call may take here. What counts is what it comes to.
const PATIENCE: u64 = 100;

/// The largest job, in bytes.
pub const JOB_BYTES_MAX: usize = 512 << 20;

/// Which engine a job is done in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Code for the machine that it runs on.
    Native,
    /// Portable code, interpreted.
    Portable,
}

impl Kind {
    /// Such an engine, for code of which only what it comes to matters.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn engine(self) -> Result<Engine, EngineError> {
        let engine = match self {
            Self::Native => Engine::new(),
            Self::Portable => Engine::portable(),
        };
        engine.map(|engine| engine.patient(PATIENCE))
    }
}

/// Something to do, with all that it takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// In which engine.
    pub kind: Kind,
    /// Who vouches for the plugins.
    pub keyring: Vec<u8>,
    /// The plugins.
    pub bundles: Vec<Vec<u8>>,
    /// What is to be done.
    pub work: Work,
}

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Make recorded calls again.
    Replay {
        /// The records, oldest first.
        records: Vec<u8>,
        /// Settings that the records withhold.
        settings: BTreeMap<PluginId, Vec<(Name, Told)>>,
    },
    /// Make these calls of the plugin under this grant.
    Calls {
        /// The digest of the grant.
        grant: Digest,
        /// The calls.
        calls: Vec<Call>,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// A replay, and what it came to.
    Replayed(Box<Replayed>),
    /// Calls, and what each came to.
    Calls(Vec<Came>),
}

/// Why nothing was done.
#[derive(Debug)]
pub enum JobError {
    /// There is no engine.
    Engine(EngineError),
    /// The keyring is none.
    Keyring(KeyringError),
    /// A plugin can't be used.
    Plugin(ShelfError),
    /// The records are none.
    Records(FrameError),
    /// "no plugin runs under grant 3f2a..."
    NoPlugin(Digest),
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(_) => f.write_str("there is no engine to run plugins in"),
            Self::Keyring(_) => f.write_str("the keyring is none to trust"),
            Self::Plugin(_) => f.write_str("a plugin can't be used"),
            Self::Records(_) => f.write_str("the records can't be read to their end"),
            Self::NoPlugin(grant) => write!(f, "no plugin runs under grant {}", grant.short()),
        }
    }
}

impl error::Error for JobError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Engine(source) => Some(source),
            Self::Keyring(source) => Some(source),
            Self::Plugin(source) => Some(source),
            Self::Records(source) => Some(source),
            Self::NoPlugin(_) => None,
        }
    }
}

impl JobError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Engine(source) => source.help(),
            Self::Keyring(source) => source.help(),
            Self::Plugin(source) => source.help(),
            Self::Records(_) => Some("backstay evidence verify names the first bad record"),
            Self::NoPlugin(_) => None,
        }
    }
}

impl Job {
    /// Does it, in this process.
    ///
    /// # Errors
    /// Says what it fails at.
    pub fn run(&self) -> Result<Done, JobError> {
        let engine = self.kind.engine().map_err(JobError::Engine)?;
        let keyring = Keyring::decode(&self.keyring).map_err(JobError::Keyring)?;
        let mut shelf = Shelf::default();
        for bundle in &self.bundles {
            shelf.add(&engine, &keyring, bundle).map_err(JobError::Plugin)?;
        }
        match &self.work {
            Work::Replay { records, settings } => {
                let replayed = replay(records, &shelf, settings).map_err(JobError::Records)?;
                Ok(Done::Replayed(Box::new(replayed)))
            }
            Work::Calls { grant, calls } => {
                if let Some(executor) = shelf.executor(grant) {
                    return Ok(Done::Calls(steps_again(executor, calls)));
                }
                let policy = shelf.policy(grant).ok_or(JobError::NoPlugin(*grant))?;
                Ok(Done::Calls(decisions_again(policy, calls)))
            }
        }
    }

    /// As bytes, for another machine.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory doesn't fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// What [`Job::encode`] made, by the same version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
