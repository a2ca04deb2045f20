//! What a plugin is written with.
//!
//! A plugin for Backstay is a pure function that is compiled to WebAssembly. It imports nothing: no clock, no file, no
//! network. What it may know it is given; what it wants done it returns as data, and the host checks that against the
//! operator's grant, writes it down, does it, and calls again with what came of it. There are two kinds:
//!
//! - a **policy** maps facts about a release to a decision: go on, heal, go back, freeze ([`policy`]);
//! - an **executor** maps an order and answers to effects: run this command, ask this endpoint, replace this file
//!   ([`executor`]).
//!
//! # An executor, from nothing
//!
//! The crate is a library like any other; what makes it a plugin is one macro, and the first line, which leaves out the
//! standard library where there is no system for it:
//!
//! ```
//! #![cfg_attr(target_arch = "wasm32", no_std)]
//! extern crate alloc;
//!
//! use alloc::{vec, vec::Vec};
//! use backstay_sdk::{
//!     deed,
//!     executor::{Ctx, Executor, Failed, Order, Task, permanent, transient},
//!     settings::{Description, Text},
//! };
//!
//! // Said once: the description for the operator and the reading with its default both come from here.
//! const RESTART: Text = Text { name: "restart", default: "restart", help: "The command that restarts the pump." };
//!
//! pub struct Pump;
//!
//! impl Executor for Pump {
//!     fn describe() -> Description {
//!         Description { about: "Restarts a pump that is stuck.".into(), settings: vec![RESTART.info()] }
//!     }
//!
//!     async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
//!         let Task::Heal(_) = &order.task else { return Err(permanent("it only heals")) };
//!         // What looks may be done at any time, in a dry run too.
//!         if ctx.look(deed::get("pump", "/health")).await.is_ok_and(|reply| reply.is_well()) {
//!             return Ok(());
//!         }
//!         ctx.change(deed::run(RESTART.of(ctx.config()), [])).await?.well()?;
//!         ctx.look(deed::sleep(5_000)).await?;
//!         ctx.look(deed::get("pump", "/health")).await?.well().map_err(|_| transient("it is still stuck"))?;
//!         Ok(())
//!     }
//! }
//!
//! backstay_sdk::export_executor!(Pump);
//!
//! // It is tested like any function: natively, without WebAssembly, without a mock of anything.
//! use backstay_sdk::testing::{Run, exited, order, response};
//!
//! let mut run = Run::<Pump>::begin(&[], order(Task::Heal("unstick".into())));
//! assert_eq!(run.asked(), [deed::get("pump", "/health")]);
//! run.answer(response(503));
//! assert_eq!(run.asked(), [deed::run("restart", [])]);
//! run.answer(exited(0));
//! run.answer(backstay_sdk::executor::Answer::Done); // the wait
//! run.answer(response(200));
//! assert!(run.is_done());
//! ```
//!
//! `run` reads like a script. Under it lies a state machine: the host calls [`executor::step`] once for the order and
//! once for each answer, each time in a new instance that knows nothing but its state. The SDK keeps the answers in that
//! state, calls `run` afresh, and plays them back to it, so it comes to the line where it was. A power cut at any line
//! costs nothing. Whoever would rather write the states down by name does that: [`executor::Steps`].
//!
//! # A policy, from nothing
//!
//! ```
//! use backstay_sdk::{
//!     policy::{Action, Decided, Facts, How, Policy, Refusal, decided},
//!     settings::{Description, Setting},
//! };
//!
//! pub struct TwoBadWindows;
//!
//! impl Policy for TwoBadWindows {
//!     fn describe() -> Description {
//!         Description { about: "Goes back after two bad windows in a row.".into(), settings: Vec::new() }
//!     }
//!
//!     fn decide(_: &[Setting], facts: &Facts, _: &[u8]) -> Result<Decided, Refusal> {
//!         let bad = |name: &str, windows: &[_]| {
//!             let [.., one, two]: &[backstay_sdk::policy::Window] = windows else { return None };
//!             let broken = [one, two].iter().all(|window| window.samples > 0 && window.bad == window.samples);
//!             broken.then(|| format!("{name}: {} of {} bad, twice", two.bad, two.samples))
//!         };
//!         let found = facts.objectives.iter().find_map(|objective| bad(&objective.name, &objective.candidate));
//!         Ok(match found {
//!             Some(reason) => decided(Action::RollBack(How::AbortCanary), [reason]),
//!             None => decided(Action::Proceed, ["no objective is broken"]),
//!         })
//!     }
//! }
//!
//! backstay_sdk::export_policy!(TwoBadWindows);
//! ```
//!
//! # What an author has to know
//!
//! | page | the question that it answers |
//! |---|---|
//! | [`guide::determinism`] | What may `run` and `decide` depend on? |
//! | [`guide::in_doubt`] | The power went while something was being done. Was it? |
//! | [`guide::idempotency`] | The order comes a second time. What now? |
//! | [`guide::state`] | How large may a state be, and what if I release another version? |
//! | [`readings`] | The order is the playbook `look`. What do I say, and how? |
//!
//! # From source to something that runs
//!
//! `backstay plugin new` makes a folder like this one, `build` and `test` and `sign` do what their names say, and the
//! operator's `grant` lets it run: `docs/write-a-plugin.md` goes that way once, with what it takes. Without Rust:
//! `plugins/examples/` has the same executor in C, JavaScript and Python, against the same `wit/`.
//!
//! Not here: anything of the runtime. A plugin knows the contract in `wit/` and nothing else.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod bare;
pub mod bindings;
pub mod deed;
pub mod executor;
mod export;
pub mod guide;
mod log;
pub mod policy;
pub mod quote;
pub mod readings;
pub mod remedy;
mod run;
pub mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[doc(hidden)]
pub use alloc::vec::Vec as __Vec;
