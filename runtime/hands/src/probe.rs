//! Looking at the supervised program, and at what it depends on.
//!
//! *Failed* is data: the program was asked and gave no sign of life. *Not run* is the lack of data: the asking
//! itself was not possible. Whatever isn't known to be the former is the latter, for only the former can send a
//! device home. Not here: windows, and what follows from them (`core`).

use std::{
    fmt, fs, io, io::Read as _, ops::RangeInclusive, os::unix::fs::MetadataExt as _, path::PathBuf,
    time::Duration,
};

use backstay_model::{Millis, Name, Reading, Scope};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use ureq::Agent;

use crate::{
    beside,
    command::{Command, CommandError, Ran},
    http::{Roots, client},
    output::bounded,
    task::Bound,
};

/// The most of an answer that is read: what it says is not looked at, only that it comes.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// Samples that wait to be taken. Then the probes wait, too.
const WAITING_MAX: usize = 64;
/// The most probes.
const PROBES_MAX: usize = 64;
/// The longest interval or time.
const SPAN_MAX: Millis = Millis::from_secs(24 * 3600);

/// One thing that is looked at, again and again.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its name in the configuration.
    pub name: Name,
    /// Whose fault its failure can be.
    pub scope: Scope,
    /// From one look to the next, 1 ms to a day.
    pub interval: Millis,
    /// How long an answer may take, at most as long as the interval. For a file's age, it has no meaning.
    pub timeout: Millis,
    /// What is looked at.
    pub kind: ProbeKind,
}

/// What can be looked at.
#[derive(Clone, Debug)]
pub enum ProbeKind {
    /// An HTTP server answers as it should.
    Http(HttpProbe),
    /// Something takes connections at `host:port`.
    Tcp(String),
    /// A command ends with code 0. Its own time doesn't count, the probe's does.
    Command(Command),
    /// A file is touched every now and then.
    FileAge(FileAge),
}

/// A GET whose redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// `http://127.0.0.1:8080/health`.
    pub url: String,
    /// What is healthy: `200..=299`.
    pub status: RangeInclusive<u16>,
}

/// A file that lives while somebody changes it.
///
/// Its age is how long we have seen no change, on a clock of our own: a machine that learns the time after it
/// started would else find every file years old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAge {
    /// Which file.
    pub path: PathBuf,
    /// The longest that it may be left alone, or not be there at all.
    pub max: Millis,
}

/// A probe that can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeError {
    /// There are more than 64.
    TooMany {
        /// How many.
        probes: usize,
    },
    /// A time is 0 or more than a day, or an answer may take longer than the interval.
    Span {
        /// Of which probe.
        probe: Name,
    },
    /// An address can't be asked.
    Address {
        /// Of which probe.
        probe: Name,
        /// Why not.
        why: &'static str,
    },
    /// A command can't be run.
    Command {
        /// Of which probe.
        probe: Name,
        /// Why not.
        source: CommandError,
    },
}

impl ProbeError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::TooMany { .. } => Some("let one command look at several things"),
            Self::Span { .. } => Some("give an interval from 1 ms to a day, and a timeout that is no longer"),
            Self::Address { .. } => Some("give http://host:port/path, or host:port for tcp"),
            Self::Command { source, .. } => source.help(),
        }
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany { probes } => write!(f, "{probes} probes are more than {PROBES_MAX}"),
            Self::Span { probe } => write!(f, "probe {probe} has an interval or timeout out of bounds"),
            Self::Address { probe, why } => write!(f, "the address of probe {probe} can't be asked: {why}"),
            Self::Command { probe, .. } => write!(f, "the command of probe {probe} can't be run"),
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Command { source, .. } => Some(source),
            Self::TooMany { .. } | Self::Span { .. } | Self::Address { .. } => None,
        }
    }
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of which probe.
    pub probe: Name,
    /// Its scope.
    pub scope: Scope,
    /// What it says.
    pub reading: Reading,
    /// How long it took.
    pub took: Millis,
    /// For people: what was wrong. At most 256 bytes; empty where nothing was.
    pub why: String,
}

/// Probes at work. Dropped, they stop, and so does whatever they were running.
#[derive(Debug)]
pub struct Probes {
    samples: mpsc::Receiver<Sample>,
    _tasks: Vec<Bound>,
}

impl Probes {
    /// Starts looking. Must be called on a tokio runtime; the first looks are spread over the probes' intervals.
    ///
    /// # Errors
    /// Says which probe can't be used, and why. Then none is started.
    pub fn start(probes: Vec<Probe>, roots: &Roots) -> Result<Self, ProbeError> {
        let count = probes.len() as u64;
        let looks = looks(probes, roots)?;
        let (to, samples) = mpsc::channel(WAITING_MAX);
        let mut tasks = Vec::new();
        for (place, look) in (0..).zip(looks) {
            let wait = Duration::from_millis(look.probe.interval.0 * place / count);
            tasks.push(Bound::spawn(look.again_and_again(Instant::now() + wait, to.clone())));
        }
        Ok(Self { samples, _tasks: tasks })
    }

    /// Whether these could be started.
    ///
    /// # Errors
    /// Says which probe can't be used, and why.
    pub fn check(probes: Vec<Probe>, roots: &Roots) -> Result<(), ProbeError> {
        looks(probes, roots).map(drop)
    }

    /// The next sample. Without probes there is none, ever. Nothing is lost if the wait is dropped.
    pub async fn next(&mut self) -> Sample {
        match self.samples.recv().await {
            Some(sample) => sample,
            None => std::future::pending().await,
        }
    }
}

fn looks(probes: Vec<Probe>, roots: &Roots) -> Result<Vec<Look>, ProbeError> {
    if probes.len() > PROBES_MAX {
        return Err(ProbeError::TooMany { probes: probes.len() });
    }
    probes.into_iter().map(|probe| Look::new(probe, roots)).collect()
}

/// One probe with what it remembers from look to look.
struct Look {
    probe: Probe,
    agent: Option<Agent>,
    file: Option<(Option<Identity>, Instant)>,
}

/// What changes when a file is touched.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

type Judged = (Reading, String);

fn passed() -> Judged {
    (Reading::Passed, String::new())
}

fn failed(why: impl fmt::Display) -> Judged {
    (Reading::Failed, bounded(why.to_string()))
}

fn not_run(why: impl fmt::Display) -> Judged {
    (Reading::NotRun, bounded(why.to_string()))
}

impl Look {
    fn new(mut probe: Probe, roots: &Roots) -> Result<Self, ProbeError> {
        let name = || probe.name.clone();
        let span = Millis(1)..=SPAN_MAX;
        if !span.contains(&probe.interval) || !span.contains(&probe.timeout) || probe.timeout > probe.interval
        {
            return Err(ProbeError::Span { probe: name() });
        }
        let mut agent = None;
        match &mut probe.kind {
            ProbeKind::Http(http) => {
                let accepted = roots.accept(&http.url);
                accepted.map_err(|why| ProbeError::Address { probe: probe.name.clone(), why })?;
                let time = Some(Duration::from_millis(probe.timeout.0));
                agent = Some(client(roots, 0, |config| config.timeout_global(time)));
            }
            ProbeKind::Tcp(address) => {
                let port = address.rsplit_once(':').and_then(|(host, port)| {
                    port.parse::<u16>().ok().filter(|port| *port > 0 && !host.is_empty())
                });
                let why = "it is not host:port";
                port.ok_or_else(|| ProbeError::Address { probe: probe.name.clone(), why })?;
            }
            ProbeKind::Command(command) => {
                command.timeout = probe.timeout.min(Millis::from_secs(3600));
                let checked = command.check();
                checked.map_err(|source| ProbeError::Command { probe: probe.name.clone(), source })?;
            }
            ProbeKind::FileAge(FileAge { max, .. }) if span.contains(max) => {}
            ProbeKind::FileAge(_) => return Err(ProbeError::Span { probe: probe.name.clone() }),
        }
        Ok(Self { probe, agent, file: None })
    }

    async fn again_and_again(mut self, first: Instant, to: mpsc::Sender<Sample>) {
        let mut ticks = interval_at(first, Duration::from_millis(self.probe.interval.0));
        // After a pause there is nothing to catch up with: one look at now is as good as ten.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if to.send(self.look().await).await.is_err() {
                return;
            }
        }
    }

    async fn look(&mut self) -> Sample {
        let began = Instant::now();
        let time = Duration::from_millis(self.probe.timeout.0);
        let (reading, why) = match &self.probe.kind {
            ProbeKind::Http(http) => match self.agent.clone() {
                Some(agent) => look_http(agent, http.clone()).await,
                None => not_run("there is no client"),
            },
            ProbeKind::Tcp(address) => match timeout(time, TcpStream::connect(address)).await {
                Ok(Ok(_)) => passed(),
                Ok(Err(error)) => judge(&error),
                Err(_) => failed("no connection in time"),
            },
            ProbeKind::Command(command) => match command.run(&[]).await {
                Ran::Exited { code: Some(0), .. } => passed(),
                Ran::Exited { code: Some(code), output } => {
                    failed(format_args!("code {code}: {}", String::from_utf8_lossy(&output.bytes).trim()))
                }
                Ran::Exited { code: None, .. } => failed("a signal ended it"),
                Ran::TimedOut => failed("no end in time"),
                Ran::NotRun(error) => not_run(error),
            },
            ProbeKind::FileAge(file) => {
                let identity = fs::metadata(&file.path).map(|about| Identity {
                    inode: about.ino(),
                    length: about.len(),
                    modified: (about.mtime(), about.mtime_nsec()),
                });
                look_at_age(&mut self.file, identity, file.max, began)
            }
        };
        let took = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        Sample { probe: self.probe.name.clone(), scope: self.probe.scope, reading, took, why }
    }
}

/// Whether what came back from a connection says something about the other side. Trouble of our own machine,
/// and all that nobody thought of, says nothing.
fn judge(error: &io::Error) -> Judged {
    let theirs = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::TimedOut,
        io::ErrorKind::InvalidData,
    ];
    if theirs.contains(&error.kind()) { failed(error) } else { not_run(error) }
}

async fn look_http(agent: Agent, probe: HttpProbe) -> Judged {
    let asked = beside(move || {
        let response = match agent.get(&probe.url).call() {
            Ok(response) => response,
            Err(error) => return judge_http(error),
        };
        let status = response.status().as_u16();
        if !probe.status.contains(&status) {
            return failed(format_args!("status {status}"));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        match io::copy(&mut body.take(BODY_BYTES_MAX), &mut io::sink()) {
            Ok(_) => passed(),
            Err(error) => failed(format_args!("the answer broke off: {error}")),
        }
    });
    asked.await.unwrap_or_else(not_run)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what nobody thought of is no data, whatever it is")]
fn judge_http(error: ureq::Error) -> Judged {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Resolve) => not_run("the name was not resolved in time"),
        ureq::Error::Timeout(_) => failed("no answer in time"),
        ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..) => {
            failed(error)
        }
        ureq::Error::Io(error) => judge(&error),
        other => not_run(other),
    }
}

fn look_at_age(
    seen: &mut Option<(Option<Identity>, Instant)>,
    identity: io::Result<Identity>,
    max: Millis,
    now: Instant,
) -> Judged {
    let identity = match identity {
        Ok(identity) => Some(identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return not_run(error),
    };
    let since = match seen {
        Some((before, since)) if *before == identity => *since,
        Some(_) | None => now,
    };
    *seen = Some((identity, since));
    let age = now.saturating_duration_since(since);
    match identity {
        _ if age > Duration::from_millis(max.0) => {
            failed(format_args!("nothing new for {} s", age.as_secs()))
        }
        Some(_) => passed(),
        None => not_run("the file is not there yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::tests::shell,
        server::{Reply, Server},
    };

    fn probe(kind: ProbeKind) -> Probe {
        Probe {
            name: Name::parse("it").unwrap(),
            scope: Scope::Local,
            interval: Millis::from_secs(60),
            timeout: Millis::from_secs(20),
            kind,
        }
    }

    async fn looks(probe: Probe) -> Sample {
        Look::new(probe, &Roots::none()).unwrap().look().await
    }

    fn http(server: &Server) -> ProbeKind {
        ProbeKind::Http(HttpProbe { url: server.url("/health"), status: 200..=299 })
    }

    #[tokio::test]
    async fn an_http_server_is_judged_by_its_answer_alone() {
        let cases = [
            (Reply::ok as fn(&[u8]) -> Reply, Reading::Passed),
            (|_| Reply::with("204 No Content", "X: y", b""), Reading::Passed),
            (|_| Reply::with("200 OK", "X: y", &[7; 1_000_000]), Reading::Passed),
            (|_| Reply::head("500 Oops", "X: y"), Reading::Failed),
            (|_| Reply::head("302 Found", "Location: /health"), Reading::Failed),
            (|_| Reply::raw(b"what?\r\n\r\n".to_vec()), Reading::Failed),
            (|_| Reply::raw(vec![]), Reading::Failed),
            (|_| Reply::with("200 OK", "Content-Length: 10", b"short"), Reading::Failed),
            (|_| Reply::with("200 OK", &format!("X: {}", "y".repeat(100_000)), b""), Reading::Failed),
        ];
        for (case, (reply, reading)) in cases.into_iter().enumerate() {
            let server = Server::start(move |_| reply(b"fine"));
            let sample = looks(probe(http(&server))).await;
            assert_eq!(sample.reading, reading, "case {case}: {}", sample.why);
            assert_eq!(server.heard().len(), 1, "case {case}");
        }
    }

    #[tokio::test]
    async fn silence_is_a_failure_and_a_refused_connection_too() {
        let server = Server::start(|_| Reply::silence());
        let silent = Probe { timeout: Millis(30), ..probe(http(&server)) };
        let sample = looks(silent).await;
        assert_eq!((sample.reading, sample.why.as_str()), (Reading::Failed, "no answer in time"));
        let closed = closed_port();
        let url = format!("http://{closed}/");
        let sample = looks(probe(ProbeKind::Http(HttpProbe { url, status: 200..=200 }))).await;
        assert_eq!(sample.reading, Reading::Failed, "{}", sample.why);
        assert_eq!(looks(probe(ProbeKind::Tcp(closed))).await.reading, Reading::Failed);
        assert_eq!(looks(probe(ProbeKind::Tcp(server.address.to_string()))).await.reading, Reading::Passed);
    }

    /// A port that was ours a moment ago, and is nobody's now.
    fn closed_port() -> String {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_is_no_data() {
        let url = "http://nobody.invalid/".into();
        let sample = looks(probe(ProbeKind::Http(HttpProbe { url, status: 200..=200 }))).await;
        assert_eq!(sample.reading, Reading::NotRun, "{}", sample.why);
        let sample = looks(probe(ProbeKind::Tcp("nobody.invalid:80".into()))).await;
        assert_eq!(sample.reading, Reading::NotRun, "{}", sample.why);
    }

    #[tokio::test]
    async fn a_command_is_judged_by_its_code_and_one_that_is_missing_is_no_data() {
        let ran = |script| looks(probe(ProbeKind::Command(shell(script))));
        assert_eq!(ran("exit 0").await.reading, Reading::Passed);
        let sample = ran("echo too hot; exit 3").await;
        assert_eq!((sample.reading, sample.why.as_str()), (Reading::Failed, "code 3: too hot"));
        assert_eq!(ran("kill -9 $$").await.reading, Reading::Failed);
        let slow = Probe { timeout: Millis(20), ..probe(ProbeKind::Command(shell("sleep 1000"))) };
        assert_eq!(looks(slow).await.reading, Reading::Failed);
        let missing = Command { argv: vec!["/nowhere/to/be/found".into()], ..shell("") };
        assert_eq!(looks(probe(ProbeKind::Command(missing))).await.reading, Reading::NotRun);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_as_old_as_we_saw_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("beat");
        let file = FileAge { path: path.clone(), max: Millis::from_secs(10) };
        let mut look = Look::new(probe(ProbeKind::FileAge(file)), &Roots::none()).unwrap();
        assert_eq!(look.look().await.reading, Reading::NotRun, "it isn't there yet");
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(look.look().await.reading, Reading::Failed, "and never came");
        fs::write(&path, "1").unwrap();
        // Long ago by the wall clock, which may have been wrong when it was written.
        let touched = fs::File::options().write(true).open(&path).unwrap();
        touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(look.look().await.reading, Reading::Passed);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(look.look().await.reading, Reading::Passed);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(look.look().await.reading, Reading::Failed);
        fs::write(&path, "12").unwrap();
        assert_eq!(look.look().await.reading, Reading::Passed);
        let below = FileAge { path: path.join("below"), max: Millis::from_secs(10) };
        let unreadable = looks(probe(ProbeKind::FileAge(below))).await;
        assert_eq!(unreadable.reading, Reading::NotRun, "{}", unreadable.why);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_look_again_at_each_interval() {
        let dir = tempfile::tempdir().unwrap();
        let kind = ProbeKind::FileAge(FileAge { path: dir.path().into(), max: Millis::from_secs(600) });
        let named = |name| Probe { name: Name::parse(name).unwrap(), ..probe(kind.clone()) };
        let mut probes = Probes::start(vec![named("a"), named("b")], &Roots::none()).unwrap();
        let began = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let sample = probes.next().await;
            seen.push((sample.probe.to_string(), began.elapsed().as_secs()));
        }
        let expected = [("a", 0), ("b", 30), ("a", 60), ("b", 90)];
        assert_eq!(seen, expected.map(|(name, at)| (name.to_owned(), at)));
    }

    #[tokio::test]
    async fn a_probe_is_checked_where_it_is_configured() {
        let start = |probe| Probes::start(vec![probe], &Roots::none()).map(drop);
        let tcp = |address: &str| probe(ProbeKind::Tcp(address.into()));
        for address in ["", "x", ":80", "x:0", "x:99999", "x:http"] {
            assert!(matches!(start(tcp(address)), Err(ProbeError::Address { .. })), "{address}");
        }
        let https = HttpProbe { url: "https://x/".into(), status: 200..=299 };
        assert!(matches!(start(probe(ProbeKind::Http(https))), Err(ProbeError::Address { .. })));
        let late = Probe { timeout: Millis::from_secs(61), ..tcp("x:1") };
        assert!(matches!(start(late), Err(ProbeError::Span { .. })));
        let never = Probe { interval: Millis(0), ..tcp("x:1") };
        assert!(matches!(start(never), Err(ProbeError::Span { .. })));
        let command = Command { argv: vec![], ..shell("") };
        assert!(matches!(start(probe(ProbeKind::Command(command))), Err(ProbeError::Command { .. })));
        let many = Probes::start(vec![tcp("x:1"); 65], &Roots::none());
        assert!(matches!(many.map(drop), Err(ProbeError::TooMany { probes: 65 })));
    }
}
