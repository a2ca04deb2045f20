//! What a program did to the files in a folder, call by call, as it asked the kernel for it.
//!
//! `strace` writes it down. So it is complete whatever the program is made of, sled and threads among it, and nothing in
//! the program knows. What it writes to its standard output is what it says to somebody outside. Not here: what each call
//! did (`calls`), and what is left after a cut (`disk`).

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    calls::{Reader, clip},
    disk::{Did, Disk},
};

/// All calls that can change names or bytes, make them durable, or move what later ones mean.
const CALLS: &str = "openat,open,creat,close,dup,dup2,dup3,fcntl,lseek,read,write,pwrite64,writev,pwritev,pwritev2,ftruncate,\
truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,fsync,\
fdatasync,sync,syncfs,mmap,copy_file_range,sendfile,splice,chdir,clone,clone3,fork,vfork,execve";

/// What a program did, oldest first.
#[derive(Debug)]
pub struct Recorded {
    /// The folder as it was before.
    pub before: Disk,
    /// What was done.
    pub did: Vec<Did>,
}

/// Whether programs can be recorded here; says why if they can't.
///
/// # Errors
/// What is missing.
pub fn can_record() -> Result<(), String> {
    let tried =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::piped()).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("strace can't trace here: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("strace is not installed: {error}")),
    }
}

impl Recorded {
    /// Runs `program` with `args`, and records what it does in `dir`, which it is given by an absolute path.
    ///
    /// # Errors
    /// If it can't be started, or did something to a file there that isn't understood here.
    pub fn of(program: &Path, args: &[&str], dir: &Path) -> Result<Self, String> {
        let before = Disk::of(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
        let log = dir.with_extension("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-xx", "-s", "16777216", "-e", &format!("trace={CALLS}"), "-o"]);
        command.arg(&log).arg(program).args(args);
        let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.map_err(|error| format!("strace doesn't start: {error}"))?;
        let calls =
            fs::read_to_string(&log).map_err(|error| format!("cannot read what strace wrote: {error}"))?;
        drop(fs::remove_file(&log));
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
        }
        let mut reader = Reader::new(before.clone(), dir);
        for line in calls.lines() {
            reader.line(line).map_err(|why| format!("{why}, in {}", clip(line)))?;
        }
        Ok(Self { before, did: reader.did() })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::power::disk::{Cut, Found};

    /// What a shell and `dd` do, with descriptors that are moved about and processes that are made. A rig that saw no
    /// difference between what was synced and what wasn't would prove nothing.
    #[test]
    fn what_was_never_synced_is_seen_to_be_lost() {
        if let Err(why) = can_record() {
            println!("skipped, because {why}");
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("device");
        fs::create_dir(&dir).unwrap();
        let told = dir.display();
        let script = format!(
            "printf one > {told}/careless; printf two | dd of={told}/careful conv=fsync 2>/dev/null; echo first; \
             sync {told}; echo second; mv {told}/careful {told}/moved; echo third"
        );
        let recorded = Recorded::of(Path::new("/bin/sh"), &["-c", &script], &dir).unwrap();
        let after = |said: &str, cut| {
            let mut disk = recorded.before.clone();
            let up_to = recorded.did.iter().position(|did| *did == Did::Says(said.into())).unwrap();
            recorded.did[..up_to].iter().for_each(|did| disk.does(did));
            let left = disk.left(cut);
            let content = |(path, found): (PathBuf, Found)| {
                let Found::File(bytes) = found else { panic!("{} is no file", path.display()) };
                format!("{}={}", path.display(), String::from_utf8(bytes).unwrap())
            };
            left.into_iter().map(content).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(after("first", Cut::Kill), "careful=two careless=one");
        assert_eq!(after("first", Cut::Strict), "", "no name was synced");
        assert_eq!(after("first", Cut::NamesOnly), "careful=two careless=");
        assert_eq!(after("second", Cut::Strict), "careful=two careless=");
        assert_eq!(after("third", Cut::Strict), "careful=two careless=");
        assert_eq!(after("third", Cut::Kill), "careless=one moved=two");
    }
}
