//! As many trials of the journal as are asked for: `--flips n`, `--cuts n`, `--seed first`.

use std::{env, error::Error, process::ExitCode, time::Instant};

use backstay_test_faults::trials::{CUTS, FLIPS, cut_all, rot_all};

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
    let (mut flips, mut cuts, mut seed) = (FLIPS, CUTS, 0_u64);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} wants a number"))?.parse()?;
        match word.as_str() {
            "--flips" => flips = value,
            "--cuts" => cuts = value,
            "--seed" => seed = value,
            _ => return Err(format!("{word}: expected --flips, --cuts or --seed").into()),
        }
    }
    let begin = Instant::now();
    let rotten = rot_all(seed..seed.saturating_add(flips));
    let secs = begin.elapsed().as_secs_f64();
    println!("rot from seed {seed}: {} harmless, {} reported, {secs:.1} s", rotten.harmless, rotten.reported);
    if !rotten.failed.is_empty() {
        return Err(rotten.failed.join("\n").into());
    }
    let begin = Instant::now();
    let report = cut_all(seed..seed.saturating_add(cuts))?;
    let secs = begin.elapsed().as_secs_f64();
    println!("power cut at {} points, {} starts, nothing lost, {secs:.1} s", report.points, report.starts);
    Ok(())
}
