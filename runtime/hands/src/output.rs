//! What something said, bounded while it is being said, and the words for what failed.

use std::io;

use backstay_model::{Answer, Digest, OUTPUT_BYTES_MAX, Outcome, Output, Transience};
use sha2::{Digest as _, Sha256};

/// The most bytes of words that go into an answer.
const WHY_BYTES_MAX: usize = 256;

/// Keeps the end of what goes by, and a digest of all of it.
pub(crate) struct Tail {
    kept: Vec<u8>,
    hasher: Sha256,
    dropped: bool,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self { kept: Vec::new(), hasher: Sha256::new(), dropped: false }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.kept.extend_from_slice(bytes);
        // Twice the bound is held at most, so that the front is not moved for every few bytes.
        if self.kept.len() > 2 * OUTPUT_BYTES_MAX {
            self.trim();
        }
    }

    fn trim(&mut self) {
        if let Some(over @ 1..) = self.kept.len().checked_sub(OUTPUT_BYTES_MAX) {
            self.kept.drain(..over);
            self.dropped = true;
        }
    }

    pub(crate) fn finish(mut self) -> Output {
        self.trim();
        let whole = self.dropped.then(|| Digest(self.hasher.finalize().into()));
        Output { bytes: self.kept, whole }
    }
}

/// What takes in what something says, piece by piece.
pub(crate) trait Sink {
    fn take(&mut self, bytes: &[u8]);
    fn finish(self) -> Output;
}

impl Sink for Tail {
    fn take(&mut self, bytes: &[u8]) {
        Self::take(self, bytes);
    }

    fn finish(self) -> Output {
        Self::finish(self)
    }
}

/// `why`, cut to what an answer can hold.
pub(crate) fn bounded(mut why: String) -> String {
    let end = (0..=why.len().min(WHY_BYTES_MAX)).rev().find(|&end| why.is_char_boundary(end)).unwrap_or(0);
    why.truncate(end);
    why
}

pub(crate) fn refused(why: String) -> Answer {
    Answer::Refused(bounded(why))
}

pub(crate) fn failed(transience: Transience, why: String) -> Answer {
    Answer::Failed(Outcome::Failed { transience, why: bounded(why) })
}

/// Whether it can help to do what failed again later.
pub(crate) fn transience(error: &io::Error) -> Transience {
    let permanent = [
        io::ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::NotADirectory,
        io::ErrorKind::IsADirectory,
        io::ErrorKind::InvalidInput,
        io::ErrorKind::InvalidFilename,
        io::ErrorKind::Unsupported,
    ];
    if permanent.contains(&error.kind()) { Transience::Permanent } else { Transience::Transient }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_all_of_it_is_named() {
        let said: Vec<u8> = (0..50_000_u32).map(|i| i as u8).collect();
        let mut tail = Tail::new();
        said.chunks(333).for_each(|chunk| tail.take(chunk));
        let output = tail.finish();
        assert_eq!(output.bytes, said[50_000 - OUTPUT_BYTES_MAX..]);
        assert_eq!(output.whole, Some(Digest(Sha256::digest(&said).into())));
        let mut tail = Tail::new();
        tail.take(&said[..OUTPUT_BYTES_MAX]);
        assert_eq!(tail.finish(), Output { bytes: said[..OUTPUT_BYTES_MAX].to_vec(), whole: None });
    }

    #[test]
    fn words_are_cut_between_characters() {
        assert_eq!(bounded("ü".repeat(200)).len(), 256);
        assert_eq!(bounded(format!("x{}", "ü".repeat(200))).len(), 255);
    }
}
