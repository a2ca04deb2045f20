//! What is said to a registry over HTTP, and to whom it is said who asks.
//!
//! Credentials go to the registry that was named, and to the place that it names for tokens; never without encryption to
//! another machine, never along with a redirect, and to no other address that an answer names. Not here: what is asked
//! (`registry`), how the way to a token is read (`token`), and where credentials come from (`credentials`).

use std::{cell::RefCell, net::Ipv4Addr, path::PathBuf, time::Duration};

use clap::Args;
use serde::Deserialize;
use ureq::{
    Agent, Body, ResponseExt,
    config::RedirectAuthHeaders,
    http::{
        Method, Request, Response, StatusCode, Uri,
        header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
};
use zeroize::Zeroizing;

use super::{
    Sources, credentials,
    place::Repository,
    token::{self, Challenge},
};
use crate::{Exit, Failure, client};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may come or go. Before it answers, a registry works out digests, and may copy to a store of its own.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a request may take in all: the largest bundle, at 40 kB/s.
const CALL_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often the way to a blob may go on elsewhere.
const REDIRECTS_MAX: u32 = 4;
/// The largest answer that says what went wrong, or holds a token, in bytes.
const WORDS_BYTES_MAX: u64 = 64 << 10;

/// What is told to whoever would have to send a password in the open.
const UNSAFE_HELP: &str = "leave out --plain-http: no password is sent to another machine without encryption";

/// How a registry is reached.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct Access {
    /// Without encryption. A registry on this machine (localhost, 127.0.0.0/8) is reached so in any case
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Certificates (PEM) that the registry's has to go back to, instead of the system's
    #[arg(long, env = "BACKSTAY_REGISTRY_CA", value_name = "FILE")]
    pub(crate) registry_ca: Option<PathBuf>,
}

/// What a registry is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Pull,
    Push,
}

/// The way to one registry, for one repository there.
pub(super) struct Session {
    agent: Agent,
    repository: Repository,
    purpose: Purpose,
    /// `https://host:port`
    origin: String,
    /// Whether nobody on the way can listen.
    safe: bool,
    sources: Sources,
    /// The header `Authorization`, once the registry has asked for it.
    shown: RefCell<Option<Zeroizing<String>>>,
}

impl Session {
    pub(super) fn new(
        repository: &Repository,
        purpose: Purpose,
        access: &Access,
        sources: Sources,
    ) -> Result<Self, Failure> {
        let host = &repository.host;
        let here = is_here(host);
        let encrypted = !access.plain_http && (!here || access.registry_ca.is_some());
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(encrypted)
            .max_redirects(0)
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .timeout_per_write(Some(STALL_TIMEOUT))
            .timeout_global(Some(CALL_TIMEOUT));
        if here {
            // What is said on this machine is no proxy's business.
            config = config.proxy(None);
        }
        // Also where the registry speaks plain HTTP: it may ask for a token elsewhere.
        config = config.tls_config(client::tls(access.registry_ca.as_deref())?);
        Ok(Self {
            agent: config.build().new_agent(),
            repository: repository.clone(),
            purpose,
            origin: format!("{}://{host}", if encrypted { "https" } else { "http" }),
            safe: encrypted || here,
            sources,
            shown: RefCell::new(None),
        })
    }

    /// `https://host:port`
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Sends a request, and says who asks if the registry wants to know.
    pub(super) fn ask(
        &self,
        method: Method,
        url: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<Response<Body>, Failure> {
        let answer = self.send(&method, url, kind, body)?;
        // Whoever a redirect led to may ask what it likes.
        if answer.status() != StatusCode::UNAUTHORIZED || !self.is_ours(answer.get_uri()) {
            return Ok(answer);
        }
        let shown = self.introduce(&answer)?;
        *self.shown.borrow_mut() = Some(shown);
        self.send(&method, url, kind, body)
    }

    fn send(&self, method: &Method, url: &str, kind: &str, body: &[u8]) -> Result<Response<Body>, Failure> {
        let wrong = |why: String| {
            Failure::new(Exit::Trouble, format!("{} names an address that is none", self.repository.registry))
                .why(why)
        };
        // Not the address itself: it may hold what lets its holder write there.
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL".into()))?;
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let mut request = Request::builder().method(method).uri(&uri);
        request = request.header(if reads { ACCEPT } else { CONTENT_TYPE }, kind);
        if let Some(shown) = self.shown.borrow().as_ref().filter(|_| self.is_ours(&uri)) {
            request = request.header(AUTHORIZATION, shown.as_str());
        }
        let wrong = |why: ureq::http::Error| wrong(why.to_string());
        let answer = if reads {
            let request = request.body(()).map_err(wrong)?;
            // Only what is read may go on elsewhere: to the store behind the registry, and there without credentials.
            self.agent.run(self.agent.configure_request(request).max_redirects(REDIRECTS_MAX).build())
        } else {
            self.agent.run(request.body(body).map_err(wrong)?)
        };
        answer.map_err(|why| self.unreachable(why))
    }

    /// Whether an address is the registry's own, so that it may be shown who asks.
    fn is_ours(&self, uri: &Uri) -> bool {
        let usual = |uri: &Uri| if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = |uri: &Uri| uri.port_u16().unwrap_or_else(|| usual(uri));
        let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
        let own: Option<Uri> = self.origin.parse().ok();
        own.is_some_and(|own| {
            own.scheme() == uri.scheme() && host(&own) == host(uri) && port(&own) == port(uri)
        })
    }

    /// What the registry is to be shown after it has asked.
    fn introduce(&self, asked: &Response<Body>) -> Result<Zeroizing<String>, Failure> {
        let registry = &self.repository.registry;
        let mut headers = asked.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = headers.find_map(|header| Challenge::read(header.to_str().ok()?));
        let found = if self.safe { self.sources.find(registry)? } else { None };
        match challenge {
            Some(Challenge::Basic) => match found {
                Some(credentials) => Ok(credentials.basic()),
                None if self.safe => {
                    Err(Failure::new(Exit::Refused, format!("{registry} asks for a name and a password"))
                        .help(credentials::HELP))
                }
                None => {
                    Err(Failure::new(Exit::Refused, format!("{registry} asks for a name and a password"))
                        .why("they are not sent without encryption to another machine")
                        .help(UNSAFE_HELP))
                }
            },
            Some(Challenge::Bearer { realm, service }) => {
                let credentials = found.map(|credentials| credentials.basic());
                self.token(&realm, service.as_deref(), credentials)
            }
            None => {
                Err(Failure::new(Exit::Refused, format!("{registry} lets nobody in that isn't known to it"))
                    .why("it asks neither for a password nor for a token"))
            }
        }
    }

    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        credentials: Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, Failure> {
        let registry = &self.repository.registry;
        let refused = |why: String| {
            Failure::new(Exit::Refused, format!("no token for {registry} was to be had")).why(why)
        };
        let uri: Uri =
            realm.parse().map_err(|_| refused(format!("it names {realm:?}, which is no address")))?;
        // Without what may stand before it: `localhost:x@elsewhere` is elsewhere.
        let host = uri.host().unwrap_or_default();
        // Somebody who can listen to the registry can write this address. It gets nothing that is worth listening for.
        let safe = uri.scheme_str() == Some("https") || (is_here(&self.repository.host) && is_here(host));
        if !safe && credentials.is_some() {
            let why = format!("it is given at {realm}, and a password is not sent there without encryption");
            return Err(refused(why));
        }
        let actions = match self.purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.repository.name);
        let mut request = Request::builder().uri(token::address(realm, service, &scope));
        let anonymous = credentials.is_none();
        if let Some(credentials) = &credentials {
            request = request.header(AUTHORIZATION, credentials.as_str());
        }
        let request = request.body(()).map_err(|why| refused(why.to_string()))?;
        let mut answer = self.agent.run(request).map_err(|why| self.unreachable(why))?;
        if !answer.status().is_success() {
            let failure = refused(format!("{host} answered {}", told(&mut answer)));
            let help = if self.safe { credentials::HELP } else { UNSAFE_HELP };
            return Err(if anonymous { failure.help(help) } else { failure });
        }
        let bytes = answer.body_mut().with_config().limit(WORDS_BYTES_MAX).read_to_vec();
        let bytes = Zeroizing::new(bytes.map_err(|why| self.unreachable(why))?);
        let said: Option<token::Answer> = serde_json::from_slice(&bytes).ok();
        let token = said.and_then(token::Answer::token);
        let token = token.ok_or_else(|| refused(format!("what {host} answered holds none")))?;
        Ok(Zeroizing::new(format!("Bearer {}", token.as_str())))
    }

    /// What it means that no answer came.
    pub(super) fn unreachable(&self, why: ureq::Error) -> Failure {
        let registry = &self.repository.registry;
        if matches!(why, ureq::Error::Timeout(_) | ureq::Error::BodyStalled) {
            return Failure::new(Exit::TimedOut, format!("no answer from {registry}"))
                .why(why)
                .help("do it again: what is there already is not sent twice");
        }
        if matches!(why, ureq::Error::RequireHttpsOnly(_)) {
            return Failure::new(Exit::Refused, format!("{registry} leads to a place without encryption"))
                .why(why)
                .help("tell whoever keeps the registry");
        }
        let help = match self.safe {
            true if self.origin.starts_with("http:") => {
                "is it up? On this machine it is reached without encryption; --registry-ca has it encrypted"
            }
            true => "is the name right, and the registry up? One without encryption needs --plain-http",
            false => "is the name right, and the registry up? --plain-http is for one without encryption",
        };
        Failure::new(Exit::Unreachable, format!("cannot reach {registry}")).why(why).help(help)
    }
}

/// Whether a host, with or without a port, is this machine.
fn is_here(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

/// The status of an answer, and what a registry says about it, in a line.
pub(super) fn told(answer: &mut Response<Body>) -> String {
    /// As the distribution specification has it.
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        code: Option<String>,
        message: Option<String>,
    }
    let status = answer.status();
    let bytes = answer.body_mut().with_config().limit(WORDS_BYTES_MAX).read_to_vec().unwrap_or_default();
    let said = serde_json::from_slice::<Errors>(&bytes).ok().and_then(|said| said.errors.into_iter().next());
    let words =
        said.map(|said| [said.code, said.message].into_iter().flatten().collect::<Vec<_>>().join(", "));
    match words.filter(|words| !words.is_empty()) {
        // Somebody else's words: enough of them to see what is meant.
        Some(words) => format!("{status}: {}", words.chars().take(200).collect::<String>()),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Place;

    fn session(reference: &str, access: &Access) -> Session {
        let Place::Registry(repository, _) = reference.parse().unwrap() else { panic!("it is one") };
        let password = Some(Zeroizing::new("secret".to_owned()));
        let sources = Sources { user: Some("ann".into()), password, config: None };
        Session::new(&repository, Purpose::Push, access, sources).unwrap()
    }

    fn asks(how: &str) -> Response<Body> {
        Response::builder().status(401).header(WWW_AUTHENTICATE, how).body(Body::builder().data("")).unwrap()
    }

    #[test]
    fn who_can_be_listened_to_is_told_no_password() {
        let plain = Access { plain_http: true, registry_ca: None };
        let listened = session("registry.example/pump:1", &plain);
        let failure = listened.introduce(&asks("Basic realm=\"x\"")).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert!(failure.to_string().contains("without encryption"), "{failure}");
        for access in [plain, Access::default()] {
            let here = session("127.0.0.1:5000/pump:1", &access);
            assert_eq!(
                here.introduce(&asks("Basic realm=\"x\"")).unwrap().as_str(),
                "Basic YW5uOnNlY3JldA=="
            );
        }
        let safe = session("registry.example/pump:1", &Access::default());
        assert!(safe.introduce(&asks("Basic realm=\"x\"")).is_ok());
        assert_eq!(safe.introduce(&asks("Negotiate")).unwrap_err().exit(), Exit::Refused);
    }

    #[test]
    fn an_address_is_the_registrys_own_only_with_scheme_host_and_port() {
        let session = session("registry.example/pump:1", &Access::default());
        let ours = |text: &str| session.is_ours(&text.parse().unwrap());
        assert!(ours("https://registry.example/v2/") && ours("https://Registry.Example:443/x"));
        for other in [
            "http://registry.example/v2/",
            "https://registry.example:8443/",
            "https://registry.example.evil/",
            "https://registry.example@evil/",
            "https://evil/registry.example",
            "/v2/",
        ] {
            assert!(!ours(other), "{other}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        assert!(
            ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:5000"].iter().all(|host| is_here(host))
        );
        for other in
            ["localhost.example", "128.0.0.1", "127.0.0.1.example", "127.1", "registry.example:127", ""]
        {
            assert!(!is_here(other), "{other}");
        }
    }
}
