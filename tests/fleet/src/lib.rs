//! A fleet of real processes on one machine: a broker, a server, and devices that each supervise a small service.
//!
//! Here: starting and ending them, and asking through the command line as an operator would. Everything is the
//! programs that ship, told by documented settings to be quicker. Not here: a story (`demo`, and the tests).

mod broker;
mod built;
mod cli;
mod device;
mod fleet;
mod process;

pub use broker::Broker;
pub use built::{Built, built};
pub use cli::Cli;
pub use device::Device;
pub use fleet::{Build, Fleet, Layout, Pace, Tls, VERSIONS};
pub use process::{Process, free_port, stop_on_signals, stop_wanted};

/// Something that a fleet needs did not work out.
#[derive(Debug)]
pub struct Trouble(pub String);

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Trouble {}

/// Adds what was being done to an error.
pub(crate) fn trouble<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Trouble {
    let what = what.into();
    move |error| Trouble(format!("{what}: {error}"))
}
