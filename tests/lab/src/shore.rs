//! The other side of a device: a broker, the server that ships, and an operator at the command line.
//!
//! Here: starting them on this machine's loopback, signing and publishing releases, and asking the server what the device
//! has told it. Not here: the device (`device`), the stories.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use backstay_test_fleet::{Broker, Cli, Layout, Pace, Process, Trouble, stop_wanted};
use serde_json::Value;

use crate::{
    machine::Reach,
    tool::{self, trouble},
};

/// The only device.
pub(crate) const DEVICE: &str = "board-1";
/// Its cohort.
pub(crate) const COHORT: &str = "lab";
/// What it is built as.
pub(crate) const HARDWARE: &str = "lab-arm64";
/// Who decides and who acts on it.
const PLUGINS: [&str; 2] = ["policy-tree", "executor-ota"];
/// How long the server may take to answer for the first time.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Broker and server at work.
pub(crate) struct Shore {
    pub(crate) layout: Layout,
    pub(crate) cli: Cli,
    _server: Process,
    _broker: Broker,
}

/// A release: its image, and the bytes that are delivered.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) version: &'static str,
    pub(crate) artifact: PathBuf,
}

impl Shore {
    /// Starts them, with keys and signed plugins of their own, in `folder`.
    ///
    /// # Errors
    /// Says what did not work out.
    pub(crate) fn start(folder: &Path, programs: &Path, components: &Path) -> Result<Self, Trouble> {
        let program = Broker::program().ok_or_else(|| Trouble("there is no mosquitto here".into()))?;
        let patient = patient(components, &folder.join("components"))?;
        let (layout, cli) = Layout::make(folder, programs, &patient, Pace::default(), None)?;
        let broker =
            Broker::start(program, &folder.join("broker"), layout.broker, layout.pace.message_bytes_max)?;
        let server = folder.join("server");
        tool::write(&server.join("backstay.toml"), config(&layout, &server))?;
        let mut command = Command::new(programs.join("backstay"));
        command.arg("serve").arg("--config").arg(server.join("backstay.toml"));
        let process = Process::start(command, &server.join("log"))?;
        let shore = Self { layout, cli, _server: process, _broker: broker };
        shore.until("the server answers", START_MAX, |_| true)?;
        Ok(shore)
    }

    /// What a device can reach.
    pub(crate) fn reach(&self) -> Reach {
        Reach { server: self.layout.api, broker: self.layout.broker }
    }

    /// A token with which the device enrols, once.
    ///
    /// # Errors
    /// If the server mints none.
    pub(crate) fn token(&self) -> Result<String, Trouble> {
        let minted = self.cli.ask(&["enrol", "token", "--device", DEVICE, "--cohort", COHORT])?;
        let token = minted["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| Trouble(format!("no token came: {minted}")))
    }

    /// Signs a release and publishes it; it may be left for `home`.
    ///
    /// # Errors
    /// If the command line refuses it.
    pub(crate) fn publish(&self, release: &Release, home: Option<&Release>) -> Result<(), Trouble> {
        let text = |path: &Path| path.display().to_string();
        let (artifact, statement) =
            (text(&release.artifact), text(&self.layout.dir.join(format!("{}.statement", release.version))));
        let key = |name: &str| text(&self.layout.keys.join(name));
        let (key, keyring) = (key("release.pem"), key("keyring"));
        let mut sign = vec!["release", "sign", "--artifact", &artifact, "--version", release.version];
        sign.extend(["--hardware", HARDWARE, "--key", &key, "--keyring", &keyring, "--out", &statement]);
        let home = home.map(|home| format!("{}={}", home.version, text(&home.artifact)));
        if let Some(home) = &home {
            sign.extend(["--home", home]);
        }
        self.cli.local(&sign)?;
        self.cli.ask(&["release", "publish", "--statement", &statement, "--artifact", &artifact]).map(drop)
    }

    /// Steers the cohort to a version.
    ///
    /// # Errors
    /// If the server refuses.
    pub(crate) fn roll_out(&self, version: &str) -> Result<(), Trouble> {
        let start = ["rollout", "start", "--cohort", COHORT, "--version", version, "--wave", "100%"];
        self.cli.ask(&[&start[..], &["--devices-min", "1", "--good-windows", "1"]].concat()).map(drop)
    }

    /// What the server knows of the device.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(crate) fn device(&self) -> Result<Value, Trouble> {
        let view = self.cli.ask(&["fleet", "ls"])?;
        let mut devices = view["devices"].as_array().into_iter().flatten();
        Ok(devices.find(|device| device["device"] == DEVICE).cloned().unwrap_or_default())
    }

    /// What the device has told the server that happened to it: kind and words of each record, oldest first.
    ///
    /// # Errors
    /// If the server doesn't answer.
    pub(crate) fn records(&self) -> Result<Vec<(String, String)>, Trouble> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let records = self.cli.records(DEVICE)?;
        Ok(records.iter().map(|record| (text(&record["kind"]), text(&record["what"]))).collect())
    }

    /// That the chain of the device's records holds.
    ///
    /// # Errors
    /// If it doesn't.
    pub(crate) fn chain_holds(&self) -> Result<u64, Trouble> {
        let verified = self.cli.ask(&["evidence", "verify", DEVICE])?;
        verified["records"].as_u64().ok_or_else(|| Trouble(format!("nothing was verified: {verified}")))
    }

    /// Waits until something holds of what the server knows of the device.
    ///
    /// # Errors
    /// If it doesn't in time; with what the server knows then.
    pub(crate) fn until(
        &self,
        what: &str,
        most: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<(), Trouble> {
        let end = Instant::now() + most;
        loop {
            let device = self.device();
            if device.as_ref().is_ok_and(&holds) {
                return Ok(());
            }
            if stop_wanted() || Instant::now() > end {
                let knows = device.map_or_else(|error| error.to_string(), |device| device.to_string());
                return Err(Trouble(format!(
                    "waited {} s in vain until {what}; the server knows: {knows}",
                    most.as_secs()
                )));
            }
            thread::park_timeout(ASK_EVERY);
        }
    }
}

/// The plugins that a device has, with manifests that give a call more time: their bound is time on the clock, and an emulated
/// processor on a busy machine is a hundred times slower than a slow real one.
fn patient(components: &Path, folder: &Path) -> Result<PathBuf, Trouble> {
    const SHIPS: &str = "call-ms = 250";
    for plugin in PLUGINS {
        let file = |kind: &str| format!("{plugin}.{kind}");
        tool::copy(&components.join(file("wasm")), &folder.join(file("wasm")))?;
        let manifest = String::from_utf8_lossy(&tool::read(&components.join(file("toml")))?).into_owned();
        if !manifest.contains(SHIPS) {
            return Err(Trouble(format!("the manifest of {plugin} no longer says `{SHIPS}`")));
        }
        tool::write(&folder.join(file("toml")), manifest.replace(SHIPS, "call-ms = 5_000"))?;
    }
    Ok(folder.to_owned())
}

/// The server's configuration: what ships, with shorter times.
fn config(layout: &Layout, folder: &Path) -> String {
    let (keys, plugins, folder) = (layout.keys.display(), layout.plugins.display(), folder.display());
    let (api, broker) = (layout.api, layout.broker);
    format!(
        r#"state = "{folder}/state"
keyring = "{keys}/keyring"
director_key = "{keys}/director.pem"
reconnect_window = "2s"

[api]
listen = "127.0.0.1:{api}"
token_file = "{folder}/token"

[broker]
url = "mqtt://127.0.0.1:{broker}"

[policy]
bundle = "{plugins}/policy-tree.bundle"

[rollout]
waves = [1000]
devices_min = 1
good_windows = 1
window = "3s"
silence = "10m"
patience = "1h"
"#
    )
}

/// How long a device of the lab waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// How long a release has to be healthy, in seconds.
    pub(crate) trial: u32,
    /// Within which, in seconds.
    pub(crate) limit: u32,
}

/// What lies on a device's data partition when it leaves the factory.
///
/// # Errors
/// If it can't be laid out.
pub(crate) fn data(folder: &Path, shore: &Shore, first: &Release, times: Times) -> Result<PathBuf, Trouble> {
    let tree = folder.join("data");
    tool::emptied(&tree)?;
    let etc = tree.join("etc");
    tool::copy(&shore.layout.keys.join("keyring"), &etc.join("keyring"))?;
    for plugin in PLUGINS {
        let bundle = format!("{plugin}.bundle");
        tool::copy(&shore.layout.plugins.join(&bundle), &etc.join(&bundle))?;
    }
    tool::write(&etc.join("enrol-token"), shore.token()?)?;
    tool::write(&etc.join("role"), "agent\n")?;
    let Times { trial, limit } = times;
    let agent = include_str!("../device/agent.toml");
    let agent = agent.replace("TRIAL", &format!("{trial}s")).replace("LIMIT", &format!("{limit}s"));
    tool::write(&etc.join("agent.toml"), agent)?;
    tool::write(&etc.join("first-release"), words(first)?)?;
    Ok(tree)
}

/// A release as the slot program is told it: version, digest, length, security epoch.
///
/// # Errors
/// If the artifact can't be read.
pub(crate) fn words(release: &Release) -> Result<String, Trouble> {
    use sha2::{Digest as _, Sha256};
    let bytes = tool::read(&release.artifact)?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{} {digest} {} 0\n", release.version, bytes.len()))
}

/// Removes what an earlier run has left.
///
/// # Errors
/// If it can't be removed.
pub(crate) fn fresh(folder: &Path) -> Result<(), Trouble> {
    tool::emptied(folder)?;
    fs::create_dir_all(folder).map_err(trouble(format!("cannot make {}", folder.display())))
}
