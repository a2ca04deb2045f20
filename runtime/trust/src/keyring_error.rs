//! Roles by name, and why a keyring can't be trusted.

use core::fmt;

use crate::{
    KeyId, Keyring,
    keyring::{KEYS_MAX, VENDORS_MAX},
};

/// Which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// [`KeyringParts::root`](crate::KeyringParts::root).
    Root,
    /// [`KeyringParts::operator`](crate::KeyringParts::operator).
    Operator,
    /// [`KeyringParts::release`](crate::KeyringParts::release).
    Release,
    /// [`KeyringParts::director`](crate::KeyringParts::director).
    Director,
    /// [`KeyringParts::revoker`](crate::KeyringParts::revoker).
    Revoker,
    /// [`KeyringParts::verdict`](crate::KeyringParts::verdict).
    Verdict,
    /// [`KeyringParts::device`](crate::KeyringParts::device).
    Device,
    /// One of [`KeyringParts::vendors`](crate::KeyringParts::vendors).
    Vendor,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Root => "root",
            Self::Operator => "operator",
            Self::Release => "release",
            Self::Director => "director",
            Self::Revoker => "revoker",
            Self::Verdict => "verdict",
            Self::Device => "device",
            Self::Vendor => "vendor",
        })
    }
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
    /// More signatures are asked for than can be had, or none.
    Threshold {
        /// For which role.
        role: RoleKind,
        /// How many are asked for.
        threshold: u8,
        /// How many can be had.
        most: usize,
    },
    /// A role has no key, or too many.
    Keys {
        /// Which.
        role: RoleKind,
        /// How many it has to have.
        least: usize,
        /// How many it has.
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
    /// It has number 1 and one before it, or another number and none.
    Before {
        /// Its number.
        number: u64,
    },
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                let max = Keyring::BYTES_MAX;
                write!(f, "keyring of {bytes} bytes is larger than the {max} that are allowed")
            }
            Self::Malformed => f.write_str("keyring can't be read"),
            Self::Threshold { role, threshold, most } => {
                write!(f, "keyring asks for {threshold} {role} signatures, {most} can be had")
            }
            Self::Keys { role, least, has } => {
                write!(f, "keyring has {has} {role} keys, {least} to {KEYS_MAX} are allowed")
            }
            Self::Vendors { has } => write!(f, "keyring has {has} vendors, {VENDORS_MAX} are allowed"),
            Self::Shared { key, roles: [one, other] } => {
                write!(f, "keyring has key {key} twice, as {one} and as {other}")
            }
            Self::Before { number } => {
                write!(f, "keyring {number} does not say which one it follows, or follows none")
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
            Self::Threshold { .. } => {
                Some("ask for at most as many signatures as the role has keys; the director signs alone")
            }
            Self::Keys { .. } | Self::Vendors { .. } => Some("make the keyring anew"),
            Self::Shared { .. } => Some("give each role a key of its own: one theft must not take two roles"),
            Self::Before { .. } => Some("make it of the one before it: backstay keys rotate"),
        }
    }
}
