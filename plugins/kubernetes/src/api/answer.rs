//! What a change was answered with, and what that means for whoever asked.

use alloc::{format, string::String};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    quote,
};
use serde_json::Value;

use super::text;
use crate::resource::Resource;

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// It was made.
    Done,
    /// The server would not: nothing was changed.
    Refused(Refused),
    /// Nobody knows. Look before asking again.
    Unknown,
}

/// What a change was answered with, for whoever has to know what a failing server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was made.
    Done,
    /// Not with success. With 500 and more it may have been made all the same.
    Answered(Refused),
    /// With nothing: nobody knows.
    Unknown,
}

/// Why the server would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status: 404 it isn't there, 409 it is another one by now or exists already, 422 it makes no sense or a test
    /// of a JSON patch failed, 429 a budget allows it only later.
    pub status: u16,
    /// The reason in a word, as Kubernetes has it: `Conflict`, `Invalid`. Empty where it isn't known.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl Written {
    /// That it was made.
    ///
    /// # Errors
    /// Why it wasn't, or that nobody knows; `what` is "pausing the Rollout shop", say.
    pub fn done(self, what: &str) -> Result<(), Failed> {
        match self {
            Self::Done => Ok(()),
            Self::Refused(refused) => Err(refused.failed(what)),
            Self::Unknown => Err(transient(format!("whether {what} was done isn't known"))),
        }
    }
}

impl Refused {
    /// The failure that says so. What is gone or makes no sense stays so; what was changed meanwhile, or has to wait, may pass
    /// the next time.
    #[must_use]
    pub fn failed(&self, what: &str) -> Failed {
        let why = format!("{what} was refused with status {}: {}", self.status, self.message);
        if matches!(self.status, 409 | 429) { transient(why) } else { permanent(why) }
    }

    /// The failure of a request: that we may not, that the server is in trouble, or that it made no sense.
    #[must_use]
    pub fn about(&self, method: &str, of: &Resource) -> Failed {
        let Self { status, message, .. } = self;
        let path = quote::text(of.path());
        match status {
            401 | 403 => permanent(format!("the API server does not let us {method} {path}: {message}")),
            429 | 500..600 => {
                transient(format!("{method} {path} was answered with status {status}: {message}"))
            }
            _ => permanent(format!("{method} {path} was answered with status {status}: {message}")),
        }
    }
}

/// What a refusal says: Kubernetes' `Status`, or the text of somebody in between.
pub(super) fn refused(status: u16, body: &[u8]) -> Refused {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    // An eviction that has to wait says which budget it is in its cause alone.
    let cause = if status == 429 { text(&said, "/details/causes/0/message") } else { "" };
    let message = match (cause, text(&said, "/message")) {
        ("", "") => quote::last_line(body),
        ("", message) | (message, _) => quote::text(message),
    };
    Refused { status, reason: quote::text(text(&said, "/reason")), message }
}
