//! A board with two slots, worked by the real tools: RAUC with a service and a bus of its own, SWUpdate, `fw_printenv` and
//! `fw_setenv` on an environment that `mkenvimage` made.
//!
//! Here: the board, what is installed on it, and ending all of it. A tool that isn't installed, or a machine where nobody is root,
//! makes a test say why it was skipped, and pass. Not here: what is tested; that stands in `tests/`.
//!
//! What outlives a test that was killed: a folder in the system's temporary one. Loop devices go with the last who has them open, mounts with the process that
//! holds their namespace, and every process that is started here ends with the one that started it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a tool that doesn't work fails the test that needs it"
)]

mod board;
mod firmware;
mod keys;
mod process;
mod program;
mod service;
mod slot;

pub use board::{Board, By, Switching};
pub use firmware::{Firmware, Kind};
pub use keys::Keys;
pub use process::{Moment, child_named, kill, moments, run, runs, until};
pub use program::slots_program;
pub use service::Service;
pub use slot::SlotDevice;

use std::{
    io::{self, Write as _},
    process::Command,
};

/// Says a figure, past the test's own output: `cargo xtask test` tells it.
pub fn tells(figure: &str) {
    // Who doesn't listen misses a figure.
    let _ = writeln!(io::stdout().lock(), "\nsummary: {figure}");
}

/// How much of it the long form does.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("BACKSTAY_LONG").is_some()
}

/// Who writes and who switches, as owners have it. The short form has each of them once.
const WAYS: [(By, Switching); 4] = [
    (By::Rauc, Switching::Rauc),
    (By::SwUpdate, Switching::Ours),
    (By::Rauc, Switching::Ours),
    (By::SwUpdate, Switching::Rauc),
];

/// Who writes and who switches, in the stories that are told for each.
#[must_use]
pub fn ways() -> &'static [(By, Switching)] {
    if is_long() { &WAYS } else { &WAYS[..2] }
}

/// What the tests need: the program, how it says its version, and Debian's package.
const TOOLS: [(&str, &[&str], &str); 8] = [
    ("rauc", &["--version"], "rauc"),
    ("swupdate", &["--version"], "swupdate"),
    ("fw_printenv", &["--version"], "libubootenv-tool"),
    ("mkenvimage", &["-V"], "u-boot-tools"),
    ("mksquashfs", &["-version"], "squashfs-tools"),
    ("dbus-daemon", &["--version"], "dbus-daemon"),
    ("openssl", &["version"], "openssl"),
    ("cpio", &["--version"], "cpio"),
];

/// Whether the machine can have such a board; says why not.
#[must_use]
pub fn can_be_had() -> bool {
    for (tool, version, package) in TOOLS {
        if Command::new(tool).args(version).output().is_err() {
            println!(
                "skipped, because {tool} is not installed (package {package}): cargo xtask test firmware"
            );
            return false;
        }
    }
    if !rustix::process::geteuid().is_root() {
        println!(
            "skipped, because RAUC mounts a bundle to install it, and loop devices are slots: both need root"
        );
        return false;
    }
    let namespace = Command::new("unshare").args(["--mount", "true"]).output();
    if !namespace.is_ok_and(|output| output.status.success()) {
        println!("skipped, because this machine gives no mount namespace");
        return false;
    }
    if let Err(why) = SlotDevice::made(1 << 20) {
        println!("skipped, because there is no loop device: {why}");
        return false;
    }
    true
}

/// The tools' versions, in a line.
#[must_use]
pub fn versions() -> String {
    let said = |(tool, version, package): (&str, &[&str], &str)| {
        let output = Command::new(tool).args(version).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let line = text.lines().next().unwrap_or_default();
        // Debian's SWUpdate doesn't know its own version; its package does.
        let query = Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
        let package =
            query.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into());
        format!("{tool} {package} ({})", line.trim())
    };
    TOOLS.map(said).join("; ")
}
