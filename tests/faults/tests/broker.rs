//! A broker that has lost all that it retained, and 5,000 connections that are gone at once: devices are steered again, because
//! the server says it again, and whoever comes back with the crowd is served.
//!
//! The crowd are bare MQTT clients on the loopback, each with a will, all of them made here. Not here: a broker that is killed again and
//! again while records come (`fire`), and clients that lie (`tests/attacks`, `tests/real`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use backstay_test_faults::fire::{herd::keep_retained, surroundings::told};
use backstay_test_fleet::{Broker, Built, Fleet, Pace, built};

/// Fleets take both processors of a small machine, so they come one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);
const DEVICES: usize = 3;
const CROWD: usize = 5_000;
/// The broker's descriptors, and ours: the crowd's and a few.
const DESCRIPTORS: usize = CROWD + 500;

const STEER: &str = "backstay/1/demo/steer/canary/product";

fn can_run() -> Option<MutexGuard<'static, ()>> {
    if Broker::program().is_none() {
        println!("skipped, because mosquitto is not installed");
        return None;
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

fn fleet(dir: &Path) -> Fleet {
    let Built { programs, plugins } = built();
    let pace = Pace { trial: "4s", trial_limit: "60s", window: "1s", probe: "500ms", ..Pace::default() };
    let mut fleet = Fleet::start(dir, &programs, &plugins, pace).unwrap();
    keep_retained(&mut fleet).unwrap();
    for n in 1..=DEVICES {
        fleet.add(&format!("pump-{n}"), "canary").unwrap();
    }
    settle(&fleet, "1.4.0");
    fleet
}

/// Waits until every device says that it settled on a version, and its slots say so, too.
fn settle(fleet: &Fleet, version: &str) {
    let held = fleet.wait(&format!("all settled on {version}"), PATIENCE, || {
        let Ok(view) = fleet.view() else { return false };
        let settled = view["devices"].as_array().into_iter().flatten().filter(|device| {
            device["standing"] == "Settled" && device["confirmed"]["release"]["version"] == version
        });
        settled.count() == fleet.devices.len()
            && fleet.devices.iter().all(|device| device.slot().as_deref() == Some(version))
    });
    held.unwrap_or_else(|why| panic!("{why}: {:#}", fleet.view().unwrap_or_default()));
}

fn verify(fleet: &Fleet) {
    for device in &fleet.devices {
        fleet.cli.ask(&["evidence", "verify", &device.name]).unwrap();
    }
}

/// What the broker has retained of steering, if it has anything.
fn retained(fleet: &Fleet) -> Vec<u8> {
    let mut mqtt = Client::connects(fleet.layout.broker, "looks", None).unwrap();
    mqtt.subscribes(STEER).unwrap();
    mqtt.hears().unwrap()
}

#[test]
fn a_broker_that_lost_what_it_retained_is_told_again_and_devices_are_steered() {
    let Some(_alone) = can_run() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = fleet(dir.path());
    // No device hears it when it is said, and the broker has forgotten it when they are back.
    fleet.devices.iter_mut().for_each(backstay_test_fleet::Device::kill);
    fleet.cli.ask(&["rollout", "start", "--cohort", "canary", "--version", "1.5.0"]).unwrap();
    let mut before = Vec::new();
    let held = fleet.wait("steering is retained", PATIENCE, || {
        before = retained(&fleet);
        before.len() > 200
    });
    held.unwrap();
    let store = dir.path().join("broker/mosquitto.db");
    fleet.wait("the broker has written its store", PATIENCE, || store.is_file()).unwrap();
    let broker = fleet.broker.as_mut().unwrap();
    broker.kill();
    fs::remove_file(&store).unwrap();
    broker.resume().unwrap();
    // It is signed anew, so it is as long and not the same.
    fleet.wait("the broker has steering again", PATIENCE, || retained(&fleet).len() == before.len()).unwrap();
    for device in &mut fleet.devices {
        device.start().unwrap();
    }
    settle(&fleet, "1.5.0");
    verify(&fleet);
    println!(
        "summary: retained store lost: {} bytes of steering are retained again, {DEVICES} devices followed",
        before.len()
    );
}

#[test]
fn five_thousand_connections_that_drop_at_once_cost_nobody_else_anything() {
    let Some(_alone) = can_run() else { return };
    if env::var_os("BACKSTAY_LONG").is_none() {
        println!("skipped, because it is part of the long form alone: cargo xtask test faults");
        return;
    }
    let limit = told(&["sh", "-c", "ulimit -Hn"]).unwrap();
    if limit.trim().parse::<usize>().is_ok_and(|most| most < DESCRIPTORS) {
        println!("skipped, because a process may have {} descriptors at most", limit.trim());
        return;
    }
    // The broker is started with ours.
    let most = format!("--nofile={DESCRIPTORS}:");
    told(&["prlimit", "--pid", &std::process::id().to_string(), &most]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = fleet(dir.path());

    let crowd = crowd(fleet.layout.broker);
    let dropped = Instant::now();
    drop(crowd);
    // Each leaves its last will, in the name of a device that there isn't.
    fleet.cli.ask(&["rollout", "start", "--cohort", "canary", "--version", "1.5.0"]).unwrap();
    settle(&fleet, "1.5.0");
    let (first, refused) = (dropped.elapsed().as_secs_f64(), refusals(&fleet));
    assert!(refused > 0, "the server has heard none of the wills");
    assert!(refused < 64, "{refused} records of refusals: a flood is not to fill the journal");

    // The same by the broker's end, with the devices among those who are dropped and who come back.
    let crowd = self::crowd(fleet.layout.broker);
    let dropped = Instant::now();
    fleet.broker.as_mut().unwrap().kill();
    fleet.broker.as_mut().unwrap().resume().unwrap();
    drop(crowd);
    let again = self::crowd(fleet.layout.broker);
    fleet.cli.ask(&["rollout", "rollback", "--cohort", "canary"]).unwrap();
    settle(&fleet, "1.4.0");
    let second = dropped.elapsed().as_secs_f64();
    assert_eq!(again.len(), CROWD);
    for device in &mut fleet.devices {
        assert!(device.runs(), "{} runs on", device.name);
    }
    verify(&fleet);
    println!(
        "summary: {CROWD} connections dropped at once: {DEVICES} devices were on 1.5.0 {first:.0} s later, {refused} records of \
         refused wills; {CROWD} and the devices dropped by the broker's end: home {second:.0} s later, among {CROWD} who came back"
    );
}

/// How many records of refusals the server has written down.
fn refusals(fleet: &Fleet) -> usize {
    let state = fleet.layout.dir.join("server/state").display().to_string();
    let shown = fleet.cli.local(&["evidence", "show", &state]).unwrap();
    shown.lines().filter(|line| line.contains("is enrolled") && line.contains("refused")).count()
}

fn crowd(port: u16) -> Vec<Client> {
    let connects = |n: usize| {
        let name = format!("ghost-{n}");
        let will = format!("backstay/1/demo/device/{name}/presence");
        let mut client =
            Client::connects(port, &name, Some(&will)).unwrap_or_else(|why| panic!("{name}: {why}"));
        client.subscribes(STEER).unwrap_or_else(|why| panic!("{name}: {why}"));
        client
    };
    (1..=CROWD).map(connects).collect()
}

/// As much of MQTT 3.1.1 as a crowd needs.
struct Client(TcpStream);

impl Client {
    fn connects(port: u16, name: &str, will: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut body = [&[0, 4][..], b"MQTT", &[4]].concat();
        // A clean session; with a will also that, at QoS 0 and not retained.
        body.push(if will.is_some() { 0b110 } else { 0b10 });
        body.extend([0, 0]);
        body.extend(string(name));
        if let Some(topic) = will {
            body.extend(string(topic));
            body.extend(string("gone"));
        }
        let mut client = Self(stream);
        client.0.write_all(&packet(0x10, &body))?;
        let (kind, answer) = client.reads()?;
        if kind == 0x20 && answer == [0, 0] { Ok(client) } else { Err(io::Error::other("it was not let in")) }
    }

    fn subscribes(&mut self, topic: &str) -> io::Result<()> {
        self.0.write_all(&packet(0x82, &[&[0, 1][..], &string(topic), &[0]].concat()))?;
        // What is retained may come before the answer; it is not lost to whoever wants it.
        match self.reads()? {
            (0x90, _) => Ok(()),
            (kind, _) => Err(io::Error::other(format!("packet {kind:#x} came"))),
        }
    }

    /// What is retained, or nothing: then an answer to a ping comes first.
    fn hears(&mut self) -> io::Result<Vec<u8>> {
        self.0.write_all(&packet(0xc0, &[]))?;
        let (kind, body) = self.reads()?;
        if kind & 0xf0 != 0x30 {
            return Ok(Vec::new());
        }
        let topic = body.first_chunk::<2>().map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)));
        Ok(body[2 + topic..].to_vec())
    }

    fn reads(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        let kind = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.0.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((kind, body))
    }
}

fn string(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut length = body.len();
    while {
        let more = length > 0x7f;
        bytes.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
        length >>= 7;
        more
    } {}
    [bytes, body.to_vec()].concat()
}
