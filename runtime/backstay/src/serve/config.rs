//! The server's configuration: `backstay.toml`, checked whole before any socket is opened.
//!
//! Here: which keys there are, their defaults and bounds, and the rules across keys. Not here: reading TOML and
//! finding lines (`backstay-config`), and the files that it names (`setup` reads them, before any socket, too).

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use backstay_config::{Broker, Document, Keys, Plugin, Problem, Problems, Span};
use backstay_core::{Plan, PlanError};
use backstay_model::{Millis, Permille};
use backstay_targets::{Reading, Shared};
use schemars::JsonSchema;
use serde::Deserialize;

/// All of it but what targets share, which stands in the same file ([`Shared::KEYS`]).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The server of Backstay", rename = "Server")]
pub(crate) struct Config {
    /// Where the server keeps journal, view, register, archive and artifacts.
    #[serde(default = "default_state")]
    pub(crate) state: PathBuf,
    /// The operator's keys, the same as on devices. They also say which fleet it is.
    #[serde(default = "default_keyring")]
    pub(crate) keyring: PathBuf,
    /// The server's own secret key, as PEM: the keyring has it as director.
    #[serde(default = "default_director_key")]
    pub(crate) director_key: PathBuf,
    /// Who may call, and where.
    pub(crate) api: Api,
    /// The mailbox between devices and server.
    pub(crate) broker: Option<Broker>,
    /// Instead of `broker`: an address for a broker inside the server, for trying it out.
    pub(crate) embedded_broker: Option<SocketAddr>,
    /// Who judges rollouts.
    pub(crate) policy: Plugin,
    /// How rollouts go forward, where the one who starts one doesn't say.
    #[serde(default)]
    pub(crate) rollout: Rollouts,
    /// For how long a forward steering message lets devices start. It is signed afresh four times in that span.
    #[serde(default = "default_steer_expires")]
    pub(crate) steer_expires: Span,
    /// The secret key that signs what pipelines are told, as PEM: the keyring has it in its verdict role. Without it the
    /// server gives no verdicts.
    pub(crate) verdict_key: Option<PathBuf>,
    /// For how long a verdict is good: 10 minutes if it is left out.
    #[serde(default = "default_verdict_expires")]
    pub(crate) verdict_expires: Span,
    /// The span over which devices spread when they reconnect.
    #[serde(default = "default_reconnect_window")]
    pub(crate) reconnect_window: Span,
    /// How the server's own journal is kept.
    #[serde(default)]
    pub(crate) journal: Journal,
}

/// Who may call, and where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    /// `127.0.0.1:8440`. Beyond this machine it takes `tls`, or `insecure` spelled out.
    #[serde(default = "default_listen")]
    pub(crate) listen: SocketAddr,
    /// What the server shows to callers. Without it the API is plain HTTP.
    pub(crate) tls: Option<Tls>,
    /// Plain HTTP on an address that others reach: for a network of its own, or behind something that speaks TLS. The
    /// operator's token crosses that network as it is.
    #[serde(default)]
    pub(crate) insecure: bool,
    /// What operators show: at least 16 characters in one line.
    pub(crate) token_file: PathBuf,
}

/// What the server shows to callers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate for the name in the URLs, and those up to the authority, as PEM.
    pub(crate) certificate: PathBuf,
    /// Its secret key, as PEM.
    pub(crate) key: PathBuf,
}

/// How rollouts go forward. What is left out is as in [`Plan::default`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rollouts {
    waves: Option<Vec<u16>>,
    devices_min: Option<u32>,
    good_windows: Option<u32>,
    window: Option<Span>,
    success_min: Option<u16>,
    failures_max: Option<u32>,
    silence: Option<Span>,
    silent_max: Option<u16>,
    patience: Option<Span>,
    windows_max: Option<u32>,
    thaw_windows: Option<u32>,
    breaker: Option<Span>,
}

/// How the server's own journal is kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Journal {
    /// The most that it takes on disk, in MiB: 4 to 4096. The oldest records go first.
    pub(crate) mib_max: u64,
}

impl Default for Journal {
    fn default() -> Self {
        // A record with its snapshot takes some 4 KiB: this holds years of rollouts.
        Self { mib_max: 64 }
    }
}

fn default_state() -> PathBuf {
    "/var/lib/backstay-server".into()
}
fn default_keyring() -> PathBuf {
    "/etc/backstay/keyring".into()
}
fn default_director_key() -> PathBuf {
    "/etc/backstay/director.pem".into()
}
fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8440))
}
const fn default_steer_expires() -> Span {
    Span::from_secs(7 * 86_400)
}
const fn default_verdict_expires() -> Span {
    Span::from_secs(600)
}
const fn default_reconnect_window() -> Span {
    Span::from_secs(10)
}

/// The shortest `steer_expires`: below, a device that was offline for a moment would never start.
const STEER_EXPIRES_MIN: Span = Span::from_secs(60);
/// Shorter, and a build may not read its verdict in time; longer, and gates don't believe it (`core`'s gate).
const VERDICT_EXPIRES: [Span; 2] = [Span::from_secs(30), Span::from_secs(3600)];

impl Config {
    /// What `document` says, if all of it can be, and what it and its targets come to; those of `folder` where one is given. All
    /// problems of both are in the reading.
    pub(crate) fn read(document: &Document, folder: Option<&Path>) -> (Option<Self>, Reading) {
        let mut reading =
            folder.map_or_else(|| Reading::of(document), |folder| Reading::in_folder(document, folder));
        let (config, mut problems) = match Self::of(document) {
            Ok(config) => (Some(config), Vec::new()),
            Err(Problems(problems)) => (None, problems),
        };
        // Text that is no TOML is told by both who read it.
        problems.retain(|problem| !reading.problems.contains(problem));
        reading.problems.splice(..0, problems);
        (config, reading)
    }

    /// What `document` says, if all of it can be. What targets share is left alone.
    ///
    /// # Errors
    /// Everything that is wrong, each by file, line, key and what was expected.
    pub(crate) fn of(document: &Document) -> Result<Self, Problems> {
        let mut whole = document.whole::<Self>(Keys::Without(Shared::KEYS));
        let mut problems = std::mem::take(&mut whole.problems);
        let Some(config) = whole.value.clone() else { return Err(Problems(problems)) };
        problems.extend(config.problems(document).into_iter().filter(|problem| whole.is_sound(&problem.key)));
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }

    /// How a rollout goes forward if nobody says more.
    pub(crate) fn plan(&self) -> Plan {
        let Rollouts { waves, devices_min, good_windows, window, success_min, failures_max, .. } =
            &self.rollout;
        let Rollouts { silence, silent_max, patience, windows_max, thaw_windows, breaker, .. } =
            &self.rollout;
        let usual = Plan::default();
        let span = |span: &Option<Span>, usual: Millis| span.map_or(usual, Span::millis);
        let share = |share: &Option<u16>, usual: Permille| share.map_or(usual, permille);
        Plan {
            waves: waves.as_ref().map_or(usual.waves, |waves| waves.iter().copied().map(permille).collect()),
            devices_min: devices_min.unwrap_or(usual.devices_min),
            good_windows: good_windows.unwrap_or(usual.good_windows),
            window: span(window, usual.window),
            success_min: share(success_min, usual.success_min),
            failures_max: failures_max.unwrap_or(usual.failures_max),
            silence: span(silence, usual.silence),
            silent_max: share(silent_max, usual.silent_max),
            patience: span(patience, usual.patience),
            windows_max: windows_max.unwrap_or(usual.windows_max),
            thaw_windows: thaw_windows.unwrap_or(usual.thaw_windows),
            breaker: span(breaker, usual.breaker),
            reconnect_window: self.reconnect_window.millis(),
        }
    }

    fn problems(&self, document: &Document) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, why: &str| problems.push(document.problem(key, why));
        match (&self.broker, &self.embedded_broker) {
            (Some(_), Some(_)) => wrong("embedded_broker", "expected either this or [broker], not both"),
            (None, None) => {
                wrong(
                    "broker",
                    "is missing: expected [broker] with a url, or embedded_broker = \"127.0.0.1:1883\"",
                );
            }
            (Some(broker), None) => {
                if broker.user.is_some() != broker.password_file.is_some() {
                    wrong("broker.user", "expected user and password_file together");
                }
                if broker.certificate.is_some() != broker.key.is_some() {
                    wrong("broker.certificate", "expected certificate and key together");
                }
            }
            (None, Some(_)) => {}
        }
        match (&self.api.tls, self.api.insecure) {
            (None, false) if !self.api.listen.ip().is_loopback() => wrong(
                "api.listen",
                "expected a loopback address, or tls = { certificate, key }; insecure = true lets the token and all \
                 answers cross this network as they are",
            ),
            (Some(_), true) => wrong("api.insecure", "expected either this or api.tls, not both"),
            (None, _) | (Some(_), false) => {}
        }
        let shares = self.rollout.waves.iter().flatten().copied();
        if shares.clone().any(|share| Permille::new(share).is_none()) {
            wrong("rollout.waves", "expected shares of 1 to 1000 permille");
        }
        for (key, share) in [
            ("rollout.success_min", self.rollout.success_min),
            ("rollout.silent_max", self.rollout.silent_max),
        ] {
            if share.is_some_and(|share| Permille::new(share).is_none()) {
                wrong(key, "expected 0 to 1000 permille");
            }
        }
        if let Err(error) = self.plan().check() {
            let key = match error {
                PlanError::Waves { .. } | PlanError::NotGrowing { .. } | PlanError::NotAll { .. } => {
                    "rollout.waves"
                }
                PlanError::Bounds { setting: "reconnect_window", .. } => "reconnect_window",
                PlanError::Bounds { setting, .. } => &format!("rollout.{setting}"),
            };
            wrong(key, &error.help().map_or_else(|| error.to_string(), |help| format!("{error}; {help}")));
        }
        if self.steer_expires < STEER_EXPIRES_MIN {
            wrong("steer_expires", "expected at least 60s");
        }
        let [shortest, longest] = VERDICT_EXPIRES;
        if self.verdict_expires < shortest || self.verdict_expires > longest {
            wrong("verdict_expires", "expected 30s to 1h");
        }
        if !(4..=4096).contains(&self.journal.mib_max) {
            wrong("journal.mib_max", "expected 4 to 4096");
        }
        problems
    }
}

/// What is more than all is told as a problem; until then it counts as all.
fn permille(share: u16) -> Permille {
    Permille::new(share).unwrap_or(Permille::ALL)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SMALL: &str = r#"
embedded_broker = "127.0.0.1:1883"
[api]
token_file = "/etc/backstay/token"
[policy]
bundle = "/usr/share/backstay/policy-tree.bundle"
"#;

    fn read(text: &str) -> Result<Config, Problems> {
        Config::of(&Document::new(Path::new("backstay.toml"), text))
    }

    fn told(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_small_configuration_is_enough() {
        let config = read(SMALL).unwrap();
        assert_eq!(config.plan(), Plan::default());
        assert_eq!(config.steer_expires, Span::from_secs(7 * 86_400));
    }

    #[test]
    fn a_rollout_is_as_the_operator_wants_it() {
        let text = format!(
            "{SMALL}[rollout]\nwaves = [200, 1000]\nwindow = \"2s\"\ndevices_min = 1\nsilent_max = 400\n"
        );
        let plan = read(&text).unwrap().plan();
        assert_eq!(plan.waves.iter().map(|share| share.get()).collect::<Vec<_>>(), [200, 1000]);
        assert_eq!((plan.window, plan.devices_min, plan.silent_max.get()), (Millis(2000), 1, 400));
    }

    #[test]
    fn there_is_one_broker() {
        let both = format!("{SMALL}[broker]\nurl = \"mqtt://broker\"\n");
        assert_eq!(
            told(&both),
            "backstay.toml:2: embedded_broker: expected either this or [broker], not both"
        );
        let none = told(&SMALL.replace("embedded_broker", "# embedded_broker"));
        assert!(none.contains("broker: is missing"), "{none}");
    }

    #[test]
    fn beyond_this_machine_the_api_speaks_tls() {
        let at = |api: &str| read(&SMALL.replace("[api]", &format!("[api]\n{api}")));
        for right in [
            "listen = \"127.0.0.1:1\"",
            "listen = \"[::1]:1\"",
            "listen = \"0.0.0.0:1\"\ntls = { certificate = \"c\", key = \"k\" }",
            "listen = \"0.0.0.0:1\"\ninsecure = true",
        ] {
            assert!(at(right).is_ok(), "{right}");
        }
        for open in ["listen = \"0.0.0.0:1\"", "listen = \"[::]:1\"", "listen = \"192.0.2.7:1\""] {
            let told = at(open).unwrap_err().to_string();
            assert!(told.starts_with("backstay.toml:4: api.listen: expected a loopback address"), "{told}");
        }
        let both = at("insecure = true\ntls = { certificate = \"c\", key = \"k\" }").unwrap_err().to_string();
        assert!(both.contains("api.insecure: expected either"), "{both}");
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = format!(
            "steer_expires = \"1s\"\nverdict_expires = \"2h\"{SMALL}[rollout]\ngood_windows = 0\nsuccess_min = 2000\n[journal]\nmib_max = 1\n"
        );
        assert_eq!(
            told(&text),
            "backstay.toml:1: steer_expires: expected at least 60s\n\
             backstay.toml:2: verdict_expires: expected 30s to 1h\n\
             backstay.toml:9: rollout.good_windows: good_windows is 0; it is 1 to 1000\n\
             backstay.toml:10: rollout.success_min: expected 0 to 1000 permille\n\
             backstay.toml:12: journal.mib_max: expected 4 to 4096"
        );
        let waves = told(&format!("{SMALL}[rollout]\nwaves = [10, 50]\n"));
        assert!(
            waves.starts_with("backstay.toml:8: rollout.waves: the last wave is 50 permille, not all"),
            "{waves}"
        );
        let typo = told(&SMALL.replace("token_file", "tokenfile"));
        let lines: Vec<_> = typo.lines().collect();
        assert_eq!(lines[0], "backstay.toml:3: api: missing field `token_file`");
        assert!(lines[1].starts_with("backstay.toml:4: api.tokenfile: unknown field"), "{typo}");
        assert_eq!(lines.len(), 2, "{typo}");
    }

    /// One file for two readers: each leaves the other's keys alone, and both mistakes are told.
    #[test]
    fn targets_stand_beside_the_server() {
        let text = format!(
            "{SMALL}[policies.tree]\nbundle = \"/b\"\n[brakes]\nper_hour = 0\n[journal]\nmib_max = 1\n[prometeus]\n"
        );
        let document = Document::new(Path::new("backstay.toml"), &text);
        let (config, reading) = Config::read(&document, None);
        assert!(config.is_none() && reading.targets.is_none());
        let told: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "backstay.toml:12: journal.mib_max: expected 4 to 4096");
        assert!(
            told[1].starts_with("backstay.toml:13: prometeus: unknown field")
                && told[1].contains("`prometheus`"),
            "{told:#?}"
        );
        assert_eq!(told[2], "backstay.toml:10: brakes.per_hour: expected 1 to 64, found 0");
        assert_eq!(told.len(), 3, "{told:#?}");
        let (none, reading) = Config::read(&Document::new(Path::new("backstay.toml"), "[api"), None);
        assert!(none.is_none() && reading.problems.len() == 1, "{:?}", reading.problems);
    }

    /// The examples of both pages, in one file.
    #[test]
    fn the_pages_show_what_is_read() {
        let example =
            |page: &str| page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
        let server = example(include_str!("../../../../docs/server.md"));
        let shared = example(include_str!("../../../../docs/targets.md"));
        let targets = tempfile::tempdir().unwrap();
        // Keys at the top of a file stand before its tables.
        let (folder, shared) = shared.split_once('\n').unwrap();
        assert!(folder.starts_with("targets = "), "{folder}");
        let document = Document::new(Path::new("backstay.toml"), &format!("{folder}\n{server}\n{shared}"));
        let (config, reading) = Config::read(&document, Some(targets.path()));
        assert_eq!(reading.problems, []);
        assert!(config.is_some() && reading.targets.is_some());
    }

    /// The file that editors use is what the code generates; `BACKSTAY_REWRITE=1` writes it anew.
    #[test]
    fn the_committed_schema_is_what_the_code_generates() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/schema/server.schema.json");
        let generated = format!("{}\n", serde_json::to_string_pretty(&super::super::schema()).unwrap());
        if std::env::var_os("BACKSTAY_REWRITE").is_some() {
            std::fs::write(file, &generated).unwrap();
        }
        assert!(std::fs::read_to_string(file).unwrap() == generated, "BACKSTAY_REWRITE=1 writes {file} anew");
        for key in Shared::KEYS.iter().chain(&["api", "broker", "rollout"]) {
            assert!(generated.contains(&format!("\n    \"{key}\": {{")), "{key}");
        }
    }
}
