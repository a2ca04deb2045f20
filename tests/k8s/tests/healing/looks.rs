//! `look`: what it tells of each trouble, and what it costs.

use backstay_test_k8s::{Fault, until, until_within};
use serde_json::json;

use crate::clinic::*;

/// What a look tells of each trouble, and what it costs to look.
#[test]
fn a_look_tells_each_trouble_and_costs_little() {
    let Some(clinic) = Clinic::opens("looks") else { return };
    let nodes = pool(&clinic, "looks", 3);
    clinic.has_shop(6, spread("looks"));
    let (told, requests, bytes) = clinic.looks();
    tell(&format!(
        "a look at 6 pods on {} nodes, all well: {requests} requests, {bytes} bytes sent",
        nodes.len()
    ));
    for well in [
        "pods-wanted=6",
        "pods-ready=6",
        "infra.process-exited=0",
        "infra.out-of-memory=0",
        "infra.machine-lost=0",
        "infra.disk=0",
        "infra.network=0",
        "image-pull=0",
    ] {
        assert!(told.contains(&well.into()), "{well}: {told:?}");
    }
    // The workload for what is out and for this, its pods, its nodes.
    assert!(requests <= 3 + nodes.len() + 1, "{requests} requests");

    let kubelet = clinic.cluster.kubelet();
    for (fault, reading) in [
        (Fault::CrashLoop, "infra.process-exited"),
        (Fault::OutOfMemory { below: 256 << 20 }, "infra.out-of-memory"),
    ] {
        let pod = clinic.pod(0);
        clinic.falls_ill(&pod, &fault);
        clinic.comes_to_read(reading, "1");
        let (_, requests, bytes) = clinic.looks();
        tell(&format!("{reading}: {requests} requests, {bytes} bytes sent"));
        kubelet.fault_of_pod(clinic.space.name(), &pod, None).unwrap();
        // The next one has no history.
        clinic.api().delete(&clinic.at("v1", &format!("pods/{pod}"))).unwrap();
        until("all pods ready", || (clinic.ready() == 6 && clinic.pods().len() == 6).then_some(()));
    }
    let image = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.test/shop:2.0.0-image-pull" }]);
    clinic.api().patch(&clinic.at(APPS, "deployments/shop"), &image).unwrap();
    until_within(NOTICED, "image-pull", || clinic.reads("image-pull").filter(|count| count != "0"));
    assert_eq!(clinic.reads("infra.process-exited").unwrap(), "0");
    let image =
        json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": IMAGE }]);
    clinic.api().patch(&clinic.at(APPS, "deployments/shop"), &image).unwrap();
    until("all pods ready", || (clinic.ready() == 6 && clinic.pods().len() == 6).then_some(()));
    clinic.falls_ill(&clinic.pod(0), &Fault::NotReady);
    clinic.comes_to_read("pods-ready", "5");
    let (told, ..) = clinic.looks();
    assert!(told.contains(&"infra.process-exited=0".into()), "not ready is no end: {told:?}");
    clinic.falls_ill(&clinic.pod(1), &Fault::Evicted);
    clinic.comes_to_read("infra.disk", "1");
}

/// What no node of a test says of itself is said for one that is silent: that it has no network, and that a pod can't begin for want of one.
#[test]
fn a_network_that_is_gone_is_told() {
    let Some(clinic) = Clinic::opens("network") else { return };
    let nodes = pool(&clinic, "network", 1);
    clinic.has_shop(1, spread("network"));
    let (node, pod) = (format!("/api/v1/nodes/{}/status", nodes[0].name()), clinic.pod(0));
    nodes[0].is_lost().unwrap();
    let condition = json!({ "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "no route" });
    clinic
        .api()
        .patch(&node, &json!([{ "op": "add", "path": "/status/conditions/-", "value": condition }]))
        .unwrap();
    clinic.comes_to_read("infra.network", "1");
    until_within(NOTICED, "a pod that isn't ready", || (clinic.ready() == 0).then_some(()));
    let begun = json!({ "op": "replace", "path": "/status/containerStatuses/0/state", "value": { "waiting": { "reason": "ContainerCreating" } } });
    clinic.api().patch(&clinic.at("v1", &format!("pods/{pod}/status")), &json!([begun])).unwrap();
    let probe = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "now" } });
    let now =
        clinic.api().create(&clinic.at("v1", "configmaps"), &probe).unwrap()["metadata"]["creationTimestamp"]
            .clone();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "shop.1" }, "type": "Warning", "reason": "FailedCreatePodSandBox",
        "message": "network: failed to find plugin", "lastTimestamp": now, "count": 1,
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": clinic.space.name(), "name": pod },
    });
    clinic.api().create(&clinic.at("v1", "events"), &event).unwrap();
    clinic.comes_to_read("infra.network", "2");
    assert_eq!(clinic.reads("infra.machine-lost").unwrap(), "1");
    nodes[0].comes_back().unwrap();
}
