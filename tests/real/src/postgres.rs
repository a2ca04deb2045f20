//! A PostgreSQL of one's own: its folder, its socket, its life, and connections to it.
//!
//! It listens on a socket in its folder and on no port. It refuses to run as root, so a test that runs as root starts it as the
//! user `postgres`, or `nobody`. Not here: any table.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// How long it may take to say that it runs. It takes a second or two, on a machine with time for it.
const READY: Duration = Duration::from_secs(120);
/// Where Debian keeps its programs, by version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Whom it can run as where the test is root.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A PostgreSQL with a folder of its own. It is stopped when this is dropped.
pub struct Postgres {
    dir: TempDir,
    psql: PathBuf,
    child: Child,
}

/// One connection under a name of its own: a `psql` that is given one statement after the other.
pub struct Session {
    child: Child,
    asks: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl Postgres {
    /// Starts one. `None` after it was said why the test is skipped.
    ///
    /// # Panics
    /// If it is installed and doesn't start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let psql = super::program("psql")?;
        let Some(programs) = programs() else {
            println!("skipped, because PostgreSQL's server is not installed below {PROGRAMS}");
            return None;
        };
        let user = match user() {
            Ok(user) => user,
            Err(why) => {
                println!("skipped, because {why}");
                return None;
            }
        };
        let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no folder for PostgreSQL: {e}"));
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid))
                .unwrap_or_else(|e| panic!("cannot give a folder away: {e}"));
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(dir.path()).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let initdb = command("initdb")
            .args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
            .output()
            .unwrap_or_else(|e| panic!("cannot start initdb: {e}"));
        assert!(initdb.status.success(), "initdb fails: {}", String::from_utf8_lossy(&initdb.stderr));
        let mut child = command("postgres")
            .args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start PostgreSQL: {e}"));
        let (ready, is_ready) = mpsc::channel();
        if let Some(says) = child.stderr.take() {
            // Read to its end, or it would wait for us.
            thread::spawn(move || {
                for line in BufReader::new(says).lines().map_while(Result::ok) {
                    if line.contains("ready to accept connections") {
                        let _ = ready.send(());
                    }
                }
            });
        }
        let postgres = Self { dir, psql, child };
        assert!(is_ready.recv_timeout(READY).is_ok(), "PostgreSQL doesn't start");
        Some(postgres)
    }

    /// Its folder. Files for `psql` can be put there.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The command line that runs the statements in `file` and prints bare rows.
    #[must_use]
    pub fn argv(&self, file: &Path) -> Vec<String> {
        let mut argv = vec![self.psql.display().to_string()];
        argv.extend(self.args());
        argv.extend(["-f".into(), file.display().to_string()]);
        argv
    }

    fn args(&self) -> Vec<String> {
        let socket = self.dir.path().display().to_string();
        let own = ["-h", &socket, "-U", "postgres", "-d", "postgres"];
        // Terse, an error is one line.
        let args = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"].into_iter().chain(own);
        args.map(String::from).collect()
    }

    /// What a statement comes to.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn asks(&self, sql: &str) -> String {
        self.tries(sql).unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    /// The same.
    ///
    /// # Errors
    /// What PostgreSQL says of a statement that fails.
    pub fn tries(&self, sql: &str) -> Result<String, String> {
        let done = Command::new(&self.psql).args(self.args()).args(["-c", sql]).env_clear().output();
        let done = done.map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }

    /// Connects as `application`.
    ///
    /// # Panics
    /// If there is no connection.
    #[must_use]
    pub fn connect(&self, application: &str) -> Session {
        let mut child = Command::new(&self.psql)
            .args(self.args())
            .env_clear()
            .env("PGAPPNAME", application)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start psql: {e}"));
        let (asks, says) = (child.stdin.take(), child.stdout.take());
        let says = BufReader::new(says.unwrap_or_else(|| panic!("psql has no output")));
        let mut session = Session { child, asks, says };
        // Only an answer shows that the connection is there.
        assert_eq!(session.asks("SELECT 1;"), "1");
        session
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate stop: it leaves no shared memory behind, which a kill would.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Session {
    /// What a statement comes to, its lines joined.
    ///
    /// # Panics
    /// If it fails.
    pub fn asks(&mut self, sql: &str) -> String {
        const END: &str = "that was it";
        let asks = self.asks.as_mut().unwrap_or_else(|| panic!("the session is over"));
        writeln!(asks, "{sql}\n\\echo {END}").unwrap_or_else(|e| panic!("{sql}: {e}"));
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.says.read_line(&mut line).unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert_ne!(read, 0, "the statement failed: {sql}");
            if line.trim_end() == END {
                return lines.join("\n");
            }
            lines.push(line.trim_end().to_owned());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of its input is the end of psql. What then waits for it knows that the connection is gone.
        self.asks = None;
        let _ = self.child.wait();
    }
}

/// The newest version that is installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).ok()?.filter_map(Result::ok);
    let of = |path: PathBuf| Some((path.file_name()?.to_str()?.parse::<u32>().ok()?, path.join("bin")));
    let mut found: Vec<_> = versions.filter_map(|version| of(version.path())).collect();
    found.sort();
    found.pop().map(|(_, programs)| programs).filter(|programs| programs.join("initdb").is_file())
}

/// Whom it has to run as, by the numbers of user and group; `None`: as whoever runs the test.
fn user() -> Result<Option<(u32, u32)>, String> {
    use std::os::unix::fs::MetadataExt as _;
    // The owner of a process's own folder is its effective user.
    let me = fs::metadata("/proc/self").map_err(|e| format!("nobody can tell who runs this: {e}"))?.uid();
    if me != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let numbers = |name: &str| {
        let mut fields = users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':');
        Some((fields.nth(2)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = USERS.into_iter().find_map(numbers);
    found.map(Some).ok_or_else(|| "PostgreSQL doesn't run as root, and there is no other user".into())
}
