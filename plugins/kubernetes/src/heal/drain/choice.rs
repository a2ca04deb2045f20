//! Which node is drained, and whether it may be.
//!
//! A node that is itself not well comes first. Where all nodes are well it is the one on which the target's pods fail while they are ready on
//! others: pods that fail everywhere are no node's fault.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use backstay_sdk::executor::{Failed, permanent};

use super::{NODE, cordon};
use crate::{
    api::Cluster,
    clock,
    heal::named,
    nodes::Node,
    pods::{Health, Pod, STARTS},
    workload::Workload,
};

/// The most nodes of a target that are looked at one by one, those with sick pods first.
const NODES_MAX: usize = 16;

/// How the target's pods are on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    sick: u32,
    ready: u32,
}

/// What was found.
pub(super) enum Choice {
    /// This one is drained.
    Drain(Node),
    /// One was drained for this target before, and none of its pods are in trouble on another.
    Done,
}

/// The node to drain.
pub(super) async fn node(cluster: &Cluster<'_>, workload: &Workload, pods: &[Pod]) -> Result<Choice, Failed> {
    let name = NODE.of(cluster.config());
    if !name.is_empty() {
        let node = Node::of(cluster, name).await?;
        return may_be(node.ok_or_else(|| permanent(format!("there is no node {}", named(name))))?);
    }
    let placed = || pods.iter().filter(|pod| !pod.leaving && !pod.node.is_empty());
    let mut doubts: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in placed() {
        *doubts.entry(&pod.node).or_default() += usize::from(!pod.ready);
    }
    let mut names: Vec<&str> = doubts.keys().copied().collect();
    names.sort_by_key(|name| core::cmp::Reverse(doubts.get(name).copied()));
    let mut nodes = Vec::new();
    for name in names.into_iter().take(NODES_MAX) {
        nodes.extend(Node::of(cluster, name).await?);
    }
    // What a run before this one began is gone on with.
    if let Some(ours) = nodes.iter().find(|node| node.is_cordoned && node.cordoned_by == workload.told()) {
        return Ok(Choice::Drain(ours.clone()));
    }
    let worst =
        nodes.iter().filter(|node| !node.ills.is_empty()).min_by_key(|node| node.ills.first().copied());
    if let Some(worst) = worst {
        return may_be(worst.clone());
    }
    let (now, starts_ms) = (clock::now(cluster).await?, STARTS.count(cluster.config()).into());
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for pod in placed() {
        let tally = tallies.entry(&pod.node).or_default();
        match pod.health(now, starts_ms) {
            Health::Ready => tally.ready += 1,
            Health::Sick => tally.sick += 1,
            Health::Starting => {}
        }
    }
    let told = named(&workload.told());
    if let Some(name) = blamed(&tallies) {
        let node = nodes.into_iter().find(|node| node.name == name);
        return may_be(node.ok_or_else(|| permanent(format!("node {} is gone", named(name))))?);
    }
    if tallies.values().any(|tally| tally.sick > 0) {
        let why = "that is no node's fault";
        return Err(permanent(format!(
            "pods of {told} fail on more than one node, or on the only one: {why}"
        )));
    }
    if cordon::cordoned(cluster).await?.iter().any(|node| node.cordoned_by == workload.told()) {
        return Ok(Choice::Done);
    }
    Err(permanent(format!("no node with pods of {told} is in trouble: there is nothing to drain")))
}

/// The only node on which pods fail, if some are ready on another.
fn blamed<'n>(tallies: &BTreeMap<&'n str, Tally>) -> Option<&'n str> {
    let failing: BTreeSet<&str> =
        tallies.iter().filter(|(_, tally)| tally.sick > 0).map(|(name, _)| *name).collect();
    let elsewhere = tallies.iter().any(|(name, tally)| !failing.contains(name) && tally.ready > 0);
    let mut failing = failing.into_iter();
    match (failing.next(), failing.next()) {
        (Some(name), None) if elsewhere => Some(name),
        (Some(_) | None, _) => None,
    }
}

/// That nobody else has cordoned it. Another target of ours may have: then it is about the same trouble.
fn may_be(node: Node) -> Result<Choice, Failed> {
    if node.is_cordoned && node.cordoned_by.is_empty() {
        let name: String = named(&node.name);
        return Err(permanent(format!(
            "node {name} was cordoned by somebody else: whoever did it knows what comes next"
        )));
    }
    Ok(Choice::Drain(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_blamed_only_where_others_do_better() {
        let tallies = |all: &[(&'static str, u32, u32)]| -> BTreeMap<&'static str, Tally> {
            all.iter().map(|&(name, sick, ready)| (name, Tally { sick, ready })).collect()
        };
        assert_eq!(blamed(&tallies(&[("a", 1, 0), ("b", 0, 2)])), Some("a"));
        assert_eq!(blamed(&tallies(&[("a", 1, 1), ("b", 0, 2)])), Some("a"));
        for nobody in [
            tallies(&[("a", 0, 1), ("b", 0, 2)]),
            tallies(&[("a", 1, 0), ("b", 1, 1)]),
            tallies(&[("a", 3, 1)]),
            tallies(&[]),
        ] {
            assert_eq!(blamed(&nobody), None, "{nobody:?}");
        }
    }
}
