//! The API server, asked by a test.
//!
//! Here: one request and its answer as JSON, as an administrator or as somebody else, and waiting for what is to become so. Not here:
//! how the server's own clients behave (the tests start those), and what an executor may ask (the server under test).

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ureq::{
    Agent,
    http::{Request, Response},
    tls::{Certificate, RootCerts, TlsConfig},
};

/// How long a request may take. The slowest wait for a definition that was made just now.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long something is waited for, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How many connections are kept open. Each has a thread at most.
const CONNECTIONS: usize = 24;
/// The longest answer: a list of everything with room to spare.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// An account at the API server. Clones share their connections.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    server: String,
    headers: Vec<(&'static str, String)>,
}

/// What the server says where it would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status; 0 if there was no answer.
    pub code: u16,
    /// In a word, as Kubernetes has it: `Conflict`.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Refusal {}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Api").field(&self.server).finish()
    }
}

impl Api {
    /// The server at `https://host:port`, whose certificate goes back to `ca`, as who has this token.
    ///
    /// # Panics
    /// If `ca` isn't a certificate.
    #[must_use]
    pub fn new(server: &str, ca: &str, token: &str) -> Self {
        let ca = Certificate::from_pem(ca.as_bytes()).unwrap_or_else(|e| panic!("not a certificate: {e}"));
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .tls_config(tls);
        let mut api = Self { agent: config.build().new_agent(), server: server.into(), headers: Vec::new() };
        api.headers.push(("authorization", format!("Bearer {token}")));
        api
    }

    /// Where it is: `https://127.0.0.1:...`
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What it shows of itself: `Bearer ...`
    #[must_use]
    pub(crate) fn authorization(&self) -> &str {
        self.headers.iter().find(|(name, _)| *name == "authorization").map_or("", |(_, value)| value)
    }

    /// The same server, as who has another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { headers: vec![("authorization", format!("Bearer {token}"))], ..self.clone() }
    }

    /// As somebody of this name, in these groups: an administrator may be anybody.
    #[must_use]
    pub fn acting_as(&self, user: &str, groups: &[&str]) -> Self {
        let mut api = self.clone();
        api.headers.push(("impersonate-user", user.into()));
        api.headers.extend(groups.iter().map(|group| ("impersonate-group", (*group).to_owned())));
        api
    }

    /// One object, or whatever else answers to GET with JSON.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn get(&self, path: &str) -> Result<Value, Refusal> {
        self.ask("GET", path, "", "")
    }

    /// The objects of a list, all of them. The kind of each is that of the list, which the server leaves out.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn list(&self, path: &str) -> Result<Vec<Value>, Refusal> {
        let mut list = self.get(path)?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Makes an object.
    ///
    /// # Errors
    /// The server's refusal: 409 if there is one.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.ask("POST", path, "application/json", &object.to_string())
    }

    /// The same from YAML, one document.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn create_yaml(&self, path: &str, document: &str) -> Result<Value, Refusal> {
        self.ask("POST", path, "application/yaml", document)
    }

    /// Puts an object in the place of the one that is there.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn replace(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.ask("PUT", path, "application/json", &object.to_string())
    }

    /// Changes fields: a merge patch (RFC 7396).
    ///
    /// # Errors
    /// The server's refusal.
    pub fn merge(&self, path: &str, change: &Value) -> Result<Value, Refusal> {
        self.ask("PATCH", path, "application/merge-patch+json", &change.to_string())
    }

    /// Changes fields one by one: a JSON patch (RFC 6902).
    ///
    /// # Errors
    /// The server's refusal: 422 if one of its tests fails.
    pub fn patch(&self, path: &str, changes: &Value) -> Result<Value, Refusal> {
        self.ask("PATCH", path, "application/json-patch+json", &changes.to_string())
    }

    /// Says what it shall be, as a manager of fields: server-side apply. What another manager has set is taken from it by force.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn apply(&self, path: &str, manager: &str, object: &Value) -> Result<Value, Refusal> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.ask("PATCH", &path, "application/apply-patch+yaml", &object.to_string())
    }

    /// Removes an object, and what it owns afterwards.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn delete(&self, path: &str) -> Result<Value, Refusal> {
        self.ask("DELETE", path, "", "")
    }

    /// A token for a service account, good for an hour.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn token(&self, namespace: &str, account: &str) -> Result<String, Refusal> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
        let told = self.create(&path, &asked)?;
        Ok(told["status"]["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Any request. An empty type means that there is no body.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<Value, Refusal> {
        let mut response = self.send(method, path, kind, body, Some(TIMEOUT))?;
        let code = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|e| Refusal::unanswered(&e))?;
        let answer = serde_json::from_slice::<Value>(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        if (200..300).contains(&code) {
            return Ok(answer);
        }
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let message = answer.as_str().map_or_else(|| text(&answer["message"]), str::to_owned);
        Err(Refusal { code, reason: text(&answer["reason"]), message })
    }

    /// Follows a list from a version on, until the server ends it or `seen` says that it has enough. Each event has a `type` and
    /// an `object`.
    ///
    /// # Errors
    /// The server's refusal: 410 if the version is too old.
    pub fn watch(
        &self,
        path: &str,
        version: &str,
        mut seen: impl FnMut(Value) -> bool,
    ) -> Result<(), Refusal> {
        let path = format!("{path}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
        let response = self.send("GET", &path, "", "", None)?;
        if !response.status().is_success() {
            return Err(Refusal {
                code: response.status().as_u16(),
                reason: String::new(),
                message: String::new(),
            });
        }
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        for event in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
            if !seen(event) {
                break;
            }
        }
        Ok(())
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
        at_most: Option<Duration>,
    ) -> Result<Response<ureq::Body>, Refusal> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        request = request.header("accept", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let unanswered = |e: ureq::Error| Refusal::unanswered(&e);
        let sent = if kind.is_empty() {
            let request = request.body(()).map_err(|e| Refusal::unanswered(&e))?;
            self.agent.run(self.agent.configure_request(request).timeout_global(at_most).build())
        } else {
            let request = request.header("content-type", kind).body(body.to_owned());
            let request = request.map_err(|e| Refusal::unanswered(&e))?;
            self.agent.run(self.agent.configure_request(request).timeout_global(at_most).build())
        };
        sent.map_err(unanswered)
    }
}

impl Refusal {
    fn unanswered(why: &dyn fmt::Display) -> Self {
        Self { code: 0, reason: String::new(), message: why.to_string() }
    }
}

/// Waits until there is something, for a minute at most.
///
/// # Panics
/// If there isn't, with `what` was waited for.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with a time of one's own.
///
/// # Panics
/// If there isn't in time, with `what` was waited for.
pub fn until_within<T>(at_most: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < at_most, "{what}: not within {} s", at_most.as_secs());
        thread::sleep(LOOK_AGAIN);
    }
}
