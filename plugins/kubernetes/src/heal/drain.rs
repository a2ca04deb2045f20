//! The playbooks `drain` and `undrain`: a sick node takes no more pods, and the target's pods leave it.
//!
//! Here: the order of the steps, and which pods leave. In files of their own: which node it is (`choice`), and keeping pods off it (`cordon`).
//!
//! Only the target's own pods leave, unless the operator wants the whole node empty: what else is on it has targets of its own, or owners who
//! know better. Pods that a DaemonSet or the kubelet itself put there stay, and so do those that nothing would make anew. A node that we
//! keep pods off says so in an annotation; when a drain fails it takes pods again, and `undrain` is for when the node is well. What somebody
//! else has cordoned stays cordoned.

mod choice;
mod cordon;

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use backstay_sdk::{
    executor::{Failed, permanent, transient},
    settings::{Flag, Number, Problem, Setting, SettingInfo, Text, problem},
};
use serde_json::Value;

use self::choice::Choice;
use crate::{
    api::{Cluster, is_true, text},
    heal::{
        PODS_MAX,
        evict::{self, Asked, Presence},
        named,
    },
    nodes::{Ill, Node},
    patience::Patience,
    pods::{self, Depth},
    resource::{PODS, STATEFUL_SETS, is_dns_name},
    standing::{self, Standing},
    workload::Workload,
};

const NODE: Text = Text {
    name: "drain-node",
    default: "",
    help: "The node that is drained. Empty: the one with pods of the target that is not well, or on which alone they fail.",
};
const WHOLE: Flag = Flag {
    name: "drain-whole-node",
    default: false,
    help: "Whether all pods of the node leave it, of all namespaces, and not just the target's. That takes rights in all of them.",
};
const AT_ONCE: Number = Number {
    name: "nodes-at-once",
    default: 1,
    least: 1,
    most: 5,
    help: "No more than so many nodes are ever cordoned by us, for whichever target.",
};

/// The most pods of a node, where all leave: so many there may be where nobody set the kubelet otherwise.
const ON_NODE_MAX: usize = 110;

pub(super) fn infos() -> Vec<SettingInfo> {
    Vec::from([NODE.info(), WHOLE.info(), AT_ONCE.info()])
}

pub(super) fn problems(config: &[Setting]) -> Vec<Problem> {
    let name = NODE.of(config);
    let wrong = !name.is_empty() && !is_dns_name(name);
    wrong.then(|| problem(NODE.name, format!("{name:?} names nothing in Kubernetes"))).into_iter().collect()
}

/// A pod that is to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaver {
    namespace: String,
    name: String,
    uid: String,
}

/// Keeps pods off the sick node, lets the target's go, and sees that all are ready elsewhere.
pub(super) async fn drain(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let standing = Standing::of(cluster, workload).await?;
    let pods = pods::all(cluster, workload, &standing, Depth::Placed, PODS_MAX).await?;
    let node = match choice::node(cluster, workload, &pods).await? {
        Choice::Drain(node) => node,
        Choice::Done => return whole(cluster, workload, &mut Patience::new(cluster.config())).await,
    };
    if workload.kind == STATEFUL_SETS && node.ills.contains(&Ill::Lost) {
        let name = named(&node.name);
        let why =
            "its pods may still run there: once it surely is off, taint it node.kubernetes.io/out-of-service";
        return Err(permanent(format!(
            "node {name} is lost, and nobody makes a StatefulSet's pod anew while {why}"
        )));
    }
    let leavers = if WHOLE.of(cluster.config()) {
        on_node(cluster, &node.name).await?
    } else {
        let ours = pods.into_iter().filter(|pod| pod.node == node.name && !pod.leaving);
        ours.map(|pod| Leaver { namespace: workload.namespace.clone(), name: pod.name, uid: pod.uid })
            .collect()
    };
    cordon::cordon(cluster, workload, &node).await?;
    let left = leave(cluster, workload, &node, leavers).await;
    if left.is_err() {
        // What couldn't be emptied takes pods again. Where even that fails, that is what is told: nobody else would notice.
        cordon::uncordon(cluster, workload, &node.name).await?;
    }
    left
}

/// Lets pods come again to each node that was kept free for this target, if it is well.
pub(super) async fn undrain(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let mut sick = None;
    for node in cordon::cordoned(cluster).await? {
        if node.cordoned_by != workload.told() {
            continue;
        }
        match node.ills.first() {
            Some(ill) => sick = Some((node.name, *ill)),
            None => cordon::uncordon(cluster, workload, &node.name).await?,
        }
    }
    match sick {
        Some((name, ill)) => {
            let name = named(&name);
            Err(transient(format!("node {name} is not well yet ({}): it stays cordoned", ill.word())))
        }
        None => Ok(()),
    }
}

/// Lets pods go, those that a budget keeps for now after the others, and sees that the target is whole again.
async fn leave(
    cluster: &Cluster<'_>,
    workload: &Workload,
    node: &Node,
    leavers: Vec<Leaver>,
) -> Result<(), Failed> {
    let mut patience = Patience::new(cluster.config());
    let mut stay = leavers.clone();
    loop {
        let (mut kept, mut why) = (Vec::new(), None);
        for one in stay {
            match evict::ask(cluster, &one.namespace, &one.name, &one.uid).await? {
                Asked::Goes => {}
                Asked::Later(refused) => {
                    why = refused;
                    kept.push(one);
                }
            }
        }
        let Some(first) = kept.first() else { break };
        if !patience.wait(cluster.ctx()).await? {
            return Err(evict::kept(&first.name, why.as_ref()));
        }
        stay = kept;
    }
    // A kubelet that isn't heard of can't say that a pod has ended, and nobody waits for it: the next one is made at once.
    if !node.ills.contains(&Ill::Lost) {
        for one in &leavers {
            gone(cluster, node, one, &mut patience).await?;
        }
    }
    whole(cluster, workload, &mut patience).await
}

/// Waits until all pods of the target are ready.
async fn whole(cluster: &Cluster<'_>, workload: &Workload, patience: &mut Patience) -> Result<(), Failed> {
    let so_far = format!("pods of {} left a node", named(&workload.told()));
    standing::come_back(cluster, workload, u32::MAX, patience, &so_far).await
}

async fn gone(
    cluster: &Cluster<'_>,
    node: &Node,
    one: &Leaver,
    patience: &mut Patience,
) -> Result<(), Failed> {
    while evict::presence(cluster, &one.namespace, &one.name, &one.uid).await? != Presence::Gone {
        if !patience.wait(cluster.ctx()).await? {
            let (name, node) = (named(&one.name), named(&node.name));
            return Err(transient(format!("pod {name} was let go of, and does not end on node {node}")));
        }
    }
    Ok(())
}

/// The pods of a node that leave it when all do: not those that belong to it, and not those that nothing would make anew.
async fn on_node(cluster: &Cluster<'_>, node: &str) -> Result<Vec<Leaver>, Failed> {
    const FIELDS: [&str; 7] = [
        "/metadata/namespace",
        "/metadata/name",
        "/metadata/uid",
        "/metadata/deletionTimestamp",
        "/metadata/annotations/kubernetes.io~1config.mirror",
        "/metadata/ownerReferences/*/kind",
        "/metadata/ownerReferences/*/controller",
    ];
    let selector = format!("spec.nodeName={node},status.phase!=Failed,status.phase!=Succeeded");
    let all = cluster.list(&PODS.all().with("fieldSelector", &selector), &FIELDS, ON_NODE_MAX).await?;
    let leaves = |pod: &&Value| {
        let of = |pointer: &str| text(pod, pointer);
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let controller = owners.into_iter().flatten().find(|owner| is_true(owner, "/controller"));
        let is_made_anew = controller.is_some_and(|owner| text(owner, "/kind") != "DaemonSet");
        let is_mirror = !of("/metadata/annotations/kubernetes.io~1config.mirror").is_empty();
        is_made_anew && !is_mirror && of("/metadata/deletionTimestamp").is_empty()
    };
    let leaver = |pod: &Value| {
        let of = |pointer: &str| text(pod, pointer).to_string();
        Leaver { namespace: of("/metadata/namespace"), name: of("/metadata/name"), uid: of("/metadata/uid") }
    };
    Ok(all.iter().filter(leaves).map(leaver).collect())
}
