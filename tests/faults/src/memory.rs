//! All that a device remembers, damaged: journal segments, anchors and the view, one to three harms at a time.
//!
//! What has to hold afterwards, whatever was done:
//!
//! - Opening ends, without a panic and without an error.
//! - The state is the newest that was recorded. Or it is an older one that was recorded, or none, and a finding about
//!   the journal says so: a damaged view alone never costs any of it.
//! - The words are the newest that were anchored. Or older ones, or none, and a finding about the anchor says so.
//! - If nothing is said, nothing is missing: clock and steps of the open run are what they were, too.
//! - What the server gave a receipt for, as the words have it, is not sent again.
//! - What the device will not do again according to its words, it will not do again.
//! - The device goes on deciding: it ends what it was at, tries a release that fails, condemns it and is home.
//! - Recording goes on, and the next start finds what was recorded, and no more damage.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    ops::{AddAssign, Range},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Once,
};

use backstay_core::Device;
use backstay_journal::testing::Random;
use backstay_memory::{Durability, Memory, Recalled};
use backstay_model::{BootId, Event, Generation, Millis};
use backstay_wire::{AnchorWords, Stream};

use crate::{
    life::{self, Life},
    rot::{Harm, Kind, Part, copy, harm},
    trials::{TOLD_MAX, words as words_of},
};

/// Trials in which one life is damaged again and again, before the next one.
const TRIALS_PER_LIFE: u64 = 50;

/// What a trial came to, when it was good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Nothing was missing, nothing was said.
    Harmless,
    /// Nothing was missing; what was damaged was said.
    Mended,
    /// The state was whole, the words were older or gone, and it was said.
    WordsOlder,
    /// The state was older, and it was said.
    StateOlder,
    /// No state was left, and it was said; the words may have been.
    StateLost,
}

/// What many trials came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    harms: BTreeMap<(Part, Kind), u64>,
    findings: BTreeMap<&'static str, u64>,
    /// How many different memories a device went on from.
    pub decided: u64,
    /// What went wrong, with the seed; the first 20.
    pub failed: Vec<String>,
}

impl Tally {
    /// How many trials ended well.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// How many of them lost something, and said so.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = [Outcome::WordsOlder, Outcome::StateOlder, Outcome::StateLost];
        lost.iter().filter_map(|outcome| self.outcomes.get(outcome)).sum()
    }

    /// How many lost nothing.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.good() - self.lost()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { outcomes, harms, findings, decided, failed } = other;
        outcomes.into_iter().for_each(|(outcome, count)| *self.outcomes.entry(outcome).or_default() += count);
        harms.into_iter().for_each(|(harm, count)| *self.harms.entry(harm).or_default() += count);
        findings.into_iter().for_each(|(kind, count)| *self.findings.entry(kind).or_default() += count);
        self.decided += decided;
        self.failed.extend(failed);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcomes, harms, findings, decided, failed } = self;
        writeln!(f, "outcomes: {outcomes:?}")?;
        writeln!(f, "harms: {harms:?}")?;
        writeln!(f, "findings: {findings:?}")?;
        write!(f, "went on from {decided} different memories; {} failed", failed.len())
    }
}

/// Runs the trial of each seed. A panic is a failure like any other.
#[must_use]
pub fn rot_all(seeds: Range<u64>) -> Tally {
    hush_sled();
    // Nothing here is about power cuts, so the disk may be one that needs no waiting for.
    let base = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut tally = Tally::default();
    let mut known: Option<Known> = None;
    for seed in seeds {
        let of = seed / TRIALS_PER_LIFE;
        let known = match &mut known {
            Some(known) if known.of == of => known,
            other => other.insert(Known::live(of, base.path())),
        };
        let dir = base.path().join(format!("trial-{seed}"));
        let mut told = String::new();
        let tried = catch_unwind(AssertUnwindSafe(|| trial(seed, known, &dir, &mut told, &mut tally)));
        let failed = match tried {
            Ok(Ok(outcome)) => {
                *tally.outcomes.entry(outcome).or_default() += 1;
                None
            }
            Ok(Err(why)) => Some(why),
            Err(panic) => Some(format!("panic: {}", words_of(panic))),
        };
        tally.failed.extend(failed.map(|why| format!("seed {seed}, {told}: {why}")));
        drop(std::fs::remove_dir_all(&dir));
        if tally.failed.len() >= TOLD_MAX {
            break;
        }
    }
    tally
}

/// A life, the folder that it was recorded in, and from which memories of it the device went on already.
struct Known {
    of: u64,
    life: Life,
    dir: PathBuf,
    went_on: HashSet<u64>,
}

impl Known {
    fn live(of: u64, base: &Path) -> Self {
        let dir = base.join("life");
        drop(std::fs::remove_dir_all(&dir));
        let life = Life::live(of, &dir);
        Self { of, life, dir, went_on: HashSet::new() }
    }
}

fn trial(
    seed: u64,
    known: &mut Known,
    dir: &Path,
    told: &mut String,
    tally: &mut Tally,
) -> Result<Outcome, String> {
    copy(&known.dir, dir);
    let mut random = Random::new(seed);
    let times = [1, 1, 1, 2, 3][random.below(5)];
    let harms: Vec<Harm> = (0..times).map(|_| harm(dir, &mut random)).collect();
    *told = harms.iter().map(|harm| harm.told.as_str()).collect::<Vec<_>>().join("; ");
    for Harm { part, kind, .. } in harms {
        *tally.harms.entry((part, kind)).or_default() += 1;
    }

    let (mut memory, recalled) = life::open(dir)?;
    let findings = Findings::of(&recalled.findings);
    findings.count(tally);
    let outcome = judge(&known.life, &memory, &recalled, &findings)?;

    let device = known.life.device(&recalled)?;
    remembers(&device, recalled.words.as_ref())?;
    if known.went_on.insert(name_of(&recalled)) {
        tally.decided += 1;
        known.life.goes_on(device.clone(), recalled.clock).map_err(|why| format!("it is stuck: {why}"))?;
    }
    keeps_recording(&known.life, &mut memory, &recalled, &device)?;
    drop(memory);
    found_again(dir, &recalled, &device, &findings)?;
    Ok(outcome)
}

/// Compares what was recalled with what had been recorded.
fn judge(life: &Life, memory: &Memory, recalled: &Recalled, said: &Findings) -> Result<Outcome, String> {
    let newest = life.snapshots.last();
    let same_state = recalled.snapshot.as_ref() == newest;
    if let Some(snapshot) = &recalled.snapshot
        && !life.snapshots.contains(snapshot)
    {
        return Err(format!("a state was recalled that never was; {said}"));
    }
    let same_words = recalled.words.as_ref() == life.words.last();
    if let Some(words) = &recalled.words
        && !life.words.contains(words)
    {
        return Err(format!("words were recalled that never were; {said}"));
    }
    if !same_state && said.journal.is_empty() {
        return Err(format!("the state is older, and nothing says that the journal lost anything; {said}"));
    }
    if !same_words && said.anchor.is_empty() {
        return Err(format!("the words are older, and nothing says that an anchor is lost; {said}"));
    }
    let anchored = recalled.words.as_ref().map(|words| words.clock);
    if recalled.clock > life.clock || anchored.is_some_and(|clock| recalled.clock < clock) {
        return Err(format!(
            "the clock is {:?}, was {:?}, anchored {anchored:?}",
            recalled.clock, life.clock
        ));
    }
    if said.journal.is_empty() {
        let (ticket, steps) = &life.run;
        if recalled.clock != life.clock || memory.steps(*ticket) != steps {
            return Err(format!("clock or steps are older, in silence; {said}"));
        }
    }
    // The server has what it gave a receipt for: after a start it isn't sent all of it again.
    let known =
        recalled.words.as_ref().and_then(|words| words.mark(Stream::Receipt)).map_or(0, |mark| mark.counter);
    let known = if known <= memory.head().seq { known } else { 0 };
    if memory.receipt() != known || (same_words && known > life.receipt) {
        return Err(format!(
            "receipt {}, anchored {known}, given {}; {said}",
            memory.receipt(),
            life.receipt
        ));
    }
    // A new epoch has to say why there is one.
    let gaps = memory.entries(0).filter(|(_, entry)| matches!(entry.event, Event::Gap { .. })).count();
    if (memory.head().epoch > 1) != (gaps > 0) {
        return Err(format!("epoch {} with {gaps} gap records; {said}", memory.head().epoch));
    }
    Ok(match (same_state, same_words, &recalled.snapshot) {
        (true, true, _) if said.is_empty() => Outcome::Harmless,
        (true, true, _) => Outcome::Mended,
        (true, false, _) => Outcome::WordsOlder,
        (false, _, Some(_)) => Outcome::StateOlder,
        (false, _, None) => Outcome::StateLost,
    })
}

/// What the words say holds for the device, however old its state.
fn remembers(device: &Device, words: Option<&AnchorWords>) -> Result<(), String> {
    let Some(words) = words else { return Ok(()) };
    let now = device.watermarks();
    let least = Generation(words.mark(Stream::Product).map_or(0, |mark| mark.counter));
    let told = words.mark(Stream::Order).map_or(0, |mark| mark.counter);
    let condemned = words.condemned.iter().all(|digest| now.condemned.contains(digest));
    if device.steering().is_some_and(|steer| steer.generation < least) {
        return Err(format!("the device goes by steering older than generation {}", least.0));
    }
    if now.generation < least || now.told < told || now.floor < words.security_floor || !condemned {
        return Err(format!("the device forgot what it anchored: {now:?} after {words:?}"));
    }
    Ok(())
}

/// As the agent starts: the findings are recorded first, with the state, and the words behind them.
fn keeps_recording(
    life: &Life,
    memory: &mut Memory,
    recalled: &Recalled,
    device: &Device,
) -> Result<(), String> {
    let at = recalled.clock.after(Millis(10));
    let (booted, confirmed) = (life.slots.booted.clone(), life.slots.confirmed.clone());
    let mut events = recalled.findings.clone();
    events.push(Event::Started { boot: BootId(99), booted, confirmed });
    let kept = life::kept(device.state());
    for _ in 0..3 {
        let durability = memory.record(at, &events, Some(kept.clone()));
        if durability != Durability::Durable {
            return Err(format!("it does not record any more: {durability:?}"));
        }
    }
    match memory.anchor(&life::words(at, device)) {
        Durability::Durable => Ok(()),
        failed @ (Durability::Degraded(_) | Durability::StillDegraded) => {
            Err(format!("it does not anchor any more: {failed:?}"))
        }
    }
}

/// The next start finds all of it, and no damage that wasn't there before.
fn found_again(dir: &Path, before: &Recalled, device: &Device, said: &Findings) -> Result<(), String> {
    let (_, again) = life::open(dir)?;
    let at = before.clock.after(Millis(10));
    let words = again.words.as_ref().map(|words| life::plain(AnchorWords { clock: at, ..words.clone() }));
    if again.snapshot != Some(life::kept(device.state())) || again.clock != at {
        return Err(format!("the next start does not find what was recorded; {:?}", again.findings));
    }
    if words != Some(life::words(at, device)) {
        return Err(format!("the next start finds other words; {:?}", again.findings));
    }
    let now = Findings::of(&again.findings);
    // A bad copy of a header stays, as evidence; it costs nothing and is said again.
    let news =
        now.all().find(|finding| !is_cosmetic(finding) || !said.all().any(|before| before == *finding));
    news.map_or(Ok(()), |finding| Err(format!("the next start still finds: {finding}")))
}

fn is_cosmetic(finding: &str) -> bool {
    finding.starts_with("one copy of the header") || finding.starts_with("bytes behind the last record")
}

/// What was said at a start, by what it is about.
#[derive(Debug, Default)]
struct Findings {
    journal: Vec<String>,
    anchor: Vec<String>,
    view: Vec<String>,
}

impl Findings {
    fn of(events: &[Event]) -> Self {
        let mut findings = Self::default();
        for event in events {
            let Event::Degraded { what } = event else { panic!("not a finding: {event}") };
            let place = if what.starts_with("the view") {
                &mut findings.view
            } else if what.starts_with("anchor slot") || what.starts_with("both anchor slots") {
                &mut findings.anchor
            } else {
                &mut findings.journal
            };
            place.push(what.clone());
        }
        findings
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.journal.iter().chain(&self.anchor).chain(&self.view)
    }

    fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    fn count(&self, tally: &mut Tally) {
        for finding in self.all() {
            let (_, kind) = KINDS.iter().find(|(part, _)| finding.contains(part)).unwrap_or(&("", "other"));
            *tally.findings.entry(kind).or_default() += 1;
        }
    }
}

/// Findings by a part of their text, for the tally.
const KINDS: &[(&str, &str)] = &[
    ("the last write was cut short", "torn tail"),
    ("one copy of the header", "header copy damaged"),
    ("bytes behind the last record", "noise behind the end"),
    ("anchor slot ", "one anchor slot lost"),
    ("both anchor slots", "both anchor slots lost"),
    ("old segments are gone", "old segments lost"),
    ("are missing", "segments missing"),
    ("is bad", "record damaged"),
    ("cannot be read", "segment unreadable"),
    ("belongs to another instance", "segment foreign"),
    ("does not follow", "segment unlinked"),
    ("has lost its end", "segment short"),
    ("is ahead of the journal", "journal behind the anchor"),
    ("names another history", "journal forked"),
    ("but the journal", "view of another history"),
    ("sled panicked", "view: sled panicked"),
    ("sled refused", "view: sled refused"),
    ("do not add up", "view: wrong contents"),
    ("what was applied is missing", "view: head lost"),
    ("the value under", "view: value damaged"),
    ("in memory only", "view: in memory only"),
];

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "said: {:?}", self.all().collect::<Vec<_>>())
    }
}

/// The same memory always leads to the same decisions, so it is gone on from once.
fn name_of(recalled: &Recalled) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&recalled.snapshot, recalled.clock, format!("{:?}", recalled.words)).hash(&mut hasher);
    hasher.finish()
}

/// sled's panics are part of the trial; printed thousands of times they would hide what matters.
pub(crate) fn hush_sled() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.location().is_some_and(|place| place.file().contains("sled-0.34")) {
                loud(info);
            }
        }));
    });
}
