//! What the machine says of the boot that is on: which slot runs, and which boot it is.
//!
//! Here: reading both, and which device is in use by the system. Not here: what is in the slot (the ledger).

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::{linux::fs::MetadataExt as _, unix::fs::FileTypeExt as _},
    path::Path,
};

use backstay_boot::BootId;
use backstay_slots::Slot;

use crate::{config::Running, trouble::Trouble};

/// The longest kernel command line, or name of a boot, that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;
/// The most that is read of the table of mounts, in bytes.
const MOUNTS_BYTES_MAX: u64 = 4 << 20;
const MOUNTS: &str = "/proc/self/mountinfo";

/// Which slot runs, and which boot this is.
pub fn look(running: &Running) -> Result<(Slot, BootId), Trouble> {
    let cmdline = read(&running.cmdline, BYTES_MAX)?;
    let (a, b) = (&*running.a, &*running.b);
    let slot = slot_in(&cmdline, a, b).ok_or_else(|| {
        let says = |word: &str| cmdline.split_ascii_whitespace().any(|said| said == word);
        let both = if says(a) { "both" } else { "neither of" };
        Trouble::refused(
            format!("the kernel's command line has {both} `{a}` and `{b}`: nobody knows which slot runs"),
            "let the boot loader's script or entry of each slot add its own word, and name both in [running]",
        )
    })?;
    let boot = read(&running.boot_id, BYTES_MAX)?.trim().parse().map_err(|()| {
        Trouble::refused(
            format!("{} holds no name of a boot", running.boot_id.display()),
            "leave out running.boot_id: the kernel's own is meant",
        )
    })?;
    Ok((slot, boot))
}

/// Which slot a command line says.
fn slot_in(cmdline: &str, a: &str, b: &str) -> Option<Slot> {
    let says = |word: &str| cmdline.split_ascii_whitespace().any(|said| said == word);
    match (says(a), says(b)) {
        (true, false) => Some(Slot::A),
        (false, true) => Some(Slot::B),
        (true, true) | (false, false) => None,
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<String, Trouble> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_err(|error| {
        Trouble::later(format!("cannot read {}: {error}", path.display()), "see that /proc is mounted")
    })
}

/// Where a device is mounted, as far as this process sees it. What isn't a block device isn't.
pub fn mounted_at(device: &Path) -> Result<Option<String>, Trouble> {
    let Ok(metadata) = fs::metadata(device) else { return Ok(None) };
    if !metadata.file_type().is_block_device() {
        return Ok(None);
    }
    Ok(mount_of(&read(Path::new(MOUNTS), MOUNTS_BYTES_MAX)?, metadata.st_rdev()))
}

/// Whether a directory lies in the file system on a device.
pub fn is_on(dir: &Path, device: &Path) -> bool {
    let number = |path: &Path| fs::metadata(path).ok();
    let block = number(device).filter(|metadata| metadata.file_type().is_block_device());
    let dir = dir.ancestors().find_map(number);
    matches!((dir, block), (Some(dir), Some(block)) if dir.st_dev() == block.st_rdev())
}

/// The first mount of a device in a table of mounts: `36 35 98:0 / /mnt rw - ext4 /dev/sda1 rw`.
fn mount_of(mounts: &str, device: u64) -> Option<String> {
    // The kernel's own encoding, as the C library gives it to programs.
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & 0xffff_f000);
    let minor = (device & 0xff) | ((device >> 12) & 0xffff_ff00);
    let number = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(2);
        (words.next()? == number).then(|| words.nth(1).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_a_whole_word_and_only_one_of_them() {
        let said = |cmdline| slot_in(cmdline, "backstay.slot=a", "backstay.slot=b");
        assert_eq!(said("console=ttyS0 backstay.slot=a quiet\n"), Some(Slot::A));
        assert_eq!(said("backstay.slot=b backstay.slot=b"), Some(Slot::B));
        for cmdline in ["", "backstay.slot=ab", "xbackstay.slot=a", "backstay.slot=a backstay.slot=b"] {
            assert_eq!(said(cmdline), None, "{cmdline}");
        }
        let roots = |cmdline| slot_in(cmdline, "root=/dev/vda2", "root=/dev/vda3");
        assert_eq!(roots("ro root=/dev/vda3"), Some(Slot::B));
    }

    #[test]
    fn a_mounted_device_is_found_in_the_table() {
        let mounts = "22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
                      36 35 98:0 /root /mnt/a\\040b rw,noatime shared:1 - ext3 /dev/root rw\n\
                      37 35 259:70000 / /data rw - ext4 /dev/nvme0n1p9 rw\n";
        assert_eq!(mount_of(mounts, 98 << 8).as_deref(), Some("/mnt/a\\040b"));
        assert_eq!(mount_of(mounts, 98 << 8 | 1), None);
        let nvme = (259 << 8) | (70_000 & 0xff) | ((70_000 & !0xff) << 12);
        assert_eq!(mount_of(mounts, nvme).as_deref(), Some("/data"));
        assert_eq!(mounted_at(Path::new("/proc")).unwrap(), None);
    }
}
