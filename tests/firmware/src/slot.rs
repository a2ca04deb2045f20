//! A slot: a loop device over a file that nobody else knows.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A block device of a size. It is gone with the last who has it open.
#[derive(Debug)]
pub struct SlotDevice {
    path: PathBuf,
    device: File,
    _file: tempfile::NamedTempFile,
}

impl SlotDevice {
    /// A device of `bytes` zeros.
    ///
    /// # Errors
    /// The machine has none.
    pub fn made(bytes: u64) -> io::Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        file.as_file().set_len(bytes)?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        // While it is open it stays; from now on it goes with the last who has it open, however that ends.
        let detached = Command::new("losetup").arg("--detach").arg(&path).output()?;
        if !detached.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&detached.stderr).trim().to_owned()));
        }
        Ok(Self { path, device, _file: file })
    }

    /// The device's name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is on it.
    ///
    /// # Panics
    /// It can't be read.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        File::open(&self.path).and_then(|mut device| device.read_to_end(&mut bytes)).unwrap();
        bytes
    }

    /// Whether it begins with these bytes.
    #[must_use]
    pub fn begins_with(&self, bytes: &[u8]) -> bool {
        self.holds_at(0, bytes)
    }

    /// Whether these bytes are at that place.
    #[must_use]
    pub fn holds_at(&self, at: u64, bytes: &[u8]) -> bool {
        let mut there = vec![0; bytes.len()];
        self.device.read_exact_at(&mut there, at).is_ok() && there == bytes
    }

    /// Puts bytes there, as a factory does.
    ///
    /// # Panics
    /// It can't be written.
    pub fn is_given(&self, bytes: &[u8]) {
        let mut device = OpenOptions::new().write(true).open(&self.path).unwrap();
        device.write_all(bytes).unwrap();
        device.sync_all().unwrap();
    }

    /// Changes a bit, as a worn-out medium does.
    ///
    /// # Panics
    /// It can't be written.
    pub fn wears_out_at(&self, at: u64) {
        let mut byte = [0];
        self.device.read_exact_at(&mut byte, at).unwrap();
        self.device.write_all_at(&[byte[0] ^ 4], at).unwrap();
        self.device.sync_all().unwrap();
    }
}
