//! Configurations: the server's with all its targets, and what every program's has.
//!
//! What has to hold: it is read whole or not at all, what is wrong is told by a line that there is, and the same text is always
//! read alike.

use std::{cell::RefCell, fs, path::Path};

use backstay_config::{Broker, Document, Keys, Plugin, Problem, Span};
use backstay_targets::Reading;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    Came, as_they_are,
    memory::within,
    script::{EDITED, PLAIN, Script, way},
};

/// The page whose examples are where this begins.
const PAGE: &str = include_str!("../../../docs/targets.md");
/// What separates the server's file from a target's in an input.
const NEXT_FILE: &str = "\n---\n";
/// A document is parsed once for each problem, and held once more; what stands in one byte takes some hundred.
const HELD_MAX: usize = 16 << 20;
/// A document tells at most so many problems of what can't be read, and rules may tell more.
const PROBLEMS_MAX: usize = 1000;

/// What every configuration has some of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters here")]
struct Parts {
    policy: Option<Plugin>,
    broker: Option<Broker>,
    trial: Option<Span>,
}

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 2) {
        Some((PLAIN, rest)) => std::str::from_utf8(rest.0).map_or(Came::Refused, reads),
        Some((_, script)) => reads(&is_rewritten(script)),
        None => Came::Refused,
    }
}

/// Lines of the examples, some of them gone, twice, elsewhere or with another value.
fn is_rewritten(mut script: Script<'_>) -> String {
    let [shared, target, smallest, base] = examples();
    let target = script.one(&[target, smallest, base]).clone();
    let mut lines: Vec<String> = format!("{shared}{NEXT_FILE}{target}").lines().map(str::to_owned).collect();
    for _ in 0..8 {
        if script.is_empty() {
            break;
        }
        let (how, at) = (script.byte(), script.below(lines.len().max(1)));
        let Some(line) = lines.get(at).cloned() else { break };
        match how % 6 {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, line),
            2 => {
                let other = script.below(lines.len());
                lines.swap(at, other);
            }
            3 => lines.insert(at, script.text()),
            4 => {
                let key = line.split('=').next().unwrap_or_default();
                lines[at] = format!("{key}= {}", script.text());
            }
            _ => {
                let values = [
                    "0",
                    "-1",
                    "99999999999",
                    "1.5",
                    "nan",
                    "true",
                    "\"\"",
                    "[]",
                    "{}",
                    "\"90s\"",
                    "\"../x\"",
                ];
                let key = line.split('=').next().unwrap_or_default();
                lines[at] = format!("{key}= {}", script.one(&values));
            }
        }
    }
    lines.join("\n")
}

fn reads(text: &str) -> Came {
    let (main, target) = text.split_once(NEXT_FILE).unwrap_or((text, ""));
    has_parts(main);
    thread_local! {
        static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().unwrap());
    }
    FOLDER.with_borrow(|folder| {
        let file = folder.path().join("checkout.toml");
        match target {
            "" => drop(fs::remove_file(&file)),
            _ => fs::write(&file, target).unwrap(),
        }
        let document = Document::new(Path::new("backstay.toml"), main);
        let reading = within(HELD_MAX, || Reading::in_folder(&document, folder.path()));
        for problem in reading.problems.iter().chain(&reading.warnings) {
            is_a_problem(problem, if problem.file == file { target } else { main });
        }
        assert_eq!(reading.targets.is_some(), reading.problems.is_empty(), "all of it or nothing");
        assert!(reading.problems.len() <= PROBLEMS_MAX);
        let again = Reading::in_folder(&document, folder.path());
        assert_eq!((&reading.targets, &reading.problems), (&again.targets, &again.problems));
        if let (Some(one), Some(other)) = (&reading.targets, &again.targets) {
            assert!(one.changes(other).is_empty(), "what didn't change has changed");
        }
        if reading.problems.is_empty() { Came::Taken } else { Came::Refused }
    })
}

/// What every program reads in this way.
fn has_parts(text: &str) {
    let document = Document::new(Path::new("a.toml"), text);
    let whole = within(HELD_MAX, || document.whole::<Parts>(Keys::All));
    assert!(whole.problems.len() <= 100);
    assert!(whole.value.is_some() || !whole.problems.is_empty(), "nothing was read, and nothing is wrong");
    for problem in &whole.problems {
        is_a_problem(problem, text);
    }
    let parsed = document.parse::<Parts>();
    assert_eq!(parsed.is_ok(), whole.problems.is_empty(), "two readers of one text: {:?}", whole.problems);
    if let Err(problem) = parsed {
        is_a_problem(&problem, text);
    }
}

fn is_a_problem(problem: &Problem, text: &str) {
    assert!(!problem.why.is_empty(), "{problem:?} says nothing");
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    assert!(
        problem.line.is_none_or(|line| (1..=lines).contains(&line)),
        "{problem} is none of {lines} lines"
    );
}

fn examples() -> [String; 4] {
    let examples = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    examples.collect::<Vec<_>>().try_into().unwrap()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let [shared, target, smallest, base] = examples();
    let mut seeds = as_they_are([
        shared.clone(),
        format!("{shared}{NEXT_FILE}{smallest}"),
        format!("{shared}{NEXT_FILE}{target}"),
        format!("{shared}{NEXT_FILE}{base}"),
    ]);
    seeds.extend([vec![EDITED], vec![EDITED, 1, 0, 0, 0], vec![EDITED, 2]]);
    seeds
}
