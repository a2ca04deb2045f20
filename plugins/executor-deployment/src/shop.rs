//! A Deployment of three pods in memory, for the tests, with what its controller makes of each change.

use alloc::{format, string::String, vec};

use backstay_kubernetes::{
    json::{Value, json},
    testing::{Api, Objects, number},
};
use backstay_sdk::executor::{Release, Task};

use crate::Deployment;

pub(crate) const SHOP: &str = "/apis/apps/v1/namespaces/prod/deployments/shop";
pub(crate) const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/prod/replicasets";
pub(crate) const APP: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// How long pods take to come up, in ms.
const COMES_UP_MS: u64 = 40;

/// The target.
pub(crate) struct Shop {
    pub(crate) api: Api,
}

/// A release called by one letter; its digest is that letter.
pub(crate) fn release(name: char) -> Release {
    Release { version: name.into(), digest: String::from(name).repeat(64), length: 0, security_epoch: 0 }
}

/// A template that runs it, with an environment of its own.
pub(crate) fn template(runs: char, env: &str) -> Value {
    let image = format!("r.example/shop:{runs}@sha256:{}", String::from(runs).repeat(64));
    json!({
        "metadata": { "labels": { "app": "shop" } },
        "spec": { "containers": [{ "name": "shop", "image": image, "env": [{ "name": "E", "value": env }] }] },
    })
}

impl Shop {
    /// With these releases let out one after the other, each to its end. The pods of one with an `x` in its environment don't come up.
    pub(crate) fn of(releases: &[char]) -> Self {
        let mut api = Api::of("prod", "shop").set(number("wait-ms", 2000));
        let tracking = json!({ "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/shop" });
        api.objects.put(
            SHOP,
            json!({
                "metadata": { "annotations": tracking, "labels": { "app": "shop" }, "uid": "shop-uid" },
                "spec": { "replicas": 3, "selector": { "matchLabels": { "app": "shop" } }, "template": template('0', "") },
                "status": {},
            }),
        );
        let automated = json!({ "prune": true, "selfHeal": true });
        api.objects.put(APP, json!({ "metadata": { "annotations": {} }, "spec": { "syncPolicy": { "automated": automated } } }));
        let mut shop = Self { api };
        for runs in releases {
            shop.lets_out(template(*runs, ""));
        }
        let mut since = None;
        shop.api.react(move |objects, now| controls(objects, now, &mut since));
        shop
    }

    /// A template goes out to its end, or as far as its pods come up.
    pub(crate) fn lets_out(&mut self, template: Value) {
        self.api.objects.edit(SHOP, |shop| shop["spec"]["template"] = template);
        for now in 0..3 {
            controls(&mut self.api.objects, 1_000_000 + now * COMES_UP_MS, &mut Some(0));
        }
    }

    /// A release goes out, and only its first pod is there yet.
    pub(crate) fn lets_out_half(&mut self, runs: char) {
        self.api.objects.edit(SHOP, |shop| shop["spec"]["template"] = template(runs, ""));
        controls(&mut self.api.objects, 0, &mut Some(0));
    }

    /// Somebody else who changes things after each effect.
    pub(crate) fn also(&mut self, mut does: impl FnMut(&mut Objects) + 'static) {
        let mut since = None;
        self.api.react(move |objects, now| {
            does(objects);
            controls(objects, now, &mut since);
        });
    }

    pub(crate) fn goes_home(&mut self, to: char) -> Option<String> {
        let ran = self.api.run::<Deployment>(Task::GoHome(release(to)), None);
        if ran.outcome == backstay_sdk::executor::Outcome::Done { None } else { Some(ran.failed().why) }
    }

    /// What its template runs, and with which environment.
    pub(crate) fn runs(&self) -> (char, String) {
        let container = self.api.objects.get(SHOP, "/spec/template/spec/containers/0");
        let image = container["image"].as_str().unwrap();
        let env = container["env"][0]["value"].as_str().unwrap();
        (image.chars().last().unwrap(), env.into())
    }

    /// Whether Argo CD would put back what Git says.
    pub(crate) fn is_frozen(&self) -> bool {
        self.api.objects.get(APP, "/spec/syncPolicy/automated").is_null()
    }
}

/// What kube-controller-manager makes of a Deployment: a ReplicaSet for its template, pods, and a status.
fn controls(objects: &mut Objects, now: u64, since: &mut Option<u64>) {
    let shop = objects.at(SHOP).clone();
    if shop["spec"]["paused"] == true {
        objects.edit(SHOP, |it| it["status"]["observedGeneration"] = it["metadata"]["generation"].clone());
        return;
    }
    let sets = objects.below(REPLICA_SETS);
    let plain = |set: &Value| {
        let mut template = set["spec"]["template"].clone();
        template["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
        template
    };
    let revision =
        |set: &Value| -> u64 { set["metadata"]["annotations"][REVISION].as_str().unwrap().parse().unwrap() };
    let newest = sets.iter().map(|path| revision(objects.at(path))).max().unwrap_or(0);
    let current = sets.iter().find(|path| plain(objects.at(path)) == shop["spec"]["template"]).cloned();
    let current = current.unwrap_or_else(|| {
        let hash = format!("h{}", sets.len() + 1);
        let path = format!("{REPLICA_SETS}/shop-{hash}");
        let mut template = shop["spec"]["template"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = hash.as_str().into();
        objects.put(
            &path,
            json!({
                "metadata": {
                    "annotations": { REVISION: "0" },
                    "labels": { "app": "shop", "pod-template-hash": hash },
                    "ownerReferences": [{ "kind": "Deployment", "uid": shop["metadata"]["uid"] }],
                },
                "spec": { "replicas": 0, "template": template },
                "status": { "availableReplicas": 0 },
            }),
        );
        path
    });
    let number = match revision(objects.at(&current)) {
        0 => newest + 1,
        number if number == newest => number,
        _ => newest + 1,
    };
    let is_new = shop["status"]["observedGeneration"] != shop["metadata"]["generation"];
    let began = *since.get_or_insert(now);
    if is_new && began != 0 {
        *since = Some(now);
    }
    let works = objects.get(&current, "/spec/template/spec/containers/0/env/0/value") != "x";
    let was_up = objects.get(&current, "/status/availableReplicas") == 3;
    let is_up = works && (was_up || now >= since.unwrap_or(0) + COMES_UP_MS);
    let (wanted, available) =
        if is_up { (3, 3) } else { (1, i64::from(objects.get(&current, "/status/availableReplicas") != 0)) };
    objects.edit(&current, |set| {
        set["metadata"]["annotations"][REVISION] = format!("{number}").into();
        set["spec"]["replicas"] = wanted.into();
        set["status"]["availableReplicas"] = available.into();
    });
    for other in objects.below(REPLICA_SETS).iter().filter(|path| **path != current) {
        let failing = objects.get(other, "/status/availableReplicas") == 0;
        if is_up || failing {
            objects.edit(other, |set| {
                set["spec"]["replicas"] = 0.into();
                set["status"]["availableReplicas"] = 0.into();
            });
        }
    }
    let (mut all, mut ready) = (0, 0);
    for path in objects.below(REPLICA_SETS) {
        all += objects.get(&path, "/spec/replicas").as_i64().unwrap();
        ready += objects.get(&path, "/status/availableReplicas").as_i64().unwrap();
    }
    let reason = match (is_up, works) {
        (true, _) => "NewReplicaSetAvailable",
        (false, true) => "ReplicaSetUpdated",
        // It gives up where its pods have had time enough.
        (false, false) if now >= since.unwrap_or(0) + 10 * COMES_UP_MS => "ProgressDeadlineExceeded",
        (false, false) => "ReplicaSetUpdated",
    };
    objects.edit(SHOP, |it| {
        it["metadata"]["annotations"][REVISION] = format!("{number}").into();
        it["status"] = json!({
            "observedGeneration": it["metadata"]["generation"],
            "replicas": all,
            "updatedReplicas": wanted,
            "availableReplicas": ready,
            "conditions": vec![json!({ "type": "Progressing", "reason": reason, "message": "words" })],
        });
    });
}
