//! `backstay plan` of things on a real control plane: it tells each change that the order makes of the API server, and makes none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod kinds;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
    thread,
    time::Duration,
};

use backstay_test_k8s::{ControlPlane, Gate, Keys, Namespace, Passed, Plant, Watch, until};
use kinds::{
    Kind, World, file,
    healing::Healed,
    helm::{Found, Helmed},
    workloads::{Deployed, Rolled},
};
use serde_json::{Value, json};

/// What does not change for so long does not change any more.
const STILL: Duration = Duration::from_secs(1);
/// Whatever any of the kinds could write, but what is left of names and namespaces.
const WRITTEN: [(&str, &str); 13] = [
    ("v1", "configmaps"),
    ("v1", "pods"),
    ("v1", "secrets"),
    ("apps/v1", "deployments"),
    ("apps/v1", "replicasets"),
    ("argoproj.io/v1alpha1", "applications"),
    ("argoproj.io/v1alpha1", "rollouts"),
    ("autoscaling/v2", "horizontalpodautoscalers"),
    ("coordination.k8s.io/v1", "leases"),
    ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    ("networking.istio.io/v1", "destinationrules"),
    ("policy/v1", "poddisruptionbudgets"),
    ("batch/v1", "jobs"),
];

/// The version of each object of a namespace, or, of those whose status changes all the time, what is asked of them.
fn versions(world: &World, space: &Namespace, is_restless: bool) -> BTreeMap<String, Value> {
    let api = world.cluster.api();
    let mut versions = BTreeMap::new();
    for (version, kind) in WRITTEN {
        for object in api.list(&space.path(version, kind)).unwrap() {
            let name = format!("{kind}/{}", object["metadata"]["name"].as_str().unwrap());
            let metadata = &object["metadata"];
            let version = match is_restless {
                true => json!([object["spec"], metadata["annotations"], metadata["generation"]]),
                false => metadata["resourceVersion"].clone(),
            };
            versions.insert(name, version);
        }
    }
    for node in api.list("/api/v1/nodes").unwrap() {
        versions.insert(format!("nodes/{}", node["metadata"]["name"]), node["spec"].clone());
    }
    versions
}

/// The same, once controllers have come to their end with it.
fn settled(world: &World, space: &Namespace, is_restless: bool) -> BTreeMap<String, Value> {
    let mut before = BTreeMap::new();
    until("nothing changes any more", || {
        let now = versions(world, space, is_restless);
        thread::sleep(STILL);
        let same = now == before;
        before = now;
        same.then(|| before.clone())
    })
}

/// What was changed, and where: pods and tries of one thing are one.
fn changes<'a>(told: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let change = |told: &str| {
        let told = told.split(['#', '?']).next().unwrap_or_default();
        let mut levels: Vec<&str> = told.split('/').collect();
        if let Some(at) = levels.iter().position(|level| *level == "pods")
            && let Some(name) = levels.get_mut(at + 1)
        {
            *name = "POD";
        }
        levels.join("/").split(" of ").next().unwrap_or_default().to_owned()
    };
    told.map(change).collect()
}

fn is_planned(kind: &dyn Kind) {
    // A container that has too little memory ends again and again.
    let is_restless = kind.planned().contains(&"resize");
    let Some(cluster) = ControlPlane::start() else { return };
    let gate = Gate::open(cluster.api(), &cluster.ca());
    let world = World { cluster, gate, keys: Keys::make() };
    let space = world.cluster.namespace("plan");
    let watch = Watch {
        tables: kind.tables(&world, std::slice::from_ref(&space)),
        targets: vec![("shop".into(), file(kind, &space))],
        ..Watch::default()
    };
    let mut plant = Plant::opens(&world.keys, world.cluster.api(), &world.gate, &watch);
    kind.is_there(&world, &space);
    kind.is_told(&mut plant, "shop");
    let known = |plant: &mut Plant| {
        let view = plant.view("shop");
        ["attempts", "breaker", "good", "hold", "incident", "quarantine", "run"]
            .map(|field| view[field].clone())
    };
    let (view, before) = (known(&mut plant), settled(&world, &space, is_restless));
    world.gate.counts_anew();
    let mut asked = vec!["plan", "shop"];
    asked.extend(kind.planned());
    let plan = plant.cli().ask(&asked).unwrap();
    let passed: Vec<Passed> = world.gate.passed().into_iter().filter(Passed::changes).collect();
    assert!(passed.is_empty(), "{}: {passed:#?}", kind.name());
    assert_eq!(versions(&world, &space, is_restless), before, "{}", kind.name());
    assert_eq!(known(&mut plant), view, "{}", kind.name());
    assert!(plan["restrained"].is_null(), "{plan:#}");
    let effects = plan["effects"].as_array().unwrap();
    let planned = effects.iter().filter(|effect| effect["changes"] == true);
    let planned = changes(
        planned.filter_map(|effect| effect["what"].as_str()).filter(|what| !what.contains("reviews")),
    );
    println!(
        "summary: plan of {}: {} effects, would change {planned:?}, ends: {}",
        kind.name(),
        effects.len(),
        plan["end"]
    );

    // The order itself changes all of that. What a command changes is its own.
    kind.is_ordered(&mut plant, "shop");
    plant.until("shop", "it is over", |_, view| view["run"].is_null() && kind.is_over(view));
    let done: Vec<String> = plant
        .incidents("shop")
        .iter()
        .flat_map(|incident| incident["events"].as_array().unwrap())
        .filter_map(|event| event["what"].as_str()?.split_once(", effect ")?.1.split_once(": "))
        .map(|(_, what)| what.to_owned())
        .filter(|what| {
            ["PATCH ", "POST ", "PUT ", "DELETE ", "run helm-rollback"]
                .iter()
                .any(|verb| what.starts_with(verb))
        })
        .filter(|what| !what.contains("reviews"))
        .collect();
    let done = changes(done.iter().map(String::as_str));
    let unforeseen: Vec<&String> = done.difference(&planned).collect();
    assert!(!planned.is_empty() && planned.is_subset(&done), "{}: {done:#?} {plan:#}", kind.name());
    // What hangs on what its changes do can't be foreseen, and it says so.
    let depends = plan["end"].as_str().unwrap().starts_with("from here on it depends");
    assert!(unforeseen.is_empty() || depends, "{}: {unforeseen:#?} {plan:#}", kind.name());
    println!("  it changed {} of them, and {unforeseen:?} besides", planned.len());
}

#[test]
fn a_way_home_is_told_and_not_gone() {
    for kind in [&Deployed as &dyn Kind, &Rolled::to(20), &Rolled::to(60), &Rolled::to(100)] {
        is_planned(kind);
    }
}

#[test]
fn helms_way_home_is_told_and_not_gone() {
    for major in [3, 4] {
        is_planned(&Helmed::by(major, Found::Whole));
    }
}

#[test]
fn playbooks_are_told_and_not_run() {
    for kind in [
        Healed::Restart,
        Healed::Resize,
        Healed::Drain,
        Healed::Scale,
        Healed::Outliers,
        Healed::Lkg(OnceLock::new()),
    ] {
        is_planned(&kind);
    }
}
