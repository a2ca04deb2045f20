//! sled with nothing but its own `flush()`, as a control: `sled-alone DIR writes` says each value that `flush()` has taken;
//! `sled-alone DIR has COUNT` fails if one of the first so many isn't there.

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
    thread,
    time::Duration,
};

/// How many values are written.
const VALUES: u32 = 120;
/// Between two: a device at work isn't in a hurry either.
const PAUSE: Duration = Duration::from_millis(5);

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
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [dir, "writes"] => {
            let db = sled::open(dir)?;
            for number in 0..VALUES {
                db.insert(number.to_be_bytes(), vec![number as u8; 200])?;
                db.flush()?;
                io::stdout().lock().write_all(format!("has {number}\n").as_bytes())?;
                thread::sleep(PAUSE);
            }
            Ok(())
        }
        [dir, "has", count] => {
            let (db, count) = (sled::open(dir)?, count.parse::<u32>()?);
            let there = |number: &u32| db.get(number.to_be_bytes()).is_ok_and(|value| value.is_some());
            let missing = (0..count).filter(|number| !there(number)).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} of {count} values are gone").into()) }
        }
        _ => Err("sled-alone DIR writes, or sled-alone DIR has COUNT".into()),
    }
}
