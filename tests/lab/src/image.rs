//! Images of slots: what a release of a device of the lab is.
//!
//! A slot holds an ext4 file system with all that a boot takes: kernel, first programs, the agent, the slot program, and the
//! small service, with how it goes bad. Which device it is lies elsewhere, on the data partition (`device`).
//!
//! An image is kept below the name of the digest of all that went into it, so it is made once. Nothing is mounted and nobody
//! has to be root: `mke2fs -d` fills a file system while it makes it.
//!
//! Here: making images. Not here: where they lie on a disk (`disk`), what they are signed as (`shore`).

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use backstay_test_fleet::Trouble;
use sha2::{Digest as _, Sha256};

use crate::{
    debian::Debian,
    tool::{self, trouble},
};

/// What the device's own files say, and where they lie in an image.
const FILES: &[(&str, &str)] = &[
    ("etc/inittab", include_str!("../device/inittab")),
    ("usr/lib/lab/boot", include_str!("../device/boot")),
    ("usr/lib/lab/service", include_str!("../device/service")),
    ("usr/lib/lab/fault", include_str!("../device/fault")),
    ("usr/lib/lab/main", include_str!("../device/main")),
    ("usr/lib/lab/slots", include_str!("../device/slots")),
    ("usr/lib/lab/down", include_str!("../device/down")),
    ("usr/lib/lab/swing", include_str!("../device/swing")),
    ("usr/lib/lab/rauc", include_str!("../device/rauc")),
    ("usr/lib/lab/bus.conf", include_str!("../device/bus.conf")),
    ("etc/rauc/system.conf", include_str!("../device/system.conf")),
    ("etc/fw_env.config", include_str!("../device/fw_env.config")),
    // The bus asks who it is.
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
];
const EARLY: &str = include_str!("../device/early");

/// Modules of the kernel by which it reads its disk, in the order in which they need one another.
const EARLY_MODULES: &[&str] = &[
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "crc16",
    "crc32c_generic",
    "mbcache",
    "jbd2",
    "ext4",
];
/// And those for what it does then: network, chance, the watchdog, and mounting RAUC's bundles.
const MODULES: &[&str] =
    &["failover", "net_failover", "virtio_net", "virtio-rng", "i6300esb", "loop", "squashfs"];

/// What busybox is called by, in `bin`; the last three in `sbin`.
const APPLETS: &[&str] = &[
    "sh",
    "mount",
    "umount",
    "insmod",
    "sleep",
    "cat",
    "cut",
    "echo",
    "mkdir",
    "touch",
    "sync",
    "ip",
    "httpd",
    "rm",
    "kill",
    "ls",
    "ps",
    "dmesg",
    "switch_root",
    "date",
];
const SYSTEM_APPLETS: &[&str] = &["init", "watchdog", "reboot"];
/// Mount points.
const FOLDERS: &[&str] = &["proc", "sys", "dev", "run", "tmp", "data", "root", "etc", "var"];

/// What of RAUC's packages a device gets.
const RAUC_FOLDERS: &[&str] = &["lib", "usr/bin", "usr/lib"];
/// And what of them it doesn't: a third of it all are tables for character sets.
const LEFT_OUT: &str = "gconv";

/// How a release goes bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It doesn't.
    None,
    /// Its kernel panics before anything else is done.
    Panic,
    /// Its service answers no more after so many seconds.
    Fails(u32),
    /// The same, and from its first start on an older release can't read the data any more.
    Spoils(u32),
    /// The machine stands still after so many seconds.
    Hangs(u32),
}

impl Fault {
    /// As it stands in the image.
    fn words(self) -> String {
        match self {
            Self::None => "none 0".into(),
            Self::Panic => "panic 0".into(),
            Self::Fails(seconds) => format!("fails {seconds}"),
            Self::Spoils(seconds) => format!("spoils {seconds}"),
            Self::Hangs(seconds) => format!("hangs {seconds}"),
        }
    }
}

/// Who writes images into slots on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// The slot program copies them as they are.
    Raw,
    /// RAUC installs bundles.
    Rauc,
}

/// What images are made of.
#[derive(Debug)]
pub(crate) struct Kitchen {
    /// Where images are kept.
    pub(crate) folder: PathBuf,
    /// Debian's part.
    pub(crate) debian: Debian,
    /// Ours: each program and what it is called.
    pub(crate) programs: Vec<(PathBuf, &'static str)>,
    /// Who writes images on the devices.
    pub(crate) writer: Writer,
}

impl Kitchen {
    /// The image of a version.
    ///
    /// # Errors
    /// If it can't be made.
    pub(crate) fn image(&self, version: &str, fault: Fault) -> Result<PathBuf, Trouble> {
        let mut sum = Sum::default();
        for (file, name) in &self.programs {
            sum.take(name, &tool::read(file)?);
        }
        sum.take("e2fsck", &tool::read(&self.e2fsck())?);
        for (name, text) in FILES.iter().chain(&[("early", EARLY)]) {
            sum.take(name, text.as_bytes());
        }
        let slots = self.slots();
        for word in [version, &fault.words(), &self.debian.kernel, &slots, &format!("{:?}", self.writer)] {
            sum.take("word", word.as_bytes());
        }
        for list in [EARLY_MODULES, MODULES, APPLETS, SYSTEM_APPLETS, RAUC_FOLDERS, &[LEFT_OUT]] {
            sum.take("list", list.join(" ").as_bytes());
        }
        let image = self.folder.join(format!("{version}-{}.img", sum.text()));
        if image.exists() {
            return Ok(image);
        }
        let tree = self.folder.join("tree");
        tool::emptied(&tree)?;
        self.fill(&tree, version, fault, &slots)?;
        let unfinished = image.with_extension("part");
        file_system(&tree, &unfinished, &["-O", "^has_journal,^metadata_csum,^64bit"])?;
        let _ = fs::remove_dir_all(&tree);
        fs::rename(&unfinished, &image).map_err(trouble("cannot name an image"))?;
        Ok(image)
    }

    fn fill(&self, tree: &Path, version: &str, fault: Fault, slots: &str) -> Result<(), Trouble> {
        for folder in FOLDERS {
            let folder = tree.join(folder);
            fs::create_dir_all(&folder).map_err(trouble(format!("cannot make {}", folder.display())))?;
        }
        if self.writer == Writer::Rauc {
            for folder in RAUC_FOLDERS {
                copy_all(&self.debian.rauc.join(folder), &tree.join(folder))?;
            }
        }
        // Where U-Boot's tools and ours lock one another out, and where the bus is.
        for (link, to) in [("var/lock", "/run/lock"), ("var/run", "/run")] {
            symlink(to, tree.join(link)).map_err(trouble(format!("cannot make {link}")))?;
        }
        self.busybox(tree, "sbin", SYSTEM_APPLETS)?;
        tool::copy(&self.e2fsck(), &tree.join("sbin/e2fsck"))?;
        for name in MODULES {
            tool::copy(&self.debian.module(name)?, &tree.join(format!("lib/modules/{name}.ko")))?;
        }
        tool::write(&tree.join("lib/modules/list"), MODULES.join("\n"))?;
        for (name, text) in FILES {
            program(&tree.join(name), text.as_bytes())?;
        }
        for (file, name) in &self.programs {
            program(&tree.join("usr/bin").join(name), &tool::read(file)?)?;
        }
        tool::write(&tree.join("etc/backstay/slots.toml"), slots)?;
        tool::write(&tree.join("etc/lab/version"), format!("{version}\n"))?;
        tool::write(&tree.join("etc/lab/fault"), format!("{}\n", fault.words()))?;
        tool::copy(&self.kernel()?, &tree.join("boot/kernel.gz"))?;
        tool::copy(&self.early()?, &tree.join("boot/initrd.gz"))
    }

    fn slots(&self) -> String {
        match self.writer {
            Writer::Raw => include_str!("../device/slots-raw.toml").to_owned(),
            Writer::Rauc => include_str!("../device/slots-rauc.toml").to_owned(),
        }
    }

    /// Debian's, without a library.
    fn e2fsck(&self) -> PathBuf {
        self.debian.base.join("sbin/e2fsck.static")
    }

    fn busybox(&self, tree: &Path, folder: &str, applets: &[&str]) -> Result<(), Trouble> {
        tool::copy(&self.debian.base.join("bin/busybox"), &tree.join("bin/busybox"))?;
        let folders = [("bin", APPLETS), (folder, applets)];
        for (folder, name) in
            folders.iter().flat_map(|(folder, names)| names.iter().map(move |name| (folder, name)))
        {
            let link = tree.join(folder).join(name);
            let _ = fs::remove_file(&link);
            let made = fs::create_dir_all(tree.join(folder)).and_then(|()| symlink("/bin/busybox", &link));
            made.map_err(trouble(format!("cannot make {}", link.display())))?;
        }
        Ok(())
    }

    /// The kernel, as U-Boot unpacks it.
    fn kernel(&self) -> Result<PathBuf, Trouble> {
        let version = &self.debian.kernel;
        let packed = self.folder.join(format!("kernel-{version}.gz"));
        if !packed.exists() {
            let kernel = self.debian.base.join("boot").join(format!("vmlinuz-{version}"));
            gzip(&kernel, &packed)?;
        }
        Ok(packed)
    }

    /// The file system in memory whose only work is to read the real one.
    fn early(&self) -> Result<PathBuf, Trouble> {
        let tree = self.folder.join("early");
        tool::emptied(&tree)?;
        for folder in ["proc", "dev", "slot"] {
            fs::create_dir_all(tree.join(folder)).map_err(trouble("cannot make a folder"))?;
        }
        self.busybox(&tree, "sbin", SYSTEM_APPLETS)?;
        for name in EARLY_MODULES {
            tool::copy(&self.debian.module(name)?, &tree.join(format!("lib/{name}.ko")))?;
        }
        tool::write(&tree.join("modules"), EARLY_MODULES.join("\n"))?;
        program(&tree.join("init"), EARLY.as_bytes())?;
        let (archive, packed) = (self.folder.join("early.cpio"), self.folder.join("early.gz"));
        tool::write(&archive, cpio(&tree)?)?;
        let _ = fs::remove_file(&packed);
        gzip(&archive, &packed)?;
        Ok(packed)
    }
}

/// Names all that goes into something.
#[derive(Default)]
struct Sum(Sha256);

impl Sum {
    fn take(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    fn text(self) -> String {
        self.0.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// An ext4 file system in a file of its own, as large as what lies in `tree` takes and a little more.
///
/// # Errors
/// If mke2fs says no.
pub(crate) fn file_system(tree: &Path, to: &Path, more: &[&str]) -> Result<(), Trouble> {
    let kib = (bytes_below(tree)? / 1024) * 11 / 10 + 2048;
    let _ = fs::remove_file(to);
    let mut command = mke2fs();
    command.args(["-q", "-t", "ext4", "-m", "0", "-b", "4096", "-E", "root_owner=0:0"]).args(more);
    tool::run(command.arg("-d").arg(tree).arg(to).arg(format!("{kib}k")))
}

/// `mke2fs`, which Debian keeps where only root's PATH leads.
pub(crate) fn mke2fs() -> Command {
    let place = Path::new("/usr/sbin/mke2fs");
    Command::new(if place.exists() { place } else { Path::new("mke2fs") })
}

fn bytes_below(folder: &Path) -> Result<u64, Trouble> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(trouble(format!("cannot read {}", folder.display())))?.flatten()
    {
        let data = entry.metadata().map_err(trouble("cannot measure a file"))?;
        // Each takes whole blocks, and an inode.
        bytes += 4096
            + if data.is_dir() { bytes_below(&entry.path())? } else { data.len().next_multiple_of(4096) };
    }
    Ok(bytes)
}

fn program(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    tool::write(path, bytes)?;
    let may_run = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, may_run).map_err(trouble(format!("cannot let {} run", path.display())))
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Trouble> {
    let failed = || trouble(format!("cannot copy {}", from.display()));
    fs::create_dir_all(to).map_err(failed())?;
    for entry in fs::read_dir(from).map_err(failed())?.flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed())?;
        if kind.is_dir() {
            if entry.file_name() != LEFT_OUT {
                copy_all(&path, &copy)?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed())?;
            symlink(target, &copy).map_err(failed())?;
        } else {
            fs::copy(&path, &copy).map_err(failed())?;
        }
    }
    Ok(())
}

fn gzip(from: &Path, to: &Path) -> Result<(), Trouble> {
    let unfinished = to.with_extension("part");
    let out =
        fs::File::create(&unfinished).map_err(trouble(format!("cannot make {}", unfinished.display())))?;
    let mut command = Command::new("gzip");
    let status = command.args(["-n", "-c"]).arg(from).stdout(out).status();
    if !status.map_err(trouble("cannot run gzip"))?.success() {
        return Err(Trouble(format!("gzip can't pack {}", from.display())));
    }
    fs::rename(&unfinished, to).map_err(trouble(format!("cannot name {}", to.display())))
}

/// An archive as the kernel unpacks it into memory: "newc", as `Documentation/driver-api/early-userspace` of Linux has it. All is root's.
fn cpio(tree: &Path) -> Result<Vec<u8>, Trouble> {
    let mut archive = Vec::new();
    let mut number = 0;
    below(tree, Path::new(""), &mut |name, mode, bytes| {
        number += 1;
        entry(&mut archive, number, name, mode, bytes);
    })?;
    entry(&mut archive, 0, "TRAILER!!!", 0, &[]);
    Ok(archive)
}

fn entry(archive: &mut Vec<u8>, number: u32, name: &str, mode: u32, bytes: &[u8]) {
    let mut head = String::from("070701");
    let (links, name_bytes) = (1, name.len() + 1);
    let fields = [number as usize, mode as usize, 0, 0, links, 0, bytes.len(), 0, 0, 0, 0, name_bytes, 0];
    for field in fields {
        let _ = write!(head, "{field:08x}");
    }
    archive.extend_from_slice(head.as_bytes());
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn below(tree: &Path, within: &Path, tell: &mut impl FnMut(&str, u32, &[u8])) -> Result<(), Trouble> {
    let folder = tree.join(within);
    let entries = fs::read_dir(&folder).map_err(trouble(format!("cannot read {}", folder.display())))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let (path, within) = (folder.join(&name), within.join(&name));
        let failed = || trouble(format!("cannot read {}", path.display()));
        let data = fs::symlink_metadata(&path).map_err(failed())?;
        let (name, mode) = (within.to_string_lossy(), data.permissions().mode());
        if data.is_dir() {
            tell(&name, mode, &[]);
            below(tree, &within, tell)?;
        } else if data.is_symlink() {
            let target = fs::read_link(&path).map_err(failed())?;
            tell(&name, mode, target.as_os_str().as_encoded_bytes());
        } else {
            tell(&name, mode, &tool::read(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_kernel_unpacks() {
        let mut archive = Vec::new();
        entry(&mut archive, 1, "init", 0o100_755, b"#!");
        let head = "070701000000010000_81ed".replace('_', "");
        assert!(archive.starts_with(head.as_bytes()), "{}", String::from_utf8_lossy(&archive));
        assert_eq!(archive.len(), 116 + 4, "head and name in whole words, then the bytes");
        assert_eq!(&archive[110..115], b"init\0");
        assert_eq!(&archive[116..118], b"#!");
    }

    #[test]
    fn what_goes_in_is_told_apart_also_where_it_is_the_same_bytes() {
        let of = |parts: &[(&str, &str)]| {
            let mut sum = Sum::default();
            parts.iter().for_each(|(name, text)| sum.take(name, text.as_bytes()));
            sum.text()
        };
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "b"), ("c", "d")]), of(&[("a", "bcd")]));
        assert_eq!(of(&[("a", "b")]).len(), 16);
    }
}
