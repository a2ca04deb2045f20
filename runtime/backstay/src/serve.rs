//! `backstay serve`: the server of a fleet.
//!
//! It coordinates and learns; no device needs it to go home. One task holds all state and does one thing after the
//! other (`server`); everything that waits is around it (`driver`). Not here: decisions about rollouts (`core`), the
//! API's paths and tokens (`api`), the connection (`link`).
//!
//! Where things are: *config* and *setup* say what it is told; *mail* says what is believed, *hearing* what follows;
//! *calls* answers operators and *view* shows them what is known; *director* signs, *post* knows what is due,
//! *diary*, *kept* and *floors* remember; *door* lets callers in; *register*, *archive*, *catalogue*, *bundles*,
//! *orders* and *sighting* are what there is, and a *lane* is what is steered by itself. *targets* are what the server watches
//! beside its fleet.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod archive;
mod asking;
mod bundles;
mod calls;
mod catalogue;
mod clock;
mod config;
mod diary;
mod director;
mod door;
mod driver;
mod floors;
mod hearing;
mod held_back;
mod judge;
mod kept;
mod lane;
mod mail;
mod orders;
mod post;
mod refusals;
mod register;
mod server;
mod setup;
mod sighting;
#[cfg(test)]
mod stories;
mod targets;
mod trust;
mod verdicts;
mod view;
#[cfg(test)]
mod world;

use std::{error::Error, io::IsTerminal, path::Path};

use backstay_model::causes;
use backstay_targets::{Reading, Shared};
use tracing_subscriber::EnvFilter;

pub(crate) use self::asking::get;
use self::{config::Config, setup::Setup};

/// Runs the server until it is asked to stop (SIGINT, SIGTERM).
///
/// # Errors
/// [`Problems`](backstay_config::Problems) if the configuration, or what it names, is wrong; nothing was opened then. Else what it can't go
/// on without: its folder, its address, its broker's settings.
pub(crate) fn run(config: &Path) -> Result<(), Box<dyn Error>> {
    log();
    let setup = Setup::read(config)?;
    // Two threads: what waits goes on while the one task waits for the disk.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(driver::run(setup))
}

/// Logs go to standard error. `BACKSTAY_LOG` says how much: `warn`, `info`, `debug`, or per module. `BACKSTAY_LOG_FORMAT=json` has
/// each line be a JSON object: what it is about (target, incident) are fields of it.
fn log() {
    let mut wanted = std::env::var("BACKSTAY_LOG").unwrap_or_else(|_| "info".into());
    if !wanted.contains("rumqttd") {
        // The built-in broker tells each packet; who wants that names it.
        wanted.push_str(",rumqttd=off");
    }
    let to = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(wanted)).with_writer(std::io::stderr);
    let to = to.with_ansi(std::io::stderr().is_terminal()).with_target(false);
    // A second subscriber is no trouble: the first one stays.
    drop(match std::env::var("BACKSTAY_LOG_FORMAT").as_deref() {
        Ok("json") => to.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        Ok(_) | Err(_) => to.try_init(),
    });
}

/// Checks a configuration and all that it names, and opens nothing.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn check(config: &Path) -> Result<(), Box<dyn Error>> {
    Setup::read(config)?;
    Ok(())
}

/// Reads a configuration and its targets, those of `folder` where one is given, and opens nothing that they name.
pub(crate) fn inspect(config: &Path, folder: Option<&Path>) -> Reading {
    match setup::document(config) {
        Ok(document) => Config::read(&document, folder).1,
        Err(problem) => Reading { problems: vec![problem], ..Reading::default() },
    }
}

/// The JSON schema of the configuration: the server's own keys, and those that targets share.
pub(crate) fn schema() -> serde_json::Value {
    backstay_targets::merged::<Config, Shared>()
}

/// What and why in one line, where there is room for one only: in a record, and in an answer.
fn because(error: &(dyn Error + 'static)) -> String {
    causes::in_one_line(error)
}
