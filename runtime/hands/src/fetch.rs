//! Artifacts by their digest: fetched from whoever has them, verified, and kept.
//!
//! Nobody who hands out an artifact is believed: length and digest are known before, from something signed. So
//! plain `http` is enough here, any number of sources can be tried, and what one of them began another can end.
//!
//! Here: sources, resuming, the cache with its budget. Not here: which artifact is wanted, and trying again
//! later (`core`). On disk: `<cache>/<digest>` is whole, `<cache>/<digest>.part` has begun.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use backstay_model::{Digest, Millis, Transience};
use sha2::{Digest as _, Sha256};
use ureq::{Agent, http::Response};

use crate::{
    beside,
    http::{Roots, client},
};

const CHUNK_BYTES: usize = 64 * 1024;
/// A store may send its clients on to where the bytes are, and that place on to another.
const REDIRECTS_MAX: u32 = 3;
/// The longest that connecting, asking, and the first line of the answer may take, each.
const OPENING: Duration = Duration::from_secs(30);

/// Where artifacts come from and where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// `http://depot.example`: each is asked for `<base>/v1/artifacts/<digest>`, in this order. At most 16.
    pub bases: Vec<String>,
    /// A directory of our own.
    pub cache: PathBuf,
    /// The most bytes in it. To stay below it, what was not used for longest goes.
    pub cache_bytes_max: u64,
    /// How long a source may send nothing.
    pub stall: Millis,
}

/// The most sources.
const BASES_MAX: usize = 16;

/// What was fetched: whole, and verified by reading it back through this very descriptor.
#[derive(Debug)]
pub struct Fetched {
    /// At its start.
    pub file: File,
    /// Where it is kept, for as long as the budget lasts. Whoever opens it anew has to verify it anew.
    pub path: PathBuf,
}

/// Why one source didn't give an artifact.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceError {
    /// It can't be reached, doesn't speak HTTP, or isn't whom it says it is.
    Unreachable {
        /// Why.
        source: Box<ureq::Error>,
    },
    /// It answered with something other than the artifact.
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// What it has under this digest has another length.
    OtherLength {
        /// As it says, or as it came.
        length: u64,
    },
    /// What it sent has another digest.
    OtherBytes,
    /// It stopped in the middle. What came is kept.
    BrokeOff {
        /// Bytes that are there now.
        at: u64,
        /// Why, if it didn't just end.
        source: Option<io::Error>,
    },
}

impl SourceError {
    /// Whether asking this source again later can help.
    #[must_use]
    pub fn transience(&self) -> Transience {
        match self {
            Self::Unreachable { .. } | Self::BrokeOff { .. } => Transience::Transient,
            // 404 too: a release may be announced before every store has it.
            Self::Status { status: 404 | 408 | 425 | 429 | 500.. } => Transience::Transient,
            Self::Status { .. } | Self::OtherLength { .. } | Self::OtherBytes => Transience::Permanent,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { .. } => f.write_str("it can't be asked"),
            Self::Status { status } => write!(f, "it answered with status {status}"),
            Self::OtherLength { length } => write!(f, "what it has is {length} bytes long"),
            Self::OtherBytes => f.write_str("what it has is something else"),
            Self::BrokeOff { at, .. } => write!(f, "it broke off at byte {at}"),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable { source } => Some(source),
            Self::BrokeOff { source, .. } => source.as_ref().map(|source| source as _),
            Self::Status { .. } | Self::OtherLength { .. } | Self::OtherBytes => None,
        }
    }
}

/// An artifact that was not fetched. What came of it is kept, and the next try goes on from there.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// A source can't be used as it is configured.
    Base {
        /// What was given.
        base: String,
        /// Why not.
        why: &'static str,
    },
    /// It is larger than all that may be kept.
    TooLarge {
        /// Its length.
        length: u64,
        /// Bytes that may be kept.
        cache_bytes_max: u64,
    },
    /// None of the sources gave it.
    NoSource {
        /// Which artifact.
        digest: Digest,
        /// Each source that was asked, and why it didn't.
        tried: Vec<(String, SourceError)>,
    },
    /// The cache failed.
    Cache {
        /// What was being done: "cannot write".
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody waits for it any more.
    GivenUp,
}

impl FetchError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Base { .. } => Some("give addresses like http://host/path"),
            Self::TooLarge { .. } => Some("give the cache more room: `server.cache_mib_max` on a device"),
            Self::NoSource { .. } => Some("look whether the sources have it: <base>/v1/artifacts/<digest>"),
            Self::Cache { .. } => Some("look at the disk: full, read-only or worn out"),
            Self::GivenUp => None,
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn transience(&self) -> Transience {
        let again = match self {
            Self::NoSource { tried, .. } => {
                tried.iter().any(|(_, error)| error.transience() == Transience::Transient)
            }
            Self::Cache { .. } | Self::GivenUp => true,
            Self::Base { .. } | Self::TooLarge { .. } => false,
        };
        if again { Transience::Transient } else { Transience::Permanent }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base { base, why } => write!(f, "{base:?} is no source: {why}"),
            Self::TooLarge { length, cache_bytes_max } => {
                write!(f, "an artifact of {length} bytes doesn't fit into a cache of {cache_bytes_max}")
            }
            Self::NoSource { digest, tried } => {
                write!(f, "no source of {} gave artifact {}", tried.len(), digest.short())?;
                tried.iter().try_for_each(|(base, error)| {
                    write!(f, "; {base}: {error}")?;
                    // Several sources have several causes, so they can't be this error's one source.
                    std::error::Error::source(error).map_or(Ok(()), |why| write!(f, ", {why}"))
                })
            }
            Self::Cache { doing, path, .. } => write!(f, "{doing} {}", path.display()),
            Self::GivenUp => f.write_str("nobody waits for the artifact any more"),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cache { source, .. } => Some(source),
            Self::Base { .. } | Self::TooLarge { .. } | Self::NoSource { .. } | Self::GivenUp => None,
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Cache { doing, path, source }
}

/// Fetches artifacts. Clones share the cache; one artifact is fetched at a time.
#[derive(Clone, Debug)]
pub struct Fetch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: Sources,
    agent: Agent,
    turn: Mutex<()>,
}

/// Tells the thread that fetches when nobody waits for it any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Fetch {
    /// Checks the sources and makes the cache's directory.
    ///
    /// # Errors
    /// A source can't be asked, or the directory can't be made.
    pub fn new(sources: Sources, roots: &Roots) -> Result<Self, FetchError> {
        for (at, base) in sources.bases.iter().enumerate() {
            let few = if at < BASES_MAX { Ok(()) } else { Err("there are more than 16") };
            roots.accept(base).and(few).map_err(|why| FetchError::Base { base: base.clone(), why })?;
        }
        fs::create_dir_all(&sources.cache).map_err(failed("cannot make", &sources.cache))?;
        let stall = Some(Duration::from_millis(sources.stall.0.max(1)));
        let agent = client(roots, REDIRECTS_MAX, |config| {
            config
                .timeout_connect(Some(OPENING))
                .timeout_send_request(Some(OPENING))
                .timeout_recv_response(Some(OPENING))
                .timeout_per_read(stall)
        });
        Ok(Self(Arc::new(Inner { sources, agent, turn: Mutex::new(()) })))
    }

    /// The artifact with this digest, from the cache or from the first source that has it. Dropped before it
    /// ends, it stops soon, and what came is kept.
    ///
    /// # Errors
    /// No source gave it, or the cache failed; says whether trying again can help.
    pub async fn get(&self, digest: Digest, length: u64) -> Result<Fetched, FetchError> {
        let fetch = self.clone();
        let given_up = Arc::new(AtomicBool::new(false));
        let waits = Waits(Arc::clone(&given_up));
        let fetched = beside(move || fetch.0.get(&digest, length, &given_up)).await;
        drop(waits);
        fetched.unwrap_or(Err(FetchError::GivenUp))
    }

    /// [`Fetch::get`] for callers without a runtime. It blocks until it is there.
    ///
    /// # Errors
    /// As there.
    pub fn get_blocking(&self, digest: Digest, length: u64) -> Result<Fetched, FetchError> {
        self.0.get(&digest, length, &AtomicBool::new(false))
    }
}

/// Why one source ended: it was the source, or it was us.
enum Trouble {
    Source(SourceError),
    Ours(FetchError),
}

/// What has come of an artifact.
struct Part {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    at: u64,
}

impl Part {
    /// Opens what an earlier try left, if it can be the beginning of the artifact.
    fn open(path: PathBuf, length: u64) -> Result<Self, FetchError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed("cannot open", &path))?;
        let mut part = Self { file, path, hasher: Sha256::new(), at: 0 };
        part.at = hash(&mut part.file, &mut part.hasher).map_err(failed("cannot read", &part.path))?;
        if part.at > length {
            part.reset()?;
        }
        Ok(part)
    }

    fn reset(&mut self) -> Result<(), FetchError> {
        self.hasher = Sha256::new();
        self.at = 0;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(failed("cannot empty", &self.path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let at = SeekFrom::Start(self.at);
        let written = self.file.seek(at).and_then(|_| self.file.write_all(bytes));
        written.map_err(failed("cannot write", &self.path))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn is(&self, digest: &Digest, length: u64) -> bool {
        self.at == length && <[u8; 32]>::from(self.hasher.clone().finalize()) == digest.0
    }
}

/// Hashes a file from its start, and says how long it is.
fn hash(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let (mut length, mut chunk) = (0, vec![0; CHUNK_BYTES]);
    file.rewind()?;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file is the artifact, from start to end; leaves it at its start.
fn is_artifact(file: &mut File, digest: &Digest, length: u64) -> io::Result<bool> {
    let mut hasher = Sha256::new();
    let same_length = file.metadata()?.len() == length;
    let same =
        same_length && hash(file, &mut hasher)? == length && <[u8; 32]>::from(hasher.finalize()) == digest.0;
    file.rewind()?;
    Ok(same)
}

impl Inner {
    fn get(&self, digest: &Digest, length: u64, given_up: &AtomicBool) -> Result<Fetched, FetchError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.sources.cache.join(digest.to_string());
        if let Some(file) = kept(&path, digest, length)? {
            return Ok(Fetched { file, path });
        }
        let part = path.with_extension("part");
        self.make_room(length, &part)?;
        let mut part = Part::open(part, length)?;
        let mut tried = Vec::new();
        if !part.is(digest, length) {
            let got = self.sources.bases.iter().find_map(|base| {
                match self.fetch(base, digest, length, &mut part, given_up) {
                    Ok(()) => Some(Ok(())),
                    Err(Trouble::Ours(error)) => Some(Err(error)),
                    Err(Trouble::Source(error)) => {
                        tried.push((base.clone(), error));
                        None
                    }
                }
            });
            got.unwrap_or_else(|| Err(FetchError::NoSource { digest: *digest, tried }))?;
        }
        let Part { file, path: part, .. } = part;
        file.sync_all().map_err(failed("cannot sync", &part))?;
        // Who installs it may refuse what somebody could still write to, as RAUC does.
        drop(file);
        let mut file = File::open(&part).map_err(failed("cannot open", &part))?;
        // What counts is what the disk gives back.
        if !is_artifact(&mut file, digest, length).map_err(failed("cannot read", &part))? {
            let _ = fs::remove_file(&part);
            let source = io::Error::new(io::ErrorKind::InvalidData, "it reads other than it was written");
            return Err(failed("cannot keep", &part)(source));
        }
        fs::rename(&part, &path).map_err(failed("cannot rename", &part))?;
        let dir = File::open(&self.sources.cache).and_then(|dir| dir.sync_all());
        dir.map_err(failed("cannot sync", &self.sources.cache))?;
        Ok(Fetched { file, path })
    }

    /// Removes what was not used for longest until `length` more bytes fit. What has begun of the artifact itself
    /// stays, and is part of those bytes.
    fn make_room(&self, length: u64, keep: &Path) -> Result<(), FetchError> {
        let cache_bytes_max = self.sources.cache_bytes_max;
        let mut free =
            cache_bytes_max.checked_sub(length).ok_or(FetchError::TooLarge { length, cache_bytes_max })?;
        let dir = &self.sources.cache;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed("cannot list", dir))? {
            let entry = entry.map_err(failed("cannot list", dir))?;
            let path = entry.path();
            let about = entry.metadata().map_err(failed("cannot look at", &path))?;
            if about.is_file() && path != keep {
                files.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), path));
            }
        }
        // The newest are kept for as long as they fit. There are few: sorting them would be more code than looking again.
        while let Some(at) = (0..files.len()).max_by_key(|at| files.get(*at)) {
            let (_, bytes, path) = files.swap_remove(at);
            match free.checked_sub(bytes) {
                Some(left) => free = left,
                None => fs::remove_file(&path).map_err(failed("cannot remove", &path))?,
            }
        }
        Ok(())
    }

    fn fetch(
        &self,
        base: &str,
        digest: &Digest,
        length: u64,
        part: &mut Part,
        given_up: &AtomicBool,
    ) -> Result<(), Trouble> {
        let url = format!("{}/v1/artifacts/{digest}", base.trim_end_matches('/'));
        // Twice: bytes that an earlier source left may be why this one's don't fit behind them.
        for _ in 0..2 {
            let resumed = part.at;
            let response = self.ask(&url, resumed)?;
            let goes_on = match response.status().as_u16() {
                200 => false,
                206 if begins_at(&response, resumed, length) => true,
                206 | 416 if resumed > 0 => {
                    part.reset().map_err(Trouble::Ours)?;
                    continue;
                }
                status => return Err(Trouble::Source(SourceError::Status { status })),
            };
            if !goes_on {
                part.reset().map_err(Trouble::Ours)?;
            }
            receive(response, length, part, given_up)?;
            if part.is(digest, length) {
                return Ok(());
            }
            part.reset().map_err(Trouble::Ours)?;
            if !goes_on {
                return Err(Trouble::Source(SourceError::OtherBytes));
            }
        }
        Err(Trouble::Source(SourceError::OtherBytes))
    }

    fn ask(&self, url: &str, from: u64) -> Result<Response<ureq::Body>, Trouble> {
        let request = self.agent.get(url);
        let request = if from > 0 { request.header("range", format!("bytes={from}-")) } else { request };
        request
            .call()
            .map_err(|source| Trouble::Source(SourceError::Unreachable { source: Box::new(source) }))
    }
}

/// The cached artifact. One that is damaged is removed, so that it is fetched anew.
fn kept(path: &Path, digest: &Digest, length: u64) -> Result<Option<File>, FetchError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot open", path)(error)),
    };
    if is_artifact(&mut file, digest, length).map_err(failed("cannot read", path))? {
        // Only what is thrown away first hangs on it.
        let _ = file.set_modified(SystemTime::now());
        return Ok(Some(file));
    }
    fs::remove_file(path).map_err(failed("cannot remove", path))?;
    Ok(None)
}

/// Whether an answer is the rest of an artifact of `length` bytes, from `at` on.
fn begins_at(response: &Response<ureq::Body>, at: u64, length: u64) -> bool {
    let Some(range) = response.headers().get("content-range").and_then(|range| range.to_str().ok()) else {
        return false;
    };
    let last = length.saturating_sub(1);
    at > 0 && at < length && range.trim() == format!("bytes {at}-{last}/{length}")
}

fn receive(
    response: Response<ureq::Body>,
    length: u64,
    part: &mut Part,
    given_up: &AtomicBool,
) -> Result<(), Trouble> {
    let other_length = |length| Err(Trouble::Source(SourceError::OtherLength { length }));
    if let Some(said) = response.body().content_length()
        && part.at.saturating_add(said) != length
    {
        return other_length(part.at.saturating_add(said));
    }
    let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if given_up.load(Ordering::Relaxed) {
            return Err(Trouble::Ours(FetchError::GivenUp));
        }
        match reader.read(&mut chunk) {
            Ok(0) if part.at == length => return Ok(()),
            Ok(0) => return Err(Trouble::Source(SourceError::BrokeOff { at: part.at, source: None })),
            Ok(read) if part.at + read as u64 > length => {
                let length = part.at + read as u64;
                part.reset().map_err(Trouble::Ours)?;
                return other_length(length);
            }
            Ok(read) => part.write(&chunk[..read]).map_err(Trouble::Ours)?,
            Err(source) => {
                return Err(Trouble::Source(SourceError::BrokeOff { at: part.at, source: Some(source) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Reply, Server};

    fn artifact() -> Vec<u8> {
        (0..200_000_u32).map(|i| (i / 7) as u8).collect()
    }

    fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// A depot that knows ranges.
    fn depot() -> Server {
        Server::start(|request| {
            let all = artifact();
            match request.split_once("range: bytes=").and_then(|(_, rest)| rest.split_once('-')) {
                None => Reply::ok(&all),
                Some((from, _)) => {
                    let rest = &all[from.parse().unwrap()..];
                    let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
                    let headers = format!("Content-Length: {}\r\nContent-Range: {range}", rest.len());
                    Reply::with("206 Partial Content", &headers, rest)
                }
            }
        })
    }

    /// It breaks off in the middle of what it promised.
    fn flaky() -> Server {
        Server::start(|_| Reply::with("200 OK", "Content-Length: 200000", &artifact()[..120_000]))
    }

    struct World {
        dir: tempfile::TempDir,
        fetch: Fetch,
    }

    impl World {
        fn new(servers: &[&Server], cache_bytes_max: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let bases = servers.iter().map(|server| server.url("/depot/")).collect();
            let cache = dir.path().join("cache");
            let sources = Sources { bases, cache, cache_bytes_max, stall: Millis::from_secs(30) };
            Self { dir, fetch: Fetch::new(sources, &Roots::none()).unwrap() }
        }

        fn gets(&self) -> Result<Vec<u8>, FetchError> {
            let artifact = artifact();
            let mut fetched = self.fetch.get_blocking(digest(&artifact), artifact.len() as u64)?;
            let mut bytes = Vec::new();
            fetched.file.read_to_end(&mut bytes).unwrap();
            Ok(bytes)
        }

        fn keeps(&self) -> Vec<String> {
            let names = fs::read_dir(self.dir.path().join("cache")).unwrap();
            let mut names: Vec<_> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn tried(error: FetchError) -> Vec<SourceError> {
        let FetchError::NoSource { tried, .. } = error else { panic!("{error:?}") };
        tried.into_iter().map(|(_, error)| error).collect()
    }

    #[tokio::test]
    async fn an_artifact_is_fetched_once_and_kept() {
        let depot = depot();
        let world = World::new(&[&depot], 1 << 20);
        let artifact = artifact();
        let fetched = world.fetch.get(digest(&artifact), artifact.len() as u64).await.unwrap();
        assert_eq!(fs::read(&fetched.path).unwrap(), artifact);
        assert!((&fetched.file).write_all(b"more").is_err(), "nobody can write to it any more");
        assert_eq!(world.gets().unwrap(), artifact);
        let heard = depot.heard();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].starts_with(&format!("GET /depot/v1/artifacts/{} HTTP/1.1\r\n", digest(&artifact))));
    }

    #[test]
    fn what_one_source_began_another_ends() {
        let (flaky, depot) = (flaky(), depot());
        let world = World::new(&[&flaky, &depot], 1 << 20);
        assert_eq!(world.gets().unwrap(), artifact());
        assert!(depot.heard()[0].contains("range: bytes=120000-\r\n"), "{:?}", depot.heard());
    }

    #[test]
    fn a_download_that_was_cut_goes_on_where_it_was() {
        let flaky = flaky();
        let world = World::new(&[&flaky], 1 << 20);
        let error = world.gets().unwrap_err();
        assert_eq!(error.transience(), Transience::Transient);
        assert!(matches!(tried(error)[..], [SourceError::BrokeOff { at: 120_000, .. }]));
        let heard = flaky.heard().len();
        // It knows no ranges: it begins again, and so do we.
        assert!(world.gets().is_err());
        assert!(flaky.heard()[heard].contains("range: bytes=120000-"));
    }

    #[test]
    fn wrong_beginnings_do_not_spoil_a_good_end() {
        let depot = depot();
        let world = World::new(&[&depot], 1 << 20);
        let part = format!("{}.part", digest(&artifact()));
        for left_over in [vec![9; 777], vec![9; 200_000], vec![9; 300_000]] {
            fs::write(world.dir.path().join("cache").join(&part), left_over).unwrap();
            assert_eq!(world.gets().unwrap(), artifact());
            fs::remove_file(world.dir.path().join("cache").join(digest(&artifact()).to_string())).unwrap();
        }
    }

    #[test]
    fn a_source_is_not_believed() {
        let mut other = artifact();
        other[5] ^= 1;
        let liar = Server::start(move |_| Reply::ok(&other));
        let short = Server::start(|_| Reply::ok(b"short"));
        let endless = Server::start(|_| Reply::with("200 OK", "X: y", &[7; 900_000]));
        let none = Server::start(|_| Reply::head("404 Not Found", "X: y"));
        let gone = Server::start(|_| Reply::head("403 Forbidden", "X: y"));
        let babble = Server::start(|_| Reply::raw(b"\x00\x01 what?\r\n\r\n".to_vec()));
        let world = World::new(&[&liar, &short, &endless, &gone], 1 << 20);
        let error = world.gets().unwrap_err();
        assert_eq!(error.transience(), Transience::Permanent);
        let why = tried(error);
        assert!(matches!(why[0], SourceError::OtherBytes), "{why:?}");
        assert!(matches!(why[1], SourceError::OtherLength { length: 5 }), "{why:?}");
        assert!(matches!(why[2], SourceError::OtherLength { .. }), "{why:?}");
        assert!(matches!(why[3], SourceError::Status { status: 403 }), "{why:?}");
        let world = World::new(&[&liar, &none, &babble], 1 << 20);
        assert_eq!(world.gets().unwrap_err().transience(), Transience::Transient);
        let depot = depot();
        assert_eq!(World::new(&[&liar, &babble, &endless, &depot], 1 << 20).gets().unwrap(), artifact());
    }

    #[test]
    fn a_damaged_cache_is_fetched_anew() {
        let depot = depot();
        let world = World::new(&[&depot], 1 << 20);
        world.gets().unwrap();
        let path = world.dir.path().join("cache").join(digest(&artifact()).to_string());
        let mut bytes = fs::read(&path).unwrap();
        bytes[77] ^= 4;
        fs::write(&path, bytes).unwrap();
        assert_eq!(world.gets().unwrap(), artifact());
        assert_eq!(depot.heard().len(), 2);
    }

    #[test]
    fn the_cache_keeps_to_its_budget() {
        let depot = depot();
        let world = World::new(&[&depot], 250_000);
        let cache = world.dir.path().join("cache");
        for (name, age) in [("older", 2), ("newer", 1)] {
            fs::write(cache.join(name), [0; 30_000]).unwrap();
            let file = File::options().write(true).open(cache.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age * 1000)).unwrap();
        }
        world.gets().unwrap();
        assert_eq!(world.keeps(), [digest(&artifact()).to_string(), "newer".into()]);
        let small = World::new(&[&depot], 1000);
        let error = small.gets().unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { .. }) && error.transience() == Transience::Permanent);
    }

    #[tokio::test]
    async fn a_fetch_that_nobody_waits_for_stops() {
        let given_up = AtomicBool::new(true);
        let depot = depot();
        let world = World::new(&[&depot], 1 << 20);
        let stopped = world.fetch.0.get(&digest(&artifact()), 200_000, &given_up);
        assert!(matches!(stopped, Err(FetchError::GivenUp)));
    }
}
