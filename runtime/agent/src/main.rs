//! `backstay-agent`: the device. Judges its own release, heals it, and goes home alone.
//!
//! Here: the command line, and putting the parts together for [`driver`]. Not here: deciding anything.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod bundles;
mod clock;
mod config;
mod driver;
mod factory;
mod identity;
mod kept;
mod lkg;
mod log;
mod machine;
#[cfg(test)]
mod past;
mod reset;
mod slots;
mod start;
mod trust;
mod uplink;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use backstay_config::Document;
use backstay_model::causes;
use config::Config;

const HELP: &str = "\
backstay-agent: keeps a device on a release that works, also where nobody can be asked

Usage: backstay-agent [--config FILE] [COMMAND]

Commands:
  run          Look after this device (the default)
  check        Check the configuration whole, and say what is wrong by file, line and key
  fingerprint  Print the digest of this device's public key, which an operator compares at enrolment
  provision    Put a first release into empty slots, as a factory does:
                 backstay-agent provision --artifact pump-1.4.0 --version 1.4.0 [--security-epoch 1]
  help         Print this

Options:
  --config FILE  The configuration [default: /etc/backstay/agent.toml]
  --version      Print the version

Environment:
  BACKSTAY_LOG   How much is told on stderr: error, warn, info (default), debug, trace

Exit codes:
  0  done, or stopped when asked to
  1  something failed; stderr says what, why and what to do
  2  the command line is wrong
  64 the configuration is wrong
";

/// What is to be done.
enum Command {
    Run,
    Check,
    Fingerprint,
    Provision(factory::Provision),
    Help,
    Version,
}

fn main() -> ExitCode {
    let (config, command) = match arguments(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("backstay-agent: {error}\nhelp: backstay-agent help");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Help => print!("{HELP}"),
        Command::Version => println!("backstay-agent {}", env!("CARGO_PKG_VERSION")),
        Command::Run | Command::Check | Command::Fingerprint | Command::Provision(_) => {
            return with_config(&config, command);
        }
    }
    ExitCode::SUCCESS
}

fn with_config(path: &std::path::Path, command: Command) -> ExitCode {
    let read = Document::read(path).map_err(|error| causes::in_lines(&error));
    let config = read.and_then(|document| Config::of(&document).map_err(|error| error.to_string()));
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(backstay_config::EXIT_CODE);
        }
    };
    let done = match command {
        Command::Run => start::run(config),
        Command::Check => start::check(&config),
        Command::Fingerprint => start::fingerprint(&config),
        Command::Provision(provision) => provision.put(&config),
        Command::Help | Command::Version => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backstay-agent: {}", causes::in_lines(&*error));
            ExitCode::FAILURE
        }
    }
}

fn arguments(arguments: impl Iterator<Item = OsString>) -> Result<(PathBuf, Command), lexopt::Error> {
    use lexopt::prelude::*;
    let mut config = PathBuf::from("/etc/backstay/agent.toml");
    let mut command = None;
    let mut provision = factory::Arguments::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("config") => config = parser.value()?.into(),
            Long("help") | Short('h') => return Ok((config, Command::Help)),
            Long("version") if command.as_deref() != Some("provision") => {
                return Ok((config, Command::Version));
            }
            Short('V') => return Ok((config, Command::Version)),
            Long("artifact") => provision.artifact = Some(parser.value()?.into()),
            Long("version") => provision.version = Some(parser.value()?.parse()?),
            Long("security-epoch") => provision.security_epoch = parser.value()?.parse()?,
            Value(value) if command.is_none() => command = Some(value.string()?),
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    let command = match command.as_deref() {
        None | Some("run") => Command::Run,
        Some("check") => Command::Check,
        Some("fingerprint") => Command::Fingerprint,
        Some("provision") => Command::Provision(provision.complete()?),
        Some("help") => Command::Help,
        Some(other) => return Err(format!("there is no command {other:?}").into()),
    };
    Ok((config, command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        match arguments(line.split_whitespace().map(OsString::from)) {
            Ok((config, _)) => config.display().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_command_line_is_read_and_its_mistakes_are_told() {
        assert_eq!(told(""), "/etc/backstay/agent.toml");
        assert_eq!(told("--config a.toml run"), "a.toml");
        assert_eq!(told("check --config=b.toml"), "b.toml");
        assert_eq!(told("rnu"), "there is no command \"rnu\"");
        assert!(told("--confg a").contains("invalid option"));
        assert!(told("provision").contains("--artifact"));
    }
}
