//! Power cuts under a real ext4: `disk-rig course COURSE CUTS` or `disk-rig sled CUTS`, in namespaces of its own:
//!
//!   unshare --mount --pid --fork --kill-child --mount-proc disk-rig sled 60
//!
//! Says on standard output what came of it; ends with 0 if nothing was lost, 1 if something was, 2 if it can't be tried.

use std::{env, process::ExitCode};

use backstay_test_faults::{
    block::tried::{Tried, course, sled},
    power::course::Course,
};

fn main() -> ExitCode {
    match run() {
        Ok(Tried { writes, flushes, heard, cuts, lost, told }) => {
            println!("{writes} writes, {flushes} flushes, {heard} heard; {cuts} cuts, {lost} with a loss");
            told.iter().for_each(|told| println!("{told}"));
            ExitCode::from(u8::from(lost > 0))
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Tried, String> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let programs = program.parent().ok_or("no folder of programs")?;
    let base = tempfile::tempdir().map_err(|error| error.to_string())?;
    match words.as_slice() {
        ["course", name, cuts] => {
            let named = Course::named(name).ok_or_else(|| format!("there is no course {name}"))?;
            course(named, programs, base.path(), number(cuts)?)
        }
        ["sled", cuts] => sled(programs, base.path(), number(cuts)?),
        _ => Err("disk-rig course COURSE CUTS, or disk-rig sled CUTS".into()),
    }
}
