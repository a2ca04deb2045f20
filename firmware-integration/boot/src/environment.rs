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

mod copy;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use self::copy::{Copy, from_bytes, is_newer, to_bytes};
use crate::device::Device;

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
