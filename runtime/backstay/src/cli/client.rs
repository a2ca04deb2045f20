//! The server's API from the caller's side: one request, one answer or one [`Failure`].
//!
//! Every answer is bounded. A redirect is not followed: the token is for the server that was named and for no other.
//! Not here: what the answers mean.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use backstay_api::ApiError;
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent, AsSendBody, Body,
    http::{Method, Request, Response, StatusCode, Uri, header::AUTHORIZATION, header::CONTENT_TYPE},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};
use zeroize::Zeroizing;

use crate::{Exit, Failure, file, printer::warn};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may take. The server gives up after 60 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(70);
/// How long an upload may take: a little longer than the server lets it.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3610);
/// The largest answer in JSON, in bytes: a fleet of 100,000 devices.
const JSON_BYTES_MAX: u64 = 128 << 20;
/// The most evidence of a device, in bytes: what the server keeps of one.
const EVIDENCE_BYTES_MAX: u64 = 256 << 20;
/// The largest file with certificates, in bytes.
const CA_BYTES_MAX: usize = 1 << 20;
/// The largest file with a token, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Which server, and how to show that one may ask it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Server {
    /// The server's API, as https://host:port
    #[arg(long, global = true, env = "BACKSTAY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// A file with the server's token and nothing else
    #[arg(long, global = true, env = "BACKSTAY_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) that the server's has to go back to, instead of the system's
    #[arg(long, global = true, env = "BACKSTAY_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// The way to one server.
pub(crate) struct Client {
    agent: Agent,
    server: String,
    token: Option<Zeroizing<String>>,
}

impl Client {
    pub(crate) fn new(to: &Server) -> Result<Self, Failure> {
        Self::within(to, CALL_TIMEOUT)
    }

    /// With `timeout` for each call.
    pub(crate) fn within(to: &Server, timeout: Duration) -> Result<Self, Failure> {
        let none = || {
            Failure::new(Exit::Usage, "no server was named")
                .help("give --server https://host:port, or set BACKSTAY_SERVER")
        };
        let server = to.server.as_deref().ok_or_else(none)?.trim_end_matches('/').to_owned();
        let wrong = |why: &str| {
            Failure::new(Exit::Usage, format!("{server:?} is no address of a server: {why}"))
                .help("an address looks like https://backstay.example:8443 or http://127.0.0.1:8080")
        };
        let uri: Uri = server.parse().map_err(|_| wrong("it is no URL"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(wrong("it begins neither with https:// nor with http://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "::1");
        let token = to.token_file.as_deref().map(read_token).transpose()?;
        if !encrypted && !here && token.is_some() {
            warn(format_args!("warning: the token goes to {host} without encryption; use https://"));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
            .timeout_global(Some(timeout));
        if here {
            // What is said on this machine is no proxy's business.
            config = config.proxy(None);
        }
        if encrypted {
            config = config.tls_config(tls(to.ca.as_deref())?);
        }
        Ok(Self { agent: config.build().new_agent(), server, token })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(self.ask(Method::GET, path, "application/json", ())?)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        read(self.send(path, body)?)
    }

    /// As [`Client::post`], with the answer as it came, of at most `max` bytes.
    pub(crate) fn post_for_bytes(
        &self,
        path: &str,
        body: &impl Serialize,
        max: usize,
    ) -> Result<Vec<u8>, Failure> {
        take(&mut self.send(path, body)?, u64::try_from(max).unwrap_or(u64::MAX))
    }

    /// As [`Client::post`], where the answer says nothing but yes.
    pub(crate) fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), Failure> {
        self.send(path, body).map(drop)
    }

    pub(crate) fn post_bytes<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, Failure> {
        read(self.ask(Method::POST, path, "application/octet-stream", bytes)?)
    }

    pub(crate) fn put_file(&self, path: &str, file: &File) -> Result<(), Failure> {
        self.ask_within(Some(UPLOAD_TIMEOUT), Method::PUT, path, "application/octet-stream", file).map(drop)
    }

    /// The bytes at `path`, and what the header `name` says.
    pub(crate) fn bytes(&self, path: &str, name: &str) -> Result<(Vec<u8>, Option<String>), Failure> {
        let mut answer = self.ask(Method::GET, path, "application/octet-stream", ())?;
        let header = answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((take(&mut answer, EVIDENCE_BYTES_MAX)?, header))
    }

    /// The bytes at `path`.
    pub(crate) fn get_bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let mut answer = self.ask(Method::GET, path, "application/octet-stream", ())?;
        take(&mut answer, EVIDENCE_BYTES_MAX)
    }

    fn send(&self, path: &str, body: &impl Serialize) -> Result<Response<Body>, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|why| Failure::new(Exit::Trouble, "cannot write the request").why(why))?;
        self.ask(Method::POST, path, "application/json", body)
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        self.ask_within(None, method, path, kind, body)
    }

    /// With another time for this call.
    fn ask_within(
        &self,
        timeout: Option<Duration>,
        method: Method,
        path: &str,
        kind: &str,
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header(CONTENT_TYPE, kind);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.as_str()));
        }
        let request = request
            .body(body)
            .map_err(|_| Failure::new(Exit::Usage, "the token file holds what no header can carry"))?;
        let answer = match timeout {
            None => self.agent.run(request),
            Some(_) => self.agent.run(self.agent.configure_request(request).timeout_global(timeout).build()),
        };
        let answer = answer.map_err(|why| self.unreachable(why))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer)) }
    }

    fn unreachable(&self, why: ureq::Error) -> Failure {
        if matches!(why, ureq::Error::Timeout(_)) {
            return Failure::new(Exit::TimedOut, format!("no answer from {}", self.server))
                .why(why)
                .help("it may have been done: look before you ask again");
        }
        let help = help_to_reach(&why.to_string());
        Failure::new(Exit::Unreachable, format!("cannot reach {}", self.server)).why(why).help(help)
    }

    /// What an answer means that is none.
    fn refused(&self, mut answer: Response<Body>) -> Failure {
        let status = answer.status();
        let told =
            take(&mut answer, 1 << 20).ok().and_then(|body| serde_json::from_slice::<ApiError>(&body).ok());
        if let Some(error) = told {
            return error.into();
        }
        let what = format!("{} answered {status} and no more", self.server);
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => {
                Failure::new(Exit::TimedOut, what).help("it may have been done: look before you ask again")
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Failure::new(Exit::NotFound, what)
                .help("is this a Backstay server, and as new as this command line?"),
            StatusCode::PAYLOAD_TOO_LARGE => Failure::new(Exit::Refused, what).help("send something smaller"),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
                Failure::new(Exit::Unreachable, what)
            }
            _ => Failure::new(Exit::Trouble, what).help("look into the server's log"),
        }
    }
}

/// What to do about a server that can't be reached. One that is there and isn't believed takes something else than one that isn't.
fn help_to_reach(why: &str) -> &'static str {
    if why.contains("CaUsedAsEndEntity") {
        "its certificate says that it is an authority's: make one with basicConstraints CA:FALSE, or have an authority sign one"
    } else if why.contains("invalid peer certificate") {
        "--ca names the certificates that the server's has to go back to; it has to be of the name in --server, and not over"
    } else {
        "is the server up, and --server right? Devices go home without it"
    }
}

fn take(answer: &mut Response<Body>, max: u64) -> Result<Vec<u8>, Failure> {
    let body = answer.body_mut().with_config().limit(max).read_to_vec();
    body.map_err(|why| Failure::new(Exit::Unreachable, "the answer broke off, or is too large").why(why))
}

fn read<T: DeserializeOwned>(mut answer: Response<Body>) -> Result<T, Failure> {
    let body = take(&mut answer, JSON_BYTES_MAX)?;
    serde_json::from_slice(&body).map_err(|why| {
        Failure::new(Exit::Trouble, "the answer can't be read")
            .why(why)
            .help("are server and command line of the same version?")
    })
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let bytes = Zeroizing::new(file::read(path, TOKEN_BYTES_MAX)?);
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let what = format!("{} holds no token", path.display());
        return Err(
            Failure::new(Exit::Usage, what).help("it has to hold the server's token and nothing else")
        );
    }
    Ok(Zeroizing::new(text.into()))
}

/// How a server's certificate is checked: with those in a file (PEM), or else with the system's.
pub(crate) fn tls(ca: Option<&Path>) -> Result<TlsConfig, Failure> {
    let roots: Vec<Certificate<'static>> = match ca {
        Some(path) => {
            let pem = file::read(path, CA_BYTES_MAX)?;
            let items = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                Ok(_) | Err(_) => None,
            });
            let roots: Vec<_> = items.collect();
            if roots.is_empty() {
                let what = format!("{} holds no certificate", path.display());
                return Err(Failure::new(Exit::Usage, what).help("it has to be in PEM"));
            }
            roots
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(server: Option<&str>) -> Result<Client, Failure> {
        Client::new(&Server { server: server.map(Into::into), token_file: None, ca: None })
    }

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        for server in [None, Some(""), Some("backstay.example"), Some("ftp://x"), Some("https://")] {
            let failure = at(server).err().unwrap();
            assert_eq!(failure.exit(), Exit::Usage, "{server:?}");
            assert!(failure.to_string().contains("help:"), "{failure}");
        }
        assert_eq!(at(Some("http://127.0.0.1:1/")).unwrap().server, "http://127.0.0.1:1");
        assert!(at(Some("https://backstay.example")).is_ok());
    }

    #[test]
    fn a_server_that_is_not_there_has_its_own_number() {
        // Bound and not listening: the port is taken, so nobody else can answer on it.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", taken.local_addr().unwrap());
        drop(taken);
        let failure = at(Some(&address)).unwrap().get::<serde_json::Value>("/v1/fleet").unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
    }

    /// In the words of the library that checks it.
    #[test]
    fn a_certificate_that_is_not_believed_is_no_server_that_is_down() {
        assert!(help_to_reach("io: Connection refused (os error 111)").starts_with("is the server up"));
        assert!(help_to_reach("io: invalid peer certificate: UnknownIssuer").starts_with("--ca names"));
        let own = "io: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))";
        assert!(help_to_reach(own).contains("CA:FALSE"));
    }

    #[test]
    fn a_token_is_one_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(read_token(&path).unwrap().as_str(), "0123456789abcdef");
        for text in ["", "\n", "two words", "a\nb"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_token(&path).unwrap_err().exit(), Exit::Usage, "{text:?}");
        }
    }
}
