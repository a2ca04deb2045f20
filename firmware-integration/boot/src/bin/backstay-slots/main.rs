//! `backstay-slots`: the slots of this machine, behind its boot loader, for the agent and for people.
//!
//! Here: the command line, and what each command answers. Not here: what slots promise (`backstay-slots`, the crate), and how
//! that is kept (`backstay-boot`).
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod check;
mod config;
mod running;
mod setup;
mod status;
mod trouble;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, IsTerminal as _, Read, Seek as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use backstay_config::Document;
use backstay_model::{Release, causes};
use backstay_slots::{
    Artifact, RunningAnswer, Slot, SlotAnswer, SlotError, Slots as _, program, release_from_words,
};

use crate::{config::Config, trouble::Trouble};

const HELP: &str = "\
backstay-slots: two slots behind a boot loader, one of which always runs

Usage: backstay-slots [--config FILE] [--output lines|json] COMMAND

Commands:
  status             What runs, what a restart brings back, what is in the other slot, what is being tried
  running            Where what runs can be read: its device. Who fetches a release fetches only what isn't there
  check              Say what is wrong with configuration, devices and boot loader, by file, line and key
  stage RELEASE      Write the release that is on standard input into the slot that doesn't run:
                       backstay-slots stage 1.5.0 9f86...0a08 1048576 1 < pump-1.5.0.img
  try-next RELEASE   Let the next restart try it. It falls back by itself unless it is confirmed
  note-boot          This boot is fine, though nothing is confirmed: a try gets its tries back
  confirm RELEASE    What runs is what a restart brings back from now on
  go-home RELEASE    The next restart brings back this release, in the other slot, and that stays
  condemn RELEASE    For one that has failed: it is started only where the other doesn't start any more
  provision RELEASE  What a factory does once: say which release runs
  help               Print this

RELEASE is four words: version, SHA-256 in 64 digits, length in bytes, security epoch. Each command can be
given again: done before, it changes nothing. None of them restarts the machine.

Options:
  --config FILE      The configuration [default: /etc/backstay/slots.toml]
  --output FORMAT    Of status, running and check: lines (what the agent reads, with a checksum) or json
  --version          Print the version

Exit codes, with a line on stderr that says what, why and what to do:
  0   done
  64  the command line or the configuration is wrong
  69  refused, now and later
  75  not done; try again later
";

/// How a status is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Lines,
    Json,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Status,
    Running,
    Check,
    Stage(Release),
    TryNext(Release),
    NoteBoot,
    Confirm(Release),
    GoHome(Release),
    Condemn(Release),
    Provision(Release),
    Help,
    Version,
}

/// The command line.
#[derive(Debug)]
struct Asked {
    config: PathBuf,
    output: Output,
    command: Command,
}

fn main() -> ExitCode {
    match asked(std::env::args_os().skip(1)).and_then(carry_out) {
        Ok(()) => ExitCode::from(program::DONE),
        Err(trouble) => {
            eprintln!("backstay-slots: {trouble}");
            ExitCode::from(trouble.code)
        }
    }
}

fn asked(arguments: impl Iterator<Item = OsString>) -> Result<Asked, Trouble> {
    const HELP: &str = "backstay-slots help";
    let mut config = PathBuf::from("/etc/backstay/slots.toml");
    let mut output = Output::Lines;
    let mut words = Vec::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    let is_wrong = |error: lexopt::Error| Trouble::wrong(error.to_string(), HELP);
    while let Some(argument) = parser.next().map_err(is_wrong)? {
        use lexopt::prelude::*;
        match argument {
            Long("config") => config = parser.value().map_err(is_wrong)?.into(),
            Long("output") => {
                output = match parser.value().and_then(|value| value.string()).map_err(is_wrong)?.as_str() {
                    "lines" => Output::Lines,
                    "json" => Output::Json,
                    other => {
                        let what = format!("--output {other}: expected lines or json");
                        return Err(Trouble::wrong(what, HELP));
                    }
                }
            }
            Long("help") | Short('h') => return Ok(Asked { config, output, command: Command::Help }),
            Long("version") | Short('V') => return Ok(Asked { config, output, command: Command::Version }),
            Value(word) => words.push(word.string().map_err(is_wrong)?),
            Short(_) | Long(_) => return Err(is_wrong(argument.unexpected())),
        }
    }
    let Some((name, words)) = words.split_first() else {
        return Err(Trouble::wrong("which command is missing", HELP));
    };
    let words = words.join(" ");
    let release = || {
        release_from_words(&words).ok_or_else(|| {
            let what = format!("{name}: expected VERSION SHA256 LENGTH EPOCH, found `{words}`");
            Trouble::wrong(what, "the release is named by four words, as `status` prints them")
        })
    };
    let alone = |command| match words.is_empty() {
        true => Ok(command),
        false => Err(Trouble::wrong(format!("{name} takes no further words, found `{words}`"), HELP)),
    };
    let command = match name.as_str() {
        "status" => alone(Command::Status)?,
        "running" => alone(Command::Running)?,
        "check" => alone(Command::Check)?,
        "note-boot" => alone(Command::NoteBoot)?,
        "help" => alone(Command::Help)?,
        "stage" => Command::Stage(release()?),
        "try-next" => Command::TryNext(release()?),
        "confirm" => Command::Confirm(release()?),
        "go-home" => Command::GoHome(release()?),
        "condemn" => Command::Condemn(release()?),
        "provision" => Command::Provision(release()?),
        other => return Err(Trouble::wrong(format!("there is no command `{other}`"), HELP)),
    };
    Ok(Asked { config, output, command })
}

fn carry_out(Asked { config, output, command }: Asked) -> Result<(), Trouble> {
    match command {
        Command::Help => say(HELP.as_bytes()),
        Command::Version => say(format!("backstay-slots {}\n", env!("CARGO_PKG_VERSION")).as_bytes()),
        Command::Check => {
            let (document, config) = read(&config)?;
            tell(&check::check(&document, &config), output)
        }
        Command::Running => tell_running(&read(&config)?.1, output),
        Command::Status
        | Command::Stage(_)
        | Command::TryNext(_)
        | Command::NoteBoot
        | Command::Confirm(_)
        | Command::GoHome(_)
        | Command::Condemn(_)
        | Command::Provision(_) => work(&read(&config)?.1, output, &command),
    }
}

fn read(path: &Path) -> Result<(Document, Config), Trouble> {
    let is_wrong = |what: String| Trouble::wrong(what, "docs/firmware.md has each key; then `check`");
    let document = Document::read(path).map_err(|error| is_wrong(causes::in_one_line(&error)))?;
    let config = Config::of(&document).map_err(|problems| is_wrong(problems.to_string()))?;
    Ok((document, config))
}

fn tell(checked: &check::Checked, output: Output) -> Result<(), Trouble> {
    let check::Checked { seen, problems } = checked;
    match output {
        Output::Json => {
            let (seen, problems) = (status::texts(seen), status::texts(problems));
            say(format!("{{\"format\":1,\"seen\":{seen},\"problems\":{problems}}}\n").as_bytes())?;
        }
        Output::Lines => {
            let lines = seen.iter().map(|line| format!("{line}\n")).collect::<String>();
            say(lines.as_bytes())?;
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Trouble::found(problems))
}

/// Where what runs lies. Nothing is opened for it.
fn tell_running(config: &Config, output: Output) -> Result<(), Trouble> {
    let (slot, _) = running::look(&config.running)?;
    let device = config.write.devices()[slot as usize];
    let answer = RunningAnswer::new(device).ok_or_else(|| {
        let what = format!("slot {slot}'s device can't be told: {}", device.display());
        Trouble::wrong(what, "name it by its full path in write.a or write.b")
    })?;
    match output {
        Output::Lines => say(&answer.to_bytes()),
        Output::Json => say((status::running(slot, &answer.path()) + "\n").as_bytes()),
    }
}

/// Does what is about the slots themselves.
fn work(config: &Config, output: Output, command: &Command) -> Result<(), Trouble> {
    let mut of_factory = None;
    if let Command::Provision(release) = command {
        setup::make_ledger(config)?;
        of_factory = Some(release);
    }
    let (mut slots, on, mut findings) = setup::open(config, of_factory)?;
    let done = match command {
        Command::Stage(release) => {
            setup::is_free(config, on.other())?;
            stage(&mut slots, release)
        }
        Command::TryNext(release) => slots.try_next(release),
        Command::Confirm(release) => slots.confirm(release),
        Command::GoHome(release) => slots.go_home(release),
        Command::Condemn(release) => slots.condemn(release),
        Command::NoteBoot => slots.note_boot(),
        Command::Provision(release) => return provisioned(&mut slots, on, release),
        Command::Status | Command::Running | Command::Check | Command::Help | Command::Version => Ok(()),
    };
    if *command == Command::Status {
        let status = slots.status()?;
        findings.extend(slots.findings().iter().map(ToString::to_string));
        let answer = SlotAnswer { status, word: slots.booted(), findings };
        return match output {
            Output::Lines => say(&answer.to_bytes()),
            Output::Json => say((status::json(&answer) + "\n").as_bytes()),
        };
    }
    // Also of what failed: who asks next doesn't find it any more.
    findings.extend(slots.findings().iter().map(ToString::to_string));
    for finding in findings {
        eprintln!("{finding}");
    }
    Ok(done?)
}

fn provisioned(slots: &mut setup::Slots, on: Slot, release: &Release) -> Result<(), Trouble> {
    let runs = slots.status()?.booted;
    if runs.digest == release.digest {
        return Ok(());
    }
    Err(Trouble::refused(
        format!("slot {on} is provisioned already, with release {}", runs.version),
        "stage the other release instead; for a device that begins anew, remove the ledger's directory first",
    ))
}

/// A release on standard input.
struct Input {
    file: File,
    /// It has a beginning that others can read from, too.
    is_whole: bool,
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}

impl Artifact for Input {
    fn file(&self) -> Option<&File> {
        self.is_whole.then_some(&self.file)
    }
}

fn stage(slots: &mut setup::Slots, release: &Release) -> Result<(), SlotError> {
    let failed = |source| SlotError::Source { source };
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let why = "standard input is a terminal, and the release is wanted on it: `stage RELEASE < FILE`";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    let mut file = File::from(stdin.as_fd().try_clone_to_owned().map_err(failed)?);
    let metadata = file.metadata().map_err(failed)?;
    let is_whole = metadata.is_file();
    if is_whole {
        // Before the first byte of the slot is lost.
        let read = metadata.len().saturating_sub(file.stream_position().map_err(failed)?);
        if read != release.length {
            return Err(SlotError::OtherBytes { release: release.clone(), read });
        }
    }
    slots.stage(release, &mut Input { file, is_whole })
}

fn say(bytes: &[u8]) -> Result<(), Trouble> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| {
        Trouble::later(format!("cannot write to standard output: {error}"), "see who reads it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        match asked(line.split_whitespace().map(OsString::from)) {
            Ok(asked) => format!("{} {:?} {:?}", asked.config.display(), asked.output, asked.command),
            Err(trouble) => format!("{}: {trouble}", trouble.code),
        }
    }

    #[test]
    fn the_command_line_is_read_and_its_mistakes_are_told() {
        assert_eq!(told("running"), "/etc/backstay/slots.toml Lines Running");
        assert_eq!(told("status"), "/etc/backstay/slots.toml Lines Status");
        assert_eq!(told("--config a.toml --output json status"), "a.toml Json Status");
        assert_eq!(told("note-boot --config=b.toml"), "b.toml Lines NoteBoot");
        let release = format!("1.5.0 {} 1048576 1", "ab".repeat(32));
        for (name, command) in [("stage", "Stage"), ("try-next", "TryNext"), ("confirm", "Confirm")] {
            assert!(told(&format!("{name} {release}")).contains(&format!("{command}(Release")));
        }
        assert_eq!(told("stauts"), "64: there is no command `stauts`; help: backstay-slots help");
        assert_eq!(told(""), "64: which command is missing; help: backstay-slots help");
        assert!(told("--output xml status").starts_with("64: --output xml: expected lines or json"));
        assert!(told("status now").starts_with("64: status takes no further words, found `now`"));
        assert!(told("--confg a").starts_with("64: invalid option"));
        for wrong in
            ["", "1.5.0", "1.5.0 abc 1 1", &release.replace("1048576", "1e6"), &format!("{release} x")]
        {
            let told = told(&format!("go-home {wrong}"));
            assert!(told.starts_with("64: go-home: expected VERSION SHA256 LENGTH EPOCH"), "{told}");
        }
        // One argument is as good as four.
        let asked = asked(["confirm".into(), release.into()].into_iter()).unwrap();
        assert!(matches!(asked.command, Command::Confirm(_)));
    }
}
