//! Why a statement was not believed, or could not be made.

use alloc::string::String;
use core::fmt;

use backstay_model::{Digest, FleetId};

use crate::{Audience, Domain, KeyId};

/// A statement that was not believed. In the order in which things are looked at, the cheap ones first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It isn't a signed statement of any kind.
    NotAStatement,
    /// It is a statement of a kind that isn't known here.
    UnknownKind {
        /// The number of the kind.
        found: u8,
    },
    /// "order of 70000 bytes is larger than the 4608 that are allowed"
    TooLarge {
        /// What was asked for.
        domain: Domain,
        /// Its length.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// It ends before its end.
    Truncated {
        /// What was asked for.
        domain: Domain,
    },
    /// It goes on behind its end.
    Trailing {
        /// What was asked for.
        domain: Domain,
        /// Bytes behind it.
        bytes: usize,
    },
    /// It isn't built as a signed statement is.
    Malformed {
        /// What was asked for.
        domain: Domain,
        /// Which part: "header", "format", "payload", a field.
        part: &'static str,
    },
    /// It is a statement of another kind.
    OtherDomain {
        /// What was asked for.
        wanted: Domain,
        /// Its number, which may be of no kind at all.
        found: u8,
    },
    /// It is for another fleet.
    OtherFleet {
        /// What was asked for.
        domain: Domain,
        /// Ours.
        ours: FleetId,
        /// Whom it is for.
        audience: Audience,
    },
    /// It is for somebody else in the fleet.
    OtherAudience {
        /// What was asked for.
        domain: Domain,
        /// Whom it is for.
        audience: Audience,
    },
    /// It is signed with a key that isn't trusted with this.
    UnknownKey {
        /// What was asked for.
        domain: Domain,
        /// The key that it names.
        key: KeyId,
    },
    /// A key that signed it was revoked, and without it there are too few.
    RevokedKey {
        /// What was asked for.
        domain: Domain,
        /// The revoked key.
        key: KeyId,
    },
    /// Some of those have signed it who have to, and not enough of them.
    TooFew {
        /// What was asked for.
        domain: Domain,
        /// How many have signed.
        has: usize,
        /// How many have to.
        needs: u8,
    },
    /// The signature isn't one of that key over these bytes.
    BadSignature {
        /// What was asked for.
        domain: Domain,
        /// The key that it names.
        key: KeyId,
    },
    /// It was revoked, or what it is about was.
    Revoked {
        /// What was asked for.
        domain: Domain,
        /// What the revocation names.
        digest: Digest,
    },
    /// A release of the product with a hole that is known: a newer one closed it.
    BelowFloor {
        /// The release's security epoch.
        epoch: u32,
        /// The lowest that the revokers let in.
        floor: u32,
    },
    /// It is well signed and says something that can't be.
    Inconsistent {
        /// What was asked for.
        domain: Domain,
        /// What doesn't go together.
        what: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAStatement => f.write_str("this is no signed statement"),
            Self::UnknownKind { found } => write!(f, "this is a statement of unknown kind {found}"),
            Self::TooLarge { domain, bytes, max } => {
                write!(f, "{domain} of {bytes} bytes is larger than the {max} that are allowed")
            }
            Self::Truncated { domain } => write!(f, "{domain} ends before its end"),
            Self::Trailing { domain, bytes } => write!(f, "{bytes} bytes follow the end of the {domain}"),
            Self::Malformed { domain, part } => write!(f, "{domain} can't be read: its {part} is malformed"),
            Self::OtherDomain { wanted, found } => match Domain::from_code(*found) {
                Some(found) => write!(f, "a {wanted} was expected, this is a {found}"),
                None => write!(f, "a {wanted} was expected, this is a statement of unknown kind {found}"),
            },
            Self::OtherFleet { domain, ours, audience } => {
                write!(f, "{domain} is for {audience}, this is fleet {ours}")
            }
            Self::OtherAudience { domain, audience } => write!(f, "{domain} is for {audience}"),
            Self::UnknownKey { domain, key } => {
                write!(f, "{domain} is signed with key {key}, which is not trusted with it here")
            }
            Self::RevokedKey { domain, key } => {
                write!(f, "{domain} is signed with key {key}, which was revoked")
            }
            Self::TooFew { domain, has, needs } => {
                write!(f, "{domain} has {has} of the {needs} signatures that it needs here")
            }
            Self::Revoked { domain, digest } => {
                write!(f, "{domain} is not to be used any more: {} was revoked", digest.short())
            }
            Self::BelowFloor { epoch, floor } => {
                write!(
                    f,
                    "the release is of security epoch {epoch}, and nothing below {floor} is installed here"
                )
            }
            Self::BadSignature { domain, key } => {
                write!(f, "{domain} does not bear a signature of key {key}")
            }
            Self::Inconsistent { domain, what } => write!(f, "{domain} contradicts itself: {what}"),
        }
    }
}

impl core::error::Error for Refusal {}

impl Refusal {
    /// What to do about it, where that can be known.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotAStatement => Some("is it the right file?"),
            Self::UnknownKind { .. } => Some("if a newer Backstay made it, update this one"),
            Self::Truncated { .. } => Some("fetch it again"),
            Self::TooLarge { .. } | Self::Trailing { .. } | Self::Malformed { .. } => {
                Some("see who may write to the place it came from; if a newer Backstay did, update this one")
            }
            Self::OtherDomain { .. } | Self::OtherFleet { .. } | Self::OtherAudience { .. } => {
                Some("it was put where it does not belong: check the path, and who may write there")
            }
            Self::UnknownKey { .. } => Some("compare the keyring here with that of the signer"),
            Self::RevokedKey { .. } => Some("have it signed anew, with keys that are still trusted"),
            Self::TooFew { .. } => {
                Some("hand it to the other holders of the role's keys: backstay keys cosign")
            }
            Self::Revoked { .. } => Some("use one that is not revoked: a revocation is never taken back"),
            Self::BelowFloor { .. } => {
                Some("use a release of that epoch or above: the floor never goes down")
            }
            Self::BadSignature { .. } => Some("it was changed after it was signed: see who may write there"),
            Self::Inconsistent { .. } => Some("ask the signer: it should not have been signed like this"),
        }
    }
}

/// A statement that can't be made, because nobody would believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignError {
    /// It would be larger than its readers take.
    TooLarge {
        /// What it would be.
        domain: Domain,
        /// Its length.
        bytes: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// It says something that no reader would accept.
    Inconsistent {
        /// What it would be.
        domain: Domain,
        /// What is wrong, in words.
        what: String,
    },
    /// What is said to be a signature of a key isn't one over this.
    NotOfKey {
        /// What it would be.
        domain: Domain,
        /// The key.
        key: KeyId,
    },
    /// It has as many signatures as it can have.
    TooMany {
        /// What it is.
        domain: Domain,
        /// How many.
        max: usize,
    },
    /// Nobody has signed it.
    Unsigned {
        /// What it would be.
        domain: Domain,
    },
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { domain, bytes, max } => {
                write!(f, "{domain} would take {bytes} bytes, {max} are allowed")
            }
            Self::Inconsistent { domain, what } => write!(f, "{domain} would not be accepted: {what}"),
            Self::NotOfKey { domain, key } => {
                write!(f, "what came back is no signature of key {key} over the {domain}")
            }
            Self::TooMany { domain, max } => write!(f, "{domain} has {max} signatures, which is the most"),
            Self::Unsigned { domain } => write!(f, "{domain} has no signature"),
        }
    }
}

impl core::error::Error for SignError {}

impl SignError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } => Some("say less in one statement, or name what is large by its digest"),
            Self::Inconsistent { .. } => Some("correct what was asked to be signed"),
            Self::NotOfKey { .. } => {
                Some("see that what signs has this key, and signs the bytes as they are, with plain ed25519")
            }
            Self::TooMany { .. } => Some("begin anew, and have only those sign it who have to"),
            Self::Unsigned { .. } => Some("sign it"),
        }
    }
}
