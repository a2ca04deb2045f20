//! What a device's system is made of: Debian's packages for 64-bit ARM, fetched by apt and unpacked, never installed.
//!
//! Here: which packages, and where their files are. Not here: what becomes of them (`image`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backstay_test_fleet::Trouble;

use crate::tool::{self, trouble};

/// The kernel, by the name that always means the newest one. The one for clouds has no driver for the watchdog that QEMU has.
const KERNEL: &str = "linux-image-arm64";
/// Whatever else a device can do.
const BUSYBOX: &str = "busybox-static";
/// What looks at the data partition before it is mounted.
const E2FSCK: &str = "e2fsck-static";
/// RAUC with all that it is linked to, what it reads bundles by, and the bus that it talks on. Without systemd, which its package
/// asks for and it doesn't.
const RAUC: &[&str] = &[
    "rauc",
    "squashfs-tools",
    "liblzo2-2",
    "dbus-daemon",
    "dbus-bin",
    "libdbus-1-3",
    "libc6",
    "libcurl3-gnutls",
    "libfdisk1",
    "libglib2.0-0",
    "libjson-glib-1.0-0",
    "libssl3",
    "libexpat1",
    "libsystemd0",
    "libgcc-s1",
    "libbrotli1",
    "libgnutls30",
    "libgssapi-krb5-2",
    "libidn2-0",
    "libldap-2.5-0",
    "libnettle8",
    "libnghttp2-14",
    "libpsl5",
    "librtmp1",
    "libssh2-1",
    "libzstd1",
    "zlib1g",
    "libblkid1",
    "libuuid1",
    "libffi8",
    "libmount1",
    "libpcre2-8-0",
    "libselinux1",
    "libcap2",
    "libgcrypt20",
    "liblz4-1",
    "liblzma5",
    "libaudit1",
    "libapparmor1",
    "libcap-ng0",
    "libgmp10",
    "libhogweed6",
    "libtasn1-6",
    "libunistring2",
    "libcom-err2",
    "libk5crypto3",
    "libkrb5-3",
    "libkrb5support0",
    "libsasl2-2",
    "libgpg-error0",
    "libp11-kit0",
    "libkeyutils1",
];

/// Packages, unpacked.
#[derive(Debug)]
pub(crate) struct Debian {
    /// Kernel, busybox and e2fsck.
    pub(crate) base: PathBuf,
    /// RAUC and its libraries, where they were asked for.
    pub(crate) rauc: PathBuf,
    /// The kernel's version, as its files are called.
    pub(crate) kernel: String,
}

impl Debian {
    /// Fetches what isn't in `folder` yet. `rauc`: also what a device with RAUC has.
    ///
    /// # Errors
    /// If apt doesn't know or get a package.
    pub(crate) fn fetch(folder: &Path, rauc: bool) -> Result<Self, Trouble> {
        let (base, with_rauc) = (folder.join("base"), folder.join("rauc"));
        let kernel = newest_kernel()?;
        unpack(folder, &base, &[&kernel, BUSYBOX, E2FSCK])?;
        if rauc {
            unpack(folder, &with_rauc, RAUC)?;
        }
        let boot = base.join("boot");
        let kernel = fs::read_dir(&boot).map_err(trouble(format!("cannot read {}", boot.display())))?;
        let kernel = kernel
            .flatten()
            .find_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()));
        let kernel = kernel.ok_or_else(|| Trouble(format!("there is no kernel in {}", boot.display())))?;
        Ok(Self { base, rauc: with_rauc, kernel })
    }

    /// A module of the kernel.
    ///
    /// # Errors
    /// If the kernel has no such module.
    pub(crate) fn module(&self, name: &str) -> Result<PathBuf, Trouble> {
        let file = format!("{name}.ko");
        find(&self.base.join("lib/modules").join(&self.kernel), &file)
            .ok_or_else(|| Trouble(format!("kernel {} has no module {name}", self.kernel)))
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == *name {
            return Some(path);
        }
    }
    None
}

/// The package that [`KERNEL`] stands for today.
fn newest_kernel() -> Result<String, Trouble> {
    let mut command = Command::new("apt-cache");
    let said = tool::output(command.args(["depends", &format!("{KERNEL}:arm64")]))?;
    let depends = said.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let name = depends.and_then(|name| name.strip_suffix(":arm64"));
    name.map(str::to_owned)
        .ok_or_else(|| Trouble(format!("apt doesn't know which kernel {KERNEL} is: {said}")))
}

/// Fetches packages to a folder of their own, unless just these are there.
fn unpack(folder: &Path, to: &Path, packages: &[&str]) -> Result<(), Trouble> {
    let (list, whole) = (packages.join("\n"), to.join("whole"));
    if fs::read_to_string(&whole).is_ok_and(|there| there == list) {
        return Ok(());
    }
    let debs = to.with_extension("debs");
    for folder in [&debs, to] {
        tool::emptied(folder)?;
    }
    eprintln!("lab: fetches {} of Debian's packages for arm64 to {}", packages.len(), folder.display());
    let names = packages.iter().map(|name| format!("{name}:arm64"));
    // As root, apt fetches as somebody else, who may have no way to this folder.
    let as_root = ["-o", "APT::Sandbox::User=root", "download"];
    tool::run(Command::new("apt-get").current_dir(&debs).args(["-qq"]).args(as_root).args(names))?;
    let files = fs::read_dir(&debs).map_err(trouble(format!("cannot read {}", debs.display())))?;
    for file in files.flatten() {
        tool::run(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(to))?;
    }
    let _ = fs::remove_dir_all(&debs);
    fs::write(whole, list).map_err(trouble("cannot write what was unpacked"))
}
