//! The playbook `restart`: pods are let go of, a few at a time, and their controller makes them anew.
//!
//! The template is left alone. The usual way, an annotation in the template of the pods, makes a new revision: whoever then undoes
//! the newest one comes back to the same image. Nor is `spec.restartAt` of a Rollout used: it lets go of a pod only while no more of them
//! are unready than may be, and so waits for ever exactly where pods crash.
//!
//! Pods that aren't ready, and should be, go alone. Where all are ready all of them go, in turn; where some are only starting, they are waited
//! for. What was changed lately is refused: that is a regression, and doing the same again doesn't cure it.

use alloc::{format, vec::Vec};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    settings::{Number, SettingInfo},
};

use crate::{
    age,
    api::Cluster,
    heal::{
        PODS_MAX,
        evict::{self, Presence},
        named,
    },
    patience::Patience,
    pods::{self, Depth, Health, Pod, STARTS},
    resource::STATEFUL_SETS,
    standing::{self, Standing},
    workload::Workload,
};

const AT_ONCE: Number = Number {
    name: "restart-at-once-permille",
    default: 100,
    least: 63,
    most: 1000,
    help: "So many permille of the pods are restarted at once, and one at least. The next go when these are ready again.",
};

pub(super) fn infos() -> Vec<SettingInfo> {
    Vec::from([AT_ONCE.info()])
}

/// Restarts what isn't ready, or else everything, and sees that all is ready afterwards.
pub(super) async fn restart(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let standing = Standing::of(cluster, workload).await?;
    let ages = age::ages(cluster, workload, &standing).await?;
    ages.nothing_new(workload)?;
    let mut pods = pods::all(cluster, workload, &standing, Depth::Placed, PODS_MAX).await?;
    pods.retain(|pod| !pod.leaving);
    let told = named(&workload.told());
    let starts_ms = STARTS.count(cluster.config()).into();
    let is = |wanted: Health| move |pod: &Pod| pod.health(ages.now, starts_ms) == wanted;
    let (placed, unplaced): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(|pod| !pod.node.is_empty());
    let sick = placed.iter().filter(|pod| is(Health::Sick)(pod)).cloned();
    // What is on its way out is what fails, and beside it stands what doesn't: that isn't cured by a restart either.
    let (sick, new): (Vec<Pod>, Vec<Pod>) = sick.partition(|pod| ages.is_settled(&pod.revision));
    if sick.is_empty() && !new.is_empty() {
        let why =
            "are of a revision that is on its way: that is a regression, which no restart cures: go back";
        return Err(permanent(format!("{} pods of {told} aren't ready, and {why}", new.len())));
    }
    if sick.is_empty() && !unplaced.is_empty() {
        let why = "on no node, and a restart gives them none";
        return Err(transient(format!("pods of {told} are {why}: {}", unplaced.len())));
    }
    if sick.is_empty() && placed.iter().any(is(Health::Starting)) {
        let mut patience = Patience::new(cluster.config());
        let so_far = format!("pods of {told} were starting");
        return standing::come_back(cluster, workload, standing.wanted, &mut patience, &so_far).await;
    }
    if placed.is_empty() {
        return Err(permanent(format!("{told} has no pod that could be restarted")));
    }
    // Each that was sick makes one more that is ready. Those that were well leave as many as there were.
    let (is_sick, going) = (!sick.is_empty(), if sick.is_empty() { placed } else { sick });
    let mut goal = if is_sick { standing.ready } else { standing.wanted };
    for batch in going.chunks(at_once(cluster, going.len())) {
        for pod in batch {
            let mut patience = Patience::new(cluster.config());
            evict::evict(cluster, &workload.namespace, &pod.name, &pod.uid, &mut patience).await?;
        }
        // Of a StatefulSet a pod is counted as ready until it has ended; of all others it isn't from the moment it goes.
        if workload.kind == STATEFUL_SETS {
            for pod in batch {
                gone(cluster, workload, pod).await?;
            }
        }
        if is_sick {
            goal = goal.saturating_add(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        }
        let mut patience = Patience::new(cluster.config());
        let so_far = format!("{told} was restarted");
        standing::come_back(cluster, workload, goal, &mut patience, &so_far).await?;
    }
    Ok(())
}

fn at_once(cluster: &Cluster<'_>, pods: usize) -> usize {
    let permille = usize::try_from(AT_ONCE.count(cluster.config())).unwrap_or(1);
    (pods.saturating_mul(permille) / 1000).max(1)
}

/// Waits until a pod that was let go of has ended.
async fn gone(cluster: &Cluster<'_>, workload: &Workload, pod: &Pod) -> Result<(), Failed> {
    let mut patience = Patience::new(cluster.config());
    while evict::presence(cluster, &workload.namespace, &pod.name, &pod.uid).await? != Presence::Gone {
        if !patience.wait(cluster.ctx()).await? {
            let (name, node) = (named(&pod.name), named(&pod.node));
            return Err(transient(format!("pod {name} doesn't end: see whether node {node} answers")));
        }
    }
    Ok(())
}
