//! The operator's command line: two programs, `backstay` and `otactl`, of the same parts.
//!
//! Here: what can be asked, how it is asked of a server's API, and how the answer looks. Signing happens here, too,
//! because the keys that sign are where people are and never where the server is. Not here: any decision about a
//! fleet, and the server itself, which the program brings along ([`Serve`]).
//!
//! Data go to standard output, words to standard error; each way to end has a number ([`Exit`]). A command that acts
//! says what it did.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod arguments;
mod breaker;
mod check;
mod ci;
mod client;
#[cfg(test)]
mod conversation;
mod desk;
mod device;
mod elsewhere;
mod enrol;
mod events;
mod evidence;
mod exit;
mod failure;
mod file;
mod fleet;
mod gate;
mod incident;
mod key_file;
mod keys;
mod lkg;
mod migration;
mod oci;
mod passphrase;
mod plan;
mod plugin;
mod printer;
mod push;
mod quarantine;
mod question;
mod release;
mod replay;
mod rollout;
mod screen;
mod serve;
mod signer;
mod story;
mod table;
mod target;
mod text;
mod tree;
mod verdict;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    arguments::{Backstay, Otactl},
    desk::Desk,
};
pub use crate::{exit::Exit, failure::Failure, serve::Serve};

/// The program `backstay`. `serve` is its server.
pub fn backstay(serve: Serve) -> ExitCode {
    let arguments = Backstay::parse();
    end(arguments.command.run(&Desk::new(arguments.global), serve))
}

/// The program `otactl`.
pub fn otactl() -> ExitCode {
    let arguments = Otactl::parse();
    end(arguments.command.run(&Desk::new(arguments.global)))
}

fn end(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            printer::warn(&failure);
            failure.exit().into()
        }
    }
}
