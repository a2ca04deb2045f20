//! Records of a device's journal as they come over the wire, and what shows that they are a chain.

use std::{cmp::Ordering, sync::OnceLock};

use backstay_evidence::{Chain, Frame, Head, Place, Record, Why};
use backstay_journal::testing::Random;

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, PLAIN, Script, way},
};

/// A chain is checked where it lies.
const HELD_MAX: usize = 2048;

/// The most records that are put together.
const RECORDS_MAX: usize = 8;

/// An untouched chain: its bytes, where each record begins, and its head.
struct Truth {
    bytes: Vec<u8>,
    begins: Vec<usize>,
    head: Head,
}

fn chain() -> Chain {
    Chain::new("pump-7")
}

fn truth() -> &'static Truth {
    static TRUTH: OnceLock<Truth> = OnceLock::new();
    TRUTH.get_or_init(|| {
        let (mut head, mut bytes, mut begins) = (chain().genesis(), Vec::new(), Vec::new());
        for length in [0_usize, 5, 40, 1, 120, 9] {
            let mut random = Random::new(length as u64);
            let body = (0..length).map(|_| random.next_u64() as u8).collect();
            let record = Record { seq: head.seq + 1, epoch: 1, prev: head.hash, body };
            head = chain().head_of(&record.frame());
            begins.push(bytes.len());
            bytes.extend_from_slice(&record.encode());
        }
        Truth { bytes, begins, head }
    })
}

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 3) {
        Some((PLAIN, rest)) => reads(rest.0),
        Some((EDITED, mut script)) => {
            let mut bytes = truth().bytes.clone();
            let first = script.edit(&mut bytes);
            is_seen(&bytes, first)
        }
        Some((_, script)) => is_put_together(script),
        None => Came::Refused,
    }
}

fn reads(bytes: &[u8]) -> Came {
    let frame = within(HELD_MAX, || Frame::read(bytes));
    match &frame {
        Ok(frame) => {
            let mut again = Vec::new();
            frame.write(&mut again);
            assert_eq!(again.len(), frame.encoded_len());
            assert_eq!(bytes.get(..again.len()), Some(again.as_slice()), "a record has one form");
            let record = frame.to_record();
            if frame.place == Place::First {
                assert_eq!(record.encode(), again);
            }
        }
        Err(error) => is_told(error),
    }
    match within(HELD_MAX, || chain().verify_bytes(bytes, chain().genesis())) {
        Ok(head) => {
            assert_eq!(is_followed(bytes), head);
            Came::Taken
        }
        Err(broken) => {
            is_told(&broken);
            if frame.is_ok() { Came::Taken } else { Came::Refused }
        }
    }
}

/// The head that the records lead to, taken one by one.
fn is_followed(mut bytes: &[u8]) -> Head {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let frame = Frame::read(bytes).unwrap();
        records.push(frame.to_record());
        bytes = &bytes[frame.encoded_len()..];
    }
    chain().verify(&records, chain().genesis()).unwrap()
}

/// That a change is seen by who knows the head, and in the record in which it is by everybody.
fn is_seen(bytes: &[u8], first: usize) -> Came {
    let truth = truth();
    match within(HELD_MAX, || chain().verify_bytes(bytes, chain().genesis())) {
        Ok(head) => {
            assert_eq!(head == truth.head, bytes == truth.bytes, "two histories have one head");
            Came::Taken
        }
        Err(broken) => {
            is_told(&broken);
            let same = truth.bytes.iter().zip(bytes).take_while(|(one, other)| one == other).count();
            assert!(same >= first.min(bytes.len()));
            let whole = truth.begins.iter().skip(1).filter(|begin| **begin <= same).count() as u64;
            if matches!(broken.why, Why::Checksum | Why::Cut | Why::TooLong) {
                // Whose turn it was: the first that is not as it was, or one behind it that was put together well.
                assert!(broken.seq > whole, "record {} is as it was", broken.seq);
            }
            Came::Refused
        }
    }
}

/// Records of any numbers in any order, each whole by itself: only those that follow each other are a chain.
fn is_put_together(mut script: Script<'_>) -> Came {
    let (mut bytes, mut head, mut breaks) = (Vec::new(), chain().genesis(), false);
    for _ in 0..RECORDS_MAX {
        if script.is_empty() {
            break;
        }
        let how = script.byte();
        let honest =
            Record { seq: head.seq.wrapping_add(1), epoch: head.epoch, prev: head.hash, body: Vec::new() };
        let record = Record {
            seq: if how & 1 == 0 { honest.seq } else { script.wide() },
            epoch: if how & 2 == 0 { honest.epoch } else { script.wide() as u32 },
            prev: if how & 4 == 0 { honest.prev } else { [script.byte(); 32] },
            body: script.bytes().to_vec(),
        };
        let follows = record.prev == head.hash
            && match record.epoch.cmp(&head.epoch) {
                Ordering::Less => false,
                Ordering::Equal => head.seq.checked_add(1) == Some(record.seq),
                Ordering::Greater => record.seq > head.seq,
            };
        bytes.extend_from_slice(&record.encode());
        if breaks || !follows {
            breaks = true;
        } else {
            head = chain().head_of(&record.frame());
        }
    }
    let verified = chain().verify_bytes(&bytes, chain().genesis());
    assert_eq!(verified.ok(), (!breaks).then_some(head));
    bytes.extend_from_slice(script.0);
    if let Err(broken) = chain().verify_bytes(&bytes, chain().genesis()) {
        is_told(&broken);
    }
    // What is no record behind them breaks the chain, whatever it was.
    bytes.push(0);
    assert!(chain().verify_bytes(&bytes, chain().genesis()).is_err());
    if breaks { Came::Refused } else { Came::Taken }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let truth = truth();
    let mut seeds = as_they_are([&truth.bytes[..], &truth.bytes[..truth.begins[2]]]);
    seeds.extend([vec![EDITED], vec![EDITED, 1, 70, 0, 3], vec![2, 0, 1, 9, 0, 0], {
        [&[2, 0, 0, 3, 9][..], &[0; 7], &[2], &[0; 7], &[1, 7], &[0, 0]].concat()
    }]);
    seeds
}
