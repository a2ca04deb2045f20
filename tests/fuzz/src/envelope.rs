//! Items, and the bodies that they hold.

use std::{fmt::Debug, sync::OnceLock};

use backstay_model::{Beat, PluginReport, Report, Steer};
use backstay_wire::{
    AnchorWords, Body, DecodeError, DeviceOrder, Entry, HEADER_BYTES, Item, Items, LogBatch, Presence,
    Receipt, TrustFloor, decode, encode,
};

use crate::{
    Came, as_they_are, is_told,
    memory::within,
    script::{EDITED, INSIDE, PLAIN, Script, way},
    words,
};

/// What one byte on the wire may become in memory: an element of a list has some hundred bytes.
const HELD_PER_BYTE: usize = 512;
const HELD_MIN: usize = 4096;

fn all() -> &'static [Vec<u8>] {
    static ALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = [
            encode(&words::entry()),
            encode(&words::steer()),
            encode(&words::device_order()),
            encode(&words::report()),
            encode(&words::plugin_report()),
            encode(&words::presence()),
            encode(&words::beat()),
            encode(&words::log_batch()),
            encode(&words::receipt()),
            encode(&words::anchor_words()),
            encode(&words::trust_floor()),
        ];
        all.into_iter().map(Result::unwrap).collect()
    })
}

pub(crate) fn run(input: &[u8]) -> Came {
    match way(input, 3) {
        Some((PLAIN, rest)) => reads(rest.0),
        Some((EDITED, mut script)) => {
            let mut bytes = script.one(all()).clone();
            script.edit(&mut bytes);
            reads(&bytes)
        }
        // A body of any bytes behind a header that is right.
        Some((_, mut script)) => reads(&behind_a_header(&mut script)),
        None => Came::Refused,
    }
}

fn behind_a_header(script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = script.one(all())[..HEADER_BYTES].to_vec();
    // The version before, this one and the next are read.
    bytes[2] = bytes[2].wrapping_add(script.byte() % 3).wrapping_sub(1);
    bytes[6..10].copy_from_slice(&(script.0.len() as u32).to_le_bytes());
    bytes.extend_from_slice(script.0);
    bytes
}

fn reads(bytes: &[u8]) -> Came {
    let items: Vec<_> = within(HELD_MIN, || Items::new(bytes, bytes.len()).take(8).collect());
    let count = Items::new(bytes, bytes.len()).count();
    assert!(count <= bytes.len() / HEADER_BYTES + 1, "{count} items of {} bytes", bytes.len());
    for item in items.iter().flatten() {
        assert_eq!(item.skip().is_ok(), item.is_optional());
    }
    let came = [
        one::<Entry>(bytes),
        one::<Steer>(bytes),
        one::<DeviceOrder>(bytes),
        one::<Report>(bytes),
        one::<PluginReport>(bytes),
        one::<Presence>(bytes),
        one::<Beat>(bytes),
        one::<LogBatch>(bytes),
        one::<Receipt>(bytes),
        one::<AnchorWords>(bytes),
        one::<TrustFloor>(bytes),
    ];
    let taken = came.iter().filter(|came| **came == Came::Taken).count();
    assert!(taken <= 1, "an item is of one kind");
    if taken == 1 { Came::Taken } else { Came::Refused }
}

fn one<T: Body + PartialEq + Debug>(bytes: &[u8]) -> Came {
    let most = HELD_MIN + HELD_PER_BYTE * bytes.len();
    match within(most, || decode::<T>(bytes, usize::MAX)) {
        Ok(value) => {
            // Both sides have the same bounds; and what is written has one form, which is never the longer one.
            let again = encode(&value).unwrap_or_else(|error| panic!("it can't be said again: {error}"));
            assert_eq!(decode::<T>(&again, T::BYTES_MAX).as_ref(), Ok(&value));
            let (item, _) = Item::split(bytes, usize::MAX).unwrap();
            assert_eq!(item.schema, T::SCHEMA);
            if item.version == T::VERSION {
                assert!(again.len() <= bytes.len(), "its own form is longer than {}", bytes.len());
            }
            assert!(decode::<T>(bytes, bytes.len() - 1).is_err(), "the caller's limit holds");
            Came::Taken
        }
        Err(error) => {
            is_told(&error);
            if !matches!(error, DecodeError::OtherSchema { .. }) {
                assert!(error.help().is_some(), "{error}: what to do?");
            }
            Came::Refused
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = as_they_are(all());
    for (at, bytes) in all().iter().enumerate() {
        seeds.push(vec![EDITED, at as u8]);
        seeds.push([&[INSIDE, at as u8, 1], &bytes[HEADER_BYTES..]].concat());
    }
    seeds
}
