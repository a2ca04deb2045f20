//! The proof that a vendor and the operators agree on some bytes.
//!
//! What runs is the artifact that the grant names, and the bytes that were checked are the bytes that the proof
//! holds: nothing is read twice. Not here: what is signed (`plugin`).

use alloc::vec::Vec;

use backstay_model::{Digest, PluginId, Version};

use crate::{
    Accepted, Artifact, Audience, Domain, Floor, Freshness, Grant, KeyId, Keyring, Limits, Permissions,
    PluginError, PluginPart, PluginRelease, Refusal, RoleKind, Stamp, VerifiedRevocation, Want, World,
    accepted::Standing,
    envelope::{Signer, open, sha256},
    plugin::Back,
};

/// A vendor's release whose signature was checked: what an operator looks at before a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPluginRelease {
    release: PluginRelease,
    stamp: Stamp,
    digest: Digest,
    signers: Vec<KeyId>,
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
    signers: Vec<KeyId>,
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

    /// The digest of the grant.
    #[must_use]
    pub fn grant(&self) -> &Digest {
        &self.grant
    }

    /// The stamp of the grant.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What is to be kept once it was taken into use.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        let release = self.release.stamp.sequence;
        Accepted { sequence: self.stamp.sequence, grant: Some(self.grant), release }
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

    /// What the proof says without the code.
    #[must_use]
    pub fn granted(&self) -> &GrantedPlugin {
        &self.granted
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

    /// The stamp of the grant.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.granted.stamp
    }

    /// What is to be kept once it was taken into use.
    #[must_use]
    pub fn accepted(&self) -> Accepted {
        self.granted.accepted()
    }

    /// Whether its time has passed. Then it was accepted before, and runs on: it could not be taken into use anew.
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
            |id, _| self.signer(RoleKind::Vendor, id),
            1,
        )
        .map_err(PluginError::Release)?;
        let release: PluginRelease = opened.parse(domain).map_err(PluginError::Release)?;
        // Whose name it bears is known only now, and with it who has to sign.
        self.released(&release.id, &opened.keys)?;
        if let Some(what) = release.unfit() {
            return Err(PluginError::Release(Refusal::Inconsistent { domain, what }));
        }
        Ok(VerifiedPluginRelease {
            release,
            stamp: opened.stamp,
            digest: opened.digest,
            signers: opened.keys,
        })
    }

    /// Whether `signers` are enough of those who may use the name of `plugin`.
    fn released(&self, plugin: &PluginId, signers: &[KeyId]) -> Result<(), PluginError> {
        let domain = Domain::PluginRelease;
        let mut most = None;
        for vendor in self.vendor(plugin) {
            let signed = |id: &&KeyId| vendor.role.find(id).is_some() && !self.revokes_key(id);
            let (has, needs) = (signers.iter().filter(signed).count(), vendor.role.threshold);
            if has > 0 && has >= usize::from(needs) {
                return Ok(());
            }
            most = most.max(Some((has, needs)).filter(|(has, _)| *has > 0));
        }
        Err(match (most, signers.first()) {
            (Some((has, needs)), _) => PluginError::Release(Refusal::TooFew { domain, has, needs }),
            (None, Some(key)) => PluginError::ForeignName { plugin: plugin.clone(), key: *key },
            (None, None) => PluginError::Release(Refusal::TooFew { domain, has: 0, needs: 1 }),
        })
    }

    /// Checks that a vendor released the plugin, that operators let it run in this fleet, that nothing about it was
    /// revoked, that it may come after what was accepted here, and that this host can run it. What comes back says which
    /// artifact is wanted.
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
        let opened = self.open(grant, domain, RoleKind::Operator).map_err(PluginError::Grant)?;
        let release = self.verify_plugin_release(release)?;
        let (grant, rest): (Grant, _) = opened.parse_front(domain).map_err(PluginError::Grant)?;
        let back = back(rest).map_err(PluginError::Grant)?;
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
        let freshness = opened.stamp.freshness(want.attested);
        let accepted = Accepted {
            sequence: opened.stamp.sequence,
            grant: Some(opened.digest),
            release: release.stamp.sequence,
        };
        self.may_follow(&release, &accepted, back.as_ref(), freshness, want)?;
        let mut artifacts = grant.artifacts.into_iter();
        let Some(artifact) = artifacts.find(|has| has.target == *want.target && has.engine == *want.engine)
        else {
            let (target, engine) = (want.target.clone(), want.engine.clone());
            return Err(PluginError::NoArtifact { plugin: plugin(), target, engine });
        };
        let granted = GrantedPlugin {
            grant: opened.digest,
            stamp: opened.stamp,
            freshness,
            permissions: grant.permissions,
            limits: grant.limits.least(&release.release.limits),
            signers: opened.keys,
            artifact,
            release,
        };
        self.not_revoked(&granted)?;
        Ok(granted)
    }

    /// Whether a grant may come after what was accepted here. What was accepted before may always stay.
    fn may_follow(
        &self,
        release: &VerifiedPluginRelease,
        grant: &Accepted,
        back: Option<&Version>,
        freshness: Freshness,
        want: &Want<'_>,
    ) -> Result<(), PluginError> {
        let PluginRelease { id, version, .. } = &release.release;
        let floor = want.floors.get(id);
        let newest = floor.map(|floor| floor.newest);
        let (sequence, plugin) = (grant.sequence, id.clone());
        match (Floor::standing(floor, grant), newest) {
            (Standing::Known, _) => return Ok(()),
            (Standing::Older, Some(newest)) => {
                return Err(PluginError::Older { plugin, sequence, floor: newest.sequence });
            }
            (Standing::Forked, _) => return Err(PluginError::Forked { plugin, sequence }),
            (Standing::Back, Some(newest)) if back != Some(version) => {
                let (version, sequence) = (version.clone(), grant.release);
                return Err(PluginError::Back { plugin, version, sequence, newest: newest.release });
            }
            (Standing::New | Standing::Older | Standing::Back, _) => {}
        }
        if let Some(named) = back.filter(|named| *named != version) {
            let (named, version) = (named.clone(), version.clone());
            return Err(PluginError::OtherVersion { plugin, named, version });
        }
        if let Freshness::Expired { since } = freshness {
            return Err(PluginError::Expired { plugin, since });
        }
        if let Freshness::Expired { since } = self.freshness(want.attested) {
            return Err(PluginError::KeyringExpired { plugin, number: self.parts().number, since });
        }
        if let Some((age, most)) = self.unheard() {
            return Err(PluginError::Unheard { plugin, age, most });
        }
        Ok(())
    }

    /// Whether a plugin that was granted once may still be asked: with a newer revocation, or by a newer keyring. Age
    /// and expiry don't come into it.
    ///
    /// # Errors
    /// Says what was taken back.
    pub fn still_grants(&self, granted: &GrantedPlugin) -> Result<(), PluginError> {
        let domain = Domain::Grant;
        let (mut has, mut revoked) = (0, None);
        for id in &granted.signers {
            match self.signer(RoleKind::Operator, id) {
                Signer::Trusted(_) | Signer::Second(_) => has += 1,
                Signer::Revoked => revoked = Some(*id),
                Signer::Unknown => {}
            }
        }
        let needs = self.needs(RoleKind::Operator);
        if has < usize::from(needs) {
            return Err(PluginError::Grant(match revoked {
                Some(key) => Refusal::RevokedKey { domain, key },
                None => Refusal::TooFew { domain, has, needs },
            }));
        }
        let VerifiedPluginRelease { release, signers, .. } = &granted.release;
        if let Some(key) = signers.iter().find(|id| self.revokes_key(id)) {
            // Said with its reason; without this signature there may still be enough.
            let domain = Domain::PluginRelease;
            let revoked = PluginError::Release(Refusal::RevokedKey { domain, key: *key });
            self.released(&release.id, signers).map_err(|_| revoked)?;
        }
        self.released(&release.id, signers)?;
        self.not_revoked(granted)
    }

    fn not_revoked(&self, granted: &GrantedPlugin) -> Result<(), PluginError> {
        let Some(revocation) = self.revocation().map(VerifiedRevocation::revocation) else { return Ok(()) };
        let plugin = || granted.id().clone();
        let VerifiedPluginRelease { release, stamp, digest, .. } = &granted.release;
        let named = [
            (PluginPart::Release, *digest),
            (PluginPart::Component, release.component),
            (PluginPart::Grant, granted.grant),
            (PluginPart::Artifact, granted.artifact.digest),
        ];
        if let Some((part, digest)) = named.into_iter().find(|(_, name)| revocation.digests.contains(name)) {
            return Err(PluginError::Revoked { plugin: plugin(), part, digest });
        }
        if let Some(oldest) =
            revocation.oldest_release(granted.id()).filter(|oldest| stamp.sequence < *oldest)
        {
            let sequence = stamp.sequence;
            return Err(PluginError::BelowOldest { plugin: plugin(), sequence, oldest });
        }
        let Artifact { target, compiler, .. } = &granted.artifact;
        if let Some(oldest) = revocation.too_old(target, compiler) {
            let (target, has, oldest) = (target.clone(), compiler.clone(), oldest.clone());
            return Err(PluginError::OldCompiler { plugin: plugin(), target, has, oldest });
        }
        Ok(())
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

/// The version that a grant names as the older one, if it leads back.
fn back(rest: &[u8]) -> Result<Option<Version>, Refusal> {
    let domain = Domain::Grant;
    if rest.is_empty() {
        return Ok(None);
    }
    let (back, rest) = postcard::take_from_bytes::<Back>(rest)
        .map_err(|_| Refusal::Malformed { domain, part: "version to go back to" })?;
    if rest.is_empty() { Ok(Some(back.to)) } else { Err(Refusal::Trailing { domain, bytes: rest.len() }) }
}
