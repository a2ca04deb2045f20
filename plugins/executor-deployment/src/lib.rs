//! A Kubernetes Deployment: back to the template of a good revision, held where it stands, and mended.
//!
//! A way back is no `rollout undo`, which takes the number before the last: a restart or a way back before makes that the bad image
//! again. It is the newest revision whose template runs the release and whose pods are not known to fail. Whoever else writes the
//! Deployment is stopped first, because Git still has the bad release.
//!
//! Here: the order of the steps home (`home`), what a Deployment says of itself (`seen`), what is told of it (`look`). Not here: which
//! release is home and when (`core`), how a release gets out (a pipeline, or a GitOps controller), and what the executors for Kubernetes
//! share (`backstay-kubernetes`).
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

extern crate alloc;

mod home;
mod look;
mod seen;
#[cfg(test)]
mod shop;

use alloc::vec::Vec;

use backstay_kubernetes::{
    api::Cluster, heal, owners::Owner, resource::DEPLOYMENTS, restore, settings, workload::Workload,
};
use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task},
    readings::LOOK,
    settings::{Description, Problem, Setting},
};

use crate::seen::Seen;

/// The executor that this component exports.
#[derive(Clone, Copy, Debug)]
pub struct Deployment;

impl Executor for Deployment {
    fn describe() -> Description {
        Description {
            about:
                "Takes a Kubernetes Deployment back to the template of a good revision, and mends what runs."
                    .into(),
            settings: settings::infos([]),
        }
    }

    fn validate(config: &[Setting]) -> Vec<Problem> {
        settings::problems(config)
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let (cluster, workload) = (Cluster::new(ctx), Workload::of(DEPLOYMENTS, ctx.config()));
        match &order.task {
            Task::GoHome(release) => home::go_home(&cluster, &workload, release).await,
            Task::Heal(playbook) if playbook == LOOK => look::tell(&cluster, &workload).await,
            Task::Heal(playbook) => {
                let owners = async || {
                    let seen = Seen::of(&cluster, &workload).await?;
                    Ok(Owner::all(ctx.config(), &workload, seen.fields()))
                };
                heal::held_or_healed(&cluster, &workload, playbook, owners).await
            }
            Task::Install(_) | Task::Confirm(_) => Err(restore::lets_none_out()),
        }
    }
}

backstay_sdk::export_executor!(Deployment);
