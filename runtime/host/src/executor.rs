//! Moving a run on by one step.

use backstay_model::{Answer, Effect, Order, Outcome};
use serde::{Deserialize, Serialize};

use crate::{
    CallError, Config, StrikeKind,
    bindings::{self, common, orders::Refusal},
    convert::{self, Bad},
    hosted::{Contract, Hosted},
    sandbox::{self, Sandbox},
};

/// The contract for executors.
#[derive(Debug)]
pub enum ForExecutor {}

/// An executor that can be moved on. What lasts from one step to the next is the state.
pub type Executor = Hosted<ForExecutor>;

impl Contract for ForExecutor {
    type Pre = bindings::executor::ExecutorPre<Sandbox>;

    fn describe(executor: &Executor) -> Result<common::Description, CallError> {
        let instantiate = |store: &mut _| executor.pre.instantiate(store);
        sandbox::call(&executor.loaded, instantiate, |store, executor| executor.call_describe(store))
    }

    fn validate(
        executor: &Executor,
        settings: &[common::Setting],
    ) -> Result<Vec<common::Problem>, CallError> {
        let instantiate = |store: &mut _| executor.pre.instantiate(store);
        sandbox::call(&executor.loaded, instantiate, |store, executor| {
            executor.call_validate(store, settings)
        })
    }
}

/// What happens to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stepped {
    /// For the next step. At most as many bytes as the grant allows for state.
    pub state: Vec<u8>,
    /// What is to be done: within bounds, granted, in the order of their ordinals, without gaps between them.
    pub effects: Vec<Effect>,
    /// The run has ended like this; then there are no effects.
    pub end: Option<Outcome>,
}

impl Executor {
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
}
