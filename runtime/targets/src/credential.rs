//! What we prove to another service who we are: where the secret is, and how it is sent.
//!
//! A configuration never holds the secret itself, so it can be read, kept and shown. Not here: reading it.

use backstay_model::Millis;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    SpanIn,
    text::{AbsolutePath, Argument, HeaderName, HeaderValue, Variable},
};

/// A secret and the header field that it is sent in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "Written")]
#[schemars(with = "Written")]
#[non_exhaustive]
pub struct Credential {
    /// Where the secret is: one line, read anew for each request so that it can be exchanged.
    pub secret: Secret,
    /// The header field.
    pub header: HeaderName,
    /// What stands before the secret and a space: `Bearer`.
    pub scheme: Option<HeaderValue>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In a file.
    File(AbsolutePath),
    /// In a variable of the server's environment.
    Env(Variable),
    /// In what a program prints.
    Command {
        /// 1 to 64 arguments, the first one the program's path. No shell.
        argv: Vec<Argument>,
        /// For how long what it printed is used again, up to 1 h. 0: it is run for each request.
        keep: Millis,
    },
}

/// Where a secret is, exactly one of file, env and command, and how it is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Credential")]
struct Written {
    /// A file that holds it in one line.
    file: Option<AbsolutePath>,
    /// A variable of the server's environment.
    env: Option<Variable>,
    /// A program that prints it, and its arguments. No shell.
    command: Option<Vec<Argument>>,
    /// For how long what the program printed is used again, up to 1h. Without it, it is run for each request.
    keep: Option<SpanIn<1, 3_600_000>>,
    /// The header field that it is sent in.
    #[serde(default = "authorization")]
    header: HeaderName,
    /// What stands before it, with a space between: Bearer. Without it the secret is sent alone.
    scheme: Option<HeaderValue>,
}

#[expect(clippy::expect_used, reason = "a test parses it")]
fn authorization() -> HeaderName {
    HeaderName::parse("authorization").expect("it is a header field")
}

impl TryFrom<Written> for Credential {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { file, env, command, keep, header, scheme } = written;
        if keep.is_some() && command.is_none() {
            return Err("keep is for a command: a file or a variable is read for each request");
        }
        let secret = match (file, env, command) {
            (Some(file), None, None) => Secret::File(file),
            (None, Some(env), None) => Secret::Env(env),
            (None, None, Some(argv)) => {
                let keep = keep.map_or(Millis(0), SpanIn::millis);
                Secret::Command { argv: checked(argv)?, keep }
            }
            (None, None, None) | (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                return Err("expected exactly one of file, env and command");
            }
        };
        Ok(Self { secret, header, scheme })
    }
}

/// A program and its arguments.
pub(crate) fn checked(argv: Vec<Argument>) -> Result<Vec<Argument>, &'static str> {
    const ARGUMENTS_MAX: usize = 64;
    let is_absolute = argv.first().is_some_and(|program| program.as_str().starts_with('/'));
    if !is_absolute || argv.len() > ARGUMENTS_MAX {
        return Err("expected 1 to 64 arguments, the first one the program's path from the root on");
    }
    Ok(argv)
}
