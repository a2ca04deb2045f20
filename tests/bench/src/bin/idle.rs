//! What the agent takes while nothing goes wrong, beside three other update clients that wait as well, all at the same time on one machine.
//!
//! Each does what it does on a device on whose server nobody looks: the agent judges its service by a probe and tells its server; RAUC waits on its bus; SWUpdate and
//! Mender's client ask a server that isn't there, and wait. They don't do the same: RAUC and SWUpdate judge nothing. The table says what each costs, not that one is better.
//!
//! Processor time is that of all threads of a process and of those that it has started of its own program, by the scheduler (`schedstat` of proc(5)), and by `stat`, in ticks of 10 ms,
//! that of the programs that it has started and that have ended. Memory is the highest of the looks at `smaps_rollup`: *resident* counts shared pages whole, `Pss` by who shares them, *own*
//! are pages that nobody else has.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption fails the test"))]

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use backstay_test_bench::{
    Arguments, Cell, Column, Count, Failure, Report, Versions, processor_seconds, run,
};
use backstay_test_fleet::{Fleet, Pace, Process, free_port, stop_on_signals, stop_wanted};

const COUNTS: &[Count] = &[
    Count {
        name: "seconds",
        default: 120,
        least: 10,
        most: 3_600,
        help: "how long all of them are looked at",
    },
    Count { name: "settle", default: 60, least: 1, most: 600, help: "seconds before that, for starting up" },
];

const COLUMNS: &[Column] = &[
    Column { key: "processor_percent", title: "processor, % of one" },
    Column { key: "processor_ms", title: "in all, ms" },
    Column { key: "resident_kib", title: "resident, KiB" },
    Column { key: "pss_kib", title: "Pss, KiB" },
    Column { key: "own_kib", title: "own, KiB" },
    Column { key: "processes", title: "processes" },
];

/// How long it may take until the agent is connected.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// As docs/device.md has it where nobody says more; the server looks as often.
const PACE: Pace = Pace {
    window: "60s",
    probe: "10s",
    beat: "60s",
    trial: "20s",
    trial_limit: "90s",
    server_window: "60s",
    message_bytes_max: 256 * 1024,
};

fn main() -> ExitCode {
    run("What the agent, RAUC, SWUpdate and Mender's client take while they wait.", COUNTS, measure)
}

fn measure(asked: &Arguments) -> Result<(), Failure> {
    stop_on_signals()?;
    let seconds = |name: &str| Duration::from_secs(asked.count(name) as u64);
    let (span, settle) = (seconds("seconds"), seconds("settle"));
    let dir = tempfile::tempdir()?;
    let versions = Versions::of(&["wasmtime", "rumqttc"])
        .with_broker()
        .with_said("rauc", "rauc", &["--version"])
        .with_said("swupdate", "dpkg-query", &["--show", "--showformat=${Version}", "swupdate"])
        .with_said("mender", "mender", &["--version"])
        .with_said("dbus-daemon", "dbus-daemon", &["--version"]);
    let mut report = Report::new("idle", versions);
    report.describe(
        format!(
            "All at the same time, for {} s after {} s to start up. The agent: two plugins loaded, connected to mosquitto, a probe each 10 s, windows and signs of life each 60 s. RAUC: its service on a bus of \
             its own. SWUpdate: asks an update server that isn't there each 60 s. Mender's client: asks one each 60 s.",
            span.as_secs(),
            settle.as_secs()
        ),
        COLUMNS,
    );
    let mut fleet = fleet(dir.path())?;
    let bus = Bus::start(dir.path())?;
    let mut others = [rauc(dir.path(), &bus)?, swupdate(dir.path())?, mender(dir.path(), &bus)?];
    fleet.add("pump-1", "canary")?;
    fleet.wait("the device is settled and connected", PATIENCE, || {
        let Ok(view) = fleet.view() else { return false };
        let device = &view["devices"][0];
        device["standing"] == "Settled" && device["online"] == true
    })?;
    rest(settle)?;

    let agent = fleet.devices[0].pid().ok_or("the agent ended")?;
    let names = ["backstay-agent", "rauc service", "swupdate", "mender", "dbus-daemon (RAUC's and Mender's)"];
    let roots = [agent, others[0].id(), others[1].id(), others[2].id(), bus.process.id()];
    let mut watched: Vec<_> = names
        .into_iter()
        .zip(roots)
        .map(|(name, root)| Watched::begin(name, root))
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    while began.elapsed() < span {
        for one in &mut watched {
            one.look().map_err(|why| format!("cannot look at {}: {why}", one.name))?;
        }
        rest(LOOK_EVERY.min(span.saturating_sub(began.elapsed())))?;
    }
    for one in watched {
        let taken = one.end(began.elapsed())?;
        let memory = taken.memory;
        report.row(
            taken.name,
            vec![
                Cell::Figure(taken.percent, 3),
                Cell::Figure(taken.millis, 1),
                Cell::Figure(memory.resident, 0),
                Cell::Figure(memory.pss, 0),
                Cell::Figure(memory.own, 0),
                Cell::Figure(taken.processes as f64, 0),
            ],
        );
    }
    // One that has given up meanwhile took nothing, and would look good.
    if let Some(at) = others.iter_mut().position(|other| !other.runs()) {
        return Err(format!("{} ended while it was looked at", names[at + 1]).into());
    }
    report.print(asked.output);
    Ok(())
}

/// Waits, unless somebody wants all of it to end.
fn rest(most: Duration) -> Result<(), Failure> {
    let until = Instant::now() + most;
    while Instant::now() < until {
        if stop_wanted() {
            return Err("stopped by a signal".into());
        }
        thread::park_timeout(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(300)));
    }
    Ok(())
}

/// Broker and server, for the agent as it ships.
fn fleet(dir: &Path) -> Result<Fleet, Failure> {
    let folder = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.ok_or_else(|| format!("{name} is not set: `cargo xtask bench idle` sets it"))
    };
    let together = dir.join("programs");
    fs::create_dir_all(&together)?;
    symlink(folder("BACKSTAY_AGENT")?, together.join("backstay-agent"))?;
    for name in ["backstay", "demo-service"] {
        symlink(folder("BACKSTAY_PROGRAMS")?.join(name), together.join(name))?;
    }
    Ok(Fleet::start(&dir.join("fleet"), &together, &folder("BACKSTAY_PLUGINS")?, PACE)?)
}

/// A system bus of D-Bus that nobody else is on.
struct Bus {
    process: Process,
    address: String,
}

impl Bus {
    fn start(dir: &Path) -> Result<Self, Failure> {
        let (config, socket) = (dir.join("bus.conf"), dir.join("bus"));
        let address = format!("unix:path={}", socket.display());
        let kinds = ["method_call", "method_return", "error", "signal"];
        let kinds: String = kinds
            .iter()
            .map(|kind| format!("<allow send_type=\"{kind}\"/><allow receive_type=\"{kind}\"/>"))
            .collect();
        let rules = format!("<allow user=\"*\"/><allow own=\"*\"/>{kinds}");
        fs::write(
            &config,
            format!(
                "<busconfig><type>system</type><listen>{address}</listen><policy context=\"default\">{rules}</policy></busconfig>"
            ),
        )?;
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg("--config-file").arg(config);
        let process = Process::start(command, &dir.join("bus.log"))?;
        let until = Instant::now() + PATIENCE;
        while !socket.exists() {
            if Instant::now() > until {
                return Err("dbus-daemon makes no socket".into());
            }
            rest(Duration::from_millis(50))?;
        }
        Ok(Self { process, address })
    }
}

/// Two files that stand for slots.
fn slots(dir: &Path) -> Result<[PathBuf; 2], Failure> {
    let slots = ["slot-a", "slot-b"].map(|name| dir.join(name));
    for slot in &slots {
        fs::File::create(slot)?.set_len(1 << 20)?;
    }
    Ok(slots)
}

/// RAUC's service, with two slots that no boot loader switches.
fn rauc(dir: &Path, bus: &Bus) -> Result<Process, Failure> {
    let [a, b] = slots(dir)?;
    let config = dir.join("rauc.conf");
    fs::write(
        &config,
        format!(
            "[system]\ncompatible=bench\nbootloader=noop\n[keyring]\npath={}\n[slot.rootfs.0]\ndevice={}\ntype=raw\nbootname=A\n[slot.rootfs.1]\ndevice={}\ntype=raw\nbootname=B\n",
            dir.join("keyring.pem").display(),
            a.display(),
            b.display()
        ),
    )?;
    let mut command = Command::new("rauc");
    command.arg("--conf").arg(config).args(["--override-boot-slot=A", "service"]);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    Ok(Process::start(command, &dir.join("rauc.log"))?)
}

/// SWUpdate as a daemon that asks a hawkBit.
fn swupdate(dir: &Path) -> Result<Process, Failure> {
    // Debian's takes signed archives alone, and wants to know by whom.
    let (key, certificate) = (dir.join("signer.key"), dir.join("signer.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=bench",
        "-keyout",
    ]);
    let made = openssl.arg(key).arg("-out").arg(&certificate).output();
    let made = made.map_err(|why| format!("cannot start openssl: {why}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into());
    }
    let sockets = dir.join("swupdate");
    fs::create_dir_all(&sockets)?;
    let server = format!("-t default -i bench -p 60 -u http://127.0.0.1:{}", free_port()?);
    let mut command = Command::new("swupdate");
    command.arg("-k").arg(certificate).arg("-u").arg(server).env("TMPDIR", sockets);
    Ok(Process::start(command, &dir.join("swupdate.log"))?)
}

/// Mender's client as a daemon. It wants to know what the device is and runs, the latter in a file below /etc: it sees one of its own there.
fn mender(dir: &Path, bus: &Bus) -> Result<Process, Failure> {
    let (data, etc) = (dir.join("mender-data"), dir.join("mender"));
    fs::create_dir_all(&data)?;
    fs::create_dir_all(&etc)?;
    let settings = format!(
        "{{\"ServerURL\":\"https://127.0.0.1:{}\",\"UpdatePollIntervalSeconds\":60,\"InventoryPollIntervalSeconds\":60,\"RetryPollIntervalSeconds\":60}}",
        free_port()?
    );
    fs::write(etc.join("mender.conf"), settings)?;
    fs::write(etc.join("artifact_info"), "artifact_name=bench-1\n")?;
    fs::write(data.join("device_type"), "device_type=bench\n")?;
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$0\" /etc/mender && exec mender --no-syslog --data \"$1\" daemon",
    ]);
    command.arg(etc).arg(data).env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    Ok(Process::start(command, &dir.join("mender.log"))?)
}

/// In KiB.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident: f64,
    pss: f64,
    own: f64,
}

/// One that is looked at: a process, and those that it has started of its own program.
struct Watched {
    name: &'static str,
    root: u32,
    /// Of processor time, before it was looked at.
    seconds: f64,
    memory: Memory,
    processes: usize,
}

/// What it has taken.
struct Taken {
    name: &'static str,
    percent: f64,
    millis: f64,
    memory: Memory,
    processes: usize,
}

impl Watched {
    fn begin(name: &'static str, root: u32) -> Result<Self, Failure> {
        Ok(Self { name, root, seconds: seconds(root)?, memory: Memory::default(), processes: 0 })
    }

    fn look(&mut self) -> Result<(), Failure> {
        let mut now = Memory::default();
        let family = family(self.root)?;
        for process in &family {
            let Some(memory) = unless_ended(self.root, *process, memory(*process))? else { continue };
            now.resident += memory.resident;
            now.pss += memory.pss;
            now.own += memory.own;
        }
        self.memory.resident = self.memory.resident.max(now.resident);
        self.memory.pss = self.memory.pss.max(now.pss);
        self.memory.own = self.memory.own.max(now.own);
        self.processes = self.processes.max(family.len());
        Ok(())
    }

    fn end(self, span: Duration) -> Result<Taken, Failure> {
        // A thread that has ended meanwhile has taken its time with it.
        let seconds = (seconds(self.root)? - self.seconds).max(0.0);
        let Self { name, memory, processes, .. } = self;
        Ok(Taken {
            name,
            percent: seconds / span.as_secs_f64() * 100.0,
            millis: seconds * 1e3,
            memory,
            processes,
        })
    }
}

/// A process and its descendants that run the same program: what an agent supervises is not the agent.
fn family(root: u32) -> Result<Vec<u32>, Failure> {
    let program = fs::read_link(format!("/proc/{root}/exe"))?;
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is none of them.
        if let Some(parent) = stat(id).ok().and_then(|fields| u32::try_from(*fields.get(PARENT)?).ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at) {
        let own = children.get(parent).into_iter().flatten();
        let own: Vec<_> = own
            .filter(|id| fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|path| path == program))
            .collect();
        family.extend(own);
        at += 1;
    }
    Ok(family)
}

/// Fields of `stat`, counted from behind the name: the parent, and user and system time of its children that have ended.
const PARENT: usize = 1;
const ENDED: std::ops::Range<usize> = 13..15;

fn stat(process: u32) -> Result<Vec<i64>, Failure> {
    let told = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything. The state is a letter.
    let rest = told.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(rest.split_whitespace().take(ENDED.end).map(|field| field.parse().unwrap_or(0)).collect())
}

/// The processor time that a process and its family have taken, and that their children took that have ended.
fn seconds(root: u32) -> Result<f64, Failure> {
    let mut seconds = 0.0;
    for process in family(root)? {
        seconds += unless_ended(root, process, taken(process))?.unwrap_or(0.0);
    }
    Ok(seconds)
}

fn taken(process: u32) -> Result<f64, Failure> {
    let fields = stat(process)?;
    let ended = fields.get(ENDED).ok_or("the kernel does not tell processor times")?;
    let ticks = ended.iter().filter_map(|time| u64::try_from(*time).ok()).sum::<u64>();
    Ok(processor_seconds(process)? + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// What was read of one of a family; nothing if it has ended since, as what a process starts does: until it has loaded its program it is one of the family.
fn unless_ended<T>(root: u32, process: u32, read: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match read {
        // One that has ended and wasn't waited for has a folder, but no program.
        Err(_) if process != root && fs::read_link(format!("/proc/{process}/exe")).is_err() => Ok(None),
        read => read.map(Some),
    }
}

fn memory(process: u32) -> Result<Memory, Failure> {
    let told = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let kib = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.ok_or_else(|| Failure::from(format!("the kernel does not tell {name}")))
    };
    Ok(Memory {
        resident: kib("Rss:")?,
        pss: kib("Pss:")?,
        own: kib("Private_Clean:")? + kib("Private_Dirty:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_own_family_and_holds_memory() {
        let own = std::process::id();
        assert_eq!(family(own).unwrap().first(), Some(&own));
        let memory = memory(own).unwrap();
        assert!(memory.resident >= memory.pss && memory.pss >= memory.own && memory.own > 0.0);
    }

    /// One of another program is what is supervised: it is no part of what supervises it, while it runs.
    #[test]
    fn what_is_supervised_is_not_counted_while_it_runs() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(!family(std::process::id()).unwrap().contains(&child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn one_that_has_ended_since_the_look_is_no_error_and_the_one_that_is_measured_is() {
        let mut child = Command::new("true").spawn().unwrap();
        let ended = child.id();
        while fs::read_link(format!("/proc/{ended}/exe")).is_ok() {
            thread::yield_now();
        }
        assert!(unless_ended(std::process::id(), ended, memory(ended)).unwrap().is_none());
        assert!(unless_ended(ended, ended, memory(ended)).is_err());
        child.wait().unwrap();
    }

    #[test]
    fn work_is_counted_whoever_did_it() {
        let own = std::process::id();
        let before = seconds(own).unwrap();
        // Counted when it has ended.
        let done =
            Command::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).status();
        assert!(done.unwrap().success());
        assert!(seconds(own).unwrap() >= before + 0.01);
    }
}
