//! Nodes: whether one is well, and who keeps pods off it.
//!
//! Here: reading them, a few fields of each. Not here: keeping pods off one (`heal`), and what a sick node means for a release (`look`).

use alloc::{string::String, vec::Vec};

use backstay_sdk::executor::Failed;
use serde_json::Value;

use crate::{
    api::{Cluster, is_true, text},
    resource::{NODES, Resource},
};

/// The annotation of a node that we keep pods off: for which target.
pub const CORDONED_BY: &str = "backstay.dev/cordoned-by";

const FIELDS: [&str; 8] = [
    "/metadata/name",
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/metadata/annotations/backstay.dev~1cordoned-by",
    "/spec/unschedulable",
    "/spec/taints/*/effect",
    "/status/conditions/*/type",
    "/status/conditions/*/status",
];

/// What is wrong with a node, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ill {
    /// It isn't ready, or nobody has heard of it for a while.
    Lost,
    /// Its disk is full, or nearly.
    Disk,
    /// Its network isn't there.
    Network,
    /// It has no memory or no process numbers left.
    Starved,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// Which it is.
    pub uid: String,
    /// Its version when it was looked at.
    pub version: String,
    /// For which target we keep pods off it. Empty: we don't.
    pub cordoned_by: String,
    /// Whether pods are kept off it, by whomever.
    pub is_cordoned: bool,
    /// Whether only pods that tolerate something are let on it.
    pub is_tainted: bool,
    /// What is wrong with it, the worst first.
    pub ills: Vec<Ill>,
}

impl Ill {
    /// As Kubernetes calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lost => "NotReady",
            Self::Disk => "DiskPressure",
            Self::Network => "NetworkUnavailable",
            Self::Starved => "MemoryPressure or PIDPressure",
        }
    }
}

impl Node {
    /// The node of that name; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn of(cluster: &Cluster<'_>, name: &str) -> Result<Option<Self>, Failed> {
        Ok(cluster.get(&resource(name), &FIELDS).await?.map(|seen| Self::read(&seen)))
    }

    /// The same as the API server remembers it, which is nearly always as it is. One that isn't there any more is lost.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn seen(cluster: &Cluster<'_>, name: &str) -> Result<Self, Failed> {
        let of = resource(name).with("resourceVersion", "0");
        let fields = ["/metadata/name", "/status/conditions/*/type", "/status/conditions/*/status"];
        Ok(Self::read(&cluster.get(&of, &fields).await?.unwrap_or_default()))
    }

    /// One page of those that a field selects, and what the next page is asked for by.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn page(
        cluster: &Cluster<'_>,
        selector: &str,
        limit: &str,
        next: &str,
    ) -> Result<(Vec<Self>, String), Failed> {
        let mut of = NODES.all().with("fieldSelector", selector).with("limit", limit);
        if !next.is_empty() {
            of = of.with("continue", next);
        }
        let fields: Vec<String> = FIELDS.iter().copied().map(Into::into).collect();
        let (items, next) = cluster.page(&of, &fields).await?;
        Ok((items.iter().map(Self::read).collect(), next))
    }

    fn read(seen: &Value) -> Self {
        let of = |pointer: &str| String::from(text(seen, pointer));
        let list =
            |pointer: &str| seen.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let conditions = list("/status/conditions");
        let says = |name: &str| {
            conditions.iter().find(|one| text(one, "/type") == name).map(|one| text(one, "/status"))
        };
        let is = |name: &str| says(name) == Some("True");
        let mut ills = Vec::new();
        // Ready is `Unknown` where nobody has heard of the kubelet.
        if says("Ready") != Some("True") {
            ills.push(Ill::Lost);
        }
        if is("DiskPressure") {
            ills.push(Ill::Disk);
        }
        if is("NetworkUnavailable") {
            ills.push(Ill::Network);
        }
        if is("MemoryPressure") || is("PIDPressure") {
            ills.push(Ill::Starved);
        }
        let keeps_off = |taint: &Value| matches!(text(taint, "/effect"), "NoSchedule" | "NoExecute");
        Self {
            name: of("/metadata/name"),
            uid: of("/metadata/uid"),
            version: of("/metadata/resourceVersion"),
            cordoned_by: of("/metadata/annotations/backstay.dev~1cordoned-by"),
            is_cordoned: is_true(seen, "/spec/unschedulable"),
            is_tainted: list("/spec/taints").iter().any(keeps_off),
            ills,
        }
    }

    /// Whether any pod could come here.
    #[must_use]
    pub fn takes_pods(&self) -> bool {
        !self.is_cordoned && !self.is_tainted && self.ills.is_empty()
    }
}

/// Where it is on the API server.
#[must_use]
pub fn resource(name: &str) -> Resource {
    NODES.of_cluster(name)
}
