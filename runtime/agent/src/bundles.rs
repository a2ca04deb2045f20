//! The plugin bundles that came by steering, in a folder of their own: they are there after a restart without a network.
//! So is that of the executor whose run is open: the image that the run restarts into may bring another one.
//!
//! Not here: which of them are used (`core`: `Upgrade`), and whether they may be (`trust`): each is checked when it is
//! loaded, wherever it came from.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use backstay_hands::{Fetch, FetchError};
use backstay_memory::{keep_file, keep_folder};
use backstay_model::{Digest, Release, Transience, causes};
use backstay_slots::{RAISE_THE_LIMIT, is_out_of_descriptors};
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
        keep_folder(&self.0)?;
        let (path, beside) = (self.path(digest), self.0.join("fetched.new"));
        // What a power cut left of an earlier try.
        let _ = fs::remove_file(&beside);
        if fs::hard_link(fetched, &beside).is_err() {
            // Not every file system knows two names.
            fs::copy(fetched, &beside)?;
            File::open(&beside)?.sync_all()?;
        }
        // In the place of one that is damaged by now.
        fs::rename(&beside, &path)?;
        // Two names of one file are not made one by renaming.
        let _ = fs::remove_file(&beside);
        File::open(&self.0)?.sync_all()
    }

    /// Where the bundle is of the executor of this grant, if it has taken a run.
    #[must_use]
    pub fn path_of_run(&self, grant: &Digest) -> PathBuf {
        self.0.join(format!("{grant}.run"))
    }

    /// Keeps the bundle of an executor that takes a run, durably, until [`Self::retain`] is told that nobody needs it. It is
    /// in one of these files, unless that was replaced since it was loaded. One that is kept already is not written again.
    ///
    /// # Errors
    /// If none of the files is that bundle any more, or it can't be kept.
    pub fn keep_for_run(&self, grant: &Digest, bundle: &Digest, files: &[&Path]) -> io::Result<()> {
        let path = self.path_of_run(grant);
        if whole(&path, bundle)?.is_some() {
            return Ok(());
        }
        for file in files {
            if let Some(bytes) = whole(file, bundle)? {
                keep_folder(&self.0)?;
                return keep_file(&path, &bytes);
            }
        }
        let gone = "the file that it was loaded from is another one now";
        Err(io::Error::new(io::ErrorKind::NotFound, gone))
    }

    /// Removes all but these bundles, and those of runs under these grants.
    pub fn retain(&self, used: &[Digest], runs: &[Digest]) {
        let used = used.iter().map(|digest| self.path(digest));
        let used: Vec<PathBuf> = used.chain(runs.iter().map(|grant| self.path_of_run(grant))).collect();
        let here = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in here.filter(|path| !used.contains(path)) {
            // One that stays takes a little room, and is tried again with the next.
            let _ = fs::remove_file(path);
        }
    }
}

/// The bytes of a file, where they are this bundle. That nothing can be opened now says nothing of the file.
fn whole(path: &Path, bundle: &Digest) -> io::Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(bytes) => Ok((Bundle::digest(&bytes) == *bundle).then_some(bytes)),
        Err(error) if is_out_of_descriptors(&error) => {
            let why = format!("no file descriptor is left to open {}: {RAISE_THE_LIMIT}", path.display());
            Err(io::Error::new(error.kind(), why))
        }
        Err(_) => Ok(None),
    }
}

/// A file that may be a bundle, and no more of it than a bundle can have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(Bundle::DEVICE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
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
        // A copy that was broken off, or is damaged by now, makes room for the whole one.
        fs::remove_file(bundles.path(&digest)).unwrap();
        fs::write(bundles.path(&digest), b"by").unwrap();
        bundles.keep(&fetched, &digest).unwrap();
        fs::remove_file(&fetched).unwrap();
        assert_eq!(fs::read(bundles.path(&digest)).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(dir.path().join("plugins")).unwrap().count(), 1, "nothing lies about");
    }

    #[test]
    fn what_is_not_used_any_more_goes() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles::of(dir.path());
        bundles.retain(&[], &[]);
        fs::create_dir_all(dir.path().join("plugins")).unwrap();
        let (used, old) = (Digest([1; 32]), Digest([2; 32]));
        for digest in [used, old] {
            fs::write(bundles.path(&digest), b"bytes").unwrap();
        }
        bundles.retain(&[used], &[]);
        assert!(bundles.path(&used).is_file() && !bundles.path(&old).exists());
    }

    /// The image that a run restarts into has another file in the place of the one that the run's executor came from.
    #[test]
    fn the_executor_of_a_run_outlasts_the_image_that_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let (bundles, grant) = (Bundles::of(dir.path()), Digest([7; 32]));
        let (image, cache) = (dir.path().join("executor.bundle"), dir.path().join("nothing.bundle"));
        fs::write(&image, b"of image a").unwrap();
        let digest = Bundle::digest(b"of image a");
        let keep = || bundles.keep_for_run(&grant, &digest, &[&cache, &image]);
        let kept = || fs::read(bundles.path_of_run(&grant)).unwrap();
        keep().unwrap();
        fs::write(&image, b"of image b").unwrap();
        keep().unwrap();
        assert_eq!(kept(), b"of image a", "what is kept isn't asked for again");
        // Half of it is no bundle, and is made good from where it is whole.
        fs::write(bundles.path_of_run(&grant), b"of im").unwrap();
        assert_eq!(keep().unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&image, b"of image a").unwrap();
        keep().unwrap();
        assert_eq!(kept(), b"of image a");
        bundles.retain(&[], &[grant]);
        assert_eq!(kept(), b"of image a", "the run is open");
        bundles.retain(&[digest], &[]);
        assert!(!bundles.path_of_run(&grant).exists());
    }
}
