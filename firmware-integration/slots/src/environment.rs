//! The few words that decide what runs after a restart, kept twice, like a boot loader's redundant environment.
//!
//! Here: what the words are, how they look in a file, and which of two copies holds. Both copies are written at
//! each change, one after the other: a cut between the two leaves one old and one new, and the new one holds;
//! rot in one copy loses nothing. Not here: what follows from the words (`files`).

use std::{fmt, str::FromStr};

use backstay_model::{Digest, Release, Version};
use sha2::{Digest as _, Sha256};

/// The longest file of words that is read, in bytes. What is longer is not ours.
pub const WORDS_BYTES_MAX: u64 = 4096;

const HEADING: &str = "backstay-slots 1";

/// One of the two places that a release can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The one that this isn't.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its name, which is its directory's name, too.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Slot {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::A, Self::B].into_iter().find(|slot| slot.as_str() == text).ok_or(())
    }
}

/// The most restarts that a try can be given. More would keep a device on a broken release for long.
pub const TRIES_MAX: u8 = 7;

/// How many restarts a try is given, 1 to [`TRIES_MAX`].
///
/// One is enough for a release that comes up; the default of 3 leaves room for power that fails twice while it
/// does. A boot that was noted as fine gets all of them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries(u8);

impl Tries {
    /// `tries` restarts, if that is within bounds.
    #[must_use]
    pub const fn new(tries: u8) -> Option<Self> {
        if 1 <= tries && tries <= TRIES_MAX { Some(Self(tries)) } else { None }
    }

    /// How many.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Tries {
    fn default() -> Self {
        Self(3)
    }
}

/// What the boot loader says of the boot that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootWord {
    /// The confirmed release runs, and no try has failed since it was asked for.
    Confirmed,
    /// A try runs.
    Trial {
        /// Restarts that it has left.
        tries_left: u8,
    },
    /// The last try was not confirmed in its restarts, or could not be started: the confirmed release runs.
    /// Said until the next try.
    FellBack {
        /// What was tried; `None` where its slot was no longer whole, so that nobody can tell.
        from: Option<Release>,
    },
    /// The confirmed slot was damaged and what was in the other one runs. Said until the next try.
    Rescued,
}

/// The words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// One more with each change. The copy with the larger one holds.
    pub(crate) counter: u64,
    /// What a restart brings back.
    pub(crate) confirmed: Slot,
    /// Whether the other slot is being tried.
    pub(crate) trying: Option<Trying>,
    /// How the last try ended, where it ended badly.
    pub(crate) last: Last,
}

/// A try of the slot that isn't confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trying {
    /// Restarts left.
    pub(crate) left: u8,
    /// Restarts given.
    pub(crate) given: Tries,
}

/// What is told of the last try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Nothing bad.
    Well,
    /// It fell back.
    FellBack(Option<Release>),
    /// The confirmed slot was damaged.
    Rescued,
}

impl Environment {
    pub(crate) fn new(confirmed: Slot) -> Self {
        Self { counter: 1, confirmed, trying: None, last: Last::Well }
    }

    /// The words as a file holds them: lines for people to read, the last one a checksum of those before.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let trying = match self.trying {
            None => "none".to_owned(),
            Some(Trying { left, given }) => format!("{left} of {}", given.get()),
        };
        let last = match &self.last {
            Last::Well => "well".to_owned(),
            Last::FellBack(None) => "fell-back".to_owned(),
            Last::FellBack(Some(release)) => format!("fell-back {}", ReleaseWords(release)),
            Last::Rescued => "rescued".to_owned(),
        };
        let (counter, confirmed) = (self.counter, self.confirmed);
        sealed(format!("{HEADING}\ncounter {counter}\nconfirmed {confirmed}\ntrying {trying}\nlast {last}\n"))
    }

    /// Reads a copy; `None` if it is damaged in any way.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut lines = unsealed(bytes)?.lines();
        if lines.next()? != HEADING {
            return None;
        }
        let counter = lines.next()?.strip_prefix("counter ")?.parse().ok()?;
        let confirmed = lines.next()?.strip_prefix("confirmed ")?.parse().ok()?;
        let trying = match lines.next()?.strip_prefix("trying ")? {
            "none" => None,
            counts => {
                let (left, given) = counts.split_once(" of ")?;
                let given = Tries::new(given.parse().ok()?)?;
                Some(Trying { left: left.parse().ok().filter(|left| *left <= given.get())?, given })
            }
        };
        let last = match lines.next()?.strip_prefix("last ")? {
            "well" => Last::Well,
            "rescued" => Last::Rescued,
            "fell-back" => Last::FellBack(None),
            other => Last::FellBack(Some(release_from_words(other.strip_prefix("fell-back ")?)?)),
        };
        lines.next().is_none().then_some(Self { counter, confirmed, trying, last })
    }
}

/// A release in one line: version, digest, length, security epoch.
pub struct ReleaseWords<'a>(pub &'a Release);

impl fmt::Display for ReleaseWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Release { version, digest, length, security_epoch } = self.0;
        write!(f, "{version} {digest} {length} {security_epoch}")
    }
}

/// What [`ReleaseWords`] wrote; `None` where a word is other than it could have been.
#[must_use]
pub fn release_from_words(line: &str) -> Option<Release> {
    let mut words = line.split(' ');
    let release = Release {
        version: Version::parse(words.next()?).ok()?,
        digest: words.next()?.parse::<Digest>().ok()?,
        length: words.next()?.parse().ok()?,
        security_epoch: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(release)
}

/// `lines` and a last line with their checksum. It finds accidents; against intent there are signatures.
#[must_use]
pub fn sealed(lines: String) -> Vec<u8> {
    let sum = Digest(Sha256::digest(lines.as_bytes()).into());
    format!("{lines}sum {sum}\n").into_bytes()
}

/// The lines that were [`sealed`]; `None` if a single bit is other than it was.
#[must_use]
pub fn unsealed(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let at = text.rfind("sum ").filter(|&at| at == 0 || text[..at].ends_with('\n'))?;
    let (lines, sum) = text.split_at(at);
    let sum: Digest = sum.strip_prefix("sum ")?.strip_suffix('\n')?.parse().ok()?;
    (<[u8; 32]>::from(Sha256::digest(lines.as_bytes())) == sum.0).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            version: Version::parse("1.4.0").unwrap(),
            digest: Digest([7; 32]),
            length: 12,
            security_epoch: 3,
        }
    }

    fn environments() -> [Environment; 4] {
        let trying = Some(Trying { left: 0, given: Tries::default() });
        let new = Environment::new(Slot::A);
        [
            Environment { counter: u64::MAX, trying, ..new.clone() },
            Environment { confirmed: Slot::B, last: Last::FellBack(Some(release())), ..new.clone() },
            Environment { last: Last::FellBack(None), ..new.clone() },
            Environment { last: Last::Rescued, ..new },
        ]
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for environment in environments() {
            assert_eq!(Environment::from_bytes(&environment.to_bytes()), Some(environment));
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        for environment in environments() {
            let bytes = environment.to_bytes();
            for at in 0..bytes.len() {
                assert_eq!(Environment::from_bytes(&bytes[..at]), None, "cut at {at}");
                for bit in 0..8 {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= 1 << bit;
                    assert_eq!(Environment::from_bytes(&bytes), None, "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn words_with_more_tries_than_were_given_are_not_believed() {
        let lines = format!("{HEADING}\ncounter 1\nconfirmed a\ntrying 4 of 3\nlast well\n");
        assert_eq!(Environment::from_bytes(&sealed(lines)), None);
    }
}
