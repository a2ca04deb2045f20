//! A disk in memory that forgets what was not synced when its power is cut.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::io::Errno;

use crate::disk::Disk;

type Bytes = Rc<RefCell<Content>>;

/// What a file holds: as programs see it, and as it is after the power was cut.
#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Node {
    File(Bytes),
    Link(PathBuf),
}

type Entries = BTreeMap<PathBuf, Node>;

/// How much of what was not synced survives a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// All of it: only the process died.
    Kill,
    /// None of it.
    Strict,
    /// Names do, bytes don't: what a journaling file system does with careless writers.
    NamesOnly,
    /// Each name and each file by a throw of dice; of an unsynced file, perhaps a part.
    Torn(u64),
}

#[derive(Debug)]
struct State {
    seen: Entries,
    durable: Entries,
    /// Operations that may still be done; then the power is gone.
    left: usize,
    done: usize,
    /// Files that can still be opened; then no descriptor is left.
    openings: usize,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Rc<RefCell<State>>);

pub(crate) struct Open {
    bytes: Bytes,
    at: u64,
}

impl Read for Open {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let content = self.bytes.borrow();
        let mut cursor = Cursor::new(&content.seen);
        cursor.set_position(self.at);
        let read = cursor.read(into)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Open {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.at = at;
        Ok(at)
    }
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self::with(Entries::new())
    }

    fn with(entries: Entries) -> Self {
        let (seen, durable) = (entries.clone(), entries);
        Self(Rc::new(RefCell::new(State { seen, durable, left: usize::MAX, done: 0, openings: usize::MAX })))
    }

    /// Cuts the power after `left` more changing operations.
    pub(crate) fn lasts(&self, left: usize) {
        self.0.borrow_mut().left = left;
    }

    /// From now on so many more files can be opened.
    pub(crate) fn opens(&self, openings: usize) {
        self.0.borrow_mut().openings = openings;
    }

    /// Changing operations so far.
    pub(crate) fn done(&self) -> usize {
        self.0.borrow().done
    }

    /// The disk as it is when power is back.
    pub(crate) fn after(&self, cut: Cut) -> Self {
        let state = self.0.borrow();
        let mut dice = match cut {
            Cut::Torn(seed) => seed | 1,
            Cut::Kill | Cut::Strict | Cut::NamesOnly => 1,
        };
        let mut throw = || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice
        };
        let mut entries = Entries::new();
        let names: Vec<_> = state.seen.keys().chain(state.durable.keys()).collect();
        for name in names {
            let seen = match cut {
                Cut::Kill | Cut::NamesOnly => true,
                Cut::Strict => false,
                Cut::Torn(_) => throw() % 2 == 0,
            };
            match if seen { state.seen.get(name) } else { state.durable.get(name) } {
                Some(node) => entries.insert(name.clone(), node.clone()),
                None => entries.remove(name),
            };
        }
        for node in entries.values_mut() {
            let Node::File(bytes) = node else { continue };
            let content = bytes.borrow();
            let kept = match cut {
                Cut::Kill => content.seen.clone(),
                Cut::Strict | Cut::NamesOnly => content.durable.clone(),
                Cut::Torn(_) if content.seen == content.durable => content.durable.clone(),
                Cut::Torn(_) => content.seen[..throw() as usize % (content.seen.len() + 1)].to_vec(),
            };
            let fresh = Content { seen: kept.clone(), durable: kept };
            drop(content);
            *node = Node::File(Rc::new(RefCell::new(fresh)));
        }
        Self::with(entries)
    }

    /// Flips bits of a file, as worn-out flash does.
    pub(crate) fn damage(&self, path: &str) {
        let state = self.0.borrow();
        let Some(Node::File(bytes)) = state.seen.get(Path::new(path)) else { panic!("no file {path}") };
        let mut content = bytes.borrow_mut();
        content.seen.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x10);
        content.durable = content.seen.clone();
    }

    /// Takes a name away, as nobody should.
    pub(crate) fn loses(&self, path: &str) {
        let mut state = self.0.borrow_mut();
        state.seen.remove(Path::new(path));
        state.durable.remove(Path::new(path));
    }

    fn spend(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.left = state.left.checked_sub(1).ok_or_else(|| io::Error::other("the power is gone"))?;
        state.done += 1;
        Ok(())
    }
}

impl Disk for Memory {
    type File = Open;
    type Lock = ();

    fn lock(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn make_dir(&mut self, _: &Path) -> io::Result<()> {
        self.spend()
    }

    fn create(&mut self, path: &Path) -> io::Result<Open> {
        self.spend()?;
        let bytes = Bytes::default();
        self.0.borrow_mut().seen.insert(path.to_owned(), Node::File(Rc::clone(&bytes)));
        Ok(Open { bytes, at: 0 })
    }

    fn write(&mut self, file: &mut Open, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        file.bytes.borrow_mut().seen.extend_from_slice(bytes);
        Ok(())
    }

    fn make_executable(&mut self, _: &mut Open) -> io::Result<()> {
        self.spend()
    }

    fn sync(&mut self, file: &mut Open) -> io::Result<()> {
        self.spend()?;
        let mut content = file.bytes.borrow_mut();
        content.durable = content.seen.clone();
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.borrow_mut();
        let State { seen, durable, .. } = &mut *state;
        durable.retain(|path, _| path.parent() != Some(dir));
        let entries = seen.iter().filter(|(path, _)| path.parent() == Some(dir));
        durable.extend(entries.map(|(path, node)| (path.clone(), node.clone())));
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Open> {
        let mut state = self.0.borrow_mut();
        let too_many = || io::Error::from(Errno::MFILE);
        state.openings = state.openings.checked_sub(1).ok_or_else(too_many)?;
        match state.seen.get(path) {
            Some(Node::File(bytes)) => Ok(Open { bytes: Rc::clone(bytes), at: 0 }),
            Some(Node::Link(_)) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        let mut state = self.0.borrow_mut();
        let node = state.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.seen.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.0.borrow_mut().seen.remove(path);
        Ok(())
    }

    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.0.borrow_mut().seen.insert(path.to_owned(), Node::Link(target.to_owned()));
        Ok(())
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match self.0.borrow().seen.get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            Some(Node::File(_)) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}
