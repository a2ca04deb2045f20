//! `outliers` and `outliers-off`.

use serde_json::{Value, json};

use super::through_every_mishap;
use crate::{heal::world::World, resource::DESTINATION_RULES, testing::text};

const NOTE: &str = "/metadata/annotations/backstay.dev~1outliers";

fn at() -> String {
    DESTINATION_RULES.named("prod", "shop").path().into()
}

fn ruled(spec: &Value) -> World {
    let mut world = World::new();
    world.api = world.api.set(text("destination-rule", "shop"));
    world.api.objects.put(&at(), json!({ "spec": spec }));
    world
}

fn policies() -> [Value; 5] {
    let detection = json!({ "interval": "1m", "consecutiveGatewayErrors": 3 });
    [
        json!({ "host": "shop" }),
        json!({ "host": "shop", "trafficPolicy": {} }),
        json!({ "host": "shop", "trafficPolicy": { "tls": { "mode": "SIMPLE" } } }),
        json!({ "host": "shop", "trafficPolicy": { "outlierDetection": {} } }),
        json!({ "host": "shop", "trafficPolicy": { "tls": { "mode": "SIMPLE" }, "outlierDetection": detection } }),
    ]
}

#[test]
fn what_is_not_said_is_set_and_what_is_said_stays() {
    let [bare, .., full] = policies();
    let mut world = ruled(&bare);
    world.runs("outliers", None).done();
    assert_eq!(
        world.api.objects.get(&at(), "/spec/trafficPolicy/outlierDetection"),
        json!({ "consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 34 })
    );
    let mut world = ruled(&full);
    world.runs("outliers", None).done();
    assert_eq!(
        world.api.objects.get(&at(), "/spec/trafficPolicy/outlierDetection"),
        json!({
            "interval": "1m", "consecutiveGatewayErrors": 3, "consecutive5xxErrors": 5, "baseEjectionTime": "30s",
            "maxEjectionPercent": 34,
        })
    );
    assert_eq!(world.api.objects.get(&at(), "/spec/trafficPolicy/tls/mode"), "SIMPLE");
    let before = world.api.changes.clone();
    world.runs("outliers", None).done();
    assert_eq!(world.api.changes, before);
}

#[test]
fn what_was_set_is_taken_away_exactly() {
    for policy in policies() {
        let mut world = ruled(&policy);
        world.runs("outliers", None).done();
        world.runs("outliers-off", None).done();
        assert_eq!(world.api.objects.get(&at(), "/spec"), policy);
        assert!(world.api.objects.get(&at(), NOTE).is_null());
        let before = world.api.changes.clone();
        world.runs("outliers-off", None).done();
        assert_eq!(world.api.changes, before);
    }
}

#[test]
fn what_somebody_changed_since_is_theirs() {
    let [bare, ..] = policies();
    let mut world = ruled(&bare);
    world.runs("outliers", None).done();
    world.edit(&at(), |rule| rule["spec"]["trafficPolicy"]["outlierDetection"]["interval"] = "5s".into());
    world.runs("outliers-off", None).done();
    assert_eq!(
        world.api.objects.get(&at(), "/spec/trafficPolicy"),
        json!({ "outlierDetection": { "interval": "5s" } })
    );
    let mut world = ruled(&bare);
    world.runs("outliers", None).done();
    world.edit(&at(), |rule| rule["spec"] = bare.clone());
    world.runs("outliers-off", None).done();
    assert_eq!(world.api.objects.get(&at(), "/spec"), bare);
}

#[test]
fn without_a_rule_or_without_istio_it_says_so() {
    let mut world = World::new();
    assert!(world.fails("outliers").contains("destination-rule is empty"));
    world.api = world.api.set(text("destination-rule", "shop"));
    assert!(world.fails("outliers").starts_with("DestinationRule shop isn't there"));
    world.api.answer("GET", &at(), 404, json!("404 page not found"));
    let why = world.fails("outliers-off");
    assert!(why.starts_with("DestinationRule shop isn't there: ") && why.contains("page not found"), "{why}");
}

#[test]
fn through_every_mishap_it_is_set_and_taken_away_once() {
    let [_, _, tls, ..] = policies();
    through_every_mishap(
        "outliers",
        || ruled(&tls),
        |world, told| assert_eq!(world.api.changes.len(), 1, "{told}"),
    );
    let on = || {
        let mut world = ruled(&tls);
        world.runs("outliers", None).done();
        world
    };
    through_every_mishap("outliers-off", on, |world, told| {
        assert_eq!(world.api.objects.get(&at(), "/spec"), tls, "{told}");
        assert_eq!(world.api.changes.len(), 2, "{told}");
    });
}
