//! The playbook `look`: which release is out and how much of the traffic it has, told as readings.

use backstay_kubernetes::{
    api::{Cluster, number, text},
    json::Value,
    look,
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
/// All weights together, where nobody said otherwise.
const WEIGHTS: i64 = 100;

/// Looks, and tells what it found. What of it can't be read is left out.
pub(crate) async fn tell(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let mut readings = Readings::new();
    let (seen, looked) =
        both(Seen::with(cluster, workload, &SHARES), look::tell(cluster, workload, &mut readings)).await;
    if let Ok(seen) = &seen {
        if let Some(told) = &seen.source.told {
            told.say(&mut readings);
        }
        if let Some(stage) = stage(seen) {
            readings.say("out-stage", stage);
        }
        readings.say("aborted", if seen.progress.is_aborted() { "yes" } else { "no" });
    }
    if readings.is_empty() {
        return seen.map(|_| ()).and(looked);
    }
    cluster.ctx().look(readings.deed()).await?;
    Ok(())
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
        return Some(1000);
    }
    if seen.is_blue_green() {
        return Some(if text(fields, "/status/blueGreen/activeSelector") == current { 1000 } else { 0 });
    }
    let (part, all) = match number(fields, "/status/canary/weights/canary/weight") {
        Some(weight) => (
            weight,
            number(fields, "/spec/strategy/canary/trafficRouting/maxTrafficWeight").unwrap_or(WEIGHTS),
        ),
        // Without a router the share of the pods is that of the traffic.
        None => (number(fields, "/status/updatedReplicas").unwrap_or(0), number(fields, "/status/replicas")?),
    };
    (all > 0).then(|| (part * 1000 / all).clamp(0, 1000))
}

#[cfg(test)]
mod tests;
