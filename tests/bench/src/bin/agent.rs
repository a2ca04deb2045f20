//! What an agent takes: bytes on the disk and bytes in memory, against their budgets.
//!
//! Sizes are of what `cargo xtask dist` left. Memory is that of agents as they ship, in a fleet with broker and server:
//! connected, two plugins loaded, a service supervised; the highest of the looks at `/proc/PID/status` while the policy
//! is asked again and again. *Own* memory is what nobody shares with it; the rest of the resident memory is mapped from files.

use std::{
    env,
    error::Error,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use backstay_test_fleet::{Fleet, Pace, stop_on_signals};

type Failure = Box<dyn Error>;

/// Stripped, everything in, on aarch64; other CPUs are shown beside it.
const PROGRAM_BYTES_MAX: u64 = 4_000_000;
/// Resident, two plugins loaded, connected: 16 MB.
const RESIDENT_KIB_MAX: u64 = 16_000_000 / 1024;
/// How many agents are looked at.
const DEVICES: usize = 3;
/// How long they are looked at, once all are connected: ten windows, and a policy decides at the end of each.
const LOOKED_AT: Duration = Duration::from_secs(20);
/// How long it may take until all are connected.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    match stop_on_signals().map_err(Into::into).and_then(|()| measure()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("agent: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all budgets were kept.
fn measure() -> Result<bool, Failure> {
    let folder = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.ok_or_else(|| format!("{name} is not set: `cargo xtask bench agent` sets it"))
    };
    let sizes = sizes(&folder("BACKSTAY_DIST")?)?;
    let small = sizes.iter().all(|(name, bytes)| *bytes <= PROGRAM_BYTES_MAX || !name.contains("aarch64"));
    println!("PROGRAM                                        BYTES   OF {PROGRAM_BYTES_MAX}");
    for (name, bytes) in &sizes {
        println!("{name:<44} {bytes:>9} {:>9} %", (bytes * 100).div_ceil(PROGRAM_BYTES_MAX));
    }
    if sizes.is_empty() {
        println!("none was built: `cargo xtask dist` builds them");
    }
    let memory =
        memory(&folder("BACKSTAY_AGENT")?, &folder("BACKSTAY_PROGRAMS")?, &folder("BACKSTAY_PLUGINS")?)?;
    let light = memory.iter().all(|(_, memory)| memory.resident <= RESIDENT_KIB_MAX);
    println!("\nAGENT     RESIDENT KIB    OWN KIB   OF {RESIDENT_KIB_MAX} KIB");
    for (name, Memory { resident, own }) in &memory {
        let share = (resident * 100).div_ceil(RESIDENT_KIB_MAX);
        println!("{name:<9} {resident:>12} {own:>10} {share:>11} %");
    }
    if !(small && light) {
        println!("\nover budget");
    }
    Ok(small && light)
}

/// The agents that were built to ship, by name.
fn sizes(dist: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let Ok(entries) = fs::read_dir(dist) else { return Ok(Vec::new()) };
    let mut sizes = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("backstay-agent-") && !name.ends_with(".part") {
            sizes.push((name, entry.metadata()?.len()));
        }
    }
    sizes.sort();
    Ok(sizes)
}

/// Of one agent, in KiB.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident: u64,
    own: u64,
}

fn memory(agent: &Path, programs: &Path, plugins: &Path) -> Result<Vec<(String, Memory)>, Failure> {
    let dir = tempfile::tempdir()?;
    let together = dir.path().join("programs");
    fs::create_dir_all(&together)?;
    symlink(agent, together.join("backstay-agent"))?;
    for name in ["backstay", "demo-service"] {
        symlink(programs.join(name), together.join(name))?;
    }
    let mut fleet = Fleet::start(dir.path(), &together, plugins, Pace::default())?;
    for n in 1..=DEVICES {
        fleet.add(&format!("pump-{n}"), "canary")?;
    }
    fleet.wait("all devices are settled and connected", PATIENCE, || {
        let Ok(view) = fleet.view() else { return false };
        let connected = view["devices"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|device| device["standing"] == "Settled" && device["online"] == true);
        connected.count() == DEVICES
    })?;
    let mut most = vec![Memory::default(); DEVICES];
    let (until, mut failed) = (Instant::now() + LOOKED_AT, None);
    fleet.wait("they have been looked at", LOOKED_AT + PATIENCE, || {
        for (device, most) in fleet.devices.iter().zip(&mut most) {
            match device.pid().ok_or_else(|| "it ended".into()).and_then(look) {
                Ok(now) => {
                    most.resident = most.resident.max(now.resident);
                    most.own = most.own.max(now.own);
                }
                Err(why) => failed = Some(format!("cannot look at {}: {why}", device.name)),
            }
        }
        failed.is_some() || Instant::now() >= until
    })?;
    match failed {
        Some(why) => Err(why.into()),
        None => Ok(fleet.devices.iter().map(|device| device.name.clone()).zip(most).collect()),
    }
}

fn look(pid: u32) -> Result<Memory, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |label: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(label));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| format!("the kernel does not tell {label}"))
    };
    Ok(Memory { resident: kib("VmRSS:")?, own: kib("RssAnon:")? })
}
