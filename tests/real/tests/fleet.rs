//! Real processes: mosquitto, `backstay serve`, agents with their services. What a hostile or dying neighbour can't do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use backstay_test_fleet::{Fleet, Pace};
use backstay_test_real::{Built, built, program};
use serde_json::Value;

/// Fleets take both processors of a small machine, so they come one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn gather(fleet: &mut Fleet, devices: usize) {
    for n in 1..=devices {
        fleet.add(&format!("pump-{n}"), "canary").unwrap();
    }
    settle(fleet, "1.4.0");
}

/// Waits until every device says that it settled on a version, and its service says so, too.
fn settle(fleet: &Fleet, version: &str) {
    let devices = fleet.devices.len();
    let held = fleet.wait(&format!("all settled on {version}"), PATIENCE, || {
        let Ok(view) = fleet.view() else { return false };
        let settled = view["devices"].as_array().into_iter().flatten().filter(|device| {
            device["standing"] == "Settled" && device["confirmed"]["release"]["version"] == version
        });
        settled.count() == devices
            && fleet.devices.iter().all(|device| device.answers().as_deref() == Some(version))
    });
    held.unwrap_or_else(|error| panic!("{error}: {:#}", fleet.view().unwrap_or_default()));
}

fn records(fleet: &Fleet, device: &str) -> Vec<String> {
    let records = fleet.cli.records(device).unwrap_or_default();
    records.iter().map(|record: &Value| record["what"].as_str().unwrap_or_default().to_owned()).collect()
}

fn publish(fleet: &Fleet, topic: &str, payload: &[u8], retain: bool) {
    let mut command = Command::new(program("mosquitto_pub").unwrap());
    let content = if payload.is_empty() { "-n" } else { "-s" };
    command.args(["-h", "127.0.0.1", "-q", "1", content, "-t", topic, "-p"]);
    command.arg(fleet.layout.broker.to_string()).stdin(Stdio::piped());
    if retain {
        command.arg("-r");
    }
    let mut child = command.spawn().unwrap();
    // A broker that closes the connection in the middle of a megabyte is as good an end as any.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), payload);
    let _ = child.wait();
}

fn retained(fleet: &Fleet, topic: &str) -> Vec<u8> {
    let mut command = Command::new(program("mosquitto_sub").unwrap());
    command.args(["-h", "127.0.0.1", "-C", "1", "-W", "20", "-N", "-t", topic, "-p"]);
    command.arg(fleet.layout.broker.to_string()).output().unwrap().stdout
}

/// Whether a device's own journal says that something was refused, and why.
fn is_refused(fleet: &Fleet, n: usize, what: &str, why: &str) -> bool {
    let refused = format!("refused {what}");
    let records = records(fleet, &format!("pump-{n}"));
    records.iter().any(|record| record.starts_with(&refused) && record.contains(why))
}

/// Waits until every device's journal says what was refused, and why.
fn refused_everywhere(fleet: &Fleet, wanted: impl Fn(usize) -> Vec<(String, &'static str)>) {
    let missing = || -> Vec<_> {
        let all = (1..=3).flat_map(|n| wanted(n).into_iter().map(move |(what, why)| (n, what, why)));
        all.filter(|(n, what, why)| !is_refused(fleet, *n, what, why)).collect()
    };
    let told = fleet.wait("the records name the reasons", PATIENCE, || missing().is_empty());
    told.unwrap_or_else(|error| panic!("{error}; missing {:#?}: {:#?}", missing(), records(fleet, "pump-1")));
}

/// Somebody has the broker's password and publishes garbage, a megabyte, nothing at all, and yesterday's message, to
/// every topic. Agents run on, nothing moves, and the records name the reasons.
#[test]
fn whatever_is_published_changes_nothing_and_is_recorded_with_its_reason() {
    if program("mosquitto").is_none() {
        return;
    }
    let Built { programs, plugins } = built();
    if program("mosquitto_pub").is_none() {
        return;
    }
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let pace = Pace { message_bytes_max: 0, ..Pace::default() };
    let mut fleet = Fleet::start(dir.path(), &programs, &plugins, pace).unwrap();
    gather(&mut fleet, 3);

    fleet.cli.ask(&["rollout", "start", "--cohort", "canary", "--version", "1.5.0"]).unwrap();
    settle(&fleet, "1.5.0");
    let steer = "backstay/1/demo/steer/canary/product";
    let yesterday = retained(&fleet, steer);
    assert!(yesterday.len() > 200, "a steering message is retained");
    fleet.cli.ask(&["rollout", "rollback", "--cohort", "canary"]).unwrap();
    settle(&fleet, "1.4.0");
    let today = retained(&fleet, steer);
    assert_ne!(yesterday, today);

    let mut topics =
        vec![steer.to_owned(), "backstay/1/demo/trust".into(), "backstay/1/demo/steer/canary/plugins".into()];
    for leaf in ["order", "receipt", "state", "plugins", "presence", "beat", "log"] {
        topics.extend((1..=3).map(|n| format!("backstay/1/demo/device/pump-{n}/{leaf}")));
    }
    let own = |n: usize, leaf: &str| format!("backstay/1/demo/device/pump-{n}/{leaf}");
    let heard = |n: usize| [steer.to_owned(), own(n, "order"), own(n, "receipt")];
    for topic in &topics {
        publish(&fleet, topic, &[0xa5; 300], false);
        publish(&fleet, topic, &[], false);
    }
    refused_everywhere(&fleet, |n| {
        let whys = ["its format is malformed", "it is empty"];
        heard(n).into_iter().flat_map(|topic| whys.map(|why| (topic.clone(), why))).collect()
    });

    for topic in &topics {
        publish(&fleet, topic, &yesterday, true);
    }
    refused_everywhere(&fleet, |_| vec![("steering of canary".into(), "is older than")]);

    // A megabyte costs a device its connection, and the device says why, though nobody can tell of which topic it was.
    for topic in &topics {
        publish(&fleet, topic, &vec![0xa5; 1 << 20], false);
    }
    refused_everywhere(&fleet, |_| vec![("a message from the broker".into(), "bytes is there, at most")]);
    // One that the broker keeps meets each connection anew, until its topic is left out.
    let poisoned = |n| own(n, "order");
    for n in 1..=3 {
        publish(&fleet, &poisoned(n), &vec![0xa5; 1 << 20], true);
    }
    refused_everywhere(&fleet, |n| vec![(format!("what is kept under {}", poisoned(n)), "it is too large")]);
    for n in 1..=3 {
        publish(&fleet, &poisoned(n), &[], true);
    }

    // One flipped bit in today's message.
    let mut forged = today.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let told = fleet.wait("the records name the signature", PATIENCE, || {
        // Said again and again: who is away hears nothing, and not each of many is written down.
        publish(&fleet, steer, &forged, false);
        (1..=3).all(|n| is_refused(&fleet, n, steer, "signature"))
    });
    told.unwrap_or_else(|error| panic!("{error}: {:#?}", records(&fleet, "pump-1")));
    for device in &mut fleet.devices {
        assert!(device.runs(), "{} runs on", device.name);
        assert_eq!(device.answers().as_deref(), Some("1.4.0"));
    }
    // And the fleet can still be steered: the server says again what holds.
    fleet.cli.ask(&["rollout", "thaw", "--cohort", "canary"]).unwrap();
    settle(&fleet, "1.4.0");
    for n in 1..=3 {
        fleet.cli.ask(&["evidence", "verify", &format!("pump-{n}")]).unwrap();
    }
}

/// Agents and server are killed again and again while a release goes bad. Everybody is home in the end, every chain
/// holds, and no effect was begun twice.
#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_is_done_twice() {
    if program("mosquitto").is_none() {
        return;
    }
    let Built { programs, plugins } = built();
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(dir.path(), &programs, &plugins, Pace::default()).unwrap();
    gather(&mut fleet, 4);
    fleet.cli.ask(&["rollout", "start", "--cohort", "canary", "--version", "2.0.0"]).unwrap();

    let seed = std::env::var("BACKSTAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    println!("BACKSTAY_SEED={seed}");
    let mut state = seed;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let (until, mut kills) = (Instant::now() + Duration::from_secs(30), 0);
    while Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(100 + random(900)));
        let at = random(fleet.devices.len() as u64 + 1) as usize;
        match fleet.devices.get_mut(at) {
            Some(device) => {
                device.kill();
                device.start().unwrap();
            }
            None => {
                fleet.kill_server();
                fleet.start_server().unwrap();
            }
        }
        kills += 1;
    }
    println!("{kills} kills");
    settle(&fleet, "1.4.0");
    for n in 1..=4 {
        let name = format!("pump-{n}");
        fleet.cli.ask(&["evidence", "verify", &name]).unwrap();
        let mut began: Vec<String> = records(&fleet, &name)
            .into_iter()
            .filter(|record| {
                record.starts_with("run ") && record.contains(", effect ") && !record.ends_with(" ended")
            })
            .collect();
        let all = began.len();
        began.sort();
        began.dedup();
        assert_eq!(began.len(), all, "{name} began an effect twice");
    }
}
