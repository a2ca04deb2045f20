//! A server with one target that is moved by commands, and what they did.
//!
//! What runs is the last line of a file, to which a release that goes out adds one, and the command that brings it home
//! another: what is done and what is seen of it are one write, so a kill falls before it or after it.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay_test_fleet::{Build, Layout, Pace};
use backstay_test_real::{Built, Caller, Sshd, built};
use serde_json::Value;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether something has come about.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What all servers of a test share: keys, and signed plugins.
pub(crate) struct Base {
    dir: tempfile::TempDir,
    layout: Layout,
    token: String,
}

impl Base {
    pub(crate) fn makes() -> Self {
        let Built { programs, plugins } = built();
        let dir = tempfile::tempdir().unwrap();
        let (layout, cli) =
            Layout::make(&dir.path().join("base"), &programs, &plugins, Pace::default(), None).unwrap();
        let component = plugins.join("executor-commands.wasm");
        let build = Build { plugin: "executor-commands", component: &component, version: None, sequence: 1 };
        layout.grant(&cli, &plugins, build).unwrap();
        let token = fs::read_to_string(layout.dir.join("server/token")).unwrap().trim().to_owned();
        Self { dir, layout, token }
    }
}

/// How the command that brings a release home does its work.
pub(crate) enum Works<'a> {
    /// By itself.
    Itself,
    /// It starts a process that does, in a group of its own, and waits for it.
    ByOffspring,
    /// The same over there, by SSH.
    ByOffspringOf(&'a Sshd),
}

impl Works<'_> {
    /// The command's script. The pauses are there to be killed in: by itself it would be over before anybody is.
    fn script(&self, log: &str) -> String {
        match self {
            Self::Itself => format!("sleep 0.005\necho \"home $1\" >> {log}\nsleep 0.005\n"),
            Self::ByOffspring | Self::ByOffspringOf(_) => {
                format!("timeout 30 sh -c 'sleep 0.8; echo \"home $0\" >> {log}' \"$1\" &\nwait\n")
            }
        }
    }

    /// Where it runs, as the configuration says it.
    fn place(&self) -> String {
        let Self::ByOffspringOf(sshd) = self else { return String::new() };
        let (key, hosts) = (sshd.file("key"), sshd.file("known_hosts"));
        format!(
            r#"ssh = {{ host = "127.0.0.1", port = {}, user = "{}", key = "{}", known_hosts = "{}" }}"#,
            sshd.port(),
            sshd.user(),
            key.display(),
            hosts.display(),
        )
    }
}

/// A server that remembers nothing yet, at a place and a port of its own.
pub(crate) struct Shop {
    dir: tempfile::TempDir,
    program: PathBuf,
    server: SocketAddr,
    token: String,
    process: Option<Child>,
    asks: Caller,
    /// How many releases went out after 0.1.
    out: u32,
}

impl Shop {
    /// Starts it, with a release that may be gone back to.
    pub(crate) fn opens(base: &Base, works: &Works<'_>) -> Self {
        let dir = tempfile::tempdir_in(base.dir.path()).unwrap();
        let (server, token) = (free_address(), base.token.clone());
        let asks = Caller::new(server, token.clone());
        let program = base.layout.programs.join("backstay");
        let mut shop = Self { dir, program, server, token, process: None, asks, out: 0 };
        shop.is_set_up(&base.layout, works);
        shop.adds("out 0.1\n");
        shop.starts();
        let told = "a new server";
        shop.until_it_answers(told);
        shop.says("deployments", r#"{"version":"0.1"}"#, told);
        let view = shop.until(told, "0.1 is confirmed", |shop| {
            let view = shop.says("metrics", r#"{"errors":0.1}"#, told);
            (view["out"]["confirmed"] == true).then_some(view)
        });
        assert_eq!(view["good"][0]["version"], "0.1", "{view:#}");
        shop
    }

    /// Somebody who may ask it.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.server, self.token.clone())
    }

    fn is_set_up(&self, layout: &Layout, works: &Works<'_>) {
        let dir = self.dir.path().display();
        let (keys, plugins) = (layout.keys.display(), layout.plugins.display());
        let (token, broker) = (layout.dir.join("server/token"), free_address());
        let config = format!(
            r#"state = "{dir}/state"
keyring = "{keys}/keyring"
director_key = "{keys}/director.pem"
embedded_broker = "{broker}"
targets = "{dir}/targets.d"
[api]
listen = "{api}"
token_file = "{token}"
[policy]
bundle = "{plugins}/policy-tree.bundle"
[policies.tree]
bundle = "{plugins}/policy-tree.bundle"
[executors.commands]
bundle = "{plugins}/executor-commands.bundle"
settings = {{ looks = 4, look-pause-ms = 20 }}
[commands.status]
argv = ["/bin/sh", "{dir}/status"]
[commands.go-home]
argv = ["/bin/sh", "{dir}/go-home"]
extra_args = true
{place}
[brakes]
per_hour = 64
per_domain_hour = 64
"#,
            api = self.server,
            place = works.place(),
            token = token.display(),
        );
        let target = "mode = \"enforce\"\npolicy = \"tree\"\nexecutor = \"commands\"\n\
            [[objective]]\nname = \"errors\"\nmetric = \"errors\"\nabove = 0.5\n\
            [rails]\nconfirm_windows = 1\nrollbacks_per_hour = 64\nbackoff_base = \"100ms\"\nbackoff_cap = \"100ms\"\n";
        let status =
            format!("while read -r _ version; do runs=$version; done < {dir}/log\necho version=$runs\n");
        let go_home = works.script(&self.path("log").display().to_string());
        fs::create_dir(self.path("targets.d")).unwrap();
        for (file, text) in [
            ("backstay.toml", config.as_str()),
            ("targets.d/shop.toml", target),
            ("status", &status),
            ("go-home", &go_home),
        ] {
            fs::write(self.path(file), text).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn starts(&mut self) {
        let said = File::options().create(true).append(true).open(self.path("said")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--config").arg(self.path("backstay.toml"));
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        self.process = Some(command.spawn().unwrap());
    }

    /// The process, and nothing but it, is ended in the middle of whatever it does.
    pub(crate) fn is_killed(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// A new release goes out to a part of the traffic.
    pub(crate) fn lets_out(&mut self, told: &str) {
        self.out += 1;
        let version = format!("1.{}", self.out);
        self.adds(&format!("out {version}\n"));
        let view = self.says("deployments", &format!(r#"{{"version":"{version}","stage":100}}"#), told);
        assert_eq!(view["out"]["release"]["version"], version.as_str(), "{told}: {view:#}");
    }

    fn adds(&self, line: &str) {
        let file = File::options().create(true).append(true).open(self.path("log"));
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn says(&mut self, what: &str, body: &str, told: &str) -> Value {
        let (code, answer) = self.asks.insists("POST", &format!("/v1/targets/shop/{what}"), body);
        assert_eq!(code, 200, "{told}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Whether the command has done its work.
    pub(crate) fn came_home(&self) -> bool {
        read(&self.path("log")).lines().last().is_some_and(|line| line.starts_with("home "))
    }

    pub(crate) fn until_it_answers(&mut self, told: &str) {
        self.until(told, "it answers", |shop| shop.view(told));
    }

    pub(crate) fn until_it_ended(&mut self, told: &str) {
        self.until(told, "the run has ended", |shop| {
            let view = shop.view(told)?;
            assert_eq!(view["frozen"], false, "{told}: {view:#}");
            (view["run"].is_null() && view["out"]["release"]["version"] == "0.1").then_some(())
        });
    }

    /// Each release that went out came home once.
    pub(crate) fn has_one_effect_for_each(&self, told: &str) {
        let wanted: String = (1..=self.out).map(|out| format!("out 1.{out}\nhome 0.1\n")).collect();
        let log = read(&self.path("log"));
        assert!(log == format!("out 0.1\n{wanted}"), "{told}: not one line for each: {log}");
    }

    /// The journal has one run for the last that went out, and one end of it.
    pub(crate) fn had_one_run(&mut self, told: &str) {
        let mut shown = |path: &str| -> Value {
            let (code, answer) = self.asks.insists("GET", path, "");
            assert_eq!(code, 200, "{told}: {answer}");
            serde_json::from_str(&answer).unwrap()
        };
        let incidents = shown("/v1/incidents");
        let story = shown(&format!("/v1/incidents/{}", incidents[0]["id"]));
        let events = story["events"].as_array().cloned().unwrap_or_default();
        let times = |what: &str| {
            events
                .iter()
                .filter(|event| event["what"].as_str().is_some_and(|told| told.contains(what)))
                .count()
        };
        let left = format!("came home from 1.{} ", self.out);
        let (begins, came_home) = (times(" begins: go home to 0.1 "), times(&left));
        assert_eq!((begins, came_home), (1, 1), "{told}: {story:#}");
    }

    /// How often a new process found what commands of the one before had started.
    pub(crate) fn told_of_leftovers(&self) -> usize {
        read(&self.path("said")).matches("processes of commands that outlived the server").count()
    }

    fn view(&mut self, told: &str) -> Option<Value> {
        let (code, answer) = self.asks.asks("GET", "/v1/targets/shop", "").ok()?;
        assert_eq!(code, 200, "{told}: {answer}");
        Some(serde_json::from_str(&answer).unwrap())
    }

    fn until<T>(&mut self, told: &str, what: &str, mut came: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(come) = came(self) {
                return come;
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            assert!(
                ended.is_none() && Instant::now() < until,
                "{told}: waited in vain until {what} ({ended:?})\n{:?}\n{}",
                self.asks.asks("GET", "/v1/targets/shop", ""),
                read(&self.path("said"))
            );
            thread::park_timeout(LOOK_AGAIN);
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A test that failed may leave it running.
        self.is_killed();
    }
}

/// An address that nobody listens at, and that no connection begins at either: those begin at 127.0.0.1, and one could take
/// the port of a server that is down for a moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
