//! What is looked at of every request, whatever it asks for, and what every answer carries.
//!
//! Here: browsers that were led here by another site's page, and requests whose end two readers could see in different
//! places. Not here: tokens (`token`), and how much a request may be (`route`, and the server's door).
//!
//! A browser sends no token by itself: there is no cookie here, no other scheme than `Bearer`, and no page of another site is
//! allowed to send one. What is asked without a token is what is left, and the day somebody adds cookies.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{ApiError, Kind};

/// Looks at a request, and lets it through.
pub(crate) async fn look(request: Request, next: Next) -> Response {
    // Who measures a body by pieces is not listened to for longer than it: what stands before us may have seen its end
    // elsewhere, and would take the rest for the next request (RFC 9112, 6.1).
    let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let mut response = if changes && is_from_another_site(request.headers(), request.uri()) {
        ApiError::new(Kind::Forbidden, "a page of another site asked for this")
            .help("call it from the command line, or from a page of this server")
            .into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_last {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a browser says that this comes from a page of another site. Who isn't a browser says neither.
fn is_from_another_site(headers: &HeaderMap, uri: &Uri) -> bool {
    let is_elsewhere = |site: &HeaderValue| site != "same-origin" && site != "none";
    if headers.get_all("sec-fetch-site").iter().any(is_elsewhere) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let here = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let is_other = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.zip(here).is_none_or(|((_, origin), here)| !origin.eq_ignore_ascii_case(here))
    };
    headers.get_all(header::ORIGIN).iter().any(is_other)
}
