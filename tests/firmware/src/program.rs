//! `backstay-slots` on the board: its configuration, and running it as the agent and people do.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use backstay_boot::LOCK;
use backstay_model::Release;
use backstay_slots::{ReleaseWords, Slot};

use crate::{Board, By, Firmware, Switching};

/// The program: what `BACKSTAY_PROGRAMS` names the folder of, else where `cargo xtask` puts it.
///
/// # Panics
/// It isn't built.
#[must_use]
pub fn slots_program() -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/programs/debug");
    let folder = std::env::var_os("BACKSTAY_PROGRAMS").map_or(usual, PathBuf::from);
    let program = folder.join("backstay-slots");
    assert!(program.is_file(), "{} is not built: cargo xtask test firmware builds it", program.display());
    program
}

impl Board {
    /// Writes what the program is told, and what the kernel would say of this boot.
    ///
    /// # Panics
    /// It can't be written.
    pub fn has_slots_toml(&self) {
        let slot = if self.on() == Slot::A { "a" } else { "b" };
        fs::write(self.path("cmdline"), format!("console=ttyS0 backstay.slot={slot} quiet\n")).unwrap();
        fs::write(self.path("boot_id"), format!("{}\n", self.boot())).unwrap();
        fs::write(self.path("initial-env"), "").unwrap();
        let path = |name: &str| self.path(name).display().to_string();
        let loader = match self.switching {
            Switching::Ours => format!(
                "loader = \"u-boot\"\nconfig = \"{}\"\nlock = \"{LOCK}\"\ndefaults = \"{}\"",
                path("fw_env.config"),
                path("initial-env")
            ),
            Switching::Rauc => "loader = \"rauc\"".into(),
        };
        let by = match self.by {
            By::Rauc => "by = \"rauc\"".into(),
            By::SwUpdate => format!("by = \"swupdate\"\ncommand = {:?}", self.swupdate()),
        };
        let [a, b] = self.slots.each_ref().map(|slot| slot.path().display());
        let words = format!(
            "ledger = \"{ledger}\"\ntries = 2\n[running]\ncmdline = \"{cmdline}\"\nboot_id = \"{boot_id}\"\n\
             [boot]\n{loader}\n[write]\n{by}\na = \"{a}\"\nb = \"{b}\"\n[rauc]\ncommand = [\"{rauc}\"]\n",
            ledger = self.ledger.display(),
            cmdline = path("cmdline"),
            boot_id = path("boot_id"),
            rauc = self.program("rauc"),
        );
        fs::write(self.path("slots.toml"), words).unwrap();
    }

    /// The program, asked in these words; a release is four of them.
    ///
    /// # Panics
    /// It isn't built.
    #[must_use]
    pub fn slots(&self, words: &[&str], release: Option<&Release>) -> Command {
        let mut command = Command::new(slots_program());
        command.arg("--config").arg(self.path("slots.toml")).args(words).stdin(Stdio::null());
        if let Some(release) = release {
            command.args(ReleaseWords(release).to_string().split(' '));
        }
        // As the agent starts it: it inherits nothing.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// The program, told to stage.
    ///
    /// # Panics
    /// It isn't built.
    #[must_use]
    pub fn slots_stage(&self, firmware: &Firmware) -> Command {
        let mut command = self.slots(&["stage"], Some(&firmware.release));
        command.stdin(File::open(&firmware.artifact).unwrap());
        command
    }

    /// How it ended and what it said, in a line.
    ///
    /// # Panics
    /// It can't be started.
    pub fn ask(&self, mut command: Command) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }
}
