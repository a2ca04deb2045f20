//! A fleet to attack: keys, a plugin that an operator lets run, steering, and a device that listens.
//!
//! Here: everything that is made well. What is then done to it stands in the tests, and in the folders of the corpus
//! ([`corpus`]). Not here: the programs and a real broker (`tests/real`), and damage by accident (`tests/faults`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

pub mod corpus;
pub mod guests;

use std::error::Error;

use backstay_core::{Device, Effect, Identity, Input};
use backstay_host::{Machine, engine_profile, machine, world_policy};
use backstay_model::{
    BootId, Channel, CohortId, DeviceId, Digest, Direction, Event, FleetId, Generation, Millis, Mono, Name,
    PluginId, Reach, RolloutId, Selector, SlotStatus, Steer, UnixMs, Version,
};
pub use backstay_test_stories::Stands;
use backstay_test_stories::{Ears, release, settings};
use backstay_trust::{
    Artifact, Audience, Bundle, Chain, Grant, Keyring, KeyringParts, Limits, OrderKind, Permissions,
    PluginRelease, Revocation, Role, SecretKey, Stamp, Vendor, sign_order,
};
use backstay_wire::{Topic, encode};

/// The keys of a fleet, all made from numbers.
pub struct Keys {
    /// Releases plugins called `backstay/...`.
    pub vendor: SecretKey,
    /// Lets them run.
    pub operator: SecretKey,
    /// Releases the product.
    pub product: SecretKey,
    /// Steers.
    pub director: SecretKey,
    /// Releases plugins called `backstay-1/...`: somebody else, whose name looks alike.
    pub other_vendor: SecretKey,
    /// Says who is trusted with what.
    pub root: SecretKey,
    /// Takes back what was trusted.
    pub revoker: SecretKey,
    /// Somebody's, whom nobody trusts.
    pub stranger: SecretKey,
    /// What devices trust.
    pub keyring: Keyring,
}

impl Keys {
    /// Always the same ones.
    #[must_use]
    pub fn new() -> Self {
        let [vendor, operator, product, director, other_vendor, root, revoker, stranger] =
            [1, 2, 3, 4, 5, 6, 7, 66].map(|seed| SecretKey::from_random(&[seed; 32]));
        let vendors = [("backstay", &vendor), ("backstay-1", &other_vendor)];
        let parts = Self::parts([&operator, &product, &director], &vendors);
        let [root_role, revoker_role] = [&root, &revoker].map(|key| Role::of(key.public()));
        let keyring = Keyring::new(KeyringParts { root: root_role, revoker: revoker_role, ..parts }).unwrap();
        Self { vendor, operator, product, director, other_vendor, root, revoker, stranger, keyring }
    }

    fn parts([operator, product, director]: [&SecretKey; 3], vendors: &[(&str, &SecretKey)]) -> KeyringParts {
        let vendor = |(prefix, key): &(&str, &SecretKey)| Vendor {
            prefix: Name::parse(prefix).unwrap(),
            role: Role::of(key.public()),
        };
        let [operator, product, director] = [operator, product, director].map(|key| Role::of(key.public()));
        let first = KeyringParts::first(fleet(), operator, product, director);
        KeyringParts { vendors: vendors.iter().map(vendor).collect(), ..first }
    }

    /// The key of a role, by its name.
    #[must_use]
    pub fn called(&self, name: &str) -> &SecretKey {
        match name {
            "vendor" => &self.vendor,
            "operator" => &self.operator,
            "product" => &self.product,
            "director" => &self.director,
            "other-vendor" => &self.other_vendor,
            "root" => &self.root,
            "revoker" => &self.revoker,
            "stranger" => &self.stranger,
            _ => panic!("there is no key called {name}"),
        }
    }

    /// The keyring of a fleet whose revokers took these keys back.
    #[must_use]
    pub fn revoking(&self, keys: &[&SecretKey]) -> Keyring {
        let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
        let keys = keys.iter().map(|key| key.public().id()).collect();
        let revocation =
            Revocation { keys, ..Revocation::default() }.sign(&self.revoker, fleet(), stamp).unwrap();
        let heeded = self.keyring.verify_revocation(&revocation).unwrap();
        self.keyring.clone().revoking(Some(heeded))
    }

    /// The keyring that follows, says the same, and is for no longer than this.
    #[must_use]
    pub fn expiring(&self, expires: UnixMs) -> Keyring {
        self.next(self.keyring.parts().clone(), Some(expires))
    }

    /// The keyring that follows, with another director: the server's key was stolen.
    #[must_use]
    pub fn with_director(&self, director: &SecretKey) -> Keyring {
        self.next(
            KeyringParts { director: Role::of(director.public()), ..self.keyring.parts().clone() },
            None,
        )
    }

    fn next(&self, parts: KeyringParts, expires: Option<UnixMs>) -> Keyring {
        let (number, before) = (self.keyring.parts().number + 1, Some(*self.keyring.digest()));
        let next = KeyringParts { number, before, ..parts };
        let mut link = Keyring::new(next).unwrap().link(UnixMs(1), expires).unwrap();
        link.sign(&self.root).unwrap();
        let mut chain = Chain::new(self.keyring.clone());
        chain.follow(&link.encode().unwrap()).unwrap();
        chain.newest().clone()
    }

    /// A keyring that lets the vendor release under any name that is used here: to name statements, not to judge them.
    #[must_use]
    pub fn everybodys(&self) -> Keyring {
        let names = ["backstay", "backstay-1", "backstay-l", "acme"];
        let vendors = names.map(|name| (name, &self.vendor));
        Keyring::new(Self::parts([&self.operator, &self.product, &self.director], &vendors)).unwrap()
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

/// The fleet's name.
#[must_use]
pub fn fleet() -> FleetId {
    fleet_called("pumps")
}

/// A fleet.
#[must_use]
pub fn fleet_called(name: &str) -> FleetId {
    FleetId::parse(name).unwrap()
}

/// The device's cohort.
#[must_use]
pub fn cohort() -> CohortId {
    CohortId::parse("canary").unwrap()
}

/// The parts of a plugin that may run here.
pub struct Shipped {
    /// What the vendor signed.
    pub release: Vec<u8>,
    /// What the operator signed.
    pub grant: Vec<u8>,
    /// The code. Nobody runs it here: what is looked at is whether it is believed.
    pub artifact: Vec<u8>,
}

impl Shipped {
    /// A policy, well signed by both.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
        let plugin = PluginRelease {
            id: PluginId::parse("backstay/policy-tree").unwrap(),
            version: Version::parse("0.1.0").unwrap(),
            component: Digest([7; 32]),
            component_bytes: 1000,
            world: world_policy(),
            wants: Vec::new(),
            limits: Limits::DEFAULT,
        };
        let release = plugin.sign(&keys.vendor, stamp).unwrap();
        let artifact: Vec<u8> =
            (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let name = |artifact: &[u8]| *Bundle::new(&[], &[], &[artifact]).artifacts().next().unwrap();
        let grant = Grant {
            release: *keys.keyring.verify_plugin_release(&release).unwrap().digest(),
            permissions: Permissions::default(),
            limits: Limits::DEFAULT,
            artifacts: vec![Artifact {
                target: machine(),
                engine: engine_profile(),
                compiler: Version::parse("48.0.8").unwrap(),
                digest: name(&artifact),
                length: artifact.len() as u64,
            }],
        };
        let grant = grant.sign(&keys.operator, fleet(), stamp).unwrap();
        Self { release, grant, artifact }
    }

    /// As one file.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        Bundle::new(&self.release, &self.grant, &[&self.artifact]).encode().unwrap()
    }
}

/// The machine that this runs on.
#[must_use]
pub fn here() -> Machine {
    Machine::ALL.into_iter().find(|kind| kind.target() == machine()).unwrap()
}

/// Names bytes, as a bundle does.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    *Bundle::new(&[], &[], &[bytes]).artifacts().next().unwrap()
}

/// A forward message of `generation` for everybody in the cohort.
#[must_use]
pub fn steer(generation: u64, version: &str) -> Steer {
    Steer {
        rollout: RolloutId::parse(&format!("r-{generation}")).unwrap(),
        generation: Generation(generation),
        cohort: cohort(),
        selector: Selector::All,
        release: release(version),
        back: None,
        reach: Reach::ALL,
        direction: Direction::Forward,
        frozen: false,
        policies: Vec::new(),
        reconnect_window: Millis::from_secs(10),
    }
}

/// A steering message as the server publishes it.
#[must_use]
pub fn signed(keys: &Keys, steer: &Steer, expires: Option<UnixMs>) -> Vec<u8> {
    let stamp = Stamp { sequence: steer.generation.0, issued: UnixMs(1_000), expires };
    let audience = Audience::Cohort(fleet(), steer.cohort.clone());
    sign_order(&keys.director, OrderKind::SteerProduct, audience, stamp, &encode(steer).unwrap()).unwrap()
}

/// A device that is up and enrolled, and what stands between it and the broker.
pub struct Target {
    device: Device,
    ears: Ears,
    /// All that it wrote down.
    pub events: Vec<Event>,
}

impl Target {
    /// Healthy on 1.4.0.
    #[must_use]
    pub fn new() -> Self {
        let on = release("1.4.0");
        let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
        let device = Device::new(settings(), Mono(0), &slots, 42);
        let name = DeviceId::parse("pump-7").unwrap();
        let ears = Ears::new(Keys::new().keyring, cohort(), name.clone());
        let mut target = Self { device, ears, events: Vec::new() };
        target.step(Input::Up { boot: BootId(1), slots });
        target.step(Input::Enrolled(Identity { device: name, cohort: cohort(), labels: Vec::new() }));
        target.events.clear();
        target
    }

    /// The latest time that the server signed for is this.
    pub fn attests(&mut self, now: UnixMs) {
        self.ears.attest(now);
    }

    /// Where the device stands.
    #[must_use]
    pub fn stands(&self) -> Stands {
        Stands::of(&self.device)
    }

    /// The device follows to another keyring.
    pub fn follows(&mut self, keyring: Keyring) {
        let input = self.ears.trust(keyring);
        self.step(input);
    }

    /// Takes a message from the steering topic as the agent does: its size, its signature, its content, and only then
    /// its meaning. What was done because of it, other than writing down.
    pub fn hears(&mut self, payload: &[u8]) -> Vec<Effect> {
        let topic = Topic::Steer { fleet: fleet(), cohort: cohort(), channel: Channel::Product };
        let input = self.ears.hear(&topic.to_string(), payload);
        self.step(input)
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut done = Vec::new();
        for effect in self.device.step(Mono(1000), input) {
            match effect {
                Effect::Record(event) => self.events.push(event),
                Effect::Ask { .. }
                | Effect::Vet { .. }
                | Effect::Run { .. }
                | Effect::Abandon { .. }
                | Effect::Report(_) => {
                    done.push(effect);
                }
            }
        }
        done
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::new()
    }
}

/// An error with its reasons, as the programs print it.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    backstay_model::causes::in_one_line(error)
}
