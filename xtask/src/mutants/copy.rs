//! The tree that is broken: a copy, so that nobody who works in the real one sees a change come and go.
//!
//! Here: how the copy comes to be as the tree is, and whether it is what it was when something was begun. Not here: what is done in it.
//!
//! What is already the same stays untouched: cargo builds only what changed, and a place that stayed broken because the machine stopped
//! is mended.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

const HISTORY: &str = ".git";
/// In each folder that cargo makes. By its name it can't be told: a module may be called `target`, too.
const MADE: &str = "CACHEDIR.TAG";
/// What is only read by people says nothing about what a test does.
const WORDS: &str = "md";

/// Makes `to` as `from` is, without what is made in it. The number changes where a file other than words does.
pub(super) fn mirror(from: &Path, to: &Path) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    folder(from, to, &mut hasher)?;
    Ok(hasher.finish())
}

fn folder(from: &Path, to: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != HISTORY && !entry.path().join(MADE).exists() {
            names.insert(entry.file_name());
        }
    }
    for name in &names {
        let (from, to) = (from.join(name), to.join(name));
        let kind = fs::symlink_metadata(&from)?.file_type();
        name.hash(hasher);
        if kind.is_dir() {
            folder(&from, &to, hasher)?;
        } else if kind.is_symlink() {
            let leads = fs::read_link(&from)?;
            if fs::read_link(&to).ok().as_ref() != Some(&leads) {
                remove(&to)?;
                symlink(leads, &to)?;
            }
        } else if kind.is_file() {
            let bytes = fs::read(&from)?;
            if from.extension().is_none_or(|extension| extension != WORDS) {
                bytes.hash(hasher);
            }
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                remove(&to)?;
                fs::copy(&from, &to)?;
            }
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whatever it is, and if it is.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_becomes_what_the_tree_is() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("core/target")).unwrap();
        fs::create_dir_all(from.join("target")).unwrap();
        fs::write(from.join("core/a.rs"), "1").unwrap();
        fs::write(from.join("core/target/b.rs"), "").unwrap();
        fs::write(from.join("target").join(MADE), "").unwrap();
        fs::write(from.join("page.md"), "one").unwrap();
        symlink("core", from.join("link")).unwrap();
        let first = mirror(&from, &to).unwrap();
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("core"));
        assert!(to.join("core/target/b.rs").exists());
        assert!(!to.join("target").exists());

        // A place that stayed broken, and a file that is no more.
        let kept = fs::metadata(to.join("page.md")).unwrap().modified().unwrap();
        fs::write(to.join("core/a.rs"), "broken").unwrap();
        fs::write(to.join("core/b.rs"), "").unwrap();
        assert_eq!(mirror(&from, &to).unwrap(), first);
        assert_eq!(fs::read(to.join("core/a.rs")).unwrap(), b"1");
        assert!(!to.join("core/b.rs").exists());
        assert_eq!(fs::metadata(to.join("page.md")).unwrap().modified().unwrap(), kept);

        fs::write(from.join("page.md"), "two").unwrap();
        assert_eq!(mirror(&from, &to).unwrap(), first);
        fs::write(from.join("core/a.rs"), "2").unwrap();
        assert_ne!(mirror(&from, &to).unwrap(), first);
        assert_eq!(fs::read(to.join("page.md")).unwrap(), b"two");
    }
}
