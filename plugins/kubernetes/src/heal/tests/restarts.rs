//! `restart`.

use std::collections::BTreeSet;

use backstay_sdk::executor::Transience;
use serde_json::json;

use super::through_every_mishap;
use crate::{
    heal::world::{World, pod, pod_at, revision, shop_at},
    testing::number,
};

#[test]
fn what_is_not_ready_is_restarted_and_nothing_else() {
    let mut world = World::new().sick(&["shop-a-1"]);
    world.runs("restart", None).done();
    assert_eq!(world.evicted(), ["shop-a-1"]);
    assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 3);
}

#[test]
fn where_all_are_ready_all_are_restarted_in_turn() {
    let mut world = World::new();
    world.runs("restart", None).done();
    assert_eq!(world.evicted(), ["shop-a-0", "shop-a-1", "shop-a-2"]);
}

/// The template stays as it is: a way back that counts revisions isn't led astray.
#[test]
fn no_template_is_touched() {
    let mut world = World::new();
    let before = world.api.objects.at(&shop_at()).clone();
    world.runs("restart", None).done();
    let after = world.api.objects.at(&shop_at());
    assert_eq!(
        (&before["spec"], &before["metadata"]["annotations"]),
        (&after["spec"], &after["metadata"]["annotations"])
    );
    assert!(world.api.changes.iter().all(|change| change.ends_with("/eviction")), "{:?}", world.api.changes);
}

#[test]
fn a_change_a_short_while_ago_is_a_regression() {
    let mut world = World::new().sick(&["shop-a-1"]);
    revision(&mut world.api.objects, "b", "2026-10-31T23:45:00Z", 0);
    let failed = world.runs("restart", None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(
        failed.why.starts_with("Deployment prod/shop was changed 900 s ago, less than restart-after-ms"),
        "{}",
        failed.why
    );
    assert!(world.evicted().is_empty());
    let mut later = World::new().sick(&["shop-a-1"]);
    later.api = later.api.set(number("restart-after-ms", 600_000));
    revision(&mut later.api.objects, "b", "2026-10-31T23:45:00Z", 0);
    later.runs("restart", None).done();
}

/// A canary may stand for hours. What of it crashes is its own fault still.
#[test]
fn what_is_on_its_way_is_not_restarted_however_long_it_takes() {
    let mut world = World::new();
    revision(&mut world.api.objects, "b", "2026-10-31T21:00:00Z", 1);
    world.edit(&shop_at(), |shop| shop["spec"]["replicas"] = 4.into());
    let mut bad = pod("n1", "128Mi", 0);
    bad["metadata"]["labels"]["pod-template-hash"] = "b".into();
    world.api.objects.put(&pod_at("shop-b-0"), bad);
    let mut world = world.sick(&["shop-b-0"]);
    let failed = world.runs("restart", None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert_eq!(
        failed.why,
        "1 pods of Deployment prod/shop aren't ready, and are of a revision that is on its way: that is a regression, which no \
         restart cures: go back"
    );
    // What was there before is, and nothing else.
    let mut world = world.sick(&["shop-a-1"]);
    world.runs("restart", None).done();
    assert_eq!(world.evicted(), ["shop-a-1"]);
}

#[test]
fn without_a_clock_nothing_is_restarted() {
    let mut world = World::new().sick(&["shop-a-1"]);
    world.api.answer(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        403,
        json!({ "message": "no" }),
    );
    let why = world.fails("restart");
    assert!(why.contains("does not let us POST /apis/authentication.k8s.io/v1/selfsubjectreviews"), "{why}");
    assert!(world.evicted().is_empty());
}

#[test]
fn a_budget_is_waited_for_and_its_words_are_told() {
    let mut world = World::new();
    world.faults.borrow_mut().budgets = vec![2];
    world.runs("restart", None).done();
    assert_eq!(world.evicted().len(), 3);
    let mut never = World::new().sick(&["shop-a-1", "shop-a-2"]);
    never.faults.borrow_mut().budgets = vec![2];
    let failed = never.runs("restart", None).failed();
    assert_eq!(
        (failed.transience, failed.why.as_str()),
        (
            Transience::Transient,
            "pod shop-a-1 was not let go of in time: The disruption budget shop needs 2 healthy pods and has 1 currently \
             (see its unhealthyPodEvictionPolicy)"
        )
    );
    let mut two = World::new();
    two.faults.borrow_mut().budgets = vec![1, 1];
    let failed = two.runs("restart", None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("two disruption budgets"), "{}", failed.why);
}

/// The first that doesn't come back is the last that went.
#[test]
fn a_restart_that_does_not_help_ends_with_the_first() {
    let mut world = World::new();
    world.faults.borrow_mut().sick_for_ever = true;
    let failed = world.runs("restart", None).failed();
    assert_eq!(failed.why, "Deployment prod/shop was restarted, and 2 of 3 pods are ready");
    assert_eq!(world.evicted(), ["shop-a-0"]);
}

#[test]
fn a_pod_without_a_node_gets_none_by_a_restart() {
    let mut world = World::new();
    world.api.objects.take(&pod_at("shop-a-2"));
    for name in ["n1", "n2", "n3"] {
        world.edit(&crate::heal::world::node_at(name), |node| node["spec"]["unschedulable"] = true.into());
    }
    world.settle();
    let why = world.fails("restart");
    assert_eq!(why, "pods of Deployment prod/shop are on no node, and a restart gives them none: 1");
    assert!(world.evicted().is_empty());
}

#[test]
fn through_every_mishap_no_pod_is_restarted_twice() {
    through_every_mishap(
        "restart",
        || World::new().sick(&["shop-a-0", "shop-a-2"]),
        |world, told| {
            let evicted = world.evicted();
            let once: BTreeSet<&String> = evicted.iter().collect();
            assert_eq!(once.len(), evicted.len(), "{told}: {evicted:?}");
            assert!(evicted.contains(&"shop-a-0".into()) && evicted.contains(&"shop-a-2".into()), "{told}");
            assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 3, "{told}");
        },
    );
}

/// The state of a run has 64 KiB, and the double refuses one that has more.
#[test]
fn several_go_at_once_where_there_are_many() {
    let mut world = World::new();
    world.edit(&shop_at(), |shop| shop["spec"]["replicas"] = 60.into());
    world.settle();
    world.settle();
    let ran = world.runs("restart", None).done();
    assert_eq!(world.evicted().len(), 60);
    assert!(ran.effects < 200, "{} effects", ran.effects);
    world.edit(&shop_at(), |shop| shop["spec"]["replicas"] = 61.into());
    world.settle();
    world.settle();
    assert_eq!(world.fails("restart"), "Deployment prod/shop has more than 60 pods, too many for one run");
}
