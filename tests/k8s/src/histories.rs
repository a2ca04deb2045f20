//! Random histories of a workload, and where each tool goes back to at their end.
//!
//! A history is a list of acts: releases are shipped, restarted, undone by hand, taken back by the server under test. It ends with a bad
//! one that is to be left. What is true of each release (`product`) is known here and to no tool. Every tool is asked for its way back: by a
//! model of it (`helm`, `deployment`, `rollout`), and, for a sample, the tool itself on a real API server (`live`). Ours is no model: it is
//! `core` with what a pipeline and windows tell it, and the choice of the executors (`ours`).
//!
//! Not here: how often each is wrong; that is what `tests/histories.rs` counts.

mod acts;
mod deployment;
mod helm;
pub mod live;
mod model;
mod ours;
mod product;
mod rollout;
mod sets;
mod truth;
mod walk;

pub use acts::{Act, Answer, HelmVersion, Kind, Setup, Shipping, Tool};
pub use deployment::Deployment;
pub use helm::{Helm, Record, Status};
pub use model::{Model, Shape};
pub use ours::Chosen;
pub use product::{Nature, Product, Template};
pub use rollout::Rollout;
pub use sets::Set;
pub use truth::{Count, Truth, Verdict};
pub use walk::History;
