//! What the server keeps from one start to the next, as it goes into the journal with each record.
//!
//! A record takes 64 KiB of it. A cohort that has seen some hundred rollouts takes 10 to 20, so where all of it
//! doesn't fit, the largest parts are put beside the journal under their digests, durably and before the record
//! that names them. Not here: devices (the register and retained messages have them) and their journals (`archive`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use backstay_api::Shelf;
use backstay_core::{Confidence, Helm};
use backstay_model::{Channel, CohortId, Digest};
use backstay_wire::{Body, Entry, Schema, decode, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{
    lane::Lane,
    orders::Orders,
    targets::{Parts, Targets},
};

/// What is decided and told, apart from who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// What was decided of each lane; of two of the same the later one counts.
    pub(crate) helms: BTreeMap<Lane, Helm>,
    /// What single devices were told.
    pub(crate) orders: Orders,
    /// Which policies are no longer asked, and which is to take over.
    pub(crate) confidence: Confidence,
    /// Orders to cohorts that operators have signed, too, as they came.
    pub(crate) seconded: Seconded,
    /// What is known of targets, in their own bytes.
    pub(crate) targets: Parts,
}

/// Orders to cohorts that operators have signed, too, as they came.
pub(crate) type Seconded = BTreeMap<CohortId, Vec<u8>>;

/// Keeps states.
#[derive(Debug)]
pub(crate) struct Keeper {
    beside: Shelf,
    /// Named by the newest state that was written, and by the one before, which is the newest until the record is
    /// durable.
    named: [BTreeSet<Digest>; 2],
}

/// Names of the parts beside those of cohorts.
const ORDERS: &str = "orders";
const QUARANTINE: &str = "quarantine";
const SUCCESSION: &str = "succession";
const SECONDED: &str = "seconded";
const COHORT: &str = "cohort/";
const PLUGINS: &str = "plugins/";

/// As it stands in a record.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    parts: Vec<(String, Part)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Part {
    Here(Vec<u8>),
    Beside(Digest),
}

impl Body for Kept {
    const SCHEMA: Schema = Schema(512);
    const VERSION: u16 = 1;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = Entry::SNAPSHOT_BYTES_MAX;
}

/// What a part costs beside its bytes, at most: name, kind, lengths.
const PART_BYTES_MAX: usize = 96;

impl Keeper {
    /// Keeps what doesn't fit a record in `dir`.
    ///
    /// # Errors
    /// If the folder can't be made.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let beside = Shelf::open(dir)?;
        // What is there may be what the newest record names: it goes only once a newer one is durable.
        let named = beside.names().collect();
        Ok(Self { beside, named: [named, BTreeSet::new()] })
    }

    /// A state as bytes for a record.
    ///
    /// # Errors
    /// If what doesn't fit can't be put beside it.
    pub(crate) fn write<'a>(
        &mut self,
        helms: impl Iterator<Item = (&'a Lane, &'a Helm)>,
        orders: &Orders,
        Confidence { quarantine, succession }: &Confidence,
        seconded: &Seconded,
        targets: Parts,
    ) -> Result<Vec<u8>, String> {
        let mut parts = vec![
            (ORDERS.to_owned(), part(orders)?),
            (QUARANTINE.to_owned(), part(quarantine)?),
            (SUCCESSION.to_owned(), part(succession)?),
        ];
        if !seconded.is_empty() {
            parts.push((SECONDED.to_owned(), part(seconded)?));
        }
        for (Lane { cohort, channel }, helm) in helms {
            let prefix = match channel {
                Channel::Product => COHORT,
                Channel::Plugins => PLUGINS,
            };
            parts.push((format!("{prefix}{cohort}"), part(helm)?));
        }
        parts.extend(targets.into_iter().map(|(name, bytes)| (name, Part::Here(bytes))));
        let mut bytes: usize = parts.iter().map(|(_, part)| part.size() + PART_BYTES_MAX).sum();
        let mut largest: Vec<usize> = (0..parts.len()).collect();
        largest.sort_by_key(|&at| std::cmp::Reverse(parts.get(at).map_or(0, |(_, part)| part.size())));
        let mut named = BTreeSet::new();
        for at in largest {
            if bytes + backstay_wire::HEADER_BYTES <= Kept::BYTES_MAX {
                break;
            }
            let Some((_, part)) = parts.get_mut(at) else { break };
            let Part::Here(here) = &*part else { continue };
            let digest = Digest(Sha256::digest(here).into());
            if !self.beside.has(&digest) {
                self.beside.put(&digest, here).map_err(|error| error.to_string())?;
            }
            bytes -= here.len();
            named.insert(digest);
            *part = Part::Beside(digest);
        }
        let kept = encode(&Kept { parts }).map_err(|error| error.to_string())?;
        let [newest, before] = &mut self.named;
        // Until the record is durable the one before counts, so what that one names is kept, too.
        before.append(newest);
        *newest = named;
        Ok(kept)
    }

    /// The record with what was written last is durable: what only older ones name can go.
    pub(crate) fn durable(&mut self) {
        let [newest, before] = &mut self.named;
        for digest in before.difference(newest) {
            // A file that stays takes a little room, and is tried again at the next start.
            let _ = fs::remove_file(self.beside.path(digest));
        }
        before.clear();
    }

    /// What [`Keeper::write`] wrote, and what could not be read of it, in words.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> (State, Vec<String>) {
        let (mut state, mut lost) = (State::default(), Vec::new());
        let kept: Kept = match decode(bytes, usize::MAX) {
            Ok(kept) => kept,
            Err(error) => return (state, vec![format!("what was decided before can't be read: {error}")]),
        };
        for (name, part) in kept.parts {
            let read = self.fetch(part).and_then(|bytes| {
                let product = name.strip_prefix(COHORT).map(|cohort| (cohort, Channel::Product));
                let lane = product.or_else(|| Some((name.strip_prefix(PLUGINS)?, Channel::Plugins)));
                match lane {
                    Some((cohort, channel)) => {
                        let helm = helm(cohort, &bytes)?;
                        state.helms.insert(Lane::new(helm.cohort(), channel), helm);
                    }
                    None if name == ORDERS => state.orders = value(&bytes)?,
                    None if name == QUARANTINE => state.confidence.quarantine = value(&bytes)?,
                    None if name == SUCCESSION => state.confidence.succession = value(&bytes)?,
                    None if name == SECONDED => state.seconded = value(&bytes)?,
                    None if Targets::keeps(&name) => drop(state.targets.insert(name.clone(), bytes)),
                    // A newer version has a word for it; what it kept there waits for it in the journal.
                    None => return Err("it is not known here".into()),
                }
                Ok(())
            });
            if let Err(why) = read {
                lost.push(format!("{name} can't be read: {why}"));
            }
        }
        (state, lost)
    }

    fn fetch(&self, part: Part) -> Result<Vec<u8>, String> {
        let digest = match part {
            Part::Here(bytes) => return Ok(bytes),
            Part::Beside(digest) => digest,
        };
        let bytes = self.beside.get(&digest).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("{digest} is missing"))?;
        let is = Sha256::digest(&bytes).as_slice() == digest.0;
        if is { Ok(bytes) } else { Err(format!("{digest} was changed")) }
    }
}

impl Part {
    fn size(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Beside(_) => 32,
        }
    }
}

fn part<T: Serialize>(value: &T) -> Result<Part, String> {
    postcard::to_allocvec(value).map(Part::Here).map_err(|error| error.to_string())
}

fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow its end".into()),
        Err(_) => Err("it does not hold what it should".into()),
    }
}

fn helm(cohort: &str, bytes: &[u8]) -> Result<Helm, String> {
    // Fields are only added at the end, and each begins as one that is not there: what was written before is read with
    // that. Two were added so far.
    let helm: Helm = value(bytes).or_else(|why| value(&[bytes, &[0, 0]].concat()).map_err(|_| why))?;
    let named = CohortId::parse(cohort).is_ok_and(|cohort| cohort == *helm.cohort());
    if named { Ok(helm) } else { Err(format!("it is of cohort {}", helm.cohort())) }
}

#[cfg(test)]
mod tests {
    use backstay_core::Cohort;
    use backstay_memory::Step;
    use backstay_model::{Answer, DeviceId, FIELDS_BYTES_MAX, Mono, Output, Ticket, Word};

    use super::*;

    fn orders(devices: u32) -> Orders {
        let mut orders = Orders::default();
        for n in 0..devices {
            let device = DeviceId::parse(&format!("device-{n}")).unwrap();
            let lifts: Vec<Word> = (0..30).map(|n| Word::Lift(Digest([n; 32]))).collect();
            orders.tell(&device, &lifts).unwrap();
        }
        orders
    }

    fn canary() -> (Lane, Cohort) {
        let cohort = CohortId::parse("canary").unwrap();
        (Lane::new(&cohort, Channel::Product), Cohort::new(cohort))
    }

    #[test]
    fn a_cohort_has_what_was_decided_on_both_channels() {
        let dir = tempfile::tempdir().unwrap();
        let (product, cohort) = canary();
        let plugins = Lane::new(&product.cohort, Channel::Plugins);
        let mut keeper = Keeper::open(dir.path()).unwrap();
        let helms = [(&product, cohort.helm()), (&plugins, cohort.helm())].into_iter();
        let bytes = keeper
            .write(helms, &orders(1), &Confidence::default(), &Seconded::default(), Parts::new())
            .unwrap();
        let (state, lost) = keeper.read(&bytes);
        assert_eq!((state.helms.into_keys().collect(), lost), (vec![product, plugins], vec![]));
    }

    fn there(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_does_not_fit_is_put_beside_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (lane, cohort) = canary();
        let (quarantine, seconded) = (Confidence::default(), Seconded::default());
        let mut keeper = Keeper::open(dir.path()).unwrap();
        let small = keeper
            .write([(&lane, cohort.helm())].into_iter(), &orders(1), &quarantine, &seconded, Parts::new())
            .unwrap();
        keeper.durable();
        assert_eq!(there(dir.path()), 0);
        let large = keeper
            .write([(&lane, cohort.helm())].into_iter(), &orders(100), &quarantine, &seconded, Parts::new())
            .unwrap();
        assert!(large.len() < 1024 && there(dir.path()) == 1);
        for (bytes, devices) in [(small, 1), (large.clone(), 100)] {
            let (state, lost) = keeper.read(&bytes);
            assert_eq!((state.orders, lost), (orders(devices), vec![]));
            assert_eq!(state.helms, BTreeMap::from([(lane.clone(), cohort.helm().clone())]));
        }
        // The next record isn't durable yet, so the one before has to stay readable, over a restart, too.
        drop(keeper);
        let mut keeper = Keeper::open(dir.path()).unwrap();
        keeper.write([].into_iter(), &orders(101), &quarantine, &seconded, Parts::new()).unwrap();
        assert_eq!(there(dir.path()), 2);
        assert!(keeper.read(&large).1.is_empty());
        keeper.durable();
        assert_eq!(there(dir.path()), 1);
        assert_eq!(keeper.read(&large).1.len(), 1, "it is told what is gone");
    }

    /// The journal takes a record without its state rather than none, and then the server is not what it was after a restart.
    #[test]
    fn the_largest_state_and_the_longest_answer_fit_one_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(dir.path()).unwrap();
        let body = Output { bytes: vec![b'x'; FIELDS_BYTES_MAX], whole: Some(Digest([7; 32])) };
        let answer = Answer::Response { status: 200, body };
        let event = Step::ended(Ticket(u64::MAX), u32::MAX, &answer);
        let largest = (64_000..65_536).rev().find_map(|bytes| {
            let parts = Parts::from([("targets".to_owned(), vec![b'x'; bytes])]);
            let snapshot = keeper
                .write(
                    [].into_iter(),
                    &Orders::default(),
                    &Confidence::default(),
                    &Seconded::default(),
                    parts,
                )
                .unwrap();
            (snapshot.len() > bytes).then_some(snapshot)
        });
        let entry = Entry { at: Mono(u64::MAX), event, snapshot: largest };
        assert!(entry.snapshot.is_some() && encode(&entry).is_ok());
    }

    /// As servers wrote it that did not know yet where home is.
    #[test]
    fn what_an_older_server_wrote_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(dir.path()).unwrap();
        // Cohort "canary" at its first day: generations, reassertion, ticket, phase, breaker, and two empty lists.
        let old = [b"\x06canary".as_slice(), &[0; 8]].concat();
        let parts = vec![(format!("{COHORT}canary"), Part::Here(old))];
        let (state, lost) = keeper.read(&encode(&Kept { parts }).unwrap());
        assert_eq!(lost, [] as [String; 0]);
        let (lane, cohort) = canary();
        assert_eq!(state.helms, BTreeMap::from([(lane, cohort.helm().clone())]));
    }

    #[test]
    fn changed_bytes_are_told_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::open(dir.path()).unwrap();
        let (lane, cohort) = canary();
        let bytes = keeper
            .write(
                [(&lane, cohort.helm())].into_iter(),
                &orders(100),
                &Confidence::default(),
                &Seconded::default(),
                Parts::new(),
            )
            .unwrap();
        let beside = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let mut damaged = fs::read(&beside).unwrap();
        damaged[1000] ^= 1;
        fs::write(&beside, damaged).unwrap();
        let (state, lost) = keeper.read(&bytes);
        assert!(lost[0].starts_with("orders can't be read: "), "{lost:?}");
        assert_eq!(state.helms.len(), 1);
        for cut in 0..bytes.len() {
            let (_, lost) = keeper.read(&bytes[..cut]);
            assert!(!lost.is_empty(), "cut at {cut}");
        }
    }
}
