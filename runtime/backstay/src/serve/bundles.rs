//! The plugin bundles that can be handed out: what a vendor released, operators granted, and somebody published here.
//!
//! The file itself is an artifact like any other. Kept beside it are its two statements, so that a start doesn't read all
//! code again. Not here: whether a device takes one (each checks it by itself, and what it accepted before).

use std::{collections::BTreeMap, error::Error, fmt};

use backstay_api::{PluginView, Shelf, ShelfError};
use backstay_host::{Machine, engine_profile, world_policy};
use backstay_model::{Digest, PluginId, PluginRole, Release, UnixMs, Version};
use backstay_trust::{Bundle, BundleError, Keyring, PluginError, Stamp, VerifiedPluginRelease, Want};

/// All bundles that were published here, by their digest.
#[derive(Debug)]
pub(crate) struct Bundles {
    statements: Shelf,
    artifacts: Shelf,
    published: BTreeMap<Digest, Published>,
}

/// A bundle that can be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Which plugin.
    pub(crate) plugin: PluginId,
    /// What it is asked for.
    pub(crate) role: PluginRole,
    /// As a cohort is steered to it.
    pub(crate) bundle: Release,
    /// Of its grant.
    pub(crate) grant: Digest,
    /// The grant's sequence.
    pub(crate) sequence: u64,
    /// When the grant may no longer be taken into use.
    pub(crate) expires: Option<UnixMs>,
}

/// A bundle that is not taken.
#[derive(Debug)]
pub(crate) enum NotPublished {
    /// There is no such file.
    NoArtifact(Digest),
    /// The file is no bundle.
    Bundle(BundleError),
    /// It may not run in this fleet.
    Untrusted(PluginError),
    /// A grant of the same version with a higher sequence is here.
    Older {
        /// Its sequence.
        sequence: u64,
        /// That of the one that is here.
        here: u64,
    },
    /// The disk doesn't give or take it.
    Shelf(ShelfError),
}

impl fmt::Display for NotPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoArtifact(digest) => write!(f, "the bundle {} is not here", digest.short()),
            Self::Bundle(_) => f.write_str("the file is no plugin bundle"),
            Self::Untrusted(_) => f.write_str("the plugin may not run in this fleet"),
            Self::Older { sequence, here } => {
                write!(f, "grant {sequence} is older than grant {here} of the same version")
            }
            Self::Shelf(_) => f.write_str("the bundle can't be read or kept"),
        }
    }
}

impl Error for NotPublished {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bundle(error) => Some(error),
            Self::Untrusted(error) => Some(error),
            Self::Shelf(error) => Some(error),
            Self::NoArtifact(_) | Self::Older { .. } => None,
        }
    }
}

impl Published {
    /// As people see it.
    pub(crate) fn view(&self) -> PluginView {
        let Self { plugin, role, bundle, grant, sequence, expires: _ } = self.clone();
        PluginView { plugin, role, bundle, grant, sequence }
    }

    /// Why no device would take it, if none would.
    pub(crate) fn taken_by_nobody(&self, now: UnixMs) -> Option<String> {
        let (has, most) = (self.bundle.length, Bundle::DEVICE_BYTES_MAX as u64);
        if has > most {
            return Some(format!("its bundle has {has} bytes, and a device takes {most}"));
        }
        self.expires.filter(|expires| *expires < now).map(|_| "its grant has expired".into())
    }

    /// What `keyring` says of a bundle with this digest and length.
    fn of(keyring: &Keyring, bundle: &Bundle<'_>, digest: Digest, length: u64) -> Result<Self, PluginError> {
        let released = keyring.verify_plugin_release(bundle.release)?;
        let (grant, stamp) = granted(keyring, bundle, &released)?;
        let said = released.release();
        Ok(Self {
            plugin: said.id.clone(),
            role: if said.world == world_policy() { PluginRole::Policy } else { PluginRole::Executor },
            bundle: Release { version: said.version.clone(), digest, length, security_epoch: 0 },
            grant,
            sequence: stamp.sequence,
            expires: stamp.expires,
        })
    }
}

/// Digest and stamp of a grant that lets the plugin run on any machine at all: which of them a fleet has, is not known.
fn granted(
    keyring: &Keyring,
    bundle: &Bundle<'_>,
    released: &VerifiedPluginRelease,
) -> Result<(Digest, Stamp), PluginError> {
    let (engine, floors, world) = (engine_profile(), BTreeMap::new(), &released.release().world);
    let mut last = None;
    for machine in Machine::ALL {
        let target = machine.target();
        let want = Want { target: &target, engine: &engine, world, floors: &floors, attested: None };
        match keyring.verify_grant(bundle.release, bundle.grant, &want) {
            Ok(granted) => return Ok((*granted.grant(), granted.stamp())),
            // What is said of another machine than the first says more than that there is nothing for this one.
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("there are machines"))
}

impl Bundles {
    /// What is on the shelves. What doesn't hold any more is left there and told.
    pub(crate) fn open(statements: Shelf, artifacts: Shelf, keyring: &Keyring) -> (Self, Vec<String>) {
        let (mut published, mut odd) = (BTreeMap::new(), Vec::new());
        for digest in statements.names() {
            let length = artifacts.path(&digest).metadata().map(|file| file.len());
            let read = statements.get(&digest).map(Option::unwrap_or_default);
            let read = read.map_err(|error| error.to_string()).and_then(|bytes| {
                let length = length.map_err(|error| error.to_string())?;
                let bundle = Bundle::decode(&bytes).map_err(|error| error.to_string())?;
                Published::of(keyring, &bundle, digest, length).map_err(|error| error.to_string())
            });
            match read {
                Ok(found) => drop(published.insert(digest, found)),
                Err(why) => odd.push(format!("bundle {} is left out: {why}", digest.short())),
            }
        }
        (Self { statements, artifacts, published }, odd)
    }

    /// Looks at all of them again, by another keyring. What is left out is told.
    pub(crate) fn look_again(&mut self, keyring: &Keyring) -> Vec<String> {
        let left_out;
        (*self, left_out) = Self::open(self.statements.clone(), self.artifacts.clone(), keyring);
        left_out
    }

    /// Takes a bundle that was uploaded, durably. Taken twice it is taken once.
    ///
    /// # Errors
    /// If it isn't here, may not run in the fleet, is older than what is here, or can't be kept.
    pub(crate) fn publish(&mut self, digest: &Digest, keyring: &Keyring) -> Result<&Published, NotPublished> {
        let bytes = self.artifacts.get(digest).map_err(NotPublished::Shelf)?;
        let bytes = bytes.ok_or(NotPublished::NoArtifact(*digest))?;
        let bundle = Bundle::decode(&bytes).map_err(NotPublished::Bundle)?;
        let found = Published::of(keyring, &bundle, *digest, bytes.len() as u64);
        let found = found.map_err(NotPublished::Untrusted)?;
        if let Some(here) = self.find(&found.plugin, &found.bundle.version).map(|here| here.sequence)
            && found.sequence < here
        {
            return Err(NotPublished::Older { sequence: found.sequence, here });
        }
        let statements =
            Bundle::new(bundle.release, bundle.grant, &[]).encode().map_err(NotPublished::Bundle)?;
        self.statements.put(digest, &statements).map_err(NotPublished::Shelf)?;
        self.published.insert(*digest, found);
        Ok(self.published.get(digest).expect("it has just been put there"))
    }

    /// The bundle of this version, of several the one with the newest grant.
    pub(crate) fn find(&self, plugin: &PluginId, version: &Version) -> Option<&Published> {
        let named = self.all().filter(|of| of.plugin == *plugin && of.bundle.version == *version);
        named.max_by_key(|of| of.sequence)
    }

    /// What is known of the bundle with this digest.
    pub(crate) fn bundle(&self, digest: &Digest) -> Option<&Release> {
        self.published.get(digest).map(|of| &of.bundle)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Published> {
        self.published.values()
    }
}
