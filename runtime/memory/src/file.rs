//! A file that is there whole or not at all, and a folder that stays.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Writes a file whole and durably, or not at all: beside it, and moved into place. Its owner alone may read it.
///
/// # Errors
/// If the disk doesn't take it; what was there before is there still.
pub fn keep_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_names(path)
}

/// Makes a folder durably, where there is none yet, and those above it. Without this a file in it may be as durable as can
/// be, and gone with the folder's name.
///
/// # Errors
/// If the disk doesn't take it.
pub fn keep_folder(path: &Path) -> io::Result<()> {
    match (fs::create_dir(path), path.parent()) {
        (Err(error), Some(above)) if error.kind() == io::ErrorKind::NotFound => {
            keep_folder(above)?;
            fs::create_dir(path)?;
        }
        // Whoever made it may have ended before its name was durable, so that is seen to all the same.
        (Err(error), _) if error.kind() == io::ErrorKind::AlreadyExists => {}
        (made, _) => made?,
    }
    sync_names(path)
}

/// Makes durable that something has this path.
fn sync_names(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(above) => File::open(above)?.sync_all(),
        None => Ok(()),
    }
}
