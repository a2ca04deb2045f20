//! The playbook `scale`: more pods, by the bounds of the autoscaler that looks after the workload.
//!
//! Where an autoscaler looks after it, a count that anybody else sets is put back. So its bounds move: the least becomes one step more than
//! there are now, and the most is moved along where it would be below. One step in a run, never beyond the ceiling, and never less.
//! Not here: a workload without an autoscaler. How many pods it has stands in its own object, which belongs to whoever wrote it.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    settings::{Number, Problem, Setting, SettingInfo, Text, problem},
};
use serde_json::{Value, json};

use crate::{
    api::{Cluster, Written, number, text},
    heal::{TRIES, named},
    resource::{AUTOSCALERS, is_dns_name},
    standing,
    workload::Workload,
};

const AUTOSCALER: Text = Text {
    name: "autoscaler",
    default: "",
    help: "The HorizontalPodAutoscaler of the target. Empty: the one of its namespace that says it is.",
};
const CEILING: Number = Number {
    name: "scale-ceiling",
    default: 0,
    least: 0,
    most: 10_000,
    help: "No bound is raised beyond so many pods. 0: nobody has said how many the cluster can take, and nothing is raised.",
};
const PERMILLE: Number = Number {
    name: "scale-permille",
    default: 1500,
    least: 1000,
    most: 4000,
    help: "How many pods there are at least after one step, in permille of how many there were before, rounded up.",
};
const STEP: Number = Number {
    name: "scale-step",
    default: 1,
    least: 1,
    most: 100,
    help: "So many more pods after one step at least, where the ceiling allows it.",
};
/// The most autoscalers of a namespace that are looked through.
const AUTOSCALERS_MAX: usize = 100;

const FIELDS: [&str; 5] =
    ["/metadata/name", "/metadata/uid", "/spec/scaleTargetRef", "/spec/minReplicas", "/spec/maxReplicas"];

pub(super) fn infos() -> Vec<SettingInfo> {
    Vec::from([AUTOSCALER.info(), CEILING.info(), PERMILLE.info(), STEP.info()])
}

pub(super) fn problems(config: &[Setting]) -> Vec<Problem> {
    let name = AUTOSCALER.of(config);
    let wrong = !name.is_empty() && !is_dns_name(name);
    wrong
        .then(|| problem(AUTOSCALER.name, format!("{name:?} names nothing in Kubernetes")))
        .into_iter()
        .collect()
}

/// Raises the bounds one step, and sees that so many pods are ready.
pub(super) async fn raise(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let ceiling = i64::from(CEILING.count(cluster.config()));
    if ceiling == 0 {
        return Err(permanent("nobody has said how many pods there may be: the setting scale-ceiling is 0"));
    }
    let name = text(&found(cluster, workload).await?, "/metadata/name").to_string();
    let of = AUTOSCALERS.named(&workload.namespace, &name);
    let told = named(&name);
    let (present, _) = standing::ready(cluster, workload).await?;
    let wanted = i64::from(step(cluster, present)).min(ceiling);
    if wanted <= i64::from(present) {
        return Err(permanent(format!(
            "{present} pods are wanted, and scale-ceiling is {ceiling}: no more are asked for"
        )));
    }
    for _ in 0..TRIES {
        let seen = cluster.need(&of, &FIELDS, &format!("HorizontalPodAutoscaler {told}")).await?;
        is_of(&seen, workload)?;
        let (least, most) =
            (number(&seen, "/spec/minReplicas"), number(&seen, "/spec/maxReplicas").unwrap_or(0));
        if least.is_some_and(|least| least >= wanted) {
            return come(cluster, workload, wanted).await;
        }
        let mut patch = Vec::from([test("/metadata/uid", &json!(text(&seen, "/metadata/uid")))]);
        patch.extend(least.map(|least| test("/spec/minReplicas", &json!(least))));
        patch.push(test("/spec/maxReplicas", &json!(most)));
        patch.push(json!({ "op": "add", "path": "/spec/minReplicas", "value": wanted }));
        if most < wanted {
            patch.push(json!({ "op": "replace", "path": "/spec/maxReplicas", "value": wanted }));
        }
        match cluster.patch(&of, &patch).await? {
            Written::Done => return come(cluster, workload, wanted).await,
            // Somebody else was quicker, or nobody knows: then it is looked at, and what is there counts.
            Written::Refused(_) | Written::Unknown => {}
        }
    }
    Err(transient(format!("autoscaler {told} was not changed in {TRIES} tries: somebody else changes it")))
}

fn step(cluster: &Cluster<'_>, present: u32) -> u32 {
    let by_share = (u64::from(present) * u64::from(PERMILLE.count(cluster.config()))).div_ceil(1000);
    let by_step = u64::from(present) + u64::from(STEP.count(cluster.config()));
    u32::try_from(by_share.max(by_step)).unwrap_or(u32::MAX)
}

/// The autoscaler that is set, or the only one that says it looks after the workload.
async fn found(cluster: &Cluster<'_>, workload: &Workload) -> Result<Value, Failed> {
    let name = AUTOSCALER.of(cluster.config());
    if !name.is_empty() {
        let of = AUTOSCALERS.named(&workload.namespace, name);
        let what = format!("HorizontalPodAutoscaler {}", named(name));
        return cluster.need(&of, &FIELDS, &what).await;
    }
    let fields = ["/metadata/name", "/spec/scaleTargetRef"];
    let all = cluster.list(&AUTOSCALERS.of(&workload.namespace), &fields, AUTOSCALERS_MAX).await?;
    let told = named(&workload.told());
    let mut ours = all.into_iter().filter(|one| is_of(one, workload).is_ok());
    match (ours.next(), ours.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(permanent(format!(
            "no HorizontalPodAutoscaler looks after {told}: how many pods it has stands in its own object"
        ))),
        (Some(_), Some(_)) => {
            let why = "they undo each other's work; take one away, or say which in the setting autoscaler";
            Err(permanent(format!("two HorizontalPodAutoscalers look after {told}: {why}")))
        }
    }
}

/// That an autoscaler looks after this workload: of whichever version of its API, because versions are of the same objects.
fn is_of(autoscaler: &Value, workload: &Workload) -> Result<(), Failed> {
    let of = |key: &str| text(autoscaler, &format!("/spec/scaleTargetRef/{key}"));
    let group = of("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    if (group, of("kind"), of("name")) == (workload.kind.group, workload.kind.kind, workload.name.as_str()) {
        return Ok(());
    }
    let (name, kind, target) =
        (named(text(autoscaler, "/metadata/name")), named(of("kind")), named(of("name")));
    Err(permanent(format!("autoscaler {name} looks after {kind} {target}, not after this target")))
}

fn test(path: &str, value: &Value) -> Value {
    json!({ "op": "test", "path": path, "value": value })
}

/// Waits until so many pods are ready.
async fn come(cluster: &Cluster<'_>, workload: &Workload, wanted: i64) -> Result<(), Failed> {
    let ready =
        |seen: Option<&Value>| seen.and_then(|seen| number(seen, "/status/readyReplicas")).unwrap_or(0);
    let enough = |seen: Option<&Value>| (ready(seen) >= wanted).then_some(());
    if cluster.until(&workload.resource(), &["/status/readyReplicas"], enough).await?.is_some() {
        return Ok(());
    }
    let (told, now): (String, u32) = (named(&workload.told()), standing::ready(cluster, workload).await?.1);
    Err(transient(format!(
        "{wanted} pods of {told} were asked for, and {now} are ready: has the cluster room for them?"
    )))
}
