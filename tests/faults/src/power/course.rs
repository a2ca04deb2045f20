//! What happens to a device, course by course, and how it goes on after a cut.
//!
//! Here: the courses, and the statements that keys signed for them. Not here: the device (`pump`), and the cuts (`cuts`).

use std::path::Path;

use backstay_model::{Direction, FleetId, UnixMs};
use backstay_trust::{Keyring, KeyringParts, Revocation, Role, SecretKey, Stamp};

use super::{
    found::{End, Woken},
    pump::{Pump, provisions},
};

/// Files that say who the device is: its key, twice, and its enrolment.
pub const PAPERS: [(&str, &[u8]); 3] =
    [("device.pem", KEY), ("device-spare.pem", KEY), ("enrolment", b"what the server said of it")];
const KEY: &[u8] = b"a key that nobody has yet";

/// How a release behaves.
#[derive(Clone, Copy, Debug)]
pub enum Behaves {
    /// Every probe passes.
    Well,
    /// None does.
    Badly,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Happens {
    /// So many seconds pass.
    Waits(u64),
    /// The retained message is this one from now on.
    Steers(u64, &'static str, Direction),
    /// The one for plugins is.
    SteersPlugins(u64, u8),
    /// The trust topic names this keyring.
    Keyring(u64),
    /// And this revocation.
    Revokes,
    /// The broker is there for a moment.
    Drains,
}

/// A course.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Its name.
    pub name: &'static str,
    /// The release of the factory.
    pub first: &'static str,
    /// How releases behave.
    pub behaves: &'static [(&'static str, Behaves)],
    /// What happens before anything is cut; nothing: the factory is cut as well.
    pub before: &'static [Happens],
    /// What is cut.
    pub happens: &'static [Happens],
}

use Happens::{Drains, Keyring as Rotates, Revokes, Steers, SteersPlugins, Waits};

const GOOD: &[(&str, Behaves)] =
    &[("1.0.0", Behaves::Well), ("1.1.0", Behaves::Well), ("1.2.0", Behaves::Well)];
const BAD: &[(&str, Behaves)] = &[("1.0.0", Behaves::Well), ("1.1.0", Behaves::Badly)];
const INSTALL: Happens = Steers(1, "1.1.0", Direction::Forward);

/// All courses.
pub const COURSES: [Course; 8] = [
    Course { name: "first boot", first: "1.0.0", behaves: GOOD, before: &[], happens: &[Waits(3)] },
    Course {
        name: "install",
        first: "1.0.0",
        behaves: GOOD,
        before: &[Waits(3)],
        happens: &[INSTALL, Waits(12)],
    },
    Course {
        name: "confirm",
        first: "1.0.0",
        behaves: GOOD,
        before: &[Waits(3), INSTALL, Waits(25)],
        happens: &[Waits(40)],
    },
    Course {
        name: "go home",
        first: "1.0.0",
        behaves: BAD,
        before: &[Waits(3), INSTALL, Waits(11)],
        happens: &[Waits(60)],
    },
    Course {
        name: "policy change",
        first: "1.0.0",
        behaves: GOOD,
        before: &[Waits(3)],
        happens: &[SteersPlugins(1, 2), Waits(3), SteersPlugins(2, 3), Waits(3), INSTALL, Waits(60)],
    },
    Course {
        name: "key rotation",
        first: "1.0.0",
        behaves: GOOD,
        before: &[Waits(3)],
        happens: &[Rotates(2), Waits(2), Rotates(3), Revokes, Waits(2)],
    },
    Course {
        name: "outbox drain",
        first: "1.0.0",
        behaves: GOOD,
        before: &[Waits(30)],
        happens: &[Drains, Waits(12), Drains, INSTALL, Waits(2), Drains, Waits(60), Drains],
    },
    Course {
        name: "last known good",
        first: "1.0.0",
        behaves: GOOD,
        before: &[Waits(3), INSTALL, Waits(60)],
        happens: &[Steers(2, "1.2.0", Direction::Forward), Waits(90)],
    },
];

/// All of it in one life, and a release that is bad at its end.
pub const EVERYTHING: Course = Course {
    name: "everything",
    first: "1.0.0",
    behaves: &[("1.0.0", Behaves::Well), ("1.1.0", Behaves::Well), ("1.2.0", Behaves::Badly)],
    before: &[Waits(3)],
    happens: &[
        SteersPlugins(1, 2),
        Rotates(2),
        INSTALL,
        Waits(60),
        Drains,
        Rotates(3),
        Revokes,
        Steers(2, "1.2.0", Direction::Forward),
        Waits(60),
        Drains,
        Waits(12),
    ],
};

impl Course {
    /// The course of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        COURSES.into_iter().chain([EVERYTHING]).find(|course| course.name == name)
    }

    /// What has to be there before it can be cut.
    ///
    /// # Errors
    /// What doesn't work.
    pub fn prepares(&self, dir: &Path) -> Result<(), String> {
        if self.before.is_empty() {
            return Ok(());
        }
        provisions(dir, self.first)?;
        let (mut pump, _) = Pump::starts(dir, self.behaves, |_| ())?;
        self.before.iter().try_for_each(|happens| happens.to(&mut pump))
    }

    /// Goes from where it stands to its end: from the first thing that happens, or, after a cut, from the one that was
    /// under way. What was retained is there still, and is heard again.
    ///
    /// # Errors
    /// What doesn't work.
    pub fn goes(&self, dir: &Path, from: usize, says: fn(&str)) -> Result<(Woken, Pump), String> {
        if self.before.is_empty() {
            provisions(dir, self.first)?;
            says("provisioned");
        }
        let (mut pump, woken) = Pump::starts(dir, self.behaves, says)?;
        for (at, happens) in self.happens.iter().enumerate().skip(from) {
            says(&format!("step {at}"));
            happens.to(&mut pump)?;
        }
        Ok((woken, pump))
    }

    /// The same, to how it ended.
    ///
    /// # Errors
    /// What doesn't work.
    pub fn ends(&self, dir: &Path) -> Result<End, String> {
        self.goes(dir, 0, |_| ()).and_then(|(_, pump)| pump.ends())
    }
}

impl Happens {
    fn to(self, pump: &mut Pump) -> Result<(), String> {
        match self {
            Self::Waits(secs) => pump.waits(secs),
            Self::Steers(generation, version, direction) => pump.is_steered(generation, version, direction),
            Self::SteersPlugins(generation, number) => pump.is_steered_to_bundle(generation, number),
            Self::Keyring(number) => pump.is_told_of_keyring(number),
            Self::Revokes => pump.is_told_of_revocation(),
            Self::Drains => pump.drains(),
        }
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

/// The keyring that the device's image has.
#[must_use]
pub fn image() -> Keyring {
    let role = |seed| Role::of(key(seed).public());
    let fleet = FleetId::parse("pumps").unwrap();
    let first = KeyringParts::first(fleet, role(1), role(2), role(3));
    Keyring::new(KeyringParts { root: role(4), revoker: role(5), ..first }).unwrap()
}

/// The links to the second and the third keyring.
#[must_use]
pub fn links() -> Vec<Vec<u8>> {
    let mut last = image();
    let mut links = Vec::new();
    for director in [6, 7] {
        let parts = last.parts().clone();
        let (number, before) = (parts.number + 1, Some(*last.digest()));
        let director = Role::of(key(director).public());
        let next = Keyring::new(KeyringParts { number, before, director, ..parts }).unwrap();
        let mut link = next.link(UnixMs(1), None).unwrap();
        link.sign(&key(4)).unwrap();
        links.push(link.encode().unwrap());
        last = next;
    }
    links
}

/// A revocation of a key.
#[must_use]
pub fn revocation() -> Vec<u8> {
    let revocation = Revocation { keys: vec![key(3).id()], ..Revocation::default() };
    let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
    revocation.sign(&key(5), FleetId::parse("pumps").unwrap(), stamp).unwrap()
}
