//! A Helm release: taken back to a good revision, repaired where it was cut off, and mended.
//!
//! Helm keeps a record for each revision, and has no lock. So this executor chooses the revision itself, goes back by its number and
//! never without one, and looks afterwards. Words: a *record* is what Helm keeps of a revision; it is *whole* when Helm came to its end with
//! it; it is *pending* while somebody's helm is at work, or after that was killed.
//!
//! Here: the way home (`home`), which records are whole (`history`), which release they run (`book`), what is to be done (`judge`), what must not be lost by it
//! (`preview`), what is live (`live`), repairing (`repair`), looking (`look`), the commands (`desk`). Not here: which release is home (`core`), the
//! lock, owners and playbooks (`backstay-kubernetes`), and reading manifests (the scripts in `commands/`, which come with it).
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod book;
mod config;
mod desk;
#[cfg(test)]
mod double;
pub mod history;
mod home;
pub mod judge;
mod live;
mod look;
mod preview;
mod repair;

use alloc::vec::Vec;

use backstay_kubernetes::{
    heal,
    hold::{GO_ON, HOLD},
    owners::UNFREEZE,
};
use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task, permanent},
    readings::LOOK,
    settings::{Description, Problem, Setting},
};

use crate::{desk::Desk, repair::REPAIR};

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct Helm;

impl Executor for Helm {
    fn describe() -> Description {
        config::describe()
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        config::validate(config)
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let desk = Desk::new(ctx);
        match &order.task {
            Task::GoHome(release) => home::go_home(&desk, order, release).await,
            Task::Heal(playbook) => match playbook.as_str() {
                LOOK => look::tell(&desk).await,
                UNFREEZE => home::unfreeze(&desk).await,
                REPAIR => repair::repair(&desk, order).await,
                HOLD | GO_ON => Err(permanent("a Helm release can't be held: it is out when Helm has ended")),
                _ => match &desk.workload {
                    Some(workload) => heal::heal(&desk.cluster, workload, playbook).await,
                    None => Err(permanent("the setting workload names nothing that could be mended")),
                },
            },
            Task::Install(_) | Task::Confirm(_) => {
                Err(permanent("a pipeline brings Helm releases out; this executor takes them back"))
            }
        }
    }
}

backstay_sdk::export_executor!(Helm);
