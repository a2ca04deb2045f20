//! The file that an artifact grows in, from its front; it outlasts a power cut, and the next try goes on at its end.
//!
//! Not here: where the bytes come from (`fetch`, `by_blocks`), and where whole artifacts are kept (`cache`).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
};

use backstay_model::Digest;
use sha2::{Digest as _, Sha256};

use super::{
    CHUNK_BYTES, Carriage,
    error::{FetchError, failed},
};

/// What has come of an artifact.
pub(super) struct Part {
    pub(super) file: File,
    pub(super) path: PathBuf,
    hasher: Sha256,
    /// Bytes that are there.
    pub(super) at: u64,
    /// Where they came from.
    pub(super) carriage: Carriage,
    /// Older images that nothing could be taken from, and why.
    pub(super) unread: Vec<String>,
}

impl Part {
    /// Opens what an earlier try left, if it can be the beginning of the artifact.
    pub(super) fn open(path: PathBuf, length: u64) -> Result<Self, FetchError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed("cannot open", &path))?;
        let mut part = Self {
            file,
            path,
            hasher: Sha256::new(),
            at: 0,
            carriage: Carriage::default(),
            unread: Vec::new(),
        };
        part.at = hash(&mut part.file, &mut part.hasher).map_err(failed("cannot read", &part.path))?;
        if part.at > length {
            part.reset()?;
        }
        part.carriage.left_over = part.at;
        Ok(part)
    }

    pub(super) fn reset(&mut self) -> Result<(), FetchError> {
        self.hasher = Sha256::new();
        self.at = 0;
        (self.carriage.found, self.carriage.left_over) = (0, 0);
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(failed("cannot empty", &self.path))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let at = SeekFrom::Start(self.at);
        let written = self.file.seek(at).and_then(|_| self.file.write_all(bytes));
        written.map_err(failed("cannot write", &self.path))?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Puts bytes here that begin at `from` in the artifact, as far as they are not here yet.
    pub(super) fn write_at(&mut self, from: u64, bytes: &[u8]) -> Result<(), FetchError> {
        let here = usize::try_from(self.at.saturating_sub(from)).unwrap_or(usize::MAX);
        match bytes.get(here..) {
            Some(new) => self.write(new),
            None => Ok(()),
        }
    }

    /// Reads what is here, from `from` on, until `into` is full.
    pub(super) fn read_at(&self, from: u64, into: &mut [u8]) -> Result<(), FetchError> {
        self.file.read_exact_at(into, from).map_err(failed("cannot read", &self.path))
    }

    pub(super) fn is(&self, digest: &Digest, length: u64) -> bool {
        self.at == length && <[u8; 32]>::from(self.hasher.clone().finalize()) == digest.0
    }
}

/// Hashes a file from its start, and says how long it is.
fn hash(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let (mut length, mut chunk) = (0, vec![0; CHUNK_BYTES]);
    file.rewind()?;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file is the artifact, from start to end; leaves it at its start.
pub(super) fn is_artifact(file: &mut File, digest: &Digest, length: u64) -> io::Result<bool> {
    let mut hasher = Sha256::new();
    let same_length = file.metadata()?.len() == length;
    let same =
        same_length && hash(file, &mut hasher)? == length && <[u8; 32]>::from(hasher.finalize()) == digest.0;
    file.rewind()?;
    Ok(same)
}
