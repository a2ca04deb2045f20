//! A node as the API server knows it.
//!
//! Here: its object, its lease, its conditions, which of them a test has changed, and whether a pod may be put on it.

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::{Value, json};

use super::quantity;
use crate::clock;

/// What a person or a test tells nodes and pods are annotations that begin so.
pub(crate) const PREFIX: &str = "kubelet.backstay.test/";
/// Where nodes are.
pub(crate) const NODES: &str = "/api/v1/nodes";
/// Where their leases are.
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// How much memory each has.
const MEMORY: &str = "64Gi";
/// How long a lease is good for, in seconds, as kubelets say it. The controller goes by a time of its own.
const LEASE_S: u32 = 40;

/// What a node makes of a wish for other resources while a pod runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resize {
    /// It gives them, without a restart unless the container wants one.
    #[default]
    Works,
    /// It doesn't know how: the API server says 422 once a container runs there.
    Unsupported,
    /// It has them, and not now.
    Deferred,
    /// It will never have them.
    Infeasible,
}

impl Resize {
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Works => None,
            Self::Unsupported => Some("unsupported"),
            Self::Deferred => Some("deferred"),
            Self::Infeasible => Some("infeasible"),
        }
    }

    fn parse(word: Option<&str>) -> Self {
        let all = [Self::Unsupported, Self::Deferred, Self::Infeasible];
        all.into_iter().find(|how| how.word() == word).unwrap_or_default()
    }
}

/// One node, as it was seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    name: String,
    labels: BTreeMap<String, String>,
    /// Takes only pods that ask for one of its labels.
    is_reserved: bool,
    taints: Vec<(String, String)>,
    is_cordoned: bool,
    pub(crate) address: String,
    pub(crate) is_lost: bool,
    disk_is_full: bool,
    pub(crate) resize: Resize,
    /// How many pods are on it.
    pub(crate) pods: usize,
    /// The API server doesn't know yet how it is.
    is_to_tell: bool,
}

impl Machine {
    pub(crate) fn of(node: &Value) -> Self {
        let mut machine = Self { is_to_tell: true, ..Self::default() };
        machine.seen(node);
        machine
    }

    /// Whether anything has changed that its pods have to do with.
    pub(crate) fn seen(&mut self, node: &Value) -> bool {
        let before = self.clone();
        let (metadata, spec) = (&node["metadata"], &node["spec"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        self.name = text(&metadata["name"]);
        self.labels = labels.map(|(name, value)| (name.clone(), text(value))).collect();
        let told = |what: &str| metadata["annotations"][format!("{PREFIX}{what}")].as_str();
        self.is_lost = told("lost") == Some("true");
        self.disk_is_full = told("disk-pressure") == Some("true");
        self.is_reserved = told("reserved") == Some("true");
        self.resize = Resize::parse(told("resize"));
        let taints = spec["taints"].as_array().into_iter().flatten();
        let bars = |taint: &&Value| taint["effect"] != "PreferNoSchedule";
        self.taints = taints.filter(bars).map(|it| (text(&it["key"]), text(&it["effect"]))).collect();
        self.is_cordoned = spec["unschedulable"] == true;
        self.address = text(&node["status"]["addresses"][0]["address"]);
        let conditions = node["status"]["conditions"].as_array();
        let is_ready =
            conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True");
        // The controller takes a silent node's word away.
        self.is_to_tell |= !is_ready || self.disk_is_full != before.disk_is_full;
        *self != before
    }

    /// Whether there is something to tell the API server.
    pub(crate) fn is_to_tell(&self) -> bool {
        self.is_to_tell
    }

    /// It was told what this one knew.
    pub(crate) fn has_told(&mut self, known: &Self) {
        self.is_to_tell = self.disk_is_full != known.disk_is_full;
    }

    /// Whether a pod may be put here.
    pub(crate) fn takes(&self, pod: &Value) -> bool {
        let selector = pod["spec"]["nodeSelector"].as_object();
        let asks = selector.is_some_and(|selector| !selector.is_empty());
        let fits = selector
            .into_iter()
            .flatten()
            .all(|(name, value)| self.labels.get(name).map(String::as_str) == value.as_str());
        // The controller of a daemon set makes a pod for each node, and names it so.
        let named = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
            .as_str();
        let tolerated = |key: &str, effect: &str| {
            let tolerations = pod["spec"]["tolerations"].as_array().into_iter().flatten();
            tolerations.into_iter().any(|it| {
                let is = |field: &str, value: &str| it[field].as_str().is_none_or(|wanted| wanted == value);
                is("key", key) && is("effect", effect)
            })
        };
        let is_cordoned = self.is_cordoned && !tolerated("node.kubernetes.io/unschedulable", "NoSchedule");
        let is_meant = named.map_or(asks || !self.is_reserved, |name| name == self.name);
        let tainted = self.taints.iter().any(|(key, effect)| !tolerated(key, effect));
        is_meant && fits && !self.is_lost && !is_cordoned && !tainted
    }

    /// Whether it could ever have as much memory.
    pub(crate) fn could_have(&self, memory: Option<u64>) -> bool {
        memory.unwrap_or(0) <= quantity::bytes(MEMORY).unwrap_or(0)
    }

    /// What it says of itself: a strategic merge patch.
    pub(crate) fn status(&self, now: SystemTime) -> Value {
        json!({"status": {"conditions": conditions(self.disk_is_full, now)}})
    }
}

/// A new node.
pub(crate) fn object(name: &str, labels: &[(&str, &str)], address: u8) -> Value {
    let mut all: BTreeMap<&str, &str> = labels.iter().copied().collect();
    all.extend([
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ]);
    let has = json!({"cpu": "16", "memory": MEMORY, "pods": "1000", "ephemeral-storage": "100Gi"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": all,
            "annotations": {format!("{PREFIX}reserved"): (!labels.is_empty()).to_string()},
        },
        "status": {
            "capacity": has,
            "allocatable": has,
            "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{address}")}, {"type": "Hostname", "address": name}],
            "conditions": conditions(false, SystemTime::now()),
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "none://0",
                "kernelVersion": "",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.36.3",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "no containers run here",
                "systemUUID": "",
            },
        },
    })
}

fn conditions(disk_is_full: bool, now: SystemTime) -> Value {
    let now = clock::second(now);
    let one = |kind: &str, is: bool, reason: &str| {
        json!({
            "type": kind,
            "status": if is { "True" } else { "False" },
            "reason": reason,
            "message": reason,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    let disk = if disk_is_full { "KubeletHasDiskPressure" } else { "KubeletHasNoDiskPressure" };
    json!([
        one("Ready", true, "KubeletReady"),
        one("MemoryPressure", false, "KubeletHasSufficientMemory"),
        one("DiskPressure", disk_is_full, disk),
        one("PIDPressure", false, "KubeletHasSufficientPID"),
    ])
}

/// Where a node's lease is.
pub(crate) fn lease_path(name: &str) -> String {
    format!("{LEASES}/{name}")
}

/// A lease that begins now.
pub(crate) fn lease(name: &str, now: SystemTime) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": clock::micro(now)},
    })
}

/// What changes in it with each heartbeat.
pub(crate) fn renewal(now: SystemTime) -> Value {
    json!({"spec": {"renewTime": clock::micro(now)}})
}
