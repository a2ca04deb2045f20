//! The file operations that slots are made of, one by one, so that a test can cut the power between any two.
//!
//! Not here: what they add up to. Nothing but `System` touches a real file.

use std::{
    fs, io,
    io::{Read, Seek, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

/// A file system as slots see it. Nothing is durable before it is synced: a file's bytes by
/// [`sync`](Disk::sync), the entries of a directory by [`sync_dir`](Disk::sync_dir).
pub trait Disk {
    /// An open file, readable.
    type File: Read + Seek;
    /// What is held while nobody else may work on the directory.
    type Lock;

    /// Takes the directory for this process alone, for as long as the answer is kept.
    ///
    /// # Errors
    /// `WouldBlock`: somebody else has it.
    fn lock(&mut self, dir: &Path) -> io::Result<Self::Lock>;
    /// Makes a directory, where there is none yet.
    ///
    /// # Errors
    /// As the file system says.
    fn make_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// Makes an empty file, readable and writable, in the place of whatever file had the name.
    ///
    /// # Errors
    /// As the file system says.
    fn create(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Writes all of `bytes` at the file's position.
    ///
    /// # Errors
    /// As the file system says; some of it may have been written.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Lets the file be run by anybody.
    ///
    /// # Errors
    /// As the file system says.
    fn make_executable(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// Makes the bytes of a file durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// Makes what was made, renamed and removed in a directory durable.
    ///
    /// # Errors
    /// As the file system says.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// Opens a file for reading.
    ///
    /// # Errors
    /// As the file system says.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Gives a file or link a new name in the same directory, in the place of whatever had it, in one go.
    ///
    /// # Errors
    /// As the file system says.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file or link away, where there is one.
    ///
    /// # Errors
    /// As the file system says.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As the file system says; the name is taken.
    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()>;
    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// As the file system says; it is no link.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

fn unless(kind: io::ErrorKind, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => other,
    }
}

impl Disk for System {
    type File = fs::File;
    type Lock = fs::File;

    fn lock(&mut self, dir: &Path) -> io::Result<fs::File> {
        // A lock on the directory itself: no file of its own, and it ends with the process, however that ends.
        let dir = fs::File::open(dir)?;
        dir.try_lock()?;
        Ok(dir)
    }

    fn make_dir(&mut self, dir: &Path) -> io::Result<()> {
        unless(io::ErrorKind::AlreadyExists, fs::create_dir(dir))
    }

    fn create(&mut self, path: &Path) -> io::Result<fs::File> {
        // Taken away first: what is left of an earlier try may be a link, and is not written through.
        self.remove(path)?;
        fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    fn write(&mut self, file: &mut fs::File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn make_executable(&mut self, file: &mut fs::File) -> io::Result<()> {
        file.set_permissions(fs::Permissions::from_mode(0o755))
    }

    fn sync(&mut self, file: &mut fs::File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn open(&self, path: &Path) -> io::Result<fs::File> {
        fs::File::open(path)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        unless(io::ErrorKind::NotFound, fs::remove_file(path))
    }

    fn link(&mut self, target: &Path, path: &Path) -> io::Result<()> {
        symlink(target, path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }
}
