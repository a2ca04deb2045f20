//! Releases as RAUC's bundles.
//!
//! Here: a key for RAUC alone, and making bundles by the `rauc` of this machine. Not here: RAUC on the device (`device/`).
//!
//! That a release may run is signed by the operator's release key, over the bundle as it is, and the agent checks that before RAUC
//! sees a byte; RAUC checks its own signature once more.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use backstay_test_fleet::Trouble;

use crate::{shore::HARDWARE, tool};

/// A bundle with an image in it, in the form that takes no kernel's help to read.
///
/// # Errors
/// If `openssl` or `rauc` can't make it.
pub(crate) fn bundle(folder: &Path, keys: &Path, version: &str, image: &Path) -> Result<PathBuf, Trouble> {
    let (key, certificate) = (keys.join("rauc.key"), certificate(folder));
    if !certificate.exists() {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=lab"]);
        tool::run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
    }
    let (content, bundle) = (folder.join("content"), folder.join(format!("{version}.raucb")));
    tool::emptied(&content)?;
    tool::copy(image, &content.join("rootfs.img"))?;
    let manifest = format!(
        "[update]\ncompatible={HARDWARE}\nversion={version}\n\n[bundle]\nformat=plain\n\n[image.rootfs]\nfilename=rootfs.img\n"
    );
    tool::write(&content.join("manifest.raucm"), manifest)?;
    let mut command = Command::new("rauc");
    command.arg("bundle").arg("--cert").arg(&certificate).arg("--key").arg(&key);
    tool::run(command.arg(&content).arg(&bundle))?;
    Ok(bundle)
}

/// Whom RAUC trusts, among what lies on the data partition.
///
/// # Errors
/// If it can't be copied.
pub(crate) fn trust(folder: &Path, data: &Path) -> Result<(), Trouble> {
    tool::copy(&certificate(folder), &data.join("etc/rauc.pem"))
}

fn certificate(folder: &Path) -> PathBuf {
    folder.join("rauc.pem")
}
