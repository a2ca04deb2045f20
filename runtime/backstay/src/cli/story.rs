//! The records of a device's journal, read and checked.
//!
//! Here: following the chain to its end, naming the first bad record, and what the records say. Not here: where they
//! come from (`evidence`). A chain shows that nothing was changed, taken out or put in *between*; that the last record
//! really is the last, only a signed head shows.

use std::collections::BTreeMap;

use backstay_evidence::{Broken, Chain, Frame, Head};
use backstay_model::Event;
use backstay_trust::PublicKey;
use backstay_wire::{Entry, decode};
use serde::Serialize;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// Which.
    pub(crate) seq: u64,
    /// In which stretch without a gap.
    pub(crate) epoch: u32,
    /// When, on the device's clock; none if it can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_ms: Option<u64>,
    /// What kind of event.
    pub(crate) kind: String,
    /// What happened.
    pub(crate) what: String,
}

/// What a chain comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// The first record that is here. Above 1, those before were dropped before the server heard of the device.
    pub(crate) first: u64,
    /// The last one.
    pub(crate) last: u64,
    /// Records.
    pub(crate) records: u64,
    /// Where records are missing, and the journal itself says so: the last before, and the first after.
    pub(crate) gaps: Vec<(u64, u64)>,
    /// The hash of the last record, in which all the others are contained.
    pub(crate) head: String,
    /// Records of each kind.
    pub(crate) kinds: BTreeMap<String, u64>,
}

/// Reads records that stand one behind the other, up to the first that can't be read.
pub(crate) fn read(bytes: &[u8]) -> (Vec<Line>, Result<(), Broken>) {
    let (mut lines, mut rest, mut turn) = (Vec::new(), bytes, 1);
    while !rest.is_empty() {
        let frame = match Frame::read(rest) {
            Ok(frame) => frame,
            Err(why) => return (lines, Err(Broken { seq: turn, why: why.into() })),
        };
        lines.push(line(&frame));
        (rest, turn) = (rest.get(frame.encoded_len()..).unwrap_or_default(), frame.seq.saturating_add(1));
    }
    (lines, Ok(()))
}

/// Follows the chain of the device with this key.
///
/// # Errors
/// Names the first bad record.
pub(crate) fn check(bytes: &[u8], key: &PublicKey) -> Result<Checked, Broken> {
    let chain = Chain::new(&key.id().0.to_string());
    let mut head = chain.genesis();
    let mut checked = Checked {
        first: 0,
        last: 0,
        records: 0,
        gaps: Vec::new(),
        head: String::new(),
        kinds: BTreeMap::new(),
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let frame = Frame::read(rest).map_err(|why| Broken { seq: head.next_seq(), why: why.into() })?;
        let (seq, before) = (frame.seq, head);
        // Records that the server has signed for may be dropped by the device, and what it dropped before the first
        // contact nobody has. So a chain may begin later, at a record whose predecessor has to be taken on trust.
        head = if checked.records == 0 && seq > 1 {
            chain.head_of(&frame)
        } else {
            chain.follow(&head, &frame).map_err(|why| Broken { seq, why })?
        };
        if checked.records == 0 {
            checked.first = seq;
        } else if seq != before.next_seq() {
            checked.gaps.push((before.seq, seq));
        }
        checked.records += 1;
        *checked.kinds.entry(line(&frame).kind).or_default() += 1;
        rest = rest.get(frame.encoded_len()..).unwrap_or_default();
    }
    let Head { seq, hash, .. } = head;
    (checked.last, checked.head) = (seq, backstay_model::Digest(hash).to_string());
    Ok(checked)
}

fn line(frame: &Frame<'_>) -> Line {
    let (seq, epoch) = (frame.seq, frame.epoch);
    match decode::<Entry>(frame.body, frame.body.len()) {
        Ok(entry) => {
            let (kind, what) = (kind(&entry.event), entry.event.to_string());
            Line { seq, epoch, at_ms: Some(entry.at.0), kind, what }
        }
        // A newer agent may write what isn't known here. The chain holds all the same.
        Err(why) => Line { seq, epoch, at_ms: None, kind: "unreadable".into(), what: format!("({why})") },
    }
}

/// The name of a kind of event: the first word of its debug form, which is the name of the variant.
fn kind(event: &Event) -> String {
    struct Word(String);
    impl std::fmt::Write for Word {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let letters = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
            self.0.push_str(text.get(..letters).unwrap_or_default());
            // An event can hold a lot. Enough is known after its first word.
            if letters < text.len() { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut word = Word(String::new());
    // The error is how the writing was stopped.
    let _ = std::fmt::write(&mut word, format_args!("{event:?}"));
    word.0
}

#[cfg(test)]
pub(crate) mod tests {
    use backstay_evidence::{Record, Why};
    use backstay_model::{Mono, Name};
    use backstay_trust::SecretKey;
    use backstay_wire::encode;

    use super::*;

    pub(crate) fn key() -> PublicKey {
        SecretKey::from_random(&[3; 32]).public()
    }

    /// Records of a device with this key, as the server keeps them.
    pub(crate) fn story(count: u64) -> Vec<Record> {
        let chain = Chain::new(&key().id().0.to_string());
        let mut head = chain.genesis();
        let mut record = |seq: u64| {
            let event = if seq.is_multiple_of(2) {
                Event::Degraded { what: format!("disk {seq} is full") }
            } else {
                Event::Override { who: Name::parse("ann").unwrap(), what: "looked".into() }
            };
            let body = encode(&Entry { at: Mono(seq * 1000), event, snapshot: None }).unwrap();
            let record = Record { seq, epoch: 1, prev: head.hash, body };
            head = chain.head_of(&record.frame());
            record
        };
        (1..=count).map(&mut record).collect()
    }

    pub(crate) fn bytes(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(Record::encode).collect()
    }

    #[test]
    fn an_untouched_journal_holds_and_is_counted() {
        let checked = check(&bytes(&story(5)), &key()).unwrap();
        assert_eq!((checked.first, checked.last, checked.records), (1, 5, 5));
        assert_eq!(checked.kinds, BTreeMap::from([("Degraded".into(), 2), ("Override".into(), 3)]));
        let (lines, end) = read(&bytes(&story(2)));
        assert_eq!(end, Ok(()));
        assert_eq!(
            (lines[1].kind.as_str(), lines[1].what.as_str()),
            ("Degraded", "degraded: disk 2 is full")
        );
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let whole = bytes(&story(4));
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(check(&bytes, &key()).is_err(), "byte {at}");
            assert!(read(&bytes).0.len() <= 4);
        }
        for cut in 1..whole.len() {
            let end = check(&whole[..cut], &key());
            assert!(end.is_err() || end.unwrap().last < 4, "cut at {cut}");
        }
    }

    #[test]
    fn the_first_bad_record_is_named() {
        let mut records = story(5);
        records[2].body[20] ^= 1;
        let broken = check(&bytes(&records), &key()).unwrap_err();
        assert_eq!((broken.seq, broken.why), (4, Why::Link), "record 4 doesn't follow what record 3 is now");
        records.remove(1);
        assert_eq!(check(&bytes(&records), &key()).unwrap_err().seq, 3);
    }

    #[test]
    fn another_devices_journal_does_not_pass_for_this_ones() {
        let other = SecretKey::from_random(&[4; 32]).public();
        assert_eq!(check(&bytes(&story(3)), &other).unwrap_err().why, Why::Foreign);
    }

    #[test]
    fn a_journal_may_begin_late_and_a_gap_that_it_admits_is_told() {
        let mut records = story(6);
        let checked = check(&bytes(&records[3..]), &key()).unwrap();
        assert_eq!((checked.first, checked.last), (4, 6));
        let gap = Record { seq: 9, epoch: 2, ..records.remove(3) };
        records.truncate(3);
        records.push(gap);
        assert_eq!(check(&bytes(&records), &key()).unwrap().gaps, [(3, 9)]);
    }
}
