//! The world around an instance: commands that don't end, servers that lie, things that a probe had better not believe.
#![expect(clippy::wildcard_enum_match_arm, reason = "an attack is about the kind that it names")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use backstay_hands::{
    Command as Configured, Commands, Endpoint as Server, Endpoints, ExtraArgs, Fetch as Fetcher, HttpProbe,
    Probe as Look, ProbeKind, Probes, Roots, Sources,
};
use backstay_model::{Answer, Millis, Name, Reading, Scope};
use serde::Deserialize;

use super::{Verdict, files::judged};

/// The longest that a test waits for what it knows will come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long things may take here before they count as hanging.
const SHORT: Millis = Millis(300);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A runtime as the agent has one: one thread, and blocking work beside it.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The configured command `restart`, as a run asks for it.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Command {
    /// What a shell is given. `$OUT` is a folder of its own.
    script: String,
    /// What the run calls it.
    asked_for: String,
    /// What the run adds, although the configuration allows nothing.
    args: Vec<String>,
    /// The configuration allows arguments.
    takes_arguments: bool,
    /// It may take as long as it likes.
    patient: bool,
    /// The program is given by a name alone.
    by_name: bool,
    /// The scripts write the ids of their processes into these files; none of them may be there afterwards.
    leaves: Vec<String>,
    /// So long an argument.
    long: usize,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            script: "exit 0".into(),
            asked_for: "restart".into(),
            args: vec![],
            takes_arguments: false,
            patient: true,
            by_name: false,
            leaves: vec![],
            long: 0,
        }
    }
}

impl Command {
    pub(super) fn tried(&self) -> Verdict {
        let out = tempfile::tempdir().unwrap();
        let shell = if self.by_name { "sh" } else { "/bin/sh" };
        let command = Configured {
            argv: [shell, "-c", &self.script].map(String::from).to_vec(),
            environment: BTreeMap::from([
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("OUT".into(), out.path().display().to_string()),
            ]),
            dir: None,
            timeout: if self.patient { Millis::from_secs(60) } else { SHORT },
            extra_args: if self.takes_arguments { ExtraArgs::Allowed } else { ExtraArgs::Refused },
        };
        let commands = match Commands::new(BTreeMap::from([(name("restart"), command)])) {
            Ok(commands) => commands,
            Err((_, error)) => return Verdict::of(&error, error.help()),
        };
        let mut args = self.args.clone();
        if self.long > 0 {
            args.push("x".repeat(self.long));
        }
        let answer = block_on(commands.run(&name(&self.asked_for), &args));
        for file in &self.leaves {
            is_gone(&out.path().join(file));
        }
        match answer {
            // Not refused, but limited: what it said is not kept, whatever there was of it.
            Answer::Exited { output, .. } if output.whole.is_some() => {
                Verdict::word(format!("the last {} bytes are kept, of the rest a digest", output.bytes.len()))
            }
            Answer::Exited { code: Some(0), .. } => Verdict::Accepted("it ended well".into()),
            Answer::Exited { code, output } => Verdict::word(format!(
                "it ended with {code:?}: {}",
                String::from_utf8_lossy(&output.bytes).trim_end()
            )),
            answer => judged(answer),
        }
    }
}

/// Waits until the process whose id is in `file` isn't there any more, or is dead and only not yet collected.
fn is_gone(file: &Path) {
    let id = fs::read_to_string(file).unwrap_or_else(|_| panic!("{} was not written", file.display()));
    let stat = Path::new("/proc").join(id.trim()).join("stat");
    let started = std::time::Instant::now();
    loop {
        let Ok(told) = fs::read_to_string(&stat) else { return };
        // The state stands behind the name, which is in parentheses.
        if told.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X'])) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "process {id} is still there");
        thread::yield_now();
    }
}

/// How a server answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Manner {
    /// As it should.
    #[default]
    Well,
    /// With another length than there is.
    LongerThanItSays,
    /// It promises more than it sends.
    ShorterThanItSays,
    /// With an endless body, of no length that it would say.
    Endless,
    /// With other bytes of the right length.
    OtherBytes,
    /// With other bytes for whoever asks for the rest.
    OtherRest,
    /// To itself, again and again.
    Redirects,
    /// To a file on this machine.
    RedirectsToFile,
    /// Not at all.
    Silent,
    /// It begins, and then nothing more comes.
    Stalls,
    /// With a status that says no.
    Forbidden,
    /// With more header than anybody needs.
    HugeHeader,
    /// In another language.
    Noise,
    /// In pieces whose lengths make no sense.
    BadChunks,
    /// A megabyte and more.
    Large,
    /// Packed, so that it grows when it is unpacked.
    Packed,
}

fn artifact() -> Vec<u8> {
    (0..200_000_u32).map(|at| (at / 7) as u8).collect()
}

/// Answers every request in one manner, for as long as the process lives.
fn serve(manner: Manner, body: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (manner, body) = (manner.clone(), body.clone());
            thread::spawn(move || answer(stream, &manner, &body, address));
        }
    });
    address
}

fn answer(mut stream: TcpStream, manner: &Manner, body: &[u8], own: SocketAddr) {
    let mut request = [0; 4096];
    let Ok(read) = stream.read(&mut request) else { return };
    let asks_for_rest = String::from_utf8_lossy(&request[..read]).contains("range: bytes=");
    let head =
        |status: &str, headers: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n\r\n");
    let ok = |length: usize| head("200 OK", &format!("Content-Length: {length}"));
    let other = vec![0x55; body.len()];
    // Who asked may go away in the middle: then writing fails, and that ends it.
    let _ = match manner {
        Manner::Well => say(&mut stream, &ok(body.len()), body),
        Manner::LongerThanItSays => say(&mut stream, &ok(5), body),
        Manner::ShorterThanItSays => say(&mut stream, &ok(body.len()), &body[..body.len() / 2]),
        Manner::Endless => {
            let mut said = say(&mut stream, &head("200 OK", "X: y"), body);
            while said.is_ok() {
                said = stream.write_all(&other);
            }
            said
        }
        Manner::OtherBytes => say(&mut stream, &ok(body.len()), &other),
        Manner::OtherRest if asks_for_rest => {
            let (from, length) = (body.len() / 2, body.len());
            let headers = format!(
                "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{length}",
                length - from,
                length - 1
            );
            say(&mut stream, &head("206 Partial Content", &headers), &other[from..])
        }
        Manner::OtherRest => say(&mut stream, &ok(body.len()), &other),
        Manner::Redirects => say(
            &mut stream,
            &head("302 Found", &format!("Content-Length: 0\r\nLocation: http://{own}/again")),
            b"",
        ),
        Manner::RedirectsToFile => {
            say(&mut stream, &head("302 Found", "Content-Length: 0\r\nLocation: file:///etc/passwd"), b"")
        }
        Manner::Silent => wait(&mut stream),
        Manner::Stalls => {
            say(&mut stream, &ok(body.len()), &body[..body.len() / 2]).and_then(|()| wait(&mut stream))
        }
        Manner::Forbidden => say(&mut stream, &head("403 Forbidden", "Content-Length: 0"), b""),
        Manner::HugeHeader => say(
            &mut stream,
            &head("200 OK", &format!("Content-Length: 0\r\nX: {}", "y".repeat(1 << 20))),
            b"",
        ),
        Manner::Noise => say(&mut stream, "SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n", b"what?"),
        Manner::BadChunks => {
            say(&mut stream, &head("200 OK", "Transfer-Encoding: chunked"), b"fffffffffffffffff\r\nx\r\n")
        }
        Manner::Large => say(&mut stream, &ok((1 << 20) + 1), &vec![7; (1 << 20) + 1]),
        Manner::Packed => {
            let headers = format!("Content-Length: {}\r\nContent-Encoding: gzip", body.len());
            say(&mut stream, &head("200 OK", &headers), &other)
        }
    };
}

fn say(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// Says nothing more until the other side has had enough.
fn wait(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}

/// An artifact of 200,000 bytes, fetched from one server.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fetch {
    /// How it answers.
    server: Manner,
    /// Half of the artifact is there already.
    half: bool,
    /// The source's address, instead.
    base: Option<String>,
    /// There is room for so much.
    room: Option<u64>,
}

impl Fetch {
    pub(super) fn tried(&self) -> Verdict {
        let artifact = artifact();
        let digest = crate::digest(&artifact);
        let cache = tempfile::tempdir().unwrap();
        if self.half {
            let part = cache.path().join(digest.to_string()).with_extension("part");
            fs::write(part, &artifact[..artifact.len() / 2]).unwrap();
        }
        let address = serve(self.server.clone(), artifact.clone());
        let sources = Sources {
            bases: vec![self.base.clone().unwrap_or_else(|| format!("http://{address}/depot"))],
            cache: cache.path().into(),
            cache_bytes_max: self.room.unwrap_or(1 << 20),
            stall: SHORT,
        };
        let fetched = Fetcher::new(sources, &Roots::none())
            .and_then(|fetch| fetch.get_blocking(digest, artifact.len() as u64));
        let kept: u64 =
            fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(kept <= 200_000, "{kept} bytes are kept of what was not the artifact");
        match fetched {
            Ok(mut fetched) => {
                let mut bytes = Vec::new();
                fetched.file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes, artifact);
                Verdict::Accepted("the artifact".into())
            }
            Err(error) => Verdict::of(&error, error.help()),
        }
    }
}

/// The configured endpoint `api`, asked by a run.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    /// How it answers.
    server: Manner,
    /// What the run calls it.
    asked_for: String,
    /// How it is asked.
    method: String,
    /// For what.
    path: String,
    /// With so many bytes.
    body: usize,
    /// The address of the configuration, instead.
    base: Option<String>,
    /// A header of the configuration: its value.
    header: Option<String>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            server: Manner::Well,
            asked_for: "api".into(),
            method: "GET".into(),
            path: "/v1/state".into(),
            body: 0,
            base: None,
            header: None,
        }
    }
}

impl Endpoint {
    pub(super) fn tried(&self) -> Verdict {
        let address = serve(self.server.clone(), b"{\"state\":\"well\"}".to_vec());
        let headers = self.header.iter().map(|value| ("Authorization".into(), value.clone())).collect();
        let patient = !matches!(self.server, Manner::Silent | Manner::Stalls);
        let server = Server {
            base: self.base.clone().unwrap_or_else(|| format!("http://{address}/api")),
            headers,
            timeout: if patient { Millis::from_secs(60) } else { SHORT },
        };
        let endpoints = match Endpoints::new(BTreeMap::from([(name("api"), server)]), &Roots::none()) {
            Ok(endpoints) => endpoints,
            Err((_, error)) => return Verdict::of(&error, error.help()),
        };
        let (asked_for, body) = (name(&self.asked_for), vec![0; self.body]);
        match block_on(endpoints.request(&asked_for, &self.method, &self.path, &body)) {
            Answer::Response { status: 200, body } if body.whole.is_none() => {
                Verdict::Accepted("status 200".into())
            }
            Answer::Response { status, body } => Verdict::word(format!(
                "status {status}, with {} bytes, and nothing was followed",
                body.bytes.len()
            )),
            answer => judged(answer),
        }
    }
}

/// A probe of a server or of a command: what it says of something that lies.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Probe {
    /// How the server answers.
    server: Manner,
    /// A command is run instead.
    script: Option<String>,
    /// Its file with the id of a process that may not be there afterwards.
    leaves: Option<String>,
    /// The address, instead.
    url: Option<String>,
    /// There are so many of them.
    times: usize,
}

impl Probe {
    pub(super) fn tried(&self) -> Verdict {
        let out = tempfile::tempdir().unwrap();
        let address = serve(self.server.clone(), b"fine".to_vec());
        let kind = match &self.script {
            Some(script) => ProbeKind::Command(Configured {
                argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
                environment: BTreeMap::from([
                    ("PATH".into(), "/usr/bin:/bin".into()),
                    ("OUT".into(), out.path().display().to_string()),
                ]),
                dir: None,
                timeout: Millis::from_secs(60),
                extra_args: ExtraArgs::Refused,
            }),
            None => ProbeKind::Http(HttpProbe {
                url: self.url.clone().unwrap_or_else(|| format!("http://{address}/health")),
                status: 200..=299,
            }),
        };
        let hangs =
            matches!(self.server, Manner::Silent | Manner::Stalls | Manner::Endless) || self.script.is_some();
        let look = Look {
            name: name("it"),
            scope: Scope::Local,
            interval: Millis::from_secs(3600),
            timeout: if hangs { SHORT } else { Millis::from_secs(60) },
            kind,
        };
        let looks = vec![look; self.times.max(1)];
        let sample = block_on(async {
            let mut probes = Probes::start(looks, &Roots::none())?;
            Ok(probes.next().await)
        });
        let verdict = match sample {
            Err(error) => {
                let error: backstay_hands::ProbeError = error;
                Verdict::of(&error, error.help())
            }
            Ok(sample) if sample.reading == Reading::Passed => Verdict::Accepted("it passed".into()),
            Ok(sample) => Verdict::word(format!("{:?}: {}", sample.reading, sample.why)),
        };
        if let Some(file) = &self.leaves {
            is_gone(&out.path().join(file));
        }
        verdict
    }
}
