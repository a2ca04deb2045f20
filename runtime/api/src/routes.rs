//! Which paths there are, and who may call them.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::from_fn,
    response::{IntoResponse, Response},
};
use backstay_blocks::EXTENSION;
use backstay_model::{Channel, CohortId, DeviceId, Digest};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tower::ServiceExt;
use tower_http::services::ServeFile;

use crate::{
    ApiError, Call, Calls, CloseRequest, EnrolAnswer, Kind, LiftRequest, Operation, Role, Shelf, ShelfError,
    StartRollout, Tokens, WordRequest, front,
    route::{Access, Deed, Route, Who},
    target_routes::target_routes,
};

/// The largest artifact that may be uploaded, in bytes: a whole system is one.
const ARTIFACT_BYTES_MAX: usize = 4 << 30;
/// How long an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long nothing may come of one.
const UPLOAD_STALL: Duration = Duration::from_secs(30);

/// What the routes work with.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) calls: Calls,
    artifacts: Shelf,
    statements: Shelf,
}

/// The routes. `artifacts` by their own digest, `statements` about releases by the digest of the artifact.
pub fn routes(calls: Calls, tokens: Tokens, artifacts: Shelf, statements: Shelf) -> Router {
    let desk = Desk { calls, artifacts, statements };
    let stand = |router, route: Route| route.stands_in(router, &tokens);
    all().into_iter().fold(Router::new(), stand).layer(from_fn(front::look)).with_state(desk)
}

/// All calls that there are, by method and path, with `{name}` in a path for what differs.
#[must_use]
pub fn calls() -> Vec<(Method, &'static str)> {
    all().into_iter().map(|route| (route.method, route.path)).collect()
}

/// Those of them that change something, so that what they did is recorded with their caller's name.
#[must_use]
pub fn deeds() -> Vec<(Method, &'static str)> {
    let deeds = all().into_iter().filter(|route| route.deed == Deed::Callers);
    deeds.map(|route| (route.method, route.path)).collect()
}

/// All of them: there is no other way into the router.
fn all() -> Vec<Route> {
    let (anybody, viewer) = (Access::Anybody, Access::Least(Role::Viewer));
    let (operator, admin) = (Access::Least(Role::Operator), Access::Least(Role::Admin));
    let mut routes = vec![
        Route::get("/healthz", anybody, async || "ok"),
        Route::post("/v1/enrol", anybody, enrol).deed(Deed::Devices),
        Route::get("/v1/artifacts/{digest}", anybody, artifact),
        Route::put("/v1/artifacts/{digest}", operator, upload)
            .body_max(ARTIFACT_BYTES_MAX)
            .timeout(UPLOAD_TIMEOUT),
        Route::get("/v1/releases/{digest}", anybody, statement),
        Route::get("/v1/fleet", viewer, fleet),
        Route::get("/v1/releases", viewer, releases),
        Route::post("/v1/releases", operator, publish),
        Route::get("/v1/plugins", viewer, plugins),
        Route::post("/v1/plugins/{digest}", operator, publish_plugin),
        Route::get("/v1/trust", viewer, trust),
        Route::post("/v1/trust", admin, heed),
        Route::get("/v1/trust/{digest}", anybody, trusted),
        Route::post("/v1/rollouts", operator, start),
        Route::get("/v1/cohorts/{cohort}", viewer, cohort),
        Route::get("/v1/cohorts/{cohort}/order", viewer, order),
        Route::post("/v1/cohorts/{cohort}/{operation}", operator, operate),
        Route::get("/v1/quarantine", viewer, quarantine),
        Route::post("/v1/quarantine/{digest}/lift", operator, lift),
        Route::get("/v1/breakers", viewer, breakers),
        Route::post("/v1/breakers/{cohort}/close", operator, close),
        Route::post("/v1/devices/{device}/words", operator, tell),
        Route::get("/v1/devices/{device}/evidence", viewer, evidence),
        Route::post("/v1/tokens", admin, mint),
        Route::get("/v1/enrolments", viewer, pending),
        Route::post("/v1/enrolments/{fingerprint}", admin, accept),
        Route::get("/v1/events", viewer, events),
    ];
    routes.extend(target_routes());
    routes
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
    let (digest, its_blocks) = match digest.strip_suffix(EXTENSION).and_then(|name| name.strip_suffix('.')) {
        Some(digest) => (parse::<Digest>(digest)?, true),
        None => (parse::<Digest>(&digest)?, false),
    };
    let (path, what) = match its_blocks {
        true => (desk.artifacts.blocks_path(&digest), "are no blocks of"),
        false => (desk.artifacts.path(&digest), "is no artifact"),
    };
    if !path.is_file() {
        return Err(ApiError::new(Kind::NotFound, format!("there {what} {digest} here")));
    }
    // Knows ranges, so that a device goes on where its connection broke, and fetches no block that it has.
    let served = ServeFile::new(path).oneshot(request).await;
    Ok(served.map_err(|never| match never {})?.map(axum::body::Body::new))
}

async fn statement(State(desk): State<Desk>, Path(digest): Path<String>) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    let unreadable = |error: ShelfError| ApiError::new(Kind::Unavailable, error.to_string());
    match desk.statements.get(&digest).map_err(unreadable)? {
        Some(statement) => Ok(statement.into_response()),
        None => Err(ApiError::new(
            Kind::NotFound,
            format!("no release with artifact {digest} was published here"),
        )),
    }
}

async fn upload(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(digest): Path<String>,
    mut body: axum::body::Body,
) -> Result<StatusCode, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    let not_kept = |error: ShelfError| {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        ApiError::new(Kind::Unavailable, format!("{error}: {why}"))
    };
    let mut incoming = desk.artifacts.receive(&digest).await.map_err(not_kept)?;
    let broke_off = |why: String| ApiError::new(Kind::Usage, format!("the upload broke off: {why}"));
    let mut length = 0;
    loop {
        let piece = tokio::time::timeout(UPLOAD_STALL, body.frame()).await;
        let piece = piece.map_err(|_| broke_off(format!("nothing came for {} s", UPLOAD_STALL.as_secs())))?;
        let Some(piece) = piece.transpose().map_err(|error| broke_off(error.to_string()))? else { break };
        // Whatever else comes behind a body says nothing of the artifact.
        let Ok(bytes) = piece.into_data() else { continue };
        length += bytes.len();
        if length > ARTIFACT_BYTES_MAX {
            let why = format!("an artifact has at most {ARTIFACT_BYTES_MAX} bytes");
            return Err(ApiError::new(Kind::Usage, why));
        }
        incoming.write(&bytes).await.map_err(not_kept)?;
    }
    if !incoming.keep().await.map_err(not_kept)? {
        return Err(ApiError::new(Kind::Untrusted, format!("what was uploaded is not {digest}")));
    }
    desk.calls.ask(|reply| Call::Uploaded(who, digest, length as u64, reply)).await?;
    Ok(StatusCode::CREATED)
}

async fn fleet(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Fleet).await?).into_response())
}

async fn releases(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Releases).await?).into_response())
}

async fn publish(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    body: Bytes,
) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Publish(who, body.into(), reply)).await?).into_response())
}

async fn plugins(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Plugins).await?).into_response())
}

async fn publish_plugin(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(digest): Path<String>,
) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    Ok(Json(desk.calls.ask(|reply| Call::PublishPlugin(who, digest, reply)).await?).into_response())
}

async fn trust(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Trust).await?).into_response())
}

async fn heed(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    body: Bytes,
) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Heed(who, body.into(), reply)).await?).into_response())
}

/// For devices: what it says is signed, so nobody has to show a token.
async fn trusted(State(desk): State<Desk>, Path(digest): Path<String>) -> Result<Response, ApiError> {
    let digest = parse::<Digest>(&digest)?;
    Ok(desk.calls.ask(|reply| Call::Statement(digest, reply)).await?.into_response())
}

async fn order(State(desk): State<Desk>, Path(cohort): Path<String>) -> Result<Response, ApiError> {
    let cohort = parse::<CohortId>(&cohort)?;
    Ok(desk.calls.ask(|reply| Call::Order(cohort, reply)).await?.into_response())
}

async fn start(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: StartRollout = read(&body)?;
    Ok(Json(desk.calls.ask(|reply| Call::Start(who, request, reply)).await?).into_response())
}

/// What is meant of a cohort: its product, if it isn't said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct On {
    #[serde(default)]
    channel: Channel,
}

async fn cohort(
    State(desk): State<Desk>,
    Path(cohort): Path<String>,
    Query(On { channel }): Query<On>,
) -> Result<Response, ApiError> {
    let cohort = parse::<CohortId>(&cohort)?;
    Ok(Json(desk.calls.ask(|reply| Call::Cohort(cohort, channel, reply)).await?).into_response())
}

async fn operate(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path((cohort, operation)): Path<(String, Operation)>,
    Query(On { channel }): Query<On>,
) -> Result<Response, ApiError> {
    let cohort = parse::<CohortId>(&cohort)?;
    Ok(Json(desk.calls.ask(|reply| Call::Operate(who, cohort, channel, operation, reply)).await?)
        .into_response())
}

async fn quarantine(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Quarantine).await?).into_response())
}

async fn lift(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(digest): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (digest, request) = (parse::<Digest>(&digest)?, read::<LiftRequest>(&body)?);
    Ok(Json(desk.calls.ask(|reply| Call::Lift(who, digest, request, reply)).await?).into_response())
}

async fn breakers(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Breakers).await?).into_response())
}

async fn close(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(cohort): Path<String>,
    Query(On { channel }): Query<On>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (cohort, CloseRequest { reason }) = (parse::<CohortId>(&cohort)?, read(&body)?);
    Ok(Json(desk.calls.ask(|reply| Call::CloseBreaker(who, cohort, channel, reason, reply)).await?)
        .into_response())
}

async fn tell(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(device): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (device, request) = (parse::<DeviceId>(&device)?, read::<WordRequest>(&body)?);
    Ok(Json(desk.calls.ask(|reply| Call::Tell(who, device, request, reply)).await?).into_response())
}

/// The records as they came, and the device's key in a header: enough to check them anywhere.
async fn evidence(State(desk): State<Desk>, Path(device): Path<String>) -> Result<Response, ApiError> {
    let device = parse::<DeviceId>(&device)?;
    let (key, records) = desk.calls.ask(|reply| Call::Evidence(device, reply)).await?;
    let mut headers = HeaderMap::new();
    if let Ok(key) = key.parse() {
        headers.insert("backstay-device-key", key);
    }
    Ok((headers, records).into_response())
}

async fn mint(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let answer: EnrolAnswer = read(&body)?;
    Ok(Json(desk.calls.ask(|reply| Call::Mint(who, answer, reply)).await?).into_response())
}

async fn pending(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(Call::Pending).await?).into_response())
}

async fn accept(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(fingerprint): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let (fingerprint, answer) = (parse::<Digest>(&fingerprint)?, read::<EnrolAnswer>(&body)?);
    desk.calls.ask(|reply| Call::Accept(who, fingerprint, answer, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(
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
mod tests;
