//! How long a decision of the policy that ships takes: from nothing, in a fresh sandbox here, and in a process of its own.
//!
//! Cold is everything that stands between bytes on a disk and a decision: both signatures, the digest of the code, loading,
//! linking, and the first decision. Warm is what happens after every window; each has a sandbox that nobody used before. In
//! this process and in a worker by turns, a round each, so that what else the machine does meets both alike.

use std::{
    env, fs,
    io::{Read, Write, stdin},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Instant,
};

use backstay_config::Plugin as Configured;
use backstay_host::{Config, Engine, Plugin};
use backstay_model::{Action, Mono};
use backstay_plugins::{
    Adviser, Loader, Tier,
    worker::{self, Program},
};
use backstay_test_bench::{
    Arguments, Budget, Cell, Column, Count, Failure, Rank, Report, Signed, Spread, Versions, code_bytes,
    component, facts, micros, percentile, run,
};

const ABOUT: &str = "\
decision: how long a decision takes, cold and warm, in this process and through a worker

Asked is policy-tree as it ships, about eight objectives of four windows. Cold: both signatures and the code's digest, loading,
linking, the first decision; `with its engine` also makes the engine, as a program does once when it starts. Warm: a fresh
sandbox for each decision, which is what devices (here) and the server (worker) do. Beside them a bare line: as many bytes to a
process that does nothing but answer, which is what the system takes of the way to a worker and back. The rounds are held against
each other; percentiles are of all times of all rounds.

cargo xtask bench decision -- --rounds 21";

const COUNTS: &[Count] = &[
    Count { name: "rounds", default: 11, least: 1, most: 200, help: "how often each has its turn" },
    Count { name: "cold", default: 100, least: 5, most: 2000, help: "cold starts in a round" },
    Count { name: "warm", default: 2000, least: 10, most: 100_000, help: "warm decisions in a round" },
];

const COLD_P99_US: f64 = 1000.0;
const WARM_P50_US: f64 = 40.0;
const WORKER_P50_US: f64 = 60.0;
/// New workers in a round: each is a process.
const WORKERS: usize = 5;
/// What the process at the other end of a bare line is started with.
const ECHO: &str = "echo";
/// About what goes to a worker for such a decision, and what comes back.
const ASKED_BYTES: usize = 1024;
const ANSWERED_BYTES: usize = 128;

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some(worker::ARGUMENT) {
        return worker::run(|| {});
    }
    if env::args().nth(1).as_deref() == Some(ECHO) {
        return echo();
    }
    run(ABOUT, COUNTS, measure)
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let mut report = Report::new("decision", Versions::of(&["wasmtime", "ed25519-dalek"]));
    let (signed, engine, dir) = (Signed::policy_tree()?, Engine::new()?, tempfile::tempdir()?);
    let (config, facts) = (Config::default(), facts());
    let bundle = dir.path().join("policy.bundle");
    fs::write(&bundle, signed.bundle())?;
    let configured = Configured { bundle, ..Configured::default() };
    let loader = Loader::new(Tier::Server, &engine, &signed.keys().keyring);
    let new_worker =
        || -> Result<_, Failure> { one_of(loader.policy_workers(&configured, &Program::this())?) };
    let mut here = one_of(loader.policies(&configured)?)?;
    let mut there = new_worker()?;
    let mut bare = BareLine::start()?;

    let load = |engine: &Engine| -> Result<_, Failure> {
        let policy = Plugin::load(engine, &signed.verify()?)?.into_policy().ok_or("it is no policy")?;
        let decided = policy.decide(&config, &facts, &[])?;
        Ok((policy, decided))
    };
    // What is timed is what was meant: the facts are good, so the answer is to go on.
    let (policy, decided) = load(&engine)?;
    if decided.decision.action != Action::Proceed {
        return Err("the policy decides something else about good facts".into());
    }
    let (cold, warm) = (arguments.count("cold"), arguments.count("warm"));
    let mut all = Times::default();
    for _ in 0..arguments.count("rounds") {
        all.cold.take(cold, || load(&engine).map(drop))?;
        all.started.take(cold / 4 + 1, || load(&Engine::new()?).map(drop))?;
        let ask =
            |adviser: &mut dyn Adviser| adviser.decide(Mono(0), &facts, b"").map(drop).map_err(Into::into);
        all.host.take(warm, || {
            policy.decide(&config, &facts, &[])?;
            Ok(())
        })?;
        all.here.take(warm, || ask(&mut here))?;
        all.there.take(warm, || ask(&mut there))?;
        all.bare.take(warm, || bare.ask())?;
        all.workers.take(WORKERS, || {
            new_worker()?.decide(Mono(0), &facts, b"")?;
            Ok(())
        })?;
    }

    report.describe(
        format!(
            "policy-tree, 8 objectives of 4 windows, {} rounds; each round's p50: median (least to most)",
            arguments.count("rounds")
        ),
        &[
            Column { key: "p50_us", title: "p50 us" },
            Column { key: "p99_us", title: "p99 us" },
            Column { key: "rounds_p50_us", title: "of the rounds" },
            Column { key: "bytes", title: "bytes" },
        ],
    );
    for (name, times) in [
        ("cold: verify + load + first decision", &all.cold),
        ("cold, with its engine", &all.started),
        ("warm, the sandbox alone", &all.host),
        ("warm, in this process", &all.here),
        ("warm, through a worker", &all.there),
        ("a bare line to a process and back", &all.bare),
        ("a new worker and its first decision", &all.workers),
    ] {
        let at = |rank| Cell::Figure(times.at(rank), 1);
        report.row(name, vec![at(Rank(500)), at(Rank(990)), Cell::Rounds(Spread::of(&times.rounds), 1)]);
    }
    if let Some(kib) = there.process().and_then(resident) {
        report.row("a worker's resident memory", bytes(kib * 1024));
    }
    for plugin in ["policy-tree", "executor-ota"] {
        let component = component(plugin)?;
        report.row(format!("{plugin}, the component"), bytes(component.len()));
        for (target, length) in code_bytes(&component)? {
            report.row(format!("{plugin} for {target}"), bytes(length));
        }
    }
    report.hold("cold, p99 us", all.cold.at(Rank(990)), Budget::AtMost(COLD_P99_US));
    report.hold("warm in this process, p50 us", all.here.at(Rank(500)), Budget::AtMost(WARM_P50_US));
    report.hold("warm through a worker, p50 us", all.there.at(Rank(500)), Budget::AtMost(WORKER_P50_US));
    report.print(arguments.output);
    Ok(())
}

fn bytes(bytes: usize) -> Vec<Cell> {
    vec![Cell::None, Cell::None, Cell::None, Cell::Figure(bytes as f64, 0)]
}

fn one_of<T>(mut policies: Vec<T>) -> Result<T, Failure> {
    policies.pop().ok_or_else(|| "a policy was configured, and none came".into())
}

/// A process that answers and does nothing else, over such a socket as a worker has.
struct BareLine {
    process: Child,
    line: UnixStream,
}

impl BareLine {
    fn start() -> Result<Self, Failure> {
        let (line, theirs) = UnixStream::pair()?;
        let theirs = Stdio::from(OwnedFd::from(theirs));
        let process =
            Command::new(env::current_exe()?).arg(ECHO).stdin(theirs).stdout(Stdio::null()).spawn()?;
        Ok(Self { process, line })
    }

    fn ask(&mut self) -> Result<(), Failure> {
        self.line.write_all(&[1; ASKED_BYTES])?;
        Ok(self.line.read_exact(&mut [0; ANSWERED_BYTES])?)
    }
}

impl Drop for BareLine {
    fn drop(&mut self) {
        // Ended already, or about to be: either is the end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end of it, until nobody asks any more.
fn echo() -> ExitCode {
    let Ok(line) = stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut line = UnixStream::from(line);
    while line.read_exact(&mut [0; ASKED_BYTES]).is_ok() {
        if line.write_all(&[1; ANSWERED_BYTES]).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[derive(Default)]
struct Times {
    cold: Measured,
    started: Measured,
    host: Measured,
    here: Measured,
    there: Measured,
    bare: Measured,
    workers: Measured,
}

/// Of one thing, in microseconds.
#[derive(Default)]
struct Measured {
    all: Vec<f64>,
    /// The p50 of each round.
    rounds: Vec<f64>,
}

impl Measured {
    fn take(&mut self, times: usize, mut what: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let mut round = Vec::with_capacity(times);
        for _ in 0..times {
            let begun = Instant::now();
            what()?;
            round.push(micros(begun.elapsed()));
        }
        self.add(round);
        Ok(())
    }

    fn add(&mut self, round: Vec<f64>) {
        self.rounds.push(percentile(&round, Rank(500)));
        self.all.extend(round);
    }

    fn at(&self, rank: Rank) -> f64 {
        percentile(&self.all, rank)
    }
}

/// In KiB.
fn resident(process: u32) -> Option<usize> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
