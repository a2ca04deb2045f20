//! A real ext4 on a device whose writes are logged, and the same device as a cut would have left it.
//!
//! ```text
//!   program -> ext4 -> loop device -> file served by FUSE (qemu-storage-daemon) -> log of writes and flushes
//! ```
//!
//! To be run in namespaces of its own (`disk-rig` is, by its test): whatever happens to it, mounts, loop devices and the
//! daemon end with it. Not here: what the program is, and what has to hold (`tried`).

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The device: enough for ext4 with its journal, and for what a small device keeps.
pub const BYTES: usize = 40 << 20;
/// The longest that the daemon may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(60);

/// A program's words, each with how long the log was when it was heard: what it is about was in the log before.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The words.
    pub said: Vec<String>,
    /// The length of the log, at each of them.
    pub at: Vec<u64>,
}

/// The file system, mounted.
#[derive(Debug)]
pub struct Rig {
    daemon: Child,
    mounted: Option<Mounted>,
    log: PathBuf,
}

/// Something that is mounted until this is dropped.
#[derive(Debug)]
pub struct Mounted(PathBuf);

fn told(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

impl Mounted {
    /// Mounts what is in a file. The loop device goes with the mount.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn on(file: &Path, dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        told(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(file).arg(dir))?;
        Ok(Self(dir.to_owned()))
    }

    /// Mounts memory: images are written and read again and again, and go with the namespace, however that ends.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn memory(dir: &Path) -> Result<Self, String> {
        told(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(dir))?;
        Ok(Self(dir.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A program that has just ended may be busy with its last file.
        for _ in 0..50 {
            if told(Command::new("umount").arg(&self.0)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        drop(told(Command::new("umount").arg("-l").arg(&self.0)));
    }
}

impl Rig {
    /// Makes a device below `base`, a file system on it, and mounts it.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn starts(base: &Path) -> Result<Self, String> {
        let io = |error: io::Error| error.to_string();
        let (disk, log, served) = (base.join("disk"), base.join("log"), base.join("served"));
        File::create(&disk).and_then(|file| file.set_len(BYTES as u64)).map_err(io)?;
        for file in [&log, &served] {
            File::create(file).map_err(io)?;
        }
        let node =
            |name: &str, file: &Path| format!("driver=file,node-name={name},filename={}", file.display());
        let mut command = Command::new("qemu-storage-daemon");
        command.args(["--blockdev", &node("disk", &disk), "--blockdev", &node("log", &log)]);
        command.args([
            "--blockdev",
            "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512",
        ]);
        let export =
            format!("type=fuse,id=export,node-name=logged,mountpoint={},writable=on", served.display());
        let daemon = command.args(["--export", &export]).stdin(Stdio::null()).spawn();
        let daemon = daemon.map_err(|error| format!("qemu-storage-daemon doesn't start: {error}"))?;
        let mut rig = Self { daemon, mounted: None, log };
        let begin = Instant::now();
        while fs::metadata(&served).map_or(0, |about| about.len()) != BYTES as u64 {
            if let Ok(Some(status)) = rig.daemon.try_wait() {
                return Err(format!("qemu-storage-daemon ended: {status}"));
            }
            if begin.elapsed() > BEGIN_MAX {
                return Err("qemu-storage-daemon serves nothing".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        // All that is made later is made now: what is written from here on is the program's doing.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        told(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096", "-E", options]).arg(&served))?;
        rig.mounted = Some(Mounted::on(&served, &base.join("mounted"))?);
        Ok(rig)
    }

    /// Where the file system is mounted.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.mounted.as_ref().map_or_else(PathBuf::new, |mounted| mounted.dir().to_owned())
    }

    /// How long the log is.
    #[must_use]
    pub fn length(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |about| about.len())
    }

    /// Runs a program to its end, and hears what it says.
    ///
    /// # Errors
    /// If it fails.
    pub fn hears(&self, command: &mut Command) -> Result<Heard, String> {
        let program = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut program = program.map_err(|error| format!("{command:?}: {error}"))?;
        let mut heard = Heard::default();
        for line in BufReader::new(program.stdout.take().ok_or("no output")?).lines() {
            heard.said.push(line.map_err(|error| error.to_string())?);
            heard.at.push(self.length());
        }
        let status = program.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(heard) } else { Err(format!("{command:?}: {status}")) }
    }

    /// Ends, and gives the log.
    #[must_use]
    pub fn ends(mut self) -> PathBuf {
        drop(self.mounted.take());
        self.log.clone()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.mounted.take());
        // It writes down how much there is in the log when it is asked to end.
        drop(told(Command::new("kill").arg(self.daemon.id().to_string())));
        drop(self.daemon.wait());
    }
}

/// Writes a device into a file, with holes where there is nothing.
///
/// # Errors
/// As the system says.
pub fn put(device: &[u8], path: &Path) -> io::Result<()> {
    const PAGE: usize = 4096;
    const EMPTY: [u8; PAGE] = [0; PAGE];
    drop(fs::remove_file(path));
    let file = File::create(path)?;
    file.set_len(device.len() as u64)?;
    for (at, page) in device.chunks(PAGE).enumerate().filter(|(_, page)| !EMPTY.starts_with(page)) {
        file.write_all_at(page, (at * PAGE) as u64)?;
    }
    Ok(())
}
