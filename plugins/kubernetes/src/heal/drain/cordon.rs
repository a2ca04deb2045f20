//! Keeping pods off a node, and letting them come again.
//!
//! Whose cordon it is stands in an annotation, written in the same change and against the version of the node that was looked at: what somebody
//! else cordons in the same moment is never taken for ours. Never is the last node cordoned that could take a pod.

use alloc::{format, string::ToString as _, vec::Vec};

use backstay_sdk::executor::{Failed, permanent, transient};
use serde_json::{Value, json};

use super::AT_ONCE;
use crate::{
    api::{Cluster, Written},
    heal::{TRIES, named},
    nodes::{self, CORDONED_BY, Node},
    workload::Workload,
};

/// So many nodes are looked at at once for one that could take pods.
const PAGE: &str = "10";
/// In so many pages one has to be found.
const PAGES: u32 = 3;
/// The most cordoned nodes that are looked at, all in all.
const CORDONED_MAX: &str = "50";

/// Keeps pods off a node, if enough other nodes are left.
pub(super) async fn cordon(cluster: &Cluster<'_>, workload: &Workload, node: &Node) -> Result<(), Failed> {
    // By another target of ours: that one lets pods come again, too.
    if node.is_cordoned {
        return Ok(());
    }
    let ours: Vec<Node> = cordoned(cluster).await?;
    let most = AT_ONCE.count(cluster.config());
    if let Some(other) = ours.first().filter(|_| ours.len() >= usize::try_from(most).unwrap_or(usize::MAX)) {
        let (count, name, by) = (ours.len(), named(&other.name), named(&other.cordoned_by));
        let why = "undrain what is well, or raise nodes-at-once";
        return Err(permanent(format!("cordoned by us already: {count}, {name} for {by} among them: {why}")));
    }
    if !another_takes_pods(cluster, &node.name).await? {
        return Err(permanent(format!(
            "node {} is the last that could take a pod: it isn't drained",
            named(&node.name)
        )));
    }
    let ours = workload.told();
    for _ in 0..TRIES {
        let Some(now) = Node::of(cluster, &node.name).await? else {
            return Err(permanent(format!("node {} is gone", named(&node.name))));
        };
        if now.is_cordoned {
            return if now.cordoned_by.is_empty() {
                Err(permanent(format!("node {} was cordoned by somebody else meanwhile", named(&now.name))))
            } else {
                Ok(())
            };
        }
        let patch = patch(&now, &json!(ours), &json!(true));
        if cluster.merge(&nodes::resource(&now.name), &patch).await? == Written::Done {
            return Ok(());
        }
    }
    Err(transient(format!(
        "node {} was not cordoned in {TRIES} tries: somebody else changes it",
        named(&node.name)
    )))
}

/// Lets pods come again, if it was us who kept them off for this target.
pub(super) async fn uncordon(cluster: &Cluster<'_>, workload: &Workload, name: &str) -> Result<(), Failed> {
    for _ in 0..TRIES {
        let Some(now) = Node::of(cluster, name).await? else { return Ok(()) };
        if now.cordoned_by != workload.told() {
            return Ok(());
        }
        let patch = patch(&now, &Value::Null, &Value::Null);
        if cluster.merge(&nodes::resource(name), &patch).await? == Written::Done {
            return Ok(());
        }
    }
    Err(transient(format!("node {} was not uncordoned in {TRIES} tries: it takes no pods", named(name))))
}

/// The nodes that we keep pods off, for whichever target.
pub(super) async fn cordoned(cluster: &Cluster<'_>) -> Result<Vec<Node>, Failed> {
    let (nodes, _) = Node::page(cluster, "spec.unschedulable=true", CORDONED_MAX, "").await?;
    Ok(nodes.into_iter().filter(|node| !node.cordoned_by.is_empty()).collect())
}

async fn another_takes_pods(cluster: &Cluster<'_>, name: &str) -> Result<bool, Failed> {
    let mut next = "".to_string();
    for _ in 0..PAGES {
        let (nodes, follows) = Node::page(cluster, "spec.unschedulable=false", PAGE, &next).await?;
        if nodes.iter().any(|node| node.name != name && node.takes_pods()) {
            return Ok(true);
        }
        if follows.is_empty() {
            return Ok(false);
        }
        next = follows;
    }
    Ok(false)
}

fn patch(node: &Node, by: &Value, unschedulable: &Value) -> Value {
    json!({
        "metadata": { "uid": node.uid, "resourceVersion": node.version, "annotations": { CORDONED_BY: by } },
        "spec": { "unschedulable": unschedulable },
    })
}
