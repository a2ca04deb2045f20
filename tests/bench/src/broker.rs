//! The broker that every measurement over MQTT goes through: a mosquitto of its own on the loopback.

use std::{fmt::Write, path::Path};

use backstay_test_fleet::{Broker, free_port};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::Failure;

/// Nothing is dropped for a slow reader, and answers go out at once: what is compared is how fast is read, not who loses
/// what. Nor is it looked whether somebody has a message already, by a subscription that overlaps: for each that gets it
/// mosquitto compares the names of all who have it, and from thousands on does little else.
const SETTINGS: &str =
    "max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\nallow_duplicate_messages true\n";
const MESSAGE_BYTES_MAX: u32 = 256 * 1024;

/// Raises how many files this process and what it starts may have open to what it is allowed, and says how many.
///
/// # Errors
/// If the kernel doesn't let it.
pub fn open_files() -> Result<u64, Failure> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    Ok(files.current.unwrap_or(u64::MAX))
}

/// Starts it with its files in `dir`.
///
/// # Errors
/// If it isn't installed, or does not start.
pub fn broker(dir: &Path) -> Result<Broker, Failure> {
    broker_at(dir, free_port()?, 1)
}

/// The same at a port of the caller's, on so many addresses: 127.0.0.1, 127.0.0.2 and so on. Each has ports of its own for
/// those who connect, and a queue of its own of those who are let in.
///
/// # Errors
/// If it isn't installed, or does not start.
pub fn broker_at(dir: &Path, port: u16, addresses: u8) -> Result<Broker, Failure> {
    let program = Broker::program().ok_or("mosquitto is not installed: `apt-get install mosquitto`")?;
    open_files()?;
    let mut settings = SETTINGS.to_owned();
    for last in 2..=addresses {
        writeln!(settings, "listener {port} 127.0.0.{last}")?;
    }
    Ok(Broker::start_with(program, &dir.join("broker"), port, MESSAGE_BYTES_MAX, &settings)?)
}
