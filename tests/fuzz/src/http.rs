//! The server's HTTP API: any path, token and body.
//!
//! What has to hold: nobody gets by without the token, but those who need none; what is refused is told as such with a status
//! of its own, and no body, header or path brings the server down. Who would answer the calls isn't there: they end as they do
//! when a server stops.

use std::{cell::RefCell, rc::Rc};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use backstay_api::{ApiError, Call, Calls, Shelf, Tokens, routes};
use backstay_model::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::LocalSet};
use tower::ServiceExt;

use crate::{
    Came, is_told_text,
    script::{EDITED, PLAIN, Script, way},
};

const TOKEN: &str = "0123456789abcdef";
/// The most of an answer that is looked at, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What is uploaded, and is there already: its digest is in the paths.
const CODE: &str = "code";

/// Every call that there is: paths that are right, and bodies that are, where there are any.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/healthz", ""),
    ("GET", "/metrics", ""),
    ("POST", "/v1/enrol", "request"),
    ("GET", "/v1/fleet", ""),
    ("GET", "/v1/trust", ""),
    ("POST", "/v1/trust", "link"),
    ("GET", "/v1/cohorts/canary/order", ""),
    ("GET", "/v1/releases", ""),
    ("POST", "/v1/releases", "statement"),
    ("GET", "/v1/plugins", ""),
    ("POST", "/v1/plugins/0505050505050505050505050505050505050505050505050505050505050505", ""),
    (
        "POST",
        "/v1/rollouts",
        r#"{"cohort":"canary","version":"1.5.0","labels":["site=basel"],"plan":{"waves":[10,1000],"devices_min":1}}"#,
    ),
    ("GET", "/v1/cohorts/canary?channel=plugins", ""),
    ("POST", "/v1/cohorts/canary/rollback", ""),
    ("POST", "/v1/cohorts/canary/pause?channel=product", ""),
    ("GET", "/v1/quarantine", ""),
    ("GET", "/v1/breakers", ""),
    ("POST", "/v1/breakers/canary/close", r#"{"reason":"looked into it"}"#),
    (
        "POST",
        "/v1/devices/pump-7/words",
        r#"{"words":["Hold",{"Lift":"0505050505050505050505050505050505050505050505050505050505050505"}]}"#,
    ),
    ("GET", "/v1/devices/pump-7/evidence", ""),
    ("POST", "/v1/tokens", r#"{"device":"pump-7","cohort":"canary","labels":["site=basel"]}"#),
    ("GET", "/v1/enrolments", ""),
    ("GET", "/v1/events?after=3", ""),
    ("GET", "/v1/targets", ""),
    ("GET", "/v1/targets/checkout", ""),
    ("GET", "/v1/targets/checkout/plan?action=heal&playbook=restart", ""),
    ("POST", "/v1/targets/checkout/deployments", r#"{"version":"1.5.0"}"#),
    ("POST", "/v1/targets/checkout/metrics", r#"{"errors":1}"#),
    (
        "POST",
        "/v1/targets/checkout/verdict",
        r#"{"build":"1812","nonce":"07070707070707070707070707070707","stage":10,"metrics":{"errors":1}}"#,
    ),
    ("POST", "/v1/targets/checkout/rollback", r#"{"reason":"it is slow"}"#),
    ("POST", "/v1/alerts", r#"{"version":"4","status":"firing","alerts":[]}"#),
    ("GET", "/v1/incidents", ""),
    ("GET", "/v1/incidents/3", ""),
    ("POST", "/v1/incidents/3/mark", r#"{"label":"true-positive","reason":"it was slow"}"#),
    ("GET", "/v1/artifacts/5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b", ""),
    ("PUT", "/v1/artifacts/5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b", CODE),
    ("GET", "/v1/releases/5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b", ""),
    ("GET", "/v1/trust/0505050505050505050505050505050505050505050505050505050505050505", ""),
    (
        "POST",
        "/v1/quarantine/0505050505050505050505050505050505050505050505050505050505050505/lift",
        r#"{"reason":"looked into it"}"#,
    ),
    (
        "POST",
        "/v1/enrolments/0505050505050505050505050505050505050505050505050505050505050505",
        r#"{"device":"pump-7","cohort":"canary","labels":[]}"#,
    ),
];

/// A server, and which calls reached who would answer them.
struct Server {
    runtime: Runtime,
    local: LocalSet,
    router: Router,
    reached: Rc<RefCell<Vec<Reached>>>,
    _folder: TempDir,
}

/// What a call asks of who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    ForDevices,
    ByToken,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (folder, local) = (tempfile::tempdir().unwrap(), LocalSet::new());
        let shelf = |name: &str| {
            let shelf = Shelf::open(folder.path().join(name)).unwrap();
            shelf.put(&Digest(Sha256::digest(CODE).into()), CODE.as_bytes()).unwrap();
            shelf
        };
        let (calls, mut receiver) = Calls::new(1);
        let tokens = Tokens::single(TOKEN).unwrap();
        let router = routes(calls, tokens, shelf("artifacts"), shelf("statements"));
        let reached = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&reached);
        local.spawn_local(async move {
            while let Some(call) = receiver.recv().await {
                // Enrolment and what is signed by itself: a device shows no token.
                let is_for_devices = matches!(call, Call::Enrol(..) | Call::Statement(..));
                seen.borrow_mut().push(if is_for_devices { Reached::ForDevices } else { Reached::ByToken });
            }
        });
        Self { runtime, local, router, reached, _folder: folder }
    }
}

pub(crate) fn run(input: &[u8]) -> Came {
    let Some((how, mut script)) = way(input, 2) else { return Came::Refused };
    let (method, path, body) = *script.one(ROUTES);
    let token = script.byte();
    let (path, body) = match how {
        // The body is what follows; or the path is, and the body behind it.
        PLAIN => (path.to_owned(), script.0.to_vec()),
        _ => {
            let mut bytes = path.as_bytes().to_vec();
            let mut edits = Script(script.bytes());
            edits.edit(&mut bytes);
            let mut body = body.as_bytes().to_vec();
            script.edit(&mut body);
            (String::from_utf8_lossy(&bytes).into_owned(), body)
        }
    };
    let token = match token % 4 {
        0 | 1 => Some(format!("Bearer {TOKEN}")),
        2 => None,
        _ => Some(format!("Bearer {TOKEN}x")),
    };
    let mut request = Request::builder().method(method).uri(&path);
    if let Some(token) = &token {
        request = request.header(header::AUTHORIZATION, token);
    }
    // What is no address never gets this far.
    let Ok(request) = request.body(Body::from(body)) else { return Came::Refused };
    let has_token = token == Some(format!("Bearer {TOKEN}"));
    thread_local! {
        static SERVER: Server = Server::start();
    }
    SERVER.with(|server| asks(server, request, has_token))
}

fn asks(server: &Server, request: Request<Body>, has_token: bool) -> Came {
    server.reached.borrow_mut().clear();
    let told = format!("{} {}", request.method(), request.uri());
    let (status, kind, body) = server.local.block_on(&server.runtime, async {
        let answer = server.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap();
        (head.status, head.headers.get(header::CONTENT_TYPE).cloned(), body)
    });
    let reached = server.reached.borrow();
    let is_allowed = |reached: &Reached| has_token || *reached == Reached::ForDevices;
    assert!(reached.iter().all(is_allowed), "{told}: it was done without a token");
    assert!(
        !status.is_server_error() || (status == StatusCode::SERVICE_UNAVAILABLE && !reached.is_empty()),
        "{told}: {status}"
    );
    if !status.is_success() && kind.is_some_and(|kind| kind == "application/json") {
        let error: ApiError = serde_json::from_slice(&body).unwrap();
        assert!(!error.what.is_empty(), "{told}: {status} says nothing");
        assert!(error.help.is_some() || status != StatusCode::UNAUTHORIZED, "{told}: what to do?");
        error.help.iter().for_each(|help| is_told_text(help));
    }
    if reached.is_empty() && !status.is_success() { Came::Refused } else { Came::Taken }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let plain =
        ROUTES.iter().enumerate().map(|(at, (_, _, body))| [&[PLAIN, at as u8, 0], body.as_bytes()].concat());
    // The same, with nothing changed in path and body.
    let edited = (0..ROUTES.len()).map(|at| vec![EDITED, at as u8, 0, 0]);
    plain.chain(edited).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What begins at the door and is refused there shows an engine nothing of what is behind it.
    #[test]
    fn every_call_is_made_as_it_has_to_be() {
        for (seed, at) in seeds().iter().zip((0..ROUTES.len()).cycle()) {
            assert_eq!(run(seed), Came::Taken, "{:?}", ROUTES[at]);
        }
    }

    #[test]
    fn no_call_is_left_out() {
        let is = |path: &str, way: &str| {
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            path.split('/').count() == way.split('/').count()
                && path.split('/').zip(way.split('/')).all(|(has, is)| has == is || is.starts_with('{'))
        };
        for (method, way) in backstay_api::calls() {
            let made = ROUTES.iter().any(|(by, path, _)| *by == method && is(path, way));
            assert!(made, "{method} {way} is not among those that an engine begins with");
        }
    }
}
