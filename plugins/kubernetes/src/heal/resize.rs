//! The playbook `resize`: a container that wanted more memory than it may have gets more, in place.
//!
//! One step at a time and a few steps in all, up to a ceiling that the operator sets: a leak isn't cured by memory, and shows again. The
//! pod stays, and its other containers notice nothing. Where its node can't do that, the limit in the template is raised, if that is
//! allowed; else the run fails and says so. What is raised in place lasts as long as the pod: the next one has the template's limit again,
//! and the template belongs to whoever wrote it.
//!
//! Here: whose limits, how far, and what is done instead. In files of their own: what a limit is to be (`limit`), raising it on a pod (`place`) and
//! in a template (`template`). Not here: finding memory where a container has no limit. Then it was the node's that ran out (`drain`).

mod limit;
mod place;
mod template;

use alloc::{format, string::String, vec::Vec};

use self::place::{Given, Impossible};
use crate::{
    api::Cluster,
    clock::Time,
    heal::{PODS_MAX, named, raised::Raised},
    pods::{self, Depth, Pod},
    quantity::Memory,
    resource::ROLLOUTS,
    standing::Standing,
    workload::Workload,
};
use backstay_sdk::{
    executor::{Failed, permanent, transient},
    settings::{Flag, Number, Problem, Setting, SettingInfo, Text, problem},
};

const STEP: Number = Number {
    name: "memory-step-permille",
    default: 1500,
    least: 1050,
    most: 4000,
    help: "What a memory limit is after one step, in permille of what it was.",
};
const STEPS: Number = Number {
    name: "memory-steps",
    default: 2,
    least: 1,
    most: 10,
    help: "So often is the memory limit of a container raised at most.",
};
const CEILING: Text = Text {
    name: "memory-ceiling",
    default: "",
    help: "No memory limit is raised beyond this: 2Gi, say. Empty: nobody has said how much there may be, and nothing is raised.",
};
const TEMPLATE: Flag = Flag {
    name: "memory-in-template",
    default: false,
    help: "Whether the limit in the template is raised where a node can't raise it in place. All pods are then replaced.",
};
const PROVE: Number = Number {
    name: "memory-prove-ms",
    default: 10_000,
    least: 0,
    most: 600_000,
    help: "So long a container has to run with its new limit before it counts as cured, in ms.",
};
/// The most pods whose limits one run raises.
const RAISED_MAX: usize = 10;

pub(super) fn infos() -> Vec<SettingInfo> {
    Vec::from([STEP.info(), STEPS.info(), CEILING.info(), TEMPLATE.info(), PROVE.info()])
}

pub(super) fn problems(config: &[Setting]) -> Vec<Problem> {
    let ceiling = CEILING.of(config);
    let wrong = !ceiling.is_empty() && Memory::parse(ceiling).is_none();
    let why = format!("{ceiling:?} is no amount of memory: 512Mi and 2Gi are");
    wrong.then(|| problem(CEILING.name, why)).into_iter().collect()
}

/// A container that ended for want of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hungry {
    pod: Pod,
    container: String,
    at: Time,
}

/// Raises the limit of each container that ended for want of memory, and sees that it runs with it.
pub(super) async fn resize(cluster: &Cluster<'_>, workload: &Workload) -> Result<(), Failed> {
    let Some(ceiling) = Memory::parse(CEILING.of(cluster.config())) else {
        return Err(permanent(
            "nobody has said how much memory there may be: the setting memory-ceiling is empty",
        ));
    };
    let standing = Standing::of(cluster, workload).await?;
    let pods = pods::all(cluster, workload, &standing, Depth::Ended, PODS_MAX).await?;
    let mut hungry = hungry(pods);
    if hungry.is_empty() {
        let told = named(&workload.told());
        let why = "a resize cures nothing else";
        return Err(permanent(format!("no container of {told} ended for want of memory: {why}")));
    }
    // Those that a run before this one answered come last: what is left of their proof is made up for where there is room.
    hungry.sort_by_key(Hungry::is_answered);
    let left = hungry.iter().skip(RAISED_MAX).filter(|one| !one.is_answered()).count();
    let mut given: Vec<Given<'_>> = Vec::new();
    for one in hungry.iter().take(RAISED_MAX) {
        match place::give(cluster, workload, one, ceiling).await? {
            Ok(one) => given.push(one),
            Err(impossible) => return instead(cluster, workload, &hungry, one, ceiling, &impossible).await,
        }
    }
    if let Err((one, impossible)) = place::prove(cluster, workload, &given).await? {
        return instead(cluster, workload, &hungry, one, ceiling, &impossible).await;
    }
    if left == 0 {
        return Ok(());
    }
    Err(transient(format!("{RAISED_MAX} limits were raised, and {left} more are to be: try again")))
}

impl Hungry {
    /// Whether its pod says that a raise has answered this end.
    fn is_answered(&self) -> bool {
        let raise = Raised::read(&self.pod.memory).of(&self.container);
        raise.is_some_and(|raise| raise.answers >= self.at)
    }
}

fn hungry(pods: Vec<Pod>) -> Vec<Hungry> {
    let mut hungry = Vec::new();
    for pod in pods.into_iter().filter(|pod| !pod.leaving) {
        for container in &pod.containers {
            let ended = container.ended.as_ref().filter(|ended| ended.wanted_memory());
            if let Some(at) = ended.and_then(|ended| ended.at) {
                hungry.push(Hungry { pod: pod.clone(), container: container.name.clone(), at });
            }
        }
    }
    hungry
}

/// What is done where a node can't raise a limit in place.
async fn instead(
    cluster: &Cluster<'_>,
    workload: &Workload,
    hungry: &[Hungry],
    one: &Hungry,
    ceiling: Memory,
    impossible: &Impossible,
) -> Result<(), Failed> {
    if TEMPLATE.of(cluster.config()) && workload.kind != ROLLOUTS {
        let same = hungry.iter().filter(|other| other.container == one.container);
        let newest = same.map(|other| other.at).max().unwrap_or(one.at);
        return template::raise(cluster, workload, &one.container, newest, ceiling).await;
    }
    let (node, Impossible { why, later }) = (named(&one.pod.node), impossible);
    let failed = if *later { transient } else { permanent };
    Err(failed(format!(
        "node {node} can't raise the limit in place: {why}: raise it in the template (memory-in-template)"
    )))
}
