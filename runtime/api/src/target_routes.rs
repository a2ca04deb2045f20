//! The paths about targets, incidents and the server's own figures, and which role each takes.

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use backstay_model::{IncidentId, Name, TargetId};
use backstay_signals::Metrics;
use serde::Deserialize;

use crate::{
    ApiError, Call, Deployment, Kind, MarkRequest, OperateRequest, Planned, Role, TargetCall,
    TargetOperation, VerdictRequest,
    route::{Access, Deed, Route, Who},
    routes::{Desk, parse, read},
};

/// The largest question of a build: its metrics, and what stands around them.
const VERDICT_BODY_BYTES_MAX: usize = Metrics::BYTES_MAX + 1024;
/// The largest message of Alertmanager.
const ALERTS_BODY_BYTES_MAX: usize = 1 << 20;

pub(crate) fn target_routes() -> Vec<Route> {
    let [viewer, ci, operator] = [Role::Viewer, Role::Ci, Role::Operator].map(Access::Least);
    vec![
        Route::get("/v1/targets", viewer, all),
        Route::get("/v1/targets/{service}", viewer, one),
        Route::get("/v1/targets/{service}/plan", viewer, plan),
        Route::post("/v1/targets/{service}/deployments", ci, deployed),
        Route::post("/v1/targets/{service}/metrics", ci, measured)
            .body_max(VERDICT_BODY_BYTES_MAX)
            .deed(Deed::Nobodys),
        Route::post("/v1/targets/{service}/verdict", ci, verdict)
            .body_max(VERDICT_BODY_BYTES_MAX)
            .deed(Deed::Nobodys),
        Route::post("/v1/targets/{service}/{operation}", operator, operate),
        Route::post("/v1/alerts", ci, alerts).body_max(ALERTS_BODY_BYTES_MAX).deed(Deed::Nobodys),
        Route::get("/v1/incidents", viewer, incidents),
        Route::get("/v1/incidents/{id}", viewer, incident),
        Route::post("/v1/incidents/{id}/mark", operator, mark),
        Route::get("/metrics", viewer, figures),
    ]
}

fn service(text: &str) -> Result<TargetId, ApiError> {
    parse(text)
}

fn number(text: &str) -> Result<IncidentId, ApiError> {
    parse::<u64>(text).map(IncidentId)
}

async fn all(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Target(TargetCall::All(reply))).await?).into_response())
}

async fn one(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = service(&id)?;
    Ok(Json(desk.calls.ask(|reply| Call::Target(TargetCall::One(id, reply))).await?).into_response())
}

/// What is to be shown of a dry run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    action: String,
    #[serde(default)]
    playbook: Option<Name>,
}

async fn plan(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    Query(What { action, playbook }): Query<What>,
) -> Result<Response, ApiError> {
    let id = service(&id)?;
    let planned = match (action.as_str(), playbook) {
        ("rollback", None) => Planned::Rollback,
        ("heal", playbook) => Planned::Heal(playbook),
        ("migrate-next", None) => Planned::MigrateNext,
        ("migrate-back", None) => Planned::MigrateBack,
        ("contract", None) => Planned::Contract,
        _ => {
            let what = format!(
                "{action:?} can't be planned: expected rollback, migrate-next, migrate-back, contract, or heal with a playbook"
            );
            return Err(ApiError::new(Kind::Usage, what));
        }
    };
    Ok(Json(desk.calls.ask(|reply| Call::Target(TargetCall::Plan(id, planned, reply))).await?)
        .into_response())
}

async fn deployed(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (id, deployment) = (service(&id)?, read::<Deployment>(&body)?);
    let call = |reply| Call::Target(TargetCall::Deployed(who, id, deployment, reply));
    Ok(Json(desk.calls.ask(call).await?).into_response())
}

async fn measured(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = service(&id)?;
    let call = |reply| Call::Target(TargetCall::Measured(id, body.into(), reply));
    Ok(Json(desk.calls.ask(call).await?).into_response())
}

async fn verdict(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (id, request) = (service(&id)?, read::<VerdictRequest>(&body)?);
    let call = |reply| Call::Target(TargetCall::Verdict(id, request, reply));
    Ok(Json(desk.calls.ask(call).await?).into_response())
}

async fn operate(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path((id, operation)): Path<(String, TargetOperation)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (id, request) = (service(&id)?, read::<OperateRequest>(&body)?);
    let call = |reply| Call::Target(TargetCall::Operate(who, id, operation, request, reply));
    Ok(Json(desk.calls.ask(call).await?).into_response())
}

async fn alerts(State(desk): State<Desk>, body: Bytes) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Target(TargetCall::Alerts(body.into(), reply))).await?)
        .into_response())
}

async fn incidents(State(desk): State<Desk>) -> Result<Response, ApiError> {
    Ok(Json(desk.calls.ask(|reply| Call::Target(TargetCall::Incidents(reply))).await?).into_response())
}

async fn incident(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = number(&id)?;
    Ok(Json(desk.calls.ask(|reply| Call::Target(TargetCall::Incident(id, reply))).await?).into_response())
}

async fn mark(
    Extension(Who(who)): Extension<Who>,
    State(desk): State<Desk>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let (id, request) = (number(&id)?, read::<MarkRequest>(&body)?);
    let call = |reply| Call::Target(TargetCall::Mark(who, id, request, reply));
    Ok(Json(desk.calls.ask(call).await?).into_response())
}

/// In Prometheus' text format.
async fn figures(State(desk): State<Desk>) -> Result<Response, ApiError> {
    let page = desk.calls.ask(|reply| Call::Target(TargetCall::Figures(reply))).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response())
}
