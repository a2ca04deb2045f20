//! Files by their digest: artifacts and signed statements.
//!
//! A name is 64 hexadecimal digits and nothing else, so no name is ever a path. What is put here is written
//! beside, checked against its digest, and moved into place whole.

use std::{
    error, fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use backstay_model::Digest;

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
    /// The shelf in `dir`, made if it isn't there.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
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
            fs::rename(&beside, self.path(digest))?;
            fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(failed)
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

/// Whether `bytes` have this digest.
pub(crate) fn is(bytes: &[u8], digest: &Digest) -> bool {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).as_slice() == digest.0
}
