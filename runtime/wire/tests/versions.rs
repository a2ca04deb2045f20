//! An older agent opens what a newer one wrote, and the other way round: both slots share one data partition,
//! and after a trip home the older agent finds the newer one's words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

mod samples;

use std::{env, fs, path::PathBuf};

use backstay_wire::{Body, DecodeError, HEADER_BYTES, Item, Presence, Receipt, Schema, decode, encode};
use serde::{Deserialize, Serialize};

/// The receipt as the next version might have it, with a field more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NextReceipt {
    epoch: u32,
    seq: u64,
    head: backstay_model::Digest,
    /// New: how many bytes the server has. The version before didn't say, so it counts as none.
    bytes: u64,
}

impl Body for NextReceipt {
    const SCHEMA: Schema = Receipt::SCHEMA;
    const VERSION: u16 = Receipt::VERSION + 1;
    const OPTIONAL: bool = Receipt::OPTIONAL;
    const BYTES_MAX: usize = Receipt::BYTES_MAX;

    fn from_previous(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let Receipt { epoch, seq, head } = Receipt::from_body(version, body)?;
        Ok(Self { epoch, seq, head, bytes: 0 })
    }
}

/// And the one after that. It reads the version before it, and no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LaterReceipt {
    next: NextReceipt,
    more: Option<u8>,
}

impl Body for LaterReceipt {
    const SCHEMA: Schema = Receipt::SCHEMA;
    const VERSION: u16 = Receipt::VERSION + 2;
    const OPTIONAL: bool = Receipt::OPTIONAL;
    const BYTES_MAX: usize = Receipt::BYTES_MAX;

    fn from_previous(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { next: NextReceipt::from_body(version, body)?, more: None })
    }
}

fn next() -> NextReceipt {
    let Receipt { epoch, seq, head } = samples::receipt();
    NextReceipt { epoch, seq, head, bytes: 5_000 }
}

#[test]
fn an_older_reader_takes_what_it_knows_of_a_newer_item() {
    assert_eq!(decode::<Receipt>(&encode(&next()).unwrap(), 1000), Ok(samples::receipt()));
}

#[test]
fn a_newer_reader_fills_in_what_an_older_item_lacks() {
    let read = decode::<NextReceipt>(&encode(&samples::receipt()).unwrap(), 1000);
    assert_eq!(read, Ok(NextReceipt { bytes: 0, ..next() }));
}

#[test]
fn two_versions_apart_is_refused_on_both_sides() {
    let later = LaterReceipt { next: next(), more: Some(1) };
    let read = decode::<Receipt>(&encode(&later).unwrap(), 1000);
    assert_eq!(read, Err(DecodeError::TooNew { schema: Schema::RECEIPT, version: 3, ours: 1 }));
    let read = decode::<LaterReceipt>(&encode(&samples::receipt()).unwrap(), 1000);
    assert_eq!(read, Err(DecodeError::TooOld { schema: Schema::RECEIPT, version: 1, ours: 3 }));
    assert_eq!(decode::<LaterReceipt>(&encode(&next()).unwrap(), 1000).unwrap().next, next());
}

/// A newer item that is shorter than what this version knows, or uses a word that it doesn't have, is too new
/// to be read and not merely damaged.
#[test]
fn a_newer_item_that_can_not_be_read_is_too_new() {
    let mut bytes = encode(&samples::presence()).unwrap();
    bytes[2] = 2;
    bytes[HEADER_BYTES] = 7;
    let too_new = DecodeError::TooNew { schema: Schema::PRESENCE, version: 2, ours: 1 };
    assert_eq!(decode::<Presence>(&bytes, 1000), Err(too_new));
}

#[test]
fn the_same_version_has_nothing_more_to_say() {
    let mut bytes = encode(&samples::receipt()).unwrap();
    bytes.push(0);
    let trailing = DecodeError::Trailing { schema: Schema::RECEIPT, bytes: 1 };
    assert_eq!(decode::<Receipt>(&bytes, 1000), Err(trailing.clone()), "behind the item");
    bytes[6] += 1;
    assert_eq!(decode::<Receipt>(&bytes, 1000), Err(trailing), "within the item");
}

#[test]
fn version_zero_never_was() {
    let mut bytes = encode(&samples::receipt()).unwrap();
    bytes[2] = 0;
    assert!(matches!(decode::<Receipt>(&bytes, 1000), Err(DecodeError::TooOld { version: 0, .. })));
}

/// What a newer agent left on the shared partition, kept as bytes.
#[test]
fn kept_bytes_of_a_newer_version_are_opened() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire/receipt-from-a-newer-agent.hex");
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    if env::var_os("BACKSTAY_REWRITE_GOLDEN").is_some() {
        fs::write(&path, text(&encode(&next()).unwrap())).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    let digits: Vec<u8> = kept.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    assert_eq!(decode::<Receipt>(&bytes, 1000), Ok(samples::receipt()));
    assert_eq!(decode::<NextReceipt>(&bytes, 1000), Ok(next()));
}

/// A flag that this version doesn't know may change what the item means.
#[test]
fn an_unknown_flag_is_not_ignored() {
    let mut bytes = encode(&samples::receipt()).unwrap();
    bytes[4] = 2;
    let refused = DecodeError::UnknownFlags { schema: Schema::RECEIPT, flags: 2 };
    assert_eq!(decode::<Receipt>(&bytes, 1000), Err(refused.clone()));
    let skip = |bytes: &[u8]| Item::split(bytes, 1000).unwrap().0.decode_or_skip::<Receipt>();
    assert_eq!(skip(&bytes), Err(refused));
    bytes[4] = 3;
    assert_eq!(skip(&bytes), Ok(None));
}
