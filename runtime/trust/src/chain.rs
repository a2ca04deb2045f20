//! How one keyring follows another.
//!
//! A link is keyring n+1 signed by as many roots as n asks for, and by as many as n+1 asks for: the old ones say who
//! comes after them, the new ones show that they are there. Links are followed one by one. None is skipped, because
//! only n knows who may speak for n+1; and none leads back. A keyring names the one before it by its digest, so that
//! whoever knows the newest finds all that lie between.
//!
//! Roots are not revoked, only replaced: else whoever has a revoker's key could take the fleet's future away. Expiry
//! stops nobody from following, however late: a link that expired lets nothing new run, and the next one may.

use core::fmt;

use backstay_model::{Digest, UnixMs};

use crate::{
    Audience, Domain, Keyring, KeyringError, Refusal, RoleKind, SignError, Stamp, Statement,
    envelope::{Opened, open},
};

/// What a link is to who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Step {
    /// The keyring that follows: keep the link, and then trust it in place of the one before.
    To(Keyring),
    /// The one that is trusted already.
    Same,
}

/// The keyring that is trusted, and the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    newest: Keyring,
    before: Option<Keyring>,
}

impl Chain {
    /// From the keyring in the image.
    #[must_use]
    pub fn new(image: Keyring) -> Self {
        Self { newest: image, before: None }
    }

    /// The keyring that is trusted.
    #[must_use]
    pub fn newest(&self) -> &Keyring {
        &self.newest
    }

    /// Follows a link, if it is the next.
    ///
    /// # Errors
    /// Says why it isn't; what was trusted is trusted still.
    pub fn follow(&mut self, link: &[u8]) -> Result<Step, ChainError> {
        let step = self.newest.follow(link, self.before.as_ref())?;
        if let Step::To(next) = &step {
            self.before = Some(core::mem::replace(&mut self.newest, next.clone()));
        }
        Ok(step)
    }
}

/// What a link claims. Nothing of it is believed: it serves to find the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The digest of the keyring.
    pub keyring: Digest,
    /// Its number.
    pub number: u64,
    /// The one that it says it follows.
    pub before: Option<Digest>,
}

impl Claim {
    /// Of the link in `bytes`.
    ///
    /// # Errors
    /// If they are none.
    pub fn of(bytes: &[u8]) -> Result<Self, ChainError> {
        let statement = Statement::read(bytes).map_err(ChainError::Refused)?;
        if statement.domain() != Domain::Keyring {
            let (wanted, found) = (Domain::Keyring, statement.domain().code());
            return Err(ChainError::Refused(Refusal::OtherDomain { wanted, found }));
        }
        let keyring = Keyring::decode(statement.payload()).map_err(ChainError::Keyring)?;
        let (number, before) = (keyring.parts().number, keyring.parts().before);
        Ok(Self { keyring: *keyring.digest(), number, before })
    }
}

impl Keyring {
    /// Drafts the link to this keyring, for the roots of the one before and its own to sign.
    ///
    /// # Errors
    /// If no reader would take it.
    pub fn link(&self, issued: UnixMs, expires: Option<UnixMs>) -> Result<Statement, SignError> {
        let domain = Domain::Keyring;
        let stamp = Stamp { sequence: self.parts().number, issued, expires };
        Statement::draft(domain, Audience::Fleet(self.fleet().clone()), stamp, &self.encode())
    }

    /// Whether this one lets `link` follow. `before`: the one that this one followed.
    fn follow(&self, link: &[u8], before: Option<&Self>) -> Result<Step, ChainError> {
        let domain = Domain::Keyring;
        // What the numbers say goes before any signature: it is the better reason, and costs less.
        let Claim { number, keyring, before: follows } = Claim::of(link)?;
        let trusted = self.parts().number;
        if number < trusted {
            return Err(ChainError::Older { number, trusted });
        }
        if keyring == *self.digest() {
            return Ok(Step::Same);
        }
        if number == trusted {
            // Only an alarm if those signed it who could: anybody can make up a keyring.
            let signers = before.unwrap_or(self);
            signers.opened(link, signers).map_err(|source| ChainError::Signatures { of: number, source })?;
            return Err(ChainError::Forked { number });
        }
        if number > trusted + 1 {
            return Err(ChainError::Skipped { number, trusted });
        }
        if self.parts().root.keys.is_empty() {
            return Err(ChainError::NoRoot { number: trusted });
        }
        let opened =
            self.opened(link, self).map_err(|source| ChainError::Signatures { of: trusted, source })?;
        let next = Self::decode(opened.payload).map_err(ChainError::Keyring)?;
        if opened.stamp.sequence != next.parts().number || next.fleet() != self.fleet() {
            let what = "the envelope is of another number or fleet than the keyring";
            return Err(ChainError::Refused(Refusal::Inconsistent { domain, what }));
        }
        if follows != Some(*self.digest()) {
            return Err(ChainError::OtherBefore { number });
        }
        if next.parts().root.keys.is_empty() {
            return Err(ChainError::NoRoot { number });
        }
        self.opened(link, &next).map_err(|source| ChainError::Signatures { of: number, source })?;
        Ok(Step::To(next.expiring(opened.stamp.expires)))
    }

    /// The link, signed by as many of the roots of `by` as it asks for.
    fn opened<'a>(&self, link: &'a [u8], by: &Self) -> Result<Opened<'a>, Refusal> {
        let root = &by.parts().root;
        let meant = |audience: &Audience| matches!(audience, Audience::Fleet(_));
        let needs = by.needs(RoleKind::Root);
        open(link, Domain::Keyring, Some(self.fleet()), meant, |id, _| root.signer(id), needs)
    }
}

/// A link that is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// It is no link, or not for this fleet.
    Refused(Refusal),
    /// What it leads to is no keyring to trust.
    Keyring(KeyringError),
    /// The roots of a keyring have not signed it, or not enough of them; the [`Refusal`] is the `source()`.
    Signatures {
        /// The number of the keyring whose roots have to sign.
        of: u64,
        /// What is missing.
        source: Refusal,
    },
    /// It leads back.
    Older {
        /// The number of the keyring.
        number: u64,
        /// The number of the one that is trusted.
        trusted: u64,
    },
    /// There are others between.
    Skipped {
        /// The number of the keyring.
        number: u64,
        /// The number of the one that is trusted.
        trusted: u64,
    },
    /// It has the number of the keyring that is trusted, is well signed, and says something else: an alarm.
    Forked {
        /// The number.
        number: u64,
    },
    /// It follows another keyring of the number before it.
    OtherBefore {
        /// Its number.
        number: u64,
    },
    /// A keyring has no roots, so none can follow it.
    NoRoot {
        /// Its number.
        number: u64,
    },
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(_) => f.write_str("the link to the next keyring is not accepted"),
            Self::Keyring(_) => f.write_str("the next keyring is not one to trust"),
            Self::Signatures { of, .. } => {
                write!(f, "the roots of keyring {of} do not vouch for the next keyring")
            }
            Self::Older { number, trusted } => {
                write!(f, "keyring {number} is older than keyring {trusted}, which is trusted here")
            }
            Self::Skipped { number, trusted } => {
                write!(f, "keyring {number} does not follow keyring {trusted}: there are others between")
            }
            Self::Forked { number } => {
                write!(f, "there are two keyrings {number}, both signed: somebody has the root keys")
            }
            Self::OtherBefore { number } => {
                write!(f, "keyring {number} follows another keyring than the one that is trusted here")
            }
            Self::NoRoot { number } => write!(f, "keyring {number} has no root keys, so none can follow it"),
        }
    }
}

impl core::error::Error for ChainError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) | Self::Signatures { source: refusal, .. } => Some(refusal),
            Self::Keyring(error) => Some(error),
            Self::Older { .. }
            | Self::Skipped { .. }
            | Self::Forked { .. }
            | Self::OtherBefore { .. }
            | Self::NoRoot { .. } => None,
        }
    }
}

impl ChainError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) | Self::Signatures { source: refusal, .. } => refusal.help(),
            Self::Keyring(error) => error.help(),
            Self::Older { .. } => Some("make a newer one: trust never goes back to an older keyring"),
            Self::Skipped { .. } => Some("fetch the links between; each one is needed"),
            Self::Forked { .. } => {
                Some("find out who signed both; then put an image with a new keyring number 1 on the devices")
            }
            Self::OtherBefore { .. } => Some("make it of the keyring that is trusted: backstay keys rotate"),
            Self::NoRoot { .. } => {
                Some("put an image on the device whose keyring has root keys: backstay keys init")
            }
        }
    }
}
