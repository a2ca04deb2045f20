//! Bytes that anybody may have written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod samples;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use backstay_model::{Beat, Digest, PluginReport, Report, Steer, WayHome};
use backstay_wire::{
    AnchorWords, Body, DecodeError, DeviceOrder, EncodeError, Entry, HEADER_BYTES, Item, Items, LogBatch,
    Presence, Receipt, Topic, TrustFloor, decode, encode,
};

/// Counts what the current thread asks for.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator can't be written otherwise; it only counts and passes on")]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that `work` asks the allocator for.
fn asks<T>(work: impl FnOnce() -> T) -> (T, usize) {
    ASKED.with(|asked| asked.set(0));
    let result = work();
    (result, ASKED.with(Cell::get))
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Decodes `bytes` as each kind, and says how much was asked for at most.
fn tries_all(bytes: &[u8]) -> usize {
    fn one<T: Body>(bytes: &[u8]) -> usize {
        let (value, asked) = asks(|| decode::<T>(bytes, usize::MAX));
        // What was accepted can be written again: both sides have the same bounds.
        if let Ok(value) = value {
            encode(&value).unwrap();
        }
        asked
    }
    [
        one::<Entry>(bytes),
        one::<Steer>(bytes),
        one::<DeviceOrder>(bytes),
        one::<Report>(bytes),
        one::<Presence>(bytes),
        one::<PluginReport>(bytes),
        one::<Beat>(bytes),
        one::<LogBatch>(bytes),
        one::<Receipt>(bytes),
        one::<AnchorWords>(bytes),
        one::<TrustFloor>(bytes),
    ]
    .into_iter()
    .max()
    .unwrap()
}

fn all() -> [Vec<u8>; 11] {
    [
        encode(&samples::entry()),
        encode(&samples::steer()),
        encode(&samples::device_order()),
        encode(&samples::report()),
        encode(&samples::plugin_report()),
        encode(&samples::presence()),
        encode(&samples::beat()),
        encode(&samples::log_batch()),
        encode(&samples::receipt()),
        encode(&samples::anchor_words()),
        encode(&samples::trust_floor()),
    ]
    .map(Result::unwrap)
}

#[test]
fn made_up_bytes_never_panic_and_never_ask_for_much() {
    let mut rng = Rng(0x5eed_0002);
    let all = all();
    let mut most = 0;
    for round in 0..60_000 {
        let mut bytes = all[rng.below(all.len())].clone();
        if round % 4 == 0 {
            // A valid frame around noise: it gets past the header.
            bytes.truncate(HEADER_BYTES);
            let length = rng.below(300);
            bytes[6..10].copy_from_slice(&(length as u32).to_le_bytes());
            bytes.extend((0..length).map(|_| rng.next() as u8));
        }
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len());
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, rng.next() as u8][rng.below(6)];
        }
        most = most.max(tries_all(&bytes));
        assert!(Items::new(&bytes, 1000).count() <= bytes.len() / HEADER_BYTES + 1);
        let _ = Topic::parse(&String::from_utf8_lossy(&bytes));
    }
    // No item here is longer than a kilobyte. An element of a list takes up to a few hundred bytes in memory
    // for one byte on the wire, and lists are in lists.
    assert!(most < 512 * 1024, "{most} bytes were asked for");
}

#[test]
fn every_cut_is_seen() {
    for bytes in all() {
        for end in 0..bytes.len() {
            let (item, limit) = (Item::split(&bytes[..end], 100_000), bytes.len());
            assert!(
                matches!(item, Err(DecodeError::Truncated { bytes, needed }) if bytes == end && needed <= limit)
            );
        }
    }
}

/// A header that claims four gigabytes, and lists that claim as much.
#[test]
fn a_claimed_length_is_not_believed() {
    let claim = u32::MAX.to_le_bytes();
    for mut bytes in all() {
        bytes[6..10].copy_from_slice(&claim);
        let (split, asked) = asks(|| Item::split(&bytes, 100_000).map(drop));
        assert!(matches!(split, Err(DecodeError::TooLarge { max: 100_000, .. })));
        assert_eq!(asked, 0);
    }
    // A list of 2^34 instructions, of which none is there.
    let mut bytes = encode(&samples::device_order()).unwrap();
    bytes.truncate(HEADER_BYTES + 1);
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0x3f]);
    bytes[6..10].copy_from_slice(&6_u32.to_le_bytes());
    let (decoded, asked) = asks(|| decode::<DeviceOrder>(&bytes, usize::MAX));
    assert!(matches!(decoded, Err(DecodeError::Malformed { .. })), "{decoded:?}");
    assert!(asked < 1024, "{asked}");
}

#[test]
fn what_is_out_of_bounds_is_neither_written_nor_read() {
    let crowded = AnchorWords { condemned: vec![Digest([1; 32]); 33], ..samples::anchor_words() };
    assert!(matches!(encode(&crowded), Err(EncodeError::OutOfBounds { .. })));
    let idle = DeviceOrder { words: Vec::new(), ..samples::device_order() };
    assert!(matches!(encode(&idle), Err(EncodeError::OutOfBounds { .. })));
    let long = Entry { snapshot: Some(vec![0; Entry::SNAPSHOT_BYTES_MAX + 1]), ..samples::entry() };
    assert!(matches!(encode(&long), Err(EncodeError::OutOfBounds { .. })));
    let event = backstay_model::Event::Degraded { what: "x".repeat(Entry::BYTES_MAX) };
    let large = Entry { event, ..samples::entry() };
    assert!(matches!(encode(&large), Err(EncodeError::TooLarge { max: Entry::BYTES_MAX, .. })));

    // As another implementation might write it: three instructions become none.
    let mut bytes = encode(&samples::device_order()).unwrap();
    bytes.truncate(HEADER_BYTES + 2);
    bytes[HEADER_BYTES + 1] = 0;
    bytes[6..10].copy_from_slice(&2_u32.to_le_bytes());
    let decoded = decode::<DeviceOrder>(&bytes, usize::MAX).unwrap_err();
    assert!(matches!(decoded, DecodeError::OutOfBounds { .. }), "{decoded}");
    assert!(std::error::Error::source(&decoded).is_some());
}

/// The caller's limit and the kind's own: the lower one holds.
#[test]
fn the_lower_limit_holds() {
    let bytes = encode(&samples::steer()).unwrap();
    let max = bytes.len() - 1;
    assert_eq!(decode::<Steer>(&bytes, max), Err(DecodeError::TooLarge { bytes: bytes.len(), max }));
    assert!(decode::<Steer>(&bytes, bytes.len()).is_ok());
    let huge = vec![0; Steer::BYTES_MAX + 1];
    let refused = Err(DecodeError::TooLarge { bytes: huge.len(), max: Steer::BYTES_MAX });
    assert_eq!(decode::<Steer>(&huge, usize::MAX), refused);
}

/// The largest that the bounds allow is small enough to be sent.
#[test]
fn the_fullest_values_fit() {
    let name = "a".repeat(64);
    let release = samples::release(&name, 1);
    let label: backstay_model::Label = format!("{}={}", "k".repeat(31), "v".repeat(32)).parse().unwrap();
    let steer = Steer {
        rollout: name.parse().unwrap(),
        cohort: name.parse().unwrap(),
        selector: backstay_model::Selector::Labelled(vec![label; 16]),
        release: release.clone(),
        back: Some(release.clone()),
        policies: vec![Digest([1; 32]); 8],
        ..samples::steer()
    };
    assert!(encode(&steer).is_ok());
    let report = Report {
        cohort: name.parse().unwrap(),
        booted: release.clone(),
        confirmed: release.clone(),
        condemned: vec![Digest([1; 32]); 32],
        ..samples::report()
    };
    assert!(encode(&report).is_ok());
    let mut words = AnchorWords {
        confirmed: release.clone(),
        last_known_good: Some(release),
        marks: Vec::new(),
        ..samples::anchor_words()
    };
    use backstay_wire::{Mark, Stream};
    for stream in [
        Stream::Product,
        Stream::Plugins,
        Stream::Order,
        Stream::Trust,
        Stream::Enrolment,
        Stream::Receipt,
        Stream::Product,
    ] {
        words.accept(Mark { stream, counter: u64::MAX, digest: Digest([1; 32]) });
    }
    for byte in 0..40 {
        words.condemn(Digest([byte; 32]));
    }
    assert_eq!((words.marks.len(), words.condemned.len()), (6, 32));
    assert_eq!(words.condemned[0], Digest([39; 32]));
    let way = |to: u8| WayHome((0..to).map(|to| Digest([to; 32])).collect());
    words.starts = u32::MAX;
    words.ways = (0..8).map(|from| (Digest([from; 32]), way(4))).collect();
    assert!(encode(&words).is_ok());
    for ways in [vec![(Digest([0; 32]), way(5))], (0..9).map(|from| (Digest([from; 32]), way(0))).collect()] {
        let crowded = AnchorWords { ways: ways.into_iter().collect(), ..words.clone() };
        assert!(matches!(encode(&crowded), Err(EncodeError::OutOfBounds { .. })));
    }
    let batch =
        LogBatch { count: 1024, records: vec![0; LogBatch::RECORDS_BYTES_MAX], ..samples::log_batch() };
    assert!(encode(&batch).is_ok());
}
