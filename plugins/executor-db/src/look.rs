//! What a look at the data base says, read strictly: what is not one of the expected answers says nothing.
//!
//! Not here: what is done about it (`steps`).

use alloc::{format, string::String, vec::Vec};
use core::future::Future;

use backstay_sdk::{
    deed,
    executor::{Ctx, Deed, Exited, Failed, Output, Reply, permanent, transient},
};

/// The most of an answer that is quoted where it makes no sense, in characters.
const QUOTED_MAX: usize = 60;

/// Which columns there are, and whether they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// The old ones only.
    Before,
    /// Both, and some rows differ.
    Expanded,
    /// Both, and no row differs.
    InStep,
    /// The new ones only.
    Contracted,
}

impl Columns {
    const ALL: [Self; 4] = [Self::Before, Self::Expanded, Self::InStep, Self::Contracted];

    /// How a command says it, and a reading.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Expanded => "expanded",
            Self::InStep => "in-step",
            Self::Contracted => "contracted",
        }
    }
}

/// Which columns there are.
pub(crate) async fn columns(ctx: &Ctx) -> Result<Columns, Failed> {
    const STATUS: &str = "schema-status";
    let said = word(ctx, STATUS).await?;
    let columns = Columns::ALL.into_iter().find(|columns| columns.word() == said);
    columns.ok_or_else(|| puzzled(STATUS, &said, "before, expanded, in-step or contracted"))
}

/// How many instances of old code there are.
pub(crate) async fn old_code(ctx: &Ctx) -> Result<u64, Failed> {
    count(ctx, "old-code-count").await
}

/// How many instances of new code there are.
pub(crate) async fn new_code(ctx: &Ctx) -> Result<u64, Failed> {
    count(ctx, "new-code-count").await
}

async fn count(ctx: &Ctx, name: &str) -> Result<u64, Failed> {
    let said = word(ctx, name).await?;
    said.parse().map_err(|_| puzzled(name, &said, "a number"))
}

/// The one word that the command `name` prints.
pub(crate) async fn word(ctx: &Ctx, name: &str) -> Result<String, Failed> {
    let reply = ctx.look(deed::run(name, [])).await?;
    said(name, reply)
}

/// All that a command said, if it ended well and said it in whole.
pub(crate) fn said(name: &str, reply: Reply) -> Result<String, Failed> {
    if let Reply::Exited(Exited { code: Some(0), output: Output { whole: Some(_), .. } }) = reply {
        return Err(permanent(format!("command {name} says more than an answer can hold")));
    }
    let bytes = well(name, reply)?;
    let text = String::from_utf8(bytes).map_err(|_| permanent(format!("command {name} says no text")))?;
    Ok(text.trim().into())
}

/// What an answer holds, if it went well. A command that didn't is told with the last line of what it said.
pub(crate) fn well(name: &str, reply: Reply) -> Result<Vec<u8>, Failed> {
    match reply {
        Reply::Exited(exited) => Ok(exited.well(name)?.bytes),
        other @ (Reply::Done | Reply::Response(_) | Reply::Content(_) | Reply::Slots(_)) => {
            other.well().map_err(|failed| named(name, failed))
        }
    }
}

/// A failure with the name of what failed.
pub(crate) fn named(name: &str, failed: Failed) -> Failed {
    Failed { why: format!("{name}: {}", failed.why), ..failed }
}

pub(crate) fn puzzled(name: &str, said: &str, expected: &str) -> Failed {
    let said: String = said.chars().take(QUOTED_MAX).collect();
    permanent(format!("command {name} says {said:?}, not {expected}"))
}

/// How often a change is made again where it can't be seen.
const TRIES: u32 = 3;

/// Makes a change until `seen` says that it came about. What ends in doubt, or badly, is looked at before anything else.
pub(crate) async fn until<F>(ctx: &Ctx, name: &str, change: Deed, seen: impl Fn() -> F) -> Result<(), Failed>
where
    F: Future<Output = Result<bool, Failed>>,
{
    let what = match &change {
        Deed::Run(run) => run.command.clone(),
        Deed::Http(_)
        | Deed::Slot(_)
        | Deed::File(_)
        | Deed::Publish(_)
        | Deed::Sleep(_)
        | Deed::Attach(_) => name.into(),
    };
    for _ in 0..TRIES {
        let ended = match ctx.change(change.clone()).await {
            Ok(reply) => well(&what, reply).map(drop),
            Err(trouble) if trouble.may_be_done() => Ok(()),
            Err(trouble) => Err(named(name, trouble.into())),
        };
        if seen().await? {
            return Ok(());
        }
        ended?;
    }
    Err(transient(format!("{name} was done {TRIES} times, and a look doesn't show it")))
}
