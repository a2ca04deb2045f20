//! What is left of the time before a start: what the agent itself wrote down then, and the traces that watchdogs and the
//! kernel leave.
//!
//! Not here: what they tell (`core`: `Reset`), and giving a try back (the slots).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use backstay_core::{Before, Reset, Traces, Tried};
use backstay_memory::keep_file;
use backstay_model::{BootId, Digest, Event, Reason, Release};
use backstay_slots::{BootWord, read_words, sealed, unsealed};
use sha2::{Digest as _, Sha256};

use crate::{clock::boot_id, machine::Machine};

const HEADING: &str = "backstay-start 1";

/// The most records of the kernel's that are told apart. More than that were never cleared away, and a new one among them is
/// not seen.
const RECORDS_MAX: usize = 32;

/// `WDIOF_*` of `linux/watchdog.h`: what a watchdog says of the boot before.
const CARD_RESET: u32 = 0x20;
const POWER_UNDER: u32 = 0x10;

/// Where traces are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/sys`.
    sys: PathBuf,
    /// Where systemd keeps the kernel's records once it has taken them out of there.
    kept: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { sys: "/sys".into(), kept: "/var/lib/systemd/pstore".into() }
    }
}

/// The file in which the agent writes down where it stands.
#[derive(Clone, Debug)]
pub struct Start {
    path: PathBuf,
    boot: BootId,
    /// The records of the kernel's that are there now.
    records: Vec<String>,
    tried: Option<Tried>,
    flickers: u8,
    /// The last boot that began because what is on trial had crashed.
    crashed: Option<BootId>,
    /// Whether a watchdog has ever said that it ended a boot: then it is believed when it says that it didn't.
    dog_tells: bool,
}

/// What was written down in the start before.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    before: Before,
    records: Vec<String>,
    dog_tells: bool,
}

impl Start {
    /// Looks at what is left of the time before, in the folder of an agent's state.
    #[must_use]
    pub fn look(
        state: &Path,
        places: &Places,
        boot: BootId,
        tried: Option<Tried>,
        confirmed: bool,
    ) -> (Self, Option<Reset>) {
        let path = state.join("start");
        let before = read_words(&backstay_slots::System, &path).ok().and_then(|bytes| decode(&bytes));
        let records = records(places);
        let known = before.as_ref().map_or(&[][..], |written| &written.records);
        let (watchdog, power_failed) = watchdogs(places);
        let dog_told = before.as_ref().is_some_and(|written| written.dog_tells);
        let watchdog = watchdog.or(dog_told.then_some(false));
        let dog_tells = dog_told || watchdog == Some(true);
        let traces = Traces {
            boot,
            watchdog,
            power_failed,
            panicked: keeps_records(places).then(|| records.iter().any(|record| !known.contains(record))),
            before: before.as_ref().map(|written| written.before.clone()),
            tried,
            confirmed,
        };
        let reset = Reset::of(&traces);
        // The same boot: what was given back before this start of the agent stays counted.
        let same = before.map(|written| written.before).filter(|before| before.boot == boot);
        let so_far = same.map_or((0, None), |before| (before.flickers, before.crashed));
        let (flickers, crashed) = reset.map_or(so_far, |reset| (reset.flickers, reset.crashed));
        (Self { path, boot, records, tried, flickers, crashed, dog_tells }, reset)
    }

    /// The same, with the start given back that what runs is not to blame for, and what is to be told of it.
    pub async fn of(state: &Path, machine: &Machine, on: &Release) -> (Self, Vec<Event>) {
        let (boot, mut events) = (boot_id(), Vec::new());
        let mut failed = |what: &str, error: &dyn std::fmt::Display| {
            let what = Reason::new(format!("{what}: {error}")).0;
            events.push(Event::Degraded { what });
        };
        let tried = |word| match word {
            BootWord::Trial { tries_left } => Some(Tried { release: on.digest, left: tries_left }),
            BootWord::Confirmed | BootWord::FellBack { .. } | BootWord::Rescued => None,
        };
        let word = machine.booted().await.ok();
        let confirmed = matches!(word, Some(BootWord::Confirmed | BootWord::FellBack { .. }));
        let (mut start, reset) = Self::look(state, &Places::default(), boot, word.and_then(tried), confirmed);
        if reset.is_some_and(|reset| reset.gives_back) {
            match machine.note_boot().await {
                Ok(()) => {
                    let left = machine.booted().await.ok().and_then(tried);
                    left.into_iter().for_each(|Tried { left, .. }| start.has_left(left));
                }
                Err(error) => failed("cannot give a start back that it is not to blame for", &error),
            }
        }
        if let Err(error) = start.is_up() {
            failed("cannot write down that this start is on", &error);
        }
        let tries_left = start.tried.map(|tried| tried.left);
        let told = reset.map(|Reset { cause, .. }| Event::Reset { boot, cause, tries_left });
        // In front: what is kept with the last of them an agent reads that doesn't know the first.
        events.splice(0..0, told);
        (start, events)
    }

    /// Whether what is on trial has crashed in any boot: then a boot that begins well gives it no tries back.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.crashed.is_some()
    }

    /// Whether this boot began because what is on trial had crashed. Said at each start of the agent in it: what follows from
    /// it may have been lost with the one before.
    #[must_use]
    pub fn comes_from_a_crash(&self) -> bool {
        self.crashed == Some(self.boot)
    }

    /// The starts that what is on trial has left by now.
    pub fn has_left(&mut self, left: u8) {
        self.tried = self.tried.map(|tried| Tried { left, ..tried });
    }

    /// Writes down that this start is on.
    ///
    /// # Errors
    /// If the disk doesn't take it.
    pub fn is_up(&self) -> io::Result<()> {
        self.write("no")
    }

    /// Writes down that it was told to stop.
    ///
    /// # Errors
    /// If the disk doesn't take it.
    pub fn stops(&self) -> io::Result<()> {
        self.write("yes")
    }

    fn write(&self, stopped: &str) -> io::Result<()> {
        let Self { path, boot, records, tried, flickers, crashed, dog_tells } = self;
        let crashed = crashed.map_or_else(|| "no".into(), |boot| format!("{:032x}", boot.0));
        let tried =
            tried.map_or_else(|| "none".into(), |Tried { release, left }| format!("{left} {release}"));
        let (records, dog) = (records.join(" "), if *dog_tells { "tells" } else { "silent" });
        let lines = format!(
            "{HEADING}\nboot {:032x}\nstopped {stopped}\ntried {tried}\nflickers {flickers}\ncrashed {crashed}\ndog {dog}\nrecords {records}\n",
            boot.0
        );
        keep_file(path, &sealed(lines))
    }
}

/// What was written down, and the records of the kernel's that were there then. What is damaged says nothing.
fn decode(bytes: &[u8]) -> Option<Written> {
    let mut lines = unsealed(bytes)?.strip_prefix(HEADING)?.strip_prefix('\n')?.lines();
    let mut said = |what: &str| lines.next()?.strip_prefix(what)?.strip_prefix(' ');
    let boot = BootId(u128::from_str_radix(said("boot")?, 16).ok()?);
    let stopped = said("stopped")? == "yes";
    let tried = match said("tried")? {
        "none" => None,
        some => {
            let (left, release) = some.split_once(' ')?;
            Some(Tried { release: release.parse::<Digest>().ok()?, left: left.parse().ok()? })
        }
    };
    let flickers = said("flickers")?.parse().ok()?;
    let crashed = match said("crashed")? {
        "no" => None,
        boot => Some(BootId(u128::from_str_radix(boot, 16).ok()?)),
    };
    let dog_tells = said("dog")? == "tells";
    let records = said("records")?.split_whitespace().map(str::to_owned).collect();
    Some(Written { before: Before { boot, stopped, tried, flickers, crashed }, records, dog_tells })
}

/// Whether a watchdog says that it ended the boot before, where one can say, and whether one saw the power fail.
fn watchdogs(places: &Places) -> (Option<bool>, bool) {
    let found = fs::read_dir(places.sys.join("class/watchdog")).into_iter().flatten().flatten();
    let mut says = (None, false);
    for dog in found.map(|entry| entry.path()) {
        let number = |text: String| text.trim().parse::<u32>().ok();
        let Some(status) = fs::read_to_string(dog.join("bootstatus")).ok().and_then(number) else { continue };
        // One that doesn't know says 0 as well. What it can tell stands among its options, which not every kernel shows.
        let options = fs::read_to_string(dog.join("options")).ok();
        let options =
            options.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
        let ended = status & CARD_RESET != 0;
        let can_tell = options.is_some_and(|options| options & CARD_RESET != 0);
        if ended || can_tell {
            says.0 = Some(says.0 == Some(true) || ended);
        }
        says.1 |= status & POWER_UNDER != 0;
    }
    says
}

/// Whether the kernel keeps a record of its end where it survives that.
fn keeps_records(places: &Places) -> bool {
    let keeper = fs::read_to_string(places.sys.join("module/pstore/parameters/backend")).unwrap_or_default();
    !matches!(keeper.trim(), "" | "(null)")
}

/// The kernel's records of its ends that are here, each as a short digest: an old one is not to be told again.
fn records(places: &Places) -> Vec<String> {
    let mut found = Vec::new();
    gather(&places.sys.join("fs/pstore"), 0, &mut found);
    gather(&places.kept, 0, &mut found);
    found
}

fn gather(dir: &Path, depth: u8, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(about) = entry.metadata() else { continue };
        // systemd has a folder for each, and may put what belongs together into folders of their own.
        if about.is_dir() && depth < 2 {
            gather(&path, depth + 1, found);
        } else if name.to_string_lossy().starts_with("dmesg") && found.len() < RECORDS_MAX {
            let content = fs::read(&path).unwrap_or_default();
            let sum = Digest(Sha256::digest(&content).into()).to_string();
            found.push(sum.get(..16).unwrap_or_default().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_model::ResetCause;

    use super::*;

    struct Machine {
        dir: tempfile::TempDir,
        places: Places,
        boot: u128,
    }

    impl Machine {
        /// With a watchdog that can tell, and a kernel that keeps records.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let places = Places { sys: dir.path().join("sys"), kept: dir.path().join("kept") };
            let machine = Self { dir, places, boot: 0 };
            machine.has("sys/module/pstore/parameters/backend", "ramoops\n");
            machine.has("sys/class/watchdog/watchdog0/options", "0x81a0\n");
            machine.has("sys/class/watchdog/watchdog0/bootstatus", "0\n");
            machine
        }

        fn has(&self, path: &str, text: &str) {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn starts(&mut self, left: Option<u8>) -> (Start, Option<Reset>) {
            self.boot += 1;
            let tried = left.map(|left| Tried { release: Digest([5; 32]), left });
            let looked = Start::look(self.dir.path(), &self.places, BootId(self.boot), tried, false);
            looked.0.is_up().unwrap();
            looked
        }

        fn cause(&mut self) -> Option<ResetCause> {
            self.starts(None).1.map(|reset| reset.cause)
        }
    }

    #[test]
    fn each_start_knows_why_it_came() {
        let mut machine = Machine::new();
        assert_eq!(machine.cause(), None, "the first");
        assert_eq!(machine.cause(), Some(ResetCause::Power));
        machine.starts(None).0.stops().unwrap();
        assert_eq!(machine.cause(), Some(ResetCause::Asked));
        machine.has("sys/class/watchdog/watchdog0/bootstatus", "32\n");
        assert_eq!(machine.cause(), Some(ResetCause::Watchdog));
        machine.has("sys/class/watchdog/watchdog0/bootstatus", "0\n");
        machine.has("sys/fs/pstore/dmesg-ramoops-0", "Panic#1");
        assert_eq!(machine.cause(), Some(ResetCause::Panic));
        // It is still there, or systemd has put it away: it is no news.
        assert_eq!(machine.cause(), Some(ResetCause::Power));
        fs::remove_file(machine.dir.path().join("sys/fs/pstore/dmesg-ramoops-0")).unwrap();
        machine.has("kept/7405/dmesg.txt", "Panic#1");
        assert_eq!(machine.cause(), Some(ResetCause::Power));
        machine.has("kept/7406/001/dmesg.txt", "Panic#2");
        assert_eq!(machine.cause(), Some(ResetCause::Panic));
    }

    /// Many a watchdog that can tell doesn't say that it can, until it has.
    #[test]
    fn a_watchdog_is_believed_once_it_has_told() {
        let mut machine = Machine::new();
        machine.has("sys/class/watchdog/watchdog0/options", "0x8180\n");
        let mut cause = |status: &str| {
            machine.has("sys/class/watchdog/watchdog0/bootstatus", status);
            machine.cause()
        };
        assert_eq!(cause("0"), None);
        assert_eq!(cause("0"), Some(ResetCause::Unknown));
        assert_eq!(cause("32"), Some(ResetCause::Watchdog));
        assert_eq!(cause("0"), Some(ResetCause::Power));
        assert_eq!(cause("16"), Some(ResetCause::Power));
    }

    #[test]
    fn a_try_that_power_took_is_given_back_and_counted() {
        let mut machine = Machine::new();
        machine.starts(Some(2));
        for flickers in 1..=8 {
            let (mut start, reset) = machine.starts(Some(1));
            let reset = reset.unwrap();
            assert_eq!((reset.gives_back, reset.flickers), (true, flickers));
            start.has_left(2);
            start.is_up().unwrap();
        }
        assert!(!machine.starts(Some(1)).1.unwrap().gives_back, "it may be the release that does it");
    }

    #[test]
    fn a_crash_on_trial_is_known_until_the_trial_is_over() {
        let mut machine = Machine::new();
        assert!(!machine.starts(Some(2)).0.has_crashed());
        machine.has("sys/class/watchdog/watchdog0/bootstatus", "32\n");
        let start = machine.starts(Some(2)).0;
        assert!(start.has_crashed() && start.comes_from_a_crash());
        // The agent starts again in the same boot, then the power goes.
        machine.boot -= 1;
        assert!(machine.starts(Some(2)).0.comes_from_a_crash());
        machine.has("sys/class/watchdog/watchdog0/bootstatus", "0\n");
        let start = machine.starts(Some(1)).0;
        assert!(start.has_crashed() && !start.comes_from_a_crash());
        assert!(!machine.starts(None).0.has_crashed(), "it is confirmed, or gone");
    }

    #[test]
    fn what_was_written_down_and_is_damaged_says_nothing() {
        let mut machine = Machine::new();
        machine.starts(Some(2));
        let path = machine.dir.path().join("start");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(decode(&bytes).unwrap().before.tried.unwrap().left, 2);
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at]), None);
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(decode(&other), None, "byte {at}");
        }
        fs::write(&path, b"torn").unwrap();
        assert_eq!(machine.cause(), None);
    }
}
