//! Making a file of blocks: in one pass through the artifact, a block at a time.

use std::{
    error, fmt,
    io::{self, Read, Seek, SeekFrom, Write},
};

use backstay_model::Digest;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use sha2::{Digest as _, Sha256};

use crate::{Shape, index::MAGIC, key};

/// zlib's best. What more would save is half a percent, and takes three times as long.
const LEVEL: i32 = 9;
/// What a flush leaves at its end always, so that it need not be stored.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// A file of blocks that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Of the artifact.
    pub digest: Digest,
    /// Of the artifact, in bytes.
    pub length: u64,
    /// All of the file, in bytes.
    pub bytes: u64,
}

/// A file of blocks that was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// Artifacts of this length have none.
    NoShape {
        /// Its length.
        length: u64,
    },
    /// The artifact can't be read, or has another length by now.
    Read {
        /// Why.
        source: io::Error,
    },
    /// The file can't be written.
    Write {
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoShape { length } => {
                write!(f, "an artifact of {length} bytes has no blocks: from 1 MiB to 8 GiB have")
            }
            Self::Read { .. } => f.write_str("cannot read the artifact"),
            Self::Write { .. } => f.write_str("cannot write its blocks"),
        }
    }
}

impl error::Error for WriteError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::NoShape { .. } => None,
            Self::Read { source } | Self::Write { source } => Some(source),
        }
    }
}

/// Makes the blocks of an artifact of `length` bytes, into an empty file. Takes some 2 MB of memory, however large it is. Whoever
/// calls makes it durable.
///
/// # Errors
/// It is too short or too long, or a file failed; what is in `out` then is nothing.
pub fn write(
    artifact: &mut impl Read,
    length: u64,
    out: &mut (impl Write + Seek),
) -> Result<Written, WriteError> {
    let shape = Shape::of(length).ok_or(WriteError::NoShape { length })?;
    let failed = |source| WriteError::Write { source };
    let index_bytes = shape.index_bytes() as u64;
    out.seek(SeekFrom::Start(index_bytes)).map_err(failed)?;

    // Raw: without the head and the sum of zlib.
    let flags = create_comp_flags_from_zip_params(LEVEL, -15, 0);
    let mut compressor = CompressorOxide::new(flags);
    let (mut keys, mut sizes) = (Vec::new(), Vec::new());
    let (mut hasher, mut bytes) = (Sha256::new(), index_bytes);
    let mut block = vec![0; shape.block_bytes()];
    let mut packed = Vec::with_capacity(2 * shape.block_bytes());
    for number in 0..shape.blocks() {
        let place = shape.place(number);
        let block = &mut block[..(place.end - place.start) as usize];
        artifact.read_exact(block).map_err(|source| WriteError::Read { source })?;
        hasher.update(&*block);
        keys.extend_from_slice(&key(block, shape.block_bytes()).to_le_bytes());
        pack(&mut compressor, block, &mut packed).map_err(failed)?;
        let stored = if packed.len() < block.len() { &packed } else { &*block };
        out.write_all(stored).map_err(failed)?;
        bytes += stored.len() as u64;
        // A block has at most 64 KiB, and no less than one byte.
        sizes.extend_from_slice(&((stored.len() - 1) as u16).to_le_bytes());
    }
    if artifact.read(&mut [0]).map_err(|source| WriteError::Read { source })? > 0 {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it is longer than it was");
        return Err(WriteError::Read { source });
    }
    let digest = Digest(hasher.finalize().into());
    let index = [&MAGIC[..], &digest.0, &length.to_le_bytes(), &keys, &sizes].concat();
    out.rewind().and_then(|()| out.write_all(&index)).map_err(failed)?;
    out.write_all(&Sha256::digest(&index)).and_then(|()| out.flush()).map_err(failed)?;
    Ok(Written { digest, length, bytes })
}

/// Compresses the next block of a stream so that it ends with a whole byte.
fn pack(compressor: &mut CompressorOxide, block: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
    packed.clear();
    let (status, read) = compress_to_output(compressor, block, TDEFLFlush::Sync, |some| {
        packed.extend_from_slice(some);
        true
    });
    if status != TDEFLStatus::Okay || read != block.len() || !packed.ends_with(&FLUSHED) {
        return Err(io::Error::other("the compressor did not take a block"));
    }
    packed.truncate(packed.len() - FLUSHED.len());
    Ok(())
}

#[cfg(test)]
pub(crate) mod testing {
    use std::io::Cursor;

    use super::*;
    use crate::Index;

    /// Nothing in it compresses or is there twice.
    pub(crate) fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    /// A little more than 1 MiB: text, noise, zeros, and a short end.
    pub(crate) fn artifact() -> Vec<u8> {
        let text: String = (0..50_000).map(|line| format!("line {line} of all\n")).collect();
        let mut artifact = text.into_bytes();
        artifact.extend_from_slice(&noise(200_000));
        artifact.resize(artifact.len() + 50_000, 0);
        artifact.resize(artifact.len().next_multiple_of(4096), 3);
        artifact.extend_from_slice(&noise(100));
        artifact
    }

    pub(crate) fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Its file of blocks, and the index in it.
    pub(crate) fn made(artifact: &[u8]) -> (Index, Vec<u8>) {
        let mut file = Cursor::new(Vec::new());
        let length = artifact.len() as u64;
        let written = write(&mut &*artifact, length, &mut file).unwrap();
        let file = file.into_inner();
        assert_eq!(written, Written { digest: digest(artifact), length, bytes: file.len() as u64 });
        let index = file[..Shape::of(length).unwrap().index_bytes()].to_vec();
        (Index::read(index, &written.digest, length).unwrap(), file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::testing::*;
    use super::*;

    #[test]
    fn an_artifact_that_is_not_as_long_as_it_was_has_no_blocks() {
        let artifact = artifact();
        let length = artifact.len() as u64;
        let write = |length| write(&mut &artifact[..], length, &mut Cursor::new(Vec::new()));
        assert!(matches!(write(length + 1), Err(WriteError::Read { .. })));
        assert!(matches!(write(length - 1), Err(WriteError::Read { .. })));
        assert!(matches!(write(1000), Err(WriteError::NoShape { length: 1000 })));
        assert!(write(length).unwrap().bytes < length / 2);
    }
}
