//! A Deployment of three pods in memory, for the tests, with what its controller makes of each change.

use alloc::{string::String, vec};

use backstay_kubernetes::{
    json::{Value, json},
    revisions::BY_DEPLOYMENT,
    testing::{
        Api, Objects,
        shop::{self, REPLICA_SETS, kept, revision, template, workload},
    },
};

use crate::Deployment;

pub(crate) const SHOP: &str = "/apis/apps/v1/namespaces/prod/deployments/shop";
/// How long pods take to come up, in ms.
const COMES_UP_MS: u64 = 40;

/// The target.
pub(crate) struct Shop {
    pub(crate) api: Api,
}

impl Shop {
    /// With these releases let out one after the other, each to its end. The pods of one with an `x` in its environment don't come up.
    pub(crate) fn of(releases: &[char]) -> Self {
        let mut api = kept();
        api.objects.put(SHOP, workload("apps/Deployment:prod/shop", &template('0', "")));
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
        shop::goes_home::<Deployment>(&mut self.api, to)
    }

    /// What its template runs, and with which environment.
    pub(crate) fn runs(&self) -> (char, String) {
        shop::runs(&self.api.objects, SHOP)
    }

    /// Whether Argo CD would put back what Git says.
    pub(crate) fn is_frozen(&self) -> bool {
        shop::is_frozen(&self.api.objects)
    }
}

/// What kube-controller-manager makes of a Deployment: a ReplicaSet for its template, pods, and a status.
fn controls(objects: &mut Objects, now: u64, since: &mut Option<u64>) {
    let shop = objects.at(SHOP).clone();
    if shop["spec"]["paused"] == true {
        objects.edit(SHOP, |it| it["status"]["observedGeneration"] = it["metadata"]["generation"].clone());
        return;
    }
    let template = &shop["spec"]["template"];
    let current = revision(objects, &shop, "Deployment", template, BY_DEPLOYMENT);
    let number = objects.at(&current)["metadata"]["annotations"][BY_DEPLOYMENT.revision].clone();
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
        it["metadata"]["annotations"][BY_DEPLOYMENT.revision] = number;
        it["status"] = json!({
            "observedGeneration": it["metadata"]["generation"],
            "replicas": all,
            "updatedReplicas": wanted,
            "availableReplicas": ready,
            "conditions": vec![json!({ "type": "Progressing", "reason": reason, "message": "words" })],
        });
    });
}
