//! All that a device has on its disk, damaged: journal, anchors and view, keyrings and revocation, papers, bundles, slots
//! and what says which of them boots. One to three harms at a time, files that are gone among them.
//!
//! What has to hold afterwards, whatever was done:
//!
//! - Something boots, unless each slot that held a release was harmed, and what boots is whole. Otherwise it is said that nothing does.
//! - What is older or gone is said, by whatever it was lost from; what is not said to be lost is as it was.
//! - What the device condemned it doesn't run, where it has something else.
//! - It goes on deciding and recording.
//!
//! Not here: which harms there are (`rot`), and damage to memory alone, which the device goes on from at length (`memory`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use backstay_journal::testing::Random;

use super::{
    course::{COURSES, Course, EVERYTHING},
    disk::{Cut, Disk, Left, put_into},
    found::Woken,
    pump::Pump,
};
use crate::{
    memory::hush_sled,
    rot::{Harm, Kind, Part, harm_any},
    trials::{TOLD_MAX, words},
};

/// What a trial came to, when it was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing was missing, nothing was said.
    Harmless,
    /// Nothing was missing; what was damaged was said.
    Mended,
    /// Something was older or gone, and it was said.
    Lost,
    /// Both copies of the device's own key were harmed: the agent says so and doesn't start; slots boot as before.
    NoKey,
    /// All files of the journal were taken away, with its anchors and what says that there was one: the device begins anew, and
    /// only a view that was brought to the disk could say so.
    Anew,
    /// Each slot that held a release was harmed, nothing could boot, and that was said.
    NothingBoots,
}

/// What many trials came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    harms: BTreeMap<(Part, Kind), u64>,
    /// What went wrong, with the seed; the first 20.
    pub failed: Vec<String>,
}

impl Tally {
    /// Trials in which all held.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Of those, the ones in which something was lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.outcomes.get(&Outcome::Lost).copied().unwrap_or(0)
    }

    /// How many parts of a device were harmed.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.harms.keys().map(|(part, _)| part).collect::<BTreeSet<_>>().len()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcomes, harms, failed } = self;
        let mut parts = BTreeMap::<Part, u64>::new();
        harms.iter().for_each(|((part, _), count)| *parts.entry(*part).or_default() += count);
        write!(f, "{outcomes:?}; harmed: {parts:?}; {} failed", failed.len())
    }
}

/// A device in the middle of something or at its end, and what it knows then.
struct Known {
    course: Course,
    left: Left,
    woken: Woken,
}

/// Runs the trial of each seed. A panic is a failure like any other.
#[must_use]
pub fn harm_all(seeds: Range<u64>) -> Tally {
    hush_sled();
    let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let known: Vec<Known> =
        COURSES.into_iter().chain([EVERYTHING]).flat_map(|course| known(course, base.path())).collect();
    let mut tally = Tally::default();
    for seed in seeds {
        let dir = base.path().join(format!("trial-{seed}"));
        let mut told = String::new();
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let mut random = Random::new(seed);
            // Half of them have everything.
            let of = if random.below(2) == 0 { known.len() - 1 } else { random.below(known.len()) };
            let known = &known[of];
            put_into(&known.left, &dir).unwrap();
            let times = [1, 1, 1, 2, 3][random.below(5)];
            let mut harms = Vec::<Harm>::new();
            for _ in 0..times {
                harms.push(harm_any(&dir, &mut random));
            }
            told = harms.iter().map(|harm| harm.told.as_str()).collect::<Vec<_>>().join("; ");
            harms.iter().for_each(|harm| *tally.harms.entry((harm.part, harm.kind)).or_default() += 1);
            (known.course.name, trial(known, &dir, &harms))
        }));
        let failed = match tried {
            Ok((course, Ok(outcome))) => {
                if outcome == Outcome::Anew {
                    println!("seed {seed}, {course}, begins anew: {told}");
                }
                *tally.outcomes.entry(outcome).or_default() += 1;
                None
            }
            Ok((course, Err(why))) => Some(format!("{course}: {why}")),
            Err(panic) => Some(format!("panic: {}", words(panic))),
        };
        tally.failed.extend(failed.map(|why| format!("seed {seed}, {told}: {why}")));
        drop(fs::remove_dir_all(&dir));
        if tally.failed.len() >= TOLD_MAX {
            break;
        }
    }
    tally
}

/// The device before what is cut in a course, and at the end of it.
fn known(course: Course, base: &Path) -> Vec<Known> {
    let dir = base.join(course.name);
    fs::create_dir(&dir).unwrap();
    let mut all = Vec::new();
    course.prepares(&dir).unwrap();
    if !course.before.is_empty() {
        all.push(known_in(course, &dir, &base.join(format!("{} before", course.name))));
    }
    course.ends(&dir).unwrap();
    all.push(known_in(course, &dir, &base.join(format!("{} after", course.name))));
    all
}

fn known_in(course: Course, dir: &Path, copy: &Path) -> Known {
    let left = Disk::of(dir).unwrap().left(Cut::Kill);
    put_into(&left, copy).unwrap();
    let (_, woken) = Pump::starts(copy, course.behaves, |_| ()).unwrap();
    Known { course, left, woken }
}

fn trial(known: &Known, dir: &Path, harms: &[Harm]) -> Result<Outcome, String> {
    let hit = |part| harms.iter().any(|harm| harm.part == part);
    let slots = harms.iter().filter(|harm| harm.part == Part::Slot).count();
    // Each slot that held something has been hit.
    let all_hit = ["slots/a", "slots/b"].iter().all(|slot| {
        let held = known.left.contains_key(&Path::new(slot).join("manifest"));
        !held || harms.iter().any(|harm| harm.file.starts_with(slot))
    });
    let (mut pump, woken) = match Pump::starts(dir, known.course.behaves, |_| ()) {
        Ok(started) => started,
        Err(why) if why.contains("NothingToRun") && all_hit => return Ok(Outcome::NothingBoots),
        Err(why) if why.starts_with("device.pem") && hit(Part::Papers) => return Ok(Outcome::NoKey),
        Err(why) => return Err(why),
    };
    let gone = |part| harms.iter().any(|harm| harm.part == part && harm.kind == Kind::Gone);
    let anew = [Part::Segment, Part::Anchor, Part::Begun].into_iter().all(gone);
    let lost = compare(&known.woken, &woken, &pump, anew)?;
    pump.waits(25)?;
    let runs = pump.runs()?;
    let condemned = known.woken.words.as_ref().map_or(&[][..], |words| &words.condemned);
    // One that was condemned is run only where the other slot holds nothing that could be.
    if condemned.contains(&runs.digest) && slots == 0 && !hit(Part::Ledger) && !hit(Part::Anchor) {
        return Err(format!("{} runs, which was condemned", runs.version));
    }
    let said = !woken.findings.is_empty();
    pump.ends()?;
    Ok(match (lost, said) {
        (true, _) if anew => Outcome::Anew,
        (true, _) => Outcome::Lost,
        (false, true) => Outcome::Mended,
        (false, false) => Outcome::Harmless,
    })
}

/// Holds what was found against what there had been: whether something is lost, all of which has to be said.
fn compare(before: &Woken, found: &Woken, pump: &Pump, anew: bool) -> Result<bool, String> {
    let says = |like: &dyn Fn(&str) -> bool| found.findings.iter().any(|finding| like(finding));
    let of_view = |finding: &str| finding.starts_with("the view");
    let of_anchor =
        |finding: &str| finding.starts_with("anchor slot") || finding.starts_with("both anchor slots");
    let of_slots = |finding: &str| finding.contains("slot") && !of_anchor(finding);
    let of_trust = |finding: &str| finding.contains("TrustedError");
    let of_journal =
        |finding: &str| !of_view(finding) && !of_anchor(finding) && !of_slots(finding) && !of_trust(finding);
    let mut lost = false;
    let mut missing = |what: &str, is: bool, said: bool| {
        lost |= is;
        if is && !said {
            return Err(format!("{what} is older or gone, in silence; said: {:?}", found.findings));
        }
        Ok(())
    };
    let entries = before.entries.iter().all(|(seq, entry)| found.entries.get(seq) == Some(entry));
    // Of a journal that is gone with both anchors nothing is left that could say how much it was.
    let all_gone = anew || says(&|finding| finding == "both anchor slots are lost");
    missing("the journal", !entries, says(&of_journal) || all_gone)?;
    let words = says(&|finding| of_anchor(finding) || of_journal(finding)) || anew;
    missing("what is anchored", found.words != before.words, words)?;
    // An older keyring is trusted as what it is, and recorded as trusted from now on.
    let told = pump.has_told_of_trust();
    missing("what is trusted", found.trusted != before.trusted, says(&of_trust) || told)?;
    let bundles = found.bundles.is_superset(&before.bundles);
    // What a journal that lost records doesn't know of any more it doesn't miss.
    let said = pump.said.iter().any(|said| said == "lost a bundle") || says(&of_journal) || anew;
    missing("a bundle", !bundles, said || !pump.needs(&before.bundles))?;
    missing(
        "a paper",
        found.papers != before.papers,
        says(&|finding| finding.starts_with("paper "))
            || pump.said.iter().any(|said| said.starts_with("paper ")),
    )?;
    let confirmed = |woken: &Woken| woken.slots.as_ref().map(|slots| slots.confirmed.digest);
    missing("what is confirmed", confirmed(found) != confirmed(before), says(&of_slots))?;
    Ok(lost)
}
