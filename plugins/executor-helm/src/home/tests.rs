//! The way home on a Helm in memory: the right revision, and each mishap at each effect. What somebody else does meanwhile: `others`.

mod others;

use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};

use backstay_kubernetes::{
    json::json,
    testing::{MISHAPS, number, texts},
};
use backstay_sdk::executor::{Outcome, Transience};

use crate::double::{KILLS, Kept, Killed, LEASE, SHOP, World, flag, goes_live, home, kept};

/// 1.0 was good, and 2.0 is out.
fn upgraded() -> Vec<Kept> {
    vec![kept(1, "superseded", "1.0", "install"), kept(2, "deployed", "2.0", "upgrade")]
}

fn asked(to: u32, more: &str) -> String {
    format!("shop {to} --namespace prod --timeout 300s --cleanup-on-fail --history-max 0 --wait{more}")
}

#[test]
fn it_goes_back_by_number_once_and_leaves_no_lock_behind() {
    let mut world = World::of(upgraded());
    world.run(home("1.0"), None).done();
    assert_eq!(world.asked(), [asked(1, "")]);
    assert_eq!(
        world.records(),
        [(1, "superseded", "1.0".into()), (2, "superseded", "2.0".into()), (3, "deployed", "1.0".into())]
    );
    assert_eq!(world.live(), "1.0");
    assert!(world.is_free());
    assert_eq!(world.api.objects.get(LEASE, "/metadata/annotations/backstay.dev~1doing"), "");
    // Whoever is home stays there, and changes nothing.
    let changes = world.api.changes.clone();
    world.run(home("1.0"), None).done();
    assert_eq!(world.api.changes, changes);
}

/// What `helm rollback` without a number makes of it: the failed one, called deployed.
#[test]
fn it_never_goes_to_one_that_failed_was_cut_off_or_runs_something_else() {
    let mut world = World::of(vec![
        kept(1, "superseded", "1.0", "install"),
        kept(2, "superseded", "1.0", "failed"),
        kept(3, "superseded", "1.0", "begun"),
        kept(4, "superseded", "1.5", "upgrade"),
        kept(5, "superseded", "1.0", "back 2"),
        kept(6, "deployed", "2.0", "upgrade"),
    ]);
    world.run(home("1.0"), None).done();
    assert_eq!(world.asked(), [asked(1, "")]);
    assert_eq!(world.newest().back_to, 1);
}

/// Of a long history the newest part is read. It is cut in the middle of a line.
#[test]
fn a_history_that_is_longer_than_an_answer_is_read_from_its_end() {
    let mut records: Vec<Kept> =
        (1..60).map(|at| kept(at, "superseded", &format!("0.{at}-{}", "x".repeat(60)), "upgrade")).collect();
    records[57] = kept(58, "superseded", "1.0", "upgrade");
    records.push(kept(60, "deployed", "2.0", "upgrade"));
    let mut world = World::of(records);
    world.run(home("1.0"), None).done();
    assert_eq!(world.asked(), [asked(58, "")]);
    // What was cut off isn't known.
    assert!(world.fails(home("0.1")).unwrap().starts_with("none of the revisions that are kept"));
}

/// What was cut off of a preview may be what is lost.
#[test]
fn a_preview_that_is_longer_than_an_answer_allows_nothing() {
    let mut world = World::of(upgraded());
    let many = (0..90).map(|at| format!("Thing.example {at}-{}", "x".repeat(40)).leak() as &'static str);
    world.helm.borrow_mut().records[1].things = many.collect();
    let failed = world.run(home("1.0"), None).failed();
    let why = "helm-look.sh preview prints more than an answer holds";
    assert_eq!((failed.transience, failed.why.as_str()), (Transience::Permanent, why));
    assert!(world.asked().is_empty() && world.is_free());
}

#[test]
fn where_there_is_no_way_nothing_is_changed() {
    for (records, why) in [
        (
            vec![kept(1, "superseded", "1.0", "failed"), kept(2, "deployed", "2.0", "upgrade")],
            "none of the revisions that are kept is whole and runs what is wanted; the newest is revision 2 (deployed)",
        ),
        (
            vec![kept(1, "superseded", "1.0", "install"), kept(2, "uninstalled", "2.0", "upgrade")],
            "revision 2 (uninstalled) is the newest: somebody took the release away",
        ),
        (
            vec![kept(1, "pending-install", "2.0", "begun")],
            "none of the revisions that are kept is whole and runs what is wanted; the newest is revision 1 (pending-install)",
        ),
    ] {
        let mut world = World::of(records);
        let failed = world.run(home("1.0"), None).failed();
        assert_eq!((failed.transience, failed.why.as_str()), (Transience::Permanent, why));
        assert!(world.api.changes.is_empty());
    }
}

/// Wherever helm is killed, it is found out by a look, and what is left pending is repaired at once: it is ours.
#[test]
fn a_helm_that_is_killed_leaves_nothing_pending() {
    for killed in KILLS {
        let mut world = World::of(upgraded()).but(|helm| helm.killed = vec![(0, killed)]);
        world.run(home("1.0"), None).done();
        assert_eq!(world.asked(), [asked(1, ""), asked(1, "")], "{killed:?}");
        assert_eq!(
            (world.newest().status, world.newest().revision, world.live().as_str()),
            ("deployed", 4, "1.0")
        );
        assert!(world.is_free());
    }
}

/// Twice killed and a third time: the run fails, and the next one knows from the lock whose the pending revision is.
#[test]
fn what_a_run_leaves_pending_the_next_one_repairs_at_once() {
    let kill = |at| (at, Killed::Waiting);
    let mut world = World::of(upgraded()).but(|helm| helm.killed = vec![kill(0), kill(1), kill(2)]);
    let failed = world.run(home("1.0"), None).failed();
    assert_eq!(failed.why, "the command helm-rollback did not end in its time");
    assert_eq!(world.newest().status, "pending-rollback");
    assert_eq!(
        world.api.objects.get(LEASE, "/metadata/annotations/backstay.dev~1doing"),
        "rollback to 1 after 4"
    );
    world.run(home("1.0"), None).done();
    assert_eq!((world.newest().status, world.asked().len()), ("deployed", 4));
}

#[test]
fn a_hook_that_fails_once_is_run_again_and_one_that_fails_twice_fails() {
    let mut world = World::of(upgraded()).but(|helm| helm.hooks_fail = 1);
    world.run(home("1.0"), None).done();
    assert_eq!((world.newest().revision, world.newest().status), (4, "deployed"));
    let mut world = World::of(upgraded()).but(|helm| helm.hooks_fail = 9);
    let why = "the command helm-rollback ended with exit code 1: Error: job shop-before failed: BackoffLimitExceeded";
    assert_eq!(world.fails(home("1.0")).unwrap(), why);
    assert_eq!(world.asked().len(), 2);
    // Unless somebody said that the way back goes before the hooks.
    let mut world =
        World::of(upgraded()).but(|helm| helm.hooks_fail = 9).set(flag("skip-failing-hooks", true));
    world.run(home("1.0"), None).done();
    assert_eq!(world.asked(), [asked(1, ""), asked(1, ""), asked(1, " --no-hooks")]);
}

#[test]
fn what_others_wrote_is_written_over_after_it_was_refused() {
    let mut world = World::of(upgraded()).but(|helm| helm.conflicts = true);
    world.run(home("1.0"), None).done();
    assert_eq!(world.asked(), [asked(1, ""), asked(1, " --force-conflicts")]);
    let mut world =
        World::of(upgraded()).but(|helm| helm.conflicts = true).set(flag("force-conflicts", false));
    assert!(world.fails(home("1.0")).unwrap().contains("conflict with"));
    assert_eq!(world.asked().len(), 1);
    // The failing roll-back has called 2.0 superseded. That makes it no better, and the next run goes to 1.0 still.
    world.helm.borrow_mut().conflicts = false;
    world.run(home("1.0"), None).done();
    assert_eq!(world.newest().back_to, 1);
}

#[test]
fn what_does_not_come_up_is_not_brought_back_again_and_again() {
    let mut world = World::of(upgraded()).but(|helm| helm.never_ready = "1.0");
    let why = world.fails(home("1.0")).unwrap();
    assert!(why.contains("timed out waiting for the condition"), "{why}");
    assert_eq!(world.asked().len(), 1);
}

/// The right release under two configurations, of which the newer one's pods don't come up: the next run takes the older one.
#[test]
fn what_came_up_in_vain_is_not_tried_a_second_time() {
    let mut records = upgraded();
    records.insert(1, kept(2, "superseded", "1.0-b", "upgrade"));
    records[2].revision = 3;
    let mut world =
        World::of(records).set(backstay_kubernetes::testing::text("version-from", "chart-version"));
    for record in world.helm.borrow_mut().records.iter_mut().take(2) {
        record.chart = "shop-1.0.0".into();
    }
    world.helm.borrow_mut().never_ready = "1.0-b";
    assert!(world.fails(home("1.0.0")).is_some());
    assert_eq!(
        world.api.objects.get(LEASE, "/metadata/annotations/backstay.dev~1doing"),
        "rollback to 2 after 3; in vain 2"
    );
    world.run(home("1.0.0"), None).done();
    assert_eq!((world.asked(), world.live()), (vec![asked(2, ""), asked(1, "")], "1.0".into()));
    assert_eq!(world.api.objects.get(LEASE, "/metadata/annotations/backstay.dev~1doing"), "");
}

#[test]
fn what_was_changed_by_hand_is_brought_back_by_the_same_revision() {
    let mut world =
        World::of(vec![kept(1, "superseded", "2.0", "install"), kept(2, "deployed", "1.0", "upgrade")]);
    goes_live(&mut world.api.objects, "0.9");
    world.run(home("1.0"), None).done();
    assert_eq!((world.asked(), world.live()), (vec![asked(2, "")], "1.0".into()));
}

#[test]
fn where_what_is_live_does_not_follow_it_is_told_in_the_end() {
    let mut world = World::of(upgraded());
    world.api.react(|objects, _| {
        if objects.get(SHOP, "/spec/template/spec/containers/0/image") != "registry.test/shop:0.9" {
            goes_live(objects, "0.9");
        }
    });
    let failed = world.run(home("1.0"), None).failed();
    let why = "revision 5 (deployed) is what Helm has recorded, and what is live has the image registry.test/shop:0.9";
    assert_eq!((failed.transience, failed.why.as_str()), (Transience::Transient, why));
    assert_eq!(world.asked().len(), 3);
}

#[test]
fn home_is_where_all_pods_are_ready() {
    let mut world = World::of(upgraded());
    world.api.objects.edit(SHOP, |shop| shop["status"]["readyReplicas"] = json!(1));
    let why = "Deployment prod/shop is home, and not all of its pods are ready";
    assert_eq!(world.fails(home("1.0")).as_deref(), Some(why));
    assert_eq!(world.fails(home("1.0")).as_deref(), Some(why));
    assert_eq!(world.asked().len(), 1);
}

/// What `backstay plan` shows: all looks are real, the lock and the roll-back are assumed, and what would be lost is refused there, too.
#[test]
fn a_dry_run_shows_the_way_and_what_keeps_it() {
    let mut world = World::of(upgraded());
    world.api.is_dry = true;
    let failed = world.run(home("1.0"), None).failed();
    assert_eq!(failed.why, "helm says that it went back, and its history doesn't show it");
    let planned: Vec<&str> = world.api.planned.iter().map(|it| it.split('?').next().unwrap()).collect();
    let lease = format!("PATCH {LEASE}");
    let back = format!("helm-rollback {}", asked(1, ""));
    let leases = "POST /apis/coordination.k8s.io/v1/namespaces/prod/leases";
    assert_eq!(planned, [leases, &lease, &back, &lease]);
    assert!(world.api.changes.is_empty() && world.live() == "2.0");
    let mut trap = World::of(upgraded());
    trap.helm.borrow_mut().records[1].things = vec!["PersistentVolumeClaim. data"];
    trap.api.objects.put("/api/v1/namespaces/prod/persistentvolumeclaims/data", json!({}));
    trap.api.is_dry = true;
    assert!(trap.fails(home("1.0")).unwrap().contains("would delete PersistentVolumeClaim prod/data"));
}

/// A lock that is lost before the roll-back keeps it from being asked for.
#[test]
fn nothing_is_done_without_the_lock() {
    let mut world = World::of(upgraded());
    world.api.react(|objects, _| {
        if objects.has(LEASE) && objects.get(LEASE, "/spec/holderIdentity") == "backstay/1.1" {
            objects.edit(LEASE, |lease| lease["spec"]["holderIdentity"] = "other/7.7".into());
        }
    });
    let why = "the Lease backstay-helm-shop is not ours any more: nothing was done";
    assert_eq!(world.fails(home("1.0")).as_deref(), Some(why));
    assert!(world.asked().is_empty());
}

#[test]
fn what_would_be_lost_keeps_it_from_going() {
    const DATA: &str = "/api/v1/namespaces/prod/persistentvolumeclaims/data";
    let world = || {
        let world = World::of(upgraded());
        world.helm.borrow_mut().records[1].things =
            vec!["PersistentVolumeClaim. data", "Deployment.apps worker"];
        world
    };
    let mut trap = world();
    trap.api.objects.put(DATA, json!({}));
    let failed = trap.run(home("1.0"), None).failed();
    let why = "going back to revision 1 would delete PersistentVolumeClaim prod/data: nothing was changed; \
               deletes-allowed = [\"PersistentVolumeClaim/data\"] allows it";
    assert_eq!((failed.transience, failed.why.as_str()), (Transience::Permanent, why));
    assert!(trap.asked().is_empty() && trap.is_free());
    // What isn't there can't be lost, what is kept isn't, and what somebody allowed is nobody's loss.
    let mut gone = world();
    gone.run(home("1.0"), None).done();
    let told = "loses PersistentVolumeClaim. prod data removed\ndeletes Deployment worker\nend 3 1";
    assert_eq!(gone.api.attached, [("helm-preview".to_string(), told.to_string())]);
    let mut is_kept = world();
    let keep = json!({ "metadata": { "annotations": { "helm.sh/resource-policy": "keep" } } });
    is_kept.api.objects.put(DATA, keep);
    is_kept.run(home("1.0"), None).done();
    let mut allowed = world().set(texts("deletes-allowed", &["PersistentVolumeClaim/data"]));
    allowed.api.objects.put(DATA, json!({}));
    allowed.run(home("1.0"), None).done();
    // What can't be looked at may be there.
    let mut unknown = world();
    unknown.api.answer("GET", DATA, 403, json!({ "message": "no" }));
    assert!(unknown.fails(home("1.0")).unwrap().contains("would delete PersistentVolumeClaim prod/data"));
}

/// A second roll-back compares with the record of the first, so that what only the bad release had stays. It is told.
#[test]
fn what_a_killed_helm_leaves_over_is_told() {
    let mut world = World::of(upgraded()).but(|helm| {
        helm.killed = vec![(0, Killed::Begun)];
        helm.records[1].things = vec!["Deployment.apps worker"];
    });
    world.run(home("1.0"), None).done();
    let told = "deletes Deployment worker\nend 2 1".to_string();
    let fields = "a roll-back was cut off: with Helm 3 fields may have stayed that only revision 2 had. Hold what is live against: helm get manifest shop";
    let attached = [("helm-preview", &*told), ("helm-left-fields", fields), ("helm-left-over", &*told)];
    assert_eq!(world.api.attached, attached.map(|(name, told)| (name.to_string(), told.to_string())));
}

/// Each mishap at each effect: the run, or one more, ends with the right release, one record deployed, nothing pending and no lock held; and
/// none that was done is done again.
#[test]
fn each_mishap_at_each_effect_ends_right() {
    let effects = World::of(upgraded()).run(home("1.0"), None).done().effects;
    let mut tried = 0;
    for at in 0..effects {
        for mishap in MISHAPS {
            let mut world = World::of(upgraded());
            let ran = world.run(home("1.0"), Some((at, mishap)));
            let is_free = world.is_free();
            if !is_free {
                // Its time runs out.
                world.api.objects.edit(LEASE, |lease| {
                    lease["spec"]["renewTime"] = json!("2026-10-30T00:00:00.000000Z");
                });
            }
            if ran.outcome != Outcome::Done {
                world.run(home("1.0"), None).done();
                assert!(world.is_free(), "{mishap:?} at {at}");
            }
            assert_eq!(world.live(), "1.0", "{mishap:?} at {at}");
            assert_eq!(
                (world.newest().status, world.newest().revision),
                ("deployed", 3),
                "{mishap:?} at {at}"
            );
            assert_eq!(world.asked().len(), 1, "{mishap:?} at {at}");
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
}

/// The same with a helm that is killed in the middle, wherever in it.
#[test]
fn each_mishap_beside_a_kill_ends_right() {
    for killed in KILLS {
        for at in 0..20 {
            for mishap in MISHAPS {
                let mut world = World::of(upgraded()).but(|helm| helm.killed = vec![(0, killed)]);
                let ran = world.run(home("1.0"), Some((at, mishap)));
                if ran.outcome != Outcome::Done {
                    if world.api.objects.has(LEASE) {
                        world.api.objects.edit(LEASE, |lease| {
                            lease["spec"]["renewTime"] = json!("2026-10-30T00:00:00.000000Z");
                        });
                    }
                    // What is pending may have lost its owner with the lock: then its age has to say so.
                    for record in &mut world.helm.borrow_mut().records {
                        record.updated = "2026-10-30T00:00:00Z".into();
                    }
                    world.run(home("1.0"), None).done();
                }
                assert_eq!(
                    (world.live().as_str(), world.newest().status),
                    ("1.0", "deployed"),
                    "{killed:?} {mishap:?} at {at}"
                );
                assert!(world.asked().len() <= 3);
            }
        }
    }
}

#[test]
fn a_lock_that_is_shorter_than_the_wait_is_refused_before() {
    let config = [number("lock-ms", 20_000), number("wait-ms", 30_000)];
    assert!(crate::config::validate(&config).iter().any(|it| it.setting.as_deref() == Some("lock-ms")));
}
