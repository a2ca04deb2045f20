//! The agent's configuration: `/etc/backstay/agent.toml`, checked whole before any socket is opened.
//!
//! Here: which keys there are, their defaults and bounds, and the rules across keys. Not here: reading TOML
//! and finding lines (`backstay-config`). What a plugin's settings may be, the plugin says; they are checked
//! when it is loaded.

use std::{collections::BTreeMap, path::PathBuf};

use backstay_config::{Broker, Document, Plugin, Problem, Problems, Setting, Span};
use backstay_core::{Allowance, Backoff, DeviceSettings, RUNGS_MAX, Retries, Rung, Watched};
use backstay_model::{Hardware, Name, Scope};
use backstay_slots::Tries;
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

    fn problems(&self, document: &Document) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: &str| problems.push(document.problem(key, why));
        if !self.probe.iter().any(|probe| probe.critical && matches!(probe.scope, ProbeScope::Local)) {
            wrong(
                "probe",
                "expected at least one probe with scope \"local\" and critical = true: without it no release can ever earn trust",
            );
        }
        if self.probe.len() > PROBES_MAX {
            wrong("probe", "expected at most 32 probes");
        }
        for (at, probe) in self.probe.iter().enumerate() {
            let key = format!("probe[{at}]");
            let kinds =
                [probe.http.is_some(), probe.tcp.is_some(), probe.command.is_some(), probe.file.is_some()];
            if kinds.iter().filter(|kind| **kind).count() != 1 {
                wrong(&format!("{key}.name"), "expected exactly one of http, tcp, command and file");
            }
            if probe.file.is_some() != probe.age.is_some() {
                wrong(&format!("{key}.age"), "expected file and age together");
            }
            if probe.command.as_ref().is_some_and(Vec::is_empty) {
                wrong(&format!("{key}.command"), "expected a program and its arguments");
            }
            if self.probe.iter().take(at).any(|earlier| earlier.name == probe.name) {
                wrong(&format!("{key}.name"), "expected a name that no other probe has");
            }
            if probe.timeout > probe.every {
                wrong(&format!("{key}.timeout"), "expected at most every: a look ends before the next one");
            }
            if probe.every > self.window {
                wrong(
                    &format!("{key}.every"),
                    "expected a reading in each window: at most the length of window",
                );
            }
        }
        if self.startup >= self.window {
            wrong("startup", "expected less than window: else the first window says nothing");
        }
        let (limit, healthy_for) = (self.trial.limit.millis().0, self.trial.healthy_for.millis().0);
        if limit < healthy_for.saturating_add(self.window.millis().0) {
            wrong(
                "trial.limit",
                "expected at least trial.healthy_for and a window: else no trial can be passed",
            );
        }
        if !(60_000..=86_400_000).contains(&self.run.limit.millis().0) {
            wrong("run.limit", "expected 1m to 24h");
        }
        if self.ladder.len() > RUNGS_MAX {
            wrong("ladder", "expected at most 8 rungs");
        }
        for (at, rung) in self.ladder.iter().enumerate() {
            if !(1..=100).contains(&rung.attempts) {
                wrong(&format!("ladder[{at}].attempts"), "expected 1 to 100");
            }
            if !self.commands.contains_key(&rung.playbook) && !lkg::is_restore(&self.lkg, &rung.playbook) {
                wrong(&format!("ladder[{at}].playbook"), "expected the name of a command under [commands]");
            }
        }
        lkg::check(&self.lkg, &mut wrong);
        for (name, command) in &self.commands {
            if lkg::is_restore(&self.lkg, name) {
                wrong(
                    &format!("commands.{name}"),
                    "expected another name: with [[lkg]] this one restores those files",
                );
            }
            match command {
                Command::Supervise(_) if self.service.is_none() => {
                    wrong(&format!("commands.{name}"), "expected a [service] for it to be about");
                }
                Command::Program(program) if program.argv.is_empty() => {
                    wrong(&format!("commands.{name}.argv"), "expected a program and its arguments");
                }
                Command::Supervise(_) | Command::Program(_) => {}
            }
        }
        if self.service.as_ref().is_some_and(|service| service.command.is_empty()) {
            wrong("service.command", "expected a program and its arguments");
        }
        if self.heal.cap < self.heal.base {
            wrong("heal.cap", "expected at least heal.base");
        }
        if self.retry.cap < self.retry.base {
            wrong("retry.cap", "expected at least retry.base");
        }
        if !(1..=100).contains(&self.retry.attempts) {
            wrong("retry.attempts", "expected 1 to 100");
        }
        if !(1..=64).contains(&self.budget.switches) {
            wrong("budget.switches", "expected 1 to 64");
        }
        if !(2048..=1_048_576).contains(&self.journal.kib_max) {
            wrong("journal.kib_max", "expected 2048 to 1048576");
        }
        if let Some(server) = &self.server {
            if server.urls.is_empty() {
                wrong("server.urls", "expected at least one address");
            }
            for (at, url) in server.urls.iter().enumerate() {
                if !(url.starts_with("http://") || url.starts_with("https://")) {
                    wrong(&format!("server.urls[{at}]"), "expected http:// or https:// and a host");
                }
            }
        }
        if self.broker.is_some() && self.server.is_none() {
            wrong(
                "broker.url",
                "expected a [server] too: it enrols the device, and steering is for enrolled devices",
            );
        }
        match &self.slots {
            Slots::Files { tries, .. } if Tries::new(*tries).is_none() => {
                wrong("slots.tries", "expected 1 to 7");
            }
            Slots::Files { .. } => {}
            Slots::Program { .. } => self.problems_with_program(&mut wrong),
        }
        problems
    }

    /// Where another program works the slots, what runs is the machine's whole system.
    fn problems_with_program(&self, wrong: &mut dyn FnMut(&str, &str)) {
        let Slots::Program { command, timeout, stage_timeout } = &self.slots else { return };
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            wrong(
                "slots.command",
                "expected a program by its full path, and its arguments: [\"/usr/bin/backstay-slots\"]",
            );
        }
        if *timeout > Span::from_secs(3600) {
            wrong("slots.timeout", "expected at most 1h");
        }
        if stage_timeout < timeout || *stage_timeout > Span::from_secs(24 * 3600) {
            wrong("slots.stage_timeout", "expected at least slots.timeout, and at most 24h");
        }
        let of_slot = |text: &String| text.contains("{release}");
        if let Some(service) = &self.service
            && (service.command.iter().any(of_slot) || service.environment.values().any(of_slot))
        {
            wrong(
                "service",
                "expected no {release} in it: slots hold no program, they are what this machine boots",
            );
        }
        let name = match self.executor.settings.iter().find(|(name, _)| name.as_str() == RESTART) {
            Some((_, Setting::Text(name))) => name,
            Some((_, Setting::Flag(_) | Setting::Number(_) | Setting::Texts(_))) | None => RESTART,
        };
        let command = self.commands.iter().find(|(command, _)| command.as_str() == name);
        if !matches!(command, Some((_, Command::Program(_)))) {
            wrong(
                &format!("commands.{name}"),
                "expected a program that restarts this machine: { argv = [\"/usr/bin/systemctl\", \"reboot\"] }",
            );
        }
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

    fn told(text: &str) -> String {
        Config::of(&Document::new(Path::new("agent.toml"), text)).unwrap_err().to_string()
    }

    #[test]
    fn a_small_configuration_is_enough() {
        let config = Config::of(&Document::new(Path::new("agent.toml"), SMALL)).unwrap();
        assert_eq!(config.device_settings().watched.len(), 1);
        assert!(config.broker.is_none(), "a device may work alone");
    }

    #[test]
    fn what_would_end_the_start_is_told_before_it() {
        let tries = |tries| SMALL.replace("[service]", &format!("tries = {tries}\n[service]"));
        assert!(Config::of(&Document::new(Path::new("agent.toml"), &tries(7))).is_ok());
        assert_eq!(told(&tries(8)), "agent.toml:6: slots.tries: expected 1 to 7");
        let slow = SMALL.replace("[[ladder]]", "every = \"2s\"\ntimeout = \"3s\"\n[[ladder]]");
        assert!(
            told(&slow).starts_with("agent.toml:18: probe[0].timeout: expected at most every"),
            "{}",
            told(&slow)
        );
    }

    /// With a boot loader a restart is the machine's, and there is no program in a slot to supervise.
    #[test]
    fn slots_of_another_program_are_the_whole_system() {
        let slots =
            |rest: &str| format!("backend = \"program\"\ncommand = [\"/usr/bin/backstay-slots\"]{rest}");
        let with = |rest: &str| {
            SMALL
                .replace("backend = \"files\"\npath = \"/var/lib/backstay/slots\"", &slots(rest))
                .replace("{release}", "/usr/bin/pump")
        };
        let supervised = with("");
        assert_eq!(
            told(&supervised),
            "agent.toml:9: commands.restart: expected a program that restarts this machine: \
             { argv = [\"/usr/bin/systemctl\", \"reboot\"] }"
        );
        // The restart of the program stays a rung of the ladder, the executor restarts the machine.
        let good = supervised.replace(
            "executor-ota.bundle\"",
            "executor-ota.bundle\"\nsettings = { restart = \"reboot\" }\n[commands.reboot]\nargv = [\"/sbin/reboot\"]",
        );
        Config::of(&Document::new(Path::new("agent.toml"), &good)).unwrap();
        assert!(
            told(&good.replace("commands.reboot", "commands.boot")).contains(": commands.reboot: expected")
        );
        assert_eq!(
            told(&good.replace("/usr/bin/pump", "{release}")),
            "agent.toml:6: service: expected no {release} in it: slots hold no program, they are what this machine boots"
        );
        assert!(
            told(&good.replace("[\"/usr/bin/backstay-slots\"]", "[]"))
                .starts_with("agent.toml:5: slots.command: expected a program by its full path")
        );
        let times = with("\ntimeout = \"2h\"\nstage_timeout = \"1h\"");
        assert!(
            told(&times).starts_with(
                "agent.toml:6: slots.timeout: expected at most 1h\n\
                 agent.toml:7: slots.stage_timeout: expected at least slots.timeout, and at most 24h\n"
            ),
            "{}",
            told(&times)
        );
        assert!(
            told(&with("\ntries = 3")).contains("slots: unknown field `tries`"),
            "{}",
            told(&with("\ntries = 3"))
        );
    }

    #[test]
    fn a_rung_may_restore_the_configuration_where_there_is_one() {
        let rung = SMALL.replace("playbook = \"restart\"", "playbook = \"restore-configuration\"");
        assert!(told(&rung).contains("expected the name of a command under [commands]"));
        let file = |path: &str| format!("{rung}[[lkg]]\nfile = \"{path}\"\n");
        let config =
            Config::of(&Document::new(Path::new("agent.toml"), &file("/etc/pump/pump.toml"))).unwrap();
        assert_eq!(config.ladder[0].playbook.as_str(), lkg::RESTORE);
        for path in ["pump.toml", "/etc/../pump.toml"] {
            assert!(told(&file(path)).contains("lkg[0].file: expected a path from the root"), "{path}");
        }
        let twice = format!("{}[[lkg]]\nfile = \"/a\"\n", file("/a"));
        assert!(told(&twice).contains("lkg[1].file: expected a file that no other one is"));
        let taken = file("/a").replace("[policy]", "restore-configuration = { argv = [\"x\"] }\n[policy]");
        assert!(told(&taken).contains("commands.restore-configuration: expected another name"));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = SMALL
            .replace("attempts = 3", "attempts = 0")
            .replace("playbook = \"restart\"", "playbook = \"reboot\"");
        assert_eq!(
            told(&text),
            "agent.toml:19: ladder[0].attempts: expected 1 to 100\n\
             agent.toml:18: ladder[0].playbook: expected the name of a command under [commands]"
        );
        assert!(
            told(&SMALL.replace("http = \"http", "htttp = \"http"))
                .starts_with("agent.toml:16: probe[0].htttp: unknown field")
        );
        assert!(
            told(&SMALL.replace("pump-arm64", "Pump"))
                .contains("agent.toml:2: hardware: \"Pump\" is no hardware id")
        );
        assert!(
            told(&SMALL.replace("name = \"http\"", "name = \"http\"\nscope = \"dependency\""))
                .contains("without it no release")
        );
    }
}
