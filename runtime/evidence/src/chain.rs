//! The chain of one instance: what a hash covers, what may follow what.
//!
//!   hash = SHA-256(domain, instance, epoch, seq, prev, body), each text with its length in front
//!
//! Within an epoch the sequence grows by one. A record of a new epoch follows the last good record by its hash,
//! and its sequence may jump, never fall: what was in between is lost, and its body says how.

use core::{borrow::Borrow, fmt};

use sha2::{Digest as _, Sha256};

use crate::record::{Frame, FrameError, Record};

const RECORD_DOMAIN: &[u8] = b"backstay journal record 1";
const GENESIS_DOMAIN: &[u8] = b"backstay journal genesis 1";
const HEAD_DOMAIN: &[u8; 23] = b"backstay journal head 1";

/// The length of [`Head::bytes`].
pub const HEAD_BYTES: usize = HEAD_DOMAIN.len() + 1 + 4 + 8 + 32;

/// The end of a chain: the place of its last record and that record's hash, in which all before it is contained.
///
/// A head also serves as fencing token: it never comes a second time, so who still holds an older one has been
/// overtaken.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// The epoch of the last record, from 1.
    pub epoch: u32,
    /// The sequence of the last record; 0 where there is none yet.
    pub seq: u64,
    /// Its hash; where there is none yet, a hash of the instance's id.
    pub hash: [u8; 32],
}

impl Head {
    /// The sequence whose turn it is. Behind the last that there is comes none: it is told as that one again, which nothing
    /// can follow.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.seq.saturating_add(1)
    }

    /// What a signature covers: a domain with its length, epoch and sequence (little endian), hash. The instance
    /// is in the hash.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEAD_BYTES] {
        const TAG: usize = HEAD_DOMAIN.len() + 1;
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = HEAD_DOMAIN.len() as u8;
        bytes[1..TAG].copy_from_slice(HEAD_DOMAIN);
        bytes[TAG..TAG + 4].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[TAG + 4..TAG + 12].copy_from_slice(&self.seq.to_le_bytes());
        bytes[TAG + 12..].copy_from_slice(&self.hash);
        bytes
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:", self.epoch, self.seq)?;
        self.hash.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The rules of one instance's chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// A hasher that has already taken the domain and the instance.
    seed: Sha256,
    genesis: [u8; 32],
}

impl Chain {
    /// The chain of `instance`, an id of any length. The id is part of every hash, so that no instance's records
    /// pass for another's.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let seeded = |domain: &[u8]| {
            let mut hasher = Sha256::new();
            absorb(&mut hasher, domain);
            absorb(&mut hasher, instance.as_bytes());
            hasher
        };
        Self { seed: seeded(RECORD_DOMAIN), genesis: seeded(GENESIS_DOMAIN).finalize().into() }
    }

    /// The head before the first record.
    #[must_use]
    pub fn genesis(&self) -> Head {
        Head { epoch: 1, seq: 0, hash: self.genesis }
    }

    /// The head that `frame` would be, whatever came before.
    #[must_use]
    pub fn head_of(&self, frame: &Frame<'_>) -> Head {
        let mut hasher = self.seed.clone();
        hasher.update(frame.epoch.to_le_bytes());
        hasher.update(frame.seq.to_le_bytes());
        hasher.update(frame.prev);
        absorb(&mut hasher, frame.body);
        Head { epoch: frame.epoch, seq: frame.seq, hash: hasher.finalize().into() }
    }

    /// Whether `frame` may follow `head`, and the head that it makes.
    ///
    /// # Errors
    /// Says why it may not.
    pub fn follow(&self, head: &Head, frame: &Frame<'_>) -> Result<Head, Why> {
        let next = self.head_of(frame);
        if frame.epoch < head.epoch {
            return Err(Why::EpochWentBack { expected: head.epoch, found: frame.epoch });
        }
        if frame.seq <= head.seq {
            return Err(match (frame.seq == head.seq, next == *head) {
                (true, true) => Why::Repeated,
                (true, false) => Why::Fork,
                (false, _) => Why::WentBack { last: head.seq },
            });
        }
        if frame.epoch == head.epoch && frame.seq - head.seq != 1 {
            return Err(Why::Missing { expected: head.next_seq() });
        }
        if frame.prev != head.hash {
            return Err(if *head == self.genesis() { Why::Foreign } else { Why::Link });
        }
        Ok(next)
    }

    /// Follows `records` from the head `from` on, which is trusted, to the head that they make.
    ///
    /// # Errors
    /// Names the first bad record and says why it is bad.
    pub fn verify<R: Borrow<Record>>(
        &self,
        records: impl IntoIterator<Item = R>,
        from: Head,
    ) -> Result<Head, Broken> {
        records.into_iter().try_fold(from, |head, record| {
            let record = record.borrow();
            self.follow(&head, &record.frame()).map_err(|why| Broken { seq: record.seq, why })
        })
    }

    /// As [`Chain::verify`], over encoded records that stand one behind the other.
    ///
    /// # Errors
    /// Names the first bad record and says why it is bad. Where its bytes can't be read, it is named by the
    /// sequence that was its turn.
    pub fn verify_bytes(&self, mut bytes: &[u8], from: Head) -> Result<Head, Broken> {
        let mut head = from;
        while !bytes.is_empty() {
            let frame = Frame::read(bytes).map_err(|why| Broken { seq: head.next_seq(), why: why.into() })?;
            head = self.follow(&head, &frame).map_err(|why| Broken { seq: frame.seq, why })?;
            bytes = &bytes[frame.encoded_len()..];
        }
        Ok(head)
    }
}

fn absorb(hasher: &mut Sha256, text: &[u8]) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
}

/// The first record at which a chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The record's sequence as it says itself.
    pub seq: u64,
    /// What is wrong with it.
    pub why: Why,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the chain breaks at record {}", self.seq)
    }
}

impl core::error::Error for Broken {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.why)
    }
}

/// Why a record can't stand where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its bytes end too early.
    Cut,
    /// It claims to be longer than any record may be.
    TooLong,
    /// Its bytes are not those that were written.
    Checksum,
    /// It follows another record than the one before it: one of the two was changed or replaced.
    Link,
    /// Records before it are missing, and no new epoch admits that.
    Missing {
        /// The sequence whose turn it was.
        expected: u64,
    },
    /// The same record a second time.
    Repeated,
    /// Another record with the sequence of the one before: somebody wrote two histories.
    Fork,
    /// Its sequence is lower than that of the one before.
    WentBack {
        /// The sequence of the one before.
        last: u64,
    },
    /// Its epoch is lower than that of the one before.
    EpochWentBack {
        /// The epoch of the one before.
        expected: u32,
        /// Its own.
        found: u32,
    },
    /// The first record of all does not belong to this instance.
    Foreign,
}

impl From<FrameError> for Why {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Cut => Self::Cut,
            FrameError::TooLong => Self::TooLong,
            FrameError::Checksum => Self::Checksum,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => FrameError::Cut.fmt(f),
            Self::TooLong => FrameError::TooLong.fmt(f),
            Self::Checksum => FrameError::Checksum.fmt(f),
            Self::Link => f.write_str("it does not follow the record before it"),
            Self::Missing { expected } => write!(f, "record {expected} is missing before it"),
            Self::Repeated => f.write_str("it came before"),
            Self::Fork => f.write_str("another record has the same sequence"),
            Self::WentBack { last } => write!(f, "its sequence is lower than {last}, the one before"),
            Self::EpochWentBack { expected, found } => {
                write!(f, "its epoch is {found} after records of epoch {expected}")
            }
            Self::Foreign => f.write_str("it belongs to another instance"),
        }
    }
}

impl core::error::Error for Why {}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;
    use crate::record::Place;

    fn story(chain: &Chain, bodies: &[&str]) -> Vec<Record> {
        let mut head = chain.genesis();
        bodies
            .iter()
            .map(|body| {
                let record =
                    Record { seq: head.seq + 1, epoch: 1, prev: head.hash, body: body.as_bytes().to_vec() };
                head = chain.head_of(&record.frame());
                record
            })
            .collect()
    }

    fn chain() -> Chain {
        Chain::new("pump-7")
    }

    fn why(records: &[Record]) -> (u64, Why) {
        let broken = chain().verify(records, chain().genesis()).unwrap_err();
        (broken.seq, broken.why)
    }

    #[test]
    fn an_untouched_chain_holds() {
        let records = story(&chain(), &["a", "b", "c"]);
        let head = chain().verify(&records, chain().genesis()).unwrap();
        assert_eq!((head.epoch, head.seq), (1, 3));
        let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        assert_eq!(chain().verify_bytes(&bytes, chain().genesis()), Ok(head));
    }

    #[test]
    fn the_first_bad_record_is_named_with_its_reason() {
        let whole = story(&chain(), &["a", "b", "c", "d"]);
        let told = |change: fn(&mut Vec<Record>)| {
            let mut records = whole.clone();
            change(&mut records);
            why(&records)
        };
        assert_eq!(told(|r| r[1].body[0] ^= 1), (3, Why::Link));
        assert_eq!(told(|r| r[2].prev[0] ^= 1), (3, Why::Link));
        assert_eq!(told(|r| drop(r.remove(1))), (3, Why::Missing { expected: 2 }));
        assert_eq!(told(|r| r.insert(1, r[0].clone())), (1, Why::Repeated));
        assert_eq!(told(|r| r[3].seq = 3), (3, Why::Fork));
        assert_eq!(told(|r| r.swap(2, 3)), (4, Why::Missing { expected: 3 }));
        assert_eq!(told(|r| r[3].seq = 1), (1, Why::WentBack { last: 3 }));
        assert_eq!(told(|r| r[3].epoch = 0), (4, Why::EpochWentBack { expected: 1, found: 0 }));
    }

    #[test]
    fn damaged_bytes_are_named_by_the_sequence_whose_turn_it_was() {
        let mut bytes: Vec<u8> = story(&chain(), &["a", "b"]).iter().flat_map(Record::encode).collect();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let broken = chain().verify_bytes(&bytes, chain().genesis()).unwrap_err();
        assert_eq!(broken, Broken { seq: 2, why: Why::Checksum });
        let broken = chain().verify_bytes(&bytes[..last], chain().genesis()).unwrap_err();
        assert_eq!(broken, Broken { seq: 2, why: Why::Cut });
        assert_eq!(broken.to_string(), "the chain breaks at record 2");
    }

    /// A new epoch may take any sequence, and so may whoever has a device's key.
    #[test]
    fn behind_the_last_sequence_there_is_nothing() {
        let last = Record { seq: u64::MAX, epoch: 2, prev: chain().genesis().hash, body: Vec::new() };
        let mut bytes = last.encode();
        assert_eq!(chain().verify_bytes(&bytes, chain().genesis()).unwrap().seq, u64::MAX);
        bytes.push(0);
        let broken = chain().verify_bytes(&bytes, chain().genesis()).unwrap_err();
        assert_eq!(broken, Broken { seq: u64::MAX, why: Why::Cut });
    }

    #[test]
    fn another_instances_records_are_foreign() {
        assert_eq!(why(&story(&Chain::new("pump-8"), &["a"])), (1, Why::Foreign));
    }

    #[test]
    fn ids_and_bodies_never_run_into_each_other() {
        let frame = |body| Frame { seq: 1, epoch: 1, prev: [0; 32], place: Place::First, body };
        assert_ne!(Chain::new("ab").head_of(&frame(b"c")), Chain::new("a").head_of(&frame(b"bc")));
        assert_ne!(Chain::new("ab").genesis().hash, Chain::new("a").genesis().hash);
    }

    #[test]
    fn a_gap_is_admitted_by_a_new_epoch_and_not_otherwise() {
        let mut records = story(&chain(), &["a", "b"]);
        let last = chain().verify(&records, chain().genesis()).unwrap();
        records.push(Record { seq: 9, epoch: 2, prev: last.hash, body: b"3 to 8 are lost".to_vec() });
        let head = chain().verify(&records, chain().genesis()).unwrap();
        assert_eq!((head.epoch, head.seq), (2, 9));
        records[2].epoch = 1;
        assert_eq!(why(&records), (9, Why::Missing { expected: 3 }));
    }

    #[test]
    fn what_is_signed_of_a_head_stays_as_it_is() {
        let bytes = Head { epoch: 2, seq: 3, hash: [0xAB; 32] }.bytes();
        let mut expected = b"\x17backstay journal head 1\x02\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[0xAB; 32]);
        assert_eq!(bytes.as_slice(), expected);
    }
}
