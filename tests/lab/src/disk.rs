//! The disk of a device, and what is left of it when the power goes.
//!
//! ```text
//! block 0         partition table
//! 2 MiB           U-Boot's environment, two copies (etc/fw_env.config)
//! 4 MiB           1: boot script
//! 8 MiB           2: slot a
//! ...             3: slot b
//! ...             4: data, which both slots share
//! ```
//!
//! A killed QEMU has given all that the guest wrote to the kernel below it, so a kill alone is a power cut of a disk without a
//! cache: lost is only what the guest itself still held in memory. Real disks have caches. So QEMU logs each write and each flush
//! (its driver `blklogwrites`, the format of Linux' dm-log-writes), and after the kill the disk is made anew from that log: all
//! up to the last flush, and of what was written after it whatever chance keeps.
//!
//! Here: how the disk lies, and cutting. Not here: QEMU (`machine`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_boot::environment::{Environment, Place};
use backstay_journal::testing::Random;
use backstay_test_fleet::Trouble;

use crate::{
    image::mke2fs,
    tool::{self, trouble},
};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 512;
/// Where the copies of U-Boot's environment lie, as `fw_env.config` has it.
const ENVIRONMENT_AT: [u64; 2] = [0x20_0000, 0x21_0000];
const ENVIRONMENT_BYTES: usize = 0x4000;
const BOOT_AT: u64 = 4 * MIB;
const BOOT_BYTES: u64 = 4 * MIB;
const SLOTS_AT: u64 = 8 * MIB;

/// The superblock of a log begins with this.
const LOG_MAGIC: u64 = 0x006a_7366_7773_6872;
/// What the flags of an entry say.
const FLUSH: u64 = 1;
const THROUGH: u64 = 2;
const DISCARD: u64 = 4;

/// How large the parts are, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of each slot.
    pub(crate) slot: u64,
    /// Of the data partition.
    pub(crate) data: u64,
}

/// What is kept of what was written after the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All of it, as of a disk without a cache.
    All,
    /// Nothing.
    None,
    /// Each sector of a write or not, by chance. So a block of the file system is torn, and that of a journal, too: Linux mounts no
    /// such file system until e2fsck was there.
    Some,
}

/// One device's disk, as it lies between two times of power.
#[derive(Debug)]
pub(crate) struct Disk {
    /// All that is durable.
    base: PathBuf,
    /// What the guest sees, on top of it.
    overlay: PathBuf,
    /// What it wrote.
    log: PathBuf,
    /// Its power is never cut: what the guest writes goes where it belongs, and no log is kept.
    is_card: bool,
}

/// What became of a cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    /// Writes up to the last flush.
    pub(crate) durable: u64,
    /// Writes after it.
    pub(crate) loose: u64,
    /// Sectors of those that were lost.
    pub(crate) lost_sectors: u64,
}

impl Disk {
    /// A disk as a factory makes it, in `folder`: the image in slot a, nothing in slot b, and `data` on the data partition.
    ///
    /// # Errors
    /// If it can't be made.
    pub(crate) fn make(
        folder: &Path,
        sizes: Sizes,
        boot: &Path,
        image: &Path,
        data: &Path,
    ) -> Result<Self, Trouble> {
        fs::create_dir_all(folder).map_err(trouble(format!("cannot make {}", folder.display())))?;
        let base = folder.join("disk.img");
        let failed = || trouble(format!("cannot make {}", base.display()));
        let _ = fs::remove_file(&base);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&base).map_err(failed())?;
        let data_at = SLOTS_AT + 2 * sizes.slot;
        file.set_len(data_at + sizes.data).map_err(failed())?;
        let parts = [
            (BOOT_AT, BOOT_BYTES),
            (SLOTS_AT, sizes.slot),
            (SLOTS_AT + sizes.slot, sizes.slot),
            (data_at, sizes.data),
        ];
        file.write_all_at(&partition_table(&parts), 0).map_err(failed())?;
        let image = tool::read(image)?;
        if image.len() as u64 > sizes.slot {
            return Err(Trouble(format!("an image has {} bytes, and a slot {}", image.len(), sizes.slot)));
        }
        file.write_all_at(&image, SLOTS_AT).map_err(failed())?;
        environment(&base)?;
        for (tree, at, bytes, kind) in
            [(boot, BOOT_AT, BOOT_BYTES, "ext2"), (data, data_at, sizes.data, "ext4")]
        {
            let mut command = mke2fs();
            command
                .args(["-q", "-F", "-t", kind, "-m", "0", "-E"])
                .arg(format!("root_owner=0:0,offset={at}"));
            tool::run(command.arg("-d").arg(tree).arg(&base).arg(format!("{}k", bytes / 1024)))?;
        }
        let (overlay, log) = (folder.join("overlay.qcow2"), folder.join("writes.log"));
        Ok(Self { overlay, log, base, is_card: false })
    }

    /// A disk that somebody else has laid out.
    pub(crate) fn card(file: &Path) -> Self {
        Self { base: file.to_owned(), overlay: PathBuf::new(), log: PathBuf::new(), is_card: true }
    }

    /// What QEMU is told of it. What is written has to outlive the guest and not this machine: no flush waits for a disk.
    pub(crate) fn blockdev(&self) -> String {
        if self.is_card {
            let base = self.base.display();
            return format!(
                "driver=raw,node-name=disk,cache.no-flush=on,file.driver=file,file.filename={base}"
            );
        }
        let (overlay, log) = (self.overlay.display(), self.log.display());
        format!(
            "driver=blklogwrites,node-name=disk,file.driver=qcow2,file.cache.no-flush=on,\
             file.file.driver=file,file.file.filename={overlay},file.file.cache.no-flush=on,\
             log.driver=file,log.filename={log},log.cache.no-flush=on"
        )
    }

    /// Makes it ready for another time of power.
    ///
    /// # Errors
    /// If the files for it can't be made.
    pub(crate) fn ready(&self) -> Result<(), Trouble> {
        if self.is_card {
            return Ok(());
        }
        File::create(&self.log).map_err(trouble("cannot make a log of writes"))?;
        let _ = fs::remove_file(&self.overlay);
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(&self.base).arg(&self.overlay);
        tool::run(&mut command)
    }

    /// What is left now that nobody writes any more.
    ///
    /// # Errors
    /// If the log can't be read.
    pub(crate) fn cut(&self, kept: Kept, chance: &mut Random) -> Result<Cut, Trouble> {
        let failed = || trouble(format!("cannot replay {}", self.log.display()));
        let mut log = File::open(&self.log).map_err(failed())?;
        let base = OpenOptions::new().write(true).open(&self.base).map_err(failed())?;
        let bytes = base.metadata().map_err(failed())?.len();
        let entries = entries(&mut log, bytes).map_err(failed())?;
        let durable = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |at| at + 1);
        let mut cut = Cut::default();
        let mut data = Vec::new();
        for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.bytes > 0) {
            data.resize(usize::try_from(entry.bytes).unwrap_or(0), 0);
            log.read_exact_at(&mut data, entry.data_at).map_err(failed())?;
            if at < durable || entry.flags & THROUGH != 0 {
                cut.durable += 1;
                base.write_all_at(&data, entry.to).map_err(failed())?;
                continue;
            }
            cut.loose += 1;
            for (number, sector) in (0..).zip(data.chunks(BLOCK as usize)) {
                let keeps = match kept {
                    Kept::All => true,
                    Kept::None => false,
                    Kept::Some => chance.below(2) == 0,
                };
                if keeps {
                    base.write_all_at(sector, entry.to + number * BLOCK).map_err(failed())?;
                } else {
                    cut.lost_sectors += 1;
                }
            }
        }
        Ok(cut)
    }
}

/// One entry of the log.
#[derive(Debug)]
struct Entry {
    /// Where the bytes were written to.
    to: u64,
    /// Where they lie in the log.
    data_at: u64,
    bytes: u64,
    flags: u64,
}

/// All entries that were written whole. The count in the superblock is of the last flush, so the log is read on to where nothing was
/// written; the entries of a log have no gaps.
fn entries(log: &mut File, disk_bytes: u64) -> io::Result<Vec<Entry>> {
    let end = log.seek(SeekFrom::End(0))?;
    let mut entries = Vec::new();
    if end == 0 {
        return Ok(entries);
    }
    // Sector, sectors, flags; the fourth word counts the bytes of a mark, and QEMU writes none.
    let mut words = [0; 32];
    let word = |words: &[u8; 32], number: usize| {
        let at = number * 8;
        words.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    log.seek(SeekFrom::Start(0))?;
    log.read_exact(&mut words)?;
    // Before the first flush there is no superblock yet.
    if ![0, LOG_MAGIC].contains(&word(&words, 0)) {
        return Err(io::Error::other("it is no log of writes"));
    }
    let mut at = BLOCK;
    while at + BLOCK <= end {
        log.read_exact_at(&mut words, at)?;
        let (sector, sectors, flags) = (word(&words, 0), word(&words, 1), word(&words, 2));
        let data_at = at + BLOCK;
        let (to, length) = (sector.saturating_mul(BLOCK), sectors.saturating_mul(BLOCK));
        let bytes = if flags & DISCARD == 0 { length } else { 0 };
        let fits = to.saturating_add(length) <= disk_bytes && data_at.saturating_add(bytes) <= end;
        if (sectors == 0 && flags == 0) || !fits {
            break;
        }
        entries.push(Entry { to, data_at, bytes, flags });
        at = data_at + bytes;
    }
    Ok(entries)
}

/// Slot a alone may be started, as a factory leaves it: nothing is in slot b.
fn environment(disk: &Path) -> Result<(), Trouble> {
    let open = || OpenOptions::new().read(true).write(true).open(disk).map_err(trouble("cannot open a disk"));
    let place = |at| Ok(Place { device: open()?, path: disk.to_owned(), at });
    let [first, second] = ENVIRONMENT_AT;
    let environment = Environment::new([place(first)?, place(second)?], ENVIRONMENT_BYTES, None);
    let mut environment = environment.map_err(trouble("cannot lay out an environment"))?;
    environment
        .renew(&[("BOOT_ORDER", "A"), ("BOOT_A_LEFT", "3"), ("BOOT_B_LEFT", "0")])
        .map_err(trouble("cannot write U-Boot's environment"))
}

/// A partition table for `parts`, of which each has a place and a length in bytes. The first is marked as the one to boot from.
fn partition_table(parts: &[(u64, u64); 4]) -> [u8; 512] {
    let mut table = [0; 512];
    for (number, (at, bytes)) in parts.iter().enumerate() {
        let entry = &mut table[446 + number * 16..][..16];
        // Cylinders, heads and sectors are left out: whoever reads this counts blocks.
        entry[0] = if number == 0 { 0x80 } else { 0 };
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&blocks(*at).to_le_bytes());
        entry[12..16].copy_from_slice(&blocks(*bytes).to_le_bytes());
    }
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    table
}

fn blocks(bytes: u64) -> u32 {
    u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX)
}

/// A flash in which U-Boot finds its own settings: it waits for nobody, and looks on one disk only.
///
/// # Errors
/// If `mkenvimage` can't make it.
pub(crate) fn flash(folder: &Path) -> Result<PathBuf, Trouble> {
    // The size of a bank of flash on QEMU's board, and of the environment that U-Boot looks for at its beginning.
    const BANK_BYTES: u64 = 64 * MIB;
    let (words, flash) = (folder.join("flash.txt"), folder.join("flash.img"));
    tool::write(&words, include_str!("../device/flash.txt"))?;
    tool::run(Command::new("mkenvimage").args(["-s", "0x40000", "-o"]).arg(&flash).arg(&words))?;
    let file = OpenOptions::new().write(true).open(&flash).map_err(trouble("cannot open a flash"))?;
    file.set_len(BANK_BYTES).map_err(trouble("cannot make a flash"))?;
    Ok(flash)
}

/// The template that ships, whole, for this U-Boot: what it lacks stands before it.
pub(crate) fn template() -> String {
    let template = include_str!("../../../firmware-integration/u-boot/boot.cmd");
    [include_str!("../device/environment.cmd"), &template.replace("saveenv\n", "run save\n")].concat()
}

/// The boot script: what ships decides, and what this U-Boot lacks stands before and behind it.
fn script_text() -> Result<String, Trouble> {
    // From here on the template starts a kernel, as a board does.
    const STARTS: &str = "# Of the kernel's line alone";
    let template = include_str!("../../../firmware-integration/u-boot/boot.cmd");
    let (decides, _) = template
        .split_once(STARTS)
        .ok_or_else(|| Trouble("u-boot/boot.cmd has changed: see where it starts a kernel".into()))?;
    // start.cmd goes on with these.
    for word in ["slot=a\n", "part=${part_a}\n"] {
        if !decides.contains(word) {
            return Err(Trouble(format!("u-boot/boot.cmd has changed: it no longer says `{}`", word.trim())));
        }
    }
    let decides = decides.replace("saveenv\n", "run save\n");
    Ok([include_str!("../device/environment.cmd"), &decides, include_str!("../device/start.cmd")].concat())
}

/// A folder with the boot script in it, for the boot partition.
///
/// # Errors
/// If `mkimage` can't make it.
pub(crate) fn boot_files(folder: &Path) -> Result<PathBuf, Trouble> {
    let (script, files) = (folder.join("boot.cmd"), folder.join("boot"));
    tool::write(&script, script_text()?)?;
    tool::emptied(&files)?;
    let mut command = Command::new("mkimage");
    command
        .args(["-q", "-A", "arm64", "-T", "script", "-C", "none", "-d"])
        .arg(&script)
        .arg(files.join("boot.scr"));
    tool::run(&mut command)?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_decides_which_slot_starts() {
        let script = script_text().unwrap();
        assert!(!script.contains("\nsaveenv") && script.matches("run save\n").count() >= 2, "{script}");
    }

    /// A log of these entries: flags, sector, and the byte that one sector is full of.
    fn log(folder: &Path, entries: &[(u64, u64, Option<u8>)]) -> Disk {
        let disk = Disk {
            base: folder.join("base"),
            overlay: folder.join("overlay"),
            log: folder.join("log"),
            is_card: false,
        };
        fs::write(&disk.base, [0; 8 * 512]).unwrap();
        let mut bytes = LOG_MAGIC.to_le_bytes().to_vec();
        bytes.resize(512, 0);
        for (flags, sector, byte) in entries {
            for word in [*sector, u64::from(byte.is_some()), *flags, 0] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            bytes.extend(byte.iter().flat_map(|byte| [*byte; 512]));
        }
        fs::write(&disk.log, bytes).unwrap();
        disk
    }

    fn first_bytes(disk: &Disk) -> Vec<u8> {
        fs::read(&disk.base).unwrap().chunks(512).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_was_flushed_stays_and_of_the_rest_what_chance_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let written =
            [(0, 1, Some(1)), (0, 2, Some(2)), (FLUSH, 0, None), (0, 2, Some(3)), (THROUGH, 4, Some(4))];
        for (kept, ends) in [(Kept::None, [0, 1, 2, 0, 4]), (Kept::All, [0, 1, 3, 0, 4])] {
            let disk = log(folder.path(), &written);
            let cut = disk.cut(kept, &mut Random::new(1)).unwrap();
            assert_eq!(first_bytes(&disk)[..5], ends, "{kept:?}");
            assert_eq!((cut.durable, cut.loose), (3, 1));
        }
        let mut seen: Vec<_> = (0..16)
            .map(|seed| {
                let disk = log(folder.path(), &written);
                disk.cut(Kept::Some, &mut Random::new(seed)).unwrap();
                first_bytes(&disk)[2]
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [2, 3], "both ends come about");
    }

    #[test]
    fn an_entry_that_was_not_written_whole_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let disk = log(folder.path(), &[(0, 1, Some(1)), (FLUSH, 0, None), (THROUGH, 2, Some(2))]);
        let bytes = fs::read(&disk.log).unwrap();
        fs::write(&disk.log, &bytes[..bytes.len() - 1]).unwrap();
        disk.cut(Kept::All, &mut Random::new(1)).unwrap();
        assert_eq!(first_bytes(&disk)[..3], [0, 1, 0]);
        fs::write(&disk.log, []).unwrap();
        assert_eq!(
            disk.cut(Kept::All, &mut Random::new(1)).unwrap().durable,
            0,
            "nothing was written at all"
        );
    }

    #[test]
    fn a_partition_table_says_where_things_are_in_blocks() {
        let table = partition_table(&[(MIB, MIB), (2 * MIB, 3 * MIB), (0, 0), (0, 0)]);
        assert_eq!(table[446], 0x80);
        assert_eq!(table[446 + 16 + 8..446 + 32], [0, 16, 0, 0, 0, 24, 0, 0]);
        assert_eq!(table[510..], [0x55, 0xaa]);
    }
}
