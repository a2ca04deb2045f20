//! Helm releases on a real API server, by the real Helm 3 and 4: home to the right revision, whatever failed, was killed, or was done by
//! somebody else at the same time; and no claim, namespace or definition lost on the way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod released;

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use backstay_sdk::{
    executor::{Outcome, Task, Transience},
    settings::{Setting, Value as Set},
};
use backstay_test_k8s::{Cut, Fault, until};
use executor_helm::Helm;
use released::{MAJORS, Major, Shop, home, number, text};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);

/// The good one, one that fails, what somebody made of it by `helm rollback` without a number, and a bad one that came up.
#[test]
fn it_goes_home_to_the_revision_that_was_whole() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        assert!(!shop.ships("1.0", &["3s", "--set", "config=bad", "--set-string", "version=1.0-image-pull"]));
        // Revision 3 brings back 1, and 4 what failed: `helm rollback` goes to the one before, and calls it deployed.
        shop.helms(&["rollback", "shop"]);
        shop.helms(&["rollback", "shop", "2"]);
        assert_eq!((shop.newest().status.as_str(), shop.live().as_str()), ("deployed", "1.0-image-pull"));
        assert!(shop.ships("2.0", &[]));
        let began = Instant::now();
        let ran = shop.runs(home("1.0")).done();
        println!(
            "{major:?}: home in {} ms, with a state of {} bytes",
            began.elapsed().as_millis(),
            ran.state_bytes
        );
        shop.is_home("1.0");
        assert_eq!(shop.newest().description, "Rollback to 3");
        // Again changes nothing.
        let again = shop.runs(home("1.0")).done();
        assert_eq!((again.changes(), shop.newest().revision), (vec![], 6));
        // There is no way to what never was, and nobody is asked for it.
        let failed = shop.runs(home("0.9")).failed();
        assert_eq!(failed.transience, Transience::Permanent);
        assert_eq!(shop.newest().revision, 6);
    }
}

/// Killed at any moment, helm leaves a release pending that every upgrade refuses. It is repaired at once.
#[test]
fn a_helm_that_is_killed_is_repaired() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0-slow-ready", &["--set", "hook=hook:1"]));
        let mut left = BTreeSet::new();
        for ms in [1, 10, 25, 50, 100, 200, 400, 700, 1500, 4000] {
            assert!(shop.ships("2.0", &["--set", "hook=hook:1"]));
            let before = shop.newest().revision;
            // The first helm of a run is killed after so long; all others are left alone.
            let (seconds, once) = (f64::from(ms) / 1000.0, shop.path(&format!("killed-{ms}")));
            let script = format!(
                "if mkdir {once} 2>/dev/null; then \"$@\" & sleep {seconds}; kill -9 $!; wait $!; exit 137; fi\nexec \"$@\"\n"
            );
            let host = shop.host(MINUTE, Some(&script));
            let ran = host.run::<Helm>(&shop.config(&[]), home("1.0-slow-ready")).done();
            shop.is_home("1.0-slow-ready");
            let history = shop.history();
            let ours: Vec<&str> =
                history.iter().filter(|it| it.revision > before).map(|it| it.status.as_str()).collect();
            // Nothing was made where it was killed early. What was begun is told as pending, and one more has finished it.
            assert!(
                matches!(ours.as_slice(), ["deployed"] | ["pending-rollback", "deployed"]),
                "{ours:?} {:#?}",
                ran.told()
            );
            left.insert(ours.len());
        }
        assert_eq!(left, BTreeSet::from([1, 2]), "no moment was in the middle, or each was");
        assert!(shop.ships("3.0", &[]), "an upgrade is refused");
    }
}

/// The host's own time is over, and it kills helm with all of its group. What it had begun becomes ready afterwards.
#[test]
fn a_helm_that_is_over_time_is_looked_at() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        assert!(shop.ships("2.0", &[]));
        let once = shop.path("slept");
        let script =
            format!("if mkdir {once} 2>/dev/null; then \"$@\" & wait $!; sleep 60; fi\nexec \"$@\"\n");
        // It comes to its end, and the host never hears of it.
        let host = shop.host(Duration::from_secs(8), Some(&script));
        host.run::<Helm>(&shop.config(&[]), home("1.0")).done();
        shop.is_home("1.0");
        assert_eq!(shop.newest().revision, 3, "it was done twice");
    }
}

/// The power goes at any effect: before it is done, or when it is and nobody has heard of it.
#[test]
fn a_power_cut_at_any_effect_ends_right() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        assert!(shop.ships("2.0", &[]));
        let host = shop.host(MINUTE, None);
        let config = shop.config(&[]);
        let effects = host.run::<Helm>(&config, home("1.0")).done().effects.len();
        for at in 0..u32::try_from(effects).unwrap() {
            for cut in [Cut::Before, Cut::After] {
                shop.helms(&["rollback", "shop", &shop.revision_of("2.0"), "--wait", "--history-max", "0"]);
                let before = shop.newest().revision;
                let ran = host.cut::<Helm>(&config, home("1.0"), Some((at, cut)));
                if ran.outcome != Outcome::Done {
                    panic!("{cut:?} at {at}: {:?} {:#?}", ran.outcome, ran.told());
                }
                let lease = shop.lease();
                if !lease["spec"]["holderIdentity"].is_null() {
                    // Letting go of it was what was cut: its time runs out.
                    let path = shop.space.path("coordination.k8s.io/v1", "leases/backstay-helm-shop");
                    shop.api().merge(&path, &json!({ "spec": { "holderIdentity": null } })).unwrap();
                }
                shop.is_home("1.0");
                assert_eq!(shop.newest().revision, before + 1, "{cut:?} at {at}: it was done twice");
            }
        }
        println!("{major:?}: {effects} effects, each cut before and after");
    }
}

/// A hook that fails leaves the release pending. As long as it fails so does the run, in words; the next one repairs at once.
#[test]
fn a_failing_hook_is_repaired() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        let image = format!("hook-{}", shop.space.name());
        assert!(shop.ships("1.0", &["--set", &format!("hook={image}:1")]));
        assert!(shop.ships("2.0", &[]));
        shop.cluster.kubelet().fault_of_images(&image, Some(Fault::CrashLoop));
        let failed = shop.runs(home("1.0")).failed();
        assert_eq!(failed.transience, Transience::Transient);
        assert!(failed.why.contains("shop-before"), "{failed:?}");
        assert_eq!((shop.newest().status.as_str(), shop.newest().revision), ("pending-rollback", 4));
        assert!(!shop.ships("2.1", &[]), "helm itself refuses to go on");
        shop.cluster.kubelet().fault_of_images(&image, None);
        let began = Instant::now();
        shop.runs(home("1.0")).done();
        assert!(began.elapsed() < MINUTE, "it waited for what was its own");
        shop.is_home("1.0");
        assert_eq!(shop.newest().revision, 5);
        // Who says that the way back goes before the hooks gets there.
        assert!(shop.ships("2.0", &[]));
        shop.cluster.kubelet().fault_of_images(&image, Some(Fault::CrashLoop));
        let skips = Setting { name: "skip-failing-hooks".into(), value: Set::Flag(true) };
        let host = shop.host(MINUTE, None);
        host.run::<Helm>(&shop.config(&[skips]), home("1.0")).done();
        shop.is_home("1.0");
        shop.cluster.kubelet().fault_of_images(&image, None);
    }
}

/// Two servers at once, at any distance: one goes back, and there is one more revision. What Helm alone makes of it is counted beside it.
#[test]
fn of_two_at_once_one_goes_back() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        // Nothing is pruned: where both of two people failed, only the oldest revision of 1.5 was ever whole.
        let hook = ["--set", "hook=hook:1", "--history-max", "0"];
        assert!(shop.ships("1.0", &hook));
        assert!(shop.ships("1.5", &hook));
        let mut helms_own = Vec::new();
        for ms in [0, 150, 400, 800] {
            assert!(shop.ships("2.0", &hook));
            let before = shop.newest().revision;
            let run = |instance: &str, after: u64| {
                thread::sleep(Duration::from_millis(after));
                let host = shop.host(MINUTE, None);
                host.run::<Helm>(&shop.config(&[text("instance", instance)]), home("1.0")).outcome
            };
            let (one, two) = thread::scope(|scope| {
                let two = scope.spawn(|| run("two", ms));
                (run("one", 0), two.join().unwrap())
            });
            shop.is_home("1.0");
            assert_eq!(shop.newest().revision, before + 1, "at {ms} ms: {one:?}, {two:?}");
            for outcome in [&one, &two] {
                let held = matches!(outcome, Outcome::Failed(failed) if failed.transience == Transience::Transient && failed.why.contains("holds the Lease"));
                assert!(held || *outcome == Outcome::Done, "at {ms} ms: {outcome:?}");
            }
            assert!(one == Outcome::Done || two == Outcome::Done, "at {ms} ms nobody did it");
            // Two people at once, to different revisions.
            assert!(shop.ships("2.0", &hook));
            let (good, other) = (shop.revision_of("1.0"), shop.revision_of("1.5"));
            let goes_to = |to: &str| {
                shop.helm(&["rollback", "shop", to, "--wait", "--history-max", "0"]).output().unwrap()
            };
            let both = thread::scope(|scope| {
                let first = scope.spawn(|| goes_to(&good));
                thread::sleep(Duration::from_millis(ms));
                [goes_to(&other).status.success(), first.join().unwrap().status.success()]
            });
            let deployed = shop.history().iter().filter(|it| it.status == "deployed").count();
            helms_own.push(format!("{ms} ms: {both:?}, {deployed} deployed, {} live", shop.live()));
            // Whatever they left, it is put right: what is pending as soon as it is too old to be anybody's.
            let host = shop.host(MINUTE, None);
            host.run::<Helm>(&shop.config(&[number("pending-after-ms", 1000)]), home("1.0")).done();
            shop.is_home("1.0");
        }
        println!("{major:?}: two helms alone: {}", helms_own.join("; "));
    }
}

/// A person with helm doesn't know the lock.
#[test]
fn a_person_who_works_at_the_same_time_is_put_right_or_left_alone() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        // Nothing is pruned: where both of two people failed, only the oldest revision of 1.5 was ever whole.
        let hook = ["--set", "hook=hook:1", "--history-max", "0"];
        assert!(shop.ships("1.0", &hook));
        assert!(shop.ships("1.5", &hook));
        let mut ends = Vec::new();
        for ms in [0, 300, 600, 1200] {
            assert!(shop.ships("2.0", &hook));
            let outcome = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(ms));
                    let other = shop.revision_of("1.5");
                    shop.helm(&["rollback", "shop", &other, "--wait", "--history-max", "0"]).output().unwrap()
                });
                shop.runs(home("1.0")).outcome
            });
            let told = match &outcome {
                Outcome::Done => "done".to_owned(),
                Outcome::Failed(failed) => {
                    assert_eq!(failed.transience, Transience::Transient, "{failed:?}");
                    failed.why.clone()
                }
            };
            ends.push(format!("{ms} ms: {told}"));
            if outcome != Outcome::Done || shop.live() != "1.0" {
                // He came last, or his helm left a revision pending. The next run finds what he left, as soon as it is too old to be his.
                let host = shop.host(MINUTE, None);
                host.run::<Helm>(&shop.config(&[number("pending-after-ms", 1000)]), home("1.0")).done();
            }
            shop.is_home("1.0");
        }
        println!("{major:?}: {}", ends.join("; "));
    }
}

/// Changed by hand, past Helm: its record is right, and what is live isn't.
#[test]
fn what_was_changed_by_hand_is_brought_back() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        shop.is_patched("2.0");
        let told = until("all pods are of the edit", || {
            let told = shop.runs(Task::Heal("look".into())).done().attached[0].clone();
            told.contains("out-stage=1000\n").then_some(told)
        });
        for said in [
            "out-version=2.0",
            "helm-status=deployed",
            "helm-revision=1",
            "helm-deployed=1",
            "helm-live=differs",
        ] {
            assert!(told.lines().any(|line| line == said), "{said}: {told}");
        }
        shop.runs(home("1.0")).done();
        shop.is_home("1.0");
        // And when something else is out, by a hand that wrote over Helm's field.
        assert!(shop.ships("2.0", &[]));
        shop.is_patched("2.0-hotfix");
        shop.runs(home("1.0")).done();
        shop.is_home("1.0");
    }
}

/// Somebody's upgrade is under way. It is waited for, and not disturbed.
#[test]
fn an_upgrade_that_is_under_way_is_waited_for() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        assert!(shop.ships("2.0", &[]));
        thread::scope(|scope| {
            let upgrade = scope.spawn(|| shop.ships("3.0-slow-ready", &[]));
            until("it is under way", || (shop.newest().status == "pending-upgrade").then_some(()));
            shop.runs(home("1.0")).done();
            assert!(upgrade.join().unwrap(), "it was disturbed");
        });
        shop.is_home("1.0");
        assert_eq!(shop.history()[2].status, "superseded");
        // One that never ends is told, and left alone until it is old.
        thread::scope(|scope| {
            scope.spawn(|| shop.ships("3.0-not-ready", &["--timeout", "12s"]));
            until("it is under way", || (shop.newest().status == "pending-upgrade").then_some(()));
            let host = shop.host(MINUTE, None);
            let config = shop.config(&[number("wait-ms", 2000)]);
            let failed = host.run::<Helm>(&config, home("1.0")).failed();
            assert!(failed.why.contains("whose helm may be at work"), "{failed:?}");
            assert_eq!(shop.newest().status, "pending-upgrade");
            let config = shop.config(&[number("pending-after-ms", 1000)]);
            host.run::<Helm>(&config, home("1.0")).done();
        });
        shop.runs(home("1.0")).done();
        shop.is_home("1.0");
    }
}

/// The right release under two configurations, of which the newer one's pods never come up. It was let out without waiting, so that Helm
/// calls it good. It is tried once.
#[test]
fn what_came_up_in_vain_is_not_tried_again() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        let bad = ["--set", "fault=not-ready"];
        assert!(shop.ships("1.0", &[]) && shop.lets_out("1.0", &bad) && shop.ships("2.0", &[]));
        let host = shop.host(MINUTE, None);
        let config = shop.config(&[number("wait-ms", 3000)]);
        let failed = host.run::<Helm>(&config, home("1.0")).failed();
        assert_eq!(failed.transience, Transience::Transient);
        assert_eq!((shop.newest().status.as_str(), shop.newest().revision), ("failed", 4));
        host.run::<Helm>(&config, home("1.0")).done();
        shop.is_home("1.0");
        assert_eq!((shop.newest().description.as_str(), shop.newest().revision), ("Rollback to 1", 5));
    }
}

#[test]
fn repair_leaves_the_release_as_it_is() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        // An upgrade of settings alone, killed while it waits.
        let kill = || {
            let chart = shop.path("chart");
            let args =
                ["upgrade", "shop", &chart, "--set-string", "version=1.0", "--set", "config=slow", "--wait"];
            shop.cluster.kubelet().fault_of_images("registry.test/shop:1.0", Some(Fault::NotReady));
            let mut upgrade = shop.helm(&args).spawn().unwrap();
            until("it waits", || {
                let shop = shop.api().get(&shop.space.path("apps/v1", "deployments/shop")).ok()?;
                (shop["metadata"]["generation"] != 1).then_some(())
            });
            upgrade.kill().unwrap();
            upgrade.wait().unwrap();
            shop.cluster.kubelet().fault_of_images("registry.test/shop:1.0", None);
        };
        kill();
        assert_eq!(shop.newest().status, "pending-upgrade");
        let host = shop.host(MINUTE, None);
        let config = shop.config(&[number("pending-after-ms", 0)]);
        host.run::<Helm>(&config, Task::Heal("repair".into())).done();
        shop.is_home("1.0");
        assert_eq!(shop.newest().description, "Rollback to 1");
        let again = host.run::<Helm>(&config, Task::Heal("repair".into())).done();
        assert!(again.changes().is_empty());
    }
}

/// All kinds and styles in one manifest: what the preview tells is exactly what Helm then deletes of what holds data.
#[test]
fn what_the_preview_tells_is_what_helm_deletes() {
    for major in MAJORS {
        let Some(shop) = Shop::opens(major) else { return };
        let space = shop.space.name().to_owned();
        assert!(shop.ships("1.0", &[]));
        let claim = "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
        let json_claim =
            r#""spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}"#;
        let definition = |plural: &str, kind: &str| {
            format!(
                "spec: {{group: {space}.test, scope: Namespaced, names: {{plural: {plural}, singular: {plural}1, kind: {kind}}}, versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]}}"
            )
        };
        let keep = "annotations: {helm.sh/resource-policy: keep}";
        let set = |name: &str, policy: &str| {
            format!(
                "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: {name}}}\nspec:\n  replicas: 0\n  serviceName: x\n  {policy}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}\n"
            )
        };
        for (path, thing) in [
            ("a.yaml", format!("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: plain\n{claim}\n")),
            ("b.json", format!("{{\"apiVersion\": \"v1\", \"kind\": \"PersistentVolumeClaim\", \"metadata\": {{\"name\": \"in-json\"}}, {json_claim}}}")),
            ("c.yaml", format!("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: PersistentVolumeClaim\n  metadata: {{name: in-list}}\n  {claim}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: beside}}\n")),
            ("d.yaml", format!("kind: \"PersistentVolumeClaim\"\n\"apiVersion\": 'v1'\nmetadata:\n  'name': \"quoted\"\n{claim}\n")),
            ("e.yaml", format!("apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: kept\n  {keep}\n{claim}\n")),
            ("f.yaml", format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {space}-extra}}\n")),
            ("g.yaml", format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {space}-kept, {keep}}}\n")),
            ("h.yaml", format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: as.{space}.test\n{}\n", definition("as", "A"))),
            ("i.yaml", format!("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: bs.{space}.test\n  {keep}\n{}\n", definition("bs", "B"))),
            ("j.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: decoy\ndata:\n  x: |\n    apiVersion: v1\n    kind: PersistentVolumeClaim\n    metadata:\n      name: decoy\n".to_owned()),
            ("k.yaml", format!("# Source: x\n# kind: Namespace\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: &meta\n  labels: {{a: b,\n    c: d}}\n  name: >-\n    folded\n{claim}\n")),
            ("l.yaml", format!("apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {space}-pv}}\nspec: {{capacity: {{storage: 1Gi}}, accessModes: [ReadWriteOnce], hostPath: {{path: /x}}, persistentVolumeReclaimPolicy: Retain}}\n")),
            ("m.yaml", set("keeps-claims", "persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain}")),
            ("n.yaml", set("takes-claims", "persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}")),
        ] {
            shop.writes(&format!("chart/things/{path}"), &thing);
        }
        assert!(shop.lets_out("2.0", &[]), "{:?}", shop.history());
        let look = shop.path("look");
        fs::create_dir_all(&look).unwrap();
        let host = shop.host(MINUTE, None);
        let ran = host.run::<Helm>(&shop.config(&[]), home("1.0"));
        let state = ran.state_bytes;
        let failed = ran.failed();
        assert_eq!(failed.transience, Transience::Permanent);
        assert!(failed.why.contains("and 8 more: nothing was changed"), "{failed:?}");
        assert_eq!((shop.newest().revision, shop.live().as_str()), (2, "2.0"));
        // One after the other is allowed; the one that is left is named.
        let names = [
            "PersistentVolumeClaim/plain",
            "PersistentVolumeClaim/in-json",
            "PersistentVolumeClaim/in-list",
            "PersistentVolumeClaim/quoted",
            "PersistentVolumeClaim/folded",
            "StatefulSet/takes-claims",
        ];
        let cluster_names = [
            format!("Namespace/{space}-extra"),
            format!("CustomResourceDefinition/as.{space}.test"),
            format!("PersistentVolume/{space}-pv"),
        ];
        let all: Vec<String> = names.iter().map(|it| (*it).to_owned()).chain(cluster_names).collect();
        let allowing = |which: &[String]| {
            shop.config(&[Setting { name: "deletes-allowed".into(), value: Set::Texts(which.to_vec()) }])
        };
        for left in 0..all.len() {
            let mut but_one = all.clone();
            let named = but_one.remove(left);
            let failed = host.run::<Helm>(&allowing(&but_one), home("1.0")).failed();
            assert!(failed.why.contains(&format!("deletes-allowed = [\"{named}\"] allows it")), "{failed:?}");
        }
        assert_eq!(shop.newest().revision, 2);
        let ran = host.run::<Helm>(&allowing(&all), home("1.0")).done();
        shop.is_home("1.0");
        assert!(ran.attached.iter().any(|told| told.contains("loses Namespace. - ")), "{:?}", ran.attached);
        // And that is what Helm has deleted.
        let there = |path: &str| match shop.api().get(path) {
            Ok(object) => object["metadata"]["deletionTimestamp"].is_null(),
            Err(refusal) => {
                assert_eq!(refusal.code, 404, "{refusal}");
                false
            }
        };
        let claim = |name: &str| shop.space.path("v1", &format!("persistentvolumeclaims/{name}"));
        let definition = |name: &str| {
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}.{space}.test")
        };
        for (path, is_kept) in [
            (claim("plain"), false),
            (claim("in-json"), false),
            (claim("in-list"), false),
            (claim("quoted"), false),
            (claim("folded"), false),
            (claim("kept"), true),
            (format!("/api/v1/namespaces/{space}-extra"), false),
            (format!("/api/v1/namespaces/{space}-kept"), true),
            (definition("as"), false),
            (definition("bs"), true),
            (format!("/api/v1/persistentvolumes/{space}-pv"), false),
            (shop.space.path("apps/v1", "statefulsets/keeps-claims"), false),
            (shop.space.path("apps/v1", "statefulsets/takes-claims"), false),
            (shop.space.path("v1", "configmaps/decoy"), false),
            (shop.space.path("v1", "configmaps/beside"), false),
        ] {
            assert_eq!(there(&path), is_kept, "{path}");
        }
        println!("{major:?}: 9 of 9 named and refused, 4 kept; a state of {state} bytes");
    }
}

/// What is kept by the manifest of the bad revision, which never came about, is not kept on the API server.
#[test]
fn a_policy_that_was_never_applied_keeps_nothing() {
    for major in [Major::Four, Major::Three] {
        let Some(shop) = Shop::opens(major) else { return };
        assert!(shop.ships("1.0", &[]));
        let claim = |more: &str| {
            format!(
                "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\n  {more}\nspec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
            )
        };
        shop.writes("chart/things/a.yaml", &claim("labels: {a: b}"));
        assert!(shop.lets_out("2.0", &[]));
        // A namespace that isn't there: the API server refuses it, before the claim is written.
        shop.writes("chart/things/a.yaml", &claim("annotations: {helm.sh/resource-policy: keep}"));
        let nowhere = format!(
            "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: a, namespace: {}-nowhere}}\nspec: {{}}\n",
            shop.space.name()
        );
        shop.writes("chart/things/0.yaml", &nowhere);
        assert!(!shop.lets_out("3.0", &[]));
        assert_eq!(shop.newest().status, "failed");
        let failed = shop.runs(home("1.0")).failed();
        assert!(failed.why.contains("would delete PersistentVolumeClaim"), "{failed:?}");
        assert_eq!(shop.newest().revision, 3);
    }
}
