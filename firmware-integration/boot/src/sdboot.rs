//! systemd-boot as a switch: the entries' names are its words.
//!
//! ```text
//! loader/entries/backstay-7-b+2-1.conf   slot b, put first by the 7th change, 2 tries left, 1 done
//! loader/entries/backstay-6-a.conf       slot a, good: uncounted
//! loader/entries/backstay-6-a.bad        slot a, barred: no entry to the loader
//! ```
//!
//! The loader sorts by name, the larger number first, and those without tries last; the entries have no `sort-key`. At
//! each start it takes one from `left` by a rename of its own.
//!
//! FAT knows no rename over a name and no rename in one go. So a change writes the entry under its new name, syncs, and
//! then takes the old name away: a cut leaves one of them or both. Of two names of one slot the one with *less* holds
//! (barred, then fewer tries), and the other one is removed at the next look. That is also right for what a cut leaves of
//! the loader's own renames.
//!
//! Here: names, and how they change. Not here: what is in an entry, when to ask (`backend`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use backstay_slots::{Disk, Slot, SlotError, System, Tries, WORDS_BYTES_MAX, read_words, replace};

use crate::switch::{Standing, Switch, SwitchError};

const STEM: &str = "backstay-";

/// A disk whose directories can be read.
pub trait Folder: Disk {
    /// The names in a directory that are text.
    ///
    /// # Errors
    /// As the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
}

impl Folder for System {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }
}

/// systemd-boot.
#[derive(Debug)]
pub struct SdBoot<D = System> {
    disk: D,
    dir: PathBuf,
}

/// What a name says. Names of one slot are ordered by how much they let the loader do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    slot: Slot,
    /// Grows with each slot that is put first.
    turn: u64,
    standing: Standing,
    name: String,
}

impl Entry {
    fn new(slot: Slot, turn: u64, standing: Standing) -> Self {
        let end = match standing {
            Standing::Barred => ".bad".to_owned(),
            Standing::Tries(left) => format!("+{left}.conf"),
            Standing::Good => ".conf".to_owned(),
        };
        Self { slot, turn, standing, name: format!("{STEM}{turn}-{slot}{end}") }
    }

    fn parse(name: &str) -> Option<Self> {
        let (turn, rest) = name.strip_prefix(STEM)?.split_once('-')?;
        let turn = turn.parse().ok()?;
        let (slot, standing) = match rest.strip_suffix(".bad") {
            Some(slot) => (slot, Standing::Barred),
            None => {
                let stem = rest.strip_suffix(".conf")?;
                match stem.split_once('+') {
                    None => (stem, Standing::Good),
                    Some((slot, counts)) => {
                        let left = counts.split_once('-').map_or(counts, |(left, _done)| left);
                        (slot, Standing::Tries(left.parse().ok()?))
                    }
                }
            }
        };
        Some(Self { slot: slot.parse().ok()?, turn, standing, name: name.to_owned() })
    }

    /// Less first.
    fn leave(&self) -> (u16, u64) {
        let leave = match self.standing {
            Standing::Barred => 0,
            Standing::Tries(left) => 1 + u16::from(left),
            Standing::Good => u16::MAX,
        };
        (leave, self.turn)
    }
}

impl SdBoot<System> {
    /// The entries in `dir`, the `loader/entries` of the boot partition.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        Self::new(System, dir)
    }
}

impl<D: Folder> SdBoot<D> {
    /// [`SdBoot::open`] on any disk.
    pub fn new(disk: D, dir: &Path) -> Self {
        Self { disk, dir: dir.to_owned() }
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> SwitchError + use<D> {
        let path = self.dir.clone();
        move |source| SwitchError::Disk { doing, path, source }
    }

    /// One entry for each slot: `[a, b]`. What a cut left beside it is removed.
    fn entries(&mut self) -> Result<[Entry; 2], SwitchError> {
        // Names that a killed process left are made durable before anything is decided on them.
        self.disk.sync_dir(&self.dir).map_err(self.failed("cannot sync"))?;
        let names = self.disk.list(&self.dir).map_err(self.failed("cannot list"))?;
        let mut all: Vec<_> = names.iter().filter_map(|name| Entry::parse(name)).collect();
        all.sort_by_key(Entry::leave);
        let mut removed = false;
        let mut holding = |slot| {
            let mut of_slot = all.iter().filter(|entry| entry.slot == slot);
            let holds = of_slot.next().cloned();
            for beside in of_slot {
                removed = true;
                let path = self.dir.join(&beside.name);
                self.disk.remove(&path).map_err(|source| SwitchError::Disk {
                    doing: "cannot remove",
                    path,
                    source,
                })?;
            }
            holds.ok_or_else(|| SwitchError::NoEntry { slot, dir: self.dir.clone() })
        };
        let entries = [holding(Slot::A)?, holding(Slot::B)?];
        if removed {
            self.disk.sync_dir(&self.dir).map_err(self.failed("cannot sync"))?;
        }
        Ok(entries)
    }

    fn entry(&mut self, slot: Slot) -> Result<Entry, SwitchError> {
        let [a, b] = self.entries()?;
        Ok(if slot == Slot::A { a } else { b })
    }

    /// Gives an entry another name.
    fn change(&mut self, from: &Entry, to: &Entry) -> Result<(), SwitchError> {
        if from.name == to.name {
            return Ok(());
        }
        let (old, new) = (self.dir.join(&from.name), self.dir.join(&to.name));
        let bytes = read_words(&self.disk, &old).map_err(self.failed("cannot read an entry in"))?;
        if bytes.len() as u64 > WORDS_BYTES_MAX {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, "an entry has at most 4096 bytes");
            return Err(SwitchError::Disk { doing: "cannot copy", path: old, source });
        }
        if let Err(error) = replace(&mut self.disk, &new, &bytes) {
            return Err(if let SlotError::Disk { doing, path, source } = error {
                SwitchError::Disk { doing, path, source }
            } else {
                self.failed("cannot write an entry in")(io::Error::other(error))
            });
        }
        self.disk.remove(&old).map_err(self.failed("cannot remove an entry in"))?;
        self.disk.sync_dir(&self.dir).map_err(self.failed("cannot sync"))
    }
}

impl<D: Folder> Switch for SdBoot<D> {
    fn primary(&mut self) -> Result<Option<Slot>, SwitchError> {
        let entries = self.entries()?;
        let first = entries
            .iter()
            .filter(|entry| entry.standing.starts())
            .max_by_key(|entry| (entry.turn, entry.slot));
        Ok(first.map(|entry| entry.slot))
    }

    fn left(&mut self, slot: Slot) -> Result<Standing, SwitchError> {
        Ok(self.entry(slot)?.standing)
    }

    fn activate(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        let (entry, other) = (self.entry(slot)?, self.entry(slot.other())?);
        let full = Standing::Tries(tries.get());
        let turn = if entry.turn > other.turn { entry.turn } else { other.turn.saturating_add(1) };
        self.change(&entry, &Entry::new(slot, turn, full))
    }

    fn refill(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        let entry = self.entry(slot)?;
        match entry.standing {
            Standing::Tries(_) => {
                self.change(&entry, &Entry::new(slot, entry.turn, Standing::Tries(tries.get())))
            }
            Standing::Barred | Standing::Good => Ok(()),
        }
    }

    fn good(&mut self, slot: Slot, _: Tries) -> Result<(), SwitchError> {
        let entry = self.entry(slot)?;
        self.change(&entry, &Entry::new(slot, entry.turn, Standing::Good))
    }

    fn bad(&mut self, slot: Slot) -> Result<(), SwitchError> {
        if self.entry(slot.other())?.standing == Standing::Barred {
            return Err(SwitchError::LastSlot { slot });
        }
        let entry = self.entry(slot)?;
        self.change(&entry, &Entry::new(slot, entry.turn, Standing::Barred))
    }

    /// The loader sorts those without tries last, and starts one where there is nothing else.
    fn last_resort(&mut self, slot: Slot) -> Result<(), SwitchError> {
        let entry = self.entry(slot)?;
        if entry.standing == Standing::Barred {
            return Ok(());
        }
        if self.entry(slot.other())?.standing == Standing::Barred {
            return Err(SwitchError::LastSlot { slot });
        }
        self.change(&entry, &Entry::new(slot, entry.turn, Standing::Tries(0)))
    }

    fn renew(&mut self, first: Slot, other: Standing, tries: Tries) -> Result<(), SwitchError> {
        let entry = self.entry(first.other())?;
        self.change(&entry, &Entry::new(entry.slot, entry.turn, other))?;
        self.activate(first, tries)
    }
}

/// What the loader starts: the first by name of those with tries left, else the first. It counts by a rename.
#[cfg(test)]
pub(crate) fn starts_in(power: &mut crate::testing::Power, dir: &Path) -> Option<Slot> {
    let mut entries: Vec<_> = power.list(dir).unwrap().iter().filter_map(|name| Entry::parse(name)).collect();
    entries.retain(|entry| entry.standing != Standing::Barred);
    entries.sort_by_key(|entry| {
        (entry.standing == Standing::Tries(0), std::cmp::Reverse((entry.turn, entry.slot)))
    });
    let first = entries.into_iter().next()?;
    if let Standing::Tries(left @ 1..) = first.standing {
        let done =
            first.name.split_once('+').and_then(|(_, counts)| counts.strip_suffix(".conf")?.split_once('-'));
        let done: u8 = done.map_or(0, |(_, done)| done.parse().unwrap());
        let counted = format!("{STEM}{}-{}+{}-{}.conf", first.turn, first.slot, left - 1, done + 1);
        power.rename(&dir.join(&first.name), &dir.join(counted)).unwrap();
        power.sync_dir(dir).unwrap();
    }
    Some(first.slot)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::{Cut, Power};

    const DIR: &str = "/efi/loader/entries";
    const TWO: Tries = Tries::new(2).unwrap();

    fn with(names: &[&str]) -> Power {
        let mut power = Power::new();
        for name in names {
            replace(&mut power, &Path::new(DIR).join(name), name.as_bytes()).unwrap();
        }
        power
    }

    fn on(power: &Power) -> SdBoot<Power> {
        SdBoot::new(power.clone(), Path::new(DIR))
    }

    fn names(power: &Power) -> Vec<String> {
        power.list(Path::new(DIR)).unwrap()
    }

    fn starts(power: &mut Power) -> Option<Slot> {
        starts_in(power, Path::new(DIR))
    }

    #[test]
    fn names_say_what_the_loader_reads_in_them() {
        let said = |name| Entry::parse(name).map(|entry| (entry.slot, entry.turn, entry.standing));
        assert_eq!(said("backstay-7-b+2-1.conf"), Some((Slot::B, 7, Standing::Tries(2))));
        assert_eq!(said("backstay-7-b+0-3.conf"), Some((Slot::B, 7, Standing::Tries(0))));
        assert_eq!(said("backstay-12-a+3.conf"), Some((Slot::A, 12, Standing::Tries(3))));
        assert_eq!(said("backstay-12-a.conf"), Some((Slot::A, 12, Standing::Good)));
        assert_eq!(said("backstay-12-a.bad"), Some((Slot::A, 12, Standing::Barred)));
        let others = [
            "debian.conf",
            "backstay-a.conf",
            "backstay-1-c.conf",
            "backstay-1-a.part",
            "backstay-1-a+x.conf",
        ];
        for other in others {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn a_try_is_counted_by_the_loader_and_falls_back_without_us() {
        let mut power = with(&["backstay-1-a.conf", "backstay-1-b.bad", "debian.conf"]);
        assert_eq!(starts(&mut power), Some(Slot::A));
        on(&power).activate(Slot::B, TWO).unwrap();
        assert_eq!(names(&power), ["backstay-1-a.conf", "backstay-2-b+2.conf", "debian.conf"]);
        assert_eq!(on(&power).primary().unwrap(), Some(Slot::B));
        assert_eq!(starts(&mut power), Some(Slot::B));
        on(&power).refill(Slot::B, TWO).unwrap();
        assert_eq!([starts(&mut power), starts(&mut power)], [Some(Slot::B); 2]);
        assert_eq!(on(&power).left(Slot::B).unwrap(), Standing::Tries(0));
        assert_eq!(on(&power).primary().unwrap(), Some(Slot::A));
        assert_eq!(starts(&mut power), Some(Slot::A));
        on(&power).bad(Slot::B).unwrap();
        assert!(matches!(on(&power).bad(Slot::A), Err(SwitchError::LastSlot { slot: Slot::A })));
        on(&power).activate(Slot::B, TWO).unwrap();
        on(&power).good(Slot::B, TWO).unwrap();
        assert_eq!(names(&power), ["backstay-1-a.conf", "backstay-2-b.conf", "debian.conf"]);
        on(&power).activate(Slot::A, TWO).unwrap();
        assert_eq!(starts(&mut power), Some(Slot::A));
    }

    #[test]
    fn of_two_names_the_one_with_less_holds_and_the_other_goes() {
        for (names_before, holds) in [
            (["backstay-2-b+2.conf", "backstay-2-b+1-1.conf"], Standing::Tries(1)),
            (["backstay-2-b+1-1.conf", "backstay-2-b.conf"], Standing::Tries(1)),
            (["backstay-2-b+0-2.conf", "backstay-2-b.bad"], Standing::Barred),
            (["backstay-1-b.bad", "backstay-2-b+2.conf"], Standing::Barred),
            (["backstay-2-b.conf", "backstay-4-b+3.conf"], Standing::Tries(3)),
        ] {
            let power = with(&[names_before[0], names_before[1], "backstay-1-a.conf"]);
            assert_eq!(on(&power).left(Slot::B).unwrap(), holds, "{names_before:?}");
            assert_eq!(names(&power.after(Cut::Strict)).len(), 2);
        }
        let error = on(&with(&["backstay-1-a.conf"])).primary().unwrap_err();
        assert!(matches!(error, SwitchError::NoEntry { slot: Slot::B, .. }) && error.help().is_some());
    }

    /// Every change, cut at every operation in every way: the slot has the old standing or the new one, its entry is
    /// whole, and a bar that was told as done is one for the loader, too.
    #[test]
    fn a_change_that_is_cut_anywhere_leaves_the_old_or_the_new() {
        type Change = fn(&mut SdBoot<Power>) -> Result<(), SwitchError>;
        let changes: [(&str, Change); 5] = [
            ("activate", |boot| boot.activate(Slot::B, TWO)),
            ("refill", |boot| boot.refill(Slot::B, TWO)),
            ("good", |boot| boot.good(Slot::B, TWO)),
            ("bad", |boot| boot.bad(Slot::B)),
            ("home", |boot| boot.activate(Slot::A, TWO)),
        ];
        let mut points = 0;
        for before in
            ["backstay-2-b.bad", "backstay-2-b+1-1.conf", "backstay-2-b+0-2.conf", "backstay-2-b.conf"]
        {
            for (what, change) in changes {
                let fresh = || with(&["backstay-1-a.conf", before]);
                let standing = |power: &Power| [Slot::A, Slot::B].map(|slot| on(power).left(slot).unwrap());
                let old = standing(&fresh());
                let whole = fresh();
                change(&mut on(&whole)).unwrap();
                let new = standing(&whole);
                let mut seen = BTreeSet::new();
                for at in 0.. {
                    let power = fresh();
                    power.lasts(at);
                    let done = change(&mut on(&power)).is_ok();
                    for cut in [Cut::Kill, Cut::Strict].into_iter().chain((1..=24).map(Cut::Torn)) {
                        let mut power = power.after(cut);
                        if done && what == "bad" {
                            let loader = power.after(Cut::Strict);
                            let starts = names(&loader)
                                .iter()
                                .any(|name| name.contains("-b") && name.ends_with(".conf"));
                            assert!(!starts, "{before}, {what} cut {cut:?} at {at}");
                        }
                        let is = standing(&power);
                        assert!(
                            is == new || (is == old && !done),
                            "{before}, {what} cut {cut:?} at {at}: {is:?}"
                        );
                        seen.insert(is == new);
                        // Asked again, it is done for good: what a killed process left unsynced counts for nothing.
                        let again = power.after(Cut::Kill);
                        change(&mut on(&again)).unwrap();
                        let again = again.after(Cut::Strict);
                        let barred =
                            names(&again).iter().all(|name| !name.contains("-b") || name.ends_with(".bad"));
                        assert!(barred || what != "bad", "{before}, {what} cut {cut:?} at {at}, then again");
                        for name in names(&power).iter().filter(|name| Entry::parse(name).is_some()) {
                            let bytes = read_words(&power, &Path::new(DIR).join(name)).unwrap();
                            assert!(
                                Entry::parse(std::str::from_utf8(&bytes).unwrap()).is_some(),
                                "{name} is whole"
                            );
                        }
                        assert!(starts(&mut power).is_some());
                        points += 1;
                    }
                    if done {
                        break;
                    }
                }
                assert!(old == new || seen.len() == 2, "{before}, {what}");
            }
        }
        println!("systemd-boot: {points} cuts of changes, 0 bad ends");
        assert!(points > 1500, "{points}");
    }
}
