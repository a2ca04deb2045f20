//! The playbooks `outliers` and `outliers-off`: pods that keep failing get no traffic for a while, by Istio's outlier detection.
//!
//! What the operator's `DestinationRule` says already stays as it is; what it doesn't say is set. What was set is written down in an annotation
//! of the rule, in the same change: `outliers-off` takes away exactly that, and leaves alone what somebody has changed since.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    settings::{Number, Problem, Setting, SettingInfo, Text, problem},
};
use serde_json::{Map, Value, json};

use crate::{
    api::{Cluster, Written, text},
    heal::{TRIES, named},
    resource::{DESTINATION_RULES, is_dns_name},
    workload::Workload,
};

const RULE: Text = Text {
    name: "destination-rule",
    default: "",
    help: "The DestinationRule of the target's service, in its namespace. Empty: there is no playbook outliers.",
};
const ERRORS: Number = Number {
    name: "outlier-errors",
    default: 5,
    least: 1,
    most: 1000,
    help: "A pod that answers so often in a row with a server error gets no traffic for a while.",
};
const INTERVAL: Number = Number {
    name: "outlier-interval-ms",
    default: 10_000,
    least: 1000,
    most: 3_600_000,
    help: "How often that is looked at, in ms.",
};
const EJECTION: Number = Number {
    name: "outlier-ejection-ms",
    default: 30_000,
    least: 1000,
    most: 3_600_000,
    help: "How long it gets no traffic, in ms, times how often that has happened to it.",
};
const PERCENT: Number = Number {
    name: "outlier-percent-max",
    default: 34,
    least: 1,
    most: 50,
    help: "Never more than so many percent of the pods are without traffic.",
};

/// The annotation of a rule that says what we set in it.
const NOTE: &str = "backstay.dev/outliers";

/// What is asked for: the members of the policy by name alone, but for the one that we set.
const FIELDS: [&str; 5] = [
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/annotations/backstay.dev~1outliers",
    "/spec/trafficPolicy/*/-",
    "/spec/trafficPolicy/outlierDetection",
];
const DETECTION: &str = "/spec/trafficPolicy/outlierDetection";

pub(super) fn infos() -> Vec<SettingInfo> {
    Vec::from([RULE.info(), ERRORS.info(), INTERVAL.info(), EJECTION.info(), PERCENT.info()])
}

pub(super) fn problems(config: &[Setting]) -> Vec<Problem> {
    let name = RULE.of(config);
    let wrong = !name.is_empty() && !is_dns_name(name);
    wrong.then(|| problem(RULE.name, format!("{name:?} names nothing in Kubernetes"))).into_iter().collect()
}

/// Sets what the rule doesn't say.
pub(super) async fn on(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let config = cluster.config();
    let wanted = [
        ("consecutive5xxErrors", json!(ERRORS.of(config))),
        ("interval", span(INTERVAL.of(config))),
        ("baseEjectionTime", span(EJECTION.of(config))),
        ("maxEjectionPercent", json!(PERCENT.of(config))),
    ];
    changed(cluster, workload, |rule| {
        let there = rule.pointer(DETECTION);
        let missing = wanted.iter().filter(|(key, _)| there.and_then(|there| there.get(key)).is_none());
        let missing: Map<String, Value> =
            missing.map(|(key, value)| (key.to_string(), value.clone())).collect();
        if missing.is_empty() {
            return None;
        }
        // What a run before this one set and wrote down is still ours.
        let mut note = noted(rule);
        note.set.extend(missing.clone());
        if note.is_new {
            note.had_policy = rule.pointer("/spec/trafficPolicy").is_some();
            note.had_detection = there.is_some();
        }
        Some((Some(note), json!({ "trafficPolicy": { "outlierDetection": missing } })))
    })
    .await
}

/// Takes away what was set, and nothing else.
pub(super) async fn off(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    changed(cluster, workload, |rule| {
        let note = noted(rule);
        if note.is_new {
            return None;
        }
        let none = Map::new();
        let there = rule.pointer(DETECTION).and_then(Value::as_object).unwrap_or(&none);
        let is_ours = |(key, value): &(&String, &Value)| note.set.get(*key) == Some(*value);
        let ours: Map<String, Value> =
            there.iter().filter(is_ours).map(|(key, _)| (key.clone(), Value::Null)).collect();
        let only_ours = ours.len() == there.len();
        let others = rule.pointer("/spec/trafficPolicy").and_then(Value::as_object).map_or(0, Map::len);
        let spec = if rule.pointer(DETECTION).is_none() {
            json!({})
        } else if only_ours && !note.had_detection && !note.had_policy && others <= 1 {
            json!({ "trafficPolicy": null })
        } else if only_ours && !note.had_detection {
            json!({ "trafficPolicy": { "outlierDetection": null } })
        } else {
            json!({ "trafficPolicy": { "outlierDetection": ours } })
        };
        Some((None, spec))
    })
    .await
}

/// What we set in a rule, and what was there before.
struct Note {
    is_new: bool,
    had_policy: bool,
    had_detection: bool,
    set: Map<String, Value>,
}

impl Note {
    fn written(&self) -> String {
        json!({ "policy": self.had_policy, "detection": self.had_detection, "set": self.set }).to_string()
    }
}

fn noted(rule: &Value) -> Note {
    let written = text(rule, "/metadata/annotations/backstay.dev~1outliers");
    let note: Value = serde_json::from_str(written).unwrap_or_default();
    let had = |key: &str| note.get(key).and_then(Value::as_bool);
    let set = note.get("set").and_then(Value::as_object);
    match (had("policy"), had("detection"), set) {
        (Some(had_policy), Some(had_detection), Some(set)) => {
            Note { is_new: false, had_policy, had_detection, set: set.clone() }
        }
        _ => Note { is_new: true, had_policy: true, had_detection: true, set: Map::new() },
    }
}

/// Changes the rule to what `change` makes of it: the note, or none, and what is laid over the `spec`. `None`: it is as it should be.
async fn changed(
    cluster: &Cluster<'_>,
    workload: &Workload,
    change: impl Fn(&Value) -> Option<(Option<Note>, Value)>,
) -> Result<(), Failed> {
    let name = RULE.of(cluster.config());
    if name.is_empty() {
        return Err(permanent(
            "nobody has said which DestinationRule: the setting destination-rule is empty",
        ));
    }
    let of = DESTINATION_RULES.named(&workload.namespace, name);
    let told = format!("DestinationRule {}", named(name));
    for _ in 0..TRIES {
        let rule = cluster.need(&of, &FIELDS, &told).await?;
        let Some((note, spec)) = change(&rule) else { return Ok(()) };
        // With the version that was looked at: who was quicker is not written over.
        let patch = json!({
            "metadata": {
                "uid": text(&rule, "/metadata/uid"),
                "resourceVersion": text(&rule, "/metadata/resourceVersion"),
                "annotations": { NOTE: note.as_ref().map(Note::written) },
            },
            "spec": spec,
        });
        match cluster.merge(&of, &patch).await? {
            Written::Refused(refused) if refused.status == 422 => return Err(refused.failed(&told)),
            // A rule that was written is looked at like any other: what admits it may have changed it.
            Written::Done | Written::Refused(_) | Written::Unknown => {}
        }
    }
    Err(transient(format!("{told} isn't as it was set after {TRIES} tries: somebody else changes it")))
}

fn span(ms: i64) -> Value {
    if ms % 1000 == 0 { json!(format!("{}s", ms / 1000)) } else { json!(format!("{ms}ms")) }
}
