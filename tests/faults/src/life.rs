//! A device's life as it is remembered: releases that are good and bad, power cuts, healing, refused messages.
//!
//! It comes from the real core in virtual time, and is recorded as the agent does: each step in one commit with
//! all that is kept after it, the anchor's words behind it. It may end anywhere, also in the middle of a run. Not
//! here: damage (`rot`), and judging what is found after it (`memory`).

use std::{collections::BTreeMap, path::Path};

use backstay_core::{
    Allowance, Device, DeviceSettings, DeviceState, Input, Quarantine, StateTail, Watermarks,
};
use backstay_journal::testing::Random;
use backstay_memory::{ANCHOR_EVERY, Durability, Memory, Options, Recalled, Step};
use backstay_model::{
    Digest, Direction, Event, Generation, Millis, Mono, PluginId, Refused, SlotStatus, Ticket, UnixMs, Word,
};
use backstay_test_stories::{Behaviour, Recorded, World, settings};
use backstay_trust::Floor;
use backstay_wire::{AnchorWords, Body, Mark, Receipt, Schema, Stream, decode, encode};
use serde::{Deserialize, Serialize};

/// All that an agent keeps with each record, in the form in which it keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    device: DeviceState,
    quarantine: Quarantine,
    floors: BTreeMap<PluginId, u64>,
    attested: Option<UnixMs>,
    tail: StateTail,
    accepted: BTreeMap<PluginId, Floor>,
}

impl Body for Kept {
    const SCHEMA: Schema = Schema(256);
    const VERSION: u16 = 2;
    const OPTIONAL: bool = false;
    const BYTES_MAX: usize = 64 * 1024;
}

/// A life, and what was remembered of it when it was broken off.
pub struct Life {
    /// Every state that was recorded, oldest first.
    pub snapshots: Vec<Vec<u8>>,
    /// Every words that were anchored, oldest first.
    pub words: Vec<AnchorWords>,
    /// The last record that the server gave a receipt for.
    pub receipt: u64,
    /// When the last record was made.
    pub clock: Mono,
    /// The run that the life was broken off in or after, and its steps if it was in.
    pub run: (Ticket, Vec<Step>),
    /// What the slots hold.
    pub slots: SlotStatus,
    releases: Vec<Shipped>,
}

/// A release of a life.
#[derive(Clone)]
struct Shipped {
    version: String,
    ways: Vec<String>,
    behaviour: Behaviour,
}

/// How memory is kept here: as small as it can be, so that a life has several segments.
fn options() -> Options {
    Options { instance: "pump-7".into(), bytes_max: 2 << 20 }
}

/// Opens what is remembered in `dir`.
///
/// # Errors
/// The whole chain of reasons.
pub fn open(dir: &Path) -> Result<(Memory, Recalled), String> {
    Memory::open(dir, options()).map_err(|error| format!("it does not open: {error:?}"))
}

/// Short windows, and switches enough for a full life.
fn lively() -> DeviceSettings {
    let allowance = Allowance { switches: 40, span: Millis::from_secs(3600) };
    DeviceSettings { allowance, ..settings() }
}

impl Life {
    /// Lives, and records it in `dir`. The same for the same seed.
    #[must_use]
    pub fn live(seed: u64, dir: &Path) -> Self {
        let mut random = Random::new(seed);
        let (mut steps, releases) = story(&mut random);
        // Broken off somewhere in the last third.
        let third = steps.len() / 3;
        steps.truncate(steps.len() - random.below(third + 1));
        let slots = steps.last().unwrap().slots.clone();
        let mut life = Self {
            snapshots: Vec::new(),
            words: Vec::new(),
            receipt: 0,
            clock: Mono(0),
            run: (Ticket(0), Vec::new()),
            slots,
            releases,
        };
        let (mut memory, _) = open(dir).unwrap();
        for step in &steps {
            life.remember(&mut memory, step, &mut random);
            if random.below(6) == 0 {
                let head = memory.head();
                let receipt = Receipt { epoch: head.epoch, seq: head.seq, head: Digest(head.hash) };
                memory.receipted(&receipt).unwrap();
                life.receipt = head.seq;
            }
            match random.below(40) {
                0 => memory.flush(),
                1 => {
                    drop(memory);
                    let recalled;
                    (memory, recalled) = open(dir).unwrap();
                    assert!(recalled.findings.is_empty(), "{:?}", recalled.findings);
                }
                _ => {}
            }
        }
        if random.below(2) == 0 {
            memory.flush();
        }
        life
    }

    fn remember(&mut self, memory: &mut Memory, step: &Recorded, random: &mut Random) {
        self.record(memory, step.at, &step.events, &step.state);
        let ordered = step.events.iter().find_map(|event| {
            if let Event::Ordered { order, .. } = event { Some(order.ticket) } else { None }
        });
        let Some(ticket) = ordered else { return };
        self.run.0 = ticket;
        for ordinal in 0..3 {
            let what = format!("slot effect {ordinal}");
            self.record(
                memory,
                step.at,
                &[Event::EffectBegan { ticket, ordinal, what, changes: ordinal > 0 }],
                &step.state,
            );
            let outcome = (0..20 + random.below(80)).map(|_| random.next_u64() as u8).collect();
            self.record(memory, step.at, &[Event::EffectEnded { ticket, ordinal, outcome }], &step.state);
        }
    }

    /// As the agent does it: the events with all that is kept after them, then the words.
    fn record(&mut self, memory: &mut Memory, at: Mono, events: &[Event], state: &DeviceState) {
        let kept = kept(state);
        assert_eq!(memory.record(at, events, Some(kept.clone())), Durability::Durable);
        let words = words(at, &Device::restore(lively(), state.clone()));
        assert_eq!(memory.anchor(&words), Durability::Durable);
        self.snapshots.push(kept);
        let anchored = memory.words().unwrap();
        assert!(at.since(anchored.clock) < ANCHOR_EVERY, "the anchored clock lags behind");
        assert_eq!(plain(AnchorWords { clock: at, ..anchored.clone() }), words, "words are kept as they are");
        if self.words.last() != Some(anchored) {
            self.words.push(anchored.clone());
        }
        self.clock = self.clock.max(at);
        self.run.1 = memory.steps(self.run.0).to_vec();
    }

    /// The device that starts on what was recalled, as the agent puts it together.
    ///
    /// # Errors
    /// If the state can't be read.
    pub fn device(&self, recalled: &Recalled) -> Result<Device, String> {
        let mut device = match &recalled.snapshot {
            None => Device::new(lively(), recalled.clock, &self.slots, 7),
            Some(bytes) => {
                let kept: Kept =
                    decode(bytes, usize::MAX).map_err(|error| format!("the state can't be read: {error}"))?;
                Device::restore(lively(), kept.device.with_tail(kept.tail))
            }
        };
        if let Some(words) = &recalled.words {
            device.remember(&Watermarks {
                condemned: words.condemned.clone(),
                floor: words.security_floor,
                generation: Generation(words.mark(Stream::Product).map_or(0, |mark| mark.counter)),
                told: words.mark(Stream::Order).map_or(0, |mark| mark.counter),
                last_known_good: words.last_known_good.clone(),
                starts: words.starts,
                ways: words.ways.clone(),
            });
        }
        Ok(device)
    }

    /// Lets the device go on: whatever it was at is brought to an end, and then a release comes that fails.
    ///
    /// # Errors
    /// If it doesn't try that release, doesn't come home from it, or doesn't condemn it.
    pub fn goes_on(&self, device: Device, now: Mono) -> Result<(), String> {
        let condemned = device.condemned().to_vec();
        let mut world = World::woken(lively(), device, now, self.slots.clone());
        for Shipped { version, ways, behaviour } in &self.releases {
            let ways: Vec<&str> = ways.iter().map(String::as_str).collect();
            // By now what it depends on is there again: until then a trial has no end, and rightly so.
            let depends = matches!(behaviour, Behaviour::DependencyFails);
            world
                .signs(version, &ways)
                .behaves(version, if depends { Behaviour::Healthy } else { *behaviour });
        }
        // What a thaw sets going is brought to an end as well: home is where the device is then.
        world.waits(900).tells(Word::Thaw).waits(900);
        // What was up at the start may be on trial, whatever is known of it; nothing else that was condemned.
        let again = world.count(|event| {
            matches!(event, Event::TrialBegan { release, .. }
                if condemned.contains(&release.digest) && release.digest != self.slots.booted.digest)
        });
        if again > 0 {
            return Err(format!("it started again what it had condemned:\n{}", world.told()));
        }
        let home = world.runs().to_owned();
        world.signs("9.9.9", &[&home]).behaves("9.9.9", Behaviour::FailsAfter(Millis::from_secs(20)));
        world.steers("r-last", "9.9.9", Direction::Forward).waits(300);
        let bad = backstay_test_stories::release("9.9.9").digest;
        let tried =
            world.count(|event| matches!(event, Event::TrialBegan { release, .. } if release.digest == bad));
        if tried != 1 || world.runs() != home || !world.device().condemned().contains(&bad) {
            let now = world.runs();
            return Err(format!("tried {tried} times, was on {home}, is on {now}:\n{}", world.told()));
        }
        Ok(())
    }
}

/// What the agent keeps beside a state.
#[must_use]
pub fn kept(state: &DeviceState) -> Vec<u8> {
    let plugin = || PluginId::parse("backstay/policy-tree").unwrap();
    let floors = BTreeMap::from([(plugin(), 3)]);
    let accepted = BTreeMap::from([(plugin(), Floor::of_sequence(3))]);
    let attested = Some(UnixMs(1_790_000_000_000));
    let (device, quarantine, tail) = (state.clone(), Quarantine::default(), state.tail());
    encode(&Kept { device, quarantine, floors, attested, tail, accepted }).unwrap()
}

/// Words without what memory adds to them: how far the server has the journal.
#[must_use]
pub fn plain(mut words: AnchorWords) -> AnchorWords {
    words.marks.retain(|mark| mark.stream != Stream::Receipt);
    AnchorWords { receipt_epoch: 0, ..words }
}

/// What the agent anchors.
#[must_use]
pub fn words(clock: Mono, device: &Device) -> AnchorWords {
    let Watermarks { condemned, floor, generation, told, last_known_good, starts, ways } =
        device.watermarks();
    let mark = |stream, counter| Mark { stream, counter, digest: Digest([0; 32]) };
    AnchorWords {
        clock,
        attested: Some(UnixMs(1_790_000_000_000)),
        confirmed: device.confirmed().clone(),
        last_known_good,
        marks: vec![mark(Stream::Product, generation.0), mark(Stream::Order, told)],
        condemned,
        security_floor: floor,
        breaker_until: None,
        receipt_epoch: 0,
        starts,
        ways,
    }
}

/// Between 4 and 24 things that happen to a device.
fn story(random: &mut Random) -> (Vec<Recorded>, Vec<Shipped>) {
    let mut world = World::with(lively(), "1.0.0");
    let mut releases = Vec::new();
    world.waits(30);
    for chapter in 1..5 + random.below(20) {
        let behaviour = match random.below(8) {
            0 | 1 => Behaviour::Healthy,
            2 => Behaviour::FailsAfter(Millis::from_secs(random.below(50) as u64)),
            3 => Behaviour::DoesNotBoot,
            4 => Behaviour::NeedsRestarts(2),
            5 => Behaviour::FailsToStage(1),
            6 => Behaviour::DependencyFails,
            _ => {
                gossip(&mut world, random, chapter);
                continue;
            }
        };
        let (version, rollout) = (format!("1.{chapter}.0"), format!("r-{chapter}"));
        let ways = vec![world.runs().to_owned(), world.confirmed().to_owned()];
        world.signs(&version, &[&ways[0], &ways[1]]).behaves(&version, behaviour);
        releases.push(Shipped { version: version.clone(), ways, behaviour });
        world.steers(&rollout, &version, Direction::Forward).waits(random.below(90) as u64);
        match random.below(4) {
            0 => world.loses_power(),
            1 => world.steers(&rollout, &version, Direction::Home),
            _ => &mut world,
        };
        world.waits(60 + random.below(200) as u64);
    }
    (world.steps, releases)
}

/// Words for the device alone, and messages that nobody believes.
fn gossip(world: &mut World, random: &mut Random, chapter: usize) {
    for count in 1..2 + random.below(6) as u32 {
        let what = format!("backstay/1/pumps/steer/canary/product ({chapter})");
        let why = "product steering does not bear a signature of key 5c3a".into();
        world.give(Input::Refused(Refused { what, why, count }));
    }
    world.tells(Word::Hold).waits(20).tells(Word::Thaw);
}
