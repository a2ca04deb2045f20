//! One segment file: its header, its slots, and what a scan of its bytes finds.
//!
//! Bytes 0 to 1023: the header, twice, each in a sector of its own, so that one bad sector costs nothing. Then
//! slots: a record, zeros up to a multiple of 8 bytes, and in the last four bytes a mark. The rest is zeros. A record
//! whose checksum is wrong although its mark was written and none of its sectors is missing was written whole:
//! then it is damage, and no torn write.

use backstay_evidence::{Chain, Frame, HEADER_BYTES, Head, Place, Record, Why};

use crate::disk::{Disk, DiskFile};

/// Where the slots begin.
pub(crate) const SLOTS_AT: usize = 1024;
/// What a disk writes at once or not at all.
const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"bstyseg1";
const HEADER_USED: usize = 8 + 4 + 8 + 8 + 4 + 8 + 32 + 32 + 1;
const MARK: u32 = 0xB5D6_6BAD;
const MARK_BYTES: usize = 4;
const ALIGN: usize = 8;

/// Bounds of a segment's size. Below, a header would be most of it; above, a scan would take too much memory.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 4096;
pub(crate) const SEGMENT_BYTES_MAX: u64 = 16 << 20;

pub(crate) fn file_name(index: u64) -> String {
    format!("{index:016x}.seg")
}

/// The highest index of a file that counts whatever is in it. No disk sees so many: a file with a higher one must not take the
/// place of those that follow, unless it is one of them.
const ANYBODYS_INDEX_MAX: u64 = u64::MAX / 2;

/// The highest index that a segment has. Behind whatever file anybody makes there are as many left as a journal ever needs.
const INDEX_MAX: u64 = u64::MAX / 4 * 3;

/// The index that a file name stands for, if it can be a segment's.
pub(crate) fn index_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    let index = u64::from_str_radix(digits, 16).ok()?;
    (index <= INDEX_MAX && file_name(index) == name).then_some(index)
}

/// Whether the file of this index counts as a segment of the journal with this genesis, damaged or not.
pub(crate) fn counts<D: Disk>(disk: &D, index: u64, genesis: &[u8; 32]) -> bool {
    let header = || Sheet::load(disk, &file_name(index))?.header;
    index <= ANYBODYS_INDEX_MAX
        || header().is_some_and(|header| header.index == index && header.genesis == *genesis)
}

/// The bytes that a body takes in a segment.
pub(crate) fn slot_bytes(body: usize) -> usize {
    (HEADER_BYTES + body + MARK_BYTES).next_multiple_of(ALIGN)
}

/// How a segment stands to what was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// Where the segment before ends.
    Onward,
    /// At its base, wherever that is: all that stands between is lost, and the first record says so.
    AfterGap,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) index: u64,
    /// The size of the file. A shorter one has lost its end.
    pub(crate) bytes: u64,
    /// What the first record follows.
    pub(crate) base: Head,
    /// Whose it is: the hash of the chain's genesis.
    pub(crate) genesis: [u8; 32],
    pub(crate) begins: Begins,
}

impl Header {
    /// The first [`SLOTS_AT`] bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(SECTOR);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&[0; 4]);
        copy.extend_from_slice(&self.index.to_le_bytes());
        copy.extend_from_slice(&self.bytes.to_le_bytes());
        copy.extend_from_slice(&self.base.epoch.to_le_bytes());
        copy.extend_from_slice(&self.base.seq.to_le_bytes());
        copy.extend_from_slice(&self.base.hash);
        copy.extend_from_slice(&self.genesis);
        copy.push(match self.begins {
            Begins::Onward => 0,
            Begins::AfterGap => 1,
        });
        let sum = backstay_evidence::crc32c(&[&copy]);
        copy[8..12].copy_from_slice(&sum.to_le_bytes());
        copy.resize(SECTOR, 0);
        let twice = copy.clone();
        copy.extend_from_slice(&twice);
        copy
    }

    fn decode(copy: &[u8]) -> Option<Self> {
        let mut used = [0; HEADER_USED];
        used.copy_from_slice(copy.get(..HEADER_USED)?);
        let sum = u32::from_le_bytes(array(&used, 8));
        used[8..12].fill(0);
        if &array(&used, 0) != MAGIC || backstay_evidence::crc32c(&[&used]) != sum {
            return None;
        }
        let base = Head {
            epoch: u32::from_le_bytes(array(&used, 28)),
            seq: u64::from_le_bytes(array(&used, 32)),
            hash: array(&used, 40),
        };
        let begins = match used[104] {
            0 => Begins::Onward,
            1 => Begins::AfterGap,
            _ => return None,
        };
        let (index, bytes) = (u64::from_le_bytes(array(&used, 12)), u64::from_le_bytes(array(&used, 20)));
        Some(Self { index, bytes, base, genesis: array(&used, 72), begins })
    }
}

/// The `N` bytes at `at`, which the caller knows to be there.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// A slot for `frame`, at the end of `out`.
pub(crate) fn write_slot(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let end = out.len() + slot_bytes(frame.body.len());
    frame.write(out);
    out.resize(end - MARK_BYTES, 0);
    out.extend_from_slice(&MARK.to_le_bytes());
}

/// A segment as it is on the disk.
pub(crate) struct Sheet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Option<Header>,
    /// How many of the header's two copies are bad.
    pub(crate) bad_copies: usize,
}

impl Sheet {
    /// Reads the file. None if it can't be read or has no size that a segment could have.
    pub(crate) fn load<D: Disk>(disk: &D, name: &str) -> Option<Self> {
        let file = disk.open(name).ok()?;
        let len = file.bytes().ok().filter(|len| *len <= SEGMENT_BYTES_MAX)?;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read(0, &mut bytes).ok()?;
        let copies = [0, SECTOR].map(|at| bytes.get(at..).and_then(Header::decode));
        let bad_copies = copies.iter().filter(|copy| copy.is_none()).count();
        let header = copies.into_iter().flatten().next();
        Some(Self { bytes, header, bad_copies })
    }

    /// Whether the end of the file is missing.
    pub(crate) fn is_short(&self) -> bool {
        self.header.is_some_and(|header| (self.bytes.len() as u64) < header.bytes)
    }

    /// Follows the records from `base` on as far as they are good, and shows each head that they make.
    pub(crate) fn walk(&self, chain: &Chain, base: Head, mut passed: impl FnMut(&Head)) -> Walk {
        let mut walk = Walk { head: base, end: SLOTS_AT, last_write: SLOTS_AT, stopped: None };
        loop {
            match slot(&self.bytes, walk.end) {
                Ok(frame) => match chain.follow(&walk.head, &frame) {
                    Ok(head) => {
                        if frame.place == Place::First {
                            walk.last_write = walk.end;
                        }
                        walk.end += slot_bytes(frame.body.len());
                        walk.head = head;
                        passed(&walk.head);
                    }
                    Err(why) => walk.stopped = Some(why),
                },
                Err(why) => {
                    let rest = self.bytes.get(walk.end..).unwrap_or_default();
                    walk.stopped = (!is_zero(rest)).then_some(why);
                    return walk;
                }
            }
            if walk.stopped.is_some() {
                return walk;
            }
        }
    }

    /// Every record from `from` on that is whole by its checksum and its mark, wherever it stands.
    pub(crate) fn salvage(&self, from: usize) -> Vec<(Record, Place)> {
        let mut found = Vec::new();
        let mut at = from.next_multiple_of(ALIGN);
        while at + HEADER_BYTES <= self.bytes.len() {
            match marked_slot(&self.bytes, at) {
                Some(frame) => {
                    found.push((frame.to_record(), frame.place));
                    at += slot_bytes(frame.body.len());
                }
                None => at += ALIGN,
            }
        }
        found
    }

    /// Whether what stands at `from`, where no good record begins, can be a write that was cut short: some sector of
    /// it is still zeros, or its mark is not there.
    pub(crate) fn looks_torn(&self, from: usize) -> bool {
        let (marks, _) = self.bytes[from.min(self.bytes.len())..].as_chunks::<ALIGN>();
        let wrong_bits =
            |mark: &[u8; ALIGN]| (u32::from_le_bytes(array(mark, ALIGN - MARK_BYTES)) ^ MARK).count_ones();
        // One wrong bit in the mark itself does not hide it, and a few don't where nothing follows: that the last bytes of
        // a write that was cut short come so close to a mark happens once in 100,000 times.
        let near = || marks.iter().rposition(|mark| !is_zero(mark)).filter(|at| wrong_bits(&marks[*at]) <= 4);
        let Some(slots) = marks.iter().position(|mark| wrong_bits(mark) <= 1).or_else(near) else {
            return true;
        };
        let end = from + (slots + 1) * ALIGN;
        let mut at = from;
        while at < end {
            let next = (at / SECTOR + 1) * SECTOR;
            if is_zero(&self.bytes[at..next.min(end)]) {
                return true;
            }
            at = next;
        }
        false
    }

    /// Where the last byte is that is not zero, and one further.
    pub(crate) fn written_end(&self) -> usize {
        self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }
}

/// How far the records of a segment are good.
pub(crate) struct Walk {
    pub(crate) head: Head,
    /// Where the last good record ends.
    pub(crate) end: usize,
    /// Where the last write begins that left good records.
    pub(crate) last_write: usize,
    /// Why it went no further; none if only zeros follow.
    pub(crate) stopped: Option<Why>,
}

/// The record in the slot at `at`.
pub(crate) fn slot(bytes: &[u8], at: usize) -> Result<Frame<'_>, Why> {
    let frame = Frame::read(bytes.get(at..).unwrap_or_default())?;
    if slot_bytes(frame.body.len()) > bytes.len() - at { Err(Why::Cut) } else { Ok(frame) }
}

/// As [`slot`], and the mark is asked for first: that is cheap, and most places hold no record.
fn marked_slot(bytes: &[u8], at: usize) -> Option<Frame<'_>> {
    const LENGTH: u32 = u32::MAX >> 1;
    let body = (u32::from_le_bytes(array(bytes, at)) & LENGTH) as usize;
    let mark_at = at.checked_add(slot_bytes(body))? - MARK_BYTES;
    let mark = bytes.get(mark_at..mark_at + MARK_BYTES)?;
    if mark != MARK.to_le_bytes() {
        return None;
    }
    slot(bytes, at).ok()
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    blocks.iter().all(|block| u128::from_ne_bytes(*block) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_one_copy_is_enough() {
        let base = Head { epoch: 3, seq: 99, hash: [5; 32] };
        let header = Header { index: 7, bytes: 1 << 20, base, genesis: [6; 32], begins: Begins::AfterGap };
        let bytes = header.encode();
        assert_eq!(bytes.len(), SLOTS_AT);
        for bit in 0..HEADER_USED * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&damaged), None, "bit {bit}");
            assert_eq!(Header::decode(&damaged[SECTOR..]), Some(header));
        }
    }

    #[test]
    fn a_record_with_its_mark_damaged_too_is_no_torn_write() {
        let body = [7; 100];
        let mut bytes = Vec::new();
        write_slot(&Frame { seq: 1, epoch: 1, prev: [1; 32], place: Place::First, body: &body }, &mut bytes);
        let written = bytes.len();
        bytes.resize(SECTOR, 0);
        bytes[80] ^= 1;
        for bits in 0..=4 {
            let mut damaged = bytes.clone();
            damaged[written - 1] ^= (1_u8 << bits) - 1;
            let sheet = Sheet { bytes: damaged, header: None, bad_copies: 0 };
            assert!(!sheet.looks_torn(0), "{bits} bits of the mark");
        }
        // The same record cut short by the power at any byte.
        for end in 1..written {
            let mut cut = bytes.clone();
            cut[end..].fill(0);
            assert!(Sheet { bytes: cut, header: None, bad_copies: 0 }.looks_torn(0), "{end} bytes");
        }
    }

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(index_of(&file_name(0xAB)), Some(0xAB));
        for name in ["1.seg", "00000000000000AB.seg", "+0000000000000ab.seg", "00000000000000ab.tmp", ".seg"]
        {
            assert_eq!(index_of(name), None, "{name}");
        }
        // Behind it no segment would have a name.
        assert_eq!(index_of("ffffffffffffffff.seg"), None);
    }
}
