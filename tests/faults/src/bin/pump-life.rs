//! A course of a device, to be recorded: `pump-life DIR COURSE FROM`. What is durable or done is said on standard output, a
//! line at once.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use backstay_test_faults::power::course::Course;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [dir, course, from] = words.as_slice() else { return Err("pump-life DIR COURSE FROM".into()) };
    let course = Course::named(course).ok_or_else(|| format!("there is no course {course}"))?;
    let from = from.parse().map_err(|_| format!("{from} is no number"))?;
    let (_, pump) = course.goes(Path::new(dir), from, says)?;
    pump.ends().map(|_| ())
}

/// One call of the system for a line, so that it stands between the calls before it and behind it.
fn says(what: &str) {
    let line = format!("{what}\n");
    // Nobody listens any more: then nothing hangs on it.
    let _ = io::stdout().lock().write_all(line.as_bytes());
}
