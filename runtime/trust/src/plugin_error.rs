//! Why a plugin may not run here.

use core::fmt;

use backstay_model::{Digest, PluginId};

use crate::{EffectKind, EngineProfile, KeyId, Refusal, Target, World};

/// A plugin that may not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginError {
    /// The vendor's release is not believed; the [`Refusal`] is the `source()`.
    Release(Refusal),
    /// The operator's grant is not believed; the [`Refusal`] is the `source()`.
    Grant(Refusal),
    /// A vendor used a name that isn't theirs.
    ForeignName {
        /// The name.
        plugin: PluginId,
        /// The key that signed it.
        key: KeyId,
    },
    /// The grant is for another release.
    OtherRelease {
        /// The plugin of the release that is there.
        plugin: PluginId,
        /// The release that the grant is for.
        granted: Digest,
        /// The release that is there.
        found: Digest,
    },
    /// The grant gives an effect that the vendor never asked for.
    NotWanted {
        /// Which plugin.
        plugin: PluginId,
        /// Which effect.
        effect: EffectKind,
    },
    /// It is built for another contract.
    OtherWorld {
        /// Which plugin.
        plugin: PluginId,
        /// Its contract.
        has: World,
        /// The one that is wanted.
        wanted: World,
    },
    /// A newer grant of it was accepted before.
    Older {
        /// Which plugin.
        plugin: PluginId,
        /// The sequence of this grant.
        sequence: u64,
        /// The lowest that is accepted.
        floor: u64,
    },
    /// The grant has no code for this machine.
    NoArtifact {
        /// Which plugin.
        plugin: PluginId,
        /// This machine.
        target: Target,
        /// Its engine.
        engine: EngineProfile,
    },
    /// The code has another length than the grant says.
    ArtifactLength {
        /// Which plugin.
        plugin: PluginId,
        /// Bytes that are there.
        has: u64,
        /// Bytes that the grant says.
        wanted: u64,
    },
    /// The code is not the one that the grant names.
    ArtifactDigest {
        /// Which plugin.
        plugin: PluginId,
        /// For which machine.
        target: Target,
    },
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(_) => f.write_str("the vendor's release of the plugin is not accepted"),
            Self::Grant(_) => f.write_str("the operator's grant of the plugin is not accepted"),
            Self::ForeignName { plugin, key } => {
                write!(f, "plugin {plugin} is signed by key {key}, which may not use this name here")
            }
            Self::OtherRelease { plugin, granted, found } => write!(
                f,
                "the grant is for release {}, not for release {} of plugin {plugin}",
                granted.short(),
                found.short()
            ),
            Self::NotWanted { plugin, effect } => {
                write!(f, "plugin {plugin} is granted {effect}, which its vendor does not ask for")
            }
            Self::OtherWorld { plugin, has, wanted } => {
                write!(f, "plugin {plugin} is built for {has}, {wanted} is wanted")
            }
            Self::Older { plugin, sequence, floor } => {
                write!(
                    f,
                    "grant {sequence} of plugin {plugin} is older than grant {floor}, which was accepted here"
                )
            }
            Self::NoArtifact { plugin, target, engine } => {
                write!(f, "plugin {plugin} has no code for {target} with engine {engine}")
            }
            Self::ArtifactLength { plugin, has, wanted } => {
                write!(f, "code of plugin {plugin} has {has} bytes, the grant says {wanted}")
            }
            Self::ArtifactDigest { plugin, target } => {
                write!(f, "code of plugin {plugin} for {target} is not what the grant names")
            }
        }
    }
}

impl core::error::Error for PluginError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Release(refusal) | Self::Grant(refusal) => Some(refusal),
            Self::ForeignName { .. }
            | Self::OtherRelease { .. }
            | Self::NotWanted { .. }
            | Self::OtherWorld { .. }
            | Self::Older { .. }
            | Self::NoArtifact { .. }
            | Self::ArtifactLength { .. }
            | Self::ArtifactDigest { .. } => None,
        }
    }
}

impl PluginError {
    /// What to do about it, where that can be known.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Release(refusal) | Self::Grant(refusal) => refusal.help(),
            Self::ForeignName { .. } => Some("add the vendor to the keyring, or ask who built this plugin"),
            Self::OtherRelease { .. } => {
                Some("fetch the release that the grant names, or sign a grant for this one")
            }
            Self::NotWanted { .. } => {
                Some("sign a grant without that effect, or ask the vendor to declare it")
            }
            Self::OtherWorld { .. } => Some("use a release of the plugin that is built for this version"),
            Self::Older { .. } => Some("to go back to an older release, sign a new grant that names it"),
            Self::NoArtifact { .. } => {
                Some("compile the plugin for this machine and engine, and sign a new grant")
            }
            Self::ArtifactLength { .. } | Self::ArtifactDigest { .. } => {
                Some("fetch the code again; if that doesn't help, see who may write where it is kept")
            }
        }
    }
}
