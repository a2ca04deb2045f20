//! A small cluster in memory for the tests of playbooks: three nodes, a Deployment of three pods, and what its controllers and kubelets would
//! do of what is asked (`controllers`).
//!
//! Not here: what the real ones do. Tests in tests/k8s hold the playbooks against those.

mod controllers;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use backstay_sdk::{
    executor::{Ctx, Executor, Failed, Order, Task, permanent},
    readings::{LOOK, Readings},
    settings::Description,
};
use serde_json::{Value, json};

use self::controllers::controllers;
use crate::{
    api::Cluster,
    heal::heal,
    look,
    resource::{DEPLOYMENTS, NODES, PODS, REPLICA_SETS},
    testing::{Api, Mishap, Objects, Ran, number, time},
    workload::Workload,
};

/// An executor that heals, and looks.
pub(crate) struct Healer;

impl Executor for Healer {
    fn describe() -> Description {
        Description { about: "Heals.".into(), settings: super::infos() }
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let (cluster, shop) = (Cluster::new(ctx), Workload::of(DEPLOYMENTS, ctx.config()));
        let Task::Heal(playbook) = &order.task else { return Err(permanent("it only heals")) };
        if playbook != LOOK {
            return heal(&cluster, &shop, playbook).await;
        }
        let mut readings = Readings::new();
        look::tell(&cluster, &shop, &mut readings).await?;
        ctx.look(readings.deed()).await?;
        Ok(())
    }
}

/// What a kubelet makes of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resizes {
    Works,
    Unsupported,
    Pending(&'static str),
    /// The API server knows no such part.
    Unknown,
}

/// What goes wrong there.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// How many ready pods each disruption budget wants.
    pub(crate) budgets: Vec<usize>,
    /// Pods that never get ready; new ones are well.
    pub(crate) sick: BTreeSet<String>,
    /// No new pod gets ready.
    pub(crate) sick_for_ever: bool,
    pub(crate) resizes: Resizes,
    /// Containers end for want of memory up to this limit.
    pub(crate) hungry_to: Option<&'static str>,
    /// Who was evicted, in order.
    pub(crate) evicted: Vec<String>,
}

/// The cluster.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) faults: Rc<RefCell<Faults>>,
}

pub(crate) fn pod_at(name: &str) -> String {
    PODS.named("prod", name).path().into()
}

pub(crate) fn node_at(name: &str) -> String {
    NODES.of_cluster(name).path().into()
}

pub(crate) fn shop_at() -> String {
    DEPLOYMENTS.named("prod", "shop").path().into()
}

pub(crate) const NODE_NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// A long time before the double's clock begins.
pub(crate) const LONG_AGO: &str = "2026-10-31T20:00:00Z";

impl World {
    /// All is well: three pods of an old revision, one on each node.
    pub(crate) fn new() -> Self {
        let mut api = Api::of("prod", "shop").set(number("wait-ms", 3000)).set(number("poll-ms", 500));
        for name in NODE_NAMES {
            api.objects.put(&node_at(name), node());
        }
        let labels = json!({ "app": "shop" });
        let resources = json!({ "limits": { "memory": "128Mi" }, "requests": { "memory": "64Mi" } });
        let template = json!({ "spec": { "containers": [{ "name": "app", "resources": resources }] } });
        api.objects.put(
            &shop_at(),
            json!({
                "spec": { "replicas": 3, "selector": { "matchLabels": labels }, "template": template },
                "status": { "readyReplicas": 3, "replicas": 3, "updatedReplicas": 3, "observedGeneration": 1 },
            }),
        );
        revision(&mut api.objects, "a", LONG_AGO, 3);
        for (at, name) in NODE_NAMES.into_iter().enumerate() {
            let mut pod = pod(name, "128Mi", 0);
            set_ready(&mut pod, true);
            api.objects.put(&pod_at(&format!("shop-a-{at}")), pod);
        }
        let faults = Rc::new(RefCell::new(Faults {
            budgets: vec![],
            sick: BTreeSet::new(),
            sick_for_ever: false,
            resizes: Resizes::Works,
            hungry_to: None,
            evicted: vec![],
        }));
        let (of_parts, of_controllers) = (faults.clone(), faults.clone());
        api.on_parts(move |method, path, body, objects, now| {
            parts(&mut of_parts.borrow_mut(), method, path, body, objects, now)
        });
        api.react(move |objects, now| controllers(&of_controllers.borrow(), objects, now));
        Self { api, faults }
    }

    /// Pods aren't ready, and crash.
    pub(crate) fn sick(self, names: &[&str]) -> Self {
        for name in names {
            self.faults.borrow_mut().sick.insert((*name).into());
        }
        let mut world = self;
        world.settle();
        world
    }

    /// Has controllers and kubelets do what they do.
    pub(crate) fn settle(&mut self) {
        for now in 0..3 {
            controllers(&self.faults.borrow(), &mut self.api.objects, now * 100);
        }
    }

    #[track_caller]
    pub(crate) fn runs(&mut self, playbook: &str, mishap: Option<(u32, Mishap)>) -> Ran {
        self.api.run::<Healer>(Task::Heal(playbook.into()), mishap)
    }

    /// Why a playbook fails.
    #[track_caller]
    pub(crate) fn fails(&mut self, playbook: &str) -> String {
        self.runs(playbook, None).failed().why
    }

    /// What a look tells.
    #[track_caller]
    pub(crate) fn looks(&mut self) -> Vec<String> {
        self.runs(LOOK, None).done();
        let (name, text) = self.api.attached.pop().unwrap();
        assert_eq!(name, "readings");
        text.lines().map(Into::into).collect()
    }

    pub(crate) fn evicted(&self) -> Vec<String> {
        self.faults.borrow().evicted.clone()
    }

    pub(crate) fn edit(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        self.api.objects.edit(path, change);
    }
}

pub(crate) fn node() -> Value {
    let condition = |name: &str, status: &str| json!({ "type": name, "status": status });
    json!({
        "metadata": { "annotations": {} },
        "spec": { "unschedulable": false },
        "status": { "conditions": [condition("DiskPressure", "False"), condition("Ready", "True")] },
    })
}

/// A revision of the shop.
pub(crate) fn revision(objects: &mut Objects, hash: &str, made: &str, wanted: u32) {
    objects.put(
        REPLICA_SETS.named("prod", &format!("shop-{hash}")).path(),
        json!({
            "metadata": {
                "creationTimestamp": made,
                "labels": { "app": "shop", "pod-template-hash": hash },
                "ownerReferences": [{ "uid": "uid-of-shop" }],
            },
            "spec": { "replicas": wanted },
        }),
    );
}

/// A pod of the newest revision that was made at `born`, not yet ready.
pub(crate) fn pod(node: &str, limit: &str, born: u64) -> Value {
    let resources = json!({ "limits": { "memory": limit }, "requests": { "memory": "64Mi" } });
    let running = json!({ "running": { "startedAt": time(born) } });
    json!({
        "metadata": {
            "labels": { "app": "shop", "pod-template-hash": "a" },
            "annotations": { "born": born.to_string(), "made-with": limit },
            "creationTimestamp": if born == 0 { LONG_AGO.into() } else { time(born) },
        },
        "spec": { "nodeName": node, "containers": [{ "name": "app", "resources": resources }] },
        "status": {
            "phase": "Running",
            "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "False" }],
            "containerStatuses": [{
                "name": "app", "state": running, "lastState": {}, "restartCount": 0,
                "resources": { "limits": { "memory": limit } },
            }],
        },
    })
}

pub(crate) fn set_ready(pod: &mut Value, ready: bool) {
    pod["status"]["conditions"][1]["status"] = if ready { "True" } else { "False" }.into();
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][1]["status"] == "True"
}

/// A container that ended at `at` for that reason, and was started again or is held back.
pub(crate) fn ended(pod: &mut Value, reason: &str, at: &str, is_held_back: bool) {
    let status = &mut pod["status"]["containerStatuses"][0];
    status["lastState"] = json!({ "terminated": { "reason": reason, "finishedAt": at } });
    if is_held_back {
        status["state"] = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    }
}

fn refusal(status: u16, message: &str) -> Option<(u16, Value)> {
    Some((status, json!({ "kind": "Status", "message": message, "reason": "Refused" })))
}

/// What `eviction` and `resize` do.
fn parts(
    faults: &mut Faults,
    method: &str,
    path: &str,
    body: &Value,
    objects: &mut Objects,
    now: u64,
) -> Option<(u16, Value)> {
    let (at, part) = path.rsplit_once('/')?;
    match (method, part) {
        ("POST", "eviction") => {}
        ("PATCH", "resize") => return resize(faults, at, body, objects),
        _ => return None,
    }
    if !objects.has(at) {
        return refusal(404, "pods not found");
    }
    let (pod, name) = (objects.at(at).clone(), at.rsplit('/').next()?.to_string());
    if pod["metadata"]["uid"] != body["deleteOptions"]["preconditions"]["uid"] {
        return refusal(409, "the UID in the precondition does not match the UID in record");
    }
    let is_of_shop = pod["metadata"]["labels"]["app"] == "shop";
    let ready = objects.below(&pod_at("shop")).iter().filter(|at| is_ready(objects.at(at))).count();
    match &faults.budgets[..] {
        [_, _, ..] if is_of_shop => {
            return refusal(
                500,
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            );
        }
        [wanted] if is_of_shop && ready < wanted + usize::from(is_ready(&pod)) => {
            let cause = json!([{ "message": format!("The disruption budget shop needs {wanted} healthy pods and has {ready} currently") }]);
            let message = "Cannot evict pod as it would violate the pod's disruption budget.";
            return Some((429, json!({ "message": message, "details": { "causes": cause } })));
        }
        _ => {}
    }
    if pod["metadata"]["deletionTimestamp"].is_null() {
        faults.evicted.push(name);
        objects.edit(at, |pod| pod["metadata"]["deletionTimestamp"] = time(now).into());
    }
    Some((201, json!({ "kind": "Status", "status": "Success" })))
}

fn resize(faults: &Faults, at: &str, patch: &Value, objects: &mut Objects) -> Option<(u16, Value)> {
    if faults.resizes == Resizes::Unknown {
        return refusal(404, "the server could not find the requested resource");
    }
    let pod = objects.at(at).clone();
    let mut new = pod.clone();
    for operation in patch.as_array()? {
        let (path, value) = (operation["path"].as_str()?, &operation["value"]);
        match operation["op"].as_str()? {
            "test" if pod.pointer(path) != Some(value) => {
                return refusal(422, "the server rejected our request due to an error in our request");
            }
            "test" => {}
            _ => *new.pointer_mut(path)? = value.clone(),
        }
    }
    if faults.resizes == Resizes::Unsupported {
        return refusal(
            422,
            "Pod is invalid: spec: Forbidden: Pod running on node without support for resize",
        );
    }
    objects.edit(at, |pod| *pod = new);
    Some((200, objects.at(at).clone()))
}
