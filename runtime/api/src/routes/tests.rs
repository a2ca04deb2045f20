//! The routes, asked in this process: no socket, no server behind them.

mod browsers;
mod bytes;
mod paths;
mod roles;
mod sizes;
mod uploads;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{Request, header},
};
use http_body::{Body as HttpBody, Frame};

use super::*;

const TOKEN: &str = "0123456789abcdef";

/// A call that would be right, for one who may: every `{name}` of a path has something that can stand there.
fn filled(path: &str) -> String {
    let digest = "0".repeat(64);
    let operation = if path.contains("{cohort}") { "rollback" } else { "freeze" };
    path.replace("{digest}", &digest)
        .replace("{fingerprint}", &digest)
        .replace("{cohort}", "canary")
        .replace("{device}", "pump-7")
        .replace("{service}", "checkout")
        .replace("{id}", "3")
        .replace("{operation}", operation)
}

fn desk() -> (Router, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let shelf = |name: &str| Shelf::open(dir.path().join(name)).unwrap();
    let (calls, _) = Calls::new(1);
    let tokens = Tokens::single("0123456789abcdef").unwrap();
    (routes(calls, tokens, shelf("artifacts"), shelf("statements")), dir)
}

/// A body of which a piece comes each so often, and then its end, or nothing for ever.
struct Pieces {
    wait: Pin<Box<tokio::time::Sleep>>,
    every: Duration,
    left: usize,
    ends: bool,
}

impl Pieces {
    fn new(every: u64, left: usize, ends: bool) -> Self {
        let every = Duration::from_secs(every);
        Self { wait: Box::pin(tokio::time::sleep(every)), every, left, ends }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return if self.ends { Poll::Ready(None) } else { Poll::Pending };
        }
        std::task::ready!(self.wait.as_mut().poll(context));
        self.wait = Box::pin(tokio::time::sleep(self.every));
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 1000])))))
    }
}

async fn ask(method: &str, path: &str, token: Option<&str>, body: &str) -> (StatusCode, String) {
    let (router, _dir) = desk();
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = router.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn what_is_uploaded_is_what_its_name_says() {
    let path = format!("/v1/artifacts/{}", "0".repeat(64));
    let (status, body) = ask("PUT", &path, Some("0123456789abcdef"), "something else").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told() {
    let (status, body) = ask("POST", "/v1/rollouts", Some("0123456789abcdef"), "{\"cohort\": 5}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("the body can't be read"), "{body}");
}

/// What a pipeline measured is looked at before anybody is asked, and so is its size.
#[tokio::test]
async fn a_question_with_metrics_that_are_none_is_told_where() {
    let (path, token) = ("/v1/targets/checkout/verdict", Some("0123456789abcdef"));
    let question = |metrics: &str| {
        format!("{{\"build\": \"1812\", \"nonce\": \"{}\", \"metrics\": {metrics}}}", "07".repeat(16))
    };
    for (metrics, why) in [
        ("{\"a\": 1, \"a\": 2}", "a is there twice at line 1 column"),
        ("{\"a\": NaN}", "expected value at line 1 column"),
        ("{\"a\": \"1\"}", "expected a finite number at line 1 column"),
    ] {
        let (status, told) = ask("POST", path, token, &question(metrics)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
        assert!(told.contains(why), "{told}");
    }
    let (status, _) =
        ask("POST", path, token, &question(&" ".repeat(backstay_signals::Metrics::BYTES_MAX + 1024))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, told) = ask("POST", path, token, "{\"build\": \"1812\", \"nonce\": \"07\"}").await;
    assert_eq!((status, told.contains("32 lower-case")), (StatusCode::BAD_REQUEST, true), "{told}");
    let (status, _) = ask("POST", "/v1/targets/..%2Ffleet/verdict", token, &question("{}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // A good one reaches whoever holds the state; here nobody does.
    let (status, told) = ask("POST", path, token, &question("{\"a\": 1}")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
}

#[tokio::test]
async fn nothing_is_lifted_without_a_reason() {
    let lift = format!("/v1/quarantine/{}/lift", "0".repeat(64));
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(161));
    for path in [lift.as_str(), "/v1/breakers/canary/close"] {
        for body in ["{}", "{\"reason\": \"\"}", "{\"reason\": \" \\n \"}", "{\"reason\": \"a\\nb\"}", &long]
        {
            let (status, told) = ask("POST", path, Some("0123456789abcdef"), body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {told}");
        }
    }
}
