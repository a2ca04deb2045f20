//! `drain` and `undrain`: a full disk, a lost node, budgets, and a whole node.

use std::{
    thread,
    time::{Duration, Instant},
};

use backstay_sdk::{
    executor::{Outcome, Transience},
    settings::{Setting, Value as Set},
};
use backstay_test_k8s::{Namespace, Node, objects, until, until_within};
use serde_json::{Value, json};

use crate::clinic::*;

#[test]
fn a_node_with_a_full_disk_is_drained_and_given_back() {
    let Some(clinic) = Clinic::opens("disk") else { return };
    let nodes = pool(&clinic, "disk", 2);
    clinic.has_shop(4, spread("disk"));
    let on = |node: &Node| clinic.pods().iter().filter(|pod| node_of(pod) == node.name()).count();
    let sick = if on(&nodes[0]) > 0 { &nodes[0] } else { &nodes[1] };
    let there = on(sick);
    sick.disk_pressure(true).unwrap();
    clinic.comes_to_read("infra.disk", "1");
    let ran = clinic.heals("drain").done();
    told(&format!("drain of {there} pods"), &ran);
    assert_eq!((on(sick), clinic.ready()), (0, 4));
    let told = format!("Deployment {}/shop", clinic.space.name());
    assert_eq!(cordoned_by(&clinic, sick.name()), (true, json!(told)));
    assert_eq!(clinic.reads("infra.disk").unwrap(), "0", "no pod of ours is on it any more");
    assert!(changes(&clinic.heals("drain").done()).is_empty(), "done twice it is done once");
    assert!(clinic.heals("undrain").failed().why.contains("is not well yet (DiskPressure)"));
    sick.disk_pressure(false).unwrap();
    until("a node that is well", || (clinic.heals("undrain").outcome == Outcome::Done).then_some(()));
    assert_eq!(cordoned_by(&clinic, sick.name()), (false, Value::Null));
}

#[test]
fn a_drain_goes_by_the_budgets_and_leaves_no_cordon_where_they_do_not_let_it() {
    let Some(mut clinic) = Clinic::opens("budgets") else { return };
    let nodes = pool(&clinic, "budgets", 2);
    clinic.has_shop(2, spread("budgets"));
    let node = node_of(&clinic.pods()[0]);
    clinic.set(text("drain-node", &node));
    assert!(nodes.iter().any(|other| other.name() == node));
    // A budget that never lets go, until its time is over.
    clinic.budget("shop", 2);
    clinic.set(number("wait-ms", 3000));
    let began = Instant::now();
    let failed = clinic.heals("drain").failed();
    tell(&format!("429: {}", failed.why));
    assert_eq!(failed.transience, Transience::Transient);
    assert!(
        failed.why.contains("The disruption budget shop needs 2 healthy pods and has 2 currently"),
        "{}",
        failed.why
    );
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(cordoned_by(&clinic, &node), (false, Value::Null));
    // Two budgets: never, and at once.
    clinic.budget("shop-too", 1);
    let failed = clinic.heals("drain").failed();
    tell(&format!("500: {}", failed.why));
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("two disruption budgets"), "{}", failed.why);
    assert_eq!(cordoned_by(&clinic, &node), (false, Value::Null));
    // One that lets go of one after the other.
    clinic.api().delete(&clinic.at("policy/v1", "poddisruptionbudgets/shop")).unwrap();
    clinic.set(number("wait-ms", 60_000));
    until("one budget", || {
        let budgets = clinic.api().list(&clinic.at("policy/v1", "poddisruptionbudgets")).unwrap();
        (budgets.len() == 1).then_some(())
    });
    clinic.heals("drain").done();
    assert!(clinic.pods().iter().all(|pod| node_of(pod) != node));
    assert_eq!(clinic.ready(), 2);
}

/// A pod that was replaced while its budget kept it is another one: its uid is not asked about any more.
#[test]
fn a_pod_that_was_replaced_meanwhile_is_not_chased() {
    let Some(mut clinic) = Clinic::opens("chase") else { return };
    let _nodes = pool(&clinic, "chase", 2);
    has_stateful(&clinic, 1, "chase");
    let pod = clinic.pods().remove(0);
    let (node, first) = (node_of(&pod), uid(&pod));
    clinic.budget("shop", 1);
    clinic.set(text("drain-node", &node));
    let api = clinic.cluster.gitops();
    let path = clinic.at("v1", "pods/shop-0");
    let replaces = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        api.delete(&path).unwrap();
    });
    let ran = clinic.plays::<OfStatefulSet>("drain").done();
    replaces.join().unwrap();
    told("drain of a pod that was replaced", &ran);
    let pod = clinic.pods().remove(0);
    assert_eq!((name(&pod).as_str(), is_ready(&pod)), ("shop-0", true));
    assert!(uid(&pod) != first && node_of(&pod) != node);
    let evictions = changes(&ran).iter().filter(|change| change.ends_with("shop-0/eviction")).count();
    assert!(evictions > 1, "{:?}", changes(&ran));
}

/// All leave but those that belong to the node, and those that nothing would make anew.
#[test]
fn a_whole_node_is_emptied_with_rights_for_it() {
    let Some(mut clinic) = Clinic::opens("whole") else { return };
    let _nodes = pool(&clinic, "whole", 2);
    clinic.has_shop(4, spread("whole"));
    let (other, api) = (clinic.cluster.namespace("neighbour"), clinic.cluster.gitops());
    let pinned = |kind: &str, name: &str| {
        let mut shop = objects::deployment(name, 2, IMAGE);
        shop["kind"] = kind.into();
        shop["spec"]["template"]["spec"]["nodeSelector"] = json!({ "pool": "whole" });
        shop
    };
    api.create(&other.path(APPS, "deployments"), &pinned("Deployment", "mail")).unwrap();
    let node = until("a pod of the neighbour on a node", || {
        let pods = api.list(&other.path("v1", "pods")).unwrap();
        pods.first().filter(|pod| pod["spec"]["nodeName"].is_string()).map(node_of)
    });
    let mut logs = pinned("DaemonSet", "logs");
    logs["spec"].as_object_mut().unwrap().remove("replicas");
    api.create(&other.path(APPS, "daemonsets"), &logs).unwrap();
    let mut alone = objects::pod("alone", IMAGE);
    alone["spec"]["nodeName"] = json!(node);
    api.create(&other.path("v1", "pods"), &alone).unwrap();
    let on = |space: &Namespace| -> Vec<String> {
        let pods = api.list(&space.path("v1", "pods")).unwrap();
        let stays = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let here = stays.filter(|pod| pod["spec"]["nodeName"] == json!(node));
        here.map(|pod| name(pod).split('-').next().unwrap().to_owned()).collect()
    };
    for one in ["mail", "logs", "alone"] {
        until_within(2 * NOTICED, one, || on(&other).contains(&one.into()).then_some(()));
    }
    clinic.set(text("drain-node", &node));
    clinic.set(Setting { name: "drain-whole-node".into(), value: Set::Flag(true) });
    let failed = clinic.heals("drain").failed();
    tell(&format!("without rights in all namespaces: {}", failed.why));
    assert!(failed.why.contains("does not let us GET /api/v1/pods"), "{}", failed.why);
    assert!(!cordoned_by(&clinic, &node).0);
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
        { "apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "patch"] },
    ]);
    let path = format!("/apis/{RBAC}/clusterroles/heals-{}", clinic.space.name());
    clinic.api().merge(&path, &json!({ "rules": rules })).unwrap();
    until("more rights", || (clinic.heals("drain").outcome == Outcome::Done).then_some(()));
    let mut left = on(&other);
    left.sort();
    assert_eq!((left, on(&clinic.space)), (vec!["alone".to_owned(), "logs".into()], vec![]));
    assert_eq!(clinic.ready(), 4);
}

#[test]
fn pods_of_a_lost_node_are_made_elsewhere() {
    let Some(clinic) = Clinic::opens("lost") else { return };
    let nodes = pool(&clinic, "lost", 2);
    let tolerant = |shop: &mut Value| {
        spread("lost")(shop);
        // Without this the control plane itself gives them up after a while; here nobody else does.
        shop["spec"]["template"]["spec"]["tolerations"] = json!([
            { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute" },
            { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute" },
        ]);
    };
    clinic.has_shop(4, tolerant);
    let on = |node: &Node| clinic.pods().iter().filter(|pod| node_of(pod) == node.name()).count();
    let lost = if on(&nodes[0]) > 0 { &nodes[0] } else { &nodes[1] };
    let there = on(lost);
    lost.is_lost().unwrap();
    clinic.comes_to_read("infra.machine-lost", "1");
    let ran = clinic.heals("drain").done();
    told(&format!("drain of {there} pods of a lost node"), &ran);
    assert_eq!((on(lost), clinic.ready()), (0, 4));
    assert_eq!(clinic.reads("infra.machine-lost").unwrap(), "0");
    lost.comes_back().unwrap();
    until_within(NOTICED, "a node that is back", || {
        (clinic.heals("undrain").outcome == Outcome::Done).then_some(())
    });
    assert_eq!(cordoned_by(&clinic, lost.name()), (false, Value::Null));
}
