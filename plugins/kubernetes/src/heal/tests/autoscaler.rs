//! `scale`.

use backstay_sdk::executor::Transience;
use serde_json::json;

use super::through_every_mishap;
use crate::{
    heal::world::{World, shop_at},
    resource::AUTOSCALERS,
    testing::{number, text},
};

fn at(name: &str) -> String {
    AUTOSCALERS.named("prod", name).path().into()
}

fn scaled(least: u32, most: u32) -> World {
    let mut world = World::new();
    world.api = world.api.set(number("scale-ceiling", 6));
    world.api.objects.put(
        &at("shop"),
        json!({ "spec": {
            "minReplicas": least, "maxReplicas": most,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "shop" },
        } }),
    );
    world
}

fn bounds(world: &World) -> (u64, u64) {
    let bound = |pointer| world.api.objects.get(&at("shop"), pointer).as_u64().unwrap();
    (bound("/spec/minReplicas"), bound("/spec/maxReplicas"))
}

#[test]
fn the_bounds_go_up_a_step_and_never_beyond_the_ceiling() {
    let mut world = scaled(2, 10);
    world.runs("scale", None).done();
    assert_eq!(bounds(&world), (5, 10));
    assert_eq!(world.api.objects.get(&shop_at(), "/status/readyReplicas"), 5);
    world.runs("scale", None).done();
    assert_eq!(bounds(&world), (6, 10));
    let failed = world.runs("scale", None).failed();
    assert_eq!(
        (failed.transience, failed.why.as_str()),
        (Transience::Permanent, "6 pods are wanted, and scale-ceiling is 6: no more are asked for")
    );
    let mut tight = scaled(1, 3);
    tight.runs("scale", None).done();
    assert_eq!(bounds(&tight), (5, 5));
}

#[test]
fn without_a_ceiling_or_an_autoscaler_nothing_is_raised() {
    let mut world = scaled(2, 10);
    world.api.config.retain(|setting| setting.name != "scale-ceiling");
    assert!(world.fails("scale").contains("scale-ceiling is 0"));
    let mut none = scaled(2, 10);
    none.api.objects.take(&at("shop"));
    assert!(none.fails("scale").starts_with("no HorizontalPodAutoscaler looks after Deployment prod/shop"));
    let mut two = scaled(2, 10);
    let other = two.api.objects.at(&at("shop"))["spec"].clone();
    two.api.objects.put(&at("shop-2"), json!({ "spec": other }));
    assert!(two.fails("scale").starts_with("two HorizontalPodAutoscalers look after Deployment prod/shop"));
    let mut which = two;
    which.api = which.api.set(text("autoscaler", "shop"));
    which.runs("scale", None).done();
}

#[test]
fn the_autoscaler_of_another_workload_is_left_alone() {
    for target in [
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "mail" }),
        json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "shop" }),
        json!({ "apiVersion": "argoproj.io/v1alpha1", "kind": "Deployment", "name": "shop" }),
    ] {
        let mut world = scaled(2, 10);
        world.api = world.api.set(text("autoscaler", "shop"));
        world.edit(&at("shop"), |one| one["spec"]["scaleTargetRef"] = target.clone());
        let why = world.fails("scale");
        assert!(why.ends_with("not after this target"), "{why}");
        assert_eq!(bounds(&world), (2, 10));
    }
}

#[test]
fn pods_that_find_no_room_are_told() {
    let mut world = scaled(2, 10);
    world.faults.borrow_mut().sick_for_ever = true;
    let why = world.fails("scale");
    assert_eq!(
        why,
        "5 pods of Deployment prod/shop were asked for, and 3 are ready: has the cluster room for them?"
    );
}

#[test]
fn through_every_mishap_it_is_one_step() {
    let mut whole = scaled(2, 10);
    let effects = whole.runs("scale", None).done().effects;
    for mishap in crate::testing::MISHAPS {
        for at in 0..effects {
            let mut world = scaled(2, 10);
            let ran = world.runs("scale", Some((at, mishap)));
            // A run that ended as a failure may have made its step. It never made two.
            let (least, _) = bounds(&world);
            assert!(
                least == 5 || least == 2 && ran.outcome != backstay_sdk::executor::Outcome::Done,
                "{mishap:?} at {at}: {least}"
            );
            assert!(world.api.changes.len() <= 1, "{mishap:?} at {at}: {:?}", world.api.changes);
        }
    }
    through_every_mishap("scale", || scaled(2, 10), |world, told| assert!(bounds(world).0 >= 5, "{told}"));
}
