//! What a Rollout says of itself.

use alloc::{string::String, vec::Vec};

use backstay_kubernetes::{
    api::{Cluster, is_true, number, text},
    hold::{HELD_FIELD, Pause},
    json::{Value, json},
    owners::{MARKS, Owner},
    resource::ROLLOUTS,
    revisions::{
        Now,
        in_vain::{self, IN_VAIN_FIELD},
    },
    template,
    workload::Workload,
};
use backstay_sdk::executor::Failed;

use crate::source::Source;

/// What is asked for again and again on the way.
const PROGRESS: [&str; 9] = [
    "/metadata/generation",
    "/status/abort",
    "/status/currentPodHash",
    "/status/currentStepIndex",
    "/status/observedGeneration",
    "/status/phase",
    "/status/promoteFull",
    "/status/stableRS",
    "/status/workloadObservedGeneration",
];
/// The rest.
const REST: [&str; 9] = [
    "/metadata/uid",
    "/metadata/annotations/rollout.argoproj.io~1revision",
    HELD_FIELD,
    IN_VAIN_FIELD,
    "/spec/paused",
    "/spec/selector",
    "/spec/workloadRef",
    "/spec/strategy/canary/steps/*/setWeight",
    "/spec/strategy/blueGreen/activeService",
];

/// The phase of a Rollout that was aborted, did not come up in its time, or makes no sense.
pub(crate) const DEGRADED: &str = "Degraded";

/// How far a Rollout has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress(Value);

impl Progress {
    pub(crate) async fn of(cluster: &Cluster<'_>, workload: &Workload) -> Result<Self, Failed> {
        cluster.need(&workload.resource(), &PROGRESS, &workload.told()).await.map(Self)
    }

    /// Grows with each change of what is asked of it.
    pub(crate) fn generation(&self) -> i64 {
        number(&self.0, "/metadata/generation").unwrap_or(0)
    }

    /// Whether its controller has seen what is asked of the Rollout itself. It says so in a text.
    pub(crate) fn is_observed(&self) -> bool {
        text(&self.0, "/status/observedGeneration").parse() == Ok(self.generation())
    }

    /// Whether its controller has seen what is asked of the object with the template, too.
    fn has_seen(&self, source: &Source) -> bool {
        let is_own = source.workload.kind == ROLLOUTS;
        let seen = text(&self.0, "/status/workloadObservedGeneration").parse() == Ok(source.generation());
        self.is_observed() && (is_own || seen)
    }

    /// The revision that is being rolled out, or was.
    pub(crate) fn current(&self) -> &str {
        text(&self.0, "/status/currentPodHash")
    }

    /// The revision that was fully promoted last. Empty: none yet.
    pub(crate) fn stable(&self) -> &str {
        text(&self.0, "/status/stableRS")
    }

    pub(crate) fn is_aborted(&self) -> bool {
        is_true(&self.0, "/status/abort")
    }

    /// Whether the current revision was told to go past all steps.
    pub(crate) fn is_promoted(&self) -> bool {
        is_true(&self.0, "/status/promoteFull")
    }

    /// How many steps are done.
    pub(crate) fn steps_done(&self) -> Option<i64> {
        number(&self.0, "/status/currentStepIndex")
    }

    /// Healthy, Degraded, Progressing or Paused, as its controller sees it.
    pub(crate) fn phase(&self) -> &str {
        text(&self.0, "/status/phase")
    }

    /// Whether all of it is this revision, with all pods and all traffic.
    pub(crate) fn is_whole(&self, hash: &str) -> bool {
        self.is_observed() && self.current() == hash && self.stable() == hash && self.phase() == "Healthy"
    }

    /// Whether its pods did not come up in its own time. Aborted it is degraded, too.
    pub(crate) fn gave_up(&self) -> bool {
        self.is_observed() && self.phase() == DEGRADED && !self.is_aborted()
    }
}

/// A Rollout, as far as the way home has to know it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    fields: Value,
    /// Where its template is, and what that runs.
    pub(crate) source: Source,
    /// Who paused it.
    pub(crate) pause: Pause,
    /// How far it has come.
    pub(crate) progress: Progress,
    /// The revisions that did not come up when they were tried.
    in_vain: Vec<u64>,
}

impl Seen {
    pub(crate) async fn of(cluster: &Cluster<'_>, workload: &Workload) -> Result<Self, Failed> {
        Self::with(cluster, workload, &[]).await
    }

    /// With some more fields of it.
    pub(crate) async fn with(
        cluster: &Cluster<'_>,
        workload: &Workload,
        more: &[&str],
    ) -> Result<Self, Failed> {
        let template = template::fields("/spec/template", cluster.config());
        let mut all: Vec<&str> = PROGRESS.into_iter().chain(REST).chain(MARKS).collect();
        all.extend(template.iter().map(String::as_str).chain(more.iter().copied()));
        let fields = cluster.need(&workload.resource(), &all, &workload.told()).await?;
        let source = Source::of(cluster, workload, &fields).await?;
        let (pause, progress) = (Pause::of(&fields), Progress(fields.clone()));
        let in_vain = in_vain::read(&source.fields);
        Ok(Self { fields, source, pause, progress, in_vain })
    }

    /// What was read of it.
    pub(crate) fn fields(&self) -> &Value {
        &self.fields
    }

    pub(crate) fn uid(&self) -> &str {
        text(&self.fields, "/metadata/uid")
    }

    /// Which pods are its own: it says so itself, or the Deployment with its template does.
    pub(crate) fn selector(&self) -> &Value {
        let own = self
            .fields
            .pointer("/spec/selector")
            .filter(|it| it.as_object().is_some_and(|it| !it.is_empty()));
        own.or_else(|| self.source.fields.pointer("/spec/selector")).unwrap_or(&Value::Null)
    }

    /// Whether its controller has seen all that is asked of it.
    pub(crate) fn is_observed(&self) -> bool {
        self.progress.has_seen(&self.source)
    }

    /// Whether something else than what is stable is being rolled out, or will be.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.is_observed() || self.progress.current() != self.progress.stable()
    }

    pub(crate) fn is_blue_green(&self) -> bool {
        self.fields.pointer("/spec/strategy/blueGreen/activeService").is_some()
    }

    /// How many steps the current revision has before it, where it has come so far. To be shown and then let in, as blue-green has it,
    /// is one.
    pub(crate) fn steps_left(&self, progress: &Progress) -> i64 {
        if self.is_blue_green() {
            return 1;
        }
        let steps = self.fields.pointer("/spec/strategy/canary/steps").and_then(Value::as_array);
        let steps = steps.and_then(|steps| i64::try_from(steps.len()).ok()).unwrap_or(0);
        steps - progress.steps_done().unwrap_or(0)
    }

    /// What the choice of a revision has to know.
    pub(crate) fn now(&self) -> Now<'_> {
        let stable = Some(self.progress.stable()).filter(|hash| !hash.is_empty());
        let current = Some(self.progress.current()).filter(|_| self.is_observed());
        Now { current, stable, gave_up: self.progress.gave_up(), in_vain: &self.in_vain }
    }

    /// Who else writes it, or the object with its template.
    pub(crate) fn owners(&self, cluster: &Cluster<'_>, workload: &Workload) -> Vec<Owner> {
        let mut all = Owner::all(cluster.config(), workload, &self.fields);
        all.extend(Owner::all(cluster.config(), &self.source.workload, &self.source.fields));
        Owner::once(all)
    }

    /// For the evidence.
    pub(crate) fn kept(&self, workload: &Workload) -> Value {
        json!({
            "object": workload.told(),
            "uid": self.uid(),
            "generation": self.progress.generation(),
            "image": self.source.told.as_ref().map(|told| told.image.clone()),
            "paused": self.pause != Pause::None,
            "current": self.progress.current(),
            "stable": self.progress.stable(),
            "steps-done": self.progress.steps_done(),
            "aborted": self.progress.is_aborted(),
        })
    }
}
