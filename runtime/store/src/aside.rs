//! The directory of a view: who may use it, where sled's files are, and where damaged ones go.
//!
//! Not here: when something is set aside (`view`).
//!
//!   DIR/lock          held as long as the view is open
//!   DIR/opening       how often in a row opening began and did not end
//!   DIR/sled/         sled's own files
//!   DIR/aside-0001/   what was set aside, numbered upwards

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::{damage::Damage, disk};

/// How often opening may begin without an end before what is there is set aside unopened. A power cut ends one
/// try, so one is not enough to blame the files.
const TRIES_MAX: u8 = 2;

/// A damaged view that was renamed, and why.
#[derive(Debug)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub why: Damage,
}

/// Why the directory is not ours to use.
#[derive(Debug)]
pub(crate) enum Denied {
    InUse,
    Disk(io::Error),
}

/// The directory, locked against another process (and another view in this one).
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    pub(crate) fn enter(dir: &Path) -> Result<Self, Denied> {
        fs::create_dir_all(dir).map_err(Denied::Disk)?;
        let mut options = OpenOptions::new();
        let lock = options.read(true).write(true).create(true).truncate(false).open(dir.join("lock"));
        let lock = lock.map_err(Denied::Disk)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Denied::InUse),
            Err(TryLockError::Error(error)) => Err(Denied::Disk(error)),
        }
    }

    pub(crate) fn sled(&self) -> PathBuf {
        self.dir.join("sled")
    }

    fn opening(&self) -> PathBuf {
        self.dir.join("opening")
    }

    /// Notes that opening begins. It guards against what can't be caught: a process that ends in the middle of
    /// it, by a panic in a panic, for lack of memory, or by a watchdog. So it needs no fsync.
    pub(crate) fn begin(&self) -> io::Result<Result<(), Damage>> {
        let tries = match fs::read(self.opening()) {
            Ok(bytes) => bytes.first().copied().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if tries >= TRIES_MAX {
            return Ok(Err(Damage::Died { tries }));
        }
        fs::write(self.opening(), [tries.saturating_add(1)])?;
        Ok(Ok(()))
    }

    /// Notes that opening came to an end, good or bad.
    pub(crate) fn end(&self) -> io::Result<()> {
        match fs::remove_file(self.opening()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Renames sled's directory, then removes the oldest copies beyond `aside_max`.
    pub(crate) fn set_aside(&self, aside_max: u8) -> io::Result<PathBuf> {
        let mut copies = self.copies()?;
        let number = copies.iter().map(|(number, _)| number.saturating_add(1)).max().unwrap_or(1);
        let path = self.dir.join(format!("aside-{number:04}"));
        fs::rename(self.sled(), &path)?;
        disk::sync(&self.dir)?;
        copies.push((number, path.clone()));
        // At least the copy that was just made stays: it is the one that somebody is about to be told of.
        while copies.len() > usize::from(aside_max.max(1))
            && let Some(at) = (0..copies.len()).min_by_key(|at| copies.get(*at))
        {
            let (_, oldest) = copies.swap_remove(at);
            // One that can't be removed is tried again the next time.
            drop(fs::remove_dir_all(oldest));
        }
        Ok(path)
    }

    /// The copies there are, the larger number being the newer.
    fn copies(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let mut copies = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let number =
                entry.file_name().to_str().and_then(|name| name.strip_prefix("aside-")?.parse().ok());
            copies.extend(number.map(|number: u32| (number, entry.path())));
        }
        Ok(copies)
    }
}
