//! `drain` and `undrain`.

use backstay_sdk::{
    executor::Transience,
    settings::{Setting, Value as Set},
};
use serde_json::json;

use super::through_every_mishap;
use crate::{
    heal::world::{World, node, node_at, pod_at, shop_at},
    resource::PODS,
    testing::text,
};

const BY: &str = "/metadata/annotations/backstay.dev~1cordoned-by";

fn is_cordoned(world: &World, name: &str) -> bool {
    world.api.objects.get(&node_at(name), "/spec/unschedulable") == true
}

fn set_condition(world: &mut World, name: &str, at: usize, status: &str) {
    world.edit(&node_at(name), |node| node["status"]["conditions"][at]["status"] = status.into());
    world.settle();
}

/// The disk of node n2 is full.
fn full_disk() -> World {
    let mut world = World::new();
    set_condition(&mut world, "n2", 0, "True");
    world
}

#[test]
fn a_sick_node_takes_no_more_pods_and_ours_leave_it() {
    let mut world = full_disk();
    world.api.objects.put(PODS.named("other", "mail").path(), crate::heal::world::pod("n2", "1Gi", 0));
    world.runs("drain", None).done();
    assert_eq!(world.evicted(), ["shop-a-1"]);
    assert!(is_cordoned(&world, "n2"));
    assert_eq!(world.api.objects.get(&node_at("n2"), BY), "Deployment prod/shop");
    assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 3);
    let before = world.api.changes.clone();
    world.runs("drain", None).done();
    assert_eq!(world.api.changes, before, "done twice it is done once");
    // While it isn't well it stays so, and then it takes pods again.
    let why = world.fails("undrain");
    assert_eq!(why, "node n2 is not well yet (DiskPressure): it stays cordoned");
    set_condition(&mut world, "n2", 0, "False");
    world.runs("undrain", None).done();
    assert!(!is_cordoned(&world, "n2"));
    assert!(world.api.objects.get(&node_at("n2"), BY).is_null());
    let before = world.api.changes.clone();
    world.runs("undrain", None).done();
    assert_eq!(world.api.changes, before);
}

/// Who isn't heard of can't say that a pod has ended. Its pods are made elsewhere at once.
#[test]
fn of_a_lost_node_nobody_waits_for_the_end_of_a_pod() {
    let mut world = World::new();
    set_condition(&mut world, "n1", 1, "Unknown");
    world.runs("drain", None).done();
    assert_eq!(world.evicted(), ["shop-a-0"]);
    assert!(world.api.objects.has(&pod_at("shop-a-0")), "it is still there, on its way out");
    assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 3);
}

#[test]
fn the_node_on_which_alone_pods_fail_is_drained_and_no_other() {
    let mut world = World::new().sick(&["shop-a-2"]);
    world.runs("drain", None).done();
    assert_eq!(world.evicted(), ["shop-a-2"]);
    let mut everywhere = World::new().sick(&["shop-a-1", "shop-a-2"]);
    let why = everywhere.fails("drain");
    assert!(why.ends_with("that is no node's fault"), "{why}");
    let why = World::new().fails("drain");
    assert!(why.ends_with("there is nothing to drain"), "{why}");
    assert!(everywhere.api.changes.is_empty());
}

#[test]
fn the_last_node_that_takes_pods_is_never_drained() {
    let mut world = full_disk();
    world.edit(&node_at("n1"), |node| node["spec"]["unschedulable"] = true.into());
    world.edit(&node_at("n3"), |node| node["spec"]["taints"] = json!([{ "effect": "NoSchedule" }]));
    let failed = world.runs("drain", None).failed();
    assert_eq!(
        (failed.transience, failed.why.as_str()),
        (Transience::Permanent, "node n2 is the last that could take a pod: it isn't drained")
    );
    assert!(world.evicted().is_empty() && world.api.changes.is_empty());
}

#[test]
fn no_more_nodes_are_cordoned_than_may_be() {
    let mut world = full_disk();
    let mut other = node();
    other["spec"]["unschedulable"] = true.into();
    other["metadata"]["annotations"]["backstay.dev/cordoned-by"] = "Deployment prod/mail".into();
    world.api.objects.put(&node_at("n4"), other);
    let why = world.fails("drain");
    assert_eq!(
        why,
        "cordoned by us already: 1, n4 for Deployment prod/mail among them: undrain what is well, or raise nodes-at-once"
    );
    assert!(world.api.changes.is_empty());
}

#[test]
fn what_somebody_else_has_cordoned_is_theirs() {
    let mut world = full_disk();
    world.edit(&node_at("n2"), |node| node["spec"]["unschedulable"] = true.into());
    let why = world.fails("drain");
    assert!(why.starts_with("node n2 was cordoned by somebody else"), "{why}");
    // Another target of ours has: our pods leave, and its cordon stays its own, even where that fails.
    let mut world = full_disk();
    world.edit(&node_at("n2"), |node| {
        node["spec"]["unschedulable"] = true.into();
        node["metadata"]["annotations"]["backstay.dev/cordoned-by"] = "Deployment prod/mail".into();
    });
    world.faults.borrow_mut().budgets = vec![1, 1];
    assert!(world.fails("drain").contains("two disruption budgets"));
    assert!(is_cordoned(&world, "n2"));
    world.faults.borrow_mut().budgets = vec![];
    world.runs("drain", None).done();
    assert_eq!(
        (world.evicted(), world.api.objects.get(&node_at("n2"), BY)),
        (vec!["shop-a-1".into()], json!("Deployment prod/mail"))
    );
    world.runs("undrain", None).done();
    assert!(is_cordoned(&world, "n2"), "it isn't ours to uncordon");
}

/// A drain that fails leaves no cordon behind.
#[test]
fn a_node_that_could_not_be_emptied_takes_pods_again() {
    for (budgets, told) in
        [(vec![3], "The disruption budget shop needs 3"), (vec![1, 1], "two disruption budgets")]
    {
        let mut world = full_disk();
        world.faults.borrow_mut().budgets = budgets;
        let why = world.fails("drain");
        assert!(why.contains(told), "{why}");
        assert!(!is_cordoned(&world, "n2"), "{told}");
        assert!(world.api.objects.get(&node_at("n2"), BY).is_null());
    }
    let mut world = full_disk();
    world.faults.borrow_mut().sick_for_ever = true;
    assert_eq!(world.fails("drain"), "pods of Deployment prod/shop left a node, and 2 of 3 pods are ready");
    assert!(!is_cordoned(&world, "n2"));
}

#[test]
fn a_whole_node_is_emptied_of_all_but_what_belongs_to_it() {
    let mut world = full_disk();
    world.api = world.api.set(Setting { name: "drain-whole-node".into(), value: Set::Flag(true) });
    let owned = |kind: &str| json!([{ "kind": kind, "controller": true }]);
    for (name, owners, annotations) in [
        ("mail", owned("ReplicaSet"), json!({})),
        ("logs", owned("DaemonSet"), json!({})),
        ("mirror", owned("Node"), json!({ "kubernetes.io/config.mirror": "x" })),
        ("by-hand", json!([]), json!({})),
    ] {
        let mut pod = crate::heal::world::pod("n2", "1Gi", 0);
        pod["metadata"]["ownerReferences"] = owners;
        pod["metadata"]["annotations"] = annotations;
        pod["metadata"]["labels"] = json!({});
        world.api.objects.put(PODS.named("other", name).path(), pod);
    }
    world.edit(&pod_at("shop-a-1"), |pod| pod["metadata"]["ownerReferences"] = owned("ReplicaSet"));
    world.runs("drain", None).done();
    assert_eq!(world.evicted(), ["mail", "shop-a-1"]);
}

#[test]
fn a_node_that_is_set_is_drained_if_it_is_there() {
    let mut world = World::new();
    world.api = world.api.set(text("drain-node", "n3"));
    world.runs("drain", None).done();
    assert_eq!(world.evicted(), ["shop-a-2"]);
    let mut gone = World::new();
    gone.api = gone.api.set(text("drain-node", "n9"));
    assert_eq!(gone.fails("drain"), "there is no node n9");
}

#[test]
fn through_every_mishap_each_pod_leaves_once() {
    through_every_mishap("drain", full_disk, |world, told| {
        assert_eq!(world.evicted(), ["shop-a-1"], "{told}");
        assert!(is_cordoned(world, "n2"), "{told}");
        assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 3, "{told}");
    });
    let drained = || {
        let mut world = full_disk();
        world.runs("drain", None).done();
        set_condition(&mut world, "n2", 0, "False");
        world
    };
    through_every_mishap("undrain", drained, |world, told| assert!(!is_cordoned(world, "n2"), "{told}"));
}
