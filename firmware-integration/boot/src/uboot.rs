//! U-Boot as a switch: the order and the tries left, in its environment, as RAUC keeps them there.
//!
//! ```text
//! BOOT_ORDER=B A      B first, then A; who isn't named is not started
//! BOOT_A_LEFT=3       boots that A has left, hexadecimal as all numbers of U-Boot
//! BOOT_B_LEFT=3
//! ```
//!
//! The boot script takes the first in the order that has a boot left, takes one away, durably, and starts it. It counts
//! *every* boot, so `good` means "all its boots again", and a confirmed slot that fails as often falls back as well.
//! Where no slot has any left the script has to give boots back to the slots in the order and to no other: who isn't in
//! it may hold half of something.
//!
//! Here: what the variables mean, and that each change is one write. Not here: their bytes (`environment`).

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use backstay_slots::{Slot, Tries};

use crate::{
    device::{self, Device},
    environment::{Environment, EnvironmentError, Place, SIZE_MAX, Variables},
    fw_env::{FwEnv, FwEnvError},
    switch::{Standing, Switch, SwitchError},
};

/// The lock that `fw_setenv` and `fw_printenv` take.
pub const LOCK: &str = "/var/lock/fw_printenv.lock";

const ORDER: &str = "BOOT_ORDER";
/// What boot scripts take where a slot's variable is missing.
const LEFT_WHERE_UNSAID: u8 = 3;

/// A slot's name in the environment.
fn name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "A",
        Slot::B => "B",
    }
}

fn left_of(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "BOOT_A_LEFT",
        Slot::B => "BOOT_B_LEFT",
    }
}

/// U-Boot.
#[derive(Debug)]
pub struct UBoot<D = File> {
    environment: Environment<D>,
    /// Where the board's own variables are, if it has any.
    defaults: Option<PathBuf>,
}

/// A U-Boot that was not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Its configuration.
    Config(FwEnvError),
    /// Its environment.
    Environment(EnvironmentError),
}

impl OpenError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) => error.help(),
            Self::Environment(error) => error.help(),
        }
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Environment(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Environment(error) => error.source(),
        }
    }
}

impl UBoot<File> {
    /// Opens the environment that a `fw_env.config` names, under the lock of `fw_setenv`.
    ///
    /// # Errors
    /// The configuration is wrong, or a device in it can't be opened.
    pub fn open(config: &Path) -> Result<Self, OpenError> {
        Self::open_with(config, Path::new(LOCK))
    }

    /// [`open`](Self::open) with a lock elsewhere.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(config: &Path, lock: &Path) -> Result<Self, OpenError> {
        let FwEnv { places, size } = FwEnv::read(config).map_err(OpenError::Config)?;
        let place = |(path, at): (PathBuf, u64)| match device::open(&path) {
            Ok(device) => Ok(Place { device, path, at }),
            Err(source) => Err(EnvironmentError::Device { doing: "cannot open", path, source }),
        };
        let [first, second] = places.map(place);
        let places = [first.map_err(OpenError::Environment)?, second.map_err(OpenError::Environment)?];
        let environment =
            Environment::new(places, size, Some(lock.to_owned())).map_err(OpenError::Environment)?;
        Ok(Self::new(environment))
    }
}

impl<D: Device> UBoot<D> {
    /// A U-Boot with this environment.
    pub fn new(environment: Environment<D>) -> Self {
        Self { environment, defaults: None }
    }

    /// The board's own variables, `name=value` lines as `u-boot-initial-env` has them. U-Boot takes an environment that is
    /// whole for all that there is, also where it doesn't say what to boot: so one that was lost is written anew with
    /// these, and not at all where they can't be read.
    #[must_use]
    pub fn with_defaults(self, path: &Path) -> Self {
        Self { defaults: Some(path.to_owned()), ..self }
    }

    fn read_defaults(&self) -> Result<String, EnvironmentError> {
        let mut text = String::new();
        if let Some(path) = &self.defaults {
            let read = File::open(path).and_then(|file| file.take(SIZE_MAX as u64).read_to_string(&mut text));
            let doing = "cannot read the board's own variables from";
            read.map_err(|source| EnvironmentError::Device { doing, path: path.clone(), source })?;
        }
        Ok(text)
    }

    fn words(&mut self) -> Result<Words, SwitchError> {
        Ok(Words::of(&self.environment.read()?))
    }
}

#[cfg(test)]
impl<D: Device> UBoot<D> {
    /// As the boot script takes the last boot.
    pub(crate) fn uses_up(&mut self, slot: Slot) {
        self.environment.change(&[(left_of(slot), "0")]).unwrap();
    }
}

/// What the variables say.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    order: Vec<Slot>,
    left: [u8; 2],
}

impl Words {
    fn of(variables: &Variables) -> Self {
        let text = |name: &str| {
            variables.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let slots = [Slot::A, Slot::B];
        let order = match text(ORDER) {
            None => slots.to_vec(),
            Some(order) => {
                let mut named = Vec::new();
                for word in order.split_ascii_whitespace() {
                    let slot = slots.into_iter().find(|slot| name(*slot) == word);
                    named.extend(slot.filter(|slot| !named.contains(slot)));
                }
                named
            }
        };
        let left = slots.map(|slot| match text(left_of(slot)) {
            None => LEFT_WHERE_UNSAID,
            // What is no number is none to U-Boot's shell either.
            Some(left) => {
                let left = left.trim();
                let digits = left.strip_prefix("0x").unwrap_or(left);
                u64::from_str_radix(digits, 16).map_or(0, |left| u8::try_from(left).unwrap_or(u8::MAX))
            }
        });
        Self { order, left }
    }

    fn left(&self, slot: Slot) -> u8 {
        self.left[slot as usize]
    }

    fn order_with_first(&self, first: Slot) -> String {
        let behind = self.order.contains(&first.other()).then(|| name(first.other()));
        [Some(name(first)), behind].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl<D: Device> Switch for UBoot<D> {
    fn primary(&mut self) -> Result<Option<Slot>, SwitchError> {
        let words = self.words()?;
        Ok(words.order.iter().copied().find(|slot| words.left(*slot) > 0))
    }

    fn left(&mut self, slot: Slot) -> Result<Standing, SwitchError> {
        let words = self.words()?;
        Ok(match words.order.contains(&slot) {
            true => Standing::Tries(words.left(slot)),
            false => Standing::Barred,
        })
    }

    fn activate(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        let order = self.words()?.order_with_first(slot);
        Ok(self.environment.change(&[(ORDER, &order), (left_of(slot), &tries.get().to_string())])?)
    }

    fn refill(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        Ok(self.environment.change(&[(left_of(slot), &tries.get().to_string())])?)
    }

    fn good(&mut self, slot: Slot, tries: Tries) -> Result<(), SwitchError> {
        let words = self.words()?;
        let order = match words.order[..] {
            [] => name(slot).to_owned(),
            [first] if first != slot => words.order_with_first(first) + " " + name(slot),
            [first, ..] => words.order_with_first(first),
        };
        Ok(self.environment.change(&[(ORDER, &order), (left_of(slot), &tries.get().to_string())])?)
    }

    fn bad(&mut self, slot: Slot) -> Result<(), SwitchError> {
        // Nor could it be said: an empty order is no order, which to boot scripts means all.
        if !self.words()?.order.contains(&slot.other()) {
            return Err(SwitchError::LastSlot { slot });
        }
        Ok(self.environment.change(&[(ORDER, name(slot.other())), (left_of(slot), "0")])?)
    }

    fn last_resort(&mut self, slot: Slot) -> Result<(), SwitchError> {
        let words = self.words()?;
        match [slot, slot.other()].map(|slot| words.order.contains(&slot)) {
            [false, _] => Ok(()),
            [true, false] => Err(SwitchError::LastSlot { slot }),
            [true, true] => {
                let order = words.order_with_first(slot.other());
                Ok(self.environment.change(&[(ORDER, &order), (left_of(slot), "0")])?)
            }
        }
    }

    fn renew(&mut self, first: Slot, other: Standing, tries: Tries) -> Result<(), SwitchError> {
        let words = Words {
            order: match other {
                Standing::Barred => vec![first],
                Standing::Tries(_) | Standing::Good => vec![first, first.other()],
            },
            left: [0; 2],
        };
        let behind = match other {
            Standing::Barred => 0,
            Standing::Tries(left) => left,
            Standing::Good => tries.get(),
        };
        let defaults = self.read_defaults()?;
        let (order, left) = (words.order_with_first(first), tries.get().to_string());
        let behind = behind.to_string();
        let lines = defaults.lines().filter(|line| !line.trim_start().starts_with('#'));
        // Ours come last, and of two with one name the later counts.
        let mut all: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
        all.extend([(ORDER, &*order), (left_of(first), &left), (left_of(first.other()), &behind)]);
        Ok(self.environment.renew(&all)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cut, Power, Raw};

    const SIZE: usize = 0x100;
    const THREE: Tries = Tries::new(3).unwrap();

    fn on(power: &Power) -> UBoot<Raw> {
        let device = power.device("flash", 4 * SIZE);
        let place = |at| Place { device: device.clone(), path: "flash".into(), at };
        UBoot::new(Environment::new([place(0), place(2 * SIZE as u64)], SIZE, None).unwrap())
    }

    fn saying(order: &str, a: &str, b: &str) -> UBoot<Raw> {
        let mut uboot = on(&Power::new());
        let words = [(ORDER, order), ("BOOT_A_LEFT", a), ("BOOT_B_LEFT", b), ("ethaddr", "02:00")];
        uboot.environment.renew(&words).unwrap();
        uboot
    }

    fn said(uboot: &mut UBoot<Raw>) -> String {
        let variables = uboot.environment.read().unwrap();
        assert_eq!(variables[&b"ethaddr"[..]], b"02:00", "what is not ours stays");
        ["BOOT_ORDER", "BOOT_A_LEFT", "BOOT_B_LEFT"]
            .map(|name| {
                String::from_utf8_lossy(variables.get(name.as_bytes()).map_or(b"-", |v| v)).into_owned()
            })
            .join(" | ")
    }

    /// The same variables as `rauc status mark-*` 1.8 leaves, as it was seen.
    #[test]
    fn it_marks_as_rauc_does() {
        let mut uboot = saying("A B", "2", "3");
        uboot.activate(Slot::B, THREE).unwrap();
        assert_eq!(said(&mut uboot), "B A | 2 | 3");
        uboot.good(Slot::A, THREE).unwrap();
        assert_eq!(said(&mut uboot), "B A | 3 | 3");
        uboot.bad(Slot::B).unwrap();
        assert_eq!(said(&mut uboot), "A | 3 | 0");
        assert_eq!(uboot.left(Slot::B).unwrap(), Standing::Barred);
        uboot.activate(Slot::B, THREE).unwrap();
        assert_eq!(said(&mut uboot), "B A | 3 | 3");
        assert_eq!(uboot.primary().unwrap(), Some(Slot::B));
    }

    #[test]
    fn the_primary_is_the_first_with_a_boot_left() {
        for (order, a, b, primary) in [
            ("A B", "3", "3", Some(Slot::A)),
            ("A B", "0", "3", Some(Slot::B)),
            ("B A", "3", "0x2", Some(Slot::B)),
            ("B A", "a", "0", Some(Slot::A)),
            ("A", "0", "3", None),
            ("A B", "0", "0", None),
            ("C nonsense A A", "1", "3", Some(Slot::A)),
            ("A B", "many", "1", Some(Slot::B)),
            // Unsaid: as boot scripts take it.
            ("", "", "", Some(Slot::A)),
            ("B A", "", "", Some(Slot::B)),
        ] {
            assert_eq!(saying(order, a, b).primary().unwrap(), primary, "{order}, {a}, {b}");
        }
    }

    #[test]
    fn the_last_slot_is_not_barred() {
        let mut uboot = saying("B", "0", "3");
        assert!(matches!(uboot.bad(Slot::B), Err(SwitchError::LastSlot { slot: Slot::B })));
        assert_eq!(said(&mut uboot), "B | 0 | 3");
        uboot.good(Slot::A, THREE).unwrap();
        assert_eq!(said(&mut uboot), "B A | 3 | 3");
    }

    #[test]
    fn the_last_resort_is_in_the_order_and_has_no_boot_left() {
        let mut uboot = saying("B A", "2", "3");
        uboot.last_resort(Slot::B).unwrap();
        assert_eq!(said(&mut uboot), "A B | 2 | 0");
        assert_eq!(
            (uboot.primary().unwrap(), uboot.left(Slot::B).unwrap()),
            (Some(Slot::A), Standing::Tries(0))
        );
        uboot.bad(Slot::B).unwrap();
        uboot.last_resort(Slot::B).unwrap();
        assert_eq!(said(&mut uboot), "A | 2 | 0", "what is barred may hold anything, and stays barred");
        assert!(matches!(uboot.last_resort(Slot::A), Err(SwitchError::LastSlot { slot: Slot::A })));
        assert_eq!(said(&mut uboot), "A | 2 | 0");
    }

    #[test]
    fn lost_words_are_known_as_such_and_written_anew() {
        for (other, order, behind) in [(Standing::Barred, "B", "0"), (Standing::Good, "B A", "3")] {
            let power = Power::new();
            let mut uboot = on(&power);
            let error = uboot.primary().unwrap_err();
            assert!(matches!(error, SwitchError::Lost { .. }) && error.help().is_some());
            uboot.renew(Slot::B, other, THREE).unwrap();
            let variables = on(&power.after(Cut::Strict)).environment.read().unwrap();
            assert_eq!(variables[ORDER.as_bytes()], order.as_bytes());
            assert_eq!(variables[&b"BOOT_A_LEFT"[..]], behind.as_bytes());
            assert_eq!(variables[&b"BOOT_B_LEFT"[..]], b"3");
            assert!(matches!(uboot.renew(Slot::A, other, THREE), Err(SwitchError::Environment { .. })));
        }
    }

    /// An environment without the board's own variables would be whole, and boot nothing.
    #[test]
    fn lost_words_are_written_anew_with_the_boards_own_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u-boot-initial-env");
        let power = Power::new();
        let mut uboot = on(&power).with_defaults(&path);
        let error = uboot.renew(Slot::A, Standing::Barred, THREE).unwrap_err();
        assert!(matches!(error, SwitchError::Environment { .. }) && error.help().is_some());
        assert!(matches!(uboot.primary(), Err(SwitchError::Lost { .. })), "nothing was written");
        std::fs::write(&path, "# of the build\nbootcmd=run distro; a=b\nBOOT_ORDER=B A\n\nbootdelay=2\n")
            .unwrap();
        uboot.renew(Slot::A, Standing::Barred, THREE).unwrap();
        let variables = on(&power.after(Cut::Strict)).environment.read().unwrap();
        let text = |name: &str| String::from_utf8_lossy(&variables[name.as_bytes()]).into_owned();
        assert_eq!([text("bootcmd"), text(ORDER), text("bootdelay")], ["run distro; a=b", "A", "2"]);
        assert_eq!(variables.len(), 5);
    }
}
