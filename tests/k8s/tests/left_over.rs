//! What a helm leaves behind that is killed between its record and the first change, when a release goes home afterwards.
//!
//! Helm 3 compares records: the next roll-back compares what it brings back with the record of the one that was killed, which is the same, and so
//! forgets what only the bad revision had. Helm 4 has the API server keep count of fields, and forgets whole objects alone. The
//! release goes home all the same, and objects that were forgotten are told, and that fields may have been. Whoever mends that, changes this.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod released;

use std::fs;

use backstay_test_k8s::{Gate, Moment};
use released::{MAJORS, Major, Shop, home, number};

const EXTRA: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n";

/// Somebody's roll-back, killed when Helm has its record and nothing else is done.
fn is_cut_off(shop: &Shop) {
    let gate = Gate::open(shop.api(), &shop.cluster.ca());
    let kubeconfig = shop.path("kubeconfig");
    fs::write(&kubeconfig, gate.kubeconfig()).unwrap();
    let is_record =
        |passed: &backstay_test_k8s::Passed| passed.method == "POST" && passed.path.ends_with("/secrets");
    let stop = gate.stops(is_record, Moment::After);
    let mut helm = shop.helm(&["rollback", "shop", "1"]).env("KUBECONFIG", kubeconfig).spawn().unwrap();
    assert!(stop.is_reached(|| helm.try_wait().unwrap().is_some()), "it made no record");
    helm.kill().unwrap();
    helm.wait().unwrap();
}

#[test]
fn what_only_the_bad_revision_had() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        shop.writes("chart/things/extra.yaml", EXTRA);
        assert!(shop.ships("2.0", &["--set", "fault=none"]));
        is_cut_off(&shop);
        let newest = shop.newest();
        assert_eq!(
            (newest.revision, newest.status.as_str(), shop.live().as_str()),
            (3, "pending-rollback", "2.0")
        );
        let config = shop.config(&[number("pending-after-ms", 0)]);
        let ran = shop
            .host(std::time::Duration::from_secs(60), None)
            .run::<executor_helm::Helm>(&config, home("1.0"))
            .done();
        shop.is_home("1.0");
        assert!(shop.api().get(&shop.space.path("v1", "configmaps/extra")).is_ok(), "{major:?}");
        for told in ["ConfigMap", "fields may have stayed that only revision 2 had"] {
            assert!(ran.attached.iter().any(|of| of.contains(told)), "{major:?}: {:?}", ran.attached);
        }
        let live = shop.api().get(&shop.space.path("apps/v1", "deployments/shop")).unwrap();
        let is_left = !live["spec"]["template"]["metadata"]["annotations"].is_null();
        assert_eq!(is_left, major == Major::Three, "{major:?}: {live:#}");
    }
}
