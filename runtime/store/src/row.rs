//! How keys and values stand in sled: one sled tree, rows of at most [`ROW_BYTES`] bytes.
//!
//! All our trees share one of sled's, because only within one tree is a batch atomic. A long value is cut into
//! several rows: sled keeps 17 rows in a page and writes a page of more than a quarter of a segment (128 KiB)
//! into a file of its own, outside the log and its checksums.
//!
//! Not here: reading and writing rows (`disk`), and the row that says what was applied (`head`).
//!
//!   key of a row:   tree u8 | key, 00 as 00 FF | 00 00 | number of the row u16 big endian
//!   all rows joined: version u16 | crc32c u32 | length u32 (little endian) | value

use sha2::{Digest as _, Sha256};

use crate::{
    change::{Tree, VALUE_BYTES_MAX},
    damage::Flaw,
};

/// The most bytes of a value in one row. 17 rows with their keys (at most 519 bytes) are 79 KiB.
pub(crate) const ROW_BYTES: usize = 4096;

/// The form of the header and of the rows.
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 10;

/// What the rows of all keys begin with that begin with `prefix`.
pub(crate) fn prefix(tree: Tree, prefix: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(prefix.len() + 8);
    row.push(tree.number());
    for &byte in prefix {
        row.push(byte);
        if byte == 0 {
            row.push(0xFF);
        }
    }
    row
}

/// The key of row `number` of the value under `key`. Rows sort as their keys do.
pub(crate) fn key(tree: Tree, key: &[u8], number: u16) -> Vec<u8> {
    let mut row = prefix(tree, key);
    row.extend([0, 0]);
    row.extend(number.to_be_bytes());
    row
}

/// The tree, the key and the number that a row's key stands for; none if it stands for nothing.
pub(crate) fn parse(row: &[u8]) -> Option<(Tree, Vec<u8>, u16)> {
    let (&tree, rest) = row.split_first()?;
    let tree = Tree::from_number(tree)?;
    let mut key = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter().copied();
    loop {
        match (bytes.next()?, key.len()) {
            (0, _) => match bytes.next()? {
                0xFF => key.push(0),
                0 => break,
                _other => return None,
            },
            (byte, _) => key.push(byte),
        }
    }
    let number = u16::from_be_bytes([bytes.next()?, bytes.next()?]);
    bytes.next().is_none().then_some((tree, key, number))
}

/// How many rows a value of this length takes.
pub(crate) fn count(length: usize) -> u16 {
    let rows = (HEADER_BYTES + length).div_ceil(ROW_BYTES);
    u16::try_from(rows).expect("VALUE_BYTES_MAX makes 65 rows")
}

/// The value with its header, to be cut into rows.
pub(crate) fn seal(tree: Tree, key: &[u8], value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("the length was checked against VALUE_BYTES_MAX");
    let mut sealed = Vec::with_capacity(HEADER_BYTES + value.len());
    sealed.extend(VERSION.to_le_bytes());
    sealed.extend(checksum(tree, key, value).to_le_bytes());
    sealed.extend(length.to_le_bytes());
    sealed.extend(value);
    sealed
}

/// How many rows there are, as the first of them says.
pub(crate) fn rows(first: &[u8]) -> Result<u16, Flaw> {
    let (version, _, length) = header(first)?;
    if version != VERSION {
        return Err(Flaw::Version(version));
    }
    if length > VALUE_BYTES_MAX {
        return Err(Flaw::Length);
    }
    Ok(count(length))
}

/// Takes the header off all rows joined, and checks it.
pub(crate) fn unseal(tree: Tree, key: &[u8], sealed: Vec<u8>) -> Result<Vec<u8>, Flaw> {
    rows(&sealed)?;
    let (_, crc, length) = header(&sealed)?;
    let mut value = sealed;
    value.drain(..HEADER_BYTES);
    if value.len() != length {
        return Err(Flaw::Length);
    }
    if checksum(tree, key, &value) != crc {
        return Err(Flaw::Checksum);
    }
    Ok(value)
}

fn header(sealed: &[u8]) -> Result<(u16, u32, usize), Flaw> {
    let header: [u8; HEADER_BYTES] =
        sealed.get(..HEADER_BYTES).and_then(|header| header.try_into().ok()).ok_or(Flaw::Length)?;
    let [v0, v1, c0, c1, c2, c3, l0, l1, l2, l3] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let length = usize::try_from(length).map_err(|_wide| Flaw::Length)?;
    Ok((u16::from_le_bytes([v0, v1]), u32::from_le_bytes([c0, c1, c2, c3]), length))
}

/// Covers the place as well, so that a value that turns up under another key is not taken for that key's.
fn checksum(tree: Tree, key: &[u8], value: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&key_preimage(tree, key));
    crc32c::crc32c_append(crc, value)
}

/// What an entry adds to the digest of the view. Sums commute, so the digest follows each change without a look
/// at the rest. That is no proof against a forger, who could write the journal's view anew anyway; it is one
/// against an entry that is missing, old or there twice.
pub(crate) fn weight(tree: Tree, key: &[u8], value: &[u8]) -> u128 {
    let mut hash = Sha256::new();
    hash.update(b"backstay view entry 1");
    hash.update(key_preimage(tree, key));
    hash.update(value);
    let hash: [u8; 32] = hash.finalize().into();
    let (half, _) = hash.split_at(16);
    u128::from_le_bytes(half.try_into().expect("split at 16"))
}

fn key_preimage(tree: Tree, key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len()).expect("the length was checked against KEY_BYTES_MAX");
    let mut bytes = vec![tree.number()];
    bytes.extend(length.to_le_bytes());
    bytes.extend(key);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_any_bytes_come_back_and_sort_as_they_did() {
        let mut keys: Vec<&[u8]> =
            vec![b"a", b"a\0", b"a\0\0", b"a\0\xff", b"a\x01", b"ab", b"b", b"\0", b"\xff"];
        keys.sort();
        let rows: Vec<_> = keys.iter().map(|k| key(Tree::Runs, k, 7)).collect();
        assert!(rows.is_sorted());
        for (row, key) in rows.iter().zip(keys) {
            assert_eq!(parse(row), Some((Tree::Runs, key.to_vec(), 7)));
        }
    }

    #[test]
    fn what_is_no_row_is_not_read_as_one() {
        for row in [
            &b""[..],
            b"\x01",
            b"\x01a",
            b"\x01a\0",
            b"\x01a\0\x07\0\0",
            b"\x01a\0\0\0",
            b"\x01a\0\0\0\0\0",
            b"\x09a\0\0\0\0",
        ] {
            assert_eq!(parse(row), None, "{row:?}");
        }
    }

    #[test]
    fn a_value_is_known_only_whole_and_in_its_place() {
        let sealed = seal(Tree::State, b"k", b"value");
        assert_eq!(unseal(Tree::State, b"k", sealed.clone()), Ok(b"value".to_vec()));
        assert_eq!(unseal(Tree::Runs, b"k", sealed.clone()), Err(Flaw::Checksum));
        assert_eq!(unseal(Tree::State, b"l", sealed.clone()), Err(Flaw::Checksum));
        for length in 0..sealed.len() {
            assert!(unseal(Tree::State, b"k", sealed[..length].to_vec()).is_err());
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Tree::State, b"k", flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_length_that_nobody_wrote_allocates_nothing() {
        let mut sealed = seal(Tree::State, b"k", b"value");
        sealed[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(rows(&sealed), Err(Flaw::Length));
    }
}
