//! What a link is told once: where to go, as whom, what to listen to, and the bounds.
//!
//! Not here: reading a configuration file (the binaries do), and the contents of the files that are named
//! (`files`).

use std::{fmt, path::PathBuf};

use backstay_model::Millis;
use bytes::Bytes;

use crate::{
    address::{Address, Place},
    files::{ClientFiles, FileError, Tls, TlsMemory, password},
};

/// Smallest and largest packet limit, in bytes. A subscription to eight of the longest filters fits the
/// smallest, and so does CONNECT with the longest of everything. MQTT itself ends at 256 MiB.
const PACKET_BYTES: (usize, usize) = (8 * 1024, 16 * 1024 * 1024);
const USER_BYTES_MAX: usize = 256;
/// How many filters one link has at most. They are subscribed one by one when a message was too large, so
/// they are few.
const FILTERS_MAX: usize = 32;
/// Longest topic or filter in bytes.
pub(crate) const TOPIC_BYTES_MAX: usize = 512;
/// How many publishes may be under way at most.
const IN_FLIGHT_MAX: u16 = 64;
/// Most happenings or publishes that wait to be taken.
const QUEUE_MAX: usize = 65_536;
/// A keep alive in whole seconds: more than 20 minutes is refused by some brokers.
const KEEP_ALIVE: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(1200));
/// What a packet of ours has beside topic and payload, in bytes, at most.
pub(crate) const PACKET_HEAD_BYTES: usize = 16;

/// How hard the broker tries to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Once or not at all. For beats.
    AtMostOnce,
    /// Once or more often, and acknowledged. For everything else.
    AtLeastOnce,
}

/// One subscription.
///
/// A narrow one: when a message that is too large to be read is kept under a filter, the whole filter is left
/// out until it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// A topic, with `+` or `#` for levels that may be anything.
    pub topics: String,
    /// How hard the broker tries.
    pub qos: Qos,
}

/// What the broker says for us when it has lost us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
    /// How hard the broker tries.
    pub qos: Qos,
}

/// Who we are to the broker. It is not who we are to Backstay: that is a signature in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody in particular.
    Anonymous,
    /// A user and a password.
    Password {
        /// The user's name: 1 to 256 bytes.
        user: String,
        /// A file with the password as its one line (at most 3 KiB), read anew for each connection.
        file: PathBuf,
    },
    /// A TLS client certificate, read anew for each connection.
    Certificate {
        /// PEM file with our certificate and those between it and the CA.
        certificate: PathBuf,
        /// PEM file with its key, not encrypted.
        key: PathBuf,
    },
}

/// What a link is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the broker is.
    pub address: Address,
    /// Our name there: 1 to 64 bytes, and nobody else's. Two who share one throw each other out for ever.
    pub client_id: String,
    /// Who we are to the broker.
    pub identity: Identity,
    /// For `mqtts://`, and only for it.
    pub tls: Option<Tls>,
    /// How long a silent connection is left alone before a ping: whole seconds, 1 to 1200. After two and a
    /// half of them without progress the connection is thrown away.
    pub keep_alive: Millis,
    /// The largest packet that is read, in bytes: 8 KiB to 16 MiB. A larger message ends the connection,
    /// because MQTT 3.1.1 knows no other way to decline it. A server that listens to many devices sets it to
    /// no less than what its broker lets through, so that no device can blind it.
    pub incoming_bytes_max: usize,
    /// The largest packet that is sent, in bytes: 8 KiB to 16 MiB.
    pub outgoing_bytes_max: usize,
    /// What the broker says for us when it has lost us.
    pub will: Option<Will>,
    /// What we listen to: 1 to 32, different ones.
    pub filters: Vec<Filter>,
    /// The span over which tries to connect are spread (100 ms to 1 h, brought to the nearest bound).
    pub reconnect_within: Millis,
    /// Seed for the spreading: different on every device, best from the system's randomness.
    pub seed: u64,
    /// How long a poisoned filter is left alone first; it doubles each time, up to 1 h or this, if this is longer.
    pub poison_retry: Millis,
    /// How many publishes are under way at most, 1 to 64.
    pub in_flight_max: u16,
    /// How many publishes wait at most: 1 to 65,536. When there are too many, `publish` says so.
    pub queue_max: usize,
}

/// Settings that no link can work with.
#[derive(Debug)]
pub enum SettingsError {
    /// A value is out of its bounds.
    Bounds {
        /// Which one.
        what: &'static str,
        /// What it is.
        is: usize,
        /// The least it may be.
        least: usize,
        /// The most it may be.
        most: usize,
    },
    /// The client id holds a character that some broker would refuse.
    ClientId {
        /// The id.
        id: String,
    },
    /// A filter, or the will's topic, is none by MQTT's rules.
    Topic {
        /// The text.
        text: String,
    },
    /// The same filter twice.
    Twice {
        /// The filter.
        topics: String,
    },
    /// `mqtts://` without a CA.
    NoCa,
    /// A CA or a client certificate for an address that is not `mqtts://`.
    NotTls,
    /// A file can't be used.
    File {
        /// Why.
        source: FileError,
    },
    /// There is no tokio runtime to run in.
    NoRuntime,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds { what, is, least, most } => {
                write!(f, "{what} is {is}, allowed is {least} to {most}")
            }
            Self::ClientId { id } => write!(f, "{id:?} is no client id"),
            Self::Topic { text } => write!(f, "{text:?} is no topic for MQTT"),
            Self::Twice { topics } => write!(f, "the filter {topics:?} is there twice"),
            Self::NoCa => write!(f, "mqtts:// needs the CA of the broker"),
            Self::NotTls => write!(f, "a CA or client certificate is of no use without mqtts://"),
            Self::File { .. } => write!(f, "a file that the broker's link needs can't be used"),
            Self::NoRuntime => write!(f, "a link needs a tokio runtime to run in"),
        }
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source } => Some(source),
            Self::Bounds { .. }
            | Self::ClientId { .. }
            | Self::Topic { .. }
            | Self::Twice { .. }
            | Self::NoCa
            | Self::NotTls
            | Self::NoRuntime => None,
        }
    }
}

impl SettingsError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::ClientId { .. } => Some("use a-z, A-Z, 0-9, '-', '_', '.' and ':'"),
            Self::Topic { .. } => Some("write levels parted by '/', with '+' or a last '#' only in filters"),
            Self::NoCa => Some("name the PEM file of your CA; public CAs are not built in"),
            Self::NotTls => Some("write mqtts:// or take the files out"),
            Self::File { source } => Some(source.help()),
            Self::Bounds { .. } | Self::Twice { .. } | Self::NoRuntime => None,
        }
    }
}

impl Will {
    /// Whether a link that sends packets of at most so many bytes can leave it with the broker.
    pub(crate) fn check(&self, outgoing_bytes_max: usize) -> Result<(), SettingsError> {
        if !is_topic(&self.topic) {
            return Err(SettingsError::Topic { text: self.topic.clone() });
        }
        // It travels inside CONNECT, beside names and password.
        let room = (outgoing_bytes_max / 2).min(usize::from(u16::MAX));
        within("the will's length in bytes", self.payload.len(), 0, room)
    }
}

impl Settings {
    /// Settings with the usual bounds: 30 s keep alive, 64 KiB packets, 16 publishes under way, 256 waiting,
    /// tries within 2 s, poisoned filters looked at again after 1 min.
    #[must_use]
    pub fn new(address: Address, client_id: impl Into<String>, seed: u64) -> Self {
        Self {
            address,
            client_id: client_id.into(),
            identity: Identity::Anonymous,
            tls: None,
            keep_alive: Millis::from_secs(30),
            incoming_bytes_max: 64 * 1024,
            outgoing_bytes_max: 64 * 1024,
            will: None,
            filters: Vec::new(),
            reconnect_within: Millis::from_secs(2),
            seed,
            poison_retry: Millis::from_secs(60),
            in_flight_max: 16,
            queue_max: 256,
        }
    }

    /// Checks what can be checked without a broker, the files that are named included.
    ///
    /// # Errors
    /// The first thing that no link can work with.
    pub fn check(&self) -> Result<(), SettingsError> {
        let (bytes_min, bytes_max) = PACKET_BYTES;
        within("the incoming packet limit in bytes", self.incoming_bytes_max, bytes_min, bytes_max)?;
        within("the outgoing packet limit in bytes", self.outgoing_bytes_max, bytes_min, bytes_max)?;
        within("the number of filters", self.filters.len(), 1, FILTERS_MAX)?;
        within("the most publishes under way", self.in_flight_max.into(), 1, IN_FLIGHT_MAX.into())?;
        within("the most that waits", self.queue_max, 1, QUEUE_MAX)?;
        self.check_keep_alive()?;
        within("the client id's length in bytes", self.client_id.len(), 1, 64)?;
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if !self.client_id.chars().all(known) {
            return Err(SettingsError::ClientId { id: self.client_id.clone() });
        }
        for (n, filter) in self.filters.iter().enumerate() {
            let text = &filter.topics;
            if !level_text(text) || !rumqttc::valid_filter(text) {
                return Err(SettingsError::Topic { text: text.clone() });
            }
            if self.filters.iter().take(n).any(|earlier| earlier.topics == *text) {
                return Err(SettingsError::Twice { topics: text.clone() });
            }
        }
        if let Some(will) = &self.will {
            will.check(self.outgoing_bytes_max)?;
        }
        if let Identity::Password { user, .. } = &self.identity {
            within("the user's length in bytes", user.len(), 1, USER_BYTES_MAX)?;
        }
        self.read_files(&mut TlsMemory::default())?;
        Ok(())
    }

    fn check_keep_alive(&self) -> Result<(), SettingsError> {
        let (least, most) = KEEP_ALIVE;
        let whole = |span: Millis| usize::try_from(span.0 / 1000).unwrap_or(usize::MAX);
        // Less than a second would be none at all on the wire.
        within("the keep alive in seconds", whole(self.keep_alive), whole(least), whole(most))
    }

    /// Reads what a connection needs from the disk.
    pub(crate) fn read_files(&self, memory: &mut TlsMemory) -> Result<Read, SettingsError> {
        let file = |source| SettingsError::File { source };
        let client = match &self.identity {
            Identity::Certificate { certificate, key } => Some(ClientFiles { certificate, key }),
            Identity::Anonymous | Identity::Password { .. } => None,
        };
        let tls = match (self.address.place(), &self.tls) {
            (Place::Tls { .. }, Some(tls)) => Some(memory.config(tls, client).map_err(file)?),
            (Place::Tls { .. }, None) => return Err(SettingsError::NoCa),
            (Place::Plain { .. } | Place::Socket { .. }, Some(_)) => return Err(SettingsError::NotTls),
            (Place::Plain { .. } | Place::Socket { .. }, None) if client.is_some() => {
                return Err(SettingsError::NotTls);
            }
            (Place::Plain { .. } | Place::Socket { .. }, None) => None,
        };
        let login = match &self.identity {
            Identity::Password { user, file: path } => Some((user.clone(), password(path).map_err(file)?)),
            Identity::Anonymous | Identity::Certificate { .. } => None,
        };
        Ok(Read { tls, login })
    }
}

/// What was read from the disk for one connection.
pub(crate) struct Read {
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    pub(crate) login: Option<(String, String)>,
}

/// Whether `text` is a topic that can be published to.
pub(crate) fn is_topic(text: &str) -> bool {
    level_text(text) && rumqttc::valid_topic(text)
}

fn level_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOPIC_BYTES_MAX && !text.contains('\0')
}

fn within(what: &'static str, is: usize, least: usize, most: usize) -> Result<(), SettingsError> {
    if (least..=most).contains(&is) { Ok(()) } else { Err(SettingsError::Bounds { what, is, least, most }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        let mut settings = Settings::new(url.parse().unwrap(), "pump-7", 1);
        settings.filters.push(Filter { topics: "a/+/b".into(), qos: Qos::AtLeastOnce });
        settings
    }

    fn error(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = settings("mqtt://broker");
        change(&mut settings);
        let error = settings.check().unwrap_err();
        error.to_string()
    }

    #[test]
    fn the_usual_bounds_are_within_the_bounds() {
        settings("mqtt://broker").check().unwrap();
    }

    #[test]
    fn what_no_link_can_work_with_is_told() {
        let filter = |topics: &str| Filter { topics: topics.into(), qos: Qos::AtMostOnce };
        let will = |topic: &str, bytes: usize| Will {
            topic: topic.into(),
            payload: vec![0; bytes].into(),
            retain: true,
            qos: Qos::AtLeastOnce,
        };
        assert_eq!(
            error(|s| s.incoming_bytes_max = 1),
            "the incoming packet limit in bytes is 1, allowed is 8192 to 16777216"
        );
        assert_eq!(
            error(|s| s.outgoing_bytes_max = usize::MAX).split(" is ").next().unwrap(),
            "the outgoing packet limit in bytes"
        );
        assert_eq!(error(|s| s.filters.clear()), "the number of filters is 0, allowed is 1 to 32");
        assert_eq!(error(|s| s.filters.push(filter("a/#/b"))), "\"a/#/b\" is no topic for MQTT");
        assert_eq!(error(|s| s.filters.push(filter(""))), "\"\" is no topic for MQTT");
        assert_eq!(error(|s| s.filters.push(filter("a/+/b"))), "the filter \"a/+/b\" is there twice");
        assert_eq!(
            error(|s| s.keep_alive = Millis(999)),
            "the keep alive in seconds is 0, allowed is 1 to 1200"
        );
        assert_eq!(error(|s| s.in_flight_max = 0), "the most publishes under way is 0, allowed is 1 to 64");
        assert_eq!(error(|s| s.queue_max = 0), "the most that waits is 0, allowed is 1 to 65536");
        assert_eq!(error(|s| s.client_id = "pump 7".into()), "\"pump 7\" is no client id");
        assert_eq!(error(|s| s.will = Some(will("a/+", 1))), "\"a/+\" is no topic for MQTT");
        assert_eq!(
            error(|s| s.will = Some(will("a", 40_000))),
            "the will's length in bytes is 40000, allowed is 0 to 32768"
        );
        assert_eq!(
            error(|s| s.tls = Some(Tls { ca: "ca.pem".into() })),
            "a CA or client certificate is of no use without mqtts://"
        );
        assert!(matches!(settings("mqtts://broker").check(), Err(SettingsError::NoCa)));
    }

    #[test]
    fn a_missing_file_is_named_and_why_is_its_source() {
        let mut settings = settings("mqtts://broker");
        settings.tls = Some(Tls { ca: "/nowhere/ca.pem".into() });
        let error = settings.check().unwrap_err();
        let file = std::error::Error::source(&error).unwrap();
        assert_eq!(file.to_string(), "cannot read /nowhere/ca.pem");
        assert!(file.source().is_some());
        assert!(error.help().is_some());
    }
}
