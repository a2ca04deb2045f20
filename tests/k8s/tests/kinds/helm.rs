//! Helm releases that are taken home by the real Helm 3 and 4, whose own requests are points, too.

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

/// How the bad release is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Helm came to its end with it.
    Whole,
    /// The helm that was to bring it was killed in the middle.
    Pending,
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
            write("chart/values.yaml", "version: \"0\"\n");
            write("chart/templates/deployment.yaml", DEPLOYMENT);
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

    fn ships(&self, world: &World, space: &Namespace, version: &str) -> Command {
        let (chart, version) = (self.path("chart"), format!("version={version}"));
        let arguments =
            ["upgrade", "--install", SHOP, &chart, "--set-string", &version, "--wait", "--timeout", "60s"];
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
        let how = if self.found == Found::Whole { "" } else { " that is pending" };
        format!("a release of Helm {}{how} comes home", self.major)
    }

    fn executor(&self) -> &'static str {
        "helm"
    }

    fn tables(&self, world: &World, _: &[Namespace]) -> String {
        fs::write(self.path("kubeconfig"), world.gate.kubeconfig()).unwrap();
        let look =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/executor-helm/commands/helm-look.sh");
        let helm = if self.major == 3 { world.cluster.helm3() } else { world.cluster.helm4() };
        let helm = fs::canonicalize(helm.get_program()).unwrap();
        let environment = format!(
            "environment = {{ KUBECONFIG = \"{}\", HOME = \"{}\", PATH = \"{}\" }}",
            self.path("kubeconfig"),
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
        assert!(self.ships(world, space, "1.0").status().unwrap().success());
        if self.found == Found::Whole {
            assert!(self.ships(world, space, "2.0").status().unwrap().success());
            return;
        }
        let mut helm = self.ships(world, space, "2.0-not-ready").spawn().unwrap();
        until("a helm in the middle of it", || {
            let shop = world.cluster.api().get(&space.path("apps/v1", "deployments/shop")).ok()?;
            let image = shop["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
            image.contains("2.0").then_some(())
        });
        helm.kill().unwrap();
        helm.wait().unwrap();
        assert_eq!(Self::records(world, space), ["deployed", "pending-upgrade"]);
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
