//! Why there is no number. None of these is ever taken for a good one.
//!
//! Not here: what a lack of data leads to (`core` and the policy: a window without samples).

use std::{error::Error, fmt};

use backstay_model::Millis;

use crate::Finite;

/// What came of one question.
pub type Answer = Result<Finite, NoData>;

/// Why a question has no number for an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NoData {
    /// Nobody asked, or nobody sent it.
    NotAsked,
    /// No series matches.
    Empty,
    /// Several series match: which of them is meant isn't said.
    Several {
        /// How many.
        series: usize,
    },
    /// It is NaN or infinite: 0 of 0 requests failed, for one.
    NotFinite,
    /// It is older than was allowed.
    Stale {
        /// How old.
        age: Millis,
    },
    /// It is of a time that is still to come: two clocks disagree.
    Early {
        /// By how much.
        by: Millis,
    },
    /// A count below zero.
    Negative {
        /// What came.
        value: Finite,
    },
    /// A share that isn't from 0 to 1.
    NotAShare {
        /// What came.
        value: Finite,
    },
    /// The server answered with warnings: it may not have seen all that there is.
    Warned {
        /// The first of them, its first characters.
        warning: String,
    },
    /// The server refused the question.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, its first characters.
        said: String,
    },
    /// A range, a text or a histogram, where a number was expected.
    OtherType {
        /// What came instead.
        kind: &'static str,
    },
    /// The answer is longer than is read.
    TooLarge {
        /// The most bytes that are read.
        bytes_max: u64,
    },
    /// The answer can't be understood.
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// No answer came in time.
    TimedOut {
        /// The time that there was.
        timeout: Millis,
    },
    /// The server can't be reached, or isn't whom it has to be.
    Unreachable {
        /// Why.
        why: String,
    },
    /// There is no credential to ask with.
    NoCredential {
        /// Why. Never the credential.
        why: String,
    },
    /// The program is ending.
    GivenUp,
}

impl NoData {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Empty => Some("if no series means none so far, say so in the query: `... or vector(0)`"),
            Self::Several { .. } => Some("aggregate in the query: sum(...), max(...)"),
            Self::NotFinite => {
                Some("give the numbers of bad and of all as two queries rather than their quotient")
            }
            Self::Early { .. } => Some("look whether the clocks of both machines are right"),
            Self::NotAShare { .. } => Some("let the query yield a share, from 0 to 1"),
            Self::Negative { .. } => {
                Some("count with increase(...), which knows of counters that start anew")
            }
            Self::Refused { .. } => Some("try the query in Prometheus' own page"),
            Self::OtherType { .. } => {
                Some("ask for one number: aggregate, and leave out the range at the end")
            }
            Self::TooLarge { .. } => Some("ask for one number: aggregate in the query"),
            Self::NoCredential { .. } => Some("look at the credential in the configuration"),
            Self::NotAsked
            | Self::Stale { .. }
            | Self::Warned { .. }
            | Self::Malformed { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::GivenUp => None,
        }
    }
}

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("there is no answer"),
            Self::Empty => f.write_str("no series matches"),
            Self::Several { series } => write!(f, "{series} series match, and one was expected"),
            Self::NotFinite => f.write_str("the value is not a finite number"),
            Self::Stale { age } => write!(f, "the value is {age} old"),
            Self::Early { by } => write!(f, "the value is {by} ahead of the time that was asked for"),
            Self::Negative { value } => write!(f, "{value} is no count"),
            Self::NotAShare { value } => write!(f, "{value} is no share from 0 to 1"),
            Self::Warned { warning } => write!(f, "the server warned: {warning}"),
            Self::Refused { status, said } if said.is_empty() => {
                write!(f, "the server answered with status {status}")
            }
            Self::Refused { status, said } => write!(f, "the server answered with status {status}: {said}"),
            Self::OtherType { kind } => write!(f, "the answer is a {kind}, and one number was expected"),
            Self::TooLarge { bytes_max } => write!(f, "the answer is longer than {bytes_max} bytes"),
            Self::Malformed { why } => write!(f, "the answer can't be understood: {why}"),
            Self::TimedOut { timeout } => write!(f, "no answer came within {timeout}"),
            Self::Unreachable { why } => write!(f, "the server can't be asked: {why}"),
            Self::NoCredential { why } => write!(f, "there is no credential to ask with: {why}"),
            Self::GivenUp => f.write_str("the program is ending"),
        }
    }
}

impl Error for NoData {}

/// The most characters of a text of others that are passed on.
const SAID_CHARS_MAX: usize = 200;

/// The first characters of a text of others, without what would break a line.
pub(crate) fn shortened(said: &str) -> String {
    said.chars().take(SAID_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
