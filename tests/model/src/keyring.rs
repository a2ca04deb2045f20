//! How trust moves from keyring to keyring over a fleet.
//!
//! Real chains, links and revocations: two operators who make the next keyring at once, a server that follows the first and
//! tells what it follows, devices that hear all of it in any order, late, twice or not at all, and start again at any moment
//! from what they kept. Not here: files (`memory`), and forged bytes of other kinds (`tests/attacks`).

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, OnceLock},
};

use backstay_model::{Digest, FleetId, UnixMs};
use backstay_trust::{
    Chain, ChainError, KeyId, Keyring, KeyringParts, Revocation, Role, SecretKey, Stamp, Step,
};
use stateright::{Model, Property};

use crate::search::{breaks, exhausts};

/// The highest number of a keyring. Number 3 has other roots than those before it.
const NUMBER_MAX: u32 = 4;
const ROOTS_CHANGE_AT: u32 = 3;
const DEVICES: usize = 2;
const RESTARTS_MAX: u8 = 1;

/// A keyring by its place: 1 is in the image, and n leads to 2n by the first operator's hand, and to 2n + 1 by the second's.
type Place = u32;

fn number(place: Place) -> u32 {
    place.ilog2() + 1
}

/// The way from the image's keyring to this one, without the first.
fn way(place: Place) -> impl DoubleEndedIterator<Item = Place> {
    (0..number(place) - 1).rev().map(move |up| place >> up)
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Broken {
    Nothing,
    /// A device trusts a link before it keeps it.
    TrustedBeforeKept,
    /// Operators hand what they made to the devices without asking the server.
    PastTheServer,
    /// Who makes a keyring takes a key in again that was dropped before.
    TakenInAgain,
    /// A device keeps the last revocation that it can read, not the newest.
    LastRevocationWins,
}

fn key(seed: u32) -> SecretKey {
    let mut random = [7; 32];
    random[..4].copy_from_slice(&seed.to_le_bytes());
    SecretKey::from_random(&random)
}

/// The root keys of a number; both have to sign.
fn roots(number: u32) -> [SecretKey; 2] {
    let from = if number < ROOTS_CHANGE_AT { 1 } else { 3 };
    [key(from), key(from + 1)]
}

/// The release key of one place alone. Each next keyring drops it: say it was stolen.
fn release_key(place: Place) -> SecretKey {
    key(100 + place)
}

fn director() -> SecretKey {
    key(11)
}

/// All that anybody signs here.
struct Signed {
    keyrings: HashMap<Place, Keyring>,
    links: HashMap<Place, Vec<u8>>,
    /// Links by a thief who has one of the roots, or both that were replaced.
    forged: Vec<Vec<u8>>,
    /// The second says all that the first says, and more.
    revocations: [Vec<u8>; 2],
}

impl Signed {
    fn make(brings_back: bool) -> Self {
        let fleet = FleetId::parse("pumps").unwrap();
        let role = |key: SecretKey| Role::of(key.public());
        let stamp = |sequence| Stamp { sequence, issued: UnixMs(1), expires: None };
        let revoking = |keys, sequence| {
            let revocation = Revocation { keys, ..Revocation::default() };
            revocation.sign(&key(12), fleet.clone(), stamp(sequence)).unwrap()
        };
        let root = |number| Role { threshold: 2, keys: roots(number).map(|key| key.public()).to_vec() };
        let parts = KeyringParts {
            root: root(1),
            revoker: role(key(12)),
            ..KeyringParts::first(fleet.clone(), role(key(10)), role(release_key(1)), role(director()))
        };
        let image = Keyring::new(parts.clone()).unwrap();
        let mut signed = Self {
            keyrings: HashMap::from([(1, image)]),
            links: HashMap::new(),
            forged: Vec::new(),
            revocations: [revoking(vec![key(10).id()], 1), revoking(vec![key(10).id(), director().id()], 2)],
        };
        for place in 2..1 << NUMBER_MAX {
            let n = number(place);
            let before = signed.keyrings[&(place / 2)].clone();
            let mut release = role(release_key(place));
            if brings_back && n == 3 {
                release.keys.push(release_key(1).public());
            }
            let next = |release: Role| {
                let (number, before) = (u64::from(n), Some(*before.digest()));
                Keyring::new(KeyringParts { number, before, release, root: root(n), ..parts.clone() })
                    .unwrap()
            };
            let link = |keyring: &Keyring, by: &[SecretKey]| {
                let mut link = keyring.link(UnixMs(1), None).unwrap();
                by.iter().for_each(|key| link.sign(key).unwrap());
                link.encode().unwrap()
            };
            let mut signers = roots(n).to_vec();
            if n == ROOTS_CHANGE_AT {
                signers.extend(roots(n - 1));
            }
            let thiefs = next(role(key(999)));
            signed.forged.push(link(&thiefs, &roots(n - 1)[..1]));
            if n > ROOTS_CHANGE_AT {
                signed.forged.push(link(&thiefs, &roots(1)));
            }
            let keyring = next(release);
            signed.links.insert(place, link(&keyring, &signers));
            signed.keyrings.insert(place, keyring);
        }
        signed
    }

    fn of(broken: Broken) -> &'static Self {
        static SOUND: OnceLock<Signed> = OnceLock::new();
        static ODD: OnceLock<Signed> = OnceLock::new();
        if broken == Broken::TakenInAgain {
            ODD.get_or_init(|| Self::make(true))
        } else {
            SOUND.get_or_init(|| Self::make(false))
        }
    }

    fn chain(&'static self, kept: &[Place]) -> Trust {
        let mut trust = Trust(Arc::new(Chain::new(self.keyrings[&1].clone())));
        kept.iter().for_each(|place| drop(trust.follow(&self.links[place])));
        trust
    }
}

/// A real chain. What it says to a link depends on its newest keyring and the link alone, so each pair is asked once.
#[derive(Clone, Debug, PartialEq)]
struct Trust(Arc<Chain>);

type Said = Result<Trust, ChainError>;

impl Trust {
    /// Whether it followed.
    fn follow(&mut self, link: &'static [u8]) -> Result<bool, ChainError> {
        static SAID: OnceLock<Mutex<HashMap<(Digest, usize), Said>>> = OnceLock::new();
        let mut said = SAID.get_or_init(Mutex::default).lock().unwrap();
        // All links live as long as the test, so where one is names it.
        let asked = (self.digest(), link.as_ptr().addr());
        let after = said.entry(asked).or_insert_with(|| {
            let mut chain = Chain::clone(&self.0);
            chain.follow(link).map(|step| match step {
                Step::To(_) | Step::Same => Self(Arc::new(chain)),
            })
        });
        let after = after.clone()?;
        let has_moved = after.digest() != self.digest();
        *self = after;
        Ok(has_moved)
    }

    fn digest(&self) -> Digest {
        *self.0.newest().digest()
    }

    fn number(&self) -> u32 {
        self.0.newest().parts().number as u32
    }

    fn place(&self, signed: &Signed) -> Place {
        let is_it = |(_, keyring): &(&Place, &Keyring)| *keyring.digest() == self.digest();
        signed.keyrings.iter().find(is_it).map(|(place, _)| *place).unwrap()
    }
}

impl Hash for Trust {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.digest().0.hash(hasher);
    }
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Device {
    trust: Trust,
    /// The links on its disk.
    kept: Vec<Place>,
    /// A link that was found to follow, and is kept or trusted but not both yet.
    midway: Option<Place>,
    /// Which revocation it heeds, from 1.
    heeds: usize,
    restarts: u8,
    /// The highest number that it ever trusted.
    highest: u32,
    /// The newest revocation that it ever heeded.
    heeded: usize,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct State {
    server: Trust,
    /// What each operator has made and not brought yet.
    drafts: [Option<Place>; 2],
    /// What was handed out past the server.
    loose: Vec<Place>,
    devices: [Device; DEVICES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// An operator makes the keyring after the one that the server has now.
    Drafts(u32),
    /// And brings it to the server, which may have another by then.
    Brings(u32),
    /// A device hears one of the links that are told, whichever.
    Hears(usize, Place),
    /// And is done with it.
    GoesOn(usize),
    HearsRevocation(usize, usize),
    Restarts(usize),
}

/// Whether who trusts `newest` and heeds one revocation takes the other one. Each is asked once, too.
fn heeds_next(newest: Keyring, heeds: Option<&'static Vec<u8>>, next: &'static [u8]) -> bool {
    type Question = (Digest, usize, usize);
    static SAID: OnceLock<Mutex<HashMap<Question, bool>>> = OnceLock::new();
    let at = |bytes: &[u8]| bytes.as_ptr().addr();
    let asked = (*newest.digest(), heeds.map_or(0, |bytes| at(bytes)), at(next));
    *SAID.get_or_init(Mutex::default).lock().unwrap().entry(asked).or_insert_with(|| {
        let heeds = heeds.map(|bytes| newest.verify_revocation(bytes).unwrap());
        newest.revoking(heeds).verify_revocation(next).is_ok()
    })
}

struct Rotating(Broken);

impl Rotating {
    fn signed(&self) -> &'static Signed {
        Signed::of(self.0)
    }

    /// The links that anybody may hear.
    fn told(&self, state: &State) -> Vec<Place> {
        let mut told: Vec<Place> = way(state.server.place(self.signed())).collect();
        told.extend(state.loose.iter().copied().filter(|place| !told.contains(place)).collect::<Vec<_>>());
        told
    }

    /// Where a device comes to that hears everything from the end to the beginning, again and again.
    fn caught_up(&self, state: &State, device: &Device) -> Trust {
        let mut trust = device.trust.clone();
        let links = || device.midway.into_iter().chain(self.told(state).into_iter().rev());
        while links().any(|place| trust.follow(&self.signed().links[&place]) == Ok(true)) {}
        trust
    }
}

impl Model for Rotating {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let trust = self.signed().chain(&[]);
        let device = Device {
            trust: trust.clone(),
            kept: Vec::new(),
            midway: None,
            heeds: 0,
            restarts: 0,
            highest: 1,
            heeded: 0,
        };
        vec![State { server: trust, drafts: [None; 2], loose: Vec::new(), devices: [device.clone(), device] }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..2).flat_map(|who| [Action::Drafts(who), Action::Brings(who)]));
        for at in 0..DEVICES {
            actions.extend(self.told(state).into_iter().map(|place| Action::Hears(at, place)));
            actions.extend([Action::GoesOn(at), Action::Restarts(at)]);
        }
        actions.extend((1..=2).map(|which| Action::HearsRevocation(0, which)));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (signed, mut state) = (self.signed(), last.clone());
        match action {
            Action::Drafts(who) => {
                let place = 2 * state.server.place(signed) + who;
                let draft = &mut state.drafts[who as usize];
                (draft.is_none() && number(place) <= NUMBER_MAX).then(|| *draft = Some(place))?;
            }
            Action::Brings(who) => {
                let place = state.drafts[who as usize].take()?;
                // Refused or taken: whoever was too late makes another one of the newest.
                let _ = state.server.follow(&signed.links[&place]);
                if self.0 == Broken::PastTheServer {
                    state.loose.push(place);
                }
            }
            Action::Hears(at, place) => {
                let device = &mut state.devices[at];
                let mut ahead = device.trust.clone();
                let follows = device.midway.is_none() && ahead.follow(&signed.links[&place]) == Ok(true);
                follows.then_some(())?;
                device.midway = Some(place);
                if self.0 == Broken::TrustedBeforeKept {
                    (device.trust, device.highest) = (ahead, number(place));
                } else {
                    device.kept.push(place);
                }
            }
            Action::GoesOn(at) => {
                let device = &mut state.devices[at];
                let place = device.midway.take()?;
                if self.0 == Broken::TrustedBeforeKept {
                    device.kept.push(place);
                } else {
                    device.trust.follow(&signed.links[&place]).ok()?;
                    device.highest = number(place);
                }
            }
            Action::HearsRevocation(at, which) => {
                let device = &mut state.devices[at];
                let bytes = &signed.revocations[which - 1];
                let newest = device.trust.0.newest().clone();
                let heeds = device.heeds.checked_sub(1).map(|heeded| &signed.revocations[heeded]);
                let heeds = heeds.filter(|_| self.0 != Broken::LastRevocationWins);
                heeds_next(newest, heeds, bytes).then_some(())?;
                device.heeds = which;
                device.heeded = device.heeded.max(which);
            }
            Action::Restarts(at) => {
                let device = &mut state.devices[at];
                device.trust = signed.chain(&device.kept);
                device.midway = None;
                device.restarts += 1;
                device.highest = device.highest.max(device.trust.number());
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(CATCHES_UP, |model: &Self, state: &State| {
                state
                    .devices
                    .iter()
                    .all(|device| model.caught_up(state, device).digest() == state.server.digest())
            }),
            Property::always(NEVER_BACK, |_, state: &State| {
                state.devices.iter().all(|device| device.trust.number() >= device.highest)
            }),
            Property::always(ONE_OF_A_NUMBER, |_, state: &State| {
                let [one, other] = &state.devices;
                one.trust.number() != other.trust.number() || one.trust == other.trust
            }),
            Property::always(DROPPED, |model: &Self, state: &State| {
                state.devices.iter().all(|device| {
                    let place = device.trust.place(model.signed());
                    let dropped = |older: Place| release_key(older).id();
                    let has = |id: KeyId| device.trust.0.newest().parts().has(&id);
                    !(1..number(place)).map(|up| place >> up).map(dropped).any(has)
                })
            }),
            Property::always(REVOKED, |_, state: &State| {
                state.devices.iter().all(|device| device.heeds == device.heeded)
            }),
            Property::always(
                "no link is followed that too few of the roots of that time have signed",
                |model: &Self, state: &State| {
                    let chains = || state.devices.iter().map(|device| &device.trust).chain([&state.server]);
                    let takes =
                        |forged: &'static Vec<u8>| chains().any(|trust| trust.clone().follow(forged).is_ok());
                    !model.signed().forged.iter().any(takes)
                },
            ),
            Property::always(
                "nobody is locked out: each operator can make the next keyring",
                |model: &Self, state: &State| {
                    let place = state.server.place(model.signed());
                    let follows =
                        |next: Place| state.server.clone().follow(&model.signed().links[&next]) == Ok(true);
                    number(place) == NUMBER_MAX || [2 * place, 2 * place + 1].into_iter().all(follows)
                },
            ),
            Property::sometimes(
                "two operators have made a keyring of the same one",
                |_, state: &State| matches!(state.drafts, [Some(one), Some(other)] if one / 2 == other / 2),
            ),
            Property::sometimes(
                "who came second is told that there are two",
                |model: &Self, state: &State| {
                    state.drafts.into_iter().flatten().any(|place| {
                        let said = state.server.clone().follow(&model.signed().links[&place]);
                        matches!(said, Err(ChainError::Forked { .. }))
                    })
                },
            ),
            Property::sometimes("a device is three keyrings behind", |_, state: &State| {
                state.devices.iter().any(|device| device.trust.number() + 3 == state.server.number())
            }),
            Property::sometimes(
                "a device hears a link too early, and one that is long past",
                |model: &Self, state: &State| {
                    let says = |trust: &Trust, place| trust.clone().follow(&model.signed().links[&place]);
                    let all: Vec<Place> = way(state.server.place(model.signed())).collect();
                    let skipped = |trust| {
                        all.iter().any(|place| matches!(says(trust, *place), Err(ChainError::Skipped { .. })))
                    };
                    let older = |trust| {
                        all.iter().any(|place| matches!(says(trust, *place), Err(ChainError::Older { .. })))
                    };
                    skipped(&state.devices[0].trust) && older(&state.devices[1].trust)
                },
            ),
            Property::sometimes(
                "a device ended between keeping a link and trusting it, and trusts it after its start",
                |_, state: &State| {
                    state.devices.iter().any(|device| {
                        device.restarts > 0
                            && device.kept.len() as u32 + 1 == device.trust.number()
                            && device.trust.number() > 1
                    })
                },
            ),
            Property::sometimes("all have followed other roots to the last keyring", |_, state: &State| {
                state.devices.iter().all(|device| device.trust.number() == NUMBER_MAX)
            }),
            Property::sometimes("a device heeds the second revocation", |_, state: &State| {
                state.devices[0].heeds == 2
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.devices.iter().all(|device| device.restarts <= RESTARTS_MAX)
    }
}

const CATCHES_UP: &str = "each device that hears the links ends on the newest, in whatever order they come";
const NEVER_BACK: &str = "no device goes back to an older keyring, not by a restart either";
const ONE_OF_A_NUMBER: &str = "no two devices trust two keyrings of one number";
const DROPPED: &str = "nobody trusts a key again that a keyring dropped";
const REVOKED: &str = "no revocation takes back what a newer one says";

#[test]
fn all_end_on_the_newest_keyring() {
    exhausts("keyring", Rotating(Broken::Nothing));
}

#[test]
fn a_broken_rotation_is_found_out() {
    breaks("keyring, trusted before it is kept", Rotating(Broken::TrustedBeforeKept), NEVER_BACK);
    breaks("keyring, past the server", Rotating(Broken::PastTheServer), ONE_OF_A_NUMBER);
    breaks("keyring, past the server", Rotating(Broken::PastTheServer), CATCHES_UP);
    breaks("keyring, a key is taken in again", Rotating(Broken::TakenInAgain), DROPPED);
    breaks("keyring, the last revocation wins", Rotating(Broken::LastRevocationWins), REVOKED);
}
