//! The pods of a workload: on which nodes they are, of which revision, and what is wrong with each.
//!
//! Here: reading them, a few fields of each, and what their words mean. Not here: what is done about it (`heal`), and what it means for
//! a release (`look`).
//!
//! All that is read stays in the run's state. So there is a most of pods, and what only looks asks for less of each.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, permanent},
    quote,
    settings::Number,
};
use serde_json::Value;

use crate::{
    api::{Cluster, number, text},
    clock::Time,
    resource::{PODS, Resource},
    standing::{Standing, revision_label},
    workload::Workload,
};

/// How long a pod may take to become ready.
pub const STARTS: Number = Number {
    name: "pod-start-ms",
    default: 120_000,
    least: 0,
    most: 3_600_000,
    help: "So long may a pod take to become ready, in ms. One that is younger, and has not ended once, is starting and no trouble.",
};

/// How many pods are asked for at once. The fields of so many fit into an answer.
pub(crate) const PAGE: u32 = 40;
/// So much of the run's state has to be left for another page of pods, in bytes.
const ROOM_OF_A_PAGE: usize = 34 * 1024;

/// The annotation of a pod that says which of its limits were raised, and when.
pub(crate) const MEMORY: &str = "backstay.dev/memory";

/// What says which pod it is, and where.
const PLACE: [&str; 3] = ["/metadata/name", "/metadata/deletionTimestamp", "/spec/nodeName"];
/// What says whether it is ready, by name, or has yet to become so.
const READY: [&str; 5] = [
    "/metadata/uid",
    "/metadata/creationTimestamp",
    "/status/conditions/*/type",
    "/status/conditions/*/status",
    "/status/containerStatuses/*/restartCount",
];
/// The same for whoever only looks: whether anything is not as it should be.
const DOUBTS: [&str; 1] = ["/status/conditions/*/status"];
/// What became of its containers. An end that the kubelet has not followed up yet is now.
const CONTAINERS: [&str; 7] = [
    "/metadata/annotations/backstay.dev~1memory",
    "/status/containerStatuses/*/state/*/reason",
    "/status/containerStatuses/*/lastState/*/reason",
    "/status/containerStatuses/*/lastState/*/finishedAt",
    "/status/initContainerStatuses/*/state/*/reason",
    "/status/initContainerStatuses/*/lastState/*/reason",
    "/status/initContainerStatuses/*/lastState/*/finishedAt",
];
/// Which they are, and when exactly they ended.
const NAMES: [&str; 4] = [
    "/metadata/uid",
    "/status/containerStatuses/*/name",
    "/status/initContainerStatuses/*/name",
    "/status/containerStatuses/*/state/*/finishedAt",
];

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// What it is called.
    pub name: String,
    /// Which it is: the next one may have the same name. Empty where it was only looked at.
    pub uid: String,
    /// Where it is; empty where it is nowhere yet.
    pub node: String,
    /// Of which revision of the workload.
    pub revision: String,
    /// Whether it is being taken away.
    pub leaving: bool,
    /// Whether it is ready. Where it was only looked at: whether nothing says that it isn't.
    pub ready: bool,
    /// When it was made, where that was asked for.
    pub made: Option<Time>,
    /// Whether a container of it has ended and was begun again, where that was asked for.
    pub has_ended: bool,
    /// Its containers, those that begin and go on running beside the others among them.
    pub containers: Vec<Container>,
    /// Its own note on raised limits, as it is written.
    pub memory: String,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What it is called. Empty where it was only looked at.
    pub name: String,
    /// Why it doesn't run, as the kubelet has it: `CrashLoopBackOff`, `ImagePullBackOff`. Empty where it isn't waiting.
    pub waits: String,
    /// How it ended the last time, if it ever did.
    pub ended: Option<Ended>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why, as the kubelet has it: `Error`, `OOMKilled`, `Completed`.
    pub reason: String,
    /// When. `None`: now, or it wasn't asked for.
    pub at: Option<Time>,
}

/// How a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Ready.
    Ready,
    /// Not yet: it was made a short while ago, and nothing has gone wrong with it.
    Starting,
    /// Not ready, and should be.
    Sick,
}

/// How much is asked for of each pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What says that something is wrong.
    Seen,
    /// Where it is, and whether it is ready.
    Placed,
    /// What became of its containers, by name.
    Ended,
}

impl Depth {
    fn fields(self) -> impl Iterator<Item = &'static str> {
        let more: [&[&str]; 2] = match self {
            Self::Seen => [&DOUBTS, &CONTAINERS],
            Self::Placed => [&READY, &[]],
            Self::Ended => [&CONTAINERS, &NAMES],
        };
        PLACE.into_iter().chain(more.into_iter().flatten().copied())
    }
}

/// Some of a workload's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Several {
    /// They.
    pub(crate) pods: Vec<Pod>,
    /// Whether there are more.
    pub(crate) more: bool,
}

/// Pods of a workload that have not ended for good, at most `most` of them, as whoever only looks sees them.
///
/// # Errors
/// They can't be read.
pub(crate) async fn some(
    cluster: &Cluster<'_>,
    workload: &Workload,
    standing: &Standing,
    most: u32,
) -> Result<Several, Failed> {
    let (all, revision) = (list_of(workload, standing), label(workload));
    let fields = fields(Depth::Seen, &revision);
    // Few pods come out of the API server's memory, as a watch would have them. It then takes no notice of a limit, so that many are
    // asked for in pages.
    if standing.pods.max(standing.wanted) <= PAGE {
        let (items, _) = cluster.page(&all.with("resourceVersion", "0"), &fields).await?;
        return Ok(Several {
            pods: items.iter().map(|item| Pod::read(item, &revision)).collect(),
            more: false,
        });
    }
    let (mut pods, mut next) = (Vec::new(), String::new());
    loop {
        let left = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(pods.len());
        if left == 0 || (!pods.is_empty() && cluster.room() < ROOM_OF_A_PAGE) {
            return Ok(Several { pods, more: true });
        }
        let mut page = all.clone().with("limit", &left.min(PAGE as usize).to_string());
        if !next.is_empty() {
            page = page.with("continue", &next);
        }
        let (items, follows) = cluster.page(&page, &fields).await?;
        pods.extend(items.iter().map(|item| Pod::read(item, &revision)));
        next = follows;
        if next.is_empty() {
            return Ok(Several { pods, more: false });
        }
    }
}

/// All pods of a workload that have not ended for good, in one page.
///
/// # Errors
/// They can't be read, or there are more than `most`.
pub(crate) async fn all(
    cluster: &Cluster<'_>,
    workload: &Workload,
    standing: &Standing,
    depth: Depth,
    most: u32,
) -> Result<Vec<Pod>, Failed> {
    let (all, revision) = (list_of(workload, standing), label(workload));
    let page = all.with("limit", &most.to_string());
    let (items, next) = cluster.page(&page, &fields(depth, &revision)).await?;
    if next.is_empty() {
        return Ok(items.iter().map(|item| Pod::read(item, &revision)).collect());
    }
    let told = quote::text(&workload.told());
    Err(permanent(format!("{told} has more than {most} pods, too many for one run")))
}

fn list_of(workload: &Workload, standing: &Standing) -> Resource {
    PODS.of(&workload.namespace)
        .with("labelSelector", &standing.selector)
        .with("fieldSelector", "status.phase!=Failed,status.phase!=Succeeded")
}

/// Where a pod says of which revision it is.
fn label(workload: &Workload) -> String {
    format!("/metadata/labels/{}", revision_label(workload))
}

fn fields(depth: Depth, revision: &str) -> Vec<String> {
    depth.fields().map(Into::into).chain([revision.into()]).collect()
}

impl Pod {
    fn read(item: &Value, revision: &str) -> Self {
        let of = |pointer: &str| String::from(text(item, pointer));
        let conditions = list(item, "/status/conditions");
        let is_true = |condition: &&Value| text(condition, "/status") == "True";
        let named = conditions.iter().find(|condition| text(condition, "/type") == "Ready");
        // Conditions without names come from whoever only looks: then each has to be well.
        let ready = named.map_or_else(
            || !conditions.is_empty() && conditions.iter().all(|condition| is_true(&condition)),
            |condition| is_true(&condition),
        );
        let first = list(item, "/status/initContainerStatuses");
        let containers = first.iter().chain(list(item, "/status/containerStatuses")).map(Container::read);
        Self {
            name: of("/metadata/name"),
            uid: of("/metadata/uid"),
            node: of("/spec/nodeName"),
            revision: of(revision),
            leaving: !text(item, "/metadata/deletionTimestamp").is_empty(),
            ready,
            made: Time::parse(text(item, "/metadata/creationTimestamp")),
            has_ended: list(item, "/status/containerStatuses")
                .iter()
                .any(|status| number(status, "/restartCount").is_some_and(|count| count > 0)),
            containers: containers.collect(),
            memory: of("/metadata/annotations/backstay.dev~1memory"),
        }
    }

    /// Where it is on the API server.
    #[must_use]
    pub fn resource(&self, workload: &Workload) -> Resource {
        PODS.named(&workload.namespace, &self.name)
    }

    /// How it is at `now`, if it may take so many ms to become ready.
    #[must_use]
    pub fn health(&self, now: Time, starts_ms: u64) -> Health {
        let is_young = self.made.is_some_and(|made| now.ms_since(made) < starts_ms);
        if self.ready {
            Health::Ready
        } else if is_young && !self.has_ended {
            Health::Starting
        } else {
            Health::Sick
        }
    }
}

impl Container {
    fn read(status: &Value) -> Self {
        let ended = |state: &str| {
            let reason = text(status, &format!("{state}/reason"));
            let at = Time::parse(text(status, &format!("{state}/finishedAt")));
            (!reason.is_empty()).then(|| Ended { reason: reason.into(), at })
        };
        Self {
            name: text(status, "/name").into(),
            waits: text(status, "/state/waiting/reason").into(),
            ended: ended("/state/terminated").or_else(|| ended("/lastState/terminated")),
        }
    }

    /// Whether it ended again and again, and is held back for a while.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.waits == "CrashLoopBackOff"
    }

    /// Whether its image can't be had.
    #[must_use]
    pub fn lacks_image(&self) -> bool {
        matches!(
            self.waits.as_str(),
            "ErrImagePull"
                | "ImagePullBackOff"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "RegistryUnavailable"
        )
    }

    /// Whether it is being made, which takes a node with a disk and a network.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self.waits.as_str(), "ContainerCreating" | "PodInitializing")
    }
}

impl Ended {
    /// Whether it wanted more memory than it may have.
    #[must_use]
    pub fn wanted_memory(&self) -> bool {
        self.reason == "OOMKilled"
    }

    /// Whether it did what it was there for: a container that prepares a pod ends like that.
    #[must_use]
    pub fn was_done(&self) -> bool {
        self.reason == "Completed"
    }
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
