//! The scan of a journal when it is opened. It reads and judges; it writes nothing.
//!
//! The rule: the state may not be older than the last anchor, the last receipt, or what had been committed. What ends
//! the chain is a torn tail only if it stands at the very end, looks like a write that was cut short, no later write
//! follows it, and no witness knows more. Everything else is damage.

use backstay_evidence::{Chain, Head, Place, Record};

use crate::{
    anchor::Anchor,
    disk::Disk,
    finding::{Cause, Finding, Loss, Witness},
    segment::{Begins, Header, SLOTS_AT, Sheet, file_name, slot_bytes},
};

/// One segment and what of it belongs to the chain.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) index: u64,
    /// What its first record follows.
    pub(crate) base: Head,
    /// Its last record, or `base`.
    pub(crate) end: Head,
    /// Where its last record ends.
    pub(crate) used: u64,
    /// The size of the file.
    pub(crate) bytes: u64,
    /// Whether there is something in it that is no longer part of the chain.
    pub(crate) state: PartState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartState {
    Whole,
    Damaged,
}

/// The last write of the last segment, to be written once more. The kernel may show from memory what a failed sync
/// never brought to the disk; only what was written and synced by us is believed. Behind the last record are zeros,
/// so that what was torn is cleared.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What there is, and what was found on the way.
pub(crate) struct Survey {
    pub(crate) parts: Vec<Part>,
    pub(crate) head: Head,
    pub(crate) tail: Option<Tail>,
    pub(crate) loss: Option<Loss>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) salvaged: Vec<Record>,
    /// Above everything that was ever seen: what a gap record may take.
    pub(crate) next_epoch: u32,
    pub(crate) next_seq: u64,
    pub(crate) next_index: u64,
}

/// Something that ends the chain, until something later shows that it doesn't.
struct Hurt {
    cause: Cause,
    place: Option<(u64, u64)>,
    /// How many bytes were torn, if it can be a torn write.
    torn: Option<u64>,
}

struct Surveyor<'a> {
    chain: &'a Chain,
    anchor: Option<&'a Anchor>,
    witnesses: Vec<(Witness, Head, Option<Head>)>,
    parts: Vec<Part>,
    head: Head,
    hurt: Option<Hurt>,
    tail: Option<Tail>,
    findings: Vec<Finding>,
    behind: Vec<(Record, Place)>,
    epoch_max: u32,
    seq_max: u64,
    old_missing: bool,
}

/// Reads the segments `indexes`, which rise, and judges them by the anchor and the receipt.
pub(crate) fn survey<D: Disk>(
    disk: &D,
    chain: &Chain,
    indexes: &[u64],
    anchor: Option<&Anchor>,
    receipt: Option<Head>,
) -> Survey {
    let known = anchor.map(|anchor| (Witness::Anchor, anchor.head, None));
    let receipt = receipt.map(|head| (Witness::Receipt, head, None));
    let mut surveyor = Surveyor {
        chain,
        anchor,
        witnesses: known.into_iter().chain(receipt).collect(),
        parts: Vec::new(),
        head: chain.genesis(),
        hurt: None,
        tail: None,
        findings: Vec::new(),
        behind: Vec::new(),
        epoch_max: 1,
        seq_max: 0,
        old_missing: false,
    };
    surveyor.pass(chain.genesis());
    for (n, index) in indexes.iter().enumerate() {
        surveyor.visit(*index, Sheet::load(disk, &file_name(*index)), n + 1 == indexes.len());
    }
    surveyor.judge(indexes.last().copied())
}

impl Surveyor<'_> {
    fn visit(&mut self, index: u64, sheet: Option<Sheet>, last: bool) {
        let Some((sheet, header)) = sheet.and_then(|sheet| sheet.header.map(|header| (sheet, header))) else {
            self.bury(index, None, Cause::Unreadable);
            return;
        };
        if header.genesis != self.chain.genesis().hash {
            self.bury(index, None, Cause::Foreign);
            return;
        }
        self.epoch_max = self.epoch_max.max(header.base.epoch);
        self.seq_max = self.seq_max.max(header.base.seq);
        if let Err(cause) = self.link(index, &header) {
            self.bury(index, Some(&sheet), cause);
            return;
        }
        if sheet.bad_copies > 0 {
            self.findings.push(Finding::HeaderDamaged { segment: index });
        }
        self.walk(index, &sheet, &header, last);
    }

    /// Whether the chain goes on in this segment.
    fn link(&mut self, index: u64, header: &Header) -> Result<(), Cause> {
        if header.index != index {
            return Err(Cause::Unlinked);
        }
        let Some(before) = self.parts.iter().rev().find(|part| part.used > 0) else {
            return self.link_first(index, header);
        };
        let onward = header.begins == Begins::Onward && index == before.index + 1;
        let after_gap = header.begins == Begins::AfterGap;
        if header.base != self.head || !(onward || after_gap) {
            let missing = self.parts.last().is_some_and(|part| part.index + 1 < index);
            return Err(if missing { Cause::Missing } else { Cause::Unlinked });
        }
        // What seemed to end the chain did not, or an earlier start has already admitted it.
        if self.hurt.take().is_some() {
            self.behind.clear();
            if onward {
                if let Some(part) = self.parts.last_mut() {
                    part.state = PartState::Whole;
                }
                self.findings.push(Finding::Noise { segment: index - 1 });
            }
        }
        Ok(())
    }

    /// The first segment that can be used: its base is taken on trust, and judged by the witnesses later.
    fn link_first(&mut self, index: u64, header: &Header) -> Result<(), Cause> {
        if index == 0 && header.base != self.chain.genesis() {
            return Err(Cause::Unlinked);
        }
        let first = self.anchor.map_or(index, |anchor| anchor.first);
        if header.base != self.chain.genesis() && (index > first || !self.parts.is_empty()) {
            self.findings.push(Finding::SegmentMissing { first: first.min(index - 1), found: index });
            self.old_missing = true;
        }
        self.parts.clear();
        self.behind.clear();
        self.hurt = None;
        self.pass(header.base);
        Ok(())
    }

    fn walk(&mut self, index: u64, sheet: &Sheet, header: &Header, last: bool) {
        let mut heads = Vec::new();
        let walk = sheet.walk(self.chain, header.base, |head| heads.push(*head));
        heads.into_iter().for_each(|head| self.pass(head));
        let mut state = PartState::Whole;
        if walk.stopped.is_some() || sheet.is_short() {
            state = PartState::Damaged;
            let torn = (!sheet.is_short() && sheet.looks_torn(walk.end))
                .then(|| sheet.written_end().saturating_sub(walk.end) as u64);
            let cause = walk.stopped.filter(|_| !sheet.is_short()).map_or(Cause::Short, Cause::Record);
            self.hurt = Some(Hurt { cause, place: Some((index, walk.end as u64)), torn });
            self.bury_records(sheet, walk.end);
        }
        if last && !sheet.is_short() {
            let end = sheet.written_end().max(walk.end);
            let mut bytes = sheet.bytes[walk.last_write..end].to_vec();
            bytes[walk.end - walk.last_write..].fill(0);
            self.tail = (!bytes.is_empty()).then_some(Tail { offset: walk.last_write as u64, bytes });
        }
        let (base, end, used, bytes) = (header.base, walk.head, walk.end as u64, sheet.bytes.len() as u64);
        self.parts.push(Part { index, base, end, used, bytes, state });
    }

    /// A head of the chain, in order.
    fn pass(&mut self, head: Head) {
        self.head = head;
        self.seq_max = self.seq_max.max(head.seq);
        self.epoch_max = self.epoch_max.max(head.epoch);
        for (_, known, seen) in &mut self.witnesses {
            if known.seq == head.seq {
                *seen = Some(head);
            }
        }
    }

    /// A segment in which the chain does not go on.
    fn bury(&mut self, index: u64, sheet: Option<&Sheet>, cause: Cause) {
        self.hurt.get_or_insert(Hurt { cause, place: None, torn: None }).torn = None;
        let bytes = sheet.map_or(0, |sheet| sheet.bytes.len() as u64);
        if let Some(sheet) = sheet {
            self.bury_records(sheet, SLOTS_AT);
        }
        let (base, end, state) = (self.head, self.head, PartState::Damaged);
        self.parts.push(Part { index, base, end, used: 0, bytes, state });
    }

    fn bury_records(&mut self, sheet: &Sheet, from: usize) {
        self.behind.extend(sheet.salvage(from));
    }

    fn judge(mut self, newest: Option<u64>) -> Survey {
        if self.anchor.is_some_and(|anchor| newest.is_none_or(|newest| newest < anchor.newest)) {
            self.hurt.get_or_insert(Hurt { cause: Cause::Missing, place: None, torn: None }).torn = None;
        }
        // A record that some body quotes must not push the sequence to where no next one fits.
        let room: u64 = self.parts.iter().map(|part| part.bytes / slot_bytes(0) as u64).sum();
        let known = self.witnesses.iter().map(|(_, head, _)| head.seq).fold(self.seq_max, u64::max);
        let (seq_top, epoch_top) = (known.saturating_add(room), self.epoch_max.saturating_add(room as u32));
        let head = self.head;
        self.behind.retain(|(record, _)| {
            record.seq > head.seq && record.seq <= seq_top && record.epoch <= epoch_top
        });

        let witness = self.witnesses.iter().find_map(|(witness, known, seen)| {
            // A witness of an earlier epoch was heard when the gap was admitted.
            let forked = known.epoch == head.epoch && seen.is_some_and(|seen| seen != *known);
            (known.seq > head.seq)
                .then_some(Cause::Behind(*witness))
                .or(forked.then_some(Cause::Forked(*witness)))
        });
        let later_write = self.behind.iter().any(|(_, place)| *place == Place::First);
        let (cause, place) = match self.hurt.take() {
            Some(Hurt { torn: Some(bytes), place: Some((segment, _)), .. })
                if witness.is_none() && !later_write =>
            {
                self.findings.push(Finding::TornTail { segment, bytes, after: head.seq });
                self.behind.clear();
                if let Some(part) = self.parts.last_mut() {
                    part.state = PartState::Whole;
                }
                (self.old_missing.then_some(Cause::OldMissing), None)
            }
            Some(hurt) => (Some(hurt.cause), hurt.place),
            None => (witness.or(self.old_missing.then_some(Cause::OldMissing)), None),
        };

        for (_, known, _) in &self.witnesses {
            self.seq_max = self.seq_max.max(known.seq);
            self.epoch_max = self.epoch_max.max(known.epoch);
        }
        for (record, _) in &self.behind {
            self.seq_max = self.seq_max.max(record.seq);
            self.epoch_max = self.epoch_max.max(record.epoch);
        }
        let salvaged: Vec<Record> = self.behind.into_iter().map(|(record, _)| record).collect();
        let loss = cause.map(|cause| Loss {
            after: head,
            to: self.seq_max.max(head.seq),
            salvaged: salvaged.len(),
            place,
            cause,
        });
        let newest = newest.max(self.anchor.map(|anchor| anchor.newest));
        Survey {
            parts: self.parts,
            head,
            tail: self.tail,
            loss,
            findings: self.findings,
            salvaged,
            next_epoch: self.epoch_max.saturating_add(1),
            next_seq: self.seq_max.saturating_add(1),
            next_index: newest.map_or(0, |newest| newest.saturating_add(1)),
        }
    }
}
