//! Which paths there are, and who may call them.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use backstay_model::{Channel, CohortId, DeviceId, Digest};
use serde::Deserialize;
use tower::ServiceExt;
use tower_http::{services::ServeFile, timeout::TimeoutLayer};

use crate::{
    ApiError, Call, Calls, CloseRequest, EnrolAnswer, Kind, LiftRequest, Operation, Shelf, StartRollout,
    Tokens, WordRequest,
    target_routes::target_routes,
    token::{Admin, Operator},
};

/// The largest artifact that may be uploaded, in bytes.
const ARTIFACT_BYTES_MAX: usize = 512 << 20;
/// The largest of every other body.
const BODY_BYTES_MAX: usize = 256 << 10;
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) calls: Calls,
    tokens: Tokens,
    artifacts: Shelf,
    statements: Shelf,
}

impl AsRef<Tokens> for Desk {
    fn as_ref(&self) -> &Tokens {
        &self.tokens
    }
}

/// The routes. `artifacts` by their own digest, `statements` about releases by the digest of the artifact.
pub fn routes(calls: Calls, tokens: Tokens, artifacts: Shelf, statements: Shelf) -> Router {
    let desk = Desk { calls, tokens, artifacts, statements };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/v1/enrol", post(enrol))
        .route("/v1/artifacts/{digest}", get(artifact))
        .route("/v1/releases/{digest}", get(statement))
        .route("/v1/fleet", get(fleet))
        .route("/v1/releases", get(releases).post(publish))
        .route("/v1/plugins", get(plugins))
        .route("/v1/plugins/{digest}", post(publish_plugin))
        .route("/v1/trust", get(trust).post(heed))
        .route("/v1/trust/{digest}", get(trusted))
        .route("/v1/rollouts", post(start))
        .route("/v1/cohorts/{cohort}", get(cohort))
        .route("/v1/cohorts/{cohort}/order", get(order))
        .route("/v1/cohorts/{cohort}/{operation}", post(operate))
        .route("/v1/quarantine", get(quarantine))
        .route("/v1/quarantine/{digest}/lift", post(lift))
        .route("/v1/breakers", get(breakers))
        .route("/v1/breakers/{cohort}/close", post(close))
        .route("/v1/devices/{device}/words", post(tell))
        .route("/v1/devices/{device}/evidence", get(evidence))
        .route("/v1/tokens", post(mint))
        .route("/v1/enrolments", get(pending))
        .route("/v1/enrolments/{fingerprint}", post(accept))
        .route("/v1/events", get(events))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(target_routes())
        .route("/v1/artifacts/{digest}", put(upload).layer(DefaultBodyLimit::max(ARTIFACT_BYTES_MAX)))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, CALL_TIMEOUT))
        .with_state(desk)
}

pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: T::Err| ApiError::new(Kind::Usage, error.to_string()))
}

async fn enrol(State(desk): State<Desk>, body: Bytes) -> Result<Response, ApiError> {
    let answer = desk.calls.ask(|reply| Call::Enrol(body.into(), reply)).await?;
    Ok(match answer {
        Some(enrolment) => enrolment.into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    })
}

async fn artifact(
    State(desk): State<Desk>,
    Path(digest): Path<String>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    if !desk.artifacts.has(&digest) {
        return Err(ApiError::new(Kind::NotFound, format!("there is no artifact {digest} here")));
    }
    // Knows ranges, so that a device goes on where its connection broke.
    let served = ServeFile::new(desk.artifacts.path(&digest)).oneshot(request).await;
    Ok(served.map_err(|never| match never {})?.map(axum::body::Body::new))
}

async fn statement(State(desk): State<Desk>, Path(digest): Path<String>) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    let unreadable = |error: crate::ShelfError| ApiError::new(Kind::Unavailable, error.to_string());
    match desk.statements.get(&digest).map_err(unreadable)? {
        Some(statement) => Ok(statement.into_response()),
        None => Err(ApiError::new(
            Kind::NotFound,
            format!("no release with artifact {digest} was published here"),
        )),
    }
}

async fn upload(
    _: Operator,
    State(desk): State<Desk>,
    Path(digest): Path<String>,
    body: axum::body::Body,
) -> Result<StatusCode, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    let bytes = axum::body::to_bytes(body, ARTIFACT_BYTES_MAX).await;
    let bytes =
        bytes.map_err(|error| ApiError::new(Kind::Usage, format!("the upload broke off: {error}")))?;
    if !crate::shelf::is(&bytes, &digest) {
        return Err(ApiError::new(Kind::Untrusted, format!("what was uploaded is not {digest}")));
    }
    desk.artifacts.put(&digest, &bytes).map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        ApiError::new(Kind::Unavailable, format!("{error}: {why}"))
    })?;
    Ok(StatusCode::CREATED)
}

async fn fleet(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Fleet).await?).into_response())
}

async fn releases(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Releases).await?).into_response())
}

async fn publish(_: Operator, State(desk): State<Desk>, body: Bytes) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Publish(body.into(), reply)).await?).into_response())
}

async fn plugins(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Plugins).await?).into_response())
}

async fn publish_plugin(
    _: Operator,
    State(desk): State<Desk>,
    Path(digest): Path<String>,
) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    Ok(Json(desk.calls.ask(|reply| Call::PublishPlugin(digest, reply)).await?).into_response())
}

async fn trust(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Trust).await?).into_response())
}

async fn heed(_: Admin, State(desk): State<Desk>, body: Bytes) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Heed(body.into(), reply)).await?).into_response())
}

/// For devices: what it says is signed, so nobody has to show a token.
async fn trusted(State(desk): State<Desk>, Path(digest): Path<String>) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    Ok(desk.calls.ask(|reply| Call::Statement(digest, reply)).await?.into_response())
}

async fn order(
    _: Operator,
    State(desk): State<Desk>,
    Path(cohort): Path<String>,
) -> Result<Response, ApiError> {
    let cohort = parse::<CohortId>(&cohort)?;
    Ok(desk.calls.ask(|reply| Call::Order(cohort, reply)).await?.into_response())
}

async fn start(_: Operator, State(desk): State<Desk>, body: Bytes) -> Result<Response, ApiError> {
    let request: StartRollout = read(&body)?;
    Ok(Json(desk.calls.ask(|reply| Call::Start(request, reply)).await?).into_response())
}

/// What is meant of a cohort: its product, if it isn't said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct On {
    #[serde(default)]
    channel: Channel,
}

async fn cohort(
    _: Operator,
    State(desk): State<Desk>,
    Path(cohort): Path<String>,
    Query(On { channel }): Query<On>,
) -> Result<Response, ApiError> {
    let cohort = parse::<CohortId>(&cohort)?;
    Ok(Json(desk.calls.ask(|reply| Call::Cohort(cohort, channel, reply)).await?).into_response())
}

async fn operate(
    _: Operator,
    State(desk): State<Desk>,
    Path((cohort, operation)): Path<(String, Operation)>,
    Query(On { channel }): Query<On>,
) -> Result<Response, ApiError> {
    let cohort = parse::<CohortId>(&cohort)?;
    Ok(Json(desk.calls.ask(|reply| Call::Operate(cohort, channel, operation, reply)).await?).into_response())
}

async fn quarantine(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Quarantine).await?).into_response())
}

async fn lift(
    _: Operator,
    State(desk): State<Desk>,
    Path(digest): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (digest, request) = (parse::<Digest>(&digest)?, read::<LiftRequest>(&body)?);
    Ok(Json(desk.calls.ask(|reply| Call::Lift(digest, request, reply)).await?).into_response())
}

async fn breakers(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Breakers).await?).into_response())
}

async fn close(
    _: Operator,
    State(desk): State<Desk>,
    Path(cohort): Path<String>,
    Query(On { channel }): Query<On>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (cohort, CloseRequest { reason }) = (parse::<CohortId>(&cohort)?, read(&body)?);
    Ok(Json(desk.calls.ask(|reply| Call::CloseBreaker(cohort, channel, reason, reply)).await?)
        .into_response())
}

async fn tell(
    _: Operator,
    State(desk): State<Desk>,
    Path(device): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (device, request) = (parse::<DeviceId>(&device)?, read::<WordRequest>(&body)?);
    Ok(Json(desk.calls.ask(|reply| Call::Tell(device, request, reply)).await?).into_response())
}

/// The records as they came, and the device's key in a header: enough to check them anywhere.
async fn evidence(
    _: Operator,
    State(desk): State<Desk>,
    Path(device): Path<String>,
) -> Result<Response, ApiError> {
    let device = parse::<DeviceId>(&device)?;
    let (key, records) = desk.calls.ask(|reply| Call::Evidence(device, reply)).await?;
    let mut headers = HeaderMap::new();
    if let Ok(key) = key.parse() {
        headers.insert("backstay-device-key", key);
    }
    Ok((headers, records).into_response())
}

async fn mint(_: Admin, State(desk): State<Desk>, body: Bytes) -> Result<Response, ApiError> {
    let answer: EnrolAnswer = read(&body)?;
    Ok(Json(desk.calls.ask(|reply| Call::Mint(answer, reply)).await?).into_response())
}

async fn pending(_: Operator, State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Pending).await?).into_response())
}

async fn accept(
    _: Admin,
    State(desk): State<Desk>,
    Path(fingerprint): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let (fingerprint, answer) = (parse::<Digest>(&fingerprint)?, read::<EnrolAnswer>(&body)?);
    desk.calls.ask(|reply| Call::Accept(fingerprint, answer, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(
    _: Operator,
    State(desk): State<Desk>,
    Query(After { after }): Query<After>,
) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Events(after, reply)).await?).into_response())
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Kind::Usage, format!("the body can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, header},
    };

    use super::*;

    fn desk() -> (Router, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let shelf = |name: &str| Shelf::open(dir.path().join(name)).unwrap();
        let (calls, _) = Calls::new(1);
        let tokens = Tokens::single("0123456789abcdef").unwrap();
        (routes(calls, tokens, shelf("artifacts"), shelf("statements")), dir)
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

    /// Every route of operators, with a path that would be right otherwise.
    const OPERATORS: [(&str, &str); 21] = [
        ("GET", "/v1/trust"),
        ("POST", "/v1/trust"),
        ("GET", "/v1/cohorts/canary/order"),
        ("GET", "/v1/fleet"),
        ("GET", "/v1/releases"),
        ("POST", "/v1/releases"),
        ("POST", "/v1/rollouts"),
        ("GET", "/v1/cohorts/canary"),
        ("POST", "/v1/cohorts/canary/rollback"),
        ("GET", "/v1/quarantine"),
        ("POST", "/v1/quarantine/0000000000000000000000000000000000000000000000000000000000000000/lift"),
        ("GET", "/v1/breakers"),
        ("POST", "/v1/breakers/canary/close"),
        ("POST", "/v1/devices/pump-7/words"),
        ("GET", "/v1/devices/pump-7/evidence"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/enrolments"),
        ("POST", "/v1/enrolments/0000000000000000000000000000000000000000000000000000000000000000"),
        ("GET", "/v1/events"),
        ("POST", "/v1/targets/checkout/verdict"),
        ("PUT", "/v1/artifacts/0000000000000000000000000000000000000000000000000000000000000000"),
    ];

    #[tokio::test]
    async fn nobody_operates_without_the_token() {
        for (method, path) in OPERATORS {
            for token in [None, Some("0123456789abcdeX"), Some("")] {
                let (status, body) = ask(method, path, token, "{}").await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
                assert!(serde_json::from_str::<ApiError>(&body).unwrap().help.is_some());
            }
        }
    }

    #[tokio::test]
    async fn a_name_is_never_a_path() {
        for path in ["/v1/artifacts/..%2F..%2Fetc%2Fpasswd", "/v1/artifacts/.hidden", "/v1/releases/%2e%2e"] {
            let (status, body) = ask("GET", path, None, "").await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        }
        let (status, _) = ask("GET", &format!("/v1/artifacts/{}", "0".repeat(64)), None, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
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
            ask("POST", path, token, &question(&" ".repeat(backstay_signals::Metrics::BYTES_MAX + 1024)))
                .await;
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
            for body in
                ["{}", "{\"reason\": \"\"}", "{\"reason\": \" \\n \"}", "{\"reason\": \"a\\nb\"}", &long]
            {
                let (status, told) = ask("POST", path, Some("0123456789abcdef"), body).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {told}");
            }
        }
    }
}
