//! A whole fleet in one process: real cores on both sides, everything between them made up, time a number.
//!
//! Here: a fleet and its event heap (`fleet`), what all of it is under (`sky`), devices with slots, a program and an
//! executor (`unit`), a broker with retained messages (`broker`), a server that may lose what it knew (`shore`), releases
//! that turn out this way or that (`product`), the faults of a seed (`weather`), the policy that ships, run natively
//! (`policy`), what befalls all of it at once (`tale`), what has to hold after every event (`invariants`) and what has to come about when the faults have stopped
//! (`progress`). Not here: bytes, signatures, sockets, files, plugins in their sandbox; and stories about one path (`stories`).
//!
//! The same seed gives the same run, event by event, on any machine. A seed that fails becomes a story.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "it is a test: names that it makes up are names, and a failed assumption fails the seed"
)]

mod broker;
mod fleet;
pub mod invariants;
mod poison;
mod policy;
mod product;
mod progress;
mod reference;
mod sabotage;
mod shore;
mod size;
mod sky;
mod tale;
mod trial;
mod unit;
mod weather;
mod witness;

pub use fleet::{Failure, Fleet, Ran};
pub use invariants::Checks;
pub use product::Behaviour;
pub use sabotage::Sabotage;
pub use size::Size;
pub use tale::{Tale, Toll};
pub use trial::Trial;
pub use weather::{Mark, Marks, Weather};
