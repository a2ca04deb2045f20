//! One slot's content: an artifact and the manifest that says which release it is.
//!
//! Here: writing both so that a cut at any point leaves what was there, nothing, or all; and verifying from the
//! same open descriptor that is then handed on. A slot is in one of these states on disk:
//!
//! - *empty*: no manifest. What else lies there is left over from a cut, and is written over the next time;
//! - *damaged*: a manifest, and an artifact that isn't what it says;
//! - *whole*: a manifest, and the artifact that it names.
//!
//! Not here: which slot may be written to (`files`).

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use backstay_model::{Digest, Release};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::{
    disk::Disk,
    environment::{ReleaseWords, WORDS_BYTES_MAX, release_from_words, sealed, unsealed},
    error::SlotError,
};

const HEADING: &str = "backstay-slot 1";
const CHUNK_BYTES: usize = 64 * 1024;

/// A release's bytes on their way into a slot, from the first to the last.
pub trait Artifact: Read {
    /// The open file that they are read from, if it is one. Who can't read here, such as another program, is given the file
    /// itself and never its name: a name can be somebody else's by then.
    fn file(&self) -> Option<&File> {
        None
    }
}

impl Artifact for File {
    fn file(&self) -> Option<&File> {
        Some(self)
    }
}

impl Artifact for &[u8] {}

impl Artifact for io::Empty {}

/// Where a slot's artifact lies.
pub(crate) fn artifact_path(slot: &Path) -> PathBuf {
    slot.join("release")
}

fn manifest_path(slot: &Path) -> PathBuf {
    slot.join("manifest")
}

/// Says what was being done to which file when the disk failed.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SlotError {
    let path = path.to_owned();
    move |source| SlotError::Disk { doing, path, source }
}

/// Puts `bytes` in a file's place, in one go: after a cut it holds what it held, or all of `bytes`.
///
/// # Errors
/// The disk failed; nobody knows then which of the two it holds.
pub fn replace<D: Disk>(disk: &mut D, path: &Path, bytes: &[u8]) -> Result<(), SlotError> {
    let part = path.with_extension("part");
    let dir = path.parent().expect("every file of ours lies in a directory of ours");
    let mut file = disk.create(&part).map_err(failed("cannot create", &part))?;
    disk.write(&mut file, bytes).map_err(failed("cannot write", &part))?;
    disk.sync(&mut file).map_err(failed("cannot sync", &part))?;
    disk.rename(&part, path).map_err(failed("cannot replace", path))?;
    disk.sync_dir(dir).map_err(failed("cannot sync", dir))
}

/// Reads a small file of words; more than the bound is read as damaged, which it is.
///
/// # Errors
/// As the disk says.
pub fn read_words<D: Disk>(disk: &D, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.open(path)?.take(WORDS_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What was read; `None` where the disk gave nothing, which is damage. That nothing can be opened now says nothing of the disk.
pub(crate) fn known<T>(read: io::Result<T>, path: &Path) -> Result<Option<T>, SlotError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(source) if is_out_of_descriptors(&source) => {
            Err(SlotError::NoDescriptor { path: path.to_owned(), source })
        }
        Err(_) => Ok(None),
    }
}

/// Whether this process, or the machine, has as many files open as it may.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Which release a slot says it holds; `None` where it says nothing that can be believed.
pub(crate) fn claimed<D: Disk>(disk: &D, slot: &Path) -> Result<Option<Release>, SlotError> {
    let path = manifest_path(slot);
    Ok(known(read_words(disk, &path), &path)?.and_then(|bytes| release_in(&bytes)))
}

fn release_in(manifest: &[u8]) -> Option<Release> {
    let (heading, rest) = unsealed(manifest)?.split_once('\n')?;
    (heading == HEADING).then(|| release_from_words(rest.strip_suffix('\n')?))?
}

/// Which release a slot holds whole, and its artifact: the very descriptor that was verified, at its start.
pub(crate) fn verified<D: Disk>(disk: &D, slot: &Path) -> Result<Option<(Release, D::File)>, SlotError> {
    let Some(release) = claimed(disk, slot)? else { return Ok(None) };
    let path = artifact_path(slot);
    let Some(mut file) = known(disk.open(&path), &path)? else { return Ok(None) };
    Ok(is_release(&mut file, &release).is_ok_and(|is| is).then_some((release, file)))
}

/// Reads a file from its start and leaves it there; whether it is `release`, byte for byte.
fn is_release<F: Read + io::Seek>(file: &mut F, release: &Release) -> io::Result<bool> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = 0_u64;
    file.rewind()?;
    loop {
        let read = read_some(file, &mut chunk)?;
        if read == 0 {
            break;
        }
        length = length.saturating_add(read as u64);
        if length > release.length {
            return Ok(false);
        }
        hasher.update(&chunk[..read]);
    }
    file.rewind()?;
    Ok(length == release.length && Digest(hasher.finalize().into()) == release.digest)
}

fn read_some(from: &mut (impl Read + ?Sized), chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Writes a release into a slot. Until the bytes are verified and durable beside it, what was there stays.
pub(crate) fn write<D: Disk>(
    disk: &mut D,
    slot: &Path,
    release: &Release,
    artifact: &mut dyn Artifact,
) -> Result<(), SlotError> {
    let (part, path, manifest) = (slot.join("release.part"), artifact_path(slot), manifest_path(slot));
    let mut file = disk.create(&part).map_err(failed("cannot create", &part))?;
    let read = match copy(disk, &mut file, &part, release, artifact) {
        Ok(read) => read,
        Err(error) => {
            // The disk may be full: what is of no use gives its room back. If even that fails, the next try
            // writes over it.
            let _ = disk.remove(&part);
            return Err(error);
        }
    };
    disk.make_executable(&mut file).map_err(failed("cannot make executable", &part))?;
    disk.sync(&mut file).map_err(failed("cannot sync", &part))?;
    // Read back from the descriptor that was written: what counts is what the disk took.
    if !is_release(&mut file, release).map_err(failed("cannot read back", &part))? {
        let _ = disk.remove(&part);
        return Err(SlotError::OtherBytes { release: release.clone(), read });
    }
    drop(file);
    // Without a manifest the slot is empty, so the old words never stand beside the new bytes.
    disk.remove(&manifest).map_err(failed("cannot remove", &manifest))?;
    disk.sync_dir(slot).map_err(failed("cannot sync", slot))?;
    disk.rename(&part, &path).map_err(failed("cannot replace", &path))?;
    disk.sync_dir(slot).map_err(failed("cannot sync", slot))?;
    replace(disk, &manifest, &sealed(format!("{HEADING}\n{}\n", ReleaseWords(release))))
}

/// Copies at most one byte more than the release has. Bytes that are not the release's are an error.
fn copy<D: Disk>(
    disk: &mut D,
    to: &mut D::File,
    path: &Path,
    release: &Release,
    from: &mut dyn Artifact,
) -> Result<u64, SlotError> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = 0_u64;
    loop {
        let read = read_some(from, &mut chunk).map_err(|source| SlotError::Source { source })?;
        length = length.saturating_add(read as u64);
        if length > release.length {
            let read = release.length.saturating_add(1);
            return Err(SlotError::OtherBytes { release: release.clone(), read });
        }
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        disk.write(to, &chunk[..read]).map_err(failed("cannot write", path))?;
    }
    if length != release.length || Digest(hasher.finalize().into()) != release.digest {
        return Err(SlotError::OtherBytes { release: release.clone(), read: length });
    }
    Ok(length)
}
