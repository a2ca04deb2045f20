//! A server as it runs for a fleet, and devices that are nothing but their keys and what they say.
//!
//! Here: setting both up through the same doors as always (the command line, enrolment, signed words over the broker), and
//! what is asked of the server while it is measured. Not here: the measuring.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use backstay_memory::{Memory, Options};
use backstay_model::{
    Beat, BootId, CohortId, DeviceId, Event, FleetId, Generation, Hardware, Health, Mono, Release, Report,
    RolloutId, Standing, UnixMs,
};
use backstay_test_bench::{Failure, Kind, Packet, Publisher, connect, publish, subscribe};
use backstay_test_fleet::{Cli, Layout, Pace, Process};
use backstay_trust::{DeviceKind, EnrolRequest, EnrolToken, SecretKey, Stamp, sign_word};
use backstay_wire::{Leaf, Presence, Topic, encode};
use serde_json::Value;

const COHORT: &str = "beats";
const HARDWARE: &str = "bench";
/// How long anything may take that isn't measured.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server and its devices.
pub struct Fleet {
    cli: Cli,
    server: Process,
    devices: Vec<Device>,
    /// A journal record, which the server signs for each time it comes: the first time it is kept, then it is known.
    full_stop: Vec<u8>,
    /// Who hears the receipts.
    receipts: TcpStream,
}

struct Device {
    id: DeviceId,
    key: SecretKey,
    nonce: u64,
}

/// Which beats.
pub struct Beats {
    /// Under whose name.
    pub fleet: &'static str,
    /// After so many of each device.
    pub after: u64,
    /// So many of each device.
    pub each: usize,
    /// What the last one of each says; those before say the opposite.
    pub last: Health,
}

impl Fleet {
    /// Its name.
    pub const NAME: &str = "demo";

    /// Starts the server, enrols the devices, and begins a rollout that goes on for as long as it is looked at.
    pub fn start(dir: &Path, broker: u16, devices: usize) -> Result<Self, Failure> {
        let folder = |name: &str| {
            let path = env::var_os(name).map(PathBuf::from);
            path.ok_or_else(|| format!("{name} is not set: `cargo xtask bench beats` sets it"))
        };
        let (programs, plugins) = (folder("BACKSTAY_PROGRAMS")?, folder("BACKSTAY_PLUGINS")?);
        let (layout, cli) = Layout::make(dir, &programs, &plugins, Pace::default(), None)?;
        let config = dir.join("server/backstay.toml");
        fs::write(&config, configuration(&layout, broker))?;
        let mut command = Command::new(programs.join("backstay"));
        command.arg("serve").arg("--config").arg(config);
        let server = Process::start(command, &dir.join("server/log"))?;
        wait("the server answers", || cli.ask(&["fleet", "ls"]).is_ok())?;

        let releases =
            [release(&cli, &layout, "1.4.0", None)?, release(&cli, &layout, "1.5.0", Some("1.4.0"))?];
        let enrol = |n| Device::enrol(&cli, &layout, n);
        let devices = (0..devices).map(enrol).collect::<Result<Vec<_>, _>>()?;
        let mut publisher = Publisher::start(broker, "devices")?;
        for device in &devices {
            let presence = encode(&Presence { online: true, nonce: device.nonce, at: Mono(0) })?;
            publisher
                .keep(&device.topic(Leaf::Presence)?, &device.sign(DeviceKind::Presence, 1, &presence)?)?;
        }
        cli.ask(&[
            "rollout",
            "start",
            "--cohort",
            COHORT,
            "--version",
            "1.5.0",
            "--back",
            "1.4.0",
            "--rollout",
            "r-1",
        ])?;
        for device in &devices {
            let report = device.report(&releases)?;
            publisher
                .keep(&device.topic(Leaf::State)?, &device.sign(DeviceKind::State, 1, &encode(&report)?)?)?;
        }
        let count = devices.len() as u64;
        wait("all devices are known to run the release", || {
            let known = |view: Value| Some(view["on_trial"].as_u64()? + view["confirmed"].as_u64()?);
            status(&cli).and_then(known) == Some(count)
        })?;

        let first = devices.first().ok_or("there has to be a device")?;
        let full_stop = first.record(dir)?;
        let mut fleet = Self { receipts: first.listen(broker)?, cli, server, devices, full_stop };
        publisher.send(&fleet.full_stop)?;
        fleet.receipt()?;
        Ok(fleet)
    }

    /// The packets of a round, the devices by turns.
    pub fn beats(&self, beats: Beats) -> Result<Vec<u8>, Failure> {
        let Beats { fleet, after, each, last } = beats;
        let other = if last == Health::Bad { Health::Good } else { Health::Bad };
        let fleet = FleetId::parse(fleet)?;
        let topics = self.devices.iter().map(|device| {
            Topic::Device { fleet: fleet.clone(), device: device.id.clone(), leaf: Leaf::Beat }.to_string()
        });
        let topics: Vec<String> = topics.collect();
        let mut packets = Vec::new();
        for n in 1..=each as u64 {
            let health = if n == each as u64 { last } else { other };
            for (device, topic) in self.devices.iter().zip(&topics) {
                let beat = encode(&Beat { nonce: device.nonce, count: after + n, health })?;
                packets.extend(publish(topic, &beat, Kind::Loose));
            }
        }
        Ok(packets)
    }

    /// What is sent behind the last beat.
    pub fn full_stop(&self) -> &[u8] {
        &self.full_stop
    }

    /// Waits until the server has signed for it.
    pub fn receipt(&mut self) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        loop {
            if let Some(packet) = Packet::first(&bytes) {
                if packet.published().is_some() {
                    return Ok(());
                }
                bytes.drain(..packet.length);
                continue;
            }
            let mut more = [0; 1024];
            let read = self.receipts.read(&mut more).map_err(|why| format!("no receipt came: {why}"))?;
            bytes.extend(
                more.get(..read).filter(|more| !more.is_empty()).ok_or("the broker ended the connection")?,
            );
        }
    }

    /// Whether the last beat of every device is what the server has of it: none was lost, and none waits.
    pub fn has_last_beats(&self, last: Health) -> Result<(), Failure> {
        let view = self.cli.ask(&["fleet", "ls"])?;
        let last = serde_json::to_value(last)?;
        let devices = view["devices"].as_array().map_or(&[][..], Vec::as_slice);
        let have = devices.iter().filter(|device| device["health_now"]["health"] == last).count();
        if have == self.devices.len() {
            Ok(())
        } else {
            Err(format!("the server has the last beat of {have} of {} devices", self.devices.len()).into())
        }
    }

    /// How many times the policy decided about a window of the rollout.
    pub fn windows_judged(&self) -> Result<usize, Failure> {
        let events = self.cli.ask(&["events"])?;
        let events = events["events"].as_array().or(events.as_array()).map_or(&[][..], Vec::as_slice);
        let said = |what: &str| what.starts_with("policy (") && what.contains(") said ");
        let decided = |event: &&Value| event["what"].as_str().is_some_and(said);
        Ok(events.iter().filter(decided).count())
    }

    /// The server's process.
    pub fn process(&self) -> u32 {
        self.server.id()
    }
}

impl Device {
    fn enrol(cli: &Cli, layout: &Layout, n: usize) -> Result<Self, Failure> {
        let name = format!("pump-{n}");
        let mut seed = [0x42; 32];
        seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let key = SecretKey::from_random(&seed);
        let minted = cli.ask(&["enrol", "token", "--device", &name, "--cohort", COHORT])?;
        let token = EnrolToken::parse(minted["token"].as_str().ok_or("no token came")?)?;
        let request = EnrolRequest::sign(
            &key,
            FleetId::parse(Fleet::NAME)?,
            Hardware::parse(HARDWARE)?,
            n as u64,
            Some(&token),
        )?;
        let mut stream = TcpStream::connect(("127.0.0.1", layout.api))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "POST /v1/enrol HTTP/1.1\r\nHost: server\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            request.len()
        )?;
        stream.write_all(&request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(format!("{name} is not enrolled: {}", String::from_utf8_lossy(&answer)).into());
        }
        Ok(Self { id: DeviceId::parse(&name)?, key, nonce: 1000 + n as u64 })
    }

    fn topic(&self, leaf: Leaf) -> Result<String, Failure> {
        Ok(Topic::Device { fleet: FleetId::parse(Fleet::NAME)?, device: self.id.clone(), leaf }.to_string())
    }

    fn sign(&self, kind: DeviceKind, sequence: u64, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let stamp = Stamp { sequence, issued: UnixMs(1), expires: None };
        Ok(sign_word(&self.key, kind, FleetId::parse(Fleet::NAME)?, self.id.clone(), stamp, payload)?)
    }

    /// It runs the new release. Every other device has passed its trial, so that every window has something to be judged by,
    /// and the rest has yet to, so that there is always a next window.
    fn report(&self, [before, after]: &[Release; 2]) -> Result<Report, Failure> {
        let (confirmed, standing) = if self.nonce.is_multiple_of(2) {
            (after, Standing::Settled)
        } else {
            (before, Standing::OnTrial)
        };
        Ok(Report {
            sequence: 1,
            at: Mono(1000),
            boot: BootId(1),
            cohort: CohortId::parse(COHORT)?,
            steered: Some((RolloutId::parse("r-1")?, Generation(1))),
            booted: after.clone(),
            confirmed: confirmed.clone(),
            standing,
            health: Health::Good,
            condemned: Vec::new(),
            journal: 1,
        })
    }

    /// The first record of its journal, as it sends it.
    fn record(&self, dir: &Path) -> Result<Vec<u8>, Failure> {
        let options = Options { instance: self.key.public().id().0.to_string(), bytes_max: 16 << 20 };
        let (mut memory, _) = Memory::open(&dir.join("journal"), options)?;
        memory.record(Mono(1), &[Event::Degraded { what: "a record".into() }], None);
        let batch = memory.unreceipted().ok_or("a record was written, and there is none")?;
        let word = self.sign(DeviceKind::Log, 1, &encode(&batch)?)?;
        Ok(publish(&self.topic(Leaf::Log)?, &word, Kind::Loose))
    }

    /// A connection on which the server's receipts for it come.
    fn listen(&self, broker: u16) -> Result<TcpStream, Failure> {
        let mut stream = TcpStream::connect(("127.0.0.1", broker))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        for (packet, length) in [(connect("receipts"), 4), (subscribe(&self.topic(Leaf::Receipt)?, 0), 5)] {
            stream.write_all(&packet)?;
            let mut answer = vec![0; length];
            stream.read_exact(&mut answer)?;
            if Packet::first(&answer).and_then(|packet| packet.agreed()) != Some(true) {
                return Err(format!("the broker answers {answer:?} to a device").into());
            }
        }
        Ok(stream)
    }
}

fn status(cli: &Cli) -> Option<Value> {
    let (_, said, _) = cli.exit(&["rollout", "status", "--cohort", COHORT]).ok()?;
    serde_json::from_str(&said).ok()
}

/// Signs and publishes a release, and says which it is.
fn release(cli: &Cli, layout: &Layout, version: &str, home: Option<&str>) -> Result<Release, Failure> {
    let artifact = |version: &str| layout.dir.join("artifacts").join(version);
    let file = artifact(version);
    fs::write(&file, format!("release {version}"))?;
    let text = |path: &Path| path.display().to_string();
    let statement = file.with_extension("statement");
    let (key, keyring) = (layout.keys.join("release.pem"), layout.keys.join("keyring"));
    let (file, statement, key, keyring) = (text(&file), text(&statement), text(&key), text(&keyring));
    let mut sign = vec!["release", "sign", "--artifact", &file, "--version", version, "--hardware", HARDWARE];
    sign.extend(["--key", &key, "--keyring", &keyring, "--out", &statement]);
    let home = home.map(|home| format!("{home}={}", text(&artifact(home))));
    if let Some(home) = &home {
        sign.extend(["--home", home]);
    }
    cli.local(&sign)?;
    cli.ask(&["release", "publish", "--statement", &statement, "--artifact", &file])?;
    let known = cli.ask(&["release", "ls"])?;
    let known = known["releases"].as_array().or(known.as_array()).map_or(&[][..], Vec::as_slice);
    let found = known.iter().find(|known| known["release"]["version"] == version);
    let found = found.ok_or_else(|| format!("the server does not know {version}: {known:?}"))?;
    Ok(serde_json::from_value(found["release"].clone())?)
}

/// Waits until something holds, looking a few times a second.
fn wait(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > until {
            return Err(format!("waited {} s in vain until {what}", PATIENCE.as_secs()).into());
        }
        thread::park_timeout(Duration::from_millis(200));
    }
    Ok(())
}

/// The server as it is, with a rollout that stays in its first wave: it has windows to judge for as long as it is asked to.
fn configuration(layout: &Layout, broker: u16) -> String {
    let (dir, keys, plugins) = (layout.dir.join("server"), layout.keys.display(), layout.plugins.display());
    let (dir, api) = (dir.display(), layout.api);
    format!(
        r#"state = "{dir}/state"
keyring = "{keys}/keyring"
director_key = "{keys}/director.pem"

[api]
listen = "127.0.0.1:{api}"
token_file = "{dir}/token"

[broker]
url = "mqtt://127.0.0.1:{broker}"

[policy]
bundle = "{plugins}/policy-tree.bundle"

[rollout]
waves = [1000]
good_windows = 1000
window = "1s"
silence = "1h"
patience = "1h"
windows_max = 100000
"#
    )
}
