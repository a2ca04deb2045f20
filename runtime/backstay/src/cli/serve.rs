//! `backstay serve`: hands over to the server, which is the program's own and not this library's.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use backstay_config::{Problem, Problems, ReadError};
use backstay_model::{Answer, Name};
use backstay_targets::Reading;
use clap::Args;

use crate::{Desk, Exit, Failure};

/// The server, as the program brings it along.
#[derive(Clone, Copy, Debug)]
pub struct Serve {
    /// Runs the server with a configuration, until it is told to stop.
    pub run: fn(&Path) -> Result<(), Box<dyn Error>>,
    /// Checks a configuration and opens nothing.
    pub check: fn(&Path) -> Result<(), Box<dyn Error>>,
    /// Reads a configuration and its targets, from another folder where one is given, and opens nothing that they name.
    pub inspect: fn(&Path, Option<&Path>) -> Reading,
    /// The JSON schema of the configuration.
    pub schema: fn() -> serde_json::Value,
    /// Reads paths of an endpoint that a configuration names, one after the other, as effects do.
    pub get: Get,
}

/// What an endpoint of a configuration answers to each of some paths.
type Get = fn(&Path, &Name, &[String]) -> Result<Vec<Answer>, Box<dyn Error>>;

/// Run the server
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  backstay serve --config /etc/backstay/backstay.toml\n  backstay serve --check\n\n\
    Exit code 64: the configuration is wrong, and every problem was told with its line."
)]
pub(crate) struct Arguments {
    /// Its configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/backstay/backstay.toml", env = "BACKSTAY_CONFIG")]
    config: PathBuf,
    /// Check the configuration, say what is wrong with it, and end
    #[arg(long)]
    check: bool,
}

impl Arguments {
    pub(crate) fn run(&self, desk: &Desk, serve: Serve) -> Result<Exit, Failure> {
        let config = self.config.display();
        if self.check {
            (serve.check)(&self.config).map_err(|why| failed(format!("{config} is wrong"), why))?;
            desk.printer.say(format_args!("{config} is right"));
        } else {
            (serve.run)(&self.config).map_err(|why| failed("the server can't go on".into(), why))?;
        }
        Ok(Exit::Done)
    }
}

/// A server that ended, with the number that its cause has.
fn failed(what: String, why: Box<dyn Error>) -> Failure {
    let configuration = why.is::<Problems>() || why.is::<Problem>() || why.is::<ReadError>();
    let exit = if configuration { Exit::Configuration } else { Exit::Trouble };
    Failure::new(exit, what).why(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_has_its_own_number() {
        let problem =
            Problem { file: "s.toml".into(), line: Some(3), key: "api".into(), why: "is missing".into() };
        let failure = failed("s.toml is wrong".into(), Problems::from(problem.clone()).into());
        assert_eq!(failure.exit(), Exit::Configuration);
        assert_eq!(failure.to_string(), "error: s.toml is wrong\n  because: s.toml:3: api: is missing");
        let two = Problems(vec![problem.clone(), Problem { line: Some(9), ..problem }]);
        let told = failed("s.toml is wrong".into(), two.into()).to_string();
        assert_eq!(told.lines().filter(|line| line.starts_with("  because: s.toml:")).count(), 2, "{told}");
        assert_eq!(failed("it ended".into(), "a reason".into()).exit(), Exit::Trouble);
    }
}
