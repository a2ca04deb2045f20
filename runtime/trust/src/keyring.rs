//! Which key is trusted with what.
//!
//! Keyring number one is in the image, and is believed because the image is. It can be shown and compared by
//! its digest. A [`Keyring`] is what is trusted now: the keys, and what is known to bear on them, which is a
//! revocation, an expiry, and how long nothing was heard. Not here: how one keyring follows another (`chain`), and
//! what revokers say (`revocation`).
//!
//! There are two forms. `bkk1` has three roles of one signature each and is only read; `bkk2` is written.

use alloc::{boxed::Box, vec::Vec};

use backstay_model::{Digest, FleetId, Millis, Name, PluginId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, Domain, Freshness, KeyId, KeyringError, PublicKey, Refusal, RoleKind, VerifiedRevocation,
    envelope::{self, Opened, Signer, sha256},
};

const MAGIC_1: [u8; 4] = *b"bkk1";
const MAGIC_2: [u8; 4] = *b"bkk2";
/// The most keys of one role, and with a stolen one replaced by a new one there are two for a while.
pub(crate) const KEYS_MAX: usize = 8;
/// The most vendors.
pub(crate) const VENDORS_MAX: usize = 64;

/// What a keyring says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyringParts {
    /// 1 for the one in the image; each that follows has one more.
    pub number: u64,
    /// Whose.
    pub fleet: FleetId,
    /// The digest of the keyring before it. None has number 1.
    pub before: Option<Digest>,
    /// Say which keyring follows. Offline. Without any, none can.
    pub root: Role,
    /// Lets plugins run, and seconds orders. Offline.
    pub operator: Role,
    /// Releases the product. Offline.
    pub release: Role,
    /// Steers among what the others allow: the server's own, so one signature is enough. Online.
    pub director: Role,
    /// Takes trust back. Without any, nothing can be revoked but by a new keyring.
    pub revoker: Role,
    /// Signs verdicts for pipelines.
    pub verdict: Role,
    /// Says who is a device, as the director does: a factory, say.
    pub device: Role,
    /// Release plugins, each under their own name. At most 64.
    pub vendors: Vec<Vendor>,
}

impl KeyringParts {
    /// Keyring number 1 of these roles; the others are empty.
    #[must_use]
    pub fn first(fleet: FleetId, operator: Role, release: Role, director: Role) -> Self {
        Self {
            number: 1,
            fleet,
            before: None,
            root: Role::none(),
            operator,
            release,
            director,
            revoker: Role::none(),
            verdict: Role::none(),
            device: Role::none(),
            vendors: Vec::new(),
        }
    }

    /// The roles that are one each, with their kinds.
    pub fn roles(&self) -> [(RoleKind, &Role); 7] {
        [
            (RoleKind::Root, &self.root),
            (RoleKind::Operator, &self.operator),
            (RoleKind::Release, &self.release),
            (RoleKind::Director, &self.director),
            (RoleKind::Revoker, &self.revoker),
            (RoleKind::Verdict, &self.verdict),
            (RoleKind::Device, &self.device),
        ]
    }

    /// Whether it has this key anywhere.
    #[must_use]
    pub fn has(&self, id: &KeyId) -> bool {
        let vendors = self.vendors.iter().map(|vendor| &vendor.role);
        let mut roles = self.roles().into_iter().map(|(_, role)| role).chain(vendors);
        roles.any(|role| role.find(id).is_some())
    }
}

/// The keys of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// How many of them have to sign. 1 to the number of keys; 0 where there is none.
    pub threshold: u8,
    /// At most 8, none twice.
    pub keys: Vec<PublicKey>,
}

impl Role {
    /// A role of one key.
    #[must_use]
    pub fn of(key: PublicKey) -> Self {
        Self { threshold: 1, keys: Vec::from([key]) }
    }

    /// A role that nobody has.
    #[must_use]
    pub fn none() -> Self {
        Self { threshold: 0, keys: Vec::new() }
    }

    pub(crate) fn find(&self, id: &KeyId) -> Option<PublicKey> {
        self.keys.iter().find(|key| key.id() == *id).copied()
    }

    /// What the key `id` is to what this role signs, whatever was revoked.
    pub(crate) fn signer(&self, id: &KeyId) -> Signer {
        self.find(id).map_or(Signer::Unknown, Signer::Trusted)
    }
}

/// Somebody who releases plugins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vendor {
    /// The first half of the plugin ids that they may use: `acme` of `acme/executor-pump`.
    pub prefix: Name,
    /// Their keys.
    pub role: Role,
}

/// What the first form says.
#[derive(Serialize, Deserialize)]
struct PartsV1 {
    number: u64,
    fleet: FleetId,
    operator: Role,
    release: Role,
    director: Role,
    vendors: Vec<Vendor>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    One,
    Two,
}

/// The keys that are trusted, checked for being worth it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    parts: KeyringParts,
    form: Form,
    digest: Digest,
    expires: Option<UnixMs>,
    revocation: Option<Box<VerifiedRevocation>>,
    unheard: Option<(Millis, Millis)>,
}

impl Keyring {
    /// The longest keyring, in bytes.
    pub const BYTES_MAX: usize = 32 * 1024;

    /// Checks `parts`.
    ///
    /// # Errors
    /// If a role that has to be there isn't, has too many keys, one twice, or a threshold that nobody can reach; or if
    /// two roles share a key: then one theft would take both, and the second signature proves nothing.
    pub fn new(parts: KeyringParts) -> Result<Self, KeyringError> {
        Self::checked(parts, Form::Two)
    }

    fn checked(parts: KeyringParts, form: Form) -> Result<Self, KeyringError> {
        if parts.vendors.len() > VENDORS_MAX {
            return Err(KeyringError::Vendors { has: parts.vendors.len() });
        }
        if form == Form::Two && (parts.number == 0 || (parts.number > 1) != parts.before.is_some()) {
            return Err(KeyringError::Before { number: parts.number });
        }
        let vendors = parts.vendors.iter().map(|vendor| (RoleKind::Vendor, &vendor.role));
        let mut seen: Vec<(RoleKind, PublicKey)> = Vec::new();
        for (kind, role) in parts.roles().into_iter().chain(vendors) {
            let least = match kind {
                RoleKind::Operator | RoleKind::Release | RoleKind::Director | RoleKind::Vendor => 1,
                RoleKind::Root | RoleKind::Revoker | RoleKind::Verdict | RoleKind::Device => 0,
            };
            let has = role.keys.len();
            if !(least..=KEYS_MAX).contains(&has) {
                return Err(KeyringError::Keys { role: kind, least, has });
            }
            // The server has one key and signs alone; so does whoever enrols.
            let most = match kind {
                RoleKind::Director | RoleKind::Device => has.min(1),
                RoleKind::Root
                | RoleKind::Operator
                | RoleKind::Release
                | RoleKind::Revoker
                | RoleKind::Verdict
                | RoleKind::Vendor => has,
            };
            if !(has.min(1)..=most).contains(&usize::from(role.threshold)) {
                return Err(KeyringError::Threshold { role: kind, threshold: role.threshold, most });
            }
            for (at, key) in role.keys.iter().enumerate() {
                // One vendor may have several prefixes, and so the same key under each.
                let other = seen
                    .iter()
                    .find(|(other, known)| known == key && (*other != kind || kind != RoleKind::Vendor));
                let twice = role.keys.iter().take(at).any(|known| known == key);
                if let Some(other) = other.map(|(other, _)| *other).or(twice.then_some(kind)) {
                    return Err(KeyringError::Shared { key: key.id(), roles: [other, kind] });
                }
            }
            seen.extend(role.keys.iter().map(|key| (kind, *key)));
        }
        let bytes = encode(&parts, form);
        if bytes.len() > Self::BYTES_MAX {
            return Err(KeyringError::TooLarge { bytes: bytes.len() });
        }
        let digest = sha256(&bytes);
        Ok(Self { parts, form, digest, expires: None, revocation: None, unheard: None })
    }

    /// Reads a keyring of either form, to its last byte.
    ///
    /// # Errors
    /// If it is too large, isn't one, or isn't worth trusting.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(KeyringError::TooLarge { bytes: bytes.len() });
        }
        let malformed = |_| KeyringError::Malformed;
        let (parts, form) = if let Some(body) = bytes.strip_prefix(&MAGIC_2) {
            (postcard::take_from_bytes(body).map_err(malformed)?.0, Form::Two)
        } else if let Some(body) = bytes.strip_prefix(&MAGIC_1) {
            let (v1, _): (PartsV1, _) = postcard::take_from_bytes(body).map_err(malformed)?;
            let PartsV1 { number, fleet, operator, release, director, vendors } = v1;
            let first = KeyringParts::first(fleet, operator, release, director);
            (KeyringParts { number, vendors, ..first }, Form::One)
        } else {
            return Err(KeyringError::Malformed);
        };
        let keyring = Self::checked(parts, form)?;
        // There is one form only of each keyring, so that its digest names it; nothing can follow it, either.
        if keyring.encode() == bytes { Ok(keyring) } else { Err(KeyringError::Malformed) }
    }

    /// Its bytes, in the form that it was read in. What bears on it from outside isn't in them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.parts, self.form)
    }

    /// What names it.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it says.
    #[must_use]
    pub fn parts(&self) -> &KeyringParts {
        &self.parts
    }

    /// The director's keys, by the digests that name them, revoked or not: a revocation may stop being heeded, and what was said
    /// before it is old all the same.
    #[must_use]
    pub fn directors(&self) -> Vec<Digest> {
        self.parts.director.keys.iter().map(|key| key.id().0).collect()
    }

    /// Whose it is.
    #[must_use]
    pub fn fleet(&self) -> &FleetId {
        &self.parts.fleet
    }

    /// The same, and from `expires` on it lets nothing new run. What runs, runs on.
    pub(crate) fn expiring(self, expires: Option<UnixMs>) -> Self {
        Self { expires, ..self }
    }

    /// The same, with what was revoked. It takes the place of what was revoked before.
    #[must_use]
    pub fn revoking(self, revocation: Option<VerifiedRevocation>) -> Self {
        Self { revocation: revocation.map(Box::new), ..self }
    }

    /// The same, told that nothing was heard for `age` of who is trusted. Beyond `most` it lets nothing new run: by now
    /// it may have been revoked. What runs, runs on; and a way home asks nobody.
    #[must_use]
    pub fn unheard_for(self, age: Millis, most: Option<Millis>) -> Self {
        let unheard = most.filter(|most| age > *most).map(|most| (age, most));
        Self { unheard, ..self }
    }

    /// What was revoked.
    #[must_use]
    pub fn revocation(&self) -> Option<&VerifiedRevocation> {
        self.revocation.as_deref()
    }

    /// How long nothing was heard, and how long that may be, if it is too long.
    pub(crate) fn unheard(&self) -> Option<(Millis, Millis)> {
        self.unheard
    }

    /// Whether it may still let something new run.
    #[must_use]
    pub fn freshness(&self, attested: Option<UnixMs>) -> Freshness {
        match (self.expires, attested) {
            (Some(since), Some(now)) if now >= since => Freshness::Expired { since },
            (Some(_) | None, _) => Freshness::Fresh,
        }
    }

    /// The keys of one of the roles that are one each; a vendor's are asked for by their name.
    pub(crate) fn role(&self, kind: RoleKind) -> Option<&Role> {
        self.parts.roles().into_iter().find(|(of, _)| *of == kind).map(|(_, role)| role)
    }

    /// How many of a role have to sign.
    pub(crate) fn needs(&self, kind: RoleKind) -> u8 {
        self.role(kind).map_or(1, |role| role.threshold)
    }

    /// What the key `id` is to a role. A vendor's may be any vendor's: what it may sign, its prefix says.
    pub(crate) fn signer(&self, kind: RoleKind, id: &KeyId) -> Signer {
        let key = match self.role(kind) {
            Some(role) => role.find(id),
            None => self.parts.vendors.iter().find_map(|vendor| vendor.role.find(id)),
        };
        match key {
            None => Signer::Unknown,
            Some(_) if self.revokes_key(id) => Signer::Revoked,
            Some(key) => Signer::Trusted(key),
        }
    }

    /// Opens a statement to all of the fleet, signed by as many of a role's keys as the role asks for.
    pub(crate) fn open<'a>(
        &self,
        bytes: &'a [u8],
        domain: Domain,
        role: RoleKind,
    ) -> Result<Opened<'a>, Refusal> {
        let is_meant = |audience: &Audience| matches!(audience, Audience::Fleet(_));
        let signer = |id: &KeyId, _: &[u8]| self.signer(role, id);
        envelope::open(bytes, domain, Some(self.fleet()), is_meant, signer, self.needs(role))
    }

    pub(crate) fn revokes_key(&self, id: &KeyId) -> bool {
        self.revocation().is_some_and(|revocation| revocation.revocation().keys.contains(id))
    }

    /// The vendor whose name `plugin` bears.
    pub(crate) fn vendor(&self, plugin: &PluginId) -> impl Iterator<Item = &Vendor> {
        let prefix = plugin.as_str().split_once('/').map(|(vendor, _)| vendor);
        self.parts.vendors.iter().filter(move |vendor| Some(vendor.prefix.as_str()) == prefix)
    }
}

fn encode(parts: &KeyringParts, form: Form) -> Vec<u8> {
    let written = match form {
        Form::Two => postcard::to_extend(parts, Vec::from(MAGIC_2)),
        Form::One => {
            let KeyringParts { number, fleet, operator, release, director, vendors, .. } = parts.clone();
            let v1 = PartsV1 { number, fleet, operator, release, director, vendors };
            postcard::to_extend(&v1, Vec::from(MAGIC_1))
        }
    };
    written.expect("writing to memory can't fail")
}
