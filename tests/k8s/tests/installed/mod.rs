//! The server's chart, rendered and installed by the real Helms, and what it makes: the configuration that a server would read, and an
//! account with its rights.
//!
//! Here: either Helm, installing, and reading what was made from the API server. Not here: what is tested, and what a right is (`granted`).
#![allow(dead_code, reason = "each test that shares this takes what it needs")]

pub mod granted;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use backstay_sdk::settings::{Setting, Value as Set};
use backstay_test_k8s::{Api, ControlPlane, Host, Namespace, Programs, until};
use backstay_test_real::built;
use serde_json::{Value, json};
use tempfile::TempDir;

use granted::{Asked, Right};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// What it is called, as a release of Helm.
const NAME: &str = "backstay";

/// Both Helms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    Three,
    Four,
}

pub const MAJORS: [Major; 2] = [Major::Three, Major::Four];

impl Major {
    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Three => "helm3",
            Self::Four => "helm4",
        }
    }

    /// Helm, as an administrator of a cluster runs it.
    pub fn helm(self, cluster: &ControlPlane) -> Command {
        let mut helm = match self {
            Self::Three => cluster.helm3(),
            Self::Four => cluster.helm4(),
        };
        helm.stdin(Stdio::null());
        helm
    }
}

/// A file or a folder of the tree.
pub fn of_tree(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap().join(path)
}

pub fn chart() -> PathBuf {
    of_tree("kubernetes-integration/chart")
}

/// What a command printed.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    let (well, told) = tried(command);
    assert!(well, "{command:?}: {told}");
    told
}

/// Whether it went well, and what it printed: all of it where it didn't.
#[track_caller]
pub fn tried(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => (true, text(&output.stdout)),
        false => (false, text(&output.stdout) + &text(&output.stderr)),
    }
}

/// The chart as a Helm renders it, without asking a cluster; or what it says is wrong.
pub fn rendered(programs: &Programs, major: Major, values: &[&Path]) -> Result<String, String> {
    let mut helm = Command::new(programs.program(major.program()));
    // Without a cluster a Helm that was built from its module takes it for an old one.
    helm.args(["template", NAME]).arg(chart()).args(["--namespace", NAME, "--kube-version", "1.36.3"]);
    for values in values {
        helm.arg("--values").arg(values);
    }
    match tried(&mut helm) {
        (true, told) => Ok(told),
        (false, told) => Err(told),
    }
}

/// The chart, installed in a namespace of its own.
pub struct Installed {
    pub cluster: ControlPlane,
    pub space: Namespace,
    pub major: Major,
    pub dir: TempDir,
    token: String,
}

impl Installed {
    /// Installs it with these values. What it watches need not be there yet, but for the namespaces.
    pub fn with(cluster: &ControlPlane, major: Major, values: &Value) -> Self {
        let (space, dir) = (cluster.namespace("backstay"), tempfile::tempdir().unwrap());
        let file = dir.path().join("values.json");
        fs::write(&file, values.to_string()).unwrap();
        let mut helm = major.helm(cluster);
        helm.args(["install", NAME]).arg(chart()).arg("--values").arg(file);
        said(helm.args(["--namespace", space.name()]));
        let token = cluster.api().token(space.name(), NAME).unwrap();
        let installed = Self { cluster: cluster.clone(), space, major, dir, token };
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "it", "cluster": { "server": cluster.api().server(), "certificate-authority": cluster.ca() } }],
            "users": [{ "name": "it", "user": { "token": installed.token } }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
            "current-context": "it",
        });
        fs::write(installed.path("kubeconfig"), kubeconfig.to_string()).unwrap();
        installed
    }

    pub fn api(&self) -> &Api {
        self.cluster.api()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The keys of a ConfigMap that it made.
    pub fn config_map(&self, name: &str) -> BTreeMap<String, String> {
        let map = self.api().get(&self.space.path("v1", &format!("configmaps/{name}"))).unwrap();
        let data = map["data"].as_object().unwrap();
        data.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().into())).collect()
    }

    /// `backstay.toml`.
    pub fn configuration(&self) -> toml::Table {
        self.config_map(NAME)["backstay.toml"].parse().unwrap()
    }

    /// What the executor of a target is told: the file's settings.
    pub fn settings(&self, target: &str) -> Vec<Setting> {
        let file: toml::Table =
            self.config_map(&format!("{NAME}-targets"))[&format!("{target}.toml")].parse().unwrap();
        let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
        let value = |value: &toml::Value| match value {
            toml::Value::String(text) => Set::Text(text.clone()),
            toml::Value::Integer(number) => Set::Number(*number),
            toml::Value::Boolean(flag) => Set::Flag(*flag),
            toml::Value::Array(texts) => Set::Texts(texts.iter().map(text).collect()),
            other @ (toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_)) => {
                panic!("{other:?}")
            }
        };
        let settings = file["settings"].as_table().unwrap();
        settings.iter().map(|(name, set)| Setting { name: name.clone(), value: value(set) }).collect()
    }

    /// The server's hands with the account's token, and the commands of its configuration: the places of the image are places here.
    pub fn host(&self) -> Host {
        let configuration = self.configuration();
        let commands = configuration.get("commands").and_then(toml::Value::as_table);
        let here = |argument: &str| {
            let programs = built().programs;
            let helm = self.major.helm(&self.cluster).get_program().to_str().unwrap().to_owned();
            match argument {
                "/usr/bin/helm" => helm,
                "/usr/bin/backstay" => programs.join("backstay").display().to_string(),
                "/etc/backstay/keyring" => self.path("keys/keyring").display().to_string(),
                "/usr/share/backstay/helm/helm-look.sh" => {
                    of_tree("plugins/executor-helm/commands/helm-look.sh").display().to_string()
                }
                other => match other.strip_prefix("/usr/share/backstay/lkg/") {
                    Some(target) => self.path(&format!("lkg/{target}")).display().to_string(),
                    None => other.into(),
                },
            }
        };
        let commands: Vec<(&str, Vec<String>, Duration)> = commands
            .into_iter()
            .flatten()
            .map(|(name, command)| {
                let argv = command["argv"].as_array().unwrap();
                let argv = argv.iter().map(|argument| here(argument.as_str().unwrap())).collect();
                (name.as_str(), argv, Duration::from_secs(60))
            })
            .collect();
        let text = |path: PathBuf| path.display().to_string();
        let environment = BTreeMap::from([
            // In place of the address of the cluster that a pod's Helm is told.
            ("KUBECONFIG".to_owned(), text(self.path("kubeconfig"))),
            ("HOME".to_owned(), text(self.path("home"))),
            ("PATH".to_owned(), env::var("PATH").unwrap_or_default()),
        ]);
        Host::of(&self.cluster, &self.token).with_commands(&environment, &commands)
    }

    /// What its account was granted, by the chart and by nobody else.
    pub fn rights(&self) -> Vec<Right> {
        let called = format!("{}-{NAME}", self.space.name());
        let mut roles = self.api().list(&format!("{RBAC}/roles")).unwrap();
        roles.extend(self.api().list(&format!("{RBAC}/clusterroles")).unwrap());
        roles.retain(|role| role["metadata"]["name"] == called);
        roles.iter().flat_map(Right::of).collect()
    }

    /// What its account asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        let account = format!("system:serviceaccount:{}:{NAME}", self.space.name());
        Asked::by(&account, &self.cluster.audit())
    }

    /// Its account may from now on do what `change` leaves of the Role in a namespace.
    pub fn is_granted_less(&self, space: &Namespace, change: impl FnOnce(&mut Vec<Value>)) {
        let called = format!("{}-{NAME}", self.space.name());
        let path = format!("{RBAC}/namespaces/{}/roles/{called}", space.name());
        let mut role = self.api().get(&path).unwrap();
        change(role["rules"].as_array_mut().unwrap());
        self.api().replace(&path, &role).unwrap();
    }
}

/// Waits until `look` holds.
pub fn waits(what: &str, mut look: impl FnMut() -> bool) {
    until(what, || look().then_some(()));
}
