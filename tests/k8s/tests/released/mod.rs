//! A shop that is released by the real Helm, 3 or 4, for the tests of the executor that takes it home.
//!
//! Here: a chart, helm as people and pipelines run it, helm as our executor runs it (with the scripts that come with it), and what is kept
//! and live afterwards. Not here: what is tested.
#![allow(dead_code, reason = "each test that shares this takes what it needs")]

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use backstay_sdk::{
    executor::{Release, Task},
    settings::{Setting, Value as Set},
};
use backstay_test_k8s::{Api, ControlPlane, Host, Namespace, Ran, until};
use executor_helm::Helm;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the executor has to be allowed of a namespace, and nothing else: API group, resources, verbs. Helm has an account of its own.
const RULES: [(&str, &[&str], &[&str]); 4] = [
    ("coordination.k8s.io", &["leases"], &["get", "create", "patch"]),
    ("apps", &["deployments", "statefulsets"], &["get"]),
    ("", &["persistentvolumeclaims"], &["get"]),
    ("argoproj.io", &["applications"], &["get", "patch"]),
];
/// The same of no namespace: what holds data is looked at.
const CLUSTER_RULES: [(&str, &[&str], &[&str]); 2] = [
    ("", &["namespaces", "persistentvolumes"], &["get"]),
    ("apiextensions.k8s.io", &["customresourcedefinitions"], &["get"]),
];
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Both Helms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    Three,
    Four,
}

pub const MAJORS: [Major; 2] = [Major::Three, Major::Four];

/// A namespace with a Helm release called shop in it.
pub struct Shop {
    pub cluster: ControlPlane,
    pub space: Namespace,
    pub major: Major,
    pub dir: TempDir,
    token: String,
}

/// One record, as Helm says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub revision: u64,
    pub status: String,
    pub description: String,
    pub version: String,
}

pub fn release(version: &str) -> Release {
    Release { version: version.into(), digest: "ab".repeat(32), length: 1, security_epoch: 0 }
}

pub fn home(version: &str) -> Task {
    Task::GoHome(release(version))
}

pub fn text(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: Set::Text(value.into()) }
}

pub fn number(name: &str, value: i64) -> Setting {
    Setting { name: name.into(), value: Set::Number(value) }
}

fn image(version: &str) -> String {
    format!("registry.test/shop:{version}")
}

impl Shop {
    /// `None` after it was said why the test is skipped.
    pub fn opens(major: Major) -> Option<Self> {
        let cluster = ControlPlane::start()?;
        let space = cluster.namespace("helm");
        let (api, name) = (cluster.api(), space.name().to_owned());
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "backstay" } });
        api.create(&space.path("v1", "serviceaccounts"), &account).unwrap();
        let rules = |rules: &[(&str, &[&str], &[&str])]| -> Vec<Value> {
            let one = |&(group, resources, verbs): &(&str, &[&str], &[&str])| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
            rules.iter().map(one).collect()
        };
        let subjects = json!([{ "kind": "ServiceAccount", "name": "backstay", "namespace": name }]);
        for (kind, called, path, rules) in [
            ("Role", "backstay".to_owned(), space.path(RBAC, ""), rules(&RULES)),
            ("ClusterRole", format!("backstay-{name}"), format!("/apis/{RBAC}/"), rules(&CLUSTER_RULES)),
        ] {
            let role =
                json!({ "apiVersion": RBAC, "kind": kind, "metadata": { "name": called }, "rules": rules });
            let path = path.trim_end_matches('/');
            api.create(&format!("{path}/{}s", kind.to_lowercase()), &role).unwrap();
            let to = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": called });
            let binding = json!({ "apiVersion": RBAC, "kind": format!("{kind}Binding"), "metadata": { "name": called }, "roleRef": to, "subjects": subjects });
            api.create(&format!("{path}/{}bindings", kind.to_lowercase()), &binding).unwrap();
        }
        let token = api.token(&name, "backstay").unwrap();
        let shop = Self { cluster, space, major, dir: tempfile::tempdir().unwrap(), token };
        shop.has_chart();
        Some(shop)
    }

    pub fn api(&self) -> &Api {
        self.cluster.api()
    }

    fn has_chart(&self) {
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: shop\nspec:\n  replicas: 2\n  progressDeadlineSeconds: 600\n  \
             selector: {matchLabels: {app: shop}}\n  template:\n    metadata:\n      labels: {app: shop}{{ with .Values.fault }}\n      annotations: {kubelet.backstay.test/fault: {{ . }}}{{ end }}\n    spec:\n      containers:\n      \
             - name: app\n        image: \"registry.test/shop:{{ .Values.version }}\"\n        env: [{name: CONFIG, value: {{ .Values.config | quote }}}]\n";
        let hook = "{{- if .Values.hook }}\napiVersion: batch/v1\nkind: Job\nmetadata:\n  name: shop-before\n  annotations:\n    \
             helm.sh/hook: pre-rollback\n    helm.sh/hook-delete-policy: before-hook-creation\nspec:\n  backoffLimit: 0\n  template:\n    metadata:\n      annotations: {kubelet.backstay.test/runs: 500ms}\n    spec:\n      \
             restartPolicy: Never\n      containers:\n      - name: hook\n        image: registry.test/{{ .Values.hook }}\n{{- end }}\n";
        let things =
            "{{- range $path, $_ := .Files.Glob \"things/*\" }}\n---\n{{ $.Files.Get $path }}\n{{- end }}\n";
        for (path, text) in [
            ("values.yaml", "version: \"0\"\nconfig: \"\"\nfault: \"\"\nhook: \"\"\n"),
            ("templates/deployment.yaml", deployment),
            ("templates/hook.yaml", hook),
            ("templates/things.yaml", things),
        ] {
            self.writes(&format!("chart/{path}"), text);
        }
        self.has_version("0.0");
    }

    fn has_version(&self, version: &str) {
        let plain: String = version.split('-').next().unwrap().into();
        let chart = format!("apiVersion: v2\nname: shop\nversion: {plain}.0\nappVersion: \"{version}\"\n");
        self.writes("chart/Chart.yaml", &chart);
    }

    pub fn writes(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Helm, as whoever is at a terminal runs it.
    pub fn helm(&self, args: &[&str]) -> Command {
        let mut helm = match self.major {
            Major::Three => self.cluster.helm3(),
            Major::Four => self.cluster.helm4(),
        };
        helm.args(args).args(["--namespace", self.space.name()]).stdin(Stdio::null());
        helm
    }

    #[track_caller]
    pub fn helms(&self, args: &[&str]) -> Output {
        let ran = self.helm(args).output().unwrap();
        assert!(ran.status.success(), "helm {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        ran
    }

    /// A pipeline brings a version out, and waits until it is ready. Whether that went well.
    pub fn ships(&self, version: &str, more: &[&str]) -> bool {
        let waits = ["--wait", "--timeout", if more.contains(&"3s") { "3s" } else { "60s" }];
        let more: Vec<&str> = more.iter().copied().filter(|it| *it != "3s").chain(waits).collect();
        self.lets_out(version, &more)
    }

    /// The same without waiting.
    pub fn lets_out(&self, version: &str, more: &[&str]) -> bool {
        self.has_version(version);
        let (chart, version) = (self.path("chart"), format!("version={version}"));
        let mut args = vec!["upgrade", "--install", "shop", &chart, "--set-string", &version];
        args.extend(more);
        self.helm(&args).output().unwrap().status.success()
    }

    /// Which program it is.
    fn program(&self) -> String {
        self.helm(&[]).get_program().to_str().unwrap().into()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let home = self.path("home");
        let kubeconfig = self.cluster.kubeconfig().display().to_string();
        let path = env::var("PATH").unwrap_or_default();
        BTreeMap::from([("HOME".into(), home), ("KUBECONFIG".into(), kubeconfig), ("PATH".into(), path)])
    }

    /// A server's hands: with the endpoint of this cluster, and both commands; the one that goes back may take so long, and is run through
    /// `through`, a script of the test's own, if there is one.
    pub fn host(&self, timeout: Duration, through: Option<&str>) -> Host {
        let look: PathBuf =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/executor-helm/commands/helm-look.sh");
        let look = vec![look.canonicalize().unwrap().display().to_string(), self.program()];
        let mut back = vec![self.program(), "rollback".into()];
        if let Some(script) = through {
            let path = self.dir.path().join(format!("through-{}", script.len()));
            fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            back.insert(0, path.display().to_string());
        }
        Host::of(&self.cluster, &self.token).with_commands(
            &self.environment(),
            &[("helm-look", look, Duration::from_secs(30)), ("helm-rollback", back, timeout)],
        )
    }

    /// The executor's settings, and these.
    pub fn config(&self, more: &[Setting]) -> Vec<Setting> {
        let mut config = vec![
            text("namespace", self.space.name()),
            text("name", "shop"),
            text("workload", "deployment/shop"),
            number("wait-ms", 30_000),
            number("poll-ms", 200),
            number("lock-ms", 60_000),
        ];
        config.retain(|setting| more.iter().all(|other| other.name != setting.name));
        config.extend_from_slice(more);
        config
    }

    pub fn runs(&self, task: Task) -> Ran {
        self.host(Duration::from_secs(60), None).run::<Helm>(&self.config(&[]), task)
    }

    /// What Helm keeps, oldest first.
    pub fn history(&self) -> Vec<Kept> {
        let said = self.helms(&["history", "shop", "--output", "json"]).stdout;
        let records: Vec<Value> = serde_json::from_slice(&said).unwrap();
        let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
        let one = |of: &Value| Kept {
            revision: of["revision"].as_u64().unwrap(),
            status: text(of, "status"),
            description: text(of, "description"),
            version: text(of, "app_version"),
        };
        records.iter().map(one).collect()
    }

    pub fn newest(&self) -> Kept {
        self.history().pop().unwrap()
    }

    /// The newest revision of a version that came up, as whoever is at a terminal names it.
    pub fn revision_of(&self, version: &str) -> String {
        let whole =
            |it: &&Kept| it.version == version && matches!(it.status.as_str(), "deployed" | "superseded");
        self.history().iter().rfind(whole).unwrap().revision.to_string()
    }

    /// The version that is live.
    pub fn live(&self) -> String {
        let shop = self.api().get(&self.space.path("apps/v1", "deployments/shop")).unwrap();
        let image = shop["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        image.rsplit(':').next().unwrap().into()
    }

    /// Writes another version by hand, past Helm.
    pub fn is_patched(&self, version: &str) {
        let path = self.space.path("apps/v1", "deployments/shop");
        let change = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image(version) }]);
        self.api().patch(&path, &change).unwrap();
    }

    pub fn lease(&self) -> Value {
        self.api()
            .get(&self.space.path("coordination.k8s.io/v1", "leases/backstay-helm-shop"))
            .unwrap_or_default()
    }

    /// That the newest record is of this version, whole, the only one that is deployed, and what is live; and that pods run it.
    #[track_caller]
    pub fn is_home(&self, version: &str) {
        let history = self.history();
        let newest = history.last().unwrap();
        assert_eq!(newest.status, "deployed", "{history:#?}");
        let deployed = history.iter().filter(|it| it.status == "deployed").count();
        assert_eq!(deployed, 1, "{history:#?}");
        assert_eq!(self.live(), version, "{history:#?}");
        let recorded = self.helms(&["get", "manifest", "shop"]).stdout;
        assert!(
            String::from_utf8_lossy(&recorded).contains(&image(version)),
            "what is recorded isn't {version}"
        );
        let ready = || {
            let shop = self.api().get(&self.space.path("apps/v1", "deployments/shop")).ok()?;
            let status = &shop["status"];
            (status["updatedReplicas"] == 2 && status["readyReplicas"] == 2 && status["replicas"] == 2)
                .then_some(())
        };
        until("pods of it", ready);
        assert!(self.lease()["spec"]["holderIdentity"].is_null(), "{}", self.lease());
    }
}
