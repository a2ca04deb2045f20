//! Looks at a small cluster in memory.

use backstay_sdk::{executor::Outcome, readings::LOOK};
use serde_json::{Value, json};

use crate::{
    heal::world::{World, ended, node_at, pod, pod_at, revision, set_ready, shop_at},
    resource::{EVENTS, PODS},
    testing::{MISHAPS, number},
};

const WELL: [&str; 10] = [
    "pods-wanted=3",
    "pods-ready=3",
    "image-pull=0",
    "infra.process-exited=0",
    "infra.out-of-memory=0",
    "unsettled.process-exited=0",
    "unsettled.out-of-memory=0",
    "infra.machine-lost=0",
    "infra.disk=0",
    "infra.network=0",
];
/// A moment ago: the double's clock begins at midnight.
const LATELY: &str = "2026-10-31T23:59:30Z";
const BEFORE: &str = "2026-10-31T23:50:00Z";

/// What a look tells that isn't as it is where all is well.
#[track_caller]
fn differs(world: &mut World) -> Vec<String> {
    let told = world.looks();
    assert!(WELL.iter().all(|well| {
        let name = well.split('=').next().unwrap();
        told.iter().any(|line| line.split('=').next() == Some(name))
    }));
    told.into_iter().filter(|line| !WELL.contains(&line.as_str())).collect()
}

fn set_condition(world: &mut World, name: &str, at: usize, status: &str) {
    world.edit(&node_at(name), |node| node["status"]["conditions"][at]["status"] = status.into());
    world.settle();
}

#[test]
fn where_all_is_well_little_is_asked_for() {
    let mut world = World::new();
    let ran = world.runs(LOOK, None).done();
    assert_eq!(world.api.attached.pop().unwrap().1.lines().collect::<Vec<_>>(), WELL);
    // The Deployment, its pods, three nodes at once, and what is attached.
    assert_eq!((ran.effects, ran.rounds), (6, 4));
    assert!(world.api.changes.is_empty());
}

#[test]
fn what_ended_lately_or_is_held_back_is_counted() {
    let mut world = World::new();
    world.edit(&pod_at("shop-a-0"), |pod| ended(pod, "Error", LATELY, false));
    world.edit(&pod_at("shop-a-1"), |pod| ended(pod, "Error", BEFORE, false));
    assert_eq!(differs(&mut world), ["infra.process-exited=1"]);
    world.edit(&pod_at("shop-a-1"), |pod| ended(pod, "Error", BEFORE, true));
    world.settle();
    assert_eq!(differs(&mut world), ["pods-ready=2", "infra.process-exited=2"]);
    world.edit(&pod_at("shop-a-0"), |pod| ended(pod, "Completed", LATELY, false));
    assert_eq!(differs(&mut world), ["pods-ready=2", "infra.process-exited=1"]);
}

#[test]
fn memory_is_counted_until_it_was_given() {
    let mut world = World::new();
    world.edit(&pod_at("shop-a-0"), |pod| ended(pod, "OOMKilled", LATELY, false));
    assert_eq!(differs(&mut world), ["infra.out-of-memory=1"]);
    world.edit(&pod_at("shop-a-0"), |pod| {
        let note = json!({ "app": { "to": "192Mi", "steps": 1, "for": LATELY } });
        pod["metadata"]["annotations"]["backstay.dev/memory"] = note.to_string().into();
    });
    assert_eq!(differs(&mut world), [] as [&str; 0]);
}

/// A bad release must not be mended in place of sent home.
#[test]
fn a_release_that_is_on_its_way_is_not_the_machines_fault() {
    let mut world = World::new();
    revision(&mut world.api.objects, "b", "2026-10-31T23:45:00Z", 1);
    for (name, reason) in [("shop-b-0", "Error"), ("shop-b-1", "OOMKilled")] {
        let mut bad = pod("n1", "128Mi", 1);
        bad["metadata"]["labels"]["pod-template-hash"] = "b".into();
        ended(&mut bad, reason, LATELY, true);
        world.api.objects.put(&pod_at(name), bad);
    }
    let told = differs(&mut world);
    assert!(told.contains(&"unsettled.process-exited=1".into()), "{told:?}");
    assert!(told.contains(&"unsettled.out-of-memory=1".into()), "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("infra.")), "{told:?}");
    // Nor is a pod of which nobody knows the revision.
    let mut stray = World::new();
    stray.edit(&pod_at("shop-a-0"), |pod| {
        pod["metadata"]["labels"]["pod-template-hash"] = "x".into();
        ended(pod, "Error", LATELY, false);
    });
    assert_eq!(differs(&mut stray), ["unsettled.process-exited=1"]);
}

#[test]
fn what_a_node_does_counts_whatever_runs_there() {
    let mut world = World::new();
    revision(&mut world.api.objects, "a", "2026-10-31T23:59:00Z", 3);
    set_condition(&mut world, "n1", 1, "Unknown");
    set_condition(&mut world, "n2", 0, "True");
    let told = differs(&mut world);
    assert_eq!(told, ["pods-ready=2", "infra.machine-lost=1", "infra.disk=1"]);
    // Pods that are on their way from a lost node are no more on it.
    world.edit(&pod_at("shop-a-0"), |pod| pod["metadata"]["deletionTimestamp"] = LATELY.into());
    world.settle();
    assert!(!differs(&mut world).contains(&"infra.machine-lost=1".into()));
}

fn put_out(message: &str, at: &str) -> Value {
    let condition = json!({ "type": "DisruptionTarget", "status": "True", "lastTransitionTime": at });
    json!({
        "metadata": { "labels": { "app": "shop" }, "creationTimestamp": "2026-10-31T20:00:00Z", "deletionTimestamp": null },
        "status": { "phase": "Failed", "reason": "Evicted", "message": message, "conditions": [condition] },
    })
}

#[test]
fn pods_that_a_node_put_out_lately_are_counted() {
    let mut world = World::new().sick(&["shop-a-0"]);
    let at = |name: &str| PODS.named("prod", name).path().to_string();
    let objects = &mut world.api.objects;
    objects.put(
        &at("x-0"),
        put_out("The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi", LATELY),
    );
    objects.put(&at("x-1"), put_out("The node had condition: [DiskPressure].", LATELY));
    objects.put(&at("x-2"), put_out("The node was low on resource: memory.", LATELY));
    objects.put(&at("x-3"), put_out("The node was low on resource: ephemeral-storage.", BEFORE));
    assert_eq!(differs(&mut world), ["pods-ready=2", "infra.out-of-memory=1", "infra.disk=2"]);
}

#[test]
fn a_pod_that_can_not_begin_is_asked_after() {
    let mut world = World::new().sick(&["shop-a-0"]);
    let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
    world.edit(&pod_at("shop-a-0"), |pod| {
        pod["status"]["containerStatuses"][0]["state"] = waits("ContainerCreating");
    });
    let event = |name: &str, at: &str| {
        json!({
            "type": "Warning", "reason": "FailedCreatePodSandBox", "lastTimestamp": at,
            "involvedObject": { "kind": "Pod", "name": name },
        })
    };
    assert_eq!(differs(&mut world), ["pods-ready=2"]);
    for (name, of, at) in [("e1", "shop-a-0", LATELY), ("e2", "shop-a-0", LATELY), ("e3", "mail-0", LATELY)] {
        world.api.objects.put(EVENTS.named("prod", name).path(), event(of, at));
    }
    assert_eq!(differs(&mut world), ["pods-ready=2", "infra.network=1"]);
    world.edit(&pod_at("shop-a-0"), |pod| {
        pod["status"]["containerStatuses"][0]["state"] = waits("ImagePullBackOff");
    });
    assert_eq!(differs(&mut world), ["pods-ready=2", "image-pull=1"]);
}

/// What can't be read is left out: missing is not known, and that is not none.
#[test]
fn what_may_not_be_read_is_left_out() {
    let no = json!({ "message": "no" });
    let mut nodes = World::new();
    for name in ["n1", "n2", "n3"] {
        nodes.api.answer("GET", &node_at(name), 403, no.clone());
    }
    let told = nodes.looks();
    assert!(
        told.contains(&"infra.process-exited=0".into())
            && !told.iter().any(|line| line.contains("machine-lost"))
    );
    let mut told_not_to = World::new();
    told_not_to.api = told_not_to.api.set(number("look-nodes", 0));
    assert!(!told_not_to.looks().iter().any(|line| line.contains("infra.disk")));
    let mut clock = World::new();
    clock.api.answer("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", 403, no.clone());
    assert_eq!(clock.looks(), WELL, "without trouble nobody asks what time it is");
    clock.edit(&pod_at("shop-a-0"), |pod| ended(pod, "Error", LATELY, false));
    let told = clock.looks();
    assert!(
        told.contains(&"infra.machine-lost=0".into())
            && !told.iter().any(|line| line.contains("process-exited"))
    );
    let mut nothing = World::new();
    nothing.api.answer("GET", &shop_at(), 403, no);
    assert!(nothing.fails(LOOK).contains("does not let us GET"));
}

/// The whole state of a run has 64 KiB, and an answer 32: many pods in the worst of states fit in.
#[test]
fn many_pods_are_looked_at_in_part() {
    let mut world = World::new();
    world.edit(&shop_at(), |shop| shop["spec"]["replicas"] = 300.into());
    for at in 0..300 {
        let node = format!("ip-10-0-{at}-31.eu-central-1.compute.internal");
        let mut pod = pod(&node, "128Mi", 0);
        set_ready(&mut pod, false);
        ended(&mut pod, "Error", LATELY, true);
        let status = pod["status"]["containerStatuses"][0].clone();
        pod["status"]["containerStatuses"] = json!([status, status, status]);
        pod["status"]["conditions"] = Value::Array(vec![json!({ "type": "Ready", "status": "False" }); 5]);
        world.api.objects.put(&pod_at(&format!("shop-with-a-long-name-7d9c8b6f5d-{at:05}")), pod);
    }
    let told = world.looks();
    let looked = told.iter().find_map(|line| line.strip_prefix("pods-looked=")).unwrap();
    assert!((40..=80).contains(&looked.parse::<u32>().unwrap()), "{looked}");
    assert!(told.contains(&"nodes-looked=8".into()), "{told:?}");
    assert!(told.contains(&"infra.machine-lost=8".into()), "a node that isn't there is lost: {told:?}");
}

#[test]
fn through_every_mishap_nothing_untrue_is_told() {
    let world = || {
        let mut world = World::new();
        world.edit(&pod_at("shop-a-0"), |pod| ended(pod, "OOMKilled", LATELY, true));
        set_condition(&mut world, "n2", 0, "True");
        world
    };
    let mut whole = world();
    let effects = whole.runs(LOOK, None).done().effects;
    let truth: Vec<String> = whole.api.attached.pop().unwrap().1.lines().map(Into::into).collect();
    assert!(
        truth.contains(&"infra.out-of-memory=1".into()) && truth.contains(&"infra.disk=1".into()),
        "{truth:?}"
    );
    for mishap in MISHAPS {
        for at in 0..effects {
            let mut world = world();
            let ran = world.runs(LOOK, Some((at, mishap)));
            let told = world.api.attached.pop().map(|(_, text)| text).unwrap_or_default();
            assert!(told.lines().all(|line| truth.contains(&line.into())), "{mishap:?} at {at}: {told}");
            assert!(
                ran.outcome == Outcome::Done || !told.is_empty() || at + 1 >= effects,
                "{mishap:?} at {at}"
            );
        }
    }
}
