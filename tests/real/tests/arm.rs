//! The agent for 64-bit ARM, really run: under qemu's user emulation, with the plugin bundles that x86_64 uses.
//!
//! Here: that it does the same. Not here: how fast; nothing is timed under an emulator. The service that it looks after is
//! a program of this machine: what the emulated agent starts, the kernel runs as it is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use backstay_memory::{Memory, Options};
use backstay_model::{Digest, Event, Outcome, Release};
use backstay_slots::{Files, Slots, Tries};
use backstay_test_fleet::{Device, Layout, Pace, free_port};
use backstay_test_real::{Built, built, program};
use backstay_test_service::Fault;
use sha2::{Digest as _, Sha256};

/// How long anything may take. An emulated agent is slow, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the test stands on.
struct Stage {
    qemu: PathBuf,
    agent: PathBuf,
    /// What was built for this machine.
    built: Built,
}

/// `None` after it was said why the test is skipped.
fn stage() -> Option<Stage> {
    let set = |name: &str| std::env::var_os(name);
    if let Some(why) = set("BACKSTAY_AGENT_AARCH64_MISSING") {
        println!("skipped, because {}", why.display());
        return None;
    }
    let Some(agent) = set("BACKSTAY_AGENT_AARCH64").map(PathBuf::from) else {
        assert!(set("BACKSTAY_LONG").is_none(), "no agent was built: cargo xtask test real builds it");
        println!("skipped, because only the long form builds the agent for aarch64: cargo xtask test real");
        return None;
    };
    let qemu = program("qemu-aarch64-static")?;
    Some(Stage { qemu, agent, built: built() })
}

/// The programs of this machine, with the emulated agent in the place of its own.
fn emulated(stage: &Stage, dir: &Path) -> PathBuf {
    let folder = dir.join("programs");
    fs::create_dir_all(&folder).unwrap();
    for name in ["backstay", "demo-service"] {
        symlink(stage.built.programs.join(name), folder.join(name)).unwrap();
    }
    let (qemu, agent, wrapper) = (&stage.qemu, &stage.agent, folder.join("backstay-agent"));
    let script = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", qemu.display(), agent.display());
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn wait(what: &str, device: &mut Device, mut holds: impl FnMut(&Device) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds(device) {
        let said = || fs::read_to_string(device.log()).unwrap_or_default();
        assert!(Instant::now() < until, "waited in vain until {what}; the agent says:\n{}", said());
        std::thread::park_timeout(Duration::from_millis(200));
    }
    assert!(device.runs(), "the agent ended when {what}");
}

fn serves(version: &str, device: &mut Device) {
    wait(&format!("the service answers as {version}"), device, |device| {
        device.answers().as_deref() == Some(version) && device.slot().as_deref() == Some(version)
    });
}

/// What somebody with access to the machine does: puts a release into the other slot and lets the next start try it.
fn stage_by_hand(device: &Device, artifact: &Path, version: &str) -> Release {
    let bytes = fs::read(artifact).unwrap();
    let digest = Digest(Sha256::digest(&bytes).into());
    let length = bytes.len() as u64;
    let release = Release { version: version.parse().unwrap(), digest, length, security_epoch: 0 };
    let (mut slots, findings) = Files::open(&device.dir().join("slots"), Tries::default()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    slots.stage(&release, &mut bytes.as_slice()).unwrap();
    slots.try_next(&release).unwrap();
    release
}

/// All that the emulated agent wrote down, read by this machine's code.
fn events(device: &Device) -> Vec<Event> {
    let instance = device.agent(&["fingerprint"]).unwrap().trim().to_owned();
    let options = Options { instance, bytes_max: 2048 * 1024 };
    let (memory, recalled) = Memory::open(&device.dir().join("state"), options).unwrap();
    assert!(recalled.findings.is_empty(), "{:?}", recalled.findings);
    memory.entries(0).map(|(_, entry)| entry.event).collect()
}

/// Nobody to ask: no server, no broker. The first release is put in by a factory, the next one by hand; it starts well
/// and then fails its trial. The device condemns it and is back on the first, by a policy and an executor
/// that were compiled for its processor and come from the bundle that every machine gets.
#[test]
fn an_arm_device_goes_home_alone_with_the_bundle_that_every_machine_gets() {
    let Some(stage) = stage() else { return };
    let dir = tempfile::tempdir().unwrap();
    let programs = emulated(&stage, dir.path());
    let (layout, cli) =
        Layout::make(dir.path(), &programs, &stage.built.plugins, Pace::default(), None).unwrap();
    layout.write_artifact("1.4.0", Fault::None).unwrap();
    let bad = layout.write_artifact("2.0.0", Fault::Fails(6)).unwrap();

    let mut device = Device::alone(&layout, "arm", free_port().unwrap()).unwrap();
    assert_eq!(device.agent(&["check"]).unwrap().trim(), "the configuration is good");
    // The agent of this machine takes the very same files.
    let native = Layout { programs: stage.built.programs.clone(), ..layout.clone() };
    let native = Device::alone(&native, "native", free_port().unwrap()).unwrap();
    assert_eq!(native.agent(&["check"]).unwrap().trim(), "the configuration is good");

    device.start().unwrap();
    serves("1.4.0", &mut device);
    device.stop();
    let staged = stage_by_hand(&device, &bad, "2.0.0");
    // The first that answers after this start is 2.0.0; that it ran is looked for in the journal, because it doesn't for long.
    device.start().unwrap();
    wait("the device says that it came home", &mut device, |device| {
        fs::read_to_string(device.log()).unwrap_or_default().contains("came home from 2.0.0")
    });
    serves("1.4.0", &mut device);
    device.kill();
    // A restart doesn't bring it back, and nothing that was written down is lost with the kill.
    device.start().unwrap();
    serves("1.4.0", &mut device);
    device.stop();

    // What it decided and did on its processor, this machine's comes to as well, in both engines; and so does its own.
    let state = device.dir().join("state").display().to_string();
    let (plugins, keyring) = (layout.plugins.display().to_string(), layout.keys.join("keyring"));
    for engine in ["native", "pulley", "aarch64"] {
        let mut replay = vec!["replay", &state, "--plugins", &plugins, "--engine", engine];
        let keyring = keyring.display().to_string();
        replay.extend(["--keyring", &keyring, "--output", "json"]);
        let said = cli.local(&replay).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let journal = &said["journals"][0];
        assert_eq!((&said["verdict"], &journal["chain"]), (&"Same".into(), &"holds".into()), "{said:#}");
        let again = |of: &str| journal[of]["again"].as_u64().unwrap();
        assert!(again("decisions") > 0 && again("steps") > 0, "{engine}: {said:#}");
    }

    let events = events(&device);
    let at = |what: &str, like: &dyn Fn(&Event) -> bool| {
        events.iter().position(like).unwrap_or_else(|| panic!("no record of {what}: {events:#?}"))
    };
    let trial = at(
        "the trial",
        &|event| matches!(event, Event::TrialBegan { release, .. } if release.digest == staged.digest),
    );
    let condemned = at(
        "the verdict",
        &|event| matches!(event, Event::Condemned { release, .. } if release.digest == staged.digest),
    );
    let ended = at("the run", &|event| matches!(event, Event::Ended { outcome: Outcome::Done, .. }));
    let home = at("the way home", &|event| {
        matches!(event, Event::CameHome { from, to, .. }
            if from.digest == staged.digest && to.version.to_string() == "1.4.0")
    });
    assert!(trial < condemned && condemned < ended && ended < home, "{trial} {condemned} {ended} {home}");
    let decided = events.iter().filter(|event| matches!(event, Event::Decided { .. })).count();
    let unanswered = events.iter().filter(|event| matches!(event, Event::Unanswered { .. })).count();
    assert!(decided > 0 && unanswered == 0, "{decided} decisions, {unanswered} questions without an answer");
}
