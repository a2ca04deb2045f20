//! Named endpoints: a run says a name and a path; address and credentials stay here.
//!
//! The answer to a request never holds them either. Redirects are not followed: they would carry the
//! credentials to a place that nobody configured.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _},
    time::Duration,
};

use backstay_model::{Answer, Millis, Name, Transience};
use ureq::{Agent, http, tls::ClientCert};

use crate::{
    beside,
    http::{Roots, client_as},
    output::{Sink, Tail, failed, refused},
};

const PATH_BYTES_MAX: usize = 1024;
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest answer that is read.
pub(crate) const RESPONSE_BYTES_MAX: u64 = 1 << 20;
const TIMEOUT_MAX: Millis = Millis::from_secs(600);

/// A server as the configuration has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://grid.example/api`: what a run's path is put behind.
    pub base: String,
    /// Sent with each request: credentials, above all.
    pub headers: BTreeMap<String, String>,
    /// For the whole request, 1 ms to 10 min.
    pub timeout: Millis,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        f.debug_struct("Endpoint").field("base", &self.base).field("headers", &names).finish_non_exhaustive()
    }
}

/// An endpoint that can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// Its address can't be asked.
    Base {
        /// What was given.
        base: String,
        /// Why not.
        why: &'static str,
    },
    /// One of its headers can't be sent.
    Header {
        /// Its name; its value may be a secret.
        header: String,
    },
    /// The time is 0 or more than ten minutes.
    Timeout {
        /// What was given.
        timeout: Millis,
    },
}

impl EndpointError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Base { .. } => Some("give an address like https://host/path, and credentials as headers"),
            Self::Header { .. } => Some("look for line breaks and other control characters"),
            Self::Timeout { .. } => Some("give a time from 1 ms to 10 min"),
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base { base, why } => write!(f, "{base:?} can't be asked: {why}"),
            Self::Header { header } => write!(f, "header {header:?} can't be sent"),
            Self::Timeout { timeout } => write!(f, "a request can't be given {timeout}"),
        }
    }
}

impl std::error::Error for EndpointError {}

/// The endpoints that a configuration names.
#[derive(Debug, Default)]
pub struct Endpoints(BTreeMap<Name, (Endpoint, Agent)>);

impl Endpoints {
    /// Takes endpoints that can be used.
    ///
    /// # Errors
    /// Names the first that can't, and why.
    pub fn new(endpoints: BTreeMap<Name, Endpoint>, roots: &Roots) -> Result<Self, (Name, EndpointError)> {
        let mut checked = BTreeMap::new();
        for (name, endpoint) in endpoints {
            if let Err(error) = endpoint.check(roots) {
                return Err((name, error));
            }
            let agent = endpoint.client(None, roots);
            checked.insert(name, (endpoint, agent));
        }
        Ok(Self(checked))
    }

    /// Asks one. An endpoint that isn't configured is refused, and so is a path that could leave its base.
    pub async fn request(&self, name: &Name, method: &str, path: &str, body: &[u8]) -> Answer {
        let Some((endpoint, agent)) = self.0.get(name) else {
            return refused(format!("no endpoint {name} is configured"));
        };
        let has_body = match has_body(method, path, body) {
            Ok(has_body) => has_body,
            Err(why) => return refused(why),
        };
        let asked = endpoint.ask(agent, method, path, has_body.then_some(body), None);
        let asked = beside(move || answer(asked(), RESPONSE_BYTES_MAX, Tail::new()));
        let name = name.clone();
        asked.await.unwrap_or_else(|_| {
            failed(Transience::Transient, format!("the request to endpoint {name} was given up"))
        })
    }
}

impl Endpoint {
    pub(crate) fn check(&self, roots: &Roots) -> Result<(), EndpointError> {
        roots.accept(&self.base).map_err(|why| EndpointError::Base { base: self.base.clone(), why })?;
        if self.base.contains(['?', '#']) {
            return Err(EndpointError::Base { base: self.base.clone(), why: "it holds a query" });
        }
        let unfit = |(name, value): &(&String, &String)| {
            http::HeaderName::try_from(*name).is_err() || http::HeaderValue::try_from(*value).is_err()
        };
        if let Some((header, _)) = self.headers.iter().find(unfit) {
            return Err(EndpointError::Header { header: header.clone() });
        }
        if self.timeout == Millis(0) || self.timeout > TIMEOUT_MAX {
            return Err(EndpointError::Timeout { timeout: self.timeout });
        }
        Ok(())
    }

    /// The client that asks it, with a certificate of our own where it wants to see one.
    pub(crate) fn client(&self, certificate: Option<ClientCert>, roots: &Roots) -> Agent {
        let timeout = Some(Duration::from_millis(self.timeout.0));
        client_as(certificate, roots, 0, |config| config.timeout_global(timeout))
    }

    /// A request, ready to be made where it may block. `more` is a header that isn't in the configuration.
    pub(crate) fn ask(
        &self,
        agent: &Agent,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
        more: Option<(&str, http::HeaderValue)>,
    ) -> impl FnOnce() -> Result<http::Response<ureq::Body>, ureq::Error> + Send + use<> {
        let base = self.base.trim_end_matches('/');
        let mut request = http::Request::builder().method(method).uri(format!("{base}{path}"));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some((name, value)) = more {
            request = request.header(name, value);
        }
        let (agent, body) = (agent.clone(), body.map(<[u8]>::to_vec));
        move || match body {
            Some(body) => {
                request.body(body).map_err(ureq::Error::Http).and_then(|request| agent.run(request))
            }
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| agent.run(request)),
        }
    }
}

/// Whether a request that can be made goes out with a body; else why it can't be.
pub(crate) fn has_body(method: &str, path: &str, body: &[u8]) -> Result<bool, String> {
    let has_body = match method {
        "GET" | "HEAD" | "DELETE" if body.is_empty() => false,
        "POST" | "PUT" | "PATCH" => true,
        _ => return Err(format!("{} with {} bytes can't be asked for", method.escape_debug(), body.len())),
    };
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("a body has at most {BODY_BYTES_MAX} bytes"));
    }
    if !stays_below(path) {
        return Err("a path begins with /, holds no dots alone, and has at most 1 KiB".into());
    }
    Ok(has_body)
}

/// Whether a path can only lead further below a base. Dots may be hidden as `%2e`; a server would undo that.
fn stays_below(path: &str) -> bool {
    let route = path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    path.len() <= PATH_BYTES_MAX
        && path.starts_with('/')
        && path.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && !matches!(byte, b'\\' | b'#'))
        && !route.contains("%2f")
        && !route.contains("%5c")
        && route.split('/').all(|part| part != ".." && part != ".")
}

/// What came of a request, its body given to `sink` as it comes, up to `bytes_max`.
pub(crate) fn answer(
    response: Result<http::Response<ureq::Body>, ureq::Error>,
    bytes_max: u64,
    mut sink: impl Sink,
) -> Answer {
    let response = match response {
        Ok(response) => response,
        Err(ureq::Error::Timeout(_)) => return Answer::TimedOut,
        Err(error) => return failed(Transience::Transient, error.to_string()),
    };
    let status = response.status().as_u16();
    let mut reader = response.into_body().into_with_config().limit(bytes_max + 1).reader();
    let (mut length, mut chunk) = (0_u64, [0; 8192]);
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Answer::Response { status, body: sink.finish() },
            Ok(read) => {
                length += read as u64;
                if length > bytes_max {
                    let why = format!("the answer is longer than {bytes_max} bytes");
                    return failed(Transience::Permanent, why);
                }
                sink.take(&chunk[..read]);
            }
            Err(error) if is_late(&error) => return Answer::TimedOut,
            Err(error) => return failed(Transience::Transient, format!("the answer broke off: {error}")),
        }
    }
}

/// Whether the time was over before the body was. The client wraps its own error.
fn is_late(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(ureq::Error::Timeout(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Reply, Server};

    fn endpoints(base: String) -> Endpoints {
        let headers = BTreeMap::from([("authorization".into(), "Bearer s3cret".into())]);
        let endpoint = Endpoint { base, headers, timeout: Millis::from_secs(30) };
        Endpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none()).unwrap()
    }

    fn name() -> Name {
        Name::parse("grid").unwrap()
    }

    #[tokio::test]
    async fn a_request_carries_the_credentials_that_nobody_sees() {
        let server = Server::start(|_| Reply::ok(b"fine"));
        let endpoints = endpoints(server.url("/api"));
        let answer = endpoints.request(&name(), "PUT", "/pumps/7", b"off").await;
        let Answer::Response { status: 200, body } = answer else { panic!("{answer:?}") };
        assert_eq!(body.bytes, b"fine");
        let heard = server.heard().remove(0);
        assert!(heard.starts_with("PUT /api/pumps/7 HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("authorization: Bearer s3cret\r\n"), "{heard}");
        assert!(!format!("{endpoints:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let server = Server::start(|_| Reply::head("302 Found", "Location: http://elsewhere.invalid/"));
        let answer = endpoints(server.url("")).request(&name(), "GET", "/", b"").await;
        assert!(matches!(answer, Answer::Response { status: 302, .. }), "{answer:?}");
        assert_eq!(server.heard().len(), 1);
    }

    /// It begins to answer, and falls silent.
    #[tokio::test]
    async fn an_answer_that_is_not_whole_in_time_is_late() {
        let server = Server::start(|_| {
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nin".to_vec()).then_holds()
        });
        let endpoint = Endpoint { base: server.url(""), headers: BTreeMap::new(), timeout: Millis(200) };
        let endpoints = Endpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none()).unwrap();
        assert_eq!(endpoints.request(&name(), "GET", "/", b"").await, Answer::TimedOut);
    }

    #[tokio::test]
    async fn what_leaves_the_base_or_is_too_much_is_refused() {
        let endpoints = endpoints("http://127.0.0.1:9/api".into());
        let long = format!("/{}", "x".repeat(1024));
        for path in
            ["", "x", "/../admin", "/a/%2e%2E/b", "/a%2f..", "/a b", "/\r\nHost: x", "@evil/", "/a#b", &long]
        {
            let answer = endpoints.request(&name(), "GET", path, b"").await;
            assert!(matches!(answer, Answer::Refused(_)), "{path:?}: {answer:?}");
        }
        for (method, body) in [("GET", &b"x"[..]), ("TRACE", b""), ("get", b""), ("POST", &[0; 65_537])] {
            let answer = endpoints.request(&name(), method, "/", body).await;
            assert!(matches!(answer, Answer::Refused(_)), "{method}: {answer:?}");
        }
        let answer = endpoints.request(&name(), "GET", "/", b"").await;
        assert!(matches!(answer, Answer::Failed(_)), "nobody listens there: {answer:?}");
    }
}
