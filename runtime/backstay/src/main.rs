//! `backstay`: the server that steers a fleet, and the operator's command line.

use std::process::ExitCode;

use backstay_cli::Serve;

mod serve;

fn main() -> ExitCode {
    backstay_cli::backstay(Serve { run: serve::run, check: serve::check })
}
