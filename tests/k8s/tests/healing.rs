//! Playbooks and looks on the real control plane: what each mends, what it refuses, and what it costs to look.
//!
//! Evictions, budgets, resizes, autoscalers, garbage collection and rights are Kubernetes' own. No container runs: a crash, a want of
//! memory and a lost node are what the nodes of tests say of themselves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_kubernetes::{api::Cluster, heal, resource::STATEFUL_SETS, workload::Workload};
use backstay_sdk::{
    executor::{Ctx, Deed, Executor, Failed, Order, Outcome, Steps, Task, Transience, permanent},
    settings::{Description, Setting, Value as Set},
};
use backstay_test_k8s::{
    Api, ControlPlane, Cut, Fault, Host, Namespace, Node, Ran, Resize, objects, until, until_within,
};
use executor_deployment::Deployment;
use executor_rollouts::Rollouts;
use serde_json::{Value, json};

const APPS: &str = "apps/v1";
const ARGO: &str = "argoproj.io/v1alpha1";
const IMAGE: &str = "registry.test/shop:1.0.0";
const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// A node that is silent is noticed within 8 s, its pods are given up after that, and the busy machine has a few more.
const NOTICED: Duration = Duration::from_secs(40);

/// What healing takes in the namespace of a target, and no more: API group, resources, verbs.
const RULES: [(&str, &[&str], &[&str]); 9] = [
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
const OF_CLUSTER: [(&str, &[&str], &[&str]); 1] = [("", &["nodes"], &["get", "list", "patch"])];

/// The playbooks of a StatefulSet, which a Helm release may have.
struct OfStatefulSet;

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
struct Clinic {
    cluster: ControlPlane,
    space: Namespace,
    host: Host,
    config: Vec<Setting>,
}

fn number(name: &str, value: i64) -> Setting {
    Setting { name: name.into(), value: Set::Number(value) }
}

fn text(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: Set::Text(value.into()) }
}

impl Clinic {
    fn opens(about: &str) -> Option<Self> {
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
    fn set(&mut self, setting: Setting) {
        self.config.retain(|other| other.name != setting.name);
        self.config.push(setting);
    }

    fn api(&self) -> &Api {
        self.cluster.api()
    }

    fn at(&self, version: &str, what: &str) -> String {
        self.space.path(version, what)
    }

    fn get(&self, version: &str, what: &str) -> Value {
        self.api().get(&self.at(version, what)).unwrap()
    }

    /// A Deployment of so many pods, ready and a moment old.
    fn has_shop(&self, replicas: u32, change: impl FnOnce(&mut Value)) {
        let mut shop = objects::deployment("shop", replicas, IMAGE);
        change(&mut shop);
        self.api().create(&self.at(APPS, "deployments"), &shop).unwrap();
        self.is_whole(replicas);
        thread::sleep(Duration::from_millis(2100));
    }

    fn ready(&self) -> u64 {
        self.get(APPS, "deployments/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0)
    }

    fn is_whole(&self, replicas: u32) {
        until("all pods ready", || (self.ready() == u64::from(replicas)).then_some(()));
    }

    /// The pods that stay, by name.
    fn pods(&self) -> Vec<Value> {
        let mut pods = self.api().list(&self.at("v1", "pods")).unwrap();
        pods.retain(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] != "Failed"
        });
        pods.sort_by_key(|pod| name(pod));
        pods
    }

    fn pod(&self, at: usize) -> String {
        name(&self.pods()[at])
    }

    fn falls_ill(&self, pod: &str, fault: &Fault) {
        self.cluster.kubelet().fault_of_pod(self.space.name(), pod, Some(fault)).unwrap();
    }

    fn budget(&self, name: &str, least: u32) {
        let spec = json!({ "minAvailable": least, "selector": { "matchLabels": { "app": "shop" } } });
        let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": name }, "spec": spec });
        self.api().create(&self.at("policy/v1", "poddisruptionbudgets"), &budget).unwrap();
        until("a budget that is counted", || {
            let status = self.get("policy/v1", &format!("poddisruptionbudgets/{name}"));
            (status["status"]["expectedPods"].as_u64() > Some(0)).then_some(())
        });
    }

    #[track_caller]
    fn plays<E: Steps>(&self, playbook: &str) -> Ran {
        self.host.run::<E>(&self.config, Task::Heal(playbook.into()))
    }

    #[track_caller]
    fn heals(&self, playbook: &str) -> Ran {
        self.plays::<Deployment>(playbook)
    }

    /// What a look tells, as lines, and what it cost: requests, and bytes that the API server sent for them.
    #[track_caller]
    fn looks(&self) -> (Vec<String>, usize, usize) {
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
    fn reads(&self, reading: &str) -> Option<String> {
        let (told, ..) = self.looks();
        told.into_iter().find_map(|line| line.strip_prefix(&format!("{reading}=")).map(String::from))
    }

    /// Looks until a reading says this.
    #[track_caller]
    fn comes_to_read(&self, reading: &str, value: &str) {
        until_within(NOTICED, &format!("{reading}={value}"), || {
            (self.reads(reading).as_deref() == Some(value)).then_some(())
        });
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn uids(pods: &[Value]) -> Vec<String> {
    pods.iter().map(uid).collect()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn tell(what: &str) {
    writeln!(io::stderr(), "{what}").unwrap();
}

fn told(playbook: &str, ran: &Ran) {
    let took = ran.effects.iter().map(|(_, after)| *after).filter(|after| *after != Duration::MAX).max();
    let took = took.unwrap_or_default().as_millis();
    tell(&format!(
        "{playbook}: {} effects, {took} ms, {} bytes of state",
        ran.effects.len(),
        ran.state_bytes
    ));
}

/// Nodes that take only this test's pods.
fn pool(clinic: &Clinic, pool: &str, count: usize) -> Vec<Node> {
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
fn spread(pool: &'static str) -> impl FnOnce(&mut Value) {
    move |shop| {
        shop["spec"]["template"]["spec"]["nodeSelector"] = json!({ "pool": pool });
    }
}

#[test]
fn a_crash_loop_is_cured_by_a_restart_and_its_template_stays() {
    let Some(clinic) = Clinic::opens("restart") else { return };
    clinic.has_shop(3, |_| {});
    let (before, sick) = (clinic.pods(), clinic.pod(1));
    let generation = clinic.get(APPS, "deployments/shop")["metadata"]["generation"].clone();
    clinic.falls_ill(&sick, &Fault::CrashLoop);
    clinic.comes_to_read("infra.process-exited", "1");
    let ran = clinic.heals("restart").done();
    told("restart", &ran);
    assert_eq!(ran.changes().len(), 1, "{:?}", ran.changes());
    let after = clinic.pods();
    let stayed = uids(&before).iter().filter(|uid| uids(&after).contains(uid)).count();
    assert_eq!((after.len(), stayed, after.iter().all(is_ready)), (3, 2, true));
    assert!(!after.iter().any(|pod| name(pod) == sick));
    assert_eq!(clinic.get(APPS, "deployments/shop")["metadata"]["generation"], generation);
    assert_eq!(clinic.api().list(&clinic.at(APPS, "replicasets")).unwrap().len(), 1);
    assert_eq!(clinic.reads("infra.process-exited").unwrap(), "0");
}

/// A release that is on its way crashes: a look doesn't call it the machine's trouble, and a restart doesn't hide it.
#[test]
fn what_was_changed_lately_is_a_regression_and_no_trouble_of_a_machine() {
    let Some(mut clinic) = Clinic::opens("regress") else { return };
    clinic.has_shop(3, |_| {});
    clinic.set(number("restart-after-ms", 600_000));
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "shop", "image": "registry.test/shop:2.0.0-crash-loop" }] } } } });
    clinic.api().merge(&clinic.at(APPS, "deployments/shop"), &image).unwrap();
    until("a crash loop", || {
        clinic
            .pods()
            .iter()
            .any(|pod| {
                pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            })
            .then_some(())
    });
    let (told, ..) = clinic.looks();
    assert!(told.contains(&"infra.process-exited=0".into()), "{told:?}");
    assert!(told.contains(&"unsettled.process-exited=1".into()), "{told:?}");
    let failed = clinic.heals("restart").failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("that is a regression, which no restart cures"), "{}", failed.why);
    // As long as two revisions have pods, and however old the newest is.
    clinic.set(number("restart-after-ms", 1000));
    let (told, ..) = clinic.looks();
    assert!(told.contains(&"infra.process-exited=0".into()), "{told:?}");
}

/// All in turn, and never fewer than a budget wants.
#[test]
fn a_restart_of_what_is_well_goes_by_the_budget() {
    let Some(clinic) = Clinic::opens("in-turn") else { return };
    clinic.has_shop(4, |_| {});
    clinic.budget("shop", 3);
    let before = uids(&clinic.pods());
    let (over, fewest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(u64::MAX)));
    let watcher = thread::spawn({
        let (api, path) = (clinic.cluster.gitops(), clinic.at("v1", "pods"));
        let (over, fewest) = (Arc::clone(&over), Arc::clone(&fewest));
        move || {
            while !over.load(Ordering::Relaxed) {
                let ready = api.list(&path).unwrap().iter().filter(|pod| is_ready(pod)).count();
                fewest.fetch_min(ready as u64, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let ran = clinic.heals("restart").done();
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    told("restart of 4", &ran);
    let after = clinic.pods();
    assert_eq!(after.len(), 4);
    assert!(uids(&after).iter().all(|uid| !before.contains(uid)));
    assert!(fewest.load(Ordering::Relaxed) >= 3, "{fewest:?}");
}

/// `spec.restartAt` waits for pods to be ready that never will be. Evictions don't.
#[test]
fn a_rollout_whose_pods_crash_is_cured_where_its_own_restart_waits_for_ever() {
    let Some(clinic) = Clinic::opens("rollout") else { return };
    let rollout = objects::rollout("shop", 4, IMAGE, &json!([]));
    clinic.api().create(&clinic.at(ARGO, "rollouts"), &rollout).unwrap();
    let ready = || clinic.get(ARGO, "rollouts/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0);
    until("a ready Rollout", || (ready() == 4).then_some(()));
    thread::sleep(Duration::from_millis(2100));
    let sick = [clinic.pod(0), clinic.pod(1)];
    for pod in &sick {
        clinic.falls_ill(pod, &Fault::CrashLoop);
    }
    until("a crash loop", || (ready() == 2).then_some(()));
    let now = clinic.cluster.kubectl().args(["get", "--raw", "/version"]).output().unwrap();
    assert!(now.status.success());
    let at = clinic.get("v1", &format!("pods/{}", sick[0]));
    let heard = at["status"]["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"].clone();
    clinic
        .api()
        .merge(&clinic.at(ARGO, "rollouts/shop"), &json!({ "spec": { "restartAt": heard } }))
        .unwrap();
    thread::sleep(Duration::from_secs(10));
    let names: Vec<String> = clinic.pods().iter().map(name).collect();
    assert!(sick.iter().all(|pod| names.contains(pod)), "Argo's own restart has cured it: {names:?}");
    let ran = clinic.plays::<Rollouts>("restart").done();
    told("restart of a Rollout", &ran);
    assert_eq!((ready(), ran.changes().len()), (4, 2), "{:?}", ran.changes());
}

#[test]
fn memory_is_raised_in_place_a_step_at_a_time() {
    let Some(mut clinic) = Clinic::opens("memory") else { return };
    clinic.has_shop(2, |_| {});
    let pod = clinic.pod(0);
    clinic.falls_ill(&pod, &Fault::OutOfMemory { below: 150 << 20 });
    clinic.comes_to_read("infra.out-of-memory", "1");
    let ran = clinic.heals("resize").done();
    told("resize", &ran);
    let after = clinic.get("v1", &format!("pods/{pod}"));
    let limit = |pod: &Value| pod["spec"]["containers"][0]["resources"]["limits"]["memory"].clone();
    assert_eq!((limit(&after), is_ready(&after)), (json!("192Mi"), true));
    assert_eq!(clinic.reads("infra.out-of-memory").unwrap(), "0", "it was answered");
    // Once more is not twice as much.
    clinic.heals("resize").done();
    assert_eq!(limit(&clinic.get("v1", &format!("pods/{pod}"))), "192Mi");
    // It wants more again, and the ceiling is near.
    clinic.set(text("memory-ceiling", "200Mi"));
    clinic.falls_ill(&pod, &Fault::OutOfMemory { below: 900 << 20 });
    clinic.comes_to_read("infra.out-of-memory", "1");
    let failed = clinic.heals("resize").failed();
    assert_eq!(
        (failed.transience, limit(&clinic.get("v1", &format!("pods/{pod}")))),
        (Transience::Transient, json!("200Mi"))
    );
    assert!(
        failed.why.ends_with("was given 200Mi, and doesn't run with it")
            || failed.why.contains("ended again"),
        "{}",
        failed.why
    );
    let failed = clinic.heals("resize").failed();
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(
        failed.why.contains("memory-ceiling is 200Mi") || failed.why.contains("was raised 2 times"),
        "{}",
        failed.why
    );
}

#[test]
fn where_a_node_can_not_resize_it_is_said_or_the_template_is_raised() {
    let Some(mut clinic) = Clinic::opens("unsized") else { return };
    let nodes = pool(&clinic, "unsized", 1);
    clinic.has_shop(1, spread("unsized"));
    for how in [Resize::Unsupported, Resize::Infeasible, Resize::Deferred] {
        nodes[0].resize(how).unwrap();
        let pod = clinic.pod(0);
        // Killed once, and running since with what it has.
        clinic.falls_ill(&pod, &Fault::OutOfMemory { below: 150 << 20 });
        until("OOMKilled", || {
            let pod = clinic.get("v1", &format!("pods/{pod}"));
            (pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "OOMKilled")
                .then_some(())
        });
        clinic.cluster.kubelet().fault_of_pod(clinic.space.name(), &pod, None).unwrap();
        clinic.is_whole(1);
        let before = clinic.get("v1", &format!("pods/{pod}"));
        let failed = clinic.heals("resize").failed();
        tell(&format!("{how:?}: {}", failed.why));
        let expected = if how == Resize::Deferred { Transience::Transient } else { Transience::Permanent };
        assert_eq!(failed.transience, expected, "{how:?}: {}", failed.why);
        assert!(failed.why.contains("can't raise the limit in place"), "{}", failed.why);
        let after = clinic.get("v1", &format!("pods/{pod}"));
        assert_eq!(before["spec"]["containers"], after["spec"]["containers"], "{how:?}");
        assert!(after["metadata"]["annotations"]["backstay.dev/memory"].is_null(), "{how:?}");
    }
    clinic.set(Setting { name: "memory-in-template".into(), value: Set::Flag(true) });
    let ran = clinic.heals("resize").done();
    told("resize by the template", &ran);
    let shop = clinic.get(APPS, "deployments/shop");
    assert_eq!(shop["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"], "192Mi");
    assert_eq!(clinic.pods()[0]["spec"]["containers"][0]["resources"]["limits"]["memory"], "192Mi");
}

fn cordoned_by(clinic: &Clinic, node: &str) -> (bool, Value) {
    let node = clinic.api().get(&format!("/api/v1/nodes/{node}")).unwrap();
    let by = node["metadata"]["annotations"]["backstay.dev/cordoned-by"].clone();
    (node["spec"]["unschedulable"] == true, by)
}

fn node_of(pod: &Value) -> String {
    pod["spec"]["nodeName"].as_str().unwrap().to_owned()
}

#[test]
fn a_node_with_a_full_disk_is_drained_and_given_back() {
    let Some(clinic) = Clinic::opens("disk") else { return };
    let nodes = pool(&clinic, "disk", 2);
    clinic.has_shop(4, spread("disk"));
    let on = |node: &Node| clinic.pods().iter().filter(|pod| node_of(pod) == node.name()).count();
    let sick = if on(&nodes[0]) > 0 { &nodes[0] } else { &nodes[1] };
    let there = on(sick);
    sick.disk_pressure(true).unwrap();
    clinic.comes_to_read("infra.disk", "1");
    let ran = clinic.heals("drain").done();
    told(&format!("drain of {there} pods"), &ran);
    assert_eq!((on(sick), clinic.ready()), (0, 4));
    let told = format!("Deployment {}/shop", clinic.space.name());
    assert_eq!(cordoned_by(&clinic, sick.name()), (true, json!(told)));
    assert_eq!(clinic.reads("infra.disk").unwrap(), "0", "no pod of ours is on it any more");
    assert!(clinic.heals("drain").done().changes().is_empty(), "done twice it is done once");
    assert!(clinic.heals("undrain").failed().why.contains("is not well yet (DiskPressure)"));
    sick.disk_pressure(false).unwrap();
    until("a node that is well", || (clinic.heals("undrain").outcome == Outcome::Done).then_some(()));
    assert_eq!(cordoned_by(&clinic, sick.name()), (false, Value::Null));
}

#[test]
fn a_drain_goes_by_the_budgets_and_leaves_no_cordon_where_they_do_not_let_it() {
    let Some(mut clinic) = Clinic::opens("budgets") else { return };
    let nodes = pool(&clinic, "budgets", 2);
    clinic.has_shop(2, spread("budgets"));
    let node = node_of(&clinic.pods()[0]);
    clinic.set(text("drain-node", &node));
    assert!(nodes.iter().any(|other| other.name() == node));
    // A budget that never lets go, until its time is over.
    clinic.budget("shop", 2);
    clinic.set(number("wait-ms", 3000));
    let began = Instant::now();
    let failed = clinic.heals("drain").failed();
    tell(&format!("429: {}", failed.why));
    assert_eq!(failed.transience, Transience::Transient);
    assert!(
        failed.why.contains("The disruption budget shop needs 2 healthy pods and has 2 currently"),
        "{}",
        failed.why
    );
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(cordoned_by(&clinic, &node), (false, Value::Null));
    // Two budgets: never, and at once.
    clinic.budget("shop-too", 1);
    let failed = clinic.heals("drain").failed();
    tell(&format!("500: {}", failed.why));
    assert_eq!(failed.transience, Transience::Permanent);
    assert!(failed.why.contains("two disruption budgets"), "{}", failed.why);
    assert_eq!(cordoned_by(&clinic, &node), (false, Value::Null));
    // One that lets go of one after the other.
    clinic.api().delete(&clinic.at("policy/v1", "poddisruptionbudgets/shop")).unwrap();
    clinic.set(number("wait-ms", 60_000));
    until("one budget", || {
        let budgets = clinic.api().list(&clinic.at("policy/v1", "poddisruptionbudgets")).unwrap();
        (budgets.len() == 1).then_some(())
    });
    clinic.heals("drain").done();
    assert!(clinic.pods().iter().all(|pod| node_of(pod) != node));
    assert_eq!(clinic.ready(), 2);
}

/// A StatefulSet of so many pods, on a pool of nodes.
fn has_stateful(clinic: &Clinic, replicas: u32, pool: &str) {
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

/// A pod that was replaced while its budget kept it is another one: its uid is not asked about any more.
#[test]
fn a_pod_that_was_replaced_meanwhile_is_not_chased() {
    let Some(mut clinic) = Clinic::opens("chase") else { return };
    let _nodes = pool(&clinic, "chase", 2);
    has_stateful(&clinic, 1, "chase");
    let pod = clinic.pods().remove(0);
    let (node, first) = (node_of(&pod), uid(&pod));
    clinic.budget("shop", 1);
    clinic.set(text("drain-node", &node));
    let api = clinic.cluster.gitops();
    let path = clinic.at("v1", "pods/shop-0");
    let replaces = thread::spawn(move || {
        thread::sleep(Duration::from_secs(2));
        api.delete(&path).unwrap();
    });
    let ran = clinic.plays::<OfStatefulSet>("drain").done();
    replaces.join().unwrap();
    told("drain of a pod that was replaced", &ran);
    let pod = clinic.pods().remove(0);
    assert_eq!((name(&pod).as_str(), is_ready(&pod)), ("shop-0", true));
    assert!(uid(&pod) != first && node_of(&pod) != node);
    let evictions = ran.changes().iter().filter(|change| change.ends_with("shop-0/eviction")).count();
    assert!(evictions > 1, "{:?}", ran.changes());
}

/// Its pods have the same names again, and are counted as ready until they have ended.
#[test]
fn a_stateful_set_is_restarted_one_by_one_and_stays_where_its_node_may_live() {
    let Some(mut clinic) = Clinic::opens("stateful") else { return };
    let nodes = pool(&clinic, "stateful", 1);
    has_stateful(&clinic, 3, "stateful");
    let before = uids(&clinic.pods());
    // Each takes a while to end.
    for at in 0..3 {
        let note = json!({ "metadata": { "annotations": { "kubelet.backstay.test/stops": "1s" } } });
        clinic.api().merge(&clinic.at("v1", &format!("pods/shop-{at}")), &note).unwrap();
    }
    let ran = clinic.plays::<OfStatefulSet>("restart").done();
    told("restart of a StatefulSet of 3", &ran);
    let after = clinic.pods();
    assert_eq!((after.len(), after.iter().all(is_ready)), (3, true));
    assert!(uids(&after).iter().all(|uid| !before.contains(uid)));
    clinic.falls_ill("shop-1", &Fault::CrashLoop);
    until("a crash loop", || clinic.pods().iter().any(|pod| !is_ready(pod)).then_some(()));
    let ran = clinic.plays::<OfStatefulSet>("restart").done();
    assert_eq!(ran.changes().len(), 1, "{:?}", ran.changes());
    clinic.set(number("restart-after-ms", 600_000));
    assert!(clinic.plays::<OfStatefulSet>("restart").failed().why.contains("that is a regression"));
    nodes[0].is_lost().unwrap();
    until_within(NOTICED, "a lost node", || {
        let node = clinic.api().get(&format!("/api/v1/nodes/{}", nodes[0].name())).unwrap();
        (!is_ready(&node)).then_some(())
    });
    let failed = clinic.plays::<OfStatefulSet>("drain").failed();
    tell(&format!("a StatefulSet on a lost node: {}", failed.why));
    assert_eq!((failed.transience, cordoned_by(&clinic, nodes[0].name()).0), (Transience::Permanent, false));
    assert!(failed.why.contains("out-of-service"), "{}", failed.why);
    nodes[0].comes_back().unwrap();
}

/// All leave but those that belong to the node, and those that nothing would make anew.
#[test]
fn a_whole_node_is_emptied_with_rights_for_it() {
    let Some(mut clinic) = Clinic::opens("whole") else { return };
    let nodes = pool(&clinic, "whole", 2);
    clinic.has_shop(2, spread("whole"));
    let other = clinic.cluster.namespace("neighbour");
    let mut mail = objects::deployment("mail", 4, IMAGE);
    mail["spec"]["template"]["spec"]["nodeSelector"] = json!({ "pool": "whole" });
    clinic.api().create(&other.path(APPS, "deployments"), &mail).unwrap();
    let mut logs = objects::deployment("logs", 1, IMAGE);
    logs["kind"] = "DaemonSet".into();
    logs["spec"].as_object_mut().unwrap().remove("replicas");
    logs["spec"]["template"]["spec"]["nodeSelector"] = json!({ "pool": "whole" });
    clinic.api().create(&other.path(APPS, "daemonsets"), &logs).unwrap();
    let mut alone = objects::pod("alone", IMAGE);
    let node = nodes[0].name().to_owned();
    alone["spec"]["nodeName"] = json!(node);
    clinic.api().create(&other.path("v1", "pods"), &alone).unwrap();
    let api = clinic.cluster.gitops();
    let on = |space: &Namespace| -> Vec<String> {
        let pods = api.list(&space.path("v1", "pods")).unwrap();
        let here = pods.iter().filter(|pod| {
            pod["spec"]["nodeName"] == json!(node) && pod["metadata"]["deletionTimestamp"].is_null()
        });
        here.map(|pod| name(pod).split('-').next().unwrap().to_owned()).collect()
    };
    until("pods of the neighbour", || {
        let there = on(&other);
        ["mail", "logs", "alone"].iter().all(|one| there.contains(&(*one).into())).then_some(())
    });
    clinic.set(text("drain-node", &node));
    clinic.set(Setting { name: "drain-whole-node".into(), value: Set::Flag(true) });
    let failed = clinic.heals("drain").failed();
    tell(&format!("without rights in all namespaces: {}", failed.why));
    assert!(failed.why.contains("does not let us GET /api/v1/pods"), "{}", failed.why);
    assert!(!cordoned_by(&clinic, &node).0);
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
        { "apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "patch"] },
    ]);
    let path = format!("/apis/{RBAC}/clusterroles/heals-{}", clinic.space.name());
    clinic.api().merge(&path, &json!({ "rules": rules })).unwrap();
    until("more rights", || (clinic.heals("drain").outcome == Outcome::Done).then_some(()));
    let mut left = on(&other);
    left.sort();
    assert_eq!((left, on(&clinic.space)), (vec!["alone".to_owned(), "logs".into()], vec![]));
    assert_eq!(clinic.ready(), 2);
}

#[test]
fn pods_of_a_lost_node_are_made_elsewhere() {
    let Some(clinic) = Clinic::opens("lost") else { return };
    let nodes = pool(&clinic, "lost", 2);
    let tolerant = |shop: &mut Value| {
        spread("lost")(shop);
        // Without this the control plane itself gives them up after a while; here nobody else does.
        shop["spec"]["template"]["spec"]["tolerations"] = json!([
            { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute" },
            { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute" },
        ]);
    };
    clinic.has_shop(4, tolerant);
    let on = |node: &Node| clinic.pods().iter().filter(|pod| node_of(pod) == node.name()).count();
    let lost = if on(&nodes[0]) > 0 { &nodes[0] } else { &nodes[1] };
    let there = on(lost);
    lost.is_lost().unwrap();
    clinic.comes_to_read("infra.machine-lost", "1");
    let ran = clinic.heals("drain").done();
    told(&format!("drain of {there} pods of a lost node"), &ran);
    assert_eq!((on(lost), clinic.ready()), (0, 4));
    assert_eq!(clinic.reads("infra.machine-lost").unwrap(), "0");
    lost.comes_back().unwrap();
    until_within(NOTICED, "a node that is back", || {
        (clinic.heals("undrain").outcome == Outcome::Done).then_some(())
    });
    assert_eq!(cordoned_by(&clinic, lost.name()), (false, Value::Null));
}

fn autoscaler(kind: &str, version: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "shop" },
        "spec": {
            "scaleTargetRef": { "apiVersion": version, "kind": kind, "name": "shop" },
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } } }],
        },
    })
}

#[test]
fn the_bounds_of_an_autoscaler_go_up_a_step() {
    let Some(clinic) = Clinic::opens("bounds") else { return };
    clinic.has_shop(3, |_| {});
    assert!(clinic.heals("scale").failed().why.starts_with("no HorizontalPodAutoscaler looks after"));
    clinic
        .api()
        .create(&clinic.at("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler("Deployment", APPS))
        .unwrap();
    for (least, most) in [(5, 5), (6, 6)] {
        let ran = clinic.heals("scale").done();
        told("scale", &ran);
        let spec = clinic.get("autoscaling/v2", "horizontalpodautoscalers/shop")["spec"].clone();
        assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(least), &json!(most)));
        assert_eq!(clinic.ready(), least);
    }
    let failed = clinic.heals("scale").failed();
    assert_eq!(
        (failed.transience, failed.why.contains("scale-ceiling is 6")),
        (Transience::Permanent, true),
        "{}",
        failed.why
    );
}

#[test]
fn the_autoscaler_of_a_rollout_is_raised_too_and_of_nothing_else() {
    let Some(clinic) = Clinic::opens("rollout-bounds") else { return };
    clinic
        .api()
        .create(&clinic.at(ARGO, "rollouts"), &objects::rollout("shop", 2, IMAGE, &json!([])))
        .unwrap();
    clinic
        .api()
        .create(&clinic.at("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler("Rollout", ARGO))
        .unwrap();
    let ready = || clinic.get(ARGO, "rollouts/shop")["status"]["readyReplicas"].as_u64().unwrap_or(0);
    until("a ready Rollout", || (ready() == 2).then_some(()));
    clinic.plays::<Rollouts>("scale").done();
    assert_eq!(ready(), 3);
    clinic.has_shop(0, |_| {});
    assert!(clinic.heals("scale").failed().why.starts_with("no HorizontalPodAutoscaler looks after"));
}

#[test]
fn outlier_detection_is_set_and_taken_away_exactly() {
    let Some(clinic) = Clinic::opens("outliers") else { return };
    clinic.has_shop(1, |_| {});
    let istio = "networking.istio.io/v1";
    assert!(clinic.heals("outliers").failed().why.starts_with("DestinationRule shop isn't there"));
    let policies = [
        json!({ "host": "shop" }),
        json!({ "host": "shop", "trafficPolicy": { "connectionPool": { "http": { "http2MaxRequests": 100 } } } }),
        json!({ "host": "shop", "trafficPolicy": { "outlierDetection": { "interval": "1m", "consecutiveGatewayErrors": 3 } } }),
    ];
    for (at, spec) in policies.iter().enumerate() {
        let rule = json!({ "apiVersion": istio, "kind": "DestinationRule", "metadata": { "name": "shop" }, "spec": spec });
        clinic.api().create(&clinic.at(istio, "destinationrules"), &rule).unwrap();
        let before = clinic.get(istio, "destinationrules/shop")["spec"].clone();
        let ran = clinic.heals("outliers").done();
        assert_eq!(ran.changes().len(), 1);
        let detection =
            clinic.get(istio, "destinationrules/shop")["spec"]["trafficPolicy"]["outlierDetection"].clone();
        assert_eq!(
            (&detection["consecutive5xxErrors"], &detection["maxEjectionPercent"]),
            (&json!(5), &json!(34))
        );
        let interval = if at == 2 { "1m" } else { "10s" };
        assert_eq!(detection["interval"], interval);
        assert!(clinic.heals("outliers").done().changes().is_empty());
        clinic.heals("outliers-off").done();
        let after = clinic.get(istio, "destinationrules/shop");
        assert_eq!((&after["spec"], &after["metadata"]["annotations"]), (&before, &Value::Null));
        clinic.api().delete(&clinic.at(istio, "destinationrules/shop")).unwrap();
    }
}

/// The power goes at each change of each playbook, before it and after it: nothing is done twice, and the run goes on to its end.
#[test]
fn cut_off_at_any_change_nothing_is_done_twice() {
    let Some(clinic) = Clinic::opens("cut") else { return };
    clinic.has_shop(3, |_| {});
    clinic
        .api()
        .create(&clinic.at("autoscaling/v2", "horizontalpodautoscalers"), &autoscaler("Deployment", APPS))
        .unwrap();
    let istio = "networking.istio.io/v1";
    let rule = json!({ "apiVersion": istio, "kind": "DestinationRule", "metadata": { "name": "shop" }, "spec": { "host": "shop" } });
    clinic.api().create(&clinic.at(istio, "destinationrules"), &rule).unwrap();
    let back_to_three = || {
        clinic
            .api()
            .merge(
                &clinic.at("autoscaling/v2", "horizontalpodautoscalers/shop"),
                &json!({ "spec": { "minReplicas": 1, "maxReplicas": 3 } }),
            )
            .unwrap();
        until("three pods", || {
            clinic
                .api()
                .merge(&clinic.at(APPS, "deployments/shop"), &json!({ "spec": { "replicas": 3 } }))
                .unwrap();
            (clinic.pods().len() == 3 && clinic.ready() == 3).then_some(())
        });
    };
    let off = || drop(clinic.heals("outliers-off").done());
    let mut cuts = 0;
    for (playbook, again) in [
        ("restart", None),
        ("scale", Some(&back_to_three as &dyn Fn())),
        ("outliers", Some(&off as &dyn Fn())),
    ] {
        let whole = clinic.heals(playbook).done();
        let once = whole.changes().len();
        let changes: Vec<u32> = whole
            .effects
            .iter()
            .filter(|(effect, _)| effect.access == backstay_sdk::executor::Access::Changes)
            .map(|(effect, _)| effect.ordinal)
            .collect();
        for at in changes {
            for cut in [Cut::Before, Cut::After] {
                if let Some(again) = again {
                    again();
                }
                let before = uids(&clinic.pods());
                let ran = clinic
                    .host
                    .cut::<Deployment>(&clinic.config, Task::Heal(playbook.into()), Some((at, cut)))
                    .done();
                cuts += 1;
                let extra = ran.changes().len() - once;
                assert!(extra <= 1, "{playbook}, {cut:?} {at}: {:?}", ran.changes());
                if playbook == "restart" {
                    let after = uids(&clinic.pods());
                    assert_eq!(
                        (after.len(), after.iter().filter(|uid| before.contains(uid)).count()),
                        (3, 0),
                        "{cut:?} {at}"
                    );
                }
                if playbook == "scale" {
                    let least =
                        clinic.get("autoscaling/v2", "horizontalpodautoscalers/shop")["spec"]["minReplicas"]
                            .clone();
                    assert_eq!(least, 5, "{cut:?} {at}");
                }
            }
        }
    }
    tell(&format!("{cuts} runs were cut off, and all went on to their end"));
}

/// What a look tells of each trouble, and what it costs to look.
#[test]
fn a_look_tells_each_trouble_and_costs_little() {
    let Some(clinic) = Clinic::opens("looks") else { return };
    let nodes = pool(&clinic, "looks", 3);
    clinic.has_shop(6, spread("looks"));
    let (told, requests, bytes) = clinic.looks();
    tell(&format!(
        "a look at 6 pods on {} nodes, all well: {requests} requests, {bytes} bytes sent",
        nodes.len()
    ));
    for well in [
        "pods-wanted=6",
        "pods-ready=6",
        "infra.process-exited=0",
        "infra.out-of-memory=0",
        "infra.machine-lost=0",
        "infra.disk=0",
        "infra.network=0",
        "image-pull=0",
    ] {
        assert!(told.contains(&well.into()), "{well}: {told:?}");
    }
    // The workload for what is out and for this, its pods, its nodes.
    assert!(requests <= 3 + nodes.len() + 1, "{requests} requests");

    let kubelet = clinic.cluster.kubelet();
    for (fault, reading) in [
        (Fault::CrashLoop, "infra.process-exited"),
        (Fault::OutOfMemory { below: 256 << 20 }, "infra.out-of-memory"),
    ] {
        let pod = clinic.pod(0);
        clinic.falls_ill(&pod, &fault);
        clinic.comes_to_read(reading, "1");
        let (_, requests, bytes) = clinic.looks();
        tell(&format!("{reading}: {requests} requests, {bytes} bytes sent"));
        kubelet.fault_of_pod(clinic.space.name(), &pod, None).unwrap();
        // The next one has no history.
        clinic.api().delete(&clinic.at("v1", &format!("pods/{pod}"))).unwrap();
        until("all pods ready", || (clinic.ready() == 6 && clinic.pods().len() == 6).then_some(()));
    }
    let image = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.test/shop:2.0.0-image-pull" }]);
    clinic.api().patch(&clinic.at(APPS, "deployments/shop"), &image).unwrap();
    until_within(NOTICED, "image-pull", || clinic.reads("image-pull").filter(|count| count != "0"));
    assert_eq!(clinic.reads("infra.process-exited").unwrap(), "0");
    let image =
        json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": IMAGE }]);
    clinic.api().patch(&clinic.at(APPS, "deployments/shop"), &image).unwrap();
    until("all pods ready", || (clinic.ready() == 6 && clinic.pods().len() == 6).then_some(()));
    clinic.falls_ill(&clinic.pod(0), &Fault::NotReady);
    clinic.comes_to_read("pods-ready", "5");
    let (told, ..) = clinic.looks();
    assert!(told.contains(&"infra.process-exited=0".into()), "not ready is no end: {told:?}");
    clinic.falls_ill(&clinic.pod(1), &Fault::Evicted);
    clinic.comes_to_read("infra.disk", "1");
}

/// What no node of a test says of itself is said for one that is silent: that it has no network, and that a pod can't begin for want of one.
#[test]
fn a_network_that_is_gone_is_told() {
    let Some(clinic) = Clinic::opens("network") else { return };
    let nodes = pool(&clinic, "network", 1);
    clinic.has_shop(1, spread("network"));
    let (node, pod) = (format!("/api/v1/nodes/{}/status", nodes[0].name()), clinic.pod(0));
    nodes[0].is_lost().unwrap();
    let condition = json!({ "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "no route" });
    clinic
        .api()
        .patch(&node, &json!([{ "op": "add", "path": "/status/conditions/-", "value": condition }]))
        .unwrap();
    clinic.comes_to_read("infra.network", "1");
    until_within(NOTICED, "a pod that isn't ready", || (clinic.ready() == 0).then_some(()));
    let begun = json!({ "op": "replace", "path": "/status/containerStatuses/0/state", "value": { "waiting": { "reason": "ContainerCreating" } } });
    clinic.api().patch(&clinic.at("v1", &format!("pods/{pod}/status")), &json!([begun])).unwrap();
    let probe = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "now" } });
    let now =
        clinic.api().create(&clinic.at("v1", "configmaps"), &probe).unwrap()["metadata"]["creationTimestamp"]
            .clone();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "shop.1" }, "type": "Warning", "reason": "FailedCreatePodSandBox",
        "message": "network: failed to find plugin", "lastTimestamp": now, "count": 1,
        "involvedObject": { "apiVersion": "v1", "kind": "Pod", "namespace": clinic.space.name(), "name": pod },
    });
    clinic.api().create(&clinic.at("v1", "events"), &event).unwrap();
    clinic.comes_to_read("infra.network", "2");
    assert_eq!(clinic.reads("infra.machine-lost").unwrap(), "1");
    nodes[0].comes_back().unwrap();
}
