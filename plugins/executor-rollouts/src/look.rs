//! The playbook `look`: which release is out and how much of the traffic it has, told as readings.

use backstay_kubernetes::{
    api::{Cluster, number, text},
    json::Value,
    look,
    revisions::{self, BY_ROLLOUT},
    template::Told,
    workload::Workload,
};
use backstay_sdk::{
    executor::{Failed, both},
    readings::Readings,
};

use crate::seen::Seen;

/// What says how much of the traffic the newest release has.
const SHARES: [&str; 5] = [
    "/spec/strategy/canary/trafficRouting/maxTrafficWeight",
    "/status/blueGreen/activeSelector",
    "/status/canary/weights/canary/weight",
    "/status/replicas",
    "/status/updatedReplicas",
];
/// All of the traffic, in permille.
const WHOLE: i64 = 1000;
/// All weights together, where nobody said otherwise.
const WEIGHTS: i64 = 100;

/// Looks, and tells what it found. What of it can't be read is left out.
pub(crate) async fn tell(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let mut readings = Readings::new();
    let (seen, looked) =
        both(Seen::with(cluster, workload, &SHARES), look::tell(cluster, workload, &mut readings)).await;
    if let Ok(seen) = &seen {
        let is_aborted = seen.progress.is_aborted() && seen.is_observed();
        readings.say("aborted", if is_aborted { "yes" } else { "no" });
        // What was aborted is not out any more: all traffic is with what is stable.
        let (told, stage) = if is_aborted {
            (stable(cluster, workload, seen).await, Some(WHOLE))
        } else {
            (seen.source.told.clone(), stage(seen))
        };
        if let (Some(told), Some(stage)) = (told, stage) {
            told.say(&mut readings);
            readings.say("out-stage", stage);
        }
    }
    if readings.is_empty() {
        return seen.map(|_| ()).and(looked);
    }
    cluster.ctx().look(readings.deed()).await?;
    Ok(())
}

/// What the revision runs that is stable. `None`: that can't be read.
async fn stable(cluster: &Cluster<'_>, workload: &Workload, seen: &Seen) -> Option<Told> {
    let found = revisions::list(cluster, &workload.namespace, seen.uid(), seen.selector(), BY_ROLLOUT).await;
    found.ok()?.into_iter().find(|revision| revision.hash == seen.progress.stable())?.told
}

/// How much of the traffic the newest release has, in permille. `None`: that isn't known.
fn stage(seen: &Seen) -> Option<i64> {
    let fields: &Value = seen.fields();
    let (current, stable) = (seen.progress.current(), seen.progress.stable());
    // What nobody has acted on yet has none.
    if !seen.is_observed() {
        return Some(0);
    }
    if current == stable {
        return Some(WHOLE);
    }
    if seen.is_blue_green() {
        return Some(if text(fields, "/status/blueGreen/activeSelector") == current { WHOLE } else { 0 });
    }
    let (part, all) = match number(fields, "/status/canary/weights/canary/weight") {
        Some(weight) => (
            weight,
            number(fields, "/spec/strategy/canary/trafficRouting/maxTrafficWeight").unwrap_or(WEIGHTS),
        ),
        // Without a router the share of the pods is that of the traffic.
        None => (number(fields, "/status/updatedReplicas").unwrap_or(0), number(fields, "/status/replicas")?),
    };
    (all > 0).then(|| (part * WHOLE / all).clamp(0, WHOLE))
}

#[cfg(test)]
mod tests;
