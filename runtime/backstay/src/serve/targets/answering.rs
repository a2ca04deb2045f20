//! What the API asks about targets. Each answer that says "done" is given after it is written down.
//!
//! Not here: paths and tokens (`api`), how things look (`showing`), and whether anything may be done (`core` says).

use backstay_api::{
    AlertsTaken, ApiError, Deployment, IncidentStory, IncidentView, Kind, MarkRequest, OperateRequest,
    SignedVerdict, TargetCall, TargetOperation, TargetView, VerdictRequest,
};
use backstay_core::{Advice, GateWish, Query, TargetInput, TargetWish};
use backstay_model::{
    Action, Digest, How, IncidentId, Mode, Name, Rail, Reason, Release, TargetId, Verdict, VerdictAction,
    Version,
};
use backstay_signals::Metrics;
use sha2::{Digest as _, Sha256};

use super::super::{clock::Now, diary::Diary, judge::Ask, server::Server, verdicts::unsigned};

impl<D: Diary, P: Ask> Server<D, P> {
    /// Does what a call asks, and answers it. Whoever asked may have gone; what was done stays done.
    pub(in super::super) fn call_about_targets(&mut self, now: Now, call: TargetCall) {
        match call {
            TargetCall::All(reply) => drop(reply.send(Ok(self.target_views(now)))),
            TargetCall::One(id, reply) => drop(reply.send(self.target_view(now, &id))),
            TargetCall::Deployed(who, id, deployment, reply) => {
                drop(reply.send(self.deployed(now, who, &id, deployment)));
            }
            TargetCall::Measured(id, body, reply) => drop(reply.send(self.measured(now, &id, &body))),
            TargetCall::Verdict(id, request, reply) => drop(reply.send(self.verdict(now, &id, request))),
            TargetCall::Operate(who, id, operation, request, reply) => {
                drop(reply.send(self.operate_target(now, who, &id, operation, request)));
            }
            TargetCall::Plan(id, planned, reply) => self.plan_dry(now, &id, planned, reply),
            TargetCall::Alerts(body, reply) => drop(reply.send(self.alerts(now, &body))),
            TargetCall::Incidents(reply) => drop(reply.send(Ok(self.incident_views(now)))),
            TargetCall::Incident(id, reply) => drop(reply.send(self.incident(now, id))),
            TargetCall::Mark(who, id, request, reply) => {
                drop(reply.send(self.mark(now, who, id, request)));
            }
            TargetCall::Figures(reply) => drop(reply.send(Ok(self.figures(now)))),
        }
    }

    fn deployed(
        &mut self,
        now: Now,
        who: Name,
        id: &TargetId,
        deployment: Deployment,
    ) -> Result<TargetView, ApiError> {
        self.is_watched(id)?;
        let Deployment { version, digest, stage, build, schema } = deployment;
        // Where its executor has seen it, what it is besides its version is known.
        let release = match digest {
            Some(_) => release(&version, digest),
            None => self.known_as(id, &version, None),
        };
        self.give(now, id, TargetInput::Deployed { who, release, stage, build, schema });
        self.kept()?;
        self.target_view(now, id)
    }

    fn measured(&mut self, now: Now, id: &TargetId, body: &[u8]) -> Result<TargetView, ApiError> {
        self.is_watched(id)?;
        let metrics = Metrics::read(body).map_err(|error| {
            ApiError::new(Kind::Usage, format!("the metrics can't be read: {error}"))
                .help(error.help().unwrap_or_default())
        })?;
        if self.targets.measured(id, metrics) {
            self.close_window(now, id);
        }
        self.target_view(now, id)
    }

    fn verdict(
        &mut self,
        now: Now,
        id: &TargetId,
        request: VerdictRequest,
    ) -> Result<SignedVerdict, ApiError> {
        if self.verdicts.is_none() {
            return Err(unsigned());
        }
        self.is_watched(id)?;
        let VerdictRequest { build, digest, version, stage, schema, nonce, metrics } = request;
        if let Some(metrics) = metrics
            && self.targets.measured(id, metrics)
        {
            self.close_window(now, id);
        }
        let named = version.as_ref().map(|version| self.named(id, version));
        let query = Query { release: digest.or(named), version: version.clone(), stage, schema };
        let advice = self.targets.estate.advise(now.mono, id, &query).ok_or_else(|| no_target(id))?;
        let window_secs = u32::try_from(advice.window.0.div_ceil(1000)).unwrap_or(Verdict::WAIT_SECS_MAX);
        let (action, wait_secs) = match self.is_durable() {
            true => told(&advice, window_secs),
            // What can't be written down isn't begun, and a bad release couldn't be brought back.
            false => (VerdictAction::Freeze, 0),
        };
        let reasons = advice.reasons.iter().take(Verdict::REASONS_MAX).map(|why| Reason::new(why.clone()));
        let incident = self.targets.estate.target(id).and_then(|target| target.state().incident());
        let verdict = Verdict {
            service: id.clone(),
            build,
            nonce,
            action,
            wait_secs,
            digest,
            version,
            reasons: reasons.collect(),
            evidence: Some(match incident {
                Some(incident) => format!("/v1/incidents/{}", incident.id),
                None => format!("/v1/targets/{id}"),
            }),
        };
        self.targets.figures.told(action);
        let verdicts = self.verdicts.as_ref().ok_or_else(unsigned)?;
        verdicts.sign(self.director.keyring(), &verdict, now.unix)
    }

    /// The digest of a release by its version: as it is known here, or else as a version stands for itself.
    fn named(&self, id: &TargetId, version: &Version) -> Digest {
        self.known_as(id, version, None).digest
    }

    /// A release that somebody names: the one of that digest that is known here, else one of that version that may be it, else one
    /// that is new. Where both digests are told and differ, both are told of one version, and it isn't the same release.
    pub(super) fn known_as(&self, id: &TargetId, version: &Version, digest: Option<Digest>) -> Release {
        let known = || {
            let state = self.targets.estate.target(id).map(|target| target.state());
            state.into_iter().flat_map(|state| {
                let out = state.out().map(|out| &out.release);
                out.into_iter().chain(state.quarantine()).chain(state.good().iter().map(|good| &good.release))
            })
        };
        let of_digest = digest.and_then(|digest| known().find(|release| release.digest == digest));
        let undigested = release(version, None);
        let may_be = |known: &&Release| {
            known.version == *version && (digest.is_none() || known.digest == undigested.digest)
        };
        of_digest.or_else(|| known().find(may_be)).cloned().unwrap_or_else(|| release(version, digest))
    }

    fn operate_target(
        &mut self,
        now: Now,
        who: Name,
        id: &TargetId,
        operation: TargetOperation,
        request: OperateRequest,
    ) -> Result<TargetView, ApiError> {
        self.is_watched(id)?;
        let OperateRequest { reason, playbook, digest } = request;
        let missing =
            |what: &str| ApiError::new(Kind::Usage, format!("{} needs a {what}", operation.as_str()));
        let wish = match operation {
            TargetOperation::Freeze => TargetWish::Freeze,
            TargetOperation::Thaw => TargetWish::Thaw,
            TargetOperation::Rollback => TargetWish::RollBack,
            TargetOperation::Heal => TargetWish::Heal(playbook.ok_or_else(|| missing("playbook"))?),
            TargetOperation::CloseBreaker => TargetWish::CloseBreaker,
            TargetOperation::Lift => TargetWish::Lift(digest.ok_or_else(|| missing("digest"))?),
            TargetOperation::MigrateNext => TargetWish::Migrate(GateWish::Next),
            TargetOperation::MigrateBack => TargetWish::Migrate(GateWish::Back),
            TargetOperation::Contract => TargetWish::Migrate(GateWish::Contract),
        };
        self.wish_of_target(now, who, id, reason.as_str().into(), wish)?;
        self.target_view(now, id)
    }

    fn wish_of_target(
        &mut self,
        now: Now,
        who: Name,
        id: &TargetId,
        reason: String,
        wish: TargetWish,
    ) -> Result<(), ApiError> {
        let target = self.targets.estate.target(id).ok_or_else(|| no_target(id))?;
        if let Some(why) = target.heeds(&wish) {
            return Err(ApiError::new(Kind::Refused, format!("nothing was changed: {why}")));
        }
        let runs = matches!(wish, TargetWish::RollBack | TargetWish::Heal(_));
        if runs && target.settings().mode == Mode::Observe {
            return Err(ApiError::new(
                Kind::Refused,
                format!("{id} is only observed, so nothing is done to it"),
            )
            .help("set mode = \"enforce\" in its file, and reload"));
        }
        // What a rail keeps back anyway isn't worth a record: 64 callers at once want the same thing, and one begins it.
        let preview = wanted(&wish).and_then(|wanted| self.targets.estate.preview(now.mono, id, &wanted));
        if let Some(Err(rail)) = preview {
            return Err(kept_back(id, rail));
        }
        if let TargetWish::Migrate(wish) = &wish
            && let Some(Err(rail)) = self.targets.estate.preview_step(now.mono, id, *wish)
        {
            return Err(kept_back(id, rail));
        }
        self.give(now, id, TargetInput::Operator { who, reason, wish });
        self.kept()?;
        let begun = self.targets.estate.target(id).is_some_and(|target| target.state().work().changes());
        if runs && !begun {
            let hold =
                self.targets.estate.target(id).and_then(|target| target.state().hold().rail().cloned());
            let why = hold.map_or_else(|| "a rail keeps it from being done".into(), |rail| rail.to_string());
            return Err(ApiError::new(Kind::Refused, why).help(format!("backstay target show {id}")));
        }
        Ok(())
    }

    fn mark(
        &mut self,
        now: Now,
        who: Name,
        id: IncidentId,
        request: MarkRequest,
    ) -> Result<IncidentView, ApiError> {
        let service = self.service_of(id).ok_or_else(|| no_incident(id))?;
        let MarkRequest { label, reason } = request;
        self.wish_of_target(now, who, &service, reason.as_str().into(), TargetWish::Mark(id, label))?;
        let view = self.incident_views(now).into_iter().find(|view| view.id == id);
        view.ok_or_else(|| no_incident(id))
    }

    fn incident(&self, now: Now, id: IncidentId) -> Result<IncidentStory, ApiError> {
        let incident = self.incident_views(now).into_iter().find(|view| view.id == id);
        let incident = incident.ok_or_else(|| no_incident(id))?;
        Ok(IncidentStory { incident, events: self.events_of(id) })
    }

    fn alerts(&mut self, now: Now, body: &[u8]) -> Result<AlertsTaken, ApiError> {
        let delivery = backstay_signals::alerts(body).map_err(|error| {
            let help = error.help().unwrap_or("send what Alertmanager's webhook sends, version 4");
            ApiError::new(Kind::Usage, format!("the alerts can't be read: {error}")).help(help)
        })?;
        let taken = u32::try_from(delivery.alerts.len()).unwrap_or(u32::MAX);
        let passed_over =
            delivery.passed_over.iter().map(|alert| format!("alert {}: {}", alert.at, alert.why)).collect();
        self.targets.alerted(now.mono, delivery.alerts);
        Ok(AlertsTaken { taken, passed_over })
    }

    fn is_watched(&self, id: &TargetId) -> Result<(), ApiError> {
        self.targets.estate.target(id).map(|_| ()).ok_or_else(|| no_target(id))
    }

    /// What was decided is written down, or the caller is told that it isn't.
    fn kept(&self) -> Result<(), ApiError> {
        if self.is_durable() {
            return Ok(());
        }
        Err(ApiError::new(Kind::Unavailable, "it is decided, and can't be written down: nothing is begun")
            .help("see the server's log: its disk is full, read-only or failing"))
    }
}

/// What a person wants done to a target.
fn wanted(wish: &TargetWish) -> Option<Action> {
    match wish {
        TargetWish::RollBack => Some(Action::RollBack { how: How::AbortCanary }),
        TargetWish::Heal(playbook) => Some(Action::Heal { playbook: Some(playbook.clone()) }),
        TargetWish::Freeze
        | TargetWish::Thaw
        | TargetWish::CloseBreaker
        | TargetWish::Lift(_)
        | TargetWish::Migrate(_)
        | TargetWish::Mark(..) => None,
    }
}

/// What a rail keeps back, with what helps.
pub(super) fn kept_back(id: &TargetId, rail: Rail) -> ApiError {
    if let Rail::Migration { why, way_out } = rail {
        return ApiError::new(Kind::Refused, why).help(way_out);
    }
    ApiError::new(Kind::Refused, rail.to_string()).help(format!("backstay target show {id}"))
}

/// A release of a target. A version without a digest stands for itself.
fn release(version: &Version, digest: Option<Digest>) -> Release {
    let digest = digest.unwrap_or_else(|| Digest(Sha256::digest(version.as_str().as_bytes()).into()));
    Release { version: version.clone(), digest, length: 0, security_epoch: 0 }
}

/// An advice in the words of a pipeline, and after how many seconds to ask again.
fn told(advice: &Advice, window_secs: u32) -> (VerdictAction, u32) {
    let wait = |windows: u32| window_secs.max(1).saturating_mul(windows.max(1)).min(Verdict::WAIT_SECS_MAX);
    match &advice.action {
        Action::Proceed => (VerdictAction::Proceed, 0),
        Action::Slow { windows } => (VerdictAction::Slow, wait(*windows)),
        Action::Heal { .. } => (VerdictAction::Heal, 0),
        Action::RollBack { .. } => (VerdictAction::Rollback, 0),
        Action::Freeze => (VerdictAction::Freeze, 0),
        Action::Pause => (VerdictAction::Pause, 0),
    }
}

pub(super) fn no_target(id: &TargetId) -> ApiError {
    ApiError::new(Kind::NotFound, format!("no target {id} is configured here"))
        .help("a target is a file in the server's folder of targets")
}

fn no_incident(id: IncidentId) -> ApiError {
    ApiError::new(Kind::NotFound, format!("there is no incident {id}, or it is too long ago"))
        .help("backstay incident ls shows those that are remembered")
}
