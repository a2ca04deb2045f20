//! Helm releases that are taken home or repaired by the real Helm 3 and 4, whose own requests are points, too.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use backstay_test_k8s::{Namespace, Plant, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Kind, SHOP, World, goes_home, has_bad, is_home, left};

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec:\n  replicas: 2\n  selector: {matchLabels: {app: shop}}\n  \
    template:\n    metadata: {labels: {app: shop}}\n    spec:\n      containers:\n      - {name: shop, image: \"registry.test/shop:{{ .Values.version }}\"}\n";
/// A setting that pods come up with, or don't. Each revision has it: what only the one before has, Helm 3 forgets where it was killed
/// between its record and the first change (`left_over`).
const SETTING: &str =
    "metadata: {labels: {app: shop}, annotations: {kubelet.backstay.test/fault: \"{{ .Values.setting }}\"}}";

/// How a release is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Helm came to its end with a bad one, and it goes home.
    Whole,
    /// The helm that was to bring a bad one was killed in the middle, and it goes home.
    Pending,
    /// The helm that was to bring other settings of the same one was killed in the middle, and it is repaired.
    Unsettled,
}

/// A Helm release.
pub(crate) struct Helmed {
    major: u8,
    found: Found,
    /// The chart, and what helm is told.
    dir: OnceLock<TempDir>,
}

impl Helmed {
    pub(crate) fn by(major: u8, found: Found) -> Self {
        Self { major, found, dir: OnceLock::new() }
    }

    fn path(&self, name: &str) -> String {
        let dir = self.dir.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let write = |name: &str, text: &str| {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
            write("chart/values.yaml", "version: \"0\"\nsetting: none\n");
            let deployment = match self.found {
                Found::Whole | Found::Pending => DEPLOYMENT.into(),
                Found::Unsettled => DEPLOYMENT.replace("metadata: {labels: {app: shop}}", SETTING),
            };
            write("chart/templates/deployment.yaml", &deployment);
            dir
        });
        dir.path().join(name).display().to_string()
    }

    /// Helm, as a pipeline runs it: past the gate.
    fn helm(&self, world: &World, space: &Namespace, arguments: &[&str]) -> Command {
        let mut helm = if self.major == 3 { world.cluster.helm3() } else { world.cluster.helm4() };
        helm.args(arguments).args(["--namespace", space.name()]);
        helm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        helm
    }

    fn ships(&self, world: &World, space: &Namespace, values: &str) -> Command {
        let chart = self.path("chart");
        let arguments =
            ["upgrade", "--install", SHOP, &chart, "--set-string", values, "--wait", "--timeout", "60s"];
        self.helm(world, space, &arguments)
    }

    /// Helm's records, by their numbers: what each says of itself.
    fn records(world: &World, space: &Namespace) -> Vec<String> {
        let path = format!("{}?labelSelector=owner%3Dhelm%2Cname%3D{SHOP}", space.path("v1", "secrets"));
        let mut records: Vec<(u64, String)> = world
            .cluster
            .api()
            .list(&path)
            .unwrap()
            .iter()
            .map(|record| {
                let label =
                    |name: &str| record["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned();
                (label("version").parse().unwrap_or(0), label("status"))
            })
            .collect();
        records.sort();
        records.into_iter().map(|(_, status)| status).collect()
    }
}

impl Kind for Helmed {
    fn name(&self) -> String {
        let what = match self.found {
            Found::Whole => "comes home",
            Found::Pending => "that is pending comes home",
            Found::Unsettled => "is repaired",
        };
        format!("a release of Helm {} {what}", self.major)
    }

    fn executor(&self) -> &'static str {
        "helm"
    }

    fn tables(&self, world: &World, _: &[Namespace]) -> String {
        // Each server has a gate of its own.
        let kubeconfig = self.path(&format!("kubeconfig-{}", world.gate.port()));
        fs::write(&kubeconfig, world.gate.kubeconfig()).unwrap();
        let look =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/executor-helm/commands/helm-look.sh");
        let helm = if self.major == 3 { world.cluster.helm3() } else { world.cluster.helm4() };
        let helm = fs::canonicalize(helm.get_program()).unwrap();
        let environment = format!(
            "environment = {{ KUBECONFIG = \"{kubeconfig}\", HOME = \"{}\", PATH = \"{}\" }}",
            self.path("home"),
            env::var("PATH").unwrap(),
        );
        format!(
            "[commands.helm-look]\nargv = [\"{look}\", \"{helm}\"]\n{environment}\ntimeout = \"60s\"\nextra_args = true\n\
             [commands.helm-rollback]\nargv = [\"{helm}\", \"rollback\"]\n{environment}\ntimeout = \"90s\"\nextra_args = true\n",
            look = look.canonicalize().unwrap().display(),
            helm = helm.display(),
        )
    }

    fn settings(&self, _: &Namespace) -> String {
        "workload = \"deployment/shop\", wait-ms = 60000, pending-after-ms = 1000, lock-ms = 120000".into()
    }

    fn is_there(&self, world: &World, space: &Namespace) {
        assert!(self.ships(world, space, "version=1.0").status().unwrap().success());
        // What never gets ready keeps a helm at it.
        let values = match self.found {
            Found::Whole => {
                assert!(self.ships(world, space, "version=2.0").status().unwrap().success());
                return;
            }
            Found::Pending => "version=2.0-not-ready",
            Found::Unsettled => "version=1.0,setting=not-ready",
        };
        let mut helm = self.ships(world, space, values).spawn().unwrap();
        until("a helm in the middle of it", || {
            let shop = world.cluster.api().get(&space.path("apps/v1", "deployments/shop")).ok()?;
            (shop["metadata"]["generation"] == 2).then_some(())
        });
        helm.kill().unwrap();
        helm.wait().unwrap();
        assert_eq!(Self::records(world, space), ["deployed", "pending-upgrade"]);
    }

    fn target(&self) -> String {
        match self.found {
            Found::Whole | Found::Pending => String::new(),
            Found::Unsettled => "playbooks = [ { name = \"repair\", attempts = 3 } ]\n".into(),
        }
    }

    fn is_told(&self, plant: &mut Plant, service: &str) {
        match self.found {
            Found::Whole | Found::Pending => has_bad(plant, service, 1000),
            Found::Unsettled => plant.has_good(service, "1.0"),
        }
    }

    fn is_ordered(&self, plant: &mut Plant, service: &str) {
        match self.found {
            Found::Whole | Found::Pending => goes_home(plant, service),
            Found::Unsettled => {
                let why = json!({"playbook": "repair", "reason": "nobody can ship anything"});
                drop(plant.says(service, "heal", &why));
            }
        }
    }

    fn planned(&self) -> Vec<&'static str> {
        match self.found {
            Found::Whole | Found::Pending => vec!["rollback"],
            Found::Unsettled => vec!["heal", "--playbook", "repair"],
        }
    }

    fn is_over(&self, view: &Value) -> bool {
        match self.found {
            Found::Whole | Found::Pending => is_home(view),
            Found::Unsettled => view["attempts"] == 1,
        }
    }

    fn leaves(&self, world: &World, space: &Namespace) -> Value {
        let records = Self::records(world, space);
        let many =
            |wanted: &[&str]| records.iter().filter(|status| wanted.contains(&status.as_str())).count();
        let lease =
            world.cluster.api().get(&space.path("coordination.k8s.io/v1", "leases/backstay-helm-shop"));
        json!({
            "workload": left::workload(&world.cluster, space, "apps/v1", "deployments"),
            "newest": records.last(),
            "deployed": many(&["deployed"]),
            // A helm that was killed leaves a record that it never comes back to. What it finished, it did once.
            "whole": many(&["deployed", "superseded"]),
            "held by": lease.unwrap_or_default()["spec"]["holderIdentity"],
        })
    }
}
