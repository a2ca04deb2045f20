//! What is live: whether the workload runs what the record says, and whether all of it does.
//!
//! Where the settings name no workload nothing is looked at, and what Helm says holds. Not here: what is done about it (`home`).

use alloc::{format, string::String, vec::Vec};

use backstay_kubernetes::{
    api::{number, text},
    json::Value,
    resource::{Kind, ROLLOUTS, STATEFUL_SETS},
    template::{self, Told},
};
use backstay_sdk::executor::{Failed, permanent, transient};

use crate::{book::Book, config::DAEMON_SETS, desk::Desk, history::Record};

/// What is read to see whether all pods are of the newest template, and ready.
const STANDING: [&str; 12] = [
    "/metadata/generation",
    "/status/observedGeneration",
    "/spec/replicas",
    "/spec/updateStrategy/type",
    "/status/updatedReplicas",
    "/status/readyReplicas",
    "/status/replicas",
    "/status/phase",
    "/status/desiredNumberScheduled",
    "/status/updatedNumberScheduled",
    "/status/numberReady",
    "/metadata/deletionTimestamp",
];

/// What the workload has, beside the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    /// The same, or nobody said where to look.
    Same,
    /// This image.
    Other(String),
}

/// Compares the workload with what the manifest of the newest record runs.
pub(crate) async fn look(desk: &Desk<'_>, book: &mut Book, newest: &Record) -> Result<Live, Failed> {
    let Some(live) = told(desk).await? else { return Ok(Live::Same) };
    let recorded = book.image(desk, newest).await?;
    let same = recorded.is_some_and(|recorded| recorded.image == live.image);
    Ok(if same { Live::Same } else { Live::Other(live.image) })
}

/// What the workload runs, if the settings name one.
pub(crate) async fn told(desk: &Desk<'_>) -> Result<Option<Told>, Failed> {
    let Some(workload) = &desk.workload else { return Ok(None) };
    let fields = template::fields("/spec/template", desk.config());
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let seen = desk.cluster.need(&workload.resource(), &fields, &workload.told()).await?;
    let template = seen.pointer("/spec/template").unwrap_or(&Value::Null);
    let none = || permanent(format!("no container of {} is the product", workload.told()));
    Told::of(template, desk.config()).map(Some).ok_or_else(none)
}

/// Which release is out, and how many permille of the pods that there are run it; `None` where that isn't known.
pub(crate) async fn out(desk: &Desk<'_>) -> Result<(Told, Option<i64>), Failed> {
    let told = told(desk).await?;
    let told = told.ok_or_else(|| permanent("the setting workload names nothing"))?;
    let Some(workload) = &desk.workload else { return Ok((told, None)) };
    let seen = desk.cluster.need(&workload.resource(), &STANDING, &workload.told()).await?;
    Ok((told, stage(workload.kind, &seen)))
}

/// Waits until all pods of the workload are of its newest template, and ready.
pub(crate) async fn whole(desk: &Desk<'_>) -> Result<(), Failed> {
    let Some(workload) = &desk.workload else { return Ok(()) };
    let is_so = |seen: Option<&Value>| seen.is_some_and(|seen| is_whole(workload.kind, seen)).then_some(());
    match desk.cluster.until(&workload.resource(), &STANDING, is_so).await? {
        Some(()) => Ok(()),
        None => Err(transient(format!("{} is home, and not all of its pods are ready", workload.told()))),
    }
}

/// Of a template that its controller has not seen yet nothing is out. How far a Rollout is, its steps say, and not its pods.
fn stage(kind: Kind, seen: &Value) -> Option<i64> {
    let count = |pointer: &str| number(seen, pointer).unwrap_or(0);
    if kind == ROLLOUTS {
        return is_whole(kind, seen).then_some(1000);
    }
    let (updated, all) = if kind == DAEMON_SETS {
        (count("/status/updatedNumberScheduled"), count("/status/desiredNumberScheduled"))
    } else {
        (count("/status/updatedReplicas"), count("/status/replicas"))
    };
    let updated = if is_observed(seen) { updated } else { 0 };
    (all > 0).then(|| (updated * 1000 / all).clamp(0, 1000))
}

fn is_observed(seen: &Value) -> bool {
    // Argo Rollouts writes it as a text.
    let observed = number(seen, "/status/observedGeneration")
        .or_else(|| text(seen, "/status/observedGeneration").parse().ok());
    observed.is_some_and(|observed| observed >= number(seen, "/metadata/generation").unwrap_or(0))
}

fn is_whole(kind: Kind, seen: &Value) -> bool {
    let count = |pointer: &str| number(seen, pointer).unwrap_or(0);
    if !is_observed(seen) {
        return false;
    }
    let wanted = number(seen, "/spec/replicas").unwrap_or(1);
    if kind == ROLLOUTS {
        return text(seen, "/status/phase") == "Healthy";
    }
    if kind == DAEMON_SETS {
        let wanted = count("/status/desiredNumberScheduled");
        return count("/status/updatedNumberScheduled") == wanted && count("/status/numberReady") == wanted;
    }
    // Pods of a StatefulSet that is updated by hand stay what they were until somebody deletes them.
    let by_hand = kind == STATEFUL_SETS && text(seen, "/spec/updateStrategy/type") == "OnDelete";
    (by_hand || count("/status/updatedReplicas") == wanted)
        && count("/status/readyReplicas") == wanted
        && count("/status/replicas") == wanted
}

#[cfg(test)]
mod tests {
    use backstay_kubernetes::{json::json, resource::DEPLOYMENTS};

    use super::*;

    fn seen(generation: Value, spec: Value, mut status: Value) -> Value {
        status["observedGeneration"] = generation;
        json!({ "metadata": { "generation": 3 }, "spec": spec, "status": status })
    }

    /// Until the controller has seen the template, what it says is of the one before.
    #[test]
    fn what_is_not_seen_yet_is_not_whole() {
        let replicas = json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2 });
        let of = |generation: Value| seen(generation, json!({ "replicas": 2 }), replicas.clone());
        for kind in [DEPLOYMENTS, STATEFUL_SETS] {
            assert!(is_whole(kind, &of(json!(3))) && is_whole(kind, &of(json!(4))));
            assert!(!is_whole(kind, &of(json!(2))) && !is_whole(kind, &of(Value::Null)));
            assert_eq!((stage(kind, &of(json!(3))), stage(kind, &of(json!(2)))), (Some(1000), Some(0)));
        }
    }

    #[test]
    fn each_kind_counts_its_pods_in_its_own_way() {
        let now = || json!(3);
        let fewer = json!({ "replicas": 3, "updatedReplicas": 2, "readyReplicas": 2 });
        let more = seen(now(), json!({ "replicas": 2 }), fewer);
        // One of the old ones is still there.
        assert!(!is_whole(DEPLOYMENTS, &more));
        assert_eq!(stage(DEPLOYMENTS, &more), Some(666));
        let old = json!({ "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2 });
        let by_hand = json!({ "replicas": 2, "updateStrategy": { "type": "OnDelete" } });
        assert!(is_whole(STATEFUL_SETS, &seen(now(), by_hand.clone(), old.clone())));
        assert!(!is_whole(DEPLOYMENTS, &seen(now(), by_hand, old)));
        let daemons = |updated: u32, ready: u32| {
            seen(
                now(),
                json!({}),
                json!({ "desiredNumberScheduled": 4, "updatedNumberScheduled": updated, "numberReady": ready }),
            )
        };
        assert!(is_whole(DAEMON_SETS, &daemons(4, 4)));
        assert!(!is_whole(DAEMON_SETS, &daemons(3, 4)) && !is_whole(DAEMON_SETS, &daemons(4, 3)));
        assert_eq!(stage(DAEMON_SETS, &daemons(3, 4)), Some(750));
        for (phase, is_so) in [("Healthy", true), ("Progressing", false), ("Paused", false)] {
            let rollout = seen(json!("3"), json!({ "replicas": 2 }), json!({ "phase": phase }));
            assert_eq!(is_whole(ROLLOUTS, &rollout), is_so);
            assert_eq!(stage(ROLLOUTS, &rollout), is_so.then_some(1000));
        }
    }
}
