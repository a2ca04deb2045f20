//! Why there is no connection: rumqttc's errors in the words of this crate.
//!
//! Not here: what follows from it. The link always tries again; whoever reads this may want to tell a person.

use std::{error::Error, fmt, io};

use backstay_model::Millis;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, mqttbytes};

use crate::settings::SettingsError;

/// Why a connection ended or did not come about.
#[derive(Debug)]
pub enum Trouble {
    /// The network failed: no route, no name, nobody listening, or the connection broke.
    Network {
        /// Why.
        source: io::Error,
    },
    /// The broker was not trusted, or didn't trust us, or TLS failed otherwise.
    Tls {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The broker took too long to answer.
    Slow,
    /// The broker declined in its own words.
    Refused {
        /// What it said.
        answer: &'static str,
    },
    /// The broker closed the connection.
    Closed,
    /// A message larger than the limit is there. It isn't known which; see [`Happening::Poisoned`](crate::Happening::Poisoned).
    Oversize {
        /// How many bytes it has, by its own header.
        bytes: usize,
        /// How many are read at most.
        limit: usize,
    },
    /// What came isn't MQTT as it should be.
    Protocol {
        /// What is wrong with it.
        what: String,
    },
    /// Connected, yet nothing came forward for this long; the client was thrown away.
    Stalled {
        /// For how long.
        span: Millis,
    },
    /// What came made the MQTT library panic; the client was thrown away.
    Panicked,
    /// What has to be read from disk for a connection can't be used.
    Files {
        /// Why.
        source: SettingsError,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { .. } => write!(f, "the broker can't be reached"),
            Self::Tls { .. } => write!(f, "no TLS connection with the broker"),
            Self::Slow => write!(f, "the broker took too long to answer"),
            Self::Refused { answer } => write!(f, "the broker refused the connection: {answer}"),
            Self::Closed => write!(f, "the broker closed the connection"),
            Self::Oversize { bytes, limit } => {
                write!(f, "a message of {bytes} bytes is there, at most {limit} are read")
            }
            Self::Protocol { what } => write!(f, "the broker doesn't keep to MQTT: {what}"),
            Self::Stalled { span } => write!(f, "the connection stood still for {span}"),
            Self::Panicked => write!(f, "the MQTT library gave up on what came from the broker"),
            Self::Files { .. } => write!(f, "the connection can't be prepared"),
        }
    }
}

impl Error for Trouble {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Network { source } => Some(source),
            Self::Tls { source } => Some(&**source),
            Self::Files { source } => Some(source),
            Self::Slow
            | Self::Refused { .. }
            | Self::Closed
            | Self::Oversize { .. }
            | Self::Protocol { .. }
            | Self::Stalled { .. }
            | Self::Panicked => None,
        }
    }
}

impl Trouble {
    /// What to do about it, where a person can do something.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Network { .. } | Self::Slow => Some("check address and port, and whether the broker runs"),
            Self::Tls { .. } => {
                Some("check that the CA file is the CA of the broker's certificate, for the name in the URL")
            }
            Self::Refused { .. } => {
                Some("check user, password or client certificate, and the broker's access list")
            }
            Self::Closed => {
                Some("look into the broker's log; a second client with the same client id is one cause")
            }
            Self::Oversize { .. } => {
                Some("erase the retained message: publish an empty retained one to its topic")
            }
            Self::Files { source } => source.help(),
            Self::Protocol { .. } | Self::Stalled { .. } | Self::Panicked => None,
        }
    }

    pub(crate) fn of(error: ConnectionError, limit: usize) -> Self {
        match error {
            ConnectionError::MqttState(state) => Self::of_state(state, limit),
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Self::Slow,
            ConnectionError::Tls(error) => Self::of_tls(error),
            ConnectionError::Io(source) => Self::Network { source },
            ConnectionError::ConnectionRefused(code) => Self::Refused { answer: answer(code) },
            ConnectionError::NotConnAck(packet) => {
                // The packet itself may be large, and it is the broker's word.
                Self::Protocol { what: format!("it began with {:.32}", format!("{packet:?}")) }
            }
            ConnectionError::RequestsDone => Self::Closed,
        }
    }

    fn of_state(error: StateError, limit: usize) -> Self {
        match error {
            StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(bytes)) => {
                Self::Oversize { bytes, limit }
            }
            StateError::Io(source) | StateError::Deserialization(mqttbytes::Error::Io(source)) => {
                Self::Network { source }
            }
            StateError::ConnectionAborted => Self::Closed,
            StateError::AwaitPingResp | StateError::CollisionTimeout => Self::Slow,
            StateError::InvalidState
            | StateError::Unsolicited(_)
            | StateError::WrongPacket
            | StateError::EmptySubscription
            | StateError::Deserialization(_) => {
                Self::Protocol { what: format!("{:.120}", error.to_string()) }
            }
        }
    }

    fn of_tls(error: rumqttc::TlsError) -> Self {
        match error {
            // A refused certificate comes as an I/O error with rustls' error inside, a broken line without.
            rumqttc::TlsError::Io(source) if source.get_ref().is_none() => Self::Network { source },
            rumqttc::TlsError::Io(source) => Self::Tls { source: source.into() },
            other @ (rumqttc::TlsError::Addr(_)
            | rumqttc::TlsError::WebPki(_)
            | rumqttc::TlsError::DNSName(_)
            | rumqttc::TlsError::TLS(_)
            | rumqttc::TlsError::NoValidCertInChain
            | rumqttc::TlsError::NoValidClientCertInChain
            | rumqttc::TlsError::NoValidKeyInChain) => Self::Tls { source: other.into() },
        }
    }
}

fn answer(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "success",
        ConnectReturnCode::RefusedProtocolVersion => "it doesn't speak MQTT 3.1.1",
        ConnectReturnCode::BadClientId => "it doesn't like the client id",
        ConnectReturnCode::ServiceUnavailable => "it is not available",
        ConnectReturnCode::BadUserNamePassword => "user or password is wrong",
        ConnectReturnCode::NotAuthorized => "not authorised",
    }
}
