//! The program of the slot that runs, kept running.
//!
//! This is mechanism, like an init system's: what ends is started again, ever more slowly. Whether the release is
//! any good is for whoever hears of the ends (`core`). Not here: which slot runs (`slots`).

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use backstay_model::{Infra, InfraKind, Millis};
use rustix::process::Signal;
use tokio::{
    net::unix::pipe,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    command::speakable,
    process::{Process, Spawn, ending},
    task::Bound,
};

/// Stands in a program's arguments for the path of the current slot's artifact.
const RELEASE: &str = "{release}";

/// A program as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments. `{release}` in any of them is the path of the current slot's artifact; most
    /// often it is the first.
    pub argv: Vec<String>,
    /// All of its environment; `{release}` is replaced in values, too.
    pub environment: BTreeMap<String, String>,
    /// Where it runs; where the agent runs, if that isn't said.
    pub dir: Option<PathBuf>,
    /// What becomes of what it says.
    pub output: ProgramOutput,
    /// From being asked to end (TERM) to being ended (KILL), at most 10 min.
    pub grace: Millis,
    /// The wait before the first start after an end; each further wait is twice as long.
    pub backoff: Millis,
    /// The longest wait; at least `backoff`, at most an hour. Who ran for that long starts with the first wait.
    pub backoff_max: Millis,
}

/// What becomes of what a program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramOutput {
    /// Nobody hears it.
    Discarded,
    /// It goes where the agent's own goes.
    Inherited,
    /// It goes into a file, and where that is half of the bound, the file becomes `<path>.old` and a new one is
    /// begun. A disk that takes nothing loses the output, and never stops the program.
    File {
        /// Where.
        path: PathBuf,
        /// The most bytes in both together.
        bytes_max: u64,
    },
}

/// A program that can't be supervised as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no program, or it is neither an absolute path nor `{release}`.
    Program,
    /// The grace is more than ten minutes, a wait is zero, or the longest is the shorter or more than an hour.
    Spans,
    /// An argument or a variable can't be passed to a program.
    Unspeakable,
    /// The file for the output has no room.
    Output,
}

impl ProgramError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Program => Some("begin with a full path, or with {release}"),
            Self::Spans => {
                Some("give a grace of at most 10 min, and waits from 1 ms to 1 h, the longest last")
            }
            Self::Unspeakable => Some("leave out zero bytes, and = in names of variables"),
            Self::Output => Some("give the file at least 2 bytes"),
        }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "the supervised program is neither a full path nor {release}",
            Self::Spans => "the supervised program's grace or waits are out of bounds",
            Self::Unspeakable => "an argument or variable can't be passed to the supervised program",
            Self::Output => "the file for the supervised program's output has no room",
        })
    }
}

impl std::error::Error for ProgramError {}

/// How one run of the program ended, without our asking for it.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or, as an error, what kept it from starting; `None` where a signal ended it.
    pub code: Result<Option<i32>, io::Error>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// How long it ran.
    pub ran: Millis,
    /// How long it is left alone before the next start.
    pub wait: Millis,
}

/// A program under supervision. Dropped, the program is killed with all that it started; and it dies with the
/// thread that drives this value, however that ends.
#[derive(Debug)]
pub struct Supervised {
    program: Program,
    state: State,
    /// Carries the output. It outlives the run, for the last words are the ones that people ask for.
    pump: Option<Bound>,
    /// Ends in a row without a long run between them.
    row: u32,
    ends: u32,
}

#[derive(Debug)]
enum State {
    Stopped,
    Runs { release: PathBuf, process: Process, since: Instant },
    Waits { release: PathBuf, until: Instant },
}

/// How long the output of a run that has ended is still waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Supervised {
    /// Takes a program, and doesn't start it yet.
    ///
    /// # Errors
    /// Says what can't be used.
    pub fn new(program: Program) -> Result<Self, ProgramError> {
        let first = program.argv.first().ok_or(ProgramError::Program)?;
        if !first.starts_with('/') && !first.starts_with(RELEASE) {
            return Err(ProgramError::Program);
        }
        let Program { grace, backoff, backoff_max, .. } = &program;
        let hour = Millis::from_secs(3600);
        if *grace > Millis::from_secs(600)
            || *backoff == Millis(0)
            || backoff_max < backoff
            || *backoff_max > hour
        {
            return Err(ProgramError::Spans);
        }
        speakable(&program.argv, &program.environment).map_err(|_| ProgramError::Unspeakable)?;
        if matches!(program.output, ProgramOutput::File { bytes_max: 0..2, .. }) {
            return Err(ProgramError::Output);
        }
        Ok(Self { program, state: State::Stopped, pump: None, row: 0, ends: 0 })
    }

    /// Runs the program on this artifact from the next [`Supervised::next`] on, at once. If it ran before, it is
    /// stopped first.
    pub async fn start(&mut self, release: &Path) {
        self.stop().await;
        self.state = State::Waits { release: release.to_owned(), until: Instant::now() };
    }

    /// Stops the program and all that it started: asks, waits for the grace, kills. Stopped before, it stays so.
    /// Dropped in the middle, the wait begins anew with the next call.
    pub async fn stop(&mut self) {
        if let State::Runs { process, .. } = &mut self.state {
            process.signal(Signal::TERM);
            let grace = Duration::from_millis(self.program.grace.0);
            if timeout(grace, process.wait()).await.is_err() {
                process.signal(Signal::KILL);
                // What hangs in the kernel can't be waited for; it is reaped whenever it does end.
                let _ = timeout(Duration::from_secs(1), process.wait()).await;
            }
        }
        self.state = State::Stopped;
        self.row = 0;
    }

    /// Whether it runs at this moment, as far as anybody has looked.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.state, State::Runs { .. })
    }

    /// Keeps the program running, and comes back when it has ended by itself or could not be started; it is
    /// started again by the next call, after the wait. Stopped, it never comes back. Nothing is lost if it is
    /// dropped.
    pub async fn next(&mut self) -> Ended {
        loop {
            match &mut self.state {
                State::Stopped => std::future::pending().await,
                State::Waits { release, until } => {
                    sleep_until(*until).await;
                    let release = release.clone();
                    match self.program.spawn(&release, &mut self.pump) {
                        Ok(process) => {
                            self.state = State::Runs { release, process, since: Instant::now() };
                        }
                        Err(error) => return self.ended(release, Err(error), None, Duration::ZERO),
                    }
                }
                State::Runs { release, process, since } => {
                    let status = process.wait().await;
                    let (release, ran) = (release.clone(), since.elapsed());
                    return match status {
                        Ok(status) => {
                            let (code, signal) = ending(status);
                            self.ended(release, Ok(code), signal, ran)
                        }
                        Err(error) => self.ended(release, Err(error), None, ran),
                    };
                }
            }
        }
    }

    /// How often it ended by itself since this was last asked, if it did.
    pub fn take_ends(&mut self) -> Option<Infra> {
        let count = std::mem::take(&mut self.ends);
        (count > 0).then_some(Infra { kind: InfraKind::ProcessExited, count })
    }

    fn ended(
        &mut self,
        release: PathBuf,
        code: Result<Option<i32>, io::Error>,
        signal: Option<i32>,
        ran: Duration,
    ) -> Ended {
        let Program { backoff, backoff_max, .. } = self.program;
        let ran = Millis(u64::try_from(ran.as_millis()).unwrap_or(u64::MAX));
        if ran >= backoff_max {
            self.row = 0;
        }
        let doubled = backoff.0.saturating_mul(1_u64.checked_shl(self.row).unwrap_or(u64::MAX));
        let wait = Millis(doubled).min(backoff_max);
        self.row = self.row.saturating_add(1);
        self.ends = self.ends.saturating_add(1);
        self.state = State::Waits { release, until: Instant::now() + Duration::from_millis(wait.0) };
        Ended { code, signal, ran, wait }
    }
}

impl Program {
    fn spawn(&self, release: &Path, carrier: &mut Option<Bound>) -> io::Result<Process> {
        let argv: Vec<OsString> = self.argv.iter().map(|arg| filled(arg, release)).collect();
        let release = release.to_str().ok_or(io::ErrorKind::InvalidInput)?;
        let fill = |(name, value): (&String, &String)| (name.clone(), value.replace(RELEASE, release));
        let mut environment = BTreeMap::new();
        environment.extend(self.environment.iter().map(fill));
        let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (stdout, stderr) = match &self.output {
            ProgramOutput::Discarded => (Stdio::null(), Stdio::null()),
            ProgramOutput::Inherited => (Stdio::inherit(), Stdio::inherit()),
            ProgramOutput::File { path, bytes_max } => {
                let (reader, writer) = io::pipe()?;
                let pipe = pipe::Receiver::from_owned_fd(reader.into())?;
                let file = Rotated::new(path.clone(), bytes_max / 2);
                *carrier = Some(Bound::spawn(pump(carrier.take(), pipe, file)));
                (Stdio::from(writer.try_clone()?), Stdio::from(writer))
            }
        };
        let dir = self.dir.as_ref();
        Process::spawn(Spawn { program, args: args.to_vec(), environment: &environment, dir, stdout, stderr })
    }
}

fn filled(arg: &str, release: &Path) -> OsString {
    let mut filled = OsString::new();
    for (place, text) in arg.split(RELEASE).enumerate() {
        if place > 0 {
            filled.push(release);
        }
        filled.push(text);
    }
    filled
}

/// Begins where the run before has said its last word; what still holds on to its pipe is not waited for long.
async fn pump(before: Option<Bound>, pipe: pipe::Receiver, mut file: Rotated) {
    if let Some(mut before) = before {
        let _ = timeout(LAST_WORDS, before.ended()).await;
    }
    let mut chunk = [0; 8192];
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => file.write(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// A file that makes room for itself.
struct Rotated {
    path: PathBuf,
    half: u64,
    file: Option<(File, u64)>,
}

impl Rotated {
    fn new(path: PathBuf, half: u64) -> Self {
        Self { path, half, file: None }
    }

    /// Writes what fits the disk; the rest is lost, for a full disk must not stop the program.
    fn write(&mut self, mut bytes: &[u8]) {
        let half = self.half;
        while !bytes.is_empty() {
            let Ok((file, length)) = self.open() else { return };
            let room = usize::try_from(half.saturating_sub(*length)).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            if file.write_all(now).is_err() {
                self.file = None;
                return;
            }
            *length += now.len() as u64;
            bytes = later;
        }
    }

    /// The file, with room for one byte at least.
    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        if self.file.as_ref().is_some_and(|(_, length)| *length >= self.half) {
            self.file = None;
        }
        let (file, length) = match self.file.take() {
            Some(open) => open,
            None => {
                let long = std::fs::metadata(&self.path).is_ok_and(|about| about.len() >= self.half);
                if long {
                    std::fs::rename(&self.path, self.path.with_added_extension("old"))?;
                }
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                let length = file.metadata()?.len();
                (file, length)
            }
        };
        Ok(self.file.insert((file, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str) -> Program {
        Program {
            argv: ["/bin/sh", "-c", script, "{release}"].map(String::from).to_vec(),
            environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            dir: None,
            output: ProgramOutput::Discarded,
            grace: Millis::from_secs(60),
            backoff: Millis(10),
            backoff_max: Millis(100),
        }
    }

    async fn started(program: Program) -> Supervised {
        let mut supervised = Supervised::new(program).unwrap();
        supervised.start(Path::new("/slots/a/release")).await;
        supervised
    }

    /// Drives it until `path` is there, and gives its content.
    async fn until_there(supervised: &mut Supervised, path: &Path) -> String {
        loop {
            if let Ok(text) = std::fs::read_to_string(path)
                && text.ends_with('\n')
            {
                return text;
            }
            tokio::select! {
                ended = supervised.next() => panic!("{ended:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_is_started_again_ever_more_slowly() {
        let mut supervised = started(program("exit 4")).await;
        let mut waits = Vec::new();
        for _ in 0..6 {
            let ended = supervised.next().await;
            assert!(matches!(ended.code, Ok(Some(4))), "{ended:?}");
            waits.push(ended.wait.0);
        }
        assert_eq!(waits, [10, 20, 40, 80, 100, 100]);
        assert_eq!(supervised.take_ends(), Some(Infra { kind: InfraKind::ProcessExited, count: 6 }));
        assert_eq!(supervised.take_ends(), None);
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_an_end_like_any_other() {
        let missing = Program { argv: vec!["{release}".into()], ..program("") };
        let mut supervised = started(missing).await;
        for wait in [10, 20] {
            let ended = supervised.next().await;
            assert!(ended.code.is_err() && ended.wait.0 == wait, "{ended:?}");
        }
    }

    #[tokio::test]
    async fn a_stopped_program_was_asked_first_and_stays_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (up, down) = (dir.path().join("up"), dir.path().join("down"));
        let script = format!(
            "trap 'echo down > {}; exit 0' TERM; echo \"$0\" > {}; while :; do sleep 1000 & wait; done",
            down.display(),
            up.display()
        );
        let mut supervised = started(program(&script)).await;
        assert_eq!(until_there(&mut supervised, &up).await, "/slots/a/release\n");
        assert!(supervised.runs());
        supervised.stop().await;
        assert_eq!(std::fs::read_to_string(&down).unwrap(), "down\n");
        assert!(!supervised.runs());
        assert_eq!(supervised.take_ends(), None, "it was asked to");
        supervised.stop().await;
    }

    #[tokio::test]
    async fn a_program_that_does_not_listen_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let up = dir.path().join("up");
        let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 1000; done", up.display());
        let mut supervised = started(Program { grace: Millis(10), ..program(&script) }).await;
        let pid = until_there(&mut supervised, &up).await;
        supervised.stop().await;
        let stat = format!("/proc/{}/stat", pid.trim());
        assert!(!std::fs::exists(stat).unwrap(), "killed and reaped");
    }

    #[tokio::test]
    async fn what_a_program_says_goes_into_a_file_that_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let output = ProgramOutput::File { path: path.clone(), bytes_max: 2000 };
        let up = dir.path().join("up");
        let script = format!(
            "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; echo up > {}; exec sleep 1000",
            up.display()
        );
        let mut supervised = started(Program { output, ..program(&script) }).await;
        until_there(&mut supervised, &up).await;
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        while !read("log").ends_with("line 999\n") {
            tokio::task::yield_now().await;
        }
        let (old, new) = (read("log.old"), read("log"));
        assert!(old.len() == 1000 && new.len() <= 1000, "{} and {}", old.len(), new.len());
        let both = old + &new;
        assert!((0..1000).map(|i| format!("line {i}\n")).collect::<String>().ends_with(&both));
        supervised.stop().await;
    }

    /// Nobody cleans up here: the thread just ends, as it does when the agent is killed.
    #[tokio::test]
    async fn a_program_does_not_outlive_the_thread_that_drives_it() {
        let dir = tempfile::tempdir().unwrap();
        let up = dir.path().join("up");
        let script = format!("echo $$ > {}; exec sleep 1000", up.display());
        let drive = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut supervised = started(program(&script)).await;
                let pid = until_there(&mut supervised, &up).await;
                std::mem::forget(supervised);
                pid
            })
        };
        let pid = std::thread::spawn(drive).join().unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_last_words_of_each_run_are_kept_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let output = ProgramOutput::File { path: path.clone(), bytes_max: 2000 };
        let mut supervised = started(Program { output, ..program("echo first; echo last; exit 1") }).await;
        for _ in 0..3 {
            supervised.next().await;
        }
        while std::fs::read_to_string(&path).unwrap_or_default() != "first\nlast\n".repeat(3) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_program_is_checked_where_it_is_configured() {
        let refused = |program| Supervised::new(program).map(drop).unwrap_err();
        assert_eq!(refused(Program { argv: vec![], ..program("") }), ProgramError::Program);
        assert_eq!(refused(Program { argv: vec!["sh".into()], ..program("") }), ProgramError::Program);
        assert_eq!(refused(Program { backoff: Millis(0), ..program("") }), ProgramError::Spans);
        assert_eq!(refused(Program { backoff_max: Millis(1), ..program("") }), ProgramError::Spans);
        assert_eq!(refused(program("a\0b")), ProgramError::Unspeakable);
        let output = ProgramOutput::File { path: "/x".into(), bytes_max: 1 };
        assert_eq!(refused(Program { output, ..program("") }), ProgramError::Output);
    }
}
