//! One device, joined of its real parts as the agent joins them, on real files and in virtual time.
//!
//! Here: journal, anchors and view (`Memory`), keys and revocations that are trusted (`Trusted`), papers (`keep_file`),
//! bundles of plugins, two slots (`Files`), the real cores of device and upgrades, and the executor that ships, run as the
//! function that it is. What is durable or done is said to whoever listens, at the moment from which it may not be lost.
//! Not here: what happens to it (`course`), and the cuts (`cuts`). Imitated, not linked, are the agent's loop and the few
//! calls with which it keeps a bundle.

mod outside;
mod runs;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use backstay_core::{
    Bundle, Configured, Device, DeviceSettings, DeviceState, Effect, Fetched, Freshness, Identity, Input,
    Quarantine, Retries, Second, StateTail, Steered, Upgrade, UpgradeEffect, UpgradeInput, Vetted,
    Watermarks,
};
use backstay_memory::{Durability, Memory, Options, Recalled, Step, Trusted, keep_file, keep_folder};
use backstay_model::{
    Access, Answer, BootId, Came, CohortId, Deed, DeviceId, Digest, Direction, Event, Generation, Hardware,
    Health, Label, Millis, Mono, Name, Order, Outcome, Output, PluginId, PluginRole, Reach, Reading, Reason,
    Release, RolloutId, Selector, SlotDeed, SlotStatus, Steer, Ticket, Version, WayHome,
};
use backstay_slots::{Files, Slots as _, Tries, provision};
use backstay_test_stories::{settings, two_windows};
use backstay_wire::{AnchorWords, Body, Entry, Mark, Receipt, Schema, Stream, decode, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    course::{self, Behaves},
    found::{End, Woken, hex, kind_of, sum, trusted, whole_bundles, whole_papers},
    work::{Asked, Work},
};

/// Between two probes.
const PROBE_EVERY: Millis = Millis(1000);
const TRIES: Tries = Tries::new(3).unwrap();

type Fallible<T> = Result<T, String>;

fn why<E: std::fmt::Debug>(what: &str) -> impl FnOnce(E) -> String {
    let what = what.to_owned();
    move |error| format!("{what}: {error:?}")
}

/// All that an agent keeps with each record.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    device: DeviceState,
    quarantine: Quarantine,
    tail: StateTail,
    upgrade: Upgrade,
}

impl Body for Kept {
    const SCHEMA: Schema = Schema(256);
    const VERSION: u16 = 3;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 64 * 1024;
}

/// A release's bytes.
#[must_use]
pub fn bytes(version: &str) -> Vec<u8> {
    // More than a sector, and other at each byte.
    let seed = version.bytes().fold(7_u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..1500_u32).map(|at| (at as u8).wrapping_mul(3).wrapping_add(seed)).collect()
}

/// A release that is those bytes.
#[must_use]
pub fn release(version: &str) -> Release {
    let bytes = bytes(version);
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(Sha256::digest(&bytes).into()),
        length: bytes.len() as u64,
        security_epoch: 1,
    }
}

/// A bundle of plugins, by its number; what of it counts here is its digest.
#[must_use]
pub fn bundle(number: u8) -> Bundle {
    Bundle { release: release(&format!("0.{number}.0")), grant: Digest([number; 32]) }
}

fn device_settings() -> DeviceSettings {
    DeviceSettings { trial: Millis::from_secs(30), ..settings() }
}

fn retries() -> Retries {
    Retries { attempts: 3, backoff: device_settings().retry_backoff }
}

/// A device at work.
pub struct Pump {
    dir: PathBuf,
    now: Mono,
    memory: Memory,
    device: Device,
    upgrade: Upgrade,
    trust: Trusted,
    slots: Files,
    behaves: &'static [(&'static str, Behaves)],
    /// The executor that is asked, by its grant.
    executor: Digest,
    picked: Option<Order>,
    next_probe: Mono,
    boot_noted: bool,
    says: fn(&str),
    /// What it said since it was started, and what it did again though it was done.
    pub said: Vec<String>,
    /// Effects that were asked for although the slots showed them done.
    pub again: Vec<String>,
}

fn identity() -> Identity {
    Identity {
        device: DeviceId::parse("pump-7").unwrap(),
        cohort: CohortId::parse("canary").unwrap(),
        labels: vec![Label::parse("site=basel").unwrap()],
    }
}

impl Pump {
    /// Starts the device in `dir`, which a factory has provisioned, and says what it found.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn starts(
        dir: &Path,
        behaves: &'static [(&'static str, Behaves)],
        says: fn(&str),
    ) -> Fallible<(Self, Woken)> {
        let mut woken = Woken::default();
        let (trust, odd) = Trusted::open(course::image(), dir);
        woken.findings.extend(odd.iter().map(|odd| format!("{odd:?}")));
        let (papers, mut said) = (whole_papers(dir), Vec::new());
        // Of the key's two copies one is enough. Another key would be another device.
        let keys = course::PAPERS.map(|(name, _)| name).into_iter().filter(|name| name.ends_with(".pem"));
        if !keys.clone().any(|name| papers.contains(name)) && keys.clone().any(|name| dir.join(name).exists())
        {
            return Err("device.pem: neither copy is a key".into());
        }
        for (name, content) in course::PAPERS.iter().filter(|(name, _)| !papers.contains(*name)) {
            if dir.join(name).exists() {
                woken.findings.push(format!("paper {name} can't be used"));
            }
            keep_file(&dir.join(name), content).map_err(why(name))?;
            said.push(format!("paper {name}"));
            says(&format!("paper {name}"));
        }
        let options = Options { instance: "pump-7".into(), bytes_max: 2 << 20 };
        let (memory, recalled) = Memory::open(dir, options).map_err(why("memory"))?;
        let Recalled { clock, snapshot, words, findings } = recalled;
        woken.entries =
            memory.entries(0).map(|(seq, entry)| (seq, (sum(&entry), kind_of(&entry.event)))).collect();
        woken.findings.extend(findings.iter().filter_map(|finding| {
            if let Event::Degraded { what } = finding { Some(what.clone()) } else { None }
        }));
        let kept = match &snapshot {
            Some(bytes) => Some(decode::<Kept>(bytes, usize::MAX).map_err(why("the state"))?),
            None => None,
        };
        let (mut slots, damage) = Files::open(&dir.join("slots"), TRIES).map_err(why("slots"))?;
        woken.slots = slots.status().ok();
        let mut first = findings;
        first.extend(damage.iter().map(|finding| degraded(finding.to_string())));
        first.extend(trust.untold(&memory));
        let booted = slots.begin_boot().map_err(why("nothing boots"))?;
        woken.findings.extend(damage.iter().chain(&booted.findings).map(ToString::to_string));
        first.extend(booted.findings.iter().map(|finding| degraded(finding.to_string())));
        let status = slots.status().map_err(why("slots"))?;
        let (mut device, upgrade) = match kept {
            Some(Kept { device, tail, upgrade, .. }) => {
                (Device::restore(device_settings(), device.with_tail(tail)), upgrade)
            }
            None => (Device::new(device_settings(), clock, &status, 7), Upgrade::new(7)),
        };
        let mut upgrade = upgrade;
        if let Some(words) = &words {
            device.remember(&Watermarks {
                condemned: words.condemned.clone(),
                floor: words.security_floor,
                generation: Generation(words.mark(Stream::Product).map_or(0, |mark| mark.counter)),
                told: words.mark(Stream::Order).map_or(0, |mark| mark.counter),
                last_known_good: words.last_known_good.clone(),
                starts: words.starts,
                ways: words.ways.clone(),
            });
            upgrade.remember(Generation(words.mark(Stream::Plugins).map_or(0, |mark| mark.counter)));
            upgrade.remember_starts(words.starts);
        }
        woken.trusted = trusted(&trust);
        woken.bundles = whole_bundles(dir);
        (woken.words, woken.clock, woken.papers) = (words, clock, papers);
        let mut pump = Self {
            dir: dir.to_owned(),
            now: clock,
            memory,
            device,
            upgrade,
            trust,
            slots,
            behaves,
            executor: bundle(1).grant,
            picked: None,
            next_probe: clock,
            boot_noted: false,
            says,
            said,
            again: Vec::new(),
        };
        pump.record(&first)?;
        pump.plugs()?;
        let boot = BootId(u128::from(pump.memory.head().seq) + 1);
        pump.gives(Input::Up { boot, slots: status })?;
        pump.gives(Input::Enrolled(identity()))?;
        pump.upgrades(UpgradeInput::Enrolled(identity()))?;
        Ok((pump, woken))
    }

    /// The bundle of the image has the job, or one that came by steering and is there.
    fn plugs(&mut self) -> Fallible<()> {
        let own = bundle(1);
        let configured = [PluginRole::Policy, PluginRole::Executor].map(|role| {
            let is_executor = role == PluginRole::Executor;
            let (named, usable) = (own.release.digest, own.clone());
            Configured { role, named: is_executor.then_some(named), usable: is_executor.then_some(usable) }
        });
        let boot = BootId(u128::from(self.memory.head().seq) + 1);
        self.upgrades(UpgradeInput::Up { boot, configured: configured.into(), held: false })?;
        let there = whole_bundles(&self.dir);
        let wanted = self.upgrade.wanted().trusted.into_iter().map(|(_, wanted)| wanted);
        let (here, lost): (Vec<_>, Vec<_>) = wanted
            .filter(|wanted| wanted.grant != own.grant)
            .partition(|wanted| there.contains(&wanted.release.digest.to_string()));
        if let Some(newest) = here.first() {
            self.executor = newest.grant;
        }
        for bundle in lost {
            self.says("lost a bundle");
            self.upgrades(UpgradeInput::Lost(bundle.release.digest))?;
        }
        Ok(())
    }

    fn says(&mut self, what: &str) {
        (self.says)(what);
        self.said.push(what.to_owned());
    }

    /// What is remembered of when.
    #[must_use]
    pub fn now(&self) -> Mono {
        self.now
    }

    /// Makes events durable with the state after them, and then the words, and says so.
    fn record(&mut self, events: &[Event]) -> Fallible<()> {
        let Some(last) = events.len().checked_sub(1) else { return Ok(()) };
        let (device, upgrade) = (self.device.state(), self.upgrade.clone());
        let (tail, quarantine) = (device.tail(), Quarantine::default());
        let kept = encode(&Kept { device: device.clone(), quarantine, tail, upgrade }).unwrap();
        if self.memory.record(self.now, events, Some(kept.clone())) != Durability::Durable {
            return Err("the journal takes nothing".into());
        }
        let first = self.memory.head().seq - last as u64;
        for (n, event) in events.iter().enumerate() {
            let snapshot = (n == last).then(|| kept.clone());
            let entry = Entry { at: self.now, event: event.clone(), snapshot };
            let told = format!("durable {} {}", first + n as u64, sum(&entry));
            self.says(&told);
        }
        let words = self.words();
        if self.memory.anchor(&words) != Durability::Durable {
            return Err("the anchor takes nothing".into());
        }
        let anchored = self.memory.words().cloned().unwrap_or(words);
        self.says(&format!("words {}", hex(&encode(&anchored).unwrap())));
        Ok(())
    }

    fn words(&self) -> AnchorWords {
        let Watermarks { condemned, floor, generation, told, last_known_good, starts, ways } =
            self.device.watermarks();
        let mark = |stream, counter| Mark { stream, counter, digest: Digest([0; 32]) };
        AnchorWords {
            clock: self.now,
            attested: None,
            confirmed: self.device.confirmed().clone(),
            last_known_good,
            marks: vec![
                mark(Stream::Product, generation.0),
                mark(Stream::Order, told),
                mark(Stream::Plugins, self.upgrade.generation().0),
            ],
            condemned,
            security_floor: floor,
            breaker_until: None,
            receipt_epoch: 0,
            starts: starts.max(self.upgrade.starts()),
            ways,
        }
    }

    /// Gives the core an input, and does what it says, and what follows from that.
    fn gives(&mut self, input: Input) -> Fallible<()> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let is_taken = matches!(input, Input::Taken { .. });
            let effects = self.device.step(self.now, input);
            let recorded = effects.iter().filter_map(|effect| match effect {
                Effect::Record(event) => Some(event.clone()),
                Effect::Ask { .. }
                | Effect::Vet { .. }
                | Effect::Run { .. }
                | Effect::Abandon { .. }
                | Effect::Report(_) => None,
            });
            self.record(&recorded.collect::<Vec<_>>())?;
            for effect in effects {
                match effect {
                    Effect::Record(_) => {}
                    Effect::Ask { ticket, facts } => {
                        inputs.push_back(Input::Answered { ticket, decision: two_windows(&facts) });
                    }
                    Effect::Vet { ticket, release } => {
                        inputs.push_back(Input::Vetted { ticket, verdict: self.vets(release) });
                    }
                    Effect::Run { order, grant } => inputs.push_back(self.picks(order, grant)),
                    Effect::Abandon { ticket, outcome } => {
                        self.picked = None;
                        inputs.push_back(self.ended(ticket, outcome)?);
                    }
                    Effect::Report(report) => self.says(&format!("report {}", report.sequence)),
                }
            }
            if is_taken && let Some(order) = self.picked.take() {
                inputs.push_back(self.works(order)?);
            }
        }
        Ok(())
    }

    fn vets(&self, release: Release) -> Vetted {
        let homes = self.behaves.iter().map(|(version, _)| self::release(version).digest);
        Vetted::Genuine {
            release,
            way: WayHome(homes.collect()),
            hardware: vec![Hardware::parse("pump-arm64").unwrap()],
        }
    }

    /// So much time passes.
    ///
    /// # Errors
    /// What doesn't work any more.
    pub fn waits(&mut self, secs: u64) -> Fallible<()> {
        let until = self.now.after(Millis::from_secs(secs));
        loop {
            let wake = self.device.deadline().unwrap_or(until).min(self.next_probe).max(self.now);
            if wake > until {
                break;
            }
            self.now = wake;
            if self.next_probe <= self.now {
                self.next_probe = self.now.after(PROBE_EVERY);
                self.probes()?;
            }
            self.gives(Input::Tick)?;
            let words = self.words();
            if self.memory.deadline() <= self.now && self.memory.tend(self.now, &words) != Durability::Durable
            {
                return Err("the clock can't be kept".into());
            }
        }
        self.now = until;
        Ok(())
    }

    fn probes(&mut self) -> Fallible<()> {
        let runs = self.device.running().version.clone();
        let behaves = self.behaves.iter().find(|(version, _)| *version == runs.as_str());
        let passes = !matches!(behaves, Some((_, Behaves::Badly)));
        let local = if passes { Reading::Passed } else { Reading::Failed };
        for (name, reading) in [("http", local), ("uplink", Reading::Passed)] {
            self.gives(Input::Reading { probe: Name::parse(name).unwrap(), reading })?;
        }
        match self.device.health() {
            Health::Good if !self.boot_noted => {
                self.boot_noted = true;
                self.slots.note_boot().map_err(why("the boot can't be noted"))?;
            }
            Health::Good => {}
            Health::Bad | Health::Unknown => self.boot_noted = false,
        }
        Ok(())
    }

    /// What runs.
    ///
    /// # Errors
    /// If the slots can't say so.
    pub fn runs(&mut self) -> Fallible<Release> {
        self.slots.status().map(|slots| slots.booted).map_err(why("slots"))
    }

    /// Whether the newest record of whom it trusts says what it does trust.
    #[must_use]
    pub fn has_told_of_trust(&self) -> bool {
        self.trust.untold(&self.memory).is_none()
    }

    /// Whether one of these bundles has a job here that came by steering.
    #[must_use]
    pub fn needs(&self, bundles: &BTreeSet<String>) -> bool {
        let wanted = self.upgrade.wanted().trusted;
        wanted.iter().any(|(_, bundle)| bundles.contains(&bundle.release.digest.to_string()))
    }

    /// How it stands at the end.
    ///
    /// # Errors
    /// If the slots can't say what is in them.
    pub fn ends(mut self) -> Fallible<End> {
        let slots = self.slots.status().map_err(why("slots"))?;
        let (mut once, mut open) = (BTreeMap::new(), BTreeSet::new());
        for (_, entry) in self.memory.entries(0) {
            if let Event::Ordered { order, .. } = &entry.event {
                open.insert(order.ticket);
            } else if let Event::Ended { ticket, .. } = &entry.event {
                open.remove(ticket);
            }
            if let Some(what) = kind_of(&entry.event) {
                *once.entry(what.to_owned()).or_default() += 1;
            }
        }
        Ok(End {
            runs: slots.booted.version.to_string(),
            confirmed: slots.confirmed.version.to_string(),
            last_known_good: self.device.watermarks().last_known_good.map(|good| good.version.to_string()),
            condemned: self.device.condemned().to_vec(),
            generations: (self.device.watermarks().generation.0, self.upgrade.generation().0),
            trusted: trusted(&self.trust),
            executor: self.executor,
            bundles: whole_bundles(&self.dir),
            papers: whole_papers(&self.dir),
            sent: self.memory.unreceipted().is_none(),
            once,
            open: open.len(),
        })
    }
}

/// What a factory does, once: the first release into empty slots.
///
/// # Errors
/// If the slots can't be made.
pub fn provisions(dir: &Path, version: &str) -> Fallible<()> {
    provision(&dir.join("slots"), &release(version), &mut &bytes(version)[..]).map_err(why("a factory fails"))
}

fn degraded(what: String) -> Event {
    Event::Degraded { what: Reason::new(what).0 }
}
