//! A Rollout of three pods in memory, for the tests, with what Argo Rollouts 1.10 makes of each change.
//!
//! How the real controller does, tests/k8s shows; this one has its order of things: a template that changed takes back an abort and a
//! promotion, what is promoted is whatever is current, and a way back to what is stable has no steps.

use alloc::{format, string::String};

use backstay_kubernetes::{
    json::{Value, json},
    revisions::BY_ROLLOUT,
    testing::{
        Api, Objects,
        shop::{self, REPLICA_SETS, kept, revision, template, workload},
    },
};

use crate::Rollouts;

pub(crate) const SHOP: &str = "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop";
pub(crate) const STATUS: &str = "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/shop/status";
/// The Deployment that holds the template of one with a `workloadRef`.
pub(crate) const TEMPLATES: &str = "/apis/apps/v1/namespaces/prod/deployments/templates";
/// How long pods take to come up, in ms.
const COMES_UP_MS: u64 = 30;

/// The target.
pub(crate) struct Shop {
    pub(crate) api: Api,
}

/// A canary with a fifth of the traffic, until people let it go on.
pub(crate) fn canary() -> Value {
    json!({ "canary": { "steps": [{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 60 }, { "pause": {} }] } })
}

/// A second set of pods, let in by people.
pub(crate) fn blue_green() -> Value {
    json!({ "blueGreen": { "activeService": "shop", "autoPromotionEnabled": false } })
}

impl Shop {
    /// With the release a fully promoted.
    pub(crate) fn of(strategy: Value) -> Self {
        let mut api = kept();
        let mut shop = workload("argoproj.io/Rollout:prod/shop", &template('a', ""));
        shop["spec"]["strategy"] = strategy;
        api.objects.put(SHOP, shop);
        let mut shop = Self { api };
        shop.passes();
        shop.also(|_| {});
        shop
    }

    /// The same, with the template in a Deployment.
    pub(crate) fn of_reference(strategy: Value) -> Self {
        let mut shop = Self::of(strategy);
        let mut templates = workload("apps/Deployment:prod/templates", &template('a', ""));
        templates["spec"]["replicas"] = 0.into();
        shop.api.objects.put(TEMPLATES, templates);
        shop.api.objects.edit(SHOP, |shop| {
            let spec = shop["spec"].as_object_mut().unwrap();
            spec.remove("template");
            spec.remove("selector");
            let reference = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "templates" });
            spec.insert("workloadRef".into(), reference);
            shop["metadata"]["annotations"] = json!({});
        });
        shop.passes();
        shop
    }

    /// A template goes out as far as its first step.
    pub(crate) fn lets_out(&mut self, template: Value) {
        let at = if self.api.objects.has(TEMPLATES) { TEMPLATES } else { SHOP };
        self.api.objects.edit(at, |it| it["spec"]["template"] = template);
        self.passes();
    }

    /// The same, and then gets all traffic.
    pub(crate) fn promotes(&mut self, template: Value) {
        self.lets_out(template);
        self.api.objects.edit(SHOP, |shop| shop["status"]["promoteFull"] = true.into());
        self.passes();
        assert_eq!(self.status("/stableRS"), self.status("/currentPodHash"));
    }

    /// Its controller has time enough.
    pub(crate) fn passes(&mut self) {
        for _ in 0..8 {
            controls(&mut self.api.objects, u64::MAX, &mut 0);
        }
    }

    /// Somebody else who changes things after each effect.
    pub(crate) fn also(&mut self, mut does: impl FnMut(&mut Objects) + 'static) {
        let mut since = 0;
        self.api.react(move |objects, now| {
            does(objects);
            controls(objects, now, &mut since);
        });
    }

    pub(crate) fn goes_home(&mut self, to: char) -> Option<String> {
        shop::goes_home::<Rollouts>(&mut self.api, to)
    }

    pub(crate) fn status(&self, pointer: &str) -> Value {
        self.api.objects.get(SHOP, &format!("/status{pointer}"))
    }

    /// What the revision with this hash runs, and with which environment.
    pub(crate) fn runs(&self, hash: &Value) -> (char, String) {
        runs(&self.api.objects, hash)
    }

    /// Whether Argo CD would put back what Git says.
    pub(crate) fn is_frozen(&self) -> bool {
        shop::is_frozen(&self.api.objects)
    }
}

pub(crate) fn runs(objects: &Objects, hash: &Value) -> (char, String) {
    shop::runs(objects, &format!("{REPLICA_SETS}/shop-{}", hash.as_str().unwrap()))
}

/// What the controller makes of the Rollout in one go.
fn controls(objects: &mut Objects, now: u64, since: &mut u64) {
    let shop = objects.at(SHOP).clone();
    let source = if objects.has(TEMPLATES) { objects.at(TEMPLATES).clone() } else { shop.clone() };
    let current = revision(objects, &shop, "Rollout", &source["spec"]["template"], BY_ROLLOUT);
    let hash = objects.get(&current, &format!("/metadata/labels/{}", BY_ROLLOUT.hash));
    let steps = shop["spec"]["strategy"]["canary"]["steps"].as_array().map(|steps| json!(steps.len()));
    let mut status = shop["status"].clone();
    let was_observed = status["observedGeneration"] == generation(&shop);
    status["observedGeneration"] = generation(&shop);
    if objects.has(TEMPLATES) {
        status["workloadObservedGeneration"] = generation(&source);
    }
    if status["currentPodHash"] != hash {
        (status["abort"], status["promoteFull"]) = (false.into(), false.into());
        let is_back = status["stableRS"] == hash;
        status["currentStepIndex"] = if is_back { steps.clone().unwrap_or_default() } else { json!(0) };
        status["currentPodHash"] = hash;
        status["phase"] = "Progressing".into();
        *since = now;
        objects.edit(SHOP, |shop| shop["status"] = status);
        return;
    }
    if !was_observed {
        *since = now;
    }
    let works = runs(objects, &hash).1 != "x";
    let was_up = objects.get(&current, "/status/availableReplicas").as_i64() > Some(0);
    let is_up = works && (was_up || now >= since.saturating_add(COMES_UP_MS));
    let is_paused = shop["spec"]["paused"] == true;
    if status["promoteFull"] == true {
        status["abort"] = false.into();
        status["currentStepIndex"] = steps.clone().unwrap_or_default();
    }
    let is_aborted = status["abort"] == true;
    if is_aborted {
        status["currentStepIndex"] = 0.into();
    } else if status["currentStepIndex"] == 0 && is_up && !is_paused {
        status["currentStepIndex"] = 1.into();
    }
    let is_past = status["promoteFull"] == true
        || status["stableRS"].is_null()
        || status["stableRS"] == hash
        || steps.as_ref().is_some_and(|steps| status["currentStepIndex"] == *steps);
    if is_up && is_past && !is_aborted && (!is_paused || status["stableRS"] == hash) {
        status["stableRS"] = hash.clone();
        status["promoteFull"] = false.into();
        status["currentStepIndex"] = steps.unwrap_or_default();
    }
    let is_whole = status["stableRS"] == hash;
    for path in objects.below(REPLICA_SETS) {
        let of = objects.get(&path, &format!("/metadata/labels/{}", BY_ROLLOUT.hash));
        let count = match (of == status["stableRS"], of == hash) {
            (true, _) => 3,
            (false, true) if !is_aborted => 1,
            (false, _) => 0,
        };
        let available = if of == hash && !is_up { 0 } else { count };
        if !is_paused {
            objects.edit(&path, |set| {
                set["spec"]["replicas"] = count.into();
                set["status"]["availableReplicas"] = available.into();
            });
        }
    }
    status["blueGreen"]["activeSelector"] = status["stableRS"].clone();
    status["phase"] = match (is_aborted, is_paused, is_whole && is_up, works) {
        (true, ..) => "Degraded",
        (_, true, ..) => "Paused",
        (_, _, true, _) => "Healthy",
        (_, _, _, false) if now >= since.saturating_add(10 * COMES_UP_MS) => "Degraded",
        (_, _, _, false) => "Progressing",
        _ if is_up => "Paused",
        _ => "Progressing",
    }
    .into();
    status["message"] = "words of the controller".into();
    (status["replicas"], status["updatedReplicas"]) =
        (if is_whole { 3 } else { 4 }.into(), if is_whole { 3 } else { 1 }.into());
    objects.edit(SHOP, |shop| shop["status"] = status);
}

fn generation(of: &Value) -> Value {
    format!("{}", of["metadata"]["generation"]).into()
}
