//! The server that is tested, before a real control plane: a process of `backstay serve` that watches things of Kubernetes.
//!
//! Here: keys and signed plugins, the configuration that an operator would write, starting and killing the process, and asking it as
//! people and pipelines do. It reaches the API server through a [`Gate`], so that a test sees each request and can stop it.
//! Not here: what it watches (each test says so), and what has to come of it.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use backstay_test_fleet::{Build, Cli, Layout, Pace};
use backstay_test_real::{Built, Caller, Pager, built};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Api, Gate,
    process::{Process, removed_after_us},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked whether something has come about.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// So many lines of what the server said are shown where something failed.
const SHOWN_LINES: usize = 60;
/// What is said again and again.
const PROGRESS: [&str; 5] = [" stepped: ", " sleep ", "asked the policy", " answered (", " is watched ("];
/// The executors for Kubernetes, by the names that targets call them by here.
const EXECUTORS: [(&str, &str); 3] =
    [("rollouts", "executor-rollouts"), ("deployment", "executor-deployment"), ("helm", "executor-helm")];

/// What all servers of this process share: keys, and plugins that are signed with them. Clones are the same.
#[derive(Clone)]
pub struct Keys(Arc<Made>);

struct Made {
    dir: PathBuf,
    layout: Layout,
    cli: Cli,
    token: String,
}

/// Those of this process: to sign a plugin takes a compiler, and so a moment.
static SHARED: OnceLock<Keys> = OnceLock::new();

impl Keys {
    /// Makes them, if nobody has: a vendor signs the executors and the policy as they were built, and the operator grants them.
    ///
    /// # Panics
    /// If something of it isn't built, or can't be signed.
    #[must_use]
    pub fn make() -> Self {
        SHARED.get_or_init(Self::made).clone()
    }

    fn made() -> Self {
        let Built { programs, plugins } = built();
        let dir = tempfile::Builder::new().prefix("backstay-keys-").tempdir();
        let dir = dir.unwrap_or_else(|e| panic!("no folder for keys: {e}")).keep();
        removed_after_us(&dir);
        let made = Layout::make(&dir.join("base"), &programs, &plugins, Pace::default(), None);
        let (layout, cli) = made.unwrap_or_else(|e| panic!("no keys: {e}"));
        for (_, plugin) in EXECUTORS {
            let component = plugins.join(format!("{plugin}.wasm"));
            assert!(component.is_file(), "{plugin} is not built: cargo xtask plugins builds it");
            let build = Build { plugin, component: &component, version: None, sequence: 1 };
            layout.grant(&cli, &plugins, build).unwrap_or_else(|e| panic!("{plugin} is not granted: {e}"));
        }
        let token = fs::read_to_string(layout.dir.join("server/token")).unwrap_or_default();
        Self(Arc::new(Made { dir, layout, cli, token: token.trim().to_owned() }))
    }

    /// The folder with the keys themselves: `release.pem`, `keyring` and the others.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.0.layout.keys.clone()
    }

    /// The command line, for what needs no server.
    #[must_use]
    pub fn cli(&self) -> &Cli {
        &self.0.cli
    }

    /// Where `backstay` is.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.0.layout.programs.join("backstay")
    }
}

/// What a server is told beside what all of them are.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Tables of `backstay.toml`: commands above all.
    pub tables: String,
    /// What each executor is told, by its name here, over what all are told.
    pub settings: Vec<(&'static str, String)>,
    /// The files of its targets, without `.toml`.
    pub targets: Vec<(String, String)>,
}

/// A server with a place and a port of its own. It is killed when this is dropped.
pub struct Plant {
    /// Where its pages go.
    pub pages: Pager,
    dir: TempDir,
    program: PathBuf,
    server: SocketAddr,
    token: String,
    process: Option<Process>,
    asks: Caller,
    cli: Cli,
}

impl Plant {
    /// Starts one that remembers nothing yet, and waits until it answers.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn opens(keys: &Keys, api: &Api, gate: &Gate, watch: &Watch) -> Self {
        let Made { dir: shared, layout, token, .. } = &*keys.0;
        let dir = tempfile::tempdir_in(shared).unwrap_or_else(|e| panic!("no folder: {e}"));
        let (server, token) = (free_address(), token.clone());
        let asks = Caller::new(server, token.clone());
        let url = format!("http://{server}");
        let cli = Cli::new(&layout.programs, &url, &layout.dir.join("server/token"));
        let program = layout.programs.join("backstay");
        let pages = Pager::start();
        let mut plant = Self { pages, dir, program, server, token, process: None, asks, cli };
        plant.is_set_up(layout, api, gate, watch);
        plant.starts();
        plant
    }

    fn is_set_up(&self, layout: &Layout, api: &Api, gate: &Gate, watch: &Watch) {
        let dir = self.dir.path().display();
        let (keys, plugins) = (layout.keys.display(), layout.plugins.display());
        let mut config = format!(
            r#"state = "{dir}/state"
keyring = "{keys}/keyring"
director_key = "{keys}/director.pem"
verdict_key = "{keys}/verdict.pem"
embedded_broker = "{broker}"
targets = "{dir}/targets.d"
[api]
listen = "{listen}"
token_file = "{token}"
[policy]
bundle = "{plugins}/policy-tree.bundle"
[policies.tree]
bundle = "{plugins}/policy-tree.bundle"
[endpoints.kubernetes]
base = "{base}"
credential = {{ file = "{dir}/credential", header = "authorization", scheme = "Bearer" }}
methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
paths = ["/api", "/apis"]
asks = ["/apis/authentication.k8s.io/v1/selfsubjectreviews"]
json = true
[page]
url = "http://127.0.0.1:{pages}/hook"
[brakes]
per_hour = 64
per_domain_hour = 64
"#,
            broker = free_address(),
            listen = self.server,
            token = layout.dir.join("server/token").display(),
            base = gate.base(),
            pages = self.pages.port(),
        );
        // One that nothing is for would not know which object it is.
        let is_called = |name: &str| {
            watch.targets.iter().any(|(_, text)| text.contains(&format!("executor = \"{name}\"")))
        };
        for (name, plugin) in EXECUTORS.into_iter().filter(|(name, _)| is_called(name)) {
            let more = watch.settings.iter().find(|(of, _)| *of == name).map_or("", |(_, more)| more);
            let _ = write!(
                config,
                "[executors.{name}]\nbundle = \"{plugins}/{plugin}.bundle\"\nsettings = {{ poll-ms = 200{comma}{more} }}\n",
                comma = if more.is_empty() { "" } else { ", " },
            );
        }
        config.push_str(&watch.tables);
        self.writes("backstay.toml", &config);
        self.writes("credential", api.authorization().trim_start_matches("Bearer "));
        for (name, text) in &watch.targets {
            self.writes(&format!("targets.d/{name}.toml"), text);
        }
        let file = self.path("backstay.toml").display().to_string();
        let checked = self.cli.local(&["check", "--config", &file]);
        checked.unwrap_or_else(|e| panic!("{e}\n{config}"));
    }

    /// A file of its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of its folder.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn writes(&self, name: &str, text: &str) {
        let file = self.path(name);
        let folder = file.parent().unwrap_or(Path::new("/"));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&file, text));
        written.unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
    }

    /// Starts the process, and waits until it answers. Gives how long that took.
    ///
    /// # Panics
    /// If it doesn't answer.
    pub fn starts(&mut self) -> Duration {
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(self.path("backstay.toml"));
        self.process = Some(Process::start("server", command, self.dir.path()));
        self.comes("it answers", |plant| plant.asks.asks("GET", "/v1/targets", "").ok().map(drop));
        began.elapsed()
    }

    /// The process, and nothing but it, is ended in the middle of whatever it does.
    pub fn is_killed(&mut self) {
        self.process = None;
        // What was asked by the connection to the one before has no answer any more.
        self.asks = Caller::new(self.server, self.token.clone());
    }

    /// The command line of an operator.
    #[must_use]
    pub fn cli(&self) -> &Cli {
        &self.cli
    }

    /// Asks it, as long as it runs. Gives the status and the answer.
    ///
    /// # Panics
    /// If there is no answer, or no JSON.
    pub fn asks(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (code, answer) = self.asks.insists(method, path, &body);
        let json = serde_json::from_str(&answer).unwrap_or(Value::String(answer));
        (code, json)
    }

    /// Says something about a target, or has something done to it: `deployments`, `metrics`, `rollback` and the like.
    ///
    /// # Panics
    /// If that is refused.
    pub fn says(&mut self, service: &str, what: &str, body: &Value) -> Value {
        let (code, answer) = self.asks("POST", &format!("/v1/targets/{service}/{what}"), body);
        assert_eq!(code, 200, "{what} of {service}: {answer:#}\n{}", self.log());
        answer
    }

    /// What is known of a target.
    ///
    /// # Panics
    /// If nothing is.
    pub fn view(&mut self, service: &str) -> Value {
        let (code, view) = self.asks("GET", &format!("/v1/targets/{service}"), &Value::Null);
        assert_eq!(code, 200, "{service}: {view:#}");
        view
    }

    /// A release goes out to all, and is so good that it may be gone back to. The target is judged by `errors` alone.
    ///
    /// # Panics
    /// If that doesn't come about.
    pub fn has_good(&mut self, service: &str, version: &str) {
        self.says(service, "deployments", &json!({"version": version}));
        self.until(service, "it is confirmed", |plant, _| {
            let view = plant.says(service, "metrics", &json!({"errors": 0}));
            view["out"]["confirmed"] == true
        });
    }

    /// Waits until something holds of a target, and gives what is known of it then.
    ///
    /// # Panics
    /// If it doesn't come about.
    pub fn until(
        &mut self,
        service: &str,
        what: &str,
        mut holds: impl FnMut(&mut Self, &Value) -> bool,
    ) -> Value {
        self.comes(what, |plant| {
            let view = plant.view(service);
            holds(plant, &view).then_some(view)
        })
    }

    /// Waits until the server has nothing under way for a target.
    ///
    /// # Panics
    /// If that doesn't come about.
    pub fn until_it_ended(&mut self, service: &str) -> Value {
        self.until(service, "the run has ended", |_, view| view["run"].is_null())
    }

    /// Incidents of a target, newest first, each with its story.
    pub fn incidents(&mut self, service: &str) -> Vec<Value> {
        let (_, mut all) = self.asks("GET", "/v1/incidents", &Value::Null);
        let mut all = all.as_array_mut().map(std::mem::take).unwrap_or_default();
        all.retain(|incident| incident["service"] == service);
        let story =
            |incident: &Value| self.asks("GET", &format!("/v1/incidents/{}", incident["id"]), &Value::Null).1;
        all.iter().map(story).collect()
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_some())
    }

    /// The last lines of what it said, without those that say that something goes on.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.path("server.log")).unwrap_or_default();
        let is_news = |line: &&str| PROGRESS.iter().all(|word| !line.contains(word));
        let lines: Vec<&str> = log.lines().filter(is_news).collect();
        lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
    }

    fn comes<T>(&mut self, what: &str, mut came: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(come) = came(self) {
                return come;
            }
            let alive = !self.has_ended();
            assert!(alive && Instant::now() < until, "waited in vain until {what} ({alive})\n{}", self.log());
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// An address that nobody listens at, and that no connection begins at either: those begin at 127.0.0.1, and one could take
/// the port of a server that is down for a moment.
fn free_address() -> SocketAddr {
    let bound = TcpListener::bind("127.0.0.2:0").and_then(|listener| listener.local_addr());
    bound.unwrap_or_else(|e| panic!("no free port on 127.0.0.2: {e}"))
}
