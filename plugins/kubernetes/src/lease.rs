//! A lock on the API server, for what several instances of Backstay may do at once: a Lease that one of them holds.
//!
//! Taken by a write that only passes if the Lease is still what was read; held for so long, as long as nobody can have taken it;
//! let go of at the end, or taken over when its time is over. All times are the API server's, so no two clocks are compared. A
//! fence, a number that only grows, stands in an annotation: of two that held it one after the other it says who was later. What its
//! holder was about to do stands beside it, for the next one.
//!
//! Not here: what is done under it. Whoever knows nothing of it, a person at a terminal, isn't kept away: look afterwards, too.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, Order, transient},
    quote,
};
use serde_json::{Value, json};

use crate::{
    api::{Cluster, Written, number, text},
    clock::{self, Time},
    resource::{LEASES, Resource},
};

/// The number that only grows.
pub const FENCE: &str = "backstay.dev/fence";
/// What its holder was about to do, or left behind.
pub const DOING: &str = "backstay.dev/doing";
const FENCE_FIELD: &str = "/metadata/annotations/backstay.dev~1fence";
const DOING_FIELD: &str = "/metadata/annotations/backstay.dev~1doing";
const HOLDER_FIELD: &str = "/spec/holderIdentity";
/// What is read of it.
const FIELDS: [&str; 8] = [
    "/metadata/uid",
    "/metadata/resourceVersion",
    FENCE_FIELD,
    DOING_FIELD,
    HOLDER_FIELD,
    "/spec/leaseDurationSeconds",
    "/spec/leaseTransitions",
    "/spec/renewTime",
];
/// How often it is tried where others take it and let go of it in between.
const TRIES: u32 = 4;

/// The lock, held.
pub struct Lease<'a> {
    cluster: &'a Cluster<'a>,
    at: Resource,
    name: String,
    holder: String,
    fence: u64,
    left: String,
}

/// Who wants it, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'c> {
    /// What this instance is called.
    pub instance: &'c str,
    /// The run that is to hold it.
    pub order: &'c Order,
    /// After so many ms without a word from its holder anybody may take it.
    pub lasts_ms: u32,
}

/// What a Lease says.
struct Found {
    uid: String,
    version: String,
    holder: String,
    fence: u64,
    doing: String,
    transitions: i64,
    /// When its time is over; `None` where nobody can say, so that it is over.
    until: Option<(Time, u64)>,
}

impl<'a> Lease<'a> {
    /// Takes the Lease `name` of `namespace`.
    ///
    /// # Errors
    /// Somebody else holds it, or it can't be read or written.
    pub async fn take(
        cluster: &'a Cluster<'a>,
        namespace: &str,
        name: &str,
        claim: Claim<'_>,
    ) -> Result<Self, Failed> {
        let mut lease = Self {
            cluster,
            at: LEASES.named(namespace, name),
            name: name.into(),
            holder: format!("{}/{}.{}", claim.instance, claim.order.ticket, claim.order.fence),
            fence: 0,
            left: String::new(),
        };
        for _ in 0..TRIES {
            let found = cluster.get(&lease.at, &FIELDS).await?.map(|seen| Found::of(&seen));
            // Only a write whose answer was lost has left our name and the number that we wrote with it.
            let is_ours = |found: &Found| found.holder == lease.holder && found.fence == lease.fence;
            if lease.fence > 0 && found.as_ref().is_some_and(is_ours) {
                return Ok(lease);
            }
            let now = clock::now(cluster).await?;
            let written = match found {
                Some(found) if found.is_held(now) => return Err(found.held(name, now)),
                Some(found) => {
                    // Of one whose time ran out nobody knows whether what it began has ended.
                    lease.left = if found.holder.is_empty() { found.doing.clone() } else { String::new() };
                    lease.fence = found.fence + 1;
                    let patch = lease.taken(Some(&found), claim.lasts_ms, now);
                    cluster.merge(&lease.at, &patch).await?
                }
                None => {
                    lease.fence = 1;
                    let object = lease.taken(None, claim.lasts_ms, now);
                    cluster.create(&LEASES.of(namespace), &object).await?
                }
            };
            match written {
                Written::Done => return Ok(lease),
                Written::Refused(refused) if matches!(refused.status, 404 | 409) => lease.fence = 0,
                Written::Refused(refused) => return Err(refused.failed(&format!("taking the Lease {name}"))),
                Written::Unknown => {}
            }
        }
        Err(transient(format!("the Lease {name} was taken by others again and again")))
    }

    /// The number of this hold: larger than of all before.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// What the one who held it before left behind, if it let go of it in the end. Empty where nothing is known.
    #[must_use]
    pub fn left(&self) -> &str {
        &self.left
    }

    /// Holds it for as long again, and writes down what is about to be done.
    ///
    /// # Errors
    /// It isn't ours any more: then nothing may be done.
    pub async fn renew(&self, doing: &str) -> Result<(), Failed> {
        let now = clock::now(self.cluster).await?;
        let operations = Vec::from([
            json!({ "op": "test", "path": HOLDER_FIELD, "value": self.holder }),
            json!({ "op": "test", "path": FENCE_FIELD, "value": self.fence.to_string() }),
            json!({ "op": "add", "path": "/spec/renewTime", "value": precise(now) }),
            json!({ "op": "add", "path": DOING_FIELD, "value": doing }),
        ]);
        for _ in 0..TRIES {
            match self.cluster.patch(&self.at, &operations).await? {
                Written::Done => return Ok(()),
                Written::Refused(_) => break,
                Written::Unknown => {
                    let seen = self.cluster.get(&self.at, &FIELDS).await?.map(|seen| Found::of(&seen));
                    let is_ours = |found: &Found| found.holder == self.holder && found.fence == self.fence;
                    match seen.filter(is_ours) {
                        Some(found) if found.doing == doing => return Ok(()),
                        Some(_) => {}
                        None => break,
                    }
                }
            }
        }
        Err(transient(format!("the Lease {} is not ours any more: nothing was done", self.name)))
    }

    /// Lets go of it, and says what was left behind. Where nobody knows whether that was heard it is said again: it is said of this hold alone, and of
    /// one that was let go of it does nothing. Where it doesn't work its time runs out.
    pub async fn release(self, left: &str) {
        let operations = Vec::from([
            json!({ "op": "test", "path": HOLDER_FIELD, "value": self.holder }),
            json!({ "op": "test", "path": FENCE_FIELD, "value": self.fence.to_string() }),
            json!({ "op": "add", "path": DOING_FIELD, "value": left }),
            json!({ "op": "remove", "path": HOLDER_FIELD }),
        ]);
        for _ in 0..TRIES {
            match self.cluster.patch(&self.at, &operations).await {
                Ok(Written::Unknown) => {}
                Ok(Written::Done | Written::Refused(_)) | Err(_) => return,
            }
        }
    }

    /// What is written to take it.
    fn taken(&self, found: Option<&Found>, lasts_ms: u32, now: Time) -> Value {
        let transitions = found.map_or(0, |found| found.transitions + 1);
        let mut object = json!({
            "metadata": { "annotations": { FENCE: self.fence.to_string(), DOING: "" } },
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": lasts_ms.div_ceil(1000),
                "acquireTime": precise(now),
                "renewTime": precise(now),
                "leaseTransitions": transitions,
            },
        });
        match found {
            Some(found) => {
                object["metadata"]["uid"] = found.uid.as_str().into();
                object["metadata"]["resourceVersion"] = found.version.as_str().into();
            }
            None => {
                object["apiVersion"] = LEASES.api_version().into();
                object["kind"] = LEASES.kind.into();
                object["metadata"]["name"] = self.name.as_str().into();
            }
        }
        object
    }
}

impl Found {
    fn of(seen: &Value) -> Self {
        let lasts =
            number(seen, "/spec/leaseDurationSeconds").and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            uid: text(seen, "/metadata/uid").into(),
            version: text(seen, "/metadata/resourceVersion").into(),
            holder: text(seen, HOLDER_FIELD).into(),
            // What is no number was written by somebody else, and what comes after it is larger all the same.
            fence: text(seen, FENCE_FIELD).parse().unwrap_or(0),
            doing: text(seen, DOING_FIELD).into(),
            transitions: number(seen, "/spec/leaseTransitions").unwrap_or(0),
            until: Time::parse(text(seen, "/spec/renewTime")).zip(lasts),
        }
    }

    /// How many seconds it is still held for.
    fn left(&self, now: Time) -> u64 {
        self.until.map_or(0, |(renewed, lasts)| lasts.saturating_sub(now.ms_since(renewed) / 1000))
    }

    fn is_held(&self, now: Time) -> bool {
        !self.holder.is_empty() && self.left(now) > 0
    }

    fn held(&self, name: &str, now: Time) -> Failed {
        let (holder, left) = (quote::text(&self.holder), self.left(now));
        transient(format!("{holder} is at work and holds the Lease {name}, for {left} s at most"))
    }
}

/// A time as a Lease has it: with six digits behind the second.
fn precise(time: Time) -> String {
    time.written().replace('Z', ".000000Z")
}

#[cfg(test)]
mod tests;
