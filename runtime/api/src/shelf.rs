//! Files by their digest: artifacts and signed statements.
//!
//! A name is 64 hexadecimal digits and nothing else, so no name is ever a path. What is put here is written
//! beside, checked against its digest, and moved into place whole. Beside an artifact lie its blocks (`backstay-blocks`),
//! made when it comes in; who doesn't find them fetches all of it.

use std::{
    error, fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use backstay_blocks::{EXTENSION, Shape, WriteError, Written};
use backstay_model::{Digest, causes};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

/// A folder of files by their digest.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

/// Something can't be put on the shelf, or taken from it.
#[derive(Debug)]
pub struct ShelfError {
    what: &'static str,
    digest: Digest,
    source: io::Error,
}

impl fmt::Display for ShelfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.what, self.digest)
    }
}

impl error::Error for ShelfError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Shelf {
    /// The shelf in `dir`, made if it isn't there. What never came whole is cleared away.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".new"))
            {
                // It is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { dir })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Where it is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// Where its blocks are, or would be.
    #[must_use]
    pub fn blocks_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.{EXTENSION}"))
    }

    /// Makes the blocks of what is here, unless they are or it is too small for them.
    fn make_blocks(&self, digest: &Digest) -> Result<(), WriteError> {
        let path = self.path(digest);
        let length = fs::metadata(&path).map_err(|source| WriteError::Read { source })?.len();
        if self.blocks_path(digest).is_file() || Shape::of(length).is_none() {
            return Ok(());
        }
        make_blocks(&path, &self.dir).map(|_| ())
    }

    /// Puts `bytes` under a name that the caller has checked.
    ///
    /// # Errors
    /// If the disk doesn't take it; then nothing is there.
    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ShelfError> {
        let failed = |source| ShelfError { what: "keep", digest: *digest, source };
        let beside = self.dir.join(format!(".{digest}.new"));
        let write = || {
            let mut file = fs::File::create(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            self.settle(&beside, digest)
        };
        write().map_err(failed)
    }

    /// Moves what is whole and durable beside its place into it.
    fn settle(&self, beside: &Path, digest: &Digest) -> io::Result<()> {
        fs::rename(beside, self.path(digest))?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// Begins to take in what is said to have this digest, a piece at a time.
    ///
    /// # Errors
    /// If the disk doesn't take it.
    pub(crate) async fn receive(&self, digest: &Digest) -> Result<Incoming, ShelfError> {
        // Two may bring the same at the same time.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = self.dir.join(format!(".{digest}.{count}.new"));
        let file = tokio::fs::File::create(&beside).await;
        let file = file.map_err(|source| ShelfError { what: "keep", digest: *digest, source })?;
        Ok(Incoming { shelf: self.clone(), digest: *digest, beside, file, sum: Sha256::new() })
    }

    /// What is under a name; none if nothing is.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ShelfError> {
        match fs::read(self.path(digest)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ShelfError { what: "read", digest: *digest, source }),
        }
    }

    /// The names of all that is there.
    pub fn names(&self) -> impl Iterator<Item = Digest> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }
}

/// Makes the file of blocks of an artifact, in the folder `dir` and by the artifact's digest: whole, or not at all. Reads all of
/// it, and compresses it.
///
/// # Errors
/// It is too short or too long to have blocks, or a file failed.
pub fn make_blocks(artifact: &Path, dir: &Path) -> Result<(PathBuf, Written), WriteError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    // Its name is known when all of the artifact was read.
    let beside = dir.join(format!(".{process}-{count}.{EXTENSION}.new"));
    let make = || {
        let read = |source| WriteError::Read { source };
        let failed = |source| WriteError::Write { source };
        let mut artifact = fs::File::open(artifact).map_err(read)?;
        let length = artifact.metadata().map_err(read)?.len();
        let mut file = io::BufWriter::new(fs::File::create(&beside).map_err(failed)?);
        let written = backstay_blocks::write(&mut artifact, length, &mut file)?;
        file.get_ref().sync_all().map_err(failed)?;
        let path = dir.join(format!("{}.{EXTENSION}", written.digest));
        fs::rename(&beside, &path).map_err(failed)?;
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok((path, written))
    };
    make().inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// What is on its way onto the shelf. Dropped before it is kept, nothing of it stays.
#[derive(Debug)]
pub(crate) struct Incoming {
    shelf: Shelf,
    digest: Digest,
    beside: PathBuf,
    file: tokio::fs::File,
    sum: Sha256,
}

impl Incoming {
    fn failed(&self) -> impl Fn(io::Error) -> ShelfError + use<> {
        let digest = self.digest;
        move |source| ShelfError { what: "keep", digest, source }
    }

    /// Takes in the next piece.
    ///
    /// # Errors
    /// If the disk doesn't take it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ShelfError> {
        self.sum.update(bytes);
        self.file.write_all(bytes).await.map_err(self.failed())
    }

    /// That was all of it: whether it is what it was said to be. Only then it is on the shelf, durably.
    ///
    /// # Errors
    /// If the disk doesn't take it.
    pub(crate) async fn keep(mut self) -> Result<bool, ShelfError> {
        let failed = self.failed();
        let sum = std::mem::take(&mut self.sum).finalize();
        if sum.as_slice() != self.digest.0 {
            return Ok(false);
        }
        self.file.flush().await.map_err(&failed)?;
        self.file.sync_all().await.map_err(&failed)?;
        self.shelf.settle(&self.beside, &self.digest).map_err(&failed)?;
        let (shelf, digest) = (self.shelf.clone(), self.digest);
        // Whoever published it starts a rollout next, and the first wave asks for them. It is whole without.
        let made = tokio::task::spawn_blocking(move || shelf.make_blocks(&digest)).await;
        if let Ok(Err(error)) = made {
            let why = causes::in_one_line(&error);
            tracing::warn!(%digest, why, "an artifact has no blocks, so devices fetch all of it");
        }
        Ok(true)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Once it is kept it is there under its name alone.
        let _ = fs::remove_file(&self.beside);
    }
}
