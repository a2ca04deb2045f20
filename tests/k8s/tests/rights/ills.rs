//! What each playbook mends, and what somebody does to a target so that it has to: pods that are unwell, nodes, changed configurations,
//! and owners that write from Git.

use std::{fs, process::Command, thread, time::Duration};

use backstay_sdk::executor::{Outcome, Steps, Task};
use backstay_test_k8s::{Fault, objects, until};
use backstay_test_real::built;
use serde_json::{Value, json};

use super::{
    installed::{said, waits},
    target::{APPS, ARGO, Target, image},
};

const KUSTOMIZE: &str = "kustomize.toolkit.fluxcd.io/v1";
const FLUX_HELM: &str = "helm.toolkit.fluxcd.io/v2";
const ISTIO: &str = "networking.istio.io/v1";

impl Target<'_> {
    /// Looks at it when all is well, and when something isn't: then more is asked for.
    #[track_caller]
    pub(crate) fn is_looked_at<E: Steps>(&self) {
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

    /// A budget allows nothing for a moment, so that pods are looked at again.
    #[track_caller]
    pub(crate) fn is_restarted<E: Steps>(&self) {
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
    pub(crate) fn is_resized<E: Steps>(&self) {
        self.falls_ill(Some(Fault::OutOfMemory { below: 150 << 20 }));
        waits("a pod that isn't ready", || self.ready() == 1);
        self.plays::<E>("resize");
        self.is_whole();
    }

    #[track_caller]
    pub(crate) fn is_scaled<E: Steps>(&self) {
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
    pub(crate) fn is_ejected<E: Steps>(&self) {
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
    pub(crate) fn is_drained<E: Steps>(&self) {
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
    pub(crate) fn is_known_to_be_good(&self, version: &str, kinds: &[&str]) {
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
    pub(crate) fn is_restored<E: Steps>(&self, kinds: &[&str]) {
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
    pub(crate) fn has_owners(&self) {
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

    pub(crate) fn frozen(&self) -> [Value; 3] {
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
