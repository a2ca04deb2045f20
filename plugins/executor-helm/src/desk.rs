//! The two commands: one that looks at a Helm release, and one that goes back.
//!
//! Here: their arguments, and how much they may say in a run. Not here: what is made of it.

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};
use core::cell::Cell;

use backstay_kubernetes::{api::Cluster, settings, workload::Workload};
use backstay_sdk::{
    executor::{Ctx, Deed, Exited, Failed, Output, Run, permanent, transient},
    settings::Setting,
};

use crate::{
    config::{self, LOOK, ROLLBACK, WAITS},
    history::History,
};

/// So many revisions are looked at. A line has some hundred bytes, and an answer 4 KiB: of a longer history the newest part is read.
const REVISIONS_MAX: &str = "40";
/// The most that the commands of a run may print, in bytes. It is kept in the run's state, which has 64 KiB.
const SAID_BYTES_MAX: usize = 40 * 1024;

/// One run's way to its Helm release.
pub(crate) struct Desk<'a> {
    pub(crate) cluster: Cluster<'a>,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What of it is the product, where that is set.
    pub(crate) workload: Option<Workload>,
    said: Cell<usize>,
}

/// What `helm-look.sh` said: its last lines, where that was more than an answer holds.
struct Said {
    lines: Vec<String>,
    is_cut: bool,
}

/// How a roll-back is asked for, beside its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Others' fields are written over.
    pub(crate) forces: bool,
    /// No hooks are run.
    pub(crate) skips_hooks: bool,
}

/// How the command that goes back ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Helm says that it went back.
    Well,
    /// It says that it didn't. It may have got half of it done.
    Ill { failed: Failed, said: String },
    /// Nobody knows.
    Doubt(Failed),
}

impl<'a> Desk<'a> {
    pub(crate) fn new(ctx: &'a Ctx) -> Self {
        let config = ctx.config();
        Self {
            cluster: Cluster::new(ctx),
            namespace: settings::NAMESPACE.of(config),
            name: settings::NAME.of(config),
            workload: config::workload(config),
            said: Cell::new(0),
        }
    }

    pub(crate) fn ctx(&self) -> &'a Ctx {
        self.cluster.ctx()
    }

    pub(crate) fn config(&self) -> &'a [Setting] {
        self.ctx().config()
    }

    /// All that Helm keeps of the release, as far as it is read.
    pub(crate) async fn history(&self) -> Result<History, Failed> {
        let Said { lines, .. } = self.ask("history", vec![REVISIONS_MAX.into()]).await?;
        History::parse(&lines)
    }

    /// The newest revision alone: what is looked at again and again.
    pub(crate) async fn newest(&self) -> Result<History, Failed> {
        let Said { lines, .. } = self.ask("history", vec!["1".into()]).await?;
        History::parse(&lines)
    }

    /// The lines that `helm-look.sh` prints, all of them.
    pub(crate) async fn look(&self, what: &str, more: Vec<String>) -> Result<Vec<String>, Failed> {
        let Said { lines, is_cut } = self.ask(what, more).await?;
        if is_cut {
            return Err(permanent(format!("helm-look.sh {what} prints more than an answer holds")));
        }
        Ok(lines)
    }

    async fn ask(&self, what: &str, more: Vec<String>) -> Result<Said, Failed> {
        let command = LOOK.of(self.config());
        let mut args = vec![what.into(), self.namespace.into(), self.name.into()];
        args.extend(more);
        let deed = Deed::Run(Run { command: command.into(), args });
        let exited = match self.ctx().look(deed).await {
            Ok(reply) => self.heard(reply.exited()?)?,
            Err(trouble) => return Err(trouble.about(&format!("the command {command}"))),
        };
        let Output { bytes, whole } = exited.well(command)?;
        let text = String::from_utf8_lossy(&bytes);
        let is_cut = whole.is_some();
        // The line that it was cut in isn't one any more.
        let lines = text.lines().skip(usize::from(is_cut)).map(Into::into).collect();
        Ok(Said { lines, is_cut })
    }

    /// Goes back to a revision, by its number.
    pub(crate) async fn roll_back(&self, to: u32, way: Way) -> Result<Ended, Failed> {
        let (command, wait_s) =
            (ROLLBACK.of(self.config()), settings::WAIT.count(self.config()).div_ceil(1000));
        let mut args: Vec<String> = vec![
            self.name.into(),
            to.to_string(),
            "--namespace".into(),
            self.namespace.into(),
            "--timeout".into(),
            format!("{wait_s}s"),
            "--cleanup-on-fail".into(),
            // The way back never costs the next way back: by itself Helm drops what is older than ten revisions.
            "--history-max".into(),
            "0".into(),
        ];
        for (is_set, flag) in [
            (WAITS.of(self.config()), "--wait"),
            (way.forces, "--force-conflicts"),
            (way.skips_hooks, "--no-hooks"),
        ] {
            if is_set {
                args.push(flag.into());
            }
        }
        let deed = Deed::Run(Run { command: command.into(), args });
        match self.ctx().change(deed).await {
            Ok(reply) => {
                let exited = self.heard(reply.exited()?)?;
                let said = String::from_utf8_lossy(&exited.output.bytes).into_owned();
                Ok(match exited.well(command) {
                    Ok(_) => Ended::Well,
                    Err(failed) => Ended::Ill { failed, said },
                })
            }
            Err(trouble) if trouble.may_be_done() => {
                Ok(Ended::Doubt(trouble.about(&format!("the command {command}"))))
            }
            Err(trouble) => Err(trouble.about(&format!("the command {command}"))),
        }
    }

    fn heard(&self, exited: Exited) -> Result<Exited, Failed> {
        self.said.set(self.said.get() + exited.output.bytes.len());
        if self.said.get() > SAID_BYTES_MAX {
            return Err(transient("Helm has said as much as a run can keep: the next one goes on"));
        }
        Ok(exited)
    }
}

/// The lines before the last one, which has to be what a whole answer ends with.
pub(crate) fn ended<'l>(
    what: &str,
    lines: &'l [String],
    end: &str,
) -> Result<(&'l str, &'l [String]), Failed> {
    match lines.split_last() {
        Some((last, lines)) if last.split(' ').next() == Some(end) => Ok((last, lines)),
        Some(_) | None => Err(permanent(format!("what helm-look.sh {what} prints is not whole"))),
    }
}
