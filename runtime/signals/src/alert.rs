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
            Self::NoService => f.write_str("there is no label service"),
            Self::Service(error) => write!(f, "label service: {error}"),
            Self::NoFingerprint => f.write_str("there is no usable fingerprint"),
            Self::Infra { kind } => write!(
                f,
                "label backstay_infra is {kind:?}: expected process-exited, out-of-memory, machine-lost, disk or network"
            ),
            Self::NoName => f.write_str("there is no usable label alertname"),
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
    labels: Labels,
    #[serde(default)]
    fingerprint: String,
}

/// The labels that matter. One that is there twice is an error, as any field is.
#[derive(Default, Deserialize)]
struct Labels {
    service: Option<String>,
    backstay_infra: Option<String>,
    alertname: Option<String>,
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
        let Labels { service, backstay_infra, alertname } = self.labels;
        let service = service.ok_or(Unusable::NoService)?;
        let service = TargetId::parse(&service).map_err(Unusable::Service)?;
        let fingerprint = Fingerprint::parse(&self.fingerprint).ok_or(Unusable::NoFingerprint)?;
        let state = match self.status.as_str() {
            "firing" => AlertState::Firing,
            "resolved" => AlertState::Resolved,
            other => return Err(Unusable::Status { status: shortened(other) }),
        };
        let meaning = match backstay_infra.as_deref() {
            Some(kind) => {
                Meaning::Infra(infra(kind).ok_or_else(|| Unusable::Infra { kind: shortened(kind) })?)
            }
            None => {
                let name = alertname.as_deref().and_then(AlertName::parse);
                Meaning::Objective(name.ok_or(Unusable::NoName)?)
            }
        };
        Ok(Alert { fingerprint, service, state, meaning })
    }
}

/// The trouble with a machine that goes by this name.
pub(crate) fn infra(kind: &str) -> Option<InfraKind> {
    Some(match kind {
        "process-exited" => InfraKind::ProcessExited,
        "out-of-memory" => InfraKind::OutOfMemory,
        "machine-lost" => InfraKind::MachineLost,
        "disk" => InfraKind::Disk,
        "network" => InfraKind::Network,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as Alertmanager 0.25 sends it, with the fields that don't matter here.
    fn message(alerts: &str) -> String {
        format!(
            r#"{{"receiver":"backstay","status":"firing","alerts":[{alerts}],"groupLabels":{{"service":"checkout"}},
            "commonLabels":{{}},"commonAnnotations":{{}},"externalURL":"http://am.example:9093","version":"4",
            "groupKey":"{{}}:{{service=\"checkout\"}}","truncatedAlerts":2}}"#
        )
    }

    fn alert(status: &str, labels: &str, fingerprint: &str) -> String {
        format!(
            r#"{{"status":"{status}","labels":{{{labels}}},"annotations":{{"summary":"x"}},
            "startsAt":"2026-01-05T10:00:00.000Z","endsAt":"0001-01-01T00:00:00Z",
            "generatorURL":"http://prometheus.example:9090/graph","fingerprint":"{fingerprint}"}}"#
        )
    }

    fn read(alerts_: &[String]) -> Delivery {
        alerts(message(&alerts_.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn an_alert_is_trouble_with_a_machine_or_a_broken_promise() {
        let delivery = read(&[
            alert(
                "firing",
                r#""service":"checkout","alertname":"OomKills","backstay_infra":"out-of-memory""#,
                "a1",
            ),
            alert("resolved", r#""service":"checkout","alertname":"ErrorsHigh","severity":"page""#, "b2"),
        ]);
        assert_eq!((delivery.truncated, delivery.passed_over.len()), (2, 0));
        let [oom, errors] = delivery.alerts.as_slice() else { panic!("{delivery:?}") };
        assert_eq!(oom.service.as_str(), "checkout");
        assert_eq!((oom.state, &oom.meaning), (AlertState::Firing, &Meaning::Infra(InfraKind::OutOfMemory)));
        assert_eq!(errors.state, AlertState::Resolved);
        assert_eq!(errors.meaning, Meaning::Objective(AlertName::parse("ErrorsHigh").unwrap()));
    }

    #[test]
    fn every_kind_of_trouble_has_a_label() {
        for (label, kind) in [
            ("process-exited", InfraKind::ProcessExited),
            ("out-of-memory", InfraKind::OutOfMemory),
            ("machine-lost", InfraKind::MachineLost),
            ("disk", InfraKind::Disk),
            ("network", InfraKind::Network),
        ] {
            let labels = format!(r#""service":"checkout","backstay_infra":"{label}""#);
            assert_eq!(read(&[alert("firing", &labels, "a1")]).alerts[0].meaning, Meaning::Infra(kind));
        }
    }

    /// One alert of many has no service: the others are taken, and that one is told of.
    #[test]
    fn an_alert_that_cannot_be_used_takes_nothing_from_the_others() {
        let told = |labels: &str, fingerprint: &str, status: &str| {
            let good = alert("firing", r#""service":"checkout","alertname":"A""#, "ok");
            let delivery = read(&[alert(status, labels, fingerprint), good]);
            assert_eq!(delivery.alerts.len(), 1, "{labels}");
            delivery.passed_over.iter().map(PassedOver::to_string).collect::<String>()
        };
        for (labels, fingerprint, status, why) in [
            (r#""alertname":"A""#, "a1", "firing", "there is no label service"),
            (
                r#""service":"../x","alertname":"A""#,
                "a1",
                "firing",
                r#"label service: "../x" is no target: expected 1 to 64 of a-z, 0-9 and -"#,
            ),
            (r#""service":"checkout","alertname":"A""#, "", "firing", "there is no usable fingerprint"),
            (r#""service":"checkout""#, "a1", "firing", "there is no usable label alertname"),
            (
                r#""service":"checkout","backstay_infra":"fire""#,
                "a1",
                "firing",
                "label backstay_infra is \"fire\": expected process-exited, out-of-memory, machine-lost, disk or network",
            ),
            (
                r#""service":"checkout","alertname":"A""#,
                "a1",
                "suppressed",
                "it is \"suppressed\", neither firing nor resolved",
            ),
        ] {
            assert_eq!(told(labels, fingerprint, status), format!("alert 0 is passed over: {why}"));
        }
    }

    #[test]
    fn an_alert_that_is_there_twice_counts_once_and_the_worse_word_is_believed() {
        let labels = r#""service":"checkout","alertname":"A""#;
        let (on, over) = (alert("firing", labels, "a1"), alert("resolved", labels, "a1"));
        for order in [[on.clone(), over.clone()], [over, on]] {
            let delivery = read(&order);
            assert_eq!(delivery.alerts.len(), 1);
            assert_eq!(delivery.alerts[0].state, AlertState::Firing);
        }
    }

    #[test]
    fn another_version_is_refused_whatever_its_fields_are() {
        let error = alerts(br#"{"version":"5","alerts":"all of them"}"#).unwrap_err();
        assert_eq!(error.to_string(), r#"the message is of version "5", and "4" was expected"#);
        assert!(matches!(alerts(br#"{"alerts":[]}"#), Err(AlertsError::Malformed { .. })));
    }

    #[test]
    fn what_is_broken_or_too_large_is_refused() {
        let whole = message(&alert("firing", r#""service":"checkout","alertname":"A""#, "a1"));
        for length in 0..whole.len() {
            assert!(alerts(&whole.as_bytes()[..length]).is_err(), "{length}");
        }
        let twice = message(&alert("firing", r#""service":"a","service":"b","alertname":"A""#, "a1"));
        let error = alerts(twice.as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("duplicate field `service`"), "{error}");
        let deep = format!(r#"{{"version":"4","x":{}"#, "[".repeat(100_000));
        assert!(matches!(alerts(deep.as_bytes()), Err(AlertsError::Malformed { .. })));
        assert!(matches!(alerts(&vec![b' '; BYTES_MAX + 1]), Err(AlertsError::TooLarge { .. })));
        let many = vec![r#"{"status":"firing"}"#; ALERTS_MAX + 1].join(",");
        assert!(matches!(alerts(message(&many).as_bytes()), Err(AlertsError::TooMany { alerts: 1001 })));
        assert_eq!(alerts(b"\xff").unwrap_err().to_string(), "line 1, column 1: expected value");
    }
}
