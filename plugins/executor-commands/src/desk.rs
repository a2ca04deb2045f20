//! Asking for commands by the setting that names them, and reading how they ended.
//!
//! Here: a refusal where no command is named, the words of a failure, and how much may be said in one run. Not here: what
//! an exit code means for a task.

use alloc::{format, string::String, vec::Vec};
use core::cell::Cell;

use backstay_sdk::{
    deed,
    executor::{Ctx, Exited, Failed, Output, Reply, Trouble, permanent, transient},
    readings::Readings,
    settings::{Setting, Text},
};

use crate::config::{LOOKS, PAUSE};

/// The most that all commands of a run may print, in bytes. It is kept in the run's state, which has 64 KiB.
const SAID_BYTES_MAX: usize = 48 * 1024;
/// The most of a command's last line that goes into a failure, in bytes: a failure has 256.
const LINE_BYTES_MAX: usize = 120;

/// One run's way to its commands.
pub(crate) struct Desk<'a> {
    ctx: &'a Ctx,
    said: Cell<usize>,
}

/// How a command that changes something ended.
pub(crate) enum Ended {
    /// With exit code 0.
    Well,
    /// Otherwise. It may have changed something.
    Ill(Failed),
    /// Nobody knows: the host went down, or its time was over.
    Doubt(Failed),
}

impl<'a> Desk<'a> {
    pub(crate) fn new(ctx: &'a Ctx) -> Self {
        Self { ctx, said: Cell::new(0) }
    }

    pub(crate) fn config(&self) -> &[Setting] {
        self.ctx.config()
    }

    /// The command that this setting names, or the refusal to do what it is for.
    pub(crate) fn named(&self, setting: &Text) -> Result<&str, Failed> {
        match setting.of(self.config()) {
            "" => {
                Err(permanent(format!("there is no command for it: the setting {} is empty", setting.name)))
            }
            command => Ok(command),
        }
    }

    /// Runs a command that only looks, to its end.
    pub(crate) async fn look<const N: usize>(
        &self,
        command: &str,
        args: [&str; N],
    ) -> Result<Exited, Failed> {
        match self.ctx.look(deed::run(command, args)).await {
            Ok(reply) => self.heard(command, reply),
            Err(trouble) => Err(told(command, trouble)),
        }
    }

    /// Runs a command that changes something. What the host refuses or can't start has changed nothing, and is an error.
    pub(crate) async fn change<const N: usize>(
        &self,
        command: &str,
        args: [&str; N],
    ) -> Result<Ended, Failed> {
        match self.ctx.change(deed::run(command, args)).await {
            Ok(reply) => {
                let exited = self.heard(command, reply)?;
                Ok(match well(command, exited) {
                    Ok(_) => Ended::Well,
                    Err(failed) => Ended::Ill(failed),
                })
            }
            Err(trouble) if trouble.may_be_done() => Ok(Ended::Doubt(told(command, trouble))),
            Err(trouble) => Err(told(command, trouble)),
        }
    }

    /// How often is looked whether something has come about.
    pub(crate) fn looks(&self) -> u32 {
        LOOKS.count(self.config())
    }

    /// Waits between two looks.
    pub(crate) async fn pause(&self) -> Result<(), Failed> {
        match self.ctx.look(deed::sleep(PAUSE.count(self.config()).into())).await {
            // A wait that was cut off has lasted long enough.
            Ok(_) | Err(Trouble::InDoubt | Trouble::TimedOut) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Tells the server what was seen.
    pub(crate) async fn attach(&self, readings: Readings) -> Result<(), Failed> {
        self.ctx.look(readings.deed()).await?;
        Ok(())
    }

    fn heard(&self, command: &str, reply: Reply) -> Result<Exited, Failed> {
        let Reply::Exited(exited) = reply else {
            return Err(permanent(format!("the answer to the command {command} says nothing of a command")));
        };
        let said = self.said.get() + exited.output.bytes.len();
        self.said.set(said);
        if said > SAID_BYTES_MAX {
            let why = format!(
                "the commands of one run printed {said} bytes, more than {SAID_BYTES_MAX}: print less"
            );
            return Err(permanent(why));
        }
        Ok(exited)
    }
}

/// What a command printed, if it ended with exit code 0; else its code and its last line.
pub(crate) fn well(command: &str, exited: Exited) -> Result<Output, Failed> {
    let Exited { code, output } = exited;
    let ended = match code {
        Some(0) => return Ok(output),
        Some(code) => format!("the command {command} ended with exit code {code}"),
        None => format!("the command {command} was ended by a signal"),
    };
    Err(transient(match last_line(&output.bytes) {
        line if line.is_empty() => ended,
        line => format!("{ended}: {line}"),
    }))
}

/// The last line with something on it, fit for a record: no control characters, not too long.
pub(crate) fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    shown(line)
}

/// `text` without control characters, and cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars().map(|char| if char.is_control() { ' ' } else { char }) {
        if shown.len() + char.len_utf8() > LINE_BYTES_MAX {
            break;
        }
        shown.push(char);
    }
    shown
}

/// The lines of an output that holds all that was printed, as text.
pub(crate) fn lines(command: &str, output: Output) -> Result<Vec<String>, Failed> {
    let Output { bytes, whole: None } = output else {
        return Err(permanent(format!("the command {command} prints more than an answer can hold")));
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| permanent(format!("the command {command} prints what is no UTF-8")))?;
    Ok(text.lines().map(Into::into).collect())
}

fn told(command: &str, trouble: Trouble) -> Failed {
    match trouble {
        Trouble::TimedOut => transient(format!("the command {command} did not end in its time")),
        Trouble::InDoubt => transient(format!("the host went down in the middle of the command {command}")),
        Trouble::Refused(why) => permanent(format!("the command {command} was refused: {}", shown(&why))),
        Trouble::Failed(failed) => Failed { why: shown(&failed.why), ..failed },
    }
}
