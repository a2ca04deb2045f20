//! Requests as bytes, over a connection that is kept: where one ends and the next begins has to be seen in one place by everybody, or what
//! stands before the server lets something through that it never saw.
//!
//! The parser and the bounds of a head are those of the server's door. Not here: the door's own times and places.

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// The statuses of all answers to what was said over one connection, until it was closed.
async fn answers(said: &[u8]) -> Vec<u16> {
    let (router, _dir) = desk();
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let served = http1::Builder::new()
        .half_close(true)
        .max_buf_size(16 * 1024)
        .max_headers(64)
        .serve_connection(TokioIo::new(far), TowerToHyperService::new(router));
    let asked = async {
        near.write_all(said).await.unwrap();
        // Nobody says more, and what is under way is answered.
        near.shutdown().await.unwrap();
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.unwrap();
        told
    };
    let (_, told) = tokio::join!(served, asked);
    let told = String::from_utf8(told).unwrap();
    let status = |answer: &str| answer.get(..3).and_then(|status| status.parse().ok());
    told.split("HTTP/1.1 ").skip(1).map(|answer| status(answer).unwrap()).collect()
}

const SECOND: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

/// That a second request is answered at all, where there is one.
#[tokio::test]
async fn two_requests_have_two_answers() {
    assert_eq!(answers(format!("{SECOND}{SECOND}").as_bytes()).await, [200, 200]);
    let with_body = "POST /v1/rollouts HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    // Its body was not read, so nothing behind it is taken for a request.
    assert_eq!(answers(with_body.as_bytes()).await, [401]);
    let open = "POST /v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(answers(format!("{open}{SECOND}").as_bytes()).await, [503, 200]);
}

/// Two ways to tell how long a body is, or one that can be read in two ways: refused, or the last of its connection.
#[tokio::test]
async fn a_request_ends_in_one_place() {
    let chunked = format!("0\r\n\r\n{SECOND}");
    for (fields, body) in [
        (format!("content-length: {}\r\ntransfer-encoding: chunked", chunked.len()), chunked.clone()),
        (format!("transfer-encoding: chunked\r\ncontent-length: {}", chunked.len()), chunked.clone()),
        ("transfer-encoding: chunked".into(), chunked.clone()),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked".into(), chunked.clone()),
        ("transfer-encoding: chunked, identity".into(), chunked.clone()),
        ("transfer-encoding: xchunked".into(), chunked.clone()),
        ("transfer-encoding : chunked".into(), chunked.clone()),
        ("transfer-encoding: \u{b}chunked".into(), chunked.clone()),
        ("content-length: 0\r\ncontent-length: 5".into(), format!("12345{SECOND}")),
        ("content-length: 5, 6".into(), format!("12345{SECOND}")),
        ("content-length: +5".into(), format!("12345{SECOND}")),
        ("content-length: -1".into(), SECOND.into()),
        ("content-length: 0x5".into(), format!("12345{SECOND}")),
        ("content-length: 18446744073709551616".into(), SECOND.into()),
        ("content-length : 5".into(), format!("12345{SECOND}")),
        ("x: y\r\n content-length: 5".into(), format!("12345{SECOND}")),
        ("transfer-encoding: chunked".into(), format!("FFFFFFFFFFFFFFFFF\r\n{SECOND}")),
        ("transfer-encoding: chunked".into(), format!("-1\r\n{SECOND}")),
        ("transfer-encoding: chunked".into(), format!("5;{}\r\n12345\r\n{chunked}", "a".repeat(32 << 10))),
    ] {
        let said = format!("POST /v1/enrol HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n{body}");
        let told = answers(said.as_bytes()).await;
        // The second request is the attacker's; it has an answer only if somebody saw two where others see one.
        assert!(told.len() <= 1 && !told.contains(&200), "{fields:?}: {told:?}");
    }
    let old = format!("POST /v1/enrol HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunked}");
    assert_eq!(answers(old.as_bytes()).await, [400]);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    for said in [
        "GET /healthz\r\n\r\n".into(),
        "GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "GET /health z HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        "GET /healthz HTTP/1.1\r\nhost: x\0y\r\n\r\n".into(),
        "GET /healthz HTTP/1.1\r\nx\ry: z\r\n\r\n".into(),
        "GET /healthz HTTP/1.1\r\n: z\r\n\r\n".into(),
        "GET /healthz\0 HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}".to_owned() + SECOND,
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(17 << 10)),
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(17 << 10)),
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(64)),
    ] {
        let told = answers(said.as_bytes()).await;
        assert!(
            told.iter().all(|status| (400..=499).contains(status)) && told.len() <= 1,
            "{said:?}: {told:?}"
        );
    }
}

/// Who wants to send much asks first, and without a token isn't told to go on.
#[tokio::test]
async fn nobody_is_told_to_go_on_without_a_token() {
    let ask = |token: &str| {
        format!(
            "PUT /v1/artifacts/{} HTTP/1.1\r\nhost: x\r\n{token}expect: 100-continue\r\ncontent-length: 9\r\n\r\nsomething",
            "0".repeat(64)
        )
    };
    assert_eq!(answers(ask("").as_bytes()).await, [401]);
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(answers(ask(&token).as_bytes()).await, [100, 422]);
}

/// A whole address in the place of a path leads to the same path, and takes the same token.
#[tokio::test]
async fn a_whole_address_is_no_way_round() {
    for at in ["http://x/v1/fleet", "http://evil.example/v1/fleet", "http://user:pass@x/v1/fleet"] {
        let said = format!("GET {at} HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(answers(said.as_bytes()).await, [401], "{at}");
    }
}
