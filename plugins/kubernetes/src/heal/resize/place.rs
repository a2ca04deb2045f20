//! The limit of a container, raised on its pod, in place.
//!
//! First the note, then the limit, then the proof. Where the proof says that it can't be, limit and note are what they were: the end isn't
//! answered, and a pod that waits for what it will never get waits for nothing. Not here: whose limit, and how much (`limit`).

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    quote,
};
use serde_json::{Value, json};

use super::{
    Hungry, PROVE,
    limit::{Limit, Plan},
};
use crate::{
    api::{Cluster, Refused, Sent, Written, text},
    heal::{TRIES, named, raised::Raised},
    patience::Patience,
    pods::MEMORY,
    quantity::Memory,
    resource::Resource,
    workload::Workload,
};

/// What the limits of a pod are.
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

/// A container that was given a new limit.
pub(super) struct Given<'h> {
    to: &'h Hungry,
    memory: Memory,
    noted: Raised,
    /// What it had, if this run has seen that.
    before: Option<Limit>,
}

/// Why a node can't do it.
pub(super) struct Impossible {
    /// In its words.
    pub(super) why: String,
    /// Whether it may another time.
    pub(super) later: bool,
}

/// Gives a container its new limit, if its node and the API server know how to.
pub(super) async fn give<'h>(
    cluster: &Cluster<'_>,
    workload: &Workload,
    one: &'h Hungry,
    ceiling: Memory,
) -> Result<Result<Given<'h>, Impossible>, Failed> {
    let (of, container, uid) = (one.pod.resource(workload), one.container.as_str(), one.pod.uid.as_str());
    let mut before = None;
    for _ in 0..TRIES {
        let seen = this(cluster, &of, &LIMITS, one).await?;
        let Some(limit) = Limit::find(&seen, "/spec", container) else {
            let (container, node) = (named(container), named(&one.pod.node));
            let why = "that ran out, which a drain is for";
            return Err(permanent(format!(
                "{container} has no memory limit: it was the memory of node {node} {why}"
            )));
        };
        let noted = Raised::read(text(&seen, "/metadata/annotations/backstay.dev~1memory"));
        let raise = match limit.plan(cluster, noted.of(container), one.at, ceiling)? {
            Plan::Answered(raise) => return Ok(Ok(Given { to: one, memory: raise.to, noted, before })),
            Plan::Raise(raise) => raise,
        };
        let with = noted.with(container, raise);
        if with != noted && note(cluster, &of, one, Some(&with)).await? != Written::Done {
            continue;
        }
        let resize = of.clone().part("resize");
        match cluster.send("PATCH", &resize, &limit.raised(uid, raise.to)).await? {
            Sent::Done => {
                return Ok(Ok(Given { to: one, memory: raise.to, noted: with, before: Some(limit) }));
            }
            // The pod is of a node or a server that can't, or it isn't what it was a moment ago.
            Sent::Answered(Refused { status: 404 | 422, message, .. }) => {
                let now = this(cluster, &of, &LIMITS, one).await?;
                if Limit::find(&now, "/spec", container).as_ref() == Some(&limit) {
                    forget(cluster, &of, one, &with.without(container, limit.memory())).await?;
                    return Ok(Err(Impossible { why: message, later: false }));
                }
            }
            Sent::Answered(refused) if !matches!(refused.status, 409 | 429 | 500..600) => {
                return Err(refused.about("PATCH", &of));
            }
            Sent::Answered(_) | Sent::Unknown => before = Some(limit),
        }
    }
    let name = named(&one.pod.name);
    Err(transient(format!("pod {name} was not resized in {TRIES} tries: somebody else changes it")))
}

/// Waits until all run with their new limits, and go on doing so; or names one whose node can't do it.
pub(super) async fn prove<'h>(
    cluster: &Cluster<'_>,
    workload: &Workload,
    given: &[Given<'h>],
) -> Result<Result<(), (&'h Hungry, Impossible)>, Failed> {
    let mut patience = Patience::new(cluster.config());
    let mut since = Vec::new();
    for one in given {
        let of = one.to.pod.resource(workload);
        let begun = loop {
            let seen = this(cluster, &of, &MADE, one.to).await?;
            if let Some(impossible) = pending(&seen) {
                take_back(cluster, &of, one).await?;
                return Ok(Err((one.to, impossible)));
            }
            if let Some(begun) = runs(&seen, one) {
                break begun;
            }
            if !patience.wait(cluster.ctx()).await? {
                let (container, pod) = (named(&one.to.container), named(&one.to.pod.name));
                let memory = one.memory.written();
                return Err(transient(format!(
                    "{container} of pod {pod} was given {memory}, and doesn't run with it"
                )));
            }
        };
        since.push((one, of, begun));
    }
    cluster.ctx().pause(PROVE.count(cluster.config()).into()).await?;
    for (one, of, begun) in since {
        let seen = this(cluster, &of, &MADE, one.to).await?;
        if runs(&seen, one).is_none_or(|now| now != begun) {
            let (container, pod) = (named(&one.to.container), named(&one.to.pod.name));
            let memory = one.memory.written();
            return Err(transient(format!(
                "{container} of pod {pod} ended again with its new limit, {memory}"
            )));
        }
    }
    Ok(Ok(()))
}

/// Undoes a raise that came to nothing. Limit and note say what they were made: done twice it is done once.
async fn take_back(cluster: &Cluster<'_>, of: &Resource, one: &Given<'_>) -> Result<(), Failed> {
    // Of a run before this one nobody knows what it had. The next pod has the template's limit.
    let Some(before) = &one.before else { return Ok(()) };
    let patch = before.put_back(&one.to.pod.uid, one.memory);
    for _ in 0..TRIES {
        match cluster.send("PATCH", &of.clone().part("resize"), &patch).await? {
            Sent::Done | Sent::Answered(Refused { status: 404 | 422, .. }) => break,
            Sent::Answered(_) | Sent::Unknown => {}
        }
    }
    forget(cluster, of, one.to, &one.noted.without(&one.to.container, before.memory())).await
}

/// Makes the note what it was before.
async fn forget(cluster: &Cluster<'_>, of: &Resource, one: &Hungry, before: &Raised) -> Result<(), Failed> {
    for _ in 0..TRIES {
        if note(cluster, of, one, (*before != Raised::default()).then_some(before)).await? != Written::Unknown
        {
            break;
        }
    }
    Ok(())
}

/// Writes the note, or takes it away.
async fn note(
    cluster: &Cluster<'_>,
    of: &Resource,
    one: &Hungry,
    note: Option<&Raised>,
) -> Result<Written, Failed> {
    let note = json!({ MEMORY: note.map(Raised::written) });
    cluster.merge(of, &json!({ "metadata": { "uid": one.pod.uid, "annotations": note } })).await
}

/// Since when a container has been running, if it has its new limit.
fn runs(seen: &Value, one: &Given<'_>) -> Option<String> {
    let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let mut all = lists.into_iter().filter_map(|list| seen.pointer(list)?.as_array()).flatten();
    let status = all.find(|status| text(status, "/name") == one.to.container)?;
    let has = Memory::parse(text(status, "/resources/limits/memory")).is_some_and(|has| has >= one.memory);
    let since = text(status, "/state/running/startedAt");
    (has && !since.is_empty()).then(|| since.into())
}

/// Why a resize doesn't come about, where the kubelet says so.
fn pending(seen: &Value) -> Option<Impossible> {
    let conditions = seen.pointer("/status/conditions")?.as_array()?;
    let pending = conditions.iter().find(|condition| text(condition, "/type") == "PodResizePending")?;
    let why = quote::text(text(pending, "/message"));
    match text(pending, "/reason") {
        "Infeasible" => Some(Impossible { why, later: false }),
        "Deferred" => Some(Impossible { why, later: true }),
        _ => None,
    }
}

/// The fields of this very pod.
async fn this(cluster: &Cluster<'_>, of: &Resource, fields: &[&str], one: &Hungry) -> Result<Value, Failed> {
    match cluster.get(of, fields).await? {
        Some(seen) if text(&seen, "/metadata/uid") == one.pod.uid => Ok(seen),
        Some(_) | None => {
            let why = "was replaced meanwhile: its limit is the template's again";
            Err(transient(format!("pod {} {why}", named(&one.pod.name))))
        }
    }
}
