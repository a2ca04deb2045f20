//! Whom a fleet trusts, with real processes: what is signed where the keys are reaches a device through the server, and
//! what the server alone may not do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    time::Duration,
};

use backstay_test_fleet::{Device, Fleet, Pace, free_port};
use backstay_test_real::{Built, built, program};
use serde_json::Value;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the device's own journal says, as far as the server has it.
fn records(fleet: &Fleet) -> Vec<String> {
    let records = fleet.cli.records("pump-1").unwrap_or_default();
    records.iter().map(|record: &Value| record["what"].as_str().unwrap_or_default().to_owned()).collect()
}

fn says(fleet: &Fleet, what: &str) {
    let told = || records(fleet).iter().any(|record| record.contains(what));
    let came = fleet.wait(&format!("the device says {what:?}"), PATIENCE, told);
    came.unwrap_or_else(|error| panic!("{error}: {:#?}", records(fleet)));
}

fn settles(fleet: &Fleet, version: &str) {
    let device = &fleet.devices[0];
    let settled = || {
        let Ok(view) = fleet.view() else { return false };
        let said = &view["devices"][0];
        said["standing"] == "Settled"
            && said["confirmed"]["release"]["version"] == version
            && device.answers().as_deref() == Some(version)
    };
    let came = fleet.wait(&format!("it settles on {version}"), PATIENCE, settled);
    came.unwrap_or_else(|error| panic!("{error}: {:#?}", records(fleet)));
}

#[test]
fn what_is_signed_elsewhere_reaches_a_device_and_the_server_alone_sends_nobody_back() {
    if program("mosquitto").is_none() {
        return;
    }
    let Built { programs, plugins } = built();
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(dir.path(), &programs, &plugins, Pace::default()).unwrap();
    let minted = fleet.cli.ask(&["enrol", "token", "--device", "pump-1", "--cohort", "canary"]).unwrap();
    let (token, port) = (minted["token"].as_str().unwrap(), free_port().unwrap());
    let mut device = Device::make(&fleet.layout, "pump-1", "canary", token, port).unwrap();
    let mut config = OpenOptions::new().append(true).open(device.dir().join("agent.toml")).unwrap();
    config.write_all(b"\n[trust]\nsecond_after = \"1ms\"\n").unwrap();
    device.start().unwrap();
    fleet.devices.push(device);
    settles(&fleet, "1.4.0");

    let file = |name: &str| dir.path().join(name).display().to_string();
    let key = |name: &str| file(&format!("keys/{name}"));
    let keyring = key("keyring");

    // Another director beside the first: the roots have signed it, and the device follows.
    fleet.cli.local(&["keys", "new", "--out", &key("second.pem")]).unwrap();
    let both = format!("director=1:{},{}", key("director.pem"), key("second.pub"));
    let (root, link) = (key("root.pem"), file("keyring-2.link"));
    let rotate = ["keys", "rotate", "--keyring", &keyring, "--role", &both, "--key", &root, "--out", &link];
    fleet.cli.local(&rotate).unwrap();
    let published = fleet.cli.ask(&["keys", "publish", &link]).unwrap();
    assert_eq!((&published["number"], &published["director"]), (&2.into(), &true.into()), "{published}");
    says(&fleet, "trusts keyring 2");
    let newest = file("keyring-2");
    fleet.cli.local(&["keys", "follow", "--keyring", &keyring, &link, "--out", &newest]).unwrap();

    // A release has long been good. The server sends it home, and the device asks for the operators' word.
    fleet.cli.ask(&["rollout", "start", "--cohort", "canary", "--version", "1.5.0"]).unwrap();
    settles(&fleet, "1.5.0");
    fleet.cli.ask(&["rollout", "rollback", "--cohort", "canary"]).unwrap();
    says(&fleet, "operators have to sign it, too");
    assert_eq!(fleet.devices[0].answers().as_deref(), Some("1.5.0"));
    let (order, operator) = (file("home.order"), key("operator.pem"));
    fleet.cli.ask(&["rollout", "order", "--cohort", "canary", "--out", &order]).unwrap();
    let shown = fleet.cli.local(&["keys", "show", &order]).unwrap();
    assert!(shown.contains("home, rollout r-canary-") && shown.contains("1.5.0"), "{shown}");
    let (code, _, told) = fleet.cli.exit(&["keys", "publish", &order]).unwrap();
    assert!(code != Some(0) && told.contains("lacks signatures of operators"), "{code:?} {told}");
    fleet.cli.local(&["keys", "cosign", &order, "--keyring", &newest, "--key", &operator]).unwrap();
    fleet.cli.ask(&["keys", "publish", &order]).unwrap();
    settles(&fleet, "1.4.0");

    // The policy's grant is taken back: nobody asks it any more, on the device and on the server.
    let bundle = file("plugins/policy-tree.bundle");
    let inspected = fleet.cli.ask(&["plugin", "inspect", &bundle, "--keyring", &newest]).unwrap();
    let grant = inspected["plugin"]["grant"]["digest"].as_str().unwrap_or_else(|| panic!("{inspected:#}"));
    let (revoker, revocation) = (key("revoker.pem"), file("policy.revocation"));
    let mut revoke = vec!["keys", "revoke", "--keyring", &newest, "--digest", grant, "--key", &revoker];
    revoke.extend(["--out", &revocation]);
    fleet.cli.local(&revoke).unwrap();
    fleet.cli.ask(&["keys", "publish", &revocation]).unwrap();
    says(&fleet, "heeds revocation 1");
    says(&fleet, "was revoked");
    fleet.devices[0].kill();
    fleet.devices[0].start().unwrap();
    says(&fleet, "no policy could be loaded");
    assert_eq!(fleet.devices[0].answers().as_deref(), Some("1.4.0"), "what runs goes on");
    drop(fs::remove_file(order));
}
