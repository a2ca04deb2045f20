//! The plugin bundles that came by steering, in a folder of their own: they are there after a restart without a network.
//!
//! Not here: which of them are used (`core`: `Upgrade`), and whether they may be (`trust`): each is checked when it is
//! loaded, wherever it came from.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use backstay_hands::{Fetch, FetchError};
use backstay_model::{Digest, Release, Transience, causes};
use backstay_trust::Bundle;

/// The folder.
#[derive(Clone, Debug)]
pub struct Bundles(PathBuf);

/// A bundle that did not come.
#[derive(Debug)]
pub struct Missing {
    /// Whether asking again can help.
    pub transience: Transience,
    /// Why.
    pub why: String,
}

impl Missing {
    fn new(transience: Transience, why: impl Into<String>) -> Self {
        Self { transience, why: why.into() }
    }
}

impl Bundles {
    /// In the folder of an agent's state.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self(state.join("plugins"))
    }

    /// Where a bundle is, or would be.
    #[must_use]
    pub fn path(&self, bundle: &Digest) -> PathBuf {
        self.0.join(format!("{bundle}.bundle"))
    }

    /// Fetches a bundle and keeps it. It is the one of this digest, and nothing else is known of it.
    ///
    /// # Errors
    /// If it can't be had or kept.
    pub async fn get(&self, fetch: Option<Fetch>, bundle: &Release) -> Result<(), Missing> {
        let (digest, length) = (bundle.digest, bundle.length);
        if length > Bundle::DEVICE_BYTES_MAX as u64 {
            let why = format!("it has {length} bytes, and {} are the most here", Bundle::DEVICE_BYTES_MAX);
            return Err(Missing::new(Transience::Permanent, why));
        }
        let no_server = || Missing::new(Transience::Permanent, "no [server] is configured to fetch from");
        let fetched = fetch.ok_or_else(no_server)?.get(digest, length).await;
        let fetched = fetched
            .map_err(|error| Missing::new(FetchError::transience(&error), causes::in_one_line(&error)))?;
        self.keep(&fetched.path, &digest)
            .map_err(|error| Missing::new(Transience::Transient, format!("it can't be kept: {error}")))
    }

    /// Keeps a file that was fetched beyond the time that its room is wanted for something else: it gets a second name.
    fn keep(&self, fetched: &Path, digest: &Digest) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.path(digest);
        match fs::hard_link(fetched, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // Not every file system knows two names. A copy that a power cut breaks off is no bundle, and fetched anew.
                fs::copy(fetched, &path)?;
                File::open(&path)?.sync_all()?;
            }
            _ => {}
        }
        File::open(&self.0)?.sync_all()
    }

    /// Removes all but these.
    pub fn retain(&self, used: &[Digest]) {
        let used: Vec<PathBuf> = used.iter().map(|digest| self.path(digest)).collect();
        let here = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in here.filter(|path| !used.contains(path)) {
            // One that stays takes a little room, and is tried again with the next.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_when_the_cache_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (bundles, digest) = (Bundles::of(dir.path()), Digest([1; 32]));
        let fetched = dir.path().join("fetched");
        fs::write(&fetched, b"bytes").unwrap();
        for _ in 0..2 {
            bundles.keep(&fetched, &digest).unwrap();
        }
        fs::remove_file(&fetched).unwrap();
        assert_eq!(fs::read(bundles.path(&digest)).unwrap(), b"bytes");
    }

    #[test]
    fn what_is_not_used_any_more_goes() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles::of(dir.path());
        bundles.retain(&[]);
        fs::create_dir_all(dir.path().join("plugins")).unwrap();
        let (used, old) = (Digest([1; 32]), Digest([2; 32]));
        for digest in [used, old] {
            fs::write(bundles.path(&digest), b"bytes").unwrap();
        }
        bundles.retain(&[used]);
        assert!(bundles.path(&used).is_file() && !bundles.path(&old).exists());
    }
}
