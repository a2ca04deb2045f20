//! What is shipped in a history: releases and configurations, and what is true of them.
//!
//! Here: whether a release is any good, and how its image is called, so that the nodes do as is true of it. Not here: who knows of it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Where images are.
const REPOSITORY: &str = "registry.test/shop";

/// What is true of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It is good, until one day it isn't any more, if that day comes.
    Good,
    /// Its pods are ready, and it breaks its objectives from the beginning.
    Bad,
    /// Its pods never come up, by the fault that its image names.
    Fails(&'static str),
}

/// A pod template, as far as histories change one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template {
    /// Which release it runs, by its place among all of the history.
    pub release: usize,
    /// Under which configuration. 0 is none of its own.
    pub config: usize,
    /// The restart that was written into it; 0: none.
    pub restart: u32,
}

/// All that is shipped in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The releases, in the order in which they were built.
    pub releases: Vec<Nature>,
    /// Of each configuration whether pods come up under it.
    pub configs: Vec<bool>,
    /// Whether images are named by their digests.
    pub pinned: bool,
}

impl Product {
    /// Nothing yet, but for the configuration that is none.
    #[must_use]
    pub fn new(pinned: bool) -> Self {
        Self { releases: Vec::new(), configs: vec![true], pinned }
    }

    /// Whether pods of this template come up.
    #[must_use]
    pub fn comes_up(&self, template: &Template) -> bool {
        let fails = matches!(self.releases.get(template.release), Some(Nature::Fails(_)) | None);
        !fails && self.is_sound(template.config)
    }

    /// Whether pods come up under a configuration, if the release lets them.
    #[must_use]
    pub fn is_sound(&self, config: usize) -> bool {
        self.configs.get(config).copied().unwrap_or(false)
    }

    /// What a release is called: its image's tag.
    #[must_use]
    pub fn version(&self, release: usize) -> String {
        match self.releases.get(release) {
            Some(Nature::Fails(fault)) => format!("{release}.0.0-{fault}"),
            Some(Nature::Good | Nature::Bad) | None => format!("{release}.0.0"),
        }
    }

    /// What a release is known by: its image's digest, and where images are not named by that, the digest of its version.
    #[must_use]
    pub fn digest(&self, release: usize) -> [u8; 32] {
        let version = self.version(release);
        if self.pinned { Sha256::digest(format!("image {version}")) } else { Sha256::digest(version) }.into()
    }

    /// The same as text.
    #[must_use]
    pub fn digest_text(&self, release: usize) -> String {
        self.digest(release).iter().fold(String::new(), |mut text, byte| {
            // A text takes all that is written to it.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Its image.
    #[must_use]
    pub fn image(&self, release: usize) -> String {
        let pin = if self.pinned { format!("@sha256:{}", self.digest_text(release)) } else { String::new() };
        format!("{REPOSITORY}:{}{pin}", self.version(release))
    }

    /// Which release an image is of.
    #[must_use]
    pub fn release_of(&self, image: &str) -> Option<usize> {
        (0..self.releases.len()).find(|&release| self.image(release) == image)
    }

    /// The release that this digest is of.
    #[must_use]
    pub fn with_digest(&self, digest: &[u8; 32]) -> Option<usize> {
        (0..self.releases.len()).find(|&release| self.digest(release) == *digest)
    }
}

impl Template {
    /// The same but for restarts.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (self.release, self.config) == (other.release, other.config)
    }
}
