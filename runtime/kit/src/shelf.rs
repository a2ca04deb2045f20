//! Plugins by their grants: what recorded calls are made with again.
//!
//! A bundle is believed by its signatures, as on a device, with one difference: sequences count for nothing here. What
//! ran then may be long superseded. Not here: where bundles come from.

use std::collections::BTreeMap;
use std::{error, fmt};

use backstay_host::{Engine, Executor, LoadError, Plugin, Policy, engine_profile};
use backstay_model::{Digest, PluginId, Version};
use backstay_trust::{Bundle, BundleError, Keyring, PluginError, Want};

/// Plugins that can be called, by the digests of their grants.
#[derive(Debug, Default)]
pub struct Shelf {
    policies: BTreeMap<Digest, Policy>,
    executors: BTreeMap<Digest, Executor>,
}

/// A bundle that is of no use here.
#[derive(Debug)]
pub enum ShelfError {
    /// The file is no bundle.
    Bundle(BundleError),
    /// Nobody vouches for it.
    Untrusted(PluginError),
    /// "the bundle of acme/pump holds no code for pulley64"
    NoCode {
        /// Which plugin.
        plugin: PluginId,
        /// For what.
        target: String,
    },
    /// It can't be loaded.
    Load(LoadError),
}

impl fmt::Display for ShelfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(_) => f.write_str("this is no plugin bundle"),
            Self::Untrusted(_) => f.write_str("the plugin is not vouched for"),
            Self::NoCode { plugin, target } => {
                write!(f, "the bundle of {plugin} holds no code for {target}")
            }
            Self::Load(_) => f.write_str("the plugin can't be loaded"),
        }
    }
}

impl error::Error for ShelfError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Bundle(source) => Some(source),
            Self::Untrusted(source) => Some(source),
            Self::Load(source) => Some(source),
            Self::NoCode { .. } => None,
        }
    }
}

impl ShelfError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Bundle(source) => source.help(),
            Self::Untrusted(source) => source.help(),
            Self::NoCode { .. } => Some("grant it for this machine, too: backstay plugin grant --targets"),
            Self::Load(source) => source.help(),
        }
    }
}

/// What a bundle turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// Which plugin.
    pub plugin: PluginId,
    /// For people.
    pub version: Version,
    /// The digest of its grant.
    pub grant: Digest,
}

impl Shelf {
    /// Verifies a bundle, loads its code for `engine`, and keeps it.
    ///
    /// # Errors
    /// Says why it can't be used.
    pub fn add(&mut self, engine: &Engine, keyring: &Keyring, bundle: &[u8]) -> Result<Shelved, ShelfError> {
        let bundle = Bundle::decode(bundle).map_err(ShelfError::Bundle)?;
        let release = keyring.verify_plugin_release(bundle.release).map_err(ShelfError::Untrusted)?;
        let world = &release.release().world;
        // A world that nobody here speaks is refused by the loader, by its name.
        let (profile, floors) = (engine_profile(), BTreeMap::new());
        let want = Want { target: engine.target(), engine: &profile, world, floors: &floors, attested: None };
        let granted =
            keyring.verify_grant(bundle.release, bundle.grant, &want).map_err(ShelfError::Untrusted)?;
        let code = bundle.artifact(&granted.artifact().digest).ok_or_else(|| ShelfError::NoCode {
            plugin: granted.id().clone(),
            target: engine.target().to_string(),
        })?;
        let verified = granted.with_artifact(code.to_vec()).map_err(ShelfError::Untrusted)?;
        let (plugin, version) = (verified.id().clone(), verified.version().clone());
        let grant = *verified.grant();
        match Plugin::load(engine, &verified).map_err(ShelfError::Load)? {
            Plugin::Policy(policy) => drop(self.policies.insert(grant, policy)),
            Plugin::Executor(executor) => drop(self.executors.insert(grant, executor)),
        }
        Ok(Shelved { plugin, version, grant })
    }

    /// The policy that ran under this grant.
    #[must_use]
    pub fn policy(&self, grant: &Digest) -> Option<&Policy> {
        self.policies.get(grant)
    }

    /// The policy under this grant, taken from the shelf.
    #[must_use]
    pub fn into_policy(mut self, grant: &Digest) -> Option<Policy> {
        self.policies.remove(grant)
    }

    /// The executor under this grant, taken from the shelf.
    #[must_use]
    pub fn into_executor(mut self, grant: &Digest) -> Option<Executor> {
        self.executors.remove(grant)
    }

    /// The executor that ran under this grant.
    #[must_use]
    pub fn executor(&self, grant: &Digest) -> Option<&Executor> {
        self.executors.get(grant)
    }
}
