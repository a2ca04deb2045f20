//! A cohort as large as they come, in one process: thousands of real MQTT sessions of real devices at a real mosquitto.
//!
//! First how soon all of them have one message, beside as many sessions of rumqttc alone and as many bare sockets, which take
//! turns at the same broker. Then what each device does with it, by itself. Last the broker is killed under them.
//!
//! Here: the order of it, and the table. The sessions are in `cohort`, a device in `device`, losing the broker in `storm`.

use std::{net::TcpListener, path::Path, process::ExitCode, time::Instant};

use backstay_core::{Freshness, Input, Second, Steered};
use backstay_memory::{Durability, Memory, Options};
use backstay_model::{CohortId, DeviceId, Millis, Mono, Steer};
use backstay_test_bench::{
    Arguments, Budget, Cell, Column, Count, Director, Failure, Publisher, Rank, Report, Spread, Versions,
    broker_at, median, micros, open_files, percentile, real_time, run,
};
use backstay_trust::{Listener, OrderKind};
use backstay_wire::decode;
use tokio::runtime;

use crate::cohort::{ADDRESSES, Cohort, FILES_BESIDE, Kind, Rounds, Shared};
use crate::storm::storm;

mod cohort;
mod device;
mod storm;
#[path = "../../../../../runtime/agent/src/uplink.rs"]
#[allow(dead_code, reason = "it is the agent's, and no agent is here to say everything that it can say")]
mod uplink;

const ABOUT: &str = "\
fleet: a cohort of thousands of real MQTT sessions, steered by one message, and their way back to a broker that was killed

N devices of ours in this process (link, trust, wire, core and the agent's own side of the mailbox; no disk, no slots), N
sessions of rumqttc alone and N bare sockets take turns at one mosquitto on the loopback: a block of rounds each, one
retained message a round, until the last has it. Then what each device does with it, which is timed by itself. Then a third
of N and N devices lose their broker, which is killed and started again at once.

Each session is a file here and one in the broker; who may have fewer is told how many sessions fit.

cargo xtask bench fleet -- --sessions 5000 --rate 500";

const COUNTS: &[Count] = &[
    Count { name: "sessions", default: 15_000, least: 3, most: 100_000, help: "sessions of each kind" },
    Count { name: "blocks", default: 3, least: 1, most: 100, help: "how often each kind joins and leaves" },
    Count { name: "rounds", default: 7, least: 1, most: 1000, help: "messages in a block" },
    Count { name: "peers", default: 1, least: 0, most: 1, help: "0: ours alone, for a profile of it" },
    Count {
        name: "disks",
        default: 200,
        least: 0,
        most: 2000,
        help: "devices whose durable record is timed; 0: none",
    },
    Count {
        name: "rate",
        default: 150,
        least: 0,
        most: 100_000,
        help: "devices a second that are to come back to a broker that was killed, which is what it can take; 0: it isn't killed",
    },
];

/// Of what bare sockets reach.
const DELIVERY: f64 = 0.8;
/// Tries to connect for each device, until all are back.
const TRIES: f64 = 1.2;
/// Of the window that they are to come back in.
const BACK: f64 = 1.1;
/// What stands for the state of a device beside its records.
const SNAPSHOT_BYTES: usize = 1024;
/// Below all ports that clients are given: a broker that is started again has to find its own free.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

fn main() -> ExitCode {
    run(ABOUT, COUNTS, |arguments| {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure(arguments))
    })
}

async fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let (sessions, rate) = (arguments.count("sessions"), arguments.count("rate"));
    let files = open_files()?;
    let fit = files.saturating_sub(FILES_BESIDE);
    if sessions as u64 > fit {
        return Err(format!(
            "{sessions} sessions want {} open files here and as many in the broker, and {files} are allowed: NOT MEASURED; \
             `--sessions {fit}` fits, or raise the hard limit (`ulimit -Hn`)",
            sessions as u64 + FILES_BESIDE
        )
        .into());
    }
    if arguments.count("disks") > 0 && real_time() {
        return Err("durable records can't be timed at real-time priority, because sled waits for its threads by spinning: \
                    NOT MEASURED; `--disks 0` leaves them out, and a run at normal priority times them"
            .into());
    }
    let mut report = Report::new("fleet", Versions::of(&["rumqttc", "tokio"]).with_broker());
    let dir = tempfile::tempdir()?;
    let mut broker = broker_at(dir.path(), free_port()?, ADDRESSES)?;
    let mut publisher = Publisher::start(broker.port, "publisher")?;
    let mut shared = Shared {
        director: Director::new()?,
        port: broker.port,
        broker: broker.pid().ok_or("there is no broker")?,
        generation: 0,
        window: window(sessions, rate),
    };

    let kinds: &[Kind] = match arguments.count("peers") {
        0 => &[Kind::Link],
        _ => &[Kind::Link, Kind::Client, Kind::Socket],
    };
    let mut all: Vec<_> = kinds.iter().map(|kind| (*kind, Rounds::default())).collect();
    let [mut verify, mut decide] = [const { Vec::new() }; 2];
    for block in 0..arguments.count("blocks") {
        for turn in 0..kinds.len() {
            let place = (block + turn) % kinds.len();
            let (kind, rounds) = all.get_mut(place).ok_or("it is one of them")?;
            let empty = resident_kib()?;
            let mut cohort = Cohort::join(*kind, sessions, &mut shared, &mut publisher).await?;
            rounds.kib.push((resident_kib()? - empty) / sessions as f64);
            for times in [&cohort.watch.verify, &cohort.watch.decide] {
                times.lock().map_err(|why| why.to_string())?.clear();
            }
            for _ in 0..arguments.count("rounds") {
                publisher = cohort.round(&mut shared, publisher, rounds).await?;
            }
            for (all, times) in [(&mut verify, &cohort.watch.verify), (&mut decide, &cohort.watch.decide)] {
                all.append(&mut *times.lock().map_err(|why| why.to_string())?);
            }
            cohort.leave(&shared).await?;
        }
    }
    let record = record(&mut shared, dir.path(), arguments.count("disks"))?;

    let mut storms = Vec::new();
    for sessions in [sessions / 3, sessions] {
        if rate == 0 {
            break;
        }
        shared.window = window(sessions, rate);
        let cohort = Cohort::join(Kind::Link, sessions, &mut shared, &mut publisher).await?;
        let (came, again, anew) = storm(&cohort, sessions, &mut shared, broker).await?;
        (broker, publisher) = (again, anew);
        storms.push((sessions, came));
        cohort.leave(&shared).await?;
    }

    let payload = shared.steer(&CohortId::parse("links")?)?.len();
    report.describe(
        format!(
            "{sessions} sessions of each kind, {} blocks of {} rounds by turns, {payload} bytes a message, {:.1} MB of it \
             for all; median (least to most)",
            arguments.count("blocks"),
            arguments.count("rounds"),
            (payload * sessions) as f64 / 1e6
        ),
        &[
            Column { key: "p50_ms", title: "p50 ms" },
            Column { key: "p99_ms", title: "p99 ms" },
            Column { key: "all_ms", title: "all, ms" },
            Column { key: "of_bare_sockets", title: "of bare sockets" },
            Column { key: "cpu_here_us", title: "CPU here, us" },
            Column { key: "cpu_broker_us", title: "broker, us" },
            Column { key: "broker_sleeps", title: "it sleeps" },
            Column { key: "session_kib", title: "KiB each" },
            Column { key: "tries", title: "tries" },
            Column { key: "of_window", title: "of window" },
        ],
    );
    let bare = all.iter().find(|(kind, _)| *kind == Kind::Socket).map(|(_, rounds)| rounds.last.clone());
    for (kind, rounds) in &all {
        let millis = |spans: &[f64]| {
            Cell::Rounds(Spread::of(&spans.iter().map(|span| span * 1e3).collect::<Vec<_>>()), 0)
        };
        let reach = bare.as_ref().map(|bare| Spread::ratio(bare, &rounds.last));
        report.row(
            kind.name(),
            vec![
                millis(&rounds.half),
                millis(&rounds.most),
                millis(&rounds.last),
                reach.map_or(Cell::None, |reach| Cell::Rounds(reach, 2)),
                Cell::Figure(median(&rounds.taken[0]), 1),
                Cell::Figure(median(&rounds.taken[1]), 1),
                Cell::Figure(median(&rounds.taken[2]), 2),
                Cell::Figure(median(&rounds.kib), 1),
            ],
        );
        if let (Kind::Link, Some(reach)) = (kind, reach) {
            report.hold("link, of what bare sockets reach", reach.median, Budget::AtLeast(DELIVERY));
        }
    }
    for (what, times) in
        [("each: verify and read", &verify), ("each: decide", &decide), ("each: durable record", &record)]
    {
        let at = |rank| Cell::Figure(percentile(times, Rank(rank)) / 1e3, 3);
        if !times.is_empty() {
            report.row(what, vec![at(500), at(990), at(1000)]);
        }
    }
    for (sessions, storm) in &storms {
        let millis = |seconds: f64| Cell::Figure(seconds * 1e3, 0);
        report.row(
            format!("{sessions} come back, broker away {:.1} s, window {:.0} s", storm.away, storm.window),
            vec![
                millis(storm.half),
                millis(storm.most),
                millis(storm.last),
                Cell::None,
                Cell::Figure(storm.taken[0], 1),
                Cell::Figure(storm.taken[1], 1),
                Cell::None,
                Cell::None,
                Cell::Figure(storm.tries, 3),
                Cell::Figure(storm.last / storm.window, 3),
            ],
        );
        report.hold(format!("{sessions} come back, tries of each"), storm.tries, Budget::AtMost(TRIES));
        report.hold(
            format!("{sessions} come back ({:.2} % in time), last of window", storm.in_time * 100.0),
            storm.last / storm.window,
            Budget::AtMost(BACK),
        );
    }
    report.print(arguments.output);
    Ok(())
}

/// So that no more than `rate` come back in a second, as a server works it out from what it knows of its broker.
fn window(sessions: usize, rate: usize) -> Millis {
    Millis(sessions as u64 * 1000 / rate.max(1) as u64)
}

/// What devices that are steered write down, each in a journal of its own: the time until that is on the disk, in
/// microseconds.
fn record(shared: &mut Shared, dir: &Path, devices: usize) -> Result<Vec<f64>, Failure> {
    let cohort = CohortId::parse("disks")?;
    let payload = shared.steer(&cohort)?;
    let mut times = Vec::new();
    for number in 0..u32::try_from(devices)? {
        let name = DeviceId::parse(&format!("pump-{number}"))?;
        let listener = Listener { cohort: Some(&cohort), device: Some(&name) };
        let order =
            shared.director.keyring.verify_order(&payload, OrderKind::SteerProduct, listener, None)?;
        let steer: Steer = decode(order.payload(), usize::MAX)?;
        let (digest, by) = (*order.content(), order.key().0);
        let (freshness, second) = (Freshness::Fresh, Second::Missing);
        let steered = Steered { steer, digest, freshness, second, by };
        let mut core = device::core(name.clone(), &cohort, number);
        let events = device::records(core.step(Mono(1000), Input::Steered(steered)));
        let options = Options { instance: name.to_string(), bytes_max: 64 << 20 };
        let (mut memory, _) = Memory::open(&dir.join(name.to_string()), options)?;
        let begun = Instant::now();
        let kept = memory.record(Mono(1000), &events, Some(vec![0x5A; SNAPSHOT_BYTES]));
        times.push(micros(begun.elapsed()));
        if !matches!(kept, Durability::Durable) {
            return Err("the disk did not take a record".into());
        }
        drop(memory);
        std::fs::remove_dir_all(dir.join(name.to_string()))?;
    }
    Ok(times)
}

/// What this process has in memory.
fn resident_kib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the kernel does not tell")?;
    Ok(line.split_whitespace().next().ok_or("the kernel does not tell")?.parse()?)
}

fn free_port() -> Result<u16, Failure> {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // From a place of each process's own on, so that two that start at once don't take the same.
    let from = usize::try_from(std::process::id())? % PORTS.len();
    PORTS.skip(from).chain(PORTS.take(from)).find(free).ok_or_else(|| "no port is free".into())
}
