//! What a pipeline is told that asks whether it may go on with a build.
//!
//! Here: from what is known of a target to one action with its reasons. Only `proceed` means go; what isn't known never does.
//! Not here: how an answer is signed, and what a pipeline makes of it (`gate`).

use alloc::{format, string::String, string::ToString, vec, vec::Vec};

use backstay_model::{Action, Digest, How, Millis, Mono, Permille, Rail, SchemaRange, Task, Version};

use crate::{
    Breaker, Estate, Migrations,
    target::{Hold, Judged, SMALL_STAGE, SharedData, Target, Work, unnamed},
};

/// After so many windows without a new one an answer of the policy says nothing any more.
const STALE_WINDOWS: u64 = 3;

/// What a pipeline wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The release that it is about; none: whatever is out.
    pub release: Option<Digest>,
    /// What it is called, for people; none: the pipeline doesn't say.
    pub version: Option<Version>,
    /// The share of the traffic that it is to get next; none: the pipeline doesn't say.
    pub stage: Option<Permille>,
    /// The schemas of shared data that it can live with; none: the pipeline doesn't say.
    pub schema: Option<SchemaRange>,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to do.
    pub action: Action,
    /// Why, the weightiest first.
    pub reasons: Vec<String>,
    /// The release that was judged, if one was.
    pub about: Option<Digest>,
    /// How long a window is: nothing changes sooner.
    pub window: Millis,
}

impl Estate {
    /// What to tell a pipeline about a target. `None`: it isn't watched.
    #[must_use]
    pub fn advise(&self, now: Mono, target: &backstay_model::TargetId, query: &Query) -> Option<Advice> {
        self.target(target).map(|target| advise(now, target, query, self.migrations()))
    }
}

fn advise(now: Mono, target: &Target, query: &Query, migrations: &Migrations) -> Advice {
    let state = target.state();
    let window = target.settings().window;
    let out = state.out().map(|out| out.release.digest);
    let tell =
        |action, reasons: Vec<String>| Advice { action, reasons, about: query.release.or(out), window };
    let about = query.release.or(out);
    let is_out = about.is_some() && about == out;
    if about.is_some_and(|digest| state.is_quarantined(&digest)) {
        let why = vec![Rail::InQuarantine.to_string()];
        // What isn't out yet has nothing to be brought back from.
        return tell(if is_out { Action::RollBack { how: How::AbortCanary } } else { Action::Freeze }, why);
    }
    match state.work() {
        Work::Running(running) => {
            let (action, why) = under_way(&running.order.task);
            return tell(action, vec![why]);
        }
        Work::Waiting { task, .. } => {
            let (action, why) = under_way(task);
            return tell(action, vec![why]);
        }
        Work::Idle => {}
    }
    // A release that was judged bad is told so, frozen or not: an observed target says what would have been done.
    let judged = state.judged().filter(|judged| Some(judged.about) == about || about.is_none());
    if let Some(Judged { decision, .. }) = judged.filter(|_| is_out)
        && matches!(decision.action, Action::RollBack { .. })
    {
        return tell(
            decision.action.clone(),
            decision.reasons.iter().map(|reason| reason.0.clone()).collect(),
        );
    }
    match state.hold() {
        Hold::Free => {}
        Hold::Held { rail, .. } | Hold::Frozen { rail, .. } => {
            return tell(Action::Freeze, vec![rail.to_string()]);
        }
    }
    if let Some(rail) = past_schema(target, query, migrations) {
        return tell(Action::Pause, vec![rail.to_string()]);
    }
    // A pipeline that doesn't say which release means its own, which nobody knows yet.
    let is_new =
        query.release.is_none_or(|digest| state.good().iter().all(|good| good.release.digest != digest));
    match state.breaker() {
        Breaker::Open { until } if *until > now && is_new => {
            return tell(Action::Freeze, vec![Rail::BreakerOpen { left: until.since(now) }.to_string()]);
        }
        Breaker::Open { .. } | Breaker::HalfOpen
            if is_new && query.stage.is_none_or(|stage| stage > SMALL_STAGE) =>
        {
            let rail = Rail::HalfOpen { stage_max: SMALL_STAGE };
            return tell(Action::Slow { windows: target.settings().confirm_windows }, vec![rail.to_string()]);
        }
        Breaker::Closed | Breaker::Open { .. } | Breaker::HalfOpen => {}
    }
    let Some(Judged { at, about: of, decision }) = state.judged() else {
        let why = "no window has been judged since it is out".into();
        return tell(if is_out { Action::Slow { windows: 1 } } else { Action::Freeze }, vec![why]);
    };
    let age = now.since(*at);
    if age.0 > window.0.saturating_mul(STALE_WINDOWS) {
        let why = format!("the last window was judged {age} ago, and a window is {window}");
        return tell(Action::Freeze, vec![why, Rail::NoData.to_string()]);
    }
    let reasons: Vec<String> = decision.reasons.iter().map(|reason| reason.0.clone()).collect();
    if is_out && Some(*of) == about {
        return tell(decision.action.clone(), reasons);
    }
    if is_out {
        let why = "no window of this release has been judged yet".into();
        return tell(Action::Slow { windows: 1 }, vec![why]);
    }
    // It isn't out yet: what is out has to be well.
    let action = match &decision.action {
        Action::Proceed => Action::Proceed,
        Action::Slow { windows } => Action::Slow { windows: *windows },
        Action::Heal { .. } | Action::RollBack { .. } | Action::Freeze => Action::Freeze,
        Action::Pause => Action::Pause,
    };
    let mut why = vec![format!("of what is out the policy says {}", decision.action)];
    why.extend(reasons);
    tell(action, why)
}

/// Why the data that releases of the target share is nothing for this one. What a pipeline doesn't say was said when the
/// release went out, or by nobody.
fn past_schema(target: &Target, query: &Query, migrations: &Migrations) -> Option<Rail> {
    let Some(SharedData::Of(data)) = &target.settings().schema else { return None };
    let state = target.state();
    let out = state.out().filter(|out| query.release == Some(out.release.digest));
    let known = |digest| state.good().iter().find(|good| good.release.digest == digest);
    let good = query.release.and_then(known);
    let range = query.schema.or(out.and_then(|out| out.schema)).or(good.and_then(|good| good.schema));
    let version = out.map(|out| &out.release.version).or(good.map(|good| &good.release.version)).cloned();
    let version = query.version.clone().or(version).unwrap_or_else(|| unnamed().version);
    migrations.refusal(data, &version, range.as_ref())
}

/// What is being done already.
fn under_way(task: &Task) -> (Action, String) {
    match task {
        Task::GoHome { release } => {
            (Action::RollBack { how: How::AbortCanary }, format!("it is being brought back to {release}"))
        }
        Task::Heal { playbook } => {
            (Action::Heal { playbook: Some(playbook.clone()) }, format!("it is being mended by {playbook}"))
        }
        Task::Install { .. } | Task::Confirm { .. } => (Action::Freeze, "it is being changed".into()),
    }
}
