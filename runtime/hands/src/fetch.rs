//! Artifacts by their digest: fetched from whoever has them, verified, and kept.
//!
//! Nobody who hands out an artifact is believed: length and digest are known before, from something signed. So
//! plain `http` is enough here, any number of sources can be tried, and what one of them began another can end.
//! From a source that has an artifact's blocks (`backstay-blocks`) only those are fetched that no older image on
//! this device has; from any other, and wherever that goes wrong, the whole.
//!
//! Here: sources, resuming, whole artifacts. Not here: by their blocks (`by_blocks`), the cache and its budget (`cache`),
//! which artifact is wanted, and trying again later (`core`). On disk: `<cache>/<digest>` is whole,
//! `<cache>/<digest>.part` has begun.

mod by_blocks;
mod cache;
mod error;
mod old;
mod part;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backstay_model::{Digest, Millis, causes};
use ureq::{Agent, http::Response};

pub use self::error::{BlocksError, FetchError, SourceError};
use self::{
    by_blocks::Wanted,
    cache::{kept, make_room, older},
    error::{Trouble, failed},
    part::{Part, is_artifact},
};
use crate::{
    beside,
    http::{Roots, client},
};

const CHUNK_BYTES: usize = 64 * 1024;
/// A store may send its clients on to where the bytes are, and that place on to another.
const REDIRECTS_MAX: u32 = 3;
/// The longest that connecting, asking, and the first line of the answer may take, each.
const OPENING: Duration = Duration::from_secs(30);
/// How long a connection is kept for the next range. It takes as long to read an old image as it takes.
const IDLE: Duration = Duration::from_secs(5);

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
    /// Where its bytes came from.
    pub carriage: Carriage,
    /// Each older image that can't be read, each source that didn't give it, or not by its blocks, and why, in words.
    pub said: Vec<String>,
}

/// Where the bytes of an artifact came from. All zero: it was in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carriage {
    /// Bytes that came over the network this time, all that was thrown away among them.
    pub carried: u64,
    /// Bytes of it that were found on this device, in an older image.
    pub found: u64,
    /// Bytes of it that an earlier try had left.
    pub left_over: u64,
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
                // Ranges of one artifact follow one another.
                .max_idle_connections(1)
                .max_idle_connections_per_host(1)
                .max_idle_age(IDLE)
        });
        Ok(Self(Arc::new(Inner { sources, agent, turn: Mutex::new(()) })))
    }

    /// The artifact with this digest, from the cache or from the first source that has it. Dropped before it
    /// ends, it stops soon, and what came is kept.
    ///
    /// # Errors
    /// No source gave it, or the cache failed; says whether trying again can help.
    pub async fn get(&self, digest: Digest, length: u64) -> Result<Fetched, FetchError> {
        self.get_beside(digest, length, None).await
    }

    /// [`Fetch::get`] for who has an older image of it: a file or a block device, in which there may be blocks of the
    /// artifact. It is read and nothing else, and may be anything.
    ///
    /// # Errors
    /// As there.
    pub async fn get_beside(
        &self,
        digest: Digest,
        length: u64,
        old: Option<PathBuf>,
    ) -> Result<Fetched, FetchError> {
        let fetch = self.clone();
        let given_up = Arc::new(AtomicBool::new(false));
        let waits = Waits(Arc::clone(&given_up));
        let fetched = beside(move || fetch.0.get(&digest, length, old, &given_up)).await;
        drop(waits);
        fetched.unwrap_or(Err(FetchError::GivenUp))
    }

    /// [`Fetch::get`] for callers without a runtime. It blocks until it is there.
    ///
    /// # Errors
    /// As there.
    pub fn get_blocking(&self, digest: Digest, length: u64) -> Result<Fetched, FetchError> {
        self.0.get(&digest, length, None, &AtomicBool::new(false))
    }
}

impl Inner {
    fn get(
        &self,
        digest: &Digest,
        length: u64,
        old: Option<PathBuf>,
        given_up: &AtomicBool,
    ) -> Result<Fetched, FetchError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.sources.cache.join(digest.to_string());
        if let Some(file) = kept(&path, digest, length)? {
            return Ok(Fetched { file, path, carriage: Carriage::default(), said: Vec::new() });
        }
        let part = path.with_extension("part");
        make_room(&self.sources, length, &part)?;
        let mut part = Part::open(part, length)?;
        let mut tried = Vec::new();
        if !part.is(digest, length) {
            // What runs first: the newest that is in the cache is most often the same.
            let old = old.into_iter().chain(older(&self.sources.cache)).collect();
            let wanted = Wanted { digest, length, old, given_up };
            let got = self.sources.bases.iter().find_map(|base| {
                match self.fetch(base, &wanted, &mut part, &mut tried) {
                    Ok(()) => Some(Ok(())),
                    Err(Trouble::Ours(error)) => Some(Err(error)),
                    Err(Trouble::Source(error)) => {
                        tried.push((base.clone(), error));
                        None
                    }
                }
            });
            match got {
                Some(got) => got?,
                None => return Err(FetchError::NoSource { digest: *digest, tried }),
            }
        }
        let Part { file, path: part, carriage, unread: mut said, .. } = part;
        said.extend(tried.iter().map(|(base, error)| format!("{base}: {}", causes::in_one_line(error))));
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
        Ok(Fetched { file, path, carriage, said })
    }

    /// From one source, by its blocks if it has them.
    fn fetch(
        &self,
        base: &str,
        wanted: &Wanted<'_>,
        part: &mut Part,
        tried: &mut Vec<(String, SourceError)>,
    ) -> Result<(), Trouble> {
        match self.by_blocks(base, wanted, part) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Trouble::Source(error @ SourceError::Blocks { .. })) => tried.push((base.to_owned(), error)),
            Err(trouble) => return Err(trouble),
        }
        self.whole(base, wanted, part)
    }

    fn whole(&self, base: &str, wanted: &Wanted<'_>, part: &mut Part) -> Result<(), Trouble> {
        let &Wanted { digest, length, given_up, .. } = wanted;
        let url = format!("{}/v1/artifacts/{digest}", base.trim_end_matches('/'));
        // Twice: bytes that an earlier source left may be why this one's don't fit behind them.
        for _ in 0..2 {
            let resumed = part.at;
            let range = (resumed > 0).then(|| format!("bytes={resumed}-"));
            let response = self.ask(&url, range).map_err(unreachable)?;
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

    fn ask(&self, url: &str, range: Option<String>) -> Result<Response<ureq::Body>, ureq::Error> {
        let request = self.agent.get(url);
        match range {
            Some(range) => request.header("range", range),
            None => request,
        }
        .call()
    }
}

fn unreachable(source: ureq::Error) -> Trouble {
    Trouble::Source(SourceError::Unreachable { source: Box::new(source) })
}

/// What an answer says which bytes of the file it has.
fn range_of(response: &Response<ureq::Body>) -> Option<&str> {
    response.headers().get("content-range")?.to_str().ok().map(str::trim)
}

/// A body as it comes, however long it is: whoever reads it has a bound.
fn reader(response: Response<ureq::Body>) -> impl Read {
    response.into_body().into_with_config().limit(u64::MAX).reader()
}

/// Whether an answer is the rest of an artifact of `length` bytes, from `at` on.
fn begins_at(response: &Response<ureq::Body>, at: u64, length: u64) -> bool {
    let last = length.saturating_sub(1);
    let range = format!("bytes {at}-{last}/{length}");
    at > 0 && at < length && range_of(response) == Some(&range)
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
    let mut reader = reader(response);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        if given_up.load(Ordering::Relaxed) {
            return Err(Trouble::Ours(FetchError::GivenUp));
        }
        let read = reader.read(&mut chunk);
        part.carriage.carried += *read.as_ref().unwrap_or(&0) as u64;
        match read {
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
