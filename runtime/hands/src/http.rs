//! The one HTTP client that probes, endpoints and artifacts share, and whom it trusts.
//!
//! Not here: what is asked of whom. The client takes no proxy from the environment, asks for no compression,
//! and trusts only the certificates that it was given: there is no built-in list.

use std::{fmt, sync::Arc, time::Duration};

use ureq::{
    Agent,
    config::ConfigBuilder,
    tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem},
    typestate::AgentScope,
};

/// The most that a server may say before the body begins, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// The certificate authorities that servers are believed by. With none, `https` addresses are refused where they
/// are configured.
#[derive(Clone, Debug, Default)]
pub struct Roots(Arc<Vec<Certificate<'static>>>);

/// A file that holds no certificates.
#[derive(Debug)]
#[non_exhaustive]
pub enum RootsError {
    /// It is not in PEM form.
    NotPem {
        /// Why.
        source: Box<ureq::Error>,
    },
    /// There is no certificate in it.
    Empty,
}

impl RootsError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some("name a file of PEM certificates: -----BEGIN CERTIFICATE-----")
    }
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPem { .. } => f.write_str("the file of trusted certificates can't be read"),
            Self::Empty => f.write_str("the file of trusted certificates holds none"),
        }
    }
}

impl std::error::Error for RootsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotPem { source } => Some(source),
            Self::Empty => None,
        }
    }
}

impl Roots {
    /// Nobody is believed: `http` only.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The certificates of a PEM file; keys and other things in it are passed over.
    ///
    /// # Errors
    /// It is no PEM, or holds no certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(root) =
                item.map_err(|source| RootsError::NotPem { source: Box::new(source) })?
            {
                roots.push(root);
            }
        }
        if roots.is_empty() { Err(RootsError::Empty) } else { Ok(Self(Arc::new(roots))) }
    }

    /// Whether `url` is one that can be asked: `http`, or `https` with somebody to believe, a host, nothing
    /// secret in it.
    pub(crate) fn accept(&self, url: &str) -> Result<(), &'static str> {
        let uri: ureq::http::Uri = url.parse().map_err(|_| "it is no address")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if !self.0.is_empty() => {}
            Some("https") => return Err("https needs a file of trusted certificates"),
            Some(_) | None => return Err("it begins neither with http:// nor with https://"),
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => Err("it holds a user or a password"),
            Some(authority) if !authority.host().is_empty() => Ok(()),
            Some(_) | None => Err("it names no host"),
        }
    }
}

/// A client that follows at most `redirects` and otherwise answers with the redirect itself. Whoever calls sets
/// the times.
pub(crate) fn client(
    roots: &Roots,
    redirects: u32,
    times: impl FnOnce(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>,
) -> Agent {
    client_as(None, roots, redirects, times)
}

/// The same, with a certificate of our own that we show to servers that ask for one.
pub(crate) fn client_as(
    certificate: Option<ClientCert>,
    roots: &Roots,
    redirects: u32,
    times: impl FnOnce(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>,
) -> Agent {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::clone(&roots.0)))
        .client_cert(certificate)
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("backstay")
        .accept_encoding("")
        .max_response_header_size(HEADER_BYTES_MAX)
        .max_idle_connections(0)
        .timeout_resolve(Some(Duration::from_secs(10)))
        .tls_config(tls);
    times(config).build().new_agent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_can_be_asked_are_accepted() {
        let roots = Roots::none();
        for good in ["http://localhost:80/x", "http://[::1]:8080", "http://10.0.0.1/"] {
            assert_eq!(roots.accept(good), Ok(()), "{good}");
        }
        for bad in
            ["", "localhost", "/x", "ftp://x/", "https://x/", "http://u:p@x/", "http:///x", "http://a b/"]
        {
            assert!(roots.accept(bad).is_err(), "{bad}");
        }
        assert!(matches!(Roots::from_pem(b"nothing"), Err(RootsError::Empty)));
    }
}
