//! Playbooks that mend what runs, and the two that hold a release where it stands and let it go on.

use std::{sync::OnceLock, thread, time::Duration};

use backstay_test_k8s::{Fault, Namespace, Plant, objects, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Kind, SHOP, World, has_bad, left,
    workloads::{ARGO, Rolled, image},
};

const APPS: &str = "apps/v1";
const AUTOSCALING: &str = "autoscaling/v2";
const ISTIO: &str = "networking.istio.io/v1";
const PODS: u32 = 3;
/// What is younger is new, and so its own fault.
const SETTLES: &str = "restart-after-ms = 1000";

/// A playbook of a Deployment.
pub(crate) enum Healed {
    /// All pods are well, and each goes once.
    Restart,
    /// One has too little memory.
    Resize,
    /// A node is taken out.
    Drain,
    /// There are too few pods.
    Scale,
    /// Pods that answer badly are to be left alone for a while.
    Outliers,
    /// Somebody changed a configuration by hand.
    Lkg(OnceLock<TempDir>),
}

impl Healed {
    pub(crate) const fn playbook(&self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Resize => "resize",
            Self::Drain => "drain",
            Self::Scale => "scale",
            Self::Outliers => "outliers",
            Self::Lkg(_) => "lkg",
        }
    }
}

/// A Deployment whose pods are all ready, and old enough to be nobody's fault.
fn has_pods(world: &World, space: &Namespace, change: impl FnOnce(&mut Value)) {
    let mut shop = objects::deployment(SHOP, PODS, &image("1.0"));
    change(&mut shop);
    world.cluster.api().create(&space.path(APPS, "deployments"), &shop).unwrap();
    are_ready(world, space);
    thread::sleep(Duration::from_millis(1100));
}

fn are_ready(world: &World, space: &Namespace) {
    until("all pods ready", || {
        let shop = world.cluster.api().get(&space.path(APPS, "deployments/shop")).ok()?;
        (shop["status"]["readyReplicas"] == PODS).then_some(())
    });
}

fn pods(world: &World, space: &Namespace) -> Vec<Value> {
    let mut pods = world.cluster.api().list(&space.path("v1", "pods")).unwrap();
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods
}

fn node(space: &Namespace, which: &str) -> String {
    format!("{}-{which}", space.name())
}

fn configuration(mode: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SHOP}, "data": {"mode": mode, "workers": "4", "db-password": "hunter2"}})
}

/// A signed bundle of what the ConfigMap of each namespace was, and the command that shows it.
fn captured(world: &World, spaces: &[Namespace], dir: &TempDir) -> String {
    // Each server has a bundle of its own.
    let dir = dir.path().join(spaces.first().map_or("none", Namespace::name));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let api = world.cluster.api();
    std::fs::write(path("credential"), api.token("default", "default").unwrap()).unwrap();
    std::fs::create_dir_all(path("targets.d")).unwrap();
    let mut objects = Vec::new();
    for space in spaces {
        api.create(&space.path("v1", "configmaps"), &configuration("safe")).unwrap();
        let live = api.get(&space.path("v1", "configmaps/shop")).unwrap();
        objects.push(live);
    }
    std::fs::write(
        path("live.json"),
        json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string(),
    )
    .unwrap();
    let (bundle, from) = (path("bundle"), path("live.json"));
    let cli = world.keys.cli();
    let capture =
        ["lkg", "capture", "--service", SHOP, "--version", "1.0", "--from", &from, "--bundle", &bundle];
    cli.local(&capture).unwrap();
    let (key, keyring) = (world.keys.folder().join("release.pem"), world.keys.folder().join("keyring"));
    let (key, keyring) = (key.display().to_string(), keyring.display().to_string());
    cli.local(&["lkg", "sign", "--bundle", &bundle, "--key", &key, "--keyring", &keyring]).unwrap();
    format!(
        "[commands.lkg-show]\nargv = [\"{}\", \"lkg\", \"show\", \"--quiet\", \"--bundle\", \"{bundle}\", \"--keyring\", \"{keyring}\"]\n\
         extra_args = true\n",
        world.keys.program().display(),
    )
}

impl Kind for Healed {
    fn name(&self) -> String {
        format!("the playbook {}", self.playbook())
    }

    fn executor(&self) -> &'static str {
        "deployment"
    }

    fn tables(&self, world: &World, spaces: &[Namespace]) -> String {
        match self {
            Self::Lkg(dir) => captured(world, spaces, dir.get_or_init(|| tempfile::tempdir().unwrap())),
            Self::Restart | Self::Resize | Self::Drain | Self::Scale | Self::Outliers => String::new(),
        }
    }

    fn target(&self) -> String {
        format!("playbooks = [ {{ name = \"{}\", attempts = 3 }} ]\n", self.playbook())
    }

    fn settings(&self, space: &Namespace) -> String {
        match self {
            Self::Restart => SETTLES.into(),
            Self::Resize => format!("{SETTLES}, memory-ceiling = \"1Gi\", memory-prove-ms = 500"),
            Self::Drain => format!("drain-node = \"{}\", nodes-at-once = 5", node(space, "a")),
            Self::Scale => "scale-ceiling = 6".into(),
            Self::Outliers => "destination-rule = \"shop\"".into(),
            Self::Lkg(_) => "lkg-objects = [\"configmap/shop\"]".into(),
        }
    }

    fn is_there(&self, world: &World, space: &Namespace) {
        let api = world.cluster.api();
        match self {
            Self::Restart => has_pods(world, space, |_| {}),
            Self::Resize => {
                has_pods(world, space, |_| {});
                let pod = pods(world, space).remove(0);
                let pod = pod["metadata"]["name"].as_str().unwrap();
                let fault = Fault::OutOfMemory { below: 150 << 20 };
                world.cluster.kubelet().fault_of_pod(space.name(), pod, Some(&fault)).unwrap();
                until("a pod without enough memory", || {
                    let pod = api.get(&space.path("v1", &format!("pods/{pod}"))).ok()?;
                    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
                    (last["reason"] == "OOMKilled").then_some(())
                });
            }
            Self::Drain => {
                let add = |which| {
                    drop(world.cluster.kubelet().add_node(&node(space, which), &[("pool", space.name())]))
                };
                add("a");
                has_pods(world, space, |shop| {
                    shop["spec"]["template"]["spec"]["nodeSelector"] = json!({"pool": space.name()});
                });
                add("b");
            }
            Self::Scale => {
                has_pods(world, space, |_| {});
                let scaler = json!({
                    "apiVersion": AUTOSCALING, "kind": "HorizontalPodAutoscaler", "metadata": {"name": SHOP},
                    "spec": {
                        "scaleTargetRef": {"apiVersion": APPS, "kind": "Deployment", "name": SHOP},
                        "minReplicas": 1, "maxReplicas": 3,
                        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
                    },
                });
                api.create(&space.path(AUTOSCALING, "horizontalpodautoscalers"), &scaler).unwrap();
                // What it says of itself when it looks for the first time it doesn't say again.
                until("an autoscaler that has looked", || {
                    let scaler = api.get(&space.path(AUTOSCALING, "horizontalpodautoscalers/shop")).ok()?;
                    scaler["status"]["conditions"].as_array().is_some_and(|all| all.len() > 1).then_some(())
                });
            }
            Self::Outliers => {
                has_pods(world, space, |_| {});
                let rule = json!({"apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": SHOP}, "spec": {"host": SHOP}});
                api.create(&space.path(ISTIO, "destinationrules"), &rule).unwrap();
            }
            Self::Lkg(_) => {
                has_pods(world, space, |_| {});
                let drifted = json!({"data": {"mode": "fast", "debug": "1", "workers": null, "db-password": "rotated"}});
                api.merge(&space.path("v1", "configmaps/shop"), &drifted).unwrap();
            }
        }
    }

    fn is_ordered(&self, plant: &mut Plant, service: &str) {
        plant.says(service, "heal", &json!({"playbook": self.playbook(), "reason": "customers wait"}));
    }

    fn planned(&self) -> Vec<&'static str> {
        vec!["heal", "--playbook", self.playbook()]
    }

    fn is_over(&self, view: &Value) -> bool {
        view["attempts"] != 0
    }

    fn leaves(&self, world: &World, space: &Namespace) -> Value {
        let object =
            |version: &str, path: &str| left::object(&world.cluster, &space.path(version, path), space);
        let more = match self {
            Self::Restart => Value::Null,
            Self::Resize => left::limits(&world.cluster, space),
            Self::Drain => {
                let node = |which| {
                    left::object(&world.cluster, &format!("/api/v1/nodes/{}", node(space, which)), space)
                };
                let on = |which: &str| {
                    pods(world, space)
                        .iter()
                        .filter(|pod| pod["spec"]["nodeName"] == node_name(space, which))
                        .count()
                };
                let sick = node("a");
                json!({"cordoned": sick["spec"]["unschedulable"], "marks": sick["annotations"], "on": [on("a"), on("b")]})
            }
            Self::Scale => object(AUTOSCALING, "horizontalpodautoscalers/shop"),
            Self::Outliers => object(ISTIO, "destinationrules/shop"),
            Self::Lkg(_) => {
                let mut map = object("v1", "configmaps/shop");
                // Nobody counts the changes of a ConfigMap.
                map["generation"] = Value::Null;
                map
            }
        };
        json!({
            "workload": left::workload(&world.cluster, space, APPS, "deployments"),
            "pods that were ever made": left::made(&world.cluster, space),
            "more": more,
        })
    }

    fn is_cleared(&self, world: &World, space: &Namespace) -> bool {
        let is_drain = matches!(self, Self::Drain);
        if is_drain {
            // No more than some nodes are ever cordoned by us.
            let api = world.cluster.api();
            let _ = api.delete(&space.path(APPS, "deployments/shop"));
            for which in ["a", "b"] {
                let _ = api.delete(&format!("/api/v1/nodes/{}", node(space, which)));
            }
        }
        is_drain
    }
}

fn node_name(space: &Namespace, which: &str) -> Value {
    node(space, which).into()
}

/// A canary that is held where it stands, or that goes on.
pub(crate) enum Paced {
    Held,
    GoesOn,
}

impl Kind for Paced {
    fn name(&self) -> String {
        match self {
            Self::Held => "a canary is held".into(),
            Self::GoesOn => "a canary goes on".into(),
        }
    }

    fn executor(&self) -> &'static str {
        "rollouts"
    }

    fn target(&self) -> String {
        "hold = true\n".into()
    }

    fn is_there(&self, world: &World, space: &Namespace) {
        Rolled::to(20).is_there(world, space);
    }

    fn is_told(&self, plant: &mut Plant, service: &str) {
        has_bad(plant, service, 200);
        if matches!(self, Self::GoesOn) {
            plant.says(service, "freeze", &json!({"reason": "data centre move"}));
            plant.until(service, "it is held", |_, view| view["run"].is_null() && self.held(view));
        }
    }

    fn is_ordered(&self, plant: &mut Plant, service: &str) {
        let what = if matches!(self, Self::Held) { "freeze" } else { "thaw" };
        plant.says(service, what, &json!({"reason": "data centre move"}));
    }

    fn is_over(&self, view: &Value) -> bool {
        self.held(view) == matches!(self, Self::Held)
    }

    fn leaves(&self, world: &World, space: &Namespace) -> Value {
        left::workload(&world.cluster, space, ARGO, "rollouts")
    }
}

impl Paced {
    fn held(&self, view: &Value) -> bool {
        view["frozen"] == true
    }
}
