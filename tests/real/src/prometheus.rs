//! A Prometheus of one's own, and the program that it looks at: both on free ports, both ended when dropped.
//!
//! Not here: what is asked of them (`tests/prometheus.rs`).

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long it may take to say that it is ready. It takes a second or two, on a machine with time for it.
const READY: Duration = Duration::from_secs(60);
/// How many ports are tried. Another process may take one between our look and Prometheus'.
const PORTS: u32 = 20;

/// A Prometheus that looks at one exporter each second. It is killed when this is dropped.
pub struct RealPrometheus {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RealPrometheus {
    /// Starts one. `None` if it isn't installed.
    ///
    /// # Panics
    /// If it is installed and doesn't start.
    #[must_use]
    pub fn start(exporter: &Exporter) -> Option<Self> {
        let program = super::program("prometheus")?;
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for prometheus: {e}"));
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n- job_name: shop\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            exporter.port()
        );
        fs::write(dir.path().join("prometheus.yml"), config)
            .unwrap_or_else(|e| panic!("cannot write prometheus' configuration: {e}"));
        let mut prometheus = Self { program, dir, port: 0, child: None };
        for _ in 0..PORTS {
            prometheus.port = free_port();
            if prometheus.run() {
                return Some(prometheus);
            }
        }
        panic!("prometheus doesn't start; it says:\n{}", prometheus.log());
    }

    /// `http://127.0.0.1:...`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All it said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, and that is as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it came up.
    fn run(&mut self) -> bool {
        let file = |name: &str| self.dir.path().join(name);
        let log = File::create(file("log")).unwrap_or_else(|e| panic!("no log for prometheus: {e}"));
        let child = Command::new(&self.program)
            .arg(format!("--config.file={}", file("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", file("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", self.program.display()));
        self.child = Some(child);
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if self.log().contains("Server is ready to receive web requests") {
                return TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            }
            let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            if ended {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        false
    }
}

impl Drop for RealPrometheus {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program with numbers, which says them to whoever asks for `/metrics`.
pub struct Exporter {
    port: u16,
    says: Arc<Mutex<String>>,
    gone: Arc<AtomicBool>,
}

impl Exporter {
    /// Starts one that says nothing yet.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port on 127.0.0.1: {e}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let exporter = Self { port, says: Arc::default(), gone: Arc::default() };
        let (says, gone) = (Arc::clone(&exporter.says), Arc::clone(&exporter.gone));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                let said = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A Prometheus that went away is no trouble of the exporter's.
                let _ = answer(stream, &said);
            }
        });
        exporter
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it says from now on, in Prometheus' text format.
    pub fn says(&self, text: impl Into<String>) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// Ends it.
    pub fn stop(&self) {
        self.gone.store(true, Ordering::SeqCst);
        // Lets it see that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop();
    }
}

fn answer(mut stream: TcpStream, said: &str) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        line.clear();
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n{said}",
        said.len()
    )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|e| panic!("no free port on 127.0.0.1: {e}"))
        .port()
}
