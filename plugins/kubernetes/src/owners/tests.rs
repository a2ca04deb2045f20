//! Owners that are found, stopped and let go on: by whose mark, with whose values, and cut off at each effect.

use backstay_sdk::{
    executor::{Ctx, Executor, Order, Outcome, Task},
    settings::{Description, Value as Set},
};

use super::*;
use crate::{
    resource::DEPLOYMENTS,
    testing::{Api, MISHAPS, text as setting, texts},
};

const SHOP: &str = "/apis/apps/v1/namespaces/prod/deployments/shop";
const APP: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop";
const KUSTOMIZATION: &str = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps";
const HELM_RELEASE: &str = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/prod/helmreleases/shop";

/// Stops the target's owners, or lets them go on.
struct Owners;

impl Executor for Owners {
    fn describe() -> Description {
        Description { about: "For a test.".into(), settings: infos() }
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let (cluster, shop) = (Cluster::new(ctx), Workload::of(DEPLOYMENTS, ctx.config()));
        let seen = cluster.need(&shop.resource(), &MARKS, "the Deployment").await?;
        let found = look(&cluster, &shop, Owner::all(ctx.config(), &shop, &seen)).await?;
        if order.task == Task::Heal(UNFREEZE.into()) {
            thaw(&cluster, found).await
        } else {
            freeze(&cluster, found).await
        }
    }
}

fn api(meta: Value) -> Api {
    let mut api = Api::of("prod", "shop");
    api.objects.put(SHOP, json!({ "metadata": meta }));
    api
}

fn tracked(id: &str) -> Value {
    json!({ "annotations": { "argocd.argoproj.io/tracking-id": id } })
}

fn app(spec: Value) -> Value {
    json!({ "metadata": { "annotations": { "notify": "yes" } }, "spec": spec, "status": { "sync": "Synced" } })
}

fn run(api: &mut Api, playbook: &str) -> Outcome {
    api.run::<Owners>(Task::Heal(playbook.into()), None).outcome
}

fn freezes(api: &mut Api) {
    assert_eq!(run(api, "freeze"), Outcome::Done);
}

fn thaws(api: &mut Api) {
    assert_eq!(run(api, UNFREEZE), Outcome::Done);
}

#[test]
fn an_application_loses_its_sync_and_gets_back_the_very_same() {
    for automated in [
        json!({}),
        json!({ "prune": true, "selfHeal": true }),
        json!({ "enabled": true, "allowEmpty": false }),
    ] {
        let spec =
            json!({ "project": "p", "syncPolicy": { "automated": automated, "retry": { "limit": 5 } } });
        let mut api = api(tracked("shop:apps/Deployment:prod/shop"));
        api.objects.put(APP, app(spec.clone()));
        for _ in 0..2 {
            freezes(&mut api);
            assert_eq!(
                api.objects.get(APP, "/spec"),
                json!({ "project": "p", "syncPolicy": { "retry": { "limit": 5 } } })
            );
            let noted = api.objects.get(APP, FROZEN_FIELD);
            assert_eq!(noted.as_str().unwrap(), json!({ "automated": automated }).to_string());
        }
        for _ in 0..2 {
            thaws(&mut api);
            assert_eq!(api.objects.get(APP, "/spec"), spec);
            assert_eq!(api.objects.get(APP, "/metadata/annotations"), json!({ "notify": "yes" }));
        }
        assert_eq!(api.changes.len(), 2);
    }
}

#[test]
fn flux_is_suspended_and_goes_on_as_it_was() {
    let labels = json!({ "labels": {
        "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        "helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "prod",
    } });
    for spec in [json!({ "path": "./apps" }), json!({ "path": "./apps", "suspend": false })] {
        let mut api = api(labels.clone());
        api.objects.put(KUSTOMIZATION, json!({ "spec": spec }));
        api.objects.put(HELM_RELEASE, json!({ "spec": spec }));
        freezes(&mut api);
        freezes(&mut api);
        for path in [KUSTOMIZATION, HELM_RELEASE] {
            assert_eq!(api.objects.get(path, "/spec"), json!({ "path": "./apps", "suspend": true }));
        }
        thaws(&mut api);
        thaws(&mut api);
        for path in [KUSTOMIZATION, HELM_RELEASE] {
            assert_eq!(api.objects.get(path, "/spec"), spec);
        }
        assert_eq!(api.changes.len(), 4);
    }
}

#[test]
fn what_was_stopped_already_is_not_ours_to_start() {
    let labels = json!({
        "annotations": { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/shop" },
        "labels": { "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system" },
    });
    for spec in [
        json!({}),
        json!({ "syncPolicy": {} }),
        json!({ "syncPolicy": { "automated": { "enabled": false } } }),
    ] {
        let mut api = api(labels.clone());
        api.objects.put(APP, app(spec));
        api.objects.put(KUSTOMIZATION, json!({ "spec": { "suspend": true } }));
        freezes(&mut api);
        thaws(&mut api);
        assert!(api.changes.is_empty(), "{:?}", api.changes);
    }
}

#[test]
fn what_somebody_turned_on_again_is_stopped_again_and_restored_as_they_had_it() {
    let mut api = api(tracked("shop:apps/Deployment:prod/shop"));
    api.objects.put(APP, app(json!({ "syncPolicy": { "automated": { "prune": true } } })));
    freezes(&mut api);
    api.objects.edit(APP, |app| app["spec"]["syncPolicy"]["automated"] = json!({ "selfHeal": true }));
    freezes(&mut api);
    thaws(&mut api);
    assert_eq!(api.objects.get(APP, "/spec/syncPolicy"), json!({ "automated": { "selfHeal": true } }));
    freezes(&mut api);
    api.objects.edit(APP, |app| app["spec"]["syncPolicy"]["automated"] = json!({ "prune": false }));
    thaws(&mut api);
    assert_eq!(
        api.objects.get(APP, "/spec/syncPolicy"),
        json!({ "automated": { "prune": false } }),
        "they had their way"
    );
    assert_eq!(api.objects.get(APP, FROZEN_FIELD), Value::Null);
    api.objects.edit(APP, |app| {
        app["spec"] = json!({});
        app["metadata"]["annotations"][FROZEN] = "gibberish".into();
    });
    assert!(matches!(run(&mut api, UNFREEZE), Outcome::Failed(_)));
}

#[test]
fn owners_are_found_by_marks_of_this_very_object() {
    let shop = Workload { kind: DEPLOYMENTS, namespace: "prod".into(), name: "shop".into() };
    let found = |config: &[Setting], meta: Value| -> Vec<String> {
        Owner::all(config, &shop, &json!({ "metadata": meta })).iter().map(Owner::told).collect()
    };
    assert_eq!(found(&[], tracked("shop:apps/Deployment:prod/shop")), ["Application argocd/shop"]);
    assert_eq!(found(&[], tracked("team_shop:apps/Deployment:prod/shop")), ["Application team/shop"]);
    let elsewhere = [setting("argocd-namespace", "cd")];
    assert_eq!(found(&elsewhere, tracked("shop:apps/Deployment:prod/shop")), ["Application cd/shop"]);
    for odd in [
        "shop:apps/Deployment:prod/other",
        "shop:/Deployment:prod/shop",
        "shop",
        "a/b:apps/Deployment:prod/shop",
        ":apps/Deployment:prod/shop",
    ] {
        assert!(found(&[], tracked(odd)).is_empty(), "{odd}");
    }
    let both = json!({ "labels": { "app.kubernetes.io/instance": "chart", "kustomize.toolkit.fluxcd.io/name": "apps" } });
    assert_eq!(found(&[], both.clone()), ["Application argocd/chart"], "half a mark of Flux is none");
    let named = [
        texts("argocd-applications", &["argocd/root", "argocd/chart"]),
        texts("flux-helmreleases", &["prod/shop"]),
    ];
    let all = ["Application argocd/root", "Application argocd/chart", "HelmRelease prod/shop"];
    assert_eq!(found(&named, both.clone()), all, "each once");
    let only = [named[0].clone(), Setting { name: "find-owners".into(), value: Set::Flag(false) }];
    assert_eq!(found(&only, both), all[..2]);
    assert!(problems(&named).is_empty());
    let wrong = [
        texts("argocd-applications", &["shop", "A/b"]),
        setting("argocd-namespace", ""),
        setting("argocd-endpoint", "x y"),
    ];
    assert_eq!(problems(&wrong).len(), 4);
}

#[test]
fn a_label_that_charts_have_too_makes_no_owner_of_a_namesake() {
    let labelled = || api(json!({ "labels": { "app.kubernetes.io/instance": "shop" } }));
    let with = |namespace: &str| {
        let spec = json!({ "destination": { "namespace": namespace }, "syncPolicy": { "automated": {} } });
        let mut api = labelled();
        api.objects.put(APP, app(spec));
        freezes(&mut api);
        api.changes.len()
    };
    assert_eq!((with("prod"), with("other")), (1, 0));
    let mut none = labelled();
    freezes(&mut none);
    let mut unreadable = labelled();
    unreadable.answer("GET", APP, 403, json!({ "message": "no" }));
    freezes(&mut unreadable);
}

#[test]
fn an_owner_that_cannot_be_stopped_is_said() {
    let mut gone = api(tracked("shop:apps/Deployment:prod/shop"));
    freezes(&mut gone);
    let mut forbidden = api(tracked("shop:apps/Deployment:prod/shop"));
    forbidden.answer("GET", APP, 403, json!({ "message": "no" }));
    let failed = forbidden.run::<Owners>(Task::Heal("freeze".into()), None).failed();
    assert!(failed.why.starts_with("the API server does not let us GET"), "{failed:?}");
    let mut named = api(json!({})).set(texts("argocd-applications", &["argocd/shop"]));
    let failed = named.run::<Owners>(Task::Heal("freeze".into()), None).failed();
    assert_eq!(failed.why, "Application argocd/shop isn't there, which the settings name");
}

#[test]
fn each_mishap_at_each_effect_ends_right() {
    for at in 0..8 {
        for mishap in MISHAPS {
            let mut api = api(json!({
                "annotations": { "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/shop" },
                "labels": { "helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "prod" },
            }));
            let spec = json!({ "syncPolicy": { "automated": { "prune": true } } });
            api.objects.put(APP, app(spec.clone()));
            api.objects.put(HELM_RELEASE, json!({ "spec": { "interval": "5m" } }));
            for playbook in ["freeze", UNFREEZE] {
                let ran = api.run::<Owners>(Task::Heal(playbook.into()), Some((at, mishap)));
                assert!(ran.outcome == Outcome::Done || run(&mut api, playbook) == Outcome::Done);
                let stopped = (
                    api.objects.get(APP, "/spec") != spec,
                    api.objects.get(HELM_RELEASE, "/spec/suspend") == true,
                );
                let is_stopped = playbook == "freeze";
                assert_eq!(stopped, (is_stopped, is_stopped), "{mishap:?} at {at}");
            }
            assert_eq!(api.objects.get(HELM_RELEASE, "/spec"), json!({ "interval": "5m" }));
            assert_eq!(api.changes.len(), 4, "{mishap:?} at {at}");
        }
    }
}

#[test]
fn owners_are_looked_at_and_stopped_at_once() {
    let mut api = api(tracked("shop:apps/Deployment:prod/shop"))
        .set(texts("argocd-applications", &["argocd/a", "argocd/b"]))
        .set(texts("flux-kustomizations", &["flux-system/apps"]));
    for name in ["a", "b", "shop"] {
        let path = format!("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/{name}");
        api.objects.put(&path, app(json!({ "syncPolicy": { "automated": {} } })));
    }
    api.objects.put(KUSTOMIZATION, json!({ "spec": {} }));
    let ran = api.run::<Owners>(Task::Heal("freeze".into()), None).done();
    assert_eq!((ran.effects, ran.rounds, api.changes.len()), (9, 3, 4));
}
