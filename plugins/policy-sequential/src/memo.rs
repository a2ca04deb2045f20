//! What comes back next time: the ledgers of all objectives, and which release they are about.
//!
//! Here: the bytes, and when a trial begins. All integers are little-endian, floats are their IEEE 754 bits. A memo
//! that isn't one of this version, or is cut or too long, is no reason to trap or to refuse: the judging starts afresh,
//! says so, and costs time instead of trust. 32 objectives of 60 clusters make about 36 KB, and the limit is 64 KiB.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use backstay_sdk::policy::{Facts, Release};

use crate::{
    config::Config,
    dispersion::{Count, Dispersion},
    evidence::Pair,
    ledger::{CLUSTERS_MAX, Frame, Learned, Ledger},
};

/// The first bytes of a memo, with its version last. What is written by another version is not guessed at.
const MAGIC: [u8; 4] = *b"seq\x01";

/// The most objectives that are kept: as many as facts have.
const OBJECTIVES_MAX: usize = 32;
/// The longest name that is kept, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Where a memo came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It goes on from the one before.
    Continued,
    /// There was none.
    First,
    /// There was one that can't be read.
    Lost,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memo {
    /// Of the release that is judged; 0 before the first.
    release: u64,
    on_trial: bool,
    pub(crate) ledgers: BTreeMap<String, Ledger>,
}

impl Memo {
    /// From what was kept, or afresh.
    pub(crate) fn read(bytes: &[u8]) -> (Self, Start) {
        if bytes.is_empty() {
            return (Self::default(), Start::First);
        }
        match Reader(bytes).memo() {
            Some(memo) => (memo, Start::Continued),
            None => (Self::default(), Start::Lost),
        }
    }

    /// Takes what is new in these facts.
    pub(crate) fn take(&mut self, config: &Config<'_>, facts: &Facts) {
        let release = fingerprint(&facts.release);
        // The same release on trial once more is a new trial: it was led home meanwhile, or confirmed.
        if release != self.release || (facts.on_trial && !self.on_trial) {
            self.ledgers.values_mut().for_each(Ledger::begin);
        }
        (self.release, self.on_trial) = (release, facts.on_trial);
        let frame = Frame { now: facts.now, stage: facts.stage, on_trial: facts.on_trial };
        // What isn't promised any more makes room.
        if facts.objectives.iter().any(|objective| !self.ledgers.contains_key(&objective.name)) {
            self.ledgers.retain(|name, _| facts.objectives.iter().any(|objective| objective.name == *name));
        }
        for objective in facts.objectives.iter().take(OBJECTIVES_MAX) {
            if objective.name.len() <= NAME_BYTES_MAX {
                self.ledgers.entry(objective.name.clone()).or_default().take(config, objective, frame);
            }
        }
    }

    /// As [`read`](Self::read) takes it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.extend(self.release.to_le_bytes());
        out.push(self.on_trial.into());
        // At most 32 of at most 64 bytes and 60 clusters: none of the casts cuts.
        out.push(self.ledgers.len() as u8);
        for (name, ledger) in &self.ledgers {
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
            write(&mut out, ledger);
        }
        out
    }
}

fn write(out: &mut Vec<u8>, ledger: &Ledger) {
    let Ledger { taken, epoch, exposed, paused_until, clusters, since, stage, learned } = ledger;
    out.push(taken.is_some().into());
    out.extend(taken.unwrap_or(0).to_le_bytes());
    out.extend(epoch.to_le_bytes());
    out.extend(exposed.to_le_bytes());
    out.extend(paused_until.to_le_bytes());
    out.extend(since.to_le_bytes());
    out.extend(stage.to_le_bytes());
    for Dispersion { excess, whole, pairs } in [learned.short, learned.long] {
        out.extend(excess.to_bits().to_le_bytes());
        out.extend(whole.to_bits().to_le_bytes());
        out.extend(pairs.to_le_bytes());
    }
    out.extend(learned.usual.0.to_bits().to_le_bytes());
    out.extend(learned.usual.1.to_bits().to_le_bytes());
    out.extend(learned.clusters.to_le_bytes());
    out.push(clusters.len() as u8);
    for Pair { candidate, baseline } in clusters {
        for number in [candidate.samples, candidate.bad, baseline.samples, baseline.bad] {
            out.extend(number.to_le_bytes());
        }
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn memo(mut self) -> Option<Memo> {
        if self.bytes()? != MAGIC {
            return None;
        }
        let (release, on_trial) = (self.u64()?, self.flag()?);
        let mut ledgers = BTreeMap::new();
        let count = usize::from(self.u8()?);
        if count > OBJECTIVES_MAX {
            return None;
        }
        for _ in 0..count {
            let length = usize::from(self.u8()?);
            let (name, rest) = self.0.split_at_checked(length).filter(|_| length <= NAME_BYTES_MAX)?;
            self.0 = rest;
            ledgers.insert(core::str::from_utf8(name).ok()?.into(), self.ledger()?);
        }
        self.0.is_empty().then_some(Memo { release, on_trial, ledgers })
    }

    fn ledger(&mut self) -> Option<Ledger> {
        let has_taken = self.flag()?;
        let taken = Some(self.u64()?).filter(|_| has_taken);
        let (epoch, exposed, paused_until) = (self.u32()?, self.u64()?, self.u64()?);
        let (since, stage) = (self.u64()?, u16::from_le_bytes(self.bytes()?));
        let (short, long) = (self.dispersion()?, self.dispersion()?);
        let learned = Learned { short, long, usual: (self.float()?, self.float()?), clusters: self.u32()? };
        let count = usize::from(self.u8()?);
        if count > CLUSTERS_MAX {
            return None;
        }
        let mut clusters = Vec::with_capacity(count);
        for _ in 0..count {
            clusters.push(Pair { candidate: self.count()?, baseline: self.count()? });
        }
        Some(Ledger { taken, epoch, exposed, paused_until, clusters, since, stage, learned })
    }

    fn dispersion(&mut self) -> Option<Dispersion> {
        let (excess, whole) = (self.float()?, self.float()?);
        Some(Dispersion { excess, whole: Some(whole).filter(|whole| *whole >= 0.0)?, pairs: self.u32()? })
    }

    fn count(&mut self) -> Option<Count> {
        let count = Count { samples: self.u32()?, bad: self.u32()? };
        (count.bad <= count.samples).then_some(count)
    }

    /// A number: what is none would make every comparison false for ever.
    fn float(&mut self) -> Option<f64> {
        Some(f64::from_bits(self.u64()?)).filter(|float| float.is_finite())
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

/// Which release it is, in 64 bits (FNV-1a): two that are taken for one would share a trial, and nothing else.
fn fingerprint(release: &Release) -> u64 {
    let bytes = release.version.bytes().chain([0]).chain(release.digest.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As large as it gets.
    fn full() -> Memo {
        let count = Count { samples: u32::MAX, bad: 7 };
        let ledger = Ledger {
            taken: Some(5),
            epoch: 3,
            exposed: 9,
            paused_until: 8,
            clusters: vec![Pair { candidate: count, baseline: count }; CLUSTERS_MAX],
            since: 4,
            stage: 50,
            learned: Learned {
                short: Dispersion { excess: -1.5, whole: 8.0, pairs: 2 },
                usual: (300.0, 1.0),
                clusters: 1,
                ..Learned::default()
            },
        };
        let ledgers = (0..32).map(|n| (format!("{n:0>64}"), ledger.clone())).collect();
        Memo { release: 7, on_trial: true, ledgers }
    }

    #[test]
    fn the_largest_memo_fits_and_comes_back() {
        let memo = full();
        let bytes = memo.bytes();
        assert!(bytes.len() <= 36_864, "{}", bytes.len());
        assert_eq!(Memo::read(&bytes), (memo, Start::Continued));
    }

    #[test]
    fn whatever_else_comes_back_starts_afresh() {
        let afresh = (Memo::default(), Start::Lost);
        let bytes = Memo { ledgers: full().ledgers.into_iter().take(2).collect(), ..full() }.bytes();
        for length in 1..bytes.len() {
            assert_eq!(Memo::read(&bytes[..length]), afresh, "{length}");
        }
        let mut other = bytes.clone();
        other[3] = 2;
        assert_eq!(Memo::read(&other), afresh);
        assert_eq!(Memo::read(&[bytes.as_slice(), &[0]].concat()), afresh);
        assert_eq!(Memo::read(&[0xff; 65_536]), afresh);
        // Not one byte may make it trap.
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = Memo::read(&damaged);
            }
        }
    }
}
