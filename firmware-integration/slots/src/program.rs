//! Slots that another program works, asked by its command line: a boot loader takes powers that the agent doesn't have, and
//! a vendor with a boot loader of their own writes a program with the same words.
//!
//! ```text
//! PROGRAM status                      answers on standard output (`answer`)
//! PROGRAM running                     answers on standard output (`running`); not every program knows it
//! PROGRAM stage RELEASE               the artifact is standard input: an open file, at its start
//! PROGRAM try-next | confirm | go-home | condemn | provision RELEASE
//! PROGRAM note-boot | check
//! ```
//!
//! `RELEASE` is four arguments: version, digest, length, security epoch. The exit code says how it went: 0 done, 75 try
//! later, 69 refused for good, 64 set up wrongly. On standard error: of what failed why, in a line; of what was done
//! the findings, a line each. Nothing else that it does is waited for or believed: it has a time and so many bytes, then
//! it is killed with all that it started.
//!
//! Here: asking it. Not here: what the words mean (the trait), and carrying them out (the program).

use std::{
    fmt,
    io::{self, PipeReader, Read as _, Seek as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use backstay_model::{Release, SlotStatus, Transience};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Artifact, Slots,
    answer::{FINDING_BYTES_MAX, FINDINGS_MAX, SlotAnswer, line},
    environment::{BootWord, ReleaseWords, WORDS_BYTES_MAX},
    error::SlotError,
    group::Group,
    running::RunningAnswer,
};

/// Exit code: done.
pub const DONE: u8 = 0;
/// Exit code: the command line or the program's own configuration is wrong (`EX_USAGE`).
pub const WRONG: u8 = 64;
/// Exit code: refused for good (`EX_UNAVAILABLE`).
pub const REFUSED: u8 = 69;
/// Exit code: not done, and trying again later can help (`EX_TEMPFAIL`).
pub const LATER: u8 = 75;

/// How much of what it says on standard error is heard, in bytes: the end of it.
const SAID_BYTES_MAX: usize = 2048;
/// How often it is looked whether it has ended, where it is silent.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Why a program can't be started, now or later.
const NEVER: [io::ErrorKind; 3] =
    [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput];
/// All of its environment: what the agent was started with is not its business.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Slots that a program works.
#[derive(Debug)]
pub struct Program {
    argv: Vec<String>,
    timeouts: Timeouts,
    word: BootWord,
    findings: Vec<String>,
}

/// How long a program may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For anything but staging. Before a slot is tried or gone home to, all of it is read.
    pub answer: Duration,
    /// For staging: a whole image is written, and read back.
    pub stage: Duration,
}

/// What became of a slot program that did not do what it was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProgramFault {
    /// It can't be started, or not be listened to.
    NotRun(io::Error),
    /// It said no, by this exit code.
    Exited(i32),
    /// It was killed, by this signal.
    Killed(i32),
    /// It took too long, and was killed with all that it started.
    TimedOut(Duration),
    /// Its answer is not whole, or is none.
    Altered,
    /// The artifact is no open file: there is nothing that it could be handed.
    NoFile,
}

impl ProgramFault {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotRun(_) => "name the program and its arguments in slots.command, by its full path",
            Self::Exited(_) | Self::Killed(_) => "run the slot program's `check` on the device",
            Self::TimedOut(_) => {
                "see what the slot program waits for; slots.timeout and slots.stage_timeout are its bounds"
            }
            Self::Altered => {
                "run the slot program's `status`: nothing but its sealed lines may be on standard output"
            }
            Self::NoFile => "hand the release over as a file",
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn transience(&self) -> Transience {
        match self {
            Self::Exited(code) if [WRONG, REFUSED].map(i32::from).contains(code) => Transience::Permanent,
            Self::NotRun(error) if NEVER.contains(&error.kind()) => Transience::Permanent,
            Self::NoFile => Transience::Permanent,
            // Whoever killed it may not do so again; a code of its own may mean anything, and tries are counted.
            Self::NotRun(_) | Self::Exited(_) | Self::Killed(_) | Self::TimedOut(_) | Self::Altered => {
                Transience::Transient
            }
        }
    }
}

impl fmt::Display for ProgramFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(error) => write!(f, "it can't be run: {error}"),
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Killed(signal) => write!(f, "it was killed by signal {signal}"),
            Self::TimedOut(span) => write!(f, "not done within {} s, and killed", span.as_secs_f32()),
            Self::Altered => f.write_str("what it answered is not a whole answer"),
            Self::NoFile => f.write_str("the release's bytes are in no file that it could be handed"),
        }
    }
}

impl std::error::Error for ProgramFault {}

impl Program {
    /// Slots that are worked by a program with these first arguments. It isn't asked anything yet: until its first
    /// [`status`](Slots::status) it is taken to run what is confirmed.
    #[must_use]
    pub fn new(argv: Vec<String>, timeouts: Timeouts) -> Self {
        Self { argv, timeouts, word: BootWord::Confirmed, findings: Vec::new() }
    }

    /// What was found since the last time that this was asked, at most 8 lines.
    pub fn findings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.findings)
    }

    /// Asks whether it is set up rightly.
    ///
    /// # Errors
    /// Says what is wrong, as the program says it.
    pub fn check(&mut self) -> Result<(), SlotError> {
        self.ask(CHECK, None)
    }

    /// Says what runs, as a factory does: the program knows the slots from then on.
    ///
    /// # Errors
    /// The slots hold something else, or the program failed.
    pub fn provision(&mut self, release: &Release) -> Result<(), SlotError> {
        self.ask("provision", Some(release))
    }

    fn ask(&mut self, asked: &'static str, release: Option<&Release>) -> Result<(), SlotError> {
        self.run(asked, release, Stdio::null(), Sink::Discard).map(|_| ())
    }

    fn run(
        &mut self,
        asked: &'static str,
        release: Option<&Release>,
        stdin: Stdio,
        sink: Sink,
    ) -> Result<Vec<u8>, SlotError> {
        let within = if asked == STAGE { self.timeouts.stage } else { self.timeouts.answer };
        let words = release.map(|release| ReleaseWords(release).to_string()).unwrap_or_default();
        let mut said = Said::default();
        let fault = match self.start(asked, &words, stdin, sink) {
            Ok(mut running) => match running.end(within, &mut said) {
                Ok(status) if status.success() => {
                    self.found(said.text());
                    return Ok(said.answer);
                }
                Ok(status) => match status.code() {
                    Some(code) => ProgramFault::Exited(code),
                    None => ProgramFault::Killed(status.signal().unwrap_or_default()),
                },
                Err(fault) => fault,
            },
            Err(error) => ProgramFault::NotRun(error),
        };
        let said = said.text();
        // What is wrong with a configuration may be several things; else the last line says why.
        let said = if asked == CHECK { &said } else { said.lines().next_back().unwrap_or_default() };
        Err(SlotError::Program { asked, fault: Box::new(fault), said: said.to_owned() })
    }

    fn start(&self, asked: &str, words: &str, stdin: Stdio, sink: Sink) -> io::Result<Running> {
        let (program, first) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (stderr, errors) = io::pipe()?;
        let mut command = Command::new(program);
        command.args(first).arg(asked).args(words.split(' ').filter(|word| !word.is_empty()));
        command.env_clear().env("PATH", PATH).stdin(stdin).stderr(errors);
        let stdout = match sink {
            Sink::Discard => {
                command.stdout(Stdio::null());
                None
            }
            Sink::Answer => {
                let (stdout, output) = io::pipe()?;
                command.stdout(output);
                Some(stdout)
            }
        };
        Ok(Running { group: Group::start(&mut command)?, pipes: [stdout, Some(stderr)] })
    }

    fn found(&mut self, said: String) {
        let lines = said.lines().filter(|line| !line.trim().is_empty());
        self.findings.extend(lines.map(|finding| line(finding, FINDING_BYTES_MAX)));
        self.findings.truncate(FINDINGS_MAX);
    }
}

const STAGE: &str = "stage";
const CHECK: &str = "check";
const RUNNING: &str = "running";

/// What becomes of its standard output.
#[derive(Clone, Copy)]
enum Sink {
    Discard,
    Answer,
}

/// What it has said so far.
#[derive(Default)]
struct Said {
    /// At most one byte more than an answer may have.
    answer: Vec<u8>,
    errors: Vec<u8>,
}

impl Said {
    fn take(&mut self, pipe: usize, bytes: &[u8]) {
        if pipe == 0 {
            let room = (WORDS_BYTES_MAX as usize + 1).saturating_sub(self.answer.len());
            self.answer.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        } else {
            self.errors.extend_from_slice(bytes);
            let over = self.errors.len().saturating_sub(SAID_BYTES_MAX);
            self.errors.drain(..over);
        }
    }

    /// The end of what it said on standard error, as text that a terminal and a record can take.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.errors);
        text.trim().lines().map(|said| line(said, SAID_BYTES_MAX)).collect::<Vec<_>>().join("\n")
    }
}

/// A program at work.
struct Running {
    group: Group,
    /// Standard output and standard error, as long as they are open.
    pipes: [Option<PipeReader>; 2],
}

impl Running {
    /// Listens until it has ended, by itself or because its time is over.
    fn end(&mut self, within: Duration, said: &mut Said) -> Result<ExitStatus, ProgramFault> {
        let begun = Instant::now();
        while !self.group.has_ended().map_err(ProgramFault::NotRun)? {
            let left = within.checked_sub(begun.elapsed()).ok_or(ProgramFault::TimedOut(within))?;
            self.listen(left.min(LOOK_EVERY), said)?;
        }
        // Its end is seen and it isn't reaped: the process id is still nobody else's.
        self.group.kill();
        // What it wrote is in the pipes. What still holds on to them is not waited for.
        while self.listen(Duration::ZERO, said)? {
            if begun.elapsed() > within {
                break;
            }
        }
        self.group.reap().map_err(ProgramFault::NotRun)
    }

    /// Waits for something to be said, and takes it; whether there was anything.
    fn listen(&mut self, wait: Duration, said: &mut Said) -> Result<bool, ProgramFault> {
        let mut polled: Vec<_> =
            self.pipes.iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)).collect();
        let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut polled, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(ProgramFault::NotRun(error.into())),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        for (at, pipe) in self.pipes.iter_mut().enumerate() {
            let Some(open) = pipe else { continue };
            if ready.next() != Some(true) {
                continue;
            }
            let mut chunk = [0; 1024];
            match open.read(&mut chunk) {
                Ok(read @ 1..) => said.take(at, &chunk[..read]),
                Ok(0) | Err(_) => *pipe = None,
            }
        }
        Ok(true)
    }
}

impl Slots for Program {
    fn status(&mut self) -> Result<SlotStatus, SlotError> {
        let bytes = self.run("status", None, Stdio::null(), Sink::Answer)?;
        let Some(SlotAnswer { status, word, findings }) = SlotAnswer::from_bytes(&bytes) else {
            let fault = Box::new(ProgramFault::Altered);
            return Err(SlotError::Program { asked: "status", fault, said: String::new() });
        };
        self.word = word;
        self.found(findings.join("\n"));
        Ok(status)
    }

    fn running(&mut self) -> Result<Option<PathBuf>, SlotError> {
        let bytes = self.run(RUNNING, None, Stdio::null(), Sink::Answer)?;
        match RunningAnswer::from_bytes(&bytes) {
            Some(answer) => Ok(Some(answer.path())),
            None => Err(SlotError::Program {
                asked: RUNNING,
                fault: Box::new(ProgramFault::Altered),
                said: String::new(),
            }),
        }
    }

    fn stage(&mut self, release: &Release, artifact: &mut dyn Artifact) -> Result<(), SlotError> {
        let file = artifact.file().ok_or_else(|| SlotError::Program {
            asked: STAGE,
            fault: Box::new(ProgramFault::NoFile),
            said: String::new(),
        })?;
        let at_its_start = |mut file: &std::fs::File| {
            file.rewind()?;
            file.try_clone()
        };
        let file = at_its_start(file).map_err(|source| SlotError::Source { source })?;
        self.run(STAGE, Some(release), file.into(), Sink::Discard).map(|_| ())
    }

    fn try_next(&mut self, release: &Release) -> Result<(), SlotError> {
        self.ask("try-next", Some(release))
    }

    fn confirm(&mut self, release: &Release) -> Result<(), SlotError> {
        self.ask("confirm", Some(release))?;
        self.word = BootWord::Confirmed;
        Ok(())
    }

    fn go_home(&mut self, release: &Release) -> Result<(), SlotError> {
        self.ask("go-home", Some(release))
    }

    fn condemn(&mut self, release: &Release) -> Result<(), SlotError> {
        self.ask("condemn", Some(release))
    }

    /// As the program said at the last status.
    fn booted(&self) -> BootWord {
        self.word.clone()
    }

    fn note_boot(&mut self) -> Result<(), SlotError> {
        self.ask("note-boot", None)
    }
}

#[cfg(test)]
mod tests;
