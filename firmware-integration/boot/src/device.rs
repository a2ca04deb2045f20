//! Where bytes lie at places and not under names: a raw partition, a part of a flash, or a file that stands for one.
//!
//! Here: the few operations on such a thing, one by one, so that a test can cut the power between any two and in the
//! middle of each. Not here: what lies where (`uboot`, `write`), files with names (`backstay_slots::Disk`).

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Bytes at places. Nothing is durable before [`sync`](Device::sync).
pub trait Device {
    /// How many bytes it has.
    ///
    /// # Errors
    /// As the device says.
    fn size(&mut self) -> io::Result<u64>;
    /// Fills `into` with the bytes from `at` on.
    ///
    /// # Errors
    /// As the device says; it ends before `into` is full.
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Puts `bytes` at `at`, in one write where the system takes it as one.
    ///
    /// # Errors
    /// As the device says; some of it may have been written.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written, by whomever.
    ///
    /// # Errors
    /// As the device says.
    fn sync(&mut self) -> io::Result<()>;
}

/// Opens a block device or a file for reading and writing. It is never made.
///
/// # Errors
/// As the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

impl Device for File {
    fn size(&mut self) -> io::Result<u64> {
        // A block device has no length among its metadata; both have an end.
        self.seek(SeekFrom::End(0))
    }

    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
