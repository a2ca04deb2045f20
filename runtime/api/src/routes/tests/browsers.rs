//! A browser that a page of another site leads here: what it can send by itself changes nothing.

use super::*;

/// Asks with these headers, as a browser would that is at `https://backstay.example:8440` for everybody else.
async fn ask_as(method: &str, at: &str, headers: &[(&str, &str)]) -> Response {
    let (router, _dir) = desk();
    let mut request = Request::builder().method(method).uri(at).header("host", "backstay.example:8440");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.oneshot(request.body(Body::from("{\"reason\":\"it is slow\"}")).unwrap()).await.unwrap()
}

/// What a form can send: three kinds of body, cookies, what the browser remembers of a `Basic` prompt, and fields that are called
/// like a token. None of it is a token.
#[tokio::test]
async fn a_form_changes_nothing() {
    for route in all().iter().filter(|route| route.access != Access::Anybody) {
        for kind in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"] {
            let at = format!("{}?access_token={TOKEN}&token={TOKEN}", filled(route.path));
            let headers = [
                ("content-type", kind),
                ("cookie", "token=0123456789abcdef; session=0123456789abcdef"),
                ("authorization", "Basic b3BlcmF0b3I6MDEyMzQ1Njc4OWFiY2RlZg=="),
            ];
            let response = ask_as(route.method.as_str(), &at, &headers).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{} {at}", route.method);
            // No prompt for a password that the browser would then remember and send by itself.
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
            assert!(!response.headers().contains_key(header::SET_COOKIE));
        }
    }
}

/// What a browser says of where it comes from, for what takes no token and for what does.
#[tokio::test]
async fn another_sites_page_is_refused_even_with_the_token() {
    let token = ("authorization", "Bearer 0123456789abcdef");
    for (headers, is_refused) in [
        (&[][..], false),
        (&[("origin", "https://backstay.example:8440")], false),
        (&[("origin", "https://Backstay.Example:8440"), ("sec-fetch-site", "same-origin")], false),
        (&[("sec-fetch-site", "none")], false),
        (&[("origin", "https://evil.example")], true),
        (&[("origin", "https://backstay.example")], true),
        (&[("origin", "https://backstay.example:8440.evil.example")], true),
        (&[("origin", "null")], true),
        (&[("origin", "")], true),
        (&[("sec-fetch-site", "cross-site")], true),
        (&[("sec-fetch-site", "same-site")], true),
        (&[("origin", "https://backstay.example:8440"), ("origin", "https://evil.example")], true),
        (&[("origin", "https://backstay.example:8440"), ("sec-fetch-site", "cross-site")], true),
    ] {
        for route in all().iter().filter(|route| route.method != Method::GET) {
            let headers = [headers, &[token]].concat();
            let status = ask_as(route.method.as_str(), &filled(route.path), &headers).await.status();
            let told = format!("{} {} {headers:?}: {status}", route.method, route.path);
            assert_eq!(status == StatusCode::FORBIDDEN, is_refused, "{told}");
        }
    }
    // What only looks is answered: the page that asked doesn't get to see it, because nothing here lets it.
    let response = ask_as("GET", "/healthz", &[("origin", "https://evil.example")]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control-")));
}

/// A page that wants to send a token has the browser ask first. Nobody says yes.
#[tokio::test]
async fn no_page_is_allowed_to_send_a_token() {
    for route in all() {
        let headers = [
            ("origin", "https://evil.example"),
            ("access-control-request-method", route.method.as_str()),
            ("access-control-request-headers", "authorization"),
        ];
        let response = ask_as("OPTIONS", &filled(route.path), &headers).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{}", route.path);
        assert!(response.headers().keys().all(|name| !name.as_str().starts_with("access-control-")));
    }
}

/// No answer is taken for something that a browser would run, and what took a token to see is not kept on the way.
#[tokio::test]
async fn answers_are_what_they_say_they_are() {
    let token = [("authorization", "Bearer 0123456789abcdef")];
    for (at, headers) in [
        ("/healthz", &[][..]),
        ("/v1/nothing", &[]),
        ("/v1/fleet", &[]),
        ("/v1/fleet", &token),
        ("/v1/cohorts/%3Cscript%3E", &token),
        ("/v1/artifacts/%3Cscript%3E", &[]),
    ] {
        let response = ask_as("GET", at, headers).await;
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{at}");
        let kind = response.headers().get(header::CONTENT_TYPE);
        assert!(kind.is_none_or(|kind| !kind.to_str().unwrap().contains("html")), "{at}: {kind:?}");
        let has_kept = response.headers().get(header::CACHE_CONTROL).is_none_or(|value| value != "no-store");
        assert_eq!(has_kept, headers.is_empty(), "{at}");
    }
}

/// A body that is measured by pieces ends the connection with its answer.
#[tokio::test]
async fn a_body_in_pieces_is_the_last_of_its_connection() {
    let response = ask_as("POST", "/v1/enrol", &[("transfer-encoding", "chunked")]).await;
    assert_eq!(response.headers()[header::CONNECTION], "close");
    let response = ask_as("POST", "/v1/enrol", &[]).await;
    assert!(!response.headers().contains_key(header::CONNECTION));
}
