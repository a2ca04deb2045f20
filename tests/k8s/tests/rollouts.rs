//! Rollouts on the real controller of Argo Rollouts: home from a canary at any stage and from a bad release that has everything, with all
//! traffic, past the steps and never past the wrong ones; against who puts the bad release back; and cut off at any effect.
//!
//! What the controller does is real; the pods only say that they run, and the traffic is what is written down for a router (weights of
//! an Ingress of nginx, selectors of Services), not packets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod shops;

use std::{
    env,
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_sdk::executor::{Outcome, Transience};
use backstay_test_k8s::{Cut, Ran, objects};
use executor_rollouts::Rollouts;
use serde_json::{Value, json};
use shops::{APPS, ARGO, HELM, KUSTOMIZE, Shop, image, release, texts, waits};

const SHOP: &str = "rollouts/shop";

/// A fifth, three fifths, and all of it, each until somebody lets it go on.
fn canary() -> Value {
    let pause = json!({ "pause": {} });
    json!({ "canary": { "steps": [
        { "setWeight": 20 }, pause, { "setWeight": 60 }, pause, { "setWeight": 100 }, pause,
    ] } })
}

/// The same with a router: the weights stand in annotations of an Ingress that the controller writes.
fn routed() -> Value {
    let mut canary = canary();
    let of = &mut canary["canary"];
    of["canaryService"] = "shop-canary".into();
    of["stableService"] = "shop-stable".into();
    of["trafficRouting"] = json!({ "nginx": { "stableIngress": "shop" } });
    canary
}

/// Green beside blue, let in by people.
fn blue_green() -> Value {
    json!({ "blueGreen": {
        "activeService": "shop-stable", "previewService": "shop-canary", "autoPromotionEnabled": false,
        "scaleDownDelaySeconds": 1,
    } })
}

/// A Rollout of five pods with the release 1.0.0 in full, its Services and its Ingress.
fn opens(about: &str, strategy: &Value) -> Option<Shop> {
    let shop = Shop::opens(about)?;
    services(&shop);
    let mut rollout = objects::rollout("shop", 5, &image("1.0.0"), &json!([]));
    rollout["spec"]["strategy"] = strategy.clone();
    rollout["metadata"]["annotations"] = shop.tracking("argoproj.io", "Rollout", "shop");
    shop.create(ARGO, "rollouts", &rollout);
    is_whole(&shop, "1.0.0");
    Some(shop)
}

fn services(shop: &Shop) {
    for name in ["shop-canary", "shop-stable"] {
        let spec = json!({ "selector": { "app": "shop" }, "ports": [{ "port": 80 }] });
        let service =
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec });
        shop.create("v1", "services", &service);
    }
    let backend = json!({ "service": { "name": "shop-stable", "port": { "number": 80 } } });
    let rules = json!([{ "host": "shop.test", "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } }]);
    let version = "networking.k8s.io/v1";
    let ingress = json!({ "apiVersion": version, "kind": "Ingress", "metadata": { "name": "shop" }, "spec": { "rules": rules } });
    shop.create(version, "ingresses", &ingress);
}

fn status(shop: &Shop) -> Value {
    shop.get(ARGO, SHOP)["status"].clone()
}

/// The hash of the revision that runs a release; the newest, if there are more.
fn hash(shop: &Shop, version: &str) -> Option<Value> {
    let sets = shop.api().list(&shop.space.path(APPS, "replicasets")).unwrap();
    let of =
        sets.iter().filter(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == image(version));
    of.map(|set| set["metadata"]["labels"]["rollouts-pod-template-hash"].clone()).next_back()
}

/// All of it is this release.
fn is_whole(shop: &Shop, version: &str) {
    waits("a whole Rollout", || {
        let (status, hash) = (status(shop), hash(shop, version));
        hash.is_some_and(|hash| status["stableRS"] == hash && status["currentPodHash"] == hash)
            && status["phase"] == "Healthy"
            && shop.images() == [image(version)]
    });
}

fn template(version: &str) -> Value {
    objects::rollout("shop", 5, &image(version), &json!([]))["spec"]["template"].clone()
}

fn lets_out(shop: &Shop, what: (&str, &str), version: &str) {
    shop.edit(
        what.0,
        what.1,
        &json!([{ "op": "replace", "path": "/spec/template", "value": template(version) }]),
    );
}

/// The canary is at a pause, so many steps along.
fn is_at(shop: &Shop, step: u64) {
    waits("a canary at a pause", || {
        let status = status(shop);
        status["phase"] == "Paused"
            && (status["currentStepIndex"] == step || status["currentStepIndex"].is_null())
    });
}

/// Somebody lets it go on: all the way, or one step.
fn promotes(shop: &Shop, all: bool) {
    let path = format!("{}/status", shop.space.path(ARGO, SHOP));
    let go_on = json!({ "status": if all { json!({ "promoteFull": true }) } else { json!({ "pauseConditions": null }) } });
    shop.api().merge(&path, &go_on).unwrap();
}

/// The share that the router gives the canary, where there is one.
fn weight(shop: &Shop) -> Value {
    status(shop)["canary"]["weights"]["canary"]["weight"].clone()
}

/// Home, whole, with the ReplicaSet that was there before.
fn is_home(shop: &Shop, ran: &Ran, version: &str) {
    assert_eq!(ran.outcome, Outcome::Done, "{:#?}", ran.told());
    let status = status(shop);
    assert_eq!(Some(&status["stableRS"]), hash(shop, version).as_ref());
    assert_eq!((&status["currentPodHash"], status["phase"].as_str()), (&status["stableRS"], Some("Healthy")));
    assert!(status["abort"] != true && status["promoteFull"] != true, "{status}");
    assert_eq!(shop.replica_sets(version).1, 1, "no ReplicaSet was made for it");
    waits("pods of it alone", || shop.images() == [image(version)]);
}

/// Watches the whole time that the bad release isn't promoted.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<Value>>,
}

impl Watch {
    /// What is stable, each time it is another one.
    fn begins(shop: &Shop) -> Self {
        let (api, path) = (shop.api().clone(), shop.space.path(ARGO, SHOP));
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen: Vec<Value> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let stable = api.get(&path).unwrap()["status"]["stableRS"].clone();
                if seen.last() != Some(&stable) {
                    seen.push(stable);
                }
                thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        Self { stop, thread }
    }

    fn saw(self) -> Vec<Value> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn tells(line: &str) {
    // Past the test's own output, which nobody sees where it went well.
    writeln!(io::stdout().lock(), "\nsummary: {line}").unwrap();
}

#[test]
fn a_canary_goes_home_from_any_stage() {
    for (about, strategy) in [("canary", canary()), ("routed", routed())] {
        for (stage, pauses) in [(20, 1), (60, 3), (100, 5)] {
            let Some(shop) = opens(&format!("{about}-{stage}"), &strategy) else { return };
            shop.has_application(&json!({ "prune": true, "selfHeal": true }));
            lets_out(&shop, (ARGO, SHOP), "2.0.0");
            for step in (1..=pauses).step_by(2) {
                is_at(&shop, step);
                if step < pauses {
                    promotes(&shop, false);
                }
            }
            let is_routed = about == "routed";
            if is_routed {
                waits("the router's share", || weight(&shop) == stage);
                assert_eq!(shop.reads::<Rollouts>("out-stage").unwrap(), (stage * 10).to_string());
            }
            assert_eq!(shop.reads::<Rollouts>("out-digest").unwrap(), release("2.0.0").digest);
            let (good, watch) = (hash(&shop, "1.0.0").unwrap(), Watch::begins(&shop));
            let ran = shop.goes_home::<Rollouts>("1.0.0");
            is_home(&shop, &ran, "1.0.0");
            assert_eq!(watch.saw(), [good], "the bad release was promoted");
            let changes = ran.changes();
            assert!(changes[0].ends_with("/rollouts/shop/status"), "aborted first: {changes:?}");
            assert_eq!(changes.len(), 3, "abort, owner, template, and nothing to be promoted: {changes:?}");
            if is_routed {
                waits("no share for a canary", || weight(&shop) == 0 || weight(&shop).is_null());
            }
            assert!(shop.get(ARGO, "applications/shop")["spec"]["syncPolicy"]["automated"].is_null());
            tells(&format!(
                "{about} at {stage} %: template restored after {} ms, whole after {} ms, {} effects, {} bytes of state",
                ran.changed_after(SHOP).unwrap().as_millis(),
                ran.effects.last().unwrap().1.as_millis(),
                ran.effects.len(),
                ran.state_bytes,
            ));
        }
    }
}

#[test]
fn a_bad_release_with_everything_goes_home_without_steps() {
    for (about, strategy) in
        [("promoted", canary()), ("promoted-routed", routed()), ("promoted-blue", blue_green())]
    {
        let Some(shop) = opens(about, &strategy) else { return };
        lets_out(&shop, (ARGO, SHOP), "2.0.0");
        is_at(&shop, 1);
        promotes(&shop, true);
        is_whole(&shop, "2.0.0");
        let ran = shop.goes_home::<Rollouts>("1.0.0");
        is_home(&shop, &ran, "1.0.0");
        let changes = ran.changes();
        assert!(
            !changes[0].ends_with("/status"),
            "to abort would send the traffic to the bad one: {changes:?}"
        );
        tells(&format!("{about}: whole after {} ms, {changes:?}", ran.effects.last().unwrap().1.as_millis()));
    }
}

#[test]
fn green_that_was_let_in_or_not_goes_back_to_blue() {
    let Some(shop) = opens("blue-green", &blue_green()) else { return };
    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    is_at(&shop, 0);
    assert_eq!(shop.reads::<Rollouts>("out-stage").unwrap(), "0");
    let ran = shop.goes_home::<Rollouts>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    let active =
        shop.get("v1", "services/shop-stable")["spec"]["selector"]["rollouts-pod-template-hash"].clone();
    assert_eq!(Some(active), hash(&shop, "1.0.0"));
}

#[test]
fn a_template_in_a_deployment_is_restored_there() {
    for (about, is_promoted) in [("reference", false), ("reference-promoted", true)] {
        let Some(shop) = Shop::opens(about) else { return };
        services(&shop);
        let mut deployment = objects::deployment("templates", 0, &image("1.0.0"));
        deployment["spec"]["template"] = template("1.0.0");
        deployment["spec"]["selector"] = json!({ "matchLabels": { "app": "shop" } });
        deployment["metadata"]["annotations"] = shop.tracking("apps", "Deployment", "templates");
        shop.create(APPS, "deployments", &deployment);
        shop.has_application(&json!({}));
        let mut rollout = objects::rollout("shop", 5, "", &json!([]));
        rollout["spec"] = json!({
            "replicas": 5,
            "strategy": canary(),
            "workloadRef": { "apiVersion": APPS, "kind": "Deployment", "name": "templates" },
        });
        shop.create(ARGO, "rollouts", &rollout);
        is_whole_but_for_deployment(&shop, "1.0.0");
        lets_out(&shop, (APPS, "deployments/templates"), "2.0.0");
        is_at(&shop, 1);
        if is_promoted {
            promotes(&shop, true);
            is_whole_but_for_deployment(&shop, "2.0.0");
        }
        let ran = shop.goes_home::<Rollouts>("1.0.0").done();
        is_whole_but_for_deployment(&shop, "1.0.0");
        let live = shop.get(APPS, "deployments/templates")["spec"]["template"].clone();
        assert_eq!(live["spec"]["containers"][0]["image"], image("1.0.0"));
        assert!(shop.get(ARGO, "applications/shop")["spec"]["syncPolicy"]["automated"].is_null());
        tells(&format!("{about}: {:?}", ran.changes()));
    }
}

/// The Deployment has a ReplicaSet of its own for each template, without pods.
fn is_whole_but_for_deployment(shop: &Shop, version: &str) {
    waits("a whole Rollout", || {
        let status = status(shop);
        status["phase"] == "Healthy"
            && status["stableRS"] == status["currentPodHash"]
            && shop.images() == [image(version)]
    });
}

#[test]
fn who_puts_the_bad_release_back_is_stopped_first() {
    for (about, is_promoted) in [("gitops", false), ("gitops-promoted", true)] {
        let Some(shop) = opens(about, &canary()) else { return };
        let automated = json!({ "prune": true, "selfHeal": true });
        shop.has_application(&automated);
        lets_out(&shop, (ARGO, SHOP), "2.0.0");
        is_at(&shop, 1);
        if is_promoted {
            promotes(&shop, true);
            is_whole(&shop, "2.0.0");
        }
        let reconciler = shop.reconciles(ARGO, SHOP, template("2.0.0"));
        let ran = shop.goes_home::<Rollouts>("1.0.0");
        is_home(&shop, &ran, "1.0.0");
        thread::sleep(Duration::from_secs(1));
        is_home(&shop, &ran, "1.0.0");
        shop.plays::<Rollouts>("unfreeze").done();
        let policy = shop.get(ARGO, "applications/shop")["spec"]["syncPolicy"].clone();
        assert_eq!(policy, json!({ "automated": automated, "retry": { "limit": 2 } }));
        // Git still has it: that it comes back now shows that it was the freeze that kept it away.
        waits("the bad release, put back", || shop.get(ARGO, SHOP)["spec"]["template"] == template("2.0.0"));
        assert_eq!(reconciler.wrote(), 1);
    }
}

#[test]
fn flux_is_suspended_and_goes_on_as_it_was() {
    let Some(mut shop) = opens("flux", &canary()) else { return };
    let space = shop.space.name().to_owned();
    let kustomization = json!({
        "apiVersion": KUSTOMIZE,
        "kind": "Kustomization",
        "metadata": { "name": "apps" },
        "spec": { "interval": "5m", "path": "./apps", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "git" } },
    });
    let kustomization = shop.create(KUSTOMIZE, "kustomizations", &kustomization);
    let release = json!({ "apiVersion": HELM, "kind": "HelmRelease", "metadata": { "name": "shop" }, "spec": { "interval": "5m", "suspend": false } });
    let release = shop.create(HELM, "helmreleases", &release);
    shop.edit(
        ARGO,
        SHOP,
        &json!({ "metadata": { "annotations": null, "labels": {
            "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": space,
        } } }),
    );
    shop.config.push(texts("flux-helmreleases", &[&format!("{space}/shop")]));
    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    is_at(&shop, 1);
    let ran = shop.goes_home::<Rollouts>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    let suspended = |version: &str, what: &str| shop.get(version, what)["spec"]["suspend"].clone();
    assert_eq!(suspended(KUSTOMIZE, "kustomizations/apps"), true);
    assert_eq!(suspended(HELM, "helmreleases/shop"), true);
    assert!(ran.attached[0].contains(r#""was":{"suspend":false}"#), "{:?}", ran.attached);
    shop.plays::<Rollouts>("unfreeze").done();
    assert_eq!(shop.get(KUSTOMIZE, "kustomizations/apps")["spec"], kustomization["spec"]);
    assert_eq!(shop.get(HELM, "helmreleases/shop")["spec"], release["spec"]);
}

/// What Argo's own command does with the same Rollouts stands beside it.
#[test]
fn what_the_controller_wrote_into_a_revision_is_not_restored() {
    let marked = |about: &str| {
        let mut strategy = canary();
        strategy["canary"]["canaryMetadata"] = json!({ "labels": { "stage": "canary" } });
        strategy["canary"]["stableMetadata"] =
            json!({ "labels": { "stage": "stable" }, "annotations": { "a": "b" } });
        strategy["canary"]["antiAffinity"] = json!({ "requiredDuringSchedulingIgnoredDuringExecution": {} });
        let shop = opens(about, &strategy)?;
        lets_out(&shop, (ARGO, SHOP), "2.0.0");
        is_at(&shop, 1);
        Some(shop)
    };
    let Some(shop) = marked("marks") else { return };
    let before = shop.replica_sets("1.0.0");
    let ran = shop.goes_home::<Rollouts>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    assert_eq!(shop.replica_sets("1.0.0"), before);
    let labels = shop.get(ARGO, SHOP)["spec"]["template"]["metadata"]["labels"].clone();
    assert_eq!(labels, json!({ "app": "shop" }));

    let shop = marked("marks-undo").unwrap();
    let undone = shop.cluster.argo().args(["undo", "shop", "-n", shop.space.name()]).output().unwrap();
    assert!(undone.status.success());
    waits("Argo's own way back", || shop.replica_sets("1.0.0").1 == 2);
    tells(
        "argo undo with stableMetadata makes a third ReplicaSet and begins at the first step; ours takes the one that is there",
    );
}

#[test]
fn a_release_that_is_held_goes_on_only_by_us_and_never_after_an_abort() {
    let Some(shop) = opens("hold", &canary()) else { return };
    shop.plays::<Rollouts>("hold").done();
    assert!(shop.get(ARGO, SHOP)["spec"]["paused"].is_null(), "nothing is on its way, and it has to scale");
    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    is_at(&shop, 1);
    shop.plays::<Rollouts>("hold").done();
    shop.plays::<Rollouts>("hold").done();
    waits("a held Rollout", || status(&shop)["message"] == "manually paused");
    promotes(&shop, false);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(status(&shop)["currentStepIndex"], 1, "nothing goes further, whoever lets it");
    // What was let go on meanwhile is forgotten by the controller, and has to be let again.
    shop.plays::<Rollouts>("go-on").done();
    waits("a pause of its own", || status(&shop)["message"] == "CanaryPauseStep");
    promotes(&shop, false);
    is_at(&shop, 3);
    // What somebody aborts while it is held isn't tried again by going on.
    shop.plays::<Rollouts>("hold").done();
    assert!(
        shop.cluster
            .argo()
            .args(["abort", "shop", "-n", shop.space.name()])
            .output()
            .unwrap()
            .status
            .success()
    );
    let failed = shop.plays::<Rollouts>("go-on").failed();
    assert!(failed.why.starts_with("it was aborted"), "{failed:?}");
    assert_eq!(status(&shop)["abort"], true);
    let ran = shop.goes_home::<Rollouts>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
    assert!(shop.get(ARGO, SHOP)["spec"]["paused"].is_null());
    assert!(shop.get(ARGO, SHOP)["metadata"]["annotations"]["backstay.dev/held"].is_null());
}

#[test]
fn what_is_held_at_once_has_pods() {
    let Some(shop) = opens("held-pods", &canary()) else { return };
    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    shop.plays::<Rollouts>("hold").done();
    assert_eq!(shop.get(ARGO, SHOP)["spec"]["paused"], true);
    waits("a pod of what is held", || shop.images() == [image("1.0.0"), image("2.0.0")]);
}

#[test]
fn a_pause_of_somebody_else_stays_and_the_traffic_goes_home() {
    let Some(shop) = opens("foreign", &routed()) else { return };
    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    is_at(&shop, 1);
    shop.edit(ARGO, SHOP, &json!({ "spec": { "paused": true } }));
    shop.plays::<Rollouts>("go-on").done();
    assert_eq!(shop.get(ARGO, SHOP)["spec"]["paused"], true);
    let failed = shop.goes_home::<Rollouts>("1.0.0").failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("paused by somebody else"), "{failed:?}");
    waits("no share for the canary", || weight(&shop) == 0);
    assert_eq!(shop.reads::<Rollouts>("out-digest").unwrap(), release("1.0.0").digest);
    assert_eq!(shop.reads::<Rollouts>("out-stage").unwrap(), "1000");
    shop.edit(ARGO, SHOP, &json!({ "spec": { "paused": null } }));
    let ran = shop.goes_home::<Rollouts>("1.0.0");
    is_home(&shop, &ran, "1.0.0");
}

/// Why a Rollout with nothing on its way isn't paused by `hold`, and why nobody sets a weight from outside.
#[test]
fn what_argo_rollouts_does_not_do() {
    let Some(shop) = opens("limits", &canary()) else { return };
    shop.edit(ARGO, SHOP, &json!({ "spec": { "paused": true } }));
    waits("a paused Rollout", || status(&shop)["phase"] == "Paused");
    shop.edit(ARGO, SHOP, &json!({ "spec": { "replicas": 8 } }));
    thread::sleep(Duration::from_secs(2));
    let paused = status(&shop)["replicas"].clone();
    shop.edit(ARGO, SHOP, &json!({ "spec": { "paused": null } }));
    waits("eight pods", || status(&shop)["replicas"] == 8);
    assert_eq!(paused, 5, "a Rollout that is paused doesn't scale");

    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    is_at(&shop, 1);
    promotes(&shop, false);
    is_at(&shop, 3);
    let to = |weight: u32| json!([{ "op": "replace", "path": "/spec/strategy/canary/steps/2/setWeight", "value": weight }]);
    shop.edit(ARGO, SHOP, &to(50));
    waits("the first step again", || status(&shop)["currentStepIndex"] == 1);
    tells(
        "Argo Rollouts 1.10: spec.paused stops scaling; another setWeight begins the steps anew, so no weight is set from outside",
    );
}

/// A test of `promoteFull` at the wrong moment: right after the template is restored, the bad release is still current.
#[test]
fn only_the_revision_that_is_home_is_ever_promoted() {
    let Some(shop) = opens("promotion", &canary()) else { return };
    lets_out(&shop, (ARGO, SHOP), "2.0.0");
    is_at(&shop, 1);
    let path = format!("{}/status", shop.space.path(ARGO, SHOP));
    let home = hash(&shop, "1.0.0").unwrap();
    let guarded = json!([
        { "op": "test", "path": "/status/currentPodHash", "value": home },
        { "op": "add", "path": "/status/promoteFull", "value": true },
    ]);
    let refusal = shop.api().patch(&path, &guarded).unwrap_err();
    assert_eq!(refusal.code, 422, "{refusal}");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(status(&shop)["stableRS"], home);
    // Without the test it would have been the bad one.
    shop.api().merge(&path, &json!({ "status": { "promoteFull": true } })).unwrap();
    is_whole(&shop, "2.0.0");
}

/// The power goes at each effect, before it and after it. The run after it ends at home; the template is written once, and an owner
/// is stopped once.
#[test]
fn a_run_that_is_cut_off_anywhere_ends_at_home() {
    let Some(shop) = opens("cut", &canary()) else { return };
    shop.has_application(&json!({ "selfHeal": true }));
    let (mut trials, mut at) = (0, 0);
    loop {
        let mut effects = 0;
        for cut in [Cut::Before, Cut::After] {
            for is_promoted in [false, true] {
                lets_out(&shop, (ARGO, SHOP), "2.0.0");
                is_at(&shop, 1);
                if is_promoted {
                    promotes(&shop, true);
                    is_whole(&shop, "2.0.0");
                }
                let generation = |what| shop.get(ARGO, what)["metadata"]["generation"].as_i64().unwrap();
                let before = (generation(SHOP), generation("applications/shop"));
                let ran = shop.goes_home_cut::<Rollouts>("1.0.0", at, cut);
                effects = effects.max(ran.effects.len());
                if let Outcome::Failed(failed) = &ran.outcome {
                    assert_eq!(failed.transience, Transience::Transient, "{failed:?}");
                }
                let again = shop.goes_home::<Rollouts>("1.0.0");
                is_home(&shop, &again, "1.0.0");
                let after = (generation(SHOP), generation("applications/shop"));
                assert_eq!(
                    (after.0 - before.0, after.1 - before.1),
                    (1, 1),
                    "{cut:?} at {at}: {:#?}",
                    ran.told()
                );
                shop.plays::<Rollouts>("unfreeze").done();
                trials += 1;
            }
        }
        at += 1;
        // Later effects are looks while it is waited for pods.
        if at as usize >= effects.min(14) {
            break;
        }
    }
    tells(&format!(
        "{trials} runs cut off: each ended at home with one change of the template and one of the owner"
    ));
}

/// How long lies between an order and a Rollout that is aborted, with its owner stopped and its template restored.
#[test]
fn the_way_home_is_quick() {
    let Some(shop) = opens("quick", &routed()) else { return };
    shop.has_application(&json!({ "selfHeal": true }));
    let trials = env::var("BACKSTAY_TRIALS").ok().and_then(|trials| trials.parse().ok()).unwrap_or(20);
    let (mut restored, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..trials {
        lets_out(&shop, (ARGO, SHOP), "2.0.0");
        is_at(&shop, 1);
        let ran = shop.goes_home::<Rollouts>("1.0.0").done();
        restored.push(ran.changed_after(SHOP).unwrap());
        whole.push(ran.effects.last().unwrap().1);
        shop.plays::<Rollouts>("unfreeze").done();
    }
    let at = |all: &mut Vec<Duration>, percent: usize| {
        all.sort();
        all[(all.len() * percent / 100).min(all.len() - 1)].as_millis()
    };
    tells(&format!(
        "{trials} ways home: aborted, owner stopped, template restored: p50 {} ms, p99 {} ms; whole: p50 {} ms, p99 {} ms",
        at(&mut restored, 50),
        at(&mut restored, 99),
        at(&mut whole, 50),
        at(&mut whole, 99),
    ));
    assert!(at(&mut restored, 50) < 1000);
}
