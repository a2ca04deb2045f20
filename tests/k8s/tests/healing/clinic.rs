//! A namespace with a shop that can be ill, nodes of its own, and somebody who may heal it and has no right more.

use std::{thread, time::Duration};

use backstay_kubernetes::{api::Cluster, heal, resource::STATEFUL_SETS, workload::Workload};
use backstay_sdk::{
    executor::{Ctx, Deed, Executor, Failed, Order, Steps, Task, permanent},
    settings::{Description, Setting, Value as Set},
};
use backstay_test_k8s::{Api, ControlPlane, Fault, Host, Namespace, Node, Ran, objects, until, until_within};
use executor_deployment::Deployment;
use serde_json::{Value, json};

pub const APPS: &str = "apps/v1";
pub const ARGO: &str = "argoproj.io/v1alpha1";
pub const IMAGE: &str = "registry.test/shop:1.0.0";
pub const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// A node that is silent is noticed within 8 s, its pods are given up after that, and the busy machine has a few more.
pub const NOTICED: Duration = Duration::from_secs(40);

/// What healing takes in the namespace of a target, and no more: API group, resources, verbs.
pub const RULES: [(&str, &[&str], &[&str]); 9] = [
    ("apps", &["deployments", "statefulsets"], &["get", "patch"]),
    ("apps", &["replicasets", "controllerrevisions"], &["list"]),
    ("argoproj.io", &["rollouts"], &["get"]),
    ("", &["pods"], &["get", "list", "patch"]),
    ("", &["pods/eviction"], &["create"]),
    ("", &["pods/resize"], &["patch"]),
    ("", &["events"], &["list"]),
    ("autoscaling", &["horizontalpodautoscalers"], &["get", "list", "patch"]),
    ("networking.istio.io", &["destinationrules"], &["get", "patch"]),
];
/// What it takes of the cluster.
pub const OF_CLUSTER: [(&str, &[&str], &[&str]); 1] = [("", &["nodes"], &["get", "list", "patch"])];

/// The playbooks of a StatefulSet, which a Helm release may have.
pub struct OfStatefulSet;

impl Executor for OfStatefulSet {
    fn describe() -> Description {
        Description { about: "Mends a StatefulSet.".into(), settings: heal::infos() }
    }

    async fn run(ctx: &Ctx, order: &Order) -> Result<(), Failed> {
        let Task::Heal(playbook) = &order.task else { return Err(permanent("it only mends")) };
        heal::heal(&Cluster::new(ctx), &Workload::of(STATEFUL_SETS, ctx.config()), playbook).await
    }
}

/// A namespace with a shop that can be ill, and somebody who may heal it.
pub struct Clinic {
    pub cluster: ControlPlane,
    pub space: Namespace,
    pub host: Host,
    pub config: Vec<Setting>,
}

pub fn number(name: &str, value: i64) -> Setting {
    Setting { name: name.into(), value: Set::Number(value) }
}

pub fn text(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: Set::Text(value.into()) }
}

impl Clinic {
    pub fn opens(about: &str) -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let space = cluster.namespace(about);
        let api = cluster.api();
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "backstay" } });
        api.create(&space.path("v1", "serviceaccounts"), &account).unwrap();
        let rules = |rules: &[(&str, &[&str], &[&str])]| -> Value {
            let rule = |(group, resources, verbs): &(&str, &[&str], &[&str])| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
            rules.iter().map(rule).collect()
        };
        let subjects = json!([{ "kind": "ServiceAccount", "name": "backstay", "namespace": space.name() }]);
        let role = json!({ "apiVersion": RBAC, "kind": "Role", "metadata": { "name": "heals" }, "rules": rules(&RULES) });
        api.create(&space.path(RBAC, "roles"), &role).unwrap();
        let role_ref = |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
        let binding = json!({
            "apiVersion": RBAC, "kind": "RoleBinding", "metadata": { "name": "heals" },
            "roleRef": role_ref("Role", "heals"), "subjects": subjects,
        });
        api.create(&space.path(RBAC, "rolebindings"), &binding).unwrap();
        let name = format!("heals-{}", space.name());
        let role = json!({ "apiVersion": RBAC, "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules(&OF_CLUSTER) });
        api.create(&format!("/apis/{RBAC}/clusterroles"), &role).unwrap();
        let binding = json!({
            "apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": role_ref("ClusterRole", &name), "subjects": subjects,
        });
        api.create(&format!("/apis/{RBAC}/clusterrolebindings"), &binding).unwrap();
        let host = Host::of(&cluster, &api.token(space.name(), "backstay").unwrap());
        let config = vec![
            text("namespace", space.name()),
            text("name", "shop"),
            number("wait-ms", 60_000),
            number("poll-ms", 500),
            number("pod-start-ms", 1000),
            number("restart-after-ms", 1000),
            number("memory-prove-ms", 1000),
            text("memory-ceiling", "1Gi"),
            number("scale-ceiling", 6),
            // Other tests drain nodes of their own in the same cluster.
            number("nodes-at-once", 5),
            text("destination-rule", "shop"),
        ];
        Some(Self { cluster, space, host, config })
    }

    /// Another value for a setting.
    pub fn set(&mut self, setting: Setting) {
        self.config.retain(|other| other.name != setting.name);
        self.config.push(setting);
    }

    pub fn api(&self) -> &Api {
        self.cluster.api()
    }

    pub fn at(&self, version: &str, what: &str) -> String {
        self.space.path(version, what)
    }

    pub fn get(&self, version: &str, what: &str) -> Value {
        self.api().get(&self.at(version, what)).unwrap()
    }

    /// A Deployment of so many pods, ready and a moment old.
    pub fn has_shop(&self, replicas: u32, change: impl FnOnce(&mut Value)) {
        let mut shop = objects::deployment("shop", replicas, IMAGE);
        change(&mut shop);
        self.api().create(&self.at(APPS, "deployments"), &shop).unwrap();
        self.is_whole(replicas);
        thread::sleep(Duration::from_millis(2100));
    }

    pub fn ready(&self) -> u64 {
        self.get(APPS, "deployments/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0)
    }

    pub fn is_whole(&self, replicas: u32) {
        until("all pods ready", || (self.ready() == u64::from(replicas)).then_some(()));
    }

    /// The pods that stay, by name.
    pub fn pods(&self) -> Vec<Value> {
        let mut pods = self.api().list(&self.at("v1", "pods")).unwrap();
        pods.retain(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] != "Failed"
        });
        pods.sort_by_key(name);
        pods
    }

    pub fn pod(&self, at: usize) -> String {
        name(&self.pods()[at])
    }

    pub fn falls_ill(&self, pod: &str, fault: &Fault) {
        self.cluster.kubelet().fault_of_pod(self.space.name(), pod, Some(fault)).unwrap();
    }

    pub fn budget(&self, name: &str, least: u32) {
        let spec = json!({ "minAvailable": least, "selector": { "matchLabels": { "app": "shop" } } });
        let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": name }, "spec": spec });
        self.api().create(&self.at("policy/v1", "poddisruptionbudgets"), &budget).unwrap();
        until("a budget that is counted", || {
            let status = self.get("policy/v1", &format!("poddisruptionbudgets/{name}"));
            (status["status"]["expectedPods"].as_u64() > Some(0)).then_some(())
        });
    }

    #[track_caller]
    pub fn plays<E: Steps>(&self, playbook: &str) -> Ran {
        self.host.run::<E>(&self.config, Task::Heal(playbook.into()))
    }

    #[track_caller]
    pub fn heals(&self, playbook: &str) -> Ran {
        self.plays::<Deployment>(playbook)
    }

    /// What a look tells, as lines, and what it cost: requests, and bytes that the API server sent for them.
    #[track_caller]
    pub fn looks(&self) -> (Vec<String>, usize, usize) {
        let ran = self.heals("look").done();
        let told = ran.attached.last().unwrap().lines().map(String::from).collect();
        let asked: Vec<String> = ran
            .effects
            .iter()
            .filter_map(|(effect, _)| match &effect.deed {
                Deed::Http(http) => Some(http.path.split('#').next().unwrap().to_owned()),
                Deed::Run(_)
                | Deed::Sleep(_)
                | Deed::Attach(_)
                | Deed::Slot(_)
                | Deed::File(_)
                | Deed::Publish(_) => None,
            })
            .collect();
        let sent =
            asked.iter().filter_map(|path| self.api().get(path).ok()).map(|answer| answer.to_string().len());
        (told, asked.len(), sent.sum())
    }

    /// The value of a reading.
    #[track_caller]
    pub fn reads(&self, reading: &str) -> Option<String> {
        let (told, ..) = self.looks();
        told.into_iter().find_map(|line| line.strip_prefix(&format!("{reading}=")).map(String::from))
    }

    /// Looks until a reading says this.
    #[track_caller]
    pub fn comes_to_read(&self, reading: &str, value: &str) {
        until_within(NOTICED, &format!("{reading}={value}"), || {
            (self.reads(reading).as_deref() == Some(value)).then_some(())
        });
    }
}

pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

pub fn uids(pods: &[Value]) -> Vec<String> {
    pods.iter().map(uid).collect()
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

pub fn tell(what: &str) {
    eprintln!("{what}");
}

pub fn told(playbook: &str, ran: &Ran) {
    let took = ran.effects.iter().map(|(_, after)| *after).filter(|after| *after != Duration::MAX).max();
    let took = took.unwrap_or_default().as_millis();
    tell(&format!(
        "{playbook}: {} effects, {took} ms, {} bytes of state",
        ran.effects.len(),
        ran.state_bytes
    ));
}

/// Nodes that take only this test's pods.
pub fn pool(clinic: &Clinic, pool: &str, count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (1..=count)
        .map(|at| clinic.cluster.kubelet().add_node(&format!("{pool}-{at}"), &[("pool", pool)]))
        .collect();
    for node in &nodes {
        until("a ready node", || {
            let node = clinic.api().get(&format!("/api/v1/nodes/{}", node.name())).ok()?;
            is_ready(&node).then_some(())
        });
    }
    nodes
}

/// One pod on each node of a pool, as far as there are nodes.
pub fn spread(pool: &'static str) -> impl FnOnce(&mut Value) {
    move |shop| {
        shop["spec"]["template"]["spec"]["nodeSelector"] = json!({ "pool": pool });
    }
}

pub fn node_of(pod: &Value) -> String {
    pod["spec"]["nodeName"].as_str().unwrap().to_owned()
}

pub fn cordoned_by(clinic: &Clinic, node: &str) -> (bool, Value) {
    let node = clinic.api().get(&format!("/api/v1/nodes/{node}")).unwrap();
    let by = node["metadata"]["annotations"]["backstay.dev/cordoned-by"].clone();
    (node["spec"]["unschedulable"] == true, by)
}

/// A StatefulSet of so many pods, on a pool of nodes.
pub fn has_stateful(clinic: &Clinic, replicas: u32, pool: &str) {
    let mut shop = objects::deployment("shop", replicas, IMAGE);
    shop["kind"] = "StatefulSet".into();
    shop["spec"]["serviceName"] = "shop".into();
    shop["spec"]["template"]["spec"]["nodeSelector"] = json!({ "pool": pool });
    clinic.api().create(&clinic.at(APPS, "statefulsets"), &shop).unwrap();
    until("a whole StatefulSet", || {
        (clinic.pods().iter().filter(|pod| is_ready(pod)).count() == replicas as usize).then_some(())
    });
    thread::sleep(Duration::from_millis(2100));
}

pub fn autoscaler(kind: &str, version: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "shop" },
        "spec": {
            "scaleTargetRef": { "apiVersion": version, "kind": kind, "name": "shop" },
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }],
        },
    })
}

/// What a run changed. To ask what time it is takes a POST, and changes nothing.
pub fn changes(ran: &Ran) -> Vec<String> {
    let mut changes = ran.changes();
    changes.retain(|change| !change.ends_with("/selfsubjectreviews"));
    changes
}
