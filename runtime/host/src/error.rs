//! Why a call has no answer. Not here: how many such make a quarantine (`core`).

use std::{borrow::Cow, error, fmt};

use backstay_model::PluginId;

use serde::{Deserialize, Serialize};

use crate::{config::Problem, hosted::Loaded};

/// A call that was not answered. None of these moves anything.
#[derive(Debug)]
pub enum CallError {
    /// "policy backstay/policy-tree ran out of time". Counts against the plugin.
    Strike(Strike),
    /// "acme/pump can't work with its configuration: 2 problems". The operator's to change.
    Configuration {
        /// Which plugin.
        plugin: PluginId,
        /// At least one.
        problems: Vec<Problem>,
    },
    /// "the run of acme/pump can't go on". The state isn't this plugin's, or something was changed in mid-run.
    Diverged {
        /// Which plugin.
        plugin: PluginId,
        /// In the plugin's words.
        why: String,
    },
    /// "acme/pump did not expect this event". The caller's mistake.
    Unexpected {
        /// Which plugin.
        plugin: PluginId,
        /// In the plugin's words.
        why: String,
    },
    /// "the state has 70000 of at most 65536 bytes". Nothing was called.
    TooLarge {
        /// What.
        what: Cow<'static, str>,
        /// How much of it there is.
        has: usize,
        /// How much may be.
        most: usize,
    },
    /// "there is no sandbox to be had for acme/pump". Out of address space, or of processes, for example.
    Host {
        /// Which plugin.
        plugin: PluginId,
        /// Why.
        source: Box<dyn error::Error + Send + Sync>,
    },
}

/// Something that counts against a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// Which plugin.
    pub plugin: PluginId,
    /// Which kind.
    pub kind: StrikeKind,
    /// More of it, at most 512 bytes.
    pub why: String,
}

/// Kinds of strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StrikeKind {
    /// It came to an end that it did not plan: a panic, an access outside its memory.
    Trapped,
    /// It used up its time.
    OutOfTime,
    /// It wanted more memory, or more table elements, than it was granted.
    OutOfMemory,
    /// It went too deep.
    OutOfStack,
    /// What it returned isn't an answer: out of bounds, malformed, or asking for what isn't granted.
    BadOutput,
    /// It noticed itself that it has a bug, or said that it can't judge what any policy has to judge.
    Refused,
    /// The process that it ran in ended during the call.
    BroughtDown,
    /// The process that it ran in did not come back in time, and was ended.
    Hung,
}

impl fmt::Display for StrikeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trapped => "trapped",
            Self::OutOfTime => "ran out of time",
            Self::OutOfMemory => "ran out of memory",
            Self::OutOfStack => "ran out of stack",
            Self::BadOutput => "gave a bad answer",
            Self::Refused => "refused to answer",
            Self::BroughtDown => "brought its process down",
            Self::Hung => "did not come back",
        })
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} {}: {}", self.plugin, self.kind, self.why)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strike(strike) => strike.fmt(f),
            Self::Configuration { plugin, problems } => {
                write!(f, "plugin {plugin} can't work with its configuration")?;
                problems.iter().try_for_each(|problem| write!(f, "; {problem}"))
            }
            Self::Diverged { plugin, why } => write!(f, "the run of plugin {plugin} can't go on: {why}"),
            Self::Unexpected { plugin, why } => write!(f, "plugin {plugin} did not expect this event: {why}"),
            Self::TooLarge { what, has, most } => write!(f, "too many {what}: {has} of at most {most}"),
            Self::Host { plugin, .. } => write!(f, "there is no sandbox to be had for plugin {plugin}"),
        }
    }
}

impl error::Error for CallError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Host { source, .. } => Some(source.as_ref()),
            Self::Strike(_)
            | Self::Configuration { .. }
            | Self::Diverged { .. }
            | Self::Unexpected { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}

impl CallError {
    pub(crate) fn strike(loaded: &Loaded, kind: StrikeKind, why: String) -> Self {
        Self::Strike(Strike { plugin: loaded.id.clone(), kind, why: crate::convert::text(&why, 512) })
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Strike(strike) => Some(match strike.kind {
                StrikeKind::Trapped | StrikeKind::OutOfStack | StrikeKind::Refused => {
                    "tell the plugin's vendor; three such in ten minutes bring back the version before"
                }
                StrikeKind::BroughtDown | StrikeKind::Hung => {
                    "report it with the plugin's digest: a plugin can't do that, so compiler or host have a hole"
                }
                StrikeKind::OutOfTime => {
                    "if this machine is slow, grant it more time per call; else tell the plugin's vendor"
                }
                StrikeKind::OutOfMemory => "grant it more memory, or tell the plugin's vendor",
                StrikeKind::BadOutput => {
                    "if it asked for something that it should have, sign a grant that names it; else tell the vendor"
                }
            }),
            Self::Configuration { .. } => Some("change the settings that are named"),
            Self::Diverged { .. } => Some(
                "look at the target, then begin a new run; a plugin or its configuration is not to be changed in mid-run",
            ),
            Self::Unexpected { .. } => None,
            Self::TooLarge { .. } => Some("grant the plugin more, or show it less"),
            Self::Host { .. } => Some("look at the limits on memory and address space of this process"),
        }
    }

    /// The strike, if this counts against the plugin.
    #[must_use]
    pub fn as_strike(&self) -> Option<&Strike> {
        match self {
            Self::Strike(strike) => Some(strike),
            Self::Configuration { .. }
            | Self::Diverged { .. }
            | Self::Unexpected { .. }
            | Self::TooLarge { .. }
            | Self::Host { .. } => None,
        }
    }
}
