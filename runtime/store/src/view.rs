//! The view that callers hold: opened whatever happened, exact or empty, on disk or in memory.
//!
//! Not here: replaying the journal. The caller asks what is applied and goes on from there; after a view was set
//! aside, that is from the beginning, or from a snapshot in the journal.
//!
//!   open -- damage --> set aside, and open an empty one -- that fails, too --> in memory
//!   open -- disk full, read-only, or used by somebody --> in memory; what is on disk stays

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    aside::{Denied, Place, SetAside},
    change::{Change, KEY_BYTES_MAX, Pair, Tree, VALUE_BYTES_MAX},
    damage::{ApplyError, Damage, FlushError, ReadError, Trouble},
    disk::Disk,
    head::{Head, Sums},
    memory::Memory,
    opened::{Backing, Opened, Options, Volatile},
    pending::Pending,
};

/// State, runs and indexes, as of the highest journal sequence applied.
#[derive(Debug)]
pub struct View {
    store: Store,
    head: Option<Head>,
    options: Options,
    backing: Backing,
    /// Set once sled failed half-way. From then on nothing is answered.
    unsure: AtomicBool,
    /// A record that did not fit. What follows it is not taken before it was.
    refused: Option<u64>,
    /// Whether there is anything that [`View::flush`] has not brought to the disk.
    dirty: bool,
    dir: Option<PathBuf>,
    /// Dropped after the store: another view may enter only when sled has let go.
    place: Option<Place>,
}

/// New values by their place; none where one is to be removed.
type Last<'a> = BTreeMap<(Tree, &'a [u8]), Option<&'a [u8]>>;

#[derive(Debug)]
enum Store {
    Disk(Disk, Pending),
    Memory(Memory),
}

impl View {
    /// Opens the view in `dir`, or makes one.
    ///
    /// It always succeeds. What is damaged, ahead of the journal, of another epoch or of another format is renamed
    /// aside, and an empty view opened in its place. Where the disk itself is the trouble, the view is in memory
    /// and [`View::backing`] says why.
    ///
    /// All of it is read once and checked. It blocks on the disk, and for up to 2 s on sled's threads if a view of
    /// the same directory was dropped a moment ago.
    #[must_use]
    pub fn open(dir: &Path, options: Options) -> Opened {
        match Place::enter(dir) {
            Ok(place) => Self::open_in(dir, place, options, None),
            Err(Denied::InUse) => Self::volatile(Some(dir), None, options, Volatile::InUse, None),
            Err(Denied::Disk(error)) => Self::volatile(Some(dir), None, options, Volatile::Disk(error), None),
        }
    }

    /// A view that is in memory from the beginning, for tests, simulations and dry runs.
    #[must_use]
    pub fn in_memory(options: Options) -> Self {
        Self::volatile(None, None, options, Volatile::Asked, None).view
    }

    /// Renames what is on disk aside and opens an empty view in its place. The caller rebuilds it from the journal.
    ///
    /// A view in memory begins afresh, on disk if that is possible by now.
    #[must_use]
    pub fn set_aside(self, why: Damage) -> Opened {
        let Self { store, options, dir, place, .. } = self;
        drop(store);
        match (dir, place) {
            (Some(dir), Some(place)) => Self::open_in(&dir, place, options, Some(why)),
            (Some(dir), None) => Self::open(&dir, options),
            (None, _) => Self::volatile(None, None, options, Volatile::Asked, None),
        }
    }

    /// Opens what is in a directory that is ours; `why` says what is already known against it.
    fn open_in(dir: &Path, place: Place, options: Options, why: Option<Damage>) -> Opened {
        let first = why.map_or_else(|| attempt(&place, &options), |why| Err(Trouble::Damage(why)));
        let why = match first {
            Ok((disk, head)) => return Self::durable(dir, place, options, disk, head, None),
            Err(Trouble::Damage(why)) => why,
            Err(trouble @ (Trouble::Disk(_) | Trouble::Busy)) => {
                return Self::volatile(Some(dir), Some(place), options, trouble.into(), None);
            }
        };
        let path = match place.set_aside(options.aside_max).and_then(|path| place.end().map(|()| path)) {
            Ok(path) => path,
            Err(error) => {
                return Self::volatile(Some(dir), Some(place), options, Volatile::Disk(error), None);
            }
        };
        let set_aside = Some(SetAside { path, why });
        match attempt(&place, &options) {
            Ok((disk, head)) => Self::durable(dir, place, options, disk, head, set_aside),
            Err(trouble) => Self::volatile(Some(dir), Some(place), options, trouble.into(), set_aside),
        }
    }

    fn durable(
        dir: &Path,
        place: Place,
        options: Options,
        disk: Disk,
        head: Option<Head>,
        set_aside: Option<SetAside>,
    ) -> Opened {
        let view = Self {
            store: Store::Disk(disk, Pending::default()),
            head,
            options,
            backing: Backing::Disk,
            unsure: AtomicBool::new(false),
            refused: None,
            dirty: false,
            dir: Some(dir.into()),
            place: Some(place),
        };
        Opened { applied: view.applied(), view, set_aside }
    }

    fn volatile(
        dir: Option<&Path>,
        place: Option<Place>,
        options: Options,
        why: Volatile,
        set_aside: Option<SetAside>,
    ) -> Opened {
        // The place is let go: a view in memory keeps nobody out.
        drop(place);
        let view = Self {
            store: Store::Memory(Memory::default()),
            head: None,
            options,
            backing: Backing::Memory { why },
            unsure: AtomicBool::new(false),
            refused: None,
            dirty: false,
            dir: dir.map(Path::to_path_buf),
            place: None,
        };
        Opened { view, applied: None, set_aside }
    }

    /// Where the view is kept.
    #[must_use]
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The highest sequence that the view stands for; none if nothing was ever applied.
    #[must_use]
    pub fn applied(&self) -> Option<u64> {
        self.head.map(|head| head.applied)
    }

    /// How many values there are in `tree`.
    #[must_use]
    pub fn count(&self, tree: Tree) -> u64 {
        self.head.map_or(0, |head| head.sums.count(tree))
    }

    /// How many bytes all keys and values have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.head.map_or(0, |head| head.sums.bytes())
    }

    /// The value under `key`, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if the value is not what was written. Set the view aside.
    pub fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|store| match store {
            Store::Disk(disk, pending) => pending.get(tree, key).map_or_else(|| disk.get(tree, key), Ok),
            Store::Memory(memory) => Ok(memory.get(tree, key)),
        })
    }

    /// Keys and values in the order of the keys: those that begin with `prefix`, after `after` (the last key of the
    /// page before), `most` at most.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if one of them is not what was written. Set the view aside.
    pub fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        self.read(|store| match store {
            Store::Disk(disk, pending) => {
                pending.over((tree, prefix, after, most), |most| disk.scan(tree, prefix, after, most))
            }
            Store::Memory(memory) => Ok(memory.scan(tree, prefix, after, most)),
        })
    }

    fn read<T>(&self, call: impl FnOnce(&Store) -> Result<T, Trouble>) -> Result<T, ReadError> {
        if self.unsure.load(Ordering::Relaxed) {
            return Err(ReadError::Damaged(Damage::Unsure));
        }
        call(&self.store).map_err(|trouble| {
            self.unsure.store(true, Ordering::Relaxed);
            ReadError::Damaged(trouble.into_damage())
        })
    }

    /// Applies what record `seq` changed: all of it together with its sequence, or nothing.
    ///
    /// Where one key is named twice, the last change counts. Sequences may be left out (a record that changes
    /// nothing), but never go back. It waits in memory for [`View::flush`] (up to 256 KiB of it); until then a power
    /// cut, or dropping the view, brings back an older one, exact all the same.
    ///
    /// # Errors
    /// [`ApplyError::Order`], `Gap`, `Key`, `Value` and `Full` change nothing; after the last three the same record
    /// has to come again, with less in it, before another. After `Disk` or `Damaged` the view answers nothing more:
    /// open it again, or set it aside.
    pub fn apply(&mut self, seq: u64, changes: &[Change]) -> Result<(), ApplyError> {
        if self.unsure.load(Ordering::Relaxed) {
            return Err(ApplyError::Damaged(Damage::Unsure));
        }
        if let Some(applied) = self.applied().filter(|&applied| seq <= applied) {
            return Err(ApplyError::Order { seq, applied });
        }
        if let Some(refused) = self.refused.filter(|&refused| seq > refused) {
            return Err(ApplyError::Gap { seq, refused });
        }
        let (last, sums) = self.weigh(changes).inspect_err(|_| self.refused = Some(seq))?;
        self.refused = None;
        self.head = Some(Head { epoch: self.options.epoch, applied: seq, sums });
        self.dirty = true;
        for ((tree, key), new) in last {
            match &mut self.store {
                Store::Disk(_, pending) => pending.put(tree, key, new),
                Store::Memory(memory) => memory.write(tree, key, new),
            }
        }
        let large = matches!(&self.store, Store::Disk(_, pending) if pending.is_large());
        if large { self.write().map_err(ApplyError::from) } else { Ok(()) }
    }

    /// The last change of each key, and what the view would add up to with them.
    fn weigh<'a>(&self, changes: &'a [Change]) -> Result<(Last<'a>, Sums), ApplyError> {
        let mut last = Last::new();
        for (tree, key, value) in changes.iter().map(Change::parts) {
            if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
                return Err(ApplyError::Key { length: key.len() });
            }
            if let Some(value) = value.filter(|value| value.len() > VALUE_BYTES_MAX) {
                return Err(ApplyError::Value { length: value.len() });
            }
            last.insert((tree, key), value);
        }
        let mut sums = self.head.map_or_else(Sums::default, |head| head.sums);
        for (&(tree, key), new) in &last {
            let old = self.get(tree, key).map_err(|ReadError::Damaged(why)| ApplyError::Damaged(why))?;
            if let Some(old) = old {
                sums.take(tree, key, &old);
            }
            if let Some(new) = new {
                sums.add(tree, key, new);
            }
        }
        // What makes the view smaller always goes through, even if the bound was lowered meanwhile.
        let (bytes, bytes_max) = (sums.bytes(), self.options.bytes_max);
        if bytes > bytes_max && bytes > self.bytes() {
            return Err(ApplyError::Full { bytes, bytes_max });
        }
        Ok((last, sums))
    }

    /// Ends when all that was applied is on the disk itself. For a view in memory there is nothing to do.
    ///
    /// # Errors
    /// After an error the view answers nothing more: open it again (`Disk`), or set it aside (`Damaged`).
    pub fn flush(&mut self) -> Result<(), FlushError> {
        if self.unsure.load(Ordering::Relaxed) {
            return Err(FlushError::Damaged(Damage::Unsure));
        }
        if self.dirty {
            self.write()?;
            if let Store::Disk(disk, _) = &self.store {
                disk.flush().inspect_err(|_| self.unsure.store(true, Ordering::Relaxed))?;
            }
            self.dirty = false;
        }
        Ok(())
    }

    /// Gives sled what has waited for it.
    fn write(&mut self) -> Result<(), Trouble> {
        if let (Store::Disk(disk, pending), Some(head)) = (&mut self.store, &self.head) {
            disk.write(pending, head).inspect_err(|_| self.unsure.store(true, Ordering::Relaxed))?;
            pending.clear();
        }
        Ok(())
    }
}

impl From<Trouble> for ApplyError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Disk(error) => Self::Disk(error),
            Trouble::Busy | Trouble::Damage(_) => Self::Damaged(trouble.into_damage()),
        }
    }
}

impl From<Trouble> for FlushError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Disk(error) => Self::Disk(error),
            Trouble::Busy | Trouble::Damage(_) => Self::Damaged(trouble.into_damage()),
        }
    }
}

impl Trouble {
    /// The same, for a place where only damage is expected: sled reports a failed write to whoever calls next.
    fn into_damage(self) -> Damage {
        match self {
            Self::Disk(error) => Damage::Refused(Box::new(error)),
            Self::Busy => Damage::Refused("the file is locked".into()),
            Self::Damage(damage) => damage,
        }
    }
}

/// Opens sled, checks all of it, and holds it against the journal.
fn attempt(place: &Place, options: &Options) -> Result<(Disk, Option<Head>), Trouble> {
    place.begin().map_err(Trouble::Disk)??;
    let opened = Disk::open(&place.sled(), options.cache_bytes.max(256)).and_then(|(disk, head)| {
        if let Some(head) = head {
            if head.epoch != options.epoch {
                return Err(Damage::Epoch { found: head.epoch, journal: options.epoch }.into());
            }
            let (applied, journal_head) = (head.applied, options.journal_head);
            if journal_head.is_none_or(|journal_head| applied > journal_head) {
                return Err(Damage::Ahead { applied, journal_head }.into());
            }
        }
        Ok((disk, head))
    });
    // Opening ended, well or badly: only a process that did not come this far leaves its mark.
    place.end().map_err(Trouble::Disk)?;
    opened
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const EPOCH: u32 = 1;

    fn open(dir: &Path, journal_head: u64) -> Opened {
        View::open(dir, Options::new(Some(journal_head), EPOCH))
    }

    /// A view with one value per record, flushed, and closed again.
    fn made(records: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut view = open(dir.path(), records).view;
        for seq in 1..=records {
            view.apply(seq, &[Change::put(Tree::State, format!("k{seq}"), seq.to_le_bytes())]).unwrap();
        }
        view.flush().unwrap();
        dir
    }

    /// Changes what is in sled behind the view's back, in a way that sled itself finds nothing wrong with.
    fn tamper(dir: &Path, change: impl FnOnce(&sled::Db)) {
        let config = sled::Config::new().path(dir.join("sled")).flush_every_ms(None);
        let db = loop {
            match config.open() {
                Ok(db) => break db,
                Err(error) => assert!(matches!(Trouble::from(error), Trouble::Busy)),
            }
        };
        change(&db);
        db.flush().unwrap();
    }

    fn why(dir: &Path) -> Damage {
        let Opened { view, applied, set_aside } = open(dir, 9);
        assert!(matches!(view.backing(), Backing::Disk));
        assert_eq!((applied, view.bytes(), view.get(Tree::State, b"k1").unwrap()), (None, 0, None));
        let SetAside { path, why } = set_aside.unwrap();
        assert!(path.join("db").exists(), "what was set aside can be looked at");
        why
    }

    #[test]
    fn a_missing_old_strange_or_doubled_value_is_noticed() {
        type Case = (&'static str, fn(&sled::Db));
        let cases: [Case; 7] = [
            ("missing", |db| drop(db.remove(row_of("k2")).unwrap())),
            ("old", |db| {
                drop(db.insert(row_of("k2"), crate::row::seal(Tree::State, b"k2", b"old")).unwrap())
            }),
            ("moved", |db| drop(db.insert(row_of("k2"), db.get(row_of("k1")).unwrap().unwrap()).unwrap())),
            ("doubled", |db| {
                drop(db.insert(row_of("k7"), crate::row::seal(Tree::State, b"k7", b"new")).unwrap())
            }),
            ("strange", |db| drop(db.insert(b"\x77strange", b"").unwrap())),
            ("short", |db| drop(db.insert(row_of("k2"), b"1").unwrap())),
            ("headless", |db| drop(db.remove(crate::head::KEY).unwrap())),
        ];
        for (what, change) in cases {
            let dir = made(3);
            tamper(dir.path(), change);
            let why = why(dir.path());
            let fits = match what {
                "headless" => matches!(why, Damage::Head),
                "moved" | "short" => matches!(why, Damage::Value { tree: Tree::State, .. }),
                _contents => matches!(why, Damage::Contents),
            };
            assert!(fits, "{what}: {why}");
        }
    }

    fn row_of(key: &str) -> Vec<u8> {
        crate::row::key(Tree::State, key.as_bytes(), 0)
    }

    #[test]
    fn another_format_is_set_aside_whole() {
        let dir = made(3);
        tamper(dir.path(), |db| {
            let mut head = db.get(crate::head::KEY).unwrap().unwrap().to_vec();
            head.truncate(head.len() - 4);
            head[0] = 2;
            head.extend(crc32c::crc32c(&head).to_le_bytes());
            db.insert(crate::head::KEY, head).unwrap();
        });
        assert!(matches!(why(dir.path()), Damage::Format { found: 2 }));
    }

    /// A bad sector under a running view: the read says so, and nothing is answered until the view is replaced.
    #[test]
    fn a_value_that_goes_bad_in_use_is_not_handed_out() {
        let dir = made(3);
        let Opened { view, .. } = open(dir.path(), 3);
        let Store::Disk(disk, _) = &view.store else { panic!("on disk") };
        disk.tamper(&row_of("k2"), b"\x01\0bad");
        assert!(view.get(Tree::State, b"k1").unwrap().is_some());
        let ReadError::Damaged(damage) = view.get(Tree::State, b"k2").unwrap_err();
        assert_eq!(damage.to_string(), "the value under k2 in State has a wrong length");
        assert!(matches!(view.get(Tree::State, b"k1"), Err(ReadError::Damaged(Damage::Unsure))));

        let Opened { mut view, applied, set_aside } = view.set_aside(damage);
        assert!(matches!(set_aside.unwrap().why, Damage::Value { .. }));
        assert_eq!(applied, None);
        view.apply(1, &[Change::put(Tree::State, *b"k2", *b"again")]).unwrap();
        assert_eq!(view.get(Tree::State, b"k2").unwrap().unwrap(), b"again");
    }

    #[test]
    fn opening_that_never_ends_is_not_tried_for_ever() {
        let dir = made(3);
        fs::write(dir.path().join("opening"), [1]).unwrap();
        let once = open(dir.path(), 3);
        assert_eq!(
            (once.applied, once.set_aside.is_none()),
            (Some(3), true),
            "one power cut is nobody's fault"
        );
        drop(once);
        fs::write(dir.path().join("opening"), [2]).unwrap();
        assert!(matches!(why(dir.path()), Damage::Died { tries: 2 }));
        assert!(!dir.path().join("opening").exists());
    }
}
