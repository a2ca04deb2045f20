//! One decision, by the policy that ships and by its peers, side by side: from nothing, kept loaded, in a fresh sandbox, and
//! what it takes in memory and bytes.
//!
//! All answer the same facts, and their answers are held against the tree's own before anything is timed. Left out, all of
//! it to the peers' advantage: the reasons (ours and the native tree give theirs), settings other than the defaults,
//! windows that are reported twice (in Rego and CEL), limits of time and memory (ours has them switched on), and a
//! signature on what is loaded (ours checks two). A peer gets only those facts that the tree reads, and ours gets all.
#![expect(clippy::unwrap_used, reason = "a measurement that can't be taken has nothing else to say")]

extern crate alloc;

mod asked;
mod cel;
#[cfg(feature = "extism")]
mod extism;
mod facts;
mod lua;
mod native;
mod ours;
mod peer;
mod rego;
mod rhai;

use std::{env, fs, hint::black_box, process::Command, time::Instant};

use backstay_test_bench::{
    Arguments, Budget, Cell, Column, Count, Failure, Rank, Report, Spread, Versions, code_bytes, component,
    micros, percentile, run,
};

use crate::{facts::Case, peer::Peer};

const ABOUT: &str = "\
plugins: one decision by policy-tree as it ships, and by the same tree in other sandboxes and languages

All get the same facts, and their answers are compared with the native tree's before anything is timed. Cold: from the bytes
to the first decision; ours checks two signatures first. Kept: in what was loaded before and asked before, where there is such a
thing; ours never keeps an instance. Fresh: in a sandbox that nobody used before, of a policy that is loaded. Loaded: resident
memory of one more policy that was loaded and asked, in a process of its own.

cargo xtask bench plugins -- --rounds 21";

const COUNTS: &[Count] = &[
    Count { name: "rounds", default: 11, least: 1, most: 200, help: "how often each has its turn" },
    Count { name: "warm", default: 500, least: 10, most: 50_000, help: "warm decisions in a round" },
    Count { name: "cold", default: 15, least: 1, most: 1000, help: "cold starts in a round" },
    Count {
        name: "cases",
        default: 5000,
        least: 100,
        most: 100_000,
        help: "facts on which all have to agree",
    },
];

/// The lock file of the peers, which is not that of the tree.
const LOCK: &str = include_str!("../Cargo.lock");
/// What a policy is loaded so many times for, when its memory is looked at.
const LOADED: u64 = 40;
/// The argument of the process that looks at it.
const MEMORY: &str = "--memory-of";

const COLD_P99_US: f64 = 1000.0;
const WARM_P50_US: f64 = 40.0;

fn main() -> std::process::ExitCode {
    let mut words = env::args().skip(1);
    if words.next().as_deref() == Some(MEMORY) {
        println!("{}", memory(&words.next().unwrap()).unwrap());
        return std::process::ExitCode::SUCCESS;
    }
    run(ABOUT, COUNTS, measure)
}

fn peers() -> Result<Vec<Box<dyn Peer>>, Failure> {
    Ok(vec![
        Box::new(native::Native),
        Box::new(ours::Ours::new()?),
        #[cfg(feature = "extism")]
        Box::new(extism::Extism::new()?),
        Box::new(lua::Lua::new()?),
        Box::new(rhai::Rhai::new()?),
        Box::new(cel::Cel::new()?),
        Box::new(rego::Rego::new()?),
    ])
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let peers_packages = ["extism", "wasmtime", "mlua", "lua-src", "rhai", "cel", "regorus"];
    let mut report = Report::new("plugins", Versions::of(&[]).with(&peers_packages, LOCK));
    let mut peers = peers()?;
    let seen = agree(&mut peers, arguments.count("cases"))?;

    let case = Case::usual();
    let (rounds, warm, cold) = (arguments.count("rounds"), arguments.count("warm"), arguments.count("cold"));
    let mut times: Vec<Times> = peers.iter().map(|_| Times::default()).collect();
    for round in 0..rounds {
        for turn in 0..peers.len() {
            let place = (round + turn) % peers.len();
            let (peer, times) = (&mut peers[place], &mut times[place]);
            times.cold.take(cold, || peer.cold(&case).map(Some))?;
            times.kept.take(warm, || peer.kept(&case))?;
            times.fresh.take(warm, || peer.fresh(&case))?;
        }
    }

    report.describe(
        format!(
            "8 objectives of 4 windows; {rounds} rounds; us; agreed on {} facts: {seen}; kept and fresh: the p50 of the \
             rounds, median (least to most)",
            arguments.count("cases")
        ),
        &[
            Column { key: "cold_p50_us", title: "cold p50" },
            Column { key: "cold_p99_us", title: "p99" },
            Column { key: "kept_us", title: "kept" },
            Column { key: "fresh_us", title: "fresh sandbox" },
            Column { key: "fresh_p99_us", title: "p99" },
            Column { key: "loaded_kib", title: "loaded, KiB" },
            Column { key: "bytes", title: "bytes" },
        ],
    );
    for (peer, times) in peers.iter().zip(&times) {
        let at = |measured: &Measured, rank| match measured.all[..] {
            [] => Cell::None,
            ref all => Cell::Figure(percentile(all, rank), 1),
        };
        let rounds = |measured: &Measured| match measured.rounds[..] {
            [] => Cell::None,
            ref rounds => Cell::Rounds(Spread::of(rounds), 1),
        };
        report.row(
            peer.name(),
            vec![
                at(&times.cold, Rank(500)),
                at(&times.cold, Rank(990)),
                rounds(&times.kept),
                rounds(&times.fresh),
                at(&times.fresh, Rank(990)),
                memory_apart(peer.name())?,
                peer.bytes().map_or(Cell::None, |bytes| Cell::Figure(bytes as f64, 0)),
            ],
        );
    }
    for (target, bytes) in code_bytes(&component("policy-tree")?)? {
        let mut cells = vec![Cell::None; 6];
        cells.push(Cell::Figure(bytes as f64, 0));
        report.row(format!("  its code for {target}"), cells);
    }
    let ours = &times[1];
    report.hold(
        "ours, cold with verifying, p99 us",
        percentile(&ours.cold.all, Rank(990)),
        Budget::AtMost(COLD_P99_US),
    );
    report.hold(
        "ours, a fresh sandbox each, p50 us",
        percentile(&ours.fresh.all, Rank(500)),
        Budget::AtMost(WARM_P50_US),
    );
    report.print(arguments.output);
    Ok(())
}

/// Holds all answers against those of the tree itself; which there were, and how often.
fn agree(peers: &mut [Box<dyn Peer>], cases: usize) -> Result<String, Failure> {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for seed in 0..cases {
        let case = Case::random(seed as u64);
        let right = native::Native.cold(&case)?;
        for peer in &mut *peers {
            let answers = [peer.kept(&case)?, peer.fresh(&case)?];
            for answer in answers.into_iter().flatten() {
                if answer != right {
                    let (name, asked) = (peer.name(), &case.asked);
                    return Err(format!("{name} says {answer}, and the tree {right}, of {asked:#?}").into());
                }
            }
        }
        *seen.entry(right).or_default() += 1;
    }
    // Facts that all lead to one answer would prove nothing.
    for word in
        ["proceed", "slow 1", "slow 3", "heal", "abort-canary", "switch-and-freeze", "freeze", "pause"]
    {
        if !seen.contains_key(word) {
            return Err(format!("of {cases} facts none led to {word}").into());
        }
    }
    Ok(seen.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", "))
}

#[derive(Default)]
struct Times {
    cold: Measured,
    kept: Measured,
    fresh: Measured,
}

/// In microseconds.
#[derive(Default)]
struct Measured {
    all: Vec<f64>,
    /// The p50 of each round.
    rounds: Vec<f64>,
}

impl Measured {
    fn take(
        &mut self,
        times: usize,
        mut what: impl FnMut() -> Result<Option<String>, Failure>,
    ) -> Result<(), Failure> {
        let mut round = Vec::with_capacity(times);
        for _ in 0..times {
            let begun = Instant::now();
            let answer = black_box(what()?);
            if answer.is_none() {
                return Ok(());
            }
            round.push(micros(begun.elapsed()));
        }
        self.rounds.push(percentile(&round, Rank(500)));
        self.all.extend(round);
        Ok(())
    }
}

/// In a process of its own, so that nobody else's memory is counted.
fn memory_apart(name: &str) -> Result<Cell, Failure> {
    let done = Command::new(env::current_exe()?).args([MEMORY, name]).output()?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let kib: f64 = said.trim().parse().map_err(|_| {
        format!("the memory of {name} can't be looked at: {}", String::from_utf8_lossy(&done.stderr))
    })?;
    Ok(Cell::Figure(kib, 1))
}

/// KiB for each policy that is loaded, asked once, and kept.
fn memory(name: &str) -> Result<f64, Failure> {
    let peers = peers()?;
    let peer = peers.iter().find(|peer| peer.name() == name).ok_or("there is no such peer")?;
    let case = Case::usual();
    // The first brings what all of them share.
    let mut held = vec![peer.load(&case)?];
    let before = resident()?;
    for _ in 0..LOADED {
        held.push(peer.load(&case)?);
    }
    let after = resident()?;
    drop(held);
    Ok((after.saturating_sub(before)) as f64 / LOADED as f64)
}

fn resident() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| "the kernel does not tell how much memory is resident".into())
}
