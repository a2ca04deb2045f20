//! A Rollout of Argo Rollouts: back to the template of a good revision with all traffic, held where it stands, and mended.
//!
//! To abort is no way back: `spec.template` still has the bad release, and the next edit sends it out again. Nor is `undo`, which takes
//! the number before the last. So a canary that is under way is aborted, which sends the traffic to what is stable at once; whoever
//! else writes the Rollout is stopped, because Git still has the bad release; the template of the revision that is home is restored;
//! and where steps would remain, that very revision is promoted, never whatever happens to be current. Nothing here retries what was
//! aborted.
//!
//! Here: the order of the steps home (`home`), what a Rollout says of itself (`seen`), where its template is (`source`), what is told of it
//! (`look`). Not here: which release is home and when (`core`), how a release gets out (a pipeline, or a GitOps controller), and what the
//! executors for Kubernetes share (`backstay-kubernetes`).
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod home;
mod look;
mod seen;
#[cfg(test)]
mod shop;
mod source;

use alloc::vec::Vec;

use backstay_kubernetes::{api::Cluster, heal, resource::ROLLOUTS, restore, settings, workload::Workload};
use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task},
    readings::LOOK,
    settings::{Description, Problem, Setting},
};

use crate::seen::Seen;

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct Rollouts;

impl Executor for Rollouts {
    fn describe() -> Description {
        Description {
            about: "Aborts and brings back a Rollout of Argo Rollouts, holds it, and mends what runs.".into(),
            settings: settings::infos([]),
        }
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        settings::problems(config)
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let (cluster, workload) = (Cluster::new(ctx), Workload::of(ROLLOUTS, ctx.config()));
        match &order.task {
            Task::GoHome(release) => home::go_home(&cluster, &workload, release).await,
            Task::Heal(playbook) if playbook == LOOK => look::tell(&cluster, &workload).await,
            Task::Heal(playbook) => {
                let owners = async || Ok(Seen::of(&cluster, &workload).await?.owners(&cluster, &workload));
                heal::held_or_healed(&cluster, &workload, playbook, owners).await
            }
            Task::Install(_) | Task::Confirm(_) => Err(restore::lets_none_out()),
        }
    }
}

backstay_sdk::export_executor!(Rollouts);
