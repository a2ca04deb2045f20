//! What revokers say: which keys and things are not to be trusted any more.
//!
//! Each revocation says all of it again, and takes the place of the one before. It only ever adds: what a newer one
//! leaves out would come back to life. To forget a key, make a keyring without it. A revocation never expires, and
//! never stops a device from going home: what it takes away is trust in keys, plugins and releases that are still
//! to be taken into use, and in plugins that are asked.

use alloc::{string::ToString, vec::Vec};
use core::fmt;

use backstay_model::{Digest, PluginId, Version};
use serde::{Deserialize, Serialize};

use crate::{
    Audience, Domain, KeyId, Keyring, Refusal, RoleKind, SecretKey, SignError, Stamp, Statement, Succession,
    Target, Watermark, envelope::Opened,
};

/// What is not to be trusted any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Keys of any role but root, whose signatures don't count. At most 64.
    pub keys: Vec<KeyId>,
    /// Plugin releases, grants, components, artifacts, and product releases by the digest of their artifact or of
    /// their statement. At most 512.
    pub digests: Vec<Digest>,
    /// The oldest release that may run, plugin by plugin. At most 64.
    pub plugins: Vec<OldestRelease>,
    /// The oldest compiler whose code may run, by the CPU that it is for. At most 16.
    pub compilers: Vec<OldestCompiler>,
    /// The lowest security epoch that may be installed: below it there is a hole that is known. Going home to what a device
    /// already has is the device's own affair, and bounded by the epoch that was confirmed there.
    #[serde(skip)]
    pub security_floor: u32,
}

/// The oldest release of a plugin that may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldestRelease {
    /// Which plugin.
    pub plugin: PluginId,
    /// The sequence of its release.
    pub sequence: u64,
}

/// The oldest compiler whose code may run on a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldestCompiler {
    /// What the code is for.
    pub target: Target,
    /// Three numbers with a dot between them.
    pub compiler: Version,
}

const KEYS_MAX: usize = 64;
const DIGESTS_MAX: usize = 512;
const PLUGINS_MAX: usize = 64;
const COMPILERS_MAX: usize = 16;

impl Revocation {
    /// Drafts it for `fleet`, for revokers to sign. The sequence in `stamp` grows with each.
    ///
    /// # Errors
    /// If no reader would take it.
    pub fn draft(&self, fleet: backstay_model::FleetId, stamp: Stamp) -> Result<Statement, SignError> {
        let domain = Domain::Revocation;
        if let Some(what) = self.unfit() {
            return Err(SignError::Inconsistent { domain, what: what.to_string() });
        }
        let mut payload = postcard::to_allocvec(self).expect("writing to memory can't fail");
        // It came later than the lists, and stands behind them only where it says something: without it the bytes are as
        // they always were.
        if self.security_floor > 0 {
            payload
                .extend(postcard::to_allocvec(&self.security_floor).expect("writing to memory can't fail"));
        }
        Statement::draft(domain, Audience::Fleet(fleet), stamp, &payload)
    }

    /// Drafts it and signs it with one key.
    ///
    /// # Errors
    /// If no reader would take it.
    pub fn sign(
        &self,
        revoker: &SecretKey,
        fleet: backstay_model::FleetId,
        stamp: Stamp,
    ) -> Result<Vec<u8>, SignError> {
        let mut statement = self.draft(fleet, stamp)?;
        statement.sign(revoker)?;
        statement.encode()
    }

    fn of(opened: &Opened<'_>, domain: Domain) -> Result<Self, Refusal> {
        let (revocation, rest) = opened.parse_front::<Self>(domain)?;
        if rest.is_empty() {
            return Ok(revocation);
        }
        match postcard::take_from_bytes::<u32>(rest) {
            Ok((0, _)) | Err(_) => Err(Refusal::Malformed { domain, part: "security floor" }),
            Ok((security_floor, [])) => Ok(Self { security_floor, ..revocation }),
            Ok((_, rest)) => Err(Refusal::Trailing { domain, bytes: rest.len() }),
        }
    }

    fn unfit(&self) -> Option<&'static str> {
        if self.keys.len() > KEYS_MAX {
            Some("it revokes too many keys: make a keyring without those that were stolen")
        } else if self.digests.len() > DIGESTS_MAX {
            Some("it revokes too many digests: revoke by the sequence of the plugin")
        } else if self.plugins.len() > PLUGINS_MAX || self.compilers.len() > COMPILERS_MAX {
            Some("it has too many plugins or compilers")
        } else if self.compilers.iter().any(|oldest| numbers(&oldest.compiler).is_none()) {
            Some("a compiler is not three numbers with a dot between them")
        } else {
            None
        }
    }

    /// The oldest release of `plugin` that may run, if one is said.
    #[must_use]
    pub fn oldest_release(&self, plugin: &PluginId) -> Option<u64> {
        self.plugins.iter().filter(|oldest| oldest.plugin == *plugin).map(|oldest| oldest.sequence).max()
    }

    /// The compiler that code by `compiler` for `target` would have to be made with, if that one is too old.
    pub(crate) fn too_old(&self, target: &Target, compiler: &Version) -> Option<&Version> {
        let has = numbers(compiler);
        let mut floors = self.compilers.iter().filter(|oldest| oldest.target == *target);
        // A compiler that can't be compared is no newer one.
        floors.find(|oldest| has.is_none() || has < numbers(&oldest.compiler)).map(|oldest| &oldest.compiler)
    }

    /// What this one leaves out of `older`, if anything. A key that no keyring has any more may go.
    fn takes_back(&self, older: &Self, keyring: &Keyring) -> Option<&'static str> {
        let keys = older.keys.iter().filter(|key| keyring.parts().has(key));
        let plugin = |oldest: &OldestRelease| self.oldest_release(&oldest.plugin) >= Some(oldest.sequence);
        let compiler = |oldest: &OldestCompiler| {
            let mut ours = self.compilers.iter().filter(|ours| ours.target == oldest.target);
            ours.any(|ours| numbers(&ours.compiler) >= numbers(&oldest.compiler))
        };
        if !keys.into_iter().all(|key| self.keys.contains(key)) {
            Some("a key")
        } else if !older.digests.iter().all(|digest| self.digests.contains(digest)) {
            Some("a digest")
        } else if !older.plugins.iter().all(plugin) {
            Some("the oldest release of a plugin")
        } else if !older.compilers.iter().all(compiler) {
            Some("the oldest compiler of a CPU")
        } else if self.security_floor < older.security_floor {
            Some("the security floor")
        } else {
            None
        }
    }
}

/// Three numbers with a dot between them, in their order.
fn numbers(version: &Version) -> Option<[u32; 3]> {
    let mut parts = version.as_str().split('.');
    let mut next = || {
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse::<u32>().ok()
    };
    let found = [next()?, next()?, next()?];
    if parts.next().is_none() { Some(found) } else { None }
}

/// A revocation by the fleet's revokers. Only [`Keyring::verify_revocation`] makes one; [`Keyring::revoking`] heeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRevocation {
    revocation: Revocation,
    stamp: Stamp,
    digest: Digest,
}

impl VerifiedRevocation {
    /// What it says.
    #[must_use]
    pub fn revocation(&self) -> &Revocation {
        &self.revocation
    }

    /// When it was made.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Names it, whoever signed it.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// To compare with the last that was accepted.
    #[must_use]
    pub fn watermark(&self) -> Watermark {
        Watermark { sequence: self.stamp.sequence, digest: self.digest }
    }
}

impl Keyring {
    /// Checks that `bytes` are a revocation that may take the place of the one that is heeded, if there is one. The same
    /// one, brought again, is fine.
    ///
    /// # Errors
    /// Says why it may not.
    pub fn verify_revocation(&self, bytes: &[u8]) -> Result<VerifiedRevocation, RevocationError> {
        let domain = Domain::Revocation;
        let opened = self.open(bytes, domain, RoleKind::Revoker).map_err(RevocationError::Refused)?;
        let revocation = Revocation::of(&opened, domain).map_err(RevocationError::Refused)?;
        if let Some(what) = revocation.unfit() {
            return Err(RevocationError::Refused(Refusal::Inconsistent { domain, what }));
        }
        let (sequence, digest) = (opened.stamp.sequence, opened.digest);
        let verified = VerifiedRevocation { revocation, stamp: opened.stamp, digest };
        let Some(heeded) = self.revocation() else { return Ok(verified) };
        let known = heeded.watermark();
        match verified.watermark().after(Some(&known)) {
            Succession::Same => Ok(verified),
            Succession::Older => Err(RevocationError::Older { sequence, heeded: known.sequence }),
            Succession::Forked => Err(RevocationError::Forked { sequence }),
            Succession::Newer => match verified.revocation.takes_back(heeded.revocation(), self) {
                Some(what) => Err(RevocationError::TakesBack { sequence, what }),
                None => Ok(verified),
            },
        }
    }
}

/// A revocation that is not heeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationError {
    /// It is not believed; the [`Refusal`] is the `source()`.
    Refused(Refusal),
    /// A newer one is heeded.
    Older {
        /// Its sequence.
        sequence: u64,
        /// The sequence of the one that is heeded.
        heeded: u64,
    },
    /// It has the sequence of the one that is heeded and says something else: an alarm.
    Forked {
        /// The sequence.
        sequence: u64,
    },
    /// It leaves out what was revoked.
    TakesBack {
        /// Its sequence.
        sequence: u64,
        /// What it leaves out.
        what: &'static str,
    },
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(_) => f.write_str("the revocation is not accepted"),
            Self::Older { sequence, heeded } => {
                write!(f, "revocation {sequence} is older than revocation {heeded}, which is heeded here")
            }
            Self::Forked { sequence } => {
                write!(f, "there are two revocations {sequence}, both signed: somebody signs two histories")
            }
            Self::TakesBack { sequence, what } => {
                write!(f, "revocation {sequence} takes back {what} of the one before it")
            }
        }
    }
}

impl core::error::Error for RevocationError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Older { .. } | Self::Forked { .. } | Self::TakesBack { .. } => None,
        }
    }
}

impl RevocationError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => refusal.help(),
            Self::Older { .. } => Some("sign it with a higher sequence than the last one"),
            Self::Forked { .. } => {
                Some("find out who signed both; make a keyring without the revoker whose key was used")
            }
            Self::TakesBack { .. } => {
                Some("add to the last revocation, with --after; to forget a key, make a keyring without it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_compared_by_their_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert_eq!(numbers(&version("48.0.8")), Some([48, 0, 8]));
        for odd in ["48.0", "48.0.8.1", "48.0.8-rc1", "48.0.x", "48.0.99999999999"] {
            assert_eq!(numbers(&version(odd)), None, "{odd}");
        }
        let target = Target::parse("aarch64-linux").unwrap();
        let oldest = OldestCompiler { target: target.clone(), compiler: version("48.0.10") };
        let revocation = Revocation { compilers: Vec::from([oldest]), ..Revocation::default() };
        let too_old = |has| revocation.too_old(&target, &version(has)).is_some();
        assert!(too_old("48.0.9") && too_old("47.9.99") && too_old("new"));
        assert!(!too_old("48.0.10") && !too_old("100.0.0"));
        assert_eq!(revocation.too_old(&Target::parse("x86_64-linux").unwrap(), &version("1.0.0")), None);
    }
}
