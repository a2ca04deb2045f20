//! Since when a workload has been what it is: the ages of its revisions.
//!
//! Here: whether what runs was changed lately, and so whether trouble with it may be the change's own fault. A restart asks that before it
//! hides a regression, and a look before it calls a bad release the machine's trouble: they ask the same question, so that nothing is
//! proposed that would then be refused. Not here: what a revision runs (`template`).

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, permanent},
    quote,
    settings::Number,
};
use serde_json::Value;

use crate::{
    api::{Cluster, number, text},
    clock::{self, Time},
    resource::{CONTROLLER_REVISIONS, REPLICA_SETS, STATEFUL_SETS},
    standing::{Standing, revision_label},
    workload::Workload,
};

/// How long what runs has to be the same before trouble with it counts as somebody else's.
pub const SETTLES: Number = Number {
    name: "restart-after-ms",
    default: 1_800_000,
    least: 0,
    most: 86_400_000,
    help: "What was changed less than so long ago is not restarted, and its crashes are not told as the machine's trouble: they are \
           a regression, which going back cures, in ms.",
};

/// The most revisions that are looked at. Kubernetes keeps ten of a workload where nobody said otherwise.
const REVISIONS_MAX: usize = 60;

/// One revision of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    /// What its object is called.
    pub(crate) name: String,
    /// What its pods say of themselves.
    pub(crate) hash: String,
    /// Since when it has been there.
    pub(crate) made: Option<Time>,
    /// How many pods it is to have, where its object says that: a StatefulSet's doesn't.
    pub(crate) wanted: u32,
}

/// A workload's revisions, and what time it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ages {
    pub(crate) now: Time,
    revisions: Vec<Revision>,
    settles_ms: u64,
    stable: Option<String>,
}

/// Looks at the revisions, and at the clock.
///
/// # Errors
/// They can't be read, or it doesn't say.
pub(crate) async fn ages(
    cluster: &Cluster<'_>,
    workload: &Workload,
    standing: &Standing,
) -> Result<Ages, Failed> {
    let now = clock::now(cluster).await?;
    let kind = if workload.kind == STATEFUL_SETS { CONTROLLER_REVISIONS } else { REPLICA_SETS };
    let label = format!("/metadata/labels/{}", revision_label(workload));
    let all = kind.of(&workload.namespace).with("labelSelector", &standing.selector);
    let fields = [
        "/metadata/name",
        "/metadata/creationTimestamp",
        "/metadata/ownerReferences/*/uid",
        "/spec/replicas",
        &label,
    ];
    let found = cluster.list(&all, &fields, REVISIONS_MAX).await?;
    let is_ours = |item: &&Value| {
        let owners = item.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| text(owner, "/uid") == standing.uid)
    };
    let revisions = found.iter().filter(is_ours).map(|item| {
        let name = text(item, "/metadata/name");
        // A pod of a StatefulSet says the name of its revision.
        let hash = if kind == CONTROLLER_REVISIONS { name } else { text(item, &label) };
        Revision {
            name: name.to_string(),
            hash: hash.to_string(),
            made: Time::parse(text(item, "/metadata/creationTimestamp")),
            wanted: number(item, "/spec/replicas").and_then(|wanted| u32::try_from(wanted).ok()).unwrap_or(0),
        }
    });
    Ok(Ages {
        now,
        revisions: revisions.collect(),
        settles_ms: SETTLES.count(cluster.config()).into(),
        stable: standing.stable.clone(),
    })
}

impl Ages {
    /// That nothing was changed lately.
    ///
    /// # Errors
    /// That something was: then what ails it isn't cured by doing the same again. Or that it can't be told.
    pub(crate) fn nothing_new(&self, workload: &Workload) -> Result<(), Failed> {
        let told = quote::text(&workload.told());
        let Some(newest) = self.revisions.iter().max_by_key(|revision| revision.made) else {
            return Err(permanent(format!("{told} has no revision whose age could be told")));
        };
        let age = newest.made.map(|made| self.now.ms_since(made)).unwrap_or_default();
        if age >= self.settles_ms {
            return Ok(());
        }
        Err(permanent(format!(
            "{told} was changed {} s ago, less than restart-after-ms: that is a regression, which no restart cures: go back",
            age / 1000
        )))
    }

    /// Whether a pod of this revision runs what was there before anything was changed lately. Trouble with such a pod isn't the
    /// fault of a release that is on its way out.
    ///
    /// It has to be old enough; of a Rollout it has to be the stable one; and while two revisions have pods, of which the newest is
    /// on its way, it is not the newest, however long that takes.
    pub(crate) fn is_settled(&self, hash: &str) -> bool {
        let Some(revision) = self.revisions.iter().find(|revision| revision.hash == hash) else {
            return false;
        };
        let old = revision.made.is_some_and(|made| self.now.ms_since(made) >= self.settles_ms);
        let newest = self.revisions.iter().map(|revision| revision.made).max().flatten() == revision.made;
        let others = self.revisions.iter().any(|other| other.hash != hash && other.wanted > 0);
        old && match &self.stable {
            Some(stable) => stable == hash,
            None => !newest || !others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::DEPLOYMENTS;

    fn at(minute: u32) -> Time {
        Time::parse(&format!("2026-11-28T02:{minute:02}:00Z")).unwrap()
    }

    fn ages(revisions: &[(&str, u32, u32)], stable: Option<&str>) -> Ages {
        let revision = |&(hash, minute, wanted): &(&str, u32, u32)| Revision {
            name: format!("shop-{hash}"),
            hash: hash.into(),
            made: Some(at(minute)),
            wanted,
        };
        Ages {
            now: at(59),
            revisions: revisions.iter().map(revision).collect(),
            settles_ms: 1_800_000,
            stable: stable.map(Into::into),
        }
    }

    fn shop() -> Workload {
        Workload { kind: DEPLOYMENTS, namespace: "prod".into(), name: "shop".into() }
    }

    #[test]
    fn what_was_changed_lately_is_a_regression() {
        assert_eq!(ages(&[("a", 0, 0), ("b", 29, 3)], None).nothing_new(&shop()), Ok(()));
        let failed = ages(&[("a", 0, 0), ("b", 30, 3)], None).nothing_new(&shop()).unwrap_err();
        assert_eq!(
            failed.why,
            "Deployment prod/shop was changed 1740 s ago, less than restart-after-ms: that is a regression, which no restart cures: \
             go back"
        );
        // It was gone back from: what runs is old, and still something was changed lately.
        assert!(ages(&[("a", 0, 3), ("b", 40, 0)], None).nothing_new(&shop()).is_err());
        assert!(ages(&[], None).nothing_new(&shop()).is_err());
    }

    /// A release that is on its way out and crashes is nobody's fault but its own, after whatever time.
    #[test]
    fn only_what_was_there_before_is_settled() {
        let alone = ages(&[("a", 0, 3)], None);
        assert!(alone.is_settled("a") && !alone.is_settled("b"));
        let young = ages(&[("a", 0, 0), ("b", 40, 3)], None);
        assert!(!young.is_settled("b"));
        let stuck = ages(&[("a", 0, 2), ("b", 10, 1)], None);
        assert!(stuck.is_settled("a") && !stuck.is_settled("b"));
        let done = ages(&[("a", 0, 0), ("b", 10, 3)], None);
        assert!(done.is_settled("b"));
        let gone_back = ages(&[("a", 0, 3), ("b", 40, 0)], None);
        assert!(gone_back.is_settled("a"));
        let canary = ages(&[("a", 0, 2), ("b", 10, 1)], Some("a"));
        assert!(canary.is_settled("a") && !canary.is_settled("b"));
        let promoted = ages(&[("a", 0, 1), ("b", 10, 3)], Some("b"));
        assert!(promoted.is_settled("b") && !promoted.is_settled("a"));
    }
}
