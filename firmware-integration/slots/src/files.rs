//! Slots that are plain files: for a program that runs from a directory, for the demo, and for tests of all that
//! stands on slots.
//!
//! ```text
//! <dir>/a/release  a/manifest     one slot: the artifact, executable, and which release it is
//! <dir>/b/release  b/manifest     the other
//! <dir>/current -> a              what runs
//! <dir>/environment-0, -1         the words that decide about the next restart, twice
//! ```
//!
//! Here: which operation is allowed when, and in which order things become durable. Not here: how a slot is
//! written (`artifact`), the words (`environment`), starting the program (whoever calls [`Files::begin_boot`]).

use std::{
    io,
    path::{Path, PathBuf},
};

use backstay_model::{Release, SlotStatus};

use crate::{
    Artifact, Slots,
    artifact::{self, artifact_path, failed, known, read_words, replace, verified},
    disk::{Disk, System},
    environment::{BootWord, Environment, Last, Slot, Tries, Trying},
    error::{ProvisionError, SlotError},
};

const CURRENT: &str = "current";
const COPIES: [&str; 2] = ["environment-0", "environment-1"];

/// Damage that was found and lived with. Each is worth a record.
#[derive(Debug)]
#[non_exhaustive]
pub enum Finding {
    /// One copy of the words was damaged or missing; the other one held.
    CopyLost {
        /// Which, 0 or 1.
        copy: usize,
    },
    /// Both copies were: what ran was taken to be confirmed, and an open try, if there was one, is forgotten.
    EnvironmentLost {
        /// Which slot is taken to be confirmed.
        confirmed: Slot,
    },
    /// `current` was missing or led elsewhere: the confirmed slot is taken to be what runs.
    LinkLost,
    /// What was being tried is no longer whole, so the try is over.
    TryDamaged {
        /// In which slot.
        slot: Slot,
    },
    /// The confirmed slot is no longer whole; the other one runs.
    ConfirmedDamaged {
        /// Which slot is damaged.
        slot: Slot,
    },
    /// Something could not be written. What runs is right all the same, but no try starts until it can.
    NotWritten {
        /// What, and why.
        error: SlotError,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CopyLost { copy } => write!(f, "copy {copy} of the slots' environment was damaged"),
            Self::EnvironmentLost { confirmed } => {
                write!(
                    f,
                    "both copies of the slots' environment were damaged: slot {confirmed} is taken to be confirmed"
                )
            }
            Self::LinkLost => f.write_str("the link to the slot that runs was damaged"),
            Self::TryDamaged { slot } => write!(f, "slot {slot} was to be tried and is damaged"),
            Self::ConfirmedDamaged { slot } => {
                write!(f, "confirmed slot {slot} is damaged, the other one runs")
            }
            Self::NotWritten { error } => {
                write!(f, "{error}")?;
                std::error::Error::source(error).map_or(Ok(()), |source| write!(f, ": {source}"))
            }
        }
    }
}

/// What a restart came to.
#[derive(Debug)]
pub struct Boot<F> {
    /// What runs now.
    pub release: Release,
    /// From which slot.
    pub slot: Slot,
    /// Its program: absolute if the directory was given so, and true to this slot when `current` moves on.
    pub path: PathBuf,
    /// The program's bytes, verified through this very descriptor, at its start.
    pub file: F,
    /// What the boot loader says of this boot.
    pub word: BootWord,
    /// Damage on the way.
    pub findings: Vec<Finding>,
}

/// Slots in a directory. While this value lives, no other process works on them.
#[derive(Debug)]
pub struct Files<D: Disk = System> {
    disk: D,
    dir: PathBuf,
    tries: Tries,
    environment: Environment,
    /// Which copy holds for sure.
    holder: usize,
    copies: Copies,
    /// Where `current` leads on disk.
    link: Option<Slot>,
    /// What runs.
    active: Slot,
    word: BootWord,
    _lock: D::Lock,
}

/// Whether both copies say what `Files` thinks they say.
#[derive(Debug, PartialEq, Eq)]
enum Copies {
    Same,
    Differ,
}

impl Files<System> {
    /// Opens the slots in `dir` as they are. `tries`: how many restarts a try is given.
    ///
    /// # Errors
    /// There is nothing in it that could run, somebody else works on it, or the disk failed.
    pub fn open(dir: &Path, tries: Tries) -> Result<(Self, Vec<Finding>), SlotError> {
        Self::open_on(System, dir, tries)
    }
}

/// Makes a directory of slots with `release` in the first, confirmed: what a factory image carries. Done before,
/// with the same release, it changes nothing; cut in the middle, it is done again.
///
/// # Errors
/// The directory is provisioned with something else, `artifact` is not the release, or the disk failed.
pub fn provision(dir: &Path, release: &Release, artifact: &mut dyn Artifact) -> Result<(), ProvisionError> {
    Files::provision_on(System, dir, release, artifact)
}

impl<D: Disk> Files<D> {
    /// [`Files::open`] on any disk.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(mut disk: D, dir: &Path, tries: Tries) -> Result<(Self, Vec<Finding>), SlotError> {
        let lock = lock(&mut disk, dir)?;
        let mut findings = Vec::new();
        let link = read_link(&disk, dir);
        let copies = read_copies(&disk, dir)?;
        let same = copies[0].is_some() && copies[0] == copies[1];
        for (copy, _) in copies.iter().enumerate().filter(|(_, words)| words.is_none()) {
            findings.push(Finding::CopyLost { copy });
        }
        let counter = |copy: &Option<Environment>| copy.as_ref().map(|words| words.counter);
        let holder = usize::from(counter(&copies[1]) > counter(&copies[0]));
        let environment = match copies.into_iter().nth(holder).flatten() {
            Some(environment) => environment,
            None => {
                let mut confirmed = None;
                for slot in [link, link.map(Slot::other)].into_iter().flatten() {
                    let is_whole = verified(&disk, &dir.join(slot.as_str()))?.is_some();
                    confirmed = confirmed.or(is_whole.then_some(slot));
                }
                let confirmed = confirmed.ok_or_else(|| SlotError::NothingToRun { dir: dir.to_owned() })?;
                findings = vec![Finding::EnvironmentLost { confirmed }];
                Environment::new(confirmed)
            }
        };
        if link.is_none() {
            findings.push(Finding::LinkLost);
        }
        let active = link.unwrap_or(environment.confirmed);
        let word = word(&environment, active);
        let copies = if same { Copies::Same } else { Copies::Differ };
        let dir = dir.to_owned();
        Ok((
            Self { disk, dir, tries, environment, holder, copies, link, active, word, _lock: lock },
            findings,
        ))
    }

    /// [`provision`] on any disk.
    ///
    /// # Errors
    /// As there.
    pub fn provision_on(
        mut disk: D,
        dir: &Path,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<(), ProvisionError> {
        make_dirs(&mut disk, dir).map_err(ProvisionError::Slots)?;
        // Words or a link: provisioning was done, or was cut after the slot was whole.
        let copies = read_copies(&disk, dir).map_err(ProvisionError::Slots)?;
        let begun = read_link(&disk, dir).is_some() || copies.iter().any(Option::is_some);
        if !begun {
            let lock = lock(&mut disk, dir).map_err(ProvisionError::Slots)?;
            let mut slots = Self {
                disk,
                dir: dir.to_owned(),
                tries: Tries::default(),
                environment: Environment::new(Slot::A),
                holder: 0,
                copies: Copies::Differ,
                link: None,
                active: Slot::A,
                word: BootWord::Confirmed,
                _lock: lock,
            };
            return slots.provision_slot(release, artifact).map_err(ProvisionError::Slots);
        }
        let (mut slots, _) = Self::open_on(disk, dir, Tries::default()).map_err(ProvisionError::Slots)?;
        let confirmed = slots.environment.confirmed;
        let mut with = slots.whole(confirmed).map_err(ProvisionError::Slots)?;
        if with.is_none() {
            with = slots.whole(confirmed.other()).map_err(ProvisionError::Slots)?;
        }
        let (with, _) =
            with.ok_or_else(|| ProvisionError::Slots(SlotError::NothingToRun { dir: dir.to_owned() }))?;
        if with.digest != release.digest {
            return Err(ProvisionError::Occupied { dir: dir.to_owned(), with: Box::new(with) });
        }
        let linked = if slots.link.is_none() { slots.switch(confirmed) } else { Ok(()) };
        slots.settle().and(linked).map_err(ProvisionError::Slots)
    }

    fn provision_slot(&mut self, release: &Release, artifact: &mut dyn Artifact) -> Result<(), SlotError> {
        artifact::write(&mut self.disk, &self.dir.join(Slot::A.as_str()), release, artifact)?;
        self.settle()?;
        self.switch(Slot::A)
    }

    /// A restart: counts an open try, falls back if none is left, and says what runs. To be called once each
    /// time before the supervised program is started anew, and never while it runs.
    ///
    /// A disk that can't be written to starts no try, and doesn't keep the confirmed release from running.
    ///
    /// # Errors
    /// Neither slot is whole.
    pub fn begin_boot(&mut self) -> Result<Boot<D::File>, SlotError> {
        let mut findings = Vec::new();
        if let Some(trying) = self.environment.trying {
            let slot = self.environment.confirmed.other();
            match self.begin_try(slot, trying, &mut findings) {
                Ok(Some((release, file))) => {
                    // The way home is looked at while there still is somebody to say that it is gone.
                    let home = self.environment.confirmed;
                    if self.whole(home).is_ok_and(|whole| whole.is_none()) {
                        findings.push(Finding::ConfirmedDamaged { slot: home });
                    }
                    return Ok(self.boot(slot, release, file, findings));
                }
                Ok(None) => {}
                Err(error) => findings.push(Finding::NotWritten { error }),
            }
        }
        let slot = self.environment.confirmed;
        if let Some((release, file)) = self.whole(slot)? {
            return Ok(self.boot(slot, release, file, findings));
        }
        findings.push(Finding::ConfirmedDamaged { slot });
        let rescue = slot.other();
        let (release, file) =
            self.whole(rescue)?.ok_or_else(|| SlotError::NothingToRun { dir: self.dir.clone() })?;
        let words =
            Environment { confirmed: rescue, trying: None, last: Last::Rescued, ..self.environment.clone() };
        if let Err(error) = self.save(words) {
            findings.push(Finding::NotWritten { error });
        }
        Ok(self.boot(rescue, release, file, findings))
    }

    /// Counts one try of `slot` and hands it out; `None` if the try is over.
    fn begin_try(
        &mut self,
        slot: Slot,
        trying: Trying,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<(Release, D::File)>, SlotError> {
        let whole = self.whole(slot)?;
        if whole.is_none() {
            findings.push(Finding::TryDamaged { slot });
        }
        let from = whole.as_ref().map(|(release, _)| release.clone());
        match (whole, trying.left.checked_sub(1)) {
            (Some(whole), Some(left)) => {
                let trying = Some(Trying { left, ..trying });
                self.save(Environment { trying, ..self.environment.clone() })?;
                self.switch(slot)?;
                Ok(Some(whole))
            }
            (None, _) | (_, None) => {
                let last = Last::FellBack(from);
                let over = Environment { trying: None, last, ..self.environment.clone() };
                self.save(over.clone()).inspect_err(|_| {
                    // It is over, whether or not that can be written down yet.
                    self.environment = Environment { counter: self.environment.counter, ..over };
                })?;
                Ok(None)
            }
        }
    }

    fn boot(
        &mut self,
        slot: Slot,
        release: Release,
        file: D::File,
        mut findings: Vec<Finding>,
    ) -> Boot<D::File> {
        if let Err(error) = self.settle().and_then(|()| self.switch(slot)) {
            findings.push(Finding::NotWritten { error });
            self.active = slot;
        }
        self.word = word(&self.environment, slot);
        let path = artifact_path(&self.slot(slot));
        Boot { release, slot, path, file, word: self.word.clone(), findings }
    }

    fn slot(&self, slot: Slot) -> PathBuf {
        self.dir.join(slot.as_str())
    }

    fn claimed(&self, slot: Slot) -> Result<Option<Release>, SlotError> {
        artifact::claimed(&self.disk, &self.slot(slot))
    }

    fn whole(&self, slot: Slot) -> Result<Option<(Release, D::File)>, SlotError> {
        verified(&self.disk, &self.slot(slot))
    }

    fn holds(&self, slot: Slot, release: &Release) -> Result<bool, SlotError> {
        Ok(self.claimed(slot)?.is_some_and(|held| held.digest == release.digest))
    }

    fn holds_whole(&self, slot: Slot, release: &Release) -> Result<bool, SlotError> {
        Ok(self.whole(slot)?.is_some_and(|(held, _)| held.digest == release.digest))
    }

    /// What is being tried, and where.
    fn open_try(&self) -> Option<Slot> {
        self.environment.trying.map(|_| self.environment.confirmed.other())
    }

    fn try_is_open(&self, slot: Slot, wanted: &Release) -> SlotError {
        let trying = self.claimed(slot).ok().flatten();
        SlotError::TryOpen { trying: trying.unwrap_or_else(|| wanted.clone()) }
    }

    /// Makes both copies say what holds, so that losing one never brings back an older word.
    fn settle(&mut self) -> Result<(), SlotError> {
        match self.copies {
            Copies::Same => Ok(()),
            Copies::Differ => {
                self.save(self.environment.clone())?;
                match self.copies {
                    Copies::Same => Ok(()),
                    Copies::Differ => self.write_copy(self.holder ^ 1).map(|()| self.copies = Copies::Same),
                }
            }
        }
    }

    /// Makes new words durable. From the first copy that is written on they hold.
    fn save(&mut self, words: Environment) -> Result<(), SlotError> {
        let before = self.environment.clone();
        let counter = before.counter.saturating_add(1);
        self.copies = Copies::Differ;
        self.environment = Environment { counter, ..words };
        // The copy that holds is left alone until the other one is whole.
        let first = self.holder ^ 1;
        if let Err(error) = self.write_copy(first) {
            // Nobody knows what reached the disk: whatever is written next counts for more than that.
            self.environment = Environment { counter, ..before };
            return Err(error);
        }
        let second = self.holder;
        self.holder = first;
        if self.write_copy(second).is_ok() {
            self.copies = Copies::Same;
        }
        Ok(())
    }

    fn write_copy(&mut self, copy: usize) -> Result<(), SlotError> {
        let name = COPIES[copy & 1];
        replace(&mut self.disk, &self.dir.join(name), &self.environment.to_bytes())
    }

    /// Lets `current` name `slot`, which was verified.
    fn switch(&mut self, slot: Slot) -> Result<(), SlotError> {
        if self.link != Some(slot) {
            let (next, current) = (self.dir.join("current.part"), self.dir.join(CURRENT));
            self.link = None;
            self.disk.remove(&next).map_err(failed("cannot remove", &next))?;
            self.disk.link(Path::new(slot.as_str()), &next).map_err(failed("cannot link", &next))?;
            self.disk.rename(&next, &current).map_err(failed("cannot replace", &current))?;
            self.disk.sync_dir(&self.dir).map_err(failed("cannot sync", &self.dir))?;
            self.link = Some(slot);
        }
        self.active = slot;
        Ok(())
    }
}

fn lock<D: Disk>(disk: &mut D, dir: &Path) -> Result<D::Lock, SlotError> {
    disk.lock(dir).map_err(|source| {
        let is = |kind: io::ErrorKind| source.kind() == kind;
        if is(io::ErrorKind::WouldBlock) {
            SlotError::Busy { dir: dir.to_owned() }
        } else if is(io::ErrorKind::NotFound) {
            SlotError::NothingToRun { dir: dir.to_owned() }
        } else {
            failed("cannot lock", dir)(source)
        }
    })
}

fn make_dirs<D: Disk>(disk: &mut D, dir: &Path) -> Result<(), SlotError> {
    for made in [dir.to_owned(), dir.join("a"), dir.join("b")] {
        disk.make_dir(&made).map_err(failed("cannot make", &made))?;
    }
    disk.sync_dir(dir).map_err(failed("cannot sync", dir))?;
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => disk.sync_dir(parent).map_err(failed("cannot sync", parent)),
        None => Ok(()),
    }
}

fn read_copies<D: Disk>(disk: &D, dir: &Path) -> Result<[Option<Environment>; 2], SlotError> {
    let [one, two] = COPIES.map(|copy| {
        let path = dir.join(copy);
        Ok(known(read_words(disk, &path), &path)?.and_then(|bytes| Environment::from_bytes(&bytes)))
    });
    Ok([one?, two?])
}

fn read_link<D: Disk>(disk: &D, dir: &Path) -> Option<Slot> {
    disk.read_link(&dir.join(CURRENT)).ok()?.to_str()?.parse().ok()
}

/// What is to be said of a boot that runs `active`.
fn word(environment: &Environment, active: Slot) -> BootWord {
    match (&environment.trying, &environment.last) {
        (Some(trying), _) if active != environment.confirmed => BootWord::Trial { tries_left: trying.left },
        (_, Last::Well) => BootWord::Confirmed,
        (_, Last::FellBack(from)) => BootWord::FellBack { from: from.clone() },
        (_, Last::Rescued) => BootWord::Rescued,
    }
}

impl<D: Disk> Slots for Files<D> {
    fn running(&mut self) -> Result<Option<PathBuf>, SlotError> {
        Ok(Some(artifact_path(&self.slot(self.active))))
    }

    fn status(&mut self) -> Result<SlotStatus, SlotError> {
        let booted =
            self.claimed(self.active)?.ok_or_else(|| SlotError::NothingToRun { dir: self.dir.clone() })?;
        // Where the confirmed slot has no words left, a restart is rescued by what runs.
        let confirmed = self.claimed(self.environment.confirmed)?.unwrap_or_else(|| booted.clone());
        let other = self.whole(self.active.other())?.map(|(release, _)| release);
        let trying = match self.environment.trying.filter(|trying| trying.left > 0) {
            Some(_) => self.claimed(self.environment.confirmed.other())?,
            None => None,
        };
        Ok(SlotStatus { booted, confirmed, other, trying })
    }

    fn stage(&mut self, release: &Release, artifact: &mut dyn Artifact) -> Result<(), SlotError> {
        let slot = self.active.other();
        if self.holds(self.active, release)? || self.holds_whole(slot, release)? {
            return Ok(());
        }
        if let Some(tried) = self.open_try() {
            return Err(self.try_is_open(tried, release));
        }
        if self.environment.confirmed == slot {
            return Err(SlotError::HoldsConfirmed { slot });
        }
        // An older copy could still call this slot confirmed: it goes before the first byte is written.
        self.settle()?;
        let path = self.slot(slot);
        artifact::write(&mut self.disk, &path, release, artifact)
    }

    fn try_next(&mut self, release: &Release) -> Result<(), SlotError> {
        if let Some(tried) = self.open_try() {
            let same = self.holds(tried, release)?;
            return if same { Ok(()) } else { Err(self.try_is_open(tried, release)) };
        }
        let confirmed = self.environment.confirmed;
        if self.holds(confirmed, release)? {
            return Ok(());
        }
        if confirmed != self.active {
            return Err(SlotError::HoldsConfirmed { slot: confirmed });
        }
        let slot = confirmed.other();
        if !self.holds_whole(slot, release)? {
            return Err(SlotError::NotThere { release: release.clone(), slot });
        }
        let trying = Some(Trying { left: self.tries.get(), given: self.tries });
        self.save(Environment { trying, last: Last::Well, ..self.environment.clone() })
    }

    fn confirm(&mut self, release: &Release) -> Result<(), SlotError> {
        let not_running = || SlotError::NotRunning { release: release.clone() };
        if !self.holds(self.active, release)? {
            return Err(not_running());
        }
        if self.environment.confirmed == self.active {
            return Ok(());
        }
        if self.open_try() != Some(self.active) {
            return Err(not_running());
        }
        let confirmed = self.active;
        self.save(Environment { confirmed, trying: None, last: Last::Well, ..self.environment.clone() })?;
        self.word = BootWord::Confirmed;
        Ok(())
    }

    fn go_home(&mut self, release: &Release) -> Result<(), SlotError> {
        let (confirmed, other) = (self.environment.confirmed, self.environment.confirmed.other());
        let is_confirmed = self.holds(confirmed, release)?;
        if self.open_try().is_some() && !is_confirmed {
            return Err(match self.holds(other, release)? {
                true => SlotError::OnTrial { release: release.clone() },
                false => SlotError::NotThere { release: release.clone(), slot: confirmed },
            });
        }
        let home = if is_confirmed { confirmed } else { other };
        if home != self.active && !self.holds_whole(home, release)? {
            return Err(SlotError::NotThere { release: release.clone(), slot: home });
        }
        // Not confirmed and yet what runs: it was given up for the confirmed one, and stays so.
        if home == self.active && !is_confirmed {
            return Err(match self.holds(home, release)? {
                true => SlotError::NotRunning { release: release.clone() },
                false => SlotError::NotThere { release: release.clone(), slot: confirmed },
            });
        }
        if home == confirmed && self.environment.trying.is_none() {
            return Ok(());
        }
        self.save(Environment { confirmed: home, trying: None, ..self.environment.clone() })
    }

    /// It is so already: there is no boot loader, and our own words start it only where what is confirmed is damaged.
    fn condemn(&mut self, _: &Release) -> Result<(), SlotError> {
        Ok(())
    }

    fn booted(&self) -> BootWord {
        self.word.clone()
    }

    fn note_boot(&mut self) -> Result<(), SlotError> {
        match self.environment.trying {
            Some(Trying { left, given }) if self.open_try() == Some(self.active) && left != given.get() => {
                let trying = Some(Trying { left: given.get(), given });
                self.save(Environment { trying, ..self.environment.clone() })?;
                self.word = BootWord::Trial { tries_left: given.get() };
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }
}
