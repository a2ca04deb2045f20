//! How a workload stands: how many pods it wants and has, and which pods are its own.
//!
//! Not here: the pods themselves (`pods`), and which of its revisions is the right one.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::executor::{Failed, permanent, transient};
use serde_json::Value;

use crate::{
    api::{Cluster, number, text},
    patience::Patience,
    resource::{ROLLOUTS, STATEFUL_SETS},
    workload::Workload,
};

const FIELDS: [&str; 7] = [
    "/metadata/uid",
    "/spec/replicas",
    "/spec/selector",
    "/status/readyReplicas",
    "/status/replicas",
    "/status/selector",
    "/status/stableRS",
];
/// Between two looks at how many are ready that have to agree, in ms.
const SETTLE_MS: u64 = 500;
/// What is asked for while it is waited for pods.
const READY: [&str; 2] = ["/spec/replicas", "/status/readyReplicas"];

/// How a workload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which object it is.
    pub uid: String,
    /// How many pods it wants.
    pub wanted: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// How many pods there are, of all revisions.
    pub pods: u32,
    /// Which pods are its own, as a list takes it.
    pub selector: String,
    /// The revision that has proven itself, where the kind knows one: a Rollout does.
    pub stable: Option<String>,
}

impl Standing {
    /// Looks.
    ///
    /// # Errors
    /// It isn't there, can't be read, or doesn't say which pods are its own.
    pub async fn of(cluster: &Cluster<'_>, workload: &Workload) -> Result<Self, Failed> {
        let told = workload.told();
        let seen = cluster.need(&workload.resource(), &FIELDS, &told).await?;
        // A Rollout that takes its template from a Deployment has no selector but the one that its controller writes down.
        let selector = match text(&seen, "/status/selector") {
            "" => selector(seen.pointer("/spec/selector").unwrap_or(&Value::Null)),
            selector => Some(selector.into()),
        };
        let selector =
            selector.ok_or_else(|| permanent(format!("{told} does not say which pods are its own")))?;
        let stable = (workload.kind == ROLLOUTS).then(|| text(&seen, "/status/stableRS"));
        Ok(Self {
            uid: text(&seen, "/metadata/uid").into(),
            wanted: wanted(&seen),
            ready: count(&seen, "/status/readyReplicas"),
            pods: count(&seen, "/status/replicas"),
            selector,
            stable: stable.filter(|hash| !hash.is_empty()).map(Into::into),
        })
    }
}

/// How many pods are wanted now, and how many are ready.
///
/// # Errors
/// It isn't there, or can't be read.
pub(crate) async fn ready(cluster: &Cluster<'_>, workload: &Workload) -> Result<(u32, u32), Failed> {
    let seen = cluster.need(&workload.resource(), &READY, &workload.told()).await?;
    Ok((wanted(&seen), count(&seen, "/status/readyReplicas")))
}

/// Waits until so many pods are ready, or as many as are wanted, and sees it twice: what a controller wrote down a moment ago may be of a
/// moment before a pod went.
///
/// # Errors
/// They aren't in time: `so_far` is what was done, "Deployment prod/shop was restarted".
pub(crate) async fn come_back(
    cluster: &Cluster<'_>,
    workload: &Workload,
    goal: u32,
    patience: &mut Patience,
    so_far: &str,
) -> Result<(), Failed> {
    let mut seen = false;
    loop {
        let (wanted, ready) = ready(cluster, workload).await?;
        let there = ready >= goal.min(wanted);
        if there && seen {
            return Ok(());
        }
        seen = there;
        if there {
            cluster.ctx().pause(SETTLE_MS).await?;
        } else if !patience.wait(cluster.ctx()).await? {
            return Err(transient(format!("{so_far}, and {ready} of {wanted} pods are ready")));
        }
    }
}

/// The label of a pod that says which revision it is of.
#[must_use]
pub fn revision_label(workload: &Workload) -> &'static str {
    if workload.kind == ROLLOUTS {
        "rollouts-pod-template-hash"
    } else if workload.kind == STATEFUL_SETS {
        "controller-revision-hash"
    } else {
        "pod-template-hash"
    }
}

/// Nobody said how many: one.
fn wanted(seen: &Value) -> u32 {
    number(seen, "/spec/replicas").map_or(1, |wanted| u32::try_from(wanted).unwrap_or(0))
}

fn count(seen: &Value, pointer: &str) -> u32 {
    number(seen, pointer).and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
}

/// A selector as a list takes it. One that selects everything, or that can't be read, is none: what is done to all pods of a
/// namespace would not be done to this workload.
pub(crate) fn selector(selector: &Value) -> Option<String> {
    let mut all = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        all.push(format!("{key}={}", value.as_str()?));
    }
    for one in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let (key, values) = (one.get("key")?.as_str()?, one.get("values").and_then(Value::as_array));
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        all.push(match one.get("operator")?.as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_string(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_is_written_as_a_list_takes_it() {
        let one = |operator: &str| json!({ "key": "k", "operator": operator, "values": ["a", "b"] });
        for (expressions, expected) in [
            (json!([]), Some("app=shop,tier=web")),
            (json!([one("In")]), Some("app=shop,tier=web,k in (a,b)")),
            (json!([one("NotIn"), one("Exists")]), Some("app=shop,tier=web,k notin (a,b),k")),
            (json!([one("DoesNotExist")]), Some("app=shop,tier=web,!k")),
            (json!([one("Gt")]), None),
        ] {
            let of =
                json!({ "matchLabels": { "app": "shop", "tier": "web" }, "matchExpressions": expressions });
            assert_eq!(selector(&of).as_deref(), expected);
        }
    }

    /// All pods of the namespace are nobody's.
    #[test]
    fn a_selector_that_selects_everything_is_none() {
        for all in
            [json!({}), json!(null), json!({ "matchLabels": {} }), json!({ "matchLabels": { "a": 1 } })]
        {
            assert_eq!(selector(&all), None);
        }
    }
}
