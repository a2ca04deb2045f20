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
//! Looked at in this order, and refused at the first that doesn't hold: size, structure, domain, fleet,
//! audience, key, signature; only then is the payload read. Expiry never refuses: it comes back as
//! [`Freshness`], because going home and holding don't expire, and only the caller knows which it is.
//! Sequences are the caller's, who knows the last one ([`crate::Watermark`]).
//!
//! There is one signature now; the count is there so that k of n can come.

use alloc::vec::Vec;
use core::fmt;

use backstay_model::{CohortId, DeviceId, Digest, FleetId, UnixMs};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{KeyId, PublicKey, Refusal, SecretKey, SignError};

const MAGIC: [u8; 4] = *b"bks1";
const CONTEXT: &[u8] = b"backstay statement 1\0";
const PRELUDE_BYTES: usize = 12;
const SIGNATURE_BYTES: usize = 32 + 64;
/// Two names of 64 bytes, three numbers of 10, and what tells them apart.
const HEADER_BYTES_MAX: usize = 256;

/// The kinds of statement. Each is signed under its own name, so none can stand in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Domain {
    /// A vendor releases a plugin.
    PluginRelease = 1,
    /// An operator lets it run.
    Grant = 2,
    /// The product has a release.
    ProductRelease = 3,
    /// The server steers the product of a cohort.
    SteerProduct = 4,
    /// The server steers the plugins of a cohort.
    SteerPlugins = 5,
    /// The server instructs one device.
    DeviceOrder = 6,
    /// The server says what the fleet trusts.
    TrustFloor = 7,
    /// The server says how far it has a device's journal.
    Receipt = 8,
    /// An operator seconds an order of the server.
    Consent = 9,
    /// A device asks to be enrolled.
    EnrolRequest = 10,
    /// The server enrols a device.
    Enrolment = 11,
    /// A device says what it runs.
    DeviceState = 12,
    /// A device says whether it is connected.
    DevicePresence = 13,
    /// A device sends journal records.
    DeviceLog = 14,
}

impl Domain {
    const ALL: [Self; 14] = [
        Self::PluginRelease,
        Self::Grant,
        Self::ProductRelease,
        Self::SteerProduct,
        Self::SteerPlugins,
        Self::DeviceOrder,
        Self::TrustFloor,
        Self::Receipt,
        Self::Consent,
        Self::EnrolRequest,
        Self::Enrolment,
        Self::DeviceState,
        Self::DevicePresence,
        Self::DeviceLog,
    ];

    /// Its number in an envelope.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|domain| domain.code() == code)
    }

    /// Its name, which is part of what is signed and never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PluginRelease => "plugin release",
            Self::Grant => "grant",
            Self::ProductRelease => "product release",
            Self::SteerProduct => "product steering",
            Self::SteerPlugins => "plugin steering",
            Self::DeviceOrder => "device order",
            Self::TrustFloor => "trust floor",
            Self::Receipt => "receipt",
            Self::Consent => "consent",
            Self::EnrolRequest => "enrolment request",
            Self::Enrolment => "enrolment",
            Self::DeviceState => "device state",
            Self::DevicePresence => "device presence",
            Self::DeviceLog => "device log",
        }
    }

    /// The most bytes of one, envelope included. Nothing larger is looked into.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Grant => 64 * 1024,
            Self::PluginRelease | Self::ProductRelease => 16 * 1024,
            Self::SteerProduct | Self::SteerPlugins | Self::DeviceState | Self::Enrolment => 8 * 1024,
            Self::DeviceOrder => 4 * 1024,
            Self::TrustFloor | Self::Receipt | Self::Consent | Self::EnrolRequest | Self::DevicePresence => {
                1024
            }
            Self::DeviceLog => 120 * 1024,
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
struct Header {
    audience: Audience,
    stamp: Stamp,
}

/// A statement whose signature was checked. Not public: each kind has a proof of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) audience: Audience,
    pub(crate) stamp: Stamp,
    pub(crate) payload: &'a [u8],
    pub(crate) key: KeyId,
    /// Of what was signed.
    pub(crate) digest: Digest,
}

impl Opened<'_> {
    /// Reads the payload, to its last byte.
    pub(crate) fn parse<T: DeserializeOwned>(&self, domain: Domain) -> Result<T, Refusal> {
        let part = "payload";
        let (value, rest) =
            postcard::take_from_bytes(self.payload).map_err(|_| Refusal::Malformed { domain, part })?;
        if rest.is_empty() { Ok(value) } else { Err(Refusal::Trailing { domain, bytes: rest.len() }) }
    }
}

/// Makes a statement.
pub(crate) fn seal(
    key: &SecretKey,
    domain: Domain,
    audience: Audience,
    stamp: Stamp,
    payload: &[u8],
) -> Result<Vec<u8>, SignError> {
    if stamp.expires.is_some_and(|expires| expires < stamp.issued) {
        return Err(SignError::Inconsistent { domain, what: "it expires before it is issued".into() });
    }
    let too_large = |bytes| SignError::TooLarge { domain, bytes, max: domain.bytes_max() };
    let header =
        postcard::to_allocvec(&Header { audience, stamp }).map_err(|_| too_large(HEADER_BYTES_MAX))?;
    let whole = PRELUDE_BYTES + header.len() + payload.len() + SIGNATURE_BYTES;
    let (Ok(header_bytes), Ok(payload_bytes)) = (u16::try_from(header.len()), u32::try_from(payload.len()))
    else {
        return Err(too_large(whole));
    };
    if whole > domain.bytes_max() || header.len() > HEADER_BYTES_MAX {
        return Err(too_large(whole));
    }
    let signature = key.sign(&signed_message(&statement_digest(domain, &header, payload)));
    let mut bytes = Vec::with_capacity(whole);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[domain.code(), 1]);
    bytes.extend_from_slice(&header_bytes.to_le_bytes());
    bytes.extend_from_slice(&payload_bytes.to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&key.id().0.0);
    bytes.extend_from_slice(&signature);
    Ok(bytes)
}

/// A statement with its parts apart and nothing believed yet.
struct Parts<'a> {
    domain: u8,
    header_bytes: &'a [u8],
    header: Header,
    payload: &'a [u8],
    key: KeyId,
    signature: &'a [u8; 64],
}

fn split(bytes: &[u8], domain: Domain) -> Result<Parts<'_>, Refusal> {
    let truncated = Refusal::Truncated { domain };
    let malformed = |part| Refusal::Malformed { domain, part };
    let Some((prelude, rest)) = bytes.split_first_chunk::<PRELUDE_BYTES>() else { return Err(truncated) };
    let [m0, m1, m2, m3, code, signatures, h0, h1, payload_bytes @ ..] = *prelude;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(malformed("format"));
    }
    if signatures != 1 {
        return Err(malformed("number of signatures"));
    }
    let header_bytes = usize::from(u16::from_le_bytes([h0, h1]));
    if header_bytes > HEADER_BYTES_MAX {
        return Err(malformed("header"));
    }
    let payload_bytes = usize::try_from(u32::from_le_bytes(payload_bytes)).unwrap_or(usize::MAX);
    let Some((header_bytes, rest)) = rest.split_at_checked(header_bytes) else { return Err(truncated) };
    let Some((payload, rest)) = rest.split_at_checked(payload_bytes) else { return Err(truncated) };
    let Some((key, rest)) = rest.split_first_chunk::<32>() else { return Err(truncated) };
    let Some((signature, rest)) = rest.split_first_chunk::<64>() else { return Err(truncated) };
    if !rest.is_empty() {
        return Err(Refusal::Trailing { domain, bytes: rest.len() });
    }
    let (header, rest) =
        postcard::take_from_bytes::<Header>(header_bytes).map_err(|_| malformed("header"))?;
    if !rest.is_empty() || header.stamp.expires.is_some_and(|expires| expires < header.stamp.issued) {
        return Err(malformed("header"));
    }
    Ok(Parts { domain: code, header_bytes, header, payload, key: KeyId(Digest(*key)), signature })
}

/// Checks a statement up to its signature.
///
/// `fleet`: the one that it has to be for, `None` for a statement that is for anyone. `meant` says whether the
/// audience is right within the fleet. `trusted` finds the key among those that are trusted with this domain.
pub(crate) fn open<'a>(
    bytes: &'a [u8],
    domain: Domain,
    fleet: Option<&FleetId>,
    meant: impl FnOnce(&Audience) -> bool,
    trusted: impl FnOnce(&KeyId, &[u8]) -> Option<PublicKey>,
) -> Result<Opened<'a>, Refusal> {
    if bytes.len() > domain.bytes_max() {
        return Err(Refusal::TooLarge { domain, bytes: bytes.len(), max: domain.bytes_max() });
    }
    let parts = split(bytes, domain)?;
    if parts.domain != domain.code() {
        return Err(Refusal::OtherDomain { wanted: domain, found: parts.domain });
    }
    let Header { audience, stamp } = parts.header;
    match fleet {
        Some(ours) if audience.fleet() != Some(ours) => {
            return Err(Refusal::OtherFleet { domain, ours: ours.clone(), audience });
        }
        Some(_) | None => {}
    }
    if !meant(&audience) {
        return Err(Refusal::OtherAudience { domain, audience });
    }
    let key = parts.key;
    let Some(public) = trusted(&key, parts.payload).filter(|public| public.id() == key) else {
        return Err(Refusal::UnknownKey { domain, key });
    };
    let digest = statement_digest(domain, parts.header_bytes, parts.payload);
    if !public.signed(&signed_message(&digest), parts.signature) {
        return Err(Refusal::BadSignature { domain, key });
    }
    Ok(Opened { audience, stamp, payload: parts.payload, key, digest })
}

/// Names what a statement says: the domain, the header and the payload, each with its length before it.
fn statement_digest(domain: Domain, header: &[u8], payload: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    for part in [domain.name().as_bytes(), header, payload] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

fn signed_message(digest: &Digest) -> [u8; CONTEXT.len() + 32] {
    let mut message = [0; CONTEXT.len() + 32];
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
    use crate::{Keyring, KeyringParts, Listener, Role};

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
        let keyring = Keyring::new(KeyringParts {
            number: 1,
            fleet: fleet(),
            operator: role(1),
            release: role(2),
            director: role(3),
            vendors: Vec::new(),
        })
        .unwrap();
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
            let trusted = |id: &KeyId, _: &[u8]| (*id == ours.id()).then(|| ours.public());
            open(bytes, domain, Some(&fleet), meant, trusted).map(drop)
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

    #[test]
    fn a_kind_has_one_number_and_one_name() {
        for (at, one) in Domain::ALL.into_iter().enumerate() {
            assert_eq!(Domain::from_code(one.code()), Some(one));
            assert!(Domain::ALL.into_iter().skip(at + 1).all(|other| other.name() != one.name()));
        }
        assert_eq!(Domain::from_code(0), None);
    }
}
