//! The revisions of a workload: which of them is home.
//!
//! A revision is a ReplicaSet that a Deployment or a Rollout made and still keeps. A number is no age of a release: `rollout restart`
//! makes a new one of the same image, and a way back makes the newest one of an old image. So what counts is what a revision's
//! template runs, and what is known of its pods. Not here: which release is wanted (`core`), and bringing its template back.
//!
//! What nobody can know: a revision whose pods are gone tells no more whether they were ever well, unless it was tried in vain
//! (`in_vain`). Of several that run the release, one with pods that are available goes before one without any, and else the newest is
//! tried, then the oldest of the rest.

pub mod in_vain;

use alloc::{format, string::String, vec::Vec};

use backstay_sdk::{
    executor::{Failed, Release, permanent, transient},
    quote,
    settings::Setting,
};
use serde_json::Value;

use crate::{
    api::{Cluster, escaped, number, text},
    resource::REPLICA_SETS,
    standing,
    template::{self, Told},
};

/// How many are asked for at most. Kubernetes keeps ten unless told otherwise, and each takes room in the run's state.
const REVISIONS_MAX: usize = 50;

/// How the controller of a kind marks its ReplicaSets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    /// The annotation with the revision's number.
    pub revision: &'static str,
    /// The label with the hash of its template.
    pub hash: &'static str,
}

/// Deployments: kube-controller-manager.
pub const BY_DEPLOYMENT: Marking =
    Marking { revision: "deployment.kubernetes.io/revision", hash: "pod-template-hash" };
/// Rollouts: the controller of Argo Rollouts.
pub const BY_ROLLOUT: Marking =
    Marking { revision: "rollout.argoproj.io/revision", hash: "rollouts-pod-template-hash" };

/// One revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// The ReplicaSet.
    pub name: String,
    /// Its number. 0 where it has none: older than all others, as Kubernetes has it.
    pub number: u64,
    /// The hash of its template, as its pods are labelled. Two templates can have had the same, then one was counted on.
    pub hash: String,
    /// How many pods it is to have now.
    pub wanted: i64,
    /// How many it has that are ready, and have been for long enough.
    pub available: i64,
    /// What its template runs. `None`: none of its containers is the product.
    pub told: Option<Told>,
}

/// What the workload says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now<'a> {
    /// The hash of the revision that its template is, where its controller has seen that template.
    pub current: Option<&'a str>,
    /// The hash of the revision that a Rollout has fully promoted: it was proven, and has the traffic of every stage that failed.
    pub stable: Option<&'a str>,
    /// The current one did not come up within the workload's own deadline.
    pub gave_up: bool,
    /// The numbers of those that were tried before and did not either.
    pub in_vain: &'a [u64],
}

/// Why there is no revision to go home to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// None that is kept runs the release.
    Unknown,
    /// This is the newest that does, and its pods don't come up.
    NotWell(String),
}

impl Revision {
    /// Reads one of a list.
    fn of(found: &Value, owner: &str, marking: Marking, config: &[Setting]) -> Option<Self> {
        let owners = found.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
        let is_owned = owners.iter().any(|it| text(it, "/uid") == owner);
        if !is_owned || !text(found, "/metadata/deletionTimestamp").is_empty() {
            return None;
        }
        let mark = |part: &str, key: &str| {
            found.pointer(part).and_then(|part| part.get(key)).and_then(Value::as_str).unwrap_or_default()
        };
        Some(Self {
            name: text(found, "/metadata/name").into(),
            number: mark("/metadata/annotations", marking.revision).parse().unwrap_or(0),
            hash: mark("/metadata/labels", marking.hash).into(),
            wanted: number(found, "/spec/replicas").unwrap_or(0),
            available: number(found, "/status/availableReplicas").unwrap_or(0),
            told: found.pointer("/spec/template").and_then(|template| Told::of(template, config)),
        })
    }

    /// Pods were asked for, and not one is available.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.wanted > 0 && self.available == 0
    }

    fn runs(&self, release: &Release) -> bool {
        self.told.as_ref().is_some_and(|told| told.is(release))
    }
}

/// The revisions of the workload with the uid `owner`, whose pods `selector` selects.
///
/// # Errors
/// Why they can't be read.
pub async fn list(
    cluster: &Cluster<'_>,
    namespace: &str,
    owner: &str,
    selector: &Value,
    marking: Marking,
) -> Result<Vec<Revision>, Failed> {
    let selector =
        standing::selector(selector).ok_or_else(|| permanent("it does not say which pods are its own"))?;
    let mut fields: Vec<String> = [
        "/metadata/name",
        "/metadata/deletionTimestamp",
        "/metadata/ownerReferences/*/uid",
        "/spec/replicas",
        "/status/availableReplicas",
    ]
    .map(String::from)
    .into();
    fields.push(format!("/metadata/annotations/{}", escaped(marking.revision)));
    fields.push(format!("/metadata/labels/{}", escaped(marking.hash)));
    fields.extend(template::fields("/spec/template", cluster.config()));
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let all = REPLICA_SETS.of(namespace).with("labelSelector", &selector);
    let found = cluster.list(&all, &fields, REVISIONS_MAX).await?;
    Ok(found.iter().filter_map(|one| Revision::of(one, owner, marking, cluster.config())).collect())
}

/// The revision to go home to.
///
/// What a Rollout has fully promoted is home if it runs the release: whatever is being rolled out over it never was whole. Else
/// what is there already stays, unless it did not come up in time; and else it is another one whose pods are available, or, among
/// those without pods, the newest, and after that did not come up the oldest. One whose pods are wanted and don't come up is never
/// moved to, nor is one that was tried in vain since another release ran; one that was tried in vain before that comes last.
///
/// # Errors
/// That there is none.
pub fn choose<'r>(
    revisions: &'r [Revision],
    release: &Release,
    now: &Now<'_>,
) -> Result<&'r Revision, NoWay> {
    let is = |revision: &Revision, hash: Option<&str>| hash.is_some_and(|hash| hash == revision.hash);
    let home = |revision: &&Revision| revision.runs(release);
    let find = |hash| revisions.iter().filter(home).find(|revision| is(revision, hash));
    if let Some(stable) = find(now.stable) {
        return Ok(stable);
    }
    let current = find(now.current);
    if let Some(current) = current.filter(|_| !now.gave_up) {
        return Ok(current);
    }
    // What was tried since another release ran is not tried once more: two that don't come up would take turns.
    let since = revisions.iter().filter(|it| !it.runs(release)).map(|it| it.number).max();
    let did_fail = |it: &Revision| now.in_vain.contains(&it.number);
    let is_tried = |it: &Revision| did_fail(it) && Some(it.number) > since;
    let others = revisions.iter().filter(home).filter(|it| !is(it, now.current));
    let others = others.filter(|it| !it.is_failing() && !is_tried(it));
    // Beside one that does not come up stand restarts of it, which share what it was configured by.
    let age = |it: &Revision| if current.is_some() { u64::MAX - it.number } else { it.number };
    others.max_by_key(|it| (it.available > 0, !did_fail(it), age(it))).ok_or_else(|| {
        let newest = revisions.iter().filter(home).max_by_key(|it| it.number);
        newest.map_or(NoWay::Unknown, |newest| NoWay::NotWell(newest.name.clone()))
    })
}

impl NoWay {
    /// The failure that says so.
    #[must_use]
    pub fn failed(&self, release: &Release, revisions: &[Revision]) -> Failed {
        let version = quote::text(&release.version);
        match self {
            Self::Unknown => {
                let told = revisions.iter().max_by_key(|it| it.number).and_then(|it| it.told.as_ref());
                let image = told.and_then(|told| told.image.rsplit('/').next()).unwrap_or("nothing");
                permanent(format!(
                    "no ReplicaSet that is kept runs {version}: of {} the newest runs {}",
                    revisions.len(),
                    quote::text(image),
                ))
            }
            Self::NotWell(name) => transient(format!(
                "nothing was moved: {} is the newest that runs {version}, and none of its pods is available",
                quote::text(name)
            )),
        }
    }
}

#[cfg(test)]
mod tests;
