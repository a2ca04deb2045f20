//! One run of the executor: asked for effects, given their outcomes, until it says done or failed.
//!
//! The run's state is a fold of the executor over what happened, so after a crash it is built again from the
//! steps in the journal: each outcome is given once more, and an effect that began and has no outcome comes
//! back as *in doubt*. Not here: doing an effect (`perform`), writing it down (`driver`).

use std::collections::BTreeMap;

use backstay_host::{CallError, Event, Executor, Stepped};
use backstay_memory::Step;
use backstay_model::{Answer, Effect, Order, Outcome, Reason, Transience};
use backstay_plugins::Ready;

/// The most effects of one run. The shipped executor, set to its utmost patience, asks for some 600; one that asks
/// without end would wear out the flash and never bring anybody home.
const EFFECTS_MAX: u32 = 4096;

/// A run on its way.
#[derive(Debug)]
pub struct Run {
    order: Order,
    state: Vec<u8>,
    /// Asked for, and not answered.
    open: BTreeMap<u32, Effect>,
    next: u32,
}

/// The effects among `steps` that began and have no outcome: whether they were done isn't known.
#[must_use]
pub fn in_doubt(steps: &[Step]) -> Vec<u32> {
    let ended = |wanted: u32| {
        steps.iter().any(|step| matches!(step, Step::Ended { ordinal, .. } if *ordinal == wanted))
    };
    let began = steps.iter().filter_map(|step| match step {
        Step::Began { ordinal } => Some(*ordinal),
        Step::Ended { .. } => None,
    });
    began.filter(|ordinal| !ended(*ordinal)).collect()
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
    /// Begins a run, or goes on after `steps`; each effect among them has its outcome, be it *in doubt*.
    ///
    /// # Errors
    /// If the executor can't.
    pub fn resume(executor: &Ready<Executor>, order: Order, steps: &[Step]) -> Result<(Self, Next), Stuck> {
        let mut run = Self { order: order.clone(), state: Vec::new(), open: BTreeMap::new(), next: 0 };
        let mut next = run.step(executor, &Event::Begin(order))?;
        for step in steps {
            let Step::Ended { ordinal, answer } = step else { continue };
            // An answer that can't be read any more is one that isn't known.
            let answer = postcard::from_bytes(answer).unwrap_or(Answer::InDoubt);
            next = run.answer(executor, *ordinal, answer)?;
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

    /// Gives the outcome of an effect.
    ///
    /// # Errors
    /// If the executor can't go on.
    pub fn answer(
        &mut self,
        executor: &Ready<Executor>,
        ordinal: u32,
        answer: Answer,
    ) -> Result<Next, Stuck> {
        if self.open.remove(&ordinal).is_none() {
            return Ok(Next::Do(Vec::new()));
        }
        self.step(executor, &Event::Answered { ordinal, answer })
    }

    fn step(&mut self, executor: &Ready<Executor>, event: &Event) -> Result<Next, Stuck> {
        let stepped =
            executor.plugin.step(&executor.config, &self.state, event).map_err(|error| Stuck { error })?;
        let Stepped { state, effects, end } = stepped;
        self.state = state;
        if let Some(outcome) = end {
            return Ok(Next::End(outcome));
        }
        for effect in &effects {
            if effect.ordinal != self.next {
                let why = format!("it asked for effect {} where {} comes next", effect.ordinal, self.next);
                return Ok(Next::End(Outcome::Failed { transience: Transience::Permanent, why }));
            }
            if self.next >= EFFECTS_MAX {
                let why = format!("it asked for more than {EFFECTS_MAX} effects");
                return Ok(Next::End(Outcome::Failed { transience: Transience::Transient, why }));
            }
            self.next += 1;
            self.open.insert(effect.ordinal, effect.clone());
        }
        Ok(Next::Do(effects))
    }
}

impl Stuck {
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
