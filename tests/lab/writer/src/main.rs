//! Writes numbered records on a device of the lab, and says on the console which of them are durable, until the power goes.
//!
//! At its start it says what is there of the time before: `LAB has last=41 holes=0 odd=0`; then, after each record, `LAB durable 42`.
//! Whoever cuts the power compares the two. `journal` writes by the agent's own memory, `sled` is the control: the database
//! as it comes, with its own `flush`.
//!
//! Here: writing and saying. Not here: cutting the power, and judging (the lab).
#![expect(clippy::print_stderr, reason = "what it says is what it is for")]

use std::{env, error::Error, io::Write as _, path::Path, process::ExitCode};

use backstay_memory::{Durability, Memory, Options, Recalled};
use backstay_model::{Event, Mono};

/// The most that the journal takes, in bytes.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;
/// What stands before the number in a record.
const MARK: &str = "lab record ";

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["journal", folder] => journal(Path::new(folder)),
        ["sled", folder] => sled_alone(Path::new(folder)),
        _ => Err("expected: journal FOLDER or sled FOLDER".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("LAB writer failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line on the console, in one write, so that no other line gets into it.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()
}

/// What is there: the newest number, and how many below it are missing that were not given up on purpose.
#[derive(Debug, Default)]
struct Has {
    last: u64,
    holes: u64,
}

impl Has {
    fn take(&mut self, number: u64) {
        if self.last != 0 {
            self.holes += number.saturating_sub(self.last + 1);
        }
        self.last = number;
    }
}

fn journal(folder: &Path) -> Result<(), Box<dyn Error>> {
    let options = Options { instance: "lab".into(), bytes_max: JOURNAL_BYTES_MAX };
    let (mut memory, Recalled { clock, findings, .. }) = Memory::open(folder, options)?;
    let mut has = Has::default();
    for (_, entry) in memory.entries(1) {
        if let Event::Degraded { what } = &entry.event
            && let Some(number) = what.strip_prefix(MARK).and_then(|number| number.parse().ok())
        {
            has.take(number);
        }
    }
    for finding in &findings {
        say(&format!("LAB odd {finding:?}"))?;
    }
    say(&format!("LAB has last={} holes={} odd={}", has.last, has.holes, findings.len()))?;
    let mut at = clock;
    for number in has.last + 1.. {
        at = Mono(at.0 + 1);
        match memory.record(at, &[Event::Degraded { what: format!("{MARK}{number}") }], None) {
            Durability::Durable => say(&format!("LAB durable {number}"))?,
            Durability::Degraded(why) => return Err(why.into()),
            Durability::StillDegraded => return Err("the journal does not take any more".into()),
        }
    }
    Ok(())
}

fn sled_alone(folder: &Path) -> Result<(), Box<dyn Error>> {
    let database = sled::open(folder)?;
    let mut has = Has::default();
    for key in database.iter().keys() {
        if let Ok(number) = <[u8; 8]>::try_from(key?.as_ref()) {
            has.take(u64::from_be_bytes(number));
        }
    }
    say(&format!("LAB has last={} holes={} odd=0", has.last, has.holes))?;
    for number in has.last + 1.. {
        database.insert(number.to_be_bytes(), MARK.as_bytes())?;
        database.flush()?;
        say(&format!("LAB durable {number}"))?;
    }
    Ok(())
}
