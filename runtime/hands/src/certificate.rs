//! A certificate of our own, for servers that ask who we are.
//!
//! Not here: whom we believe (`http`).

use std::fmt;

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use ureq::tls::{Certificate, ClientCert, PemItem, parse_pem};

/// A certificate of our own with its key. It doesn't show itself.
#[derive(Clone)]
pub struct ClientCertificate(ClientCert);

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(..)")
    }
}

/// A certificate of our own that can't be shown to anybody.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientCertificateError {
    /// One of the two is not in PEM form.
    NotPem {
        /// Why.
        source: Box<ureq::Error>,
    },
    /// There is no certificate.
    NoCertificate,
    /// There is no key, or more than one.
    NoKey,
    /// The key is of no kind that we know, or another certificate's.
    Unfit {
        /// Why.
        source: rustls::Error,
    },
}

impl ClientCertificateError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotPem { .. } | Self::NoCertificate => {
                Some("name a file of PEM certificates, our own first: -----BEGIN CERTIFICATE-----")
            }
            Self::NoKey => {
                Some("name a file with one PEM key, without a passphrase: -----BEGIN PRIVATE KEY-----")
            }
            Self::Unfit { .. } => Some("the key has to be the one that the first certificate was made for"),
        }
    }
}

impl fmt::Display for ClientCertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem { .. } => "our own certificate or its key can't be read",
            Self::NoCertificate => "the file of our own certificate holds none",
            Self::NoKey => "the file of the key holds not one key",
            Self::Unfit { .. } => "our own certificate and its key don't fit",
        })
    }
}

impl std::error::Error for ClientCertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotPem { source } => Some(source),
            Self::Unfit { source } => Some(source),
            Self::NoCertificate | Self::NoKey => None,
        }
    }
}

impl ClientCertificate {
    /// Takes a chain, our own certificate first, and the `pem` of its key; the one file may hold both.
    ///
    /// # Errors
    /// One of them can't be read, or they don't fit.
    pub fn from_pem(chain: &[u8], pem: &[u8]) -> Result<Self, ClientCertificateError> {
        let items = |pem: &[u8]| -> Result<Vec<PemItem<'static>>, ClientCertificateError> {
            let items: Result<_, _> = parse_pem(pem).collect();
            items.map_err(|source| ClientCertificateError::NotPem { source: Box::new(source) })
        };
        let certificate = |item| if let PemItem::Certificate(one) = item { Some(one) } else { None };
        let private = |item| if let PemItem::PrivateKey(key) = item { Some(key) } else { None };
        let chain: Vec<_> = items(chain)?.into_iter().filter_map(certificate).collect();
        let mut keys: Vec<_> = items(pem)?.into_iter().filter_map(private).collect();
        if chain.is_empty() {
            return Err(ClientCertificateError::NoCertificate);
        }
        let key = keys.pop().filter(|_| keys.is_empty()).ok_or(ClientCertificateError::NoKey)?;
        fits(&chain, pem)?;
        Ok(Self(ClientCert::new_with_certs(&chain, key)))
    }

    pub(crate) fn shown(self) -> ClientCert {
        self.0
    }
}

/// The client would notice only when it is used, and panic.
fn fits(chain: &[Certificate<'static>], pem: &[u8]) -> Result<(), ClientCertificateError> {
    let chain = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| ClientCertificateError::NoKey)?;
    let fits = CertifiedKey::from_der(chain, key, &ring::default_provider());
    fits.map(drop).map_err(|source| ClientCertificateError::Unfit { source })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{Read as _, Write as _},
        net::TcpListener,
        sync::Arc,
    };

    use backstay_model::{Answer, Millis, Name, Outcome};
    use rustls::{RootCertStore, ServerConfig, ServerConnection, server::WebPkiClientVerifier};

    use super::*;
    use crate::{
        Content, Endpoint, GuardedEndpoint, GuardedEndpointError, GuardedEndpoints, HttpGrant, Roots,
    };

    /// An authority, and what it signed.
    struct Authority(rcgen::Issuer<'static, rcgen::KeyPair>, String);

    impl Authority {
        fn new() -> Self {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let pem = params.self_signed(&key).unwrap().pem();
            Self(rcgen::Issuer::new(params, key), pem)
        }

        fn signs(&self, name: &str) -> (String, String) {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
        }
    }

    /// A server that lets in whom `authority` signed for, once for each `visits`. It says who came.
    fn server(authority: &Authority, visits: usize) -> u16 {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.1.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let (chain, key) = authority.signs("localhost");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for _ in 0..visits {
                let (mut stream, _) = listener.accept().unwrap();
                let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tls = rustls::Stream::new(&mut tls, &mut stream);
                // Who shows nothing is told so in the middle of the handshake.
                if tls.read(&mut [0; 4096]).is_ok() {
                    let shown = tls.conn.peer_certificates().map_or(0, <[_]>::len);
                    let body = format!("{shown} shown");
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    tls.write_all((head + &body).as_bytes()).unwrap();
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            }
        });
        port
    }

    fn endpoint(base: String, certificate: Option<ClientCertificate>) -> GuardedEndpoint {
        GuardedEndpoint {
            endpoint: Endpoint { base, headers: BTreeMap::new(), timeout: Millis::from_secs(30) },
            credential: None,
            certificate,
            grant: HttpGrant::default(),
            response_bytes_max: GuardedEndpoint::RESPONSE_BYTES,
            content: Content::Any,
        }
    }

    fn name() -> Name {
        Name::parse("lb").unwrap()
    }

    #[tokio::test]
    async fn a_server_that_asks_who_we_are_is_shown_and_lets_in_nobody_else() {
        let authority = Authority::new();
        let port = server(&authority, 2);
        let roots = Roots::from_pem(authority.1.as_bytes()).unwrap();
        let (chain, key) = authority.signs("backstay");
        let ours = ClientCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let ask = async |certificate| {
            let endpoint = endpoint(format!("https://localhost:{port}"), certificate);
            let endpoints = GuardedEndpoints::new(BTreeMap::from([(name(), endpoint)]), &roots).unwrap();
            endpoints.request(&name(), "GET", "/", b"").await
        };
        let answer = ask(Some(ours)).await;
        let Answer::Response { status: 200, body } = answer else { panic!("{answer:?}") };
        assert_eq!(body.bytes, b"1 shown");
        let answer = ask(None).await;
        assert!(matches!(answer, Answer::Failed(Outcome::Failed { .. })), "{answer:?}");
    }

    #[test]
    fn a_certificate_is_checked_where_it_is_configured() {
        let authority = Authority::new();
        let ((chain, key), (_, other)) = (authority.signs("a"), authority.signs("b"));
        let of = |chain: &str, key: &str| ClientCertificate::from_pem(chain.as_bytes(), key.as_bytes());
        let ours = of(&chain, &key).unwrap();
        assert_eq!(format!("{ours:?}"), "ClientCertificate(..)");
        assert!(matches!(of(&chain, &other), Err(ClientCertificateError::Unfit { .. })));
        assert!(matches!(of("", &key), Err(ClientCertificateError::NoCertificate)));
        assert!(matches!(of(&chain, ""), Err(ClientCertificateError::NoKey)));
        assert!(matches!(of(&chain, &(key.clone() + &other)), Err(ClientCertificateError::NoKey)));
        let plain = endpoint("http://lb".into(), Some(ours));
        let (_, error) =
            GuardedEndpoints::new(BTreeMap::from([(name(), plain)]), &Roots::none()).unwrap_err();
        assert!(matches!(error, GuardedEndpointError::NoTls { .. }), "{error:?}");
    }
}
