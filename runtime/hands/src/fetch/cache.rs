//! Whole artifacts, kept within a budget.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use backstay_model::Digest;

use super::{
    Sources,
    error::{FetchError, failed},
    part::is_artifact,
};

/// The most artifacts that are looked through for blocks of another: each is read as a whole.
const OLDER_MAX: usize = 2;

/// Removes what was not used for longest until `length` more bytes fit. What has begun of the artifact itself
/// stays, and is part of those bytes.
pub(super) fn make_room(sources: &Sources, length: u64, keep: &Path) -> Result<(), FetchError> {
    let cache_bytes_max = sources.cache_bytes_max;
    let mut free =
        cache_bytes_max.checked_sub(length).ok_or(FetchError::TooLarge { length, cache_bytes_max })?;
    let mut files = files(&sources.cache, keep)?;
    // The newest are kept for as long as they fit. There are few: sorting them would be more code than looking again.
    while let Some(at) = (0..files.len()).max_by_key(|at| files.get(*at)) {
        let (_, bytes, path) = files.swap_remove(at);
        match free.checked_sub(bytes) {
            Some(left) => free = left,
            None => fs::remove_file(&path).map_err(failed("cannot remove", &path))?,
        }
    }
    Ok(())
}

/// When it was used last, how long it is, and where: of all files in the cache but one.
fn files(dir: &Path, keep: &Path) -> Result<Vec<(SystemTime, u64, PathBuf)>, FetchError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("cannot list", dir))? {
        let entry = entry.map_err(failed("cannot list", dir))?;
        let path = entry.path();
        let about = entry.metadata().map_err(failed("cannot look at", &path))?;
        if about.is_file() && path != keep {
            files.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), path));
        }
    }
    Ok(files)
}

/// The artifacts that were used last, in which there may be blocks of another one.
pub(super) fn older(dir: &Path) -> Vec<PathBuf> {
    // One that can't be looked at is none that helps.
    let mut files = files(dir, Path::new("")).unwrap_or_default();
    files.retain(|(_, _, path)| {
        path.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok()).is_some()
    });
    let mut older = Vec::new();
    while older.len() < OLDER_MAX
        && let Some(at) = (0..files.len()).max_by_key(|at| files.get(*at))
    {
        older.push(files.swap_remove(at).2);
    }
    older
}

/// The cached artifact. One that is damaged is removed, so that it is fetched anew.
pub(super) fn kept(path: &Path, digest: &Digest, length: u64) -> Result<Option<File>, FetchError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot open", path)(error)),
    };
    if is_artifact(&mut file, digest, length).map_err(failed("cannot read", path))? {
        // Only what is thrown away first hangs on it.
        let _ = file.set_modified(SystemTime::now());
        return Ok(Some(file));
    }
    fs::remove_file(path).map_err(failed("cannot remove", path))?;
    Ok(None)
}
