//! Programs of others that are run within bounds: RAUC's command line, SWUpdate.
//!
//! Here: starting one with a time limit and a bounded answer, and ending it with all that it started when either is over. Not
//! here: what is asked of it and what its answer means (`rauc`, `write`, `rauc_switch`).
//!
//! What is held for it is its standard input: it ends with the last process that has it, so that a program that outlives us
//! goes on holding it.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use backstay_slots::Group;

/// The most that is kept of each of what a program says and what it complains of. The rest is read and forgotten.
const SAID_BYTES_MAX: u64 = 256 * 1024;
/// The most of its complaints that an error repeats.
const REPEATED_BYTES_MAX: usize = 400;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A program of others: its name, what it is always told, and how long it may take.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    command: Vec<String>,
    limit: Duration,
}

/// What a program said until it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) said: String,
    pub(crate) complained: String,
}

/// A program of others that didn't do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ToolError {
    /// Its command is empty.
    NoCommand,
    /// It can't be started.
    NotStarted {
        /// Which program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long, and it and all that it had started were ended.
    TooLong {
        /// Which program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// It said that it failed.
    Failed {
        /// Which program, and what it was asked: "rauc install".
        program: String,
        /// How it ended: "exit code 1".
        ending: String,
        /// The end of what it said.
        said: String,
    },
    /// It answered what can't be used.
    Answer {
        /// Which program, and what it was asked.
        program: String,
        /// What is wrong with the answer.
        why: String,
    },
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => f.write_str("there is no command to run"),
            Self::NotStarted { program, .. } => write!(f, "cannot start {program}"),
            Self::TooLong { program, limit } => {
                write!(f, "{program} did not end within {} s and was ended", limit.as_secs())
            }
            Self::Failed { program, ending, said } if said.is_empty() => {
                write!(f, "{program} ended with {ending}")
            }
            Self::Failed { program, ending, said } => write!(f, "{program} ended with {ending}: {said}"),
            Self::Answer { program, why } => write!(f, "what {program} answered can't be used: {why}"),
        }
    }
}

impl std::error::Error for ToolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted { source, .. } => Some(source),
            Self::NoCommand | Self::TooLong { .. } | Self::Failed { .. } | Self::Answer { .. } => None,
        }
    }
}

impl Tool {
    /// A program, what it is always told, and how long it may take each time.
    pub(crate) fn new(command: Vec<String>, limit: Duration) -> Self {
        Self { command, limit }
    }

    /// Its name and what it was asked, for people.
    pub(crate) fn asked(&self, words: &[&str]) -> String {
        // `env A=b rauc -c file` is rauc to people, too.
        let name = self.command.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
        let asked: Vec<_> = words.iter().take_while(|word| !word.starts_with(['-', '/'])).copied().collect();
        [&[name], &asked[..]].concat().join(" ")
    }

    /// Runs it with `words`, and waits until it ends. `held` is kept open as long as it or anything that it started lives.
    ///
    /// # Errors
    /// It can't be started, or took too long.
    pub(crate) fn run(&self, words: &[&str], held: Option<&File>) -> Result<Ended, ToolError> {
        let (program, always) = self.command.split_first().ok_or(ToolError::NoCommand)?;
        let program = program.clone();
        let not_started = |source| ToolError::NotStarted { program: program.clone(), source };
        let stdin = match held {
            Some(file) => Stdio::from(file.try_clone().map_err(not_started)?),
            None => Stdio::null(),
        };
        let mut command = Command::new(&program);
        // Its words are read: they have to be in the language that they are looked for in.
        command.args(always).args(words).env("LC_ALL", "C");
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::start(&mut command).map_err(not_started)?;
        let (said, complained) = group.output();
        let (said, complained) = (kept(said), kept(complained));
        let until = Instant::now() + self.limit;
        while !group.has_ended().map_err(not_started)? {
            if Instant::now() >= until {
                return Err(ToolError::TooLong { program: self.asked(words), limit: self.limit });
            }
            thread::sleep(LOOK_AGAIN);
        }
        let status = group.reap().map_err(not_started)?;
        let text = |reader: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
        };
        Ok(Ended {
            code: status.code(),
            signal: status.signal(),
            said: text(said),
            complained: text(complained),
        })
    }
}

impl Ended {
    /// The error that it ended with.
    pub(crate) fn failed(&self, program: String) -> ToolError {
        let ending = match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        ToolError::Failed { program, ending, said: self.trouble() }
    }

    /// The lines that say what is wrong, in one.
    fn trouble(&self) -> String {
        let last = self.said.lines().filter_map(|line| line.strip_prefix("LastError: "));
        let noise = ["rauc-Message", "rauc-WARNING", "Installing `", "swupdate_image_write"];
        let complaints = self
            .complained
            .lines()
            .map(words_of)
            .filter(|line| !line.is_empty() && !noise.iter().any(|noise| line.contains(noise)));
        let mut text = last.chain(complaints).collect::<Vec<_>>().join("; ");
        let end = (0..=text.len().min(REPEATED_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text
    }

    /// Whether it said one of these, anywhere.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.said.contains(word) || self.complained.contains(word))
    }
}

/// What a line says, without what SWUpdate puts before it: `[ERROR] : SWUPDATE failed [0] ERROR : no key`.
fn words_of(line: &str) -> &str {
    let words = line.split_once("SWUPDATE failed [").and_then(|(_, rest)| rest.split_once("] "));
    let words = words.map_or(line, |(_, words)| words);
    words.strip_prefix("ERROR : ").unwrap_or(words).trim()
}

/// Reads to the end, in a thread: who isn't read from stops.
fn kept(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut from) = from {
            // What can't be read any more is all that was said.
            let _ = from.by_ref().take(SAID_BYTES_MAX).read_to_end(&mut kept);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(limit_ms: u64) -> Tool {
        Tool::new(["sh", "-c"].map(str::to_owned).to_vec(), Duration::from_millis(limit_ms))
    }

    #[test]
    fn what_is_said_and_how_it_ends_is_told() {
        let ended = sh(60_000).run(&["echo yes; echo 'LastError: no'; echo odd >&2; exit 3"], None).unwrap();
        assert_eq!((ended.code, ended.signal), (Some(3), None));
        assert_eq!(ended.failed("it".into()).to_string(), "it ended with exit code 3: no; odd");
        assert!(ended.says(&["never", "od"]) && !ended.says(&["never"]));
        let ended = sh(60_000).run(&["kill -9 $$"], None).unwrap();
        assert_eq!(ended.failed("it".into()).to_string(), "it ended with signal 9");
        let error = Tool::new(vec!["/nowhere/rauc".into()], Duration::MAX / 4).run(&[], None).unwrap_err();
        assert!(matches!(error, ToolError::NotStarted { .. }), "{error}");
        assert!(matches!(Tool::new(Vec::new(), Duration::ZERO).run(&[], None), Err(ToolError::NoCommand)));
    }

    #[test]
    fn what_swupdate_puts_before_its_words_is_left_out() {
        assert_eq!(words_of("[ERROR] : SWUPDATE failed [0] ERROR : no key"), "no key");
        assert_eq!(words_of("[ERROR] : SWUPDATE failed [1] Image invalid"), "Image invalid");
        assert_eq!(words_of(" odd "), "odd");
    }

    #[test]
    fn more_than_the_bound_is_read_and_forgotten() {
        let said = sh(60_000).run(&["head -c 1000000 /dev/zero | tr '\\0' x"], None).unwrap().said;
        assert_eq!(said.len() as u64, SAID_BYTES_MAX);
    }

    /// A child of a child that never ends: with the time, both are over, and what they held is free.
    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let held = tempfile::NamedTempFile::new().unwrap();
        let file = File::open(held.path()).unwrap();
        file.lock().unwrap();
        let error = sh(200).run(&["sh -c 'exec sleep 1000' & wait"], Some(&file)).unwrap_err();
        assert!(matches!(error, ToolError::TooLong { .. }), "{error}");
        drop(file);
        File::open(held.path()).unwrap().lock().unwrap();
        // The same where the first ends and leaves the other behind.
        assert_eq!(sh(60_000).run(&["sleep 1000 & echo done"], None).unwrap().said, "done\n");
    }

    #[test]
    fn a_question_is_named_without_files_and_options() {
        let tool = Tool::new(vec!["/usr/bin/rauc".into(), "-c".into(), "x".into()], Duration::ZERO);
        assert_eq!(tool.asked(&["install", "/proc/1/fd/3"]), "rauc install");
        assert_eq!(tool.asked(&["status", "--output-format=shell"]), "rauc status");
    }
}
