//! As many trials of damaged memory as are asked for: `--trials n`, `--seed first`.

use std::{env, error::Error, process::ExitCode, thread, time::Instant};

use backstay_test_faults::memory::{Tally, rot_all};

/// As many as are asked for before a release.
const TRIALS: u64 = 10_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut trials, mut seed) = (TRIALS, 0_u64);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} wants a number"))?.parse()?;
        match word.as_str() {
            "--trials" => trials = value,
            "--seed" => seed = value,
            _ => return Err(format!("{word}: expected --trials or --seed").into()),
        }
    }
    let begin = Instant::now();
    let parts = thread::available_parallelism().map_or(1, usize::from).min(16) as u64;
    let end = seed.saturating_add(trials);
    let bound = |part: u64| seed + trials / parts * part;
    let tally = thread::scope(|scope| {
        let part = |part| bound(part)..if part + 1 == parts { end } else { bound(part + 1) };
        let threads: Vec<_> = (0..parts).map(|n| scope.spawn(move || rot_all(part(n)))).collect();
        threads.into_iter().fold(Tally::default(), |mut sum, thread| {
            sum += thread.join().unwrap_or_default();
            sum
        })
    });
    println!("{} trials from seed {seed}, {:.1} s\n{tally}", tally.good(), begin.elapsed().as_secs_f64());
    if tally.failed.is_empty() && tally.good() == trials {
        return Ok(());
    }
    Err(format!("{} of {trials} were good\n{}", tally.good(), tally.failed.join("\n")).into())
}
