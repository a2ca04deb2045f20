//! A whole fleet: keys, signed plugins, signed releases, a broker, a server and devices.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use backstay_test_service::{Fault, Nature};
use serde_json::Value;

use crate::{Broker, Cli, Device, Process, Trouble, free_port, process::stop_wanted, trouble};

/// The versions that there are, with how they go bad after so many seconds.
pub const VERSIONS: [(&str, Fault); 4] = [
    ("1.4.0", Fault::None),
    ("1.5.0", Fault::None),
    ("2.0.0", Fault::Fails(10)),
    ("2.1.0", Fault::Hangs(10)),
];

/// How long anything may take before it counts as not working.
const PATIENCE: Duration = Duration::from_secs(60);

/// Times, all of them settings that are documented.
#[derive(Clone, Debug)]
pub struct Pace {
    /// A window of a device.
    pub window: &'static str,
    /// Between two probes.
    pub probe: &'static str,
    /// Between two signs of life.
    pub beat: &'static str,
    /// How long a release has to be healthy.
    pub trial: &'static str,
    /// Within which.
    pub trial_limit: &'static str,
    /// A window of the server.
    pub server_window: &'static str,
    /// The largest message that the broker takes, in bytes; 0 is any.
    pub message_bytes_max: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            window: "2s",
            probe: "1s",
            beat: "2s",
            trial: "20s",
            trial_limit: "90s",
            server_window: "2s",
            message_bytes_max: 256 * 1024,
        }
    }
}

/// What the server shows to callers, and what they trust.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate, for `localhost`.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Where everything of a fleet is.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The fleet's folder.
    pub dir: PathBuf,
    /// `backstay`, `backstay-agent` and `demo-service` are in here.
    pub programs: PathBuf,
    /// The operator's keys.
    pub keys: PathBuf,
    /// The signed plugins.
    pub plugins: PathBuf,
    /// The server's port.
    pub api: u16,
    /// The broker's port.
    pub broker: u16,
    /// Times.
    pub pace: Pace,
    /// The server's TLS, if its API speaks it.
    pub tls: Option<Tls>,
}

impl Layout {
    /// The server's API, as devices and the command line call it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.tls {
            Some(_) => format!("https://localhost:{}", self.api),
            None => format!("http://127.0.0.1:{}", self.api),
        }
    }

    /// Makes keys and signed plugins in `dir`, and starts nothing. `components`: where the portable plugins are.
    ///
    /// # Errors
    /// Says what did not work out.
    pub fn make(
        dir: &Path,
        programs: &Path,
        components: &Path,
        pace: Pace,
        tls: Option<Tls>,
    ) -> Result<(Self, Cli), Trouble> {
        let port = || free_port().map_err(trouble("no port is free"));
        let layout = Self {
            dir: dir.into(),
            programs: programs.into(),
            keys: dir.join("keys"),
            plugins: dir.join("plugins"),
            api: port()?,
            broker: port()?,
            pace,
            tls,
        };
        for folder in [&layout.plugins, &dir.join("artifacts"), &dir.join("server")] {
            fs::create_dir_all(folder).map_err(trouble(format!("cannot make {}", folder.display())))?;
        }
        let token = dir.join("server/token");
        fs::write(&token, random_token()).map_err(trouble("cannot write the token"))?;
        let ca = layout.tls.as_ref().map(|tls| tls.ca.as_path());
        let cli = Cli::new(programs, &layout.url(), &token).trusting(ca);
        cli.local(&["keys", "init", "--fleet", "demo", "--dir", &text(&layout.keys)])?;
        for plugin in ["policy-tree", "executor-ota"] {
            let component = components.join(format!("{plugin}.wasm"));
            let build = Build { plugin, component: &component, version: None, sequence: 1 };
            layout.grant(&cli, components, build)?;
        }
        Ok((layout, cli))
    }

    /// Writes the artifact of a version: the small service, with what it is behind it.
    ///
    /// # Errors
    /// If the service isn't there, or the artifact can't be written.
    pub fn write_artifact(&self, version: &str, fault: Fault) -> Result<PathBuf, Trouble> {
        let program = self.programs.join("demo-service");
        let program = fs::read(&program).map_err(trouble(format!("cannot read {}", program.display())))?;
        let (artifact, nature) = (self.artifact(version), Nature { version: version.into(), fault });
        fs::write(&artifact, nature.artifact(&program)).map_err(trouble("cannot write an artifact"))?;
        Ok(artifact)
    }

    /// The artifact of a version.
    #[must_use]
    pub fn artifact(&self, version: &str) -> PathBuf {
        self.dir.join("artifacts").join(format!("service-{version}"))
    }
}

/// A fleet at work. Dropped, nothing of it runs on.
#[derive(Debug)]
pub struct Fleet {
    /// Where everything is.
    pub layout: Layout,
    /// The operator's command line.
    pub cli: Cli,
    /// The devices, by name. They end before server and broker do.
    pub devices: Vec<Device>,
    server: Option<Process>,
    /// The broker, if it isn't inside the server.
    pub broker: Option<Broker>,
}

impl Fleet {
    /// Makes keys, plugins and releases in `dir`, and starts broker and server. `components`: where the portable
    /// plugins are. Without mosquitto on this machine the server brings a broker of its own.
    ///
    /// # Errors
    /// Says what did not work out.
    pub fn start(dir: &Path, programs: &Path, components: &Path, pace: Pace) -> Result<Self, Trouble> {
        Self::start_with(dir, programs, components, pace, None)
    }

    /// The same, with TLS on the server's API.
    ///
    /// # Errors
    /// Says what did not work out.
    pub fn start_with(
        dir: &Path,
        programs: &Path,
        components: &Path,
        pace: Pace,
        tls: Option<Tls>,
    ) -> Result<Self, Trouble> {
        let (layout, cli) = Layout::make(dir, programs, components, pace, tls)?;
        let broker = match Broker::program() {
            Some(program) => Some(Broker::start(
                program,
                &dir.join("broker"),
                layout.broker,
                layout.pace.message_bytes_max,
            )?),
            None => None,
        };
        let mut fleet = Self { layout, cli, devices: Vec::new(), server: None, broker };
        fleet.write_server_config()?;
        fleet.start_server()?;
        fleet.publish()?;
        Ok(fleet)
    }

    /// Starts the server, and waits until it answers.
    ///
    /// # Errors
    /// If it doesn't.
    pub fn start_server(&mut self) -> Result<(), Trouble> {
        self.start_server_by(Command::new(self.layout.programs.join("backstay")))
    }

    /// The same, by a program that makes its surroundings, and becomes the server: that is its last argument so far.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub fn start_server_within(&mut self, program: &str, arguments: &[&str]) -> Result<(), Trouble> {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.layout.programs.join("backstay"));
        self.start_server_by(command)
    }

    fn start_server_by(&mut self, mut command: Command) -> Result<(), Trouble> {
        let dir = self.layout.dir.join("server");
        command.arg("serve").arg("--config").arg(dir.join("backstay.toml"));
        self.server = Some(Process::start(command, &dir.join("log"))?);
        let cli = self.cli.clone();
        let log = dir.join("log");
        self.wait("the server answers", PATIENCE, || cli.ask(&["fleet", "ls"]).is_ok())
            .map_err(|error| Trouble(format!("{error}; see {}", log.display())))
    }

    /// Adds to the server's configuration: `before` at the top level, `after` as tables. It takes a start of the server.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn configure(&self, before: &str, after: &str) -> Result<(), Trouble> {
        let path = self.layout.dir.join("server/backstay.toml");
        let written = fs::read_to_string(&path).map_err(trouble("cannot read the server's configuration"))?;
        fs::write(&path, format!("{before}\n{written}\n{after}\n"))
            .map_err(trouble("cannot write the server's configuration"))
    }

    /// The server's process, while it runs.
    #[must_use]
    pub fn server_id(&self) -> Option<u32> {
        self.server.as_ref().map(Process::id)
    }

    /// Ends the server in the middle of whatever it does.
    pub fn kill_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Makes and starts a device, with a one-time token.
    ///
    /// # Errors
    /// If that doesn't work out.
    pub fn add(&mut self, name: &str, cohort: &str) -> Result<(), Trouble> {
        let mut device = self.make(name, cohort)?;
        device.start()?;
        self.devices.push(device);
        Ok(())
    }

    /// Makes a device, with a one-time token, that isn't started and isn't one of [`Fleet::devices`] yet.
    ///
    /// # Errors
    /// If that doesn't work out.
    pub fn make(&self, name: &str, cohort: &str) -> Result<Device, Trouble> {
        if stop_wanted() {
            return Err(Trouble("stopped by a signal".into()));
        }
        let minted = self.cli.ask(&["enrol", "token", "--device", name, "--cohort", cohort])?;
        let token = minted["token"].as_str().ok_or_else(|| Trouble(format!("no token came: {minted}")))?;
        let port = free_port().map_err(trouble("no port is free"))?;
        Device::make(&self.layout, name, cohort, token, port)
    }

    /// All that the server knows.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub fn view(&self) -> Result<Value, Trouble> {
        self.cli.ask(&["fleet", "ls"])
    }

    /// What the server knows of a cohort.
    ///
    /// # Errors
    /// If it doesn't answer. The exit code says how the rollout stands, so it isn't looked at here.
    pub fn rollout(&self, cohort: &str) -> Result<Value, Trouble> {
        let (_, out, err) = self.cli.exit(&["rollout", "status", "--cohort", cohort])?;
        serde_json::from_str(&out)
            .map_err(trouble(format!("the status of {cohort} is no JSON ({})", err.trim())))
    }

    /// Waits until something holds, looking a few times a second.
    ///
    /// # Errors
    /// If it doesn't in time.
    pub fn wait(&self, what: &str, most: Duration, mut holds: impl FnMut() -> bool) -> Result<(), Trouble> {
        let until = Instant::now() + most;
        while !holds() {
            if stop_wanted() {
                return Err(Trouble(format!("stopped by a signal while it waited until {what}")));
            }
            if Instant::now() > until {
                return Err(Trouble(format!("waited {} s in vain until {what}", most.as_secs())));
            }
            std::thread::park_timeout(Duration::from_millis(300));
        }
        Ok(())
    }

    fn write_server_config(&self) -> Result<(), Trouble> {
        let Layout { dir, keys, plugins, api, broker, pace, tls, .. } = &self.layout;
        let tls = tls.as_ref().map_or_else(String::new, |Tls { certificate, key, .. }| {
            format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", certificate.display(), key.display())
        });
        let (dir, keys, plugins) = (dir.join("server"), keys.display(), plugins.display());
        let reach = match &self.broker {
            Some(_) => format!("[broker]\nurl = \"mqtt://127.0.0.1:{broker}\"\n"),
            None => String::new(),
        };
        let embedded = match &self.broker {
            Some(_) => String::new(),
            None => format!("embedded_broker = \"127.0.0.1:{broker}\"\n"),
        };
        let config = format!(
            r#"# The server of the demo: the production server with shorter times.
state = "{dir}/state"
keyring = "{keys}/keyring"
director_key = "{keys}/director.pem"
reconnect_window = "2s"
{embedded}
[api]
listen = "127.0.0.1:{api}"
token_file = "{dir}/token"
{tls}

{reach}
[policy]
bundle = "{plugins}/policy-tree.bundle"

[rollout]
waves = [250, 1000]
devices_min = 3
good_windows = 3
window = "{window}"
silence = "20s"
patience = "120s"
"#,
            dir = dir.display(),
            window = pace.server_window,
        );
        fs::write(dir.join("backstay.toml"), config)
            .map_err(trouble("cannot write the server's configuration"))
    }

    /// Signs and publishes each version; each may be left for 1.4.0.
    fn publish(&self) -> Result<(), Trouble> {
        let home = format!("1.4.0={}", text(&self.layout.artifact("1.4.0")));
        for (version, fault) in VERSIONS {
            let artifact = self.layout.write_artifact(version, fault)?;
            let (artifact, statement) = (text(&artifact), text(&artifact.with_extension("statement")));
            let (key, keyring) =
                (text(&self.layout.keys.join("release.pem")), text(&self.layout.keys.join("keyring")));
            let mut sign = vec![
                "release",
                "sign",
                "--artifact",
                &artifact,
                "--version",
                version,
                "--hardware",
                "demo-x86",
            ];
            sign.extend(["--key", &key, "--keyring", &keyring, "--out", &statement]);
            if version != "1.4.0" {
                sign.extend(["--home", &home]);
            }
            self.cli.local(&sign)?;
            self.cli.ask(&["release", "publish", "--statement", &statement, "--artifact", &artifact])?;
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Devices are many, so all are asked before any is waited for.
        let stops: Vec<_> =
            self.devices.drain(..).map(|device| std::thread::spawn(move || drop(device))).collect();
        stops.into_iter().for_each(|stop| drop(stop.join()));
    }
}

/// What becomes a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// The plugin's name, and its manifest's.
    pub plugin: &'a str,
    /// What is signed as it.
    pub component: &'a Path,
    /// The version that it is signed as; none is the manifest's own.
    pub version: Option<&'a str>,
    /// Of release and grant.
    pub sequence: u64,
}

impl Layout {
    /// Signs and grants a plugin, as vendor and operator do. Gives the bundle.
    ///
    /// # Errors
    /// Says what did not work out.
    pub fn grant(&self, cli: &Cli, manifests: &Path, build: Build<'_>) -> Result<PathBuf, Trouble> {
        let Build { plugin, component, version, sequence } = build;
        let name = version.map_or_else(|| plugin.to_owned(), |version| format!("{plugin}-{version}"));
        let file = |kind: &str| self.plugins.join(format!("{name}.{kind}"));
        let key = |name: &str| text(&self.keys.join(name));
        let manifest = manifests.join(format!("{plugin}.toml"));
        let said = fs::read_to_string(&manifest).map_err(trouble("cannot read a manifest"))?;
        let is_version = |line: &&str| line.starts_with("version");
        let said: Vec<String> = said
            .lines()
            .map(|line| match version.filter(|_| is_version(&line)) {
                Some(version) => format!("version = \"{version}\""),
                None => line.to_owned(),
            })
            .collect();
        let (manifest, permissions) = (file("toml"), file("grant.toml"));
        fs::write(&manifest, said.join("\n")).map_err(trouble("cannot write a manifest"))?;
        // An operator grants what the vendor tested with, and no more.
        let granted = said.iter().position(|line| line == "[permissions]").map(|at| said[at..].join("\n"));
        let granted = granted.unwrap_or_else(|| "[permissions]".into());
        fs::write(&permissions, granted).map_err(trouble("cannot write a grant"))?;
        let (component, manifest, permissions) = (text(component), text(&manifest), text(&permissions));
        let (release, bundle, sequence) = (text(&file("release")), file("bundle"), sequence.to_string());
        let vendor = key("vendor.pem");
        let mut arguments = vec!["plugin", "sign", "--manifest", &manifest, "--component", &component];
        arguments.extend(["--key", &vendor, "--sequence", &sequence, "--out", &release]);
        cli.local(&arguments)?;
        let (operator, keyring, out) = (key("operator.pem"), key("keyring"), text(&bundle));
        let mut arguments = vec!["plugin", "grant", "--release", &release, "--component", &component];
        arguments.extend(["--key", &operator, "--keyring", &keyring, "--permissions", &permissions]);
        arguments.extend(["--sequence", &sequence, "--out", &out]);
        cli.local(&arguments)?;
        Ok(bundle)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A token that nobody guesses: from the kernel's randomness.
fn random_token() -> String {
    use std::io::Read;
    let mut bytes = [0; 24];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map(|()| bytes.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
}
