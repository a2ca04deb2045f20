//! Nodes and pods look as Kubernetes shows them, whatever is wrong with them.
//!
//! Each fault is read as a person would read it: by `kubectl` where it has a word for it, else in the object. Not here: the control
//! plane itself (`cluster`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use backstay_test_k8s::{Api, ControlPlane, Fault, Namespace, Resize, objects, until, until_within};
use serde_json::{Value, json};

const IMAGE: &str = "registry.test/shop:1.0.0";
/// A node that is silent is noticed within 8 s, and the busy machine has a few more.
const NOTICED: Duration = Duration::from_secs(20);

fn said(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// What `kubectl get pods` says of a pod: `CrashLoopBackOff`.
fn word(cluster: &ControlPlane, space: &Namespace, pod: &str) -> String {
    let table = said(cluster.kubectl().args(["get", "pod", pod, "--no-headers", "-n", space.name()]));
    table.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

fn make(api: &Api, space: &Namespace, pod: &Value) {
    api.create(&space.path("v1", "pods"), pod).unwrap();
}

fn get(api: &Api, space: &Namespace, pod: &str) -> Value {
    api.get(&space.path("v1", &format!("pods/{pod}"))).unwrap()
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|it| it["status"] == "True")
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|it| it["type"] == kind)
}

#[test]
fn a_pod_runs_and_is_gone_when_it_is_deleted() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("runs"));
    make(api, &space, &objects::pod("shop", IMAGE));
    let pod = until("a ready pod", || Some(get(api, &space, "shop")).filter(is_ready));
    assert_eq!((&pod["status"]["phase"], &container(&pod)["restartCount"]), (&json!("Running"), &json!(0)));
    assert_eq!(word(&cluster, &space, "shop"), "Running");
    api.delete(&space.path("v1", "pods/shop")).unwrap();
    until("the end of a pod", || api.get(&space.path("v1", "pods/shop")).err().filter(|e| e.code == 404));
}

#[test]
fn a_pod_that_ends_itself_has_succeeded_or_failed() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("ends"));
    for (name, image) in [("good", IMAGE), ("bad", "registry.test/shop:1.0.0-crash-loop")] {
        let mut pod = objects::pod(name, image);
        pod["spec"]["restartPolicy"] = json!("Never");
        make(api, &space, &pod);
    }
    until("an end", || (get(api, &space, "good")["status"]["phase"] == "Succeeded").then_some(()));
    until("an end", || (get(api, &space, "bad")["status"]["phase"] == "Failed").then_some(()));
}

#[test]
fn a_crash_loop_looks_like_one_and_ends_with_its_cause() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("crash"));
    make(api, &space, &objects::pod("shop", IMAGE));
    until("a ready pod", || Some(get(api, &space, "shop")).filter(is_ready));
    // While it runs.
    cluster.kubelet().fault_of_pod(space.name(), "shop", Some(&Fault::CrashLoop)).unwrap();
    until("CrashLoopBackOff", || (word(&cluster, &space, "shop") == "CrashLoopBackOff").then_some(()));
    let pod = until("a second restart", || {
        Some(get(api, &space, "shop")).filter(|pod| container(pod)["restartCount"].as_u64() >= Some(2))
    });
    let last = &container(&pod)["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(1), &json!("Error")));
    assert!(!is_ready(&pod));
    let restarts = container(&pod)["restartCount"].clone();
    cluster.kubelet().fault_of_pod(space.name(), "shop", None).unwrap();
    let pod = until("a pod that is well again", || Some(get(api, &space, "shop")).filter(is_ready));
    assert!(container(&pod)["restartCount"].as_u64() >= restarts.as_u64(), "{pod}");
    assert_eq!(container(&pod)["lastState"]["terminated"]["exitCode"], 1);
}

#[test]
fn out_of_memory_is_cured_by_more_of_it_in_place() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("memory"));
    make(api, &space, &objects::pod("shop", "registry.test/shop:1.0.0-out-of-memory"));
    let pod = until("OOMKilled", || {
        Some(get(api, &space, "shop")).filter(|pod| !container(pod)["lastState"]["terminated"].is_null())
    });
    let last = &container(&pod)["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("OOMKilled")));
    let more =
        json!([{"op": "replace", "path": "/spec/containers/0/resources/limits/memory", "value": "512Mi"}]);
    api.patch(&space.path("v1", "pods/shop/resize"), &more).unwrap();
    let pod = until("a ready pod", || {
        let given = |pod: &Value| container(pod)["resources"]["limits"]["memory"] == "512Mi";
        Some(get(api, &space, "shop")).filter(|pod| is_ready(pod) && given(pod))
    });
    // The same pod all the while, and it stays.
    let restarts = container(&pod)["restartCount"].clone();
    assert_eq!(container(&pod)["allocatedResources"]["memory"], "64Mi");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(container(&get(api, &space, "shop"))["restartCount"], restarts);
}

#[test]
fn a_node_that_cannot_resize_says_so() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("resize"));
    let node = cluster.kubelet().add_node("resize-1", &[("pool", "resize")]);
    let mut pod = objects::pod("shop", IMAGE);
    pod["spec"]["nodeSelector"] = json!({"pool": "resize"});
    let more =
        json!([{"op": "replace", "path": "/spec/containers/0/resources/limits/memory", "value": "512Mi"}]);
    let path = space.path("v1", "pods/shop/resize");

    node.resize(Resize::Unsupported).unwrap();
    make(api, &space, &pod);
    until("a ready pod", || Some(get(api, &space, "shop")).filter(is_ready));
    let refused = api.patch(&path, &more).unwrap_err();
    assert_eq!(refused.code, 422, "{refused}");
    assert!(refused.message.contains("without support for resize"), "{refused}");

    for (how, reason) in [(Resize::Deferred, "Deferred"), (Resize::Infeasible, "Infeasible")] {
        node.resize(how).unwrap();
        until("resources in the status", || {
            Some(get(api, &space, "shop")).filter(|pod| !container(pod)["resources"].is_null())
        });
        api.patch(&path, &more).unwrap();
        until(reason, || {
            let pod = get(api, &space, "shop");
            condition(&pod, "PodResizePending").is_some_and(|it| it["reason"] == reason).then_some(())
        });
        assert_eq!(container(&get(api, &space, "shop"))["resources"]["limits"]["memory"], "128Mi");
    }
    node.resize(Resize::Works).unwrap();
    let pod = until("512Mi", || {
        Some(get(api, &space, "shop"))
            .filter(|pod| container(pod)["resources"]["limits"]["memory"] == "512Mi")
    });
    assert!(condition(&pod, "PodResizePending").is_none(), "{pod}");
    assert_eq!(container(&pod)["restartCount"], 0);
}

#[test]
fn images_that_cannot_be_had_and_pods_that_are_not_ready() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("slow"));
    for fault in ["image-pull", "not-ready", "slow-ready"] {
        make(api, &space, &objects::pod(fault, &format!("registry.test/shop:1.0.0-{fault}")));
    }
    let began = Instant::now();
    until("ErrImagePull or later", || word(&cluster, &space, "image-pull").contains("Image").then_some(()));
    until("ImagePullBackOff", || (word(&cluster, &space, "image-pull") == "ImagePullBackOff").then_some(()));
    let pod = get(api, &space, "image-pull");
    assert_eq!(pod["status"]["phase"], "Pending");

    until("a pod that runs", || {
        (get(api, &space, "not-ready")["status"]["phase"] == "Running").then_some(())
    });
    assert!(!is_ready(&get(api, &space, "slow-ready")));
    until("a ready pod", || Some(get(api, &space, "slow-ready")).filter(is_ready));
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    let pod = get(api, &space, "not-ready");
    assert!(!is_ready(&pod));
    assert_eq!(condition(&pod, "Ready").unwrap()["reason"], "ContainersNotReady");
    let events = until("an event", || {
        let events = api.list(&space.path("v1", "events")).unwrap();
        events.iter().any(|it| it["reason"] == "Unhealthy").then_some(events)
    });
    let pulls =
        events.iter().filter(|it| it["involvedObject"]["name"] == "image-pull" && it["reason"] == "Failed");
    assert_eq!(pulls.count(), 1, "{events:?}");
}

#[test]
fn a_fault_of_a_digest_comes_and_goes() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("digest"));
    let digest = "sha256:00000000000000000000000000000000000000000000000000000000000000d1";
    make(api, &space, &objects::pod("shop", &format!("registry.test/shop@{digest}")));
    let pod = until("a ready pod", || Some(get(api, &space, "shop")).filter(is_ready));
    assert!(container(&pod)["imageID"].as_str().unwrap().ends_with(digest), "{pod}");
    cluster.kubelet().fault_of_images(digest, Some(Fault::NotReady));
    until("a pod that is not ready", || (!is_ready(&get(api, &space, "shop"))).then_some(()));
    cluster.kubelet().fault_of_images(digest, None);
    until("a ready pod", || Some(get(api, &space, "shop")).filter(is_ready));
}

#[test]
fn a_silent_node_is_noticed_its_pods_are_given_up_and_it_comes_back() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("lost"));
    let lost = cluster.kubelet().add_node("lost-1", &[("pool", "lost")]);
    let mut deployment = objects::deployment("shop", 1, IMAGE);
    deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"pool": "lost"});
    api.create(&space.path("apps/v1", "deployments"), &deployment).unwrap();
    let pods = || api.list(&space.path("v1", "pods")).unwrap();
    let first = until("a ready pod", || pods().into_iter().find(is_ready));

    let node = |status: &str| {
        let node = api.get("/api/v1/nodes/lost-1").unwrap();
        condition(&node, "Ready").is_some_and(|it| it["status"] == status)
    };
    let began = Instant::now();
    lost.is_lost().unwrap();
    until_within(NOTICED, "a node that isn't ready", || node("Unknown").then_some(()));
    println!("noticed after {} ms", began.elapsed().as_millis());
    until("a pod that isn't ready", || pods().iter().all(|pod| !is_ready(pod)).then_some(()));
    cluster.kubelet().add_node("lost-2", &[("pool", "lost")]);
    let second = until("a pod on the other node", || pods().into_iter().find(is_ready));
    println!("its pod was replaced after {} ms", began.elapsed().as_millis());
    assert_eq!(second["spec"]["nodeName"], "lost-2");
    assert!(
        pods().iter().any(|pod| pod["metadata"]["uid"] == first["metadata"]["uid"]),
        "it can't end where it is"
    );

    lost.comes_back().unwrap();
    until("a node that is ready", || node("True").then_some(()));
    until("the end of the first pod", || (pods().len() == 1).then_some(()));
}

#[test]
fn a_full_disk_is_a_condition_and_a_taint_and_pods_are_put_out() {
    let Some(cluster) = ControlPlane::start() else { return };
    let (api, space) = (cluster.api(), cluster.namespace("disk"));
    let node = cluster.kubelet().add_node("disk-1", &[("pool", "disk")]);
    let mut pod = objects::pod("shop", IMAGE);
    pod["spec"]["nodeSelector"] = json!({"pool": "disk"});
    make(api, &space, &pod);
    until("a ready pod", || Some(get(api, &space, "shop")).filter(is_ready));
    node.disk_pressure(true).unwrap();
    until("a taint", || {
        let node = api.get("/api/v1/nodes/disk-1").unwrap();
        let taints = node["spec"]["taints"].as_array()?.clone();
        let is_full = condition(&node, "DiskPressure").is_some_and(|it| it["status"] == "True");
        (is_full && taints.iter().any(|taint| taint["key"] == "node.kubernetes.io/disk-pressure"))
            .then_some(())
    });
    cluster.kubelet().fault_of_pod(space.name(), "shop", Some(&Fault::Evicted)).unwrap();
    let pod = until("a failed pod", || {
        Some(get(api, &space, "shop")).filter(|pod| pod["status"]["phase"] == "Failed")
    });
    assert_eq!(pod["status"]["reason"], "Evicted");
    node.disk_pressure(false).unwrap();
    until("no taint", || api.get("/api/v1/nodes/disk-1").unwrap()["spec"]["taints"].is_null().then_some(()));
}
