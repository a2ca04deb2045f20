//! A disk in memory. It counts what is done to it, loses power at any point, and fails as real ones do.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::random::Random;
use crate::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// The disk. Clones are the same disk; [`Memory::survivor`] is another one.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

/// What is on the disk after the power was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Everything that was written up to the cut.
    All,
    /// Only what was synced.
    Synced,
    /// Everything before the write in which the power went, and its first bytes.
    Torn(usize),
    /// Of what was not synced some sectors, and some of the latest names, by this seed.
    Some(u64),
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    /// The write in which the power went.
    cut_write: Option<(usize, usize, Vec<u8>)>,
    operations: u64,
    cut_after: Option<u64>,
    bytes_max: Option<usize>,
    refuse_writes: Option<io::ErrorKind>,
    fail_sync_at: Option<u64>,
    syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if into.len() < offset + bytes.len() {
        into.resize(offset + bytes.len(), 0);
    }
    into[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn change(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Unlink(name) => {
            names.remove(name);
        }
    }
}

impl State {
    /// Counts one change. Says no once the power is gone.
    fn operate(&mut self) -> io::Result<()> {
        if self.cut_after.is_some_and(|last| self.operations >= last) {
            return Err(io::Error::other("the power was cut"));
        }
        self.operations += 1;
        Ok(())
    }

    fn may_write(&mut self) -> io::Result<()> {
        match self.refuse_writes {
            Some(kind) => Err(kind.into()),
            None => self.operate(),
        }
    }

    fn sync_due(&mut self) -> io::Result<()> {
        self.operate()?;
        self.syncs += 1;
        if self.fail_sync_at == Some(self.syncs) {
            Err(io::Error::other("input/output error"))
        } else {
            Ok(())
        }
    }

    fn rename_as(&mut self, next: NameChange) {
        change(&mut self.names, &next);
        self.unsynced_names.push(next);
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many writes, syncs and changes of names there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many syncs there were, of files and of the folder.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Cuts the power after so many operations, counted from the first: everything later fails.
    pub fn cut_after(&self, operations: u64) {
        self.state().cut_after = Some(operations);
    }

    /// Files may take so many bytes together; none for no bound.
    pub fn bound(&self, bytes_max: Option<usize>) {
        self.state().bytes_max = bytes_max;
    }

    /// How many bytes the files take together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.state();
        state.names.values().map(|inode| state.inodes[*inode].now.len()).sum()
    }

    /// Refuses every change from now on with this kind of error, or none any more.
    pub fn refuse_writes(&self, kind: Option<io::ErrorKind>) {
        self.state().refuse_writes = kind;
    }

    /// Fails the sync after `more` further ones. As real systems do, it forgets what it could not write: the bytes
    /// are still read back, and a second sync reports success without them.
    pub fn fail_sync_after(&self, more: u64) {
        let mut state = self.state();
        state.fail_sync_at = Some(state.syncs + more + 1);
    }

    /// The names and contents that there are.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].now.clone())).collect()
    }

    /// Puts these files, durably, in place of all that there are.
    pub fn put_back(&self, contents: &BTreeMap<String, Vec<u8>>) {
        let Self(back) = Self::holding(contents);
        let back = std::mem::take(&mut *back.lock().unwrap());
        let mut state = self.state();
        // Files that are open keep their inodes, which nobody finds any more.
        let base = state.inodes.len();
        state.inodes.extend(back.inodes);
        state.names = back.names.into_iter().map(|(name, inode)| (name, inode + base)).collect();
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
    }

    /// A disk that holds these files, durably.
    #[must_use]
    pub fn holding(contents: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut state = State::default();
        for (name, bytes) in contents {
            state.names.insert(name.clone(), state.inodes.len());
            state.inodes.push(Inode { now: bytes.clone(), synced: bytes.clone(), unsynced: Vec::new() });
        }
        state.synced_names = state.names.clone();
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk as the next start finds it.
    #[must_use]
    pub fn survivor(&self, survival: Survival) -> Self {
        let state = self.state();
        let mut contents: Vec<Vec<u8>>;
        let mut names = state.names.clone();
        match survival {
            Survival::All | Survival::Torn(_) => {
                contents = state.inodes.iter().map(|inode| inode.now.clone()).collect();
                if let (Survival::Torn(bytes), Some((inode, offset, write))) = (survival, &state.cut_write) {
                    put(&mut contents[*inode], *offset, &write[..bytes.min(write.len())]);
                }
            }
            Survival::Synced => {
                contents = state.inodes.iter().map(|inode| inode.synced.clone()).collect();
                names = state.synced_names.clone();
            }
            Survival::Some(seed) => {
                let mut random = Random::new(seed);
                contents = state.inodes.iter().map(|inode| inode.synced.clone()).collect();
                let unsynced = state.inodes.iter().enumerate().flat_map(|(inode, about)| {
                    about.unsynced.iter().map(move |(offset, bytes)| (inode, *offset, bytes.as_slice()))
                });
                let cut =
                    state.cut_write.iter().map(|(inode, offset, bytes)| (*inode, *offset, bytes.as_slice()));
                for (inode, offset, bytes) in unsynced.chain(cut) {
                    let mut at = 0;
                    while at < bytes.len() {
                        let next = ((offset + at) / SECTOR + 1) * SECTOR - offset;
                        if random.below(2) == 0 {
                            put(&mut contents[inode], offset + at, &bytes[at..next.min(bytes.len())]);
                        }
                        at = next;
                    }
                }
                names = state.synced_names.clone();
                let kept = random.below(state.unsynced_names.len() + 1);
                state.unsynced_names[..kept].iter().for_each(|next| change(&mut names, next));
            }
        }
        let kept = names.into_iter().map(|(name, inode)| (name, contents[inode].clone())).collect();
        Self::holding(&kept)
    }
}

impl Disk for Memory {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let inode = self.state().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(MemoryFile { disk: self.clone(), inode })
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut state = self.state();
        state.may_write()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.rename_as(NameChange::Link(name.to_owned(), inode));
        Ok(MemoryFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.may_write()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_as(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.may_write()?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.rename_as(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.sync_due()?;
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

/// A file of a [`Memory`].
#[derive(Debug)]
pub struct MemoryFile {
    disk: Memory,
    inode: usize,
}

impl DiskFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].now.len() as u64)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let offset = offset as usize;
        let bytes = state.inodes[self.inode].now.get(offset..offset + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let offset = offset as usize;
        if let Err(error) = state.may_write() {
            if state.cut_after.is_some() && state.cut_write.is_none() {
                state.cut_write = Some((self.inode, offset, bytes.to_vec()));
            }
            return Err(error);
        }
        let taken: usize = state.names.values().map(|inode| state.inodes[*inode].now.len()).sum();
        let grows = (offset + bytes.len()).saturating_sub(state.inodes[self.inode].now.len());
        if state.bytes_max.is_some_and(|most| grows > 0 && taken + grows > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.now, offset, bytes);
        inode.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let due = state.sync_due();
        if state.cut_after.is_some() && due.is_err() && state.fail_sync_at != Some(state.syncs) {
            return due;
        }
        let inode = &mut state.inodes[self.inode];
        for (offset, bytes) in std::mem::take(&mut inode.unsynced) {
            if due.is_ok() {
                put(&mut inode.synced, offset, &bytes);
            }
        }
        due
    }
}
