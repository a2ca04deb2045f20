//! Files below granted paths: read, or replaced in one go.
//!
//! A granted path may itself be reached over links, for it was named by an operator. Below it no link is followed
//! and no `..` is taken: the way is walked from one open directory to the next, so what is checked is what is
//! opened, whoever moves things in the meantime.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

use backstay_model::{Access, Answer, Transience};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, renameat, unlinkat},
    io::Errno,
};

use crate::output::{Tail, failed, refused, transience};

/// The most that may be written.
const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// The longest file that is read, to give back its end and its digest.
const READ_BYTES_MAX: u64 = 16 << 20;
/// What a replacement is called until it is whole. One name per file: a cut leaves one behind at most, and the
/// next replacement takes it away.
const PART: &str = ".backstay-part";

/// What may be done with a path and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// An absolute path: a directory with all that is below it, or one file.
    pub path: PathBuf,
    /// Whether files may be replaced, or only read.
    pub access: Access,
}

/// The paths that were granted.
#[derive(Clone, Debug, Default)]
pub struct Paths(Vec<Granted>);

impl Paths {
    /// Takes grants. One whose path is relative or holds `..` grants nothing.
    #[must_use]
    pub fn new(granted: Vec<Granted>) -> Self {
        Self(granted.into_iter().filter(|grant| plain(&grant.path)).collect())
    }

    /// What a file holds: the end of it and its digest where it is long, up to 16 MiB.
    #[must_use]
    pub fn read(&self, path: &str) -> Answer {
        let (dir, name) = match self.way(path, Access::Looks) {
            Ok(way) => way,
            Err(answer) => return *answer,
        };
        match read(&dir, name) {
            Ok(Some(tail)) => Answer::Content(tail.finish()),
            Ok(None) => failed(Transience::Permanent, format!("{path} is no file of at most 16 MiB")),
            Err(error) => failed(transience(&error), format!("cannot read {path}: {error}")),
        }
    }

    /// Puts `content` in a file's place, durably: whoever reads it sees the old or the new. It keeps the mode of
    /// the file that it replaces, and is else readable by its owner alone.
    #[must_use]
    pub fn replace(&self, path: &str, content: &[u8]) -> Answer {
        if content.len() > CONTENT_BYTES_MAX {
            return refused(format!("a file is given at most {CONTENT_BYTES_MAX} bytes"));
        }
        let (dir, name) = match self.way(path, Access::Changes) {
            Ok(way) => way,
            Err(answer) => return *answer,
        };
        match replace(&dir, name, content) {
            Ok(()) => Answer::Done,
            Err(error) => failed(transience(&error), format!("cannot replace {path}: {error}")),
        }
    }

    /// The open directory that a granted path ends in, and the name in it.
    fn way<'a>(&self, path: &'a str, access: Access) -> Result<(OwnedFd, &'a OsStr), Box<Answer>> {
        let wanted = Path::new(path);
        let enough = |grant: &Granted| grant.access == Access::Changes || access == Access::Looks;
        let grant = self.0.iter().find(|grant| enough(grant) && wanted.starts_with(&grant.path));
        let (Some(grant), true, Some(name)) = (grant, plain(wanted), wanted.file_name()) else {
            return Err(Box::new(refused(format!("{} is not a granted path", path.escape_debug()))));
        };
        let (start, below) = match wanted.strip_prefix(&grant.path) {
            Ok(rest) if rest.as_os_str().is_empty() => (grant.path.parent(), Path::new("")),
            Ok(rest) => (Some(grant.path.as_path()), rest.parent().unwrap_or(Path::new(""))),
            Err(_) => (None, Path::new("")),
        };
        let start = start.ok_or_else(|| Box::new(refused(format!("{} is no file", path.escape_debug()))))?;
        walk(start, below)
            .map(|dir| (dir, name))
            .map_err(|error| Box::new(failed(transience(&error), format!("cannot go to {path}: {error}"))))
    }
}

/// Whether a path is absolute and each part of it a name.
fn plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

fn walk(start: &Path, below: &Path) -> io::Result<OwnedFd> {
    let dir = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, start, dir, Mode::empty())?;
    for part in below.components() {
        at = openat(&at, part.as_os_str(), dir | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

/// `None`: it is no plain file, or too long.
fn read(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<Tail>> {
    // A pipe must not keep us waiting for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // What the kernel says of a link that it is told not to follow would send people to look for a loop.
        Err(Errno::LOOP) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link")),
        // A socket, or a device without a driver.
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let (mut tail, mut length, mut chunk) = (Tail::new(), 0_u64, vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(Some(tail));
        }
        length += read as u64;
        if length > READ_BYTES_MAX {
            return Ok(None);
        }
        tail.take(&chunk[..read]);
    }
}

fn replace(dir: &OwnedFd, name: &OsStr, content: &[u8]) -> io::Result<()> {
    let mut part = name.to_owned();
    part.push(PART);
    let mode = match openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(old) => {
            let old = File::from(old).metadata()?;
            if !old.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
            }
            Some(old.mode() & 0o777)
        }
        Err(error) if error == Errno::NOENT => None,
        Err(error) => return Err(error.into()),
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match unlinkat(dir, &part, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let mut file = File::from(openat(dir, &part, flags, Mode::RUSR | Mode::WUSR)?);
    let done = (|| {
        file.write_all(content)?;
        if let Some(mode) = mode {
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        file.sync_all()?;
        renameat(dir, &part, dir, name)?;
        Ok(fsync(dir)?)
    })();
    if done.is_err() {
        // What is of no use gives its room back; after the rename there is nothing to take away.
        let _ = unlinkat(dir, &part, AtFlags::empty());
    }
    done
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    struct World {
        home: tempfile::TempDir,
        paths: Paths,
    }

    impl World {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            for dir in ["etc/pump", "logs", "secret"] {
                fs::create_dir_all(home.path().join(dir)).unwrap();
            }
            fs::write(home.path().join("secret/key"), "k").unwrap();
            fs::write(home.path().join("etc/pump/rate"), "3").unwrap();
            fs::write(home.path().join("logs/now"), "up").unwrap();
            let grant = |path, access| Granted { path: home.path().join(path), access };
            let paths = Paths::new(vec![
                grant("logs", Access::Looks),
                grant("etc", Access::Changes),
                grant("one", Access::Changes),
                grant("etc/../secret", Access::Changes),
                Granted { path: "relative".into(), access: Access::Changes },
            ]);
            Self { home, paths }
        }

        fn path(&self, path: &str) -> String {
            self.home.path().join(path).to_str().unwrap().to_owned()
        }

        fn reads(&self, path: &str) -> Option<String> {
            let Answer::Content(output) = self.paths.read(&self.path(path)) else { return None };
            Some(String::from_utf8(output.bytes).unwrap())
        }

        fn replaces(&self, path: &str) -> Answer {
            self.paths.replace(&self.path(path), b"5")
        }
    }

    #[test]
    fn granted_files_are_read_and_replaced() {
        let world = World::new();
        let rate = world.home.path().join("etc/pump/rate");
        fs::set_permissions(&rate, fs::Permissions::from_mode(0o640)).unwrap();
        // Left over from a cut in the middle of an earlier one.
        fs::write(world.home.path().join("etc/pump/rate.backstay-part"), "half").unwrap();
        assert_eq!(world.replaces("etc/pump/rate"), Answer::Done);
        assert_eq!(world.reads("etc/pump/rate").as_deref(), Some("5"));
        assert_eq!(fs::metadata(&rate).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(world.home.path().join("etc/pump")).unwrap().count(), 1);
        assert_eq!(world.replaces("one"), Answer::Done);
        assert_eq!(world.reads("one").as_deref(), Some("5"));
        assert_eq!(world.reads("logs/now").as_deref(), Some("up"));
    }

    #[test]
    fn nothing_else_is() {
        let world = World::new();
        let refused = |answer: Answer| matches!(answer, Answer::Refused(_));
        assert!(refused(world.replaces("logs/now")), "only granted for reading");
        for path in ["secret/key", "etc/../secret/key", "etc2/x", "ones", ""] {
            assert!(refused(world.replaces(path)), "{path}");
        }
        for path in ["etc/pump/rate", "/etc/pass\0wd", "", "/"] {
            assert!(refused(world.paths.read(path)), "{path}");
        }
        assert!(refused(world.paths.replace(&world.path("etc/x"), &[0; CONTENT_BYTES_MAX + 1])));
    }

    #[test]
    fn no_link_leads_out() {
        let world = World::new();
        let root = world.home.path();
        symlink("../secret", root.join("etc/out")).unwrap();
        symlink("../secret/key", root.join("etc/key")).unwrap();
        symlink("../secret", root.join("logs/out")).unwrap();
        for path in ["etc/out/key", "etc/key", "logs/out/key"] {
            assert_eq!(world.reads(path), None, "{path}");
        }
        for path in ["etc/out/key", "etc/key", "etc/pump"] {
            assert!(matches!(world.replaces(path), Answer::Failed(_)), "{path}");
        }
        // Not even where the link stands in the place of the unfinished replacement.
        symlink("../../secret/key", root.join("etc/pump/rate.backstay-part")).unwrap();
        assert_eq!(world.replaces("etc/pump/rate"), Answer::Done);
        assert_eq!(fs::read_to_string(root.join("secret/key")).unwrap(), "k");
    }

    #[test]
    fn a_directory_or_a_device_is_no_file() {
        let world = World::new();
        assert_eq!(world.reads("etc/pump"), None);
        let devices = Paths::new(vec![Granted { path: "/dev".into(), access: Access::Looks }]);
        assert!(matches!(devices.read("/dev/zero"), Answer::Failed(_)));
    }
}
