//! `backstay-rerun`: does a job on the machine that it was built for, and prints what came of it.
//!
//! It is started by `backstay replay` and `backstay plugin test`, under an emulator where the machine is another one.
//! The two are of the same version, so a job has no version of its own. No compiler is in it.

use std::{error::Error, fs, io::Read, process::ExitCode};

use backstay_kit::{JOB_BYTES_MAX, Job};

const HELP: &str = "\
backstay-rerun: makes calls of plugins again, on the machine that it was built for

Usage: backstay-rerun JOB

JOB is a file that `backstay replay` or `backstay plugin test` wrote. What came of it is printed as JSON.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next(), arguments.next()) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    if path == "--help" || path == "-h" {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(path.as_ref()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("backstay-rerun: {error}");
            let mut cause = error.source();
            while let Some(why) = cause {
                eprintln!("  because: {why}");
                cause = why.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(path: &std::path::Path) -> Result<String, Box<dyn Error>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(JOB_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > JOB_BYTES_MAX {
        return Err("the job is too large".into());
    }
    let job = Job::decode(&bytes).ok_or("this is no job, or one of another version")?;
    Ok(serde_json::to_string(&job.run()?)?)
}
