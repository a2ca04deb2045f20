//! A machine with two slots and either boot loader, for stories and cuts: what is started, and what has to hold of it.

use std::{cell::RefCell, collections::BTreeSet, path::Path, rc::Rc};

use backstay_model::{Digest, Release, SlotStatus, Version};
use backstay_slots::{BootWord, Slot, SlotError, Slots as _, Tries, replace};
use sha2::{Digest as _, Sha256};

use crate::{
    Backend, BootId, Finding, Raw, Running, SdBoot, Standing, Switch, UBoot, Write as _,
    environment::{Environment, Place},
    testing::{Cut, Power},
};

pub(crate) const ENTRIES: &str = "/efi/loader/entries";
pub(crate) const LEDGER: &str = "/var/lib/backstay/slots";
pub(crate) const ENVIRONMENT_SIZE: usize = 0x100;
pub(crate) const DEVICE_SIZE: usize = 1024;
pub(crate) const TWO: Tries = Tries::new(2).unwrap();
/// Boots after which a machine that starts nothing whole is given up.
pub(crate) const BOOTS_MAX: usize = 12;

pub(crate) const VERSIONS: [&str; 4] = ["1.0", "1.1", "1.2", "9.9"];

pub(crate) fn bytes(version: &str) -> Vec<u8> {
    // Of one length, and other at each byte, so that a mix of two is neither.
    let seed = version.bytes().fold(7_u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..700).map(|at: u32| (at as u8).wrapping_mul(3).wrapping_add(seed)).collect()
}

pub(crate) fn release(version: &str) -> Release {
    let bytes = bytes(version);
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(Sha256::digest(&bytes).into()),
        length: bytes.len() as u64,
        security_epoch: 1,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    UBoot,
    SdBoot,
}

pub(crate) const LOADERS: [Loader; 2] = [Loader::UBoot, Loader::SdBoot];

pub(crate) type Slots = Backend<Power, Box<dyn Switch>, Raw<crate::testing::Raw>>;

/// A machine with two slots, a boot loader that counts, and a ledger.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) loader: Loader,
    pub(crate) power: Power,
    pub(crate) on: Slot,
    pub(crate) boot: usize,
    /// What the boot loader started, ever.
    pub(crate) started: Rc<RefCell<BTreeSet<String>>>,
    /// What panics.
    pub(crate) panics: &'static [&'static str],
    /// What may be called confirmed.
    pub(crate) may_confirm: &'static [&'static str],
}

impl World {
    /// As it leaves the factory: 1.0 in slot a, nothing in b.
    pub(crate) fn made(loader: Loader) -> Self {
        let power = Power::new();
        let started = Rc::default();
        let mut world =
            Self { loader, power, on: Slot::A, boot: 0, started, panics: &[], may_confirm: &VERSIONS };
        let image = bytes("1.0");
        world.writer().write(Slot::A, &release("1.0"), &mut &image[..]).unwrap();
        match loader {
            Loader::UBoot => world.uboot().renew(Slot::A, Standing::Barred, TWO).unwrap(),
            Loader::SdBoot => {
                for name in ["backstay-1-a.conf", "backstay-1-b.bad"] {
                    replace(&mut world.power, &Path::new(ENTRIES).join(name), b"linux /vmlinuz\n").unwrap();
                }
            }
        }
        world.boots();
        let (_, findings) = world.opens().unwrap();
        assert!(matches!(findings[..], [Finding::LedgerLost { confirmed: Slot::A }]), "the first time");
        world
    }

    pub(crate) fn writer(&self) -> Raw<crate::testing::Raw> {
        Raw::new(["slot-a", "slot-b"].map(|name| (self.power.device(name, DEVICE_SIZE), name.into())))
    }

    pub(crate) fn uboot(&self) -> UBoot<crate::testing::Raw> {
        let device = self.power.device("flash", 3 * ENVIRONMENT_SIZE);
        let place = |at| Place { device: device.clone(), path: "flash".into(), at };
        let places = [place(0), place(2 * ENVIRONMENT_SIZE as u64)];
        UBoot::new(Environment::new(places, ENVIRONMENT_SIZE, None).unwrap())
    }

    pub(crate) fn switch(&self) -> Box<dyn Switch> {
        match self.loader {
            Loader::UBoot => Box::new(self.uboot()),
            Loader::SdBoot => Box::new(SdBoot::new(self.power.clone(), Path::new(ENTRIES))),
        }
    }

    pub(crate) fn opens(&self) -> Result<(Slots, Vec<Finding>), SlotError> {
        let boot: BootId = format!("boot-{}", self.boot).parse().unwrap();
        // What the factory wrote into the image; nobody knows it of a later one.
        let release = self.holds(self.on).filter(|version| *version == "1.0").map(release);
        let running = Running { slot: self.on, boot, release };
        Backend::open_on(self.power.clone(), Path::new(LEDGER), self.switch(), self.writer(), TWO, running)
    }

    pub(crate) fn slots(&self) -> Slots {
        self.opens().unwrap().0
    }

    pub(crate) fn status(&self) -> SlotStatus {
        self.slots().status().unwrap()
    }

    pub(crate) fn word(&self) -> BootWord {
        self.slots().booted()
    }

    /// Which release a slot holds whole.
    pub(crate) fn holds(&self, slot: Slot) -> Option<&'static str> {
        let seen = self.power.bytes(if slot == Slot::A { "slot-a" } else { "slot-b" });
        VERSIONS.into_iter().find(|version| seen.starts_with(&bytes(version)))
    }

    /// One start by the boot loader, counted as it counts.
    pub(crate) fn starts(&mut self) -> Slot {
        match self.loader {
            Loader::UBoot => {
                let mut uboot = self.uboot();
                let slot = uboot.primary().unwrap().unwrap_or_else(|| {
                    // No slot has any left: the script gives boots back to those in the order.
                    for slot in [Slot::A, Slot::B] {
                        if uboot.left(slot).unwrap() == Standing::Tries(0) {
                            uboot.refill(slot, TWO).unwrap();
                        }
                    }
                    uboot.primary().unwrap().unwrap()
                });
                let Standing::Tries(left) = uboot.left(slot).unwrap() else { panic!("U-Boot counts all") };
                let counted = Tries::new(left - 1);
                match counted {
                    Some(left) => uboot.refill(slot, left).unwrap(),
                    None => uboot.uses_up(slot),
                }
                slot
            }
            Loader::SdBoot => crate::sdboot::starts_in(&mut self.power, Path::new(ENTRIES)).unwrap(),
        }
    }

    /// A restart, and as many more as it takes until something comes up. Whatever is started has to be whole.
    pub(crate) fn boots(&mut self) -> &'static str {
        for _ in 0..BOOTS_MAX {
            self.on = self.starts();
            self.boot += 1;
            let Some(version) = self.holds(self.on) else {
                panic!("slot {} was started and holds nothing whole", self.on)
            };
            self.started.borrow_mut().insert(version.to_owned());
            if !self.panics.contains(&version) {
                return version;
            }
        }
        panic!("nothing comes up any more");
    }

    pub(crate) fn stages(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.stage(&release(version), &mut &bytes(version)[..])
    }

    pub(crate) fn tries(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.try_next(&release(version))
    }

    pub(crate) fn confirms(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.confirm(&release(version))
    }

    pub(crate) fn goes_home(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.go_home(&release(version))
    }

    pub(crate) fn condemns(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.condemn(&release(version))
    }

    pub(crate) fn on_trial(mut self, version: &str) -> Self {
        self.stages(version).unwrap();
        self.tries(version).unwrap();
        assert_eq!(self.boots(), version);
        self
    }

    pub(crate) fn updated_to(self, version: &str) -> Self {
        let world = self.on_trial(version);
        world.confirms(version).unwrap();
        world
    }

    /// The world after a cut; after a power cut something runs again.
    pub(crate) fn after(&self, cut: Cut) -> Self {
        let started = Rc::new(RefCell::new(self.started.borrow().clone()));
        let mut world = Self { power: self.power.after(cut), started, ..self.clone() };
        if cut.is_restart() {
            world.boots();
        }
        world
    }

    /// Worlds of one mark go on alike.
    pub(crate) fn mark(&self) -> (u64, Slot, usize, Vec<String>) {
        (self.power.mark(), self.on, self.boot, self.started.borrow().iter().cloned().collect())
    }

    /// What is said is true, and a restart comes up.
    pub(crate) fn is_sound(&self) {
        let world = self.after(Cut::Kill);
        let status = world.status();
        let holds = |slot| world.holds(slot).map(release);
        assert_eq!(Some(&status.booted), holds(world.on).as_ref(), "what runs");
        if let Some(other) = &status.other {
            assert_eq!(Some(other), holds(world.on.other()).as_ref(), "what is in the other slot");
        }
        assert!(
            [&status.booted].into_iter().chain(&status.other).any(|whole| *whole == status.confirmed),
            "confirmed"
        );
        let confirmed = status.confirmed.version.to_string();
        assert!(self.may_confirm.contains(&&*confirmed), "{confirmed} was never confirmed");
        assert!(world.word() != BootWord::Rescued, "what was confirmed starts");
        if let BootWord::FellBack { from } = world.word() {
            let from = from.expect("it was whole when it was tried").version.to_string();
            assert!(world.started.borrow().contains(&from), "{from} fell back and was never started");
        }
        world.after(Cut::Strict);
    }

    /// It goes home and takes an update, whatever was left half done.
    pub(crate) fn is_of_use(&self) {
        let mut world = self.after(Cut::Kill);
        let home = world.status().confirmed;
        world.slots().go_home(&home).unwrap();
        assert_eq!(world.boots(), home.version.as_str());
        world.stages("9.9").unwrap();
        world.tries("9.9").unwrap();
        assert_eq!(world.boots(), "9.9");
        world.confirms("9.9").unwrap();
        let status = world.after(Cut::Strict).status();
        assert_eq!((status.booted, status.confirmed), (release("9.9"), release("9.9")));
    }
}
