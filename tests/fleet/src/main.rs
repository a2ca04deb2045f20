//! `cargo xtask demo`: a fleet of real processes goes wrong twice, and puts itself right.
//!
//! Here: the story, told while it happens, and its end: a table, a check of every device's records, and exit
//! code 0 only if all of it held. Not here: any branch of the product for the demo; it starts the programs that
//! ship and asks them through the command line.

mod show;
mod story;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use backstay_test_fleet::Trouble;

const HELP: &str = "\
A fleet of real processes on this machine: a broker, a server, and devices that each supervise a small service.

Usage: cargo xtask demo [--devices N] [--keep]

  --devices N  How many devices, 6 to 400 [default: 24]
  --keep       Leave the fleet's files (configurations, keys, logs, journals) for a look
";

/// What was asked for.
struct Arguments {
    devices: usize,
    keep: bool,
    programs: PathBuf,
    plugins: PathBuf,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("demo: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = backstay_test_fleet::stop_on_signals() {
        eprintln!("demo: cannot listen to signals: {error}");
        return ExitCode::FAILURE;
    }
    match story::tell(&arguments.programs, &arguments.plugins, &arguments.dir, arguments.devices) {
        Ok(()) => {
            if !arguments.keep {
                let _ = std::fs::remove_dir_all(&arguments.dir);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\ndemo: {error}\nhelp: the fleet's files are in {}", arguments.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut given: impl Iterator<Item = OsString>) -> Result<Option<Arguments>, Trouble> {
    let mut arguments = Arguments {
        devices: 24,
        keep: false,
        programs: PathBuf::new(),
        plugins: PathBuf::new(),
        dir: std::env::temp_dir().join("backstay-demo"),
    };
    while let Some(argument) = given.next() {
        let mut value =
            || given.next().ok_or_else(|| Trouble(format!("{} needs a value", argument.display())));
        match argument.to_str() {
            Some("--devices") => {
                let devices = value()?.to_str().and_then(|text| text.parse().ok());
                let devices = devices.filter(|devices| (6..=400).contains(devices));
                arguments.devices = devices.ok_or_else(|| Trouble("--devices takes 6 to 400".into()))?;
            }
            Some("--keep") => arguments.keep = true,
            Some("--programs") => arguments.programs = value()?.into(),
            Some("--plugins") => arguments.plugins = value()?.into(),
            Some("--dir") => arguments.dir = value()?.into(),
            Some("--help" | "-h") => return Ok(None),
            Some(_) | None => return Err(Trouble(format!("there is no option {}", argument.display()))),
        }
    }
    Ok(Some(arguments))
}
