//! One device: an agent, its folder, and the service that it supervises.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Process, Trouble, fleet::Layout, trouble};

/// One device of the fleet.
#[derive(Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Whose steering it follows.
    pub cohort: String,
    /// Where its service listens.
    pub port: u16,
    dir: PathBuf,
    agent: PathBuf,
    process: Option<Process>,
}

impl Device {
    /// Writes the configuration of a device, and puts the first release into its slots.
    ///
    /// # Errors
    /// If the agent doesn't take it.
    pub fn make(layout: &Layout, name: &str, cohort: &str, token: &str, port: u16) -> Result<Self, Trouble> {
        let dir = folder(layout, name)?;
        fs::write(dir.join("enrol-token"), token).map_err(trouble("cannot write a token"))?;
        let reach = reach(layout, &dir);
        Self::provisioned(layout, dir, name, cohort, port, &reach)
    }

    /// A device that knows of no server and no broker: whatever it does, it does alone.
    ///
    /// # Errors
    /// If the agent doesn't take its configuration or its first release.
    pub fn alone(layout: &Layout, name: &str, port: u16) -> Result<Self, Trouble> {
        let dir = folder(layout, name)?;
        Self::provisioned(layout, dir, name, "", port, "")
    }

    fn provisioned(
        layout: &Layout,
        dir: PathBuf,
        name: &str,
        cohort: &str,
        port: u16,
        reach: &str,
    ) -> Result<Self, Trouble> {
        fs::write(dir.join("agent.toml"), config(layout, &dir, port, reach))
            .map_err(trouble("cannot write a configuration"))?;
        let device = Self {
            name: name.into(),
            cohort: cohort.into(),
            port,
            agent: layout.programs.join("backstay-agent"),
            dir,
            process: None,
        };
        let artifact = layout.artifact("1.4.0").display().to_string();
        device.agent(&["provision", "--artifact", &artifact, "--version", "1.4.0"])?;
        Ok(device)
    }

    /// Runs a command of the agent.
    ///
    /// # Errors
    /// With what it said, if it did not end with 0.
    pub fn agent(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new(&self.agent);
        let done = command.arg("--config").arg(self.dir.join("agent.toml")).args(arguments).output();
        let done = done.map_err(trouble(format!("cannot run {}", self.agent.display())))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(Trouble(format!("backstay-agent {} failed: {said}", arguments.join(" "))))
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(&mut self) -> Result<(), Trouble> {
        self.start_by(Command::new(&self.agent))
    }

    /// Starts the agent by a program that makes its surroundings, and becomes the agent: that is its last argument so far.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_within(&mut self, program: &str, arguments: &[&str]) -> Result<(), Trouble> {
        let mut command = Command::new(program);
        command.args(arguments).arg(&self.agent);
        self.start_by(command)
    }

    fn start_by(&mut self, mut command: Command) -> Result<(), Trouble> {
        command.arg("--config").arg(self.dir.join("agent.toml")).arg("run");
        self.process = Some(Process::start(command, &self.log())?);
        Ok(())
    }

    /// Where the agent says what happens.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process of the agent, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Whether the agent runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::runs)
    }

    /// Ends the agent in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks the agent to end.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }

    /// The version in the slot that runs, as the slots have it.
    #[must_use]
    pub fn slot(&self) -> Option<String> {
        let current = fs::read_link(self.dir.join("slots/current")).ok()?;
        let artifact = fs::read(self.dir.join("slots").join(current).join("release")).ok()?;
        Some(backstay_test_service::Nature::of(&artifact)?.version)
    }

    /// What the service answers, if it answers at all: whoever knows nothing of Backstay sees this.
    #[must_use]
    pub fn answers(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream.write_all(b"GET /version HTTP/1.1\r\nHost: device\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }
}

fn folder(layout: &Layout, name: &str) -> Result<PathBuf, Trouble> {
    let dir = layout.dir.join("devices").join(name);
    fs::create_dir_all(&dir).map_err(trouble("cannot make a device's folder"))?;
    Ok(dir)
}

/// How a device of the fleet reaches the others.
fn reach(layout: &Layout, dir: &Path) -> String {
    let (url, broker, dir) = (layout.url(), layout.broker, dir.display());
    let ca = layout.tls.as_ref().map_or_else(String::new, |tls| format!("ca = \"{}\"\n", tls.ca.display()));
    format!(
        r#"
[server]
urls = ["{url}"]
{ca}token_file = "{dir}/enrol-token"

[broker]
url = "mqtt://127.0.0.1:{broker}"
keep_alive = "10s"
"#
    )
}

fn config(layout: &Layout, dir: &Path, port: u16, reach: &str) -> String {
    let (dir, keys, plugins) = (dir.display(), layout.keys.display(), layout.plugins.display());
    let pace = &layout.pace;
    format!(
        r#"# A device of the demo: the production agent with shorter times.
state = "{dir}/state"
hardware = "demo-x86"
keyring = "{keys}/keyring"
window = "{window}"
beat = "{beat}"
startup = "900ms"
{reach}
[slots]
backend = "files"
path = "{dir}/slots"

[service]
command = ["{{release}}", "{port}"]
grace = "1s"

[commands]
restart = {{ service = "restart" }}

[policy]
bundle = "{plugins}/policy-tree.bundle"
windows = 3
soak = 3

[executor]
bundle = "{plugins}/executor-ota.bundle"

[[probe]]
name = "http"
http = "http://127.0.0.1:{port}/health"
every = "{probe}"
timeout = "{probe}"

[trial]
healthy_for = "{trial}"
limit = "{limit}"

[[ladder]]
playbook = "restart"
attempts = 2

[heal]
base = "1s"
cap = "5s"

[retry]
base = "1s"
cap = "5s"
attempts = 8

[budget]
leave_jitter = "1s"

[journal]
kib_max = 2048
"#,
        window = pace.window,
        beat = pace.beat,
        probe = pace.probe,
        trial = pace.trial,
        limit = pace.trial_limit,
    )
}
