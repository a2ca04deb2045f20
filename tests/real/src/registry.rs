//! A registry of one's own: the CNCF's, with its folder, its port, its life.
//!
//! Here: starting it as `cargo xtask test` put it in place, and where it keeps a blob. Not here: what is said to it.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// How long it may take to say where it listens. It takes some 50 ms, on a machine with time for it.
const READY: Duration = Duration::from_secs(60);
/// Says in its log where it listens; the port is the system's choice.
const LISTENING: &str = "listening on 127.0.0.1:";
/// "ann" with the password "secret": bcrypt, at its lowest cost.
const USERS: &str = "ann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// Whom it lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Everybody.
    All,
    /// "ann", by her password "secret".
    Ann,
}

/// A registry with a folder and a port of its own. It is killed when this is dropped.
pub struct Registry {
    dir: TempDir,
    port: u16,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Registry {
    /// Starts one on 127.0.0.1; with a certificate and its key it speaks TLS. `None` after it was said why the test is
    /// skipped.
    ///
    /// # Panics
    /// If it is there and doesn't start.
    #[must_use]
    pub fn start(guests: Guests, tls: Option<(&Path, &Path)>) -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for a registry: {e}"));
        let here = dir.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {here}/store\n\
             http:\n  addr: 127.0.0.1:0\n"
        );
        if let Some((certificate, key)) = tls {
            let (certificate, key) = (certificate.display(), key.display());
            let _ = write!(config, "  tls:\n    certificate: {certificate}\n    key: {key}\n");
        }
        if guests == Guests::Ann {
            let _ = write!(config, "auth:\n  htpasswd:\n    realm: here\n    path: {here}/users\n");
        }
        let (file, users) = (dir.path().join("registry.yml"), dir.path().join("users"));
        let written = fs::write(&file, config).and_then(|()| fs::write(users, USERS));
        written.unwrap_or_else(|e| panic!("cannot write a registry's configuration: {e}"));
        let mut child = Command::new(&program)
            .arg("serve")
            .arg(&file)
            // It would look for somebody to send traces to.
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
        let (ready, is_ready) = mpsc::channel();
        let log = Arc::<Mutex<String>>::default();
        // Requests are told on one, everything else on the other.
        keep(child.stdout.take(), &log, ready.clone());
        keep(child.stderr.take(), &log, ready);
        let mut registry = Self { dir, port: 0, child, log };
        registry.port = is_ready
            .recv_timeout(READY)
            .unwrap_or_else(|_| panic!("the registry doesn't start; it says:\n{}", registry.log()));
        Some(registry)
    }

    /// Where it is, as a reference begins.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All it said: also a line for each request.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file in which it keeps a blob.
    #[must_use]
    pub fn blob(&self, digest: &str) -> PathBuf {
        let folder = self.dir.path().join("store/docker/registry/v2/blobs/sha256");
        folder.join(digest.get(..2).unwrap_or_default()).join(digest).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself, and that is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Below the target folder, where `cargo xtask test` puts it.
fn program() -> Option<PathBuf> {
    if let Some(why) = std::env::var_os("BACKSTAY_REGISTRY_MISSING") {
        println!("skipped, because {}", why.display());
        return None;
    }
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/toolchains");
    let folder = std::env::var_os("BACKSTAY_TOOLCHAINS").map_or_else(usual, PathBuf::from);
    let program = folder.join("go/registry");
    if program.is_file() {
        return Some(program);
    }
    println!("skipped, because there is no registry: cargo xtask test builds one, by Go's toolchain");
    None
}

fn keep(says: Option<impl Read + Send + 'static>, log: &Arc<Mutex<String>>, ready: mpsc::Sender<u16>) {
    let Some(says) = says else { return };
    let log = Arc::clone(log);
    thread::spawn(move || {
        for line in BufReader::new(says).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once(LISTENING) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                // Nobody waits any more if it came too late.
                let _ = digits.parse().map(|port| ready.send(port));
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(log, "{line}");
        }
    });
}
