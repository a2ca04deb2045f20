//! A chart of somebody's product, shipped by a real Helm, and what becomes of it.

use std::fs;

use backstay_test_k8s::objects;
use executor_helm::Helm;
use serde_json::{Value, json};

use super::{
    installed::{said, waits},
    target::{APPS, Target},
};

/// A chart of somebody's product: of each kind one that stays and changes, one that only its first revision has, and one of the second.
pub(crate) struct Product<'w> {
    pub(crate) target: Target<'w>,
    chart: String,
}

impl<'w> Product<'w> {
    pub(crate) fn of(target: Target<'w>) -> Self {
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

    pub(crate) fn helm(&self, args: &[&str]) -> String {
        let it = &self.target.world.it;
        said(it.major.helm(&it.cluster).args(args).args(["--namespace", self.target.space().name()]))
    }

    pub(crate) fn ships(&self, version: &str, only: &str) {
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

    /// Twice there, and home again. Once something is gone that Helm would delete, so that it looks whether the namespace is there: as after
    /// a helm that was killed before it made everything.
    #[track_caller]
    pub(crate) fn is_brought_back(&self) {
        self.ships("1.0.0", "first");
        self.ships("2.0.0", "second");
        self.target.api().delete(&self.target.at("v1", "configmaps/second")).unwrap();
        self.target.plays::<Helm>("look");
        self.target.goes_home::<Helm>();
        self.ships("2.0.0", "second");
        self.target.goes_home::<Helm>();
        assert_eq!(self.status()["version"], 5);
    }

    pub(crate) fn status(&self) -> Value {
        let told = self.helm(&["status", self.target.name, "--output", "json"]);
        serde_json::from_str(&told).unwrap()
    }

    /// Somebody's helm is killed in the middle, and what it left is repaired.
    #[track_caller]
    pub(crate) fn is_repaired(&self) {
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
