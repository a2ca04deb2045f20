//! One file that holds a plugin: the release, the grant, and code for none, one or several kinds of machine.
//!
//! ```text
//! "bkp1" | release length u32 | release | grant length u32 | grant | artifacts u32
//!        | { digest [u8; 32] | length u32 | bytes } * artifacts                      all little endian
//! ```
//!
//! Nothing in it is believed because it is there. Code that is missing is fetched by its digest.

use alloc::vec::Vec;
use core::fmt;

use backstay_model::Digest;

use crate::{Artifact, Domain, envelope::sha256};

const MAGIC: [u8; 4] = *b"bkp1";
const ARTIFACTS_MAX: usize = 16;

/// A plugin as it is shipped, its parts still unchecked. It borrows the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// The vendor's statement.
    pub release: &'a [u8],
    /// The operator's statement.
    pub grant: &'a [u8],
    /// Code, each with what its digest is said to be.
    artifacts: Vec<(Digest, &'a [u8])>,
}

impl<'a> Bundle<'a> {
    /// The largest bundle, in bytes.
    pub const BYTES_MAX: usize = 128 << 20;
    /// The largest that a device reads, in bytes: both statements, and for each of the three kinds of machine that there are
    /// as much code as a device loads. One bundle for all of a fleet's machines is how plugins are shipped.
    pub const DEVICE_BYTES_MAX: usize = 3 * Artifact::DEVICE_BYTES_MAX as usize + (128 << 10);

    /// Of these parts; the digests are worked out.
    #[must_use]
    pub fn new(release: &'a [u8], grant: &'a [u8], artifacts: &[&'a [u8]]) -> Self {
        Self { release, grant, artifacts: artifacts.iter().map(|bytes| (sha256(bytes), *bytes)).collect() }
    }

    /// The digest of a whole bundle: what it is steered and fetched by.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> Digest {
        sha256(bytes)
    }

    /// The code that is said to have this digest. Whether it has is for
    /// [`GrantedPlugin::with_artifact`](crate::GrantedPlugin::with_artifact) to find out.
    #[must_use]
    pub fn artifact(&self, digest: &Digest) -> Option<&'a [u8]> {
        self.artifacts.iter().find(|(has, _)| has == digest).map(|(_, bytes)| *bytes)
    }

    /// The digests of the code that is in it.
    pub fn artifacts(&self) -> impl Iterator<Item = &Digest> {
        self.artifacts.iter().map(|(digest, _)| digest)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If a part is larger than any reader takes.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = Vec::from(MAGIC);
        put(&mut bytes, "release", self.release, Domain::PluginRelease.bytes_max())?;
        put(&mut bytes, "grant", self.grant, Domain::Grant.bytes_max())?;
        let count = self.artifacts.len();
        if count > ARTIFACTS_MAX {
            return Err(BundleError::TooLarge { part: "list of artifacts", has: count, max: ARTIFACTS_MAX });
        }
        bytes.extend_from_slice(&(count as u32).to_le_bytes());
        for (digest, artifact) in &self.artifacts {
            bytes.extend_from_slice(&digest.0);
            put(&mut bytes, "artifact", artifact, Artifact::BYTES_MAX as usize)?;
        }
        if bytes.len() > Self::BYTES_MAX {
            return Err(BundleError::TooLarge { part: "bundle", has: bytes.len(), max: Self::BYTES_MAX });
        }
        Ok(bytes)
    }

    /// Reads a bundle, to its last byte. Nothing is copied.
    ///
    /// # Errors
    /// Says which part it failed at.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BundleError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(BundleError::TooLarge { part: "bundle", has: bytes.len(), max: Self::BYTES_MAX });
        }
        let mut rest = bytes.strip_prefix(&MAGIC).ok_or(BundleError::NotABundle)?;
        let release = take(&mut rest, "release", Domain::PluginRelease.bytes_max())?;
        let grant = take(&mut rest, "grant", Domain::Grant.bytes_max())?;
        let part = "list of artifacts";
        let count = take_u32(&mut rest, part)?;
        if count > ARTIFACTS_MAX {
            return Err(BundleError::TooLarge { part, has: count, max: ARTIFACTS_MAX });
        }
        let mut artifacts = Vec::with_capacity(count);
        for _ in 0..count {
            let part = "artifact";
            let (digest, behind) = rest.split_first_chunk().ok_or(BundleError::Truncated { part })?;
            rest = behind;
            artifacts.push((Digest(*digest), take(&mut rest, part, Artifact::BYTES_MAX as usize)?));
        }
        if !rest.is_empty() {
            return Err(BundleError::Trailing { bytes: rest.len() });
        }
        Ok(Self { release, grant, artifacts })
    }
}

fn put(to: &mut Vec<u8>, part: &'static str, bytes: &[u8], max: usize) -> Result<(), BundleError> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= max);
    let length = length.ok_or(BundleError::TooLarge { part, has: bytes.len(), max })?;
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(bytes);
    Ok(())
}

fn take_u32(rest: &mut &[u8], part: &'static str) -> Result<usize, BundleError> {
    let (number, behind) = rest.split_first_chunk().ok_or(BundleError::Truncated { part })?;
    *rest = behind;
    Ok(usize::try_from(u32::from_le_bytes(*number)).unwrap_or(usize::MAX))
}

fn take<'a>(rest: &mut &'a [u8], part: &'static str, max: usize) -> Result<&'a [u8], BundleError> {
    let has = take_u32(rest, part)?;
    if has > max {
        return Err(BundleError::TooLarge { part, has, max });
    }
    let (bytes, behind) = rest.split_at_checked(has).ok_or(BundleError::Truncated { part })?;
    *rest = behind;
    Ok(bytes)
}

/// A file that is no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// It doesn't begin like one.
    NotABundle,
    /// A part is larger than any.
    TooLarge {
        /// Which.
        part: &'static str,
        /// Its size.
        has: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// It ends in the middle.
    Truncated {
        /// Of which part.
        part: &'static str,
    },
    /// It goes on behind its end.
    Trailing {
        /// By this many bytes.
        bytes: usize,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABundle => f.write_str("file is no plugin bundle"),
            Self::TooLarge { part, has, max } => {
                write!(f, "{part} of a plugin bundle has a size of {has}, {max} is allowed")
            }
            Self::Truncated { part } => write!(f, "plugin bundle ends in its {part}"),
            Self::Trailing { bytes } => write!(f, "{bytes} bytes follow the end of the plugin bundle"),
        }
    }
}

impl core::error::Error for BundleError {}

impl BundleError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotABundle => {
                Some("a bundle is what the grant command writes; a bare component has no signatures")
            }
            Self::TooLarge { .. } | Self::Trailing { .. } => Some("make the bundle anew from its parts"),
            Self::Truncated { .. } => Some("fetch the file again"),
        }
    }
}
