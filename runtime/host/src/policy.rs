//! Asking a policy.

use backstay_model::{Decision, Facts};
use serde::{Deserialize, Serialize};

use crate::{
    CallError, Config, StrikeKind,
    bindings::{self, common, decisions::Refusal},
    convert,
    hosted::{Contract, Hosted},
    sandbox::{self, Sandbox},
};

/// The contract for policies.
#[derive(Debug)]
pub enum ForPolicy {}

/// A policy that can be asked.
pub type Policy = Hosted<ForPolicy>;

impl Contract for ForPolicy {
    type Pre = bindings::policy::PolicyPre<Sandbox>;

    fn describe(policy: &Policy) -> Result<common::Description, CallError> {
        let instantiate = |store: &mut _| policy.pre.instantiate(store);
        sandbox::call(&policy.loaded, instantiate, |store, policy| policy.call_describe(store))
    }

    fn validate(policy: &Policy, settings: &[common::Setting]) -> Result<Vec<common::Problem>, CallError> {
        let instantiate = |store: &mut _| policy.pre.instantiate(store);
        sandbox::call(&policy.loaded, instantiate, |store, policy| policy.call_validate(store, settings))
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What, and why.
    pub decision: Decision,
    /// For the next call. At most as many bytes as the grant allows for state.
    pub memo: Vec<u8>,
}

impl Policy {
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
            Err(Refusal::Configuration(problems)) => {
                let problems = convert::problems(problems).map_err(|bad| self.bad(bad))?;
                Err(CallError::Configuration { plugin: self.loaded.id.clone(), problems })
            }
            Err(Refusal::Facts(why)) => Err(CallError::strike(&self.loaded, StrikeKind::Refused, why)),
        }
    }
}
