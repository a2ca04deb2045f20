//! What Argo CD or Flux keeps: they are asked to bring it back, and nothing of it is written by us.

use alloc::{boxed::Box, format, string::String};

use backstay_sdk::executor::{Outcome, Transience};
use serde_json::{Value, json};

use super::{
    super::{Id, Owner},
    world::{APPLICATION, CONFIG, KUSTOMIZATION, World, good},
};
use crate::testing::{MISHAPS, Objects};

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
