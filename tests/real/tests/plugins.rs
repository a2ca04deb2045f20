//! Plugins that reach devices like releases do, with real processes: in waves over a real broker, tried beside the one that
//! decides, kept over a restart, and left for the one before where they are bad.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use backstay_test_attacks::guests;
use backstay_test_fleet::{Build, Fleet, Pace};
use backstay_test_real::{Built, built, program};
use serde_json::Value;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

const POLICY: &str = "backstay/policy-tree";

/// What the server knows of the plugins of all devices.
fn plugins(fleet: &Fleet) -> Vec<Value> {
    let view = fleet.view().unwrap_or_default();
    let devices = view["devices"].as_array().into_iter().flatten();
    devices.map(|device| device["plugins"].clone()).collect()
}

fn all_are(fleet: &Fleet, what: &str, is: impl Fn(&Value) -> bool) {
    let all = || plugins(fleet).len() == fleet.devices.len() && plugins(fleet).iter().all(&is);
    let came = fleet.wait(what, PATIENCE, all);
    came.unwrap_or_else(|error| panic!("{error}: {:#?}", plugins(fleet)));
}

fn trusts(plugins: &Value, version: &str) -> bool {
    plugins["trusted"]["version"] == version && plugins["standing"] == "Settled"
}

/// Hands a policy to the server and begins to bring it to everybody at once.
fn brings(fleet: &Fleet, manifests: &Path, component: &Path, (version, sequence): (&str, u64)) {
    let build = Build { plugin: "policy-tree", component, version: Some(version), sequence };
    let bundle = fleet.layout.grant(&fleet.cli, manifests, build).unwrap();
    fleet.cli.ask(&["plugin", "publish", &bundle.display().to_string()]).unwrap();
    let start = ["rollout", "start", "--cohort", "canary", "--plugin", POLICY, "--version", version];
    let plan = ["--wave", "50%", "--wave", "100%", "--devices-min", "1", "--good-windows", "1"];
    fleet.cli.ask(&[start.as_slice(), plan.as_slice()].concat()).unwrap();
}

/// How often the first device has begun with version 1.1.0, by its log.
fn ready(fleet: &Fleet) -> usize {
    let log = fs::read_to_string(fleet.devices[0].log()).unwrap_or_default();
    log.matches("backstay/policy-tree 1.1.0 is ready").count()
}

/// How the cohort's rollout of plugins stands, by the server.
fn rollout(fleet: &Fleet) -> Value {
    let status = fleet.cli.exit(&["rollout", "status", "--cohort", "canary", "--channel", "plugins"]);
    let (_, said, _) = status.unwrap();
    serde_json::from_str(&said).unwrap_or_default()
}

#[test]
fn a_policy_reaches_a_cohort_in_waves_and_a_bad_one_is_sent_back() {
    if program("mosquitto").is_none() {
        return;
    }
    let Built { programs, plugins: components } = built();
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(dir.path(), &programs, &components, Pace::default()).unwrap();
    for name in ["pump-1", "pump-2", "pump-3"] {
        fleet.add(name, "canary").unwrap();
    }
    all_are(&fleet, "every device tells of its policy", |plugins| trusts(plugins, "0.1.0"));

    // The next version, which decides alike: beside the old one first, then in its place.
    let tree = components.join("policy-tree.wasm");
    brings(&fleet, &components, &tree, ("1.1.0", 2));
    all_are(&fleet, "every device trusts 1.1.0", |plugins| trusts(plugins, "1.1.0"));
    let records = fleet.cli.records("pump-1").unwrap();
    let told: Vec<&str> = records.iter().filter_map(|record| record["what"].as_str()).collect();
    let at = |what: &str| {
        told.iter().position(|told| told.contains(what)).unwrap_or_else(|| panic!("{what}: {told:#?}"))
    };
    assert!(
        at("is on trial under grant") < at("is asked beside") && at("takes over from") < at("is confirmed")
    );

    // Without a broker, and with nobody who has the bundle, a device that was killed has it still.
    fleet.broker.as_mut().unwrap().kill();
    let silent = Instant::now();
    for folder in ["server/state/artifacts", "devices/pump-1/state/artifacts"] {
        let folder = dir.path().join(folder);
        fs::rename(&folder, folder.with_extension("away")).unwrap();
        fs::create_dir(&folder).unwrap();
    }
    fleet.devices[0].kill();
    let before = ready(&fleet);
    fleet.devices[0].start().unwrap();
    fleet.wait("it begins with 1.1.0", PATIENCE, || ready(&fleet) > before).unwrap();
    let away = dir.path().join("server/state/artifacts");
    fs::remove_dir(&away).unwrap();
    fs::rename(away.with_extension("away"), &away).unwrap();
    fleet.broker.as_mut().unwrap().resume().unwrap();
    // What it said before is older than the silence.
    let told_anew = || {
        let age = plugins(&fleet)[0]["age_ms"].as_u64();
        age.is_some_and(|age| u128::from(age) < silent.elapsed().as_millis())
    };
    fleet.wait("it tells of its policy again", PATIENCE, told_anew).unwrap();
    all_are(&fleet, "every device trusts 1.1.0 still", |plugins| trusts(plugins, "1.1.0"));

    // Devices that trust it are one thing, a rollout that has come to its end another: the last wave is watched for a while.
    fleet.wait("the rollout is complete", PATIENCE, || rollout(&fleet)["phase"] == "complete").unwrap();

    // One that comes to no end is found out while it is only watched. Nobody is without a policy meanwhile.
    let endless = dir.path().join("endless.wasm");
    fs::write(&endless, guests::policy(guests::MEMORY, "(loop (br 0))")).unwrap();
    brings(&fleet, &components, &endless, ("1.2.0", 3));
    let came =
        fleet.wait("the cohort's plugins are turned", PATIENCE, || rollout(&fleet)["direction"] == "Home");
    came.unwrap_or_else(|error| panic!("{error}: {:#?}", plugins(&fleet)));
    all_are(&fleet, "every device trusts 1.1.0 again", |plugins| trusts(plugins, "1.1.0"));
    assert!(
        plugins(&fleet)
            .iter()
            .any(|plugins| plugins["condemned"].as_array().is_some_and(|all| !all.is_empty()))
    );
    let view = fleet.view().unwrap();
    assert!(
        view["devices"].as_array().unwrap().iter().all(|device| device["standing"] == "Settled"),
        "{view:#}"
    );
}
