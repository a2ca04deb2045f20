//! Named commands: what the configuration names is all that can be run.
//!
//! There is no shell: each argument reaches the program as it is. The environment is what the configuration
//! lists, and nothing else.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use backstay_model::{Answer, Millis, Name, Output, Transience};
use tokio::net::unix::pipe;

use crate::{
    output::{Tail, failed, refused, transience},
    process::{Process, Spawn, ending},
};

/// The most arguments that a run may add.
const ARGS_MAX: usize = 32;
/// The longest of them, in bytes.
const ARG_BYTES_MAX: usize = 1024;
/// What a pipe can hold when its writer ends; a process that escaped the group could write for ever.
const DRAIN_BYTES_MAX: usize = 1 << 20;
/// The longest that a command may be given.
const TIMEOUT_MAX: Millis = Millis::from_secs(3600);

/// Whether a run may add arguments of its own to a command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraArgs {
    /// The command is run exactly as configured.
    Refused,
    /// At most 32 of 1 KiB follow the configured ones.
    Allowed,
}

/// A command as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, an absolute path, and its arguments.
    pub argv: Vec<String>,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// Where it runs; where the agent runs, if that isn't said.
    pub dir: Option<PathBuf>,
    /// How long it may take, 1 ms to 1 h. Then it is killed with all that it started.
    pub timeout: Millis,
    /// Whether a run may add arguments.
    pub extra_args: ExtraArgs,
}

/// A command that can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no program.
    Empty,
    /// The program is not an absolute path: which one runs would depend on the surroundings.
    NotAbsolute {
        /// What was given.
        program: String,
    },
    /// The time is 0 or more than an hour.
    Timeout {
        /// What was given.
        timeout: Millis,
    },
    /// An argument or a variable holds a zero byte, or a variable's name is empty or holds `=`.
    Unspeakable,
}

impl CommandError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Empty | Self::NotAbsolute { .. } => {
                Some("give the program's full path first: [\"/bin/true\"]")
            }
            Self::Timeout { .. } => Some("give a time from 1 ms to 1 h"),
            Self::Unspeakable => Some("leave out zero bytes, and = in names of variables"),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the command has no program"),
            Self::NotAbsolute { program } => write!(f, "{program:?} is no absolute path of a program"),
            Self::Timeout { timeout } => write!(f, "a command can't be given {timeout}"),
            Self::Unspeakable => f.write_str("an argument or variable can't be passed to a program"),
        }
    }
}

impl std::error::Error for CommandError {}

impl Command {
    /// Checks it once, so that running it can only fail for reasons outside of the configuration.
    ///
    /// # Errors
    /// Says what can't be used.
    pub fn check(&self) -> Result<(), CommandError> {
        let program = self.argv.first().ok_or(CommandError::Empty)?;
        if !Path::new(program).is_absolute() {
            return Err(CommandError::NotAbsolute { program: program.clone() });
        }
        if self.timeout == Millis(0) || self.timeout > TIMEOUT_MAX {
            return Err(CommandError::Timeout { timeout: self.timeout });
        }
        speakable(&self.argv, &self.environment)
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, extra: &[String]) -> Ran {
        let mut tail = Tail::new();
        let running = self.run_into(extra, &mut tail);
        match tokio::time::timeout(Duration::from_millis(self.timeout.0), running).await {
            Err(_) => Ran::TimedOut,
            Ok(Err(error)) => Ran::NotRun(error),
            Ok(Ok(code)) => Ran::Exited { code, output: tail.finish() },
        }
    }

    async fn run_into(&self, extra: &[String], tail: &mut Tail) -> io::Result<Option<i32>> {
        let (program, args) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        // One pipe for both, so that what was said stands in the order in which it was.
        let (reader, writer) = io::pipe()?;
        let pipe = pipe::Receiver::from_owned_fd(reader.into())?;
        let mut process = Process::spawn(Spawn {
            program: OsStr::new(program),
            args: args.iter().chain(extra).map(OsString::from).collect(),
            environment: &self.environment,
            dir: self.dir.as_ref(),
            stdout: Stdio::from(writer.try_clone()?),
            stderr: Stdio::from(writer),
        })?;
        Ok(ending(listen(&mut process, &pipe, |said| tail.take(said)).await?).0)
    }

    /// Why a run may not add these arguments, if it may not.
    pub(crate) fn refuses(&self, name: &Name, args: &[String]) -> Option<String> {
        if !args.is_empty() && self.extra_args == ExtraArgs::Refused {
            return Some(format!("command {name} takes no further arguments"));
        }
        let unfit = |arg: &String| arg.len() > ARG_BYTES_MAX || arg.contains('\0');
        (args.len() > ARGS_MAX || args.iter().any(unfit))
            .then(|| format!("at most {ARGS_MAX} arguments of {ARG_BYTES_MAX} bytes, without zero bytes"))
    }

    /// What a run is told of it, with arguments that it doesn't refuse.
    pub(crate) async fn answer(&self, name: &Name, args: &[String]) -> Answer {
        match self.run(args).await {
            Ran::Exited { code, output } => Answer::Exited { code, output },
            Ran::TimedOut => Answer::TimedOut,
            Ran::NotRun(error) => not_started(name, &error),
        }
    }
}

/// A program that can't be started.
pub(crate) fn not_started(name: &Name, error: &io::Error) -> Answer {
    let again = match error.kind() == io::ErrorKind::ExecutableFileBusy {
        true => Transience::Transient,
        false => transience(error),
    };
    failed(again, format!("command {name} did not start: {error}"))
}

/// Gives all that a child says to `take`, until it ends, and says how it did.
pub(crate) async fn listen(
    process: &mut Process,
    pipe: &pipe::Receiver,
    mut take: impl FnMut(&[u8]),
) -> io::Result<ExitStatus> {
    let mut chunk = [0; 8192];
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = process.wait() => break status?,
            ready = pipe.readable(), if open => {
                ready?;
                match pipe.try_read(&mut chunk) {
                    Ok(0) => open = false,
                    Ok(read) => take(&chunk[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    };
    if open {
        drain(pipe, take);
    }
    Ok(status)
}

/// What a child wrote before it ended is in the pipe now. The pipe itself is asked, and not tokio, which may not have
/// heard of it yet; nobody waits for an end that a process outside of the group can hold back.
pub(crate) fn drain(pipe: &pipe::Receiver, mut take: impl FnMut(&[u8])) {
    let mut chunk = [0; 8192];
    let mut drained = 0;
    while drained < DRAIN_BYTES_MAX {
        match rustix::io::read(pipe.as_fd(), &mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                take(&chunk[..read]);
                drained += read;
            }
        }
    }
}

/// Whether a program can be given these at all.
pub(crate) fn speakable(argv: &[String], environment: &BTreeMap<String, String>) -> Result<(), CommandError> {
    let zero = |text: &String| text.contains('\0');
    let bad_name = |name: &String| name.is_empty() || name.contains('=');
    let bad = argv.iter().any(zero)
        || environment.iter().any(|(name, value)| zero(name) || bad_name(name) || zero(value));
    if bad { Err(CommandError::Unspeakable) } else { Ok(()) }
}

/// How a command came out.
pub(crate) enum Ran {
    Exited { code: Option<i32>, output: Output },
    TimedOut,
    NotRun(io::Error),
}

/// The commands that a configuration names.
#[derive(Debug, Default)]
pub struct Commands(BTreeMap<Name, Command>);

impl Commands {
    /// Takes commands that can be used.
    ///
    /// # Errors
    /// Names the first that can't, and why.
    pub fn new(commands: BTreeMap<Name, Command>) -> Result<Self, (Name, CommandError)> {
        for (name, command) in &commands {
            command.check().map_err(|error| (name.clone(), error))?;
        }
        Ok(Self(commands))
    }

    /// Runs one. A command that can't be started has failed; one that isn't configured is refused.
    pub async fn run(&self, name: &Name, args: &[String]) -> Answer {
        let Some(command) = self.0.get(name) else {
            return refused(format!("no command {name} is configured"));
        };
        match command.refuses(name, args) {
            Some(why) => refused(why),
            None => command.answer(name, args).await,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn shell(script: &str) -> Command {
        Command {
            argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            dir: None,
            timeout: Millis::from_secs(30),
            extra_args: ExtraArgs::Refused,
        }
    }

    fn commands(command: Command) -> Commands {
        Commands::new(BTreeMap::from([(name(), command)])).unwrap()
    }

    fn name() -> Name {
        Name::parse("it").unwrap()
    }

    async fn answer(command: Command) -> Answer {
        commands(command).run(&name(), &[]).await
    }

    #[tokio::test]
    async fn a_command_answers_with_its_code_and_all_that_it_said() {
        let said = |answer: Answer| {
            let Answer::Exited { code, output } = answer else { panic!("{answer:?}") };
            (code, String::from_utf8(output.bytes).unwrap())
        };
        let (code, text) = said(answer(shell("echo one; echo two >&2; echo three; exit 7")).await);
        assert_eq!((code, text.as_str()), (Some(7), "one\ntwo\nthree\n"));
        assert_eq!(said(answer(shell("kill -9 $$")).await).0, None);
    }

    #[tokio::test]
    async fn of_a_long_output_the_end_is_kept_and_all_of_it_named() {
        let Answer::Exited { output, .. } = answer(shell("head -c 300000 /dev/zero; printf end")).await
        else {
            panic!("it ends")
        };
        assert!(output.bytes.ends_with(b"\0end") && output.whole.is_some());
        assert_eq!(output.bytes.len(), backstay_model::OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn nothing_of_our_own_surroundings_reaches_a_command() {
        let Answer::Exited { output, .. } =
            answer(Command { argv: vec!["/usr/bin/env".into()], ..shell("") }).await
        else {
            panic!("it ends")
        };
        assert_eq!(output.bytes, b"PATH=/usr/bin:/bin\n");
    }

    #[tokio::test]
    async fn arguments_are_never_read_by_a_shell() {
        let echo = Command {
            argv: vec!["/bin/echo".into(), "-n".into()],
            extra_args: ExtraArgs::Allowed,
            ..shell("")
        };
        let hostile = ["$(id); `id`", "'\"&& rm"].map(String::from);
        let Answer::Exited { output, .. } = commands(echo.clone()).run(&name(), &hostile).await else {
            panic!("it ends")
        };
        assert_eq!(output.bytes, b"$(id); `id` '\"&& rm");
        for too_much in [vec!["x".repeat(1025)], vec![String::new(); 33], vec!["a\0b".into()]] {
            assert!(matches!(commands(echo.clone()).run(&name(), &too_much).await, Answer::Refused(_)));
        }
        let fixed = commands(shell("true")).run(&name(), &hostile).await;
        assert!(matches!(fixed, Answer::Refused(_)));
        assert!(matches!(Commands::default().run(&name(), &[]).await, Answer::Refused(_)));
    }

    /// The grandchild holds the pipe open and would run for ever. When the command is over, so is it.
    #[tokio::test]
    async fn the_whole_group_is_killed_when_the_command_ends_or_its_time_does() {
        let Answer::Exited { code, output } = answer(shell("sleep 1000 & echo $!")).await else {
            panic!("it ends")
        };
        assert_eq!(code, Some(0));
        gone(String::from_utf8(output.bytes).unwrap().trim()).await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let dropped = shell(&script);
        let mut running = Box::pin(dropped.run(&[]));
        let pid = loop {
            tokio::select! {
                _ = &mut running => panic!("it doesn't end"),
                () = tokio::task::yield_now() => {}
            }
            if let Ok(pid) = std::fs::read_to_string(&file) {
                break pid;
            }
        };
        drop(running);
        gone(pid.trim()).await;
        let timeout = Millis(20);
        assert_eq!(answer(Command { timeout, ..shell("sleep 1000 & wait") }).await, Answer::TimedOut);
    }

    /// A killed process is there until somebody reaps it, as a zombie (state Z).
    async fn gone(pid: &str) {
        let stat = format!("/proc/{pid}/stat");
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_is_missing_did_not_run() {
        let missing = Command { argv: vec!["/nowhere/to/be/found".into()], ..shell("") };
        let Answer::Failed(backstay_model::Outcome::Failed { transience, why }) = answer(missing).await
        else {
            panic!("it can't run")
        };
        assert_eq!(transience, Transience::Permanent);
        assert!(why.starts_with("command it did not start: "), "{why}");
    }

    #[test]
    fn a_command_is_checked_where_it_is_configured() {
        assert_eq!(Command { argv: vec![], ..shell("") }.check(), Err(CommandError::Empty));
        let relative = Command { argv: vec!["sh".into()], ..shell("") };
        assert!(matches!(relative.check(), Err(CommandError::NotAbsolute { .. })));
        for timeout in [Millis(0), Millis::from_secs(3601)] {
            assert_eq!(Command { timeout, ..shell("") }.check(), Err(CommandError::Timeout { timeout }));
        }
        let environment = BTreeMap::from([("A=B".into(), String::new())]);
        assert_eq!(Command { environment, ..shell("") }.check(), Err(CommandError::Unspeakable));
    }
}
