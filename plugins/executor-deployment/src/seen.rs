//! What a Deployment says of itself.

use alloc::{string::String, vec::Vec};

use backstay_kubernetes::{
    api::{Cluster, number, text},
    hold::{HELD_FIELD, Pause},
    json::{Value, json},
    owners::MARKS,
    revisions::{BY_DEPLOYMENT, Revision, in_vain::IN_VAIN_FIELD},
    template::{self, Told},
    workload::Workload,
};
use backstay_sdk::executor::Failed;

/// What is asked for again and again while pods come up.
const PROGRESS: [&str; 7] = [
    "/metadata/generation",
    "/spec/replicas",
    "/status/observedGeneration",
    "/status/replicas",
    "/status/updatedReplicas",
    "/status/availableReplicas",
    "/status/conditions/*/reason",
];
/// The rest.
const REST: [&str; 6] = [
    "/metadata/uid",
    "/metadata/annotations/deployment.kubernetes.io~1revision",
    HELD_FIELD,
    IN_VAIN_FIELD,
    "/spec/paused",
    "/spec/selector",
];
/// The reason of a condition: the pods of the newest revision did not come up in the Deployment's own time.
const GAVE_UP: &str = "ProgressDeadlineExceeded";

/// How far a Deployment has come.
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

    /// Whether its controller has seen what is asked of it.
    pub(crate) fn is_observed(&self) -> bool {
        number(&self.0, "/status/observedGeneration") >= Some(self.generation())
    }

    /// Whether all of its pods are of its template and available, and no others are left.
    pub(crate) fn is_whole(&self) -> bool {
        let wanted = number(&self.0, "/spec/replicas").unwrap_or(1);
        let all = ["/status/replicas", "/status/updatedReplicas", "/status/availableReplicas"];
        self.is_observed() && all.into_iter().all(|count| self.count(count) == wanted)
    }

    /// Whether its pods did not come up in its own time.
    pub(crate) fn gave_up(&self) -> bool {
        let conditions = self.0.pointer("/status/conditions").and_then(Value::as_array);
        self.is_observed() && conditions.into_iter().flatten().any(|it| text(it, "/reason") == GAVE_UP)
    }

    /// How many of its pods are of its template, are available, and there are.
    pub(crate) fn counts(&self) -> (i64, i64, i64) {
        let count = |name| self.count(name);
        (count("/status/updatedReplicas"), count("/status/availableReplicas"), count("/status/replicas"))
    }

    fn count(&self, pointer: &str) -> i64 {
        number(&self.0, pointer).unwrap_or(0)
    }
}

/// A Deployment, as far as the way home has to know it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    fields: Value,
    /// What its template runs.
    pub(crate) told: Option<Told>,
    /// Who paused it.
    pub(crate) pause: Pause,
    /// How far it has come.
    pub(crate) progress: Progress,
}

impl Seen {
    pub(crate) async fn of(cluster: &Cluster<'_>, workload: &Workload) -> Result<Self, Failed> {
        let template = template::fields("/spec/template", cluster.config());
        let mut fields: Vec<&str> = PROGRESS.into_iter().chain(REST).chain(MARKS).collect();
        fields.extend(template.iter().map(String::as_str));
        let fields = cluster.need(&workload.resource(), &fields, &workload.told()).await?;
        let told = fields.pointer("/spec/template").and_then(|template| Told::of(template, cluster.config()));
        let (pause, progress) = (Pause::of(&fields), Progress(fields.clone()));
        Ok(Self { fields, told, pause, progress })
    }

    /// What was read of it.
    pub(crate) fn fields(&self) -> &Value {
        &self.fields
    }

    pub(crate) fn uid(&self) -> &str {
        text(&self.fields, "/metadata/uid")
    }

    pub(crate) fn selector(&self) -> &Value {
        self.fields.pointer("/spec/selector").unwrap_or(&Value::Null)
    }

    /// The hash of the revision that its template is, where its controller has seen that template.
    pub(crate) fn current<'r>(&self, revisions: &'r [Revision]) -> Option<&'r str> {
        let annotations = self.fields.pointer("/metadata/annotations")?;
        let number: u64 = annotations.get(BY_DEPLOYMENT.revision)?.as_str()?.parse().ok()?;
        let current = revisions.iter().find(|it| it.number == number && it.told == self.told)?;
        self.progress.is_observed().then_some(&current.hash)
    }

    /// For the evidence.
    pub(crate) fn kept(&self, workload: &Workload) -> Value {
        json!({
            "object": workload.told(),
            "uid": self.uid(),
            "generation": self.progress.generation(),
            "image": self.told.as_ref().map(|told| told.image.clone()),
            "paused": self.pause != Pause::None,
        })
    }
}
