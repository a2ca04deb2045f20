//! What a look at a workload sees of machines in trouble, told as readings.
//!
//! | reading | what is counted |
//! |---|---|
//! | `pods-wanted`, `pods-ready` | pods |
//! | `infra.process-exited` | containers that ended lately, or are held back because they end again and again |
//! | `infra.out-of-memory` | the same for want of memory; pods that a node put out because it had none left |
//! | `infra.machine-lost` | nodes with the workload's pods that are not ready, or not heard of |
//! | `infra.disk` | such nodes whose disk is full; pods that a node put out because of that |
//! | `infra.network` | such nodes without a network; pods that can't begin for want of one |
//! | `unsettled.process-exited`, `unsettled.out-of-memory` | what isn't counted above because a release is on its way: evidence |
//! | `image-pull` | containers whose image can't be had: evidence. A release's fault, or a registry's, and no restart brings it |
//! | `pods-looked`, `nodes-looked` | how many were looked at, where there are more: evidence |
//!
//! **Whose fault.** A policy mends machines before it goes back. So what a bad release does to itself must not be told as the machine's
//! trouble, or it would be mended in place of sent home. The end of a container counts only if its pod is of a revision that was there
//! before anything was changed lately (`age`): the same that a restart asks for. A canary's crashes never count, nor do those
//! of a release that has yet to replace the one before. What a node does (lost, disk, network) counts whatever runs there: no release
//! does that.
//!
//! A look remembers nothing: "lately" is `look-back-ms` by the API server's clock. An end that a raised limit has answered isn't counted again.
//!
//! **What it costs.** Where all is well, three kinds of requests, all answered from the API server's memory as a watch would be: the workload, its
//! pods, and a few of their nodes. Revisions, the clock, pods that were put out and events are asked for only where something is wrong,
//! events (which the API server doesn't keep in memory) only where a pod doesn't say itself why it can't begin.
//!
//! Not here: which release is out (the executors), and what follows from a reading (policies, `core`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, all, both},
    readings::Readings,
    settings::{Number, SettingInfo},
};
use serde_json::Value;

use crate::{
    age::{self, Ages},
    api::{Cluster, text},
    clock::Time,
    heal::raised::Raised,
    nodes::{Ill, Node},
    pods::{self, Container, Pod, Several},
    resource::{EVENTS, PODS},
    standing::Standing,
    workload::Workload,
};

const BACK: Number = Number {
    name: "look-back-ms",
    default: 120_000,
    least: 10_000,
    most: 3_600_000,
    help: "What happened so long ago is still told as trouble, in ms. At least as long as the target's window, or a look may miss it.",
};
const PODS_MOST: Number = Number {
    name: "look-pods",
    default: 80,
    least: 40,
    most: 100,
    help: "So many pods are looked at in a look at most.",
};
const NODES_MOST: Number = Number {
    name: "look-nodes",
    default: 8,
    least: 0,
    most: 16,
    help: "So many nodes with pods of the target are looked at in a look at most, those with pods in trouble first. 0: none, where we may not.",
};

/// The most pods that were put out, and events, that are looked at: the newest trouble shows in a node, too.
const FEW: &str = "20";

pub(crate) fn infos() -> Vec<SettingInfo> {
    Vec::from([BACK.info(), PODS_MOST.info(), NODES_MOST.info()])
}

/// Looks, and says what it saw. What can't be read is left out.
///
/// # Errors
/// The workload or its pods can't be read: then nothing is known.
pub async fn tell(cluster: &Cluster<'_>, workload: &Workload, readings: &mut Readings) -> Result<(), Failed> {
    let standing = Standing::of(cluster, workload).await?;
    readings.say("pods-wanted", standing.wanted);
    readings.say("pods-ready", standing.ready);
    let most = PODS_MOST.count(cluster.config());
    let Several { pods, more } = pods::some(cluster, workload, &standing, most).await?;
    if more {
        readings.say("pods-looked", pods.len());
    }
    let pods: Vec<Pod> = pods.into_iter().filter(|pod| !pod.leaving).collect();
    let containers = || pods.iter().flat_map(|pod| &pod.containers);
    readings.say("image-pull", containers().filter(|container| container.lacks_image()).count());
    let is_whole = standing.ready >= standing.wanted;
    let quiet = is_whole && !containers().any(may_have_ended);
    let aged = async { if quiet { None } else { age::ages(cluster, workload, &standing).await.ok() } };
    let (nodes, aged) = both(nodes(cluster, &pods), aged).await;
    let mut seen = nodes.as_ref().map_or_else(Trouble::default, |(nodes, _)| Trouble::of_nodes(nodes));
    if let Some((nodes, true)) = &nodes {
        readings.say("nodes-looked", nodes.len());
    }
    if let Some(ages) = &aged {
        seen.ends(&pods, ages, BACK.count(cluster.config()).into());
        if !is_whole {
            seen.put_out(cluster, workload, &standing, ages.now).await;
            seen.without_network(cluster, workload, &pods, ages.now).await;
        }
    }
    seen.say(readings, nodes.is_some(), quiet || aged.is_some());
    Ok(())
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trouble {
    exited: usize,
    memory: usize,
    unsettled_exited: usize,
    unsettled_memory: usize,
    lost: usize,
    disk: usize,
    network: usize,
}

impl Trouble {
    fn of_nodes(nodes: &[Node]) -> Self {
        let with = |ill: Ill| nodes.iter().filter(|node| node.ills.contains(&ill)).count();
        Self { lost: with(Ill::Lost), disk: with(Ill::Disk), network: with(Ill::Network), ..Self::default() }
    }

    /// Counts containers that ended.
    fn ends(&mut self, pods: &[Pod], ages: &Ages, back_ms: u64) {
        for pod in pods {
            let (settled, raised) = (ages.is_settled(&pod.revision), Raised::read(&pod.memory));
            for container in &pod.containers {
                let Some(ended) = container.ended.as_ref().filter(|ended| !ended.was_done()) else {
                    continue;
                };
                // An end without a time is one that the kubelet has not followed up yet.
                let is_lately = ended.at.is_none_or(|at| ages.now.ms_since(at) <= back_ms);
                if !is_lately && !container.is_held_back() {
                    continue;
                }
                let count = match (ended.wanted_memory(), settled) {
                    (true, _) if ended.at.is_some_and(|at| raised.answers(at)) => continue,
                    (true, true) => &mut self.memory,
                    (true, false) => &mut self.unsettled_memory,
                    (false, true) => &mut self.exited,
                    (false, false) => &mut self.unsettled_exited,
                };
                *count += 1;
            }
        }
    }

    /// Counts pods that a node put out lately. They are no more among those that run.
    async fn put_out(&mut self, cluster: &Cluster<'_>, workload: &Workload, standing: &Standing, now: Time) {
        const FIELDS: [&str; 6] = [
            "/metadata/creationTimestamp",
            "/status/reason",
            "/status/message",
            "/status/conditions/*/type",
            "/status/conditions/*/lastTransitionTime",
            "/status/containerStatuses/*/state/terminated/finishedAt",
        ];
        let of = PODS
            .of(&workload.namespace)
            .with("labelSelector", &standing.selector)
            .with("fieldSelector", "status.phase=Failed")
            .with("limit", FEW);
        let fields: Vec<String> = FIELDS.iter().map(|&field| field.into()).collect();
        let Ok((failed, _)) = cluster.page(&of, &fields).await else { return };
        let back_ms = u64::from(BACK.count(cluster.config()));
        for pod in failed.iter().filter(|pod| text(pod, "/status/reason") == "Evicted") {
            if when_put_out(pod).is_none_or(|at| now.ms_since(at) > back_ms) {
                continue;
            }
            let why = text(pod, "/status/message");
            if ["ephemeral-storage", "DiskPressure", "inodes"].iter().any(|word| why.contains(word)) {
                self.disk += 1;
            } else if why.contains("emory") {
                self.memory += 1;
            }
        }
    }

    /// Counts pods that can't begin for want of a network. A pod's own status says no more than that it is being made.
    async fn without_network(&mut self, cluster: &Cluster<'_>, workload: &Workload, pods: &[Pod], now: Time) {
        let is_made = |pod: &&Pod| pod.containers.iter().any(Container::is_made);
        let stuck: BTreeSet<&str> = pods.iter().filter(is_made).map(|pod| pod.name.as_str()).collect();
        if stuck.is_empty() {
            return;
        }
        let of = EVENTS
            .of(&workload.namespace)
            .with("fieldSelector", "involvedObject.kind=Pod,reason=FailedCreatePodSandBox,type=Warning")
            .with("limit", FEW);
        let fields = ["/involvedObject/name", "/lastTimestamp", "/eventTime", "/series/lastObservedTime"];
        let fields: Vec<String> = fields.iter().map(|&field| field.into()).collect();
        let Ok((events, _)) = cluster.page(&of, &fields).await else { return };
        let back_ms = u64::from(BACK.count(cluster.config()));
        let is_lately = |event: &&Value| {
            let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"];
            let newest = times.iter().filter_map(|pointer| Time::parse(text(event, pointer))).max();
            newest.is_some_and(|at| now.ms_since(at) <= back_ms)
        };
        let named: BTreeSet<&str> =
            events.iter().filter(is_lately).map(|event| text(event, "/involvedObject/name")).collect();
        self.network += stuck.intersection(&named).count();
    }

    /// Says what was looked at. What wasn't is left out: that is not none.
    fn say(&self, readings: &mut Readings, nodes: bool, ends: bool) {
        if ends {
            readings.say("infra.process-exited", self.exited);
            readings.say("infra.out-of-memory", self.memory);
            readings.say("unsettled.process-exited", self.unsettled_exited);
            readings.say("unsettled.out-of-memory", self.unsettled_memory);
        }
        if nodes {
            readings.say("infra.machine-lost", self.lost);
        }
        for (name, count) in [("infra.disk", self.disk), ("infra.network", self.network)] {
            if nodes || count > 0 {
                readings.say(name, count);
            }
        }
    }
}

/// Whether a container has ended since it was made, in whatever way but well.
fn may_have_ended(container: &Container) -> bool {
    container.is_held_back() || container.ended.as_ref().is_some_and(|ended| !ended.was_done())
}

/// The nodes that the pods are on, and whether there are more. `None`: we may not look at nodes, or were told not to.
async fn nodes(cluster: &Cluster<'_>, pods: &[Pod]) -> Option<(Vec<Node>, bool)> {
    let most = usize::try_from(NODES_MOST.count(cluster.config())).unwrap_or(0);
    if most == 0 {
        return None;
    }
    let mut doubts: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.node.is_empty()) {
        *doubts.entry(&pod.node).or_default() += usize::from(!pod.ready);
    }
    let mut names: Vec<&str> = doubts.keys().copied().collect();
    names.sort_by_key(|name| core::cmp::Reverse(doubts.get(name).copied()));
    let more = names.len() > most;
    names.truncate(most);
    let seen = all(names.into_iter().map(|name| Node::seen(cluster, name)).collect()).await;
    let nodes: Option<Vec<Node>> = seen.into_iter().map(Result::ok).collect();
    Some((nodes?, more))
}

/// When a pod was put out: the newest time that it tells. One that was never let in tells when it was made.
fn when_put_out(pod: &Value) -> Option<Time> {
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let disrupted = list("/status/conditions").iter().filter(|one| text(one, "/type") == "DisruptionTarget");
    let ended = list("/status/containerStatuses").iter().map(|one| text(one, "/state/terminated/finishedAt"));
    let times = disrupted.map(|one| text(one, "/lastTransitionTime")).chain(ended);
    times.chain([text(pod, "/metadata/creationTimestamp")]).filter_map(Time::parse).max()
}

#[cfg(test)]
mod tests;
