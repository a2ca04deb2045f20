//! A command that did not do its work: what failed, why, what to do, and the number to end with.
//!
//! It is made where a command gives up, out of whatever error it met, and printed once, at the very end of the
//! program. Nothing handles it in between, which is why one type serves all commands.

use std::{error::Error, fmt};

use backstay_api::ApiError;
use backstay_model::causes;
use backstay_trust::{PluginError, Refusal};

use crate::{Exit, text::plain};

/// A command that failed.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    why: Option<Box<dyn Error>>,
    help: Option<String>,
}

impl Failure {
    /// What failed, in lower case and without a full stop.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: None, help: None }
    }

    /// The same with its cause, whose own causes are printed, too.
    #[must_use]
    pub fn why(self, why: impl Into<Box<dyn Error>>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// The same with what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same with what to do, if anybody knows it.
    #[must_use]
    pub fn maybe_help(self, help: Option<&'static str>) -> Self {
        Self { help: help.map(Into::into).or(self.help), ..self }
    }

    /// The same with another number to end with: what one command calls missing may be another's refusal.
    #[must_use]
    pub(crate) fn ending(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// With which number the program ends.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// What failed, without why: for a line among others.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// A plugin, or its signatures, are not to be trusted.
    #[must_use]
    pub fn untrusted_plugin(what: impl Into<String>, why: PluginError) -> Self {
        let help = why.help();
        Self::new(Exit::Untrusted, what).why(why).maybe_help(help)
    }

    /// A statement is not to be trusted.
    #[must_use]
    pub fn untrusted(what: impl Into<String>, why: Refusal) -> Self {
        let help = why.help();
        Self::new(Exit::Untrusted, what).why(why).maybe_help(help)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { exit: error.kind.into(), what: error.what, why: None, help: error.help }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", plain(&self.what))?;
        for why in causes::of(self) {
            // A cause can be several, each in a line of its own: all that is wrong with a configuration.
            for line in why.to_string().lines() {
                write!(f, "\n  because: {}", plain(line))?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\n  help:    {}", plain(help)),
            None => Ok(()),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let failure = Failure::new(Exit::Trouble, "cannot read pump.wasm")
            .why(io::Error::new(io::ErrorKind::NotFound, "no such file"))
            .help("build it first");
        assert_eq!(
            failure.to_string(),
            "error: cannot read pump.wasm\n  because: no such file\n  help:    build it first"
        );
    }

    #[test]
    fn a_failure_never_paints_the_terminal() {
        let failure = Failure::new(Exit::Trouble, "bad name \"\u{1b}[31mred\"");
        assert_eq!(failure.to_string(), "error: bad name \"?[31mred\"");
    }
}
