//! The two switches of a migration: who is written to, and who is read. Each is a feature flag or a pair of commands.
//!
//! A flag is looked at by OFREP, which only tells; it is changed where the operator says. Not here: when a switch may be turned
//! (`steps`).

use alloc::{format, string::String};

use backstay_sdk::{
    deed,
    executor::{Ctx, Deed, Failed, Output, Reply, Response, Trouble, permanent, transient},
    settings::Text,
};

use crate::{
    CHANGE_METHOD, CHANGE_PATH, DUAL_WRITE_FLAG, ENDPOINT, OFF_BODY, ON_BODY, READ_NEW_FLAG, SETTLE,
    look::{named, puzzled, until, word},
    ofrep,
};

/// How often an evaluation is asked for that doesn't come back.
const ASKED_MAX: u32 = 3;

/// One switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switch {
    name: &'static str,
    flag: Text,
}

/// Whether what is written goes to both columns.
pub(crate) const DUAL_WRITE: Switch = Switch { name: "dual-write", flag: DUAL_WRITE_FLAG };
/// Whether new code reads the new columns.
pub(crate) const READ_NEW: Switch = Switch { name: "read-new", flag: READ_NEW_FLAG };

impl Switch {
    /// Its flag, if it is one.
    pub(crate) fn flag(self, ctx: &Ctx) -> Option<&str> {
        Some(self.flag.of(ctx.config())).filter(|flag| !flag.is_empty())
    }

    /// Whether it is on. An answer that says neither is none.
    pub(crate) async fn is_on(self, ctx: &Ctx) -> Result<bool, Failed> {
        let Some(flag) = self.flag(ctx) else {
            let status = format!("{}-status", self.name);
            return match word(ctx, &status).await?.as_str() {
                "on" => Ok(true),
                "off" => Ok(false),
                other => Err(puzzled(&status, other, "on or off")),
            };
        };
        let path = format!("/ofrep/v1/evaluate/flags/{flag}");
        let question = br#"{"context":{"targetingKey":"backstay"}}"#.to_vec();
        let asked = deed::http(ENDPOINT.of(ctx.config()), "POST", &path, question);
        match evaluated(ctx, asked).await? {
            Reply::Response(Response { status: 200, body: Output { bytes, whole: None } }) => {
                ofrep::value(&bytes, flag).map_err(|why| permanent(format!("flag {flag}: {why}")))
            }
            Reply::Response(Response { status: 200, .. }) => {
                Err(permanent(format!("flag {flag}: its server says more than an answer can hold")))
            }
            Reply::Response(Response { status: 404, .. }) => {
                Err(permanent(format!("flag {flag}: its server doesn't know it")))
            }
            Reply::Response(other) => match Reply::Response(other).well() {
                Ok(_) => Err(permanent(format!("flag {flag}: that is no answer to an evaluation"))),
                Err(failed) => Err(named(&format!("flag {flag}"), failed)),
            },
            Reply::Done | Reply::Exited(_) | Reply::Content(_) | Reply::Slots(_) => {
                Err(permanent(format!("flag {flag}: that is no answer of an endpoint")))
            }
        }
    }

    /// How a command says it, and a reading.
    pub(crate) const fn word(on: bool) -> &'static str {
        if on { "on" } else { "off" }
    }

    /// Turns it, if it isn't so already, and waits until all code has noticed.
    pub(crate) async fn turn(self, ctx: &Ctx, on: bool) -> Result<(), Failed> {
        if self.is_on(ctx).await? == on {
            return Ok(());
        }
        let word = Self::word(on);
        let seen = async || Ok(self.is_on(ctx).await? == on);
        until(ctx, &format!("turning {} {word}", self.name), self.change(ctx, on), seen).await?;
        if self.flag(ctx).is_some() {
            pause(ctx, SETTLE.count(ctx.config()).into()).await?;
        }
        Ok(())
    }

    fn change(self, ctx: &Ctx, on: bool) -> Deed {
        let config = ctx.config();
        let path = CHANGE_PATH.of(config);
        match self.flag(ctx).filter(|_| !path.is_empty()) {
            Some(flag) => {
                let body = if on { ON_BODY } else { OFF_BODY }.of(config);
                let path = path.replace("{flag}", flag);
                deed::http(ENDPOINT.of(config), CHANGE_METHOD.of(config), &path, body.into())
            }
            None => {
                let command: String = format!("{}-{}", self.name, Self::word(on));
                deed::run(&command, [])
            }
        }
    }

    /// Fails if it isn't as it has to be.
    pub(crate) async fn must_be(self, ctx: &Ctx, on: bool) -> Result<(), Failed> {
        if self.is_on(ctx).await? == on {
            return Ok(());
        }
        let (is, help) = if on { ("off", "turn it on first") } else { ("on", "turn it off first") };
        Err(permanent(format!("{} is {is}: {help}", self.name)))
    }
}

/// Asks for an evaluation. It changes nothing, but the host takes no POST for a look: so what ends in doubt is asked again here.
async fn evaluated(ctx: &Ctx, asked: Deed) -> Result<Reply, Failed> {
    for _ in 1..ASKED_MAX {
        match ctx.change(asked.clone()).await {
            Err(trouble) if trouble.may_be_done() => {}
            ended => return Ok(ended?),
        }
    }
    Ok(ctx.change(asked).await?)
}

/// Waits. A wait that was cut off is begun again: whoever it is for may not have had the time.
pub(crate) async fn pause(ctx: &Ctx, ms: u64) -> Result<(), Failed> {
    if ms == 0 {
        return Ok(());
    }
    match ctx.look(deed::sleep(ms)).await {
        Ok(_) => Ok(()),
        Err(Trouble::InDoubt | Trouble::TimedOut) => Err(transient("a wait was cut off again and again")),
        Err(refused) => Err(refused.into()),
    }
}
