//! A plugin that can be called, of either contract: who it is, and what it says of its configuration.
//!
//! Not here: what only policies or only executors are asked (`policy`, `executor`).

use std::fmt;

use backstay_model::{Digest, PluginId, Version};
use backstay_trust::{Limits, Permissions};

use crate::{
    CallError, Config, Description, Engine, Problem, StrikeKind,
    bindings::common,
    convert::{self, Bad},
};

/// A plugin that can be called. Every call gets an instance of its own; calls may come from several threads.
pub struct Hosted<C: Contract> {
    pub(crate) loaded: Loaded,
    pub(crate) pre: C::Pre,
}

/// What all that is loaded has in common.
pub struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) id: PluginId,
    pub(crate) version: Version,
    pub(crate) grant: Digest,
    pub(crate) limits: Limits,
    pub(crate) permissions: Permissions,
}

/// The part of a contract that all contracts have, as the generated code has it for each by itself.
pub trait Contract: Sized {
    /// Code that is linked and has yet to get an instance.
    type Pre;

    /// Calls `describe`.
    ///
    /// # Errors
    /// It did not answer.
    fn describe(plugin: &Hosted<Self>) -> Result<common::Description, CallError>;

    /// Calls `validate`.
    ///
    /// # Errors
    /// It did not answer.
    fn validate(
        plugin: &Hosted<Self>,
        settings: &[common::Setting],
    ) -> Result<Vec<common::Problem>, CallError>;
}

impl<C: Contract> Hosted<C> {
    /// Which plugin.
    #[must_use]
    pub fn id(&self) -> &PluginId {
        &self.loaded.id
    }

    /// Its version, for people.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.loaded.version
    }

    /// The digest of the grant under which it runs.
    #[must_use]
    pub fn grant(&self) -> &Digest {
        &self.loaded.grant
    }

    /// What one call may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.loaded.limits
    }

    /// What can be set.
    ///
    /// # Errors
    /// It did not answer.
    pub fn describe(&self) -> Result<Description, CallError> {
        convert::description(C::describe(self)?).map_err(|bad| self.bad(bad))
    }

    /// What is wrong with a configuration: by what the plugin says of each setting, and by its own rules.
    ///
    /// # Errors
    /// It did not answer.
    pub fn validate(&self, config: &Config) -> Result<Vec<Problem>, CallError> {
        let mut problems = self.describe()?.check(config);
        let told = C::validate(self, config.settings())?;
        problems.extend(convert::problems(told).map_err(|bad| self.bad(bad))?);
        Ok(problems)
    }

    pub(crate) fn bad(&self, Bad(why): Bad) -> CallError {
        CallError::strike(&self.loaded, StrikeKind::BadOutput, why)
    }
}

impl<C: Contract> fmt::Debug for Hosted<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { id, version, .. } = &self.loaded;
        f.debug_struct("Plugin").field("id", id).field("version", version).finish_non_exhaustive()
    }
}
