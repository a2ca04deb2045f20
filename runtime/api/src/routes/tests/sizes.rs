//! How much a body may be, route by route, and how much of one is read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::Method;
use backstay_signals::Metrics;

use super::*;
use crate::route::CALL_TIMEOUT;

/// A body of far more than any bound but an artifact's, and counts what was taken of it.
struct Endless(Arc<AtomicUsize>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        const PIECE: &[u8] = &[b' '; 16 << 10];
        if self.0.fetch_add(PIECE.len(), Ordering::Relaxed) > 16 << 20 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}

/// The bounds that the page about the server names, and no route with another.
#[test]
fn every_route_has_a_bound_for_its_body() {
    for route in all() {
        let bound = match route.path {
            "/v1/artifacts/{digest}" if route.method == Method::PUT => 4 << 30,
            "/v1/targets/{service}/metrics" | "/v1/targets/{service}/verdict" => Metrics::BYTES_MAX + 1024,
            "/v1/alerts" => 1 << 20,
            _ => 256 << 10,
        };
        assert_eq!(route.body_max, bound, "{} {}", route.method, route.path);
    }
}

/// Without a length, and without an end in sight: it is read as far as the bound, and then refused. Where no body is expected, none is
/// read.
#[tokio::test]
async fn a_body_without_end_is_read_as_far_as_its_bound() {
    let (router, _dir) = desk();
    let mut refused = 0;
    for route in all().iter().filter(|route| route.method == Method::POST) {
        let taken = Arc::new(AtomicUsize::new(0));
        let request = Request::post(filled(route.path))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Body::new(Endless(Arc::clone(&taken))))
            .unwrap();
        let status = router.clone().oneshot(request).await.unwrap().status();
        let taken = taken.load(Ordering::Relaxed);
        if taken > 0 {
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{}", route.path);
            assert!(taken <= route.body_max + (32 << 10), "{}: {taken}", route.path);
            refused += 1;
        }
    }
    assert!(refused >= 14, "only {refused} routes read a body");
}

/// A body that never comes to its end, and never quite stops either.
#[tokio::test(start_paused = true)]
async fn a_call_ends_however_slowly_its_body_comes() {
    let (router, _dir) = desk();
    for (method, path, token) in [("POST", "/v1/enrol", None), ("POST", "/v1/rollouts", Some(TOKEN))] {
        let mut request = Request::builder().method(method).uri(filled(path));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = Body::new(Pieces::new(5, 1000, false));
        let began = tokio::time::Instant::now();
        let response = router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT, "{method} {path}");
        assert_eq!(began.elapsed(), CALL_TIMEOUT, "{method} {path}");
    }
}
