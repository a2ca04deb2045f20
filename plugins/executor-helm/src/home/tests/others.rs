//! Whoever else is at work on the release while it goes home: people with helm, another server, and who keeps it.

use alloc::{format, vec, vec::Vec};

use backstay_kubernetes::{
    json::{Value, json},
    testing::texts,
};
use backstay_sdk::executor::{Task, Transience};

use super::{asked, upgraded};
use crate::double::{Kept, LEASE, World, goes_live, home, kept};

fn pending(begun_s_ago: u64) -> Vec<Kept> {
    // The double's time begins with the first of November.
    let updated = format!("2026-11-01T00:{:02}:00.25+01:00", 60 - begun_s_ago / 60);
    let cut_off = Kept { updated, ..kept(3, "pending-upgrade", "3.0", "begun") };
    vec![kept(1, "superseded", "1.0", "install"), kept(2, "deployed", "2.0", "upgrade"), cut_off]
}

/// A helm that is at work is waited for. It may come to its end, and then it is gone away from.
#[test]
fn somebody_who_is_at_work_is_not_disturbed() {
    let mut world = World::of(pending(60)).but(|helm| {
        helm.between = Some(Box::new(|helm, objects, command| {
            if command == 12 {
                helm.records[2].status = "deployed";
                helm.records[2].description = "Upgrade complete".into();
                helm.records[1].status = "superseded";
                goes_live(objects, "3.0");
            }
        }));
    });
    world.run(home("1.0"), None).done();
    assert_eq!((world.asked(), world.live()), (vec![asked(1, "")], "1.0".into()));
    assert_eq!(world.records()[2], (3, "superseded", "3.0".into()));
}

#[test]
fn what_is_pending_for_too_long_is_nobodys() {
    for (begun_s_ago, is_waited_for) in [(660, false), (540, true)] {
        let mut world = World::of(pending(begun_s_ago));
        world.run(home("1.0"), None).done();
        let looks = world.api.changes.iter().filter(|change| change.starts_with("rollback")).count();
        assert_eq!((looks, world.newest().revision), (1, 4));
        let renewed = world.api.objects.get(LEASE, "/spec/renewTime");
        let at_once = renewed.as_str().unwrap() < "2026-11-01T00:00:30";
        assert_eq!(at_once, !is_waited_for, "{renewed}");
    }
    // Nobody waits for longer than wait-ms.
    let mut world = World::of(pending(60));
    let failed = world.run(home("1.0"), None).failed();
    let why = "revision 3 (pending-upgrade) is somebody's, whose helm may be at work: it is taken for dead 600 s after it began";
    assert_eq!((failed.transience, failed.why.as_str()), (Transience::Transient, why));
    assert!(world.asked().is_empty() && world.is_free());
}

/// A person with helm doesn't know the lock. Two helms at once leave two records that are called deployed, and what is live is either's.
#[test]
fn a_person_who_goes_back_at_the_same_time_is_put_right() {
    for live in ["1.0", "1.5"] {
        let mut records = upgraded();
        records.insert(1, kept(2, "superseded", "1.5", "upgrade"));
        records[2].revision = 3;
        let mut world = World::of(records).but(|helm| {
            helm.between = Some(Box::new(move |helm, objects, _| {
                if helm.newest().revision == 4 && helm.newest().status == "deployed" {
                    let theirs = Kept { back_to: 2, ..kept(5, "deployed", "1.0", "back 1") };
                    helm.records.push(Kept { version: "1.0".into(), back_to: 1, ..theirs });
                    goes_live(objects, live);
                }
            }));
        });
        world.run(home("1.0"), None).done();
        assert_eq!((world.live().as_str(), world.newest().revision), ("1.0", 6), "live was {live}");
        let deployed = world.records().iter().filter(|it| it.1 == "deployed").count();
        assert_eq!(deployed, 1);
    }
}

/// He let something else out meanwhile. That isn't what was to be gone away from, and it isn't ours to take back.
#[test]
fn what_somebody_lets_out_meanwhile_stays() {
    let mut world = World::of(upgraded()).but(|helm| {
        helm.between = Some(Box::new(|helm, objects, _| {
            if helm.newest().revision == 3 && helm.newest().status == "deployed" {
                helm.records[2].status = "superseded";
                helm.records.push(kept(4, "deployed", "2.1", "upgrade"));
                goes_live(objects, "2.1");
            }
        }));
    });
    let why = "revision 4 (deployed) came in meanwhile, with another release: somebody else is at work";
    assert_eq!(world.fails(home("1.0")).as_deref(), Some(why));
    assert_eq!((world.asked().len(), world.live().as_str()), (1, "2.1"));
}

/// The name of the next revision was taken in the same instant, so ours failed: what is pending then is another's, who is alive.
#[test]
fn whoever_was_quicker_is_waited_for() {
    let quicker = |ends: bool| {
        World::of(upgraded()).but(|helm| {
            let updated = "2026-11-01T00:00:00Z".into();
            helm.quicker = Some(Kept { updated, ..kept(3, "pending-rollback", "1.0", "back 1") });
            let mut commands = 0;
            helm.between = Some(Box::new(move |helm, objects, _| {
                commands += u32::from(helm.newest().revision == 3);
                if commands == 9 && ends {
                    helm.records[1].status = "superseded";
                    helm.records[2].status = "deployed";
                    goes_live(objects, "1.0");
                }
            }));
        })
    };
    let mut world = quicker(true);
    world.run(home("1.0"), None).done();
    assert_eq!((world.asked().len(), world.newest().revision), (1, 3));
    let mut world = quicker(false);
    let failed = world.run(home("1.0"), None).failed();
    assert!(failed.why.starts_with("revision 3 (pending-rollback) is somebody's"), "{failed:?}");
    assert_eq!(world.asked().len(), 1);
    assert_eq!(world.api.objects.get(LEASE, "/metadata/annotations/backstay.dev~1doing"), "");
}

#[test]
fn of_two_servers_one_goes_back() {
    let mut world = World::of(upgraded());
    world.run(home("1.0"), None).done();
    world.helm.borrow_mut().records = upgraded();
    goes_live(&mut world.api.objects, "2.0");
    world.api.objects.edit(LEASE, |lease| lease["spec"]["holderIdentity"] = "other/7.7".into());
    let failed = world.run(home("1.0"), None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(
        failed.why.starts_with("other/7.7 is at work and holds the Lease backstay-helm-shop, for "),
        "{failed:?}"
    );
    assert_eq!(world.asked().len(), 1);
}

#[test]
fn whoever_else_writes_it_is_stopped_first() {
    const APP: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop";
    let mut world = World::of(upgraded()).set(texts("argocd-applications", &["argocd/shop"]));
    let automated = json!({ "spec": { "syncPolicy": { "automated": { "selfHeal": true } } } });
    world.api.objects.put(APP, automated);
    world.run(home("1.0"), None).done();
    assert_eq!(world.api.objects.get(APP, "/spec/syncPolicy/automated"), Value::Null);
    let place = |what: &str| world.api.changes.iter().position(|change| change.contains(what)).unwrap();
    assert!(place(APP) < place("rollback"));
    world.run(Task::Heal("unfreeze".into()), None).done();
    assert_eq!(world.api.objects.get(APP, "/spec/syncPolicy/automated"), json!({ "selfHeal": true }));
}
