//! Deployments and Rollouts that are brought home.

use backstay_test_k8s::{Namespace, Plant, objects, until};
use serde_json::{Value, json};

use super::{Kind, SHOP, World, goes_home, has_bad, is_home, left};

pub(crate) const ARGO: &str = "argoproj.io/v1alpha1";
const FLUX: &str = "kustomize.toolkit.fluxcd.io/v1";
const PODS: u32 = 5;

pub(crate) fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

fn runs(version: &str) -> Value {
    json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image(version)}])
}

/// Somebody keeps it as Git says, by itself, and Git has the bad release: an Application of Argo CD, or a Kustomization of Flux.
fn is_kept(world: &World, space: &Namespace, version: &str, kind: &str, spec: &Value) {
    let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": SHOP}, "spec": spec});
    let path = space.path(version, &format!("{}s", kind.to_lowercase()));
    world.cluster.api().create(&path, &object).unwrap();
}

/// A Deployment whose bad release has all of its pods.
pub(crate) struct Deployed;

impl Kind for Deployed {
    fn name(&self) -> String {
        "a Deployment comes home".into()
    }

    fn executor(&self) -> &'static str {
        "deployment"
    }

    fn is_there(&self, world: &World, space: &Namespace) {
        let (api, path) = (world.cluster.api(), space.path("apps/v1", "deployments/shop"));
        let whole = |version: &str| {
            until(&format!("a whole Deployment of {version}"), || {
                let found = api.get(&path).ok()?;
                let status = &found["status"];
                let is_whole = status["observedGeneration"] == found["metadata"]["generation"]
                    && [&status["replicas"], &status["updatedReplicas"], &status["readyReplicas"]]
                        .into_iter()
                        .all(|count| *count == json!(PODS));
                is_whole.then_some(())
            });
        };
        let spec = json!({
            "interval": "1m", "prune": true, "path": "./shop", "sourceRef": {"kind": "GitRepository", "name": SHOP},
        });
        is_kept(world, space, FLUX, "Kustomization", &spec);
        let mut shop = objects::deployment(SHOP, PODS, &image("1.0"));
        let group = "kustomize.toolkit.fluxcd.io";
        let marks = json!({format!("{group}/name"): SHOP, format!("{group}/namespace"): space.name()});
        shop["metadata"]["labels"] = marks;
        api.create(&space.path("apps/v1", "deployments"), &shop).unwrap();
        whole("1.0");
        api.patch(&path, &runs("2.0")).unwrap();
        whole("2.0");
    }

    fn is_told(&self, plant: &mut Plant, service: &str) {
        has_bad(plant, service, 1000);
    }

    fn is_ordered(&self, plant: &mut Plant, service: &str) {
        goes_home(plant, service);
    }

    fn is_over(&self, view: &Value) -> bool {
        is_home(view)
    }

    fn leaves(&self, world: &World, space: &Namespace) -> Value {
        json!({
            "workload": left::workload(&world.cluster, space, "apps/v1", "deployments"),
            "owner": left::object(&world.cluster, &space.path(FLUX, "kustomizations/shop"), space),
        })
    }
}

/// A Rollout whose bad release has so many percent of the traffic.
pub(crate) struct Rolled {
    percent: u32,
}

impl Rolled {
    pub(crate) fn to(percent: u32) -> Self {
        Self { percent }
    }
}

impl Kind for Rolled {
    fn name(&self) -> String {
        format!("a Rollout comes home from {} %", self.percent)
    }

    fn executor(&self) -> &'static str {
        "rollouts"
    }

    fn settings(&self, space: &Namespace) -> String {
        format!("argocd-namespace = \"{}\"", space.name())
    }

    fn is_there(&self, world: &World, space: &Namespace) {
        let steps = match self.percent {
            100 => json!([{"setWeight": 20}]),
            percent => json!([{"setWeight": percent}, {"pause": {}}]),
        };
        let (api, path) = (world.cluster.api(), space.path(ARGO, "rollouts/shop"));
        let comes_to = |phase: &str, version: &str| {
            until(&format!("a Rollout of {version} that is {phase}"), || {
                let found = api.get(&path).ok()?;
                let status = &found["status"];
                let is_seen =
                    status["observedGeneration"] == found["metadata"]["generation"].to_string().as_str();
                (is_seen && status["phase"] == phase).then_some(())
            });
        };
        let spec = json!({
            "project": "default",
            "source": {"repoURL": "https://git.test/shop", "path": "."},
            "destination": {"namespace": space.name(), "server": "https://kubernetes.default.svc"},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "retry": {"limit": 2}},
        });
        is_kept(world, space, ARGO, "Application", &spec);
        let mut shop = objects::rollout(SHOP, PODS, &image("1.0"), &steps);
        let tracked = format!("shop:argoproj.io/Rollout:{}/shop", space.name());
        shop["metadata"]["annotations"] = json!({"argocd.argoproj.io/tracking-id": tracked});
        api.create(&space.path(ARGO, "rollouts"), &shop).unwrap();
        comes_to("Healthy", "1.0");
        api.patch(&path, &runs("2.0")).unwrap();
        comes_to(if self.percent == 100 { "Healthy" } else { "Paused" }, "2.0");
    }

    fn is_told(&self, plant: &mut Plant, service: &str) {
        has_bad(plant, service, self.percent * 10);
    }

    fn is_ordered(&self, plant: &mut Plant, service: &str) {
        goes_home(plant, service);
    }

    fn is_over(&self, view: &Value) -> bool {
        is_home(view)
    }

    fn leaves(&self, world: &World, space: &Namespace) -> Value {
        json!({
            "workload": left::workload(&world.cluster, space, ARGO, "rollouts"),
            "owner": left::object(&world.cluster, &space.path(ARGO, "applications/shop"), space),
        })
    }
}
