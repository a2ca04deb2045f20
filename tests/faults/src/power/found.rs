//! What a start found after a cut, and how a course ended: what is compared, and how it is read off the disk.
//!
//! Not here: the comparing with what was said (`cuts`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use backstay_memory::Trusted;
use backstay_model::{Digest, Event, Mono, SlotStatus};
use backstay_wire::{AnchorWords, Entry, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::course;

/// What a start found, before anything was done.
#[derive(Clone, Debug, Default)]
pub struct Woken {
    /// The entries that the journal has: a sum over each, and what it says if it is of what happens once.
    pub(super) entries: BTreeMap<u64, (u64, Option<&'static str>)>,
    /// The words of the anchor.
    pub(super) words: Option<AnchorWords>,
    pub(super) clock: Mono,
    /// The newest keyring's number, and the sequence of the revocation.
    pub(super) trusted: (u64, Option<u64>),
    /// What ran before this start, and would have.
    pub(super) slots: Option<SlotStatus>,
    /// Bundles that are there whole.
    pub(super) bundles: BTreeSet<String>,
    /// Papers that are there whole.
    pub(super) papers: BTreeSet<String>,
    /// What was said to be damaged.
    pub(super) findings: Vec<String>,
}

/// How a course ended: what has to be the same whether power was cut or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub(super) runs: String,
    pub(super) confirmed: String,
    pub(super) last_known_good: Option<String>,
    pub(super) condemned: Vec<Digest>,
    pub(super) generations: (u64, u64),
    pub(super) trusted: (u64, Option<u64>),
    pub(super) executor: Digest,
    pub(super) bundles: BTreeSet<String>,
    pub(super) papers: BTreeSet<String>,
    pub(super) sent: bool,
    /// How often each thing happened that happens once.
    pub(super) once: BTreeMap<String, usize>,
    /// Runs that were ordered and not ended.
    pub(super) open: usize,
}

impl Woken {
    /// What the journal says beyond all that was said to be durable: of a commit of several records that the power cut
    /// short, the first may stand. Nothing followed from them, and what they say is decided and said once more.
    pub(super) fn unsaid(&self, said: &[String]) -> BTreeMap<&'static str, usize> {
        let durable = |said: &String| said.strip_prefix("durable ")?.split(' ').next()?.parse::<u64>().ok();
        let last = said.iter().rev().find_map(durable);
        let mut unsaid = BTreeMap::new();
        // Before the first word nothing is known of what had been durable.
        for (_, (_, kind)) in self.entries.iter().filter(|(seq, _)| last.is_none_or(|last| **seq > last)) {
            kind.iter().for_each(|kind| *unsaid.entry(*kind).or_default() += 1);
        }
        unsaid
    }
}

impl End {
    /// Holds this end, after a cut, against the one without.
    pub(super) fn is_like(&self, whole: &Self, unsaid: &BTreeMap<&'static str, usize>) -> Result<(), String> {
        let (mut ended, mut once) = (self.clone(), self.once.clone());
        for (kind, more) in unsaid {
            let (Some(count), Some(wanted)) = (once.get_mut(*kind), whole.once.get(*kind)) else { continue };
            *count = (*wanted).max(count.saturating_sub(*more));
        }
        ended.once = once;
        if ended == *whole { Ok(()) } else { Err(format!("it ended otherwise: {self:?}, not {whole:?}")) }
    }
}

/// What an event says, if that happens once in a course, or as often as the course says.
#[expect(clippy::wildcard_enum_match_arm, reason = "few of the many kinds of event happen once")]
pub(super) fn kind_of(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Confirmed { .. } => "confirmed",
        Event::Condemned { .. } => "condemned",
        Event::CameHome { .. } => "came home",
        Event::Trusts { .. } => "trusts",
        Event::Gap { .. } => "gap",
        _ => return None,
    })
}

/// A sum over an entry as it was to be recorded.
pub(super) fn sum(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    encode(entry).unwrap().hash(&mut hasher);
    hasher.finish()
}

/// The newest keyring's number, and the sequence of the revocation that is heeded.
pub(super) fn trusted(trust: &Trusted) -> (u64, Option<u64>) {
    let keyring = trust.keyring();
    (keyring.parts().number, keyring.revocation().map(|heeded| heeded.stamp().sequence))
}

pub(super) fn whole_bundles(dir: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(dir.join("plugins")).into_iter().flatten().flatten();
    let whole = files.filter_map(|file| {
        let name = file.file_name().to_string_lossy().strip_suffix(".bundle")?.to_owned();
        let digest = Digest(Sha256::digest(fs::read(file.path()).ok()?).into());
        (digest.to_string() == name).then_some(name)
    });
    whole.collect()
}

pub(super) fn whole_papers(dir: &Path) -> BTreeSet<String> {
    let whole =
        |(name, content): &(&str, &[u8])| fs::read(dir.join(name)).is_ok_and(|found| found == *content);
    course::PAPERS.iter().filter(|paper| whole(paper)).map(|(name, _)| (*name).to_owned()).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
