//! The agent's configuration: `/etc/backstay/agent.toml`, checked whole before any socket is opened.
//!
//! Here: which keys there are, their defaults and bounds. In `config/rules`: the rules across keys. Not here: reading TOML
//! and finding lines (`backstay-config`). What a plugin's settings may be, the plugin says; they are checked
//! when it is loaded.

mod rules;

use std::{collections::BTreeMap, path::PathBuf};

use backstay_config::{Broker, Document, Plugin, Problems, Span};
use backstay_core::{Allowance, Backoff, DeviceSettings, Retries, Rung, Watched};
use backstay_model::{Hardware, Name, Scope};
use serde::Deserialize;

use crate::lkg;

/// The executor's setting that names the command which makes the device run what its slots say, and that command's name where
/// it isn't set.
const RESTART: &str = "restart";
/// The most probes of a device.
const PROBES_MAX: usize = 32;

/// All of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the device keeps journal, view, key, identity and fetched artifacts. On a partition that both slots
    /// of a machine share.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// What kind of machine this is; a release says which it is built for.
    pub hardware: Hardware,
    /// The operator's keys, as the image carries them.
    #[serde(default = "default_keyring")]
    pub keyring: PathBuf,
    /// Where artifacts and statements come from, and who enrols. Without it the device heals on what it has.
    pub server: Option<Server>,
    /// The mailbox between devices and server. Without it the device works alone.
    pub broker: Option<Broker>,
    /// How new what is known of keys and revocations has to be, and when one signature is not enough.
    #[serde(default)]
    pub trust: Trust,
    /// What runs where.
    pub slots: Slots,
    /// A program that the agent keeps running. Without it something else does, and `commands` says how to
    /// restart it.
    pub service: Option<Service>,
    /// Commands that plugins may ask for by name, as far as their grant has them.
    #[serde(default)]
    pub commands: BTreeMap<Name, Command>,
    /// Who decides.
    pub policy: Plugin,
    /// Who acts.
    pub executor: Plugin,
    /// How the device finds out how it is doing.
    #[serde(default)]
    pub probe: Vec<Probe>,
    /// How long signals are gathered before they are judged.
    #[serde(default = "default_window")]
    pub window: Span,
    /// How long what runs may take to come up after a start; until then a failed probe says nothing.
    #[serde(default = "default_startup")]
    pub startup: Span,
    /// How a new release earns trust.
    #[serde(default)]
    pub trial: Trial,
    /// How a run, the executor's work on one order, is bounded.
    #[serde(default)]
    pub run: Run,
    /// What to try, first things first, before a confirmed release is left.
    #[serde(default)]
    pub ladder: Vec<LadderRung>,
    /// Files that are captured when a release has proved itself, and put back by the playbook `restore-configuration`.
    #[serde(default)]
    pub lkg: Vec<lkg::Watched>,
    /// Waits between tries to heal.
    #[serde(default = "default_heal")]
    pub heal: Waits,
    /// Waits between tries of what failed for a passing reason, and how many there are.
    #[serde(default)]
    pub retry: Retry,
    /// How often the device lets itself be switched.
    #[serde(default)]
    pub budget: Budget,
    /// How the journal is kept.
    #[serde(default)]
    pub journal: Journal,
    /// How often a sign of life goes out.
    #[serde(default = "default_beat")]
    pub beat: Span,
}

/// The operator's server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Base addresses, tried in this order: `https://fleet.example:8443`.
    pub urls: Vec<String>,
    /// The authority that the server's certificate is checked against, as PEM.
    pub ca: Option<PathBuf>,
    /// A one-time token for enrolment. Without it an operator has to say yes to the device's fingerprint.
    pub token_file: Option<PathBuf>,
    /// How much of fetched artifacts is kept, in MiB. A release that is larger is not taken: it is kept whole before it is written
    /// to a slot.
    #[serde(default = "default_cache")]
    pub cache_mib_max: u64,
}

/// What runs where.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "backend", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Slots {
    /// Two directories and a link.
    Files {
        /// Where.
        path: PathBuf,
        /// Restarts that a release on trial is given before the device falls back.
        #[serde(default = "default_tries")]
        tries: u8,
    },
    /// Another program, which works a boot loader. What is in the slots is what this machine boots.
    Program {
        /// The program by its full path, and what it is always to be told.
        command: Vec<String>,
        /// How long it may take for anything but staging. Before a slot is tried or gone home to, all of it is read.
        #[serde(default = "default_slots_timeout")]
        timeout: Span,
        /// How long it may take to write a release into a slot, and to read it back.
        #[serde(default = "default_stage_timeout")]
        stage_timeout: Span,
    },
}

/// A program that the agent keeps running.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Program and arguments. `{release}` stands for the program in the slot that runs.
    pub command: Vec<String>,
    /// All the environment that it gets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How long it may take to stop before it is killed.
    #[serde(default = "default_grace")]
    pub grace: Span,
}

/// A command that plugins may ask for by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// Something about the program that the agent keeps running.
    Supervise(Supervise),
    /// A program of its own.
    Program(Program),
}

/// Something about the program that the agent keeps running.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervise {
    /// What.
    pub service: ServiceAction,
}

/// What a command can do with the program that the agent keeps running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceAction {
    /// Stop it and start what the slots say now.
    Restart,
}

/// A program of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Program and arguments; there is no shell.
    pub argv: Vec<String>,
    /// After this it is killed with all that it started.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// All the environment that it gets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// How the device finds out how it is doing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Its name, and that of the objective that it feeds.
    pub name: Name,
    /// Whose fault its failure can be: `local` (of what runs here) or `dependency` (of something else).
    #[serde(default)]
    pub scope: ProbeScope,
    /// Whether failing it is worth going back for.
    #[serde(default = "yes")]
    pub critical: bool,
    /// Between two readings.
    #[serde(default = "default_every")]
    pub every: Span,
    /// After this there is no sign of life.
    #[serde(default = "default_probe_timeout")]
    pub timeout: Span,
    /// `http://127.0.0.1:8080/health`: passes with a status from 200 to 299.
    pub http: Option<String>,
    /// `127.0.0.1:5432`: passes if it takes a connection.
    pub tcp: Option<String>,
    /// Program and arguments: passes with exit code 0.
    pub command: Option<Vec<String>>,
    /// A file that has to be younger than `age`.
    pub file: Option<PathBuf>,
    /// How old `file` may be.
    pub age: Option<Span>,
}

/// Whose fault a failure can be.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeScope {
    /// Of what runs here.
    #[default]
    Local,
    /// Of something that this depends on.
    Dependency,
}

/// How a new release earns trust.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trial {
    /// Healthy for so long.
    pub healthy_for: Span,
    /// Within this, or it goes home.
    pub limit: Span,
}

/// How a run, the executor's work on one order, is bounded.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// After this it is ended where it stands, and what follows begins. Long enough for the largest release over the
    /// slowest line, a minute to a day: a download goes on where it was broken off, so too short is slow and not wrong.
    pub limit: Span,
}

/// One way to mend what runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LadderRung {
    /// The command that the executor is to run.
    pub playbook: Name,
    /// How often, 1 to 100.
    pub attempts: u32,
}

/// Waits that double, with full jitter.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    /// The most before the second try.
    pub base: Span,
    /// The most before any try.
    pub cap: Span,
    /// Good windows in a row after which what was healed counts as cured.
    #[serde(default = "default_cured_after")]
    pub cured_after: u32,
}

/// Tries of what failed for a passing reason.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The most before the second try.
    pub base: Span,
    /// The most before any try.
    pub cap: Span,
    /// How many there are, 1 to 100.
    pub attempts: u32,
}

/// How often the device lets itself be switched.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// So often, 1 to 64.
    pub switches: u32,
    /// In this span.
    pub span: Span,
    /// Over how long to spread before a confirmed release is left by the device's own decision.
    pub leave_jitter: Span,
}

/// How the journal is kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// The most KiB that it takes, 2048 to 1048576.
    pub kib_max: u64,
}

fn default_state() -> PathBuf {
    "/var/lib/backstay".into()
}
fn default_keyring() -> PathBuf {
    "/etc/backstay/keyring".into()
}
fn default_cache() -> u64 {
    256
}
fn default_window() -> Span {
    Span::from_secs(60)
}
fn default_startup() -> Span {
    Span::from_secs(10)
}
fn default_beat() -> Span {
    Span::from_secs(60)
}
fn default_tries() -> u8 {
    3
}
fn default_slots_timeout() -> Span {
    Span::from_secs(120)
}
fn default_stage_timeout() -> Span {
    Span::from_secs(3 * 3600)
}
fn default_grace() -> Span {
    Span::from_secs(10)
}
fn default_timeout() -> Span {
    Span::from_secs(60)
}
fn default_every() -> Span {
    Span::from_secs(10)
}
fn default_probe_timeout() -> Span {
    Span::from_secs(5)
}
fn default_cured_after() -> u32 {
    5
}
fn default_heal() -> Waits {
    Waits { base: Span::from_secs(10), cap: Span::from_secs(600), cured_after: default_cured_after() }
}
fn yes() -> bool {
    true
}

/// How new what is known of keys and revocations has to be, and when one signature is not enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// After how long without a word of who is trusted no new grant of a plugin is taken into use. What runs goes on,
    /// and going home asks nobody. Without it, a device that is cut off takes what it is given.
    pub unheard_max: Option<Span>,
    /// How long a release has to have been confirmed, and do well, until the server alone can't send it home any more:
    /// operators have to sign that, too. Without it, the server's word is always enough.
    pub second_after: Option<Span>,
}

impl Default for Trial {
    fn default() -> Self {
        Self { healthy_for: Span::from_secs(600), limit: Span::from_secs(3600) }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self { limit: Span::from_secs(3600) }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { base: Span::from_secs(60), cap: Span::from_secs(3600), attempts: 8 }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { switches: 6, span: Span::from_secs(24 * 3600), leave_jitter: Span::from_secs(60) }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { kib_max: 16 * 1024 }
    }
}

impl Config {
    /// Reads what a document says, and checks the rules across keys.
    ///
    /// # Errors
    /// All that is wrong, each with file, line, key and what was expected.
    pub fn of(document: &Document) -> Result<Self, Problems> {
        let config: Self = document.parse()?;
        let problems = config.problems(document);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// How the device decides.
    #[must_use]
    pub fn device_settings(&self) -> DeviceSettings {
        let watched = |probe: &Probe| Watched {
            name: probe.name.clone(),
            critical: probe.critical,
            scope: match probe.scope {
                ProbeScope::Local => Scope::Local,
                ProbeScope::Dependency => Scope::Dependency,
            },
        };
        let rung = |rung: &LadderRung| Rung { playbook: rung.playbook.clone(), attempts: rung.attempts };
        DeviceSettings {
            hardware: self.hardware.clone(),
            watched: self.probe.iter().map(watched).collect(),
            window: self.window.millis(),
            startup: self.startup.millis(),
            trial: self.trial.healthy_for.millis(),
            trial_limit: self.trial.limit.millis(),
            run_limit: self.run.limit.millis(),
            ladder: self.ladder.iter().map(rung).collect(),
            heal_backoff: Backoff { base: self.heal.base.millis(), cap: self.heal.cap.millis() },
            cured_after: self.heal.cured_after,
            retry_backoff: Backoff { base: self.retry.base.millis(), cap: self.retry.cap.millis() },
            retries: self.retry.attempts,
            allowance: Allowance { switches: self.budget.switches, span: self.budget.span.millis() },
            leave_jitter: self.budget.leave_jitter.millis(),
            second_after: self.trust.second_after.map(Span::millis),
        }
    }

    /// How often a bundle of plugins that can't be had is tried: as often as a release.
    pub fn retries(&self) -> Retries {
        let DeviceSettings { retries, retry_backoff, .. } = self.device_settings();
        Retries { attempts: retries, backoff: retry_backoff }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;

    pub(crate) const SMALL: &str = r#"
hardware = "pump-arm64"
[slots]
backend = "files"
path = "/var/lib/backstay/slots"
[service]
command = ["{release}", "--port", "8080"]
[commands]
restart = { service = "restart" }
[policy]
bundle = "/usr/share/backstay/policy-tree.bundle"
[executor]
bundle = "/usr/share/backstay/executor-ota.bundle"
[[probe]]
name = "http"
http = "http://127.0.0.1:8080/health"
[[ladder]]
playbook = "restart"
attempts = 3
"#;

    #[test]
    fn a_small_configuration_is_enough() {
        let config = Config::of(&Document::new(Path::new("agent.toml"), SMALL)).unwrap();
        assert_eq!(config.device_settings().watched.len(), 1);
        assert!(config.broker.is_none(), "a device may work alone");
    }
}
