//! Playbooks that take back what the server did before: owners go on that it stopped, a node that it emptied takes pods again, and pods that
//! answer badly are asked again.
//!
//! What is taken back was done by the same server, and not by the test: so its own marks are what the playbook finds.

use backstay_test_k8s::{Namespace, Plant};
use serde_json::{Value, json};

use super::{
    Kind, SHOP, World, goes_home,
    healing::Healed,
    is_home, left,
    workloads::{ARGO, Deployed},
};

const FLUX: &str = "kustomize.toolkit.fluxcd.io/v1";
const FLUX_HELM: &str = "helm.toolkit.fluxcd.io/v2";

/// What was done before, and is taken back.
pub(crate) enum Undone {
    /// A way home stopped owners of each kind.
    Unfreeze,
    /// A node was drained.
    Undrain,
    /// Outliers were ejected.
    OutliersOff,
}

impl Undone {
    const fn playbook(&self) -> &'static str {
        match self {
            Self::Unfreeze => "unfreeze",
            Self::Undrain => "undrain",
            Self::OutliersOff => "outliers-off",
        }
    }

    /// The playbook that did it. `None`: it was the way home.
    const fn before(&self) -> Option<Healed> {
        match self {
            Self::Unfreeze => None,
            Self::Undrain => Some(Healed::Drain),
            Self::OutliersOff => Some(Healed::Outliers),
        }
    }
}

impl Kind for Undone {
    fn name(&self) -> String {
        format!("the playbook {}", self.playbook())
    }

    fn executor(&self) -> &'static str {
        "deployment"
    }

    fn target(&self) -> String {
        let before =
            self.before().map(|before| format!("{{ name = \"{}\", attempts = 3 }}, ", before.playbook()));
        let before = before.unwrap_or_default();
        format!("playbooks = [ {before}{{ name = \"{}\", attempts = 0 }} ]\n", self.playbook())
    }

    fn settings(&self, space: &Namespace) -> String {
        let at = format!("{}/{SHOP}", space.name());
        match self.before() {
            Some(before) => before.settings(space),
            None => format!("argocd-applications = [\"{at}\"], flux-helmreleases = [\"{at}\"]"),
        }
    }

    fn is_there(&self, world: &World, space: &Namespace) {
        if let Some(before) = self.before() {
            return before.is_there(world, space);
        }
        let is_kept = |version: &str, kind: &str, spec: Value| {
            let object =
                json!({"apiVersion": version, "kind": kind, "metadata": {"name": SHOP}, "spec": spec});
            let path = space.path(version, &format!("{}s", kind.to_lowercase()));
            world.cluster.api().create(&path, &object).unwrap();
        };
        let application = json!({
            "project": "default",
            "source": {"repoURL": "https://git.test/shop", "path": "."},
            "destination": {"namespace": space.name(), "server": "https://kubernetes.default.svc"},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "retry": {"limit": 2}},
        });
        is_kept(ARGO, "Application", application);
        is_kept(FLUX_HELM, "HelmRelease", json!({"interval": "5m", "suspend": false}));
        Deployed.is_there(world, space);
    }

    fn is_told(&self, plant: &mut Plant, service: &str) {
        match self.before() {
            Some(before) => {
                before.is_told(plant, service);
                before.is_ordered(plant, service);
                plant.until(service, "it is done", |_, view| view["run"].is_null() && before.is_over(view));
            }
            None => {
                Deployed.is_told(plant, service);
                goes_home(plant, service);
                plant.until(service, "it is home", |_, view| view["run"].is_null() && is_home(view));
            }
        }
    }

    fn is_ordered(&self, plant: &mut Plant, service: &str) {
        let why = json!({"playbook": self.playbook(), "reason": "all is well again"});
        plant.says(service, "heal", &why);
    }

    fn orders(&self) -> usize {
        2
    }

    fn planned(&self) -> Vec<&'static str> {
        vec!["heal", "--playbook", self.playbook()]
    }

    fn is_over(&self, view: &Value) -> bool {
        // The one before is counted, too.
        view["attempts"] == if self.before().is_some() { 2 } else { 1 }
    }

    fn leaves(&self, world: &World, space: &Namespace) -> Value {
        if let Some(before) = self.before() {
            return before.leaves(world, space);
        }
        let object =
            |version: &str, path: &str| left::object(&world.cluster, &space.path(version, path), space);
        json!({
            "workload": left::workload(&world.cluster, space, "apps/v1", "deployments"),
            "owners": [
                object(ARGO, "applications/shop"),
                object(FLUX, "kustomizations/shop"),
                object(FLUX_HELM, "helmreleases/shop"),
            ],
        })
    }

    fn is_cleared(&self, world: &World, space: &Namespace) -> bool {
        self.before().is_some_and(|before| before.is_cleared(world, space))
    }
}
