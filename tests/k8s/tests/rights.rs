//! What the chart grants the server, held against what the executors ask for: nothing that they ask is refused, and nothing is granted that
//! they get along without.
//!
//! The chart is installed by the real Helms, with a target for each kind and each playbook in a namespace of its own. With the token of the
//! account that it makes, everything is done that can be ordered; then the API server's own log is compared with the Roles. RBAC, log and
//! controllers are Kubernetes'. Endpoint and commands are those of the configuration that the chart makes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod installed;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    process::Command,
    thread,
    time::Duration,
};

use backstay_sdk::executor::{Access, Deed, Http, Outcome, Release, Steps, Task};
use backstay_test_k8s::{Api, ControlPlane, Fault, Host, Namespace, Ran, objects, until};
use backstay_test_real::built;
use executor_deployment::Deployment;
use executor_helm::Helm;
use executor_rollouts::Rollouts;
use installed::{
    Installed, MAJORS, Major,
    granted::{lines, refused, spare},
    said, waits,
};
use serde_json::{Value, json};

const APPS: &str = "apps/v1";
const ARGO: &str = "argoproj.io/v1alpha1";
const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/v1";
const FLUX_HELM: &str = "helm.toolkit.fluxcd.io/v2";
const ISTIO: &str = "networking.istio.io/v1";
/// What makes runs short here, and changes nothing of what they ask for.
const QUICK: [(&str, i64); 9] = [
    ("wait-ms", 30_000),
    ("poll-ms", 200),
    ("pod-start-ms", 0),
    ("restart-after-ms", 0),
    ("memory-prove-ms", 100),
    ("scale-ceiling", 5),
    ("nodes-at-once", 5),
    ("look-back-ms", 3_600_000),
    ("restart-at-once-permille", 1000),
];

/// A cluster with the server's account in it, and what it watches.
struct World {
    it: Installed,
    host: Host,
    spaces: BTreeMap<&'static str, Namespace>,
    asked: RefCell<BTreeSet<(Access, String, String)>>,
}

/// One target.
#[derive(Clone, Copy)]
struct Target<'w> {
    world: &'w World,
    name: &'static str,
    /// Of which version, and what it is called there.
    what: (&'static str, &'static str),
}

fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

fn release(version: &str) -> Release {
    Release { version: version.into(), digest: "ab".repeat(32), length: 0, security_epoch: 0 }
}

impl World {
    /// The chart with these targets, each in a namespace of its own.
    fn with(major: Major, targets: &[(&'static str, Value)]) -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let (mut spaces, mut values) = (BTreeMap::new(), json!({}));
        for (name, target) in targets {
            let (space, mut target) = (cluster.namespace(name), target.clone());
            let settings = QUICK.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
            let mut settings: serde_json::Map<String, Value> = settings.collect();
            settings.insert("memory-ceiling".into(), json!("1Gi"));
            if let Some(more) = target["settings"].as_object() {
                settings.extend(more.clone());
            }
            target["settings"] = settings.into();
            target["namespace"] = space.name().into();
            target["file"] =
                "policy = \"tree\"\n[[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.01\n"
                    .into();
            let owners = target.get_mut("owners").and_then(Value::as_object_mut);
            for owners in owners.into_iter().flat_map(serde_json::Map::values_mut) {
                *owners = json!([format!("{}/{name}", space.name())]);
            }
            values[*name] = target;
            spaces.insert(*name, space);
        }
        let helm = if major == Major::Three { 3 } else { 4 };
        let it = Installed::with(&cluster, major, &json!({ "image": { "helm": helm }, "targets": values }));
        Some(Self { host: it.host(), it, spaces, asked: RefCell::default() })
    }

    fn api(&self) -> &Api {
        self.it.api()
    }

    fn target(&self, name: &'static str, what: (&'static str, &'static str)) -> Target<'_> {
        Target { world: self, name, what }
    }

    fn deployment(&self, name: &'static str) -> Target<'_> {
        let target = self.target(name, (APPS, "deployments"));
        target.has(&objects::deployment(name, 2, &image("1.0.0")));
        target.is_whole();
        target
    }

    fn rollout(&self, name: &'static str) -> Target<'_> {
        let target = self.target(name, (ARGO, "rollouts"));
        let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
        target.has(&objects::rollout(name, 2, &image("1.0.0"), &steps));
        target.is_whole();
        target
    }

    /// That nothing was refused, and nothing is granted that wasn't needed; by the API server's own log.
    #[track_caller]
    fn is_least(&self) {
        let rights = self.it.rights();
        assert!(!rights.is_empty());
        let mut asked = self.it.asked();
        // The log is written when a request has ended: of the last ones that is now.
        for _ in 0..20 {
            if spare(&rights, &asked).is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
            asked = self.it.asked();
        }
        let (refused, spare) = (refused(&asked), spare(&rights, &asked));
        let about = format!("{} rights, {} requests that differ", rights.len(), asked.len());
        let wrong = format!("refused were:\n{}nobody needs:\n{}", lines(&refused), lines(&spare));
        assert!(refused.is_empty() && spare.is_empty(), "{about}; {wrong}");
        self.is_within_the_endpoint();
        // Past the test's own output, which nobody sees where it went well.
        let major = self.it.major;
        writeln!(io::stdout().lock(), "\nsummary: {major:?}: {about}: none missing, none to spare").unwrap();
    }

    /// That the endpoint of the configuration allows what was asked, and each of its methods was.
    #[track_caller]
    fn is_within_the_endpoint(&self) {
        let endpoint = self.it.configuration()["endpoints"]["kubernetes"].clone();
        let texts = |key: &str| -> Vec<String> {
            endpoint[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().into()).collect()
        };
        let (methods, asks, asked) = (texts("methods"), texts("asks"), self.asked.borrow());
        for (access, method, path) in asked.iter() {
            assert!(methods.contains(method), "{method} {path}");
            let only_looks = method == "GET" || asks.contains(path);
            assert!(*access == Access::Changes || only_looks, "a look by {method} {path}");
        }
        let used: BTreeSet<&String> = asked.iter().map(|(_, method, _)| method).collect();
        assert_eq!(used.len(), methods.len(), "of {methods:?} only {used:?} are used");
    }
}

impl Target<'_> {
    fn api(&self) -> &Api {
        self.world.api()
    }

    fn space(&self) -> &Namespace {
        &self.world.spaces[self.name]
    }

    fn at(&self, version: &str, what: &str) -> String {
        self.space().path(version, what)
    }

    /// Itself.
    fn path(&self) -> String {
        self.at(self.what.0, &format!("{}/{}", self.what.1, self.name))
    }

    fn has(&self, object: &Value) {
        self.api().create(&self.at(self.what.0, self.what.1), object).unwrap();
    }

    /// Something else that is in its namespace, called like it.
    fn has_beside(&self, version: &str, plural: &str, kind: &str, mut object: Value) -> String {
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = self.name.into();
        self.api().create(&self.at(version, plural), &object).unwrap();
        self.at(version, &format!("{plural}/{}", self.name))
    }

    fn ready(&self) -> Value {
        self.api().get(&self.path()).unwrap()["status"]["readyReplicas"].clone()
    }

    fn is_whole(&self) {
        waits("all pods ready", || self.ready() == 2);
    }

    /// What its pods are known by.
    fn labels(&self) -> Value {
        self.api().get(&self.path()).unwrap()["spec"]["selector"]["matchLabels"].clone()
    }

    fn pods(&self) -> Vec<String> {
        let (mut pods, labels) = (self.api().list(&self.at("v1", "pods")).unwrap(), self.labels());
        pods.retain(|pod| {
            let metadata = &pod["metadata"];
            metadata["deletionTimestamp"].is_null()
                && metadata["labels"]["app"] == labels["app"]
                && metadata["name"] != "stuck"
        });
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn falls_ill(&self, fault: Option<Fault>) {
        let pod = self.pods().remove(0);
        self.world.it.cluster.kubelet().fault_of_pod(self.space().name(), &pod, fault.as_ref()).unwrap();
    }

    fn lets_out(&self, version: &str) {
        let images = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image(version) }]);
        self.api().patch(&self.path(), &images).unwrap();
    }

    fn runs<E: Steps>(&self, task: Task) -> Ran {
        let ran = self.world.host.run::<E>(&self.world.it.settings(self.name), task);
        for (effect, _) in &ran.effects {
            if let Deed::Http(Http { method, path, .. }) = &effect.deed {
                let path = path.split(['?', '#']).next().unwrap();
                self.world.asked.borrow_mut().insert((effect.access, method.clone(), path.into()));
            }
        }
        ran
    }

    #[track_caller]
    fn plays<E: Steps>(&self, playbook: &str) -> Ran {
        let ran = self.runs::<E>(Task::Heal(playbook.into()));
        assert_eq!(ran.outcome, Outcome::Done, "{playbook} of {}: {:#?}", self.name, ran.told());
        ran
    }

    #[track_caller]
    fn goes_home<E: Steps>(&self) -> Ran {
        let ran = self.runs::<E>(Task::GoHome(release("1.0.0")));
        let asked = self.world.it.asked();
        assert_eq!(ran.outcome, Outcome::Done, "{:#?}\n{}", ran.told(), lines(&refused(&asked)));
        ran
    }

    /// Looks at it when all is well, and when something isn't: then more is asked for.
    #[track_caller]
    fn is_looked_at<E: Steps>(&self) {
        self.plays::<E>("look");
        // A pod that has no network. No node has it, and so no node says anything else of it.
        let mut stuck = objects::pod("stuck", &image("1.0.0"));
        stuck["metadata"]["labels"] = self.labels();
        stuck["spec"]["nodeSelector"] = json!({ "pool": "nowhere" });
        self.api().create(&self.at("v1", "pods"), &stuck).unwrap();
        let state = json!({ "status": { "containerStatuses": [{
            "name": "stuck", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } },
        }] } });
        self.api().merge(&self.at("v1", "pods/stuck/status"), &state).unwrap();
        self.falls_ill(Some(Fault::NotReady));
        waits("a pod that isn't ready", || self.ready() == 1);
        let ran = self.plays::<E>("look");
        // Without an event that says so it isn't counted as one. That events were asked for, the log shows.
        assert!(!ran.attached[0].contains("infra.network=1"), "{:?}", ran.attached);
        self.falls_ill(None);
        self.api().delete(&self.at("v1", "pods/stuck")).unwrap();
        waits("one pod fewer", || self.api().get(&self.at("v1", "pods/stuck")).is_err());
        self.is_whole();
    }

    /// All that can be done to a Deployment of which nothing is healed.
    #[track_caller]
    fn is_brought_back(&self) {
        self.is_looked_at::<Deployment>();
        self.plays::<Deployment>("hold");
        self.plays::<Deployment>("go-on");
        self.lets_out("2.0.0");
        self.goes_home::<Deployment>();
    }

    /// A budget allows nothing for a moment, so that pods are looked at again.
    #[track_caller]
    fn is_restarted<E: Steps>(&self) {
        let budget = json!({ "spec": { "minAvailable": 2, "selector": { "matchLabels": self.labels() } } });
        let budget = self.has_beside("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", budget);
        waits("a budget that is counted", || {
            self.api().get(&budget).unwrap()["status"]["currentHealthy"] == 2
        });
        let (api, before) = (self.api().clone(), self.pods());
        let over = thread::spawn(move || {
            thread::sleep(Duration::from_secs(1));
            api.delete(&budget).unwrap();
        });
        self.plays::<E>("restart");
        over.join().unwrap();
        assert!(self.pods().iter().all(|pod| !before.contains(pod) || self.what.1 == "statefulsets"));
    }

    #[track_caller]
    fn is_resized<E: Steps>(&self) {
        self.falls_ill(Some(Fault::OutOfMemory { below: 150 << 20 }));
        waits("a pod that isn't ready", || self.ready() == 1);
        self.plays::<E>("resize");
        self.is_whole();
    }

    #[track_caller]
    fn is_scaled<E: Steps>(&self) {
        let (group, kind) = match self.what.1 {
            "rollouts" => (ARGO, "Rollout"),
            _ => (APPS, "Deployment"),
        };
        let scaler = json!({ "spec": {
            "minReplicas": 2, "maxReplicas": 2,
            "scaleTargetRef": { "apiVersion": group, "kind": kind, "name": self.name },
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }],
        } });
        let scaler =
            self.has_beside("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", scaler);
        let ran = self.runs::<E>(Task::Heal("scale".into()));
        assert_eq!(self.api().get(&scaler).unwrap()["spec"]["minReplicas"], 3, "{:#?}", ran.told());
    }

    #[track_caller]
    fn is_ejected<E: Steps>(&self) {
        let rule = self.has_beside(
            ISTIO,
            "destinationrules",
            "DestinationRule",
            json!({ "spec": { "host": "shop" } }),
        );
        self.plays::<E>("outliers");
        assert_eq!(
            self.api().get(&rule).unwrap()["spec"]["trafficPolicy"]["outlierDetection"]["consecutive5xxErrors"],
            5
        );
        self.plays::<E>("outliers-off");
    }

    /// Pods on two nodes of their own, of which one is emptied and takes pods again.
    #[track_caller]
    fn is_drained<E: Steps>(&self) {
        let pool = self.space().name().to_owned();
        let kubelet = self.world.it.cluster.kubelet();
        let nodes: Vec<_> =
            (1..=2).map(|at| kubelet.add_node(&format!("{pool}-{at}"), &[("pool", &pool)])).collect();
        for node in &nodes {
            waits("a ready node", || {
                let node = self.api().get(&format!("/api/v1/nodes/{}", node.name())).unwrap();
                let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
            });
        }
        let pinned = json!({ "spec": { "template": { "spec": { "nodeSelector": { "pool": pool } } } } });
        self.api().merge(&self.path(), &pinned).unwrap();
        let on = |node: &str| {
            let pods = self.api().list(&self.at("v1", "pods")).unwrap();
            let there = |pod: &&Value| {
                pod["spec"]["nodeName"] == node && pod["metadata"]["deletionTimestamp"].is_null()
            };
            pods.iter().filter(there).count()
        };
        if self.what.1 == "rollouts" {
            waits("a canary", || self.api().get(&self.path()).unwrap()["status"]["phase"] == "Paused");
            let all = json!({ "status": { "promoteFull": true } });
            self.api().merge(&format!("{}/status", self.path()), &all).unwrap();
        }
        waits("a pod on each node", || self.ready() == 2 && nodes.iter().all(|node| on(node.name()) == 1));
        nodes[0].disk_pressure(true).unwrap();
        waits("a node in trouble", || {
            let node = self.api().get(&format!("/api/v1/nodes/{}", nodes[0].name())).unwrap();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "DiskPressure" && one["status"] == "True")
        });
        self.plays::<E>("drain");
        assert_eq!(on(nodes[0].name()), 0);
        nodes[0].disk_pressure(false).unwrap();
        until("a node that takes pods again", || {
            (self.runs::<E>(Task::Heal("undrain".into())).outcome == Outcome::Done).then_some(())
        });
    }

    /// A bundle of what is there now, by the program that ships.
    fn is_known_to_be_good(&self, version: &str, kinds: &[&str]) {
        let it = &self.world.it;
        let backstay = |args: &[&str]| said(Command::new(built().programs.join("backstay")).args(args));
        let path = |name: &str| it.path(name).display().to_string();
        if !it.path("keys").exists() {
            backstay(&["keys", "init", "--fleet", "shop", "--dir", &path("keys")]);
        }
        let bundle = path(&format!("lkg/{}", self.name));
        let objects: Vec<Value> = kinds
            .iter()
            .map(|kind| {
                let mut object = self
                    .api()
                    .get(&self.at("v1", &format!("{}s/{}", kind.to_lowercase(), self.name)))
                    .unwrap();
                object["apiVersion"] = "v1".into();
                object["kind"] = (*kind).into();
                object
            })
            .collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let from = path("from.json");
        fs::write(&from, list.to_string()).unwrap();
        let class = format!("configuration:secret/{}/app.*", self.name);
        backstay(&[
            "lkg",
            "capture",
            "--service",
            self.name,
            "--version",
            version,
            "--from",
            &from,
            "--class",
            &class,
            "--bundle",
            &bundle,
        ]);
        backstay(&[
            "lkg",
            "sign",
            "--bundle",
            &bundle,
            "--key",
            &path("keys/release.pem"),
            "--keyring",
            &path("keys/keyring"),
        ]);
    }

    /// A ConfigMap and, if it is to be, a Secret that are changed by somebody, and a ConfigMap that is deleted.
    #[track_caller]
    fn is_restored<E: Steps>(&self, kinds: &[&str]) {
        let good = json!({ "data": { "app.conf": "Z29vZA==" } });
        let made =
            |kind: &&str| self.has_beside("v1", &format!("{}s", kind.to_lowercase()), kind, good.clone());
        let paths: Vec<String> = kinds.iter().map(made).collect();
        self.is_known_to_be_good("1.0.0", kinds);
        for path in &paths {
            self.api().merge(path, &json!({ "data": { "app.conf": "YmFk", "app.more": "YmFk" } })).unwrap();
        }
        self.plays::<E>("lkg");
        for path in &paths {
            assert_eq!(self.api().get(path).unwrap()["data"], good["data"]);
        }
        self.api().delete(&paths[0]).unwrap();
        self.plays::<E>("lkg");
        assert_eq!(self.api().get(&paths[0]).unwrap()["data"], good["data"]);
    }

    /// Argo CD and Flux, both kinds of it, each called like the target.
    fn has_owners(&self) {
        let app = json!({ "spec": {
            "project": "default",
            "source": { "repoURL": "https://git.test/shop", "path": "." },
            "destination": { "namespace": self.space().name(), "server": "https://kubernetes.default.svc" },
            "syncPolicy": { "automated": { "selfHeal": true } },
        } });
        self.has_beside(ARGO, "applications", "Application", app);
        let kustomization = json!({ "spec": { "interval": "5m", "path": "./", "prune": true, "sourceRef": { "kind": "GitRepository", "name": "git" } } });
        self.has_beside(KUSTOMIZE, "kustomizations", "Kustomization", kustomization);
        self.has_beside(FLUX_HELM, "helmreleases", "HelmRelease", json!({ "spec": { "interval": "5m" } }));
    }

    fn frozen(&self) -> [Value; 3] {
        let get = |version: &str, plural: &str| {
            self.api().get(&self.at(version, &format!("{plural}/{}", self.name))).unwrap()["spec"].clone()
        };
        [
            get(ARGO, "applications")["syncPolicy"]["automated"].clone(),
            get(KUSTOMIZE, "kustomizations")["suspend"].clone(),
            get(FLUX_HELM, "helmreleases")["suspend"].clone(),
        ]
    }
}

fn owners() -> Value {
    json!({ "applications": [], "kustomizations": [], "helmReleases": [] })
}

/// Each playbook alone, so that a right of one isn't covered by another's.
#[test]
fn each_playbook_of_a_deployment_has_what_it_takes_and_no_more() {
    let kind = |more: Value| {
        let mut target = json!({ "kind": "Deployment" });
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target
    };
    for major in MAJORS {
        let world = World::with(
            major,
            &[
                ("bare", kind(json!({}))),
                ("restarted", kind(json!({ "heals": ["restart"] }))),
                ("resized", kind(json!({ "heals": ["resize"] }))),
                ("scaled", kind(json!({ "heals": ["scale"], "autoscaler": "scaled" }))),
                ("drained", kind(json!({ "heals": ["drain", "undrain"] }))),
                (
                    "ejected",
                    kind(json!({ "heals": ["outliers", "outliers-off"], "destinationRule": "ejected" })),
                ),
                (
                    "restored",
                    kind(json!({ "heals": ["lkg"], "configMaps": ["restored"], "secrets": ["restored"] })),
                ),
                ("owned", kind(json!({ "heals": ["unfreeze"], "owners": owners() }))),
            ],
        );
        let Some(world) = world else { return };
        for name in world.spaces.keys().copied() {
            let target = world.deployment(name);
            if name == "owned" {
                target.has_owners();
            }
            target.is_brought_back();
            match name {
                "bare" => {}
                "restarted" => target.is_restarted::<Deployment>(),
                "resized" => target.is_resized::<Deployment>(),
                "scaled" => target.is_scaled::<Deployment>(),
                "drained" => target.is_drained::<Deployment>(),
                "ejected" => target.is_ejected::<Deployment>(),
                "restored" => target.is_restored::<Deployment>(&["ConfigMap", "Secret"]),
                "owned" => {
                    assert_eq!(target.frozen(), [Value::Null, json!(true), json!(true)]);
                    target.plays::<Deployment>("unfreeze");
                    assert_eq!(target.frozen(), [json!({ "selfHeal": true }), Value::Null, Value::Null]);
                }
                other => panic!("{other}"),
            }
        }
        world.is_least();
    }
}

#[test]
fn a_rollout_has_what_it_takes_and_no_more() {
    for major in MAJORS {
        let canary = json!({
            "kind": "Rollout",
            "heals": ["restart", "resize", "outliers", "outliers-off", "lkg", "scale", "drain", "undrain"],
            "autoscaler": "canary", "destinationRule": "canary", "configMaps": ["canary"], "owners": owners(),
        });
        let referring = json!({ "kind": "Rollout", "workloadRef": "templates" });
        let Some(world) = World::with(major, &[("canary", canary), ("referring", referring)]) else { return };
        let target = world.rollout("canary");
        target.has_owners();
        target.is_looked_at::<Rollouts>();
        target.lets_out("2.0.0");
        waits("a canary", || world.api().get(&target.path()).unwrap()["status"]["phase"] == "Paused");
        target.plays::<Rollouts>("hold");
        target.plays::<Rollouts>("go-on");
        target.goes_home::<Rollouts>();
        target.plays::<Rollouts>("unfreeze");
        target.is_restarted::<Rollouts>();
        target.is_resized::<Rollouts>();
        target.is_ejected::<Rollouts>();
        target.is_restored::<Rollouts>(&["ConfigMap"]);
        target.is_drained::<Rollouts>();
        target.is_scaled::<Rollouts>();

        let target = world.target("referring", (ARGO, "rollouts"));
        let mut templates = objects::deployment("templates", 0, &image("1.0.0"));
        templates["spec"]["template"]["spec"]["containers"][0]["name"] = "referring".into();
        let templates_at = target.at(APPS, "deployments");
        world.api().create(&templates_at, &templates).unwrap();
        let mut rollout =
            objects::rollout("referring", 2, "", &json!([{ "setWeight": 50 }, { "pause": {} }]));
        rollout["spec"]["template"] = Value::Null;
        rollout["spec"]["selector"] = templates["spec"]["selector"].clone();
        rollout["spec"]["workloadRef"] =
            json!({ "apiVersion": APPS, "kind": "Deployment", "name": "templates" });
        target.has(&rollout);
        target.is_whole();
        target.is_looked_at::<Rollouts>();
        let images = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image("2.0.0") }]);
        world.api().patch(&format!("{templates_at}/templates"), &images).unwrap();
        waits("a canary", || world.api().get(&target.path()).unwrap()["status"]["phase"] == "Paused");
        target.plays::<Rollouts>("hold");
        target.goes_home::<Rollouts>();
        world.is_least();
    }
}

/// A node that is emptied of everybody's pods takes rights in all namespaces, and then in none of its own.
#[test]
fn a_whole_node_takes_rights_everywhere() {
    let target = json!({ "kind": "Deployment", "heals": ["drain", "undrain"], "drainWholeNode": true });
    let Some(world) = World::with(Major::Four, &[("whole", target)]) else { return };
    let target = world.deployment("whole");
    target.is_brought_back();
    target.is_drained::<Deployment>();
    world.is_least();
}

/// That the log tells what is needed is itself shown: with one right less, what took it is refused, in words.
#[test]
fn without_one_of_its_rights_a_run_says_which() {
    let deployment = json!({ "kind": "Deployment", "heals": ["restart"] });
    let Some(world) = World::with(Major::Four, &[("less", deployment)]) else { return };
    let target = world.deployment("less");
    target.goes_home::<Deployment>();
    let without = |resource: &str, verb: &str| {
        world.it.is_granted_less(target.space(), |rules| {
            for rule in rules.iter_mut().filter(|rule| rule["resources"][0] == resource) {
                rule["verbs"].as_array_mut().unwrap().retain(|one| one != verb);
            }
            rules.retain(|rule| !rule["verbs"].as_array().unwrap().is_empty());
        });
    };
    // What a Role says counts a moment later.
    let refused = |what: &str, task: Task| {
        let mut said = BTreeSet::new();
        for _ in 0..20 {
            match target.runs::<Deployment>(task.clone()).outcome {
                Outcome::Failed(failed) if failed.why.starts_with(what) => return,
                other @ (Outcome::Done | Outcome::Failed(_)) => said.insert(format!("{other:?}")),
            };
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{what}: {said:#?}");
    };
    let heals = |playbook: &str| Task::Heal(playbook.into());
    let space = target.space().name();
    without("pods/eviction", "create");
    refused(
        &format!("the API server does not let us POST /api/v1/namespaces/{space}/pods/"),
        heals("restart"),
    );
    without("pods", "list");
    refused(
        &format!("the API server does not let us GET /api/v1/namespaces/{space}/pods?"),
        heals("restart"),
    );
    without("deployments", "patch");
    target.lets_out("2.0.0");
    let home = Task::GoHome(release("1.0.0"));
    let path = format!("/apis/apps/v1/namespaces/{space}/deployments/less");
    refused(&format!("the API server does not let us PATCH {path}"), home.clone());
    without("replicasets", "get");
    refused(
        &format!("the API server does not let us GET /apis/apps/v1/namespaces/{space}/replicasets/"),
        home.clone(),
    );
    without("deployments", "get");
    refused(&format!("the API server does not let us GET {path}"), home);
}

/// A chart of somebody's product: of each kind one that stays and changes, one that only its first revision has, and one of the second.
struct Product<'w> {
    target: Target<'w>,
    chart: String,
}

impl<'w> Product<'w> {
    fn of(target: Target<'w>) -> Self {
        let folder = target.world.it.path(&format!("product-{}", target.name));
        fs::create_dir_all(folder.join("templates")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("values.yaml", "version: 1.0.0\nonly: first\n");
        let mut all = Vec::new();
        let (kind, version, plural) = match target.what.1 {
            "statefulsets" => ("StatefulSet", APPS, "statefulset"),
            _ => ("Deployment", APPS, "deployment"),
        };
        for name in [target.name, "{{ .Values.only }}"] {
            let mut workload = objects::deployment(name, 2, "IMAGE");
            workload["kind"] = kind.into();
            workload["apiVersion"] = version.into();
            if plural == "statefulset" {
                workload["spec"]["serviceName"] = name.into();
            }
            all.push(workload);
            let spec = json!({ "selector": { "app": name }, "ports": [{ "port": 80, "name": "v{{ .Values.version | replace \".\" \"-\" }}" }] });
            all.push(
                json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec }),
            );
            all.push(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "version": "{{ .Values.version }}" } }));
        }
        let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "hook", "image": "registry.test/hook:1" }] });
        all.push(json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": "before", "annotations": { "helm.sh/hook": "pre-rollback", "helm.sh/hook-delete-policy": "before-hook-creation" } },
            "spec": { "backoffLimit": 0, "template": { "spec": pod } },
        }));
        for (at, object) in all.iter().enumerate() {
            let text =
                object.to_string().replace("\"IMAGE\"", "\"registry.test/shop:{{ .Values.version }}\"");
            write(&format!("templates/{at}.yaml"), &text.replace("\\\"", "\""));
        }
        Self { target, chart: folder.display().to_string() }
    }

    fn helm(&self, args: &[&str]) -> String {
        let it = &self.target.world.it;
        said(it.major.helm(&it.cluster).args(args).args(["--namespace", self.target.space().name()]))
    }

    fn ships(&self, version: &str, only: &str) {
        let chart = format!("apiVersion: v2\nname: product\nversion: {version}\n");
        fs::write(format!("{}/Chart.yaml", self.chart), chart).unwrap();
        let (version, only) = (format!("version={version}"), format!("only={only}"));
        self.helm(&[
            "upgrade",
            "--install",
            self.target.name,
            &self.chart,
            "--wait",
            "--timeout",
            "60s",
            "--set",
            &version,
            "--set",
            &only,
        ]);
    }

    /// Twice there, and home again.
    #[track_caller]
    fn is_brought_back(&self) {
        self.ships("1.0.0", "first");
        self.ships("2.0.0", "second");
        self.target.plays::<Helm>("look");
        self.target.goes_home::<Helm>();
        self.ships("2.0.0", "second");
        self.target.goes_home::<Helm>();
        assert_eq!(self.status()["version"], 5);
    }

    fn status(&self) -> Value {
        let told = self.helm(&["status", self.target.name, "--output", "json"]);
        serde_json::from_str(&told).unwrap()
    }

    /// Somebody's helm is killed in the middle, and what it left is repaired.
    #[track_caller]
    fn is_repaired(&self) {
        let it = &self.target.world.it;
        let mut helm = it.major.helm(&it.cluster);
        helm.args(["upgrade", self.target.name, &self.chart, "--wait", "--set", "only=third"]);
        let mut helm = helm.args(["--namespace", self.target.space().name()]).spawn().unwrap();
        let pending = format!("secrets?labelSelector=name={},status=pending-upgrade", self.target.name);
        let pending = self.target.at("v1", &pending);
        waits("a pending upgrade", || !self.target.api().list(&pending).unwrap().is_empty());
        helm.kill().unwrap();
        helm.wait().unwrap();
        self.target.plays::<Helm>("repair");
        assert_eq!(self.status()["info"]["status"], "deployed");
    }
}

#[test]
fn a_release_of_helm_has_what_it_takes_and_no_more() {
    for major in MAJORS {
        let kind = |workloads: &str, more: Value| {
            let mut target = json!({ "kind": "Helm", "objects": [workloads, "services", "configmaps"], "hooks": ["jobs.batch"] });
            target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            target
        };
        // Without a workload, what it is its chart says.
        let by_chart = || json!({ "settings": { "version-from": "chart-version" } });
        let world = World::with(
            major,
            &[
                ("released", kind("deployments.apps", by_chart())),
                ("stored", kind("statefulsets.apps", by_chart())),
                (
                    "mended",
                    kind(
                        "deployments.apps",
                        json!({ "workload": "deployment/mended", "heals": ["restart", "repair"], "settings": { "pending-after-ms": 0 } }),
                    ),
                ),
                (
                    "counted",
                    kind(
                        "statefulsets.apps",
                        json!({ "workload": "statefulset/counted", "heals": ["restart"] }),
                    ),
                ),
            ],
        );
        let Some(world) = world else { return };
        Product::of(world.target("released", (APPS, "deployments"))).is_brought_back();
        Product::of(world.target("stored", (APPS, "statefulsets"))).is_brought_back();
        let mended = Product::of(world.target("mended", (APPS, "deployments")));
        mended.is_brought_back();
        mended.target.is_looked_at::<Helm>();
        mended.target.is_restarted::<Helm>();
        mended.is_repaired();
        let counted = Product::of(world.target("counted", (APPS, "statefulsets")));
        counted.is_brought_back();
        counted.target.is_looked_at::<Helm>();
        counted.target.is_restarted::<Helm>();
        world.is_least();
    }
}
