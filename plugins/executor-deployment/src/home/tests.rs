//! Ways home: past restarts and failures, against others who write, and cut off at each effect.

use alloc::{format, string::String};

use backstay_kubernetes::{
    json::{Value, json},
    revisions::in_vain::IN_VAIN_FIELD,
    testing::{
        MISHAPS,
        shop::{APP, REPLICA_SETS, release, template},
    },
};
use backstay_sdk::executor::{Outcome, Task, Transience};

use crate::{
    Deployment,
    shop::{SHOP, Shop},
};

/// A way home, whole.
fn goes(shop: &mut Shop, to: char) {
    assert_eq!(shop.goes_home(to), None);
    assert_eq!(shop.runs().0, to);
    assert_eq!(shop.api.objects.get(SHOP, "/status/availableReplicas"), 3);
}

#[test]
fn the_bad_release_goes_and_git_cannot_bring_it_back() {
    let mut shop = Shop::of(&['a', 'b']);
    goes(&mut shop, 'a');
    assert!(shop.is_frozen());
    assert_eq!(shop.api.changes, [format!("PATCH {APP}"), format!("PATCH {SHOP}")], "frozen first");
    assert_eq!(shop.api.objects.below(REPLICA_SETS).len(), 2, "no ReplicaSet was made for it");
    let restored = shop.api.objects.get(SHOP, "/spec/template");
    assert_eq!(restored, template('a', ""), "without the controller's label");
    let (name, before) = &shop.api.attached[0];
    let before: Value = backstay_kubernetes::json::from_str(before).unwrap();
    assert_eq!((name.as_str(), &before["home"]["revision"]), ("before", &json!(1)));
    assert_eq!(before["owners"][0]["was"]["automated"], json!({ "prune": true, "selfHeal": true }));
    shop.api.run::<Deployment>(Task::Heal("unfreeze".into()), None).done();
    assert_eq!(
        shop.api.objects.get(APP, "/spec/syncPolicy/automated"),
        json!({ "prune": true, "selfHeal": true })
    );
}

#[test]
fn a_restart_of_the_bad_release_is_no_way_back() {
    let mut shop = Shop::of(&['a', 'b']);
    shop.lets_out(template('b', "restarted"));
    goes(&mut shop, 'a');
}

#[test]
fn twice_the_same_way_is_once() {
    let mut shop = Shop::of(&['a', 'b']);
    goes(&mut shop, 'a');
    let (changes, attached) = (shop.api.changes.len(), shop.api.attached.len());
    goes(&mut shop, 'a');
    assert_eq!((shop.api.changes.len(), shop.api.attached.len()), (changes, attached));
}

#[test]
fn pods_that_never_came_up_are_no_home() {
    let mut shop = Shop::of(&['a']);
    shop.lets_out(template('a', "x"));
    shop.lets_out_half('b');
    goes(&mut shop, 'a');
    assert_eq!(shop.runs(), ('a', String::new()), "not the newest of it, whose pods never came up");
}

#[test]
fn what_is_there_and_gave_up_goes_to_another_template_of_the_release() {
    let mut shop = Shop::of(&['a']);
    shop.lets_out(template('a', "x"));
    assert_eq!(shop.api.objects.get(SHOP, "/status/conditions/0/reason"), "ProgressDeadlineExceeded");
    goes(&mut shop, 'a');
    assert_eq!(shop.runs(), ('a', String::new()));
}

/// Each run finds the one before it in vain, and what was tried has no pods any more.
#[test]
fn two_that_do_not_come_up_do_not_take_turns() {
    let with = |works: bool| {
        let mut shop = Shop::of(&['c']);
        let mut other = template('a', "x");
        other["metadata"]["labels"]["tier"] = "web".into();
        shop.lets_out(template('a', "x"));
        if works {
            shop.lets_out(template('a', ""));
        }
        shop.lets_out(other);
        shop.lets_out(template('b', ""));
        shop
    };
    let mut shop = with(true);
    let set = |shop: &Shop| shop.api.objects.get(SHOP, "/spec/template/metadata/labels/tier");
    for tier in [json!("web"), Value::Null] {
        let why = shop.goes_home('a').unwrap();
        assert!(why.starts_with("it did not come up within its progress deadline"), "{why}");
        assert_eq!(set(&shop), tier);
    }
    goes(&mut shop, 'a');
    assert_eq!(shop.runs(), ('a', String::new()));
    assert_eq!(shop.api.objects.get(SHOP, IN_VAIN_FIELD), "6 7");
    // Where none is left that works, the last one that was tried stays.
    let mut shop = with(false);
    assert!((0..2).all(|_| shop.goes_home('a').is_some()));
    let changes = shop.api.changes.clone();
    let why = shop.goes_home('a').unwrap();
    assert!(why.starts_with("nothing was moved: shop-h2 is the newest that runs a"), "{why}");
    assert_eq!(shop.api.changes, changes);
}

#[test]
fn what_does_not_come_up_in_its_time_fails_for_now() {
    let mut shop = Shop::of(&['a', 'b']);
    // Its only revision is there, with pods that stopped coming up since.
    for path in shop.api.objects.below(REPLICA_SETS) {
        shop.api.objects.edit(&path, |set| {
            set["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "x".into()
        });
    }
    let failed = shop.api.run::<Deployment>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert_eq!(
        failed.why,
        "it did not come up within its progress deadline: 1 of 4 pods are of it, 3 of all are available"
    );
}

#[test]
fn a_release_that_no_revision_runs_moves_nothing() {
    let mut shop = Shop::of(&['a', 'b']);
    let why = shop.goes_home('c').unwrap();
    assert!(
        why.starts_with("no ReplicaSet that is kept runs c: of 2 the newest runs shop:b@sha256:"),
        "{why}"
    );
    assert!(shop.api.changes.is_empty());
}

#[test]
fn a_pause_of_ours_is_lifted_and_one_of_others_is_not() {
    let mut shop = Shop::of(&['a', 'b']);
    shop.api.run::<Deployment>(Task::Heal("hold".into()), None).done();
    goes(&mut shop, 'a');
    assert_eq!(shop.api.objects.get(SHOP, "/spec/paused"), Value::Null);
    assert_eq!(shop.api.objects.get(SHOP, "/metadata/annotations/backstay.dev~1held"), Value::Null);
    let mut shop = Shop::of(&['a', 'b']);
    shop.api.objects.edit(SHOP, |shop| shop["spec"]["paused"] = true.into());
    let failed = shop.api.run::<Deployment>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert_eq!(failed.why, "it is paused by somebody else (spec.paused): nothing was moved");
    assert!(shop.api.changes.is_empty());
    // One that is paused where it is home is home.
    let mut shop = Shop::of(&['a']);
    shop.api.objects.edit(SHOP, |shop| shop["spec"]["paused"] = true.into());
    shop.api
        .objects
        .edit(SHOP, |shop| shop["status"]["observedGeneration"] = shop["metadata"]["generation"].clone());
    goes(&mut shop, 'a');
}

#[test]
fn a_count_that_changes_meanwhile_is_no_reason_to_stop_and_stays() {
    let mut shop = Shop::of(&['a', 'b']);
    let mut times = 0;
    shop.also(move |objects| {
        times += 1;
        if times == 4 {
            objects.edit(SHOP, |shop| shop["spec"]["replicas"] = 3.into());
            objects.edit(SHOP, |shop| shop["spec"]["minReadySeconds"] = 5.into());
        }
    });
    goes(&mut shop, 'a');
    assert_eq!(shop.api.objects.get(SHOP, "/spec/minReadySeconds"), 5);
}

#[test]
fn another_release_that_somebody_lets_out_meanwhile_is_not_overwritten() {
    let mut shop = Shop::of(&['a', 'b']);
    let mut times = 0;
    shop.also(move |objects| {
        times += 1;
        if times == 4 {
            objects.edit(SHOP, |shop| shop["spec"]["template"] = template('c', ""));
        }
    });
    let failed = shop.api.run::<Deployment>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(
        failed.why.starts_with("nothing was moved: meanwhile it was set to r.example/shop:c@"),
        "{failed:?}"
    );
    assert_eq!(shop.runs().0, 'c');
}

#[test]
fn who_puts_the_bad_release_back_is_noticed_and_not_fought() {
    let mut shop = Shop::of(&['a', 'b']);
    let mut times = 0;
    shop.also(move |objects| {
        let is_home = objects.get(SHOP, "/spec/template") == template('a', "");
        times += u32::from(is_home);
        if is_home && times > 2 {
            objects.edit(SHOP, |shop| shop["spec"]["template"] = template('b', ""));
        }
    });
    let why = shop.goes_home('a').unwrap();
    assert!(why.starts_with("somebody put r.example/shop:b@sha256:"), "{why}");
    assert_eq!(shop.api.changes.iter().filter(|change| change.ends_with(SHOP)).count(), 1);
}

#[test]
fn an_owner_that_may_not_be_stopped_moves_nothing() {
    let mut shop = Shop::of(&['a', 'b']);
    shop.api.answer("PATCH", APP, 403, json!({ "message": "forbidden" }));
    let failed = shop.api.run::<Deployment>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.starts_with("the API server does not let us PATCH /apis/argoproj.io/"), "{failed:?}");
    assert_eq!(shop.runs().0, 'b');
}

#[test]
fn a_template_that_is_refused_is_not_tried_again_and_again() {
    let mut shop = Shop::of(&['a', 'b']);
    shop.api.answer("PATCH", SHOP, 422, json!({ "message": "spec.template: no" }));
    let failed = shop.api.run::<Deployment>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.why, "restoring the template was refused with status 422: spec.template: no");
    assert_eq!(failed.transience, Transience::Permanent);
}

/// Whatever happens at whichever effect, the run after it ends at home, nothing is done twice, and Argo CD is stopped before.
#[test]
fn each_mishap_at_each_effect_ends_right() {
    let whole = Shop::of(&['a', 'b']).api.run::<Deployment>(Task::GoHome(release('a')), None).done();
    assert!(whole.effects > 10, "{whole:?}");
    for at in 0..whole.effects {
        for mishap in MISHAPS {
            let mut shop = Shop::of(&['a', 'b']);
            let ran = shop.api.run::<Deployment>(Task::GoHome(release('a')), Some((at, mishap)));
            if let Outcome::Failed(failed) = &ran.outcome {
                assert_eq!(failed.transience, Transience::Transient, "{mishap:?} at {at}: {failed:?}");
            }
            goes(&mut shop, 'a');
            assert_eq!(
                shop.api.changes,
                [format!("PATCH {APP}"), format!("PATCH {SHOP}")],
                "{mishap:?} at {at}"
            );
        }
    }
}

/// So many waits lie between an order and a template that is restored, with the owner stopped.
#[test]
fn the_way_home_has_few_rounds() {
    let mut shop = Shop::of(&['a', 'b']);
    // Nobody acts on the template, so that the rest is waiting for it.
    shop.api.react(|_, _| {});
    let ran = shop.api.run::<Deployment>(Task::GoHome(release('a')), None);
    let (mut waits, mut pause, mut waited) = (0, 10, 0);
    while waited < 2000 {
        (waits, waited, pause) = (waits + 1, waited + pause, 2 * pause);
    }
    // Look; revisions and owners; template, owner and evidence; template written; look. A wait is a pause and a look.
    assert_eq!(ran.rounds, 5 + 2 * waits);
}
