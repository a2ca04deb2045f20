//! How a device gets into a fleet.
//!
//! It makes its key on first boot and asks, signing with that key, so that nobody can enrol a key that they
//! don't have. A one-time token proves that the device is meant; the token itself is never sent, only a
//! digest over it and the device's key, so whoever sees the request can't use it for a key of their own.
//! Without a token an operator compares the fingerprint. The answer is the director's: id, cohort, labels. A key of the
//! role "device" may give it, too: a factory's, say.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use backstay_model::{CohortId, DeviceId, Digest, FleetId, Hardware, Label};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    Audience, Domain, KeyError, KeyId, Keyring, PublicKey, Refusal, RoleKind, SecretKey, SignError, Stamp,
    Watermark,
    envelope::{Signer, open},
    statement::seal,
};

/// A one-time token, made by the server and carried to the device by a person. Wiped when it is dropped,
/// and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolToken([u8; 16]);

impl EnrolToken {
    /// The token that 16 random bytes are. So many that nobody finds it by trying.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads the 32 hexadecimal digits that a person was given.
    ///
    /// # Errors
    /// If it isn't that. The text is not quoted.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let doubled = Zeroizing::new([text, text].concat());
        let Digest(bytes) = doubled.parse().map_err(|_| KeyError::NotToken)?;
        let (half, _) = bytes.split_first_chunk().ok_or(KeyError::NotToken)?;
        Ok(Self(*half))
    }

    /// As text for a person.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut digits: String = Digest(core::array::from_fn(|at| self.0[at % 16])).to_string();
        digits.truncate(32);
        Zeroizing::new(digits)
    }

    /// What proves that somebody with this key has the token.
    fn proof(&self, key: &PublicKey, nonce: u64) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"backstay enrolment token 1\0");
        hash.update(self.0);
        hash.update(key.as_bytes());
        hash.update(nonce.to_le_bytes());
        Digest(hash.finalize().into())
    }
}

impl Drop for EnrolToken {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolToken")
    }
}

/// What a new device asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// Its key. First, because the signature is checked with it.
    key: PublicKey,
    /// What kind of machine it is.
    hardware: Hardware,
    /// Drawn anew for each request.
    nonce: u64,
    /// That it has a one-time token.
    proof: Option<Digest>,
}

impl EnrolRequest {
    /// Asks to let the device with `key` into `fleet`.
    ///
    /// # Errors
    /// None that is known: its size is bounded by what its names can be.
    pub fn sign(
        key: &SecretKey,
        fleet: FleetId,
        hardware: Hardware,
        nonce: u64,
        token: Option<&EnrolToken>,
    ) -> Result<Vec<u8>, SignError> {
        let public = key.public();
        let proof = token.map(|token| token.proof(&public, nonce));
        let payload = postcard::to_allocvec(&Self { key: public, hardware, nonce, proof })
            .expect("writing to memory can't fail");
        // A new device has no count and no clock.
        let stamp = Stamp { sequence: 0, issued: backstay_model::UnixMs(0), expires: None };
        seal(key, Domain::EnrolRequest, Audience::Fleet(fleet), stamp, &payload)
    }
}

/// A request by somebody who has the key that they want enrolled. Whether they may be is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEnrolRequest {
    request: EnrolRequest,
    digest: Digest,
}

impl VerifiedEnrolRequest {
    /// Checks that `bytes` are a request for `fleet`, signed with the key that it names.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify(bytes: &[u8], fleet: &FleetId) -> Result<Self, Refusal> {
        let domain = Domain::EnrolRequest;
        let opened = open(
            bytes,
            domain,
            Some(fleet),
            |audience| matches!(audience, Audience::Fleet(_)),
            |_, payload| {
                let key = payload.first_chunk().and_then(|key| PublicKey::from_bytes(key).ok());
                key.map_or(Signer::Unknown, Signer::Trusted)
            },
            1,
        )?;
        Ok(Self { request: opened.parse(domain)?, digest: opened.digest })
    }

    /// The device's key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.request.key
    }

    /// What kind of machine it says it is.
    #[must_use]
    pub fn hardware(&self) -> &Hardware {
        &self.request.hardware
    }

    /// Its nonce: one that was seen before is a request that was brought again.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.request.nonce
    }

    /// Whether it says that it has a token at all.
    #[must_use]
    pub fn has_proof(&self) -> bool {
        self.request.proof.is_some()
    }

    /// Whether it was made by somebody who has `token`. The server uses a token up with the first that was.
    #[must_use]
    pub fn proves(&self, token: &EnrolToken) -> bool {
        self.request.proof == Some(token.proof(&self.request.key, self.request.nonce))
    }

    /// Names the request.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// What the director says of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Its id, for life.
    pub device: DeviceId,
    /// Its key.
    pub key: KeyId,
    /// Whose steering it follows.
    pub cohort: CohortId,
    /// What selectors may ask for. At most 16.
    pub labels: Vec<Label>,
}

const LABELS_MAX: usize = 16;

impl Enrolment {
    /// Signs it. The sequence in `stamp` grows with each enrolment of this device: labels and cohort may change.
    ///
    /// # Errors
    /// If it has too many labels.
    pub fn sign(&self, director: &SecretKey, fleet: FleetId, stamp: Stamp) -> Result<Vec<u8>, SignError> {
        let domain = Domain::Enrolment;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        let payload = postcard::to_allocvec(self).expect("writing to memory can't fail");
        seal(director, domain, Audience::Device(fleet, self.device.clone()), stamp, &payload)
    }

    fn unfit(&self) -> Option<&'static str> {
        if self.labels.len() > LABELS_MAX { Some("it has too many labels") } else { None }
    }
}

/// That a device belongs to the fleet, as the director says. Only [`Keyring::verify_enrolment`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEnrolment {
    enrolment: Enrolment,
    stamp: Stamp,
    digest: Digest,
}

impl VerifiedEnrolment {
    /// What it says.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// When it was made.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// To compare with the last that was accepted.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark { sequence: self.stamp.sequence, digest: self.digest }
    }
}

impl Keyring {
    /// Checks that `bytes` enrol the device whose key is `key`.
    ///
    /// # Errors
    /// Says at what it failed.
    pub fn verify_enrolment(&self, bytes: &[u8], key: &KeyId) -> Result<VerifiedEnrolment, Refusal> {
        let domain = Domain::Enrolment;
        let opened = open(
            bytes,
            domain,
            Some(self.fleet()),
            |audience| matches!(audience, Audience::Device(..)),
            |id, _| match self.signer(RoleKind::Director, id) {
                Signer::Unknown => self.signer(RoleKind::Device, id),
                known @ (Signer::Trusted(_) | Signer::Second(_) | Signer::Revoked) => known,
            },
            1,
        )?;
        let enrolment: Enrolment = opened.parse(domain)?;
        let inconsistent = |what| Refusal::Inconsistent { domain, what };
        if opened.audience != Audience::Device(self.fleet().clone(), enrolment.device.clone()) {
            return Err(inconsistent("it is for one device and enrols another"));
        }
        if let Some(what) = enrolment.unfit() {
            return Err(inconsistent(what));
        }
        if enrolment.key != *key {
            return Err(Refusal::OtherAudience { domain, audience: opened.audience });
        }
        Ok(VerifiedEnrolment { enrolment, stamp: opened.stamp, digest: opened.digest })
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::UnixMs;

    use super::*;
    use crate::{KeyringParts, Role};

    /// The director's key is right, but the envelope is for one device and the payload enrols another.
    #[test]
    fn an_enrolment_is_for_the_device_that_it_enrols() {
        let key = |seed| SecretKey::from_random(&[seed; 32]);
        let role = |seed| Role::of(key(seed).public());
        let fleet = FleetId::parse("pumps").unwrap();
        let parts = KeyringParts::first(fleet.clone(), role(1), role(2), role(3));
        let keyring = Keyring::new(parts).unwrap();
        let enrolment = Enrolment {
            device: DeviceId::parse("pump-7").unwrap(),
            key: key(4).id(),
            cohort: CohortId::parse("canary").unwrap(),
            labels: Vec::new(),
        };
        let payload = postcard::to_allocvec(&enrolment).unwrap();
        let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
        let verify = |device| {
            let audience = Audience::Device(fleet.clone(), DeviceId::parse(device).unwrap());
            let bytes = seal(&key(3), Domain::Enrolment, audience, stamp, &payload).unwrap();
            keyring.verify_enrolment(&bytes, &key(4).id())
        };
        assert!(verify("pump-7").is_ok());
        assert!(matches!(verify("pump-8"), Err(Refusal::Inconsistent { .. })));
    }
}
