//! Files that commands read and write: bounded, whole or not at all, and never over something by accident.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use backstay_model::{Digest, UnixMs};
use backstay_trust::{Keyring, Statement};
use sha2::{Digest as _, Sha256};

use crate::{Exit, Failure};

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone.
    Secret,
    /// Whoever the system lets.
    Public,
}

fn cannot(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
    let what = format!("cannot {verb} {}", path.display());
    move |error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let exit = if missing { Exit::NotFound } else { Exit::Trouble };
        Failure::new(exit, what).why(error)
    }
}

/// The bytes of a file of at most `max` bytes.
pub(crate) fn read(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let file = fs::File::open(path).map_err(cannot("read", path))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(cannot("read", path))?;
    if bytes.len() > max {
        let what = format!("{} is larger than the {max} bytes that it may have", path.display());
        return Err(Failure::new(Exit::Usage, what).help("is it the right file?"));
    }
    Ok(bytes)
}

/// A keyring.
pub(crate) fn read_keyring(path: &Path) -> Result<Keyring, Failure> {
    let bytes = read(path, Keyring::BYTES_MAX)?;
    Keyring::decode(&bytes).map_err(|why| {
        let help = why.help();
        Failure::new(Exit::Untrusted, format!("{} is no keyring to trust", path.display()))
            .why(why)
            .maybe_help(help)
    })
}

/// A signed statement of any kind, unchecked.
pub(crate) fn read_statement(path: &Path) -> Result<Statement, Failure> {
    let bytes = read(path, Statement::BYTES_MAX)?;
    Statement::read(&bytes)
        .map_err(|why| Failure::untrusted(format!("{} can't be read", path.display()), why))
}

/// Writes a file that isn't there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), Failure> {
    let mode = match access {
        Access::Secret => 0o600,
        Access::Public => 0o644,
    };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let write = || {
        let mut file = options.open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| {
        let there = error.kind() == io::ErrorKind::AlreadyExists;
        if there { exists(path) } else { cannot("write", path)(error) }
    })
}

/// That something is there already.
pub(crate) fn exists(path: &Path) -> Failure {
    Failure::new(Exit::Refused, format!("{} exists, and is not overwritten", path.display()))
        .help("name another place, or move it away yourself")
}

/// Writes a file, over an older one if there is one: whole, or not at all, also when the power goes.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        // Else the new name could be on the disk before the bytes are.
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|error| {
        // Nothing to tell beyond the error that comes: the file beside may never have been there.
        let _ = fs::remove_file(&beside);
        cannot("write", path)(error)
    })
}

/// What lies there.
pub(crate) fn about(path: &Path) -> Result<fs::Metadata, Failure> {
    fs::metadata(path).map_err(cannot("read", path))
}

/// The digest and the length of a file of any size.
pub(crate) fn digest(path: &Path) -> Result<(Digest, u64), Failure> {
    let mut file = fs::File::open(path).map_err(cannot("read", path))?;
    let (mut hash, mut length, mut piece) = (Sha256::new(), 0u64, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut piece).map_err(cannot("read", path))?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        length += bytes.len() as u64;
    }
    Ok((Digest(hash.finalize().into()), length))
}

/// The digest of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// `path` with another ending, for a file that is made of it.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_extension(ending)
}

/// The time, for a signature. A machine without a clock signs with zero, which is before everything.
pub(crate) fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write_new(&path, b"one", Access::Secret).unwrap();
        let failure = write_new(&path, b"two", Access::Secret).unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        fs::write(&path, [0; 11]).unwrap();
        assert!(read(&path, 11).is_ok());
        assert_eq!(read(&path, 10).unwrap_err().exit(), Exit::Usage);
        assert_eq!(digest(&path).unwrap(), (digest_of(&[0; 11]), 11));
        assert_eq!(read(&dir.path().join("none"), 10).unwrap_err().exit(), Exit::NotFound);
    }
}
