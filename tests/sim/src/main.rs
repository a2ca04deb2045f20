//! Many seeds, and what they found: `cargo xtask sim --seeds 1000 --devices 60 --days 2`.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the run")]

mod account;
mod tolls;

use std::{
    io::{IsTerminal, Write as _},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use backstay_model::Millis;
use backstay_test_sim::{Mark, Size, Tale, Trial};

use account::Account;

const HELP: &str = "\
cargo xtask sim [--seeds N] [--seed FIRST] [--devices D] [--days T] [--output table|json] [...]

Runs fleets of the real core in virtual time, with faults, and holds each step against the invariants.

  --seeds    how many seeds (100)
  --seed     the first of them (1)
  --devices  in each run (60); more than --site are run as sites that share nothing but the settings
  --days     for so long things go wrong; then everything has to come to rest (1)
  --threads  runs at a time (as many as there are cores)
  --beat     seconds between two beats of a device (300)
  --probe    seconds between two readings of a probe (300)
  --site     the most devices of one run (250)
  --faults   of the faults that a seed draws only these, by their words with commas between them; none: no faults
  --no-people  nobody starts a rollout or wishes anything
  --reference  one release in each run, and what comes of it compared with a simpler model
  --tale     something befalls the whole fleet: outage, false-alarm or rack; other things go wrong besides. Counts who did what
             about it, and holds that against its bound (then 5 seeds, and 10000 devices)
  --calm     nothing goes wrong: one good rollout, for measuring
  --shrink   runs that a failed seed may be made smaller with (400); 0: as it is
  --output   table or json

Exit code: 0 every invariant held, and every bound; 1 one did not: a line says how to see it again; 64 the command line is wrong.";

/// As in BSD's sysexits: the command was used incorrectly.
const EXIT_USAGE: u8 = 64;

struct Args {
    trial: Trial,
    seeds: Option<u64>,
    devices: Option<usize>,
    threads: usize,
    site: usize,
    shrink: u32,
    json: bool,
}

impl Args {
    fn seeds(&self) -> u64 {
        self.seeds.unwrap_or_default()
    }
}

fn args() -> Result<Args, String> {
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let trial = Trial::of(1, Size::of(60, 1.0));
    let mut args = Args { trial, seeds: None, devices: None, threads, site: 250, shrink: 400, json: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--calm" => args.trial.calm = true,
            "--reference" => args.trial.reference = true,
            "--no-people" => args.trial.people = false,
            "--help" | "-h" => {
                println!("{HELP}");
                std::process::exit(0);
            }
            _ => {
                let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
                set(&mut args, &word, &value)?;
            }
        }
    }
    let of_tale = args.trial.tale.is_some();
    args.trial.size = args.trial.size.with_devices(args.devices.unwrap_or(if of_tale { 10_000 } else { 60 }));
    args.seeds.get_or_insert(if of_tale { 5 } else { 100 });
    Ok(args)
}

fn set(args: &mut Args, word: &str, value: &str) -> Result<(), String> {
    let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
    let count = || Ok::<_, String>(usize::try_from(number()?.max(1)).unwrap_or(usize::MAX));
    let size = &mut args.trial.size;
    match word {
        "--seeds" => args.seeds = Some(number()?),
        "--seed" => args.trial.seed = number()?,
        "--threads" => args.threads = count()?,
        "--site" => args.site = count()?,
        "--shrink" => args.shrink = u32::try_from(number()?).unwrap_or(u32::MAX),
        "--devices" => args.devices = Some(count()?),
        "--days" => {
            let days = value.parse().map_err(|error| format!("{word} {value}: {error}"))?;
            if !(0.0..=365.0).contains(&days) {
                return Err(format!("{word} {value}: it is 0 to 365"));
            }
            size.days = days;
        }
        "--beat" => size.beat = Millis::from_secs(number()?.max(1)),
        "--probe" => size.probe = Millis::from_secs(number()?.max(1)),
        "--faults" if value == "none" => args.trial.only = Some(Vec::new()),
        "--faults" => {
            let named = |word: &str| Mark::ALL.iter().copied().find(|mark| mark.word() == word);
            let marks = value.split(',').map(|word| named(word).ok_or_else(|| no_fault(word)));
            args.trial.only = Some(marks.collect::<Result<_, _>>()?);
        }
        "--tale" => {
            let tale = Tale::ALL.iter().copied().find(|tale| tale.word() == value);
            args.trial.tale = Some(tale.ok_or_else(|| no_tale(value))?);
        }
        "--output" => match value {
            "table" => args.json = false,
            "json" => args.json = true,
            other => return Err(format!("--output is table or json, and not {other}")),
        },
        _ => return Err(format!("{word} is no option\n\n{HELP}")),
    }
    Ok(())
}

fn no_tale(word: &str) -> String {
    let known: Vec<_> = Tale::ALL.iter().map(|tale| tale.word()).collect();
    format!("there is no tale {word}; there are {}", known.join(", "))
}

fn no_fault(word: &str) -> String {
    let known: Vec<_> = Mark::ALL.iter().map(|mark| mark.word()).collect();
    format!("there is no fault {word}; there are {}", known.join(", "))
}

/// The runs of a command line: a seed with many devices is so many sites.
fn trials(args: &Args) -> Vec<Trial> {
    let Args { trial, site, .. } = args;
    let seeds = args.seeds();
    let sites = trial.size.devices.div_ceil(*site).max(1);
    let of_seed = |seed: u64| {
        (0..sites).map(move |n| {
            let devices = trial.size.devices * (n + 1) / sites - trial.size.devices * n / sites;
            // The first site of a seed is the seed itself.
            Trial { seed: seed + ((n as u64) << 32), size: trial.size.with_devices(devices), ..trial.clone() }
        })
    };
    (trial.seed..trial.seed.saturating_add(seeds)).flat_map(of_seed).collect()
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let (began, trials) = (Instant::now(), trials(&args));
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Account::default()));
    std::thread::scope(|scope| {
        for _ in 0..args.threads.min(trials.len()) {
            scope.spawn(|| {
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = trial.run();
                    let mut sum = sum.lock().unwrap();
                    sum.adds(trial, ran);
                }
            });
        }
        scope.spawn(|| progress(&sum, trials.len(), began));
    });
    let (mut sum, took) = (sum.into_inner().unwrap(), began.elapsed());
    sum.shrinks(args.shrink);
    let (trial, seeds) = (&args.trial, args.seeds());
    if args.json {
        println!("{}", sum.json(trial, seeds, took));
    } else {
        print!("{}", sum.table(trial, seeds, took));
    }
    if sum.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says how far it is, on standard error: the result is for standard output alone.
fn progress(sum: &Mutex<Account>, all: usize, began: Instant) {
    let terminal = std::io::stderr().is_terminal();
    let every = if terminal { Duration::from_millis(500) } else { Duration::from_secs(10) };
    let mut said = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let (runs, failed, days) = sum.lock().unwrap().so_far();
        let done = runs >= all;
        if said.elapsed() >= every || (done && terminal) {
            said = Instant::now();
            let line = format!(
                "{runs} of {all} runs, {failed} failed, {days:.0} device-days, {:.0} s",
                began.elapsed().as_secs_f64()
            );
            let mut out = std::io::stderr().lock();
            let _ = if terminal { write!(out, "\r{line} ") } else { writeln!(out, "{line}") };
        }
        if done {
            if terminal {
                eprintln!();
            }
            return;
        }
    }
}
