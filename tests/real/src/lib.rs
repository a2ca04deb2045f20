//! What the tests against real programs share: starting such a program, and ending it.
//!
//! Here: mosquitto, PostgreSQL with a table and those who write to it, Prometheus, a registry, an sshd, HAProxy, doubles of a flag
//! server and of a pager, somebody who asks our server, and what a page shows of a console. A program
//! that isn't installed makes its tests print why they were skipped, and pass; the tier that runs them on purpose looks at the output.
//!
//! Not here: what is tested; that stands in `tests/`, one file for each thing outside.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failed assumption fails the test"))]
#![expect(clippy::panic, reason = "a program that doesn't start fails the test that needs it")]

mod caller;
mod certificates;
mod console;
mod flags;
mod haproxy;
mod mosquitto;
mod pager;
mod postgres;
mod prometheus;
mod pumps;
mod registry;
mod sshd;
mod writers;

pub use backstay_test_fleet::{Built, built};
pub use caller::Caller;
pub use certificates::Certificates;
pub use console::{Shown, commands};
pub use flags::FlagsDouble;
pub use haproxy::{HaProxy, Seen, Site, Visitors};
pub use mosquitto::Mosquitto;
pub use pager::Pager;
pub use postgres::{Postgres, Session};
pub use prometheus::{Exporter, RealPrometheus};
pub use pumps::{ROWS, pump_commands, pumps, until};
pub use registry::{Guests, Registry};
pub use sshd::Sshd;
pub use writers::{Release, Writers};

use std::path::PathBuf;

/// Where programs are that an ordinary user's PATH doesn't name.
const MORE_PATHS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// The program, or `None` after it was said that the test is skipped.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(MORE_PATHS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        println!("skipped, because {name} is not installed");
    }
    found
}
