//! Small exchanges with the operator's servers: statements, and asking to be enrolled.
//!
//! Nobody who answers is believed: what comes is signed, and whoever asked checks it. Not here: artifacts
//! (`fetch`), and asking again later (`core` or the caller).

use std::{error::Error, fmt, sync::Arc, time::Duration};

use backstay_model::Transience;
use ureq::Agent;

use crate::{Roots, beside, http::client};

/// The longest that one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(30);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The operator's servers, tried in order.
#[derive(Clone, Debug)]
pub struct Depot {
    agent: Agent,
    bases: Arc<[String]>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// No server had an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepotError {
    /// Whether asking again later can help.
    pub transience: Transience,
    why: String,
}

impl fmt::Display for DepotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for DepotError {}

impl Depot {
    /// Servers at these addresses.
    ///
    /// # Errors
    /// Says which address can't be asked.
    pub fn new(bases: &[String], roots: &Roots) -> Result<Self, DepotError> {
        for base in bases {
            roots.accept(base).map_err(|why| DepotError {
                transience: Transience::Permanent,
                why: format!("{base:?} can't be asked: {why}"),
            })?;
        }
        let agent = client(roots, 2, |config| config.timeout_global(Some(EXCHANGE)));
        Ok(Self { agent, bases: bases.into() })
    }

    /// Gets what is at `path`, from the first server that has it.
    ///
    /// # Errors
    /// If none has.
    pub async fn get(&self, path: &str) -> Result<Answered, DepotError> {
        self.exchange(path, None).await
    }

    /// Posts `body` to `path` of the first server that answers.
    ///
    /// # Errors
    /// If none does, or it says no.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<Answered, DepotError> {
        self.exchange(path, Some(body)).await
    }

    async fn exchange(&self, path: &str, body: Option<Vec<u8>>) -> Result<Answered, DepotError> {
        let (depot, path) = (self.clone(), path.to_owned());
        let asked = beside(move || depot.exchange_blocking(&path, body.as_deref()));
        let stopped =
            |_| DepotError { transience: Transience::Transient, why: "the agent is stopping".into() };
        asked.await.map_err(stopped)?
    }

    fn exchange_blocking(&self, path: &str, body: Option<&[u8]>) -> Result<Answered, DepotError> {
        let mut last =
            DepotError { transience: Transience::Transient, why: "no server is configured".into() };
        for base in self.bases.iter() {
            let url = format!("{}{path}", base.trim_end_matches('/'));
            let sent = match body {
                None => self.agent.get(&url).call(),
                Some(body) => self.agent.post(&url).send(body),
            };
            let failed =
                |why: String| DepotError { transience: Transience::Transient, why: format!("{url}: {why}") };
            let mut response = match sent {
                Ok(response) => response,
                Err(error) => {
                    last = failed(error.to_string());
                    continue;
                }
            };
            let status = response.status().as_u16();
            let read = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
            match (status, read) {
                (200..=299, Ok(body)) => return Ok(Answered { status, body }),
                (200..=299, Err(error)) => last = failed(error.to_string()),
                // The server understood and says no: asking the same again won't help, asking another may.
                (400..=499, body) => {
                    let said = String::from_utf8_lossy(&body.unwrap_or_default())
                        .chars()
                        .take(200)
                        .collect::<String>();
                    let transience = if status == 404 || status == 408 || status == 429 {
                        Transience::Transient
                    } else {
                        Transience::Permanent
                    };
                    last = DepotError { transience, why: format!("{url} answered {status}: {said}") };
                }
                (_, _) => last = failed(format!("answered {status}")),
            }
        }
        Err(last)
    }
}
