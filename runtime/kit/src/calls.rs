//! Calls as values: made, written down, and made again on another engine or another machine.
//!
//! Here: what a call is, what it comes to in a few bytes, and a plugin that remembers what it was asked. Not here:
//! which calls are worth making (`cases`, `fuzz`, `vectors`).

use std::cell::{Cell, RefCell};

use backstay_host::{CallError, Config, Decided, Description, Event, Executor, Policy, Problem, Stepped};
use backstay_model::{Answer, Digest, Facts, Name, Order, Told};
use backstay_plugins::trace;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The most calls that are remembered: the first half of them, and of those behind it every sixteenth.
const REMEMBERED_MAX: usize = 4_000;
const EVERY: usize = 16;

/// A configuration as calls carry it.
pub type Settings = Vec<(Name, Told)>;

/// One call of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// What can be set.
    Describe,
    /// What is wrong with a configuration.
    Validate(Settings),
    /// What is to be done.
    Decide(Settings, Facts, Vec<u8>),
    /// What follows from an event.
    Step(Settings, Vec<u8>, Happens),
}

/// What happens to a run, as calls carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happens {
    /// The first.
    Begin(Order),
    /// An effect has ended.
    Answered(u32, Answer),
}

impl From<&Event> for Happens {
    fn from(event: &Event) -> Self {
        match event {
            Event::Begin(order) => Self::Begin(order.clone()),
            Event::Answered { ordinal, answer } => Self::Answered(*ordinal, answer.clone()),
        }
    }
}

impl From<&Happens> for Event {
    fn from(happens: &Happens) -> Self {
        match happens {
            Happens::Begin(order) => Self::Begin(order.clone()),
            Happens::Answered(ordinal, answer) => {
                Self::Answered { ordinal: *ordinal, answer: answer.clone() }
            }
        }
    }
}

/// What a call came to: a digest of the answer, or why there is none. Equal on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// An answer with this digest.
    To(Digest),
    /// None: this is why.
    Nothing(String),
    /// None, and it is a matter of time or room, which machines have more or less of.
    Unlucky(String),
}

impl Came {
    fn of<T>(answer: &Result<T, CallError>, bytes: impl Fn(&T) -> Vec<u8>) -> Self {
        match answer {
            Ok(answer) => Self::To(Digest(Sha256::digest(bytes(answer)).into())),
            Err(error) if trace::came_of_failure(error) == backstay_model::Came::Unlucky => {
                Self::Unlucky(error.to_string())
            }
            Err(error) => Self::Nothing(error.to_string()),
        }
    }
}

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    // Writing to memory doesn't fail.
    postcard::to_allocvec(value).unwrap_or_default()
}

fn described(description: &Description) -> Vec<u8> {
    format!("{description:?}").into_bytes()
}

#[expect(clippy::ptr_arg, reason = "it is handed on as a function of what a call came to")]
fn problems(problems: &Vec<Problem>) -> Vec<u8> {
    problems.iter().map(|problem| format!("{problem}\n")).collect::<String>().into_bytes()
}

fn decided(decided: &Decided) -> Vec<u8> {
    bytes_of(&(&decided.decision, &decided.memo))
}

fn stepped(stepped: &Stepped) -> Vec<u8> {
    bytes_of(&(&stepped.state, &stepped.effects, &stepped.end))
}

/// The configuration that these settings are.
///
/// # Errors
/// They are more, or longer, than any.
pub fn config(settings: &Settings) -> Result<Config, backstay_host::ConfigError> {
    Config::new(settings.iter().map(|(name, told)| (name.clone(), trace::value(told))))
}

/// A plugin that is tried out: called, and remembering each call with what it came to.
///
/// Every call is made twice, and what the second comes to is compared with the first.
pub struct Tried<P> {
    plugin: P,
    calls: RefCell<Vec<(Call, Came)>>,
    made: Cell<usize>,
    fickle: RefCell<Option<Call>>,
}

impl<P> Tried<P> {
    /// Of a plugin.
    pub fn new(plugin: P) -> Self {
        Self { plugin, calls: RefCell::default(), made: Cell::new(0), fickle: RefCell::default() }
    }

    /// How many calls there were.
    pub fn made(&self) -> usize {
        self.made.get()
    }

    /// Calls so far, and what they came to. At most 4,000.
    pub fn calls(&self) -> Vec<(Call, Came)> {
        self.calls.borrow().clone()
    }

    /// The first call that came to something else when it was made a second time.
    pub fn fickle(&self) -> Option<Call> {
        self.fickle.borrow().clone()
    }

    fn note<T>(
        &self,
        call: Call,
        ask: impl Fn() -> Result<T, CallError>,
        bytes: impl Fn(&T) -> Vec<u8>,
    ) -> Result<T, CallError> {
        let answer = ask();
        let came = Came::of(&answer, &bytes);
        if Came::of(&ask(), &bytes) != came {
            self.fickle.borrow_mut().get_or_insert_with(|| call.clone());
        }
        let made = self.made.replace(self.made.get() + 1);
        let mut calls = self.calls.borrow_mut();
        if calls.len() < REMEMBERED_MAX / 2 || (calls.len() < REMEMBERED_MAX && made.is_multiple_of(EVERY)) {
            calls.push((call, came));
        }
        answer
    }
}

/// Something that is tried out as an executor.
pub trait Steps {
    /// What can be set.
    ///
    /// # Errors
    /// It did not answer.
    fn describe(&self) -> Result<Description, CallError>;

    /// What is wrong with a configuration.
    ///
    /// # Errors
    /// It did not answer.
    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError>;

    /// Takes one event of one run.
    ///
    /// # Errors
    /// It did not answer.
    fn step(&self, settings: &Settings, state: &[u8], event: &Event) -> Result<Stepped, CallError>;
}

/// Something that is tried out as a policy.
pub trait Decides {
    /// What can be set.
    ///
    /// # Errors
    /// It did not answer.
    fn describe(&self) -> Result<Description, CallError>;

    /// What is wrong with a configuration.
    ///
    /// # Errors
    /// It did not answer.
    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError>;

    /// What is to be done.
    ///
    /// # Errors
    /// It did not answer.
    fn decide(&self, settings: &Settings, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError>;
}

fn taken(settings: &Settings) -> Config {
    config(settings).expect("settings that are tried are within the bounds of a configuration")
}

impl Steps for Executor {
    fn describe(&self) -> Result<Description, CallError> {
        self.describe()
    }

    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError> {
        self.validate(&taken(settings))
    }

    fn step(&self, settings: &Settings, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        self.step(&taken(settings), state, event)
    }
}

impl Decides for Policy {
    fn describe(&self) -> Result<Description, CallError> {
        self.describe()
    }

    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError> {
        self.validate(&taken(settings))
    }

    fn decide(&self, settings: &Settings, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError> {
        self.decide(&taken(settings), facts, prior)
    }
}

impl<P: Steps> Steps for Tried<P> {
    fn describe(&self) -> Result<Description, CallError> {
        self.note(Call::Describe, || self.plugin.describe(), described)
    }

    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError> {
        self.note(Call::Validate(settings.clone()), || self.plugin.validate(settings), problems)
    }

    fn step(&self, settings: &Settings, state: &[u8], event: &Event) -> Result<Stepped, CallError> {
        let call = Call::Step(settings.clone(), state.to_vec(), event.into());
        self.note(call, || self.plugin.step(settings, state, event), stepped)
    }
}

impl<P: Decides> Decides for Tried<P> {
    fn describe(&self) -> Result<Description, CallError> {
        self.note(Call::Describe, || self.plugin.describe(), described)
    }

    fn validate(&self, settings: &Settings) -> Result<Vec<Problem>, CallError> {
        self.note(Call::Validate(settings.clone()), || self.plugin.validate(settings), problems)
    }

    fn decide(&self, settings: &Settings, facts: &Facts, prior: &[u8]) -> Result<Decided, CallError> {
        let call = Call::Decide(settings.clone(), facts.clone(), prior.to_vec());
        self.note(call, || self.plugin.decide(settings, facts, prior), decided)
    }
}

/// Makes calls of an executor again, in their order.
pub fn steps_again(executor: &impl Steps, calls: &[Call]) -> Vec<Came> {
    let one = |call: &Call| match call {
        Call::Describe => Came::of(&executor.describe(), described),
        Call::Validate(settings) => Came::of(&executor.validate(settings), problems),
        Call::Step(settings, state, event) => {
            Came::of(&executor.step(settings, state, &event.into()), stepped)
        }
        Call::Decide(..) => Came::Nothing("an executor decides nothing".into()),
    };
    calls.iter().map(one).collect()
}

/// Makes calls of a policy again, in their order.
pub fn decisions_again(policy: &impl Decides, calls: &[Call]) -> Vec<Came> {
    let one = |call: &Call| match call {
        Call::Describe => Came::of(&policy.describe(), described),
        Call::Validate(settings) => Came::of(&policy.validate(settings), problems),
        Call::Decide(settings, facts, prior) => Came::of(&policy.decide(settings, facts, prior), decided),
        Call::Step(..) => Came::Nothing("a policy takes no steps".into()),
    };
    calls.iter().map(one).collect()
}
