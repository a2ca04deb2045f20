//! One pod let go of by the Eviction API, as its disruption budget allows.
//!
//! Here: asking for it, and waiting while a budget doesn't allow it. Not here: which pods, and how many at once.

use alloc::format;

use backstay_sdk::executor::{Failed, permanent, transient};
use serde_json::json;

use crate::{
    api::{Cluster, Refused, Sent, text},
    heal::named,
    patience::Patience,
    resource::PODS,
};

/// What the API server says of a pod with two budgets. It says it with status 500, which stays so until somebody takes one away.
const TWO_BUDGETS: &str = "more than one PodDisruptionBudget";

/// Whether a pod is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// As it was.
    Stays,
    /// It is being taken away.
    Leaves,
    /// It isn't there, or another one of its name is.
    Gone,
}

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It goes, or is gone.
    Goes,
    /// Not now. Why, where somebody said so.
    Later(Option<Refused>),
}

/// Asks for a pod to go, until it does or the time is over.
///
/// # Errors
/// Its budget did not allow it in time, can never allow it, or we may not ask.
pub(crate) async fn evict(
    cluster: &Cluster<'_>,
    namespace: &str,
    name: &str,
    uid: &str,
    patience: &mut Patience,
) -> Result<(), Failed> {
    while let Asked::Later(why) = ask(cluster, namespace, name, uid).await? {
        if !patience.wait(cluster.ctx()).await? {
            return Err(kept(name, why.as_ref()));
        }
    }
    Ok(())
}

/// Asks once. Done twice it is done once: the uid says which pod.
///
/// # Errors
/// A budget can never allow it, or we may not ask.
pub(crate) async fn ask(
    cluster: &Cluster<'_>,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Asked, Failed> {
    let eviction = PODS.named(namespace, name).part("eviction");
    let body = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": name, "namespace": namespace },
        "deleteOptions": { "preconditions": { "uid": uid } },
    });
    let refused = match cluster.send("POST", &eviction, &body).await? {
        // Gone by itself is as good.
        Sent::Done | Sent::Answered(Refused { status: 404, .. }) => return Ok(Asked::Goes),
        Sent::Answered(refused) if refused.message.contains(TWO_BUDGETS) => {
            let why = "has two disruption budgets, and is never let go of: one of them has to be taken away";
            return Err(permanent(format!("pod {} {why}", named(name))));
        }
        Sent::Answered(refused) if !matches!(refused.status, 409 | 429 | 500..600) => {
            return Err(refused.about("POST", &eviction));
        }
        Sent::Answered(refused) => Some(refused),
        Sent::Unknown => None,
    };
    // It may have been done all the same, by us or by somebody else; and a pod that was replaced is not asked about for ever.
    match presence(cluster, namespace, name, uid).await? {
        Presence::Stays => Ok(Asked::Later(refused)),
        Presence::Leaves | Presence::Gone => Ok(Asked::Goes),
    }
}

/// Whether this very pod is there.
///
/// # Errors
/// It can't be read.
pub(crate) async fn presence(
    cluster: &Cluster<'_>,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Presence, Failed> {
    let pod = PODS.named(namespace, name);
    let seen = cluster.get(&pod, &["/metadata/uid", "/metadata/deletionTimestamp"]).await?;
    Ok(match seen {
        Some(seen) if text(&seen, "/metadata/uid") == uid => {
            if text(&seen, "/metadata/deletionTimestamp").is_empty() {
                Presence::Stays
            } else {
                Presence::Leaves
            }
        }
        Some(_) | None => Presence::Gone,
    })
}

/// That a pod was not let go of in time.
pub(crate) fn kept(name: &str, refused: Option<&Refused>) -> Failed {
    let name = named(name);
    match refused {
        Some(Refused { status: 429, message, .. }) => transient(format!(
            "pod {name} was not let go of in time: {message} (see its unhealthyPodEvictionPolicy)"
        )),
        Some(Refused { status, message, .. }) => {
            transient(format!("pod {name} was not let go of in time: status {status}, {message}"))
        }
        None => transient(format!("whether pod {name} is let go of isn't known")),
    }
}
