//! Over the air to a device with two slots: forward, confirmed, and home.
//!
//! Each task looks first and does only what is missing, so an order that comes twice, or a run that was cut off
//! and begun again, does nothing twice. Whatever ends in doubt is looked at before anything else is done.
//!
//! Here: the order of the steps (`way`) and what can be set. Not here: how a slot is written and switched (the
//! device's slot backend), whether a release may run (rails and signatures), whether it is healthy (the policy).
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod way;

use alloc::{string::String, vec, vec::Vec};

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task, permanent},
    readings::LOOK,
    settings::{Description, Number, Problem, Setting, Text, is_name, problem},
};

const RESTART: Text = Text {
    name: "restart",
    default: "restart",
    help: "The command that makes the device run what its slots say. It may restart the machine.",
};
const LOOKS: Number = Number {
    name: "looks",
    default: 10,
    least: 1,
    most: 100,
    help: "So often is looked whether a restart has come about, before it counts as failed.",
};
const PAUSE: Number = Number {
    name: "look-pause-ms",
    default: 3_000,
    least: 1,
    most: 600_000,
    help: "So long is waited between two such looks, in ms.",
};

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct Ota;

impl Executor for Ota {
    fn describe() -> Description {
        Description {
            about:
                "Installs, confirms and takes back releases on a device with two slots, and runs playbooks."
                    .into(),
            settings: vec![RESTART.info(), LOOKS.info(), PAUSE.info()],
        }
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        if is_name(RESTART.of(config)) {
            return Vec::new();
        }
        let why = String::from("a command is 1 to 64 of a-z, 0-9 and -, and doesn't begin with -");
        vec![problem(RESTART.name, why)]
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        match &order.task {
            Task::Install(release) => way::install(ctx, release).await,
            Task::Confirm(release) => way::confirm(ctx, release).await,
            Task::GoHome(release) => way::go_home(ctx, release).await,
            // The slots say nothing that the device doesn't report by itself, and a command of that name might change something.
            Task::Heal(playbook) if playbook == LOOK => Err(permanent("there is nothing to look at for it")),
            Task::Heal(playbook) => way::heal(ctx, playbook).await,
        }
    }
}

backstay_sdk::export_executor!(Ota);
