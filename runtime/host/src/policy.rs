//! Asking a policy.

use std::fmt;

use backstay_model::{Decision, Digest, Facts, PluginId, Version};

use crate::{
    CallError, Config, Description, Problem, StrikeKind, bindings,
    convert::{self, Bad},
    plugin::Loaded,
    sandbox,
};

/// A policy that can be asked. Every call gets an instance of its own; calls may come from several threads.
pub struct Policy {
    pub(crate) loaded: Loaded,
    pub(crate) pre: bindings::policy::PolicyPre<sandbox::Sandbox>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What, and why.
    pub decision: Decision,
    /// For the next call. At most as many bytes as the grant allows for state.
    pub memo: Vec<u8>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loaded.fmt(f)
    }
}

impl Policy {
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

    /// What can be set.
    ///
    /// # Errors
    /// It did not answer.
    pub fn describe(&self) -> Result<Description, CallError> {
        let told = sandbox::call(
            &self.loaded,
            |store| self.pre.instantiate(store),
            |store, policy| policy.call_describe(store),
        )?;
        convert::description(told).map_err(|bad| self.bad(bad))
    }

    /// What is wrong with a configuration: by what the policy says of each setting, and by its own rules.
    ///
    /// # Errors
    /// It did not answer.
    pub fn validate(&self, config: &Config) -> Result<Vec<Problem>, CallError> {
        let mut problems = self.describe()?.check(config);
        let told = sandbox::call(
            &self.loaded,
            |store| self.pre.instantiate(store),
            |store, policy| policy.call_validate(store, config.settings()),
        )?;
        problems.extend(convert::problems(told).map_err(|bad| self.bad(bad))?);
        Ok(problems)
    }

    /// What is to be done. `prior` is the memo of the decision before, empty at first.
    ///
    /// # Errors
    /// It did not answer, or what it was to be shown is too large.
    pub fn decide(&self, config: &Config, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError> {
        let most = self.loaded.limits.state_bytes as usize;
        convert::at_most("bytes of memo", prior.len(), most)?;
        let facts = convert::facts(facts)?;
        let answer = sandbox::call(
            &self.loaded,
            |store| self.pre.instantiate(store),
            |store, policy| policy.call_decide(store, config.settings(), &facts, prior),
        )?;
        match answer {
            Ok(decided) => convert::decided(decided, most).map_err(|bad| self.bad(bad)),
            Err(bindings::decisions::Refusal::Configuration(problems)) => {
                let problems = convert::problems(problems).map_err(|bad| self.bad(bad))?;
                Err(CallError::Configuration { plugin: self.loaded.id.clone(), problems })
            }
            Err(bindings::decisions::Refusal::Facts(why)) => {
                Err(CallError::strike(&self.loaded, StrikeKind::Refused, why))
            }
        }
    }

    fn bad(&self, Bad(why): Bad) -> CallError {
        CallError::strike(&self.loaded, StrikeKind::BadOutput, why)
    }
}
