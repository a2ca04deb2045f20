//! An HAProxy of one's own: its folder, its ports, its life, and small web servers behind it.
//!
//! Here: starting it, with a page that may change servers and a runtime socket, and servers that a command can restart,
//! because they serve for as long as a file of theirs is there. Not here: who asks it for what.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long it may take to answer. It takes a few milliseconds, on a machine with time for it.
const READY: Duration = Duration::from_secs(60);
/// How often ports are chosen. Another process may take one between our look and HAProxy's.
const PORTS: u32 = 20;
/// How often a web server looks whether it is to serve.
const GLANCE: Duration = Duration::from_millis(2);
/// How long a web server works on a request: long enough that some are always under way.
const WORK: Duration = Duration::from_millis(20);
/// How long anybody waits for anybody on a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// An HAProxy on 127.0.0.1 with web servers behind it, in the backend `web`. It is killed when this is dropped.
pub struct HaProxy {
    dir: TempDir,
    traffic: u16,
    page: u16,
    child: Child,
    sites: Vec<Site>,
}

impl HaProxy {
    /// Starts one, with a web server for each of `names`. `None` after it was said why the test is skipped.
    ///
    /// A request is never tried a second time, so that each one that a server loses is seen.
    ///
    /// # Panics
    /// If it is installed and doesn't start.
    #[must_use]
    pub fn start(names: &[&'static str]) -> Option<Self> {
        let program = super::program("haproxy")?;
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for haproxy: {e}"));
        let sites: Vec<_> = names.iter().map(|name| Site::start(dir.path(), name)).collect();
        let (traffic, page, child) =
            (0..PORTS).find_map(|_| run(&program, dir.path(), &sites)).unwrap_or_else(|| {
                panic!("haproxy doesn't start: what does `haproxy -c -f` say of the configuration?")
            });
        let haproxy = Self { dir, traffic, page, child, sites };
        // Before its first check a server counts as up, and as not checked.
        let up = |name: &&str| haproxy.field(name, 36).ends_with("L7OK");
        let begun = Instant::now();
        while !names.iter().all(up) {
            assert!(begun.elapsed() < READY, "haproxy doesn't see its servers: {}", haproxy.table());
            thread::sleep(Duration::from_millis(20));
        }
        Some(haproxy)
    }

    /// Where its page is.
    #[must_use]
    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/lb", self.page)
    }

    /// Its runtime socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The web server of this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn site(&self, name: &str) -> &Site {
        self.sites.iter().find(|site| site.name == name).unwrap_or_else(|| panic!("no server {name}"))
    }

    /// Says something to the runtime socket, and what it answers.
    #[must_use]
    pub fn says(&self, command: &str) -> String {
        let asked = || -> io::Result<String> {
            let mut socket = UnixStream::connect(self.socket())?;
            writeln!(socket, "{command}")?;
            let mut said = String::new();
            socket.read_to_string(&mut said)?;
            Ok(said)
        };
        asked().unwrap_or_default()
    }

    /// The status and the weight of a server, as its own table has them.
    #[must_use]
    pub fn status(&self, name: &str) -> (String, u32) {
        (self.field(name, 17), self.field(name, 18).parse().unwrap_or_default())
    }

    fn field(&self, name: &str, at: usize) -> String {
        let table = self.table();
        let line = table.lines().find(|line| line.starts_with(&format!("web,{name},"))).unwrap_or_default();
        line.split(',').nth(at).unwrap_or_default().to_owned()
    }

    /// Whether the status of a server begins so.
    #[must_use]
    pub fn shows(&self, name: &str, status: &str) -> bool {
        self.status(name).0.starts_with(status)
    }

    fn table(&self) -> String {
        self.says("show stat")
    }

    /// Begins to send requests, from so many clients at once.
    #[must_use]
    pub fn visitors(&self, clients: usize) -> Visitors {
        let stop = Arc::new(AtomicBool::new(false));
        let port = self.traffic;
        let visit = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    match get(port, "/") {
                        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => seen.served += 1,
                        Ok(answer) => {
                            seen.failed.push(answer.lines().next().unwrap_or("an empty answer").to_owned());
                        }
                        Err(error) => seen.failed.push(error.to_string()),
                    }
                }
                seen
            })
        };
        Visitors { threads: (0..clients).map(visit).collect(), stop }
    }
}

/// Its ports for visitors and for the page, and its process, once it answers on its socket. `None`: it has ended.
fn run(program: &Path, dir: &Path, sites: &[Site]) -> Option<(u16, u16, Child)> {
    let (traffic, page, dir) = (free_port(), free_port(), dir.display());
    let mut config = format!(
        "global\n  stats socket {dir}/socket mode 600 level admin\n\
         defaults\n  mode http\n  retries 0\n  timeout connect 10s\n  timeout client 20s\n  timeout server 20s\n\
         frontend page\n  bind 127.0.0.1:{page}\n  stats enable\n  stats uri /lb\n  stats admin if TRUE\n\
         frontend traffic\n  bind 127.0.0.1:{traffic}\n  default_backend web\n\
         backend web\n  option httpchk GET /health\n  default-server check inter 100ms fall 2 rise 2 weight 100\n"
    );
    for site in sites {
        let _ = writeln!(config, "  server {} 127.0.0.1:{}", site.name, site.port);
    }
    let file = format!("{dir}/haproxy.cfg");
    fs::write(&file, config).unwrap_or_else(|e| panic!("cannot write haproxy's configuration: {e}"));
    let mut haproxy = Command::new(program);
    haproxy.args(["-q", "-db", "-f", &file]);
    haproxy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = haproxy.spawn().unwrap_or_else(|e| panic!("cannot start haproxy: {e}"));
    let begun = Instant::now();
    while UnixStream::connect(format!("{dir}/socket")).is_err()
        || TcpStream::connect(("127.0.0.1", page)).is_err()
    {
        if !matches!(child.try_wait(), Ok(None)) {
            return None;
        }
        assert!(begun.elapsed() < READY, "haproxy doesn't answer");
        thread::sleep(Duration::from_millis(20));
    }
    Some((traffic, page, child))
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself, and that is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of requests.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answered with status 200.
    pub served: usize,
    /// Anything else, in words.
    pub failed: Vec<String>,
}

/// Clients that ask without a pause.
#[derive(Debug)]
pub struct Visitors {
    threads: Vec<JoinHandle<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Visitors {
    /// Sends them home, and says what they saw.
    ///
    /// # Panics
    /// If one of them has panicked.
    #[must_use]
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().unwrap_or_else(|_| panic!("a visitor has panicked"));
            all.served += seen.served;
            all.failed.extend(seen.failed);
        }
        all
    }
}

/// A web server that serves for as long as its file is there, and answers well unless its other file is.
pub struct Site {
    name: &'static str,
    port: u16,
    serves: PathBuf,
    sick: PathBuf,
    served: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    fn start(dir: &Path, name: &'static str) -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no port for the server {name}: {e}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let (serves, sick) = (dir.join(format!("{name}.serves")), dir.join(format!("{name}.sick")));
        fs::write(&serves, "").unwrap_or_else(|e| panic!("cannot write {}: {e}", serves.display()));
        let (served, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (serves, sick) = (serves.clone(), sick.clone());
            let (served, stop) = (Arc::clone(&served), Arc::clone(&stop));
            thread::spawn(move || serve(listener, port, &serves, &sick, &served, &stop))
        };
        Self { name, port, serves, sick, served, stop, thread: Some(thread) }
    }

    /// The file that makes it serve: whoever takes it away and puts it back has restarted it.
    #[must_use]
    pub fn serves(&self) -> &Path {
        &self.serves
    }

    /// The file that makes it answer 503.
    #[must_use]
    pub fn sick(&self) -> &Path {
        &self.sick
    }

    /// How many requests of visitors it answered.
    #[must_use]
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has panicked; the test has failed by now.
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: TcpListener,
    port: u16,
    serves: &Path,
    sick: &Path,
    served: &Arc<AtomicUsize>,
    stop: &AtomicBool,
) {
    let mut open = Some(listener);
    while !stop.load(Ordering::Relaxed) {
        match (&open, serves.exists()) {
            (Some(_), false) => open = None,
            // Somebody else may have the port for a moment.
            (None, true) => open = TcpListener::bind(("127.0.0.1", port)).ok(),
            (Some(_), true) | (None, false) => {}
        }
        if let Some(listener) = &open
            && listener.set_nonblocking(true).is_ok()
            && let Ok((client, _)) = listener.accept()
        {
            let (sick, served) = (sick.to_owned(), Arc::clone(served));
            // A client that went away is its own loss.
            thread::spawn(move || answer(client, &sick, &served).ok());
            continue;
        }
        thread::sleep(GLANCE);
    }
}

fn answer(mut client: TcpStream, sick: &Path, served: &AtomicUsize) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut asked = Vec::new();
    let mut chunk = [0; 1024];
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            read => asked.extend(chunk.iter().take(read)),
        }
    }
    if !asked.starts_with(b"GET /health ") {
        thread::sleep(WORK);
        served.fetch_add(1, Ordering::Relaxed);
    }
    let status = if sick.exists() { "503 Service Unavailable" } else { "200 OK" };
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn get(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|e| panic!("no free port on 127.0.0.1: {e}"))
        .port()
}
