//! `resize`: in place, and where a node can't.

use backstay_sdk::{
    executor::Transience,
    settings::{Setting, Value as Set},
};
use backstay_test_k8s::{Fault, Resize, until};
use serde_json::{Value, json};

use crate::clinic::*;

#[test]
fn memory_is_raised_in_place_a_step_at_a_time() {
    let Some(mut clinic) = Clinic::opens("memory") else { return };
    clinic.has_shop(2, |_| {});
    let pod = clinic.pod(0);
    clinic.falls_ill(&pod, &Fault::OutOfMemory { below: 150 << 20 });
    clinic.comes_to_read("infra.out-of-memory", "1");
    let ran = clinic.heals("resize").done();
    told("resize", &ran);
    let after = clinic.get("v1", &format!("pods/{pod}"));
    let limit = |pod: &Value| pod["spec"]["containers"][0]["resources"]["limits"]["memory"].clone();
    assert_eq!((limit(&after), is_ready(&after)), (json!("192Mi"), true));
    assert_eq!(clinic.reads("infra.out-of-memory").unwrap(), "0", "it was answered");
    // Once more is not twice as much.
    clinic.heals("resize").done();
    assert_eq!(limit(&clinic.get("v1", &format!("pods/{pod}"))), "192Mi");
    // It wants more again, and the ceiling is near.
    clinic.set(text("memory-ceiling", "200Mi"));
    clinic.falls_ill(&pod, &Fault::OutOfMemory { below: 900 << 20 });
    clinic.comes_to_read("infra.out-of-memory", "1");
    let failed = clinic.heals("resize").failed();
    assert_eq!(
        (failed.transience, limit(&clinic.get("v1", &format!("pods/{pod}")))),
        (Transience::Transient, json!("200Mi"))
    );
    assert!(
        failed.why.ends_with("was given 200Mi, and doesn't run with it")
            || failed.why.contains("ended again"),
        "{}",
        failed.why
    );
    let failed = clinic.heals("resize").failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(
        failed.why.contains("memory-ceiling is 200Mi") || failed.why.contains("was raised 2 times"),
        "{}",
        failed.why
    );
}

#[test]
fn where_a_node_can_not_resize_it_is_said_or_the_template_is_raised() {
    let Some(mut clinic) = Clinic::opens("unsized") else { return };
    let nodes = pool(&clinic, "unsized", 1);
    clinic.has_shop(1, spread("unsized"));
    for how in [Resize::Unsupported, Resize::Infeasible, Resize::Deferred] {
        nodes[0].resize(how).unwrap();
        let pod = clinic.pod(0);
        // Killed once, and running since with what it has.
        clinic.falls_ill(&pod, &Fault::OutOfMemory { below: 150 << 20 });
        until("OOMKilled", || {
            let pod = clinic.get("v1", &format!("pods/{pod}"));
            (pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "OOMKilled")
                .then_some(())
        });
        clinic.cluster.kubelet().fault_of_pod(clinic.space.name(), &pod, None).unwrap();
        clinic.is_whole(1);
        let before = clinic.get("v1", &format!("pods/{pod}"));
        let failed = clinic.heals("resize").failed();
        tell(&format!("{how:?}: {}", failed.why));
        let expected = if how == Resize::Deferred { Transience::Transient } else { Transience::Permanent };
        assert_eq!(failed.transience, expected, "{how:?}: {}", failed.why);
        assert!(failed.why.contains("can't raise the limit in place"), "{}", failed.why);
        let after = clinic.get("v1", &format!("pods/{pod}"));
        assert_eq!(before["spec"]["containers"], after["spec"]["containers"], "{how:?}");
        assert!(after["metadata"]["annotations"]["backstay.dev/memory"].is_null(), "{how:?}");
    }
    clinic.set(Setting { name: "memory-in-template".into(), value: Set::Flag(true) });
    let ran = clinic.heals("resize").done();
    told("resize by the template", &ran);
    let shop = clinic.get(APPS, "deployments/shop");
    assert_eq!(shop["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"], "192Mi");
    assert_eq!(clinic.pods()[0]["spec"]["containers"][0]["resources"]["limits"]["memory"], "192Mi");
}
