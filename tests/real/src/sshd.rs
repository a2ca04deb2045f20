//! An OpenSSH server of one's own: its folder, its port, its keys, its life.
//!
//! Here: starting it as whoever runs the test, for whom it lets one key in. Not here: what is said to it.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long it may take to take a connection. It takes some 20 ms, on a machine with time for it.
const READY: Duration = Duration::from_secs(60);
/// How often it is looked at in the meantime.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How many ports are tried. Another process may take one between our look and sshd's.
const PORTS: u32 = 20;
/// Where sshd insists on having an empty folder, if root starts it. Debian's unit makes it, too.
const EMPTY: &str = "/run/sshd";

/// An sshd with a folder and a port of its own. It is killed when this is dropped; connections that it took live on until
/// they end.
pub struct Sshd {
    dir: TempDir,
    port: u16,
    user: String,
    child: Child,
}

impl Sshd {
    /// Starts one on 127.0.0.1, for the user that runs the test. `None` after it was said why the test is skipped.
    ///
    /// # Panics
    /// If it is installed and doesn't start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let (sshd, keygen) = (super::program("sshd")?, super::program("ssh-keygen")?);
        super::program("ssh")?;
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for sshd: {e}"));
        let user = said(Command::new("id").arg("-un"));
        for key in ["host", "key", "other-host", "other-key"] {
            let made = Command::new(&keygen)
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
                .arg(dir.path().join(key))
                .status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes no key");
        }
        // With all that an account may be kept from: a command needs none of it.
        let key = fs::read_to_string(dir.path().join("key.pub")).unwrap_or_default();
        fs::write(dir.path().join("authorized_keys"), format!("restrict {key}"))
            .unwrap_or_else(|e| panic!("cannot write sshd's files: {e}"));
        if fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            // It may be there, and if not, sshd says so.
            let _ = fs::DirBuilder::new().mode(0o755).create(EMPTY);
        }
        for _ in 0..PORTS {
            let port = free_port();
            if let Some(child) = run(&sshd, dir.path(), port) {
                let sshd = Self { dir, port, user, child };
                sshd.trust("known_hosts", "host.pub");
                sshd.trust("wrong_hosts", "other-host.pub");
                return Some(sshd);
            }
        }
        let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("sshd doesn't start; it says:\n{log}");
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The account that it lets in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A file of its folder: `key` (which it lets in), `other-key` (which it doesn't), `known_hosts` (its own key),
    /// `wrong_hosts` (another's), `log`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All it said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    fn trust(&self, file: &str, key: &str) {
        let key = fs::read_to_string(self.file(key)).unwrap_or_default();
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        fs::write(self.file(file), line).unwrap_or_else(|e| panic!("cannot write {file}: {e}"));
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // It may have ended by itself, and that is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None`: it ended before it took a connection.
fn run(program: &Path, dir: &Path, port: u16) -> Option<Child> {
    let here = dir.display();
    // Its folder is in one that everybody may write to, which strict modes would not have. SetEnv and the like are left
    // as they are: refused.
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {here}/host\nPidFile none\nStrictModes no\nUsePAM no\n\
         AuthorizedKeysFile {here}/authorized_keys\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nLogLevel VERBOSE\n"
    );
    let file = dir.join("sshd_config");
    fs::write(&file, config).unwrap_or_else(|e| panic!("cannot write sshd's configuration: {e}"));
    let mut child = Command::new(program)
        .arg("-D")
        .arg("-f")
        .arg(&file)
        .arg("-E")
        .arg(dir.join("log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", program.display()));
    let begun = Instant::now();
    while begun.elapsed() < READY && child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        thread::sleep(LOOK_AGAIN);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn said(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|e| panic!("no free port on 127.0.0.1: {e}"))
        .port()
}
