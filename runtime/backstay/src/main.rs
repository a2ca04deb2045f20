//! `backstay`: the server that steers a fleet, and the operator's command line.

use std::process::ExitCode;

use backstay_cli::Serve;
use backstay_plugins::worker;

mod serve;

fn main() -> ExitCode {
    // Before anything else is looked at: a worker has nothing but the plugin that it is sent.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == worker::ARGUMENT) {
        return worker::run(|| {});
    }
    backstay_cli::backstay(Serve {
        run: serve::run,
        check: serve::check,
        inspect: serve::inspect,
        schema: serve::schema,
        get: serve::get,
    })
}
