//! Stories of slots behind a boot loader, and a cut at any operation of each of them, under either boot loader.

use std::{cell::RefCell, collections::BTreeSet, path::Path, rc::Rc};

use backstay_model::{Digest, Release, SlotStatus, Version};
use backstay_slots::{BootWord, Disk as _, Slot, SlotError, Slots as _, Tries, replace};
use sha2::{Digest as _, Sha256};

use crate::{
    Backend, BootId, Finding, Raw, Running, SdBoot, Standing, Switch, UBoot, Write as _,
    environment::{Environment, Place},
    ledger::Image,
    testing::{Cut, Power},
};

const ENTRIES: &str = "/efi/loader/entries";
const LEDGER: &str = "/var/lib/backstay/slots";
const ENVIRONMENT_SIZE: usize = 0x100;
const DEVICE_SIZE: usize = 1024;
const TWO: Tries = Tries::new(2).unwrap();
/// Boots after which a machine that starts nothing whole is given up.
const BOOTS_MAX: usize = 12;

const VERSIONS: [&str; 4] = ["1.0", "1.1", "1.2", "9.9"];

fn bytes(version: &str) -> Vec<u8> {
    // Of one length, and other at each byte, so that a mix of two is neither.
    let seed = version.bytes().fold(7_u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..700).map(|at: u32| (at as u8).wrapping_mul(3).wrapping_add(seed)).collect()
}

fn release(version: &str) -> Release {
    let bytes = bytes(version);
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(Sha256::digest(&bytes).into()),
        length: bytes.len() as u64,
        security_epoch: 1,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loader {
    UBoot,
    SdBoot,
}

const LOADERS: [Loader; 2] = [Loader::UBoot, Loader::SdBoot];

type Slots = Backend<Power, Box<dyn Switch>, Raw<crate::testing::Raw>>;

/// A machine with two slots, a boot loader that counts, and a ledger.
#[derive(Clone)]
struct World {
    loader: Loader,
    power: Power,
    on: Slot,
    boot: usize,
    /// What the boot loader started, ever.
    started: Rc<RefCell<BTreeSet<String>>>,
    /// What panics.
    panics: &'static [&'static str],
    /// What may be called confirmed.
    may_confirm: &'static [&'static str],
}

impl World {
    /// As it leaves the factory: 1.0 in slot a, nothing in b.
    fn made(loader: Loader) -> Self {
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

    fn writer(&self) -> Raw<crate::testing::Raw> {
        Raw::new(["slot-a", "slot-b"].map(|name| (self.power.device(name, DEVICE_SIZE), name.into())))
    }

    fn uboot(&self) -> UBoot<crate::testing::Raw> {
        let device = self.power.device("flash", 3 * ENVIRONMENT_SIZE);
        let place = |at| Place { device: device.clone(), path: "flash".into(), at };
        let places = [place(0), place(2 * ENVIRONMENT_SIZE as u64)];
        UBoot::new(Environment::new(places, ENVIRONMENT_SIZE, None).unwrap())
    }

    fn switch(&self) -> Box<dyn Switch> {
        match self.loader {
            Loader::UBoot => Box::new(self.uboot()),
            Loader::SdBoot => Box::new(SdBoot::new(self.power.clone(), Path::new(ENTRIES))),
        }
    }

    fn opens(&self) -> Result<(Slots, Vec<Finding>), SlotError> {
        let boot: BootId = format!("boot-{}", self.boot).parse().unwrap();
        // What the factory wrote into the image; nobody knows it of a later one.
        let release = self.holds(self.on).filter(|version| *version == "1.0").map(release);
        let running = Running { slot: self.on, boot, release };
        Backend::open_on(self.power.clone(), Path::new(LEDGER), self.switch(), self.writer(), TWO, running)
    }

    fn slots(&self) -> Slots {
        self.opens().unwrap().0
    }

    fn status(&self) -> SlotStatus {
        self.slots().status().unwrap()
    }

    fn word(&self) -> BootWord {
        self.slots().booted()
    }

    /// Which release a slot holds whole.
    fn holds(&self, slot: Slot) -> Option<&'static str> {
        let seen = self.power.bytes(if slot == Slot::A { "slot-a" } else { "slot-b" });
        VERSIONS.into_iter().find(|version| seen.starts_with(&bytes(version)))
    }

    /// One start by the boot loader, counted as it counts.
    fn starts(&mut self) -> Slot {
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
    fn boots(&mut self) -> &'static str {
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

    fn stages(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.stage(&release(version), &mut &bytes(version)[..])
    }

    fn tries(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.try_next(&release(version))
    }

    fn confirms(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.confirm(&release(version))
    }

    fn goes_home(&self, version: &str) -> Result<(), SlotError> {
        self.opens()?.0.go_home(&release(version))
    }

    fn on_trial(mut self, version: &str) -> Self {
        self.stages(version).unwrap();
        self.tries(version).unwrap();
        assert_eq!(self.boots(), version);
        self
    }

    fn updated_to(self, version: &str) -> Self {
        let world = self.on_trial(version);
        world.confirms(version).unwrap();
        world
    }

    /// The world after a cut; after a power cut something runs again.
    fn after(&self, cut: Cut) -> Self {
        let started = Rc::new(RefCell::new(self.started.borrow().clone()));
        let mut world = Self { power: self.power.after(cut), started, ..self.clone() };
        if cut.is_restart() {
            world.boots();
        }
        world
    }

    /// Worlds of one mark go on alike.
    fn mark(&self) -> (u64, Slot, usize, Vec<String>) {
        (self.power.mark(), self.on, self.boot, self.started.borrow().iter().cloned().collect())
    }

    /// What is said is true, and a restart comes up.
    fn is_sound(&self) {
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
    fn is_of_use(&self) {
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

#[test]
fn a_release_is_staged_tried_and_confirmed() {
    for loader in LOADERS {
        let mut world = World::made(loader);
        assert_eq!((world.word(), world.status().other), (BootWord::Confirmed, None));
        world.stages("1.1").unwrap();
        assert_eq!((world.status().other, world.status().trying), (Some(release("1.1")), None));
        assert_eq!(world.after(Cut::Strict).holds(world.on), Some("1.0"), "staged is not tried");
        world.tries("1.1").unwrap();
        assert_eq!((world.status().booted, world.status().trying), (release("1.0"), Some(release("1.1"))));
        assert_eq!(world.boots(), "1.1");
        assert_eq!(world.word(), BootWord::Trial { tries_left: 1 });
        assert_eq!(world.status().confirmed, release("1.0"));
        assert!(matches!(world.stages("1.2"), Err(SlotError::TryOpen { .. })));
        world.confirms("1.1").unwrap();
        assert_eq!((world.word(), world.boots()), (BootWord::Confirmed, "1.1"));
        assert_eq!(world.status().other, Some(release("1.0")));
        world.goes_home("1.0").unwrap();
        assert_eq!((world.status().booted, world.status().confirmed), (release("1.1"), release("1.0")));
        assert!(matches!(world.confirms("1.1"), Err(SlotError::NotRunning { .. })));
        assert!(matches!(world.stages("1.2"), Err(SlotError::HoldsConfirmed { slot: Slot::A })));
        assert_eq!((world.boots(), world.word()), ("1.0", BootWord::Confirmed));
    }
}

/// Nobody of us ever runs on the new release: the boot loader alone brings the device home, and we say so.
#[test]
fn a_release_that_panics_falls_back_by_itself() {
    for loader in LOADERS {
        let mut world = World { panics: &["1.1"], ..World::made(loader) };
        world.stages("1.1").unwrap();
        world.tries("1.1").unwrap();
        assert_eq!(world.boots(), "1.0");
        let fell_back = BootWord::FellBack { from: Some(release("1.1")) };
        assert_eq!(world.word(), fell_back, "{loader:?}");
        assert_eq!(world.switch().left(Slot::B).unwrap(), Standing::Barred);
        assert_eq!((world.boots(), world.word()), ("1.0", fell_back), "said until the next try");
        world.is_of_use();
    }
}

#[test]
fn power_that_comes_and_goes_in_a_long_trial_does_not_use_up_the_tries() {
    for loader in LOADERS {
        let mut world = World::made(loader).on_trial("1.1");
        for _ in 0..10 {
            world.slots().note_boot().unwrap();
            assert_eq!((world.boots(), world.word()), ("1.1", BootWord::Trial { tries_left: 1 }));
        }
    }
}

/// The word "confirmed" is ours alone: U-Boot counts a confirmed slot as any other.
#[test]
fn a_confirmed_release_that_no_longer_starts_is_rescued_by_the_other() {
    let mut world = World::made(Loader::UBoot).updated_to("1.1");
    world.panics = &["1.1"];
    assert_eq!(world.boots(), "1.0");
    let (mut slots, findings) = world.opens().unwrap();
    assert!(matches!(findings[..], [Finding::Rescued { failed: Slot::B }]), "{findings:?}");
    assert_eq!((slots.booted(), slots.status().unwrap().confirmed), (BootWord::Rescued, release("1.0")));
    drop(slots);
    world.is_of_use();
}

#[test]
fn a_home_that_no_longer_starts_is_no_home() {
    let mut world = World::made(Loader::UBoot).updated_to("1.1");
    world.panics = &["1.0"];
    world.goes_home("1.0").unwrap();
    assert_eq!((world.boots(), world.word()), ("1.1", BootWord::Rescued));
    assert_eq!(world.status().confirmed, release("1.1"));
    world.is_of_use();
}

#[test]
fn other_bytes_than_the_release_has_are_never_tried() {
    for loader in LOADERS {
        let world = World::made(loader).updated_to("1.1");
        let good = bytes("1.2");
        let mut flipped = good.clone();
        flipped[600] ^= 1;
        for bad in [&good[..600], &[&good[..], b"x"].concat(), &flipped, b""] {
            let error = world.slots().stage(&release("1.2"), &mut &bad[..]).unwrap_err();
            assert!(matches!(error, SlotError::OtherBytes { .. }), "{error}");
            assert_eq!(world.status().other, None, "what was there is gone");
            assert!(matches!(world.tries("1.2"), Err(SlotError::NotThere { .. })));
            assert!(matches!(world.goes_home("1.0"), Err(SlotError::NotThere { .. })));
        }
        let large = Release { length: DEVICE_SIZE as u64 + 1, ..release("1.2") };
        assert!(matches!(world.slots().stage(&large, &mut &good[..]), Err(SlotError::Disk { .. })));
        world.is_sound();
        world.is_of_use();
    }
}

/// A slot that rots, or that somebody writes to behind our back, is found before it is tried.
#[test]
fn a_slot_that_changed_is_not_tried_and_is_no_home() {
    for loader in LOADERS {
        let world = World::made(loader).updated_to("1.1");
        world.power.damage("slot-a", 300);
        assert!(matches!(world.goes_home("1.0"), Err(SlotError::NotThere { .. })));
        world.stages("1.2").unwrap();
        world.power.damage("slot-a", 300);
        assert!(matches!(world.tries("1.2"), Err(SlotError::NotThere { .. })));
        world.stages("1.2").unwrap();
        world.tries("1.2").unwrap();
        assert_eq!(world.after(Cut::Strict).holds(Slot::A), Some("1.2"));
    }
}

#[test]
fn a_lost_ledger_is_begun_anew_with_what_runs() {
    for loader in LOADERS {
        let world = World::made(loader);
        world.stages("1.1").unwrap();
        for copy in ["ledger-0", "ledger-1"] {
            let mut power = world.power.clone();
            replace(&mut power, &Path::new(LEDGER).join(copy), b"rot").unwrap();
            if copy == "ledger-0" {
                assert_eq!(world.status().other, Some(release("1.1")), "one copy is enough");
                replace(&mut power, &Path::new(LEDGER).join(copy), b"rot").unwrap();
            }
        }
        let mut power = world.power.clone();
        for copy in ["ledger-0", "ledger-1"] {
            power.remove(&Path::new(LEDGER).join(copy)).unwrap();
        }
        let (mut slots, findings) = world.opens().unwrap();
        assert!(matches!(findings[..], [Finding::LedgerLost { confirmed: Slot::A }]), "{findings:?}");
        let status = slots.status().unwrap();
        assert_eq!((status.confirmed, status.other), (release("1.0"), None));
        drop(slots);
        world.is_of_use();
    }
}

/// Both copies of the environment rot. From the ledger it is known what has to be in it.
#[test]
fn a_lost_environment_is_written_anew_from_the_ledger() {
    let loses = |world: &World| {
        world.power.damage("flash", 40);
        world.power.damage("flash", 2 * ENVIRONMENT_SIZE + 40);
        let (_, findings) = world.opens().unwrap();
        assert!(findings.iter().any(|finding| matches!(finding, Finding::SwitchLost { .. })), "{findings:?}");
        assert!(findings[0].to_string().contains("both copies of the boot environment are damaged"));
    };
    let world = World::made(Loader::UBoot);
    loses(&world);
    assert_eq!(world.switch().left(Slot::B).unwrap(), Standing::Barred, "it holds nothing");
    let world = world.updated_to("1.1");
    loses(&world);
    world.is_sound();
    assert_eq!(world.status().confirmed, release("1.1"));
    world.is_of_use();
    let mut world = World::made(Loader::UBoot).on_trial("1.1");
    loses(&world);
    assert_eq!((world.boots(), world.status().confirmed), ("1.1", release("1.0")), "the trial goes on");
}

/// Nobody noted that its boots were fine, so U-Boot gives the way home no more of them. It has to have some before another
/// slot is put first.
#[test]
fn a_home_whose_boots_are_used_up_is_still_a_way_home() {
    let mut world = World { panics: &["1.1"], ..World::made(Loader::UBoot) };
    while world.switch().primary().unwrap() == Some(Slot::A) {
        assert_eq!(world.boots(), "1.0");
    }
    world.stages("1.1").unwrap();
    assert_eq!(world.switch().primary().unwrap(), Some(Slot::A), "alone, and it can be started");
    world.uboot().uses_up(Slot::A);
    world.tries("1.1").unwrap();
    assert_eq!((world.boots(), world.word()), ("1.0", BootWord::FellBack { from: Some(release("1.1")) }));
}

/// The other slot's boots are used up from before. A cut before the boot loader is asked must not make it look as if it had
/// been asked, tried, and failed.
#[test]
fn boots_that_were_used_up_before_are_no_failed_try() {
    type Deed = fn(&World) -> Result<(), SlotError>;
    let deeds: [Deed; 2] = [|world| world.tries("1.0"), |world| world.goes_home("1.0")];
    for deed in deeds {
        for at in 0.. {
            let world = World::made(Loader::UBoot).updated_to("1.1");
            world.uboot().uses_up(Slot::A);
            world.power.lasts(at);
            let done = deed(&world).is_ok();
            let world = world.after(Cut::Strict);
            assert!(
                matches!(world.word(), BootWord::Confirmed | BootWord::Trial { .. }),
                "cut at {at}: {:?}",
                world.word()
            );
            if done {
                break;
            }
        }
    }
}

/// Home runs on its last try, and nobody of us has looked since the boot loader was asked: it comes no more next, and yet
/// it is where we were to go, and no rescue.
#[test]
fn home_is_home_on_its_last_try() {
    let mut world = World::made(Loader::UBoot).updated_to("1.1");
    // The boot loader is asked, and then the power goes.
    for operations in 0.. {
        world = World { power: world.power.after(Cut::Kill), ..world };
        world.power.lasts(operations);
        let cut_off = world.goes_home("1.0").is_err();
        world.power.lasts(usize::MAX);
        if !cut_off || world.switch().primary().unwrap() == Some(Slot::A) {
            assert!(cut_off);
            break;
        }
    }
    assert_eq!([world.boots(), world.boots()], ["1.0", "1.0"]);
    assert_eq!(world.switch().primary().unwrap(), Some(Slot::B), "a's tries are used up");
    assert_eq!((world.word(), world.status().confirmed), (BootWord::Confirmed, release("1.0")));
}

/// Orders come twice, and after a crash nobody knows whether they were carried out.
#[test]
fn doing_any_of_it_again_changes_nothing() {
    for loader in LOADERS {
        let mut world = World::made(loader);
        let twice = |world: &World, deed: &dyn Fn(&World) -> Result<(), SlotError>| {
            deed(world).unwrap();
            world.power.lasts(0);
            deed(world).unwrap();
            world.power.lasts(usize::MAX);
        };
        twice(&world, &|world| world.stages("1.1"));
        twice(&world, &|world| world.tries("1.1"));
        assert_eq!(world.boots(), "1.1");
        twice(&world, &|world| world.stages("1.1"));
        twice(&world, &|world| world.tries("1.1"));
        twice(&world, &|world| world.slots().note_boot());
        twice(&world, &|world| world.confirms("1.1"));
        twice(&world, &|world| world.goes_home("1.0"));
        assert_eq!(world.boots(), "1.0");
        twice(&world, &|world| world.goes_home("1.0"));
    }
}

fn cuts() -> impl Iterator<Item = Cut> {
    [Cut::Kill, Cut::KillHalf(3), Cut::Strict].into_iter().chain((1..=8).map(Cut::Torn))
}

/// Cuts `story` at every operation, in every way, and again at every operation of doing it again. Each time what is said
/// has to be true, whatever is started whole, and the device of use afterwards. Says how many cuts that were, and what ran.
fn cut_everywhere(
    what: &str,
    may_confirm: &'static [&'static str],
    before: impl Fn(Loader) -> World,
    story: impl Fn(&World) -> Result<(), SlotError>,
    told: impl Fn(&World),
) {
    for loader in LOADERS {
        let (mut points, mut again_points) = (0, 0);
        // Many cuts leave the same: what was looked at once is not looked at again.
        let (mut seen, mut seen_again) = (BTreeSet::new(), BTreeSet::new());
        for at in 0.. {
            let world = World { may_confirm, ..before(loader) };
            world.power.lasts(at);
            let done = story(&world).is_ok();
            let gone = world.power.is_gone();
            assert!(done || gone, "{what} under {loader:?} is not to fail by itself");
            for cut in cuts() {
                let world = world.after(cut);
                points += 1;
                if !seen.insert(world.mark()) && gone {
                    continue;
                }
                world.is_sound();
                if !gone {
                    told(&world);
                }
                world.is_of_use();
                for again in 0.. {
                    let world = world.after(Cut::Kill);
                    world.power.lasts(again);
                    // It may have been overtaken: what was to be confirmed fell back.
                    let _ = story(&world);
                    let gone = world.power.is_gone();
                    for cut in
                        [Cut::Kill, Cut::Strict, Cut::Torn(11 + again as u64), Cut::Torn(77 + again as u64)]
                    {
                        let world = world.after(cut);
                        again_points += 1;
                        if seen_again.insert(world.mark()) {
                            world.is_sound();
                            // The dear one, for a part of them: after each first cut it was of use already.
                            if seen_again.len() % 4 == 0 {
                                world.is_of_use();
                            }
                        }
                    }
                    if !gone {
                        break;
                    }
                }
            }
            if !gone {
                break;
            }
        }
        let states = seen.union(&seen_again).count();
        println!(
            "{what}, {loader:?}: {points} cuts and {again_points} in doing it again left {states} states, 0 bad ends"
        );
        assert!(points > 100, "{points}");
    }
}

#[test]
fn an_install_survives_a_cut_at_every_operation() {
    let before = |loader| World::made(loader).updated_to("1.1");
    let install = |world: &World| world.stages("1.2").and_then(|()| world.tries("1.2"));
    let told = |world: &World| assert_eq!(world.status().trying, Some(release("1.2")));
    cut_everywhere("an install", &["1.1"], before, install, told);
}

#[test]
fn a_confirmation_survives_a_cut_at_every_operation() {
    let told = |world: &World| assert_eq!(world.status().confirmed, release("1.1"));
    cut_everywhere(
        "a confirmation",
        &["1.0", "1.1"],
        |loader| World::made(loader).on_trial("1.1"),
        |world| world.confirms("1.1"),
        told,
    );
}

#[test]
fn the_way_home_survives_a_cut_at_every_operation() {
    let home = |world: &World| world.goes_home("1.0");
    let told = |world: &World| assert_eq!(world.status().confirmed, release("1.0"));
    cut_everywhere("home from a trial", &["1.0"], |loader| World::made(loader).on_trial("1.1"), home, told);
    cut_everywhere(
        "home from a confirmed release",
        &["1.0", "1.1"],
        |loader| World::made(loader).updated_to("1.1"),
        home,
        told,
    );
}

/// The first look after a fall-back is cut, then the next release is staged over what fell back.
#[test]
fn a_fall_back_survives_a_cut_at_every_operation() {
    let before = |loader| {
        let mut world = World { panics: &["1.1"], ..World::made(loader) };
        world.stages("1.1").unwrap();
        world.tries("1.1").unwrap();
        assert_eq!(world.boots(), "1.0");
        world
    };
    let stage = |world: &World| {
        assert_eq!(world.opens()?.0.booted(), BootWord::FellBack { from: Some(release("1.1")) });
        world.stages("1.2")
    };
    cut_everywhere("a fall-back", &["1.0"], before, stage, |world| {
        assert_eq!(world.status().other, Some(release("1.2")))
    });
}

#[test]
fn the_first_start_survives_a_cut_at_every_operation() {
    let before = |loader| {
        let world = World::made(loader);
        let mut power = world.power.clone();
        for copy in ["ledger-0", "ledger-1"] {
            power.remove(&Path::new(LEDGER).join(copy)).unwrap();
        }
        power.sync_dir(Path::new(LEDGER)).unwrap();
        world
    };
    let first = |world: &World| world.opens().and_then(|(mut slots, _)| slots.note_boot());
    cut_everywhere("the first start", &["1.0"], before, first, |world| {
        assert_eq!(world.status().booted, release("1.0"))
    });
}

#[test]
fn an_image_is_read_from_a_real_file_as_it_was_written() {
    let home = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| home.path().join(name));
    for path in &paths {
        std::fs::write(path, vec![0; 200_000]).unwrap();
    }
    let image: Vec<u8> = (0..150_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    let digest = Digest(Sha256::digest(&image).into());
    let release = Release { digest, length: 150_000, ..release("1.1") };
    let mut raw = Raw::open(&paths[0], &paths[1]).unwrap();
    let written = raw.write(Slot::B, &release, &mut &image[..]).unwrap();
    assert_eq!(written, Image { digest, length: 150_000 });
    assert!(std::fs::read(&paths[1]).unwrap().starts_with(&image));
    assert_eq!(std::fs::read(&paths[0]).unwrap(), vec![0; 200_000]);
    assert!(raw.holds(Slot::B, &written).unwrap() && !raw.holds(Slot::A, &written).unwrap());
    assert!(!raw.holds(Slot::B, &Image { length: 200_001, ..written }).unwrap());
    assert!(matches!(Raw::open(&home.path().join("none"), &paths[1]), Err(SlotError::Disk { .. })));
}
