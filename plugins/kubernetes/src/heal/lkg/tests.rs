//! What is restored to exactly what the bundle has, in a double of the API server (`world`), and what is left alone. At random: `drift`;
//! what others keep: `owners`.

mod drift;
mod owners;
mod world;

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::cell::RefCell;

use backstay_sdk::{
    executor::{Outcome, Task, Transience},
    settings::{Setting, Value as Set},
};
use serde_json::json;

use self::world::{Bundle, CONFIG, DEPLOYMENT, Restorer, SECRET, World, deployment, good, show};
use super::*;
use crate::testing::{Api, MISHAPS, Objects, texts};

#[test]
fn what_was_done_is_told_by_keys_and_never_by_values() {
    let mut world = World::new();
    world.drifts(|object| {
        object["data"] =
            json!({ "mode": "fast", "new": "x", "db-password": "hunter3", "api-token": "hunter4" });
    });
    world.runs(None).done();
    let told = "ConfigMap prod/shop: set app.properties, mode, password-rules, took away new; left alone as credentials: api-token, db-password";
    assert_eq!(world.api.attached, [("lkg".to_string(), told.to_string())]);
    assert_eq!(world.at(CONFIG)["data"]["db-password"], "hunter3");
    // Where nothing was to be done there is nothing to tell.
    world.api.attached.clear();
    world.runs(None).done();
    assert_eq!(world.api.attached, []);
}

/// Of a Secret only what a person has called configuration is read or written.
#[test]
fn a_secret_keeps_its_credentials() {
    let mut world = World::new().set(texts("lkg-objects", &["configmap/shop", "secret/shop"]));
    world.knows(good("prod/secret/shop", json!({ "app.yaml": "YTogMQ==" }), json!({}), &["token"]));
    world.has(SECRET, json!({ "data": { "app.yaml": "YTogMg==", "token": "hunter2", "extra": "hunter3" } }));
    world.runs(None).done();
    assert_eq!(
        world.at(SECRET)["data"],
        json!({ "app.yaml": "YTogMQ==", "token": "hunter2", "extra": "hunter3" })
    );
    // One of credentials alone is looked at, and that is all.
    world.knows(good("prod/secret/shop", json!({}), json!({}), &["token"]));
    world.has(SECRET, json!({ "data": { "token": "hunter2", "extra": "hunter3" } }));
    world.api.changes.clear();
    world.runs(None).done();
    assert_eq!(world.api.changes, Vec::<String>::new());
}

/// Somebody writes at any moment between our first look and our last one: theirs is undone, too.
#[test]
fn somebody_else_may_be_quicker() {
    let writing = |writes: fn(u32) -> bool| {
        let mut world = World::new();
        world.drifts(|object| object["data"]["mode"] = "fast".into());
        let mut effects = 0;
        world.api.react(move |objects: &mut Objects, _| {
            effects += 1;
            if writes(effects) {
                let mut object = objects.at(CONFIG).clone();
                object["data"]["other"] = format!("{effects}").into();
                objects.put(CONFIG, object);
            }
        });
        let ran = world.runs(None);
        (ran, world)
    };
    macro_rules! at {
        ($($at:literal)*) => { [$(|effects| effects == $at),*] };
    }
    let moments: [fn(u32) -> bool; 6] = at![1 2 3 4 5 6];
    for (at, moment) in moments.into_iter().enumerate() {
        let (ran, world) = writing(moment);
        ran.done();
        assert_eq!(world.at(CONFIG)["data"].get("other"), None, "after effect {}", at + 1);
    }
    let (ran, _) = writing(|_| true);
    assert_eq!(ran.failed().transience, Transience::Transient);
}

/// The object was deleted and made anew while we looked: nothing that was meant for the first goes to the second unseen.
#[test]
fn another_object_of_the_same_name_is_looked_at_first() {
    let mut world = World::new();
    world.drifts(|object| object["data"]["mode"] = "fast".into());
    let mut effects = 0;
    world.api.react(move |objects: &mut Objects, _| {
        effects += 1;
        if effects == 4 {
            objects.take(CONFIG);
            objects.put(CONFIG, json!({ "metadata": { "uid": "another" }, "data": { "mode": "odd", "db-password": "hunter9" } }));
        }
    });
    world.runs(None).done();
    let now = world.at(CONFIG);
    assert_eq!(
        (&now["metadata"]["uid"], &now["data"]["db-password"]),
        (&json!("another"), &json!("hunter9"))
    );
    assert_eq!(now["data"]["mode"], "safe");
}

/// One patch: of this object, in this version, first what goes and then what comes.
#[test]
fn a_patch_is_of_one_object_in_one_version() {
    let (_, shown) = good("prod/configmap/shop", json!({ "a": "1", "c": "3" }), json!({ "b": "/w==" }), &[]);
    let mut parts = Parts::of(Id::parse("prod", "configmap/shop").unwrap());
    let bundle = Bundle::new(RefCell::new(BTreeMap::from([("prod/configmap/shop".into(), shown)])));
    let (_, printed) = show(&bundle, &["prod/configmap/shop".into(), "1".into()]);
    let output = backstay_sdk::executor::Output { bytes: printed.into(), whole: None };
    parts.take("lkg-show", backstay_sdk::executor::Exited { code: Some(0), output }).unwrap();
    let wanted = parts.whole().unwrap();
    let meta = json!({ "uid": "u", "resourceVersion": "7" });
    let mut live = Live::of(json!({ "metadata": meta, "data": { "a": null, "b": null, "token": null } }));
    assert!(live.take(json!({ "metadata": { "resourceVersion": "7" }, "data": { "a": "1" } })));
    let difference = Difference::of(&wanted, &live).unwrap();
    let operations = difference.operations(&wanted, &live);
    assert_eq!(
        json!(operations),
        json!([
            { "op": "test", "path": "/metadata/uid", "value": "u" },
            { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
            { "op": "remove", "path": "/data/b" },
            { "op": "add", "path": "/data/c", "value": "3" },
            { "op": "add", "path": "/binaryData", "value": { "b": "/w==" } },
        ])
    );
    // What was read of another version is not taken together with it.
    assert!(!live.take(json!({ "metadata": { "resourceVersion": "8" }, "data": { "c": "3" } })));
}

/// The object has no keys when we look, and somebody gives it a password before we write. It is still there afterwards.
#[test]
fn a_credential_that_comes_in_between_is_not_written_over() {
    for moment in 1..=6 {
        let mut world = World::new();
        world.has(CONFIG, json!({}));
        let mut effects = 0;
        world.api.react(move |objects: &mut Objects, _| {
            effects += 1;
            if effects == moment {
                let mut object = objects.at(CONFIG).clone();
                object["data"]["db-password"] = "hunter8".into();
                objects.put(CONFIG, object);
            }
        });
        world.runs(None).done();
        let data = &world.at(CONFIG)["data"];
        assert_eq!(
            (&data["db-password"], &data["mode"]),
            (&json!("hunter8"), &json!("safe")),
            "after effect {moment}"
        );
    }
}

#[test]
fn what_is_gone_is_made_anew_where_all_of_it_is_known() {
    let mut world = World::new();
    world.api.objects.take(CONFIG);
    let failed = world.runs(None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("is gone, and it had credentials"), "{failed:?}");

    world.knows(good("prod/configmap/shop", json!({ "mode": "safe" }), json!({}), &[]));
    let ran = world.runs(None).done();
    let now = world.at(CONFIG);
    assert_eq!(
        (&now["data"], now.get("binaryData"), now.get("immutable")),
        (&json!({ "mode": "safe" }), None, None)
    );
    assert_eq!(now["kind"], "ConfigMap");
    // Cut in any way, it is made once.
    for at in 0..ran.effects {
        for mishap in MISHAPS {
            world.api.objects.take(CONFIG);
            world.runs(Some((at, mishap)));
            world.runs(None).done();
            assert_eq!(world.at(CONFIG)["data"], json!({ "mode": "safe" }));
        }
    }
}

#[test]
fn what_is_immutable_is_left_and_the_way_out_is_told() {
    let mut world = World::new();
    world.drifts(|object| object["immutable"] = true.into());
    world.runs(None).done();
    world.drifts(|object| object["data"]["mode"] = "fast".into());
    world.api.changes.clear();
    let failed = world.runs(None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    let told = "ConfigMap prod/shop differs in 1 keys and is immutable: make one of another name, and have the template name it";
    assert_eq!(failed.why, told);
    assert_eq!(world.api.changes, Vec::<String>::new());
}

/// A key that came with a newer release would be taken away from under it.
#[test]
fn nothing_is_restored_while_another_release_runs() {
    let runs = |image: &str, setting: Option<Setting>| {
        let mut world = World::new();
        world.has(DEPLOYMENT, deployment(image));
        world.drifts(|object| object["data"]["came-with-2.2.0"] = "x".into());
        world.api.changes.clear();
        let ran = match setting {
            Some(setting) => {
                world = world.set(setting);
                world.runs(None)
            }
            None => world.runs(None),
        };
        (ran, world.api.changes.len())
    };
    let (ran, changes) = runs("registry/shop:2.2.0", None);
    let failed = ran.failed();
    assert_eq!((failed.transience, changes), (Transience::Permanent, 0));
    assert!(
        failed.why.starts_with("the bundle is of release 2.1.0, and its template has registry/shop:2.2.0"),
        "{failed:?}"
    );
    let (ran, changes) = runs("registry/shop:2.1.0", None);
    assert_eq!((ran.outcome, changes), (Outcome::Done, 1));
    let any = Setting { name: "lkg-any-release".into(), value: Set::Flag(true) };
    let (ran, changes) = runs("registry/shop:2.2.0", Some(any));
    assert_eq!((ran.outcome, changes), (Outcome::Done, 1));
    // Argo Rollouts can have the template elsewhere.
    let mut world = World::new();
    world.has("/apis/apps/v1/namespaces/prod/deployments/other", deployment("registry/shop:2.1.0"));
    world.has(DEPLOYMENT, json!({ "spec": { "workloadRef": { "kind": "Deployment", "name": "other" } } }));
    world.runs(None).done();
}

#[test]
fn what_is_not_to_be_believed_changes_nothing() {
    let mut world = World::new();
    world.drifts(|object| object["data"]["mode"] = "fast".into());
    world.api.changes.clear();
    for (code, transience) in
        [(5, Transience::Permanent), (4, Transience::Permanent), (1, Transience::Transient)]
    {
        let mut api = Api::of("prod", "shop").set(texts("lkg-objects", &["configmap/shop"]));
        api.command("lkg-show", move |_| (code, "error: it is not signed\n  help:    sign it\n".into()));
        let failed = api.run::<Restorer>(Task::Heal("lkg".into()), None).failed();
        assert_eq!(failed.transience, transience);
        assert_eq!(failed.why, format!("the command lkg-show ended with exit code {code}: it is not signed"));
    }
    // The bundle is another one in the middle of it.
    let long = json!({ "mode": "x".repeat(5000) });
    world.knows(good("prod/configmap/shop", long, json!({}), &[]));
    let (bundle, mut effects) = (world.bundle.clone(), 0);
    world.api.react(move |_, _| {
        effects += 1;
        if effects == 1 {
            let (object, shown) =
                good("prod/configmap/shop", json!({ "mode": "y".repeat(5000) }), json!({}), &[]);
            bundle.borrow_mut().insert(object, shown);
        }
    });
    let failed = world.runs(None).failed();
    assert_eq!((failed.transience, world.api.changes.len()), (Transience::Transient, 0));
    assert!(failed.why.contains("was changed while it was read"), "{failed:?}");
}

/// All that a run hears is kept with it. What doesn't fit is told before anything is changed.
#[test]
fn what_is_too_large_for_a_run_is_told() {
    let with = |bytes: usize| {
        let mut world = World::new();
        world.knows(good("prod/configmap/shop", json!({ "mode": "x".repeat(bytes) }), json!({}), &[]));
        world.drifts(|object| object["data"] = json!({ "mode": "y".repeat(bytes) }));
        world.api.changes.clear();
        let ran = world.runs(None);
        (ran, world)
    };
    let (ran, world) = with(18_000);
    let ran = ran.done();
    assert!(ran.state.len() < 65_536, "{}", ran.state.len());
    assert_eq!(world.at(CONFIG)["data"]["mode"], "x".repeat(18_000));
    let (ran, world) = with(20_000);
    let failed = ran.failed();
    assert_eq!((failed.transience, world.api.changes.len()), (Transience::Permanent, 0));
    assert!(failed.why.contains("restore it by hand, or name fewer"), "{failed:?}");
}

/// Many small objects in one run, and a few that are too many.
#[test]
fn several_objects_are_restored_one_after_the_other() {
    let names: Vec<String> = (0..8).map(|at| format!("configmap/c{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let with = |bytes: usize| {
        let mut world = World::new().set(texts("lkg-objects", &names));
        for at in 0..8 {
            world.knows(good(
                &format!("prod/configmap/c{at}"),
                json!({ "a": "x".repeat(bytes) }),
                json!({}),
                &[],
            ));
            world.has(
                &format!("/api/v1/namespaces/prod/configmaps/c{at}"),
                json!({ "data": { "a": "y".repeat(bytes) } }),
            );
        }
        world.api.changes.clear();
        world
    };
    let mut world = with(100);
    world.runs(None).done();
    assert_eq!(world.api.changes.len(), 8);
    let mut world = with(3000);
    let failed = world.runs(None).failed();
    assert_eq!(failed.transience, Transience::Permanent, "{failed:?}");
    let restored = |at: usize| {
        world.at(&format!("/api/v1/namespaces/prod/configmaps/c{at}"))["data"]["a"] == "x".repeat(3000)
    };
    assert!(restored(0) && !restored(7), "those before it are as they were wanted");
}

#[test]
fn settings_that_name_nothing_are_told() {
    let problems = |setting: Setting| problems(&[setting]).len();
    assert_eq!(problems(texts("lkg-objects", &["configmap/shop", "secret/a.b"])), 0);
    for object in ["shop", "pod/shop", "configmap/", "configmap/A", "configmap/a/b", "ConfigMap/a"] {
        assert_eq!(problems(texts("lkg-objects", &[object])), 1, "{object}");
    }
    assert_eq!(problems(texts("lkg-objects", &["configmap/a"; 9])), 1);
    assert_eq!(problems(crate::testing::text("lkg-show", "a b")), 1);
    assert_eq!(problems(crate::testing::text("lkg-owner", "kustomization/flux-system/shop")), 0);
    for owner in ["shop", "helmrelease/a/b", "application/a", "application/a/b/c", "application//b"] {
        assert_eq!(problems(crate::testing::text("lkg-owner", owner)), 1, "{owner}");
    }
    let nothing = Api::of("prod", "shop").run::<Restorer>(Task::Heal("lkg".into()), None).failed();
    assert!(nothing.why.contains("lkg-objects names nothing"), "{nothing:?}");
}
