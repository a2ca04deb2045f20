//! `restart`: what it cures, what it refuses, and that it goes by budgets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_sdk::executor::Transience;
use backstay_test_k8s::{Fault, objects, until, until_within};
use executor_rollouts::Rollouts;
use serde_json::json;

use crate::clinic::*;

#[test]
fn a_crash_loop_is_cured_by_a_restart_and_its_template_stays() {
    let Some(clinic) = Clinic::opens("restart") else { return };
    clinic.has_shop(3, |_| {});
    let (before, sick) = (clinic.pods(), clinic.pod(1));
    let generation = clinic.get(APPS, "deployments/shop")["metadata"]["generation"].clone();
    clinic.falls_ill(&sick, &Fault::CrashLoop);
    clinic.comes_to_read("infra.process-exited", "1");
    let ran = clinic.heals("restart").done();
    told("restart", &ran);
    assert_eq!(changes(&ran).len(), 1, "{:?}", changes(&ran));
    let after = clinic.pods();
    let stayed = uids(&before).iter().filter(|uid| uids(&after).contains(uid)).count();
    assert_eq!((after.len(), stayed, after.iter().all(is_ready)), (3, 2, true));
    assert!(!after.iter().any(|pod| name(pod) == sick));
    assert_eq!(clinic.get(APPS, "deployments/shop")["metadata"]["generation"], generation);
    assert_eq!(clinic.api().list(&clinic.at(APPS, "replicasets")).unwrap().len(), 1);
    assert_eq!(clinic.reads("infra.process-exited").unwrap(), "0");
}

/// A release that is on its way crashes: a look doesn't call it the machine's trouble, and a restart doesn't hide it.
#[test]
fn what_was_changed_lately_is_a_regression_and_no_trouble_of_a_machine() {
    let Some(mut clinic) = Clinic::opens("regress") else { return };
    clinic.has_shop(3, |_| {});
    clinic.set(number("restart-after-ms", 600_000));
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": "registry.test/shop:2.0.0-crash-loop" }] } } } });
    clinic.api().merge(&clinic.at(APPS, "deployments/shop"), &image).unwrap();
    until("a crash loop", || {
        clinic
            .pods()
            .iter()
            .any(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            })
            .then_some(())
    });
    let (told, ..) = clinic.looks();
    assert!(told.contains(&"infra.process-exited=0".into()), "{told:?}");
    assert!(told.contains(&"unsettled.process-exited=1".into()), "{told:?}");
    let failed = clinic.heals("restart").failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("that is a regression, which no restart cures"), "{}", failed.why);
    // As long as two revisions have pods, and however old the newest is.
    clinic.set(number("restart-after-ms", 1000));
    let (told, ..) = clinic.looks();
    assert!(told.contains(&"infra.process-exited=0".into()), "{told:?}");
}

/// All in turn, and never fewer than a budget wants.
#[test]
fn a_restart_of_what_is_well_goes_by_the_budget() {
    let Some(clinic) = Clinic::opens("in-turn") else { return };
    clinic.has_shop(4, |_| {});
    clinic.budget("shop", 3);
    let before = uids(&clinic.pods());
    let (over, fewest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
    let watcher = thread::spawn({
        let (api, path) = (clinic.cluster.gitops(), clinic.at("v1", "pods"));
        let (over, fewest) = (Arc::clone(&over), Arc::clone(&fewest));
        move || {
            while !over.load(Ordering::Relaxed) {
                let ready = api.list(&path).unwrap().iter().filter(|pod| is_ready(pod)).count();
                fewest.fetch_min(ready as u64, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let ran = clinic.heals("restart").done();
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    told("restart of 4", &ran);
    let after = clinic.pods();
    assert_eq!(after.len(), 4);
    assert!(uids(&after).iter().all(|uid| !before.contains(uid)));
    assert!(fewest.load(Ordering::Relaxed) >= 3, "{fewest:?}");
}

/// `spec.restartAt` waits for pods to be ready that never will be. Evictions don't.
#[test]
fn a_rollout_whose_pods_crash_is_cured_where_its_own_restart_waits_for_ever() {
    let Some(clinic) = Clinic::opens("rollout") else { return };
    let rollout = objects::rollout("shop", 4, IMAGE, &json!([]));
    clinic.api().create(&clinic.at(ARGO, "rollouts"), &rollout).unwrap();
    let ready = || clinic.get(ARGO, "rollouts/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0);
    until("a ready Rollout", || (ready() == 4).then_some(()));
    thread::sleep(Duration::from_millis(2100));
    let sick = [clinic.pod(0), clinic.pod(1)];
    for pod in &sick {
        clinic.falls_ill(pod, &Fault::CrashLoop);
    }
    until("a crash loop", || (ready() == 2).then_some(()));
    let now = clinic.cluster.kubectl().args(["get", "--raw", "/version"]).output().unwrap();
    assert!(now.status.success());
    let at = clinic.get("v1", &format!("pods/{}", sick[0]));
    let heard = at["status"]["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"].clone();
    clinic
        .api()
        .merge(&clinic.at(ARGO, "rollouts/shop"), &json!({ "spec": { "restartAt": heard } }))
        .unwrap();
    thread::sleep(Duration::from_secs(10));
    let names: Vec<String> = clinic.pods().iter().map(name).collect();
    assert!(sick.iter().all(|pod| names.contains(pod)), "Argo's own restart has cured it: {names:?}");
    let ran = clinic.plays::<Rollouts>("restart").done();
    told("restart of a Rollout", &ran);
    assert_eq!((ready(), changes(&ran).len()), (4, 2), "{:?}", changes(&ran));
}

/// Its pods have the same names again, and are counted as ready until they have ended.
#[test]
fn a_stateful_set_is_restarted_one_by_one_and_stays_where_its_node_may_live() {
    let Some(mut clinic) = Clinic::opens("stateful") else { return };
    let nodes = pool(&clinic, "stateful", 1);
    has_stateful(&clinic, 3, "stateful");
    let before = uids(&clinic.pods());
    // Each takes a while to end.
    for at in 0..3 {
        let note = json!({ "metadata": { "annotations": { "kubelet.backstay.test/stops": "1s" } } });
        clinic.api().merge(&clinic.at("v1", &format!("pods/shop-{at}")), &note).unwrap();
    }
    let ran = clinic.plays::<OfStatefulSet>("restart").done();
    told("restart of a StatefulSet of 3", &ran);
    let after = clinic.pods();
    assert_eq!((after.len(), after.iter().all(is_ready)), (3, true));
    assert!(uids(&after).iter().all(|uid| !before.contains(uid)));
    clinic.falls_ill("shop-1", &Fault::CrashLoop);
    until("a crash loop", || clinic.pods().iter().any(|pod| !is_ready(pod)).then_some(()));
    let ran = clinic.plays::<OfStatefulSet>("restart").done();
    assert_eq!(changes(&ran).len(), 1, "{:?}", changes(&ran));
    clinic.set(number("restart-after-ms", 600_000));
    assert!(clinic.plays::<OfStatefulSet>("restart").failed().why.contains("that is a regression"));
    nodes[0].is_lost().unwrap();
    until_within(NOTICED, "a lost node", || {
        let node = clinic.api().get(&format!("/api/v1/nodes/{}", nodes[0].name())).unwrap();
        (!is_ready(&node)).then_some(())
    });
    let failed = clinic.plays::<OfStatefulSet>("drain").failed();
    tell(&format!("a StatefulSet on a lost node: {}", failed.why));
    assert_eq!((failed.transience, cordoned_by(&clinic, nodes[0].name()).0), (Transience::Permanent, false));
    assert!(failed.why.contains("out-of-service"), "{}", failed.why);
    nodes[0].comes_back().unwrap();
}

/// A canary may stand for as long as it likes: what of it crashes is its own fault, and nobody mends it in place of going back.
#[test]
fn a_canary_that_crashes_is_neither_restarted_nor_a_machines_trouble() {
    let Some(clinic) = Clinic::opens("canary") else { return };
    let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
    clinic.api().create(&clinic.at(ARGO, "rollouts"), &objects::rollout("shop", 2, IMAGE, &steps)).unwrap();
    let ready = || clinic.get(ARGO, "rollouts/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0);
    until("a ready Rollout", || (ready() == 2).then_some(()));
    let image = "registry.test/shop:2.0.0-crash-loop";
    let image =
        json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image }]);
    clinic.api().patch(&clinic.at(ARGO, "rollouts/shop"), &image).unwrap();
    let told = || clinic.plays::<Rollouts>("look").done().attached.pop().unwrap();
    until("a canary that crashes", || told().contains("unsettled.process-exited=1").then_some(()));
    thread::sleep(Duration::from_secs(3));
    let seen = told();
    assert!(
        seen.contains("infra.process-exited=0\n") && seen.contains("unsettled.process-exited=1\n"),
        "{seen}"
    );
    let failed = clinic.plays::<Rollouts>("restart").failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("are of a revision that is on its way"), "{}", failed.why);
}
