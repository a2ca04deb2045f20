//! What a run leaves on the control plane, so that two of them can be compared.
//!
//! Left out is what differs from one run to the next whatever is done: identities, times, names that Kubernetes makes up, and what only
//! its controllers write. What counts how often somebody changed an object stays: `generation` grows with each change of a
//! specification, and every template has a ReplicaSet of its own.

use std::collections::BTreeSet;

use backstay_test_k8s::{ControlPlane, Namespace};
use serde_json::{Value, json};

/// Annotations that only controllers write, and that say when or in which order.
const OF_CONTROLLERS: [&str; 3] = [
    "deployment.kubernetes.io/revision",
    "rollout.argoproj.io/revision",
    "rollout.argoproj.io/workload-generation",
];

/// What is of an object: what it is asked to be, how often that was said, and our own marks on it.
pub(crate) fn object(cluster: &ControlPlane, path: &str, space: &Namespace) -> Value {
    let Ok(found) = cluster.api().get(path) else { return Value::Null };
    let mut annotations = found["metadata"]["annotations"].clone();
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.retain(|name, _| !OF_CONTROLLERS.contains(&name.as_str()));
    }
    let object = json!({
        "generation": found["metadata"]["generation"],
        "annotations": annotations,
        "labels": found["metadata"]["labels"],
        "spec": found["spec"],
        "data": found["data"],
    });
    anywhere(&object, space)
}

/// A workload with its ReplicaSets: what each runs, and how many pods it has and is to have.
pub(crate) fn workload(cluster: &ControlPlane, space: &Namespace, version: &str, kind: &str) -> Value {
    let path = space.path(version, &format!("{kind}/shop"));
    let status = cluster.api().get(&path).map(|found| found["status"].clone()).unwrap_or_default();
    let sets = cluster.api().list(&space.path("apps/v1", "replicasets")).unwrap_or_default();
    let mut sets: Vec<Value> = sets
        .iter()
        .map(|set| {
            json!({
                "image": set["spec"]["template"]["spec"]["containers"][0]["image"],
                "replicas": set["spec"]["replicas"],
                "ready": set["status"]["readyReplicas"],
            })
        })
        .collect();
    sets.sort_by_key(ToString::to_string);
    json!({
        "object": object(cluster, &path, space),
        "sets": sets,
        "ready": status["readyReplicas"],
        "updated": status["updatedReplicas"],
        "abort": status["abort"],
        "phase": status["phase"],
        "stable is current": status["stableRS"] == status["currentPodHash"],
    })
}

/// How many pods the ReplicaSets of a namespace ever made, as far as events tell: one more for each that was evicted.
pub(crate) fn made(cluster: &ControlPlane, space: &Namespace) -> u64 {
    let events = cluster.api().list(&space.path("v1", "events")).unwrap_or_default();
    let made = events.iter().filter(|event| event["reason"] == "SuccessfulCreate");
    made.map(|event| event["count"].as_u64().or(event["series"]["count"].as_u64()).unwrap_or(1)).sum()
}

/// The memory that containers may have, and our own marks on their pods.
pub(crate) fn limits(cluster: &ControlPlane, space: &Namespace) -> Value {
    let pods = cluster.api().list(&space.path("v1", "pods")).unwrap_or_default();
    let mut limits: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let marks = pod["metadata"]["annotations"].as_object();
            let marks = marks.into_iter().flatten().filter(|(name, _)| name.starts_with("backstay.dev/"));
            json!({
                "limit": pod["spec"]["containers"][0]["resources"]["limits"]["memory"],
                "marks": marks.map(|(name, _)| name.clone()).collect::<Vec<_>>(),
            })
        })
        .collect();
    limits.sort_by_key(ToString::to_string);
    limits.into()
}

/// The same, wherever it was found: the namespace is the same for all.
pub(crate) fn anywhere(value: &Value, space: &Namespace) -> Value {
    let text = value.to_string().replace(&format!("\"{}\"", space.name()), "\"SPACE\"");
    let text = text.replace(&format!("{}/", space.name()), "SPACE/");
    serde_json::from_str(&text).unwrap()
}

/// Where two of them differ, a line for each place.
pub(crate) fn differences(left: &Value, wanted: &Value) -> Vec<String> {
    fn walk(at: &str, left: &Value, wanted: &Value, found: &mut Vec<String>) {
        match (left, wanted) {
            _ if left == wanted => {}
            (Value::Object(one), Value::Object(other)) => {
                let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                for key in keys {
                    walk(&format!("{at}/{key}"), &left[key.as_str()], &wanted[key.as_str()], found);
                }
            }
            _ => found.push(format!("{at}: {left} and not {wanted}")),
        }
    }
    let mut found = Vec::new();
    walk("", left, wanted, &mut found);
    found
}
