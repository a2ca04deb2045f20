//! The broker that every measurement over MQTT goes through: a mosquitto of its own on the loopback.

use std::path::Path;

use backstay_test_fleet::{Broker, free_port};

use crate::Failure;

/// Files that a process may have open: two thousand subscribers of each kind, and room.
const FILES: u64 = 16_384;
/// Nothing is dropped for a slow reader, and answers go out at once: what is compared is how fast is read, not who loses
/// what.
const SETTINGS: &str = "max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n";

/// Starts it with its files in `dir`.
///
/// # Errors
/// If it isn't installed, or does not start.
pub fn broker(dir: &Path) -> Result<Broker, Failure> {
    let program = Broker::program().ok_or("mosquitto is not installed: `apt-get install mosquitto`")?;
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = Some(files.maximum.map_or(FILES, |most| most.min(FILES)));
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files)?;
    let port = free_port()?;
    Ok(Broker::start_with(program, &dir.join("broker"), port, 256 * 1024, SETTINGS)?)
}
