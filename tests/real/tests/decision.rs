//! The decision service with real processes: a server, a Prometheus that looks at a service whose errors rise, and targets that
//! are moved by commands. One story for each class of failure: a regression, a flake of the infrastructure, drift of a
//! configuration, and data that can't go back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay_test_fleet::{Build, Fleet, Pace};
use backstay_test_real::{Built, Exporter, Pager, RealPrometheus, built, program};
use serde_json::Value;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// A service on both sides of a canary: requests, and errors among them, as counters.
#[derive(Clone, Copy, Default)]
struct Counters {
    requests: u64,
    stable_errors: u64,
    canary_errors: u64,
    drift: u8,
}

impl Counters {
    fn text(self) -> String {
        let Self { requests, stable_errors, canary_errors, drift } = self;
        format!(
            "# TYPE requests_total counter\n\
             requests_total{{track=\"stable\"}} {requests}\nrequests_total{{track=\"canary\"}} {requests}\n\
             # TYPE errors_total counter\n\
             errors_total{{track=\"stable\"}} {stable_errors}\nerrors_total{{track=\"canary\"}} {canary_errors}\n\
             # TYPE config_drift gauge\nconfig_drift {drift}\n"
        )
    }
}

/// The whole of it.
struct Shop {
    dir: tempfile::TempDir,
    fleet: Fleet,
    exporter: Exporter,
    prometheus: RealPrometheus,
    pages: Pager,
    counters: Counters,
    /// Of 100 requests, on either side.
    errors: (u64, u64),
    /// The file of a target that is added while the server runs.
    orders: String,
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Shop {
    /// Starts everything; `None` if something of it isn't installed.
    fn opens() -> Option<Self> {
        program("mosquitto")?;
        let Built { programs, plugins } = built();
        let dir = tempfile::tempdir().unwrap();
        let exporter = Exporter::start();
        let prometheus = RealPrometheus::start(&exporter)?;
        let fleet = Fleet::start(&dir.path().join("fleet"), &programs, &plugins, Pace::default()).unwrap();
        let commands = plugins.join("executor-commands.wasm");
        let build = Build { plugin: "executor-commands", component: &commands, version: None, sequence: 1 };
        fleet.layout.grant(&fleet.cli, &plugins, build).unwrap();
        let (counters, errors) = (Counters::default(), (0, 0));
        let pages = Pager::start();
        Some(Self { dir, fleet, exporter, prometheus, pages, counters, errors, orders: String::new() })
    }

    /// A target that is judged by its errors on both sides.
    fn written(service: &str, canary: &str, stable: &str, rails: &str) -> String {
        format!(
            "service = \"{service}\"\nmode = \"enforce\"\nwindow = \"10s\"\nexecutor = \"shop\"\npolicy = \"tree\"\n\
             prometheus = \"main\"\nrunbook = \"https://wiki.example/{service}\"\n\
             playbooks = [ {{ name = \"restart\", attempts = 3 }} ]\n\
             [[objective]]\nname = \"errors\"\ncritical = true\ncandidate = {canary}\nbaseline = {stable}\n{rails}"
        )
    }

    /// The server reads its targets anew, as SIGHUP has it do.
    fn reloads(&self) {
        let id = self.fleet.server_id().unwrap().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn runs(&self) -> String {
        fs::read_to_string(self.path("shop/version")).unwrap().trim().to_owned()
    }

    /// Writes what the server is to watch, and starts it anew.
    fn watches(&mut self) {
        let (dir, bundles) = (self.dir.path().display(), self.fleet.layout.plugins.display());
        write(&self.path("shop/version"), "1.0");
        write(&self.path("shop/log"), "");
        // What runs is what a file says; commands are what an operator would have in their place.
        write(&self.path("bin/status"), &format!("#!/bin/sh\necho version=$(cat {dir}/shop/version)\n"));
        write(
            &self.path("bin/go-home"),
            &format!(
                "#!/bin/sh\necho \"go-home $1\" >> {dir}/shop/log\necho \"$1\" > {dir}/shop/version\n[ ! -f {dir}/shop/slow ] || sleep 5\n"
            ),
        );
        write(&self.path("bin/restart"), &format!("#!/bin/sh\necho restart >> {dir}/shop/log\n"));
        for command in ["status", "go-home", "restart"] {
            let made = Command::new("chmod").arg("+x").arg(self.path("bin").join(command)).status().unwrap();
            assert!(made.success());
        }
        let playbooks =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/executor-commands/playbooks");
        let drift = format!("\"{dir}/desired\", \"map\", \"{dir}/live\"");
        let tables = format!(
            r#"
[policies.tree]
bundle = "{bundles}/policy-tree.bundle"
settings = {{ breach-permille = 100 }}
[policies.drift]
bundle = "{bundles}/policy-tree.bundle"
settings = {{ playbook = "drift" }}
[executors.shop]
bundle = "{bundles}/executor-commands.bundle"
settings = {{ status = "status", go-home = "go-home", restart = "restart", look-pause-ms = 200 }}
[executors.config]
bundle = "{bundles}/executor-commands.bundle"
[prometheus.main]
url = "{url}"
[page]
url = "http://127.0.0.1:{pages}/hook/shop"
[brakes]
per_hour = 60
per_domain_hour = 60
[commands.status]
argv = ["{dir}/bin/status"]
[commands.go-home]
argv = ["{dir}/bin/go-home"]
extra_args = true
[commands.restart]
argv = ["{dir}/bin/restart"]
[commands.drift-look]
argv = ["/bin/sh", "{playbooks}/drift-look.sh", {drift}]
environment = {{ PATH = "/usr/bin:/bin", HOME = "/" }}
[commands.drift-fix]
argv = ["/bin/sh", "{playbooks}/drift-fix.sh", {drift}]
environment = {{ PATH = "/usr/bin:/bin", HOME = "/" }}
extra_args = true
"#,
            url = self.prometheus.url(),
            pages = self.pages.port(),
            playbooks = playbooks.display(),
        );
        let targets = format!("targets = \"{dir}/targets.d\"");
        let ratio = |track: &str| {
            format!(
                "{{ bad = 'sum(increase(errors_total{{track=\"{track}\"}}[10s]))', \
                 total = 'sum(increase(requests_total{{track=\"{track}\"}}[10s]))' }}"
            )
        };
        let rails =
            "[rails]\nconfirm_windows = 1\ncure_windows = 1\nbackoff_base = \"1s\"\nbackoff_cap = \"1s\"\n";
        self.orders = format!(
            "{}[schema]\nversion = 8\n",
            Self::written("orders", &ratio("canary"), &ratio("stable"), rails)
        );
        let shop = Self::written("shop", &ratio("canary"), &ratio("stable"), rails);
        write(&self.path("targets.d/shop.toml"), &shop);
        let config = format!(
            "mode = \"enforce\"\nwindow = \"5s\"\nexecutor = \"config\"\npolicy = \"drift\"\nprometheus = \"main\"\n\
             playbooks = [ {{ name = \"drift\", attempts = 3 }} ]\n\
             [[objective]]\nname = \"as-desired\"\ncritical = true\nvalue = {{ candidate = 'config_drift' }}\nabove = 0.5\n{rails}"
        );
        write(&self.path("targets.d/config.toml"), &config);
        self.fleet.kill_server();
        self.fleet.configure(&targets, &tables).unwrap();
        let config = self.path("fleet/server/backstay.toml").display().to_string();
        self.fleet.cli.local(&["check", "--config", &config]).unwrap();
        self.fleet.start_server().unwrap();
    }

    /// Time passes, and requests come in.
    fn serves(&mut self) {
        self.counters.requests += 100;
        self.counters.stable_errors += self.errors.0;
        self.counters.canary_errors += self.errors.1;
        self.exporter.says(self.counters.text());
    }

    fn target(&self, service: &str) -> Value {
        self.fleet.cli.ask(&["target", "show", service]).unwrap()
    }

    /// Waits until something holds of a target, with requests coming in.
    fn until(&mut self, service: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            self.serves();
            let view = self.target(service);
            if holds(&view) {
                return;
            }
            let log = fs::read_to_string(self.path("fleet/server/log")).unwrap_or_default();
            assert!(std::time::Instant::now() < until, "waited in vain until {what}: {view:#}\n{log}");
            std::thread::park_timeout(Duration::from_millis(500));
        }
    }

    fn deploys(&mut self, service: &str, version: &str, stage: &str, schema: Option<&str>) {
        let mut arguments =
            vec!["target", "deployed", service, "--version", version, "--stage", stage, "--build", "77"];
        arguments.extend(schema.map(|schema| ["--schema", schema]).into_iter().flatten());
        self.fleet.cli.ask(&arguments).unwrap();
    }

    fn alerts(&self, infra: &str, status: &str) {
        let body = format!(
            "{{\"version\":\"4\",\"status\":\"{status}\",\"alerts\":[{{\"status\":\"{status}\",\"labels\":{{\
             \"alertname\":\"PodCrash\",\"service\":\"shop\",\"backstay_infra\":\"{infra}\"}},\"annotations\":{{}},\
             \"startsAt\":\"2026-11-27T10:00:00Z\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"fingerprint\":\"a1b2c3d4e5f60718\"}}]}}"
        );
        let (code, answer) = self.posts("/v1/alerts", &body);
        assert_eq!(code, 200, "{answer}");
        assert!(answer.contains("\"taken\":1"), "{answer}");
    }

    /// As Alertmanager does it: HTTP, and a token.
    fn posts(&self, path: &str, body: &str) -> (u16, String) {
        self.asks("POST", path, body)
    }

    fn asks(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let token = fs::read_to_string(self.path("fleet/server/token")).unwrap();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.fleet.layout.api)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            token.trim(),
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (code, answer)
    }

    fn incidents(&self, service: &str) -> Vec<Value> {
        let all = self.fleet.cli.ask(&["incident", "ls"]).unwrap();
        let all = all["incidents"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|incident| incident["service"] == service).collect()
    }

    /// What the journal has of an incident, a line for each record.
    fn story(&self, incident: &Value) -> Vec<String> {
        let id = incident["id"].to_string();
        let story = self.fleet.cli.ask(&["incident", "show", &id]).unwrap();
        let events = story["events"].as_array().cloned().unwrap_or_default();
        events.iter().filter_map(|event| event["what"].as_str()).map(str::to_owned).collect()
    }
}

/// Its releases are good until one isn't. It is brought back by itself, and there is evidence for all of it. Then the
/// infrastructure flakes: that is mended, and the release stays. The configuration drifts: it is brought back. And where the
/// data can't go back, nothing is moved.
#[test]
fn each_class_of_failure_has_its_answer() {
    let Some(mut shop) = Shop::opens() else { return };
    shop.serves();
    shop.watches();
    shop.deploys("shop", "1.0", "100%", None);
    shop.until("shop", "1.0 is confirmed", |view| view["out"]["confirmed"] == true);

    // A regression: errors rise on the canary alone.
    write(&shop.path("shop/version"), "2.0");
    shop.deploys("shop", "2.0", "10%", None);
    shop.until("shop", "the canary is judged good", |view| view["judged"]["action"] == "proceed");
    let plan = shop.fleet.cli.ask(&["plan", "shop", "rollback"]).unwrap();
    assert!(plan["effects"].as_array().unwrap().iter().any(|effect| effect["changes"] == true), "{plan:#}");
    assert_eq!(shop.runs(), "2.0", "a plan changes nothing");
    shop.errors = (0, 40);
    shop.until("shop", "it is brought back", |view| view["out"]["release"]["version"] == "1.0");
    assert_eq!(shop.runs(), "1.0");
    shop.errors = (0, 0);
    shop.until("shop", "the incident is over", |view| view["incident"].is_null());
    let incident = shop.incidents("shop").remove(0);
    assert_eq!(
        (&incident["end"], &incident["left"]["version"]),
        (&"rolled-back".into(), &"2.0".into()),
        "{incident:#}"
    );
    let story = shop.story(&incident);
    let at = |what: &str| {
        story.iter().position(|told| told.contains(what)).unwrap_or_else(|| panic!("{what}: {story:#?}"))
    };
    // Who, what and why, in the order in which it was: the numbers, the quarantine, the command, the end.
    assert!(at("permille, limit 100") < at("is in quarantine"), "{story:#?}");
    assert!(at("is in quarantine") < at("effect") && at("go-home") < at("came home from 2.0"), "{story:#?}");
    assert_eq!(fs::read_to_string(shop.path("shop/log")).unwrap(), "go-home 1.0\n");
    let view = shop.target("shop");
    assert_eq!((&view["breaker"], &view["quarantine"][0]["version"]), (&"open".into(), &"2.0".into()));

    // A flake of the infrastructure: no fault of the code, so it is mended where it is.
    shop.alerts("process-exited", "firing");
    shop.until("shop", "it was restarted", |view| view["attempts"] != 0);
    shop.alerts("process-exited", "resolved");
    shop.until("shop", "it is cured", |view| view["attempts"] == 0 && view["incident"].is_null());
    assert!(fs::read_to_string(shop.path("shop/log")).unwrap().contains("restart\n"));
    assert_eq!(shop.incidents("shop").remove(0)["end"], "healed");
    assert_eq!(shop.runs(), "1.0");

    // The same on figures that a Prometheus can scrape.
    let (code, figures) = shop.asks("GET", "/metrics", "");
    assert_eq!(code, 200);
    assert!(figures.contains("backstay_rollbacks_total{target=\"shop\",end=\"done\"} 1"), "{figures}");
    assert!(figures.contains("backstay_recovery_duration_seconds_count{target=\"shop\"} 2"), "{figures}");

    is_fought(&mut shop);
    is_killed(&mut shop);
    drifts(&mut shop);
    cannot_go_back(&mut shop);
}

/// Somebody lets the bad release out again, and again. Once it is sent back; then two are fighting, and a person is paged.
fn is_fought(shop: &mut Shop) {
    write(&shop.path("shop/version"), "2.0");
    shop.deploys("shop", "2.0", "10%", None);
    shop.until("shop", "it is sent back at once", |view| view["out"]["release"]["version"] == "1.0");
    write(&shop.path("shop/version"), "2.0");
    shop.deploys("shop", "2.0", "10%", None);
    let pages = shop.pages.clone();
    let came = move || pages.heard().iter().filter(|page| page.contains("undone 2 times")).count() == 2;
    shop.fleet.wait("a person is paged, at the second try", PATIENCE, came).unwrap();
    let page = shop.pages.heard().pop().unwrap();
    assert!(page.starts_with("POST /hook/shop ") && page.contains("https://wiki.example/shop"), "{page}");
    assert_eq!(shop.target("shop")["frozen"], true);
    let refused = shop.fleet.cli.exit(&["target", "rollback", "shop", "--reason", "now"]).unwrap();
    assert_eq!(refused.0, Some(4), "{refused:?}");
    write(&shop.path("shop/version"), "1.0");
    shop.deploys("shop", "1.0", "100%", None);
    shop.fleet.cli.ask(&["thaw", "shop", "--reason", "the pipeline is stopped"]).unwrap();
    assert_eq!(shop.target("shop")["hold"], Value::Null);
}

/// The server is killed while a command runs that has done its work already. It starts again, looks, and does nothing twice.
fn is_killed(shop: &mut Shop) {
    write(&shop.path("shop/version"), "3.0");
    shop.deploys("shop", "3.0", "10%", None);
    write(&shop.path("shop/slow"), "");
    let log = shop.path("shop/log");
    let times = move || fs::read_to_string(&log).unwrap().matches("go-home").count();
    let before = times();
    shop.errors = (0, 40);
    let again = times.clone();
    shop.until("shop", "the command has done its work", move |_| again() == before + 1);
    shop.fleet.kill_server();
    fs::remove_file(shop.path("shop/slow")).unwrap();
    let began = std::time::Instant::now();
    shop.fleet.start_server().unwrap();
    shop.errors = (0, 0);
    shop.until("shop", "the run has ended", |view| view["run"].is_null());
    println!("the run had ended {} ms after the server was started again", began.elapsed().as_millis());
    assert_eq!((times(), shop.runs().as_str()), (before + 1, "1.0"));
    shop.until("shop", "it is over", |view| view["incident"].is_null());
    let story = shop.story(&shop.incidents("shop").remove(0));
    assert!(story.iter().any(|told| told.contains("came home from 3.0")), "{story:#?}");
}

/// Somebody changed a configuration by hand: it is brought back to what the Git checkout says.
fn drifts(shop: &mut Shop) {
    if program("git").is_none() {
        return;
    }
    let desired = shop.path("desired");
    write(&desired.join("app.conf"), "workers = 4\n");
    write(&desired.join("map"), "file app.conf app.conf\n");
    let git = |arguments: &[&str]| {
        let git = Command::new("git").arg("-C").arg(&desired).args(arguments).output().unwrap();
        assert!(git.status.success(), "{git:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "desired"]);
    write(&shop.path("live/app.conf"), "workers = 4\n");
    shop.deploys("config", "1", "100%", None);
    shop.until("config", "it is as desired", |view| view["out"]["confirmed"] == true);
    write(&shop.path("live/app.conf"), "workers = 400\n");
    shop.counters.drift = 1;
    let live = shop.path("live/app.conf");
    shop.until("config", "it is brought back", |_| fs::read_to_string(&live).unwrap() == "workers = 4\n");
    shop.counters.drift = 0;
    shop.until("config", "it is cured", |view| view["incident"].is_null() && view["attempts"] == 0);
    assert_eq!(shop.incidents("config").remove(0)["end"], "healed");
}

/// The data are of a version that the release before can't live with: neither forward nor back. The target is added while the
/// server runs; a mistake in its file changes nothing.
fn cannot_go_back(shop: &mut Shop) {
    write(&shop.path("targets.d/orders.toml"), &shop.orders.replace("\"tree\"", "\"tre\""));
    shop.reloads();
    let log = shop.path("fleet/server/log");
    let said = |what: &str| fs::read_to_string(&log).unwrap_or_default().contains(what);
    shop.fleet.wait("the mistake is told", PATIENCE, || said("expected a name in [policies]")).unwrap();
    assert_eq!(shop.fleet.cli.exit(&["target", "show", "orders"]).unwrap().0, Some(3));
    write(&shop.path("targets.d/orders.toml"), &shop.orders.clone());
    shop.reloads();
    shop.fleet
        .wait("it is watched", PATIENCE, || {
            shop.fleet.cli.exit(&["target", "show", "orders"]).is_ok_and(|(code, ..)| code == Some(0))
        })
        .unwrap();
    shop.deploys("orders", "1.0", "100%", Some("5..7"));
    shop.until("orders", "1.0 is confirmed", |view| view["out"]["confirmed"] == true);
    shop.deploys("orders", "2.0", "10%", Some("8..8"));
    shop.errors = (0, 40);
    shop.until("orders", "it is held", |view| !view["hold"].is_null());
    let view = shop.target("orders");
    assert_eq!(view["judged"]["action"], "pause", "{view:#}");
    assert_eq!(view["out"]["release"]["version"], "2.0", "nothing was moved");
    let plan = shop.fleet.cli.exit(&["plan", "orders", "rollback"]).unwrap();
    assert_eq!(plan.0, Some(4), "{plan:?}");
    assert!(plan.2.contains("can't live with the schema"), "{}", plan.2);
    shop.errors = (0, 0);
}
