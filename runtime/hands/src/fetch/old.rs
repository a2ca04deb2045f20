//! Older images on this device: the slot that runs, artifacts in the cache. What of them is a block of another artifact?
//!
//! They are read a few blocks at a time. Nobody says that they stay as they are, and a file system that is mounted may write
//! to its own: each block is held against its key when it is taken, too.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, FileTypeExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use backstay_blocks::{Found, Index, Search, Shape};

use super::{CHUNK_BYTES, error::FetchError};

/// Images, whose blocks are numbered through.
pub(super) struct Old {
    shape: Shape,
    images: Vec<Image>,
}

struct Image {
    file: File,
    length: u64,
    /// The number of its first block.
    first: u32,
    blocks: u32,
}

impl Old {
    /// Opens what of these can be read, and says why the others can't.
    pub(super) fn open(paths: &[PathBuf], shape: Shape, unread: &mut Vec<String>) -> Self {
        let (mut images, mut first) = (Vec::new(), 0_u32);
        for path in paths {
            // A slot may be far larger than what is in it.
            let most = shape.length().saturating_mul(2);
            let (file, length) = match open(path) {
                Ok(opened) => opened,
                Err(error) => {
                    unread.push(format!("{} can't be read: {error}", path.display()));
                    continue;
                }
            };
            let length = length.min(most);
            let blocks = u32::try_from(length.div_ceil(shape.block_bytes() as u64)).unwrap_or(0);
            images.push(Image { file, length, first, blocks });
            first = first.saturating_add(blocks);
        }
        Self { shape, images }
    }

    /// Looks through all of them, until nothing is missing.
    ///
    /// # Errors
    /// Nobody waits for it any more.
    pub(super) fn search(&self, index: &Index, given_up: &AtomicBool) -> Result<Found, FetchError> {
        let mut search = Search::new(index);
        let block_bytes = self.shape.block_bytes();
        let mut chunk = vec![0; CHUNK_BYTES.max(block_bytes)];
        let each = (chunk.len() / block_bytes) as u32;
        for image in &self.images {
            let mut at = 0;
            while at < image.blocks && !search.is_done() {
                if given_up.load(Ordering::Relaxed) {
                    return Err(FetchError::GivenUp);
                }
                let some = each.min(image.blocks - at);
                let chunk = &mut chunk[..some as usize * block_bytes];
                // What can't be read is not there.
                if image.read(at, block_bytes, chunk).is_ok() {
                    for (number, block) in (image.first + at..).zip(chunk.chunks(block_bytes)) {
                        search.look(number, block);
                    }
                }
                at += some;
            }
        }
        Ok(search.end())
    }

    /// Reads the block of this number; what is behind the end of its image is zeros.
    pub(super) fn read(&self, number: u32, into: &mut [u8]) -> io::Result<()> {
        let image = self.images.iter().rev().find(|image| image.first <= number);
        let image = image.ok_or(io::ErrorKind::NotFound)?;
        image.read(number - image.first, self.shape.block_bytes(), into)
    }
}

impl Image {
    fn read(&self, block: u32, block_bytes: usize, into: &mut [u8]) -> io::Result<()> {
        let from = u64::from(block) * block_bytes as u64;
        let here = usize::try_from(self.length.saturating_sub(from)).unwrap_or(usize::MAX).min(into.len());
        let (here, behind) = into.split_at_mut(here);
        behind.fill(0);
        self.file.read_exact_at(here, from)
    }
}

/// A file or a block device, and how long it is. Anything else might never answer.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let kind = path.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a block device"));
    }
    let mut file = File::open(path)?;
    // A block device has no length among its metadata; both have an end.
    let length = file.seek(SeekFrom::End(0))?;
    Ok((file, length))
}
