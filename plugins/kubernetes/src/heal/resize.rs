//! The playbook `resize`: a container that wanted more memory than it may have gets more, in place.
//!
//! One step at a time and a few steps in all, up to a ceiling that the operator sets: a leak isn't cured by memory, and shows again. The
//! pod stays, and its other containers notice nothing. Where its node can't do that, the limit in the template is raised, if that is
//! allowed; else the run fails and says so. What is raised in place lasts as long as the pod: the next one has the template's limit again,
//! and the template belongs to whoever wrote it.
//!
//! Not here: finding memory where a container has no limit. Then it was the node's that ran out (`drain`).

mod limit;
mod template;

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    quote,
    settings::{Flag, Number, Problem, Setting, SettingInfo, Text, problem},
};
use serde_json::{Value, json};

use self::limit::{Limit, Plan};
use crate::{
    api::{Cluster, Refused, Sent, Written, text},
    clock::Time,
    heal::{PODS_MAX, TRIES, named, raised::Raised},
    patience::Patience,
    pods::{self, Depth, MEMORY, Pod},
    quantity::Memory,
    resource::{ROLLOUTS, Resource},
    standing::Standing,
    workload::Workload,
};

const STEP: Number = Number {
    name: "memory-step-permille",
    default: 1500,
    least: 1050,
    most: 4000,
    help: "What a memory limit is after one step, in permille of what it was.",
};
const STEPS: Number = Number {
    name: "memory-steps",
    default: 2,
    least: 1,
    most: 10,
    help: "So often is the memory limit of a container raised at most.",
};
const CEILING: Text = Text {
    name: "memory-ceiling",
    default: "",
    help: "No memory limit is raised beyond this: 2Gi, say. Empty: nobody has said how much there may be, and nothing is raised.",
};
const TEMPLATE: Flag = Flag {
    name: "memory-in-template",
    default: false,
    help: "Whether the limit in the template is raised where a node can't raise it in place. All pods are then replaced.",
};
const PROVE: Number = Number {
    name: "memory-prove-ms",
    default: 10_000,
    least: 0,
    most: 600_000,
    help: "So long a container has to run with its new limit before it counts as cured, in ms.",
};
/// The most pods whose limits one run raises.
const RAISED_MAX: usize = 10;

/// Of a pod, what its limits are.
const LIMITS: [&str; 6] = [
    "/metadata/uid",
    "/metadata/annotations/backstay.dev~1memory",
    "/spec/containers/*/name",
    "/spec/containers/*/resources",
    "/spec/initContainers/*/name",
    "/spec/initContainers/*/resources",
];
/// What the kubelet made of a resize.
const MADE: [&str; 10] = [
    "/metadata/uid",
    "/status/conditions/*/type",
    "/status/conditions/*/reason",
    "/status/conditions/*/message",
    "/status/containerStatuses/*/name",
    "/status/containerStatuses/*/resources/limits/memory",
    "/status/containerStatuses/*/state/running/startedAt",
    "/status/initContainerStatuses/*/name",
    "/status/initContainerStatuses/*/resources/limits/memory",
    "/status/initContainerStatuses/*/state/running/startedAt",
];
pub(super) fn infos() -> Vec<SettingInfo> {
    Vec::from([STEP.info(), STEPS.info(), CEILING.info(), TEMPLATE.info(), PROVE.info()])
}

pub(super) fn problems(config: &[Setting]) -> Vec<Problem> {
    let ceiling = CEILING.of(config);
    let wrong = !ceiling.is_empty() && Memory::parse(ceiling).is_none();
    let why = format!("{ceiling:?} is no amount of memory: 512Mi and 2Gi are");
    wrong.then(|| problem(CEILING.name, why)).into_iter().collect()
}

/// A container that ended for want of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hungry {
    pod: Pod,
    container: String,
    at: Time,
}

/// What became of one container.
enum Became {
    /// It has its new limit.
    Raised,
    /// Its node can't do it, or not now.
    Impossible { why: String, later: bool },
}

/// Raises the limit of each container that ended for want of memory, and sees that it runs with it.
pub(super) async fn resize(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let Some(ceiling) = Memory::parse(CEILING.of(cluster.config())) else {
        return Err(permanent(
            "nobody has said how much memory there may be: the setting memory-ceiling is empty",
        ));
    };
    let standing = Standing::of(cluster, workload).await?;
    let pods = pods::all(cluster, workload, &standing, Depth::Ended, PODS_MAX).await?;
    let hungry = hungry(pods);
    if hungry.is_empty() {
        let told = named(&workload.told());
        return Err(permanent(format!(
            "no container of {told} ended for want of memory: a resize cures nothing else"
        )));
    }
    for one in hungry.iter().take(RAISED_MAX) {
        if let Became::Impossible { why, later } = raise(cluster, workload, one, ceiling).await? {
            return instead(cluster, workload, &hungry, one, ceiling, (why, later)).await;
        }
    }
    match hungry.len().checked_sub(RAISED_MAX) {
        None | Some(0) => Ok(()),
        Some(left) => {
            Err(transient(format!("{RAISED_MAX} limits were raised, and {left} more are to be: try again")))
        }
    }
}

fn hungry(pods: Vec<Pod>) -> Vec<Hungry> {
    let stays = pods.into_iter().filter(|pod| !pod.leaving);
    stays
        .flat_map(|pod| {
            let ended = pod.containers.iter().filter_map(|container| {
                let ended = container.ended.as_ref().filter(|ended| ended.wanted_memory())?;
                Some((container.name.clone(), ended.at?))
            });
            let ended: Vec<(String, Time)> = ended.collect();
            ended.into_iter().map(move |(container, at)| Hungry { pod: pod.clone(), container, at })
        })
        .collect()
}

/// Raises one limit in place.
async fn raise(
    cluster: &Cluster<'_>,
    workload: &Workload,
    one: &Hungry,
    ceiling: Memory,
) -> Result<Became, Failed> {
    let (of, container) = (one.pod.resource(workload), one.container.as_str());
    for _ in 0..TRIES {
        let seen = this(cluster, &of, &LIMITS, &one.pod).await?;
        let Some(limit) = Limit::find(&seen, "/spec", container) else {
            let (container, node) = (named(container), named(&one.pod.node));
            return Err(permanent(format!(
                "{container} has no memory limit: it was the memory of node {node} that ran out, which a drain is for"
            )));
        };
        let before = Raised::read(text(&seen, "/metadata/annotations/backstay.dev~1memory"));
        let raise = match limit.plan(cluster, before.of(container), one.at, ceiling)? {
            Plan::Answered(raise) => return proven(cluster, &of, one, raise.to).await,
            Plan::Raise(raise) => raise,
        };
        let noted = before.with(container, raise);
        if noted != before && note(cluster, &of, &one.pod, Some(&noted)).await? != Written::Done {
            continue;
        }
        let sent =
            cluster.send("PATCH", &of.clone().part("resize"), &limit.raised(&one.pod.uid, raise.to)).await?;
        let became = match sent {
            Sent::Done => proven(cluster, &of, one, raise.to).await?,
            // The pod is of a node or a server that can't, or it isn't what it was a moment ago.
            Sent::Answered(Refused { status: 404 | 422, message, .. }) => {
                let now = this(cluster, &of, &LIMITS, &one.pod).await?;
                if Limit::find(&now, "/spec", container).as_ref() != Some(&limit) {
                    continue;
                }
                Became::Impossible { why: message, later: false }
            }
            Sent::Answered(refused) if !matches!(refused.status, 409 | 429 | 500..600) => {
                return Err(refused.about("PATCH", &of));
            }
            Sent::Answered(_) | Sent::Unknown => continue,
        };
        if let Became::Impossible { .. } = &became {
            // As it was before: the end isn't answered, and a pod that waits for what it will never get waits for nothing.
            put_back(cluster, &of, &limit.put_back(&one.pod.uid, raise.to)).await?;
            forget(cluster, &of, &one.pod, &noted.without(container, limit.memory())).await?;
        }
        return Ok(became);
    }
    Err(transient(format!(
        "pod {} was not resized in {TRIES} tries: somebody else changes it",
        named(&one.pod.name)
    )))
}

/// Writes the note, or takes it away.
async fn note(
    cluster: &Cluster<'_>,
    of: &Resource,
    pod: &Pod,
    note: Option<&Raised>,
) -> Result<Written, Failed> {
    let note = json!({ MEMORY: note.map(Raised::written) });
    cluster.merge(of, &json!({ "metadata": { "uid": pod.uid, "annotations": note } })).await
}

/// Undoes a raise that came to nothing. The patch says what it was raised to: done twice it is done once.
async fn put_back(cluster: &Cluster<'_>, of: &Resource, patch: &Value) -> Result<(), Failed> {
    for _ in 0..TRIES {
        match cluster.send("PATCH", &of.clone().part("resize"), patch).await? {
            Sent::Done | Sent::Answered(Refused { status: 404 | 422, .. }) => break,
            Sent::Answered(_) | Sent::Unknown => {}
        }
    }
    Ok(())
}

/// Makes the note what it was before. Done twice it is done once.
async fn forget(cluster: &Cluster<'_>, of: &Resource, pod: &Pod, before: &Raised) -> Result<(), Failed> {
    for _ in 0..TRIES {
        if note(cluster, of, pod, (*before != Raised::default()).then_some(before)).await? != Written::Unknown
        {
            break;
        }
    }
    Ok(())
}

/// Waits until a container runs with its new limit, and goes on doing so.
async fn proven(cluster: &Cluster<'_>, of: &Resource, one: &Hungry, to: Memory) -> Result<Became, Failed> {
    let mut patience = Patience::new(cluster.config());
    let (container, pod) = (named(&one.container), named(&one.pod.name));
    let mut since = None;
    loop {
        let seen = this(cluster, of, &MADE, &one.pod).await?;
        if let Some(pending) = pending(&seen) {
            return Ok(pending);
        }
        match (since.take(), runs(&seen, &one.container, to)) {
            (Some(before), Some(now)) if before == now => return Ok(Became::Raised),
            (Some(_), _) => {
                let why =
                    format!("{container} of pod {pod} ended again with its new limit, {}", to.written());
                return Err(transient(why));
            }
            (None, Some(now)) => {
                since = Some(now);
                cluster.ctx().pause(PROVE.count(cluster.config()).into()).await?;
            }
            (None, None) => {
                if !patience.wait(cluster.ctx()).await? {
                    let to = to.written();
                    return Err(transient(format!(
                        "{container} of pod {pod} was given {to}, and doesn't run with it"
                    )));
                }
            }
        }
    }
}

/// Since when a container has been running, if it has that limit.
fn runs(seen: &Value, container: &str, to: Memory) -> Option<String> {
    let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let mut all = lists.into_iter().filter_map(|list| seen.pointer(list)?.as_array()).flatten();
    let status = all.find(|status| text(status, "/name") == container)?;
    let has = Memory::parse(text(status, "/resources/limits/memory")).is_some_and(|has| has >= to);
    let since = text(status, "/state/running/startedAt");
    (has && !since.is_empty()).then(|| since.into())
}

/// Why a resize doesn't come about, where the kubelet says so.
fn pending(seen: &Value) -> Option<Became> {
    let conditions = seen.pointer("/status/conditions")?.as_array()?;
    let pending = conditions.iter().find(|condition| text(condition, "/type") == "PodResizePending")?;
    let (reason, message) = (text(pending, "/reason"), quote::text(text(pending, "/message")));
    match reason {
        "Infeasible" => Some(Became::Impossible { why: message, later: false }),
        "Deferred" => Some(Became::Impossible { why: message, later: true }),
        _ => None,
    }
}

/// The fields of this very pod.
async fn this(cluster: &Cluster<'_>, of: &Resource, fields: &[&str], pod: &Pod) -> Result<Value, Failed> {
    match cluster.get(of, fields).await? {
        Some(seen) if text(&seen, "/metadata/uid") == pod.uid => Ok(seen),
        Some(_) | None => Err(transient(format!(
            "pod {} was replaced meanwhile: its limit is the template's again",
            named(&pod.name)
        ))),
    }
}

/// What is done where a node can't raise a limit in place.
async fn instead(
    cluster: &Cluster<'_>,
    workload: &Workload,
    hungry: &[Hungry],
    one: &Hungry,
    ceiling: Memory,
    impossible: (String, bool),
) -> Result<(), Failed> {
    if TEMPLATE.of(cluster.config()) && workload.kind != ROLLOUTS {
        let same = hungry.iter().filter(|other| other.container == one.container);
        let newest = same.map(|other| other.at).max().unwrap_or(one.at);
        return template::raise(cluster, workload, &one.container, newest, ceiling).await;
    }
    let (node, (why, later)) = (named(&one.pod.node), impossible);
    let failed = if later { transient } else { permanent };
    Err(failed(format!(
        "node {node} can't raise the limit in place: {why}: raise it in the template (memory-in-template)"
    )))
}
