//! Bytes as a row of choices, and a script of changes to something valid.
//!
//! An engine that changes a byte of a script changes one choice, and the rest stays as it was: that is what lets it build up.

/// The rest of an input is meant as it stands.
pub(crate) const PLAIN: u8 = 0;
/// The rest of an input is a choice of something valid, and a script of changes to it.
pub(crate) const EDITED: u8 = 1;
/// The rest of an input is put where no signature or checksum is in the way.
pub(crate) const INSIDE: u8 = 2;

/// How many changes a script makes at most. More hide one another.
const CHANGES_MAX: usize = 8;
/// The most bytes that one change puts in.
const PIECE_BYTES_MAX: usize = 64;

/// How an input is meant, of so many ways, and the rest of it.
pub(crate) fn way(input: &[u8], ways: u8) -> Option<(u8, Script<'_>)> {
    let (first, rest) = input.split_first()?;
    Some((first % ways, Script(rest)))
}

/// What is left of a script. Where it ends, every choice is the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl<'a> Script<'a> {
    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number of two bytes.
    pub(crate) fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// A number of eight bytes.
    pub(crate) fn wide(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number below `end`, which isn't 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end <= 256 { usize::from(self.byte()) % end } else { self.number() % end }
    }

    /// One of them.
    pub(crate) fn one<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[self.below(of.len())]
    }

    /// Yes or no.
    pub(crate) fn flip(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Some bytes, as many as the next one says and are there.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// The same, as text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes `bytes` by what is left. Says where the first byte is that may have changed.
    pub(crate) fn edit(&mut self, bytes: &mut Vec<u8>) -> usize {
        let mut first = usize::MAX;
        for _ in 0..CHANGES_MAX {
            if self.is_empty() {
                break;
            }
            let kind = self.byte();
            let at = self.below(bytes.len().max(1)).min(bytes.len());
            first = first.min(at);
            match kind % 8 {
                0 => put(bytes, at, &[self.byte()]),
                1 => {
                    let bit = self.byte() % 8;
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
                }
                2 => bytes.truncate(at),
                3 => put(bytes, at, piece(self.bytes())),
                4 => drop(bytes.splice(at..at, piece(self.bytes()).iter().copied())),
                5 => drop(bytes.drain(at..(at + usize::from(self.byte()) + 1).min(bytes.len()))),
                // A piece of it once more, somewhere else in it.
                6 => {
                    let from = self.below(bytes.len().max(1)).min(bytes.len());
                    let end = (from + usize::from(self.byte()) + 1).min(bytes.len());
                    let again = bytes[from..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => put(bytes, at, &self.wide().to_le_bytes()),
            }
        }
        first
    }
}

fn piece(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(PIECE_BYTES_MAX)]
}

/// Writes over what stands there, and never beyond the end.
fn put(bytes: &mut [u8], at: usize, piece: &[u8]) {
    bytes.iter_mut().skip(at).zip(piece).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_come_one_after_the_other_and_end_in_the_first() {
        let mut script = Script(&[2, b'a', b'b', 7, 1, 0, 9]);
        assert_eq!((script.text().as_str(), script.below(5), script.number()), ("ab", 2, 1));
        assert_eq!((script.byte(), script.byte(), script.is_empty()), (9, 0, true));
        assert_eq!(script.text(), "");
    }

    #[test]
    fn an_edit_says_from_where_on_it_may_have_changed_something() {
        let honest = b"0123456789".to_vec();
        for kind in 0..8 {
            for at in 0..10 {
                let mut bytes = honest.clone();
                let first = Script(&[kind, at, 3, 1, 2, 3]).edit(&mut bytes);
                assert_eq!(bytes.get(..first.min(10)), honest.get(..first.min(10)), "kind {kind} at {at}");
            }
        }
    }
}
