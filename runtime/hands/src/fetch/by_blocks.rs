//! An artifact by its blocks, from one source: the index, what of it is on this device, and the rest by ranges, in the order
//! of the artifact.
//!
//! It grows in the same file as a whole one, so a power cut costs what it costs there, and what began one way can end the
//! other. Each block is held against the index, and all against the signed digest. Whoever sends anything that isn't as it
//! has to be is asked for the whole. Memory: the index (1.3 MB at most), where its blocks were found (1 MB), and some 200 KB.
//!
//! Not here: what is fetched and what isn't (`backstay-blocks`), older images (`old`).

use std::{
    io::{self, Read},
    ops::Range,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use backstay_blocks::{EXTENSION, Found, HISTORY_BYTES, Index, Place, Plan, Shape, Step};
use backstay_model::Digest;
use ureq::{Body, http::Response};

use super::{
    CHUNK_BYTES, Inner,
    error::{BlocksError, FetchError, SourceError, Trouble},
    old::Old,
    part::Part,
    range_of, reader, unreachable,
};

/// What is wanted, and what there is for it.
pub(super) struct Wanted<'a> {
    pub(super) digest: &'a Digest,
    pub(super) length: u64,
    /// Older images, the likeliest first.
    pub(super) old: Vec<PathBuf>,
    /// Nobody waits for it any more.
    pub(super) given_up: &'a AtomicBool,
}

impl Wanted<'_> {
    fn is_awaited(&self) -> Result<(), Trouble> {
        if self.given_up.load(Ordering::Relaxed) { Err(Trouble::Ours(FetchError::GivenUp)) } else { Ok(()) }
    }
}

impl Inner {
    /// Whether the artifact is here now; if not, this source has no blocks of it, or needs not to be asked for them.
    ///
    /// # Errors
    /// `SourceError::Blocks`: the whole is what to ask this source for. Any other: it broke off, and goes on later.
    pub(super) fn by_blocks(
        &self,
        base: &str,
        wanted: &Wanted<'_>,
        part: &mut Part,
    ) -> Result<bool, Trouble> {
        let Some(shape) = Shape::of(wanted.length) else { return Ok(false) };
        if wanted.length - part.at <= shape.index_bytes() as u64 {
            return Ok(false);
        }
        let url = format!("{}/v1/artifacts/{}.{EXTENSION}", base.trim_end_matches('/'), wanted.digest);
        let Some(index) = self.index(&url, shape, wanted, part)? else { return Ok(false) };
        let mut unread = Vec::new();
        let old = Old::open(&wanted.old, shape, &mut unread);
        part.unread = unread;
        let mut found = old.search(&index, wanted.given_up).map_err(Trouble::Ours)?;
        // Twice: bytes that an earlier source left may be why these don't fit behind them.
        for _ in 0..2 {
            let resumed = part.at;
            while part.at < wanted.length {
                let left = wanted.length - part.at;
                let plan = Plan::new(&index, &found, shape.block_at(part.at));
                if !plan.is_worth_it(left) {
                    return Err(BlocksError::NotWorthIt { carried: plan.carried, left }.into());
                }
                for step in plan.steps {
                    match step {
                        Step::Fetch(blocks) => self.fetch_blocks(&url, &index, blocks, wanted, part)?,
                        Step::Here(blocks) => {
                            if !take(&index, &old, &found, blocks, wanted, part)? {
                                // It changes while it is read, and nobody knows how much of it.
                                found.forget();
                                break;
                            }
                        }
                    }
                }
            }
            if part.is(wanted.digest, wanted.length) {
                return Ok(true);
            }
            part.reset().map_err(Trouble::Ours)?;
            if resumed == 0 {
                break;
            }
        }
        Err(BlocksError::OtherBytes.into())
    }

    /// The index, if the source has one.
    fn index(
        &self,
        url: &str,
        shape: Shape,
        wanted: &Wanted<'_>,
        part: &mut Part,
    ) -> Result<Option<Index>, Trouble> {
        let bytes = shape.index_bytes();
        let response = self.ask_range(url, 0..bytes as u64);
        let response = response.map_err(|error| BlocksError::Unreachable { why: error.to_string() })?;
        if response.status().as_u16() == 404 {
            return Ok(None);
        }
        is_range(&response, &(0..bytes as u64))?;
        let mut stream = reader(response);
        let mut index = vec![0; bytes];
        for chunk in index.chunks_mut(CHUNK_BYTES) {
            wanted.is_awaited()?;
            fill(&mut stream, chunk, part).map_err(|_| BlocksError::BrokeOff)?;
        }
        at_end(stream);
        let index = Index::read(index, wanted.digest, wanted.length).map_err(BlocksError::Index)?;
        Ok(Some(index))
    }

    /// Fetches blocks that lie beside each other, and puts them where they belong.
    fn fetch_blocks(
        &self,
        url: &str,
        index: &Index,
        blocks: Range<u32>,
        wanted: &Wanted<'_>,
        part: &mut Part,
    ) -> Result<(), Trouble> {
        wanted.is_awaited()?;
        let shape = index.shape();
        let place = index.place(blocks.clone());
        let response = self.ask_range(url, place.clone()).map_err(unreachable)?;
        is_range(&response, &place)?;
        let mut stream = reader(response);
        let mut stored = vec![0; shape.block_bytes()];
        // What went before the next block, and room for some more.
        let mut buffer = vec![0; 2 * HISTORY_BYTES + shape.block_bytes()];
        let begin = shape.place(blocks.start).start;
        let mut filled = usize::try_from(begin).unwrap_or(usize::MAX).min(HISTORY_BYTES);
        part.read_at(begin - filled as u64, &mut buffer[..filled]).map_err(Trouble::Ours)?;
        let first = part.at;
        for block in blocks {
            wanted.is_awaited()?;
            let stored = &mut stored[..index.stored(block)];
            fill(&mut stream, stored, part).map_err(|source| broke_off(part.at, first, source))?;
            let place = shape.place(block);
            let bytes = (place.end - place.start) as usize;
            if filled + bytes > buffer.len() {
                buffer.copy_within(filled - HISTORY_BYTES..filled, 0);
                filled = HISTORY_BYTES;
            }
            let from = filled.saturating_sub(HISTORY_BYTES);
            let here = &mut buffer[from..filled + bytes];
            index.unpack(block, stored, here, filled - from).map_err(BlocksError::Block)?;
            part.write_at(place.start, &buffer[filled..filled + bytes]).map_err(Trouble::Ours)?;
            filled += bytes;
        }
        at_end(stream);
        Ok(())
    }

    fn ask_range(&self, url: &str, range: Range<u64>) -> Result<Response<Body>, ureq::Error> {
        self.ask(url, Some(format!("bytes={}-{}", range.start, range.end.saturating_sub(1))))
    }
}

/// Takes blocks from where they were found; false: one of them isn't there any more.
fn take(
    index: &Index,
    old: &Old,
    found: &Found,
    blocks: Range<u32>,
    wanted: &Wanted<'_>,
    part: &mut Part,
) -> Result<bool, Trouble> {
    let shape = index.shape();
    let mut buffer = vec![0; shape.block_bytes()];
    for block in blocks {
        wanted.is_awaited()?;
        match found.place(block) {
            Place::Nowhere => return Ok(false),
            Place::Zeros => buffer.fill(0),
            Place::Old(number) => {
                if old.read(number, &mut buffer).is_err() {
                    return Ok(false);
                }
            }
        }
        let place = shape.place(block);
        let bytes = &buffer[..(place.end - place.start) as usize];
        if !index.is_block(block, bytes) {
            return Ok(false);
        }
        let before = part.at;
        part.write_at(place.start, bytes).map_err(Trouble::Ours)?;
        part.carriage.found += part.at - before;
    }
    Ok(true)
}

/// Whether an answer has these bytes of the file, and no others.
fn is_range(response: &Response<Body>, range: &Range<u64>) -> Result<(), Trouble> {
    match response.status().as_u16() {
        206 => {}
        200 | 416 => return Err(BlocksError::Ranges.into()),
        // It has too much to do just now. Any other may be about this file alone, and says nothing of the whole.
        status @ (408 | 425 | 429 | 502..=504) => {
            return Err(Trouble::Source(SourceError::Status { status }));
        }
        status => return Err(BlocksError::Status { status }.into()),
    }
    let begin = format!("bytes {}-{}/", range.start, range.end.saturating_sub(1));
    let same = range_of(response).is_some_and(|said| said.starts_with(&begin));
    let length = response.body().content_length();
    if same && length.is_none_or(|length| length == range.end - range.start) {
        Ok(())
    } else {
        Err(BlocksError::Ranges.into())
    }
}

/// Reads until `into` is full.
fn fill(stream: &mut impl Read, into: &mut [u8], part: &mut Part) -> io::Result<()> {
    stream.read_exact(into)?;
    part.carriage.carried += into.len() as u64;
    Ok(())
}

/// A connection can be used again when its answer was read to its end, which is here.
fn at_end(mut stream: impl Read) {
    let _ = stream.read(&mut [0]);
}

/// The network may be gone: the next try goes on here, and the whole would be no better. Where nothing came, it may be.
fn broke_off(at: u64, first: u64, source: io::Error) -> Trouble {
    if at > first {
        Trouble::Source(SourceError::BrokeOff { at, source: Some(source) })
    } else {
        BlocksError::BrokeOff.into()
    }
}
