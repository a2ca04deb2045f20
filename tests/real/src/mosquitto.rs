//! A mosquitto of one's own: its folder, its port, its life.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// How long it may take to say that it runs. It takes a few milliseconds, on a machine with time for it.
const READY: Duration = Duration::from_secs(60);
/// How many ports are tried. Another process may take one between our look and mosquitto's.
const PORTS: u32 = 20;

/// A mosquitto with a folder and a port of its own. It is killed when this is dropped.
pub struct Mosquitto {
    program: PathBuf,
    dir: TempDir,
    extra: String,
    port: u16,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Mosquitto {
    /// Starts one that lets everybody in, on 127.0.0.1. `None` if it isn't installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(|_, port| format!("listener {port} 127.0.0.1\nallow_anonymous true\n"))
    }

    /// Starts one with the configuration that `config` makes of its folder and port; it has to hold a
    /// `listener` for that port. Where things are kept is added.
    ///
    /// # Panics
    /// If it is installed and doesn't start.
    #[must_use]
    pub fn start_with(config: impl Fn(&Path, u16) -> String) -> Option<Self> {
        let program = super::program("mosquitto")?;
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for mosquitto: {e}"));
        let mut broker =
            Self { program, dir, extra: String::new(), port: 0, child: None, log: Arc::default() };
        for _ in 0..PORTS {
            broker.port = free_port();
            broker.extra = config(broker.dir.path(), broker.port);
            if broker.run() {
                return Some(broker);
            }
        }
        panic!("mosquitto doesn't start; it says:\n{}", broker.log());
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All it said.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it as a power cut would: no goodbye, nothing written.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, and that is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on the same port and with what it kept.
    ///
    /// # Panics
    /// If it doesn't start.
    pub fn restart(&mut self) {
        self.kill();
        // Its old port may be taken by an outgoing connection of somebody for a moment.
        assert!((0..PORTS).any(|_| self.run()), "mosquitto doesn't start again; it says:\n{}", self.log());
    }

    /// Stops it from doing anything, with its connections left open, or lets it go on.
    ///
    /// # Panics
    /// If there is no `kill` command.
    pub fn freeze(&self, freeze: bool) {
        let Some(child) = &self.child else { return };
        let signal = if freeze { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal} failed");
    }

    /// Whether it came up.
    fn run(&mut self) -> bool {
        let dir = self.dir.path().display().to_string();
        let mut config = self.extra.clone();
        // As root it would give up its rights, and then couldn't write into our folder.
        let _ = write!(
            config,
            "\nuser root\npersistence true\npersistence_location {dir}/\nautosave_on_changes true\n\
             autosave_interval 1\nlog_dest stderr\nlog_type all\n"
        );
        let file = self.dir.path().join("mosquitto.conf");
        fs::write(&file, config).unwrap_or_else(|e| panic!("cannot write mosquitto's configuration: {e}"));
        let mut child = Command::new(&self.program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.display()));
        let (ready, is_ready) = mpsc::channel();
        if let Some(says) = child.stderr.take() {
            let log = Arc::clone(&self.log);
            thread::spawn(move || {
                for line in BufReader::new(says).lines().map_while(Result::ok) {
                    if line.contains("mosquitto version") && line.ends_with("running") {
                        let _ = ready.send(());
                    }
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = writeln!(log, "{line}");
                }
            });
        }
        self.child = Some(child);
        let came_up =
            is_ready.recv_timeout(READY).is_ok() && TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        if !came_up {
            self.kill();
        }
        came_up
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|e| panic!("no free port on 127.0.0.1: {e}"))
        .port()
}
