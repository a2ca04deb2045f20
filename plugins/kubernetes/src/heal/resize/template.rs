//! The limit in the template of a workload, raised where a pod's own can't be.
//!
//! All pods are replaced by that, as with any change of a template, and a new revision comes to be; which release it runs is the
//! same. Not for a Rollout: it would take its steps again, and wait at the first one for somebody to promote a release that is out already.

use alloc::format;

use backstay_sdk::executor::{Failed, permanent, transient};
use serde_json::{Value, json};

use super::limit::{Limit, Plan};
use crate::{
    api::{Cluster, Written, number, text},
    clock::Time,
    heal::{TRIES, named, raised::Raised},
    pods::MEMORY,
    quantity::Memory,
    workload::Workload,
};

const LIMITS: [&str; 6] = [
    "/metadata/uid",
    "/metadata/annotations/backstay.dev~1memory",
    "/spec/template/spec/containers/*/name",
    "/spec/template/spec/containers/*/resources",
    "/spec/template/spec/initContainers/*/name",
    "/spec/template/spec/initContainers/*/resources",
];
const ROLLED: [&str; 6] = [
    "/metadata/generation",
    "/spec/replicas",
    "/status/observedGeneration",
    "/status/updatedReplicas",
    "/status/readyReplicas",
    "/status/replicas",
];

/// Raises the limit of `container`, which ended at `at` for want of memory, and waits until all pods have it.
pub(super) async fn raise(
    cluster: &Cluster<'_>,
    workload: &Workload,
    container: &str,
    at: Time,
    ceiling: Memory,
) -> Result<(), Failed> {
    let (of, told) = (workload.resource(), named(&workload.told()));
    for _ in 0..TRIES {
        let seen = cluster.need(&of, &LIMITS, &told).await?;
        let Some(limit) = Limit::find(&seen, "/spec/template/spec", container) else {
            let container = named(container);
            return Err(permanent(format!("the template of {told} has no memory limit for {container}")));
        };
        let noted = Raised::read(text(&seen, "/metadata/annotations/backstay.dev~1memory"));
        let raise = match limit.plan(cluster, noted.of(container), at, ceiling)? {
            Plan::Answered(_) => return rolled(cluster, workload).await,
            Plan::Raise(raise) => raise,
        };
        let uid = text(&seen, "/metadata/uid");
        if noted.of(container) != Some(raise) {
            let note = json!({ MEMORY: noted.with(container, raise).written() });
            let note = json!({ "metadata": { "uid": uid, "annotations": note } });
            if cluster.merge(&of, &note).await? != Written::Done {
                continue;
            }
        }
        let patch = limit.raised(uid, raise.to);
        let operations = patch.as_array().map_or(&[][..], |operations| operations);
        if cluster.patch(&of, operations).await? == Written::Done {
            return rolled(cluster, workload).await;
        }
    }
    Err(transient(format!(
        "the template of {told} was not raised in {TRIES} tries: somebody else changes it"
    )))
}

/// Waits until every pod is of the newest template, and ready.
async fn rolled(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let is_out = |seen: Option<&Value>| {
        let count = |pointer: &str| seen.and_then(|seen| number(seen, pointer)).unwrap_or(0);
        let wanted = seen.and_then(|seen| number(seen, "/spec/replicas")).unwrap_or(1);
        let all = ["/status/updatedReplicas", "/status/readyReplicas", "/status/replicas"];
        let noticed = count("/status/observedGeneration") >= count("/metadata/generation");
        (noticed && all.iter().all(|pointer| count(pointer) == wanted)).then_some(())
    };
    let told = named(&workload.told());
    match cluster.until(&workload.resource(), &ROLLED, is_out).await? {
        Some(()) => Ok(()),
        None => Err(transient(format!(
            "the limit in the template of {told} was raised, and not all pods have it"
        ))),
    }
}
