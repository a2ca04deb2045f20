//! `resize`.

use backstay_sdk::{
    executor::Transience,
    settings::{Setting, Value as Set},
};

use super::through_every_mishap;
use crate::{
    heal::world::{Resizes, World, ended, pod_at, shop_at},
    testing::{number, text},
};

const LIMIT: &str = "/spec/containers/0/resources/limits/memory";
const NOTE: &str = "/metadata/annotations/backstay.dev~1memory";

/// One container ended for want of memory.
fn hungry() -> World {
    let mut world = World::new();
    world.api = world.api.set(text("memory-ceiling", "1Gi")).set(number("memory-prove-ms", 100));
    world.edit(&pod_at("shop-a-1"), |pod| ended(pod, "OOMKilled", "2026-10-31T23:59:50Z", true));
    world.settle();
    world
}

fn limit(world: &World) -> String {
    world.api.objects.get(&pod_at("shop-a-1"), LIMIT).as_str().unwrap().into()
}

#[test]
fn a_container_gets_one_step_more_in_place() {
    let mut world = hungry();
    world.runs("resize", None).done();
    assert_eq!(limit(&world), "192Mi");
    assert_eq!(
        world.api.objects.get(&pod_at("shop-a-1"), NOTE),
        r#"{"app":{"for":"2026-10-31T23:59:50Z","steps":1,"to":"192Mi"}}"#
    );
    assert_eq!(
        world.api.objects.get(&pod_at("shop-a-1"), "/spec/containers/0/resources/requests/memory"),
        "64Mi"
    );
    assert!(world.evicted().is_empty(), "the pod stays");
    // The same end never raises a limit twice.
    let before = world.api.changes.clone();
    world.runs("resize", None).done();
    assert_eq!((limit(&world).as_str(), &world.api.changes), ("192Mi", &before));
    // A new one does, until it was often enough.
    world.edit(&pod_at("shop-a-1"), |pod| ended(pod, "OOMKilled", "2026-10-31T23:59:55Z", false));
    world.runs("resize", None).done();
    assert_eq!(limit(&world), "288Mi");
    world.edit(&pod_at("shop-a-1"), |pod| ended(pod, "OOMKilled", "2026-10-31T23:59:59Z", false));
    let failed = world.runs("resize", None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert_eq!(
        failed.why,
        "the limit of app, 288Mi, was raised 2 times, and still it is too little: it leaks, or needs more than was thought"
    );
}

#[test]
fn nothing_is_raised_beyond_the_ceiling_or_without_one() {
    let mut world = hungry();
    world.api.config.retain(|setting| setting.name != "memory-ceiling");
    assert!(world.fails("resize").contains("memory-ceiling is empty"));
    for (ceiling, raised) in [("160Mi", Some("160Mi")), ("128Mi", None), ("64Mi", None)] {
        let mut world = hungry();
        world.api.config.retain(|setting| setting.name != "memory-ceiling");
        world.api = world.api.set(text("memory-ceiling", ceiling));
        match raised {
            Some(raised) => {
                world.runs("resize", None).done();
                assert_eq!(limit(&world), raised);
            }
            None => {
                let why = world.fails("resize");
                assert_eq!(
                    why,
                    format!("the limit of app is 128Mi and memory-ceiling is {ceiling}: it gets no more")
                );
                assert_eq!((limit(&world).as_str(), world.api.changes.len()), ("128Mi", 0));
            }
        }
    }
}

#[test]
fn what_did_not_want_memory_gets_none() {
    let mut world = World::new();
    world.api = world.api.set(text("memory-ceiling", "1Gi"));
    world.edit(&pod_at("shop-a-1"), |pod| ended(pod, "Error", "2026-10-31T23:59:50Z", false));
    assert!(world.fails("resize").contains("no container of Deployment prod/shop ended for want of memory"));
    let mut world = hungry();
    world.edit(&pod_at("shop-a-1"), |pod| pod["spec"]["containers"][0]["resources"] = serde_json::json!({}));
    let why = world.fails("resize");
    assert!(why.starts_with("app has no memory limit: it was the memory of node n2 that ran out"), "{why}");
    assert!(world.api.changes.is_empty());
}

/// What could not be had is as it was before, so that a pod waits for nothing and the end counts as unanswered.
#[test]
fn where_a_node_can_not_the_run_says_so_and_leaves_nothing_behind() {
    for (resizes, transience) in [
        (Resizes::Unsupported, Transience::Permanent),
        (Resizes::Unknown, Transience::Permanent),
        (Resizes::Pending("Infeasible"), Transience::Permanent),
        (Resizes::Pending("Deferred"), Transience::Transient),
    ] {
        let mut world = hungry();
        world.faults.borrow_mut().resizes = resizes;
        let failed = world.runs("resize", None).failed();
        assert_eq!(failed.transience, transience, "{resizes:?}");
        assert!(failed.why.starts_with("node n2 can't raise the limit in place: "), "{}", failed.why);
        assert!(failed.why.ends_with("raise it in the template (memory-in-template)"), "{}", failed.why);
        assert_eq!(limit(&world), "128Mi", "{resizes:?}");
        assert!(world.api.objects.get(&pod_at("shop-a-1"), NOTE).is_null(), "{resizes:?}");
    }
}

fn by_template() -> World {
    let mut world = hungry();
    world.api = world.api.set(Setting { name: "memory-in-template".into(), value: Set::Flag(true) });
    world.faults.borrow_mut().resizes = Resizes::Unsupported;
    world
}

#[test]
fn where_it_is_allowed_the_template_is_raised() {
    let mut world = by_template();
    world.runs("resize", None).done();
    let at = "/spec/template/spec/containers/0/resources/limits/memory";
    assert_eq!(world.api.objects.get(&shop_at(), at), "192Mi");
    assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 3);
}

/// A pod that asks for all that it may have stays of the class of pods that go last.
#[test]
fn a_request_that_is_the_limit_moves_with_it() {
    let mut world = hungry();
    world.edit(&pod_at("shop-a-1"), |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = "128Mi".into();
    });
    world.runs("resize", None).done();
    assert_eq!(
        world.api.objects.get(&pod_at("shop-a-1"), "/spec/containers/0/resources/requests/memory"),
        "192Mi"
    );
}

#[test]
fn a_container_that_ends_again_is_not_cured() {
    let mut world = hungry();
    world.faults.borrow_mut().hungry_to = Some("192Mi");
    let failed = world.runs("resize", None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert_eq!(failed.why, "app of pod shop-a-1 was given 192Mi, and doesn't run with it");
}

/// Ten in a run, and all of them are proven together.
#[test]
fn the_limits_of_many_are_raised_in_several_runs() {
    let mut world = hungry();
    world.edit(&shop_at(), |shop| shop["spec"]["replicas"] = 12.into());
    world.settle();
    let all = world.api.objects.below(&pod_at("shop"));
    for at in &all {
        world.edit(at, |pod| ended(pod, "OOMKilled", "2026-10-31T23:59:50Z", true));
    }
    let failed = world.runs("resize", None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert_eq!(failed.why, "10 limits were raised, and 2 more are to be: try again");
    world.runs("resize", None).done();
    assert!(all.iter().all(|at| world.api.objects.get(at, LIMIT) == "192Mi"));
}

#[test]
fn through_every_mishap_a_limit_is_raised_once() {
    through_every_mishap("resize", hungry, |world, told| {
        assert_eq!(limit(world), "192Mi", "{told}");
        let raised = world.api.changes.iter().filter(|change| change.ends_with("/resize")).count();
        assert_eq!(raised, 1, "{told}: {:?}", world.api.changes);
    });
    through_every_mishap("resize", by_template, |world, told| {
        let at = "/spec/template/spec/containers/0/resources/limits/memory";
        assert_eq!(world.api.objects.get(&shop_at(), at), "192Mi", "{told}");
    });
}
