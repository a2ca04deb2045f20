//! A control plane of a test's own: the real programs on ports of 127.0.0.1, ended with the test's process.
//!
//! Here: how they are started, and what a test gets hold of: [`Api`], [`Kubelet`], namespaces, and the command line tools. Not here:
//! what the nodes do (`kubelet`).
//!
//! All tests of a process share one, each in a namespace of its own. Times that are minutes elsewhere are seconds here, so that
//! they can be waited for: how long a silent node counts as ready, how long its pods stay, and how often autoscalers look.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Api, Kubelet, Programs,
    credentials::{ADMIN, CONTROLLERS, Credentials, GITOPS, NODES},
    definitions,
    process::{Process, removed_after_us},
    until,
};

/// How long one program may take until it can be asked.
const READY: Duration = Duration::from_secs(120);
/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How many ports are tried. Another process may take one between our look and the program's.
const PORTS: u32 = 5;
/// How many nodes there are from the beginning.
const NODES_AT_FIRST: u32 = 3;
/// After so many seconds of silence a node isn't ready any more. A busy machine keeps a node silent for a second or two.
const NODE_SILENT_S: u32 = 8;
/// So many seconds later its pods are given up; 300 elsewhere. A pod may say otherwise by tolerations of its own.
const PODS_STAY_S: u32 = 5;

/// How often autoscalers look; 15 elsewhere.
const AUTOSCALERS_LOOK_S: u32 = 2;
/// So many lines of what a program said are shown where it failed.
const SHOWN_LINES: usize = 20;

/// The one of this process.
static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();

/// A running control plane. Clones are the same one; it ends with the process.
#[derive(Clone)]
pub struct ControlPlane(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    programs: Programs,
    credentials: Credentials,
    api: Api,
    kubelet: Kubelet,
    kubeconfig: PathBuf,
    processes: Mutex<Vec<Process>>,
    namespaces: AtomicU32,
    took: Duration,
}

/// A namespace of a test's own.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl ControlPlane {
    /// The one that all tests of this process share. `None` after it was said why the test is skipped.
    ///
    /// # Panics
    /// If its programs are there and don't start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let shared = SHARED.get_or_init(|| {
            let programs = Programs::find()?;
            let folder = tempfile::Builder::new().prefix("backstay-k8s-").tempdir();
            let folder = folder.unwrap_or_else(|e| panic!("no folder for a control plane: {e}")).keep();
            removed_after_us(&folder);
            Ok(Self::run(programs, &folder))
        });
        match shared {
            Ok(one) => Some(one.clone()),
            Err(why) => {
                println!("skipped, because {why}");
                None
            }
        }
    }

    /// Starts one that keeps its files in `folder`.
    ///
    /// # Panics
    /// If one of its programs doesn't start.
    #[must_use]
    pub fn run(programs: Programs, folder: &Path) -> Self {
        let (ready, is_ready) = mpsc::channel();
        let folder = folder.to_owned();
        // Its programs die with the thread that started them: not with that of the first test, but with the process.
        thread::spawn(move || {
            let one = Self::run_here(programs, folder);
            // Whoever asked waits for it.
            let _ = ready.send(one);
            loop {
                thread::park();
            }
        });
        // What went wrong was printed by the thread.
        is_ready.recv().unwrap_or_else(|_| panic!("the control plane doesn't start"))
    }

    fn run_here(programs: Programs, folder: PathBuf) -> Self {
        let began = Instant::now();
        let credentials = Credentials::make(&folder);
        let (etcd, store) = etcd(&programs, &folder);
        let (server, port) = api_server(&programs, &credentials, &folder, &store);
        let address = format!("https://127.0.0.1:{port}");
        let as_whom = |name| Api::new(&address, &credentials.ca, credentials.token(name));
        let api = as_whom(ADMIN);
        // Before the controllers: what isn't defined when they start, they would look for later or never.
        definitions::install(&api, &programs.definitions());
        let kubeconfig = credentials.kubeconfig(ADMIN, &address);
        let config = credentials.kubeconfig(CONTROLLERS, &address);
        let manager = controller_manager(&programs, &credentials, &folder, &config);
        let rollouts = rollouts(&programs, &folder, &config);
        let kubelet = Kubelet::start(&as_whom(NODES));
        for number in 1..=NODES_AT_FIRST {
            kubelet.add_node(&format!("node-{number}"), &[]);
        }
        let processes = Mutex::new(vec![etcd, server, manager, rollouts]);
        let one = Self(Arc::new(Inner {
            folder,
            programs,
            credentials,
            api,
            kubelet,
            kubeconfig,
            processes,
            namespaces: AtomicU32::new(0),
            took: began.elapsed(),
        }));
        one.has_account("default");
        one
    }

    /// Asks the API server as an administrator.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.0.api
    }

    /// The same as somebody else who manages objects, with a token of their own: their user is `gitops`.
    #[must_use]
    pub fn gitops(&self) -> Api {
        self.api().with_token(self.0.credentials.token(GITOPS))
    }

    /// Its nodes.
    #[must_use]
    pub fn kubelet(&self) -> &Kubelet {
        &self.0.kubelet
    }

    /// The file with the certificate that the API server's goes back to.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.0.credentials.file("ca.pem")
    }

    /// The administrator's configuration for command line tools.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.0.kubeconfig
    }

    /// How long it took to start.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.0.took
    }

    /// `kubectl`, as an administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.tool("kubectl")
    }

    /// Argo Rollouts' plugin for `kubectl`, as an administrator.
    #[must_use]
    pub fn argo(&self) -> Command {
        self.tool("kubectl-argo-rollouts")
    }

    /// Helm 3, as an administrator.
    #[must_use]
    pub fn helm3(&self) -> Command {
        self.tool("helm3")
    }

    /// Helm 4, as an administrator.
    #[must_use]
    pub fn helm4(&self) -> Command {
        self.tool("helm4")
    }

    /// Asks `etcd` for its version.
    #[must_use]
    pub fn etcd_version(&self) -> Command {
        let mut command = self.tool("etcd");
        command.arg("--version");
        command
    }

    /// A namespace that no other test has, once pods can be made in it.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn namespace(&self, about: &str) -> Namespace {
        let name = format!("{about}-{}", self.0.namespaces.fetch_add(1, Ordering::Relaxed) + 1);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let made = self.api().create("/api/v1/namespaces", &object);
        made.unwrap_or_else(|e| panic!("no namespace {name}: {e}"));
        self.has_account(&name);
        Namespace { name }
    }

    /// What service accounts asked of the API server since it started: an event of its audit log for each request.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.0.folder.join("audit.log")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Its processes, with the memory that each has now, in KiB.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, u64)> {
        let resident = |id| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::trim));
            line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0)
        };
        self.processes().into_iter().map(|(name, id)| (name, resident(id))).collect()
    }

    /// Its processes by their numbers.
    #[must_use]
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let processes = self.0.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().map(|process| (process.name(), process.id())).collect()
    }

    /// The last lines that a program said: `etcd`, `kube-apiserver`, `kube-controller-manager`, `rollouts-controller`.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let processes = self.0.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().find(|process| process.name() == name).map_or_else(String::new, Process::log)
    }

    /// One of its programs that has ended, which none should, and what it said.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let mut processes = self.0.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter_mut().find_map(|process| {
            process
                .ended()
                .map(|how| format!("{} ended with {how}: {}", process.name(), last_lines(&process.log())))
        })
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.0.programs.program(name));
        let home = self.0.folder.join("home");
        // Nothing of the person whose machine this is.
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &home).env_remove("XDG_CONFIG_HOME");
        command.env("HELM_CACHE_HOME", home.join("cache")).env("HELM_CONFIG_HOME", home.join("config"));
        command.env("HELM_DATA_HOME", home.join("data"));
        command
    }

    /// Pods are refused until their namespace's account is there.
    fn has_account(&self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        until(&format!("the account of namespace {namespace}"), || {
            if let Some(why) = self.broken() {
                panic!("{why}");
            }
            self.api().get(&path).ok()
        });
    }
}

impl Namespace {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of things in it: of `v1` and `pods/x`, or `apps/v1` and `deployments`.
    #[must_use]
    pub fn path(&self, version: &str, what: &str) -> String {
        let root = if version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{version}/namespaces/{}/{what}", self.name)
    }
}

fn etcd(programs: &Programs, folder: &Path) -> (Process, String) {
    let start = |[client, peer]: [u16; 2]| {
        let (clients, peers) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new(programs.program("etcd"));
        command.arg("--data-dir").arg(folder.join("etcd"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        // What it keeps is thrown away: nobody needs it to survive a power cut.
        command.args(["--unsafe-no-fsync", "--log-level", "warn"]);
        Process::start("etcd", command, folder)
    };
    let (process, [client, _]) = on_free_ports("etcd", start, |[client, _]| is_open(client));
    (process, format!("http://127.0.0.1:{client}"))
}

fn api_server(programs: &Programs, credentials: &Credentials, folder: &Path, store: &str) -> (Process, u16) {
    // Who has which role is looked at for what service accounts ask, and for nobody else.
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
    });
    let policy = credentials.write("audit-policy.json", &policy.to_string());
    let file = |name: &str| credentials.file(name).display().to_string();
    let start = |[port]: [u16; 1]| {
        let mut command = Command::new(programs.program("kube-apiserver"));
        command.args([
            format!("--etcd-servers={store}"),
            "--bind-address=127.0.0.1".into(),
            "--advertise-address=127.0.0.1".into(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", file("server.pem")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--default-not-ready-toleration-seconds={PODS_STAY_S}"),
            format!("--default-unreachable-toleration-seconds={PODS_STAY_S}"),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", folder.join("audit.log").display()),
            "--enable-priority-and-fairness=false".into(),
            "--profiling=false".into(),
        ]);
        command.current_dir(folder);
        Process::start("kube-apiserver", command, folder)
    };
    let ready = |[port]: [u16; 1]| {
        let server = format!("https://127.0.0.1:{port}");
        is_open(port) && Api::new(&server, &credentials.ca, credentials.token(ADMIN)).get("/readyz").is_ok()
    };
    let (process, [port]) = on_free_ports("kube-apiserver", start, ready);
    (process, port)
}

fn controller_manager(
    programs: &Programs,
    credentials: &Credentials,
    folder: &Path,
    config: &Path,
) -> Process {
    let mut command = Command::new(programs.program("kube-controller-manager"));
    command.args([
        format!("--kubeconfig={}", config.display()),
        // It serves nothing.
        "--secure-port=0".into(),
        "--leader-elect=false".into(),
        format!("--service-account-private-key-file={}", credentials.file("accounts.key").display()),
        format!("--root-ca-file={}", credentials.file("ca.pem").display()),
        "--node-monitor-period=500ms".into(),
        format!("--node-monitor-grace-period={NODE_SILENT_S}s"),
        format!("--node-startup-grace-period={NODE_SILENT_S}s"),
        format!("--horizontal-pod-autoscaler-sync-period={AUTOSCALERS_LOOK_S}s"),
        // As quick where most nodes are silent as where one is: with three of them one is a third.
        "--node-eviction-rate=10".into(),
        "--secondary-node-eviction-rate=10".into(),
        "--large-cluster-size-threshold=0".into(),
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
        "--profiling=false".into(),
    ]);
    command.current_dir(folder);
    Process::start("kube-controller-manager", command, folder)
}

fn rollouts(programs: &Programs, folder: &Path, config: &Path) -> Process {
    let start = |[metrics, health]: [u16; 2]| {
        let mut command = Command::new(programs.program("rollouts-controller"));
        command.arg("--kubeconfig").arg(config).args(["--leader-elect=false", "--loglevel=warn"]);
        command.args(["--qps=500", "--burst=1000"]);
        command.args([format!("--metricsPort={metrics}"), format!("--healthzPort={health}")]);
        command.env("HOME", folder).env("POD_NAMESPACE", "default").current_dir(folder);
        Process::start("rollouts-controller", command, folder)
    };
    on_free_ports("rollouts-controller", start, |[_, health]| is_open(health)).0
}

/// Starts a program on ports that nobody has, and waits until it is ready.
fn on_free_ports<const N: usize>(
    name: &str,
    start: impl Fn([u16; N]) -> Process,
    ready: impl Fn([u16; N]) -> bool,
) -> (Process, [u16; N]) {
    let mut said = String::new();
    for _ in 0..PORTS {
        let ports = free_ports();
        let mut process = start(ports);
        let began = Instant::now();
        while process.ended().is_none() && began.elapsed() < READY {
            if ready(ports) {
                return (process, ports);
            }
            thread::sleep(LOOK_AGAIN);
        }
        said = last_lines(&process.log());
    }
    panic!("{name} doesn't start; it says:\n{said}");
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All of them are held before the first is let go, so that no two are the same.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    held.map(|listener| {
        let address = listener.and_then(|listener| listener.local_addr());
        address.unwrap_or_else(|e| panic!("no free port on 127.0.0.1: {e}")).port()
    })
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
}
