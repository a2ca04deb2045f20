//! What a device or a target runs, and where it may go back to.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{Digest, Version};

/// A version of the product with what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Release {
    /// For people.
    pub version: Version,
    /// Of the artifact; this *is* the release.
    pub digest: Digest,
    /// Bytes of the artifact.
    pub length: u64,
    /// Only ever grows on a device: a release with a lower one has a hole that is known.
    pub security_epoch: u32,
}

/// The schemas of shared data that a release can live with, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaRange {
    /// The oldest.
    pub from: u32,
    /// The newest.
    pub to: u32,
}

/// The releases that a release may be left *backwards* for. Empty: there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayHome(pub Vec<Digest>);

impl WayHome {
    /// Whether going back to `digest` is allowed.
    #[must_use]
    pub fn allows(&self, digest: &Digest) -> bool {
        self.0.contains(digest)
    }
}
