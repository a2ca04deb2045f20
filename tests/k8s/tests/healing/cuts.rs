//! The power goes at each change.

use backstay_sdk::executor::{Access, Task};
use backstay_test_k8s::{Cut, until};
use executor_deployment::Deployment;
use serde_json::json;

use crate::clinic::*;

/// The power goes at each change of each playbook, before it and after it: nothing is done twice, and the run goes on to its end.
#[test]
fn cut_off_at_any_change_nothing_is_done_twice() {
    let Some(clinic) = Clinic::opens("cut") else { return };
    clinic.has_shop(3, |_| {});
    clinic
        .api()
        .create(&clinic.at("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler("Deployment", APPS))
        .unwrap();
    let istio = "networking.istio.io/v1";
    let rule = json!({ "apiVersion": istio, "kind": "DestinationRule", "metadata": { "name": "shop" }, "spec": { "host": "shop" } });
    clinic.api().create(&clinic.at(istio, "destinationrules"), &rule).unwrap();
    let back_to_three = || {
        clinic
            .api()
            .merge(
                &clinic.at("autoscaling/v2", "horizontalpodautoscalers/shop"),
                &json!({ "spec": { "minReplicas": 1, "maxReplicas": 3 } }),
            )
            .unwrap();
        until("three pods", || {
            clinic
                .api()
                .merge(&clinic.at(APPS, "deployments/shop"), &json!({ "spec": { "replicas": 3 } }))
                .unwrap();
            (clinic.pods().len() == 3 && clinic.ready() == 3).then_some(())
        });
    };
    let off = || drop(clinic.heals("outliers-off").done());
    let mut cuts = 0;
    for (playbook, again) in [
        ("restart", None),
        ("scale", Some(&back_to_three as &dyn Fn())),
        ("outliers", Some(&off as &dyn Fn())),
    ] {
        let whole = clinic.heals(playbook).done();
        let once = changes(&whole).len();
        let ordinals: Vec<u32> = whole
            .effects
            .iter()
            .filter(|(effect, _)| effect.access == Access::Changes)
            .map(|(effect, _)| effect.ordinal)
            .collect();
        for at in ordinals {
            for cut in [Cut::Before, Cut::After] {
                if let Some(again) = again {
                    again();
                }
                let before = uids(&clinic.pods());
                let ran = clinic
                    .host
                    .cut::<Deployment>(&clinic.config, Task::Heal(playbook.into()), Some((at, cut)))
                    .done();
                cuts += 1;
                let extra = changes(&ran).len() - once;
                assert!(extra <= 1, "{playbook}, {cut:?} {at}: {:?}", changes(&ran));
                if playbook == "restart" {
                    let after = uids(&clinic.pods());
                    assert_eq!(
                        (after.len(), after.iter().filter(|uid| before.contains(uid)).count()),
                        (3, 0),
                        "{cut:?} {at}"
                    );
                }
                if playbook == "scale" {
                    let least =
                        clinic.get("autoscaling/v2", "horizontalpodautoscalers/shop")["spec"]["minReplicas"]
                            .clone();
                    assert_eq!(least, 5, "{cut:?} {at}");
                }
            }
        }
    }
    tell(&format!("{cuts} runs were cut off, and all went on to their end"));
}
