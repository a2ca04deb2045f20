//! What the journal asks of a disk, and the real one. The double that fails on purpose is in `testing`.
//!
//! One flat folder. Nothing is durable before the file, or for names the folder, was synced.

use std::{
    error, fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A flat folder of files.
pub trait Disk {
    /// A file that is open.
    type File: DiskFile;

    /// The names in the folder, in any order.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists. Where writing is not allowed it is opened all the same, and writing to it fails.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes an empty file, in place of one of that name.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in place of one that had it. A reader sees the one or the other.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes durable which names there are.
    ///
    /// # Errors
    /// After an error nothing is known about what is durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file of a [`Disk`].
pub trait DiskFile {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// As the system says, and `UnexpectedEof` where the file ends before.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes at `offset`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// As the system says.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable, and the length with it.
    ///
    /// # Errors
    /// After an error nothing is known about what is durable, and a second try would prove nothing: the system
    /// may already have dropped what it could not write.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system. It is locked while this lives, so that no second process writes a second history.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holds the lock, and is what `sync` syncs.
    folder: File,
}

/// Why a folder can't be used.
#[derive(Debug)]
pub enum FolderError {
    /// It can't be made.
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can't be opened.
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes this journal.
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

impl FolderError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Create { .. } | Self::Open { .. } => {
                "check that the folder's file system is mounted and who owns it"
            }
            Self::Busy { .. } => "stop the other process: a journal has one writer",
        })
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { path, .. } => write!(f, "cannot make the journal's folder {}", path.display()),
            Self::Open { path, .. } => write!(f, "cannot open the journal's folder {}", path.display()),
            Self::Busy { path } => write!(f, "another process writes the journal in {}", path.display()),
        }
    }
}

impl error::Error for FolderError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Create { source, .. } | Self::Open { source, .. } => Some(source),
            Self::Busy { .. } => None,
        }
    }
}

impl Folder {
    /// Takes the folder `path`, and makes it if it isn't there.
    ///
    /// # Errors
    /// If it can be neither made nor opened, or another process holds it.
    pub fn take(path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let path = path.into();
        if !path.is_dir() {
            let made = fs::create_dir_all(&path).and_then(|()| match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
                Some(_) | None => File::open(".")?.sync_all(),
            });
            made.map_err(|source| FolderError::Create { path: path.clone(), source })?;
        }
        let folder = File::open(&path).map_err(|source| FolderError::Open { path: path.clone(), source })?;
        match folder.try_lock() {
            Ok(()) => Ok(Self { path, folder }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Busy { path }),
            Err(TryLockError::Error(source)) => Err(FolderError::Open { path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for Folder {
    type File = FolderFile;

    fn list(&self) -> io::Result<Vec<String>> {
        // A name that is no text is none of ours.
        let names =
            fs::read_dir(&self.path)?.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn open(&self, name: &str) -> io::Result<FolderFile> {
        let path = self.path.join(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(FolderFile { file, refused: None }),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(FolderFile { file: File::open(&path)?, refused: Some(error.kind()) })
            }
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> io::Result<FolderFile> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(self.path.join(name))?;
        Ok(FolderFile { file, refused: None })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// A file of a [`Folder`].
#[derive(Debug)]
pub struct FolderFile {
    file: File,
    /// Why it could be opened for reading only.
    refused: Option<io::ErrorKind>,
}

impl DiskFile for FolderFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.metadata().map(|about| about.len())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.refused {
            Some(kind) => Err(kind.into()),
            None => self.file.write_all_at(bytes, offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
