//! Why there is no connection, in the words of this crate.
//!
//! Not here: what follows from it. The link always tries again; whoever reads this may want to tell a person.

use std::{error::Error, fmt, io};

use backstay_model::Millis;
use rumqttc::{ConnectReturnCode, mqttbytes::Error as CodecError};

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
    /// Connected, yet nothing came forward for this long; the connection was thrown away.
    Stalled {
        /// For how long.
        span: Millis,
    },
    /// What came made something panic, which is a bug; the connection was thrown away.
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
            Self::Panicked => write!(f, "a bug ended the connection with the broker"),
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
            Self::Network { .. } | Self::Slow | Self::Stalled { .. } => {
                Some("check address and port, and whether the broker runs")
            }
            Self::Tls { .. } => Some(
                "check that the CA file is the CA of the broker's certificate, for the name in the URL, and that the broker \
                 trusts the client certificate",
            ),
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
            Self::Protocol { .. } | Self::Panicked => None,
        }
    }

    /// What is wrong with what came, of which at most `limit` bytes are read.
    pub(crate) fn of(error: CodecError, limit: usize) -> Self {
        if let CodecError::PayloadSizeLimitExceeded(bytes) = error {
            return Self::Oversize { bytes, limit };
        }
        Self::Protocol { what: error.to_string() }
    }

    /// What is wrong with a stream. What TLS finds is inside of such an error: that a certificate is refused is heard in the
    /// handshake by one side, and by the other when it first reads.
    pub(crate) fn of_io(source: io::Error) -> Self {
        if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            return Self::Tls { source: source.into() };
        }
        if source.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Network { source } }
    }

    pub(crate) fn refused(code: ConnectReturnCode) -> Self {
        Self::Refused { answer: answer(code) }
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
