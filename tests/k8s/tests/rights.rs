//! What the chart grants the server, held against what the executors ask for: nothing that they ask is refused, and nothing is granted that
//! they get along without.
//!
//! The chart is installed by the real Helms, with a target for each kind and each playbook in a namespace of its own. With the token of the
//! account that it makes, everything is done that can be ordered; then the API server's own log is compared with the Roles. RBAC, log and
//! controllers are Kubernetes'. Endpoint and commands are those of the configuration that the chart makes.
//!
//! Here: which targets there are, and what is done to each. Not here: the cluster and the comparison (`world`), one target (`target`),
//! what each playbook mends (`ills`), and what Helm ships (`product`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

#[path = "rights/ills.rs"]
mod ills;
mod installed;
#[path = "rights/product.rs"]
mod product;
#[path = "rights/target.rs"]
mod target;
#[path = "rights/world.rs"]
mod world;

use std::{collections::BTreeSet, thread, time::Duration};

use backstay_sdk::executor::{Outcome, Task};
use backstay_test_k8s::objects;
use executor_deployment::Deployment;
use executor_helm::Helm;
use executor_rollouts::Rollouts;
use installed::{MAJORS, Major, waits};
use product::Product;
use serde_json::{Value, json};
use target::{APPS, ARGO, image, release};
use world::World;

fn owners() -> Value {
    json!({ "applications": [], "kustomizations": [], "helmReleases": [] })
}

/// Each playbook alone, so that a right of one isn't covered by another's.
#[test]
fn each_playbook_of_a_deployment_has_what_it_takes_and_no_more() {
    let kind = |more: Value| {
        let mut target = json!({ "kind": "Deployment" });
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target
    };
    for major in MAJORS {
        let world = World::with(
            major,
            &[
                ("bare", kind(json!({}))),
                ("restarted", kind(json!({ "heals": ["restart"] }))),
                ("resized", kind(json!({ "heals": ["resize"] }))),
                ("scaled", kind(json!({ "heals": ["scale"], "autoscaler": "scaled" }))),
                ("drained", kind(json!({ "heals": ["drain", "undrain"] }))),
                (
                    "ejected",
                    kind(json!({ "heals": ["outliers", "outliers-off"], "destinationRule": "ejected" })),
                ),
                (
                    "restored",
                    kind(json!({ "heals": ["lkg"], "configMaps": ["restored"], "secrets": ["restored"] })),
                ),
                ("owned", kind(json!({ "heals": ["unfreeze"], "owners": owners() }))),
            ],
        );
        let Some(world) = world else { return };
        for name in world.spaces.keys().copied() {
            let target = world.deployment(name);
            if name == "owned" {
                target.has_owners();
            }
            target.is_brought_back();
            match name {
                "bare" => {}
                "restarted" => target.is_restarted::<Deployment>(),
                "resized" => target.is_resized::<Deployment>(),
                "scaled" => target.is_scaled::<Deployment>(),
                "drained" => target.is_drained::<Deployment>(),
                "ejected" => target.is_ejected::<Deployment>(),
                "restored" => target.is_restored::<Deployment>(&["ConfigMap", "Secret"]),
                "owned" => {
                    assert_eq!(target.frozen(), [Value::Null, json!(true), json!(true)]);
                    target.plays::<Deployment>("unfreeze");
                    assert_eq!(target.frozen(), [json!({ "selfHeal": true }), Value::Null, Value::Null]);
                }
                other => panic!("{other}"),
            }
        }
        world.is_least();
    }
}

#[test]
fn a_rollout_has_what_it_takes_and_no_more() {
    for major in MAJORS {
        let canary = json!({
            "kind": "Rollout",
            "heals": ["restart", "resize", "outliers", "outliers-off", "lkg", "scale", "drain", "undrain"],
            "autoscaler": "canary", "destinationRule": "canary", "configMaps": ["canary"], "owners": owners(),
        });
        let referring = json!({ "kind": "Rollout", "workloadRef": "templates" });
        let Some(world) = World::with(major, &[("canary", canary), ("referring", referring)]) else { return };
        let target = world.rollout("canary");
        target.has_owners();
        target.is_looked_at::<Rollouts>();
        target.lets_out("2.0.0");
        waits("a canary", || world.api().get(&target.path()).unwrap()["status"]["phase"] == "Paused");
        target.plays::<Rollouts>("hold");
        target.plays::<Rollouts>("go-on");
        target.goes_home::<Rollouts>();
        target.plays::<Rollouts>("unfreeze");
        target.is_restarted::<Rollouts>();
        target.is_resized::<Rollouts>();
        target.is_ejected::<Rollouts>();
        target.is_restored::<Rollouts>(&["ConfigMap"]);
        target.is_drained::<Rollouts>();
        target.is_scaled::<Rollouts>();

        let target = world.target("referring", (ARGO, "rollouts"));
        let mut templates = objects::deployment("templates", 0, &image("1.0.0"));
        templates["spec"]["template"]["spec"]["containers"][0]["name"] = "referring".into();
        let templates_at = target.at(APPS, "deployments");
        world.api().create(&templates_at, &templates).unwrap();
        let mut rollout =
            objects::rollout("referring", 2, "", &json!([{ "setWeight": 50 }, { "pause": {} }]));
        rollout["spec"]["template"] = Value::Null;
        rollout["spec"]["selector"] = templates["spec"]["selector"].clone();
        rollout["spec"]["workloadRef"] =
            json!({ "apiVersion": APPS, "kind": "Deployment", "name": "templates" });
        target.has(&rollout);
        target.is_whole();
        target.is_looked_at::<Rollouts>();
        let images = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image("2.0.0") }]);
        world.api().patch(&format!("{templates_at}/templates"), &images).unwrap();
        waits("a canary", || world.api().get(&target.path()).unwrap()["status"]["phase"] == "Paused");
        target.plays::<Rollouts>("hold");
        target.goes_home::<Rollouts>();
        world.is_least();
    }
}

/// A node that is emptied of everybody's pods takes rights in all namespaces, and then in none of its own.
#[test]
fn a_whole_node_takes_rights_everywhere() {
    let target = json!({ "kind": "Deployment", "heals": ["drain", "undrain"], "drainWholeNode": true });
    let Some(world) = World::with(Major::Four, &[("whole", target)]) else { return };
    let target = world.deployment("whole");
    target.is_brought_back();
    target.is_drained::<Deployment>();
    world.is_least();
}

/// That the log tells what is needed is itself shown: with one right less, what took it is refused, in words.
#[test]
fn without_one_of_its_rights_a_run_says_which() {
    let deployment = json!({ "kind": "Deployment", "heals": ["restart"] });
    let Some(world) = World::with(Major::Four, &[("less", deployment)]) else { return };
    let target = world.deployment("less");
    target.goes_home::<Deployment>();
    let without = |resource: &str, verb: &str| {
        world.it.is_granted_less(target.space(), |rules| {
            for rule in rules.iter_mut().filter(|rule| rule["resources"][0] == resource) {
                rule["verbs"].as_array_mut().unwrap().retain(|one| one != verb);
            }
            rules.retain(|rule| !rule["verbs"].as_array().unwrap().is_empty());
        });
    };
    // What a Role says counts a moment later.
    let refused = |what: &str, task: Task| {
        let mut said = BTreeSet::new();
        for _ in 0..20 {
            match target.runs::<Deployment>(task.clone()).outcome {
                Outcome::Failed(failed) if failed.why.starts_with(what) => return,
                other @ (Outcome::Done | Outcome::Failed(_)) => said.insert(format!("{other:?}")),
            };
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{what}: {said:#?}");
    };
    let heals = |playbook: &str| Task::Heal(playbook.into());
    let space = target.space().name();
    without("pods/eviction", "create");
    refused(
        &format!("the API server does not let us POST /api/v1/namespaces/{space}/pods/"),
        heals("restart"),
    );
    without("pods", "list");
    refused(
        &format!("the API server does not let us GET /api/v1/namespaces/{space}/pods?"),
        heals("restart"),
    );
    without("deployments", "patch");
    target.lets_out("2.0.0");
    let home = Task::GoHome(release("1.0.0"));
    let path = format!("/apis/apps/v1/namespaces/{space}/deployments/less");
    refused(&format!("the API server does not let us PATCH {path}"), home.clone());
    without("replicasets", "get");
    refused(
        &format!("the API server does not let us GET /apis/apps/v1/namespaces/{space}/replicasets/"),
        home.clone(),
    );
    without("deployments", "get");
    refused(&format!("the API server does not let us GET {path}"), home);
}

#[test]
fn a_release_of_helm_has_what_it_takes_and_no_more() {
    for major in MAJORS {
        let kind = |workloads: &str, more: Value| {
            let mut target = json!({ "kind": "Helm", "objects": [workloads, "services", "configmaps"], "hooks": ["jobs.batch"] });
            target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            target
        };
        // Without a workload, what it is its chart says.
        let by_chart = || json!({ "settings": { "version-from": "chart-version" } });
        let world = World::with(
            major,
            &[
                ("released", kind("deployments.apps", by_chart())),
                ("stored", kind("statefulsets.apps", by_chart())),
                (
                    "mended",
                    kind(
                        "deployments.apps",
                        json!({ "workload": "deployment/mended", "heals": ["restart", "repair"], "settings": { "pending-after-ms": 0 } }),
                    ),
                ),
                (
                    "counted",
                    kind(
                        "statefulsets.apps",
                        json!({ "workload": "statefulset/counted", "heals": ["restart"] }),
                    ),
                ),
            ],
        );
        let Some(world) = world else { return };
        Product::of(world.target("released", (APPS, "deployments"))).is_brought_back();
        Product::of(world.target("stored", (APPS, "statefulsets"))).is_brought_back();
        let mended = Product::of(world.target("mended", (APPS, "deployments")));
        mended.is_brought_back();
        mended.target.is_looked_at::<Helm>();
        mended.target.is_restarted::<Helm>();
        mended.is_repaired();
        let counted = Product::of(world.target("counted", (APPS, "statefulsets")));
        counted.is_brought_back();
        counted.target.is_looked_at::<Helm>();
        counted.target.is_restarted::<Helm>();
        world.is_least();
    }
}
