//! What a slot program answers when it is asked for the status: lines under a checksum, the same for who writes them and
//! who reads them. `docs/firmware.md` tells it to who writes such a program.
//!
//! ```text
//! backstay-slots-status 1
//! booted 1.4.0 9f86...0a08 1048576 1     what runs: version, SHA-256, length in bytes, security epoch
//! confirmed 1.4.0 9f86...0a08 1048576 1  what a restart brings back
//! other none                             what is whole in the slot that doesn't run
//! trying none                            what a restart tries
//! word confirmed                         or `trial 2`, `fell-back`, `fell-back RELEASE`, `rescued`
//! finding TEXT                           none to 8 of them: what was found and lived with, at most 240 bytes each
//! sum 5e88...1f6a                        SHA-256 of all lines before, with their ends
//! ```
//!
//! Not here: asking a program (`program`), knowing the answer (whoever has slots).

use std::{fmt, str::FromStr};

use backstay_model::{Release, SlotStatus};

use crate::environment::{BootWord, ReleaseWords, WORDS_BYTES_MAX, release_from_words, sealed, unsealed};

const HEADING: &str = "backstay-slots-status 1";

/// The most findings in one answer.
pub const FINDINGS_MAX: usize = 8;
/// The longest of them, in bytes.
pub const FINDING_BYTES_MAX: usize = 240;

/// All that a slot program says of its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotAnswer {
    /// What is where.
    pub status: SlotStatus,
    /// The boot loader's word on this boot.
    pub word: BootWord,
    /// What was found and lived with, a line each. What is too long is cut, and those beyond [`FINDINGS_MAX`] are left out.
    pub findings: Vec<String>,
}

impl SlotAnswer {
    /// The answer as it goes over standard output, at most [`WORDS_BYTES_MAX`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let SlotStatus { booted, confirmed, other, trying } = &self.status;
        let held = |release: &Option<Release>| match release {
            Some(release) => ReleaseWords(release).to_string(),
            None => "none".to_owned(),
        };
        let mut lines = format!(
            "{HEADING}\nbooted {}\nconfirmed {}\nother {}\ntrying {}\nword {}\n",
            ReleaseWords(booted),
            ReleaseWords(confirmed),
            held(other),
            held(trying),
            self.word
        );
        for finding in self.findings.iter().take(FINDINGS_MAX) {
            lines.push_str("finding ");
            lines.push_str(&line(finding, FINDING_BYTES_MAX));
            lines.push('\n');
        }
        sealed(lines)
    }

    /// Reads an answer; `None` if a single bit of it is other than it was written, or a word means nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > WORDS_BYTES_MAX {
            return None;
        }
        let mut lines = unsealed(bytes)?.lines();
        if lines.next()? != HEADING {
            return None;
        }
        let mut words = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let held = |words: &str| match words {
            "none" => Some(None),
            words => release_from_words(words).map(Some),
        };
        let status = SlotStatus {
            booted: release_from_words(words("booted")?)?,
            confirmed: release_from_words(words("confirmed")?)?,
            other: held(words("other")?)?,
            trying: held(words("trying")?)?,
        };
        let word = words("word")?.parse().ok()?;
        let mut findings = Vec::new();
        for line in lines {
            findings.push(line.strip_prefix("finding ")?.to_owned());
        }
        (findings.len() <= FINDINGS_MAX).then_some(Self { status, word, findings })
    }
}

/// `text` as one line of at most `bytes_max` bytes.
pub(crate) fn line(text: &str, bytes_max: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=line.len().min(bytes_max)).rev().find(|&end| line.is_char_boundary(end));
    line.truncate(end.unwrap_or(0));
    line
}

impl fmt::Display for BootWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed => f.write_str("confirmed"),
            Self::Trial { tries_left } => write!(f, "trial {tries_left}"),
            Self::FellBack { from: None } => f.write_str("fell-back"),
            Self::FellBack { from: Some(release) } => write!(f, "fell-back {}", ReleaseWords(release)),
            Self::Rescued => f.write_str("rescued"),
        }
    }
}

impl FromStr for BootWord {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(' ').unwrap_or((text, "")) {
            ("confirmed", "") => Ok(Self::Confirmed),
            ("rescued", "") => Ok(Self::Rescued),
            ("fell-back", "") => Ok(Self::FellBack { from: None }),
            ("trial", left) => Ok(Self::Trial { tries_left: left.parse().map_err(|_| ())? }),
            ("fell-back", release) => {
                Ok(Self::FellBack { from: Some(release_from_words(release).ok_or(())?) })
            }
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::{Digest, Version};

    use super::*;

    fn release(version: &str) -> Release {
        Release {
            version: Version::parse(version).unwrap(),
            digest: Digest([7; 32]),
            length: u64::MAX,
            security_epoch: u32::MAX,
        }
    }

    fn answers() -> Vec<SlotAnswer> {
        let status = |other, trying| SlotStatus {
            booted: release("1.4.0"),
            confirmed: release("1.3.9"),
            other,
            trying,
        };
        let words = [
            BootWord::Confirmed,
            BootWord::Trial { tries_left: 0 },
            BootWord::FellBack { from: None },
            BootWord::FellBack { from: Some(release("1.5.0")) },
            BootWord::Rescued,
        ];
        let with = |word| SlotAnswer {
            status: status(Some(release("1.5.0")), Some(release("1.5.0"))),
            word,
            findings: vec!["slot b could not be barred".into(), String::new()],
        };
        let mut all: Vec<_> = words.into_iter().map(with).collect();
        all.push(SlotAnswer { status: status(None, None), findings: Vec::new(), ..all[0].clone() });
        all
    }

    #[test]
    fn answers_are_read_as_they_are_written_and_no_damage_goes_unseen() {
        for answer in answers() {
            let bytes = answer.to_bytes();
            assert_eq!(SlotAnswer::from_bytes(&bytes), Some(answer));
            for at in 0..bytes.len() {
                assert_eq!(SlotAnswer::from_bytes(&bytes[..at]), None, "cut at {at}");
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                assert_eq!(SlotAnswer::from_bytes(&bytes), None, "byte {at}");
            }
        }
    }

    /// A finding quotes what others said, and that may be anything.
    #[test]
    fn findings_stay_lines_and_the_longest_answer_is_within_its_bound() {
        let findings = vec!["a finding\nbooted 9.9 \u{1b}[2J\u{e4}".repeat(100); 20];
        let long = release(&"1".repeat(64));
        let (other, trying) = (Some(long.clone()), Some(long.clone()));
        let status = SlotStatus { booted: long.clone(), confirmed: long.clone(), other, trying };
        let answer = SlotAnswer { status, word: BootWord::FellBack { from: Some(long) }, findings };
        let bytes = answer.to_bytes();
        assert!(bytes.len() as u64 <= WORDS_BYTES_MAX, "{}", bytes.len());
        let read = SlotAnswer::from_bytes(&bytes).unwrap();
        assert_eq!((&read.status, read.findings.len()), (&answer.status, FINDINGS_MAX));
        assert!(read.findings.iter().all(|finding| finding.starts_with("a finding booted 9.9  [2J\u{e4}")));
        assert_eq!(SlotAnswer::from_bytes(&[bytes, vec![b'\n'; 4096]].concat()), None);
    }

    #[test]
    fn words_of_no_meaning_are_not_believed() {
        for word in ["", "confirmed 1", "trial", "trial -1", "trial 256", "fell-back 1.0", "tired"] {
            assert_eq!(word.parse::<BootWord>(), Err(()), "{word}");
        }
        let lines = String::from_utf8(answers()[0].to_bytes()).unwrap();
        let (lines, _) = lines.rsplit_once("sum ").unwrap();
        for (from, to) in [
            ("status 1", "status 2"),
            ("booted", "boot"),
            ("trying", "other"),
            ("finding slot", "found slot"),
            ("other ", "other none "),
        ] {
            let altered = lines.replacen(from, to, 1);
            assert_ne!(altered, lines);
            assert_eq!(SlotAnswer::from_bytes(&sealed(altered)), None, "{to}");
        }
    }
}
