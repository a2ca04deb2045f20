//! Plugins: what a vendor releases, what an operator grants, and the proof that both agree on some bytes.
//!
//! Neither of the two is enough. The vendor's signature alone runs nothing, and the operator's alone
//! authorises nothing that a vendor didn't release. What runs is the artifact that the grant names, and the
//! bytes that were checked are the bytes that the proof holds: nothing is read twice.
//!
//! Sequences: a plugin may go back to an older release, but only by a *newer grant* that names it. So what
//! must not go down is the sequence of the grant, plugin by plugin ([`Want::floors`]).

use alloc::{collections::BTreeMap, string::ToString, vec::Vec};

use backstay_model::{Digest, PluginId, UnixMs, Version};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, Domain, EffectKind, EngineProfile, Freshness, Keyring, Limits, Permissions, PluginError,
    Refusal, RoleKind, SecretKey, SignError, Stamp, Target, Watermark, World,
    envelope::{open, seal, sha256},
};

/// What a vendor signs: that this component is their plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRelease {
    /// Which plugin. Its first half is the vendor's prefix in the keyring.
    pub id: PluginId,
    /// For people.
    pub version: Version,
    /// Of the portable component.
    pub component: Digest,
    /// Bytes of the portable component.
    pub component_bytes: u64,
    /// The contract that it is built for.
    pub world: World,
    /// The kinds of effect that it asks for. No grant can give it others.
    pub wants: Vec<EffectKind>,
    /// What it says it needs. No grant can give it more.
    pub limits: Limits,
}

/// What an operator signs: that this release may run in the fleet, like this and not otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The digest of the vendor's statement, as [`Keyring::verify_plugin_release`] gives it.
    pub release: Digest,
    /// The effects that it gets, by name.
    pub permissions: Permissions,
    /// What it may use. The lesser of this and of what the vendor says holds.
    pub limits: Limits,
    /// The code that runs, one for each target and engine. 1 to 16.
    pub artifacts: Vec<Artifact>,
}

/// Code that was compiled ahead of time for one kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is for.
    pub target: Target,
    /// The engine settings that it was compiled with.
    pub engine: EngineProfile,
    /// The exact version of the compiler.
    pub compiler: Version,
    /// Of its bytes.
    pub digest: Digest,
    /// How many bytes. At most [`Artifact::BYTES_MAX`].
    pub length: u64,
}

impl Artifact {
    /// The largest artifact, in bytes.
    pub const BYTES_MAX: u64 = 16 << 20;
}

const ARTIFACTS_MAX: usize = 16;

/// What a host can run, and what it has accepted before.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Its machine.
    pub target: &'a Target,
    /// Its engine.
    pub engine: &'a EngineProfile,
    /// The contract that it is going to use.
    pub world: &'a World,
    /// The sequence of the newest grant that was accepted of each plugin. One that isn't there has none.
    pub floors: &'a BTreeMap<PluginId, u64>,
    /// The latest time that is known from a signature, for [`VerifiedPlugin::freshness`].
    pub attested: Option<UnixMs>,
}

impl PluginRelease {
    /// Signs it. The sequence in `stamp` grows with each release of the plugin.
    ///
    /// # Errors
    /// If it is something that no reader would accept.
    pub fn sign(&self, vendor: &SecretKey, stamp: Stamp) -> Result<Vec<u8>, SignError> {
        let domain = Domain::PluginRelease;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        seal(vendor, domain, Audience::Anyone, stamp, &payload(self))
    }

    fn unfit(&self) -> Option<&'static str> {
        if self.wants.len() > 16 { Some("it wants too many effects") } else { self.limits.unfit() }
    }
}

impl Grant {
    /// Signs it. The sequence in `stamp` grows with each grant of the plugin in this fleet.
    ///
    /// # Errors
    /// If it is something that no reader would accept.
    pub fn sign(
        &self,
        operator: &SecretKey,
        fleet: backstay_model::FleetId,
        stamp: Stamp,
    ) -> Result<Vec<u8>, SignError> {
        let domain = Domain::Grant;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        seal(operator, domain, Audience::Fleet(fleet), stamp, &payload(self))
    }

    fn unfit(&self) -> Option<&'static str> {
        if !(1..=ARTIFACTS_MAX).contains(&self.artifacts.len()) {
            return Some("it has no artifact, or too many");
        }
        if self.artifacts.iter().any(|artifact| artifact.length > Artifact::BYTES_MAX) {
            return Some("an artifact is too large");
        }
        let same = |(at, one): (usize, &Artifact)| {
            let mut before = self.artifacts.iter().take(at);
            before.any(|other| other.target == one.target && other.engine == one.engine)
        };
        if self.artifacts.iter().enumerate().any(same) {
            return Some("two artifacts are for the same target and engine");
        }
        self.permissions.unfit().or_else(|| self.limits.unfit())
    }
}

fn payload<T: Serialize>(statement: &T) -> Vec<u8> {
    postcard::to_allocvec(statement).expect("writing to memory can't fail")
}

/// A vendor's release whose signature was checked: what an operator looks at before a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPluginRelease {
    release: PluginRelease,
    stamp: Stamp,
    digest: Digest,
}

impl VerifiedPluginRelease {
    /// What it says.
    #[must_use]
    pub fn release(&self) -> &PluginRelease {
        &self.release
    }

    /// When it was made.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Names it in a [`Grant`].
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// A release and a grant that agree, and the artifact that is still to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedPlugin {
    release: VerifiedPluginRelease,
    grant: Digest,
    stamp: Stamp,
    freshness: Freshness,
    permissions: Permissions,
    limits: Limits,
    artifact: Artifact,
}

impl GrantedPlugin {
    /// Which plugin.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        &self.release.release.id
    }

    /// The code to fetch, by its digest.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Checks that `bytes` are the artifact, and keeps them with the proof.
    ///
    /// # Errors
    /// If they aren't.
    pub fn with_artifact(&self, bytes: Vec<u8>) -> Result<VerifiedPlugin, PluginError> {
        let Artifact { target, digest, length, .. } = &self.artifact;
        let plugin = || self.id().clone();
        if bytes.len() as u64 != *length {
            let (has, wanted) = (bytes.len() as u64, *length);
            return Err(PluginError::ArtifactLength { plugin: plugin(), has, wanted });
        }
        if sha256(&bytes) != *digest {
            return Err(PluginError::ArtifactDigest { plugin: plugin(), target: target.clone() });
        }
        Ok(VerifiedPlugin { granted: self.clone(), bytes })
    }
}

/// A plugin that may run here, with its code. Only checking both signatures and the bytes makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPlugin {
    granted: GrantedPlugin,
    bytes: Vec<u8>,
}

impl core::fmt::Debug for VerifiedPlugin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("VerifiedPlugin")
            .field("granted", &self.granted)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl VerifiedPlugin {
    /// Which plugin.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        self.granted.id()
    }

    /// Its version, for people.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.granted.release.release.version
    }

    /// The digest of the grant: what names *this way of running it*, in steering and in evidence.
    #[must_use]
    pub fn grant(&self) -> &Digest {
        &self.granted.grant
    }

    /// The digest of the vendor's release.
    #[must_use]
    pub fn release(&self) -> &Digest {
        &self.granted.release.digest
    }

    /// The digest of the portable component that it was compiled from.
    #[must_use]
    pub fn component(&self) -> &Digest {
        &self.granted.release.release.component
    }

    /// The stamp of the grant. Its sequence is the next floor of this plugin.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.granted.stamp
    }

    /// To keep once it is accepted.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark { sequence: self.granted.stamp.sequence, digest: self.granted.grant }
    }

    /// Whether it may be taken into use anew. One that is in use runs on.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.granted.freshness
    }

    /// The contract that it is built for.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.granted.release.release.world
    }

    /// What it may use: the lesser of what the vendor asks and the operator grants.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.granted.limits
    }

    /// What it may ask for.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.granted.permissions
    }

    /// Target, engine, compiler and digest of the code.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        &self.granted.artifact
    }

    /// The code. These are the bytes that were checked.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Keyring {
    /// Checks that `bytes` are a release of a plugin by a vendor who may use its name.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify_plugin_release(&self, bytes: &[u8]) -> Result<VerifiedPluginRelease, PluginError> {
        let domain = Domain::PluginRelease;
        let opened = open(
            bytes,
            domain,
            None,
            |audience| *audience == Audience::Anyone,
            |id, _| self.find(RoleKind::Vendor, id),
        )
        .map_err(PluginError::Release)?;
        let release: PluginRelease = opened.parse(domain).map_err(PluginError::Release)?;
        if !self.may_release(&opened.key, &release.id) {
            return Err(PluginError::ForeignName { plugin: release.id, key: opened.key });
        }
        if let Some(what) = release.unfit() {
            return Err(PluginError::Release(Refusal::Inconsistent { domain, what }));
        }
        Ok(VerifiedPluginRelease { release, stamp: opened.stamp, digest: opened.digest })
    }

    /// Checks that a vendor released the plugin, that an operator lets it run in this fleet, and that this host
    /// can run it. What comes back says which artifact is wanted.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify_grant(
        &self,
        release: &[u8],
        grant: &[u8],
        want: &Want<'_>,
    ) -> Result<GrantedPlugin, PluginError> {
        let domain = Domain::Grant;
        let opened = open(
            grant,
            domain,
            Some(self.fleet()),
            |audience| matches!(audience, Audience::Fleet(_)),
            |id, _| self.find(RoleKind::Operator, id),
        )
        .map_err(PluginError::Grant)?;
        let release = self.verify_plugin_release(release)?;
        let grant: Grant = opened.parse(domain).map_err(PluginError::Grant)?;
        if let Some(what) = grant.unfit() {
            return Err(PluginError::Grant(Refusal::Inconsistent { domain, what }));
        }
        let plugin = || release.release.id.clone();
        if grant.release != release.digest {
            let (granted, found) = (grant.release, release.digest);
            return Err(PluginError::OtherRelease { plugin: plugin(), granted, found });
        }
        let wants = &release.release.wants;
        if let Some(effect) = grant.permissions.kinds().into_iter().find(|kind| !wants.contains(kind)) {
            return Err(PluginError::NotWanted { plugin: plugin(), effect });
        }
        if release.release.world != *want.world {
            let (has, wanted) = (release.release.world.clone(), want.world.clone());
            return Err(PluginError::OtherWorld { plugin: plugin(), has, wanted });
        }
        let floor = want.floors.get(&release.release.id).copied().unwrap_or(0);
        if opened.stamp.sequence < floor {
            let sequence = opened.stamp.sequence;
            return Err(PluginError::Older { plugin: plugin(), sequence, floor });
        }
        let mut artifacts = grant.artifacts.into_iter();
        let Some(artifact) = artifacts.find(|has| has.target == *want.target && has.engine == *want.engine)
        else {
            let (target, engine) = (want.target.clone(), want.engine.clone());
            return Err(PluginError::NoArtifact { plugin: plugin(), target, engine });
        };
        Ok(GrantedPlugin {
            grant: opened.digest,
            stamp: opened.stamp,
            freshness: opened.stamp.freshness(want.attested),
            permissions: grant.permissions,
            limits: grant.limits.least(&release.release.limits),
            artifact,
            release,
        })
    }

    /// [`Keyring::verify_grant`] and [`GrantedPlugin::with_artifact`] in one: for those who have all three.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify_plugin(
        &self,
        release: &[u8],
        grant: &[u8],
        artifact: Vec<u8>,
        want: &Want<'_>,
    ) -> Result<VerifiedPlugin, PluginError> {
        self.verify_grant(release, grant, want)?.with_artifact(artifact)
    }
}
