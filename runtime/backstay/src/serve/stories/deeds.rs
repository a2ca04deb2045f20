//! Whose name a record has: every call that changes something, by the real routes and tokens, is recorded as the deed of who
//! called.
//!
//! Not here: who may make which call (the API's own tests), and what each of them does (the other stories).

use std::{collections::BTreeSet, pin::pin};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use backstay_api::{Call, Calls, Shelf, Tokens, deeds, routes};
use backstay_model::{Digest, Event, Hardware, TargetStep};
use backstay_trust::{EnrolRequest, SecretKey};
use sha2::{Digest as _, Sha256};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tower::ServiceExt as _;

use super::{plugins, three_join, trust};
use crate::serve::{
    targets::{target_event, world::Shop},
    world::{NEW, digest, fleet, keyring, statement},
};

const NEXT: &str = "3.0.0";
/// Who calls. Nobody else in the story has this name.
const CLEO: &str = "cleo";
const TOKENS: &str = "olga admin oooooooooooooooo\ncleo admin cccccccccccccccc\n";

/// A server of the stories behind the routes of the API.
struct House {
    shop: Shop,
    router: Router,
    calls: mpsc::Receiver<Call>,
    runtime: Runtime,
    /// The calls that were made, as the list of routes has them.
    made: BTreeSet<(String, &'static str)>,
}

impl House {
    fn opens() -> Self {
        let mut shop = Shop::opens();
        three_join(&mut shop.world);
        let shelf = |name: &str| Shelf::open(shop.world.state().join(name)).unwrap();
        let (ways, calls) = Calls::new(1);
        let tokens = Tokens::read(TOKENS).unwrap();
        let router = routes(ways, tokens, shelf("artifacts"), shelf("statements"));
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { shop, router, calls, runtime, made: BTreeSet::new() }
    }

    /// Makes a call. Gives what came of it, and what was recorded meanwhile.
    fn asks(&mut self, method: &Method, at: &str, body: Vec<u8>) -> (StatusCode, String, Vec<Event>) {
        let before = self.shop.world.written.borrow().len();
        let request = Request::builder().method(method).uri(at);
        let request = request.header(header::AUTHORIZATION, "Bearer cccccccccccccccc");
        let request = request.body(Body::from(body)).unwrap();
        let Self { shop, router, calls, runtime, .. } = self;
        let (status, told) = runtime.block_on(async {
            let mut answer = pin!(router.clone().oneshot(request));
            let answer = loop {
                tokio::select! {
                    answer = &mut answer => break answer.unwrap(),
                    Some(call) = calls.recv() => shop.world.does(|server, now| server.call(now, call)),
                }
            };
            let status = answer.status();
            (status, axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap())
        });
        let events = shop.world.written.borrow()[before..].to_vec();
        shop.takes();
        shop.does_all();
        (status, String::from_utf8_lossy(&told).into_owned(), events)
    }

    /// What is recorded while a good call is made.
    fn calls(&mut self, method: &Method, at: &str, body: impl Into<Vec<u8>>) -> Vec<Event> {
        let (status, told, events) = self.asks(method, at, body.into());
        assert!(status.is_success(), "{method} {at}: {status} {told}");
        events
    }

    /// What is refused is no deed.
    fn is_refused(&mut self, method: &Method, at: &str, body: &str) {
        let (status, told, events) = self.asks(method, at, body.into());
        assert!(status.is_client_error(), "{method} {at}: {status} {told}");
        assert_eq!(events, [], "{method} {at}");
    }

    /// Makes a call of that route. What was recorded of it has its caller's name, and nobody else's.
    fn does(&mut self, method: Method, route: &'static str, filled: &[&str], body: impl Into<Vec<u8>>) {
        let mut parts = route.split('/').map(str::to_owned).collect::<Vec<_>>();
        let gaps = parts.iter_mut().filter(|part| part.starts_with('{'));
        let count = gaps.zip(filled).map(|(gap, with)| *gap = (*with).to_owned()).count();
        assert_eq!(count, filled.len(), "{route}");
        let at = parts.join("/");
        let events = self.calls(&method, &at, body);
        let names: Vec<String> = events.iter().filter_map(name).collect();
        assert!(!names.is_empty(), "{method} {at} is recorded without a name: {events:#?}");
        assert!(names.iter().all(|name| name == CLEO), "{method} {at} is recorded as a deed of {names:?}");
        self.made.insert((method.to_string(), route));
    }

    fn posts(&mut self, route: &'static str, filled: &[&str], body: impl Into<Vec<u8>>) {
        self.does(Method::POST, route, filled, body);
    }
}

/// Whose deed a record tells, if it tells one.
fn name(event: &Event) -> Option<String> {
    if let Event::Override { who, .. } = event {
        return Some(who.to_string());
    }
    let TargetStep::Override { who, .. } = target_event(event)?.step else { return None };
    Some(who.to_string())
}

/// A new call that changes something has to be made here, too: it is one unless its route says otherwise.
#[test]
fn whoever_changes_something_is_recorded_by_name() {
    let mut house = House::opens();
    let because = r#"{"reason": "looked into it"}"#;

    house.does(Method::PUT, "/v1/artifacts/{digest}", &[&digest(NEXT).to_string()], NEXT);
    house.posts("/v1/releases", &[], statement(NEXT));
    let bundle = plugins::bundle("1.1", 1);
    let uploaded = Digest(Sha256::digest(&bundle).into()).to_string();
    house.does(Method::PUT, "/v1/artifacts/{digest}", &[&uploaded], bundle);
    house.posts("/v1/plugins/{digest}", &[&uploaded], "");

    let operate = "/v1/cohorts/{cohort}/{operation}";
    let start = format!(r#"{{"cohort": "canary", "version": "{NEW}"}}"#);
    house.posts("/v1/rollouts", &[], start.as_str());
    for operation in ["pause", "resume", "rollback", "thaw"] {
        house.posts(operate, &["canary", operation], "");
    }
    house.posts("/v1/quarantine/{digest}/lift", &[&digest(NEW).to_string()], because);
    house.posts("/v1/breakers/{cohort}/close", &["canary"], because);
    house.posts("/v1/rollouts", &[], start.as_str());
    house.posts(operate, &["canary", "abort"], "");
    // What is kept out of the server itself is lifted in another way.
    house.shop.world.fails(Digest([7; 32]));
    house.posts("/v1/quarantine/{digest}/lift", &[&Digest([7; 32]).to_string()], because);

    house.posts("/v1/devices/{device}/words", &["pump-1"], r#"{"words": ["Hold"]}"#);
    let enrolled = |device| format!(r#"{{"device": "{device}", "cohort": "canary", "labels": []}}"#);
    house.posts("/v1/tokens", &[], enrolled("pump-8"));
    let (stranger, hardware) = (SecretKey::from_random(&[50; 32]), Hardware::parse("pump").unwrap());
    let request = EnrolRequest::sign(&stranger, fleet(), hardware, 1, None).unwrap();
    let waits = house.calls(&Method::POST, "/v1/enrol", request);
    assert_eq!(waits, [], "a device that asks is nobody's deed");
    let fingerprint = house.shop.world.calls(Call::Pending).unwrap()[0].fingerprint.to_string();
    house.posts("/v1/enrolments/{fingerprint}", &[&fingerprint], enrolled("pump-9"));

    house.shop.has_a_canary();
    let wider = r#"{"version": "2.0", "stage": 300}"#;
    house.posts("/v1/targets/{service}/deployments", &["shop"], wider);
    assert_eq!(
        house.calls(&Method::POST, "/v1/targets/shop/deployments", wider),
        [],
        "told twice is told once"
    );
    let act = "/v1/targets/{service}/{operation}";
    let heal = r#"{"reason": "it is slow", "playbook": "restart"}"#;
    for (operation, with) in [("freeze", because), ("thaw", because), ("heal", heal), ("rollback", because)] {
        house.posts(act, &["shop", operation], with);
    }
    let bad = format!(r#"{{"reason": "built anew", "digest": "{}"}}"#, digest("2.0"));
    for (operation, with) in [("lift", bad.as_str()), ("close-breaker", because)] {
        house.posts(act, &["shop", operation], with);
    }
    let mark = r#"{"label": "false-positive", "reason": "a load test"}"#;
    house.posts("/v1/incidents/{id}/mark", &["1"], mark);

    // Last: from here on another director is trusted.
    let (_, link) = trust::next(&keyring(), 30);
    house.posts("/v1/trust", &[], link);

    let all: BTreeSet<_> = deeds().into_iter().map(|(method, path)| (method.to_string(), path)).collect();
    assert_eq!(house.made, all, "all calls that change something were made");
    println!("summary: {} calls that change something are recorded with their caller's name", all.len());
}

/// An artifact that isn't what its name says is kept by nobody, and so it is nobody's deed.
#[test]
fn what_was_refused_is_no_deed() {
    let mut house = House::opens();
    house.is_refused(&Method::PUT, &format!("/v1/artifacts/{}", digest(NEXT)), "something else");
    house.is_refused(&Method::POST, "/v1/releases", "no statement");
    house.is_refused(&Method::POST, "/v1/cohorts/canary/resume", "");
    house.is_refused(&Method::POST, "/v1/cohorts/nowhere/pause", "");
    house.is_refused(&Method::POST, "/v1/devices/pump-7/words", r#"{"words": ["Hold"]}"#);
    house.is_refused(&Method::POST, "/v1/trust", "no link");
}
