//! Where everything that a command has to say goes: data to standard output, words to standard error.
//!
//! Data are a table for people or JSON for machines, made of the same value. JSON says in `schema` what it is and in
//! which version; fields are only added. A reader that goes away (`| head`) is no error: what is left to say is
//! dropped, and the command ends with the number that it would have ended with.

use std::{
    cell::Cell,
    env,
    fmt::{Display, Write as _},
    io::{self, IsTerminal, Write},
};

use clap::ValueEnum;
use serde::Serialize;

use crate::{Exit, Failure};

/// For whom data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns and lines for people
    Table,
    /// One JSON document with a `schema` field
    Json,
}

/// Whether standard error hears more than errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    Told,
    Quiet,
}

/// What may be used to make something stand out. Never the only sign of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Used,
    Without,
}

impl Colour {
    fn of(stream: &impl IsTerminal) -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if stream.is_terminal() && !set("NO_COLOR") && !dumb { Self::Used } else { Self::Without }
    }

    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        match self {
            Self::Used => format!("\x1b[{}m{text}\x1b[0m", paint.code()),
            Self::Without => text.into(),
        }
    }
}

/// A way to stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Bad,
    Busy,
    Faint,
    Strong,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Busy => "33",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// The two streams of a command.
#[derive(Debug)]
pub(crate) struct Printer {
    output: Output,
    words: Words,
    gone: Cell<bool>,
    #[cfg(test)]
    unread: bool,
}

#[derive(Serialize)]
struct Document<'a, T> {
    schema: String,
    #[serde(flatten)]
    value: &'a T,
}

impl Printer {
    pub(crate) fn new(output: Output, words: Words) -> Self {
        Self {
            output,
            words,
            gone: Cell::new(false),
            #[cfg(test)]
            unread: false,
        }
    }

    /// For tests: nobody reads.
    #[cfg(test)]
    pub(crate) fn unread(self) -> Self {
        Self { unread: true, ..self }
    }

    /// Prints `value`: as JSON of the kind `thing`, or as `people` would have it.
    pub(crate) fn show<T: Serialize>(
        &self,
        thing: &str,
        value: &T,
        people: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Table => self.write(&people()),
            Output::Json => self.write(&json(thing, value, serde_json::to_string_pretty)?),
        }
    }

    /// Prints one of many values: a line of JSON, or the lines that `people` would have.
    pub(crate) fn stream<T: Serialize>(
        &self,
        thing: &str,
        value: &T,
        people: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Table => self.write(&people()),
            Output::Json => self.write(&json(thing, value, serde_json::to_string)?),
        }
    }

    /// Says something to a person, unless they want quiet.
    pub(crate) fn say(&self, words: impl Display) {
        if self.words == Words::Told {
            warn(words);
        }
    }

    pub(crate) const fn output(&self) -> Output {
        self.output
    }

    /// Whether nobody reads any more.
    pub(crate) fn gone(&self) -> bool {
        self.gone.get()
    }

    pub(crate) fn colour(&self) -> Colour {
        Colour::of(&io::stdout())
    }

    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        if self.gone() {
            return Ok(());
        }
        #[cfg(test)]
        if self.unread {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone.set(true);
                Ok(())
            }
            Err(error) => Err(Failure::new(Exit::Trouble, "cannot write to standard output").why(error)),
        }
    }
}

fn json<'a, T: Serialize>(
    thing: &str,
    value: &'a T,
    write: impl FnOnce(&Document<'a, T>) -> serde_json::Result<String>,
) -> Result<String, Failure> {
    let document = Document { schema: format!("backstay.io/{thing}/v1"), value };
    let mut text =
        write(&document).map_err(|why| Failure::new(Exit::Trouble, "cannot write JSON").why(why))?;
    text.push('\n');
    Ok(text)
}

/// Says something on standard error in any case.
pub(crate) fn warn(words: impl Display) {
    let mut line = String::new();
    // If standard error is gone, there is nobody left to tell.
    let _ = writeln!(line, "{words}").map(|()| io::stderr().write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Thing {
        number: u32,
    }

    #[test]
    fn json_says_what_it_is() {
        let text = json("thing", &Thing { number: 7 }, serde_json::to_string).unwrap();
        assert_eq!(text, "{\"schema\":\"backstay.io/thing/v1\",\"number\":7}\n");
    }

    #[test]
    fn colour_is_added_and_never_needed() {
        assert_eq!(Colour::Used.paint(Paint::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Colour::Without.paint(Paint::Bad, "x"), "x");
    }
}
