//! Ways home: from a canary at any step, from a bad release that has all traffic, with a template of its own or of a Deployment, against
//! others who write, and cut off at each effect. The bad release never gets more than it has.

use alloc::{format, rc::Rc, string::String, vec::Vec};
use core::cell::Cell;

use backstay_kubernetes::{
    json::{Value, json},
    revisions::in_vain::IN_VAIN_FIELD,
    testing::{
        MISHAPS, Mishap,
        shop::{APP, REPLICA_SETS, release, template},
    },
};
use backstay_sdk::executor::{Outcome, Task, Transience};

use crate::{
    Rollouts,
    shop::{SHOP, STATUS, Shop, TEMPLATES, blue_green, canary, runs},
};

/// A way home, whole.
fn goes(shop: &mut Shop, to: char) {
    assert_eq!(shop.goes_home(to), None);
    for hash in ["/currentPodHash", "/stableRS"] {
        assert_eq!(shop.runs(&shop.status(hash)).0, to);
    }
    assert_eq!(shop.status("/phase"), "Healthy");
    assert!(shop.status("/abort") != true && shop.status("/promoteFull") != true);
}

fn changes(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| format!("PATCH {path}")).collect()
}

#[test]
fn a_canary_is_aborted_and_git_cannot_bring_it_back() {
    for strategy in [canary(), blue_green()] {
        let mut shop = Shop::of(strategy);
        shop.lets_out(template('b', ""));
        goes(&mut shop, 'a');
        assert!(shop.is_frozen());
        assert_eq!(
            shop.api.changes,
            changes(&[STATUS, APP, SHOP]),
            "no steps are left: nothing to be promoted"
        );
        assert_eq!(
            shop.api.objects.get(SHOP, "/spec/template"),
            template('a', ""),
            "without the controller's label"
        );
        let before: Value = backstay_kubernetes::json::from_str(&shop.api.attached[0].1).unwrap();
        assert_eq!((&before["home"]["revision"], &before["workload"]["current"]), (&json!(1), &json!("h2")));
        assert_eq!(before["owners"][0]["was"]["automated"], json!({ "prune": true, "selfHeal": true }));
        shop.api.run::<Rollouts>(Task::Heal("unfreeze".into()), None).done();
        assert_eq!(
            shop.api.objects.get(APP, "/spec/syncPolicy/automated"),
            json!({ "prune": true, "selfHeal": true })
        );
    }
}

#[test]
fn a_bad_release_that_has_all_traffic_loses_it_without_steps() {
    for strategy in [canary(), blue_green()] {
        let mut shop = Shop::of(strategy);
        shop.promotes(template('b', ""));
        goes(&mut shop, 'a');
        assert_eq!(
            shop.api.changes,
            changes(&[APP, SHOP, STATUS]),
            "what is bad is not aborted to, and home is promoted"
        );
    }
}

#[test]
fn the_template_of_a_deployment_is_restored_there() {
    for is_promoted in [false, true] {
        let mut shop = Shop::of_reference(canary());
        if is_promoted {
            shop.promotes(template('b', ""));
        } else {
            shop.lets_out(template('b', ""));
        }
        goes(&mut shop, 'a');
        assert_eq!(shop.api.objects.get(TEMPLATES, "/spec/template"), template('a', ""));
        assert!(shop.is_frozen(), "whoever writes the Deployment is stopped");
        let expected = if is_promoted { [APP, TEMPLATES, STATUS] } else { [STATUS, APP, TEMPLATES] };
        assert_eq!(shop.api.changes, changes(&expected));
    }
    let mut shop = Shop::of_reference(canary());
    shop.lets_out(template('b', ""));
    shop.api.run::<Rollouts>(Task::Heal("hold".into()), None).done();
    goes(&mut shop, 'a');
    assert_eq!(shop.api.objects.get(SHOP, "/spec/paused"), Value::Null);
    shop.api.objects.edit(SHOP, |shop| shop["spec"]["workloadRef"]["kind"] = "ReplicaSet".into());
    assert_eq!(shop.goes_home('a').unwrap(), "its template is in a ReplicaSet, and not in a Deployment");
}

#[test]
fn twice_the_same_way_is_once() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('b', ""));
    goes(&mut shop, 'a');
    let (changes, attached) = (shop.api.changes.len(), shop.api.attached.len());
    goes(&mut shop, 'a');
    assert_eq!((shop.api.changes.len(), shop.api.attached.len()), (changes, attached));
}

#[test]
fn what_is_on_its_way_home_already_is_taken_past_its_steps() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('b', ""));
    shop.lets_out(template('a', ""));
    goes(&mut shop, 'a');
    assert_eq!(
        shop.api.changes,
        changes(&[STATUS]),
        "Git was mended: its owner is left to write what is right"
    );
}

#[test]
fn a_canary_over_another_release_than_home_goes_past_both() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('b', ""));
    shop.lets_out(template('c', ""));
    goes(&mut shop, 'a');
    assert_eq!(shop.api.changes, changes(&[STATUS, APP, SHOP, STATUS]));
}

#[test]
fn what_was_promoted_is_home_and_not_a_newer_template_of_the_same_release() {
    let mut shop = Shop::of(canary());
    shop.lets_out(template('a', "changed"));
    goes(&mut shop, 'a');
    assert_eq!(shop.runs(&shop.status("/stableRS")), ('a', String::new()));
}

#[test]
fn a_way_back_that_was_aborted_is_finished() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('b', ""));
    shop.lets_out(template('a', ""));
    shop.api.objects.edit(SHOP, |shop| shop["status"]["abort"] = true.into());
    shop.passes();
    assert_eq!((shop.status("/phase"), shop.status("/abort")), ("Degraded".into(), true.into()));
    goes(&mut shop, 'a');
}

#[test]
fn pods_that_do_not_come_up_are_said_and_the_next_way_is_another_one() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('a', "newer"));
    shop.promotes(template('b', ""));
    for path in shop.api.objects.below(REPLICA_SETS) {
        shop.api.objects.edit(&path, |set| {
            let env = &mut set["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
            if *env == "newer" {
                *env = "x".into();
            }
        });
    }
    let failed = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert_eq!(failed.why, "it did not come up: Degraded words of the controller");
    goes(&mut shop, 'a');
    assert_eq!(shop.runs(&shop.status("/stableRS")), ('a', String::new()));
}

/// Each run finds the one before it in vain, wherever the template is.
#[test]
fn two_that_do_not_come_up_do_not_take_turns() {
    for (mut shop, source) in [(Shop::of(canary()), SHOP), (Shop::of_reference(canary()), TEMPLATES)] {
        let mut other = template('a', "newest");
        other["metadata"]["labels"]["tier"] = "web".into();
        shop.promotes(template('a', "newer"));
        shop.promotes(other);
        shop.promotes(template('b', "b"));
        // Pods of the first and of the last don't come up any more.
        for path in shop.api.objects.below(REPLICA_SETS) {
            shop.api.objects.edit(&path, |set| {
                let env = &mut set["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
                if matches!(env.as_str(), Some("" | "newest")) {
                    *env = "x".into();
                }
            });
        }
        for tier in [json!("web"), Value::Null] {
            let why = shop.goes_home('a').unwrap();
            assert!(why.starts_with("it did not come up"), "{why}");
            assert_eq!(shop.api.objects.get(source, "/spec/template/metadata/labels/tier"), tier);
        }
        goes(&mut shop, 'a');
        assert_eq!(shop.runs(&shop.status("/stableRS")), ('a', String::from("newer")));
        assert_eq!(shop.api.objects.get(source, IN_VAIN_FIELD), "5 6");
    }
}

#[test]
fn a_release_that_no_revision_runs_moves_nothing() {
    let mut shop = Shop::of(canary());
    shop.lets_out(template('b', ""));
    let why = shop.goes_home('c').unwrap();
    assert!(
        why.starts_with("no ReplicaSet that is kept runs c: of 2 the newest runs shop:b@sha256:"),
        "{why}"
    );
    assert!(shop.api.changes.is_empty());
}

#[test]
fn a_pause_of_ours_is_lifted_and_one_of_others_is_not() {
    let mut shop = Shop::of(canary());
    shop.lets_out(template('b', ""));
    shop.api.run::<Rollouts>(Task::Heal("hold".into()), None).done();
    assert_eq!(shop.api.objects.get(SHOP, "/spec/paused"), true);
    goes(&mut shop, 'a');
    assert_eq!(shop.api.objects.get(SHOP, "/spec/paused"), Value::Null);
    let mut shop = Shop::of(canary());
    shop.lets_out(template('b', ""));
    shop.api.objects.edit(SHOP, |shop| shop["spec"]["paused"] = true.into());
    let failed = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert_eq!(
        failed.why,
        "it is paused by somebody else (spec.paused): it was aborted, and nothing else was moved"
    );
    assert_eq!(shop.api.changes, changes(&[STATUS]), "the traffic is sent home all the same");
    assert_eq!(shop.api.objects.get(SHOP, "/spec/paused"), true);
}

#[test]
fn what_was_aborted_is_never_tried_again() {
    let mut shop = Shop::of(canary());
    shop.lets_out(template('b', ""));
    shop.api.run::<Rollouts>(Task::Heal("hold".into()), None).done();
    shop.api.objects.edit(SHOP, |shop| shop["status"]["abort"] = true.into());
    let failed = shop.api.run::<Rollouts>(Task::Heal("go-on".into()), None).failed();
    assert_eq!(failed.why, "it was aborted: what was aborted isn't tried again by itself");
    assert_eq!(shop.status("/abort"), true);
}

#[test]
fn an_owner_that_cannot_be_stopped_stops_the_way_but_not_the_abort() {
    for method in ["GET", "PATCH"] {
        let mut shop = Shop::of(canary());
        shop.lets_out(template('b', ""));
        shop.api.answer(method, APP, 403, json!({ "message": "forbidden" }));
        let failed = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None).failed();
        assert_eq!(failed.transience, Transience::Permanent);
        assert!(failed.why.starts_with(&format!("the API server does not let us {method}")), "{failed:?}");
        assert_eq!(shop.api.changes, changes(&[STATUS]));
        assert_eq!(shop.status("/abort"), true);
    }
}

/// A Rollout that is paused doesn't scale: a canary that was held, and is aborted, would keep its pods and their traffic.
#[test]
fn a_canary_that_we_held_loses_its_pods_where_the_rest_cannot_be_done() {
    for method in ["GET", "PATCH"] {
        let mut shop = Shop::of(canary());
        shop.lets_out(template('b', ""));
        shop.api.run::<Rollouts>(Task::Heal("hold".into()), None).done();
        shop.api.answer(method, APP, 403, json!({ "message": "forbidden" }));
        let failed = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None).failed();
        assert!(failed.why.starts_with(&format!("the API server does not let us {method}")), "{failed:?}");
        assert_eq!(shop.status("/abort"), true);
        assert_eq!(shop.api.objects.get(SHOP, "/spec/paused"), Value::Null);
    }
}

#[test]
fn another_release_that_somebody_lets_out_meanwhile_is_not_overwritten() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('b', ""));
    let mut times = 0;
    shop.also(move |objects| {
        times += 1;
        if times == 4 {
            objects.edit(SHOP, |shop| shop["spec"]["template"] = template('c', ""));
        }
    });
    let failed = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(
        failed.why.starts_with("nothing was moved: meanwhile it was set to r.example/shop:c@"),
        "{failed:?}"
    );
}

#[test]
fn who_puts_the_bad_release_back_is_noticed_and_it_is_never_promoted() {
    // After the eighth the run has looked for the last time.
    for after in 1..8 {
        let mut shop = Shop::of(canary());
        shop.promotes(template('b', ""));
        let (mut times, made) = (0, Rc::new(Cell::new(false)));
        let is_over = Rc::clone(&made);
        shop.also(move |objects| {
            let is_home = objects.get(SHOP, "/spec/template") == template('a', "");
            times += u32::from(is_home);
            if is_home && times == after {
                objects.edit(SHOP, |shop| shop["spec"]["template"] = template('b', "again"));
                is_over.set(true);
            }
            let stable = objects.get(SHOP, "/status/stableRS");
            assert_ne!(runs(objects, &stable), ('b', "again".into()), "the bad release was promoted");
        });
        match shop.goes_home('a') {
            Some(why) => assert!(why.starts_with("somebody put r.example/shop:b@sha256:"), "{after}: {why}"),
            None => assert!(!made.get(), "{after}: it is done with the bad release back"),
        }
    }
}

#[test]
fn a_template_that_is_refused_is_not_tried_again_and_again() {
    let mut shop = Shop::of(canary());
    shop.promotes(template('b', ""));
    shop.api.answer("PATCH", SHOP, 422, json!({ "message": "spec.template: no" }));
    let failed = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None).failed();
    assert_eq!(failed.why, "restoring the template was refused with status 422: spec.template: no");
    assert_eq!(failed.transience, Transience::Permanent);
}

/// Whatever happens at whichever effect, the run after it ends at home, nothing is done twice, Argo CD is stopped before the template is
/// written, and the bad release never becomes stable.
#[test]
fn each_mishap_at_each_effect_ends_right() {
    for (strategy, is_promoted) in
        [(canary(), false), (canary(), true), (blue_green(), false), (blue_green(), true)]
    {
        let begin = || {
            let mut shop = Shop::of(strategy.clone());
            if is_promoted {
                shop.promotes(template('b', ""));
            } else {
                shop.lets_out(template('b', ""));
                shop.also(|objects| {
                    let stable = objects.get(SHOP, "/status/stableRS");
                    assert_eq!(runs(objects, &stable).0, 'a', "the bad release was promoted");
                });
            }
            shop
        };
        let whole = begin().api.run::<Rollouts>(Task::GoHome(release('a')), None).done();
        for at in 0..whole.effects {
            for mishap in MISHAPS {
                let mut shop = begin();
                let ran = shop.api.run::<Rollouts>(Task::GoHome(release('a')), Some((at, mishap)));
                if let Outcome::Failed(failed) = &ran.outcome {
                    assert_eq!(failed.transience, Transience::Transient, "{mishap:?} at {at}: {failed:?}");
                }
                goes(&mut shop, 'a');
                let expected =
                    if is_promoted { changes(&[APP, SHOP, STATUS]) } else { changes(&[STATUS, APP, SHOP]) };
                let mut done = shop.api.changes.clone();
                if !is_promoted && !done.contains(&expected[0]) {
                    // The abort never came to the server, and the template that was restored did without.
                    assert!(
                        matches!(mishap, Mishap::Before | Mishap::Late | Mishap::Fails),
                        "{mishap:?} at {at}"
                    );
                    done.insert(0, expected[0].clone());
                }
                assert_eq!(done, expected, "{mishap:?} at {at}");
            }
        }
    }
}

/// So many waits lie between an order and a template that is restored, with the canary aborted and the owner stopped.
#[test]
fn the_way_home_has_few_rounds() {
    let mut shop = Shop::of(canary());
    shop.lets_out(template('b', ""));
    // Nobody acts on the template, so that the rest is waiting for it.
    shop.api.react(|_, _| {});
    let ran = shop.api.run::<Rollouts>(Task::GoHome(release('a')), None);
    let (mut waits, mut pause, mut waited) = (0, 10, 0);
    while waited < 2000 {
        (waits, waited, pause) = (waits + 1, waited + pause, 2 * pause);
    }
    // Look; revisions and owners; abort, template, owner and evidence; template written; look. Then pauses and looks, and why.
    assert_eq!(ran.rounds, 5 + 2 * waits + 1);
}
