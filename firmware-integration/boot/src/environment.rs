//! U-Boot's redundant environment, read and written by ourselves.
//!
//! ```text
//! one copy, `size` bytes:   4 bytes CRC32, little-endian, of all behind the flags
//!                           1 byte flags: a counter; after 255 comes 0
//!                           name=value\0 name=value\0 ... \0, padded with 0xff
//! ```
//!
//! Two copies; of those that are whole the one with the newer flags holds. A change writes the *other* copy in one
//! write and syncs it: a cut at any byte leaves the old environment or the new one. This is what U-Boot,
//! `fw_setenv` and `mkenvimage -r` do, too, and any of them reads what another one wrote.
//!
//! Here: the bytes, which copy holds, the change. Not here: what the variables mean (`uboot`), where the copies lie
//! (`fw_env`). An environment in a flash that wants erasing is not for us: `fw_setenv` knows how.
//!
//! The flags are not in the checksum, so a flipped bit in them can make the older copy hold. That is the format.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::device::Device;

/// Bytes before the variables.
const HEAD: usize = 5;
/// The smallest copy that makes sense, in bytes.
pub const SIZE_MIN: usize = 64;
/// The largest copy that is read, in bytes. Environments have 4 to 256 KiB.
pub const SIZE_MAX: usize = 1024 * 1024;
/// How often a lock is tried for, 100 ms apart. `fw_setenv` holds it for milliseconds.
const LOCK_TRIES: u32 = 50;

/// Variables by name. Bytes, because others may have put there what is no text, and it is kept.
pub type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// One place of a copy.
#[derive(Debug)]
pub struct Place<D> {
    /// What it is on.
    pub device: D,
    /// For people: which device that is.
    pub path: PathBuf,
    /// Where the copy begins, in bytes.
    pub at: u64,
}

/// An environment that was not read or not changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// Neither copy is whole.
    BothBad {
        /// Where they lie.
        places: [PathBuf; 2],
    },
    /// One is whole: nothing is written anew over it.
    NotLost,
    /// A copy can't have this many bytes.
    Size {
        /// How many were asked for.
        bytes: usize,
    },
    /// The variables don't fit into a copy.
    TooLarge {
        /// Bytes that they need.
        bytes: usize,
        /// Bytes that there are.
        room: usize,
    },
    /// A name or a value can't be written down.
    Unwritable {
        /// Which variable.
        name: String,
    },
    /// Somebody else has been working on it for seconds.
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// The device failed.
    Device {
        /// What was being done: "cannot write".
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl EnvironmentError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::BothBad { .. } => Some(
                "write both anew: `mkenvimage -r -s SIZE -o FILE VARIABLES`, put at each place that fw_env.config \
                 names; what the board's own default sets has to be among the variables",
            ),
            Self::NotLost => Some("change variables instead"),
            Self::Size { .. } => {
                Some("give the size of the board's environment, in hexadecimal, in fw_env.config")
            }
            Self::TooLarge { .. } => Some("remove variables that nobody reads"),
            Self::Unwritable { .. } => Some("a name has no `=`, and neither name nor value has a zero byte"),
            Self::Busy { .. } => Some("see which fw_setenv hangs"),
            Self::Device { .. } => {
                Some("see that the device in fw_env.config is there, writable and large enough")
            }
        }
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BothBad { places: [first, second] } => write!(
                f,
                "both copies of the boot environment are damaged, on {} and {}",
                first.display(),
                second.display()
            ),
            Self::NotLost => f.write_str("a copy of the boot environment is whole"),
            Self::Size { bytes } => {
                write!(f, "a copy of the boot environment has {SIZE_MIN} to {SIZE_MAX} bytes, not {bytes}")
            }
            Self::TooLarge { bytes, room } => {
                write!(f, "the boot environment would need {bytes} bytes and has {room}")
            }
            Self::Unwritable { name } => {
                write!(f, "variable {name:?} can't be written to the boot environment")
            }
            Self::Busy { lock } => {
                write!(f, "somebody else holds the boot environment, by {}", lock.display())
            }
            Self::Device { doing, path, .. } => write!(f, "{doing} {}", path.display()),
        }
    }
}

impl std::error::Error for EnvironmentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Device { source, .. } => Some(source),
            Self::BothBad { .. }
            | Self::NotLost
            | Self::Size { .. }
            | Self::TooLarge { .. }
            | Self::Unwritable { .. }
            | Self::Busy { .. } => None,
        }
    }
}

/// The environment in its two places.
#[derive(Debug)]
pub struct Environment<D> {
    places: [Place<D>; 2],
    size: usize,
    lock: Option<PathBuf>,
}

impl<D: Device> Environment<D> {
    /// An environment of two copies of `size` bytes. With `lock`, each use holds that file as `fw_setenv` does.
    ///
    /// # Errors
    /// The size is out of bounds.
    pub fn new(places: [Place<D>; 2], size: usize, lock: Option<PathBuf>) -> Result<Self, EnvironmentError> {
        if !(SIZE_MIN..=SIZE_MAX).contains(&size) {
            return Err(EnvironmentError::Size { bytes: size });
        }
        Ok(Self { places, size, lock })
    }

    /// For people: where the first copy lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.places[0].path
    }

    /// All variables, durable when this returns.
    ///
    /// # Errors
    /// Neither copy is whole, somebody else holds it, or the device failed.
    pub fn read(&mut self) -> Result<Variables, EnvironmentError> {
        let _lock = self.locked()?;
        Ok(self.holding()?.1.variables)
    }

    /// Sets variables, all of them or none; an empty value takes one away. What is so already is not written.
    ///
    /// # Errors
    /// As [`read`](Self::read), or the variables can't be written or don't fit.
    pub fn change(&mut self, changes: &[(&str, &str)]) -> Result<(), EnvironmentError> {
        let _lock = self.locked()?;
        let (holder, Copy { flags, mut variables }) = self.holding()?;
        let before = variables.clone();
        apply(&mut variables, changes)?;
        if variables == before {
            return Ok(());
        }
        let bytes = to_bytes(flags.wrapping_add(1), &variables, self.size)?;
        self.write(holder ^ 1, &bytes)
    }

    /// Writes both copies anew, with these variables and no others: what the board had beside them is lost.
    ///
    /// # Errors
    /// One copy is whole, or as [`change`](Self::change).
    pub fn renew(&mut self, variables: &[(&str, &str)]) -> Result<(), EnvironmentError> {
        let _lock = self.locked()?;
        match self.holding() {
            Err(EnvironmentError::BothBad { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(EnvironmentError::NotLost),
        }
        let mut all = Variables::new();
        apply(&mut all, variables)?;
        for (copy, flags) in [(0, 1), (1, 2)] {
            let bytes = to_bytes(flags, &all, self.size)?;
            self.write(copy, &bytes)?;
        }
        Ok(())
    }

    /// Which copy holds, and what it says.
    ///
    /// Synced first: whoever wrote it may have been killed before its sync. What is decided on what is read here would
    /// outlive it in a power cut; and while the other copy is being written this one has to be on the medium.
    fn holding(&mut self) -> Result<(usize, Copy), EnvironmentError> {
        let mut copies = [None, None];
        for (place, copy) in self.places.iter_mut().zip(&mut copies) {
            let mut bytes = vec![0; self.size];
            place.device.sync().map_err(failed("cannot sync", &place.path))?;
            place.device.read_at(place.at, &mut bytes).map_err(failed("cannot read", &place.path))?;
            *copy = from_bytes(&bytes);
        }
        match copies {
            [Some(first), Some(second)] if is_newer(second.flags, first.flags) => Ok((1, second)),
            [Some(first), _] => Ok((0, first)),
            [None, Some(second)] => Ok((1, second)),
            [None, None] => Err(EnvironmentError::BothBad {
                places: self.places.each_ref().map(|place| place.path.clone()),
            }),
        }
    }

    fn write(&mut self, copy: usize, bytes: &[u8]) -> Result<(), EnvironmentError> {
        let place = &mut self.places[copy & 1];
        place.device.write_at(place.at, bytes).map_err(failed("cannot write", &place.path))?;
        place.device.sync().map_err(failed("cannot sync", &place.path))
    }

    fn locked(&self) -> Result<Option<File>, EnvironmentError> {
        let Some(lock) = &self.lock else { return Ok(None) };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(lock);
        let file = file.map_err(failed("cannot open", lock))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(std::fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(100)),
                Err(std::fs::TryLockError::Error(source)) => return Err(failed("cannot lock", lock)(source)),
            }
        }
        Err(EnvironmentError::Busy { lock: lock.clone() })
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EnvironmentError {
    let path = path.to_owned();
    move |source| EnvironmentError::Device { doing, path, source }
}

fn apply(variables: &mut Variables, changes: &[(&str, &str)]) -> Result<(), EnvironmentError> {
    for (name, value) in changes {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(EnvironmentError::Unwritable { name: (*name).to_owned() });
        }
        match value.is_empty() {
            true => variables.remove(name.as_bytes()),
            false => variables.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec()),
        };
    }
    Ok(())
}

/// What one whole copy says.
#[derive(Debug, PartialEq, Eq)]
struct Copy {
    flags: u8,
    variables: Variables,
}

/// Whether flags `a` were given after flags `b`; the same rule as U-Boot's.
fn is_newer(a: u8, b: u8) -> bool {
    match (a, b) {
        (0, 255) => true,
        (255, 0) => false,
        _ => a > b,
    }
}

/// Reads a copy; `None` if it is damaged.
fn from_bytes(bytes: &[u8]) -> Option<Copy> {
    let (head, data) = bytes.split_at_checked(HEAD)?;
    let (sum, flags) = head.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32(data) {
        return None;
    }
    let mut variables = Variables::new();
    for entry in data.split(|byte| *byte == 0).take_while(|entry| !entry.is_empty()) {
        // Without a `=` it is a word to U-Boot to forget the variable. Of two with one name the later counts.
        match entry.iter().position(|byte| *byte == b'=') {
            Some(at) => variables.insert(entry[..at].to_vec(), entry[at + 1..].to_vec()),
            None => variables.remove(entry),
        };
    }
    Some(Copy { flags: *flags.first()?, variables })
}

fn to_bytes(flags: u8, variables: &Variables, size: usize) -> Result<Vec<u8>, EnvironmentError> {
    let mut data = Vec::with_capacity(size);
    for (name, value) in variables {
        for part in [name, b"=", &value[..], b"\0"] as [&[u8]; 4] {
            data.extend_from_slice(part);
        }
    }
    if variables.is_empty() {
        data.push(0);
    }
    data.push(0);
    let room = size.saturating_sub(HEAD);
    if data.len() > room {
        return Err(EnvironmentError::TooLarge { bytes: data.len(), room });
    }
    data.resize(room, 0xff);
    let mut bytes = crc32(&data).to_le_bytes().to_vec();
    bytes.push(flags);
    bytes.extend_from_slice(&data);
    Ok(bytes)
}

/// The CRC32 of IEEE 802.3, reflected: zlib's and U-Boot's.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cut, Power};

    const SIZE: usize = 0x100;

    fn environment(power: &Power) -> Environment<crate::testing::Raw> {
        let device = power.device("flash", 4 * SIZE);
        let place = |at| Place { device: device.clone(), path: "flash".into(), at };
        Environment::new([place(16), place(2 * SIZE as u64 + 16)], SIZE, None).unwrap()
    }

    fn value(variables: &Variables, name: &str) -> String {
        String::from_utf8(variables.get(name.as_bytes()).cloned().unwrap_or_default()).unwrap()
    }

    fn with(flags: u8, variables: &[(&str, &str)]) -> Power {
        let power = Power::new();
        let mut environment = environment(&power);
        environment.renew(variables).unwrap();
        for (copy, flags) in [(0, flags.wrapping_sub(1)), (1, flags)] {
            let Copy { variables, .. } = environment.holding().unwrap().1;
            let bytes = to_bytes(flags, &variables, SIZE).unwrap();
            environment.write(copy, &bytes).unwrap();
        }
        power
    }

    #[test]
    fn the_sum_is_the_one_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_counter_goes_round() {
        for flags in [0, 1, 127, 128, 254, 255] {
            let power = with(flags, &[("n", "0")]);
            let mut environment = environment(&power);
            for n in 1..=600 {
                environment.change(&[("n", &n.to_string())]).unwrap();
                assert_eq!(value(&environment.read().unwrap(), "n"), n.to_string(), "began at {flags}");
            }
        }
    }

    #[test]
    fn what_others_put_there_is_kept_byte_for_byte() {
        let power = with(7, &[("n", "0")]);
        let mut environment = environment(&power);
        let strange = Variables::from([
            (b"fdtcontroladdr".to_vec(), b"5e6f".to_vec()),
            (b"\xff name".to_vec(), b"a=b=\xfe".to_vec()),
        ]);
        let bytes = to_bytes(8, &strange, SIZE).unwrap();
        environment.write(0, &bytes).unwrap();
        environment.change(&[("BOOT_ORDER", "A B"), ("gone", "")]).unwrap();
        let mut expected = strange;
        expected.insert(b"BOOT_ORDER".to_vec(), b"A B".to_vec());
        assert_eq!(environment.read().unwrap(), expected);
        environment.change(&[("BOOT_ORDER", "")]).unwrap();
        expected.remove(&b"BOOT_ORDER"[..]);
        assert_eq!(environment.read().unwrap(), expected);
    }

    #[test]
    fn what_can_not_be_written_changes_nothing() {
        let power = with(7, &[("n", "0")]);
        let mut environment = environment(&power);
        let long = "x".repeat(SIZE);
        for bad in [("", "1"), ("a=b", "1"), ("a\0", "1"), ("a", "1\0"), ("a", &*long)] {
            let error = environment.change(&[("n", "1"), bad]).unwrap_err();
            assert!(error.help().is_some());
            assert_eq!(value(&environment.read().unwrap(), "n"), "0", "{error}");
        }
        let room = SIZE - HEAD - "n=0\0m=\0\0".len();
        assert!(matches!(
            environment.change(&[("m", &long[..room + 1])]),
            Err(EnvironmentError::TooLarge { bytes, room }) if bytes == room + 1
        ));
        environment.change(&[("m", &long[..room])]).unwrap();
        assert_eq!(value(&environment.read().unwrap(), "m").len(), room);
    }

    #[test]
    fn what_is_so_already_is_not_written() {
        let power = with(7, &[("n", "0")]);
        let mut environment = environment(&power);
        let before = power.bytes("flash");
        environment.change(&[("n", "0"), ("absent", "")]).unwrap();
        assert_eq!(power.bytes("flash"), before);
    }

    /// One copy rots: the other holds, even where it is the older one, and the next change mends it.
    #[test]
    fn one_bad_copy_loses_no_more_than_the_last_change() {
        for (copy, left) in [(16, "2"), (2 * SIZE + 16, "1")] {
            let power = with(254, &[("n", "0")]);
            let mut environment = environment(&power);
            environment.change(&[("n", "1")]).unwrap();
            environment.change(&[("n", "2")]).unwrap();
            power.damage("flash", copy + 40);
            assert_eq!(value(&environment.read().unwrap(), "n"), left);
            environment.change(&[("n", "3")]).unwrap();
            environment.change(&[("n", "4")]).unwrap();
            assert_eq!(value(&environment.read().unwrap(), "n"), "4");
        }
    }

    #[test]
    fn with_both_copies_bad_it_says_so_and_can_be_written_anew() {
        let power = with(3, &[("n", "0")]);
        let mut environment = environment(&power);
        assert!(matches!(environment.renew(&[]), Err(EnvironmentError::NotLost)));
        power.damage("flash", 16 + 40);
        power.damage("flash", 2 * SIZE + 16 + 40);
        let error = environment.read().unwrap_err();
        assert_eq!(error.to_string(), "both copies of the boot environment are damaged, on flash and flash");
        assert!(error.help().unwrap().contains("mkenvimage -r"));
        assert!(matches!(environment.change(&[("n", "1")]), Err(EnvironmentError::BothBad { .. })));
        environment.renew(&[("n", "5")]).unwrap();
        for copy in [16, 2 * SIZE + 16] {
            let power = power.after(Cut::Kill);
            power.damage("flash", copy + 40);
            let mut environment = tests::environment(&power);
            assert_eq!(value(&environment.read().unwrap(), "n"), "5", "each copy alone says it");
        }
    }

    /// The write of a change is cut at every byte, at every value of the counter, with what lay there before behind it,
    /// or with any of its sectors written and others not.
    #[test]
    fn a_change_that_is_cut_at_any_byte_leaves_the_old_or_the_new() {
        let (mut points, mut new) = (0, 0);
        for flags in 0..=255 {
            let power = with(flags, &[("order", "A B"), ("left", "3")]);
            environment(&power).change(&[("order", "B A"), ("left", "2")]).unwrap();
            let before = power.bytes("flash");
            environment(&power).change(&[("order", "A B"), ("left", "1")]).unwrap();
            let after = power.bytes("flash");
            let at = before.iter().zip(&after).position(|(old, new)| old != new).unwrap() & !0xf;
            for cut in (0..=SIZE).map(Some).chain([None]) {
                for sectors in 0..16_u32 {
                    let torn: Vec<u8> = (0..before.len())
                        .map(|byte| match cut {
                            Some(cut) => {
                                if byte < at + cut {
                                    after[byte]
                                } else {
                                    before[byte]
                                }
                            }
                            // Every choice of 64-byte sectors.
                            None if byte < at => before[byte],
                            None => match sectors >> (((byte - at) / 64) % 16) & 1 {
                                0 => before[byte],
                                _ => after[byte],
                            },
                        })
                        .collect();
                    let power = Power::new();
                    power.device("flash", 4 * SIZE).write_at(0, &torn).unwrap();
                    let variables = environment(&power).read().unwrap();
                    let said = (value(&variables, "order"), value(&variables, "left"));
                    let is_new = said == ("A B".into(), "1".into());
                    assert!(
                        is_new || said == ("B A".into(), "2".into()),
                        "flags {flags}, cut {cut:?}: {said:?}"
                    );
                    points += 1;
                    new += usize::from(is_new);
                    if cut.is_some() {
                        break;
                    }
                }
            }
        }
        println!("environment: {points} cuts, {new} left the new words, 0 a mix");
        assert!(new > 256 && new < points);
    }

    /// Somebody was killed between write and sync. What was read from memory has to reach the medium before the other
    /// copy is touched, or a power cut leaves neither.
    #[test]
    fn a_change_upon_one_that_was_never_synced_never_leaves_two_bad_copies() {
        // Over several sectors, so that a part of it is neither the old nor the new.
        let long = |digit: &str| digit.repeat(200);
        let mut points = 0;
        for (first, half) in (0..4).flat_map(|first| (0..8).map(move |half| (first, half))) {
            let power = with(9, &[("n", &long("0"))]);
            power.lasts(first);
            let _ = environment(&power).change(&[("n", &long("1"))]);
            let cut = if half == 0 { Cut::Kill } else { Cut::KillHalf(half) };
            let killed = power.after(cut);
            for second in 0..8 {
                for seed in 1..=32 {
                    let power = killed.after(Cut::Kill);
                    power.lasts(second);
                    let done = environment(&power).change(&[("n", &long("2"))]).is_ok();
                    let power = power.after(Cut::Torn(seed));
                    let said = value(&environment(&power).read().unwrap(), "n");
                    let may = if done { 2..3 } else { 0..3 };
                    assert!(may.into_iter().any(|n| said == long(&n.to_string())), "{said}");
                    points += 1;
                }
            }
        }
        println!("environment, upon what was never synced: {points} cuts, 0 bad ends");
        assert!(points > 5000);
    }
}
