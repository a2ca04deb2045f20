//! Prometheus' HTTP API: one question, one number.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>. The client blocks, so it works on
//! tokio's blocking threads, a few at a time, over connections that stay open. Why it is this client, and what one
//! question costs: `runtime/decisions/0025`.
//!
//! Not here: what a body means (`instant`), which questions there are (`objective`), and where a credential is kept:
//! whoever calls gives a [`Credential`], which is asked for each time and kept nowhere.

use std::{
    error::Error,
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use backstay_model::{Millis, UnixMs};
use tokio::sync::Semaphore;
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, Request, Uri},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
    unversioned::transport::DefaultConnector,
};

use crate::{
    Answer, Answers, NoData, ObjectiveSpec, Query, Question, instant, no_data::shortened, resolver::OfOneHost,
};

/// The longest answer that is read. One number takes a few hundred bytes; what names each series takes more.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
/// The most that a server may say before the body begins, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Room in memory for each open connection and direction, in bytes. The longest question fits.
const BUFFER_BYTES: usize = 32 * 1024;
/// How many turns there are: for each a connection and a thread, and the questions of one window. The rest wait.
const AT_A_TIME: usize = 4;
/// Windows are a minute long as a rule, and a connection lives from one to the next.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// The longest that a question may take.
const TIMEOUT_MAX: Millis = Millis::from_secs(120);

/// A header with what lets us in, as of now.
pub trait Credential: Send + Sync {
    /// Its name and value: `authorization` and `Bearer ...`. May block: it is called on a blocking thread, before
    /// each question.
    ///
    /// # Errors
    /// It can't be had at the moment. What the error says is shown to people.
    fn header(&self) -> io::Result<(String, String)>;
}

impl<F: Fn() -> io::Result<(String, String)> + Send + Sync> Credential for F {
    fn header(&self) -> io::Result<(String, String)> {
        self()
    }
}

/// A Prometheus as the configuration has it.
pub struct PrometheusSettings {
    /// `http://127.0.0.1:9090`, or with a path where it is behind a proxy: `https://grid.example/prometheus`.
    pub url: String,
    /// For one question, with its wait for a turn: 1 ms to 2 min.
    pub timeout: Millis,
    /// PEM certificates of those whom `https` is believed by. There is no built-in list.
    pub roots: Option<Vec<u8>>,
    /// Sent with each question; nothing secret.
    pub headers: Vec<(String, String)>,
    /// What lets us in, if it takes something.
    pub credential: Option<Box<dyn Credential>>,
}

/// A Prometheus that can't be used as it is configured.
#[derive(Debug)]
#[non_exhaustive]
pub enum PrometheusError {
    /// Its address can't be asked.
    Url {
        /// What was given.
        url: String,
        /// Why not.
        why: &'static str,
    },
    /// The certificates can't be read.
    Roots {
        /// Why, if it is not that there are none.
        source: Option<Box<ureq::Error>>,
    },
    /// A header can't be sent.
    Header {
        /// Its name.
        header: String,
    },
    /// The time is 0, or more than is allowed.
    Timeout {
        /// What was given.
        timeout: Millis,
    },
}

impl PrometheusError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Url { .. } => {
                Some("give an address like http://host:9090, and the credential apart from it")
            }
            Self::Roots { .. } => Some("name a file of PEM certificates: -----BEGIN CERTIFICATE-----"),
            Self::Header { .. } => Some("look for line breaks and other control characters"),
            Self::Timeout { .. } => Some("give a time from 1 ms to 2 min"),
        }
    }
}

impl fmt::Display for PrometheusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, why } => write!(f, "{url:?} can't be asked: {why}"),
            Self::Roots { source: None } => f.write_str("the file of trusted certificates holds none"),
            Self::Roots { source: Some(_) } => f.write_str("the file of trusted certificates can't be read"),
            Self::Header { header } => write!(f, "header {header:?} can't be sent"),
            Self::Timeout { timeout } => write!(f, "a question can't be given {timeout}"),
        }
    }
}

impl Error for PrometheusError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Roots { source } => source.as_ref().map(|source| source as _),
            Self::Url { .. } | Self::Header { .. } | Self::Timeout { .. } => None,
        }
    }
}

/// A Prometheus that can be asked. Clones share its connections and its turns.
#[derive(Clone)]
pub struct Prometheus(Arc<Inner>);

struct Inner {
    agent: Agent,
    uri: Uri,
    timeout: Millis,
    headers: Vec<(HeaderName, HeaderValue)>,
    credential: Option<Box<dyn Credential>>,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prometheus").field(&self.0.uri).finish()
    }
}

impl Prometheus {
    /// Takes one that can be used. Nothing is asked yet.
    ///
    /// # Errors
    /// Says what of the settings can't be used.
    pub fn new(settings: PrometheusSettings) -> Result<Self, PrometheusError> {
        let PrometheusSettings { url, timeout, roots, headers, credential } = settings;
        if timeout == Millis(0) || timeout > TIMEOUT_MAX {
            return Err(PrometheusError::Timeout { timeout });
        }
        let roots = roots.as_deref().map_or(Ok(Vec::new()), certificates)?;
        let uri = address(&url, !roots.is_empty()).map_err(|why| PrometheusError::Url { url, why })?;
        let headers = headers.into_iter().map(|(name, value)| {
            let checked = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(value).ok());
            checked.ok_or(PrometheusError::Header { header: name })
        });
        let headers = headers.collect::<Result<_, _>>()?;
        let agent = client(roots);
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        Ok(Self(Arc::new(Inner { agent, uri, timeout, headers, credential, turns })))
    }

    /// Asks for one number as of `at`. A sample more than `stale` older than that is no data. Dropped before it ends, it
    /// keeps its turn until the server has answered or the time is over.
    ///
    /// # Errors
    /// There is no number, and this is why.
    pub async fn ask(&self, query: &Query, at: UnixMs, stale: Millis) -> Answer {
        let mut answers = self.ask_in_turn(vec![vec![query.clone()]], at, stale).await;
        answers.pop().and_then(|mut answers| answers.pop()).unwrap_or(Err(NoData::GivenUp))
    }

    /// Asks all that objectives need, in one turn and all as of the same time; gives the answers of each.
    pub async fn answers(&self, specs: &[ObjectiveSpec], at: UnixMs, stale: Millis) -> Vec<Answers> {
        let questions = specs.iter().map(ObjectiveSpec::questions);
        let queries = questions.clone().map(|of| of.iter().map(|question| question.query.clone()).collect());
        let answered = self.ask_in_turn(queries.collect(), at, stale).await;
        let answers = |(of, answered): (Vec<Question<'_>>, Vec<Answer>)| {
            let mut answers = Answers::new();
            for (question, answer) in of.into_iter().zip(answered) {
                answers.put(question.side, question.part, answer);
            }
            answers
        };
        questions.zip(answered).map(answers).collect()
    }

    /// Groups of questions, one after the other, so that all of them cost one thread and one connection. Each question has the
    /// time that is set, the first with its wait for the turn. After one whose time ran out nothing more of its group is asked, so
    /// that a server that hangs costs each group once. What was asked in this turn already isn't asked again.
    async fn ask_in_turn(&self, groups: Vec<Vec<Query>>, at: UnixMs, stale: Millis) -> Vec<Vec<Answer>> {
        let (inner, counts) = (&self.0, groups.iter().map(Vec::len).collect::<Vec<_>>());
        let all = |why: NoData| counts.iter().map(|count| vec![Err(why.clone()); *count]).collect();
        let (began, time) = (Instant::now(), Duration::from_millis(inner.timeout.0));
        let turn = match tokio::time::timeout(time, Arc::clone(&inner.turns).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return all(NoData::GivenUp),
            Err(_) => return all(inner.timed_out()),
        };
        let waited = began.elapsed();
        let inner = Arc::clone(inner);
        let asked = tokio::task::spawn_blocking(move || {
            let answers = inner.ask_groups(&groups, at, stale, waited);
            drop(turn);
            answers
        });
        asked.await.unwrap_or_else(|_| all(NoData::GivenUp))
    }
}

impl Inner {
    fn timed_out(&self) -> NoData {
        NoData::TimedOut { timeout: self.timeout }
    }

    fn ask_groups(
        &self,
        groups: &[Vec<Query>],
        at: UnixMs,
        stale: Millis,
        waited: Duration,
    ) -> Vec<Vec<Answer>> {
        let time = Duration::from_millis(self.timeout.0);
        let mut left = time.saturating_sub(waited);
        let mut known: Vec<(&Query, Answer)> = Vec::new();
        let mut answered = Vec::new();
        for group in groups {
            let mut answers: Vec<Answer> = Vec::new();
            for query in group {
                let hangs = matches!(answers.last(), Some(Err(NoData::TimedOut { .. })));
                let asked = known.iter().find(|(asked, _)| *asked == query);
                let answer = match asked {
                    Some((_, answer)) => answer.clone(),
                    None if hangs || left.is_zero() => Err(self.timed_out()),
                    None => self.ask(query, at, stale, left),
                };
                if asked.is_none() && !hangs {
                    known.push((query, answer.clone()));
                }
                answers.push(answer);
                left = time;
            }
            answered.push(answers);
        }
        answered
    }

    fn ask(&self, query: &Query, at: UnixMs, stale: Millis, left: Duration) -> Answer {
        let mut request = Request::builder()
            .method("POST")
            .uri(&self.uri)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(credential) = &self.credential {
            let no = |why: String| NoData::NoCredential { why: shortened(&why) };
            let (name, value) = credential.header().map_err(|error| no(error.to_string()))?;
            let mut value =
                HeaderValue::try_from(value).map_err(|_| no("it can't be sent as a header".into()))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let form = form(query, at, stale, left);
        let request =
            request.body(form).map_err(|error| NoData::Unreachable { why: shortened(&error.to_string()) })?;
        let request = self.agent.configure_request(request).timeout_global(Some(left)).build();
        let mut response = self.agent.run(request).map_err(|error| self.no_data(&error))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.no_data(&error))?;
        if !status.is_success() {
            return Err(NoData::Refused { status: status.as_u16(), said: instant::complaint(&body) });
        }
        instant::number(&body, at, stale)
    }

    fn no_data(&self, error: &ureq::Error) -> NoData {
        if let ureq::Error::BodyExceedsLimit(bytes_max) = error {
            return NoData::TooLarge { bytes_max: *bytes_max };
        }
        if let ureq::Error::Timeout(_) = error {
            return self.timed_out();
        }
        NoData::Unreachable { why: shortened(&error.to_string()) }
    }
}

/// The question as a form: with POST the length of a query meets no server's bound on addresses.
fn form(query: &Query, at: UnixMs, stale: Millis, left: Duration) -> String {
    let mut form = String::from("query=");
    encode(&mut form, query.as_str());
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    form.push_str(&format!("&time={}", seconds(at.0)));
    // So that the server, too, gives up when nobody waits any more.
    form.push_str(&format!("&timeout={}ms", left.as_millis().max(1)));
    // Prometheus stamps an answer with the time that was asked for, not with its sample's: how far back it may look for
    // one, only it can say. Servers that don't know this word pass it over.
    form.push_str(&format!("&lookback_delta={}ms", stale.0.max(1)));
    form
}

/// <https://url.spec.whatwg.org/#application-x-www-form-urlencoded-percent-encode-set>
fn encode(form: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => form.push(byte.into()),
            b' ' => form.push('+'),
            _ => form.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, PrometheusError> {
    let mut roots = Vec::new();
    for item in parse_pem(pem) {
        let item = item.map_err(|error| PrometheusError::Roots { source: Some(Box::new(error)) })?;
        if let PemItem::Certificate(root) = item {
            roots.push(root);
        }
    }
    if roots.is_empty() { Err(PrometheusError::Roots { source: None }) } else { Ok(roots) }
}

/// The address of the API below `url`.
fn address(url: &str, has_roots: bool) -> Result<Uri, &'static str> {
    if url.contains(['?', '#']) {
        return Err("it holds a query");
    }
    let uri = format!("{}/api/v1/query", url.trim_end_matches('/'));
    let uri: Uri = uri.parse().map_err(|_| "it is no address")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") if has_roots => {}
        Some("https") => return Err("https needs a file of trusted certificates"),
        Some(_) | None => return Err("it begins neither with http:// nor with https://"),
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err("it holds a user or a password"),
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        Some(_) | None => Err("it names no host"),
    }
}

fn client(roots: Vec<Certificate<'static>>) -> Agent {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A redirect would carry the credential to a place that nobody configured.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("backstay")
        .accept_encoding("")
        .max_response_header_size(HEADER_BYTES_MAX)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_idle_connections(AT_A_TIME)
        .max_idle_connections_per_host(AT_A_TIME)
        .max_idle_age(IDLE_MAX)
        .tls_config(tls)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), OfOneHost::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> PrometheusSettings {
        PrometheusSettings {
            url: url.into(),
            timeout: Millis::from_secs(5),
            roots: None,
            headers: Vec::new(),
            credential: None,
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_before_anything_is() {
        for url in ["http://127.0.0.1:9090", "http://[::1]:9090/", "http://grid.example/prometheus/"] {
            assert!(Prometheus::new(settings(url)).is_ok(), "{url}");
        }
        for url in [
            "",
            "localhost",
            "ftp://x",
            "https://x",
            "http://u:p@x",
            "http://x/?a",
            "http://x#a",
            "http:///x",
            "http://a b",
        ] {
            assert!(matches!(Prometheus::new(settings(url)), Err(PrometheusError::Url { .. })), "{url}");
        }
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let with = |headers| Prometheus::new(PrometheusSettings { headers, ..settings("http://x") });
        assert!(with(header("x-scope-orgid", "shop")).is_ok());
        assert!(matches!(with(header("a b", "c")), Err(PrometheusError::Header { .. })));
        assert!(matches!(with(header("a", "c\r\nd: e")), Err(PrometheusError::Header { .. })));
        let roots = Some(b"nothing".to_vec());
        let error = Prometheus::new(PrometheusSettings { roots, ..settings("https://x") }).unwrap_err();
        assert_eq!(error.to_string(), "the file of trusted certificates holds none");
        for timeout in [Millis(0), Millis::from_secs(121)] {
            let error = Prometheus::new(PrometheusSettings { timeout, ..settings("http://x") }).unwrap_err();
            assert!(matches!(error, PrometheusError::Timeout { .. }));
        }
    }

    #[test]
    fn a_path_before_the_api_stays() {
        let uri = |url| address(url, false).unwrap().to_string();
        assert_eq!(uri("http://x:9090"), "http://x:9090/api/v1/query");
        assert_eq!(uri("http://x/prometheus/"), "http://x/prometheus/api/v1/query");
    }

    #[test]
    fn a_question_is_sent_as_a_form() {
        let query = Query::parse("sum(rate(a{b=~\"5..\"}[1m])) + 1 & é").unwrap();
        let form = form(&query, UnixMs(1_767_607_200_007), Millis(90_000), Duration::from_millis(4999));
        assert_eq!(
            form,
            "query=sum%28rate%28a%7Bb%3D%7E%225..%22%7D%5B1m%5D%29%29+%2B+1+%26+%C3%A9&time=1767607200.007\
             &timeout=4999ms&lookback_delta=90000ms"
        );
    }

    #[test]
    fn what_is_shown_of_it_holds_no_secret() {
        let credential = || Ok(("authorization".into(), "Bearer s3cret".into()));
        let headers = vec![("x-key".into(), "s3cret".into())];
        let settings =
            PrometheusSettings { credential: Some(Box::new(credential)), headers, ..settings("http://x") };
        assert!(!format!("{:?}", Prometheus::new(settings).unwrap()).contains("s3cret"));
    }
}
