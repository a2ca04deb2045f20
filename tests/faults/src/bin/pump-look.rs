//! Looks at a device after a cut, and goes on with its course: `pump-look DIR COURSE SAID COUNT END`. SAID is a file with all
//! that the course said, COUNT how much of that was heard before the cut, END a file with how it ends without one.

use std::{env, fs, path::Path, process::ExitCode};

use backstay_test_faults::power::{End, course::Course, cuts::holds_after};

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
    let [dir, course, said, count, end] = words.as_slice() else {
        return Err("pump-look DIR COURSE SAID COUNT END".into());
    };
    let course = Course::named(course).ok_or_else(|| format!("there is no course {course}"))?;
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let said: Vec<String> = read(said)?.lines().map(str::to_owned).collect();
    let count = count.parse().map_err(|_| format!("{count} is no number"))?;
    let end = fs::read(end).map_err(|error| format!("{end}: {error}"))?;
    let end: End = postcard::from_bytes(&end).map_err(|error| error.to_string())?;
    holds_after(course, Path::new(dir), (&said, count), &end)
}
