//! Asking for commands by the setting that names them, and reading how they ended.
//!
//! Here: a refusal where no command is named, and how much may be said in one run. Not here: what an exit code means for a
//! task.

use alloc::{format, string::String, vec::Vec};
use core::cell::Cell;

use backstay_sdk::{
    deed,
    executor::{Ctx, Exited, Failed, Output, Reply, permanent},
    readings::Readings,
    settings::{Setting, Text},
};

use crate::config::{LOOKS, PAUSE};

/// The most that all commands of a run may print, in bytes. It is kept in the run's state, which has 64 KiB.
const SAID_BYTES_MAX: usize = 48 * 1024;

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
            Ok(reply) => self.heard(reply),
            Err(trouble) => Err(trouble.about(&titled(command))),
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
                let exited = self.heard(reply)?;
                Ok(match exited.well(command) {
                    Ok(_) => Ended::Well,
                    Err(failed) => Ended::Ill(failed),
                })
            }
            Err(trouble) if trouble.may_be_done() => Ok(Ended::Doubt(trouble.about(&titled(command)))),
            Err(trouble) => Err(trouble.about(&titled(command))),
        }
    }

    /// How often is looked whether something has come about.
    pub(crate) fn looks(&self) -> u32 {
        LOOKS.count(self.config())
    }

    /// Waits between two looks.
    pub(crate) async fn pause(&self) -> Result<(), Failed> {
        self.ctx.pause(PAUSE.count(self.config()).into()).await
    }

    /// Tells the server what was seen.
    pub(crate) async fn attach(&self, readings: Readings) -> Result<(), Failed> {
        self.ctx.look(readings.deed()).await?;
        Ok(())
    }

    fn heard(&self, reply: Reply) -> Result<Exited, Failed> {
        let exited = reply.exited()?;
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

/// The lines of an output that holds all that was printed, as text.
pub(crate) fn lines(command: &str, output: Output) -> Result<Vec<String>, Failed> {
    let Output { bytes, whole: None } = output else {
        return Err(permanent(format!("the command {command} prints more than an answer can hold")));
    };
    let text = String::from_utf8(bytes)
        .map_err(|_| permanent(format!("the command {command} prints what is no UTF-8")))?;
    Ok(text.lines().map(Into::into).collect())
}

fn titled(command: &str) -> String {
    format!("the command {command}")
}
