//! An instance's memory: opening it, recording, anchoring, giving space back.

use std::{
    error, fmt,
    path::{Path, PathBuf},
};

use backstay_evidence::{Chain, Head};
use backstay_journal::{
    AppendError, Disk, Finding, Folder, FolderError, Journal, Ledger, Options as JournalOptions, Record,
};
use backstay_model::{Digest, Event, Millis, Mono, Ticket, causes};
use backstay_store::{Backing, Damage, View};
use backstay_wire::{AnchorWords, Entry, LogBatch, Mark, Receipt, Stream, decode, encode};

use crate::{
    begun::Begun,
    outbox::{self, ReceiptError},
    recall::{self, Recalled, State},
    runs::Step,
    waiting::{Retry, Waiting},
};

/// Records between two flushes of the view. What a power cut takes from the view, the journal gives back.
const FLUSH_EVERY: u32 = 256;

/// Space is given back when the journal takes more than this share of what it may, in percent.
const PRUNE_AT_PERCENT: u64 = 75;

/// From this share on also what the server has not got goes, in percent.
const DROP_AT_PERCENT: u64 = 90;

/// How far the clock in the anchor may lag behind. So far it goes back at most after a kill in which nothing was recorded
/// for longer. It costs a write of 4 KiB each time: 96 a day.
pub const ANCHOR_EVERY: Millis = Millis::from_secs(15 * 60);

/// Into so many parts what could go is divided: the oldest one goes, and only if that frees nothing, more.
const DROP_PARTS: u64 = 8;

/// How memory is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose it is; part of every hash.
    pub instance: String,
    /// The most bytes of the journal, 2 MiB or more.
    pub bytes_max: u64,
}

/// Whether what was to be remembered is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is.
    Durable,
    /// It isn't, from now on; this is why. Said once.
    Degraded(String),
    /// It isn't, as was said before.
    StillDegraded,
}

/// There is no memory to be had at all.
#[derive(Debug)]
pub enum OpenError {
    /// The journal's folder can't be had.
    Folder(FolderError),
    /// The journal can't be opened.
    Journal(backstay_journal::OpenError),
}

impl OpenError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Folder(error) => error.help(),
            Self::Journal(error) => error.help(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot open what this instance remembers")
    }
}

impl error::Error for OpenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Folder(error) => Some(error),
            Self::Journal(error) => Some(error),
        }
    }
}

/// What became of an entry.
enum Put {
    /// It was appended.
    Whole,
    /// It was, without the state.
    Less(String),
}

/// Why an entry was not appended.
enum NotPut {
    /// It fits no record.
    Never(String),
    /// The disk does not take it now.
    Now(Box<Entry>, String),
}

/// An instance's memory.
pub struct Memory<D: Disk = Folder> {
    journal: Journal<D>,
    chain: Chain,
    /// `None` only while it is being replaced.
    view: Option<View>,
    /// Where the view is; `None`: in memory.
    place: Option<PathBuf>,
    state: State,
    /// Appended and not durable yet: a disk that was full may take it with what comes next.
    pending: Vec<(u64, Entry)>,
    /// Not appended: the disk took nothing.
    waiting: Waiting,
    begun: Begun,
    retry: Retry,
    words: Option<AnchorWords>,
    /// When they were last written, or could not be.
    anchored: Mono,
    receipt: Option<Head>,
    dropped_to: u64,
    bytes_max: u64,
    unflushed: u32,
    degraded: bool,
}

impl Memory {
    /// Opens the memory in `dir`, or begins one.
    ///
    /// # Errors
    /// Only if the journal's folder can't be had: damage is a finding.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recalled), OpenError> {
        let disk = Folder::take(dir.join("journal")).map_err(OpenError::Folder)?;
        Self::open_on(disk, Some(dir.join("view")), options)
    }
}

impl<D: Disk> fmt::Debug for Memory<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("head", &self.journal.head()).finish_non_exhaustive()
    }
}

impl<D: Disk> Memory<D> {
    /// Opens the memory whose journal is on `disk` and whose view is in `place`, or in memory, or begins one.
    ///
    /// # Errors
    /// Only if the disk does not even say which files there are: damage is a finding.
    pub fn open_on(disk: D, place: Option<PathBuf>, options: Options) -> Result<(Self, Recalled), OpenError> {
        let mut journal_options = JournalOptions::new(options.instance.clone());
        journal_options.bytes_max = options.bytes_max;
        journal_options.segment_bytes = (options.bytes_max / 8).clamp(256 << 10, 1 << 20);
        journal_options.ballast_bytes = journal_options.segment_bytes;
        journal_options.receipt_in = |words| receipt_of(words_of(words).as_ref()?);
        let (journal, opened) = Journal::open(disk, journal_options, gap).map_err(OpenError::Journal)?;
        let words = opened.anchor.as_ref().and_then(|anchor| words_of(&anchor.words));
        let mut findings: Vec<Event> =
            opened.findings.iter().map(|finding| degraded(finding.to_string())).collect();
        let mut begun = Begun::beside(place.as_deref());
        match (journal.head().seq, begun.was()) {
            (0, true) => {
                let what = "the journal is gone, with all that was remembered: this begins anew";
                findings.push(degraded(what.into()));
            }
            (0, false) => {}
            (1.., _) => begun.keep(),
        }
        let (view, state) = view_of(&journal, place.as_deref(), &mut findings);

        let clock = state.clock.max(words.as_ref().map_or(Mono(0), |words| words.clock));
        let snapshot = state.snapshot.clone();
        let mut memory = Self {
            chain: Chain::new(&options.instance),
            receipt: words.as_ref().and_then(receipt_of),
            journal,
            view: Some(view),
            place,
            state,
            pending: Vec::new(),
            waiting: Waiting::default(),
            begun,
            retry: Retry::default(),
            anchored: words.as_ref().map_or(Mono(0), |words| words.clock),
            words: words.clone(),
            dropped_to: 0,
            bytes_max: options.bytes_max,
            unflushed: 0,
            degraded: false,
        };
        memory.forget_foreign_receipt();
        if memory.journal.is_failed() {
            memory.fails(clock);
        }
        Ok((memory, Recalled { clock, snapshot, words, findings }))
    }

    /// Records `events` in one commit, with the state after the last of them. When this returns
    /// [`Durability::Durable`], what the events announce may be done, and what could not be recorded before was, too.
    pub fn record(&mut self, at: Mono, events: &[Event], snapshot: Option<Vec<u8>>) -> Durability {
        let Some(last) = events.len().checked_sub(1) else { return Durability::Durable };
        self.reopen_if_due(at);
        if !self.journal.is_failed() {
            self.make_room();
        }
        let new = events.iter().enumerate().map(|(n, event)| {
            let snapshot = snapshot.clone().filter(|_| n == last);
            Entry { at, event: event.clone(), snapshot }
        });
        self.put_all(at, new.collect())
    }

    /// Does what time asks for: tries a disk that failed again, and keeps the clock.
    pub fn tend(&mut self, now: Mono, words: &AnchorWords) -> Durability {
        if self.retry.is_due(now) {
            self.reopen_if_due(now);
            let something_waits = !self.waiting.is_empty() || !self.pending.is_empty();
            if something_waits && !self.journal.is_failed() {
                match self.put_all(now, Vec::new()) {
                    Durability::Durable => {}
                    failed @ (Durability::Degraded(_) | Durability::StillDegraded) => return failed,
                }
            }
        }
        self.anchor(words)
    }

    /// When [`Memory::tend`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        let clock = self.anchored.after(ANCHOR_EVERY);
        self.retry.at().map_or(clock, |at| at.min(clock))
    }

    /// Appends what waits, and entries behind it, and makes them durable. Those that the disk does not take wait.
    fn put_all(&mut self, at: Mono, entries: Vec<Entry>) -> Durability {
        let (mut lost, mut full): (Option<String>, Option<String>) = (None, None);
        if self.waiting.has_refused() {
            // What was appended then comes first, and is late by now: nothing is put behind it before it is durable.
            full = self.commit(at).err();
        }
        while full.is_none()
            && let Some(entry) = self.waiting.next()
        {
            if let Err(NotPut::Now(entry, why)) = self.put(entry) {
                self.waiting.put_back(*entry);
                full = Some(why);
            }
        }
        if full.is_none()
            && let Some(telling) = self.waiting.telling(at)
        {
            match self.put(telling) {
                Ok(_) | Err(NotPut::Never(_)) => self.waiting = Waiting::default(),
                Err(NotPut::Now(_, why)) => full = Some(why),
            }
        }
        for entry in entries {
            if let Some(why) = &full {
                // In their order or not at all.
                self.waiting.keep(entry, why);
                continue;
            }
            match self.put(entry) {
                Ok(Put::Whole) => {}
                Ok(Put::Less(why)) | Err(NotPut::Never(why)) => lost = Some(why),
                Err(NotPut::Now(entry, why)) => {
                    self.waiting.keep(*entry, &why);
                    full = Some(why);
                }
            }
        }
        if !self.waiting.has_refused()
            && let Err(why) = self.commit(at)
        {
            return self.degrade(why);
        }
        match &full {
            Some(_) => self.fails(at),
            None => self.retry.succeeded(),
        }
        match full.or(lost) {
            Some(why) => self.degrade(why),
            None => {
                self.degraded = false;
                Durability::Durable
            }
        }
    }

    /// Makes durable what was appended, or notes that it will come late.
    fn commit(&mut self, at: Mono) -> Result<(), String> {
        if let Err(error) = self.journal.commit() {
            let why = chain_of(&error);
            self.waiting.refused(self.pending.len() as u64, &why);
            self.fails(at);
            return Err(why);
        }
        self.waiting.taken();
        if !self.pending.is_empty() {
            self.begun.keep();
        }
        for (seq, entry) in std::mem::take(&mut self.pending) {
            let changes = self.state.take(seq, &entry);
            self.show(seq, &changes);
        }
        Ok(())
    }

    /// Appends an entry; where a record can't hold it with the state, without.
    fn put(&mut self, mut entry: Entry) -> Result<Put, NotPut> {
        let mut whole = Put::Whole;
        let mut body = encode(&entry);
        if let Err(error) = &body
            && entry.snapshot.take().is_some()
        {
            whole = Put::Less(clip(&format!("the state is not kept: {error}")));
            body = encode(&entry);
        }
        let body = body.map_err(|error| NotPut::Never(chain_of(&error)))?;
        match self.journal.append(&body) {
            Ok(seq) => {
                self.pending.push((seq, entry));
                Ok(whole)
            }
            Err(error @ (AppendError::TooLong { .. } | AppendError::Moved { .. })) => {
                Err(NotPut::Never(chain_of(&error)))
            }
            Err(error @ AppendError::NoRoom { .. }) => Err(NotPut::Now(Box::new(entry), chain_of(&error))),
        }
    }

    /// The disk does not take what it is given. It is tried again with what comes next, and later in any case.
    fn fails(&mut self, now: Mono) {
        if self.retry.at().is_none_or(|at| at <= now) {
            self.retry.failed(now);
        }
    }

    fn reopen_if_due(&mut self, now: Mono) {
        if !self.journal.is_failed() || !self.retry.is_due(now) {
            return;
        }
        let opened = match self.journal.reopen(gap) {
            Ok(opened) => opened,
            Err(_) => return self.retry.failed(now),
        };
        // What was appended and not acknowledged is found, or it waits with the rest.
        let head = self.journal.head();
        let whole = opened.findings.iter().all(|finding| !matches!(finding, Finding::Corrupt(_)));
        let missed: Vec<Entry> = std::mem::take(&mut self.pending)
            .into_iter()
            .filter_map(|(seq, entry)| (seq > head.seq || !whole).then_some(entry))
            .collect();
        let mut found: Vec<Event> =
            opened.findings.iter().map(|finding| degraded(finding.to_string())).collect();
        self.words = opened.anchor.as_ref().and_then(|anchor| words_of(&anchor.words));
        // The view lets go of its place first.
        self.view = None;
        let (view, state) = view_of(&self.journal, self.place.as_deref(), &mut found);
        (self.view, self.state) = (Some(view), state);
        self.forget_foreign_receipt();
        self.waiting.keep_before(missed, found, now);
        if self.journal.is_failed() {
            self.retry.failed(now);
        } else {
            self.retry.succeeded();
        }
    }

    /// Keeps the words that decide about booting, if they are others than before, and with them the clock and how far
    /// the server has the journal.
    pub fn anchor(&mut self, words: &AnchorWords) -> Durability {
        let mut words = words.clone();
        if let Some(receipt) = self.receipt {
            let mark = Mark { stream: Stream::Receipt, counter: receipt.seq, digest: Digest(receipt.hash) };
            words.accept(mark);
            words.receipt_epoch = receipt.epoch;
        }
        if self.words.as_ref().is_some_and(|old| says_the_same(old, &words)) {
            return Durability::Durable;
        }
        let written = encode(&words).map_err(|error| error.to_string());
        let written =
            written.and_then(|bytes| self.journal.write_anchor(&bytes).map_err(|error| chain_of(&error)));
        self.anchored = words.clock;
        match written {
            Ok(()) => {
                self.words = Some(words);
                Durability::Durable
            }
            Err(why) => {
                if self.journal.is_failed() {
                    self.fails(self.anchored);
                }
                self.degrade(why)
            }
        }
    }

    /// The steps of a run that has begun and not ended, in order.
    #[must_use]
    pub fn steps(&self, ticket: Ticket) -> &[Step] {
        self.state.runs.of(ticket)
    }

    /// The words that were anchored last, as far as is known; none on the first day.
    #[must_use]
    pub fn words(&self) -> Option<&AnchorWords> {
        self.words.as_ref()
    }

    /// The durable head of the journal.
    #[must_use]
    pub fn head(&self) -> Head {
        self.journal.head()
    }

    /// The records that the server has no receipt for, oldest first, as many as fit one message.
    #[must_use]
    pub fn unreceipted(&self) -> Option<LogBatch> {
        let sent = self.receipt().max(self.dropped_to);
        if sent < self.journal.head().seq { outbox::batch(&self.journal, sent) } else { None }
    }

    /// The server has the journal up to here.
    ///
    /// # Errors
    /// If it has another journal than this one.
    pub fn receipted(&mut self, receipt: &Receipt) -> Result<(), ReceiptError> {
        let head = outbox::check(&self.journal, &self.chain, receipt)?;
        if head.seq > self.receipt() {
            self.receipt = Some(head);
        }
        Ok(())
    }

    /// Up to which record the server has the journal.
    #[must_use]
    pub fn receipt(&self) -> u64 {
        self.receipt.map_or(0, |head| head.seq)
    }

    /// All entries from `seq` on that this version can read, oldest first.
    pub fn entries(&self, seq: u64) -> impl Iterator<Item = (u64, Entry)> {
        let records = self.journal.read(seq).map_while(Result::ok);
        records.filter_map(|record| Some((record.seq, decode::<Entry>(&record.body, usize::MAX).ok()?)))
    }

    /// Brings the view to the disk. The journal needs no such thing.
    pub fn flush(&mut self) {
        self.unflushed = 0;
        let Some(view) = &mut self.view else { return };
        match view.flush() {
            Ok(()) => {}
            Err(backstay_store::FlushError::Damaged(why)) => self.replace_view(why),
            // The disk is the trouble: the next start builds the view anew.
            Err(backstay_store::FlushError::Disk(_)) => self.view = None,
        }
    }

    fn show(&mut self, seq: u64, changes: &[backstay_store::Change]) {
        let Some(view) = &mut self.view else { return };
        match view.apply(seq, changes) {
            Ok(()) => {}
            Err(backstay_store::ApplyError::Damaged(why)) => self.replace_view(why),
            Err(backstay_store::ApplyError::Disk(_)) => self.view = None,
            // What doesn't fit is in the journal all the same. The view stands for this record without it, so
            // that those behind it can follow; a state too large for it is found in the journal.
            Err(
                backstay_store::ApplyError::Full { .. }
                | backstay_store::ApplyError::Key { .. }
                | backstay_store::ApplyError::Value { .. },
            ) => drop(view.apply(seq, &[])),
            Err(backstay_store::ApplyError::Order { .. } | backstay_store::ApplyError::Gap { .. }) => {}
        }
        self.unflushed += 1;
        if self.unflushed >= FLUSH_EVERY {
            self.flush();
        }
    }

    /// Sets the view aside and builds it anew from the journal.
    fn replace_view(&mut self, why: Damage) {
        let Some(view) = self.view.take() else { return };
        let opened = view.set_aside(why);
        let mut findings = Vec::new();
        let (view, _) = caught_up(opened.view, &self.journal, &mut findings);
        self.view = Some(view);
    }

    /// Gives back what nobody needs any more; at the bound also what the server has not got, and says so.
    fn make_room(&mut self) {
        let before = self.journal.bytes();
        if before < self.bytes_max / 100 * PRUNE_AT_PERCENT {
            return;
        }
        // A run that is open may need its steps, and everybody the newest state.
        let needed = if self.state.runs.is_empty() { self.state.snapshot_seq } else { self.journal.oldest() };
        // What isn't pruned now is tried again with the next record.
        let _ = self.journal.prune(needed.min(self.receipt() + 1));
        if self.journal.bytes() == before && before >= self.bytes_max / 100 * DROP_AT_PERCENT {
            self.drop_oldest();
        }
        if self.journal.bytes() < before {
            self.flush();
        }
    }

    /// At the bound the oldest goes, needed or not. Only the newest state stays: without its steps a run begins anew,
    /// with a look; without room nothing at all is remembered.
    fn drop_oldest(&mut self) {
        let (oldest, before) = (self.journal.oldest(), self.journal.bytes());
        let span = self.state.snapshot_seq.saturating_sub(oldest);
        for part in 1..=DROP_PARTS {
            let _ = self.journal.prune(oldest + span * part / DROP_PARTS);
            if self.journal.bytes() < before {
                break;
            }
        }
        let (unsent, oldest) = (self.receipt().max(self.dropped_to) + 1, self.journal.oldest());
        if oldest > unsent {
            let why = format!("the outbox is full: records {unsent} to {} were dropped unsent", oldest - 1);
            self.dropped_to = oldest - 1;
            // With the record that made it necessary.
            let _ = self.put(Entry { at: self.state.clock, event: degraded(why), snapshot: None });
        }
    }

    /// A receipt that the journal, as it was found, knows nothing of holds nothing back any more: the finding that says
    /// what was lost names it.
    fn forget_foreign_receipt(&mut self) {
        self.receipt = self.receipt.filter(|receipt| receipt.seq <= self.journal.head().seq);
    }

    fn degrade(&mut self, why: String) -> Durability {
        if std::mem::replace(&mut self.degraded, true) {
            return Durability::StillDegraded;
        }
        Durability::Degraded(why)
    }
}

/// Opens the view of a journal, brought up to its head, and the state that the two add up to.
fn view_of<D: Disk>(journal: &Journal<D>, place: Option<&Path>, findings: &mut Vec<Event>) -> (View, State) {
    let head = Some(journal.head().seq).filter(|seq| *seq > 0);
    let options = backstay_store::Options::new(head, journal.head().epoch);
    let Some(place) = place else { return caught_up(View::in_memory(options), journal, findings) };
    let opened = View::open(place, options);
    if let Some(aside) = &opened.set_aside {
        findings.push(degraded(format!("the view was set aside: {}", aside.why)));
    }
    if let Backing::Memory { why } = opened.view.backing() {
        findings.push(degraded(format!("the view is in memory only: {why:?}")));
    }
    caught_up(opened.view, journal, findings)
}

/// The words in the bytes of an anchor.
fn words_of(bytes: &[u8]) -> Option<AnchorWords> {
    decode::<AnchorWords>(bytes, usize::MAX).ok()
}

/// How far the server has the journal, as words say it.
fn receipt_of(words: &AnchorWords) -> Option<Head> {
    let mark = words.mark(Stream::Receipt).filter(|_| words.receipt_epoch > 0)?;
    Some(Head { epoch: words.receipt_epoch, seq: mark.counter, hash: mark.digest.0 })
}

/// The times move with each record, and the server's receipt follows each: alone they are not worth a write, but now
/// and then.
fn says_the_same(old: &AnchorWords, new: &AnchorWords) -> bool {
    let mut old_but_now = AnchorWords {
        clock: new.clock,
        attested: new.attested,
        receipt_epoch: new.receipt_epoch,
        ..old.clone()
    };
    old_but_now.marks.retain(|mark| mark.stream != Stream::Receipt);
    old_but_now.marks.extend(new.mark(Stream::Receipt));
    old_but_now == *new && new.clock.since(old.clock) < ANCHOR_EVERY
}

fn caught_up<D: Disk>(view: View, journal: &Journal<D>, findings: &mut Vec<Event>) -> (View, State) {
    let mut view = view;
    loop {
        match recall::catch_up(&mut view, journal) {
            Ok(state) => return (view, state),
            Err(why) => {
                findings.push(degraded(format!("the view was set aside: {why}")));
                view = view.set_aside(why).view;
            }
        }
    }
}

fn gap(finding: &Finding, _: &[Record]) -> Vec<u8> {
    let event = Event::Gap { after: 0, why: clip(&finding.to_string()) };
    encode(&Entry { at: Mono(0), event, snapshot: None }).unwrap_or_default()
}

fn degraded(what: String) -> Event {
    Event::Degraded { what: clip(&what) }
}

fn clip(text: &str) -> String {
    backstay_model::Reason::new(text.into()).0
}

fn chain_of(error: &(dyn error::Error + 'static)) -> String {
    clip(&causes::in_one_line(error))
}
