//! Moving a run on by one step.

use std::fmt;

use backstay_model::{Answer, Digest, Effect, Order, Outcome, PluginId, Version};

use crate::{
    CallError, Config, Description, Problem, StrikeKind,
    bindings::{self, orders::Refusal},
    convert::{self, Bad},
    plugin::Loaded,
    sandbox,
};

/// An executor that can be moved on. Every step gets an instance of its own; what lasts is the state.
pub struct Executor {
    pub(crate) loaded: Loaded,
    pub(crate) pre: bindings::executor::ExecutorPre<sandbox::Sandbox>,
}

/// What happens to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first, and only the first.
    Begin(Order),
    /// Something that was asked for has come to an end.
    Answered {
        /// Of which effect.
        ordinal: u32,
        /// What came of it.
        answer: Answer,
    },
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// For the next step. At most as many bytes as the grant allows for state.
    pub state: Vec<u8>,
    /// What is to be done: within bounds, granted, in the order of their ordinals, without gaps between them.
    pub effects: Vec<Effect>,
    /// The run has ended like this; then there are no effects.
    pub end: Option<Outcome>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loaded.fmt(f)
    }
}

impl Executor {
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
            |store, executor| executor.call_describe(store),
        )?;
        convert::description(told).map_err(|bad| self.bad(bad))
    }

    /// What is wrong with a configuration: by what the executor says of each setting, and by its own rules.
    ///
    /// # Errors
    /// It did not answer.
    pub fn validate(&self, config: &Config) -> Result<Vec<Problem>, CallError> {
        let mut problems = self.describe()?.check(config);
        let told = sandbox::call(
            &self.loaded,
            |store| self.pre.instantiate(store),
            |store, executor| executor.call_validate(store, config.settings()),
        )?;
        problems.extend(convert::problems(told).map_err(|bad| self.bad(bad))?);
        Ok(problems)
    }

    /// Takes one event of one run. `state` is what the step before returned; empty with [`Event::Begin`].
    ///
    /// That ordinals go on where those of the step before ended is for the caller to check, who has them all.
    ///
    /// # Errors
    /// It did not answer, it asked for what isn't granted, or what it was to be shown is too large.
    pub fn step(&self, config: &Config, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        let most = self.loaded.limits.state_bytes as usize;
        convert::at_most("bytes of state", state.len(), most)?;
        let event = convert::event(event)?;
        let answer = sandbox::call(
            &self.loaded,
            |store| self.pre.instantiate(store),
            |store, executor| executor.call_step(store, config.settings(), state, &event),
        )?;
        let plugin = || self.loaded.id.clone();
        match answer {
            Ok(stepped) => {
                let stepped = convert::stepped(stepped, &self.loaded.limits).map_err(|bad| self.bad(bad))?;
                for effect in &stepped.effects {
                    self.loaded
                        .permissions
                        .check(&effect.deed)
                        .map_err(|refused| self.bad(Bad(format!("effect {}: {refused}", effect.ordinal))))?;
                }
                Ok(stepped)
            }
            Err(Refusal::Configuration(problems)) => {
                let problems = convert::problems(problems).map_err(|bad| self.bad(bad))?;
                Err(CallError::Configuration { plugin: plugin(), problems })
            }
            Err(Refusal::Diverged(why)) => Err(CallError::Diverged {
                plugin: plugin(),
                why: convert::text(&why, convert::TEXT_BYTES_MAX),
            }),
            Err(Refusal::Unexpected(why)) => Err(CallError::Unexpected {
                plugin: plugin(),
                why: convert::text(&why, convert::TEXT_BYTES_MAX),
            }),
            Err(Refusal::Bug(why)) => Err(CallError::strike(&self.loaded, StrikeKind::Refused, why)),
        }
    }

    fn bad(&self, Bad(why): Bad) -> CallError {
        CallError::strike(&self.loaded, StrikeKind::BadOutput, why)
    }
}
