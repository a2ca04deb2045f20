//! What the release keys say of a service's configuration: it was known to be good as this file has it, with this release.
//!
//! Here: the statement, and the proof that comes of checking it together with the file that it is about. Not here: what
//! stands in the file (the command line reads it), and who puts anything back (an executor).

use alloc::vec::Vec;

use backstay_model::{Digest, FleetId, Release, TargetId, Version};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, Domain, Keyring, Refusal, RoleKind, SecretKey, SignError, Stamp, Statement, VerifiedRevocation,
    envelope::sha256,
};

/// The last configuration of a service that was known to be good: which file holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownGood {
    /// Whose configuration it is.
    pub service: TargetId,
    /// The version of the release that it was good with, for people.
    pub version: Version,
    /// The release that it was good with.
    pub release: Digest,
    /// The file's digest.
    pub file: Digest,
    /// The file's length.
    pub length: u64,
}

impl KnownGood {
    /// What is to be said of `file`.
    #[must_use]
    pub fn of(service: TargetId, release: &Release, file: &[u8]) -> Self {
        Self {
            service,
            version: release.version.clone(),
            release: release.digest,
            file: sha256(file),
            length: file.len() as u64,
        }
    }

    /// Drafts it for `fleet`, for the holders of the release keys to sign.
    ///
    /// # Errors
    /// If it is something that no reader would accept.
    pub fn draft(&self, fleet: FleetId, stamp: Stamp) -> Result<Statement, SignError> {
        let payload = postcard::to_allocvec(self).expect("writing to memory can't fail");
        Statement::draft(Domain::KnownGood, Audience::Fleet(fleet), stamp, &payload)
    }

    /// Drafts it and signs it with one key.
    ///
    /// # Errors
    /// As [`KnownGood::draft`].
    pub fn sign(&self, release: &SecretKey, fleet: FleetId, stamp: Stamp) -> Result<Vec<u8>, SignError> {
        let mut statement = self.draft(fleet, stamp)?;
        statement.sign(release)?;
        statement.encode()
    }
}

/// A file that the release keys vouch for, with the very bytes that were checked. Only [`Keyring::verify_known_good`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedKnownGood {
    known_good: KnownGood,
    stamp: Stamp,
    digest: Digest,
    file: Vec<u8>,
}

impl VerifiedKnownGood {
    /// What was signed.
    #[must_use]
    pub fn known_good(&self) -> &KnownGood {
        &self.known_good
    }

    /// When it was signed. How old it may be is for whoever wants to put it back: only they have a clock.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Names the statement.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &[u8] {
        &self.file
    }
}

impl Keyring {
    /// Checks that `bytes` say of `file` that it is known to be good in this fleet, signed by as many of the release keys as the
    /// role asks for.
    ///
    /// # Errors
    /// Says at what it failed. That of another service or release isn't an error here: whoever asked knows which one is wanted.
    pub fn verify_known_good(&self, bytes: &[u8], file: Vec<u8>) -> Result<VerifiedKnownGood, Refusal> {
        let domain = Domain::KnownGood;
        let opened = self.open(bytes, domain, RoleKind::Release)?;
        let known_good: KnownGood = opened.parse(domain)?;
        if known_good.length != file.len() as u64 || known_good.file != sha256(&file) {
            return Err(Refusal::Inconsistent { domain, what: "the file is not the one that was signed" });
        }
        if let Some(revocation) = self.revocation().map(VerifiedRevocation::revocation) {
            let named = [known_good.release, known_good.file, opened.digest];
            if let Some(digest) = named.into_iter().find(|name| revocation.digests.contains(name)) {
                return Err(Refusal::Revoked { domain, digest });
            }
        }
        let (stamp, digest) = (opened.stamp, opened.digest);
        Ok(VerifiedKnownGood { known_good, stamp, digest, file })
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use backstay_model::UnixMs;

    use super::*;
    use crate::{KeyringParts, Revocation, Role};

    const FILE: &[u8] = b"{\"mode\": \"safe\"}";

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_random(&[seed; 32])
    }

    fn fleet() -> FleetId {
        FleetId::parse("shop").unwrap()
    }

    /// Operator, release, director and revoker have the keys 1 to 4, and so many of release have to sign.
    fn keyring(threshold: u8, release: &[u8]) -> Keyring {
        let role = |seed| Role::of(key(seed).public());
        let release = Role { threshold, keys: release.iter().map(|seed| key(*seed).public()).collect() };
        let first = KeyringParts::first(fleet(), role(1), release, role(3));
        Keyring::new(KeyringParts { revoker: role(4), ..first }).unwrap()
    }

    fn stamp() -> Stamp {
        Stamp { sequence: 7, issued: UnixMs(1000), expires: None }
    }

    fn known_good() -> KnownGood {
        let version = Version::parse("2.1.0").unwrap();
        let release = Release { version, digest: Digest([5; 32]), length: 0, security_epoch: 0 };
        KnownGood::of(TargetId::parse("checkout").unwrap(), &release, FILE)
    }

    fn signed(seed: u8) -> Vec<u8> {
        known_good().sign(&key(seed), fleet(), stamp()).unwrap()
    }

    #[test]
    fn a_file_is_good_as_it_was_signed() {
        let verified = keyring(1, &[2]).verify_known_good(&signed(2), FILE.into()).unwrap();
        assert_eq!((verified.known_good(), verified.file()), (&known_good(), FILE));
        assert_eq!(verified.stamp(), stamp());
    }

    #[test]
    fn a_file_with_another_byte_is_another_file() {
        let domain = Domain::KnownGood;
        let refused = Err(Refusal::Inconsistent { domain, what: "the file is not the one that was signed" });
        for bit in 0..FILE.len() * 8 {
            let mut file = FILE.to_vec();
            file[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keyring(1, &[2]).verify_known_good(&signed(2), file), refused);
        }
        for file in [&FILE[1..], &[FILE, b"\n"].concat(), b""] {
            assert_eq!(keyring(1, &[2]).verify_known_good(&signed(2), file.into()), refused);
        }
    }

    /// The server's key steers, an operator's lets plugins run: neither says what a configuration has to be.
    #[test]
    fn only_the_release_keys_say_what_is_good() {
        let domain = Domain::KnownGood;
        for seed in [1, 3, 4, 9] {
            let refused = keyring(1, &[2]).verify_known_good(&signed(seed), FILE.into());
            assert_eq!(refused, Err(Refusal::UnknownKey { domain, key: key(seed).id() }));
        }
        let two = keyring(2, &[2, 8]);
        let refused = two.verify_known_good(&signed(2), FILE.into());
        assert_eq!(refused, Err(Refusal::TooFew { domain, has: 1, needs: 2 }));
        let mut statement = Statement::read(&signed(2)).unwrap();
        statement.sign(&key(8)).unwrap();
        assert!(two.verify_known_good(&statement.encode().unwrap(), FILE.into()).is_ok());
    }

    #[test]
    fn what_was_revoked_is_not_good_any_more() {
        let ring = keyring(1, &[2]);
        let statement = *ring.verify_known_good(&signed(2), FILE.into()).unwrap().digest();
        for digest in [known_good().release, known_good().file, statement] {
            let revocation = Revocation { digests: vec![digest], ..Revocation::default() };
            let bytes = revocation.sign(&key(4), fleet(), stamp()).unwrap();
            let heeding = ring.clone().revoking(Some(ring.verify_revocation(&bytes).unwrap()));
            let refused = heeding.verify_known_good(&signed(2), FILE.into());
            assert_eq!(refused, Err(Refusal::Revoked { domain: Domain::KnownGood, digest }));
        }
    }
}
