//! Which key is trusted with what.
//!
//! Keyring number one is in the image, and is believed because the image is. It can be shown and compared by
//! its digest. Not here yet: the chain from one keyring to the next, signed by the threshold of both.

use alloc::vec::Vec;
use core::fmt;

use backstay_model::{Digest, FleetId, Name, PluginId};
use serde::{Deserialize, Serialize};

use crate::{KeyId, PublicKey, envelope::sha256};

const MAGIC: [u8; 4] = *b"bkk1";
/// The most keys of one role, and with a stolen one replaced by a new one there are two for a while.
const KEYS_MAX: usize = 8;
/// The most vendors.
const VENDORS_MAX: usize = 64;

/// What a keyring says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyringParts {
    /// 1 for the one in the image; each that follows has one more.
    pub number: u64,
    /// Whose.
    pub fleet: FleetId,
    /// Lets plugins run, and seconds orders. Offline.
    pub operator: Role,
    /// Releases the product. Offline.
    pub release: Role,
    /// Steers among what the others allow: the server's own. Online.
    pub director: Role,
    /// Release plugins, each under their own name. At most 64.
    pub vendors: Vec<Vendor>,
}

/// The keys of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// How many of them have to sign. 1 for now, any other number is refused.
    pub threshold: u8,
    /// 1 to 8, none twice.
    pub keys: Vec<PublicKey>,
}

impl Role {
    /// A role of one key.
    #[must_use]
    pub fn of(key: PublicKey) -> Self {
        Self { threshold: 1, keys: Vec::from([key]) }
    }

    fn find(&self, id: &KeyId) -> Option<PublicKey> {
        self.keys.iter().find(|key| key.id() == *id).copied()
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

/// Which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// [`KeyringParts::operator`].
    Operator,
    /// [`KeyringParts::release`].
    Release,
    /// [`KeyringParts::director`].
    Director,
    /// One of [`KeyringParts::vendors`].
    Vendor,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Release => "release",
            Self::Director => "director",
            Self::Vendor => "vendor",
        })
    }
}

/// The keys that are trusted, checked for being worth it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    parts: KeyringParts,
    digest: Digest,
}

impl Keyring {
    /// The longest keyring, in bytes.
    pub const BYTES_MAX: usize = 32 * 1024;

    /// Checks `parts`.
    ///
    /// # Errors
    /// If a role has no key, or too many, or one twice; or if two roles share a key: then one theft would take
    /// both, and the second signature proves nothing.
    pub fn new(parts: KeyringParts) -> Result<Self, KeyringError> {
        let fixed = [
            (RoleKind::Operator, &parts.operator),
            (RoleKind::Release, &parts.release),
            (RoleKind::Director, &parts.director),
        ];
        let vendors = parts.vendors.iter().map(|vendor| (RoleKind::Vendor, &vendor.role));
        if parts.vendors.len() > VENDORS_MAX {
            return Err(KeyringError::Vendors { has: parts.vendors.len() });
        }
        let mut seen: Vec<(RoleKind, PublicKey)> = Vec::new();
        for (kind, role) in fixed.into_iter().chain(vendors) {
            if role.threshold != 1 {
                return Err(KeyringError::Threshold { role: kind, threshold: role.threshold });
            }
            if !(1..=KEYS_MAX).contains(&role.keys.len()) {
                return Err(KeyringError::Keys { role: kind, has: role.keys.len() });
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
        let digest = sha256(&encode(&parts));
        Ok(Self { parts, digest })
    }

    /// Reads a keyring, to its last byte.
    ///
    /// # Errors
    /// If it is too large, isn't one, or isn't worth trusting.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyringError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(KeyringError::TooLarge { bytes: bytes.len() });
        }
        let body = bytes.strip_prefix(&MAGIC).ok_or(KeyringError::Malformed)?;
        let (parts, _) = postcard::take_from_bytes(body).map_err(|_| KeyringError::Malformed)?;
        let keyring = Self::new(parts)?;
        // There is one form only of each keyring, so that its digest names it; nothing can follow it, either.
        if keyring.encode() == bytes { Ok(keyring) } else { Err(KeyringError::Malformed) }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.parts)
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

    /// Whose it is.
    #[must_use]
    pub fn fleet(&self) -> &FleetId {
        &self.parts.fleet
    }

    /// The key of a role with this id. A vendor's may be any vendor's: what it may sign, its prefix says.
    pub(crate) fn find(&self, role: RoleKind, id: &KeyId) -> Option<PublicKey> {
        match role {
            RoleKind::Operator => self.parts.operator.find(id),
            RoleKind::Release => self.parts.release.find(id),
            RoleKind::Director => self.parts.director.find(id),
            RoleKind::Vendor => self.parts.vendors.iter().find_map(|vendor| vendor.role.find(id)),
        }
    }

    /// Whether the key `id` may release `plugin`.
    pub(crate) fn may_release(&self, id: &KeyId, plugin: &PluginId) -> bool {
        let prefix = plugin.as_str().split_once('/').map(|(vendor, _)| vendor);
        self.parts
            .vendors
            .iter()
            .any(|vendor| Some(vendor.prefix.as_str()) == prefix && vendor.role.find(id).is_some())
    }
}

fn encode(parts: &KeyringParts) -> Vec<u8> {
    postcard::to_extend(parts, Vec::from(MAGIC)).expect("writing to memory can't fail")
}

/// A keyring that can't be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyringError {
    /// It is larger than any.
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It can't be read.
    Malformed,
    /// More signatures are asked for than can be checked.
    Threshold {
        /// For which role.
        role: RoleKind,
        /// How many.
        threshold: u8,
    },
    /// A role has no key, or too many.
    Keys {
        /// Which.
        role: RoleKind,
        /// How many.
        has: usize,
    },
    /// There are too many vendors.
    Vendors {
        /// How many.
        has: usize,
    },
    /// A key is there twice.
    Shared {
        /// Which.
        key: KeyId,
        /// Where.
        roles: [RoleKind; 2],
    },
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(
                    f,
                    "keyring of {bytes} bytes is larger than the {} that are allowed",
                    Keyring::BYTES_MAX
                )
            }
            Self::Malformed => f.write_str("keyring can't be read"),
            Self::Threshold { role, threshold } => {
                write!(f, "keyring asks for {threshold} {role} signatures, 1 can be checked")
            }
            Self::Keys { role, has } => {
                write!(f, "keyring has {has} {role} keys, 1 to {KEYS_MAX} are allowed")
            }
            Self::Vendors { has } => write!(f, "keyring has {has} vendors, {VENDORS_MAX} are allowed"),
            Self::Shared { key, roles: [one, other] } => {
                write!(f, "keyring has key {key} twice, as {one} and as {other}")
            }
        }
    }
}

impl core::error::Error for KeyringError {}

impl KeyringError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } | Self::Malformed => {
                Some("fetch the keyring again from where it was made, and compare its digest")
            }
            Self::Threshold { .. } => Some("a newer Backstay made this keyring: update this one first"),
            Self::Keys { .. } | Self::Vendors { .. } => Some("make the keyring anew"),
            Self::Shared { .. } => Some("give each role a key of its own: one theft must not take two roles"),
        }
    }
}
