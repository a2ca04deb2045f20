//! `scale`, `outliers` and `outliers-off`: what others set is raised or filled in, and given back.

use backstay_sdk::executor::Transience;
use backstay_test_k8s::{objects, until};
use executor_rollouts::Rollouts;
use serde_json::{Value, json};

use crate::clinic::*;

#[test]
fn the_bounds_of_an_autoscaler_go_up_a_step() {
    let Some(clinic) = Clinic::opens("bounds") else { return };
    clinic.has_shop(3, |_| {});
    assert!(clinic.heals("scale").failed().why.starts_with("no HorizontalPodAutoscaler looks after"));
    clinic
        .api()
        .create(&clinic.at("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler("Deployment", APPS))
        .unwrap();
    for (least, most) in [(5, 5), (6, 6)] {
        let ran = clinic.heals("scale").done();
        told("scale", &ran);
        let spec = clinic.get("autoscaling/v2", "horizontalpodautoscalers/shop")["spec"].clone();
        assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(least), &json!(most)));
        assert_eq!(clinic.ready(), least);
    }
    let failed = clinic.heals("scale").failed();
    assert_eq!(
        (failed.transience, failed.why.contains("scale-ceiling is 6")),
        (Transience::Permanent, true),
        "{}",
        failed.why
    );
}

#[test]
fn the_autoscaler_of_a_rollout_is_raised_too_and_of_nothing_else() {
    let Some(clinic) = Clinic::opens("rollout-bounds") else { return };
    clinic
        .api()
        .create(&clinic.at(ARGO, "rollouts"), &objects::rollout("shop", 2, IMAGE, &json!([])))
        .unwrap();
    clinic
        .api()
        .create(&clinic.at("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler("Rollout", ARGO))
        .unwrap();
    let ready = || clinic.get(ARGO, "rollouts/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0);
    until("a ready Rollout", || (ready() == 2).then_some(()));
    clinic.plays::<Rollouts>("scale").done();
    assert_eq!(ready(), 3);
    clinic.has_shop(0, |_| {});
    assert!(clinic.heals("scale").failed().why.starts_with("no HorizontalPodAutoscaler looks after"));
}

#[test]
fn outlier_detection_is_set_and_taken_away_exactly() {
    let Some(clinic) = Clinic::opens("outliers") else { return };
    clinic.has_shop(1, |_| {});
    let istio = "networking.istio.io/v1";
    assert!(clinic.heals("outliers").failed().why.starts_with("DestinationRule shop isn't there"));
    let policies = [
        json!({ "host": "shop" }),
        json!({ "host": "shop", "trafficPolicy": { "connectionPool": { "http": { "http2MaxRequests": 100 } } } }),
        json!({ "host": "shop", "trafficPolicy": { "outlierDetection": { "interval": "1m", "consecutiveGatewayErrors": 3 } } }),
    ];
    for (at, spec) in policies.iter().enumerate() {
        let rule = json!({ "apiVersion": istio, "kind": "DestinationRule", "metadata": { "name": "shop" }, "spec": spec });
        clinic.api().create(&clinic.at(istio, "destinationrules"), &rule).unwrap();
        let before = clinic.get(istio, "destinationrules/shop")["spec"].clone();
        let ran = clinic.heals("outliers").done();
        assert_eq!(changes(&ran).len(), 1);
        let detection =
            clinic.get(istio, "destinationrules/shop")["spec"]["trafficPolicy"]["outlierDetection"].clone();
        assert_eq!(
            (&detection["consecutive5xxErrors"], &detection["maxEjectionPercent"]),
            (&json!(5), &json!(34))
        );
        let interval = if at == 2 { "1m" } else { "10s" };
        assert_eq!(detection["interval"], interval);
        assert!(changes(&clinic.heals("outliers").done()).is_empty());
        clinic.heals("outliers-off").done();
        let after = clinic.get(istio, "destinationrules/shop");
        assert_eq!((&after["spec"], &after["metadata"]["annotations"]), (&before, &Value::Null));
        clinic.api().delete(&clinic.at(istio, "destinationrules/shop")).unwrap();
    }
}
