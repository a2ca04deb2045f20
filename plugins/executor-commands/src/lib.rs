//! A target that is moved by commands: whatever has a command line can be brought forward, home, and back to health.
//!
//! Each task looks first and does only what is missing, so that an order that comes twice, or a run that was cut off
//! and begun again, does nothing twice. A command that ended in doubt is never simply run again: the target is looked at.
//!
//! Words: a command that *looks* reads and changes nothing (the host may run it at any time, in a dry run too); all
//! others *change*. Which program a command is, on which machine, the host's configuration says.
//!
//! Here: the order of the steps for releases (`way`) and for playbooks (`heal`, `look`), what `status` has to print
//! (`status`), what can be set (`config`). Not here: whether a release may run (rails and signatures), how often a playbook is
//! tried and whether it cured anything (`core`), and the commands themselves; those for drift are in `playbooks/`.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod config;
mod desk;
mod heal;
mod look;
mod status;
#[cfg(test)]
mod target;
mod way;

use alloc::vec::Vec;

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task},
    settings::{Description, Problem, Setting},
};

use crate::desk::Desk;

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct Commands;

impl Executor for Commands {
    fn describe() -> Description {
        config::describe()
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        config::validate(config)
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let desk = Desk::new(ctx);
        match &order.task {
            Task::Install(release) => way::install(&desk, release).await,
            Task::Confirm(release) => way::confirm(&desk, release).await,
            Task::GoHome(release) => way::go_home(&desk, release).await,
            Task::Heal(playbook) => heal::heal(&desk, playbook).await,
        }
    }
}

backstay_sdk::export_executor!(Commands);
