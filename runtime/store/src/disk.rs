//! sled, held at arm's length: every call is guarded, every value is checked, and a flush really reaches the disk.
//!
//! Not here: what happens after trouble (`view`), and the form of rows (`row`).
//!
//! What sled 0.34.7 does and this file answers (decision 0007): it panics on damage; it opens an older state
//! without a word; its `flush` ends without an fsync; it never syncs the directory that it made; and its lock on
//! the file outlives the handle for a moment, until its threads have let go.

use std::{
    fs::{File, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::Duration,
};

use crate::{
    change::{Pair, Tree},
    damage::{self, Damage, Flaw, Trouble},
    head::{self, Head, Sums},
    pending::Pending,
    row,
};

/// How often, and how long apart, a file is tried that sled's own threads have not let go of: 2 s in all.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// An open sled, and a second handle on its file for the fsync that sled leaves out.
#[derive(Debug)]
pub(crate) struct Disk {
    /// None only while it is being dropped.
    db: Option<sled::Db>,
    file: File,
}

impl Disk {
    /// Opens what is at `dir`, or makes it, and checks all of it. `None` stands for an empty view.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<(Self, Option<Head>), Trouble> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            // The thread behind it would swallow errors, and write when nobody asked for it.
            .flush_every_ms(None);
        let mut tries = 0;
        let db = loop {
            match guarded(|| config.open()) {
                Err(Trouble::Busy) if tries < BUSY_TRIES => tries += 1,
                done => break done?,
            }
            thread::sleep(BUSY_PAUSE);
        };
        let file = OpenOptions::new().read(true).write(true).open(dir.join("db")).map_err(Trouble::Disk)?;
        let disk = Self { db: Some(db), file };
        let head = disk.check()?;
        if head.is_none() {
            // New, or as good as new: from here on the directory is where a flush will find it again.
            disk.flush()?;
            for part in ["conf", "blobs", ""] {
                sync(&dir.join(part)).map_err(Trouble::Disk)?;
            }
        }
        Ok((disk, head))
    }

    /// Reads everything, and compares it with what was applied.
    fn check(&self) -> Result<Option<Head>, Trouble> {
        let mut head = None;
        let mut sums = Sums::default();
        let mut rows = guarded(|| Ok(self.db().iter()))?;
        let mut next = || guarded(|| rows.next().transpose());
        let mut row = next()?;
        while let Some((key, first)) = row {
            if key == head::KEY {
                head = Some(Head::decode(&first)?);
                row = next()?;
                continue;
            }
            let Some((tree, key, 0)) = row::parse(&key) else { return Err(Damage::Contents.into()) };
            let value = join(tree, &key, &first, &mut next)?;
            sums.add(tree, &key, &value);
            row = next()?;
        }
        match head {
            Some(head) if head.sums == sums => Ok(Some(head)),
            None if sums == Sums::default() => Ok(None),
            None => Err(Damage::Head.into()),
            Some(_) => Err(Damage::Contents.into()),
        }
    }

    pub(crate) fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        let Some(first) = guarded(|| self.db().get(row::key(tree, key, 0)))? else { return Ok(None) };
        let mut number = 0;
        let mut next = || {
            number += 1;
            let row = row::key(tree, key, number);
            Ok(guarded(|| self.db().get(&row))?.map(|bytes| (sled::IVec::from(row), bytes)))
        };
        join(tree, key, &first, &mut next).map(Some)
    }

    /// Up to `most` entries whose keys begin with `prefix` and come after `after`.
    pub(crate) fn scan(
        &self,
        tree: Tree,
        prefix: &[u8],
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<Pair>, Trouble> {
        let start = row::prefix(tree, prefix);
        // Past the last row of `after`, and before the first of whatever follows.
        let from =
            after.map_or_else(|| start.clone(), |after| row::key(tree, after, u16::MAX)).max(start.clone());
        let mut rows = guarded(|| Ok(self.db().range(from..)))?;
        let mut next = || guarded(|| rows.next().transpose());
        let mut found = Vec::new();
        while found.len() < most {
            let Some((row, first)) = next()? else { break };
            if !row.starts_with(&start) {
                break;
            }
            let Some((tree, key, 0)) = row::parse(&row) else { return Err(Damage::Contents.into()) };
            let value = join(tree, &key, &first, &mut next)?;
            found.push((key, value));
        }
        Ok(found)
    }

    /// Writes all of it, and what it then stands for, or none of it.
    ///
    /// After an error nobody knows what sled holds in memory; what is on disk is one of the two.
    pub(crate) fn write(&self, pending: &Pending, head: &Head) -> Result<(), Trouble> {
        let mut batch = sled::Batch::default();
        for (tree, key, value) in pending.iter() {
            let mut rows = 0;
            if let Some(value) = value {
                rows = row::count(value.len());
                let sealed = row::seal(tree, key, value);
                for (number, part) in (0..rows).zip(sealed.chunks(row::ROW_BYTES)) {
                    batch.insert(row::key(tree, key, number), part);
                }
            }
            let old = match guarded(|| self.db().get(row::key(tree, key, 0)))? {
                Some(first) => row::rows(&first).map_err(|flaw| damage::value(tree, key, flaw))?,
                None => 0,
            };
            for number in rows..old {
                batch.remove(row::key(tree, key, number));
            }
        }
        batch.insert(head::KEY, head.encode());
        guarded(|| self.db().apply_batch(batch))
    }

    /// Ends when all that was written is on the disk itself.
    pub(crate) fn flush(&self) -> Result<(), Trouble> {
        guarded(|| self.db().flush())?;
        self.file.sync_all().map_err(|error| Trouble::from(sled::Error::Io(error)))
    }

    /// Changes a row behind the view's back.
    #[cfg(test)]
    pub(crate) fn tamper(&self, row: &[u8], bytes: &[u8]) {
        self.db().insert(row, bytes).unwrap();
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("only drop takes it")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // sled writes when it is dropped, and may panic over it. What it could not write, the journal has.
        let db = self.db.take();
        drop(guarded(|| {
            drop(db);
            Ok(())
        }));
    }
}

/// Makes one file or directory durable.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    if cfg!(windows) && path.is_dir() {
        // NTFS journals names; a directory can't be opened like a file there.
        return Ok(());
    }
    File::open(path)?.sync_all()
}

/// Joins the rows of one value, the first of which is given, and checks them.
fn join(
    tree: Tree,
    key: &[u8],
    first: &[u8],
    next: &mut dyn FnMut() -> Result<Option<(sled::IVec, sled::IVec)>, Trouble>,
) -> Result<Vec<u8>, Trouble> {
    let flawed = |flaw| damage::value(tree, key, flaw);
    let rows = row::rows(first).map_err(flawed)?;
    let mut sealed = first.to_vec();
    for number in 1..rows {
        match next()? {
            Some((found, part)) if found == row::key(tree, key, number) => sealed.extend_from_slice(&part),
            Some(_) | None => return Err(flawed(Flaw::Length).into()),
        }
    }
    Ok(row::unseal(tree, key, sealed).map_err(flawed)?)
}

/// Calls sled, and takes a panic for the damage that it is.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Trouble> {
    // Asserting unwind safety is sound in the sense that matters: sled may be left in any state, but nothing of it
    // is used again. Every caller hands the damage up, and `View` then answers nothing until it is replaced.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(Trouble::from),
        Err(payload) => Err(Damage::panicked(&*payload).into()),
    }
}
