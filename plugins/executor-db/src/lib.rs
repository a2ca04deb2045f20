//! A data base through expand, migrate and contract, and back: each step a playbook.
//!
//! Each step looks first and does only what is missing, so one that comes twice, or was cut off in its middle, does nothing
//! twice. The playbook `look` is no step: it tells what is so, and changes nothing. Here: the order of looks and changes within a
//! step (`steps`), the switches (`switch`), filling rows in batches (`fill`), what is told (`readings`), and what can be set. Not here: any SQL (the operator's commands, by name), which step may come when and how long a soak is
//! (`core`'s schema gate), whether a release may run.
//!
//! The commands, none of which takes an argument. Those that look only read, and print one word or number:
//!
//! | command | prints |
//! |---|---|
//! | `schema-status` | `before`, `expanded` (some rows differ), `in-step` (none does) or `contracted` |
//! | `old-code-count` | how many instances or connections of old code there are |
//! | `new-code-count` | the same of new code |
//! | `backfill-batch` | how many rows of the new columns it brought into step with the old ones; 0: none is left |
//! | `fill-back-batch` | the same in the other direction |
//! | `expand`, `expand-undo`, `contract` | nothing that is read |
//! | `dual-write-on`, `-off`, `-status`; `read-new-on`, `-off`, `-status` | for a switch that is no flag: the last `on` or `off` |
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

#[cfg(test)]
mod base;
mod fill;
mod look;
mod ofrep;
mod readings;
mod steps;
mod switch;

use alloc::{format, string::String, vec, vec::Vec};

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task, permanent},
    readings::LOOK,
    settings::{Description, Number, Problem, Setting, Text, is_name, problem},
};

const ENDPOINT: Text = Text {
    name: "flag-endpoint",
    default: "flags",
    help: "The endpoint of the flag server, which speaks OFREP. The operator gives it `content-type: application/json`.",
};
const DUAL_WRITE_FLAG: Text = Text {
    name: "dual-write-flag",
    default: "",
    help: "The flag that makes new code write to both columns. Empty: the data base does, and the commands dual-write-* turn it.",
};
const READ_NEW_FLAG: Text = Text {
    name: "read-new-flag",
    default: "",
    help: "The flag that makes new code read the new columns. Empty: the commands read-new-* turn it.",
};
const CHANGE_PATH: Text = Text {
    name: "flag-change-path",
    default: "",
    help: "Where a flag is changed, with {flag} for its key: OFREP only tells. Empty: by the commands dual-write-* and read-new-*.",
};
const CHANGE_METHOD: Text =
    Text { name: "flag-change-method", default: "PUT", help: "How a flag is changed: PUT, POST or PATCH." };
const ON_BODY: Text =
    Text { name: "flag-on-body", default: r#"{"enabled":true}"#, help: "What turns a flag on." };
const OFF_BODY: Text =
    Text { name: "flag-off-body", default: r#"{"enabled":false}"#, help: "What turns a flag off." };
const SETTLE: Number = Number {
    name: "flag-settle-ms",
    default: 30_000,
    least: 0,
    most: 3_600_000,
    help: "So long code may take to notice that a flag was changed, in ms. It is waited for after each change.",
};
const BATCHES: Number = Number {
    name: "batches-per-run",
    default: 200,
    least: 1,
    most: 400,
    help: "The most batches in one run. With more to do, the run ends as a failure that may be tried again, and goes on from there.",
};
const PAUSE: Number = Number {
    name: "batch-pause-ms",
    default: 500,
    least: 0,
    most: 600_000,
    help: "So long is waited between two batches, in ms, for the others who use the data base.",
};

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct Db;

impl Executor for Db {
    fn describe() -> Description {
        Description {
            about: "Takes a data base through expand, migrate and contract, and back until the contract."
                .into(),
            settings: vec![
                ENDPOINT.info(),
                DUAL_WRITE_FLAG.info(),
                READ_NEW_FLAG.info(),
                CHANGE_PATH.info(),
                CHANGE_METHOD.info(),
                ON_BODY.info(),
                OFF_BODY.info(),
                SETTLE.info(),
                BATCHES.info(),
                PAUSE.info(),
            ],
        }
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut hold = |good: bool, name: &str, why: &str| {
            if !good {
                problems.push(problem(name, String::from(why)));
            }
        };
        let key = |text: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            text.len() <= 128 && text.bytes().all(allowed) && !text.starts_with('.')
        };
        for flag in [DUAL_WRITE_FLAG, READ_NEW_FLAG] {
            hold(key(flag.of(config)), flag.name, "a flag's key is up to 128 of A-Z, a-z, 0-9, . _ and -");
        }
        hold(
            is_name(ENDPOINT.of(config)),
            ENDPOINT.name,
            "an endpoint is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -",
        );
        let path = CHANGE_PATH.of(config);
        let leads = path.is_empty() || path.starts_with('/') && path.contains("{flag}") && path.len() <= 512;
        hold(leads, CHANGE_PATH.name, "a path begins with /, says {flag}, and has at most 512 bytes");
        let method = CHANGE_METHOD.of(config);
        hold(matches!(method, "PUT" | "POST" | "PATCH"), CHANGE_METHOD.name, "it is PUT, POST or PATCH");
        let (on, off) = (ON_BODY.of(config), OFF_BODY.of(config));
        hold(on != off, OFF_BODY.name, "it is the same as flag-on-body");
        let (writes, reads) = (DUAL_WRITE_FLAG.of(config), READ_NEW_FLAG.of(config));
        hold(
            writes != reads || writes.is_empty(),
            READ_NEW_FLAG.name,
            "it is the same flag as dual-write-flag",
        );
        problems
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let Task::Heal(playbook) = &order.task else {
            return Err(permanent("it migrates a data base, and brings no release in or back"));
        };
        match playbook.as_str() {
            "expand" => steps::expand(ctx).await,
            "expand-undo" => steps::expand_undo(ctx).await,
            "dual-write-on" => steps::dual_write_on(ctx).await,
            "dual-write-off" => steps::dual_write_off(ctx).await,
            "backfill" => steps::backfill(ctx).await,
            "read-new" => steps::read_new(ctx).await,
            "read-old" => steps::read_old(ctx).await,
            "contract" => steps::contract(ctx).await,
            LOOK => readings::tell(ctx).await,
            _ => Err(permanent(format!("{playbook} is no step of a migration"))),
        }
    }
}

backstay_sdk::export_executor!(Db);
