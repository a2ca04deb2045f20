//! The releases that can be handed out: what the release keys signed and somebody published here.
//!
//! Not here: the artifacts themselves (a shelf of `api`), and whether a device takes one (each asks by itself).

use std::{collections::BTreeMap, error::Error, fmt};

use backstay_api::{Shelf, ShelfError};
use backstay_model::{Digest, UnixMs, Version};
use backstay_trust::{Freshness, Keyring, Refusal, VerifiedRelease};

/// All releases that were published here, by the digest of their artifact.
#[derive(Debug)]
pub(crate) struct Catalogue {
    statements: Shelf,
    artifacts: Shelf,
    releases: BTreeMap<Digest, VerifiedRelease>,
}

/// A statement that is not taken.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// It is not to be believed.
    Untrusted(Refusal),
    /// There is a newer one about the same artifact.
    Older {
        /// Its sequence.
        sequence: u64,
        /// That of the one that is here.
        here: u64,
    },
    /// The disk doesn't take it.
    Shelf(ShelfError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(_) => f.write_str("the statement is not to be believed"),
            Self::Older { sequence, here } => {
                write!(f, "statement {sequence} is older than statement {here} about the same artifact")
            }
            Self::Shelf(_) => f.write_str("the statement can't be kept"),
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Untrusted(refusal) => Some(refusal),
            Self::Older { .. } => None,
            Self::Shelf(error) => Some(error),
        }
    }
}

/// A release that can't be begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// Nobody published one of that version.
    Unknown,
    /// Several releases have that version.
    Several(Vec<Digest>),
    /// Its artifact was not uploaded.
    NoArtifact(Digest),
    /// Its statement may not be installed anew any more.
    Expired,
}

impl Catalogue {
    /// What is on the shelves. What doesn't hold any more is left there and told.
    pub(crate) fn open(statements: Shelf, artifacts: Shelf, keyring: &Keyring) -> (Self, Vec<String>) {
        let (mut releases, mut odd) = (BTreeMap::new(), Vec::new());
        for digest in statements.names() {
            let read = statements.get(&digest).map_err(|error| error.to_string());
            let bytes = read.map(Option::unwrap_or_default);
            match bytes.and_then(|bytes| keyring.verify_release(&bytes, None).map_err(|why| why.to_string()))
            {
                Ok(release) if release.release().digest == digest => drop(releases.insert(digest, release)),
                Ok(_) => odd.push(format!("statement {digest} is about another release")),
                Err(why) => odd.push(format!("statement {digest} is left out: {why}")),
            }
        }
        (Self { statements, artifacts, releases }, odd)
    }

    /// Looks at all of them again, by another keyring. What is left out is told.
    pub(crate) fn look_again(&mut self, keyring: &Keyring) -> Vec<String> {
        let left_out;
        (*self, left_out) = Self::open(self.statements.clone(), self.artifacts.clone(), keyring);
        left_out
    }

    /// Takes a statement, durably.
    ///
    /// # Errors
    /// If it is not to be believed, is older than what is here, or can't be kept.
    pub(crate) fn publish(
        &mut self,
        bytes: &[u8],
        keyring: &Keyring,
    ) -> Result<&VerifiedRelease, PublishError> {
        let release = keyring.verify_release(bytes, None).map_err(PublishError::Untrusted)?;
        let digest = release.release().digest;
        let (sequence, here) =
            (release.stamp().sequence, self.releases.get(&digest).map_or(0, |here| here.stamp().sequence));
        if sequence < here {
            return Err(PublishError::Older { sequence, here });
        }
        self.statements.put(&digest, bytes).map_err(PublishError::Shelf)?;
        self.releases.insert(digest, release);
        Ok(self.releases.get(&digest).expect("it has just been put there"))
    }

    /// The one release of this version.
    ///
    /// # Errors
    /// If there is not exactly one that can be handed out.
    pub(crate) fn find(&self, version: &Version, at: UnixMs) -> Result<&VerifiedRelease, Unavailable> {
        let release = self.find_here(version)?;
        match release.stamp().freshness(Some(at)) {
            Freshness::Fresh => Ok(release),
            Freshness::Expired { .. } => Err(Unavailable::Expired),
        }
    }

    /// The one release of this version, to go back to: that does not expire.
    ///
    /// # Errors
    /// If there is not exactly one whose artifact can be handed out.
    pub(crate) fn find_here(&self, version: &Version) -> Result<&VerifiedRelease, Unavailable> {
        let mut found = self.releases.values().filter(|release| release.release().version == *version);
        let release = found.next().ok_or(Unavailable::Unknown)?;
        let others: Vec<Digest> = found.map(|other| other.release().digest).collect();
        let digest = release.release().digest;
        if !others.is_empty() {
            return Err(Unavailable::Several([vec![digest], others].concat()));
        }
        if !self.artifacts.has(&digest) {
            return Err(Unavailable::NoArtifact(digest));
        }
        Ok(release)
    }

    /// Whether a release can be handed out: its statement and its artifact are here.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.releases.contains_key(digest) && self.artifacts.has(digest)
    }

    /// What is known of the release with this artifact.
    pub(crate) fn release(&self, digest: &Digest) -> Option<&VerifiedRelease> {
        self.releases.get(digest)
    }

    /// All of them, and whether the artifact is here.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&VerifiedRelease, bool)> {
        self.releases.values().map(|release| (release, self.artifacts.has(&release.release().digest)))
    }
}
