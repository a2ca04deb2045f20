//! What the journal has of a run that was cut off, as the executor is told of it.
//!
//! Not here: the run itself (`plugins`), doing an effect (`machine`), writing it down (`driver`).

use backstay_memory::Step;
use backstay_model::Answer;

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

/// The outcomes among `steps`, in the order in which they came.
pub fn answers(steps: &[Step]) -> Vec<(u32, Answer)> {
    let answer = |step: &Step| match step {
        Step::Began { .. } => None,
        // An answer that can't be read any more is one that isn't known.
        Step::Ended { ordinal, answer } => {
            Some((*ordinal, postcard::from_bytes(answer).unwrap_or(Answer::InDoubt)))
        }
    };
    steps.iter().filter_map(answer).collect()
}
