//! Who may make which call: every route that there is, with no token, a wrong one, and one of every role, and the table on the
//! page about security that all of it is held against.

use std::{
    fmt::Write as _,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::http::Method;
use http_body::{Body as HttpBody, Frame};

use super::*;

/// Who calls, as the table has them.
const CALLERS: [(&str, Option<&str>); 6] = [
    ("nobody", None),
    ("a wrong token", Some("aaaaaaaaaaaaaaaX")),
    ("viewer", Some("vvvvvvvvvvvvvvvv")),
    ("ci", Some("cccccccccccccccc")),
    ("operator", Some("oooooooooooooooo")),
    ("admin", Some("aaaaaaaaaaaaaaaa")),
];

const FILE: &str = "vera viewer vvvvvvvvvvvvvvvv\njenkins ci cccccccccccccccc\nolga operator oooooooooooooooo\n\
                    ann admin aaaaaaaaaaaaaaaa\n";

/// A body that makes a call a good one, where it takes one.
fn body(method: &Method, path: &str) -> &'static str {
    match (method.as_str(), path) {
        ("POST", "/v1/rollouts") => r#"{"cohort":"canary","version":"1.5.0"}"#,
        ("POST", "/v1/devices/{device}/words") => r#"{"words":["Hold"]}"#,
        ("POST", "/v1/tokens" | "/v1/enrolments/{fingerprint}") => {
            r#"{"device":"pump-7","cohort":"canary","labels":[]}"#
        }
        ("POST", "/v1/targets/{service}/deployments") => r#"{"version":"1.5.0"}"#,
        ("POST", "/v1/targets/{service}/verdict") => {
            r#"{"build":"1812","nonce":"07070707070707070707070707070707"}"#
        }
        ("POST", "/v1/incidents/{id}/mark") => r#"{"label":"true-positive","reason":"seen on the graph"}"#,
        ("POST", _) => r#"{"reason":"it is slow"}"#,
        ("PUT", _) => EMPTY_OF_NOTHING,
        _ => "",
    }
}

/// What is uploaded: not what its name says, so nothing is kept. That it is looked at shows that it got in.
const EMPTY_OF_NOTHING: &str = "something";

/// A query that makes a call a good one, where it takes one.
fn query(path: &str) -> &'static str {
    if path.ends_with("/plan") { "?action=rollback" } else { "" }
}

/// A body that says whether anybody read of it.
struct Watched(Option<&'static str>, Arc<AtomicBool>);

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.1.store(true, Ordering::Relaxed);
        Poll::Ready(self.0.take().map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}

/// What came of one call.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    status: StatusCode,
    /// Whether it came as far as whoever holds the state.
    reached: bool,
    /// Whether anybody read of its body.
    read: bool,
    told: String,
}

/// A router, and a server that hears every call and answers none.
struct House {
    router: Router,
    heard: Arc<Mutex<usize>>,
    _dir: tempfile::TempDir,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let shelf = |name: &str| Shelf::open(dir.path().join(name)).unwrap();
    let (calls, mut waiting) = Calls::new(1);
    let heard = Arc::new(Mutex::new(0));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        while waiting.recv().await.is_some() {
            *hears.lock().unwrap() += 1;
        }
    });
    let tokens = Tokens::read(FILE).unwrap();
    let router = routes(calls, tokens, shelf("artifacts"), shelf("statements"));
    House { router, heard, _dir: dir }
}

impl House {
    async fn ask(&self, method: &Method, at: &str, token: Option<&str>, body: &'static str) -> Came {
        let mut request = Request::builder().method(method).uri(at);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let read = Arc::new(AtomicBool::new(false));
        let watched = Body::new(Watched(Some(body), Arc::clone(&read)));
        let before = *self.heard.lock().unwrap();
        let response = self.router.clone().oneshot(request.body(watched).unwrap()).await.unwrap();
        let status = response.status();
        let told = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        Came {
            status,
            reached: *self.heard.lock().unwrap() > before,
            read: read.load(Ordering::Relaxed),
            told: String::from_utf8(told.to_vec()).unwrap(),
        }
    }
}

/// Whether a good call got in. Those that nobody has to be asked for are known by their answers.
fn is_let_in(route: &Route, came: &Came) -> bool {
    match (&route.method, route.path) {
        (_, "/healthz") => came.told == "ok",
        // There is nothing of that name, and what was uploaded isn't what its name says.
        (&Method::GET, "/v1/artifacts/{digest}" | "/v1/releases/{digest}") => {
            came.status == StatusCode::NOT_FOUND
        }
        (&Method::PUT, "/v1/artifacts/{digest}") => came.status == StatusCode::UNPROCESSABLE_ENTITY,
        _ => came.reached && came.status == StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The table, as it is found by asking.
async fn found() -> String {
    let house = house();
    let mut table = String::from("| call |");
    CALLERS.iter().for_each(|(caller, _)| write!(table, " {caller} |").unwrap());
    table += "\n|---|---|---|---|---|---|---|\n";
    for route in all() {
        write!(table, "| `{} {}` |", route.method, route.path).unwrap();
        for (caller, token) in CALLERS {
            let at = format!("{}{}", filled(route.path), query(route.path));
            let came = house.ask(&route.method, &at, token, body(&route.method, route.path)).await;
            let told = format!("{} {} by {caller}: {came:?}", route.method, route.path);
            if is_let_in(&route, &came) {
                table += " yes |";
                continue;
            }
            // Who is kept out learns nothing, and nothing of what they brought is looked at.
            assert!(!came.reached && !came.read, "{told}");
            let knows = CALLERS[..2].iter().all(|(stranger, _)| *stranger != caller);
            let expected = if knows { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
            assert_eq!(came.status, expected, "{told}");
            assert!(serde_json::from_str::<ApiError>(&came.told).unwrap().help.is_some(), "{told}");
            table += " no |";
        }
        table += "\n";
    }
    table
}

/// What the page says, between its heading and the first line after the table.
fn said() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md");
    let page = std::fs::read_to_string(page).unwrap();
    let from = page.find("| call |").expect("docs/security.md has the table of calls");
    page[from..]
        .lines()
        .take_while(|line| line.starts_with('|'))
        .fold(String::new(), |table, line| table + line + "\n")
}

#[tokio::test]
async fn every_call_takes_the_role_that_the_page_says() {
    let found = found().await;
    println!("{found}");
    let said = said();
    println!("summary: {} calls by {} callers are as docs/security.md says", all().len(), CALLERS.len());
    assert_eq!(
        found, said,
        "docs/security.md says otherwise; if the new table is what is meant, put it there"
    );
}

/// HEAD is a GET without its answer: it takes the same. No other method does anything, whoever asks.
#[tokio::test]
async fn no_other_method_is_a_way_round() {
    let house = house();
    let routes = all();
    let admin = Some("aaaaaaaaaaaaaaaa");
    for route in &routes {
        let at = format!("{}{}", filled(route.path), query(route.path));
        if route.method == Method::GET && route.access != Access::Anybody {
            let came = house.ask(&Method::HEAD, &at, None, "").await;
            assert_eq!((came.status, came.reached), (StatusCode::UNAUTHORIZED, false), "HEAD {at}");
        }
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"]
        {
            let method: Method = method.parse().unwrap();
            // `filled` gives an operation a name that another route may have for its own.
            if routes.iter().any(|other| other.method == method && matches(other.path, &filled(route.path))) {
                continue;
            }
            let came = house.ask(&method, &at, admin, "").await;
            assert_eq!(came.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {at}");
            assert!(!came.reached && !came.read && came.told.is_empty(), "{method} {at}: {came:?}");
        }
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    pattern.clone().count() == path.clone().count()
        && pattern.zip(path).all(|(part, name)| part.starts_with('{') || part == name)
}

/// Whether there is such a target, device or release is nobody's business who shows no token.
#[tokio::test]
async fn a_stranger_hears_the_same_whatever_they_ask_for() {
    let house = house();
    for route in all().iter().filter(|route| route.access != Access::Anybody) {
        let right = house.ask(&route.method, &filled(route.path), None, "").await;
        for wrong in ["..%2F..%2Fetc%2Fpasswd", "%00", "%ff", "A%20B"] {
            let at = route.path.split('/').map(|part| if part.starts_with('{') { wrong } else { part });
            let at = at.collect::<Vec<_>>().join("/");
            assert_eq!(house.ask(&route.method, &at, None, "{").await, right, "{at}");
        }
    }
}

/// How a token is shown: one, as a bearer, as it is.
#[tokio::test]
async fn a_token_is_shown_in_one_way() {
    let house = house();
    let ask = async |headers: &[(&str, &str)], at: &str| {
        let mut request = Request::get(at);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        house.router.clone().oneshot(request).await.unwrap().status()
    };
    let good = ("authorization", "Bearer vvvvvvvvvvvvvvvv");
    assert_eq!(ask(&[good], "/v1/fleet").await, StatusCode::SERVICE_UNAVAILABLE);
    for headers in [
        &[("authorization", "vvvvvvvvvvvvvvvv")][..],
        &[("authorization", "Basic dnZ2dnZ2dnZ2dnZ2dnZ2dg==")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer  vvvvvvvvvvvvvvvv")],
        &[("authorization", "Bearer vvvvvvvvvvvvvvvv ")],
        &[("authorization", "Bearer vvvvvvvvvvvvvvv")],
        &[("authorization", "Bearer vvvvvvvvvvvvvvvvv")],
        &[("authorization", "Bearer VVVVVVVVVVVVVVVV")],
        &[("authorization", "Bearer vvvvvvvvvvvvvvvv, Bearer aaaaaaaaaaaaaaaa")],
        &[good, ("authorization", "Bearer aaaaaaaaaaaaaaaa")],
        &[good, good],
        &[("proxy-authorization", good.1)],
        &[("cookie", "token=vvvvvvvvvvvvvvvv")],
        &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-user", "ann")],
    ] {
        assert_eq!(ask(headers, "/v1/fleet").await, StatusCode::UNAUTHORIZED, "{headers:?}");
    }
    for at in ["/v1/fleet?access_token=vvvvvvvvvvvvvvvv", "/v1/fleet?token=vvvvvvvvvvvvvvvv"] {
        assert_eq!(ask(&[], at).await, StatusCode::UNAUTHORIZED, "{at}");
    }
}
