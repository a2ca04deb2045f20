//! An instance's memory: opening it, recording, anchoring, giving space back.

use std::{error, fmt, path::Path};

use backstay_evidence::{Chain, Head};
use backstay_journal::{Folder, FolderError, Journal, Ledger, Options as JournalOptions};
use backstay_model::{Event, Mono, Ticket};
use backstay_store::{Backing, Damage, View};
use backstay_wire::{AnchorWords, Entry, LogBatch, Receipt, Stream, decode, encode};

use crate::{
    outbox::{self, ReceiptError},
    recall::{self, Recalled, State},
    runs::Step,
};

/// Records between two flushes of the view. What a power cut takes from the view, the journal gives back.
const FLUSH_EVERY: u32 = 256;

/// Space is given back when the journal takes more than this share of what it may, in percent.
const PRUNE_AT_PERCENT: u64 = 75;

/// From this share on also what the server has not got goes, in percent.
const DROP_AT_PERCENT: u64 = 90;

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

/// An instance's memory.
#[derive(Debug)]
pub struct Memory {
    journal: Journal,
    chain: Chain,
    /// `None` only while it is being replaced.
    view: Option<View>,
    state: State,
    /// Appended and not durable yet: a disk that was full may take it with what comes next.
    pending: Vec<(u64, Entry)>,
    words: Option<AnchorWords>,
    receipt: u64,
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
        let mut journal_options = JournalOptions::new(options.instance.clone());
        journal_options.bytes_max = options.bytes_max;
        journal_options.segment_bytes = (options.bytes_max / 8).clamp(256 << 10, 1 << 20);
        journal_options.ballast_bytes = journal_options.segment_bytes;
        let gap = |finding: &backstay_journal::Finding, _: &[_]| gap_body(&finding.to_string());
        let (journal, opened) = Journal::open(disk, journal_options, gap).map_err(OpenError::Journal)?;
        let words =
            opened.anchor.as_ref().and_then(|anchor| decode::<AnchorWords>(&anchor.words, usize::MAX).ok());
        let mut findings: Vec<Event> =
            opened.findings.iter().map(|finding| degraded(finding.to_string())).collect();

        let head = Some(journal.head().seq).filter(|seq| *seq > 0);
        let view_options = backstay_store::Options::new(head, journal.head().epoch);
        let opened = View::open(&dir.join("view"), view_options);
        if let Some(aside) = &opened.set_aside {
            findings.push(degraded(format!("the view was set aside: {}", aside.why)));
        }
        if let Backing::Memory { why } = opened.view.backing() {
            findings.push(degraded(format!("the view is in memory only: {why:?}")));
        }
        let (view, state) = caught_up(opened.view, &journal, &mut findings);

        let mark =
            words.as_ref().and_then(|words| words.mark(Stream::Receipt)).map_or(0, |mark| mark.counter);
        let clock = state.clock.max(words.as_ref().map_or(Mono(0), |words| words.clock));
        let snapshot = state.snapshot.clone();
        let memory = Self {
            chain: Chain::new(&options.instance),
            receipt: mark.min(journal.head().seq),
            journal,
            view: Some(view),
            state,
            pending: Vec::new(),
            words: words.clone(),
            dropped_to: 0,
            bytes_max: options.bytes_max,
            unflushed: 0,
            degraded: false,
        };
        Ok((memory, Recalled { clock, snapshot, words, findings }))
    }

    /// Records `events` in one commit, with the state after the last of them. When this returns
    /// [`Durability::Durable`], what the events announce may be done.
    pub fn record(&mut self, at: Mono, events: &[Event], snapshot: Option<Vec<u8>>) -> Durability {
        let Some(last) = events.len().checked_sub(1) else { return Durability::Durable };
        self.make_room();
        let mut lost = None;
        for (n, event) in events.iter().enumerate() {
            let snapshot = snapshot.clone().filter(|_| n == last);
            let put = self.put(Entry { at, event: event.clone(), snapshot });
            lost = put.err().or(lost);
        }
        if let Err(error) = self.journal.commit() {
            return self.degrade(chain_of(&error));
        }
        for (seq, entry) in std::mem::take(&mut self.pending) {
            let changes = self.state.take(seq, &entry);
            self.show(seq, &changes);
        }
        match lost {
            Some(why) => self.degrade(why),
            None => {
                self.degraded = false;
                Durability::Durable
            }
        }
    }

    /// Appends an entry; where a record can't hold it with the state, without.
    fn put(&mut self, mut entry: Entry) -> Result<(), String> {
        let mut whole = Ok(());
        let mut body = encode(&entry);
        if let Err(error) = &body
            && entry.snapshot.take().is_some()
        {
            whole = Err(clip(&format!("the state is not kept: {error}")));
            body = encode(&entry);
        }
        let body = body.map_err(|error| chain_of(&error))?;
        let seq = self.journal.append(&body).map_err(|error| chain_of(&error))?;
        self.pending.push((seq, entry));
        whole
    }

    /// Keeps the words that decide about booting, if they are others than before.
    pub fn anchor(&mut self, words: &AnchorWords) -> Durability {
        // The times move with each record and each receipt. They are in the records too, and alone not worth a write.
        let same = self.words.as_ref().is_some_and(|old| {
            AnchorWords { clock: words.clock, attested: words.attested, ..old.clone() } == *words
        });
        if same {
            return Durability::Durable;
        }
        let written = encode(words).map_err(|error| error.to_string());
        let written =
            written.and_then(|bytes| self.journal.write_anchor(&bytes).map_err(|error| chain_of(&error)));
        match written {
            Ok(()) => {
                self.words = Some(words.clone());
                Durability::Durable
            }
            Err(why) if self.degraded => {
                drop(why);
                Durability::StillDegraded
            }
            Err(why) => {
                self.degraded = true;
                Durability::Degraded(why)
            }
        }
    }

    /// The steps of a run that has begun and not ended, in order.
    #[must_use]
    pub fn steps(&self, ticket: Ticket) -> &[Step] {
        self.state.runs.of(ticket)
    }

    /// The durable head of the journal.
    #[must_use]
    pub fn head(&self) -> Head {
        self.journal.head()
    }

    /// The records that the server has no receipt for, oldest first, as many as fit one message.
    #[must_use]
    pub fn unreceipted(&self) -> Option<LogBatch> {
        let sent = self.receipt.max(self.dropped_to);
        if sent < self.journal.head().seq { outbox::batch(&self.journal, sent) } else { None }
    }

    /// The server has the journal up to here.
    ///
    /// # Errors
    /// If it has another journal than this one.
    pub fn receipted(&mut self, receipt: &Receipt) -> Result<(), ReceiptError> {
        let head = outbox::check(&self.journal, &self.chain, receipt)?;
        self.receipt = self.receipt.max(head.seq);
        Ok(())
    }

    /// Up to which record the server has the journal.
    #[must_use]
    pub fn receipt(&self) -> u64 {
        self.receipt
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
        let _ = self.journal.prune(needed.min(self.receipt + 1));
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
        let (unsent, oldest) = (self.receipt.max(self.dropped_to) + 1, self.journal.oldest());
        if oldest > unsent {
            let why = format!("the outbox is full: records {unsent} to {} were dropped unsent", oldest - 1);
            self.dropped_to = oldest - 1;
            // With the record that made it necessary.
            let _ = self.put(Entry { at: self.state.clock, event: degraded(why), snapshot: None });
        }
    }

    fn degrade(&mut self, why: String) -> Durability {
        if std::mem::replace(&mut self.degraded, true) {
            return Durability::StillDegraded;
        }
        Durability::Degraded(why)
    }
}

fn caught_up(view: View, journal: &Journal, findings: &mut Vec<Event>) -> (View, State) {
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

fn gap_body(why: &str) -> Vec<u8> {
    let event = Event::Gap { after: 0, why: clip(why) };
    encode(&Entry { at: Mono(0), event, snapshot: None }).unwrap_or_default()
}

fn degraded(what: String) -> Event {
    Event::Degraded { what: clip(&what) }
}

fn clip(text: &str) -> String {
    backstay_model::Reason::new(text.into()).0
}

fn chain_of(error: &dyn error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    clip(&text)
}
