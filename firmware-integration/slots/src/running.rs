//! Where what runs lies, as a slot program says it: who fetches a release reads there what it doesn't have to fetch.
//!
//! ```text
//! backstay-slots-running 1
//! from /dev/disk/by-partlabel/slot-a     a block device or a file, by its full path
//! sum 5e88...1f6a                        SHA-256 of all lines before, with their ends
//! ```
//!
//! Not here: reading it (`hands`), asking a program (`program`).

use std::path::{Path, PathBuf};

use crate::environment::{WORDS_BYTES_MAX, sealed, unsealed};

const HEADING: &str = "backstay-slots-running 1";

/// Where what runs can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAnswer(PathBuf);

impl RunningAnswer {
    /// None: it isn't a full path that fits into a line.
    #[must_use]
    pub fn new(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        let fits = text.len() as u64 <= WORDS_BYTES_MAX / 2 && !text.contains(char::is_control);
        (fits && path.is_absolute()).then(|| Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn path(self) -> PathBuf {
        self.0
    }

    /// The answer as it goes over standard output.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        sealed(format!("{HEADING}\nfrom {}\n", self.0.display()))
    }

    /// Reads an answer; `None` if a single bit of it is other than it was written, or it names no full path.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let lines = unsealed(bytes)?.strip_prefix(HEADING)?;
        Self::new(Path::new(lines.strip_prefix("\nfrom ")?.strip_suffix('\n')?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_told_by_a_full_path_and_no_damage_goes_unseen() {
        for path in ["/dev/disk/by-partlabel/slot a", "/dev/mmcblk0p2"] {
            let answer = RunningAnswer::new(Path::new(path)).unwrap();
            let bytes = answer.to_bytes();
            assert_eq!(RunningAnswer::from_bytes(&bytes), Some(answer));
            for at in 0..bytes.len() {
                assert_eq!(RunningAnswer::from_bytes(&bytes[..at]), None, "cut at {at}");
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                assert_eq!(RunningAnswer::from_bytes(&bytes), None, "byte {at}");
            }
        }
        let long = format!("/{}", "a".repeat(4096));
        for path in ["", "slot-a", "../slot-a", "/dev/a\nfrom /dev/b", &long] {
            assert_eq!(RunningAnswer::new(Path::new(path)), None, "{path:?}");
            let sealed = sealed(format!("{HEADING}\nfrom {path}\n"));
            assert_eq!(RunningAnswer::from_bytes(&sealed), None, "{path:?}");
        }
    }
}
