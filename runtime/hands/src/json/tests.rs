//! An endpoint that speaks JSON, asked over HTTP.

use std::collections::BTreeMap;

use backstay_model::{Digest, Millis, Name, OUTPUT_BYTES_MAX, Outcome};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    Content, Credential, CredentialSource, Endpoint, GuardedEndpoint, GuardedEndpointError, GuardedEndpoints,
    HttpGrant, Roots,
    server::{Reply, Server},
};

const CANARY: &str = "canary-7Zq/+w==";

fn name() -> Name {
    Name::parse("kubernetes").unwrap()
}

fn endpoint(base: String) -> GuardedEndpoint {
    GuardedEndpoint {
        endpoint: Endpoint { base, headers: BTreeMap::new(), timeout: Millis::from_secs(30) },
        credential: None,
        certificate: None,
        grant: HttpGrant::new(&["GET", "POST", "PUT", "PATCH", "DELETE"], &["/api/prod"]).unwrap(),
        response_bytes_max: GuardedEndpoint::RESPONSE_BYTES,
        content: Content::Json,
    }
}

fn with(endpoint: GuardedEndpoint) -> GuardedEndpoints {
    GuardedEndpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none()).unwrap()
}

async fn ask(endpoints: &GuardedEndpoints, method: &str, path: &str, body: &str) -> Answer {
    endpoints.request(&name(), method, path, body.as_bytes()).await
}

/// What is kept of an answer.
fn said(answer: &Answer) -> (u16, String, Option<Digest>) {
    let Answer::Response { status, body } = answer else { panic!("{answer:?}") };
    (*status, String::from_utf8(body.bytes.clone()).unwrap(), body.whole)
}

fn refusal(answer: &Answer) -> &str {
    let Answer::Refused(why) = answer else { panic!("{answer:?}") };
    why
}

/// It failed in such a way that asking again is no use.
fn failure(answer: &Answer) -> &str {
    let Answer::Failed(Outcome::Failed { transience: Transience::Permanent, why }) = answer else {
        panic!("{answer:?}")
    };
    why
}

#[tokio::test]
async fn what_a_body_is_is_said_with_it() {
    let server = Server::start(|_| Reply::kept("200 OK", b"{}"));
    let endpoints = with(endpoint(server.url("")));
    for (method, body, content_type) in [
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "", None),
        ("POST", r#"{"kind":"Eviction"}"#, Some("application/json")),
        ("PUT", " [1] ", Some("application/json")),
        ("PATCH", r#"[{"op":"test","path":"/a","value":1}]"#, Some("application/json-patch+json")),
        ("PATCH", " \n{\"spec\":{\"paused\":true}}", Some("application/merge-patch+json")),
    ] {
        assert_eq!(said(&ask(&endpoints, method, "/api/prod/x", body).await).0, 200, "{method}");
        let heard = server.heard().pop().unwrap();
        let (head, sent) = heard.split_once("\r\n\r\n").unwrap();
        let header = |name: &str| head.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
        assert_eq!(header("accept: "), ["application/json"], "{head}");
        assert_eq!(header("content-type: "), content_type.into_iter().collect::<Vec<_>>(), "{head}");
        assert_eq!(sent, body);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_or_no_patch_is_refused_before_anything_is_sent() {
    let server = Server::start(|_| Reply::kept("200 OK", b"{}"));
    let endpoints = with(endpoint(server.url("")));
    for (method, body, why) in [
        ("POST", "weight=0", "the body is no JSON: expected value at line 1 column 1"),
        ("PUT", r#"{"a":1"#, "the body is no JSON: EOF while parsing an object at line 1 column 6"),
        ("PATCH", "{} {}", "the body is no JSON: trailing characters at line 1 column 4"),
        ("PATCH", "", "the body is no JSON: EOF while parsing a value at line 1 column 0"),
        ("PATCH", "7", "a patch is an array of changes (RFC 6902) or an object (RFC 7396)"),
        ("PATCH", r#""{}""#, "a patch is an array of changes (RFC 6902) or an object (RFC 7396)"),
    ] {
        assert_eq!(refusal(&ask(&endpoints, method, "/api/prod/x", body).await), why, "{method} {body}");
    }
    assert_eq!(server.connections(), 0);
}

/// 200 objects of 2 KiB: far more than an answer may have, and what is asked for takes 5 KiB.
fn list() -> String {
    let item = |n: usize| {
        let noise = "x".repeat(2000);
        format!(
            r#"{{"metadata": {{"name": "shop-{n}", "managedFields": "{noise}"}}, "spec": {{"replicas": {n}}}}}"#
        )
    };
    let items: Vec<_> = (0..200).map(item).collect();
    format!(r#"{{"kind": "List", "items": [{}]}}"#, items.join(", "))
}

#[tokio::test]
async fn of_a_long_answer_the_fields_are_kept_that_were_asked_for() {
    let server = Server::start(|_| Reply::kept("200 OK", list().as_bytes()));
    let endpoints = with(endpoint(server.url("/base")));
    let path = "/api/prod/replicasets?limit=200#/items/*/metadata/name,/items/*/spec/replicas";
    let items =
        (0..200).map(|n| format!(r#"{{"metadata":{{"name":"shop-{n}"}},"spec":{{"replicas":{n}}}}}"#));
    let fields = format!(r#"{{"items":[{}]}}"#, items.collect::<Vec<_>>().join(","));
    assert!(fields.len() > 2 * OUTPUT_BYTES_MAX);
    assert_eq!(said(&ask(&endpoints, "GET", path, "").await), (200, fields, None));
    // Nobody is sent the mask, and the connection is free for the next look.
    assert!(server.heard()[0].starts_with("GET /base/api/prod/replicasets?limit=200 HTTP/1.1\r\n"));
    assert_eq!(said(&ask(&endpoints, "GET", "/api/prod#/kind", "").await).1, r#"{"kind":"List"}"#);
    assert_eq!(server.connections(), 1);
    let whole = list();
    let tail = whole[whole.len() - OUTPUT_BYTES_MAX..].to_owned();
    let digest = Digest(Sha256::digest(&whole).into());
    assert_eq!(said(&ask(&endpoints, "GET", "/api/prod", "").await), (200, tail, Some(digest)));
}

#[tokio::test]
async fn what_a_change_answers_is_masked_as_well() {
    let server = Server::start(|_| Reply::kept("201 Created", br#"{"metadata":{"name":"x","uid":"7"}}"#));
    let endpoints = with(endpoint(server.url("")));
    for (method, body) in [("POST", "{}"), ("PUT", "{}"), ("PATCH", "[]"), ("DELETE", "")] {
        let answer = ask(&endpoints, method, "/api/prod/x#/metadata/uid", body).await;
        assert_eq!(said(&answer), (201, r#"{"metadata":{"uid":"7"}}"#.into(), None), "{method}");
    }
}

/// `Status` objects are short, and who reads one wants its reason and its message.
#[tokio::test]
async fn what_is_no_success_is_not_masked() {
    let status = r#"{ "kind": "Status", "reason": "Conflict" }"#;
    for (line, body) in [
        ("409 Conflict", status),
        ("404 Not Found", "404 page not found\n"),
        ("302 Found", ""),
        ("500 Internal Server Error", "<html>"),
        ("204 No Content", ""),
    ] {
        let server = Server::start(move |_| {
            Reply::with(line, &format!("Content-Length: {}", body.len()), body.as_bytes())
        });
        let answer = ask(&with(endpoint(server.url(""))), "PATCH", "/api/prod/x#/metadata/uid", "[]").await;
        assert_eq!(said(&answer), (line[..3].parse().unwrap(), body.into(), None));
    }
}

#[tokio::test]
async fn an_answer_that_gives_no_fields_is_a_failure() {
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(FIELDS_BYTES_MAX));
    let fits = format!(r#"{{"a":"{}"}}"#, "x".repeat(FIELDS_BYTES_MAX - 8));
    let bodies = BTreeMap::from([
        ("/html", "<html>".to_owned()),
        ("/empty", String::new()),
        ("/cut", r#"{"a":[1,"#.into()),
        ("/twice", r#"{"a":{"b":1,"b":2}}"#.into()),
        ("/deep", format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000))),
        ("/long", long),
        ("/fits", fits.clone()),
        ("/endless", format!(r#"{{"b":"{}","a":1}}"#, "x".repeat(1 << 20))),
    ]);
    let server = Server::start(move |heard| {
        let path = heard.split(' ').nth(1).unwrap().strip_prefix("/api/prod").unwrap();
        Reply::kept("200 OK", bodies[path].as_bytes())
    });
    let endpoints = with(endpoint(server.url("")));
    for (path, why) in [
        ("/html", "no fields can be taken out of the answer: expected value at line 1 column 1"),
        ("/empty", "no fields can be taken out of the answer: EOF while parsing a value at line 1 column 0"),
        ("/cut", "no fields can be taken out of the answer: EOF while parsing a value at line 1 column 8"),
        (
            "/twice",
            "no fields can be taken out of the answer: a key is twice in one object at line 1 column 19",
        ),
        (
            "/deep",
            "no fields can be taken out of the answer: it is more than 127 levels deep at line 1 column 200007",
        ),
        ("/long", "the wanted fields have 32776 bytes, and at most 32768 are kept"),
        ("/endless", "the answer is longer than 1048576 bytes"),
    ] {
        let answer = ask(&endpoints, "GET", &format!("/api/prod{path}#/a"), "").await;
        assert_eq!(failure(&answer), why);
    }
    assert_eq!(said(&ask(&endpoints, "GET", "/api/prod/fits#/a", "").await), (200, fits, None));
}

/// One line is torn in the middle of the answer, another one goes silent there.
#[tokio::test]
async fn an_answer_that_does_not_come_to_its_end_may_come_another_time() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n";
    let torn = Server::start(move |_| Reply::raw(format!("{head}{{\"a\":").into_bytes()));
    let answer = ask(&with(endpoint(torn.url(""))), "GET", "/api/prod#/a", "").await;
    let Answer::Failed(Outcome::Failed { transience: Transience::Transient, why }) = &answer else {
        panic!("{answer:?}")
    };
    assert!(why.starts_with("the answer broke off: "), "{why}");
    let silent = Server::start(move |_| Reply::raw(format!("{head}{{\"a\":").into_bytes()).then_holds());
    let mut endpoint = endpoint(silent.url(""));
    endpoint.endpoint.timeout = Millis(200);
    let endpoints = with(endpoint);
    for (method, path, body) in [
        ("GET", "/api/prod#/a", ""),
        ("GET", "/api/prod", ""),
        ("PUT", "/api/prod#/a", "{}"),
        ("PUT", "/api/prod", "{}"),
    ] {
        assert_eq!(ask(&endpoints, method, path, body).await, Answer::TimedOut, "{method} {path}");
    }
}

#[tokio::test]
async fn a_mask_that_cannot_be_read_is_refused_and_nothing_is_asked() {
    let server = Server::start(|_| Reply::kept("200 OK", b"{}"));
    let endpoints = with(endpoint(server.url("")));
    for (path, why) in [
        ("/api/prod#", r#"the fields "", from byte 0 of the mask on, can't be read: a path begins with /"#),
        (
            "/api/prod#/a,b",
            r#"the fields "b", from byte 3 of the mask on, can't be read: a path begins with /"#,
        ),
        (
            "/api/prod?x=1#/a~x",
            r#"the fields "/a~x", from byte 0 of the mask on, can't be read: ~ is followed by 0 or 1"#,
        ),
        (
            "/api/prod#/a#/b",
            r#"the fields "/a#/b", from byte 0 of the mask on, can't be read: it has bytes that belong encoded"#,
        ),
    ] {
        assert_eq!(refusal(&ask(&endpoints, "GET", path, "").await), why);
    }
    let fits = format!("/api/prod#/{}", "a".repeat(1024 - 11));
    assert_eq!(said(&ask(&endpoints, "GET", &fits, "").await).1, "{}");
    let long = ask(&endpoints, "GET", &format!("{fits}a"), "").await;
    assert_eq!(refusal(&long), "a path has at most 1024 bytes, with the fields behind it");
    assert_eq!(server.heard().len(), 1);
}

/// What stands behind # can neither widen what is granted nor narrow it.
#[tokio::test]
async fn what_is_granted_is_the_path_without_its_mask() {
    let server = Server::start(|_| Reply::kept("200 OK", br#"{"..":{"a":1}}"#));
    let endpoints = with(endpoint(server.url("")));
    let answer = ask(&endpoints, "GET", "/api/prod#/../a", "").await;
    assert_eq!(said(&answer).1, r#"{"..":{"a":1}}"#);
    for path in
        ["/api#/prod", "/api/prodx#/a", "/#/api/prod", "#/api/prod", "/api/prod/../x#/a", "/x?#/api/prod"]
    {
        refusal(&ask(&endpoints, "GET", path, "").await);
    }
    let plain = with(GuardedEndpoint { content: Content::Any, ..endpoint(server.url("")) });
    let answer = ask(&plain, "GET", "/api/prod#/a", "").await;
    assert_eq!(refusal(&answer), "endpoint kubernetes gives no single fields: it has no json = true");
    assert_eq!(server.heard().len(), 1);
}

/// The server says back in JSON what it was sent, in each way that JSON has for it, and breaks the protocol with it.
#[tokio::test]
async fn a_credential_is_in_no_field_that_is_kept() {
    let escaped: String = CANARY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, CANARY).unwrap();
    let credential = Credential {
        source: CredentialSource::File(path),
        header: "authorization".into(),
        prefix: "Bearer ".into(),
    };
    for way in [CANARY.to_owned(), CANARY.replace('/', r"\/"), escaped] {
        let server = Server::start(move |heard| {
            assert!(heard.contains(&format!("authorization: Bearer {CANARY}\r\n")));
            Reply::kept(
                "200 OK",
                format!(r#"{{"a":{{"{way}":["Bearer {way}", 1]}},"b":"{way}"}}"#).as_bytes(),
            )
        });
        let endpoints =
            with(GuardedEndpoint { credential: Some(credential.clone()), ..endpoint(server.url("")) });
        let answer = ask(&endpoints, "GET", "/api/prod#/a", "").await;
        assert_eq!(said(&answer).1, r#"{"a":{"[credential]":["Bearer [credential]",1]}}"#);
    }
    let server = Server::start(|_| Reply::kept("200 OK", format!(r#"{{"a":{CANARY}}}"#).as_bytes()));
    let endpoints = with(GuardedEndpoint { credential: Some(credential), ..endpoint(server.url("")) });
    let answer = ask(&endpoints, "GET", "/api/prod#/a", "").await;
    assert!(!failure(&answer).contains("canary"), "{answer:?}");
}

#[test]
fn what_json_says_anyway_is_not_configured_beside_it() {
    let refused = |endpoint| {
        GuardedEndpoints::new(BTreeMap::from([(name(), endpoint)]), &Roots::none()).map(drop).unwrap_err().1
    };
    let good = || endpoint("http://api".into());
    for header in ["Accept", "content-type"] {
        let mut twice = good();
        twice.endpoint.headers.insert(header.into(), "x".into());
        assert_eq!(refused(twice), GuardedEndpointError::Json { header: header.into() });
        let credential = Credential {
            source: CredentialSource::Environment("TOKEN".into()),
            header: header.into(),
            prefix: String::new(),
        };
        let error = refused(GuardedEndpoint { credential: Some(credential), ..good() });
        assert!(matches!(error, GuardedEndpointError::Json { .. }) && error.help().is_some());
    }
}
