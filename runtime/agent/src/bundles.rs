//! The plugin bundles that came by steering, in a folder of their own: they are there after a restart without a network.
//!
//! Not here: which of them are used (`core`: `Upgrade`), and whether they may be (`trust`): each is checked when it is
//! loaded, wherever it came from.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use backstay_hands::{Fetch, FetchError};
use backstay_memory::keep_file;
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

    /// Has a bundle here, fetched if it isn't yet. It is the one of this digest, and nothing else is known of it.
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
        let (folder, path) = (self.0.clone(), self.path(&digest));
        let kept = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&folder)?;
            // What was fetched goes when its room is wanted; this stays for as long as it is used.
            let mut bytes = Vec::new();
            fetched.file.take(length).read_to_end(&mut bytes)?;
            keep_file(&path, &bytes)
        });
        let stopped = |_| io::Error::other("the agent is stopping");
        kept.await
            .map_err(stopped)
            .and_then(|kept| kept)
            .map_err(|error| Missing::new(Transience::Transient, format!("it can't be kept: {error}")))
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
