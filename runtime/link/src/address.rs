//! Where a broker is: the URL from a configuration, checked once.
//!
//! Not here: who we are there (`settings`), and looking the name up (done anew for each connection).

use std::{fmt, path::PathBuf, str::FromStr};

/// The longest URL that is looked at, in bytes. A host name has at most 253.
const URL_BYTES_MAX: usize = 512;
const PORT_PLAIN: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// Where a broker is.
///
/// `mqtt://host[:1883]`, `mqtts://host[:8883]` or, on Unix, `unix:///path/to/socket`. An IPv6 address stands
/// in brackets. There is no room for a password, because a URL ends up in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Plain { host: String, port: u16 },
    Tls { host: String, port: u16 },
    Socket { path: PathBuf },
}

/// A text that is no address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Longer than any address.
    Long {
        /// Its length in bytes; at most 512 are looked at.
        bytes: usize,
    },
    /// It begins with none of `mqtt://`, `mqtts://` and `unix://`.
    Scheme {
        /// What it begins with.
        scheme: String,
    },
    /// It holds a user or a password.
    Credentials,
    /// The host is missing or holds a character that no host has.
    Host {
        /// The part that should have been a host.
        host: String,
    },
    /// The port is no number from 1 to 65535.
    Port {
        /// The part that should have been a port.
        port: String,
    },
    /// Something follows the port.
    Rest {
        /// What follows.
        rest: String,
    },
    /// The path of a `unix://` address is not absolute.
    Path {
        /// The part that should have been a path.
        path: String,
    },
    /// This system has no sockets in the file system that the link could use.
    NoUnixSockets,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long { bytes } => {
                write!(f, "the broker's URL has {bytes} bytes, at most {URL_BYTES_MAX} are allowed")
            }
            Self::Scheme { scheme } => write!(f, "the broker's URL begins with {scheme:?}"),
            // The URL itself isn't shown: it holds a password.
            Self::Credentials => write!(f, "the broker's URL holds a user or a password"),
            Self::Host { host } => write!(f, "{host:?} is no host for the broker's URL"),
            Self::Port { port } => write!(f, "{port:?} is no port from 1 to 65535"),
            Self::Rest { rest } => write!(f, "{rest:?} follows the broker's host and port"),
            Self::Path { path } => write!(f, "{path:?} is no absolute path of a socket"),
            Self::NoUnixSockets => write!(f, "unix:// does not work on this system"),
        }
    }
}

impl std::error::Error for AddressError {}

impl AddressError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Long { .. } | Self::Scheme { .. } | Self::Host { .. } => {
                "write mqtts://host:8883, mqtt://host:1883 or unix:///path/to/socket"
            }
            Self::Credentials => "put user and password into a file and name the file in the configuration",
            Self::Port { .. } => "leave the port out to get 1883 (mqtt) or 8883 (mqtts)",
            Self::Rest { .. } => "end the URL after the port; MQTT has no path and no query",
            Self::Path { .. } => "write unix:// and then the whole path, beginning with /",
            Self::NoUnixSockets => "use mqtts://host:8883",
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        if url.len() > URL_BYTES_MAX {
            return Err(AddressError::Long { bytes: url.len() });
        }
        let unknown = || AddressError::Scheme { scheme: url.chars().take_while(|c| *c != ':').collect() };
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        match scheme {
            "mqtt" => host_and_port(rest, PORT_PLAIN).map(|(host, port)| Place::Plain { host, port }),
            "mqtts" => host_and_port(rest, PORT_TLS).map(|(host, port)| Place::Tls { host, port }),
            "unix" if cfg!(unix) => socket(rest),
            "unix" => Err(AddressError::NoUnixSockets),
            _ => Err(unknown()),
        }
        .map(Self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match &self.0 {
            Place::Plain { host, port } => write!(f, "mqtt://{}:{port}", bracketed(host)),
            Place::Tls { host, port } => write!(f, "mqtts://{}:{port}", bracketed(host)),
            Place::Socket { path } => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Address {
    pub(crate) fn place(&self) -> &Place {
        &self.0
    }

    /// Whether what is said there can be read by whoever sits in between.
    #[must_use]
    pub fn is_plain_text(&self) -> bool {
        matches!(self.0, Place::Plain { .. })
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), AddressError> {
    if text.contains('@') {
        return Err(AddressError::Credentials);
    }
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(end);
    if !matches!(rest, "" | "/") {
        return Err(AddressError::Rest { rest: rest.to_owned() });
    }
    let bad_host = |host: &str| AddressError::Host { host: host.to_owned() };
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or_else(|| bad_host(authority))?;
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(bad_host(host));
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(AddressError::Rest { rest: after.to_owned() }),
        }
    } else {
        let (host, port) = authority.split_once(':').map_or((authority, None), |(h, p)| (h, Some(p)));
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(known) {
            return Err(bad_host(host));
        }
        (host, port)
    };
    let port = match port {
        None => default,
        Some(text) => match text.parse() {
            // `parse` would take "+1883" for a number.
            Ok(port) if port != 0 && text.bytes().all(|b| b.is_ascii_digit()) => port,
            Ok(_) | Err(_) => return Err(AddressError::Port { port: text.to_owned() }),
        },
    };
    Ok((host.to_owned(), port))
}

fn socket(path: &str) -> Result<Place, AddressError> {
    if path.starts_with('/') && path.len() > 1 && !path.contains('\0') {
        Ok(Place::Socket { path: PathBuf::from(path) })
    } else {
        Err(AddressError::Path { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, AddressError> {
        url.parse()
    }

    #[test]
    fn an_address_is_read_and_written_the_same() {
        for (url, whole) in [
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtt://broker/", "mqtt://broker:1883"),
            ("mqtts://mq.example.com", "mqtts://mq.example.com:8883"),
            ("mqtts://10.0.0.1:443", "mqtts://10.0.0.1:443"),
            ("mqtt://[::1]:7", "mqtt://[::1]:7"),
            ("mqtts://[fd00::7]", "mqtts://[fd00::7]:8883"),
        ] {
            let address = parse(url).unwrap();
            assert_eq!(address.to_string(), whole);
            assert_eq!(parse(whole).unwrap(), address);
        }
        #[cfg(unix)]
        assert_eq!(parse("unix:///run/mq.sock").unwrap().to_string(), "unix:///run/mq.sock");
    }

    #[test]
    fn what_is_no_address_is_told_by_its_part() {
        let host = |host: &str| AddressError::Host { host: host.into() };
        let port = |port: &str| AddressError::Port { port: port.into() };
        let scheme = |scheme: &str| AddressError::Scheme { scheme: scheme.into() };
        for (url, error) in [
            ("", scheme("")),
            ("broker", scheme("broker")),
            ("broker:1883", scheme("broker")),
            ("ws://broker", scheme("ws")),
            ("MQTT://broker", scheme("MQTT")),
            ("mqtt://", host("")),
            ("mqtt://:1883", host("")),
            ("mqtt://bro ker", host("bro ker")),
            ("mqtt://[::1", host("[::1")),
            ("mqtt://[pump]", host("pump")),
            ("mqtt://[::1]x", AddressError::Rest { rest: "x".into() }),
            ("mqtt://broker:", port("")),
            ("mqtt://broker:0", port("0")),
            ("mqtt://broker:+1", port("+1")),
            ("mqtt://broker:65536", port("65536")),
            ("mqtt://::1:1883", host("")),
            ("mqtt://broker/fleet", AddressError::Rest { rest: "/fleet".into() }),
            ("mqtt://broker?tls=1", AddressError::Rest { rest: "?tls=1".into() }),
        ] {
            assert_eq!(parse(url), Err(error), "{url}");
        }
        #[cfg(unix)]
        assert_eq!(parse("unix://mq.sock"), Err(AddressError::Path { path: "mq.sock".into() }));
        let long = format!("mqtt://{}", "a".repeat(600));
        assert_eq!(parse(&long), Err(AddressError::Long { bytes: 607 }));
    }

    #[test]
    fn a_password_in_an_url_is_refused_and_not_repeated() {
        let error = parse("mqtts://pump:hunter2@broker").unwrap_err();
        assert_eq!(error, AddressError::Credentials);
        assert!(!format!("{error} {error:?} {}", error.help()).contains("hunter2"));
    }
}
