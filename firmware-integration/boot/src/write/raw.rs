//! Copying an artifact to a device as it is. Not here: what others make of it (`rauc`, `swupdate`).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use backstay_model::{Digest, Release};
use backstay_slots::{Artifact, Slot, SlotError};
use sha2::{Digest as _, Sha256};

use super::{CHUNK_BYTES, Devices, Write, failed, read_some};
use crate::{device::Device, ledger::Image};

/// Copies artifacts as they are: the image is the artifact.
///
/// Reading back is by the same system that wrote: it finds what memory or the way to the disk changed, and not what a
/// worn-out medium will give tomorrow. For that an image is read again before it is tried.
#[derive(Debug)]
pub struct Raw<D = File> {
    devices: Devices<D>,
}

impl Raw<File> {
    /// Slot a's block device or file and slot b's.
    ///
    /// # Errors
    /// One of them can't be opened for writing.
    pub fn open(a: &Path, b: &Path) -> Result<Self, SlotError> {
        Ok(Self { devices: Devices::open(a, b)? })
    }
}

impl<D: Device> Raw<D> {
    /// [`Raw::open`] on any devices.
    pub fn new(devices: [(D, PathBuf); 2]) -> Self {
        Self { devices: Devices(devices) }
    }
}

impl<D: Device> Write for Raw<D> {
    fn write(
        &mut self,
        slot: Slot,
        release: &Release,
        artifact: &mut dyn Artifact,
    ) -> Result<Image, SlotError> {
        self.devices.has_room(slot, release.length)?;
        let (device, path) = self.devices.of(slot);
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
        self.devices.holds(slot, image)
    }

    fn presumed(&mut self, _: Slot, release: &Release) -> Result<Image, SlotError> {
        Ok(Image { digest: release.digest, length: release.length })
    }
}
