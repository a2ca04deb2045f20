//! The one form that every signed statement has.
//!
//! ```text
//! "bks1" | domain u8 | signatures u8 | header length u16 | payload length u32 | header | payload
//!        | { key id [u8; 32] | signature [u8; 64] } * signatures                      all little endian
//! ```
//!
//! What is signed is `"backstay statement 1\0"` and the SHA-256 digest over the name of the domain, the bytes
//! of the header and the bytes of the payload, each with its length before it. So the received bytes are
//! checked as they are and never written anew, and a statement of one kind can't be passed off as another.
//! The digest names the statement: it doesn't depend on who signed it, or how often.
//!
//! There are 1 to 16 signatures, in the order of their key ids and none twice, so that a set of them has one
//! form only and nobody counts for two. Those by keys that aren't trusted with the statement don't count; of the
//! others each has to be right, and there have to be as many as the role asks for.
//!
//! Looked at in this order, and refused at the first that doesn't hold: size, structure, domain, fleet,
//! audience, keys, signatures; only then is the payload read. Expiry never refuses: it comes back as
//! [`Freshness`], because going home and holding don't expire, and only the caller knows which it is.
//! Sequences are the caller's, who knows the last one ([`crate::Watermark`]).
//!
//! Not here: making a statement and adding to its signatures (`statement`).

use alloc::vec::Vec;
use core::fmt;

use backstay_model::{CohortId, DeviceId, Digest, FleetId, UnixMs};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{Domain, KeyId, PublicKey, Refusal};

pub(crate) const MAGIC: [u8; 4] = *b"bks1";
const CONTEXT: &[u8] = b"backstay statement 1\0";
pub(crate) const PRELUDE_BYTES: usize = 12;
pub(crate) const SIGNATURE_BYTES: usize = 32 + 64;
/// Two names of 64 bytes, three numbers of 10, and what tells them apart.
pub(crate) const HEADER_BYTES_MAX: usize = 256;
/// The most signatures: the roots of a keyring and those of the next one.
pub(crate) const SIGNATURES_MAX: usize = 16;
/// What a key signs: the context and a digest.
pub(crate) const MESSAGE_BYTES: usize = CONTEXT.len() + 32;

/// Whom a statement is for; where a device signs, whom it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audience {
    /// Any fleet: a vendor's release, which runs nothing by itself.
    Anyone,
    /// All of a fleet.
    Fleet(FleetId),
    /// A cohort of a fleet.
    Cohort(FleetId, CohortId),
    /// A device of a fleet.
    Device(FleetId, DeviceId),
}

impl Audience {
    /// The fleet, if it is for one.
    #[must_use]
    pub const fn fleet(&self) -> Option<&FleetId> {
        match self {
            Self::Anyone => None,
            Self::Fleet(fleet) | Self::Cohort(fleet, _) | Self::Device(fleet, _) => Some(fleet),
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone"),
            Self::Fleet(fleet) => write!(f, "fleet {fleet}"),
            Self::Cohort(fleet, cohort) => write!(f, "cohort {cohort} of fleet {fleet}"),
            Self::Device(fleet, device) => write!(f, "device {device} of fleet {fleet}"),
        }
    }
}

/// When a statement was made, by count and by clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Grows with each statement of the signer in this domain for this audience. Of steering: the generation.
    pub sequence: u64,
    /// By the signer's clock; zero where it has none. The server's is what a device takes for the time.
    pub issued: UnixMs,
    /// From when on it may not move anything forward; `None` is never.
    pub expires: Option<UnixMs>,
}

/// Whether a statement may still move something forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It may. Without an attested time nothing is known to have expired.
    Fresh,
    /// It may not; holding, going home and running on are not touched by it.
    Expired {
        /// Since when.
        since: UnixMs,
    },
}

impl Stamp {
    /// Whether it has expired at `attested`, the latest time that is known from a signature.
    #[must_use]
    pub fn freshness(&self, attested: Option<UnixMs>) -> Freshness {
        match (self.expires, attested) {
            (Some(since), Some(now)) if now >= since => Freshness::Expired { since },
            (Some(_) | None, _) => Freshness::Fresh,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) audience: Audience,
    pub(crate) stamp: Stamp,
}

/// A statement whose signatures were checked. Not public: each kind has a proof of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) audience: Audience,
    pub(crate) stamp: Stamp,
    pub(crate) payload: &'a [u8],
    /// Whose signatures counted, in the order of their ids. At least one.
    pub(crate) keys: Vec<KeyId>,
    /// Whose second signatures are there, too.
    pub(crate) seconds: Vec<KeyId>,
    /// Of what was signed.
    pub(crate) digest: Digest,
}

impl Opened<'_> {
    /// Reads the payload, to its last byte.
    pub(crate) fn parse<T: DeserializeOwned>(&self, domain: Domain) -> Result<T, Refusal> {
        let (value, rest) = self.parse_front(domain)?;
        if rest.is_empty() { Ok(value) } else { Err(Refusal::Trailing { domain, bytes: rest.len() }) }
    }

    /// Reads the front of the payload; what follows comes back.
    pub(crate) fn parse_front<T: DeserializeOwned>(&self, domain: Domain) -> Result<(T, &[u8]), Refusal> {
        let part = "payload";
        postcard::take_from_bytes(self.payload).map_err(|_| Refusal::Malformed { domain, part })
    }

    /// The first of those whose signatures counted.
    pub(crate) fn key(&self) -> KeyId {
        *self.keys.first().expect("no statement opens without a signature")
    }
}

/// What a key is to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// It is trusted with this, and counts.
    Trusted(PublicKey),
    /// It seconds, and doesn't count for the first.
    Second(PublicKey),
    /// It was trusted with this, and was revoked.
    Revoked,
    /// It means nothing here.
    Unknown,
}

/// A statement with its parts apart and nothing believed yet.
pub(crate) struct Parts<'a> {
    pub(crate) domain: u8,
    pub(crate) header_bytes: &'a [u8],
    pub(crate) header: Header,
    pub(crate) payload: &'a [u8],
    pub(crate) signatures: Vec<(KeyId, &'a [u8; 64])>,
}

pub(crate) fn split(bytes: &[u8], domain: Domain) -> Result<Parts<'_>, Refusal> {
    let truncated = Refusal::Truncated { domain };
    let malformed = |part| Refusal::Malformed { domain, part };
    let Some((prelude, rest)) = bytes.split_first_chunk::<PRELUDE_BYTES>() else { return Err(truncated) };
    let [m0, m1, m2, m3, code, count, h0, h1, payload_bytes @ ..] = *prelude;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(malformed("format"));
    }
    let count = usize::from(count);
    if !(1..=SIGNATURES_MAX).contains(&count) {
        return Err(malformed("number of signatures"));
    }
    let header_bytes = usize::from(u16::from_le_bytes([h0, h1]));
    if header_bytes > HEADER_BYTES_MAX {
        return Err(malformed("header"));
    }
    let payload_bytes = usize::try_from(u32::from_le_bytes(payload_bytes)).unwrap_or(usize::MAX);
    let Some((header_bytes, rest)) = rest.split_at_checked(header_bytes) else { return Err(truncated) };
    let Some((payload, mut rest)) = rest.split_at_checked(payload_bytes) else { return Err(truncated) };
    let mut signatures: Vec<(KeyId, &[u8; 64])> = Vec::with_capacity(count);
    for _ in 0..count {
        let Some((key, behind)) = rest.split_first_chunk::<32>() else { return Err(truncated) };
        let Some((signature, behind)) = behind.split_first_chunk::<64>() else { return Err(truncated) };
        let key = KeyId(Digest(*key));
        if signatures.last().is_some_and(|(last, _)| *last >= key) {
            return Err(malformed("order of signatures"));
        }
        signatures.push((key, signature));
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(Refusal::Trailing { domain, bytes: rest.len() });
    }
    let (header, rest) =
        postcard::take_from_bytes::<Header>(header_bytes).map_err(|_| malformed("header"))?;
    if !rest.is_empty() || header.stamp.expires.is_some_and(|expires| expires < header.stamp.issued) {
        return Err(malformed("header"));
    }
    Ok(Parts { domain: code, header_bytes, header, payload, signatures })
}

/// Checks a statement up to its signatures.
///
/// `fleet`: the one that it has to be for, `None` for a statement that is for anyone. `meant` says whether the
/// audience is right within the fleet. `signer` says what a key is to this domain, and `needs` how many of those
/// that are trusted have to have signed.
pub(crate) fn open<'a>(
    bytes: &'a [u8],
    domain: Domain,
    fleet: Option<&FleetId>,
    meant: impl FnOnce(&Audience) -> bool,
    signer: impl Fn(&KeyId, &[u8]) -> Signer,
    needs: u8,
) -> Result<Opened<'a>, Refusal> {
    if bytes.len() > domain.bytes_max() {
        return Err(Refusal::TooLarge { domain, bytes: bytes.len(), max: domain.bytes_max() });
    }
    let Parts { domain: code, header_bytes, header, payload, signatures } = split(bytes, domain)?;
    if code != domain.code() {
        return Err(Refusal::OtherDomain { wanted: domain, found: code });
    }
    let Header { audience, stamp } = header;
    match fleet {
        Some(ours) if audience.fleet() != Some(ours) => {
            return Err(Refusal::OtherFleet { domain, ours: ours.clone(), audience });
        }
        Some(_) | None => {}
    }
    if !meant(&audience) {
        return Err(Refusal::OtherAudience { domain, audience });
    }
    let (mut keys, mut seconds, mut checks, mut revoked) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (key, signature) in &signatures {
        match signer(key, payload) {
            Signer::Trusted(public) if public.id() == *key => {
                keys.push(*key);
                checks.push((*key, public, *signature));
            }
            Signer::Second(public) if public.id() == *key => {
                seconds.push(*key);
                checks.push((*key, public, *signature));
            }
            Signer::Revoked => revoked = Some(*key),
            Signer::Trusted(_) | Signer::Second(_) | Signer::Unknown => {}
        }
    }
    // A role of nobody needs nobody, which must not mean that anything will do.
    if keys.is_empty() || keys.len() < usize::from(needs) {
        let first = signatures.first().map(|(key, _)| *key);
        return Err(match (revoked, first) {
            (Some(key), _) => Refusal::RevokedKey { domain, key },
            (None, Some(key)) if keys.is_empty() => Refusal::UnknownKey { domain, key },
            (None, _) => Refusal::TooFew { domain, has: keys.len(), needs },
        });
    }
    let digest = statement_digest(domain, header_bytes, payload);
    let message = signed_message(&digest);
    for (key, public, signature) in checks {
        if !public.signed(&message, signature) {
            return Err(Refusal::BadSignature { domain, key });
        }
    }
    Ok(Opened { audience, stamp, payload, keys, seconds, digest })
}

/// Names what a statement says: the domain, the header and the payload, each with its length before it.
pub(crate) fn statement_digest(domain: Domain, header: &[u8], payload: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    for part in [domain.name().as_bytes(), header, payload] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

pub(crate) fn signed_message(digest: &Digest) -> [u8; MESSAGE_BYTES] {
    let mut message = [0; MESSAGE_BYTES];
    let (context, rest) = message.split_at_mut(CONTEXT.len());
    context.copy_from_slice(CONTEXT);
    rest.copy_from_slice(&digest.0);
    message
}

/// The SHA-256 digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use backstay_model::Digest;

    use super::*;
    use crate::{Keyring, KeyringParts, Listener, Role, SecretKey, statement::seal};

    fn stamp() -> Stamp {
        Stamp { sequence: 1, issued: UnixMs(1), expires: None }
    }

    fn fleet() -> FleetId {
        FleetId::parse("pumps").unwrap()
    }

    /// The signer is trusted and the signature is right, but it is over more, or less, than a statement.
    #[test]
    fn a_signature_does_not_make_sense_of_nonsense() {
        let operator = SecretKey::from_random(&[1; 32]);
        let role = |seed| Role::of(SecretKey::from_random(&[seed; 32]).public());
        let keyring = Keyring::new(KeyringParts::first(fleet(), role(1), role(2), role(3))).unwrap();
        let listener = Listener { cohort: None, device: None };
        let domain = Domain::Consent;
        let sign =
            |payload: &[u8]| seal(&operator, domain, Audience::Fleet(fleet()), stamp(), payload).unwrap();
        let content = Digest([9; 32]);
        assert!(keyring.verify_consent(&sign(&content.0), listener).is_ok());
        let longer = [content.0.as_slice(), &[0]].concat();
        let refused = keyring.verify_consent(&sign(&longer), listener);
        assert_eq!(refused, Err(Refusal::Trailing { domain, bytes: 1 }));
        let refused = keyring.verify_consent(&sign(&content.0[1..]), listener);
        assert_eq!(refused, Err(Refusal::Malformed { domain, part: "payload" }));
    }

    /// The order of the checks is a promise: what is cheap comes first, and the key before its signature.
    #[test]
    fn a_statement_is_refused_at_the_first_thing_that_is_wrong() {
        let (ours, theirs) = (SecretKey::from_random(&[1; 32]), SecretKey::from_random(&[2; 32]));
        let (fleet, other) = (fleet(), FleetId::parse("valves").unwrap());
        let domain = Domain::Receipt;
        let open = |bytes: &[u8]| {
            let meant = |audience: &Audience| matches!(audience, Audience::Fleet(_));
            let signer = |id: &KeyId, _: &[u8]| match *id == ours.id() {
                true => Signer::Trusted(ours.public()),
                false => Signer::Unknown,
            };
            open(bytes, domain, Some(&fleet), meant, signer, 1).map(drop)
        };
        let device = DeviceId::parse("pump-7").unwrap();
        let seal = |key, domain, audience| {
            let mut bytes = seal(key, domain, audience, stamp(), b"x").unwrap();
            // And the signature of each of them is wrong, too.
            if let Some(last) = bytes.iter_mut().rev().nth(40) {
                *last ^= 1;
            }
            bytes
        };
        let all_wrong = seal(&theirs, Domain::Grant, Audience::Device(other.clone(), device.clone()));
        assert!(matches!(open(&all_wrong), Err(Refusal::OtherDomain { .. })));
        let fleet_wrong = seal(&theirs, domain, Audience::Device(other, device.clone()));
        assert!(matches!(open(&fleet_wrong), Err(Refusal::OtherFleet { .. })));
        let audience_wrong = seal(&theirs, domain, Audience::Device(fleet.clone(), device));
        assert!(matches!(open(&audience_wrong), Err(Refusal::OtherAudience { .. })));
        let key_wrong = seal(&theirs, domain, Audience::Fleet(fleet.clone()));
        assert!(matches!(open(&key_wrong), Err(Refusal::UnknownKey { .. })));
        let signature_wrong = seal(&ours, domain, Audience::Fleet(fleet.clone()));
        assert!(matches!(open(&signature_wrong), Err(Refusal::BadSignature { .. })));
    }
}
