//! What is installed: an image, and the bundle or archive that it comes in.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_model::{Digest, Release, Version};
use sha2::{Digest as _, Sha256};

use crate::{Board, By, Keys, run};

/// Something to install.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// What the slot begins with when it is installed.
    pub image: Vec<u8>,
    /// The bundle or archive.
    pub artifact: PathBuf,
    /// What the agent calls it: its digest is the artifact's.
    pub release: Release,
}

/// How it is packed, where that isn't the usual way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One image that is copied as it is.
    Usual,
    /// Signed by somebody whom the board doesn't know.
    Foreign,
    /// For other boards: RAUC's `compatible`, SWUpdate's hardware.
    OtherBoard,
    /// An image that is unpacked: a tar in a bundle; compressed in an archive, with a member that says what the slot holds then.
    Packed,
    /// RAUC: two images in a bundle. SWUpdate: an archive that has nothing for this slot.
    OtherParts,
    /// RAUC: a hook waits in the middle for a line from the pipe of that name. SWUpdate: the selections are the wrong way round.
    Odd,
    /// A boot environment that makes slot b the first: nobody is to listen to it.
    Switching,
}

/// Bytes that are other for each version, and at each place.
#[must_use]
pub fn image(version: &str, length: usize) -> Vec<u8> {
    let mut state = version.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl Firmware {
    /// A version as it comes for a board.
    ///
    /// # Panics
    /// A tool that packs it failed.
    #[must_use]
    pub fn made(board: &Board, version: &str, kind: Kind) -> Self {
        Self::of_length(board, version, kind, board.image_length)
    }

    /// A version with an image of a length.
    ///
    /// # Panics
    /// A tool that packs it failed.
    #[must_use]
    pub fn of_length(board: &Board, version: &str, kind: Kind, length: usize) -> Self {
        let image = image(version, length);
        let dir = board.path(&format!("build-{version}-{kind:?}"));
        fs::create_dir(&dir).unwrap();
        let stranger = (kind == Kind::Foreign).then(|| Keys::made(&dir, "stranger"));
        let keys = stranger.as_ref().unwrap_or(&board.keys);
        let artifact = match board.by {
            By::Rauc => bundle(board, &dir, version, kind, &image, keys),
            By::SwUpdate => archive(board, &dir, version, kind, &image, keys),
        };
        Self { image, release: release(version, &artifact), artifact }
    }

    /// The same with fewer bytes, as a release of its own.
    ///
    /// # Panics
    /// It can't be written.
    #[must_use]
    pub fn cut_at(&self, board: &Board, version: &str, part: u64) -> Self {
        let artifact = board.path(&format!("cut-{version}"));
        let mut bytes = Vec::new();
        let length = self.release.length * part / 1000;
        File::open(&self.artifact).unwrap().take(length).read_to_end(&mut bytes).unwrap();
        fs::write(&artifact, bytes).unwrap();
        Self { image: self.image.clone(), release: release(version, &artifact), artifact }
    }
}

fn release(version: &str, artifact: &Path) -> Release {
    let bytes = fs::read(artifact).unwrap();
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(Sha256::digest(&bytes).into()),
        length: bytes.len() as u64,
        security_epoch: 1,
    }
}

/// By `rauc bundle`.
fn bundle(board: &Board, dir: &Path, version: &str, kind: Kind, image: &[u8], keys: &Keys) -> PathBuf {
    let content = dir.join("content");
    fs::create_dir(&content).unwrap();
    let name = if kind == Kind::Packed { "image.tar" } else { "image.img" };
    fs::write(content.join(name), image).unwrap();
    if kind == Kind::Packed {
        let tar = content.join(name);
        run(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(dir).arg("."));
    }
    let compatible = if kind == Kind::OtherBoard { "another board" } else { "board" };
    let mut manifest = format!(
        "[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=plain\n[image.rootfs]\nfilename={name}\n"
    );
    match kind {
        Kind::OtherParts => {
            fs::write(content.join("more.img"), b"more").unwrap();
            manifest += "[image.boot]\nfilename=more.img\n";
        }
        Kind::Odd => {
            let (pipe, hook) = (board.pipe(version), content.join("hook.sh"));
            run(Command::new("mkfifo").arg(&pipe));
            let script = format!(
                "#!/bin/sh\n[ \"$1\" = slot-pre-install ] && read -r _ < {}\nexit 0\n",
                pipe.display()
            );
            fs::write(&hook, script).unwrap();
            run(Command::new("chmod").arg("755").arg(&hook));
            manifest += "hooks=pre-install\n[hooks]\nfilename=hook.sh\n";
        }
        Kind::Usual | Kind::Foreign | Kind::OtherBoard | Kind::Packed | Kind::Switching => {}
    }
    fs::write(content.join("manifest.raucm"), manifest).unwrap();
    let to = dir.join("release.raucb");
    // Nobody here wants it small.
    run(Command::new("rauc")
        .args(["bundle", "--mksquashfs-args=-noD -noF"])
        .arg(format!("--cert={}", keys.certificate.display()))
        .arg(format!("--key={}", keys.key.display()))
        .arg(format!("--keyring={}", keys.authority.display()))
        .args([&content, &to]));
    fs::remove_dir_all(content).unwrap();
    to
}

/// By `openssl cms` and `cpio`, as SWUpdate's documentation has it.
fn archive(board: &Board, dir: &Path, version: &str, kind: Kind, image: &[u8], keys: &Keys) -> PathBuf {
    let hex = |bytes: &[u8]| Digest(Sha256::digest(bytes).into()).to_string();
    fs::write(dir.join("image.img"), image).unwrap();
    let mut members = vec!["sw-description", "sw-description.sig", "image.img"];
    let mut more = String::new();
    if kind == Kind::Packed {
        run(Command::new("gzip").arg("-1n").arg(dir.join("image.img")));
        fs::write(dir.join("backstay-image"), format!("{} {}\n", hex(image), image.len())).unwrap();
        members = vec!["sw-description", "sw-description.sig", "backstay-image", "image.img.gz"];
        more = "compressed = \"zlib\"; ".into();
    }
    let file = members[members.len() - 1];
    let sum = hex(&fs::read(dir.join(file)).unwrap());
    let hardware = if kind == Kind::OtherBoard { "9.0" } else { "1.0" };
    let (mut a, mut b) = (board.slots[0].path().display(), board.slots[1].path().display());
    if kind == Kind::Odd {
        (a, b) = (b, a);
    }
    let set = |name: &str, device| {
        let order = if kind == Kind::Switching {
            "bootenv: ({ name = \"BOOT_ORDER\"; value = \"B A\"; }, { name = \"BOOT_B_LEFT\"; value = \"3\"; });"
        } else {
            ""
        };
        format!(
            "{name}: {{ images: ({{ filename = \"{file}\"; type = \"raw\"; {more}device = \"{device}\"; sha256 = \"{sum}\"; }}); {order} }};"
        )
    };
    let name = if kind == Kind::OtherParts { "other" } else { "copy" };
    let (one, two) = (set(&format!("{name}1"), a), set(&format!("{name}2"), b));
    let description = format!(
        "software = {{ version = \"{version}\"; hardware-compatibility: [\"{hardware}\"]; stable = {{ {one} {two} }}; }}\n"
    );
    fs::write(dir.join("sw-description"), description).unwrap();
    run(Command::new("openssl")
        .args(["cms", "-sign", "-outform", "DER", "-nosmimecap", "-binary", "-in"])
        .arg(dir.join("sw-description"))
        .arg("-out")
        .arg(dir.join("sw-description.sig"))
        .arg("-signer")
        .arg(&keys.certificate)
        .arg("-inkey")
        .arg(&keys.key));
    fs::write(dir.join("members"), members.join("\n") + "\n").unwrap();
    let to = dir.join("release.swu");
    let made = Command::new("cpio")
        .args(["--create", "--quiet", "--format=crc"])
        .current_dir(dir)
        .stdin(File::open(dir.join("members")).unwrap())
        .stdout(File::create(&to).unwrap())
        .stderr(Stdio::inherit())
        .status()
        .unwrap();
    assert!(made.success(), "cpio: {made}");
    to
}
