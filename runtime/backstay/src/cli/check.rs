//! `backstay check`: what is wrong with a configuration, before anything starts with it.
//!
//! Here: how it is asked and shown. Not here: the rules (`backstay-targets`, and the program's own server), and whether the files that a
//! configuration names hold what they should: `backstay serve --check` opens them, too, where they are.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use backstay_config::Problem;
use backstay_model::Mode;
use backstay_targets::{Reading, Targets};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{Desk, Exit, Failure, Serve, printer, printer::Output, text::plain};

/// Check the configuration of the server and of its targets, and start nothing
///
/// Reads backstay.toml and each file in its folder of targets, and tells every mistake by file, line, key and what was expected. What the
/// configuration names (keys, bundles, certificates) isn't opened, so it can be checked in a pipeline; `backstay serve --check` opens it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  backstay check\n  backstay check --config deploy/backstay.toml --targets deploy/targets.d\n  \
    backstay check --output json | jq -r '.problems[] | \"\\(.file):\\(.line) \\(.key) \\(.why)\"'\n  \
    backstay check --schema target > target.schema.json\n\n\
    Problems go to standard output, a line each; warnings go to standard error and change no exit code.\n\
    Exit codes: 0 it is right, 64 something is wrong with it."
)]
pub(crate) struct Check {
    /// The server's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/backstay/backstay.toml", env = "BACKSTAY_CONFIG")]
    config: PathBuf,
    /// Read the targets of this folder, and not of the one that the configuration names
    #[arg(long, value_name = "FOLDER")]
    targets: Option<PathBuf>,
    /// Print the JSON schema of a file and end: for editors, and for pipelines without this program
    #[arg(long, value_name = "FILE", value_enum)]
    schema: Option<Schema>,
}

/// Of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Schema {
    /// backstay.toml
    Server,
    /// A file in the folder of targets
    Target,
}

/// What a check found.
#[derive(Serialize)]
struct Found {
    config: PathBuf,
    right: bool,
    problems: Vec<Line>,
    warnings: Vec<Line>,
    targets: Option<usize>,
    enforced: Option<usize>,
}

/// One problem or warning.
#[derive(Serialize)]
struct Line {
    file: PathBuf,
    line: Option<usize>,
    key: String,
    why: String,
}

impl From<Problem> for Line {
    fn from(Problem { file, line, key, why }: Problem) -> Self {
        Self { file, line, key, why }
    }
}

impl Check {
    pub(crate) fn run(&self, desk: &Desk, serve: Serve) -> Result<Exit, Failure> {
        match self.schema {
            Some(Schema::Server) => print(desk, &(serve.schema)()),
            Some(Schema::Target) => print(desk, &backstay_targets::target_schema()),
            None => show(desk, &self.config, (serve.inspect)(&self.config, self.targets.as_deref())),
        }
    }
}

fn print(desk: &Desk, schema: &serde_json::Value) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(schema)
        .map_err(|why| Failure::new(Exit::Trouble, "cannot write JSON").why(why))?;
    desk.printer.write(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

fn show(desk: &Desk, config: &Path, reading: Reading) -> Result<Exit, Failure> {
    let Reading { targets, problems, warnings } = reading;
    let right = problems.is_empty();
    // JSON has them in it.
    if desk.printer.output() == Output::Table {
        for warning in &warnings {
            desk.printer.say(format_args!("warning: {}", plain(&warning.to_string())));
        }
    }
    let people = people(config, targets.as_ref(), &problems);
    let enforced = |targets: &Targets| targets.iter().filter(|target| target.mode == Mode::Enforce).count();
    let found = Found {
        config: config.into(),
        right,
        problems: problems.into_iter().map(Line::from).collect(),
        warnings: warnings.into_iter().map(Line::from).collect(),
        targets: targets.as_ref().map(Targets::len),
        enforced: targets.as_ref().map(enforced),
    };
    desk.printer.show("check", &found, || people)?;
    if right {
        return Ok(Exit::Done);
    }
    if desk.printer.output() == Output::Table {
        let places = match found.problems.len() {
            1 => "one place".to_owned(),
            many => format!("{many} places"),
        };
        printer::warn(format_args!("error: {} is wrong in {places}", config.display()));
    }
    Ok(Exit::Configuration)
}

/// The problems, a line each; or how many targets there are.
fn people(config: &Path, targets: Option<&Targets>, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        // A string never fails to be written to.
        let _ = writeln!(text, "{}", plain(&problem.to_string()));
    }
    if let (Some(targets), []) = (targets, problems) {
        let enforced = targets.iter().filter(|target| target.mode == Mode::Enforce).count();
        let (all, observed) = (targets.len(), targets.len().saturating_sub(enforced));
        let config = config.display();
        let _ =
            writeln!(text, "{config} is right: {all} targets, {enforced} enforced and {observed} observed");
    }
    text
}

#[cfg(test)]
mod tests {
    use backstay_config::Document;

    use super::*;

    fn read(text: &str) -> Reading {
        Reading::of(&Document::new(Path::new("backstay.toml"), text))
    }

    #[test]
    fn a_right_configuration_is_told_in_a_line() {
        let right = read("");
        let told = people(Path::new("backstay.toml"), right.targets.as_ref(), &right.problems);
        assert_eq!(told, "backstay.toml is right: 0 targets, 0 enforced and 0 observed\n");
        assert_eq!(show(&Desk::quiet(), Path::new("backstay.toml"), right).unwrap(), Exit::Done);
    }

    #[test]
    fn each_problem_is_a_line_that_an_editor_can_jump_to() {
        let wrong = read("[brakes]\nper_hour = 0\nper_domain_hour = 0\n");
        let told = people(Path::new("backstay.toml"), wrong.targets.as_ref(), &wrong.problems);
        assert_eq!(
            told,
            "backstay.toml:2: brakes.per_hour: expected 1 to 64, found 0\n\
             backstay.toml:3: brakes.per_domain_hour: expected 1 to 64, found 0\n"
        );
        assert_eq!(show(&Desk::quiet(), Path::new("backstay.toml"), wrong).unwrap(), Exit::Configuration);
    }

    #[test]
    fn machines_get_the_same_fields() {
        let line = read("targets = 5").problems.remove(0);
        let json = serde_json::to_value(Line::from(line)).unwrap();
        let fields: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["file", "key", "line", "why"]);
        assert_eq!((json["line"].as_u64(), json["key"].as_str()), (Some(1), Some("targets")));
    }
}
