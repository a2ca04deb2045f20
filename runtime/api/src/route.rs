//! One route: which call it is, who may make it, how large its body may be, and whose deed it is.
//!
//! Here: that all of it is said in one place, and are held before anything else of a request is looked at: whoever may not
//! call learns nothing from how their path or body is taken. There is no route without an [`Access`], because the router is
//! made of these. Not here: which routes there are (`routes`, `target_routes`), and whose token is whose (`token`).

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    handler::Handler,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use backstay_model::Name;
use tower_http::timeout::TimeoutLayer;

use crate::{ApiError, Role, Tokens, routes::Desk};

/// The largest body where a route says nothing else, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 10;

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever reaches the server. What they get is signed, or is what its digest says; what they bring is signed.
    Anybody,
    /// Whoever shows a token of this role, or of one that may more.
    Least(Role),
}

/// Whose name the record has that a call leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The caller's, as their token names them: they have changed something.
    Callers,
    /// A device's: it asks for itself, and signs that.
    Devices,
    /// Nobody's. The call asks, or tells what was measured: what follows from that is the deed of whoever decides it.
    Nobodys,
}

/// How long a call may take where a route says nothing else.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// One call, and what it takes.
pub(crate) struct Route {
    /// How it is asked. What is asked with GET may be asked with HEAD.
    pub(crate) method: Method,
    /// Where, with `{name}` for what differs.
    pub(crate) path: &'static str,
    /// Who may.
    pub(crate) access: Access,
    /// The largest body, in bytes.
    pub(crate) body_max: usize,
    /// Whose deed it is.
    pub(crate) deed: Deed,
    timeout: Duration,
    does: MethodRouter<Desk>,
}

impl Route {
    pub(crate) fn get<T: 'static>(path: &'static str, access: Access, does: impl Handler<T, Desk>) -> Self {
        Self::new(Method::GET, path, access, on(MethodFilter::GET, does)).deed(Deed::Nobodys)
    }

    pub(crate) fn post<T: 'static>(path: &'static str, access: Access, does: impl Handler<T, Desk>) -> Self {
        Self::new(Method::POST, path, access, on(MethodFilter::POST, does))
    }

    pub(crate) fn put<T: 'static>(path: &'static str, access: Access, does: impl Handler<T, Desk>) -> Self {
        Self::new(Method::PUT, path, access, on(MethodFilter::PUT, does))
    }

    fn new(method: Method, path: &'static str, access: Access, does: MethodRouter<Desk>) -> Self {
        Self {
            method,
            path,
            access,
            body_max: BODY_BYTES_MAX,
            // What isn't asked with GET changes something, unless a route says that it doesn't.
            deed: Deed::Callers,
            timeout: CALL_TIMEOUT,
            does,
        }
    }

    /// The same as a deed of somebody else, or of nobody.
    pub(crate) fn deed(self, deed: Deed) -> Self {
        Self { deed, ..self }
    }

    /// The same with another bound for its body.
    pub(crate) fn body_max(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }

    /// The same with another time that it may take.
    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Adds it to a router, behind what it takes.
    pub(crate) fn stands_in(self, router: Router<Desk>, tokens: &Tokens) -> Router<Desk> {
        let does = self.does.route_layer(DefaultBodyLimit::max(self.body_max));
        let guarded = match self.access {
            Access::Anybody => does,
            Access::Least(least) => does.route_layer(from_fn_with_state((tokens.clone(), least), admit)),
        };
        let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, self.timeout);
        router.route(self.path, guarded.route_layer(timeout))
    }
}

/// Who called, as their token names them.
#[derive(Clone, Debug)]
pub(crate) struct Who(pub(crate) Name);

/// Lets in who may call, before their path or body is read, and says who they are.
async fn admit(
    State((tokens, least)): State<(Tokens, Role)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let who = Who(tokens.admit(request.headers(), least)?);
    request.extensions_mut().insert(who);
    let mut response = next.run(request).await.into_response();
    // What takes a token to see is kept by nobody on the way.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
