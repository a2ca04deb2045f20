//! What is in which slot and what was begun with it: the words that no boot loader keeps for us.
//!
//! A writer that was killed leaves half of something, and neither RAUC's status nor SWUpdate's says so afterwards. So each
//! step is written down here before it begins. Two copies in sealed lines, as with `backstay_slots`: both are written at
//! each change, one after the other, and the newer one holds.
//!
//! Here: the words, and keeping them. Not here: what follows from them (`backend`).

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use backstay_model::{Digest, Release};
use backstay_slots::{
    Disk, ReleaseWords, Slot, SlotError, WORDS_BYTES_MAX, read_words, release_from_words, replace, sealed,
    unsealed,
};

const HEADING: &str = "backstay-ledger 1";
const COPIES: [&str; 2] = ["ledger-0", "ledger-1"];

/// What lies in a slot, byte for byte. For a raw image it is the artifact; a bundle holds another image than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Of the first [`length`](Self::length) bytes.
    pub digest: Digest,
    /// In bytes.
    pub length: u64,
}

/// Names one boot of the machine: 1 to 64 visible ASCII characters, never the same again. On Linux
/// `/proc/sys/kernel/random/boot_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootId(String);

impl FromStr for BootId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A release that was written whole, and the image that it is in its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) release: Release,
    pub(crate) image: Image,
}

/// What was begun and has not ended. "The other slot" is the one that isn't confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Quiet,
    /// The other slot is being written. What the ledger says it holds is what it held before: true only as long as the boot
    /// loader hasn't barred it.
    Staging(Release),
    /// The boot loader is about to be asked for a try of the other slot.
    Asked,
    /// It was asked, and the try is not over.
    Trying,
    /// The boot loader is about to be asked to go home.
    Homing {
        /// Where that is.
        to: Slot,
        /// During which boot.
        boot: BootId,
        /// Whether a try was open.
        trying: bool,
    },
    /// It was asked; what ran then runs on until the restart.
    Leaving {
        /// During which boot.
        boot: BootId,
    },
}

/// How the last try ended, where it ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Well,
    FellBack(Option<Release>),
    Rescued,
}

/// The words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// One more with each change.
    pub(crate) counter: u64,
    pub(crate) confirmed: Slot,
    /// Slot a, slot b; `None` where nobody knows.
    pub(crate) held: [Option<Held>; 2],
    pub(crate) step: Step,
    pub(crate) last: Last,
}

impl Ledger {
    /// Where nothing is known but what runs.
    pub(crate) fn new(confirmed: Slot, held: Option<Held>) -> Self {
        let held = if confirmed == Slot::A { [held, None] } else { [None, held] };
        Self { counter: 0, confirmed, held, step: Step::Quiet, last: Last::Well }
    }

    pub(crate) fn held(&self, slot: Slot) -> Option<&Held> {
        self.held[slot as usize].as_ref()
    }

    pub(crate) fn release(&self, slot: Slot) -> Option<&Release> {
        self.held(slot).map(|held| &held.release)
    }

    pub(crate) fn holds(&self, slot: Slot, release: &Release) -> bool {
        self.release(slot).is_some_and(|held| held.digest == release.digest)
    }

    /// Lines for people to read, the last one a checksum of those before.
    fn to_bytes(&self) -> Vec<u8> {
        let held = |slot| match self.held(slot) {
            None => "unknown".to_owned(),
            Some(Held { release, image }) => {
                format!("{} {} {}", image.digest, image.length, ReleaseWords(release))
            }
        };
        let step = match &self.step {
            Step::Quiet => "quiet".to_owned(),
            Step::Staging(release) => format!("staging {}", ReleaseWords(release)),
            Step::Asked => "asked".to_owned(),
            Step::Trying => "trying".to_owned(),
            Step::Homing { to, boot, trying: false } => format!("homing {to} {boot}"),
            Step::Homing { to, boot, trying: true } => format!("homing-from-try {to} {boot}"),
            Step::Leaving { boot } => format!("leaving {boot}"),
        };
        let last = match &self.last {
            Last::Well => "well".to_owned(),
            Last::FellBack(None) => "fell-back".to_owned(),
            Last::FellBack(Some(release)) => format!("fell-back {}", ReleaseWords(release)),
            Last::Rescued => "rescued".to_owned(),
        };
        let Self { counter, confirmed, .. } = self;
        let (a, b) = (held(Slot::A), held(Slot::B));
        sealed(format!(
            "{HEADING}\ncounter {counter}\nconfirmed {confirmed}\na {a}\nb {b}\nstep {step}\nlast {last}\n"
        ))
    }

    /// Reads a copy; `None` if it is damaged in any way.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut lines = unsealed(bytes)?.lines();
        if lines.next()? != HEADING {
            return None;
        }
        let mut line = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let counter = line("counter")?.parse().ok()?;
        let confirmed = line("confirmed")?.parse().ok()?;
        let held = [held_from_words(line("a")?)?, held_from_words(line("b")?)?];
        let step = step_from_words(line("step")?)?;
        let last = match line("last")? {
            "well" => Last::Well,
            "rescued" => Last::Rescued,
            "fell-back" => Last::FellBack(None),
            other => Last::FellBack(Some(release_from_words(other.strip_prefix("fell-back ")?)?)),
        };
        lines.next().is_none().then_some(Self { counter, confirmed, held, step, last })
    }
}

fn held_from_words(words: &str) -> Option<Option<Held>> {
    if words == "unknown" {
        return Some(None);
    }
    let (digest, rest) = words.split_once(' ')?;
    let (length, release) = rest.split_once(' ')?;
    let image = Image { digest: digest.parse().ok()?, length: length.parse().ok()? };
    Some(Some(Held { release: release_from_words(release)?, image }))
}

fn step_from_words(words: &str) -> Option<Step> {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    let homing = |trying| {
        let (to, boot) = rest.split_once(' ')?;
        Some(Step::Homing { to: to.parse().ok()?, boot: boot.parse().ok()?, trying })
    };
    match word {
        "staging" => Some(Step::Staging(release_from_words(rest)?)),
        "homing" => homing(false),
        "homing-from-try" => homing(true),
        "leaving" => Some(Step::Leaving { boot: rest.parse().ok()? }),
        "quiet" if rest.is_empty() => Some(Step::Quiet),
        "asked" if rest.is_empty() => Some(Step::Asked),
        "trying" if rest.is_empty() => Some(Step::Trying),
        _ => None,
    }
}

/// The two copies, in a directory that both slots share.
#[derive(Debug)]
pub(crate) struct Store<D: Disk> {
    disk: D,
    dir: PathBuf,
    _lock: D::Lock,
}

impl<D: Disk> Store<D> {
    /// Takes the directory for this process alone, and makes it where there is none.
    pub(crate) fn open(mut disk: D, dir: &Path) -> Result<Self, SlotError> {
        let failed = |doing| move |source| SlotError::Disk { doing, path: dir.to_owned(), source };
        disk.make_dir(dir).map_err(failed("cannot make"))?;
        let lock = disk.lock(dir).map_err(|source| match source.kind() == io::ErrorKind::WouldBlock {
            true => SlotError::Busy { dir: dir.to_owned() },
            false => failed("cannot lock")(source),
        })?;
        Ok(Self { disk, dir: dir.to_owned(), _lock: lock })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The words that hold, durable and in both copies; `None` where both are lost or were never written.
    pub(crate) fn load(&mut self) -> Result<Option<Ledger>, SlotError> {
        let mut copies = [None, None];
        let mut unread = None;
        for (name, copy) in COPIES.iter().zip(&mut copies) {
            let path = self.dir.join(name);
            match read_words(&self.disk, &path) {
                Ok(bytes) if bytes.len() as u64 <= WORDS_BYTES_MAX => *copy = Ledger::from_bytes(&bytes),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => unread = Some(SlotError::Disk { doing: "cannot read", path, source }),
            }
        }
        if copies[0] == copies[1] && copies[0].is_some() {
            let [copy, _] = copies;
            return Ok(copy);
        }
        let counter = |copy: &Option<Ledger>| copy.as_ref().map(|ledger| ledger.counter);
        let holder = usize::from(counter(&copies[1]) > counter(&copies[0]));
        match (copies.into_iter().nth(holder).flatten(), unread) {
            (Some(ledger), _) => {
                // A change was cut between its copies. Nothing is decided on a word that one more cut could take back.
                self.write(holder ^ 1, &ledger)?;
                Ok(Some(ledger))
            }
            // What can't be read just now is not lost.
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Makes new words durable, in both copies. After an error it is open which ones hold: [`load`](Self::load) tells.
    pub(crate) fn save(&mut self, ledger: &mut Ledger) -> Result<(), SlotError> {
        ledger.counter = ledger.counter.saturating_add(1);
        self.write(0, ledger)?;
        self.write(1, ledger)
    }

    fn write(&mut self, copy: usize, ledger: &Ledger) -> Result<(), SlotError> {
        replace(&mut self.disk, &self.dir.join(COPIES[copy & 1]), &ledger.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::Version;

    use super::*;
    use crate::testing::{Cut, Power};

    fn release() -> Release {
        Release {
            version: Version::parse("1.4.0").unwrap(),
            digest: Digest([7; 32]),
            length: 12,
            security_epoch: 3,
        }
    }

    fn ledgers() -> Vec<Ledger> {
        let held = || Some(Held { release: release(), image: Image { digest: Digest([9; 32]), length: 99 } });
        let boot: BootId = "0b5e-1".parse().unwrap();
        let steps = [
            Step::Quiet,
            Step::Staging(release()),
            Step::Asked,
            Step::Trying,
            Step::Homing { to: Slot::A, boot: boot.clone(), trying: true },
            Step::Homing { to: Slot::B, boot: boot.clone(), trying: false },
            Step::Leaving { boot },
        ];
        let lasts = [Last::Well, Last::Rescued, Last::FellBack(None), Last::FellBack(Some(release()))];
        let with = |(step, last): (Step, Last)| Ledger { step, last, ..Ledger::new(Slot::B, held()) };
        let mut all: Vec<_> = steps.into_iter().zip(lasts.into_iter().cycle()).map(with).collect();
        all.push(Ledger { held: [held(), None], ..Ledger::new(Slot::A, None) });
        all
    }

    #[test]
    fn words_are_read_as_they_are_written_and_no_damage_goes_unseen() {
        for ledger in ledgers() {
            let bytes = ledger.to_bytes();
            assert_eq!(Ledger::from_bytes(&bytes), Some(ledger));
            for at in 0..bytes.len() {
                assert_eq!(Ledger::from_bytes(&bytes[..at]), None, "cut at {at}");
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                assert_eq!(Ledger::from_bytes(&bytes), None, "byte {at}");
            }
        }
    }

    #[test]
    fn words_of_no_meaning_are_not_believed() {
        for step in ["", "quiet again", "homing c boot", "homing a", "leaving two words", "trying 3"] {
            assert_eq!(step_from_words(step), None, "{step}");
        }
        let long = "x".repeat(65);
        for boot in ["", "two words", "\u{e4}", &*long] {
            assert_eq!(boot.parse::<BootId>(), Err(()), "{boot}");
        }
    }

    #[test]
    fn a_change_that_is_cut_anywhere_leaves_the_old_or_the_new_for_good() {
        let dir = Path::new("/ledger");
        let open = |power: &Power| Store::open(power.clone(), dir).unwrap();
        let mut points = 0;
        for at in 0.. {
            let power = Power::new();
            let mut ledger = Ledger::new(Slot::A, None);
            open(&power).save(&mut ledger).unwrap();
            let old = ledger.clone();
            ledger.step = Step::Asked;
            power.lasts(at);
            let done = open(&power).save(&mut ledger).is_ok();
            for cut in [Cut::Kill, Cut::Strict].into_iter().chain((1..=24).map(Cut::Torn)) {
                let power = power.after(cut);
                let said = open(&power).load().unwrap().unwrap();
                assert!(said == ledger || (said == old && !done), "cut {cut:?} at {at}: {said:?}");
                for again in (1..=8).map(Cut::Torn) {
                    assert_eq!(
                        open(&power.after(again)).load().unwrap(),
                        Some(said.clone()),
                        "what was read stays"
                    );
                }
                points += 1;
            }
            if done {
                break;
            }
        }
        println!("ledger: {points} cuts, 0 bad ends");
        assert!(points > 250, "{points}");
    }
}
