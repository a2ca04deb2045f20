//! The row that says what the view stands for: which journal records, and what all values add up to.
//!
//! It is written in the same batch as the values, so the two come and go together. Not here: the comparison with
//! what is really there (`disk`).
//!
//!   format u16 | epoch u32 | applied u64 | digest u128 | bytes u64 | trees u8 | count u64 each | crc32c u32

use crate::{change::Tree, damage::Damage, row};

/// The row's key. Trees have numbers from 1 on, so no row of a value is called this.
pub(crate) const KEY: &[u8] = &[0];

/// The form of the whole view. Another one is set aside and rebuilt: reading old forms of something that can be
/// rebuilt would be code that nobody tries.
const FORMAT: u16 = 1;

/// What all entries of a view add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    digest: u128,
    bytes: u64,
    counts: [u64; Tree::ALL.len()],
}

impl Sums {
    pub(crate) fn add(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_add(row::weight(tree, key, value));
        self.bytes = self.bytes.saturating_add(size(key, value));
        if let Some(count) = self.counts.get_mut(tree.place()) {
            *count = count.saturating_add(1);
        }
    }

    pub(crate) fn take(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_sub(row::weight(tree, key, value));
        self.bytes = self.bytes.saturating_sub(size(key, value));
        if let Some(count) = self.counts.get_mut(tree.place()) {
            *count = count.saturating_sub(1);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn count(&self, tree: Tree) -> u64 {
        self.counts.get(tree.place()).copied().unwrap_or(0)
    }
}

/// The bytes of one entry, as counted against the bound.
fn size(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

/// What the view stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: u32,
    pub(crate) applied: u64,
    pub(crate) sums: Sums,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.applied.to_le_bytes());
        bytes.extend(self.sums.digest.to_le_bytes());
        bytes.extend(self.sums.bytes.to_le_bytes());
        bytes.push(u8::try_from(self.sums.counts.len()).expect("a handful of trees"));
        for count in self.sums.counts {
            bytes.extend(count.to_le_bytes());
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the row.
    ///
    /// The checksum stands at the end in every format, so that another format is told from damage.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Damage::Head)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(Damage::Head);
        }
        let mut fields = Fields(body);
        let format = u16::from_le_bytes(fields.take()?);
        if format != FORMAT {
            return Err(Damage::Format { found: format });
        }
        let epoch = u32::from_le_bytes(fields.take()?);
        let applied = u64::from_le_bytes(fields.take()?);
        let digest = u128::from_le_bytes(fields.take()?);
        let total = u64::from_le_bytes(fields.take()?);
        let [trees] = fields.take()?;
        let mut counts = [0; Tree::ALL.len()];
        if usize::from(trees) != counts.len() {
            return Err(Damage::Head);
        }
        for count in &mut counts {
            *count = u64::from_le_bytes(fields.take()?);
        }
        if !fields.0.is_empty() {
            return Err(Damage::Head);
        }
        Ok(Self { epoch, applied, sums: Sums { digest, bytes: total, counts } })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Damage::Head)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let mut sums = Sums::default();
        sums.add(Tree::State, b"a", b"1");
        sums.add(Tree::Index, b"b", b"22");
        Head { epoch: 3, applied: 77, sums }
    }

    #[test]
    fn a_head_comes_back_and_any_flipped_bit_is_seen() {
        let bytes = head().encode();
        assert_eq!(Head::decode(&bytes).unwrap(), head());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Head::decode(&flipped), Err(Damage::Head)), "bit {bit}");
        }
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut bytes = head().encode();
        bytes.truncate(bytes.len() - 4);
        bytes[0] = 9;
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        assert!(matches!(Head::decode(&bytes), Err(Damage::Format { found: 9 })));
    }

    #[test]
    fn sums_forget_what_was_taken_out_in_any_order() {
        let mut sums = head().sums;
        sums.add(Tree::State, b"c", b"3");
        sums.take(Tree::State, b"a", b"1");
        sums.take(Tree::Index, b"b", b"22");
        sums.take(Tree::State, b"c", b"3");
        assert_eq!(sums, Sums::default());
    }
}
