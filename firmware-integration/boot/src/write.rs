//! Putting an image into a slot.
//!
//! Here: the [`Write`] trait, and what all who write share: slots' devices, read back. Not here: whether the slot may be
//! written to, and what is known of it after a cut (`backend`); who writes: [`Raw`] by itself, [`RaucWriter`] and
//! [`SwUpdate`] by a program of others.
//!
//! A slot of a device has no room for a second image: from the first byte on what was there is gone.
//!
//! What a program of others says of its work is not believed: which image has to be in the slot is known from the release's own
//! bytes, and that it is there from reading the slot.

mod archive;
mod rauc;
mod raw;
mod swupdate;

use std::{
    fs::{File, TryLockError},
    io::{self, Read},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use backstay_model::{Digest, Release, Transience};
use backstay_slots::{Artifact, Slot, SlotError};
use sha2::{Digest as _, Sha256};

pub use self::{rauc::RaucWriter, raw::Raw, swupdate::SwUpdate};
use crate::{
    device::{self, Device},
    ledger::Image,
};

const CHUNK_BYTES: usize = 64 * 1024;

/// Who puts images into slots.
pub trait Write {
    /// Puts a release into a slot; durable and read back when this returns. The artifact is read no further than one byte
    /// past its length.
    ///
    /// # Errors
    /// The bytes are not the release's, or the device failed. The slot holds nothing known then.
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError>;

    /// Whether a slot holds this image, byte for byte. Reads all of it.
    ///
    /// # Errors
    /// The device failed.
    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError>;

    /// The image that a release is in the slot that runs it, where it was not written by us: at the factory, or where the ledger
    /// is lost.
    ///
    /// # Errors
    /// The device failed.
    fn presumed(&mut self, slot: Slot, release: &Release) -> Result<Image, SlotError>;
}

/// Who writes may be known only when the program runs.
impl<W: Write + ?Sized> Write for Box<W> {
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError> {
        (**self).write(slot, release, artifact)
    }

    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError> {
        (**self).holds(slot, image)
    }

    fn presumed(&mut self, slot: Slot, release: &Release) -> Result<Image, SlotError> {
        (**self).presumed(slot, release)
    }
}

/// Slot a's device and slot b's, with names for people.
#[derive(Debug)]
struct Devices<D = File>([(D, PathBuf); 2]);

impl Devices<File> {
    fn open(a: &Path, b: &Path) -> Result<Self, SlotError> {
        let open = |path: &Path| match device::open(path) {
            Ok(device) => Ok((device, path.to_owned())),
            Err(source) => Err(SlotError::Disk { doing: "cannot open", path: path.to_owned(), source }),
        };
        Ok(Self([open(a)?, open(b)?]))
    }

    /// Takes a slot's device for this process and for whom it starts.
    fn hold(&self, slot: Slot) -> Result<File, SlotError> {
        let path = &self.0[slot as usize].1;
        let device = File::open(path).map_err(failed("cannot open", path))?;
        match device.try_lock() {
            Ok(()) => Ok(device),
            Err(TryLockError::WouldBlock) => Err(SlotError::Busy { dir: path.clone() }),
            Err(TryLockError::Error(source)) => Err(failed("cannot lock", path)(source)),
        }
    }

    /// Whether another path leads to this slot's device.
    fn is(&self, slot: Slot, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let own = &self.0[slot as usize].1;
        own == path || (real(own).is_some() && real(own) == real(path))
    }
}

impl<D: Device> Devices<D> {
    fn of(&mut self, slot: Slot) -> &mut (D, PathBuf) {
        &mut self.0[slot as usize]
    }

    fn has_room(&mut self, slot: Slot, length: u64) -> Result<(), SlotError> {
        let (device, path) = self.of(slot);
        if device.size().map_err(failed("cannot measure", path))? < length {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(SlotError::Disk { doing: "no room for the release on", path: path.clone(), source });
        }
        Ok(())
    }

    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError> {
        let (device, path) = self.of(slot);
        // What is said to be there is there after a cut, too.
        device.sync().map_err(failed("cannot sync", path))?;
        if device.size().map_err(failed("cannot measure", path))? < image.length {
            return Ok(false);
        }
        Ok(self.digest(slot, image.length)? == image.digest)
    }

    /// All of a slot. Where an artifact is not the image, nobody else knows what a factory put there; whatever runs is whole.
    fn all(&mut self, slot: Slot) -> Result<Image, SlotError> {
        let (device, path) = self.of(slot);
        let length = device.size().map_err(failed("cannot measure", path))?;
        Ok(Image { digest: self.digest(slot, length)?, length })
    }

    /// Of the first `length` bytes.
    fn digest(&mut self, slot: Slot, length: u64) -> Result<Digest, SlotError> {
        let (device, path) = self.of(slot);
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < length {
            let part = (length - at).min(CHUNK_BYTES as u64);
            let chunk = &mut chunk[..part as usize];
            device.read_at(at, chunk).map_err(failed("cannot read", path))?;
            hasher.update(chunk);
            at += part;
        }
        Ok(Digest(hasher.finalize().into()))
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SlotError {
    let path = path.to_owned();
    move |source| SlotError::Disk { doing, path, source }
}

fn read_some(from: &mut (impl Read + ?Sized), chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// An artifact's bytes, summed up on the way, and no more of them than one byte past the release.
struct Summed<'a> {
    artifact: &'a mut dyn Artifact,
    release: &'a Release,
    hasher: Sha256,
    length: u64,
}

impl<'a> Summed<'a> {
    fn new(release: &'a Release, artifact: &'a mut dyn Artifact) -> Self {
        Self { artifact, release, hasher: Sha256::new(), length: 0 }
    }

    /// Reads what is left.
    ///
    /// # Errors
    /// The source broke off, or the bytes are not the release's.
    fn finish(mut self) -> Result<(), SlotError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.length <= self.release.length
            && read_some(&mut self, &mut chunk).map_err(|source| SlotError::Source { source })? > 0
        {}
        let (digest, length) = (Digest(self.hasher.finalize().into()), self.length);
        if (digest, length) == (self.release.digest, self.release.length) {
            return Ok(());
        }
        let read = length.min(self.release.length.saturating_add(1));
        Err(SlotError::OtherBytes { release: self.release.clone(), read })
    }
}

impl Read for Summed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.release.length.saturating_add(1).saturating_sub(self.length);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let read = self.artifact.read(&mut into[..most])?;
        self.hasher.update(&into[..read]);
        self.length = self.length.saturating_add(read as u64);
        Ok(read)
    }
}

/// The name by which a program that we start reads an artifact: our own open file, from its start, and nobody else's.
fn name_of(slot: Slot, artifact: &dyn Artifact) -> Result<String, SlotError> {
    match artifact.file() {
        Some(file) => Ok(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())),
        None => Err(SlotError::Writer {
            slot,
            source: "the release's bytes don't come from an open file".into(),
            help: "give the release as a file on standard input and not by a pipe",
            transience: Transience::Permanent,
        }),
    }
}
