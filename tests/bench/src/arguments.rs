//! The command line of a measurement: how much is measured, and what it is told as.
//!
//! Every number has a least and a most, so that no measurement runs for ever or takes the machine down.

use std::{collections::BTreeMap, env, fmt::Write as _, process::ExitCode};

use crate::{Failure, report::Output};

/// A number that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// As an option: `rounds` for `--rounds`.
    pub name: &'static str,
    /// Where nobody says more.
    pub default: u64,
    /// The least that it may be.
    pub least: u64,
    /// The most that it may be.
    pub most: u64,
    /// What it is.
    pub help: &'static str,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    counts: BTreeMap<&'static str, u64>,
    /// How it is told.
    pub output: Output,
}

/// What the words on the command line come to.
enum Asked {
    Help,
    Run(Arguments),
}

impl Arguments {
    /// The number of this name.
    ///
    /// # Panics
    /// If no [`Count`] has it: the program asks for what it did not offer.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        let value = self.counts.get(name).copied().expect("the program offers what it asks for");
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    fn read(words: impl IntoIterator<Item = String>, counts: &[Count]) -> Result<Asked, Failure> {
        let mut arguments = Self {
            counts: counts.iter().map(|count| (count.name, count.default)).collect(),
            output: Output::Table,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                return Ok(Asked::Help);
            }
            let name = word.strip_prefix("--").ok_or_else(|| unknown(&word))?;
            let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
            if name == "output" {
                arguments.output = match value.as_str() {
                    "table" => Output::Table,
                    "json" => Output::Json,
                    other => return Err(format!("--output is table or json, and not {other}").into()),
                };
                continue;
            }
            let Count { name, least, most, .. } =
                *counts.iter().find(|count| count.name == name).ok_or_else(|| unknown(&word))?;
            let value = value.parse().ok().filter(|value| (least..=most).contains(value));
            let value = value.ok_or_else(|| format!("--{name} is a number from {least} to {most}"))?;
            arguments.counts.insert(name, value);
        }
        Ok(Asked::Run(arguments))
    }
}

fn unknown(word: &str) -> Failure {
    format!("there is no option {word}; --help shows all").into()
}

fn help(about: &str, counts: &[Count]) -> String {
    let mut text = format!("{about}\n\n");
    let counts = counts.iter().map(|count| {
        let Count { name, default, least, most, help } = count;
        (format!("--{name} N"), format!("{help} ({default}; {least} to {most})"))
    });
    let output = ("--output FORM".into(), "table, or json for machines (table)".into());
    for (option, meaning) in counts.chain([output]) {
        let _ = writeln!(text, "  {option:<16} {meaning}");
    }
    text.push_str(
        "\nExit code: 0 it was measured, and the last lines say which budgets were kept; 1 it could not be.",
    );
    text
}

/// Reads the command line, measures, and tells what did not work out.
pub fn run(
    about: &str,
    counts: &[Count],
    measure: impl FnOnce(&Arguments) -> Result<(), Failure>,
) -> ExitCode {
    let done = Arguments::read(env::args().skip(1), counts).and_then(|asked| match asked {
        Asked::Help => {
            println!("{}", help(about, counts));
            Ok(())
        }
        Asked::Run(arguments) => measure(&arguments),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: &[Count] = &[Count { name: "rounds", default: 9, least: 1, most: 100, help: "how often" }];

    fn read(line: &str) -> Result<Asked, String> {
        Arguments::read(line.split_whitespace().map(Into::into), COUNTS).map_err(|why| why.to_string())
    }

    #[test]
    fn what_is_left_out_has_a_default_and_all_else_a_bound() {
        let Ok(Asked::Run(asked)) = read("") else { unreachable!() };
        assert_eq!((asked.count("rounds"), asked.output), (9, Output::Table));
        let Ok(Asked::Run(asked)) = read("--rounds 3 --output json") else { unreachable!() };
        assert_eq!((asked.count("rounds"), asked.output), (3, Output::Json));
        for (line, told) in [
            ("--rounds 0", "--rounds is a number from 1 to 100"),
            ("--rounds x", "--rounds is a number from 1 to 100"),
            ("--rounds", "--rounds wants a value"),
            ("--laps 3", "there is no option --laps; --help shows all"),
            ("rounds", "there is no option rounds; --help shows all"),
            ("--output yaml", "--output is table or json, and not yaml"),
        ] {
            assert_eq!(read(line).err().as_deref(), Some(told));
        }
        assert!(help("It measures.", COUNTS).contains("--rounds N       how often (9; 1 to 100)"));
    }
}
