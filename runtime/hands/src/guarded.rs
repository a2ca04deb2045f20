//! Named endpoints of a server: each with a credential that comes from elsewhere, and a grant of its own.
//!
//! Here: what is added to an [`Endpoint`] where more is at stake than on a device. Not here: where a credential comes
//! from (`credential`), which methods and paths are granted (`grant`), what is JSON's alone (`json`), over which connections
//! is asked (`kept`), and asking itself (`endpoint`).

use std::{borrow::Cow, collections::BTreeMap, error::Error, fmt, time::Duration};

use backstay_model::{Answer, Millis, Name, Outcome, Transience};
use tokio::time::timeout;
use ureq::http;

use crate::{
    beside,
    certificate::ClientCertificate,
    credential::{Credential, CredentialError, CredentialReader, Unread},
    endpoint::{self, Endpoint, EndpointError, has_body},
    grant::HttpGrant,
    http::Roots,
    json::{self, ACCEPT, CONTENT_TYPE, JSON},
    kept::{Clients, looks},
    mask::Mask,
    output::{bounded, failed, refused},
    secret::{CleanTail, Cleaner, Secret},
};

/// The most that an answer may be allowed to have, in bytes.
const RESPONSE_BYTES_MAX: u64 = 16 << 20;
/// The longest path, with the mask behind it, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// What requests and answers of an endpoint hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whatever they hold.
    Any,
    /// JSON. Requests say so, and an effect may ask for single fields of an answer.
    Json,
}

/// A server as the configuration has it, and what may be asked of it.
#[derive(Clone, Debug)]
pub struct GuardedEndpoint {
    /// Where it is. Its headers are for what is no secret: they are not taken out of answers.
    pub endpoint: Endpoint,
    /// What lets us in.
    pub credential: Option<Credential>,
    /// Who we are, for a server that asks for a certificate.
    pub certificate: Option<ClientCertificate>,
    /// What may be asked of it.
    pub grant: HttpGrant,
    /// The longest answer that is read, 1 B to 16 MiB; a longer one is a failure. The end of an answer is kept, 4 KiB.
    pub response_bytes_max: u64,
    /// What requests and answers hold.
    pub content: Content,
}

impl GuardedEndpoint {
    /// The bound of an answer where none is configured: 1 MiB.
    pub const RESPONSE_BYTES: u64 = endpoint::RESPONSE_BYTES_MAX;
    /// What a request is given where nothing is configured.
    pub const TIMEOUT: Millis = Millis::from_secs(10);
}

/// A guarded endpoint that can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardedEndpointError {
    /// Where it is.
    Endpoint {
        /// Why.
        source: EndpointError,
    },
    /// What lets us in.
    Credential {
        /// Why.
        source: CredentialError,
    },
    /// One of its headers is the credential's as well.
    Twice {
        /// The header.
        header: String,
    },
    /// One of its headers, or the credential's, says what JSON is called, which is said anyway.
    Json {
        /// The header.
        header: String,
    },
    /// There is a certificate to show, and no TLS to show it in.
    NoTls {
        /// Where it is.
        base: String,
    },
    /// Its answers may have no byte, or more than 16 MiB.
    ResponseBytes {
        /// What was given.
        bytes: u64,
    },
}

impl GuardedEndpointError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Endpoint { source } => source.help(),
            Self::Credential { source } => source.help(),
            Self::Twice { .. } => Some("leave the header out of the endpoint's headers"),
            Self::Json { .. } => Some("leave the header out: where there is JSON, it is said anyway"),
            Self::NoTls { .. } => {
                Some("give an address that begins with https://, or leave the certificate out")
            }
            Self::ResponseBytes { .. } => Some("give 1 to 16777216"),
        }
    }
}

impl fmt::Display for GuardedEndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { .. } => f.write_str("the endpoint can't be used"),
            Self::Credential { .. } => f.write_str("the endpoint's credential can't be used"),
            Self::Twice { header } => write!(f, "header {header:?} is given twice, once as the credential"),
            Self::Json { header } => write!(f, "header {header:?} is given twice, once by JSON"),
            Self::NoTls { base } => write!(f, "{base:?} asks for no certificate"),
            Self::ResponseBytes { bytes } => write!(f, "an answer can't be bounded to {bytes} bytes"),
        }
    }
}

impl Error for GuardedEndpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Endpoint { source } => Some(source),
            Self::Credential { source } => Some(source),
            Self::Twice { .. } | Self::Json { .. } | Self::NoTls { .. } | Self::ResponseBytes { .. } => None,
        }
    }
}

#[derive(Debug)]
struct Guarded {
    endpoint: Endpoint,
    credential: Option<CredentialReader>,
    grant: HttpGrant,
    response_bytes_max: u64,
    content: Content,
    clients: Clients,
}

/// A request that may be made.
struct Granted<'a> {
    method: &'a str,
    path: &'a str,
    body: Option<&'a [u8]>,
    content_type: Option<&'static str>,
    mask: Option<Mask>,
}

/// The guarded endpoints that a configuration names.
#[derive(Debug, Default)]
pub struct GuardedEndpoints(BTreeMap<Name, Guarded>);

impl GuardedEndpoints {
    /// Takes in others as well, of which each believes the authorities that it came with.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Takes endpoints that can be used. Credentials are not read yet.
    ///
    /// # Errors
    /// Names the first that can't, and why.
    pub fn new(
        endpoints: BTreeMap<Name, GuardedEndpoint>,
        roots: &Roots,
    ) -> Result<Self, (Name, GuardedEndpointError)> {
        let checked = endpoints.into_iter().map(|(name, endpoint)| match endpoint.checked(roots) {
            Ok(guarded) => Ok((name, guarded)),
            Err(error) => Err((name, error)),
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Asks one. What isn't configured or granted is refused before anything is read or sent.
    pub async fn request(&self, name: &Name, method: &str, path: &str, body: &[u8]) -> Answer {
        let Some(guarded) = self.0.get(name) else {
            return refused(format!("no endpoint {name} is configured"));
        };
        match guarded.granted(name, method, path, body) {
            Ok(granted) => guarded.request(name, granted).await,
            Err(why) => refused(why),
        }
    }
}

impl GuardedEndpoint {
    fn checked(self, roots: &Roots) -> Result<Guarded, GuardedEndpointError> {
        let Self { mut endpoint, credential, certificate, grant, response_bytes_max, content } = self;
        endpoint.check(roots).map_err(|source| GuardedEndpointError::Endpoint { source })?;
        if let Some(Credential { header, .. }) = &credential
            && endpoint.headers.keys().any(|other| other.eq_ignore_ascii_case(header))
        {
            return Err(GuardedEndpointError::Twice { header: header.clone() });
        }
        if content == Content::Json {
            let is_said =
                |header: &str| [ACCEPT, CONTENT_TYPE].iter().any(|said| header.eq_ignore_ascii_case(said));
            let headers =
                endpoint.headers.keys().chain(credential.iter().map(|credential| &credential.header));
            if let Some(header) = headers.into_iter().find(|header| is_said(header)) {
                return Err(GuardedEndpointError::Json { header: header.clone() });
            }
            endpoint.headers.insert(ACCEPT.into(), JSON.into());
        }
        let tls = endpoint.base.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        if certificate.is_some() && !tls {
            return Err(GuardedEndpointError::NoTls { base: endpoint.base });
        }
        if !(1..=RESPONSE_BYTES_MAX).contains(&response_bytes_max) {
            return Err(GuardedEndpointError::ResponseBytes { bytes: response_bytes_max });
        }
        let credential = credential.map(CredentialReader::new).transpose();
        let credential = credential.map_err(|source| GuardedEndpointError::Credential { source })?;
        let certificate = certificate.map(ClientCertificate::shown);
        let clients = Clients::new(&endpoint, certificate, roots);
        Ok(Guarded { endpoint, credential, grant, response_bytes_max, content, clients })
    }
}

impl Guarded {
    /// Checks a request. What comes of it is refused, if it can't be made.
    fn granted<'a>(
        &self,
        name: &Name,
        method: &'a str,
        path: &'a str,
        body: &'a [u8],
    ) -> Result<Granted<'a>, String> {
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("a path has at most {PATH_BYTES_MAX} bytes, with the fields behind it"));
        }
        // What is granted and what is sent is the path without the mask.
        let (path, mask) = match path.split_once('#') {
            Some((_, _)) if self.content == Content::Any => {
                return Err(format!("endpoint {name} gives no single fields: it has no json = true"));
            }
            Some((path, mask)) => (path, Some(Mask::parse(mask)?)),
            None => (path, None),
        };
        let has_body = has_body(method, path, body)?;
        if !self.grant.has(method, path) {
            return Err(format!("endpoint {name} grants no {method} of {path}"));
        }
        let body = has_body.then_some(body);
        let content_type = match (self.content, body) {
            (Content::Json, Some(body)) => json::content_type(method, body)?,
            (Content::Json, None) | (Content::Any, _) => None,
        };
        Ok(Granted { method, path, body, content_type, mask })
    }

    async fn request(&self, name: &Name, granted: Granted<'_>) -> Answer {
        let (secret, header) = match self.credentials().await {
            Ok(None) => (None, None),
            Ok(Some((secret, value))) => (Some(secret), Some(value)),
            Err(error) => {
                let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                return failed(
                    error.transience(),
                    format!("no credential for endpoint {name}: {error}{why}"),
                );
            }
        };
        let header = self.credential.as_ref().map(CredentialReader::header).zip(header);
        let Granted { method, path, body, content_type, mask } = granted;
        let mut endpoint = Cow::Borrowed(&self.endpoint);
        if let Some(content_type) = content_type {
            endpoint.to_mut().headers.insert(CONTENT_TYPE.into(), content_type.into());
        }
        let ask = self.clients.ask(&endpoint, method, path, body, header);
        let (bytes_max, of) = (self.response_bytes_max, secret.clone());
        let asked = beside(move || match (ask(), mask) {
            (Ok(response), Some(mask)) if json::has_fields(response.status()) => {
                json::answer(response, bytes_max, &mask, &Cleaner::new(of.as_ref()))
            }
            (response, _) => endpoint::answer(response, bytes_max, CleanTail::new(of.as_ref())),
        });
        let asked = match looks(method) {
            // One that is asked twice has no more time than any other. It may go on; a change may not, and has its own end.
            true => {
                let most = Duration::from_millis(self.endpoint.timeout.0);
                timeout(most, asked).await.unwrap_or(Ok(Answer::TimedOut))
            }
            false => asked.await,
        };
        let mut answer = asked.unwrap_or_else(|_| {
            failed(Transience::Transient, format!("the request to endpoint {name} was given up"))
        });
        if let (Answer::Response { status: 401 | 403, .. }, Some(credential)) = (&answer, &self.credential) {
            credential.forget();
        }
        // A server can break the protocol in such a way that the words for it hold what it said.
        if let (Answer::Failed(Outcome::Failed { why, .. }), Some(secret)) = (&mut answer, &secret) {
            *why = bounded(secret.taken_out_of(why));
        }
        answer
    }

    async fn credentials(&self) -> Result<Option<(Secret, http::HeaderValue)>, Unread> {
        let Some(credential) = &self.credential else { return Ok(None) };
        let secret = credential.read().await?;
        let value = http::HeaderValue::try_from(credential.header_value(&secret));
        let mut value = value.map_err(|_| Unread::Unprintable)?;
        value.set_sensitive(true);
        Ok(Some((secret, value)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        command::tests::shell,
        credential::CredentialSource,
        server::{Reply, Server},
    };

    const CANARY: &str = "canary-7Zq/+w==";

    fn name() -> Name {
        Name::parse("lb").unwrap()
    }

    fn guarded(base: String, source: CredentialSource) -> GuardedEndpoint {
        GuardedEndpoint {
            endpoint: Endpoint { base, headers: BTreeMap::new(), timeout: Millis::from_secs(30) },
            credential: Some(Credential { source, header: "authorization".into(), prefix: "Bearer ".into() }),
            certificate: None,
            grant: HttpGrant::new(&["GET", "PUT"], &["/stats"]).unwrap(),
            response_bytes_max: 10_000,
            content: Content::Any,
        }
    }

    fn endpoints(endpoint: GuardedEndpoint) -> GuardedEndpoints {
        GuardedEndpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none()).unwrap()
    }

    fn file(dir: &Path) -> CredentialSource {
        let path = dir.join("token");
        std::fs::write(&path, format!("{CANARY}\n")).unwrap();
        CredentialSource::File(path)
    }

    /// The server says back all that it heard: in its body, in a header, in a line that is no HTTP. Whatever comes of
    /// it, the credential isn't in it, in none of its disguises.
    #[tokio::test]
    async fn a_credential_reaches_the_server_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let json = |text: &str| text.replace('/', r"\/");
        let percent = |text: &str| text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
        type Echo = Box<dyn Fn(&str) -> Reply + Send>;
        let echoes: [Echo; 6] = [
            Box::new(|heard| Reply::ok(heard.as_bytes())),
            Box::new(move |heard| Reply::ok(json(heard).as_bytes())),
            Box::new(move |heard| Reply::ok(percent(heard).as_bytes())),
            Box::new(|heard| {
                Reply::with("500 Oh", &format!("X-Key: {CANARY}\r\nContent-Length: 9999"), heard.as_bytes())
            }),
            Box::new(|_| Reply::raw(format!("HTTP/1.1 {CANARY}\r\n\r\n").into_bytes())),
            Box::new(|_| {
                Reply::raw(
                    format!("HTTP/1.1 200 OK\r\n{CANARY}\r\nContent-Length: {CANARY}\r\n\r\n").into_bytes(),
                )
            }),
        ];
        for (n, echo) in echoes.into_iter().enumerate() {
            let server = Server::start(echo);
            let endpoints = endpoints(guarded(server.url("/haproxy"), file(dir.path())));
            let answer = endpoints.request(&name(), "PUT", "/stats/web1", b"weight=0").await;
            let heard = server.heard().remove(0);
            assert!(heard.starts_with("PUT /haproxy/stats/web1 HTTP/1.1\r\n"), "{heard}");
            assert!(heard.contains(&format!("authorization: Bearer {CANARY}\r\n")), "{heard}");
            if let Answer::Response { body, .. } = &answer {
                let said = String::from_utf8_lossy(&body.bytes);
                assert!(said.contains("Bearer [credential]"), "{n}: {said}");
            }
            // Shown as bytes, it would hide in any case.
            let mut shown = format!("{answer:?}");
            if let Answer::Response { body, .. } = &answer {
                shown = String::from_utf8_lossy(&body.bytes).into_owned();
            }
            for shown in [shown, format!("{endpoints:?}")] {
                assert!(!shown.contains("canary"), "{n}: {shown}");
            }
        }
    }

    #[tokio::test]
    async fn where_there_is_no_credential_nothing_is_asked() {
        let server = Server::start(|_| Reply::ok(b""));
        let missing = CredentialSource::File("/nowhere/token".into());
        let answer = endpoints(guarded(server.url(""), missing)).request(&name(), "GET", "/stats", b"").await;
        let Answer::Failed(Outcome::Failed { transience: Transience::Permanent, why }) = answer else {
            panic!("{answer:?}")
        };
        assert!(
            why.starts_with("no credential for endpoint lb: cannot read /nowhere/token: No such file"),
            "{why}"
        );
        let canary = CredentialSource::Command { command: shell("echo canary; exit 1"), keep: Millis(0) };
        let answer = endpoints(guarded(server.url(""), canary)).request(&name(), "GET", "/stats", b"").await;
        let Answer::Failed(Outcome::Failed { transience: Transience::Transient, why }) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(why, "no credential for endpoint lb: its command ended with code 1");
        assert!(server.heard().is_empty());
    }

    #[tokio::test]
    async fn a_credential_that_is_not_accepted_is_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            format!("echo x >> {0}; printf 'key-%s' $(wc -l < {0})", dir.path().join("count").display());
        let server = Server::start(|heard| match heard.contains("key-2") {
            true => Reply::ok(b"in"),
            false => Reply::head("401 Unauthorized", ""),
        });
        let source = CredentialSource::Command { command: shell(&script), keep: Millis::from_secs(3600) };
        let endpoints = endpoints(guarded(server.url(""), source));
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = endpoints.request(&name(), "GET", "/stats", b"").await;
            let Answer::Response { status, .. } = answer else { panic!("{answer:?}") };
            statuses.push(status);
        }
        assert_eq!(statuses, [401, 200, 200]);
    }

    #[tokio::test]
    async fn what_is_not_granted_is_refused_before_the_credential_is_read() {
        let nobody = guarded("http://127.0.0.1:9".into(), CredentialSource::File("/nowhere/token".into()));
        let endpoints = endpoints(nobody);
        for (method, path) in
            [("POST", "/stats"), ("GET", "/"), ("GET", "/stats/../x"), ("GET", "/stats/..;/x")]
        {
            let answer = endpoints.request(&name(), method, path, b"").await;
            assert!(matches!(answer, Answer::Refused(_)), "{method} {path}: {answer:?}");
        }
        let unknown = endpoints.request(&Name::parse("db").unwrap(), "GET", "/stats", b"").await;
        assert!(matches!(unknown, Answer::Refused(_)));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_a_failure_and_a_redirect_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(|heard| match heard.contains("/long") {
            true => Reply::ok(&[b'x'; 10_001]),
            false => Reply::head("302 Found", "Location: http://elsewhere.invalid/"),
        });
        let endpoints = endpoints(guarded(server.url(""), file(dir.path())));
        let answer = endpoints.request(&name(), "GET", "/stats/long", b"").await;
        let Answer::Failed(Outcome::Failed { why, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(why, "the answer is longer than 10000 bytes");
        let answer = endpoints.request(&name(), "GET", "/stats/moved", b"").await;
        assert!(matches!(answer, Answer::Response { status: 302, .. }), "{answer:?}");
        assert_eq!(server.heard().len(), 2);
    }

    #[test]
    fn a_guarded_endpoint_is_checked_where_it_is_configured() {
        let good = || guarded("http://lb".into(), CredentialSource::File("/token".into()));
        let refused = |endpoint| {
            GuardedEndpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none())
                .map(drop)
                .unwrap_err()
                .1
        };
        for bytes in [0, RESPONSE_BYTES_MAX + 1] {
            let error = refused(GuardedEndpoint { response_bytes_max: bytes, ..good() });
            assert_eq!(error, GuardedEndpointError::ResponseBytes { bytes });
        }
        let mut twice = good();
        twice.endpoint.headers.insert("Authorization".into(), "x".into());
        assert!(matches!(refused(twice), GuardedEndpointError::Twice { .. }));
        let relative = guarded("http://lb".into(), CredentialSource::File("token".into()));
        assert!(matches!(refused(relative), GuardedEndpointError::Credential { .. }));
        let nowhere = guarded("ftp://lb".into(), CredentialSource::File("/token".into()));
        assert!(matches!(refused(nowhere), GuardedEndpointError::Endpoint { .. }));
    }
}
