//! What the doubles of a workload called shop have in common, whatever kind it is: releases, their templates, the revisions that a
//! controller makes of these, and the Application that keeps it.
//!
//! Not here: what a controller makes of pods, steps and traffic, which differs with the kind (the executors' own doubles).

use alloc::{format, string::String};

use backstay_sdk::executor::{Outcome, Release, Steps, Task};
use serde_json::{Value, json};

use super::{Api, Objects, number};
use crate::revisions::Marking;

/// Where revisions are.
pub const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/prod/replicasets";
/// The Application of Argo CD that keeps the shop.
pub const APP: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop";

/// A release called by one letter; its digest is that letter.
#[must_use]
pub fn release(name: char) -> Release {
    Release { version: name.into(), digest: String::from(name).repeat(64), length: 0, security_epoch: 0 }
}

/// A template that runs it, with an environment of its own. A double says what that means: the pods of one with an `x` don't come up.
#[must_use]
pub fn template(runs: char, env: &str) -> Value {
    let image = format!("r.example/shop:{runs}@sha256:{}", String::from(runs).repeat(64));
    json!({
        "metadata": { "labels": { "app": "shop" } },
        "spec": { "containers": [{ "name": "shop", "image": image, "env": [{ "name": "E", "value": env }] }] },
    })
}

/// An object that is tracked as `tracked`, with three pods of such a template, and no status yet.
#[must_use]
pub fn workload(tracked: &str, template: &Value) -> Value {
    let tracking = json!({ "argocd.argoproj.io/tracking-id": format!("shop:{tracked}") });
    let selector = json!({ "matchLabels": { "app": "shop" } });
    json!({
        "metadata": { "annotations": tracking, "labels": { "app": "shop" } },
        "spec": { "replicas": 3, "selector": selector, "template": template },
        "status": {},
    })
}

/// An API server with the settings of the shop, and its Application, which puts back at once what Git says.
#[must_use]
pub fn kept() -> Api {
    let mut api = Api::of("prod", "shop").set(number("wait-ms", 2000));
    let automated = json!({ "prune": true, "selfHeal": true });
    let app =
        json!({ "metadata": { "annotations": {} }, "spec": { "syncPolicy": { "automated": automated } } });
    api.objects.put(APP, app);
    api
}

/// Goes home to a release. Why it failed, or nothing.
#[track_caller]
pub fn goes_home<E: Steps>(api: &mut Api, to: char) -> Option<String> {
    let ran = api.run::<E>(Task::GoHome(release(to)), None);
    if ran.outcome == Outcome::Done { None } else { Some(ran.failed().why) }
}

/// What the template of the object at `path` runs, and with which environment.
///
/// # Panics
/// Where it is none of [`template`].
#[must_use]
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a test went wrong")]
pub fn runs(objects: &Objects, path: &str) -> (char, String) {
    let container = objects.get(path, "/spec/template/spec/containers/0");
    let image = container["image"].as_str().unwrap();
    (image.chars().last().unwrap(), container["env"][0]["value"].as_str().unwrap().into())
}

/// Whether Argo CD would leave the shop as it is.
#[must_use]
pub fn is_frozen(objects: &Objects) -> bool {
    objects.get(APP, "/spec/syncPolicy/automated").is_null()
}

/// The newest revision of `owner`, which a controller makes of this template: the path of its ReplicaSet, the one that there is, or a new
/// one without pods.
///
/// # Panics
/// Where there is a ReplicaSet without the marks of that controller.
#[track_caller]
pub fn revision(
    objects: &mut Objects,
    owner: &Value,
    kind: &str,
    template: &Value,
    marking: Marking,
) -> String {
    let Marking { revision, hash: label } = marking;
    let sets = objects.below(REPLICA_SETS);
    let newest = sets.iter().map(|path| numbered(objects, path, marking)).max().unwrap_or(0);
    let is_of = |path: &&String| {
        let mut of = objects.get(path, "/spec/template");
        if let Some(labels) = of["metadata"]["labels"].as_object_mut() {
            labels.remove(label);
        }
        of == *template
    };
    let known = sets.iter().find(is_of).cloned();
    let path = known.unwrap_or_else(|| {
        let hash = format!("h{}", sets.len() + 1);
        let path = format!("{REPLICA_SETS}/shop-{hash}");
        let mut template = template.clone();
        template["metadata"]["labels"][label] = hash.as_str().into();
        let meta = json!({
            "annotations": { revision: "0" },
            "labels": { "app": "shop", label: hash },
            "ownerReferences": [{ "kind": kind, "uid": owner["metadata"]["uid"] }],
        });
        let spec = json!({ "replicas": 0, "template": template });
        objects.put(&path, json!({ "metadata": meta, "spec": spec, "status": { "availableReplicas": 0 } }));
        path
    });
    let number = numbered(objects, &path, marking);
    if number == 0 || number < newest {
        let next = format!("{}", newest + 1);
        objects.edit(&path, |set| set["metadata"]["annotations"][revision] = next.into());
    }
    path
}

#[expect(clippy::unwrap_used, reason = "a test went wrong")]
fn numbered(objects: &Objects, path: &str, marking: Marking) -> u64 {
    objects.at(path)["metadata"]["annotations"][marking.revision].as_str().unwrap().parse().unwrap()
}
