//! A broker in the wrong hands, in virtual time: what it has is everything that was ever published, and it hands out what it
//! likes, to whom it likes, as often as it likes, under any topic.
//!
//! Here: the keys of two fleets, what their directors publish, as the bytes that go over the wire, what a broker makes of it,
//! and a device: [`Ears`] that read bytes as the agent's uplink does, and behind them a [`World`], the real core. What has
//! to hold is [`witness`]'s. Not here: a broker's protocol, and the server's side of it.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

pub mod witness;

use std::collections::BTreeMap;

use backstay_core::{Identity, Input, Rng};
use backstay_model::{
    Channel, CohortId, DeviceId, Digest, Direction, FleetId, Generation, Millis, Reach, Release, RolloutId,
    Selector, Steer, UnixMs, Word,
};
use backstay_test_stories::{Ears, World, release};
use backstay_trust::{Audience, Keyring, KeyringParts, OrderKind, Role, SecretKey, Stamp, sign_order};
use backstay_wire::{DeviceOrder, Leaf, Topic, encode};

/// One of ours. The numbers name keys: 1 operators', 2 the release keys', 3 the director's.
pub const OURS: u8 = 0;
/// A fleet beside it, of the same vendor, on the same broker.
pub const THEIRS: u8 = 10;

pub fn key(fleet: u8, of: u8) -> SecretKey {
    SecretKey::from_random(&[fleet + of; 32])
}

pub fn fleet(which: u8) -> FleetId {
    FleetId::parse(if which == OURS { "pumps" } else { "valves" }).unwrap()
}

fn keyring(which: u8, director: u8) -> Keyring {
    let [operator, release, director] = [1, 2, director].map(|of| Role::of(key(which, of).public()));
    Keyring::new(KeyringParts::first(fleet(which), operator, release, director)).unwrap()
}

pub fn cohort(name: &str) -> CohortId {
    CohortId::parse(name).unwrap()
}

/// Where product steering of one of our cohorts goes.
pub fn steers(cohort: &CohortId) -> Topic {
    Topic::Steer { fleet: fleet(OURS), cohort: cohort.clone(), channel: Channel::Product }
}

/// Where words for one of our devices go.
pub fn orders(device: &DeviceId) -> Topic {
    Topic::Device { fleet: fleet(OURS), device: device.clone(), leaf: Leaf::Order }
}

/// Bytes under a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub topic: String,
    pub bytes: Vec<u8>,
}

/// A steering message as a director publishes it.
pub fn seal(fleet_of: u8, by: &SecretKey, kind: OrderKind, steer: &Steer, at: UnixMs) -> Vec<u8> {
    let audience = Audience::Cohort(fleet(fleet_of), steer.cohort.clone());
    // What lets devices start is good for a day; hold and home for good.
    let expires = (steer.direction == Direction::Forward).then_some(UnixMs(at.0 + 86_400_000));
    let stamp = Stamp { sequence: steer.generation.0, issued: at, expires };
    sign_order(by, kind, audience, stamp, &encode(steer).unwrap()).unwrap()
}

/// Words for one device.
pub fn word(by: &SecretKey, device: &DeviceId, sequence: u64, words: &[Word], at: UnixMs) -> Vec<u8> {
    let audience = Audience::Device(fleet(OURS), device.clone());
    let stamp = Stamp { sequence, issued: at, expires: None };
    let order = DeviceOrder { sequence, words: words.to_vec() };
    sign_order(by, OrderKind::DeviceOrder, audience, stamp, &encode(&order).unwrap()).unwrap()
}

/// A message for everybody in a cohort.
pub fn steer(cohort: &CohortId, generation: u64, to: Release, direction: Direction) -> Steer {
    Steer {
        rollout: RolloutId::parse(&format!("r-{generation}")).unwrap(),
        generation: Generation(generation),
        cohort: cohort.clone(),
        selector: Selector::All,
        release: to,
        back: None,
        reach: Reach::ALL,
        direction,
        frozen: direction == Direction::Home,
        policies: Vec::new(),
        reconnect_window: Millis::from_secs(10),
    }
}

/// A device: the real core, and what stands between it and the broker.
pub struct Party {
    pub world: World,
    pub name: DeviceId,
    pub cohort: CohortId,
    ears: Ears,
}

impl Party {
    pub fn new(mut world: World, name: &str, cohort: &CohortId) -> Self {
        let (name, cohort) = (DeviceId::parse(name).unwrap(), cohort.clone());
        let identity = Identity { device: name.clone(), cohort: cohort.clone(), labels: Vec::new() };
        world.give(Input::Enrolled(identity));
        let ears = Ears::new(keyring(OURS, 3), cohort.clone(), name.clone());
        Self { world, name, cohort, ears }
    }

    /// It follows to a keyring that has this key as the director's, and no other.
    pub fn follows(&mut self, director: u8) {
        let input = self.ears.trust(keyring(OURS, director));
        self.world.give(input);
    }

    /// What it subscribes to.
    pub fn topics(&self) -> [String; 2] {
        [steers(&self.cohort).to_string(), orders(&self.name).to_string()]
    }

    /// Takes what the broker hands it: topic, size, signature, content, and only then what it means.
    pub fn hears(&mut self, post: &Post) {
        let input = self.ears.hear(&post.topic, &post.bytes);
        self.world.give(input);
    }
}

/// What the broker does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mischief {
    Nothing,
    Drop,
    Duplicate,
    HoldBack,
    Replay,
    Swap,
    Oversize,
    Erase,
    Cut,
    Flip,
    Append,
    Forge,
    WrongKind,
    OtherFleet,
    Garbage,
}

impl Mischief {
    pub const ALL: [Self; 15] = [
        Self::Nothing,
        Self::Drop,
        Self::Duplicate,
        Self::HoldBack,
        Self::Replay,
        Self::Swap,
        Self::Oversize,
        Self::Erase,
        Self::Cut,
        Self::Flip,
        Self::Append,
        Self::Forge,
        Self::WrongKind,
        Self::OtherFleet,
        Self::Garbage,
    ];
}

/// The broker, and all that it ever saw.
pub struct Broker {
    pub rng: Rng,
    /// Everything that was published, oldest first.
    pub archive: Vec<Post>,
    /// The last of each topic: what an honest broker would keep.
    pub newest: BTreeMap<String, Vec<u8>>,
    held_back: Vec<Post>,
    /// How often it did what.
    pub done: BTreeMap<Mischief, usize>,
}

impl Broker {
    pub fn new(seed: u64) -> Self {
        let (rng, done) = (Rng::new(seed), BTreeMap::new());
        Self { rng, archive: Vec::new(), newest: BTreeMap::new(), held_back: Vec::new(), done }
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.below(from.len() as u64) as usize]
    }

    /// A director publishes.
    pub fn publish(&mut self, topic: &Topic, bytes: Vec<u8>) -> Post {
        let post = Post { topic: topic.to_string(), bytes };
        self.archive.push(post.clone());
        self.newest.insert(post.topic.clone(), post.bytes.clone());
        post
    }

    /// What a device gets to hear in the place of `post`, in this order.
    pub fn hands_out(&mut self, post: &Post) -> Vec<Post> {
        let mischief = *self.pick(&Mischief::ALL);
        *self.done.entry(mischief).or_default() += 1;
        let with = |bytes: Vec<u8>| vec![Post { bytes, ..post.clone() }];
        let bytes = post.bytes.clone();
        let at = self.rng.below(bytes.len().max(1) as u64) as usize;
        match mischief {
            Mischief::Nothing => vec![post.clone()],
            Mischief::Drop => Vec::new(),
            Mischief::Duplicate => vec![post.clone(); 2 + at % 4],
            Mischief::HoldBack => {
                self.held_back.push(post.clone());
                // Those that waited come behind, the last one first.
                if at.is_multiple_of(2) { self.held_back.drain(..).rev().collect() } else { Vec::new() }
            }
            Mischief::Replay => (0..=at % 3).map(|_| self.old()).collect(),
            // Signed by who may, for whoever it is for, and handed out as something else.
            Mischief::Swap => vec![Post { bytes: self.old().bytes, ..post.clone() }],
            Mischief::Oversize => {
                let mut bytes = bytes;
                bytes.resize(bytes.len() + (1 << 10 << (at % 8)), 0);
                with(bytes)
            }
            Mischief::Erase => with(Vec::new()),
            Mischief::Cut => with(bytes[..at].to_vec()),
            Mischief::Flip => {
                let (mut bytes, bit) = (bytes, self.rng.below(8));
                bytes[at] ^= 1 << bit;
                with(bytes)
            }
            Mischief::Append => with([bytes.as_slice(), &bytes[at..]].concat()),
            Mischief::Forge => {
                let by = *self.pick(&[1, 2, 66]);
                with(self.forged(OURS, &key(OURS, by), OrderKind::SteerProduct, post))
            }
            Mischief::WrongKind => with(self.forged(OURS, &key(OURS, 3), OrderKind::SteerPlugins, post)),
            Mischief::OtherFleet => with(self.forged(THEIRS, &key(THEIRS, 3), OrderKind::SteerProduct, post)),
            Mischief::Garbage => {
                let bytes = (0..at).map(|_| self.rng.below(256) as u8).collect();
                let topics = [
                    "backstay/1/pumps/steer/canary/product/x",
                    "backstay/1/pumps/trust",
                    "#",
                    "",
                    &post.topic,
                ];
                let topic = (*self.pick(&topics)).to_owned();
                vec![Post { topic, bytes }]
            }
        }
    }

    /// Something that was said once, and perhaps to others.
    fn old(&mut self) -> Post {
        let at = self.rng.below(self.archive.len() as u64) as usize;
        self.archive[at].clone()
    }

    /// A message that would be newer than all others, if it were signed by who may.
    fn forged(&mut self, fleet_of: u8, by: &SecretKey, kind: OrderKind, post: &Post) -> Vec<u8> {
        let cohort = cohort(if post.topic.contains("/field/") { "field" } else { "canary" });
        let version = *self.pick(&["1.4.0", "1.5.0", "2.0.0"]);
        let direction = *self.pick(&[Direction::Forward, Direction::Hold, Direction::Home]);
        let generation = 1_000_000 + self.rng.below(1000);
        seal(
            fleet_of,
            by,
            kind,
            &steer(&cohort, generation, release(version), direction),
            UnixMs(u64::MAX / 2),
        )
    }
}

/// Names a release by what it is.
pub fn digest(version: &str) -> Digest {
    release(version).digest
}
