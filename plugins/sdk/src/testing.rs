//! For an executor's own tests: a run whose host is the test.
//!
//! There is nothing to mock. An executor asks, the test looks at what it asked and answers as it likes: well, badly, late,
//! twice, in doubt. Everything runs natively; `cargo test` needs no WebAssembly.
//!
//! A [`Run`] takes every step twice and compares, and gives every answer once more after it was taken, so a test of
//! anything is also a test that the executor depends on nothing but its arguments.

use alloc::{borrow::ToOwned, vec::Vec};
use core::marker::PhantomData;

use crate::{
    executor::{
        Answer, Answered, Deed, Effect, Event, Exited, Failed, Order, Outcome, Output, Refusal, Response,
        Stepped, Steps, Task,
    },
    settings::Setting,
};

/// A run in the hands of a test.
///
/// Its methods panic where a test has gone wrong: where the executor refuses a step, is not deterministic, or has nothing
/// outstanding that could be answered.
#[derive(Debug)]
pub struct Run<E> {
    config: Vec<Setting>,
    state: Vec<u8>,
    outstanding: Vec<Effect>,
    asked: u32,
    end: Option<Outcome>,
    executor: PhantomData<E>,
}

impl<E: Steps> Run<E> {
    /// Begins a run.
    #[must_use]
    pub fn begin(config: &[Setting], order: Order) -> Self {
        let mut run = Self {
            config: config.to_vec(),
            state: Vec::new(),
            outstanding: Vec::new(),
            asked: 0,
            end: None,
            executor: PhantomData,
        };
        run.step(Event::Begin(order));
        run
    }

    /// What is asked and not yet answered, in the order in which it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Deed> {
        self.outstanding.iter().map(|effect| effect.deed.clone()).collect()
    }

    /// The same, with the ordinals, and with what only looks told from what changes.
    #[must_use]
    pub fn effects(&self) -> &[Effect] {
        &self.outstanding
    }

    /// Answers the oldest thing that is outstanding.
    #[track_caller]
    pub fn answer(&mut self, answer: Answer) {
        let ordinal =
            self.outstanding.first().expect("the run asks for nothing that could be answered").ordinal;
        self.answer_to(ordinal, answer);
    }

    /// Answers the thing with this ordinal.
    #[track_caller]
    pub fn answer_to(&mut self, ordinal: u32, answer: Answer) {
        let place = self.outstanding.iter().position(|effect| effect.ordinal == ordinal);
        self.outstanding.remove(place.expect("nothing with this ordinal is outstanding"));
        let event = Event::Answered(Answered { ordinal, answer });
        self.step(event.clone());
        if self.end.is_none() {
            // An answer may come a second time. That changes nothing.
            let again = taken::<E>(&self.config, &self.state, event);
            assert_eq!(again, Ok(Stepped { state: self.state.clone(), effects: Vec::new(), end: None }));
        }
    }

    /// Answers everything until the run ends, and says how it did.
    #[track_caller]
    pub fn until_end(mut self, mut host: impl FnMut(&Effect) -> Answer) -> Outcome {
        while let Some(effect) = self.outstanding.first().cloned() {
            self.answer_to(effect.ordinal, host(&effect));
        }
        self.end.expect("a run that asks for nothing has ended: the SDK sees to that")
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<&Outcome> {
        self.end.as_ref()
    }

    /// Whether it has ended well.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.end == Some(Outcome::Done)
    }

    /// Why it failed, if it has.
    #[must_use]
    pub fn failed(&self) -> Option<&Failed> {
        match &self.end {
            Some(Outcome::Failed(failed)) => Some(failed),
            Some(Outcome::Done) | None => None,
        }
    }

    /// The state, as the host would keep it.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    #[track_caller]
    fn step(&mut self, event: Event) {
        let stepped = taken::<E>(&self.config, &self.state, event);
        let Stepped { state, effects, end } = stepped.expect("the executor refuses this step");
        for effect in &effects {
            assert_eq!(effect.ordinal, self.asked, "ordinals count from 0, without gaps");
            self.asked += 1;
        }
        self.outstanding.extend(effects);
        assert_eq!(
            end.is_some(),
            self.outstanding.is_empty(),
            "a run goes on for as long as it asks for something"
        );
        (self.state, self.end) = (state, end);
    }
}

/// Takes a step twice.
#[track_caller]
fn taken<E: Steps>(config: &[Setting], state: &[u8], event: Event) -> Result<Stepped, Refusal> {
    let once = E::step(config, state, event.clone());
    assert_eq!(once, E::step(config, state, event), "the same step gives something else the second time");
    once
}

/// An order with this task.
#[must_use]
pub fn order(task: Task) -> Order {
    Order { ticket: 7, fence: 1, task }
}

/// A command ended with this code, and said nothing.
#[must_use]
pub fn exited(code: i32) -> Answer {
    Answer::Exited(Exited { code: Some(code), output: output(b"") })
}

/// An endpoint answered with this status, and nothing else.
#[must_use]
pub fn response(status: u16) -> Answer {
    Answer::Response(Response { status, body: output(b"") })
}

/// A file holds this.
#[must_use]
pub fn content(bytes: &[u8]) -> Answer {
    Answer::Content(output(bytes))
}

fn output(bytes: &[u8]) -> Output {
    Output { bytes: bytes.to_owned(), whole: None }
}
