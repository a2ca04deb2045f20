//! Why a command was not carried out: a line for people, and an exit code for who asked.

use std::fmt::{self, Write as _};

use backstay_model::{Transience, causes};
use backstay_slots::{SlotError, program};

/// A command that was not carried out.
#[derive(Debug)]
pub struct Trouble {
    /// The exit code.
    pub code: u8,
    /// What, why and what to do.
    line: String,
}

impl Trouble {
    fn new(code: u8, what: impl Into<String>, help: Option<&str>) -> Self {
        let mut line = what.into();
        if let Some(help) = help {
            // Writing to a string can't fail.
            let _ = write!(line, "; help: {help}");
        }
        Self { code, line }
    }

    /// The command line or the configuration is wrong.
    pub fn wrong(what: impl Into<String>, help: &str) -> Self {
        Self::new(program::WRONG, what, Some(help))
    }

    /// No, now and later.
    pub fn refused(what: impl Into<String>, help: &str) -> Self {
        Self::new(program::REFUSED, what, Some(help))
    }

    /// What a check found, a line each, which says itself what was expected.
    pub fn found(problems: &[String]) -> Self {
        Self::new(program::REFUSED, problems.join("\n"), None)
    }

    /// Not now.
    pub fn later(what: impl Into<String>, help: &str) -> Self {
        Self::new(program::LATER, what, Some(help))
    }

    /// An error of others with all its causes.
    pub fn of(code: u8, error: &(dyn std::error::Error + 'static), help: Option<&str>) -> Self {
        Self::new(code, causes::in_one_line(error), help)
    }
}

impl From<SlotError> for Trouble {
    fn from(error: SlotError) -> Self {
        let code = match error.transience() {
            Transience::Transient => program::LATER,
            Transience::Permanent => program::REFUSED,
        };
        Self::of(code, &error, error.help())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}
