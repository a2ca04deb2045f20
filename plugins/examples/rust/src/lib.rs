//! Switches a site's maintenance page on and off, and looks whether the site answers.
//!
//! The page hangs on a file, as the web server is configured to see it. Here: the order of things. Not here: what the
//! file is called and where the site is, which are settings and the operator's grant.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{vec, vec::Vec};

use backstay_sdk::{
    deed,
    executor::{Ctx, Executor, Failed, Order, Task, permanent, transient},
    settings::{Description, Number, Text},
};

const FLAG: Text = Text {
    name: "flag",
    default: "/run/site/maintenance",
    help: "The file that the maintenance page hangs on; it holds on or off.",
};
const HEALTH: Text =
    Text { name: "health", default: "/health", help: "The path of the endpoint \"site\" that is asked." };
const LOOKS: Number = Number {
    name: "looks",
    default: 5,
    least: 1,
    most: 30,
    help: "How often the site is asked before it is given up, two seconds apart.",
};

/// How often a writing that ended in doubt is done again.
const TRIES: u32 = 3;
const PAUSE_MS: u64 = 2_000;

struct Maintenance;

impl Executor for Maintenance {
    fn describe() -> Description {
        Description {
            about: "Switches a site's maintenance page on and off, and looks whether the site answers.".into(),
            settings: vec![FLAG.info(), HEALTH.info(), LOOKS.info()],
        }
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let Task::Heal(playbook) = &order.task else { return Err(permanent("it only heals")) };
        let wanted: &[u8] = match playbook.as_str() {
            "maintenance-on" => b"on\n",
            "maintenance-off" => b"off\n",
            _ => return Err(permanent("its playbooks are maintenance-on and maintenance-off")),
        };
        set(ctx, wanted).await?;
        answers(ctx).await
    }
}

/// Sees to it that the flag holds what is wanted. Whatever ends in doubt, a look decides.
async fn set(ctx: &Ctx, wanted: &[u8]) -> Result<(), Failed> {
    let flag = FLAG.of(ctx.config());
    for _ in 0..TRIES {
        if is(ctx, flag, wanted).await {
            return Ok(());
        }
        match ctx.change(deed::write(flag, Vec::from(wanted))).await {
            Ok(_) => return Ok(()),
            Err(trouble) if trouble.may_be_done() => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    if is(ctx, flag, wanted).await { Ok(()) } else { Err(transient("the flag can't be set")) }
}

/// A flag that can't be read is not as it is wanted: it is written, and that says what is wrong.
async fn is(ctx: &Ctx, flag: &str, wanted: &[u8]) -> bool {
    let read = ctx.look(deed::read(flag)).await;
    read.is_ok_and(|reply| reply.content().is_ok_and(|content| content == wanted))
}

async fn answers(ctx: &Ctx) -> Result<(), Failed> {
    let looks = LOOKS.count(ctx.config());
    for look in 1..=looks {
        let health = ctx.look(deed::get("site", HEALTH.of(ctx.config()))).await;
        if health.is_ok_and(|reply| reply.is_well()) {
            return Ok(());
        }
        if look < looks {
            ctx.look(deed::sleep(PAUSE_MS)).await?;
        }
    }
    Err(transient("the site does not answer"))
}

backstay_sdk::export_executor!(Maintenance);
