//! Executors: straight-line code that survives a power cut at any line.
//!
//! The author writes [`Executor::run`] as an `async fn` that asks the host for one thing after the other. The SDK
//! calls it afresh at every step and plays back what was answered so far, in the order in which it was answered,
//! so the function comes to the line where it was and goes on from there. Nothing else is kept.
//!
//! What follows from that for the author: `run` may depend on its arguments and on answers alone, and what it
//! asks must be the same every time. The SDK compares a hash of each thing asked with what was asked then, and
//! refuses to go on where they differ.
//!
//! Ask with [`Ctx::look`] for what only reads, and with [`Ctx::change`] for everything else; what can be asked is in
//! [`deed`](crate::deed). Several things at once: [`both`], [`all`]. Each comes back as a [`Reply`], or as a
//! [`Trouble`], which `?` makes the end of the run.

use alloc::{string::String, vec::Vec};
use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

pub use crate::{
    bindings::executor::backstay::plugin::{
        effects::{
            Access, Answer, Answered, Attach, Deed, Effect, Event, Exited, File, Http, Output, Publish,
            Response, Run, Slot, SlotStatus, Stepped,
        },
        orders::{Failed, Order, Outcome, Refusal, Task, Transience},
    },
    bindings::policy::backstay::plugin::common::Release,
    run::{Asked, Ctx, Reply, Trouble, all, both},
};
use crate::{
    log::Log,
    settings::{Description, Problem, Setting},
};

/// An executor, written as straight-line code.
pub trait Executor {
    /// What can be set.
    fn describe() -> Description;

    /// What is wrong with a configuration, beyond what [`describe`](Self::describe) says of each setting alone.
    #[must_use]
    fn validate(config: &[Setting]) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// One run, from the order to its end. Write it as an `async fn`.
    ///
    /// Being asked twice for the same has to be the same as once: look first, and do what is missing.
    ///
    /// # Errors
    /// What went wrong, with the target as it was before.
    fn run(ctx: &Ctx, order: &Order) -> impl Future<Output = Result<(), Failed>>;
}

/// An executor, written as a function from a state to the next: for authors who want to name the states themselves.
///
/// Whatever implements [`Executor`] has this. The other way round, the state is the author's alone, and so are the things
/// that [`step`] does for the others:
///
/// - ordinals count from 0 and go on from step to step without a gap;
/// - an answer may come twice, and one to what was never asked is refused as [`Refusal::Unexpected`];
/// - a state begins with a version of its own and a hash of the settings, and one that doesn't fit is refused as
///   [`Refusal::Diverged`];
/// - as long as there is no `end`, at least one answer is outstanding; with an `end` there are no effects.
///
/// ```
/// use backstay_sdk::deed;
/// use backstay_sdk::executor::{Access, Answer, Effect, Event, Outcome, Refusal, Stepped, Steps, transient};
/// use backstay_sdk::settings::{Description, Setting};
///
/// pub struct OneCommand;
///
/// impl Steps for OneCommand {
///     fn describe() -> Description {
///         Description { about: "Runs one command.".into(), settings: Vec::new() }
///     }
///
///     fn step(_: &[Setting], state: &[u8], event: Event) -> Result<Stepped, Refusal> {
///         const FORMAT: u8 = 1;
///         const ASKED: u8 = 0;
///         const ENDED: u8 = 1;
///         let ended = |end| Ok(Stepped { state: vec![FORMAT, ENDED], effects: vec![], end: Some(end) });
///         match (state, event) {
///             ([], Event::Begin(_)) => {
///                 let effect = Effect { ordinal: 0, access: Access::Changes, deed: deed::run("restart", []) };
///                 Ok(Stepped { state: vec![FORMAT, ASKED], effects: vec![effect], end: None })
///             }
///             ([FORMAT, ASKED], Event::Answered(answered)) if answered.ordinal == 0 => match answered.answer {
///                 Answer::Exited(exited) if exited.code == Some(0) => ended(Outcome::Done),
///                 _ => ended(Outcome::Failed(transient("it did not work"))),
///             },
///             ([FORMAT, ..], _) => Err(Refusal::Unexpected("that fits nothing that was asked".into())),
///             _ => Err(Refusal::Diverged("the state can't be read".into())),
///         }
///     }
/// }
///
/// backstay_sdk::export_executor!(OneCommand);
/// ```
pub trait Steps {
    /// What can be set.
    fn describe() -> Description;

    /// What is wrong with a configuration, beyond what [`describe`](Self::describe) says of each setting alone.
    #[must_use]
    fn validate(config: &[Setting]) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }

    /// Takes one event of one run. `state` is the one that the step before returned; empty with [`Event::Begin`].
    ///
    /// # Errors
    /// Where the step can't be taken. None of it moves anything: the run freezes where it stands.
    fn step(config: &[Setting], state: &[u8], event: Event) -> Result<Stepped, Refusal>;
}

impl<E: Executor> Steps for E {
    fn describe() -> Description {
        E::describe()
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        E::validate(config)
    }

    fn step(config: &[Setting], state: &[u8], event: Event) -> Result<Stepped, Refusal> {
        step::<E>(config, state, event)
    }
}

/// Something that didn't work but may work later.
#[must_use]
pub fn transient(why: impl Into<String>) -> Failed {
    Failed { transience: Transience::Transient, why: why.into() }
}

/// Something that will never work like this.
#[must_use]
pub fn permanent(why: impl Into<String>) -> Failed {
    Failed { transience: Transience::Permanent, why: why.into() }
}

/// Takes one event of one run: what the component exports, and what a test calls.
///
/// # Errors
/// A [`Refusal`]: the state isn't ours, the event doesn't fit, or the executor has a bug.
pub fn step<E: Executor>(config: &[Setting], state: &[u8], event: Event) -> Result<Stepped, Refusal> {
    let mut log = match event {
        Event::Begin(order) if state.is_empty() => Log::begin(order, config),
        Event::Begin(_) => return Err(Refusal::Unexpected("the run has begun already".into())),
        Event::Answered(answered) => {
            let mut log = Log::read(state, config)?;
            log.answered(answered)?;
            log
        }
    };
    let order = log.order().clone();
    let ctx = Ctx::new(config.to_vec(), log.take_asked());
    let mut run = pin!(E::run(&ctx, &order));
    let mut waker = Context::from_waker(Waker::noop());
    let mut end = run.as_mut().poll(&mut waker);
    // One answer at a time, in the order in which they came: with two things under way at once, what is asked
    // next depends on which of them was answered first.
    for Answered { ordinal, answer } in log.take_answers() {
        if end.is_ready() || !ctx.reveal(ordinal, answer) {
            let why = "the run doesn't come to the answers that it has: the executor was changed in mid-run";
            return Err(Refusal::Diverged(why.into()));
        }
        end = run.as_mut().poll(&mut waker);
    }
    let asked = ctx.finish()?;
    let end = match end {
        Poll::Ready(_) if asked.outstanding > 0 => {
            let why = alloc::format!("the run ended with {} answers outstanding", asked.outstanding);
            return Err(Refusal::Bug(why));
        }
        Poll::Ready(Ok(())) => Some(Outcome::Done),
        Poll::Ready(Err(failed)) => Some(Outcome::Failed(failed)),
        Poll::Pending if asked.outstanding == 0 => {
            return Err(Refusal::Bug("the run waits and has asked for nothing".into()));
        }
        Poll::Pending => None,
    };
    let state = log.close(&asked.fresh)?;
    Ok(Stepped { state, effects: asked.fresh, end })
}

/// Makes the type, an [`Executor`] or whatever else has [`Steps`], the executor of this component. Does nothing in a native
/// build, where a plugin is an ordinary library that tests can call.
#[macro_export]
macro_rules! export_executor {
    ($executor:ty) => {
        $crate::__export! {
            executor, export_executor_world, $executor, $crate::executor::Steps,
            fn step(
                config: $crate::__Vec<world::Setting>,
                state: $crate::__Vec<u8>,
                event: world::Event,
            ) -> Result<world::Stepped, world::Refusal> {
                <$executor as $crate::executor::Steps>::step(&config, &state, event)
            }
        }
    };
}

#[cfg(test)]
mod tests;
