//! What the product's release keys say: that this artifact is a release, for which machines, and where it may
//! be left for. The server picks among this and can't add to it.

use alloc::{string::ToString, vec::Vec};

use backstay_model::{Digest, FleetId, Hardware, Release, SchemaRange, UnixMs, WayHome};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, Domain, Freshness, Keyring, Refusal, RoleKind, SecretKey, SignError, Stamp, Statement,
    VerifiedRevocation,
};

/// A release of what devices run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductRelease {
    /// Version, digest and length of the artifact, and its security epoch.
    pub release: Release,
    /// The machines that it runs on. 1 to 64.
    pub hardware: Vec<Hardware>,
    /// The schemas of shared data that it can live with.
    pub schemas: SchemaRange,
    /// The releases that a device on this one may go *back* to. At most 64.
    pub home: WayHome,
}

const LIST_MAX: usize = 64;

impl ProductRelease {
    /// Drafts it for `fleet`, for the holders of the release keys to sign.
    ///
    /// # Errors
    /// If it is something that no reader would accept.
    pub fn draft(&self, fleet: FleetId, stamp: Stamp) -> Result<Statement, SignError> {
        let domain = Domain::ProductRelease;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        let payload = postcard::to_allocvec(self).expect("writing to memory can't fail");
        Statement::draft(domain, Audience::Fleet(fleet), stamp, &payload)
    }

    /// Drafts it and signs it with one key.
    ///
    /// # Errors
    /// As [`ProductRelease::draft`].
    pub fn sign(&self, release: &SecretKey, fleet: FleetId, stamp: Stamp) -> Result<Vec<u8>, SignError> {
        let mut statement = self.draft(fleet, stamp)?;
        statement.sign(release)?;
        statement.encode()
    }

    fn unfit(&self) -> Option<&'static str> {
        if !(1..=LIST_MAX).contains(&self.hardware.len()) {
            Some("it is for no hardware, or for too many kinds")
        } else if self.home.0.len() > LIST_MAX {
            Some("it has too many ways home")
        } else if self.home.allows(&self.release.digest) {
            Some("it is its own way home")
        } else if self.schemas.from > self.schemas.to {
            Some("its schema range ends before it begins")
        } else {
            None
        }
    }
}

/// A release that the release keys vouch for. Only [`Keyring::verify_release`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRelease {
    product: ProductRelease,
    stamp: Stamp,
    digest: Digest,
    freshness: Freshness,
}

impl VerifiedRelease {
    /// The release. A steering message that names it has to say exactly the same.
    #[must_use]
    pub fn release(&self) -> &Release {
        &self.product.release
    }

    /// The schemas of shared data that it can live with.
    #[must_use]
    pub fn schemas(&self) -> SchemaRange {
        self.product.schemas
    }

    /// The kinds of machine that it is for.
    #[must_use]
    pub fn hardware(&self) -> &[Hardware] {
        &self.product.hardware
    }

    /// Whether it runs on `hardware`.
    #[must_use]
    pub fn fits(&self, hardware: &Hardware) -> bool {
        self.product.hardware.contains(hardware)
    }

    /// Whether a device that runs it may go back to `digest`.
    #[must_use]
    pub fn permits_home_to(&self, digest: &Digest) -> bool {
        self.product.home.allows(digest)
    }

    /// Everywhere that a device that runs it may go back to.
    #[must_use]
    pub fn way_home(&self) -> &WayHome {
        &self.product.home
    }

    /// When it was made.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Names the statement.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether it may still be installed anew. A device that has it may keep it, and may go home to it.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }
}

impl Keyring {
    /// Checks that `bytes` are a release of the product for this fleet.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify_release(&self, bytes: &[u8], attested: Option<UnixMs>) -> Result<VerifiedRelease, Refusal> {
        let domain = Domain::ProductRelease;
        let opened = self.open(bytes, domain, RoleKind::Release)?;
        let product: ProductRelease = opened.parse(domain)?;
        if let Some(what) = product.unfit() {
            return Err(Refusal::Inconsistent { domain, what });
        }
        if let Some(revocation) = self.revocation().map(VerifiedRevocation::revocation) {
            let named = [product.release.digest, opened.digest];
            if let Some(digest) = named.into_iter().find(|name| revocation.digests.contains(name)) {
                return Err(Refusal::Revoked { domain, digest });
            }
            let (epoch, floor) = (product.release.security_epoch, revocation.security_floor);
            if epoch < floor {
                return Err(Refusal::BelowFloor { epoch, floor });
            }
        }
        let freshness = opened.stamp.freshness(attested);
        Ok(VerifiedRelease { product, stamp: opened.stamp, digest: opened.digest, freshness })
    }
}
