//! Policies: facts in, one decision out.

use alloc::vec::Vec;

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

/// Makes the type the policy of this component. Does nothing in a native build.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            missing_docs,
            unreachable_pub,
            reason = "the way out of the component, generated"
        )]
        const _: () = {
            use $crate::bindings::policy as world;
            struct Component;
            impl world::Guest for Component {
                fn describe() -> world::Description {
                    <$policy as $crate::policy::Policy>::describe()
                }
                fn validate(config: $crate::__Vec<world::Setting>) -> $crate::__Vec<world::Problem> {
                    <$policy as $crate::policy::Policy>::validate(&config)
                }
                fn decide(
                    config: $crate::__Vec<world::Setting>,
                    facts: world::Facts,
                    prior: $crate::__Vec<u8>,
                ) -> Result<world::Decided, world::Refusal> {
                    <$policy as $crate::policy::Policy>::decide(&config, &facts, &prior)
                }
            }
            $crate::bindings::policy::export_policy_world!(Component);
        };
    };
}
