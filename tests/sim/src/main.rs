//! Many seeds, and what they found: `cargo run -p backstay-test-sim -- --seeds 1000 --devices 60 --days 2`.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the run")]

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use backstay_model::Millis;
use backstay_test_sim::{Fleet, Marks, Size, Weather};

const HELP: &str = "\
backstay-test-sim [--seeds N] [--seed FIRST] [--devices D] [--days T] [--threads N] [--beat SECS] [--probe SECS] [--calm]

  --seeds    how many seeds (100)
  --seed     the first of them (1)
  --devices  in each run (60)
  --days     for so long things go wrong; then everything has to come to rest (1)
  --threads  runs at a time (2)
  --beat     seconds between two beats of a device (300)
  --probe    seconds between two readings of a probe (300)
  --calm     nothing goes wrong: one good rollout, for measuring";

struct Args {
    seeds: u64,
    first: u64,
    threads: u64,
    calm: bool,
    size: Size,
}

fn args() -> Result<Args, String> {
    let mut args = Args { seeds: 100, first: 1, threads: 2, calm: false, size: Size::of(60, 1.0) };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--calm" {
            args.calm = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
        match word.as_str() {
            "--seeds" => args.seeds = number()?,
            "--seed" => args.first = number()?,
            "--threads" => args.threads = number()?.max(1),
            "--devices" => {
                let sized = Size::of(number()?.max(1) as usize, args.size.days);
                (args.size.devices, args.size.cohorts) = (sized.devices, sized.cohorts);
            }
            "--days" => {
                args.size.days = value.parse().map_err(|error| format!("{word} {value}: {error}"))?;
            }
            "--beat" => args.size.beat = Millis::from_secs(number()?.max(1)),
            "--probe" => args.size.probe = Millis::from_secs(number()?.max(1)),
            _ => return Err(format!("{word} is no option\n\n{HELP}")),
        }
    }
    Ok(args)
}

#[derive(Default)]
struct Sum {
    runs: u64,
    failures: u64,
    steps: u64,
    events: u64,
    days: f64,
    switches: u64,
    turns: u64,
    digest: u64,
    marks: Marks,
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(64);
        }
    };
    let began = Instant::now();
    let (next, sum) = (AtomicU64::new(args.first), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.first + args.seeds {
                        break;
                    }
                    let ran = if args.calm {
                        let mut fleet = Fleet::told(seed, args.size, Weather::calm(), &[None]);
                        fleet.starts(1).and_then(|()| fleet.run())
                    } else {
                        Fleet::new(seed, args.size).with_people().run()
                    };
                    let mut sum = sum.lock().unwrap();
                    sum.runs += 1;
                    match ran {
                        Ok(ran) => {
                            sum.steps += ran.steps;
                            sum.events += ran.events;
                            sum.days += ran.until as f64 / 86_400_000.0 * args.size.devices as f64;
                            sum.switches += ran.switches;
                            sum.turns += ran.turns;
                            sum.marks.add(&ran.marks);
                            // Seeds end in any order, and a sum doesn't mind.
                            sum.digest = sum.digest.wrapping_add(ran.digest);
                        }
                        Err(failure) => {
                            sum.failures += 1;
                            if sum.failures <= 5 {
                                println!("{failure}\n");
                            } else {
                                println!("seed {}: {}", failure.seed, failure.broken);
                            }
                        }
                    }
                }
            });
        }
    });
    let (sum, took) = (sum.into_inner().unwrap(), began.elapsed().as_secs_f64());
    let last = args.first + args.seeds.saturating_sub(1);
    println!("seeds {} to {last}, {} devices each: {} failed", args.first, args.size.devices, sum.failures);
    println!(
        "{} things happened, {} events recorded, {} switches, {} turns, {:.0} device-days in {took:.1} s: {:.0} a second",
        sum.steps,
        sum.events,
        sum.switches,
        sum.turns,
        sum.days,
        sum.days / took
    );
    print!("what went wrong, and how often:\n{}", sum.marks);
    println!("digest {:016x}", sum.digest);
    if sum.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
