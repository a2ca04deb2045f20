//! One run of an executor: asked for effects, given their outcomes, until it says done or failed.
//!
//! The run's state is a fold of the executor over what happened, so after a crash it is built again from what the
//! journal has: each outcome is given once more, in the order in which it came. The same fold tells later what a run
//! should have come to. Not here: doing an effect, writing it down, and what is in doubt (whoever drives the run).

use std::collections::BTreeMap;

use backstay_host::{CallError, Event, Executor, Stepped};
use backstay_model::{Answer, Came, Effect, Order, Outcome, Reason, Transience};

use crate::{Ready, load::marked, trace};

/// The most effects of one run. The shipped executor, set to its utmost patience, asks for some 600; one that asks
/// without end would wear out the flash and never bring anybody home.
const EFFECTS_MAX: u32 = 4096;

/// Something that takes a run on by one step.
pub trait Steps {
    /// Takes one event of one run. `state` is what the step before returned; empty with [`Event::Begin`].
    ///
    /// # Errors
    /// It did not answer.
    fn step(&self, state: &[u8], event: &Event) -> Result<Stepped, CallError>;
}

impl Steps for Ready<Executor> {
    fn step(&self, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        let plugin = &self.plugin;
        let step = || plugin.step(&self.config, state, event);
        marked(self.mark.as_deref(), (plugin.id(), plugin.version(), plugin.grant()), step)
    }
}

/// A run on its way.
#[derive(Debug)]
pub struct Run {
    order: Order,
    state: Vec<u8>,
    /// Asked for, and not answered.
    open: BTreeMap<u32, Effect>,
    next: u32,
    /// What came of the last step.
    came: Came,
}

/// What follows.
#[derive(Debug)]
pub enum Next {
    /// These are to be done. None: others are still under way.
    Do(Vec<Effect>),
    /// The run has ended.
    End(Outcome),
}

/// The executor could not go on.
#[derive(Debug)]
pub struct Stuck {
    /// Why.
    pub error: CallError,
}

impl Run {
    /// Begins a run.
    ///
    /// # Errors
    /// If the executor can't.
    pub fn begin(executor: &impl Steps, order: Order) -> Result<(Self, Next), Stuck> {
        let (state, open) = (Vec::new(), BTreeMap::new());
        let mut run = Self { order: order.clone(), state, open, next: 0, came: Came::Nothing };
        let next = run.step(executor, &Event::Begin(order))?;
        Ok((run, next))
    }

    /// Begins a run, or goes on after `answers`, which came in this order; each effect that began has one among them,
    /// be it *in doubt*.
    ///
    /// # Errors
    /// If the executor can't.
    pub fn resume(
        executor: &impl Steps,
        order: Order,
        answers: impl IntoIterator<Item = (u32, Answer)>,
    ) -> Result<(Self, Next), Stuck> {
        let (mut run, mut next) = Self::begin(executor, order)?;
        for (ordinal, answer) in answers {
            next = run.answer(executor, ordinal, answer)?;
        }
        match next {
            Next::End(_) => Ok((run, next)),
            // Whatever is open now was asked for and never begun.
            Next::Do(_) => {
                let open = run.open.values().cloned().collect();
                Ok((run, Next::Do(open)))
            }
        }
    }

    /// What the run is about.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The effects that were asked for and are not answered.
    pub fn open(&self) -> impl Iterator<Item = &Effect> {
        self.open.values()
    }

    /// What came of the last step.
    #[must_use]
    pub fn came(&self) -> Came {
        self.came
    }

    /// What the executor keeps between two steps.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// Gives the outcome of an effect. One that nobody waits for changes nothing.
    ///
    /// # Errors
    /// If the executor can't go on.
    pub fn answer(&mut self, executor: &impl Steps, ordinal: u32, answer: Answer) -> Result<Next, Stuck> {
        if self.open.remove(&ordinal).is_none() {
            return Ok(Next::Do(Vec::new()));
        }
        self.step(executor, &Event::Answered { ordinal, answer })
    }

    fn step(&mut self, executor: &impl Steps, event: &Event) -> Result<Next, Stuck> {
        let stepped = executor.step(&self.state, event).map_err(|error| {
            self.came = trace::came_of_failure(&error);
            Stuck { error }
        })?;
        let Stepped { state, effects, end } = stepped;
        self.state = state;
        let next = self.follow(effects, end);
        let end = if let Next::End(outcome) = &next { Some(outcome) } else { None };
        self.came = trace::came_of_step(&self.state, &self.open, end);
        Ok(next)
    }

    fn follow(&mut self, effects: Vec<Effect>, end: Option<Outcome>) -> Next {
        if let Some(outcome) = end {
            return Next::End(outcome);
        }
        for effect in &effects {
            if effect.ordinal != self.next {
                let why = format!("it asked for effect {} where {} comes next", effect.ordinal, self.next);
                return Next::End(Outcome::Failed { transience: Transience::Permanent, why });
            }
            if self.next >= EFFECTS_MAX {
                let why = format!("it asked for more than {EFFECTS_MAX} effects");
                return Next::End(Outcome::Failed { transience: Transience::Transient, why });
            }
            self.next += 1;
            self.open.insert(effect.ordinal, effect.clone());
        }
        Next::Do(effects)
    }
}

impl Stuck {
    /// What came of the call.
    #[must_use]
    pub fn came(&self) -> Came {
        trace::came_of_failure(&self.error)
    }

    /// How the run ended: another try may find the last good executor in this one's place.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let transience = match &self.error {
            CallError::Strike(_) | CallError::Host { .. } | CallError::Diverged { .. } => {
                Transience::Transient
            }
            CallError::Configuration { .. } | CallError::Unexpected { .. } | CallError::TooLarge { .. } => {
                Transience::Permanent
            }
        };
        Outcome::Failed { transience, why: Reason::new(self.error.to_string()).0 }
    }
}
