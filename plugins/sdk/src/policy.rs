//! Policies: facts in, one decision out.
//!
//! A policy proposes. What becomes of it the runtime's rails decide, and no policy can switch one of them off: missing
//! data never sends anybody home, whatever a policy makes of it; an exhausted budget freezes; what was condemned here is
//! not started again. So a policy needs no guards of that kind, and can say plainly what it thinks of the facts, with the
//! numbers: operators read the reasons.

use alloc::{string::String, vec::Vec};

pub use crate::bindings::policy::backstay::plugin::{
    common::Release,
    decisions::{Action, Decided, Decision, How, Refusal},
    facts::{Breaker, Facts, Infra, InfraKind, Objective, Schema, Scope, Window},
};
use crate::settings::{Description, Problem, Setting};

/// A policy. Each function gets all that it may know: the same arguments have to get the same answer.
pub trait Policy {
    /// What can be set.
    fn describe() -> Description;

    /// What is wrong with a configuration, beyond what [`describe`](Self::describe) says of each setting alone.
    #[must_use]
    fn validate(config: &[Setting]) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// What is to be done, and the memo that comes back as `prior` next time; `prior` is empty at first.
    ///
    /// # Errors
    /// Where there can be no answer. It moves nothing.
    fn decide(config: &[Setting], facts: &Facts, prior: &[u8]) -> Result<Decided, Refusal>;
}

/// A decision for these reasons, 1 to 8 with the weightiest first, that leaves nothing to remember.
#[must_use]
pub fn decided<R: Into<String>>(action: Action, reasons: impl IntoIterator<Item = R>) -> Decided {
    let reasons = reasons.into_iter().map(Into::into).collect();
    Decided { decision: Decision { action, reasons }, memo: Vec::new() }
}

/// Makes the type the policy of this component. Does nothing in a native build, where a plugin is an ordinary library
/// that tests can call.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        $crate::__export! {
            policy, export_policy_world, $policy, $crate::policy::Policy,
            fn decide(
                config: $crate::__Vec<world::Setting>,
                facts: world::Facts,
                prior: $crate::__Vec<u8>,
            ) -> Result<world::Decided, world::Refusal> {
                <$policy as $crate::policy::Policy>::decide(&config, &facts, &prior)
            }
        }
    };
}
