//! What a caller is told when a call fails: what, why, and what to do.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

/// A call that failed. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// Which kind; it decides the status and the exit code.
    pub kind: Kind,
    /// What failed, and why.
    pub what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The call itself is wrong.
    Usage,
    /// No token, or another one.
    Denied,
    /// The token's holder may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// A rail holds it back: breaker, freeze, lock.
    Refused,
    /// A signature or a digest does not hold.
    Untrusted,
    /// The server can't, now.
    Unavailable,
}

impl ApiError {
    /// A failure of a kind.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), help: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.kind {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Denied => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Refused => StatusCode::CONFLICT,
            Kind::Untrusted => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let how = (self.kind == Kind::Denied).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        (status, how, Json(self)).into_response()
    }
}
