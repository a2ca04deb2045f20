//! A row of steps with their progress: `[3/9] core stories ... ok (4 s)`.
//!
//! Here: how steps are run, timed, bounded, shown and counted. Not here: what the steps are (`check`, `suite`).
//!
//! A *step* is told by one line. A quiet step's output goes to a file and is shown if it fails; a loud step (a build,
//! minutes long) writes to the terminal itself. A step that can't be run here says why, and is neither passed nor
//! failed: the summary repeats it.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::trouble::Trouble;

/// The longest that one command of a step may run: a hanging test ends here, and not with the pipeline.
const COMMAND_MAX: Duration = Duration::from_secs(25 * 60);
/// The longest that a build may take which holds two engines, on a machine that has other things to do.
const LONG_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How often a running command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of a failed step's output is shown, in bytes from the end. All of it stays in the file.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// One step, not yet run.
pub(crate) struct Step {
    pub(crate) name: String,
    /// The command line that does this step alone.
    pub(crate) alone: String,
    pub(crate) counts: Counts,
    pub(crate) work: Work,
}

/// What a step adds to `N passed, N failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// One, passed or failed.
    Itself,
    /// Each test that its commands report.
    Tests,
    /// One if it fails: it only prepares the others.
    Failure,
}

/// What a step does.
pub(crate) enum Work {
    /// Commands, one after the other, output kept. All are run, also after a failure.
    Quiet(Vec<Command>),
    /// Something that writes to the terminal while it is at it.
    Loud(Box<dyn FnOnce() -> Result<(), Trouble>>),
    /// A look that prints nothing.
    Look(Box<dyn FnOnce() -> Result<(), Trouble>>),
    /// What can't be done here, and why.
    Impossible(String),
}

/// How a row of steps went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Steps that could not be run, each with the reason.
    pub(crate) not_run: Vec<String>,
}

/// Runs steps in order and tells of each as it goes.
pub(crate) struct Row {
    logs: PathBuf,
    length: usize,
    at: usize,
    started: Instant,
    tally: Tally,
}

impl Row {
    /// A row of `length` steps whose output is kept in `logs`.
    pub(crate) fn new(logs: PathBuf, length: usize) -> Result<Self, Trouble> {
        fs::create_dir_all(&logs)
            .map_err(|why| Trouble::new(format!("cannot make {}", logs.display())).why(why))?;
        Ok(Row { logs, length, at: 0, started: Instant::now(), tally: Tally::default() })
    }

    pub(crate) fn run(&mut self, step: Step) {
        self.at += 1;
        let loud = matches!(step.work, Work::Loud(_));
        print!("[{}/{}] {} ...{}", self.at, self.length, step.name, if loud { "\n" } else { " " });
        let _ = io::stdout().flush();
        let started = Instant::now();
        let log = self.logs.join(format!("{}.log", step.name.replace([' ', '/'], "-")));
        let mut words = Vec::new();
        let (seen, trouble) = match step.work {
            Work::Quiet(commands) => run_quietly(commands, &log, &mut words),
            Work::Loud(work) | Work::Look(work) => (Tally::default(), work().err()),
            Work::Impossible(why) => {
                println!("not run: {}", why.lines().next().unwrap_or_default());
                self.tally.not_run.push(format!("{}: {why}", step.name));
                return;
            }
        };
        let counted = match step.counts {
            // A test program that breaks down before it has counted is a failure all the same.
            Counts::Tests => (seen.passed, seen.failed.max(u64::from(trouble.is_some()))),
            Counts::Itself => (u64::from(trouble.is_none()), u64::from(trouble.is_some())),
            Counts::Failure => (0, u64::from(trouble.is_some())),
        };
        self.tally.passed += counted.0;
        self.tally.failed += counted.1;

        let tests =
            if step.counts == Counts::Tests { format!("{} tests, ", counted.0) } else { String::new() };
        let mark = if trouble.is_none() { green("ok") } else { red("FAILED") };
        let lead = if loud { "      " } else { "" };
        println!("{lead}{mark} ({tests}{})", elapsed(started));
        words.iter().for_each(|word| println!("      {word}"));
        if let Some(trouble) = trouble {
            println!("{trouble}");
            println!("  alone: {}\n", step.alone);
        }
    }

    /// Says the sum. The last line is `N passed, N failed`, alone.
    pub(crate) fn finish(self) -> Tally {
        println!();
        for reason in &self.tally.not_run {
            println!("{} {reason}", yellow("not run:"));
        }
        println!(
            "{} steps in {}; their output is in {}",
            self.at,
            elapsed(self.started),
            self.logs.display()
        );
        println!("{} passed, {} failed", self.tally.passed, self.tally.failed);
        self.tally
    }
}

/// What a test program says in one line that begins so is told although the rest of its output isn't.
const SUMMARY: &str = "summary: ";

/// Runs all, whatever fails; the output of all goes into one file, and is told when one failed. Their summaries go into
/// `words`.
fn run_quietly(commands: Vec<Command>, log: &Path, words: &mut Vec<String>) -> (Tally, Option<Trouble>) {
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    let cannot = |why: io::Error| Trouble::new(format!("cannot write {}", log.display())).why(why);
    let file = match File::create(log) {
        Ok(file) => file,
        Err(why) => return (tally, Some(cannot(why))),
    };
    for mut command in commands {
        let outputs = file.try_clone().and_then(|out| Ok((out, file.try_clone()?)));
        let (out, err) = match outputs {
            Ok(outputs) => outputs,
            Err(why) => return (tally, Some(cannot(why))),
        };
        let before = tally.failed;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let start = fs::metadata(log).map_or(0, |data| data.len());
        let ended = run_for_at_most(COMMAND_MAX, &mut command);
        let text = fs::read(log).unwrap_or_default();
        let told = String::from_utf8_lossy(text.get(start as usize..).unwrap_or_default()).into_owned();
        let counted = count(&told, &mut tally);
        words.extend(told.lines().filter_map(|line| line.strip_prefix(SUMMARY)).map(str::to_owned));
        let why = match ended {
            Ok(status) if status.success() => {
                // A test program with a harness of its own counts as one test.
                tally.passed += u64::from(counted == Counted::Nothing);
                continue;
            }
            Ok(status) => format!("ended with {status}"),
            Err(why) => why.to_string(),
        };
        tally.failed += u64::from(tally.failed == before);
        let program = Path::new(command.get_program()).file_name().unwrap_or_default();
        broken.push(format!("{} {why}", program.to_string_lossy()));
        let shown = told.len().saturating_sub(SHOWN_BYTES_MAX);
        let shown = (shown..told.len()).find(|at| told.is_char_boundary(*at)).unwrap_or(0);
        println!("\n{}", told[shown..].trim_end());
    }
    let trouble =
        broken.first().map(|first| Trouble::new(first.as_str()).why(format!("see {}", log.display())));
    (tally, trouble)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Something,
    Nothing,
}

/// Adds up the lines `test result: ok. 3 passed; 0 failed; ...` of Rust's test programs.
fn count(output: &str, tally: &mut Tally) -> Counted {
    let mut counted = Counted::Nothing;
    for line in output.lines() {
        let Some(at) = line.find("test result:") else { continue };
        let words: Vec<_> = line[at..].split([' ', ';']).collect();
        let number = |label: &str| {
            let place = words.iter().position(|word| *word == label)?;
            words.get(place.checked_sub(1)?)?.parse::<u64>().ok()
        };
        tally.passed += number("passed").unwrap_or(0);
        tally.failed += number("failed").unwrap_or(0);
        counted = Counted::Something;
    }
    counted
}

/// Runs a command and kills it when its time is over.
pub(crate) fn run_for_at_most(most: Duration, command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > most {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("still ran after {} s and was stopped", most.as_secs()),
            ));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Runs one command that writes to the terminal.
pub(crate) fn run_loudly(command: &mut Command, what: &str) -> Result<(), Trouble> {
    run_loudly_within(COMMAND_MAX, command, what)
}

/// The same for a build that is longer than any other.
pub(crate) fn run_long(command: &mut Command, what: &str) -> Result<(), Trouble> {
    run_loudly_within(LONG_MAX, command, what)
}

fn run_loudly_within(most: Duration, command: &mut Command, what: &str) -> Result<(), Trouble> {
    let failed = || Trouble::new(format!("cannot {what}"));
    let status = run_for_at_most(most, command.stdin(Stdio::null())).map_err(|why| failed().why(why))?;
    if status.success() { Ok(()) } else { Err(failed().why(format!("cargo ended with {status}"))) }
}

fn elapsed(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}

/// If what we print is read by a person at a terminal.
pub(crate) fn in_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn painted(colour: u8, text: &str) -> String {
    if in_colour() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

fn green(text: &str) -> String {
    painted(32, text)
}

fn red(text: &str) -> String {
    painted(31, text)
}

fn yellow(text: &str) -> String {
    painted(33, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(length: usize) -> (tempfile::TempDir, Row) {
        let folder = tempfile::tempdir().unwrap();
        let row = Row::new(folder.path().join("logs"), length).unwrap();
        (folder, row)
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn tests(name: &str, scripts: &[&str]) -> Step {
        let work = Work::Quiet(scripts.iter().map(|script| shell(script)).collect());
        Step { name: name.into(), alone: "cargo test".into(), counts: Counts::Tests, work }
    }

    #[test]
    fn the_tests_of_all_programs_of_a_step_are_added_up() {
        let (_folder, mut row) = row(1);
        row.run(tests(
            "a/b c",
            &[
                "echo 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured'",
                "echo 'test result: FAILED. 4 passed; 2 failed; 0 ignored'; exit 101",
                "echo a harness of its own",
            ],
        ));
        let tally = row.finish();
        assert_eq!((tally.passed, tally.failed), (8, 2));
    }

    #[test]
    fn what_a_test_program_sums_up_is_told() {
        let (folder, _) = row(1);
        let mut words = Vec::new();
        let commands = vec![shell("echo 3 things; echo 'summary: 3 of 3'; echo 'no summary: 4'")];
        let (tally, trouble) = run_quietly(commands, &folder.path().join("log"), &mut words);
        assert_eq!((tally.failed, trouble.is_none()), (0, true));
        assert_eq!(words, ["3 of 3"]);
    }

    #[test]
    fn a_program_that_breaks_down_before_it_counts_is_a_failure() {
        let (_folder, mut row) = row(2);
        row.run(tests("crash", &["kill -9 $$"]));
        row.run(tests("absent", &["exit 3"]));
        let tally = row.finish();
        assert_eq!((tally.passed, tally.failed), (0, 2));
    }

    #[test]
    fn what_cannot_be_run_here_is_neither_passed_nor_failed() {
        let (_folder, mut row) = row(2);
        let step = |work| Step { name: "real".into(), alone: String::new(), counts: Counts::Itself, work };
        row.run(step(Work::Impossible("mosquitto is missing".into())));
        row.run(step(Work::Look(Box::new(|| Ok(())))));
        let told = Tally { passed: 1, failed: 0, not_run: vec!["real: mosquitto is missing".into()] };
        assert_eq!(row.finish(), told);
    }

    #[test]
    fn a_command_that_hangs_is_stopped() {
        let stopped = run_for_at_most(Duration::ZERO, &mut shell("exec sleep 600")).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::TimedOut);
    }
}
