//! What a process stands on, made worse while it runs: a disk of its own in a mount namespace of its own, its descriptors, its
//! monotonic clock.
//!
//! All of it ends with the process. Not here: what has to hold meanwhile (the tests).

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use backstay_test_fleet::Device;

/// How long a loop device may take to go after its last user.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where programs are that an ordinary user's PATH doesn't name.
const MORE_PATHS: &str = ":/usr/sbin:/sbin";

/// Runs a program to its end.
///
/// # Errors
/// With what it said, if that is not 0.
pub fn told(words: &[&str]) -> Result<String, String> {
    let (program, rest) = words.split_first().ok_or("there is no program")?;
    let path = std::env::var("PATH").unwrap_or_default() + MORE_PATHS;
    let output = Command::new(program).args(rest).env("PATH", path).stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {} {}", words.join(" "), output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Why this machine can't give a process such surroundings, if it can't.
#[must_use]
pub fn missing() -> Option<String> {
    let script = "command -v mkfs.ext4 e2fsck debugfs losetup nsenter prlimit > /dev/null && mount -t tmpfs none /mnt && \
         test -w /dev/loop-control";
    told(&["unshare", "--mount", "--propagation", "private", "sh", "-c", script]).err()
}

/// The file system that a device's state is on, while it is on one of its own.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    state: PathBuf,
}

impl Disk {
    /// Moves the state of a device that doesn't run to an ext4 of so many MiB.
    ///
    /// # Errors
    /// Says what doesn't work.
    pub fn under(device: &Device, mib: u64) -> Result<Self, String> {
        let (state, image) = (device.dir().join("state"), device.dir().join("disk.img"));
        let size = format!("{mib}M");
        told(&["mkfs.ext4", "-q", "-F", "-d", text(&state)?, text(&image)?, &size])?;
        Ok(Self { image, state })
    }

    /// Starts the device's agent on it. Nobody else sees the mount, and it ends with the agent.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn start(&self, device: &mut Device) -> Result<(), String> {
        let script =
            format!("mount -o loop {} {} && exec \"$0\" \"$@\"", text(&self.image)?, text(&self.state)?);
        device
            .start_within("unshare", &["--mount", "--propagation", "private", "sh", "-c", &script])
            .map_err(|why| why.to_string())
    }

    /// Writes to it until nothing fits any more. May be done again: then what became free is taken as well.
    ///
    /// # Errors
    /// If anything but that ends it.
    pub fn fill(&self, device: &Device) -> Result<(), String> {
        let file = File::options().create(true).append(true).open(self.filler(device)?);
        let mut file = file.map_err(|why| why.to_string())?;
        for piece in [1 << 20, 1 << 12, 1] {
            loop {
                match file.write(&vec![0xa5; piece]) {
                    Ok(_) => {}
                    Err(why) if why.kind() == ErrorKind::StorageFull => break,
                    Err(why) => return Err(why.to_string()),
                }
            }
        }
        file.sync_all().map_err(|why| why.to_string())
    }

    /// Takes away what [`Disk::fill`] wrote.
    ///
    /// # Errors
    /// If it isn't there.
    pub fn make_room(&self, device: &Device) -> Result<(), String> {
        fs::remove_file(self.filler(device)?).map_err(|why| why.to_string())
    }

    fn filler(&self, device: &Device) -> Result<PathBuf, String> {
        let pid = device.pid().ok_or("it doesn't run")?;
        let state = self.state.strip_prefix("/").map_err(|why| why.to_string())?;
        Ok(Path::new(&format!("/proc/{pid}/root")).join(state).join("filler"))
    }

    /// What ext4 does when it meets an error: from now on it takes no writes, whoever has a file open.
    ///
    /// # Errors
    /// If it can't be told to.
    pub fn becomes_read_only(&self, device: &Device) -> Result<(), String> {
        let pid = device.pid().ok_or("it doesn't run")?.to_string();
        told(&["nsenter", "-t", &pid, "-m", "mount", "-o", "remount,abort", text(&self.state)?]).map(drop)
    }

    /// Mends what an ext4 needs mended that was left in the middle. The agent doesn't run.
    ///
    /// # Errors
    /// If it is still mounted, or can't be mended.
    pub fn check(&self) -> Result<(), String> {
        self.until_free()?;
        // 1: it was mended.
        let script = "e2fsck -fy \"$0\" > /dev/null || test $? -eq 1";
        told(&["sh", "-c", script, text(&self.image)?]).map(drop)
    }

    /// Moves the state back to where it was before. The agent doesn't run.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn leave(self) -> Result<(), String> {
        self.check()?;
        let dir = self.state.with_extension("back");
        fs::create_dir_all(&dir).map_err(|why| why.to_string())?;
        told(&["debugfs", "-R", &format!("rdump / {}", text(&dir)?), text(&self.image)?])?;
        let moved = fs::remove_dir_all(&self.state).and_then(|()| fs::rename(&dir, &self.state));
        moved.map_err(|why| why.to_string())
    }

    fn until_free(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !told(&["losetup", "-j", text(&self.image)?])?.trim().is_empty() {
            if Instant::now() > until {
                return Err(format!("{} is still mounted", self.image.display()));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// From now on a process can't open anything: none of its descriptors is taken away, and it gets no other.
///
/// # Errors
/// If it isn't there.
pub fn take_descriptors(pid: u32) -> Result<(), String> {
    limit_descriptors(pid, "3")
}

/// It can again.
///
/// # Errors
/// If it isn't there.
pub fn give_descriptors(pid: u32) -> Result<(), String> {
    limit_descriptors(pid, "1024")
}

/// The soft limit alone, so that it can be lifted again.
fn limit_descriptors(pid: u32, most: &str) -> Result<(), String> {
    told(&["prlimit", "--pid", &pid.to_string(), &format!("--nofile={most}:")]).map(drop)
}

/// The wall clock of processes that are started with [`WallClock::within`], as far as they ask the C library for it. Their
/// monotonic clock is left alone.
#[derive(Debug)]
pub struct WallClock {
    set: PathBuf,
    arguments: Vec<String>,
}

impl WallClock {
    /// One that is right, kept in `dir`; or none, where libfaketime isn't installed. `BACKSTAY_FAKETIME` says where it is, if not
    /// where Debian puts it.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn right(dir: &Path) -> Result<Option<Self>, String> {
        let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let usual = libraries.map(|library| library.path().join("faketime/libfaketimeMT.so.1"));
        let named = std::env::var_os("BACKSTAY_FAKETIME").map(PathBuf::from);
        let Some(library) = named.into_iter().chain(usual).find(|library| library.is_file()) else {
            return Ok(None);
        };
        let set = dir.join("wall-clock");
        let arguments = vec![
            format!("LD_PRELOAD={}", text(&library)?),
            format!("FAKETIME_TIMESTAMP_FILE={}", text(&set)?),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        ];
        let clock = Self { set, arguments };
        clock.set(0)?;
        Ok(Some(clock))
    }

    /// From now on it is so many days ahead, or behind.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn set(&self, days: i64) -> Result<(), String> {
        fs::write(&self.set, format!("{days:+}d\n")).map_err(|why| why.to_string())
    }

    /// What starts a process with it: a program and its arguments.
    #[must_use]
    pub fn within(&self) -> (&'static str, Vec<&str>) {
        ("env", self.arguments.iter().map(String::as_str).collect())
    }
}

/// Starts a device's agent on a machine whose monotonic clock, and time since boot, stand so many seconds elsewhere.
///
/// # Errors
/// If it doesn't start.
pub fn start_elsewhen(device: &mut Device, seconds: i64) -> Result<(), String> {
    let (monotonic, boot) = (format!("--monotonic={seconds}"), format!("--boottime={seconds}"));
    device
        .start_within("unshare", &["--time", "--fork", "--kill-child", &monotonic, &boot])
        .map_err(|why| why.to_string())
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is no text", path.display()))
}
