//! What Alertmanager sends to a webhook: the message, version 4, and what its alerts mean here.
//!
//! Format: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>. An alert that doesn't say which
//! service it is about is told as passed over, and takes nothing from the others in its message.
//!
//! Not here: which alerts are on at the moment (`firing`), and who may send them (the API).

use std::{collections::BTreeMap, fmt};

use backstay_model::{InfraKind, NameError, TargetId};
use serde::Deserialize;

use crate::no_data::shortened;

/// The longest message, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// The most alerts in one message.
const ALERTS_MAX: usize = 1000;
/// The form of message that is understood.
const VERSION: &str = "4";

/// The label that says which target an alert is about.
const SERVICE: &str = "service";
/// The label that says what kind of trouble with a machine an alert is.
const INFRA: &str = "backstay_infra";
/// The label that Alertmanager itself names alerts by.
const NAME: &str = "alertname";

/// One alert, for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which alert: the same for all messages about it.
    pub fingerprint: Fingerprint,
    /// The target that it is about: its label `service`.
    pub service: TargetId,
    /// Whether it is on.
    pub state: AlertState,
    /// What it means here.
    pub meaning: Meaning,
}

/// Whether an alert is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertState {
    /// It is on.
    Firing,
    /// It is over.
    Resolved,
}

/// What an alert means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Trouble with a machine: its label `backstay_infra`.
    Infra(InfraKind),
    /// A promise that is broken while it is on: its label `alertname`.
    Objective(AlertName),
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $bytes:literal, $allowed:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps the proof in the type; `None` if it is none.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                ((1..=$bytes).contains(&text.len()) && text.chars().all($allowed)).then(|| Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

texts! {
    /// What a rule calls its alert: 1 to 128 bytes, nothing that can't be seen.
    AlertName: 128, |c| !c.is_control();
    /// By what Alertmanager knows an alert again: 1 to 64 letters and digits.
    Fingerprint: 64, |c| c.is_ascii_alphanumeric();
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Its alerts, each once.
    pub alerts: Vec<Alert>,
    /// Those that can't be used.
    pub passed_over: Vec<PassedOver>,
    /// How many more there were that Alertmanager left out, because of its setting `max_alerts`.
    pub truncated: u64,
}

/// An alert that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Which of the message, from 0.
    pub at: usize,
    /// Why not.
    pub why: Unusable,
}

/// Why an alert can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// It has no label `service`, so it is about nothing that is known here.
    NoService,
    /// Its label `service` is no target.
    Service(NameError),
    /// It has no usable fingerprint, so a second message about it couldn't be told from a second alert.
    NoFingerprint,
    /// Its label `backstay_infra` is none of those that are known.
    Infra {
        /// What it says, its first characters.
        kind: String,
    },
    /// It has no usable label `alertname`.
    NoName,
    /// It is neither firing nor resolved.
    Status {
        /// What it says, its first characters.
        status: String,
    },
}

/// A message that isn't taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlertsError {
    /// It is longer than is read.
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// It is no message of Alertmanager.
    Malformed {
        /// In which line, from 1.
        line: usize,
        /// At which byte of it, from 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// It is of another version.
    Version {
        /// Which, its first characters.
        version: String,
    },
    /// There are more alerts in it than are taken.
    TooMany {
        /// How many.
        alerts: usize,
    },
}

impl AlertsError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { .. } | Self::TooMany { .. } => {
                Some("set max_alerts in Alertmanager's webhook_config, or group by service")
            }
            Self::Malformed { .. } => Some("point a webhook_config of Alertmanager here"),
            Self::Version { .. } => Some("Alertmanager's webhook speaks version 4 since 0.6"),
        }
    }
}

impl fmt::Display for AlertsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => {
                write!(f, "the message has {bytes} bytes, and at most {BYTES_MAX} are read")
            }
            Self::Malformed { line, column, why } => write!(f, "line {line}, column {column}: {why}"),
            Self::Version { version } => {
                write!(f, "the message is of version {version:?}, and {VERSION:?} was expected")
            }
            Self::TooMany { alerts } => {
                write!(f, "the message has {alerts} alerts, and at most {ALERTS_MAX} are taken")
            }
        }
    }
}

impl std::error::Error for AlertsError {}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoService => write!(f, "there is no label {SERVICE}"),
            Self::Service(error) => write!(f, "label {SERVICE}: {error}"),
            Self::NoFingerprint => f.write_str("there is no usable fingerprint"),
            Self::Infra { kind } => write!(
                f,
                "label {INFRA} is {kind:?}: expected process-exited, out-of-memory, machine-lost, disk or network"
            ),
            Self::NoName => write!(f, "there is no usable label {NAME}"),
            Self::Status { status } => write!(f, "it is {status:?}, neither firing nor resolved"),
        }
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alert {} is passed over: {}", self.at, self.why)
    }
}

/// The fields of a message that matter; others may come and go.
#[derive(Deserialize)]
struct Message {
    alerts: Vec<Sent>,
    #[serde(default, rename = "truncatedAlerts")]
    truncated: u64,
}

#[derive(Deserialize)]
struct Sent {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    fingerprint: String,
}

/// Only this is read first: another version may have other fields.
#[derive(Deserialize)]
struct Versioned {
    version: String,
}

/// Reads a message.
///
/// # Errors
/// It is too large, no JSON, of another version, or has too many alerts. Single alerts that can't be used are no error:
/// [`Delivery::passed_over`].
pub fn alerts(body: &[u8]) -> Result<Delivery, AlertsError> {
    if body.len() > BYTES_MAX {
        return Err(AlertsError::TooLarge { bytes: body.len() });
    }
    let Versioned { version } = read(body)?;
    if version != VERSION {
        return Err(AlertsError::Version { version: shortened(&version) });
    }
    let Message { alerts: sent, truncated } = read(body)?;
    if sent.len() > ALERTS_MAX {
        return Err(AlertsError::TooMany { alerts: sent.len() });
    }
    let mut delivery = Delivery { truncated, ..Delivery::default() };
    let mut seen: BTreeMap<Fingerprint, usize> = BTreeMap::new();
    for (at, sent) in sent.into_iter().enumerate() {
        match sent.understood() {
            Err(why) => delivery.passed_over.push(PassedOver { at, why }),
            Ok(alert) => match seen.get(&alert.fingerprint) {
                // Of two words about one alert the worse is believed.
                Some(&first) if alert.state == AlertState::Firing => delivery.alerts[first] = alert,
                Some(_) => {}
                None => {
                    seen.insert(alert.fingerprint.clone(), delivery.alerts.len());
                    delivery.alerts.push(alert);
                }
            },
        }
    }
    Ok(delivery)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AlertsError> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // serde_json says the place in its message too.
        let why = error.to_string();
        let why = shortened(why.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&why));
        AlertsError::Malformed { line: line.max(1), column: column.max(1), why }
    })
}

impl Sent {
    fn understood(self) -> Result<Alert, Unusable> {
        let label = |name: &str| self.labels.get(name).map(String::as_str);
        let service =
            TargetId::parse(label(SERVICE).ok_or(Unusable::NoService)?).map_err(Unusable::Service)?;
        let fingerprint = Fingerprint::parse(&self.fingerprint).ok_or(Unusable::NoFingerprint)?;
        let state = match self.status.as_str() {
            "firing" => AlertState::Firing,
            "resolved" => AlertState::Resolved,
            other => return Err(Unusable::Status { status: shortened(other) }),
        };
        let meaning = match label(INFRA) {
            Some(kind) => {
                Meaning::Infra(infra(kind).ok_or_else(|| Unusable::Infra { kind: shortened(kind) })?)
            }
            None => Meaning::Objective(label(NAME).and_then(AlertName::parse).ok_or(Unusable::NoName)?),
        };
        Ok(Alert { fingerprint, service, state, meaning })
    }
}

fn infra(kind: &str) -> Option<InfraKind> {
    Some(match kind {
        "process-exited" => InfraKind::ProcessExited,
        "out-of-memory" => InfraKind::OutOfMemory,
        "machine-lost" => InfraKind::MachineLost,
        "disk" => InfraKind::Disk,
        "network" => InfraKind::Network,
        _ => return None,
    })
}
