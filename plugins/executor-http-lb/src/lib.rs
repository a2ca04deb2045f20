//! Servers behind an HAProxy: recycled one at a time without anybody noticing, and blue instead of green.
//!
//! Words: a server is *drained* when it gets no new sessions and those that it has may end; *checked* when HAProxy's own
//! health check passes; it *carries* when it is up, checked and has a weight, so that traffic goes to it.
//!
//! HAProxy is asked through its statistics page, which `stats admin` lets change servers: see
//! docs/playbooks.md. That page can't set weights; a command may, through the runtime socket.
//!
//! Here: the order of the steps (`recycle`, `home`), what is told of the servers (`look`), what the page says (`board`), how it is asked (`desk`), what can be
//! set (`config`). Not here: which server is to be recycled and when, how often that is tried and whether it helped (policy
//! and `core`), how a release comes onto a server (another executor), and what the playbook's command does.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

#[cfg(test)]
mod balancer;
mod board;
mod config;
mod desk;
mod home;
mod look;
mod recycle;

use alloc::vec::Vec;

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task, permanent},
    readings::LOOK,
    settings::{Description, Problem, Setting},
};

use crate::desk::Desk;

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct HttpLb;

impl Executor for HttpLb {
    fn describe() -> Description {
        config::describe()
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        config::validate(config)
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let desk = Desk::new(ctx);
        match &order.task {
            Task::Heal(playbook) if playbook == LOOK => look::tell(&desk).await,
            Task::Heal(playbook) => recycle::recycle(&desk, playbook).await,
            Task::GoHome(release) => home::go_home(&desk, release).await,
            Task::Install(_) | Task::Confirm(_) => {
                let why =
                    "a load balancer holds no release: take executor-commands for the servers behind it";
                Err(permanent(why))
            }
        }
    }
}

backstay_sdk::export_executor!(HttpLb);
