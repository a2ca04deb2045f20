//! Drifts of all kinds, in a double of the API server, restored to exactly what the bundle has; and what is left alone.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    rc::Rc,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::cell::RefCell;

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Outcome, Task, Transience},
    settings::{Description, Setting, Value as Set},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::testing::{Api, MISHAPS, Mishap, Objects, Ran, texts};

struct Restorer;

impl Executor for Restorer {
    fn describe() -> Description {
        Description { about: "Restores.".into(), settings: infos().to_vec() }
    }

    async fn run(ctx: &Ctx, _: &Order) -> Result<(), Failed> {
        restore(&Cluster::new(ctx), &Workload::of(DEPLOYMENTS, ctx.config())).await
    }
}

const CONFIG: &str = "/api/v1/namespaces/prod/configmaps/shop";
const SECRET: &str = "/api/v1/namespaces/prod/secrets/shop";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/prod/deployments/shop";
const APPLICATION: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop";
const KUSTOMIZATION: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/shop";

/// What bundles have of objects, by their names.
type Bundle = Rc<RefCell<BTreeMap<String, Value>>>;

fn good(object: &str, data: Value, binary: Value, credentials: &[&str]) -> (String, Value) {
    let classes = if object.contains("/secret/") {
        json!(["configuration:app.*", "credential:*"])
    } else {
        json!([
            "configuration:password-rules",
            "credential:*password*",
            "credential:*token*",
            "configuration:*"
        ])
    };
    let digest: String = Sha256::digest(b"2.1.0").iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = json!({
        "schema": "backstay.io/lkg-object/v1", "service": "shop", "object": object, "immutable": false, "captured_at_ms": 1,
        "release": { "version": "2.1.0", "digest": digest }, "classes": classes,
        "data": data, "binaryData": binary, "credentials": credentials,
    });
    (object.into(), shown)
}

/// What `backstay lkg show` prints.
fn show(bundle: &Bundle, arguments: &[String]) -> (i32, String) {
    let [object, part] = arguments else { panic!("{arguments:?}") };
    let bundle = bundle.borrow();
    let Some(shown) = bundle.get(object) else {
        return (3, format!("error: there is no {object} in the bundle\n  help:    there are others\n"));
    };
    let whole = shown.to_string();
    assert!(whole.is_ascii(), "parts end anywhere");
    let parts: Vec<&str> =
        whole.as_bytes().chunks(3900).map(|part| core::str::from_utf8(part).unwrap()).collect();
    let (digest, at): (_, usize) = (Sha256::digest(whole.as_bytes()), part.parse().unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (0, format!("part {at} of {} of {digest}\n{}", parts.len(), parts[at - 1]))
}

fn deployment(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": image }] } } } })
}

/// A shop that runs 2.1.0, with one ConfigMap, and a bundle of it.
struct World {
    api: Api,
    bundle: Bundle,
}

impl World {
    fn new() -> Self {
        let mut api = Api::of("prod", "shop").set(texts("lkg-objects", &["configmap/shop"]));
        api.objects.put(DEPLOYMENT, deployment("registry/shop:2.1.0"));
        let bundle = Bundle::default();
        let of = bundle.clone();
        api.command("lkg-show", move |arguments| show(&of, arguments));
        let mut world = Self { api, bundle };
        world.knows(good(
            "prod/configmap/shop",
            json!({ "mode": "safe", "app.properties": "a=1\nb=2\n", "password-rules": "min=12" }),
            json!({ "logo": "if8=" }),
            &["db-password"],
        ));
        world.has(
            CONFIG,
            json!({
                "data": { "mode": "safe", "app.properties": "a=1\nb=2\n", "password-rules": "min=12", "db-password": "hunter2" },
                "binaryData": { "logo": "if8=" },
            }),
        );
        world
    }

    fn knows(&mut self, (object, shown): (String, Value)) {
        self.bundle.borrow_mut().insert(object, shown);
    }

    fn has(&mut self, path: &str, object: Value) {
        self.api.objects.put(path, object);
    }

    fn set(mut self, setting: Setting) -> Self {
        self.api.config.retain(|other| other.name != setting.name);
        self.api.config.push(setting);
        self
    }

    fn drifts(&mut self, change: impl FnOnce(&mut Value)) {
        let mut object = self.api.objects.at(CONFIG).clone();
        change(&mut object);
        self.has(CONFIG, object);
    }

    fn runs(&mut self, mishap: Option<(u32, Mishap)>) -> Ran {
        let ran = self.api.run::<Restorer>(Task::Heal("lkg".into()), mishap);
        assert!(!contains(&ran.state, b"hunter"), "a credential is in the run's state");
        assert!(self.api.attached.iter().all(|(_, content)| !content.contains("hunter")));
        ran
    }

    fn at(&self, path: &str) -> Value {
        self.api.objects.at(path).clone()
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// A small generator, so that a failing round can be had again.
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const CONFIGURATION: [&str; 6] = ["mode", "app.properties", "password-rules", "a", "b.yaml", "C_d"];
const CREDENTIALS: [&str; 3] = ["db-password", "API_TOKEN", "password"];
const BINARY: [&str; 2] = ["logo", "cache"];
const SURPLUS: [&str; 4] = ["new", "x.json", "debug", "mode2"];

/// Good keys, and what a drift makes of them.
fn drifted(rng: &mut Rng) -> (Value, Value, Value) {
    let (mut data, mut binary) = (json!({}), json!({}));
    for key in CONFIGURATION.iter().filter(|_| rng.below(5) > 0).collect::<Vec<_>>() {
        data[*key] = format!("good {}", rng.below(9)).into();
    }
    for key in BINARY.iter().filter(|_| rng.below(3) > 0).collect::<Vec<_>>() {
        binary[*key] = "if8=".into();
    }
    let good_keys = (data.clone(), binary.clone());
    for key in CREDENTIALS {
        if rng.below(3) > 0 {
            data[key] = "hunter2".into();
        }
    }
    let take = |of: &mut Value, key: &str| of.as_object_mut().unwrap().remove(key);
    for _ in 0..rng.below(9) {
        match rng.below(7) {
            0 | 1 => {
                let key = rng.pick(&CONFIGURATION);
                if !data[key].is_null() {
                    data[key] = format!("bad {}", rng.below(9)).into();
                }
                // To ask for a key that isn't there has made it.
                if data[key].is_null() {
                    take(&mut data, key);
                }
            }
            2 => drop(take(&mut data, rng.pick(&CONFIGURATION))),
            3 => drop(take(&mut binary, rng.pick(&BINARY))),
            4 => data[rng.pick(&SURPLUS)] = "bad".into(),
            5 => data[rng.pick(&CREDENTIALS)] = "hunter3".into(),
            _ => {
                // It is in the other section now.
                let key = rng.pick(&CONFIGURATION);
                if take(&mut data, key).is_some() {
                    binary[key] = "AAAA".into();
                }
            }
        }
    }
    let config = json!({ "data": good_keys.0, "binaryData": good_keys.1 });
    (config, data, binary)
}

/// What has to come of it: the good keys, and the credentials as they were then.
fn restored(good: &Value, drifted: &Value) -> (Value, Value) {
    let mut data = good["data"].clone();
    for (key, value) in drifted.as_object().unwrap() {
        if CREDENTIALS.contains(&key.as_str()) {
            data[key] = value.clone();
        }
    }
    (data, good["binaryData"].clone())
}

fn keys(object: &Value, section: &str) -> Value {
    object.get(section).filter(|keys| !keys.is_null()).cloned().unwrap_or(json!({}))
}

/// Whatever was changed, added, taken away or moved: one run, and it is exactly as it was. Each credential is what it was before the run,
/// be it old, new, changed or gone.
#[test]
fn a_thousand_drifts_are_restored_exactly() {
    let (mut changed, mut rng) = (0, Rng(0x5eed));
    for round in 0..1000 {
        let (good_keys, data, binary) = drifted(&mut rng);
        let mut world = World::new();
        let credentials: Vec<&str> = if rng.below(2) == 0 { vec!["db-password"] } else { vec![] };
        world.knows(good(
            "prod/configmap/shop",
            good_keys["data"].clone(),
            good_keys["binaryData"].clone(),
            &credentials,
        ));
        let mut object = json!({});
        // Kubernetes leaves a section out that has nothing in it.
        for (section, keys) in [("data", &data), ("binaryData", &binary)] {
            if keys != &json!({}) {
                object[section] = keys.clone();
            }
        }
        world.has(CONFIG, object);
        world.api.changes.clear();
        world.runs(None).done();
        let now = world.at(CONFIG);
        let wanted = restored(&good_keys, &data);
        assert_eq!((keys(&now, "data"), keys(&now, "binaryData")), wanted, "round {round}");
        assert!(world.api.changes.len() <= 1, "round {round}: {:?}", world.api.changes);
        changed += world.api.changes.len();
        let ran = world.runs(None).done();
        assert!(
            world.api.changes.len() <= 1 && ran.effects <= 6,
            "a second run finds nothing to do: {ran:?}"
        );
    }
    assert!((700..1000).contains(&changed), "{changed} drifts were drifts");
}

/// Cut at each effect, in each way: what comes of it is what was, or what is wanted, never anything between. The next run restores it.
#[test]
fn a_run_that_is_cut_anywhere_leaves_no_half_of_a_configuration() {
    let mut rng = Rng(7);
    for _ in 0..12 {
        let (good_keys, data, binary) = drifted(&mut rng);
        let world = || {
            let mut world = World::new();
            let known = good(
                "prod/configmap/shop",
                good_keys["data"].clone(),
                good_keys["binaryData"].clone(),
                &["db-password"],
            );
            world.knows(known);
            world.has(CONFIG, json!({ "data": data, "binaryData": binary }));
            world
        };
        let wanted = restored(&good_keys, &data);
        let now = |world: &World| (keys(&world.at(CONFIG), "data"), keys(&world.at(CONFIG), "binaryData"));
        let effects = world().runs(None).done().effects;
        for at in 0..effects {
            for mishap in MISHAPS {
                let mut world = world();
                let ran = world.runs(Some((at, mishap)));
                match &ran.outcome {
                    Outcome::Done => assert_eq!(now(&world), wanted, "{mishap:?} at {at}"),
                    Outcome::Failed(failed) => {
                        assert_eq!(
                            failed.transience,
                            Transience::Transient,
                            "{mishap:?} at {at}: {failed:?}"
                        );
                        assert!(
                            now(&world) == wanted || now(&world) == (data.clone(), binary.clone()),
                            "{mishap:?} at {at}"
                        );
                    }
                }
                world.runs(None).done();
                assert_eq!(now(&world), wanted, "{mishap:?} at {at}");
            }
        }
    }
}

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
    let mut parts = wanted::Parts::of(Id::parse("prod", "configmap/shop").unwrap());
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

fn with_application(replaced: &'static str) -> World {
    let mut world = World::new();
    world.knows(good("prod/configmap/shop", json!({ "mode": "safe" }), json!({}), &[]));
    world.has(
        CONFIG,
        json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": "shop:/ConfigMap:prod/shop" } }, "data": { "mode": "fast", "new": "x" } }),
    );
    world.has(APPLICATION, json!({ "spec": {} }));
    world.api.react(Box::new(move |objects: &mut Objects, _| argo_cd(objects, replaced)));
    world.api.changes.clear();
    world
}

/// Does what an operation asks for: applies what Git has, and only with `Replace=true` takes other keys away.
fn argo_cd(objects: &mut Objects, in_git: &str) {
    let mut application = objects.at(APPLICATION).clone();
    let Some(operation) = application.get("operation").filter(|it| it.get("sync").is_some()).cloned() else {
        return;
    };
    let resources = json!([{ "group": "", "kind": "ConfigMap", "name": "shop", "namespace": "prod" }]);
    assert_eq!(operation["sync"]["resources"], resources);
    let mut config = objects.at(CONFIG).clone();
    if operation["sync"]["syncOptions"] == json!(["Replace=true"]) {
        config["data"] = json!({});
    }
    config["data"]["mode"] = in_git.into();
    objects.put(CONFIG, config);
    application.as_object_mut().unwrap().remove("operation");
    application["status"] = json!({ "operationState": { "phase": "Succeeded" } });
    objects.put(APPLICATION, application);
}

#[test]
fn argo_cd_is_asked_to_sync_what_it_keeps() {
    let mut world = with_application("safe");
    let ran = world.runs(None).done();
    assert_eq!(world.at(CONFIG)["data"], json!({ "mode": "safe" }));
    assert_eq!(world.api.changes, [format!("PATCH {APPLICATION}")], "we don't write to what isn't ours");
    for at in 0..ran.effects {
        for mishap in MISHAPS {
            let mut world = with_application("safe");
            if let Outcome::Failed(failed) = world.runs(Some((at, mishap))).outcome {
                assert_eq!(failed.transience, Transience::Transient, "{mishap:?} at {at}: {failed:?}");
            }
            world.runs(None).done();
            assert!(world.api.changes.iter().all(|change| *change == format!("PATCH {APPLICATION}")));
        }
    }
    // What Git has is the bad one.
    let failed = with_application("fast").runs(None).failed();
    assert_eq!(failed.transience, Transience::Transient);
    assert!(failed.why.contains("what it has in Git is something else"), "{failed:?}");
}

#[test]
fn a_sync_that_fails_or_never_ends_is_told() {
    let mut world = with_application("safe");
    world.api.react(|objects: &mut Objects, _| {
        let mut application = objects.at(APPLICATION).clone();
        if application.as_object_mut().unwrap().remove("operation").is_some() {
            application["status"] = json!({ "operationState": { "phase": "Failed", "message": "one or more objects failed to apply" } });
            objects.put(APPLICATION, application);
        }
    });
    let failed = world.runs(None).failed();
    assert!(failed.why.ends_with("failed: one or more objects failed to apply"), "{failed:?}");
    let mut world = with_application("safe").set(crate::testing::number("wait-ms", 5000));
    world.api.react(|_, _| {});
    let failed = world.runs(None).failed();
    assert!(failed.why.ends_with("has not ended its sync in time"), "{failed:?}");
    assert_eq!(failed.transience, Transience::Transient);
}

fn with_flux() -> World {
    let mut world = World::new();
    world.knows(good("prod/configmap/shop", json!({ "mode": "safe" }), json!({}), &[]));
    let labels = json!({ "kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" });
    world.has(CONFIG, json!({ "metadata": { "labels": labels }, "data": { "mode": "fast", "new": "x" } }));
    world.has(KUSTOMIZATION, json!({ "spec": {} }));
    world.api.react(|objects: &mut Objects, _| {
        let mut kustomization = objects.at(KUSTOMIZATION).clone();
        let asked = kustomization["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"].clone();
        if asked.is_null() || kustomization["status"]["lastHandledReconcileAt"] == asked {
            return;
        }
        let mut config = objects.at(CONFIG).clone();
        config["data"] = json!({ "mode": "safe" });
        objects.put(CONFIG, config);
        kustomization["status"]["lastHandledReconcileAt"] = asked;
        objects.put(KUSTOMIZATION, kustomization);
    });
    world.api.changes.clear();
    world
}

#[test]
fn flux_is_asked_to_reconcile_what_it_keeps() {
    let mut world = with_flux();
    let ran = world.runs(None).done();
    assert_eq!(world.at(CONFIG)["data"], json!({ "mode": "safe" }));
    assert_eq!(world.api.changes, [format!("PATCH {KUSTOMIZATION}")]);
    for at in 0..ran.effects {
        for mishap in MISHAPS {
            let mut world = with_flux();
            if let Outcome::Failed(failed) = world.runs(Some((at, mishap))).outcome {
                assert_eq!(failed.transience, Transience::Transient, "{mishap:?} at {at}: {failed:?}");
            }
            world.runs(None).done();
        }
    }
    // It drifts again, and is asked by another word.
    world.drifts(|object| object["data"]["mode"] = "fast".into());
    world.runs(None).done();
    assert_eq!(world.at(CONFIG)["data"]["mode"], "safe");
    world.drifts(|object| object["data"]["mode"] = "fast".into());
    let mut kustomization = world.at(KUSTOMIZATION);
    kustomization["spec"]["suspend"] = true.into();
    world.has(KUSTOMIZATION, kustomization);
    let failed = world.runs(None).failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("is suspended"), "{failed:?}");
}

/// Their marks on an object say who keeps it. What somebody keeps is never written to by us.
#[test]
fn who_keeps_an_object_is_seen_by_its_marks() {
    let flux = json!({ "kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" });
    let helm = json!({ "helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "prod" });
    let argo = |tracked: &str| json!({ "argocd.argoproj.io/tracking-id": tracked });
    let team = argo("team_shop:/ConfigMap:prod/shop");
    let id = Id::parse("prod", "configmap/shop").unwrap();
    let owner = |labels: &Value, annotations: &Value, named: &str| {
        let config =
            [crate::testing::text("lkg-owner", named), crate::testing::text("argocd-namespace", "cd")];
        let marks = json!({ "labels": labels, "annotations": annotations });
        match Owner::of(&config, &id, &marks) {
            Ok(owner) => owner.map_or_else(String::new, |owner| owner.told()),
            Err(failed) => {
                assert_eq!(failed.transience, Transience::Permanent);
                failed.why
            }
        }
    };
    let none = json!({});
    assert_eq!(owner(&flux, &none, ""), "Kustomization flux-system/shop");
    assert_eq!(owner(&none, &argo("shop:/ConfigMap:prod/shop"), ""), "Application cd/shop");
    assert_eq!(owner(&none, &team, ""), "Application team/shop");
    assert_eq!(owner(&none, &team, "application/team/shop"), "Application team/shop");
    assert_eq!(owner(&none, &none, "application/argocd/shop"), "Application argocd/shop");
    // What Helm's charts have is no mark, nor is one that was copied from another object, nor where Flux was told to leave it alone.
    let label = json!({ "app.kubernetes.io/instance": "shop" });
    assert_eq!(owner(&label, &argo("shop:/ConfigMap:prod/other"), ""), "");
    assert_eq!(owner(&flux, &json!({ "kustomize.toolkit.fluxcd.io/reconcile": "disabled" }), ""), "");
    let told = "ConfigMap prod/shop is kept by Kustomization flux-system/shop, and the setting lkg-owner names Application team/shop";
    assert_eq!(owner(&flux, &none, "application/team/shop"), told);
    let told = "ConfigMap prod/shop is kept by HelmRelease prod/shop, which brings back no single object";
    assert_eq!(owner(&helm, &none, ""), told);
}

/// A sync writes credentials as well, and what Git has of them may be old.
#[test]
fn nobody_is_asked_to_sync_what_has_credentials() {
    let mut world = World::new();
    world.drifts(|object| {
        object["metadata"]["annotations"] =
            json!({ "argocd.argoproj.io/tracking-id": "team_shop:/ConfigMap:prod/shop" });
        object["data"]["mode"] = "fast".into();
    });
    world.api.changes.clear();
    let failed = world.runs(None).failed();
    assert_eq!((failed.transience, world.api.changes.len()), (Transience::Permanent, 0));
    assert!(
        failed.why.contains("has credentials, and a sync by Application team/shop would write these"),
        "{failed:?}"
    );
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
