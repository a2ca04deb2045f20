//! Putting an image into a slot.
//!
//! Here: the [`Write`] trait, and [`Raw`], which copies an artifact to a device as it is. Not here: whether the slot may be
//! written to, and what is known of it after a cut (`backend`).
//!
//! A slot of a device has no room for a second image: from the first byte on what was there is gone.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use backstay_model::{Digest, Release};
use backstay_slots::{Artifact, Slot, SlotError};
use sha2::{Digest as _, Sha256};

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
}

/// Copies artifacts as they are: the image is the artifact.
///
/// Reading back is by the same system that wrote: it finds what memory or the way to the disk changed, and not what a
/// worn-out medium will give tomorrow. For that an image is read again before it is tried.
#[derive(Debug)]
pub struct Raw<D = File> {
    /// Slot a's device and slot b's, with names for people.
    devices: [(D, PathBuf); 2],
}

impl Raw<File> {
    /// Slot a's block device or file and slot b's.
    ///
    /// # Errors
    /// One of them can't be opened for writing.
    pub fn open(a: &Path, b: &Path) -> Result<Self, SlotError> {
        let open = |path: &Path| match device::open(path) {
            Ok(device) => Ok((device, path.to_owned())),
            Err(source) => Err(SlotError::Disk { doing: "cannot open", path: path.to_owned(), source }),
        };
        Ok(Self { devices: [open(a)?, open(b)?] })
    }
}

impl<D: Device> Raw<D> {
    /// [`Raw::open`] on any devices.
    pub fn new(devices: [(D, PathBuf); 2]) -> Self {
        Self { devices }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SlotError {
    let path = path.to_owned();
    move |source| SlotError::Disk { doing, path, source }
}

fn read_some(from: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl<D: Device> Write for Raw<D> {
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError> {
        let (device, path) = &mut self.devices[slot as usize];
        let room = device.size().map_err(failed("cannot measure", path))?;
        if room < release.length {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(SlotError::Disk { doing: "no room for the release on", path: path.clone(), source });
        }
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut length = 0_u64;
        loop {
            let read = read_some(artifact, &mut chunk).map_err(|source| SlotError::Source { source })?;
            if read == 0 {
                break;
            }
            let end = length.saturating_add(read as u64);
            if end > release.length {
                let read = release.length.saturating_add(1);
                return Err(SlotError::OtherBytes { release: release.clone(), read });
            }
            hasher.update(&chunk[..read]);
            device.write_at(length, &chunk[..read]).map_err(failed("cannot write", path))?;
            length = end;
        }
        device.sync().map_err(failed("cannot sync", path))?;
        let image = Image { digest: Digest(hasher.finalize().into()), length };
        let is_release = image == Image { digest: release.digest, length: release.length };
        if !is_release || !self.holds(slot, &image)? {
            return Err(SlotError::OtherBytes { release: release.clone(), read: length });
        }
        Ok(image)
    }

    fn holds(&mut self, slot: Slot, image: &Image) -> Result<bool, SlotError> {
        let (device, path) = &mut self.devices[slot as usize];
        // What is said to be there is there after a cut, too.
        device.sync().map_err(failed("cannot sync", path))?;
        if device.size().map_err(failed("cannot measure", path))? < image.length {
            return Ok(false);
        }
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < image.length {
            let part = (image.length - at).min(CHUNK_BYTES as u64);
            let chunk = &mut chunk[..part as usize];
            device.read_at(at, chunk).map_err(failed("cannot read", path))?;
            hasher.update(chunk);
            at += part;
        }
        Ok(Digest(hasher.finalize().into()) == image.digest)
    }
}
