//! A plant in the hands of a test: a data base of pumps that is a target, the service on it, and a server that watches both.
//!
//! Here: starting them with the configuration that an operator would write, and asking as people and pipelines do. Not here: what
//! has to come of it (the stories).

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use backstay_test_fleet::{Build, Cli, Fleet, Pace};
use backstay_test_real::{
    Built, Exporter, FlagsDouble, Pager, Postgres, RealPrometheus, built, pump_commands,
};
use serde_json::Value;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a command line came to.
pub struct Said {
    pub exit: Option<i32>,
    /// What it printed, if that was JSON.
    pub json: Value,
    pub error: String,
}

/// The whole of it.
pub struct Plant {
    pub pages: Pager,
    pub fleet: Fleet,
    /// A person.
    ann: Cli,
    /// A pipeline.
    pipeline: Cli,
    dir: tempfile::TempDir,
    _exporter: Exporter,
    prometheus: RealPrometheus,
}

impl Plant {
    /// Starts everything around a data base; `None` if something of it isn't installed.
    pub fn opens(postgres: &Postgres, flags: &FlagsDouble) -> Option<Self> {
        let exporter = Exporter::start();
        exporter.says("# TYPE slow_queries gauge\nslow_queries 0\n# TYPE errors gauge\nerrors 0\n");
        let prometheus = RealPrometheus::start(&exporter)?;
        let Built { programs, plugins } = built();
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::start(&dir.path().join("fleet"), &programs, &plugins, Pace::default()).unwrap();
        for plugin in ["executor-commands", "executor-db"] {
            let component = plugins.join(format!("{plugin}.wasm"));
            let build = Build { plugin, component: &component, version: None, sequence: 1 };
            fleet.layout.grant(&fleet.cli, &plugins, build).unwrap();
        }
        let caller = |name: &str| Cli::new(&programs, &fleet.layout.url(), &dir.path().join(name));
        let (ann, pipeline) = (caller("ann"), caller("pipeline"));
        let pages = Pager::start();
        let mut plant = Self { pages, fleet, ann, pipeline, dir, prometheus, _exporter: exporter };
        plant.is_configured(postgres, flags);
        Some(plant)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn is_configured(&mut self, postgres: &Postgres, flags: &FlagsDouble) {
        self.fleet.kill_server();
        let config = self.path("fleet/server/backstay.toml");
        self.callers(&config);
        let (dir, bundles) = (self.dir.path().display(), self.fleet.layout.plugins.display());
        // What runs of the service is what a file says.
        write(&self.path("version"), "2.1\n");
        script(&self.path("bin/status"), &format!("echo version=$(cat {dir}/version)"));
        script(&self.path("bin/go-home"), &format!("echo \"$1\" > {dir}/version"));
        let top = format!("targets = \"{dir}/targets.d\"\nverdict_key = \"{dir}/fleet/keys/verdict.pem\"");
        let commands: String = pump_commands(postgres).iter().map(psql).collect();
        let tables = format!(
            r#"
[policies.tree]
bundle = "{bundles}/policy-tree.bundle"
[executors.db]
bundle = "{bundles}/executor-db.bundle"
settings = {{ read-new-flag = "read-new", flag-change-path = "/flags/{{flag}}", flag-settle-ms = 500, batches-per-run = 8, batch-pause-ms = 100 }}
[executors.service]
bundle = "{bundles}/executor-commands.bundle"
settings = {{ look-pause-ms = 200 }}
[prometheus.main]
url = "{prometheus}"
[page]
url = "http://127.0.0.1:{pages}/hook"
[brakes]
per_hour = 60
per_domain_hour = 60
[endpoints.flags]
base = "{flags}"
methods = ["POST", "PUT"]
paths = ["/ofrep/v1/evaluate/flags", "/flags"]
asks = ["/ofrep/v1/evaluate/flags"]
headers = {{ content-type = "application/json" }}
[commands.status]
argv = ["{dir}/bin/status"]
[commands.go-home]
argv = ["{dir}/bin/go-home"]
extra_args = true
{commands}"#,
            prometheus = self.prometheus.url(),
            pages = self.pages.port(),
            flags = flags.base(),
        );
        self.fleet.configure(&top, &tables).unwrap();
        write(&self.path("targets.d/pumps-db.toml"), DATA_BASE);
        write(&self.path("targets.d/pumps.toml"), SERVICE);
        self.fleet.cli.local(&["check", "--config", &config.display().to_string()]).unwrap();
        self.fleet.start_server().unwrap();
    }

    /// Gives a person and a pipeline names and tokens of their own, beside the fleet's.
    fn callers(&self, config: &Path) {
        let token = fs::read_to_string(self.path("fleet/server/token")).unwrap();
        let mut lines = format!("fleet admin {}\n", token.trim());
        for (name, role) in [("ann", "operator"), ("pipeline", "ci")] {
            let own = format!("{name}-{}", token.trim());
            write(&self.path(name), &own);
            lines.push_str(&format!("{name} {role} {own}\n"));
        }
        write(&self.path("tokens"), &lines);
        let written = fs::read_to_string(config).unwrap();
        let (all, one) = (self.path("tokens"), self.path("fleet/server/token"));
        let told = written.replace(
            &format!("token_file = \"{}\"", one.display()),
            &format!("token_file = \"{}\"", all.display()),
        );
        assert_ne!(told, written);
        write(config, &told);
    }

    /// How far the migration is.
    pub fn shown(&self) -> Value {
        self.says(&["migration", "show", "pumps-db"]).json
    }

    /// What a person types, whatever comes of it.
    pub fn says(&self, arguments: &[&str]) -> Said {
        said(&self.ann, arguments)
    }

    /// The same of a pipeline.
    pub fn pipeline(&self, arguments: &[&str]) -> Said {
        said(&self.pipeline, arguments)
    }

    /// A step, to its end.
    pub fn steps(&self, wish: &str) -> Value {
        let began = Instant::now();
        let said = self.orders(wish, &["--wait", "--every", "200ms", "--timeout", "2m"]);
        assert_eq!(said.exit, Some(0), "{wish}: {}\n{}", said.error, self.log());
        println!("summary: {wish} took {} ms: {}", began.elapsed().as_millis(), said.json["phase"]);
        said.json
    }

    /// A step, without waiting for it.
    pub fn orders(&self, wish: &str, more: &[&str]) -> Said {
        self.says(&[&["migration", wish, "pumps-db", "--reason", "schema 8"], more].concat())
    }

    /// A step that has to be refused, for this and with this way out.
    pub fn is_refused(&self, wish: &str, why: &str, way_out: &str) {
        let before = self.shown()["phase"].clone();
        refused(&self.orders(wish, &["--wait"]), why, way_out);
        assert_eq!(self.shown()["phase"], before);
    }

    /// Waits until something holds of the migration.
    pub fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until_shown(what, || self.shown(), holds)
    }

    /// Waits until something holds of what is shown.
    pub fn until_shown(
        &self,
        what: &str,
        shows: impl Fn() -> Value,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let shown = shows();
            if holds(&shown) {
                return shown;
            }
            assert!(Instant::now() < until, "waited in vain until {what}: {shown:#}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// A pipeline lets out a release of the service that lives with these schemas.
    pub fn deploys(&self, version: &str, stage: &str, schema: &str) {
        write(&self.path("version"), version);
        let said = self.pipeline(&[
            "target",
            "deployed",
            "pumps",
            "--version",
            version,
            "--stage",
            stage,
            "--schema",
            schema,
        ]);
        assert_eq!(said.exit, Some(0), "{}", said.error);
    }

    /// The same, and the release stays good until it may be gone back to.
    pub fn is_out(&self, version: &str, schema: &str) {
        self.deploys(version, "100%", schema);
        let shows = || self.says(&["target", "show", "pumps"]).json;
        self.until_shown("it is confirmed", shows, |view| view["out"]["confirmed"] == true);
    }

    /// What the server's journal has, a line for each record.
    pub fn events(&self) -> Vec<String> {
        let events = self.says(&["events"]).json["events"].as_array().cloned().unwrap_or_default();
        events.iter().filter_map(|event| event["what"].as_str()).map(str::to_owned).collect()
    }

    /// Waits until somebody was paged about this.
    pub fn is_paged(&self, about: &str) {
        let came = || self.pages.heard().iter().any(|page| page.contains(about));
        self.fleet.wait(&format!("a page says {about:?}"), PATIENCE, came).unwrap_or_else(|trouble| {
            panic!("{trouble}: {:#?}\n{}", self.pages.heard(), self.log());
        });
    }

    /// The end of what the server said.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.path("fleet/server/log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// The data base as a target.
const DATA_BASE: &str = r#"
mode = "enforce"
window = "5s"
policy = "tree"
executor = "db"
prometheus = "main"

[[objective]]
name = "slow-queries"
critical = false
value = { candidate = "slow_queries" }
above = 0.5

[migration]
from = 7
to = 8
release = "2.2"
writer = "database"
soak = "1m"
"#;

/// The service on it.
const SERVICE: &str = r#"
mode = "enforce"
window = "5s"
policy = "tree"
executor = "service"
prometheus = "main"

[[objective]]
name = "errors"
value = { candidate = "errors" }
above = 0.5

[rails]
confirm_windows = 1
cure_windows = 1

[schema]
of = "pumps-db"
"#;

/// A command that may not have been granted, with the reason and the way out.
pub fn refused(said: &Said, why: &str, way_out: &str) {
    assert_eq!(said.exit, Some(4), "{}", said.error);
    assert!(said.error.contains(why), "{}", said.error);
    assert!(said.error.contains(way_out), "{}", said.error);
}

fn said(cli: &Cli, arguments: &[&str]) -> Said {
    let (exit, out, error) = cli.exit(arguments).unwrap();
    Said { exit, json: serde_json::from_str(&out).unwrap_or_default(), error }
}

fn psql((name, argv): &(&str, Vec<String>)) -> String {
    format!(
        "[commands.{name}]\nargv = {argv:?}\nenvironment = {{ PGOPTIONS = \"-c client_min_messages=warning\" }}\ntimeout = \"5m\"\n"
    )
}

fn script(path: &Path, line: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    write(path, &format!("#!/bin/sh\n{line}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
