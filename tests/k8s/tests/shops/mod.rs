//! A shop on the real control plane, for tests of the executors that take it home: releases, who writes it, who may do what.
//!
//! Not here: what is tested, and which kind of object the shop is.
#![allow(dead_code, reason = "each test that shares this takes what it needs")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use backstay_sdk::{
    executor::{Release, Steps, Task},
    settings::{Setting, Value as Set},
};
use backstay_test_k8s::{Api, ControlPlane, Cut, Host, Namespace, Ran, until};
use serde_json::{Value, json};

pub const APPS: &str = "apps/v1";
pub const ARGO: &str = "argoproj.io/v1alpha1";
pub const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/v1";
pub const HELM: &str = "helm.toolkit.fluxcd.io/v2";
/// What a workload's executor has to be allowed, and nothing else: API group, resources, verbs.
const RULES: [(&str, &[&str], &[&str]); 7] = [
    ("argoproj.io", &["rollouts", "applications"], &["get", "patch"]),
    ("argoproj.io", &["rollouts/status"], &["patch"]),
    ("apps", &["deployments"], &["get", "patch"]),
    ("apps", &["replicasets"], &["get", "list"]),
    ("kustomize.toolkit.fluxcd.io", &["kustomizations"], &["get", "patch"]),
    ("helm.toolkit.fluxcd.io", &["helmreleases"], &["get", "patch"]),
    ("", &["pods"], &["list"]),
];

/// A namespace with a shop in it, an account for the executor, and a host.
pub struct Shop {
    pub cluster: ControlPlane,
    pub space: Namespace,
    pub host: Host,
    pub config: Vec<Setting>,
}

/// A release called by its version, with a digest of its own.
pub fn release(version: &str) -> Release {
    let digest = version.bytes().cycle().take(32).map(|byte| format!("{byte:02x}")).collect();
    Release { version: version.into(), digest, length: 0, security_epoch: 0 }
}

/// The image of a release, pinned by its digest.
pub fn image(version: &str) -> String {
    format!("registry.test/shop:{version}@sha256:{}", release(version).digest)
}

pub fn text(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: Set::Text(value.into()) }
}

pub fn texts(name: &str, values: &[&str]) -> Setting {
    Setting { name: name.into(), value: Set::Texts(values.iter().map(|&value| value.into()).collect()) }
}

impl Shop {
    /// A namespace about something, without the shop yet.
    pub fn opens(about: &str) -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let space = cluster.namespace(about);
        let api = cluster.api();
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "backstay" } });
        api.create(&space.path("v1", "serviceaccounts"), &account).unwrap();
        let rules = RULES.map(|(group, resources, verbs)| {
            json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
        });
        let rbac = "rbac.authorization.k8s.io/v1";
        let role =
            json!({ "apiVersion": rbac, "kind": "Role", "metadata": { "name": "backstay" }, "rules": rules });
        api.create(&space.path(rbac, "roles"), &role).unwrap();
        let binding = json!({
            "apiVersion": rbac,
            "kind": "RoleBinding",
            "metadata": { "name": "backstay" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "backstay" },
            "subjects": [{ "kind": "ServiceAccount", "name": "backstay", "namespace": space.name() }],
        });
        api.create(&space.path(rbac, "rolebindings"), &binding).unwrap();
        let host = Host::of(&cluster, &api.token(space.name(), "backstay").unwrap());
        let config = vec![
            text("namespace", space.name()),
            text("name", "shop"),
            text("argocd-namespace", space.name()),
            Setting { name: "wait-ms".into(), value: Set::Number(60_000) },
        ];
        Some(Self { cluster, space, host, config })
    }

    pub fn api(&self) -> &Api {
        self.cluster.api()
    }

    /// What is at this place of the namespace.
    pub fn get(&self, version: &str, what: &str) -> Value {
        self.api().get(&self.space.path(version, what)).unwrap()
    }

    pub fn edit(&self, version: &str, what: &str, patch: &Value) -> Value {
        let path = self.space.path(version, what);
        if patch.is_array() {
            self.api().patch(&path, patch).unwrap()
        } else {
            self.api().merge(&path, patch).unwrap()
        }
    }

    pub fn create(&self, version: &str, what: &str, object: &Value) -> Value {
        self.api().create(&self.space.path(version, what), object).unwrap()
    }

    pub fn goes_home<E: Steps>(&self, version: &str) -> Ran {
        self.host.run::<E>(&self.config, Task::GoHome(release(version)))
    }

    pub fn goes_home_cut<E: Steps>(&self, version: &str, at: u32, cut: Cut) -> Ran {
        self.host.cut::<E>(&self.config, Task::GoHome(release(version)), Some((at, cut)))
    }

    pub fn plays<E: Steps>(&self, playbook: &str) -> Ran {
        self.host.run::<E>(&self.config, Task::Heal(playbook.into()))
    }

    /// What a look says: the value of a reading.
    pub fn reads<E: Steps>(&self, reading: &str) -> Option<String> {
        let ran = self.plays::<E>("look").done();
        let said = ran.attached.last()?;
        said.lines().find_map(|line| line.strip_prefix(&format!("{reading}="))).map(String::from)
    }

    /// The images of the pods that are not on their way out, each once.
    pub fn images(&self) -> Vec<String> {
        let pods = self.api().list(&self.space.path("v1", "pods")).unwrap();
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut images: Vec<String> =
            alive.map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().into()).collect();
        images.sort();
        images.dedup();
        images
    }

    /// How many ReplicaSets there are, and how many of them run this release.
    pub fn replica_sets(&self, version: &str) -> (usize, usize) {
        let sets = self.api().list(&self.space.path(APPS, "replicasets")).unwrap();
        let of = |set: &&Value| set["spec"]["template"]["spec"]["containers"][0]["image"] == image(version);
        (sets.len(), sets.iter().filter(of).count())
    }

    /// The mark that Argo CD leaves on what it writes.
    pub fn tracking(&self, group: &str, kind: &str, name: &str) -> Value {
        let id = format!("shop:{group}/{kind}:{}/{name}", self.space.name());
        json!({ "argocd.argoproj.io/tracking-id": id })
    }

    /// An Application that writes the shop by itself, with Git as it is.
    pub fn has_application(&self, automated: &Value) {
        let spec = json!({
            "project": "default",
            "source": { "repoURL": "https://git.test/shop", "path": "." },
            "destination": { "namespace": self.space.name(), "server": "https://kubernetes.default.svc" },
            "syncPolicy": { "automated": automated, "retry": { "limit": 2 } },
        });
        let app = json!({ "apiVersion": ARGO, "kind": "Application", "metadata": { "name": "shop" }, "spec": spec });
        self.create(ARGO, "applications", &app);
    }

    /// Somebody who puts `template` back into `what`, every 50 ms, as long as the Application syncs by itself; how often it had to.
    pub fn reconciles(&self, version: &str, what: &str, template: Value) -> Reconciler {
        let (api, stop) = (self.cluster.gitops(), Arc::new(AtomicBool::new(false)));
        let (path, app) = (self.space.path(version, what), self.space.path(ARGO, "applications/shop"));
        let over = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut times = 0;
            while !over.load(Ordering::Relaxed) {
                let image = &template["spec"]["containers"][0]["image"];
                let live =
                    api.get(&path).unwrap()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
                // Asked last: what it had begun before it was stopped is another story (the run says who was in the way, and is begun anew).
                let syncs = !api.get(&app).unwrap()["spec"]["syncPolicy"]["automated"].is_null();
                if syncs && live != *image {
                    let patch = json!([{ "op": "replace", "path": "/spec/template", "value": template }]);
                    times += u32::from(api.patch(&path, &patch).is_ok());
                }
                thread::sleep(Duration::from_millis(50));
            }
            times
        });
        Reconciler { stop, thread }
    }
}

/// Who puts Git's template back.
pub struct Reconciler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Reconciler {
    /// Stops, and says how often it wrote.
    pub fn wrote(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Waits until `look` holds.
pub fn waits(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}
