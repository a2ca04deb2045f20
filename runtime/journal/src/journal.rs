//! The journal: opening, appending, anchoring, pruning.
//!
//! Opening looks first and writes then. What it has to write (the last write once more, a gap record, a first
//! segment, an anchor file) is a list of work, and [`Journal::settle`] does what is left of it. On a disk that is full
//! or read-only the work stays undone and the journal can be read all the same; each later append tries it again.

use std::{error, fmt, io};

use backstay_evidence::{BODY_BYTES_MAX, Chain, Frame, Head, Place, Record};

use crate::{
    anchor::{self, Anchor, Found, Step, WORDS_BYTES_MAX},
    disk::{Disk, DiskFile, Folder},
    finding::Finding,
    ledger::{AnchorError, AppendError, CommitError, Ledger, PruneError, ReadError},
    reader::Reader,
    segment::{
        Begins, Header, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SLOTS_AT, Sheet, counts, file_name, index_of,
        slot_bytes, write_slot,
    },
    survey::{Part, PartState, Survey, Tail, survey},
};

const SEGMENT_TEMPORARY: &str = "segment.tmp";
const BALLAST: &str = "ballast";
const BALLAST_TEMPORARY: &str = "ballast.tmp";
const PROBE: &str = "probe.tmp";
const DAMAGED: &str = "damaged-";
/// How many damaged files are kept beside the journal. Beyond, the oldest goes: a disk that rots may not fill itself.
const DAMAGED_KEPT_MAX: usize = 8;
/// Zeros are written in pieces of this size.
const FILL_BYTES: usize = 64 << 10;

/// How a journal is to be kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose journal it is. Part of every hash.
    pub instance: String,
    /// The size of a new segment, in bytes, from 4 KiB to 16 MiB in steps of 4 KiB. The longest body is about 1 KiB shorter, and
    /// never longer than 1 MiB. Opening and reading hold one segment in memory.
    pub segment_bytes: u64,
    /// The most bytes that the segments may take together. At the bound nothing is appended until the caller
    /// prunes; only a gap record may go beyond it.
    pub bytes_max: u64,
    /// The size of the ballast: a file that is removed when the disk is full, so that the way home can still be
    /// recorded. 0 for none.
    pub ballast_bytes: u64,
    /// The last head for which the caller holds a receipt, if any. The journal may not be older.
    pub receipt: Option<Head>,
    /// Finds it in the words that were anchored last, where the caller has none at hand.
    pub receipt_in: fn(&[u8]) -> Option<Head>,
}

impl Options {
    /// Segments of 1 MiB, 64 MiB at most, 2 MiB of ballast.
    #[must_use]
    pub fn new(instance: impl Into<String>) -> Self {
        let (segment_bytes, bytes_max, ballast_bytes) = (1 << 20, 64 << 20, 2 << 20);
        let instance = instance.into();
        Self { instance, segment_bytes, bytes_max, ballast_bytes, receipt: None, receipt_in: |_| None }
    }
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// All that was not as it should be. Empty after a good stop, and after most bad ones.
    pub findings: Vec<Finding>,
    /// What was anchored last. None on the first day, and if it was lost: then a finding says so.
    pub anchor: Option<Anchor>,
    /// Records behind a damage, in the order in which they stand. Each is whole by its checksum; nothing vouches for
    /// the place where they belong. They are not part of the journal any more.
    pub salvaged: Vec<Record>,
}

/// Why there is no journal at all.
#[derive(Debug)]
pub enum OpenError {
    /// The options ask for something that can't be.
    SegmentBytes {
        /// The size asked for.
        bytes: u64,
    },
    /// It can't be seen which files there are.
    List {
        /// Why.
        source: io::Error,
    },
    /// The disk failed, and still takes no writes.
    Unfit {
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::SegmentBytes { .. } => "choose a segment size from 4 KiB to 16 MiB, in steps of 4 KiB",
            Self::Unfit { .. } => "nothing, if it passes; else expect the disk to have failed for good",
            Self::List { .. } => "check that the folder's file system is mounted and can be read",
        })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentBytes { bytes } => write!(f, "a segment can't have {bytes} bytes"),
            Self::Unfit { .. } => f.write_str("the journal's disk still takes no writes"),
            Self::List { .. } => f.write_str("cannot list the journal's files"),
        }
    }
}

impl error::Error for OpenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::SegmentBytes { .. } => None,
            Self::List { source } | Self::Unfit { source } => Some(source),
        }
    }
}

/// Whether there is still ballast to throw out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballast {
    /// It is there.
    Held,
    /// There is none: it was released because the disk was full, or there never was room for it.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Sound,
    /// A sync failed. Nothing that this process could do would tell what is durable.
    Failed,
}

/// A journal on a disk.
#[derive(Debug)]
pub struct Journal<D: Disk = Folder> {
    disk: D,
    chain: Chain,
    options: Options,
    parts: Vec<Part>,
    /// The file of the last part, if records may be appended to it.
    active: Option<D::File>,
    head: Head,
    tail: Head,
    /// Slots that wait for the next commit.
    pending: Vec<u8>,
    next_index: u64,
    anchor: Anchor,
    /// The anchor file and the slot that holds.
    anchor_file: Option<(D::File, usize)>,
    ballast: Ballast,
    health: Health,
    work: Work,
}

/// What opening could not finish yet.
#[derive(Debug, Default)]
struct Work {
    /// The segment whose last write has to be proved durable, and that write.
    proof: Option<(u64, Option<Tail>)>,
    gap: Option<Gap>,
    /// An anchor slot is bad and has to be written anew.
    anchor: Due,
    /// The folder has to be synced, and ballast to be taken in.
    folder: Due,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    Done,
    Due,
}

/// A gap record that is not durable yet.
#[derive(Debug)]
struct Gap {
    epoch: u32,
    seq: u64,
    body: Vec<u8>,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal on `disk`, or begins one. After damage `gap` is asked for the body of the gap record; it is
    /// given the finding and the records that can be salvaged. A body longer than 1 MiB is cut.
    ///
    /// A journal that is damaged, full or read-only is opened too: the findings say so.
    ///
    /// # Errors
    /// If the options are no good or the disk does not even say which files there are.
    pub fn open(
        disk: D,
        options: Options,
        gap: impl FnOnce(&Finding, &[Record]) -> Vec<u8>,
    ) -> Result<(Self, Opened), OpenError> {
        let bounds = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !bounds.contains(&options.segment_bytes)
            || !options.segment_bytes.is_multiple_of(SEGMENT_BYTES_MIN)
        {
            return Err(OpenError::SegmentBytes { bytes: options.segment_bytes });
        }
        let chain = Chain::new(&options.instance);
        let (look, opened) = look(&disk, &chain, &options, gap)?;
        let Look { parts, active, head, next_index, anchor, anchor_file, ballast, work } = look;
        let mut journal = Self {
            disk,
            chain,
            options,
            parts,
            active,
            head,
            tail: head,
            pending: Vec::new(),
            next_index,
            anchor,
            anchor_file,
            ballast,
            health: Health::Sound,
            work,
        };
        let opened = journal.settled(opened);
        Ok((journal, opened))
    }

    /// Opens the journal anew, on the disk that it is on: what else there is after the disk failed. What was appended and
    /// not committed is gone, unless it is found; [`Journal::head`] says. `gap` is as in [`Journal::open`].
    ///
    /// It is as good as another process doing so: the write that failed is made once more before anything is built on it.
    ///
    /// # Errors
    /// If the disk still takes no writes, or does not say which files there are. Then the journal is as it was.
    pub fn reopen(&mut self, gap: impl FnOnce(&Finding, &[Record]) -> Vec<u8>) -> Result<Opened, OpenError> {
        // A disk that is still failing may read as if all were lost, and that would be believed.
        self.probe().map_err(|source| OpenError::Unfit { source })?;
        // Nobody knows better than this what was durable.
        self.options.receipt = Some(self.head).filter(|head| head.seq > 0);
        let (look, opened) = look(&self.disk, &self.chain, &self.options, gap)?;
        let Look { parts, active, head, next_index, anchor, anchor_file, ballast, work } = look;
        (self.parts, self.active, self.head, self.tail) = (parts, active, head, head);
        (self.next_index, self.anchor, self.anchor_file) = (next_index, anchor, anchor_file);
        (self.ballast, self.work, self.health) = (ballast, work, Health::Sound);
        self.pending.clear();
        Ok(self.settled(opened))
    }

    /// Whether the disk failed, so that nothing more is taken before the journal was opened again.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.health == Health::Failed
    }

    /// Whether there is still ballast.
    #[must_use]
    pub fn ballast(&self) -> Ballast {
        self.ballast
    }

    /// How many bytes the segments take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// The oldest sequence that can still be read, or the next one if there is none.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.parts.first().map_or(self.head.seq, |part| part.base.seq) + 1
    }

    /// What was anchored last.
    #[must_use]
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The longest body that can be appended.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        (self.options.segment_bytes as usize - SLOTS_AT - slot_bytes(0)).min(BODY_BYTES_MAX)
    }

    /// Makes `words` durable, together with the durable head. What is appended later than that may be cut by
    /// damage that looks like a torn write; what is anchored never goes in silence.
    ///
    /// # Errors
    /// The anchor before still holds.
    pub fn write_anchor(&mut self, words: &[u8]) -> Result<(), AnchorError> {
        if words.len() > WORDS_BYTES_MAX {
            return Err(AnchorError::TooLong { bytes: words.len() });
        }
        let written = self
            .settle()
            .and_then(|()| self.put_anchor(Anchor { words: words.to_vec(), ..self.anchor.clone() }));
        written.map_err(|source| AnchorError::Disk { source })
    }

    fn probe(&self) -> io::Result<()> {
        fill(&self.disk, PROBE, &[], SEGMENT_BYTES_MIN)?;
        self.disk.remove(PROBE)?;
        self.disk.sync()
    }

    /// Does what opening found to be done, as far as the disk lets it.
    fn settled(&mut self, mut opened: Opened) -> Opened {
        if let Err(cause) = self.settle() {
            opened.findings.push(Finding::Degraded { cause });
        }
        opened
    }

    /// Does what is left of the work of opening.
    fn settle(&mut self) -> Result<(), CommitError> {
        if self.health == Health::Failed {
            return Err(CommitError::Failed);
        }
        if let Some((index, tail)) = &self.work.proof {
            let file = self.disk.open(&file_name(*index)).map_err(CommitError::of)?;
            if let Some(Tail { offset, bytes }) = tail
                && let Err(error) = file.write(*offset, bytes)
            {
                return Err(self.refused(error));
            }
            if let Err(error) = file.sync() {
                return Err(self.failed(error));
            }
            self.work.proof = None;
        }
        if self.work.folder == Due::Due
            && let Err(error) = self.disk.sync()
        {
            return Err(self.failed(error));
        }
        if let Some(gap) = self.work.gap.take() {
            let Gap { epoch, seq, body } = &gap;
            let (prev, place) = (self.head.hash, Place::First);
            let frame = Frame { seq: *seq, epoch: *epoch, prev, place, body };
            let head = self.chain.head_of(&frame);
            let mut slot = Vec::new();
            write_slot(&frame, &mut slot);
            let added = self.add_segment(Begins::AfterGap, &slot, head);
            if self.head != head {
                self.work.gap = Some(gap);
            }
            added?;
        } else if self.active.is_none() {
            self.add_segment(Begins::Onward, &[], self.head)?;
        }
        if self.anchor_file.is_none() {
            self.make_anchor()?;
        } else if self.work.anchor == Due::Due {
            self.put_anchor(self.anchor.clone())?;
        }
        self.work.anchor = Due::Done;
        if self.work.folder == Due::Due {
            self.work.folder = Due::Done;
            self.hold_ballast();
        }
        Ok(())
    }

    /// The disk did not take a write. That it is full or read-only may pass; anything else may not.
    fn refused(&mut self, error: io::Error) -> CommitError {
        let error = CommitError::of(error);
        if matches!(error, CommitError::Io { .. }) {
            self.health = Health::Failed;
        }
        error
    }

    /// The disk failed to sync. That is never tried again: the system may have dropped what it could not write, and
    /// would then report success for the rest.
    fn failed(&mut self, source: io::Error) -> CommitError {
        self.health = Health::Failed;
        CommitError::Io { source }
    }

    fn stepped(&mut self, step: Step) -> CommitError {
        match step {
            Step::Write(error) => self.refused(error),
            Step::Sync(error) => self.failed(error),
        }
    }

    /// Adds a segment that begins with `slots`, which make `head`. It is there as a whole or not at all: until it has
    /// its name nobody looks at it.
    fn add_segment(&mut self, begins: Begins, slots: &[u8], head: Head) -> Result<(), CommitError> {
        let used = (SLOTS_AT + slots.len()) as u64;
        let bytes = self.options.segment_bytes.max(used);
        if begins == Begins::Onward && self.bytes() + bytes > self.options.bytes_max {
            return Err(CommitError::Bounded { bytes_max: self.options.bytes_max });
        }
        let (index, base, genesis) = (self.next_index, self.head, self.chain.genesis().hash);
        let mut start = Header { index, bytes, base, genesis, begins }.encode();
        start.extend_from_slice(slots);
        let file = match fill(&self.disk, SEGMENT_TEMPORARY, &start, bytes) {
            Err(error) if is_full(&error) && self.release_ballast() => {
                fill(&self.disk, SEGMENT_TEMPORARY, &start, bytes)
            }
            filled => filled,
        };
        // Nothing depends on the file yet, so even a failed sync has done no harm to what is durable.
        let file = match file
            .and_then(|file| self.disk.rename(SEGMENT_TEMPORARY, &file_name(index)).map(|()| file))
        {
            Ok(file) => file,
            Err(error) => return Err(self.refused(error)),
        };
        if let Err(error) = self.disk.sync() {
            return Err(self.failed(error));
        }
        self.parts.push(Part { index, base, end: head, used, bytes, state: PartState::Whole });
        self.active = Some(file);
        self.next_index += 1;
        (self.head, self.tail) = (head, head);
        if self.anchor_file.is_some() {
            // With the anchor knowing of the segment, it can't vanish unnoticed.
            self.put_anchor(self.anchor.clone())?;
        }
        Ok(())
    }

    /// Writes `next` into the slot that does not hold, with the durable head and the segments that there are.
    fn put_anchor(&mut self, next: Anchor) -> Result<(), CommitError> {
        let next = self.dated(next);
        let Some((file, slot)) = &self.anchor_file else { return self.make_anchor() };
        let slot = 1 - slot;
        if let Err(step) = anchor::write(file, slot, &next, &self.chain.genesis().hash) {
            return Err(self.stepped(step));
        }
        if let Some((_, held)) = &mut self.anchor_file {
            *held = slot;
        }
        self.anchor = next;
        Ok(())
    }

    fn make_anchor(&mut self) -> Result<(), CommitError> {
        let next = self.dated(self.anchor.clone());
        if self.work.anchor == Due::Due {
            // Neither slot holds. Kept for whoever looks into it; if that fails, the journal matters more.
            let _ = self.disk.rename(anchor::FILE, &format!("{DAMAGED}{}", anchor::FILE));
        }
        match anchor::create(&self.disk, &next, &self.chain.genesis().hash) {
            Ok(file) => self.anchor_file = Some((file, 0)),
            Err(step) => return Err(self.stepped(step)),
        }
        self.anchor = next;
        Ok(())
    }

    fn dated(&self, anchor: Anchor) -> Anchor {
        let first = self.parts.first().map_or(anchor.first, |part| part.index.max(anchor.first));
        let newest = self.parts.last().map_or(anchor.newest, |part| part.index);
        Anchor { generation: anchor.generation + 1, head: self.head, first, newest, words: anchor.words }
    }

    /// Throws out the ballast. Says whether that made room.
    fn release_ballast(&mut self) -> bool {
        let released = self.ballast == Ballast::Held
            && self.disk.remove(BALLAST).and_then(|()| self.disk.sync()).is_ok();
        self.ballast = Ballast::Released;
        released
    }

    /// Takes ballast in, if there is room for it. Without it the journal works as well, only not as long.
    fn hold_ballast(&mut self) {
        let bytes = self.options.ballast_bytes;
        if self.ballast == Ballast::Held || bytes == 0 {
            return;
        }
        let held = fill(&self.disk, BALLAST_TEMPORARY, &[], bytes)
            .and_then(|_| self.disk.rename(BALLAST_TEMPORARY, BALLAST))
            .and_then(|()| self.disk.sync());
        if held.is_ok() {
            self.ballast = Ballast::Held;
        }
    }
}

/// What opening finds on a disk.
struct Look<F> {
    parts: Vec<Part>,
    active: Option<F>,
    head: Head,
    next_index: u64,
    anchor: Anchor,
    anchor_file: Option<(F, usize)>,
    ballast: Ballast,
    work: Work,
}

/// Looks at all that is on a disk, and removes what a stop left behind.
fn look<D: Disk>(
    disk: &D,
    chain: &Chain,
    options: &Options,
    gap: impl FnOnce(&Finding, &[Record]) -> Vec<u8>,
) -> Result<(Look<D::File>, Opened), OpenError> {
    let names = disk.list().map_err(|source| OpenError::List { source })?;
    let mut findings = Vec::new();

    let found = anchor::find(disk, &chain.genesis().hash);
    let (held, bad) = match found {
        Found::Nothing => (None, Vec::new()),
        Found::Slots { newest, bad } => (newest, bad),
    };
    let anchor = held.as_ref().map(|(_, anchor)| anchor.clone());
    if let (Some(anchor), [slot]) = (&anchor, bad.as_slice()) {
        findings.push(Finding::AnchorDamaged { slot: *slot, kept: anchor.generation });
    }

    let first = anchor.as_ref().map_or(0, |anchor| anchor.first);
    let mut indexes: Vec<u64> = names.iter().filter_map(|name| index_of(name)).collect();
    indexes.retain(|index| counts(disk, *index, &chain.genesis().hash));
    indexes.sort_unstable();
    clear_leftovers(disk, chain, &names, indexes.iter().copied().filter(|index| *index < first));
    indexes.retain(|index| *index >= first);

    let receipt =
        options.receipt.or_else(|| anchor.as_ref().and_then(|anchor| (options.receipt_in)(&anchor.words)));
    let survey = survey(disk, chain, &indexes, anchor.as_ref(), receipt);
    let Survey { parts, head, tail, loss, findings: seen, salvaged, next_epoch, next_seq, next_index } =
        survey;
    findings.extend(seen);
    if anchor.is_none() && (head.seq > 0 || !bad.is_empty()) {
        findings.push(Finding::AnchorLost);
    }

    let mut work = Work { folder: Due::Due, ..Work::default() };
    if !bad.is_empty() {
        work.anchor = Due::Due;
    }
    if let Some(part) = parts.iter().rev().find(|part| part.used > 0) {
        // What is damaged stays as it is found.
        work.proof = Some((part.index, tail.filter(|_| part.state == PartState::Whole)));
    }
    let mut active = None;
    if let Some(loss) = loss {
        let finding = Finding::Corrupt(loss);
        let mut body = gap(&finding, &salvaged);
        body.truncate(BODY_BYTES_MAX);
        work.gap = Some(Gap { epoch: next_epoch, seq: next_seq, body });
        findings.push(finding);
    } else if let Some(part) = parts.last() {
        active = disk.open(&file_name(part.index)).ok();
    }

    let oldest = parts.first().map_or(next_index, |part| part.index);
    let fresh = Anchor { generation: 2, head, words: Vec::new(), first: oldest, newest: next_index };
    let anchor_file = held.and_then(|(slot, _)| Some((disk.open(anchor::FILE).ok()?, slot)));
    let ballast = match names.iter().any(|name| name == BALLAST) {
        true => Ballast::Held,
        false => Ballast::Released,
    };
    let anchored = anchor.clone().unwrap_or(fresh);
    let look = Look { parts, active, head, next_index, anchor: anchored, anchor_file, ballast, work };
    Ok((look, Opened { findings, anchor, salvaged }))
}

impl<D: Disk> Ledger for Journal<D> {
    fn append(&mut self, body: &[u8]) -> Result<u64, AppendError> {
        let bytes_max = self.body_bytes_max();
        if body.len() > bytes_max {
            return Err(AppendError::TooLong { bytes: body.len(), bytes_max });
        }
        let no_room = |source| AppendError::NoRoom { source };
        self.settle().map_err(no_room)?;
        let room = self.parts.last().map_or(0, |part| part.bytes.saturating_sub(part.used));
        if (self.pending.len() + slot_bytes(body.len())) as u64 > room {
            self.commit().map_err(no_room)?;
            self.add_segment(Begins::Onward, &[], self.head).map_err(no_room)?;
        }
        let place = if self.pending.is_empty() { Place::First } else { Place::Next };
        let (seq, epoch, prev) = (self.tail.seq + 1, self.tail.epoch, self.tail.hash);
        let frame = Frame { seq, epoch, prev, place, body };
        write_slot(&frame, &mut self.pending);
        self.tail = self.chain.head_of(&frame);
        Ok(seq)
    }

    fn append_if(&mut self, expected: Head, body: &[u8]) -> Result<u64, AppendError> {
        if expected != self.tail {
            return Err(AppendError::Moved { head: self.tail });
        }
        self.append(body)
    }

    fn commit(&mut self) -> Result<Head, CommitError> {
        self.settle()?;
        if self.pending.is_empty() {
            return Ok(self.head);
        }
        let Some(offset) = self.parts.last().map(|part| part.used) else { return Err(CommitError::Failed) };
        let write = |journal: &Self| match &journal.active {
            Some(file) => file.write(offset, &journal.pending),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let written = match write(self) {
            Err(error) if is_full(&error) && self.release_ballast() => write(self),
            written => written,
        };
        if let Err(error) = written {
            return Err(self.refused(error));
        }
        if let Some(Err(error)) = self.active.as_ref().map(DiskFile::sync) {
            return Err(self.failed(error));
        }
        self.head = self.tail;
        if let Some(part) = self.parts.last_mut() {
            part.used += self.pending.len() as u64;
            part.end = self.head;
        }
        self.pending.clear();
        Ok(self.head)
    }

    fn read(&self, from_seq: u64) -> impl Iterator<Item = Result<Record, ReadError>> {
        Reader::new(&self.disk, &self.chain, &self.parts, from_seq)
    }

    fn head(&self) -> Head {
        self.head
    }

    fn tail(&self) -> Head {
        self.tail
    }

    fn prune(&mut self, below_seq: u64) -> Result<(), PruneError> {
        self.settle().map_err(|source| PruneError::Anchor { source })?;
        let old = self.parts.iter().take_while(|part| part.end.seq < below_seq).count();
        let old = old.min(self.parts.len().saturating_sub(1));
        let Some(first) = self.parts.get(old).filter(|_| old > 0).map(|part| part.index) else {
            return Ok(());
        };
        // Said first and done then: what is missing without having been pruned is a finding.
        let next = Anchor { first, ..self.anchor.clone() };
        self.put_anchor(next).map_err(|source| PruneError::Anchor { source })?;
        let gone: Vec<Part> = self.parts.drain(..old).collect();
        let result = gone.iter().try_for_each(|part| {
            let name = file_name(part.index);
            let removed = match part.state {
                PartState::Whole => self.disk.remove(&name),
                PartState::Damaged => set_aside(&self.disk, &name),
            };
            removed.map_err(|source| PruneError::Remove { name, source })
        });
        self.hold_ballast();
        result
    }
}

/// Makes a file of `bytes` bytes that begins with `start` and is zeros otherwise, and makes it durable. Its blocks are
/// allocated then, so that writing to it later needs no space and moves no metadata.
fn fill<D: Disk>(disk: &D, name: &str, start: &[u8], bytes: u64) -> io::Result<D::File> {
    let write = || {
        let file = disk.create(name)?;
        file.write(0, start)?;
        let zeros = vec![0; FILL_BYTES];
        let mut at = start.len() as u64;
        while at < bytes {
            let piece = (bytes - at).min(FILL_BYTES as u64);
            file.write(at, &zeros[..piece as usize])?;
            at += piece;
        }
        file.sync()?;
        Ok(file)
    };
    write().inspect_err(|_| {
        // It takes the space that is missing. If it can't be removed, the next one takes its place.
        let _ = disk.remove(name);
    })
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Removes what a stop left behind: unfinished files, and segments that the anchor says were pruned. If it fails, the
/// next opening tries again; nothing looks at them.
fn clear_leftovers<D: Disk>(disk: &D, chain: &Chain, names: &[String], pruned: impl Iterator<Item = u64>) {
    for name in [SEGMENT_TEMPORARY, BALLAST_TEMPORARY, PROBE] {
        if names.iter().any(|there| there == name) {
            let _ = disk.remove(name);
        }
    }
    for index in pruned {
        let name = file_name(index);
        let whole = Sheet::load(disk, &name).is_some_and(|sheet| {
            !sheet.is_short()
                && sheet.header.is_some_and(|header| sheet.walk(chain, header.base, |_| ()).stopped.is_none())
        });
        let _ = if whole { disk.remove(&name) } else { set_aside(disk, &name) };
    }
}

/// Keeps a damaged file beside the journal under another name.
fn set_aside<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    disk.rename(name, &format!("{DAMAGED}{name}"))?;
    let mut kept: Vec<String> = disk.list()?.into_iter().filter(|name| name.starts_with(DAMAGED)).collect();
    kept.sort_unstable();
    let over = kept.len().saturating_sub(DAMAGED_KEPT_MAX);
    kept.iter().take(over).try_for_each(|name| disk.remove(name))
}
