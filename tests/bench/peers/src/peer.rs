//! What each that is compared can do. An answer is the action as one word (`asked::word`).

use std::{any::Any, fmt::Display};

use backstay_test_bench::Failure;

use crate::facts::Case;

/// One of those that are compared.
pub trait Peer {
    /// As the table has it.
    fn name(&self) -> &'static str;

    /// From the bytes that are distributed to the first decision.
    fn cold(&self, case: &Case) -> Result<String, Failure>;

    /// In what was loaded before, with whatever is left there of the decision before. `None`: there is no such way.
    fn kept(&mut self, case: &Case) -> Result<Option<String>, Failure>;

    /// In a sandbox that nobody used before, of what was loaded before. `None`: it has no sandbox.
    fn fresh(&mut self, case: &Case) -> Result<Option<String>, Failure>;

    /// Loads it once more, asks it once, and hands over all that stays in memory.
    fn load(&self, case: &Case) -> Result<Box<dyn Any>, Failure>;

    /// How many bytes are distributed.
    fn bytes(&self) -> Option<usize>;
}

/// An error that may not leave its thread, as what it says.
pub fn told(why: impl Display) -> Failure {
    why.to_string().into()
}
