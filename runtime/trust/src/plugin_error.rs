//! Why a plugin may not run here.

use core::fmt;

use backstay_model::{Digest, Millis, PluginId, UnixMs, Version};

use crate::{EffectKind, EngineProfile, KeyId, Refusal, Target, World};

/// A part of a plugin that can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginPart {
    /// The vendor's statement.
    Release,
    /// The portable component.
    Component,
    /// The operators' statement.
    Grant,
    /// The code for a machine.
    Artifact,
}

impl fmt::Display for PluginPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Release => "release",
            Self::Component => "component",
            Self::Grant => "grant",
            Self::Artifact => "code",
        })
    }
}

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
    /// The release, the grant, the component or the code was revoked.
    Revoked {
        /// Which plugin.
        plugin: PluginId,
        /// Which part of it.
        part: PluginPart,
        /// What the revocation names.
        digest: Digest,
    },
    /// The revocation says that only newer releases of it may run.
    BelowOldest {
        /// Which plugin.
        plugin: PluginId,
        /// The sequence of this release.
        sequence: u64,
        /// The lowest that may run.
        oldest: u64,
    },
    /// The revocation says that only code of newer compilers may run on this CPU.
    OldCompiler {
        /// Which plugin.
        plugin: PluginId,
        /// For which machine.
        target: Target,
        /// The compiler of its code.
        has: Version,
        /// The oldest whose code may run.
        oldest: Version,
    },
    /// There are two grants of this sequence: an alarm.
    Forked {
        /// Which plugin.
        plugin: PluginId,
        /// The sequence.
        sequence: u64,
    },
    /// The grant is newer and its release is older, and it doesn't say that it is meant to be.
    Back {
        /// Which plugin.
        plugin: PluginId,
        /// The version of this release.
        version: Version,
        /// The sequence of this release.
        sequence: u64,
        /// The sequence of the release that was granted before.
        newest: u64,
    },
    /// The grant says to which version it leads back, and the release is of another.
    OtherVersion {
        /// Which plugin.
        plugin: PluginId,
        /// What the grant names.
        named: Version,
        /// The version of this release.
        version: Version,
    },
    /// The grant has expired, and was not accepted here before.
    Expired {
        /// Which plugin.
        plugin: PluginId,
        /// Since when.
        since: UnixMs,
    },
    /// The keyring has expired, and the grant was not accepted here before.
    KeyringExpired {
        /// Which plugin.
        plugin: PluginId,
        /// Which keyring.
        number: u64,
        /// Since when.
        since: UnixMs,
    },
    /// For too long nothing was heard of who is trusted, and the grant was not accepted here before.
    Unheard {
        /// Which plugin.
        plugin: PluginId,
        /// For how long.
        age: Millis,
        /// For how long at most.
        most: Millis,
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
            Self::Revoked { plugin, part, digest } => {
                write!(f, "the {part} of plugin {plugin} was revoked ({})", digest.short())
            }
            Self::BelowOldest { plugin, sequence, oldest } => write!(
                f,
                "release {sequence} of plugin {plugin} was revoked: release {oldest} is the oldest that may run"
            ),
            Self::OldCompiler { plugin, target, has, oldest } => write!(
                f,
                "code of plugin {plugin} for {target} is by compiler {has}, {oldest} is the oldest that may be"
            ),
            Self::Forked { plugin, sequence } => write!(
                f,
                "there are two grants {sequence} of plugin {plugin}, both signed: somebody signs two histories"
            ),
            Self::Back { plugin, version, sequence, newest } => write!(
                f,
                "the grant leads plugin {plugin} back to {version}, release {sequence} after {newest}, \
                 and does not name it as older"
            ),
            Self::OtherVersion { plugin, named, version } => {
                write!(f, "the grant leads plugin {plugin} back to {named}, and this release is {version}")
            }
            Self::Expired { plugin, since } => {
                write!(f, "the grant of plugin {plugin} expired at {} and was not accepted before", since.0)
            }
            Self::KeyringExpired { plugin, number, since } => write!(
                f,
                "keyring {number} expired at {} and lets no new grant of plugin {plugin} in",
                since.0
            ),
            Self::Unheard { plugin, age, most } => write!(
                f,
                "nothing was heard for {age} of who is trusted, {most} are allowed for a new grant of \
                 plugin {plugin}"
            ),
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
            | Self::Revoked { .. }
            | Self::BelowOldest { .. }
            | Self::OldCompiler { .. }
            | Self::Forked { .. }
            | Self::Back { .. }
            | Self::OtherVersion { .. }
            | Self::Expired { .. }
            | Self::KeyringExpired { .. }
            | Self::Unheard { .. }
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
            Self::Revoked { .. } | Self::BelowOldest { .. } => {
                Some("grant a newer release of the plugin; the last good one takes over meanwhile")
            }
            Self::OldCompiler { .. } => {
                Some("compile it anew with the Backstay of today, and sign a new grant")
            }
            Self::Forked { .. } => {
                Some("find out who signed both; sign the right one with a higher sequence")
            }
            Self::Back { .. } => {
                Some("if it is meant, name the older version in the grant: backstay plugin grant --back-to")
            }
            Self::OtherVersion { .. } => Some("sign a grant that names the version of its release"),
            Self::Expired { .. } => Some("sign the grant anew, with more time"),
            Self::KeyringExpired { .. } => Some("sign a next keyring: backstay keys rotate"),
            Self::Unheard { .. } => {
                Some("connect the device: what runs there goes on, and new grants wait until it has heard")
            }
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
