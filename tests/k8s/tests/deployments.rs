//! Deployments on the real controllers of Kubernetes: home past restarts and failures, whoever writes meanwhile, and cut off at any effect.
//!
//! The controllers are real; the pods only say that they run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod shops;

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use backstay_sdk::executor::{Outcome, Transience};
use backstay_test_k8s::{Cut, Fault, Ran, objects};
use executor_deployment::Deployment;
use serde_json::{Value, json};
use shops::{APPS, ARGO, Shop, image, release, waits};

const SHOP: &str = "deployments/shop";

/// A Deployment of four pods with the release 1.0.0.
fn opens(about: &str) -> Option<Shop> {
    let shop = Shop::opens(about)?;
    let mut deployment = objects::deployment("shop", 4, &image("1.0.0"));
    deployment["spec"]["progressDeadlineSeconds"] = 4.into();
    deployment["metadata"]["annotations"] = shop.tracking("apps", "Deployment", "shop");
    shop.create(APPS, "deployments", &deployment);
    is_whole(&shop, "1.0.0");
    Some(shop)
}

fn template(version: &str) -> Value {
    objects::deployment("shop", 4, &image(version))["spec"]["template"].clone()
}

fn lets_out(shop: &Shop, template: &Value) {
    shop.edit(APPS, SHOP, &json!([{ "op": "replace", "path": "/spec/template", "value": template }]));
}

fn is_whole(shop: &Shop, version: &str) {
    waits("a whole Deployment", || {
        let it = shop.get(APPS, SHOP);
        let (status, wanted) = (&it["status"], &it["spec"]["replicas"]);
        status["observedGeneration"] == it["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|count| status[count] == *wanted)
            && shop.images() == [image(version)]
    });
}

fn gave_up(shop: &Shop) {
    waits("a Deployment that gives up", || {
        let conditions = shop.get(APPS, SHOP)["status"]["conditions"].clone();
        conditions
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it["reason"] == "ProgressDeadlineExceeded"))
    });
}

fn is_home(shop: &Shop, ran: &Ran, version: &str) {
    assert_eq!(ran.outcome, Outcome::Done, "{:#?}", ran.told());
    let it = shop.get(APPS, SHOP);
    assert_eq!(it["spec"]["template"]["spec"]["containers"][0]["image"], image(version));
    let status = &it["status"];
    assert_eq!(status["updatedReplicas"], it["spec"]["replicas"], "{status}");
    assert_eq!(status["availableReplicas"], it["spec"]["replicas"], "{status}");
    waits("pods of it alone", || shop.images() == [image(version)]);
}

fn restarts(shop: &Shop) {
    let restarted = shop
        .cluster
        .kubectl()
        .args(["rollout", "restart", "deployment/shop", "-n", shop.space.name()])
        .output();
    assert!(restarted.unwrap().status.success());
}

fn tells(line: &str) {
    // Past the test's own output, which nobody sees where it went well.
    writeln!(io::stdout().lock(), "\nsummary: {line}").unwrap();
}

/// `kubectl rollout undo` stands beside it, on the same history.
#[test]
fn a_restart_of_the_bad_release_is_no_way_back() {
    let history = |about: &str| {
        let shop = opens(about)?;
        lets_out(&shop, &template("2.0.0"));
        is_whole(&shop, "2.0.0");
        restarts(&shop);
        waits("a third revision", || {
            shop.get(APPS, SHOP)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        });
        is_whole(&shop, "2.0.0");
        Some(shop)
    };
    let Some(shop) = history("restart") else { return };
    shop.has_application(&json!({ "selfHeal": true }));
    let before = shop.replica_sets("1.0.0");
    let ran = shop.goes_home::<Deployment>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    assert_eq!(shop.replica_sets("1.0.0"), before, "no ReplicaSet was made for it");
    assert!(shop.get(ARGO, "applications/shop")["spec"]["syncPolicy"]["automated"].is_null());
    assert_eq!(shop.reads::<Deployment>("out-digest").unwrap(), release("1.0.0").digest);
    assert_eq!(shop.reads::<Deployment>("out-stage").unwrap(), "1000");
    let again = shop.goes_home::<Deployment>("1.0.0").done();
    assert!(again.changes().is_empty(), "{:?}", again.changes());

    let shop = history("restart-undo").unwrap();
    let undone =
        shop.cluster.kubectl().args(["rollout", "undo", "deployment/shop", "-n", shop.space.name()]).output();
    assert!(undone.unwrap().status.success());
    is_whole(&shop, "2.0.0");
    tells(&format!(
        "after a restart kubectl's undo is at the bad release again; ours is home: template restored after {} ms, whole after {} ms",
        ran.changed_after(SHOP).unwrap().as_millis(),
        ran.effects.last().unwrap().1.as_millis(),
    ));
}

#[test]
fn a_release_that_does_not_come_up_goes_home_before_and_after_its_deadline() {
    let Some(shop) = opens("not-ready") else { return };
    for is_late in [false, true] {
        lets_out(&shop, &template("2.0.0-not-ready"));
        waits("a pod of it", || shop.images().len() == 2);
        if is_late {
            gave_up(&shop);
        }
        let ran = shop.goes_home::<Deployment>("1.0.0");
        is_home(&shop, &ran, "1.0.0");
    }
}

#[test]
fn pods_that_never_came_up_are_no_home() {
    let Some(shop) = opens("never") else { return };
    // The same release with settings that don't work, and the bad one over it.
    let mut broken = template("1.0.0");
    broken["metadata"]["annotations"] = json!({ "kubelet.backstay.test/fault": "not-ready" });
    lets_out(&shop, &broken);
    waits("a pod that isn't ready", || {
        shop.get(APPS, SHOP)["status"]["unavailableReplicas"].as_u64() >= Some(1)
    });
    let home = |shop: &Shop| shop.get(APPS, SHOP)["spec"]["template"]["metadata"]["annotations"].is_null();
    // What is there runs the release; only when it gives up there is another home.
    let failed = shop.goes_home::<Deployment>("1.0.0").failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(failed.why.starts_with("it did not come up within its progress deadline"), "{failed:?}");
    assert!(!home(&shop));
    let ran = shop.goes_home::<Deployment>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    assert!(home(&shop));
    lets_out(&shop, &broken);
    waits("a pod that isn't ready", || {
        shop.get(APPS, SHOP)["status"]["unavailableReplicas"].as_u64() >= Some(1)
    });
    lets_out(&shop, &template("2.0.0-not-ready"));
    waits("a pod of the bad release", || shop.images().len() == 2);
    let ran = shop.goes_home::<Deployment>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    assert!(home(&shop), "not the newest revision of it, which never came up");
}

#[test]
fn what_does_not_come_up_at_home_is_said() {
    let Some(shop) = opens("deadline") else { return };
    lets_out(&shop, &template("2.0.0"));
    is_whole(&shop, "2.0.0");
    let digest = format!("sha256:{}", release("1.0.0").digest);
    // Of this namespace alone: other tests have the same images.
    let mut sick = false;
    let ran = thread::scope(|scope| {
        let run = scope.spawn(|| shop.goes_home::<Deployment>("1.0.0"));
        while !run.is_finished() {
            let pods = shop.api().list(&shop.space.path("v1", "pods")).unwrap();
            for pod in pods
                .iter()
                .filter(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().ends_with(&digest))
            {
                let name = pod["metadata"]["name"].as_str().unwrap();
                // It may be gone again.
                let kubelet = shop.cluster.kubelet();
                sick |= kubelet.fault_of_pod(shop.space.name(), name, Some(&Fault::NotReady)).is_ok();
            }
            thread::sleep(Duration::from_millis(5));
        }
        run.join().unwrap()
    });
    assert!(sick);
    let failed = ran.failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(failed.why.contains("progress deadline"), "{failed:?}");
}

#[test]
fn a_release_that_is_kept_no_more_is_said_and_nothing_is_moved() {
    let Some(shop) = opens("history") else { return };
    shop.edit(APPS, SHOP, &json!({ "spec": { "revisionHistoryLimit": 0 } }));
    lets_out(&shop, &template("2.0.0"));
    is_whole(&shop, "2.0.0");
    waits("no ReplicaSet of the first release", || shop.replica_sets("1.0.0") == (1, 0));
    let ran = shop.goes_home::<Deployment>("1.0.0");
    assert!(ran.changes().is_empty());
    let failed = ran.failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(
        failed.why.starts_with("no ReplicaSet that is kept runs 1.0.0: of 1 the newest runs shop:2.0.0@"),
        "{failed:?}"
    );
}

#[test]
fn who_puts_the_bad_release_back_is_stopped_first_or_noticed() {
    let Some(mut shop) = opens("gitops") else { return };
    shop.has_application(&json!({ "prune": true, "selfHeal": true }));
    lets_out(&shop, &template("2.0.0"));
    is_whole(&shop, "2.0.0");
    let reconciler = shop.reconciles(APPS, SHOP, template("2.0.0"));
    let ran = shop.goes_home::<Deployment>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    thread::sleep(Duration::from_secs(1));
    is_home(&shop, &ran, "1.0.0");
    shop.plays::<Deployment>("unfreeze").done();
    waits("the bad release, put back", || shop.images() == [image("2.0.0")]);
    // An owner that nobody is told of is fought once, and not again.
    shop.config.push(backstay_sdk::settings::Setting {
        name: "find-owners".into(),
        value: backstay_sdk::settings::Value::Flag(false),
    });
    is_whole(&shop, "2.0.0");
    let ran = shop.goes_home::<Deployment>("1.0.0");
    assert_eq!(ran.changes().len(), 1, "{:?}", ran.changes());
    let failed = ran.failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(failed.why.starts_with("somebody put registry.test/shop:2.0.0@"), "{failed:?}");
    assert_eq!(reconciler.wrote(), 2);
}

#[test]
fn pauses_and_counts_of_others_stay() {
    let Some(shop) = opens("paused") else { return };
    lets_out(&shop, &template("2.0.0-not-ready"));
    waits("a pod of it", || shop.images().len() == 2);
    shop.plays::<Deployment>("hold").done();
    shop.plays::<Deployment>("hold").done();
    assert_eq!(shop.get(APPS, SHOP)["spec"]["paused"], true);
    shop.plays::<Deployment>("go-on").done();
    assert!(shop.get(APPS, SHOP)["spec"]["paused"].is_null());
    shop.plays::<Deployment>("hold").done();
    // A held Deployment goes home, and an autoscaler's count isn't taken back by it.
    let ran = thread::scope(|scope| {
        let run = scope.spawn(|| shop.goes_home::<Deployment>("1.0.0"));
        for replicas in [5, 6, 7] {
            shop.edit(APPS, SHOP, &json!({ "spec": { "replicas": replicas } }));
        }
        run.join().unwrap()
    });
    is_home(&shop, &ran, "1.0.0");
    assert_eq!(shop.get(APPS, SHOP)["spec"]["replicas"], 7);
    lets_out(&shop, &template("2.0.0"));
    is_whole(&shop, "2.0.0");
    shop.edit(APPS, SHOP, &json!({ "spec": { "paused": true } }));
    let ran = shop.goes_home::<Deployment>("1.0.0");
    assert!(ran.changes().is_empty());
    let failed = ran.failed();
    assert_eq!(
        (failed.transience, failed.why.contains("paused by somebody else")),
        (Transience::Permanent, true)
    );
}

/// The power goes at each effect, before it and after it. The run after it ends at home; the template is written once, and an owner
/// is stopped once.
#[test]
fn a_run_that_is_cut_off_anywhere_ends_at_home() {
    let Some(shop) = opens("cut") else { return };
    shop.has_application(&json!({ "selfHeal": true }));
    let (mut trials, mut at) = (0, 0);
    loop {
        let mut effects = 0;
        for cut in [Cut::Before, Cut::After] {
            lets_out(&shop, &template("2.0.0"));
            is_whole(&shop, "2.0.0");
            let generation =
                |version, what| shop.get(version, what)["metadata"]["generation"].as_i64().unwrap();
            let before = (generation(APPS, SHOP), generation(ARGO, "applications/shop"));
            let ran = shop.goes_home_cut::<Deployment>("1.0.0", at, cut);
            effects = effects.max(ran.effects.len());
            if let Outcome::Failed(failed) = &ran.outcome {
                assert_eq!(failed.transience, Transience::Transient, "{failed:?}");
            }
            let again = shop.goes_home::<Deployment>("1.0.0");
            is_home(&shop, &again, "1.0.0");
            let after = (generation(APPS, SHOP), generation(ARGO, "applications/shop"));
            assert_eq!(
                (after.0 - before.0, after.1 - before.1),
                (1, 1),
                "{cut:?} at {at}: {:#?}",
                ran.told()
            );
            shop.plays::<Deployment>("unfreeze").done();
            trials += 1;
        }
        at += 1;
        // Later effects are looks while it is waited for pods.
        if at as usize >= effects.min(12) {
            break;
        }
    }
    tells(&format!(
        "{trials} runs cut off: each ended at home with one change of the template and one of the owner"
    ));
}
