//! A machine in memory whose process can be killed and whose power can be cut at any operation that changes something.
//!
//! One counter goes through all of it: named files, raw devices. A killed process leaves what was not synced where it is, to
//! be lost by a later power cut; a power cut forgets it, or writes any part of it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    rc::Rc,
};

use backstay_slots::Disk;

use crate::{device::Device, sdboot::Folder};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The process died; the machine goes on.
    Kill,
    /// The process died in the middle of a write.
    KillHalf(u64),
    /// The power went: nothing unsynced is left.
    Strict,
    /// The power went: of what was unsynced, and of the write that was under way, any part is there.
    Torn(u64),
}

impl Cut {
    pub(crate) fn is_restart(self) -> bool {
        matches!(self, Self::Strict | Self::Torn(_))
    }
}

#[derive(Clone, Debug, Default, Hash)]
struct Medium {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, Hash)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug, Hash)]
struct State {
    left: usize,
    refused: bool,
    devices: BTreeMap<String, Medium>,
    /// The write that the end came in: device, place, bytes.
    under_way: Option<(String, usize, Vec<u8>)>,
    files: BTreeMap<usize, Content>,
    seen: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
}

/// The machine. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Power(Rc<RefCell<State>>);

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

impl Power {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(State {
            left: usize::MAX,
            refused: false,
            devices: BTreeMap::new(),
            under_way: None,
            files: BTreeMap::new(),
            seen: BTreeMap::new(),
            durable: BTreeMap::new(),
        })))
    }

    /// Lets `left` more operations be done.
    pub(crate) fn lasts(&self, left: usize) {
        self.0.borrow_mut().left = left;
    }

    /// Names the state of all media: two machines of one mark go on alike.
    pub(crate) fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.borrow().hash(&mut hasher);
        hasher.finish()
    }

    /// Whether an operation found the power gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.borrow().refused
    }

    fn spend(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        match state.left.checked_sub(1) {
            Some(left) => state.left = left,
            None => {
                state.refused = true;
                return Err(gone());
            }
        }
        Ok(())
    }

    /// A device of `size` bytes, made full of 0xa5 where there is none of that name.
    pub(crate) fn device(&self, name: &str, size: usize) -> Raw {
        let fresh = || Medium { seen: vec![0xa5; size], durable: vec![0xa5; size], pending: Vec::new() };
        self.0.borrow_mut().devices.entry(name.to_owned()).or_insert_with(fresh);
        Raw { power: self.clone(), name: name.to_owned() }
    }

    /// What programs see on a device.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.borrow().devices[name].seen.clone()
    }

    pub(crate) fn damage(&self, name: &str, at: usize) {
        let mut state = self.0.borrow_mut();
        let Some(medium) = state.devices.get_mut(name) else { panic!("no device {name}") };
        medium.seen[at] ^= 0x10;
        medium.durable[at] ^= 0x10;
    }

    /// The machine afterwards.
    pub(crate) fn after(&self, cut: Cut) -> Self {
        let mut state = self.0.borrow().clone();
        state.left = usize::MAX;
        state.refused = false;
        let under_way = state.under_way.take();
        let mut dice = match cut {
            Cut::Torn(seed) | Cut::KillHalf(seed) => Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            Cut::Kill | Cut::Strict => Dice(1),
        };
        dice.throw();
        if let (Some((name, at, bytes)), Cut::KillHalf(_) | Cut::Torn(_)) = (under_way, cut) {
            let medium = state.devices.get_mut(&name).unwrap();
            let part = bytes[..dice.throw() as usize % (bytes.len() + 1)].to_vec();
            put(&mut medium.seen, at, &part);
            medium.pending.push((at, part));
        }
        if cut.is_restart() {
            for medium in state.devices.values_mut() {
                for (at, bytes) in std::mem::take(&mut medium.pending) {
                    let Cut::Torn(_) = cut else { continue };
                    // All, none, a beginning, or any of its 64-byte sectors.
                    match dice.throw() % 4 {
                        0 => put(&mut medium.durable, at, &bytes),
                        1 => {}
                        2 => {
                            let end = dice.throw() as usize % (bytes.len() + 1);
                            put(&mut medium.durable, at, &bytes[..end]);
                        }
                        _ => {
                            for (sector, part) in bytes.chunks(64).enumerate() {
                                if dice.throw() % 2 == 0 {
                                    put(&mut medium.durable, at + 64 * sector, part);
                                }
                            }
                        }
                    }
                }
                medium.seen.clone_from(&medium.durable);
            }
            let names: Vec<_> = state.seen.keys().chain(state.durable.keys()).cloned().collect();
            for name in names {
                if let (Cut::Torn(_), 0) = (cut, dice.throw() % 2) {
                    match state.seen.get(&name) {
                        Some(file) => state.durable.insert(name, *file),
                        None => state.durable.remove(&name),
                    };
                }
            }
            state.seen.clone_from(&state.durable);
            for content in state.files.values_mut() {
                if let (Cut::Torn(_), true) = (cut, content.seen != content.durable) {
                    let end = dice.throw() as usize % (content.seen.len() + 1);
                    content.durable = content.seen[..end].to_vec();
                }
                content.seen.clone_from(&content.durable);
            }
        }
        Self(Rc::new(RefCell::new(state)))
    }
}

/// A raw device of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    power: Power,
    name: String,
}

impl Device for Raw {
    fn size(&mut self) -> io::Result<u64> {
        Ok(self.power.0.borrow().devices[&self.name].seen.len() as u64)
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.power.0.borrow();
        let seen = &state.devices[&self.name].seen;
        into.copy_from_slice(
            seen.get(at as usize..at as usize + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?,
        );
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let spent = self.power.spend();
        let mut state = self.power.0.borrow_mut();
        if let Err(error) = spent {
            state.under_way.get_or_insert_with(|| (self.name.clone(), at as usize, bytes.to_vec()));
            return Err(error);
        }
        let medium = state.devices.get_mut(&self.name).unwrap();
        put(&mut medium.seen, at as usize, bytes);
        medium.pending.push((at as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let clean = self.power.0.borrow().devices[&self.name].pending.is_empty();
        if !clean {
            self.power.spend()?;
        }
        let mut state = self.power.0.borrow_mut();
        let medium = state.devices.get_mut(&self.name).unwrap();
        medium.pending.clear();
        medium.durable.clone_from(&medium.seen);
        Ok(())
    }
}

/// An open file of the machine.
pub(crate) struct Open {
    power: Power,
    file: usize,
    at: usize,
}

impl Read for Open {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let state = self.power.0.borrow();
        let read = state.files[&self.file].seen.get(self.at..).unwrap_or_default().read(into)?;
        self.at += read;
        Ok(read)
    }
}

impl Seek for Open {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.at = at as usize;
        Ok(at)
    }
}

impl Disk for Power {
    type File = Open;
    type Lock = ();

    fn lock(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn make_dir(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&mut self, path: &Path) -> io::Result<Open> {
        self.spend()?;
        let mut state = self.0.borrow_mut();
        let file = state.files.len();
        state.files.insert(file, Content::default());
        state.seen.insert(path.to_owned(), file);
        Ok(Open { power: self.clone(), file, at: 0 })
    }

    fn write(&mut self, file: &mut Open, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.borrow_mut();
        state.files.get_mut(&file.file).unwrap().seen.extend_from_slice(bytes);
        Ok(())
    }

    fn make_executable(&mut self, _: &mut Open) -> io::Result<()> {
        self.spend()
    }

    fn sync(&mut self, file: &mut Open) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.borrow_mut();
        let content = state.files.get_mut(&file.file).unwrap();
        content.durable.clone_from(&content.seen);
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let mine = |(path, _): &(&PathBuf, &usize)| path.parent() == Some(dir);
        let clean = {
            let state = self.0.borrow();
            state.seen.iter().filter(mine).eq(state.durable.iter().filter(mine))
        };
        if clean {
            return Ok(());
        }
        self.spend()?;
        let mut state = self.0.borrow_mut();
        let State { seen, durable, .. } = &mut *state;
        durable.retain(|path, _| path.parent() != Some(dir));
        durable.extend(seen.iter().filter(mine).map(|(path, file)| (path.clone(), *file)));
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Open> {
        let file = *self.0.borrow().seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Open { power: self.clone(), file, at: 0 })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.borrow_mut();
        let file = state.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.0.borrow_mut().seen.remove(path);
        Ok(())
    }

    fn link(&mut self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_link(&self, _: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Folder for Power {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.borrow();
        let mine = state.seen.keys().filter(|path| path.parent() == Some(dir));
        Ok(mine.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }
}
