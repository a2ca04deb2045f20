//! The broker: mosquitto, if this machine has it.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{Process, Trouble, trouble};

/// How long a broker may take until it listens.
const PATIENCE: Duration = Duration::from_secs(15);

/// A mosquitto of our own on the loopback.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    dir: PathBuf,
    /// Where it listens.
    pub port: u16,
    process: Option<Process>,
}

impl Broker {
    /// Where mosquitto is, if it is installed.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        dirs.map(|dir| dir.join("mosquitto")).find(|program| program.is_file())
    }

    /// Starts one that keeps its files in `dir`.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn start(program: PathBuf, dir: &Path, port: u16, message_bytes_max: u32) -> Result<Self, Trouble> {
        Self::start_with(program, dir, port, message_bytes_max, "")
    }

    /// The same, with more lines for its configuration.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn start_with(
        program: PathBuf,
        dir: &Path,
        port: u16,
        message_bytes_max: u32,
        more: &str,
    ) -> Result<Self, Trouble> {
        fs::create_dir_all(dir).map_err(trouble("cannot make the broker's folder"))?;
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmessage_size_limit {message_bytes_max}\nuser {}\n\
             {more}",
            if rustix::process::geteuid().is_root() { "root" } else { "mosquitto" }
        );
        fs::write(dir.join("mosquitto.conf"), config)
            .map_err(trouble("cannot write the broker's settings"))?;
        let mut broker = Self { program, dir: dir.into(), port, process: None };
        broker.resume()?;
        Ok(broker)
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills it: nothing that it kept in memory is left.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it again at the same place.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn resume(&mut self) -> Result<(), Trouble> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.dir.join("mosquitto.conf"));
        self.process = Some(Process::start(command, &self.dir.join("log"))?);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > until {
                return Err(Trouble(format!(
                    "mosquitto does not listen: see {}",
                    self.dir.join("log").display()
                )));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }
}
