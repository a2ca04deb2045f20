//! How many instructions the hot paths take, held against what they took before: `cargo xtask bench instructions`.
//!
//! Time on a clock says more about the machine than about the program. Instructions are the same on a busy machine. Each path runs
//! twice in a process of its own under callgrind, the second time three times as often, and what is counted is what lies
//! between: getting ready costs the same both times and falls out. Counted are the instructions of our own program
//! file. What the C library does (memory, and copying it, by other instructions on other processors) is not, and what the
//! kernel does neither.
//!
//! Here: the command, and what it ends with. In `paths`: what is counted. In `callgrind`: counting. In `baselines`: what is
//! kept, and what is too much. Not here: how long anything takes (`tests/bench`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod baselines;
mod callgrind;
mod paths;

use std::{env, fs, path::Path, process::ExitCode};

use crate::{
    baselines::{Baselines, Judged, Place},
    callgrind::Counted,
    paths::PATHS,
};

const HELP: &str = "\
instructions: how many instructions each hot path takes, by callgrind, held against the table in tests/instructions/baselines.txt

  cargo xtask bench instructions             counts, and fails where a path takes over 3 % more than the table says
  cargo xtask bench instructions --accept    counts, and puts what it counted into the table, for this target, compiler and
                                             processor; commit the table with a sentence that says why
";

/// Why something could not be counted.
type Failure = Box<dyn std::error::Error>;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Help,
    Hold,
    Accept,
    /// What callgrind is given: one path, so often.
    Walk {
        path: String,
        times: u64,
    },
}

fn main() -> ExitCode {
    match wish(env::args().skip(1)).and_then(|wish| run(&wish)) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::from(2)
        }
    }
}

fn wish(words: impl Iterator<Item = String>) -> Result<Wish, Failure> {
    let words: Vec<_> = words.collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => Ok(Wish::Hold),
        ["--help" | "-h"] => Ok(Wish::Help),
        ["--accept"] => Ok(Wish::Accept),
        [callgrind::WALK, path, times] => Ok(Wish::Walk { path: (*path).into(), times: times.parse()? }),
        words => Err(format!("{}: expected --accept or --help", words.join(" ")).into()),
    }
}

fn run(wish: &Wish) -> Result<ExitCode, Failure> {
    let accepts = match wish {
        Wish::Help => {
            println!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        Wish::Walk { path, times } => {
            let known = PATHS.iter().find(|known| known.name == path);
            (known.ok_or_else(|| format!("there is no path {path}"))?.walk)(*times)?;
            // What the processor seems to be under valgrind, which hides what it doesn't know.
            println!("{}", callgrind::processor());
            return Ok(ExitCode::SUCCESS);
        }
        Wish::Hold => false,
        Wish::Accept => true,
    };
    if let Some(why) = callgrind::missing() {
        println!("skipped, because {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("baselines.txt");
    let unreadable = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", file.display());
    let text = fs::read_to_string(&file).map_err(|why| unreadable(&why))?;
    let mut known = Baselines::read(&text).map_err(|why| unreadable(&why))?;
    let (mut place, mut too_many) = (None, 0);
    println!("{:<12} {:>12} {:>12} {:>8}", "path", "instructions", "before", "more");
    for path in PATHS {
        let Counted { instructions, processor } = callgrind::count(path)?;
        let here = place.get_or_insert(Place::here(processor)?);
        if accepts {
            known.put(here, path.name, instructions);
        }
        let judged = known.judge(here, path.name, instructions);
        println!("{:<12} {instructions:>12} {judged}", path.name);
        too_many += u32::from(matches!(judged, Judged::TooMany { .. }));
    }
    if let Some(here) = place.as_ref().filter(|here| !known.has(here)) {
        println!(
            "not held against anything: skipped, because the table has nothing for {here}\n  help: cargo xtask bench instructions --accept"
        );
        return Ok(ExitCode::SUCCESS);
    }
    if accepts {
        fs::write(&file, known.to_string())
            .map_err(|why| format!("cannot write {}: {why}", file.display()))?;
        println!("the table is written: commit it with a sentence that says why it is so");
    }
    if too_many > 0 {
        println!(
            "{too_many} of {} paths take more instructions than the table allows\n  help: mend it; or if it is worth that, `cargo xtask bench instructions --accept`, and say why in the commit",
            PATHS.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wish, String> {
        wish(line.split_whitespace().map(str::to_owned)).map_err(|why| why.to_string())
    }

    #[test]
    fn words_are_read() {
        assert_eq!(read(""), Ok(Wish::Hold));
        assert_eq!(read("--accept"), Ok(Wish::Accept));
        assert_eq!(read("--walk body 3"), Ok(Wish::Walk { path: "body".into(), times: 3 }));
        assert_eq!(read("--fast").unwrap_err(), "--fast: expected --accept or --help");
        assert!(read("--walk body x").is_err());
    }

    /// Each does what its name says as often as it is told, or says that it doesn't.
    #[test]
    fn every_path_can_be_walked() {
        for path in PATHS {
            (path.walk)(path.times).unwrap_or_else(|why| panic!("{}: {why}", path.name));
        }
    }

    /// What ships is held against something: a path without a line would never fail.
    #[test]
    fn the_table_has_a_line_for_each_path() {
        let known = Baselines::read(include_str!("../baselines.txt")).unwrap();
        assert!(known.places().count() > 0);
        for place in known.places() {
            let names: Vec<_> = known.paths(place).collect();
            let mut all: Vec<_> = PATHS.iter().map(|path| path.name).collect();
            all.sort_unstable();
            assert_eq!(names, all, "{place}");
        }
        assert_eq!(known.to_string(), include_str!("../baselines.txt"), "it is as it would be written");
    }
}
