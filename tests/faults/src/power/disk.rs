//! A folder as a disk has it: what programs see, what was synced, and what of both is left when the power goes.
//!
//! The model is the strictest that a file system may be by POSIX: bytes are durable once their file was synced, a name
//! once the folder that it stands in was, and nothing else is. Not here: how a program came to change it (`recorded`).

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use backstay_journal::testing::Random;
use sha2::{Digest as _, Sha256};

const SECTOR: usize = 512;

/// The folder itself.
pub const ROOT: usize = 0;

/// One call that changed something, or made something durable. Files and folders go by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// A new file, folder or link under a name.
    Makes { folder: usize, name: String, what: Kind },
    /// Bytes at an offset.
    Writes { file: usize, at: usize, bytes: Vec<u8> },
    /// Another length.
    Cuts { file: usize, bytes: usize },
    /// One more name.
    Links { file: usize, folder: usize, name: String },
    /// Another name, in the place of whatever had it.
    Renames { from: (usize, String), to: (usize, String) },
    /// A name is gone.
    Removes { folder: usize, name: String },
    /// A file's bytes, or a folder's names, are durable.
    Syncs { what: usize },
    /// The program said this to somebody outside.
    Says(String),
}

/// What something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link(String),
}

/// What is left of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// All of it: only the process died.
    Kill,
    /// None of it.
    Strict,
    /// Names are, bytes aren't: what a journaling file system does with careless writers.
    NamesOnly,
    /// All of it, but of the last write only the first bytes.
    Torn(usize),
    /// All of it but in the journal's folder, where none of it is: what was done is done, and what says so may be gone.
    JournalBehind,
    /// Some sectors and some of the latest names, by this seed.
    Some(u64),
}

impl Cut {
    /// What it means for what is at `path`.
    fn at(self, path: &Path) -> Self {
        match (self, path.starts_with("journal")) {
            (Self::JournalBehind, true) => Self::Strict,
            (Self::JournalBehind, false) => Self::Kill,
            (Self::Kill | Self::Strict | Self::NamesOnly | Self::Torn(_) | Self::Some(_), _) => self,
        }
    }
}

#[derive(Clone, Debug)]
enum Node {
    File(Bytes),
    Folder(Names),
    Link(String),
}

#[derive(Clone, Debug, Default)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
struct Names {
    now: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    /// Each in one go: a renaming changes two.
    unsynced: Vec<Vec<(String, Option<usize>)>>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: Vec<Node>,
    /// The last call, if it was a write: to which file, where, and what the file held before it.
    last: Option<(usize, usize, Vec<u8>)>,
}

/// What is found after a cut: paths below the folder.
pub type Left = BTreeMap<PathBuf, Found>;

/// One thing that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File(Vec<u8>),
    Folder,
    Link(String),
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

fn place(names: &mut BTreeMap<String, usize>, name: &str, what: Option<usize>) {
    match what {
        Some(what) => names.insert(name.to_owned(), what),
        None => names.remove(name),
    };
}

impl Names {
    fn set(&mut self, all: Vec<(String, Option<usize>)>) {
        all.iter().for_each(|(name, what)| place(&mut self.now, name, *what));
        self.unsynced.push(all);
    }
}

impl Disk {
    /// Holds what is in `dir` now, all of it durable.
    ///
    /// # Errors
    /// As the system says.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let mut disk = Self { nodes: vec![Node::Folder(Names::default())], last: None };
        disk.takes(ROOT, dir)?;
        Ok(disk)
    }

    fn takes(&mut self, folder: usize, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (name, kind) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type()?);
            let node = if kind.is_dir() {
                Node::Folder(Names::default())
            } else if kind.is_symlink() {
                Node::Link(fs::read_link(entry.path())?.to_string_lossy().into_owned())
            } else {
                let now = fs::read(entry.path())?;
                Node::File(Bytes { synced: now.clone(), now, unsynced: Vec::new() })
            };
            let number = self.nodes.len();
            self.nodes.push(node);
            let names = self.folder_mut(folder);
            names.now.insert(name.clone(), number);
            names.synced.insert(name, number);
            if kind.is_dir() {
                self.takes(number, &entry.path())?;
            }
        }
        Ok(())
    }

    fn folder_mut(&mut self, number: usize) -> &mut Names {
        match &mut self.nodes[number] {
            Node::Folder(names) => names,
            Node::File(_) | Node::Link(_) => panic!("{number} is no folder"),
        }
    }

    fn file_mut(&mut self, number: usize) -> &mut Bytes {
        match &mut self.nodes[number] {
            Node::File(bytes) => bytes,
            Node::Folder(_) | Node::Link(_) => panic!("{number} is no file"),
        }
    }

    /// The number that the next new thing gets.
    #[must_use]
    pub fn next(&self) -> usize {
        self.nodes.len()
    }

    /// How long a file is.
    #[must_use]
    pub fn length(&self, file: usize) -> usize {
        self.bytes(file).len()
    }

    /// What is in a file.
    #[must_use]
    pub fn bytes(&self, file: usize) -> &[u8] {
        match &self.nodes[file] {
            Node::File(bytes) => &bytes.now,
            Node::Folder(_) | Node::Link(_) => &[],
        }
    }

    /// What has a name in a folder.
    #[must_use]
    pub fn named(&self, folder: usize, name: &str) -> Option<usize> {
        match &self.nodes[folder] {
            Node::Folder(names) => names.now.get(name).copied(),
            Node::File(_) | Node::Link(_) => None,
        }
    }

    /// Where a link leads, if it is one.
    #[must_use]
    pub fn leads_to(&self, number: usize) -> Option<&str> {
        if let Node::Link(target) = &self.nodes[number] { Some(target) } else { None }
    }

    /// Does what was done.
    pub fn does(&mut self, did: &Did) {
        self.last = None;
        match did {
            Did::Makes { folder, name, what } => {
                let number = self.nodes.len();
                self.nodes.push(match what {
                    Kind::File => Node::File(Bytes::default()),
                    Kind::Folder => Node::Folder(Names::default()),
                    Kind::Link(target) => Node::Link(target.clone()),
                });
                self.folder_mut(*folder).set(vec![(name.clone(), Some(number))]);
            }
            Did::Writes { file, at, bytes } => {
                let content = self.file_mut(*file);
                let before = content.now.clone();
                put(&mut content.now, *at, bytes);
                content.unsynced.push(Change::Put(*at, bytes.clone()));
                self.last = Some((*file, *at, before));
            }
            Did::Cuts { file, bytes } => {
                let content = self.file_mut(*file);
                content.now.resize(*bytes, 0);
                content.unsynced.push(Change::Length(*bytes));
            }
            Did::Links { file, folder, name } => {
                self.folder_mut(*folder).set(vec![(name.clone(), Some(*file))]);
            }
            Did::Renames { from: (from, old), to: (to, new) } => {
                let what = self.named(*from, old);
                let (taken, given) = ((new.clone(), what), (old.clone(), None));
                if from == to {
                    self.folder_mut(*to).set(vec![taken, given]);
                } else {
                    self.folder_mut(*to).set(vec![taken]);
                    self.folder_mut(*from).set(vec![given]);
                }
            }
            Did::Removes { folder, name } => {
                self.folder_mut(*folder).set(vec![(name.clone(), None)]);
            }
            Did::Syncs { what } => match &mut self.nodes[*what] {
                Node::File(bytes) => {
                    if !bytes.unsynced.is_empty() {
                        bytes.synced.clone_from(&bytes.now);
                        bytes.unsynced.clear();
                    }
                }
                Node::Folder(names) => {
                    names.synced.clone_from(&names.now);
                    names.unsynced.clear();
                }
                Node::Link(_) => {}
            },
            Did::Says(_) => {}
        }
    }

    /// What was written last, if the last call was a write.
    #[must_use]
    pub fn last_write(&self) -> Option<&[u8]> {
        let (file, _, _) = self.last.as_ref()?;
        match &self.nodes[*file] {
            Node::File(Bytes { unsynced, .. }) => match unsynced.last()? {
                Change::Put(_, bytes) => Some(bytes),
                Change::Length(_) => None,
            },
            Node::Folder(_) | Node::Link(_) => None,
        }
    }

    /// What the next start finds.
    #[must_use]
    pub fn left(&self, cut: Cut) -> Left {
        let mut left = Left::new();
        let mut random = Random::new(if let Cut::Some(seed) = cut { seed } else { 0 });
        self.leave(ROOT, Path::new(""), cut, &mut random, &mut left);
        left
    }

    fn leave(&self, folder: usize, path: &Path, cut: Cut, random: &mut Random, left: &mut Left) {
        let Node::Folder(names) = &self.nodes[folder] else { return };
        let there = match cut.at(path) {
            Cut::Kill | Cut::NamesOnly | Cut::Torn(_) | Cut::JournalBehind => names.now.clone(),
            Cut::Strict => names.synced.clone(),
            Cut::Some(_) => {
                let mut there = names.synced.clone();
                // A file system that keeps a log of names keeps their order.
                let most = random.below(names.unsynced.len() + 1);
                for (name, what) in names.unsynced[..most].iter().flatten() {
                    place(&mut there, name, *what);
                }
                there
            }
        };
        for (name, number) in there {
            let path = path.join(&name);
            let found = match &self.nodes[number] {
                Node::Link(target) => Found::Link(target.clone()),
                Node::Folder(_) => Found::Folder,
                Node::File(bytes) => Found::File(self.bytes_left(number, bytes, cut.at(&path), random)),
            };
            let is_folder = found == Found::Folder;
            left.insert(path.clone(), found);
            if is_folder {
                self.leave(number, &path, cut, random, left);
            }
        }
    }

    fn bytes_left(&self, number: usize, bytes: &Bytes, cut: Cut, random: &mut Random) -> Vec<u8> {
        match cut {
            Cut::Kill | Cut::JournalBehind => bytes.now.clone(),
            Cut::Strict | Cut::NamesOnly => bytes.synced.clone(),
            Cut::Torn(whole) => match (&self.last, self.last_write()) {
                (Some((file, at, before)), Some(write)) if *file == number => {
                    let mut left = before.clone();
                    put(&mut left, *at, &write[..whole.min(write.len())]);
                    left
                }
                _ => bytes.now.clone(),
            },
            Cut::Some(_) => {
                let mut left = bytes.synced.clone();
                for change in &bytes.unsynced {
                    match change {
                        Change::Length(length) => {
                            if random.below(2) == 0 {
                                left.resize(*length, 0);
                            }
                        }
                        Change::Put(at, bytes) => {
                            let mut from = 0;
                            while from < bytes.len() {
                                let to = ((at + from) / SECTOR * SECTOR + SECTOR - at).min(bytes.len());
                                if random.below(2) == 0 {
                                    put(&mut left, at + from, &bytes[from..to]);
                                }
                                from = to;
                            }
                        }
                    }
                }
                left
            }
        }
    }
}

/// A name for what is left: the same for the same.
#[must_use]
pub fn name_of(left: &Left) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for (path, found) in left {
        hasher.update(path.as_os_str().as_encoded_bytes());
        match found {
            Found::Folder => hasher.update([0, 1]),
            Found::Link(target) => {
                hasher.update([0, 2]);
                hasher.update(target);
            }
            Found::File(bytes) => {
                hasher.update([0, 3]);
                hasher.update(bytes.len().to_le_bytes());
                for (at, page) in bytes.chunks(4096).enumerate().filter(|(_, page)| !is_empty(page)) {
                    hasher.update(at.to_le_bytes());
                    hasher.update(page);
                }
            }
        }
    }
    hasher.finalize().into()
}

fn is_empty(page: &[u8]) -> bool {
    const EMPTY: [u8; 4096] = [0; 4096];
    EMPTY.starts_with(page)
}

/// Puts what is left into an empty folder.
///
/// # Errors
/// As the system says.
pub fn put_into(left: &Left, dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
    fs::create_dir_all(dir)?;
    for (path, found) in left {
        let path = dir.join(path);
        match found {
            Found::Folder => fs::create_dir(&path)?,
            Found::Link(target) => symlink(target, &path)?,
            Found::File(bytes) => {
                let file = fs::File::create(&path)?;
                file.set_len(bytes.len() as u64)?;
                for (at, page) in bytes.chunks(4096).enumerate().filter(|(_, page)| !is_empty(page)) {
                    file.write_all_at(page, (at * 4096) as u64)?;
                }
                // Whether a file may be run is part of its name's record, and nothing here hangs on it.
                file.set_permissions(fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(())
}
