//! A server that speaks the real API and gives the verdicts that a test wants, one after the other.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
};

use backstay_api::{ApiError, Call, Calls, Kind, Shelf, TargetCall, Tokens, VerdictRequest, routes};
use backstay_model::{BuildId, Nonce, TargetId, UnixMs, VerdictAction};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Builder};

use crate::{Shop, shop::now};

/// What a caller has to show.
const TOKEN: &str = "0123456789abcdef";

/// What the server answers once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A good verdict.
    Says(VerdictAction),
    /// One that says proceed and expired a minute ago.
    Late,
    /// One that says proceed, from tomorrow.
    Early,
    /// One that says proceed to another build.
    OtherBuild,
    /// One that says proceed to whoever asked with another nonce.
    Replayed,
    /// One that says proceed about another service.
    OtherService,
    /// One that says proceed, signed with a key that nobody trusts.
    Forged,
    /// One to roll back, with a document that says proceed beside it.
    Altered,
    /// None: there is no such target.
    None,
}

/// A server on a free port of the loopback interface, for as long as the test's process lives.
#[derive(Debug)]
pub struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<VerdictRequest>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
    _dir: TempDir,
}

impl Server {
    /// Gives these answers in turn; after them, none.
    #[must_use]
    pub fn with(answers: &[Answer]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shelf = |name: &str| Shelf::open(dir.path().join(name)).unwrap();
        let (calls, mut waiting) = Calls::new(4);
        let router = routes(calls, Tokens::single(TOKEN).unwrap(), shelf("artifacts"), shelf("statements"));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(answers.iter().rev().copied().collect::<Vec<_>>()));
        let (noted, left) = (Arc::clone(&asked), Arc::clone(&answers));
        thread::spawn(move || {
            runtime.spawn(async move {
                while let Some(call) = waiting.recv().await {
                    let Call::Target(TargetCall::Verdict(service, request, reply)) = call else { continue };
                    let answer = left.lock().unwrap().pop().unwrap_or(Answer::None);
                    noted.lock().unwrap().push(request.clone());
                    drop(reply.send(give(answer, &service, &request)));
                }
            });
            runtime.block_on(async { axum::serve(listener, router).await })
        });
        Self { at, asked, answers, _dir: dir }
    }

    /// Its API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What callers have to show.
    #[must_use]
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// What was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<VerdictRequest> {
        self.asked.lock().unwrap().clone()
    }

    /// How many of the answers nobody has asked for.
    #[must_use]
    pub fn left(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

fn give(
    answer: Answer,
    service: &TargetId,
    request: &VerdictRequest,
) -> Result<backstay_api::SignedVerdict, ApiError> {
    let (shop, now) = (Shop::new(), now());
    let mut verdict = Shop::verdict(VerdictAction::Proceed, request.nonce);
    verdict.service = service.clone();
    verdict.build = request.build.clone();
    verdict.digest = request.digest;
    verdict.version = request.version.clone();
    match answer {
        Answer::Says(action) => {
            let said = Shop::verdict(action, request.nonce);
            verdict.action = said.action;
            verdict.wait_secs = said.wait_secs;
            verdict.reasons = said.reasons;
            Ok(shop.document(&verdict, now))
        }
        Answer::Late => Ok(shop.document(&verdict, UnixMs(now.0 - 660_000))),
        Answer::Early => Ok(shop.document(&verdict, UnixMs(now.0 + 86_400_000))),
        Answer::OtherBuild => {
            verdict.build = BuildId::parse("1811").unwrap();
            Ok(shop.document(&verdict, now))
        }
        Answer::Replayed => {
            verdict.nonce = Nonce([0; 16]);
            Ok(shop.document(&verdict, now))
        }
        Answer::OtherService => {
            verdict.service = TargetId::parse("cart").unwrap();
            Ok(shop.document(&verdict, now))
        }
        Answer::Forged => Ok(shop.forged().document(&verdict, now)),
        Answer::Altered => {
            verdict.action = VerdictAction::Rollback;
            let mut document = shop.document(&verdict, now);
            document.action = VerdictAction::Proceed;
            Ok(document)
        }
        Answer::None => Err(ApiError::new(Kind::NotFound, format!("no target {service} is configured here"))),
    }
}
