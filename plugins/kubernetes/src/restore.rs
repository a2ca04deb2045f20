//! Bringing the template of a revision back, as it was.
//!
//! Here: reading it, writing it where nobody else wrote meanwhile, and what is kept as evidence of what was there. Not here: which
//! revision (`revisions`), what else has to happen first (`owners`), and waiting for the pods (the executors).

use alloc::{format, string::ToString as _, vec::Vec};

use backstay_sdk::{
    deed,
    executor::{Failed, permanent, transient},
    quote,
};
use serde_json::{Value, json};

use crate::{
    api::{Cluster, Written, text},
    resource::{REPLICA_SETS, Resource},
    revisions::{Marking, Revision},
    template::Marks,
};

/// What the evidence is called.
const BEFORE: &str = "before";
/// Where Argo Rollouts notes what it put on a revision's pods.
const EPHEMERAL: &str = "/metadata/annotations/rollout.argoproj.io~1ephemeral-metadata";

/// The template of a revision, without what its controller wrote into it.
///
/// # Errors
/// It is gone meanwhile, or can't be read: one of more than 32 KiB can't be.
pub async fn template(
    cluster: &Cluster<'_>,
    namespace: &str,
    revision: &Revision,
    marking: Marking,
) -> Result<Value, Failed> {
    let of = REPLICA_SETS.named(namespace, &revision.name);
    let seen = cluster.get(&of, &["/spec/template", EPHEMERAL]).await?;
    let gone = || transient(format!("the ReplicaSet {} is gone", quote::text(&revision.name)));
    let mut seen = seen.ok_or_else(gone)?;
    let template = seen.pointer_mut("/spec/template").map(Value::take).ok_or_else(gone)?;
    Ok(Marks { hash_label: marking.hash, ephemeral: text(&seen, EPHEMERAL) }.taken_off(template))
}

/// Writes a template into the object `of`, which has to be the one with this uid, with nobody having changed what is asked of it
/// since it had this generation; and `more` with it, in one go.
///
/// # Errors
/// Why it can't be asked for at all.
pub async fn restore(
    cluster: &Cluster<'_>,
    of: &Resource,
    (uid, generation): (&str, i64),
    template: &Value,
    more: Vec<Value>,
) -> Result<Written, Failed> {
    let mut operations = Vec::from([
        json!({ "op": "test", "path": "/metadata/uid", "value": uid }),
        // Not the version: that moves with each word that a controller says of it.
        json!({ "op": "test", "path": "/metadata/generation", "value": generation }),
        json!({ "op": "replace", "path": "/spec/template", "value": template }),
    ]);
    operations.extend(more);
    cluster.patch(of, &operations).await
}

/// Why a release isn't let out.
#[must_use]
pub fn lets_none_out() -> Failed {
    permanent("it lets no release out: a pipeline or a GitOps controller does, and this takes it back")
}

/// Keeps what was there before as evidence of the run: the workload, who writes it, and which revision is home.
///
/// # Errors
/// That the host keeps none.
pub async fn keep(
    cluster: &Cluster<'_>,
    workload: &Value,
    owners: &Value,
    home: &Revision,
) -> Result<(), Failed> {
    let home = json!({ "replica-set": home.name, "revision": home.number });
    let before = json!({ "workload": workload, "owners": owners, "home": home });
    cluster.ctx().look(deed::attach(BEFORE, before.to_string().into_bytes())).await?;
    Ok(())
}
