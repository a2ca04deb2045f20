//! What becomes of steering while the director's key is replaced, and somebody has stolen the old one.
//!
//! The real core of a device, real keyrings, and messages that are really signed: a server that steers, changes its key, and steers
//! on; a thief with the old key, who says again what was said, word for word, contradicts it, or counts to the end; a broker that has
//! all of that and hands out any of it at any time; and a device that follows the keyrings late and starts again at any moment from
//! what it kept. One device is all of them: none hears another. Not here: how keyrings follow one another (`keyring`), and what steering leads to (`tests/stories`).

use std::{
    hash::{Hash, Hasher},
    sync::OnceLock,
};

use backstay_core::{
    Allowance, Backoff, Device, DeviceSettings, DeviceState, Effect, Freshness, Identity, Input, Second,
    Steered,
};
use backstay_model::{
    BootId, CohortId, DeviceId, Digest, Direction, FleetId, Generation, Hardware, Millis, Mono, Reach,
    Release, RolloutId, Selector, SlotStatus, Steer, UnixMs, Version,
};
use backstay_trust::{
    Audience, Keyring, KeyringParts, Listener, OrderKind, Role, SecretKey, Stamp, sign_order,
};
use stateright::{Model, Property};

use crate::search::{breaks, exhausts};

/// How far the server counts.
const GENERATION_MAX: u64 = 3;
/// The keyrings: with the old key, with both, with the new one.
const RINGS: usize = 3;
const RESTARTS_MAX: u8 = 2;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Broken {
    Nothing,
    /// A device counts on whoever has signed: no keyring changes anything.
    CountsForEver,
    /// A device counts anew with each keyring, also where the key stays that was counted with.
    CountsAnew,
    /// A device doesn't write down that what it follows was said again with another key.
    ForgetsWhoSaidIt,
    /// A device doesn't look at what it kept when it starts: which keys are gone since.
    StartsBlindly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Old,
    New,
}

/// Something that was said: the place among all that ever can be.
type Word = usize;

#[derive(Debug)]
struct Said {
    by: Key,
    steer: Steer,
    is_thiefs: bool,
    /// Whether it is believed, keyring by keyring.
    believed: [bool; RINGS],
    content: Digest,
}

struct World {
    keyrings: [Keyring; RINGS],
    words: Vec<Said>,
}

fn key(of: Key) -> SecretKey {
    SecretKey::from_random(&[if of == Key::Old { 3 } else { 4 }; 32])
}

fn release() -> Release {
    let version = Version::parse("1.4.0").unwrap();
    Release { version, digest: Digest([1; 32]), length: 1, security_epoch: 0 }
}

fn cohort() -> CohortId {
    CohortId::parse("canary").unwrap()
}

fn name() -> DeviceId {
    DeviceId::parse("pump-7").unwrap()
}

/// Each message says something else, so that two of one generation contradict each other.
fn steer(generation: u64, rollout: &str) -> Steer {
    Steer {
        rollout: RolloutId::parse(rollout).unwrap(),
        generation: Generation(generation),
        cohort: cohort(),
        selector: Selector::Nobody,
        release: release(),
        back: None,
        reach: Reach::ALL,
        direction: Direction::Hold,
        frozen: false,
        policies: Vec::new(),
        reconnect_window: Millis(0),
    }
}

impl World {
    fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::make)
    }

    fn make() -> Self {
        let fleet = FleetId::parse("pumps").unwrap();
        let role = |seed| Role::of(SecretKey::from_random(&[seed; 32]).public());
        let keyrings = [&[Key::Old][..], &[Key::Old, Key::New], &[Key::New]].map(|keys| {
            let keys = keys.iter().map(|of| key(*of).public()).collect();
            let first = KeyringParts::first(fleet.clone(), role(1), role(2), Role { threshold: 1, keys });
            Keyring::new(first).unwrap()
        });
        let mut world = Self { keyrings, words: Vec::new() };
        for generation in 1..=GENERATION_MAX {
            for by in [Key::Old, Key::New] {
                world.says(by, steer(generation, "honest"), false);
            }
            // What the server says with its new key the thief says, too: word for word.
            world.says(Key::Old, steer(generation, "honest"), true);
        }
        world.says(Key::Old, steer(2, "stolen"), true);
        world.says(Key::Old, steer(u64::MAX, "stolen"), true);
        world
    }

    fn says(&mut self, by: Key, steer: Steer, is_thiefs: bool) {
        // A body of `wire` is not needed here: what is signed is that it is this one.
        let payload = format!("{} {}", steer.rollout, steer.generation.0).into_bytes();
        let stamp = Stamp { sequence: steer.generation.0, issued: UnixMs(1), expires: None };
        let audience = Audience::Cohort(self.keyrings[0].fleet().clone(), cohort());
        let signed = sign_order(&key(by), OrderKind::SteerProduct, audience, stamp, &payload).unwrap();
        let (cohort, device) = (cohort(), name());
        let listener = Listener { cohort: Some(&cohort), device: Some(&device) };
        let orders = self
            .keyrings
            .each_ref()
            .map(|keyring| keyring.verify_order(&signed, OrderKind::SteerProduct, listener, None).ok());
        let believed = orders.each_ref().map(Option::is_some);
        let content = *orders.iter().flatten().next().expect("some keyring has the key").content();
        self.words.push(Said { by, steer, is_thiefs, believed, content });
    }

    /// What the server says with this key as this generation.
    fn honest(&self, by: Key, generation: u64) -> Word {
        let is_it = |said: &Said| !said.is_thiefs && said.by == by && said.steer.generation.0 == generation;
        self.words.iter().position(is_it).expect("it was made")
    }
}

fn settings() -> DeviceSettings {
    let none = Backoff { base: Millis(1), cap: Millis(1) };
    DeviceSettings {
        hardware: Hardware::parse("pump-arm64").unwrap(),
        watched: Vec::new(),
        window: Millis(1 << 40),
        trial: Millis(1),
        trial_limit: Millis(1),
        run_limit: Millis(1),
        ladder: Vec::new(),
        heal_backoff: none,
        cured_after: 1,
        retry_backoff: none,
        retries: 1,
        allowance: Allowance { switches: 1, span: Millis(1) },
        startup: Millis(0),
        leave_jitter: Millis(1),
        second_after: None,
    }
}

/// The real core. What it says of itself and how often it refused something counts for nothing here.
#[derive(Clone, Debug)]
struct Core(DeviceState);

impl Core {
    fn new() -> Self {
        let on = release();
        let slots = SlotStatus { booted: on.clone(), confirmed: on, other: None, trying: None };
        let mut device = Device::new(settings(), Mono(0), &slots, 7);
        device.step(Mono(0), Input::Up { boot: BootId(1), slots });
        device.step(
            Mono(0),
            Input::Enrolled(Identity { device: name(), cohort: cohort(), labels: Vec::new() }),
        );
        Self(device.state().clone())
    }

    /// Whether it wrote something down.
    fn step(&mut self, input: Input) -> bool {
        let mut device = Device::restore(settings(), self.0.clone());
        let effects = device.step(Mono(0), input);
        self.0 = device.state().clone();
        effects.iter().any(|effect| matches!(effect, Effect::Record(_)))
    }

    fn trust(&mut self, keyring: &Keyring) {
        let mut device = Device::restore(settings(), self.0.clone());
        device.trust(&keyring.directors());
        self.0 = device.state().clone();
    }

    fn looks(&self) -> (u64, Option<Steer>) {
        let device = Device::restore(settings(), self.0.clone());
        (device.watermarks().generation.0, device.steering().cloned())
    }
}

impl PartialEq for Core {
    fn eq(&self, other: &Self) -> bool {
        self.0.heights() == other.0.heights() && self.looks() == other.looks()
    }
}

impl Hash for Core {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        postcard::to_allocvec(self.0.heights()).unwrap().hash(hasher);
        let (generation, steering) = self.looks();
        (generation, steering.map(|steer| (steer.generation, steer.rollout))).hash(hasher);
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Pump {
    core: Core,
    kept: Core,
    /// The keyring on its disk, and the one that it goes by.
    ring: usize,
    trusts: usize,
    restarts: u8,
    /// The newest that it heard, and has on its disk, of what the server signed with its new key.
    newest: u64,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    generation: u64,
    key: Key,
    ring: usize,
    /// By the server. What the thief says is there from the first day.
    said: Vec<Word>,
    pump: Pump,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The server steers.
    Steers,
    /// The roots make the next keyring.
    Rotates,
    /// The server goes on with the new key, and signs afresh what it says.
    ChangesKey,
    /// The broker hands out something that was said.
    Hears(Word),
    /// The device keeps the link to the next keyring.
    Keeps,
    /// And goes by it.
    Follows,
    Restarts,
}

struct Replacing(Broken);

impl Replacing {
    fn hears(&self, pump: &mut Pump, word: Word) -> Option<()> {
        let said = &World::get().words[word];
        (pump.ring == pump.trusts && said.believed[pump.trusts]).then_some(())?;
        let (steer, digest, by) = (said.steer.clone(), said.content, key(said.by).id().0);
        let (freshness, second) = (Freshness::Fresh, Second::Missing);
        let before = pump.core.looks();
        let is_told = pump.core.step(Input::Steered(Steered { steer, digest, freshness, second, by }));
        let is_forgotten = self.0 == Broken::ForgetsWhoSaidIt && before == pump.core.looks();
        if is_told && !is_forgotten {
            pump.kept = pump.core.clone();
        }
        let is_followed = pump.core.looks().1.as_ref() == Some(&said.steer);
        if is_followed && said.by == Key::New {
            pump.newest = pump.newest.max(said.steer.generation.0);
        }
        Some(())
    }

    fn follows(&self, pump: &mut Pump) {
        let keyring = &World::get().keyrings[pump.ring];
        match self.0 {
            Broken::CountsForEver => {}
            Broken::CountsAnew => pump.core.trust(&others(keyring)),
            Broken::Nothing | Broken::ForgetsWhoSaidIt | Broken::StartsBlindly => {
                if pump.core.step(Input::Trusts { directors: keyring.directors() }) {
                    pump.kept = pump.core.clone();
                }
            }
        }
        pump.trusts = pump.ring;
    }
}

/// The same keyring with a director of whom nobody has heard.
fn others(keyring: &Keyring) -> Keyring {
    let director = Role::of(SecretKey::from_random(&[99; 32]).public());
    Keyring::new(KeyringParts { director, ..keyring.parts().clone() }).unwrap()
}

impl Model for Replacing {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut core = Core::new();
        core.trust(&World::get().keyrings[0]);
        let pump = Pump { kept: core.clone(), core, ring: 0, trusts: 0, restarts: 0, newest: 0 };
        vec![State { generation: 0, key: Key::Old, ring: 0, said: Vec::new(), pump }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Steers, Action::Rotates, Action::ChangesKey]);
        actions.extend([Action::Keeps, Action::Follows, Action::Restarts]);
        let words = World::get().words.iter().enumerate();
        // Word for word the thief says only what was said.
        let is_thiefs = |said: &Said| {
            let is_known =
                said.steer.rollout.as_str() == "stolen" || said.steer.generation.0 <= state.generation;
            said.is_thiefs && is_known
        };
        let is_said = |(word, said): &(Word, &Said)| is_thiefs(said) || state.said.contains(word);
        actions.extend(words.filter(is_said).map(|(word, _)| Action::Hears(word)));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (world, mut state) = (World::get(), last.clone());
        match action {
            Action::Steers => {
                (state.generation < GENERATION_MAX).then_some(())?;
                state.generation += 1;
                state.said.push(world.honest(state.key, state.generation));
            }
            Action::Rotates => {
                // The old key goes when the server has a new one.
                (state.ring + 1 < RINGS && (state.ring == 0 || state.key == Key::New)).then_some(())?;
                state.ring += 1;
            }
            Action::ChangesKey => {
                (state.ring > 0 && state.key == Key::Old).then_some(())?;
                state.key = Key::New;
                if state.generation > 0 {
                    state.said.push(world.honest(Key::New, state.generation));
                }
            }
            Action::Hears(word) => self.hears(&mut state.pump, word)?,
            Action::Keeps => {
                let pump = &mut state.pump;
                (pump.ring == pump.trusts && pump.ring < last.ring).then_some(())?;
                pump.ring += 1;
            }
            Action::Follows => {
                let pump = &mut state.pump;
                (pump.ring != pump.trusts).then_some(())?;
                self.follows(pump);
            }
            Action::Restarts => {
                let pump = &mut state.pump;
                pump.restarts += 1;
                (pump.core, pump.trusts) = (pump.kept.clone(), pump.ring);
                match self.0 {
                    Broken::Nothing | Broken::ForgetsWhoSaidIt => {
                        pump.core.trust(&world.keyrings[pump.ring]);
                    }
                    Broken::StartsBlindly | Broken::CountsForEver | Broken::CountsAnew => {}
                }
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FOLLOWS, |model: &Self, state: &State| {
                let (world, mut pump) = (World::get(), state.pump.clone());
                if state.generation == 0 || (pump.ring, pump.trusts) != (2, 2) {
                    return true;
                }
                let newest = world.honest(Key::New, state.generation);
                model.hears(&mut pump, newest).is_some()
                    && pump.core.looks().1.as_ref() == Some(&world.words[newest].steer)
            }),
            Property::always(NEVER_BACK, |_, state: &State| {
                let followed = state.pump.core.looks().1.map(|steer| steer.generation.0);
                followed.is_none_or(|generation| generation >= state.pump.newest)
            }),
            Property::always(OUT_WITH_THE_KEY, |_, state: &State| {
                let followed = state.pump.core.looks().1.map(|steer| steer.rollout);
                state.pump.trusts < 2 || followed.is_none_or(|rollout| rollout.as_str() != "stolen")
            }),
            Property::sometimes("a thief has counted to the end", |_, state: &State| {
                state.pump.core.looks().0 == u64::MAX
            }),
            Property::sometimes(
                "where the key changes and nobody steals, steering stays",
                |_, state: &State| {
                    let (newest, followed) = state.pump.core.looks();
                    state.pump.trusts == 2 && state.generation == 1 && newest == 1 && followed.is_some()
                },
            ),
            Property::sometimes(
                "what the new key said has outlived a thief and a restart",
                |_, state: &State| {
                    let pump = &state.pump;
                    pump.restarts > 0 && pump.trusts == 2 && pump.newest > 0 && pump.core.looks().1.is_none()
                },
            ),
            Property::sometimes("it ends on what the server says with its new key", |_, state: &State| {
                state.pump.trusts == 2 && state.pump.newest == GENERATION_MAX
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.pump.restarts <= RESTARTS_MAX
    }
}

const FOLLOWS: &str = "whoever has a keyring without the stolen key follows the server's newest message";
const NEVER_BACK: &str = "no device goes back from what it followed to what the same key said before";
const OUT_WITH_THE_KEY: &str = "nobody follows a thief whose key is gone";

#[test]
fn a_stolen_key_is_gone_with_all_that_it_counted() {
    exhausts("thief", Replacing(Broken::Nothing));
}

#[test]
fn a_broken_replacement_is_found_out() {
    breaks("thief, counts for ever", Replacing(Broken::CountsForEver), FOLLOWS);
    breaks("thief, counts anew", Replacing(Broken::CountsAnew), NEVER_BACK);
    breaks("thief, forgets who said it", Replacing(Broken::ForgetsWhoSaidIt), NEVER_BACK);
    breaks("thief, starts blindly", Replacing(Broken::StartsBlindly), OUT_WITH_THE_KEY);
}
