//! Small models of what must never go wrong, each searched to its end.
//!
//! A model is a little world around the real types of `core`, `trust` and `memory`: its state holds them as they are, its
//! actions are all that can happen, in every order, and its properties are sentences. Here: one file per model, and in
//! `search` how one is searched and told. Not here: long lives of whole fleets (`tests/sim`), single paths told as stories
//! (`tests/stories`), and power cuts at every write (`tests/faults`).
//!
//! Each model is also searched with something broken in the world around the types, once for each way to break it: a search
//! that doesn't find that proves nothing. The broken parts are in the models only.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

#[cfg(test)]
mod breaker;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod keyring;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod search;
#[cfg(test)]
mod thief;
