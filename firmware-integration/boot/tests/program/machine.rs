//! A machine of files: two slots, a boot loader's words, a ledger, and the program itself. What starts after a restart is played
//! here, by the boot loader's own rules; all else is real.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use backstay_boot::{
    SdBoot, Standing, Switch as _, UBoot, device,
    environment::{Environment, Place},
};
use backstay_model::{Digest, Release, Version};
use backstay_slots::{ReleaseWords, RunningAnswer, Slot, SlotAnswer, Tries};
use sha2::{Digest as _, Sha256};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_backstay-slots");

/// More than a pipe holds.
const IMAGE_BYTES: usize = 150_000;
const SLOT_BYTES: usize = 160_000;
const COPY_BYTES: usize = 0x400;
const TWO: Tries = Tries::new(2).unwrap();
/// Boots after which a machine that starts nothing whole is given up.
const BOOTS_MAX: usize = 12;
const VERSIONS: [&str; 4] = ["1.0", "1.1", "1.2", "9.9"];

pub fn bytes(version: &str) -> Vec<u8> {
    // Other at each byte, so that a mix of two is neither.
    let seed = version.bytes().fold(7_u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..IMAGE_BYTES).map(|at| (at as u8).wrapping_mul(3).wrapping_add(seed)).collect()
}

pub fn release(version: &str) -> Release {
    let bytes = bytes(version);
    Release {
        version: Version::parse(version).unwrap(),
        digest: Digest(Sha256::digest(&bytes).into()),
        length: bytes.len() as u64,
        security_epoch: 1,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    UBoot,
    SdBoot,
}

pub const LOADERS: [Loader; 2] = [Loader::UBoot, Loader::SdBoot];

pub struct Machine {
    dir: tempfile::TempDir,
    loader: Loader,
    pub on: Slot,
    boot: usize,
    /// What panics.
    pub panics: &'static [&'static str],
}

impl Machine {
    /// As it leaves the factory: 1.0 in slot a, nothing in b, and the program was told.
    pub fn made(loader: Loader) -> Self {
        let dir = folder();
        let mut machine = Self { dir, loader, on: Slot::A, boot: 0, panics: &[] };
        let mut a = bytes("1.0");
        a.resize(SLOT_BYTES, 0);
        machine.puts("slot-a", &a);
        machine.puts("slot-b", &vec![0xa5; SLOT_BYTES]);
        let here = machine.path("");
        let here = here.display();
        let boot = match loader {
            Loader::UBoot => {
                machine.puts("flash", &vec![0xff; 4 * COPY_BYTES]);
                let places = format!("{here}flash 0 {COPY_BYTES:x}\n{here}flash 0x800 {COPY_BYTES:x}\n");
                machine.puts("fw_env.config", places.as_bytes());
                machine.puts("initial-env", b"bootcmd=run backstay\nethaddr=02:00:00:00:00:01\n");
                let words = [("bootcmd", "run backstay"), ("BOOT_ORDER", "A"), ("BOOT_A_LEFT", "2")];
                machine.environment().renew(&words).unwrap();
                format!(
                    "loader = \"u-boot\"\nconfig = \"{here}fw_env.config\"\nlock = \"{here}fw.lock\"\n\
                     defaults = \"{here}initial-env\""
                )
            }
            Loader::SdBoot => {
                fs::create_dir(machine.path("entries")).unwrap();
                machine.puts("entries/backstay-1-a.conf", b"linux /a\n");
                machine.puts("entries/backstay-1-b.bad", b"linux /b\n");
                format!("loader = \"systemd-boot\"\nentries = \"{here}entries\"")
            }
        };
        let config = format!(
            "ledger = \"{here}data/ledger\"\ntries = 2\n\n[running]\ncmdline = \"{here}cmdline\"\nboot_id = \"{here}boot_id\"\n\n\
             [boot]\n{boot}\n\n[write]\nby = \"raw\"\na = \"{here}slot-a\"\nb = \"{here}slot-b\"\n"
        );
        machine.puts("slots.toml", config.as_bytes());
        machine.boots();
        let none = machine.asks(&["status"]);
        assert_eq!(none.status.code(), Some(75), "nobody said what runs, and there is no place for a ledger");
        machine.does("provision", "1.0");
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn puts(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn config(&self) -> String {
        fs::read_to_string(self.path("slots.toml")).unwrap()
    }

    fn environment(&self) -> Environment<File> {
        let path = self.path("flash");
        let place = |at| Place { device: device::open(&path).unwrap(), path: path.clone(), at };
        Environment::new([place(0), place(0x800)], COPY_BYTES, Some(self.path("fw.lock"))).unwrap()
    }

    pub fn uboot(&self) -> UBoot {
        UBoot::open_with(&self.path("fw_env.config"), &self.path("fw.lock")).unwrap()
    }

    /// What U-Boot's environment has beside our words.
    pub fn variable(&self, name: &str) -> Option<String> {
        let variables = self.environment().read().unwrap();
        variables.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The program with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(self.path("slots.toml")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn asks(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// One command about a release; what is staged comes as an open file without a name.
    pub fn about(&self, command: &str, version: &str) -> Output {
        self.run(self.command(&words(command, version).each_ref().map(String::as_str)), version)
    }

    fn run(&self, mut command: Command, version: &str) -> Output {
        let mut artifact = tempfile::tempfile().unwrap();
        artifact.write_all(&bytes(version)).unwrap();
        std::io::Seek::rewind(&mut artifact).unwrap();
        command.stdin(artifact).output().unwrap()
    }

    pub fn does(&self, command: &str, version: &str) {
        let output = self.about(command, version);
        assert!(output.status.success(), "{command} {version}: {}", said(&output));
    }

    /// One command, killed when it makes its `at`-th call that can change something; whether it was killed.
    pub fn killed_at(&self, command: &str, version: &str, at: usize) -> bool {
        let calls = "openat,write,pwrite64,fsync,rename,unlink,unlinkat,mkdir";
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o", "/dev/null", "-e"]);
        strace
            .arg(format!("trace={calls}"))
            .arg("-e")
            .arg(format!("inject={calls}:signal=SIGKILL:when={at}"));
        strace.arg(PROGRAM).arg("--config").arg(self.path("slots.toml")).args(words(command, version));
        strace.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.run(strace, version);
        let is_killed = output.status.signal() == Some(9) || output.status.code() == Some(128 + 9);
        assert!(is_killed || output.status.success(), "{command} at {at}: {}", said(&output));
        is_killed
    }

    /// Where what runs lies, as the agent is told.
    pub fn running(&self) -> PathBuf {
        let output = self.asks(&["running"]);
        assert!(output.status.success(), "{}", said(&output));
        RunningAnswer::from_bytes(&output.stdout).unwrap().path()
    }

    pub fn answer(&self) -> SlotAnswer {
        let output = self.asks(&["status"]);
        assert!(output.status.success(), "{}", said(&output));
        SlotAnswer::from_bytes(&output.stdout).unwrap()
    }

    /// Which release a slot holds whole.
    pub fn holds(&self, slot: Slot) -> Option<&'static str> {
        let seen = fs::read(self.path(&format!("slot-{slot}"))).unwrap();
        VERSIONS.into_iter().find(|version| seen.starts_with(&bytes(version)))
    }

    /// One start by the boot loader, counted as it counts.
    fn starts(&self) -> Slot {
        match self.loader {
            Loader::UBoot => {
                let mut uboot = self.uboot();
                let slot = uboot.primary().unwrap().unwrap_or_else(|| {
                    // No slot has any left: the script gives boots back to those in the order.
                    for slot in [Slot::A, Slot::B] {
                        if uboot.left(slot).unwrap() == Standing::Tries(0) {
                            uboot.refill(slot, TWO).unwrap();
                        }
                    }
                    uboot.primary().unwrap().unwrap()
                });
                let Standing::Tries(left) = uboot.left(slot).unwrap() else { panic!("U-Boot counts all") };
                let name = format!("BOOT_{}_LEFT", slot.as_str().to_uppercase());
                self.environment().change(&[(&name, &(left - 1).to_string())]).unwrap();
                slot
            }
            Loader::SdBoot => {
                let mut sdboot = SdBoot::open(&self.path("entries"));
                let slot = sdboot.primary().unwrap().unwrap();
                if let Standing::Tries(left) = sdboot.left(slot).unwrap() {
                    self.counts(slot, left);
                }
                slot
            }
        }
    }

    /// As systemd-boot counts a start: by a rename from `+LEFT[-DONE]` to `+LEFT-1-DONE+1`.
    fn counts(&self, slot: Slot, left: u8) {
        let entries = fs::read_dir(self.path("entries")).unwrap();
        let is_meant = |name: &String| name.contains(&format!("-{slot}+{left}"));
        let name =
            entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok()).find(is_meant).unwrap();
        let (stem, counts) = name.strip_suffix(".conf").unwrap().split_once('+').unwrap();
        let done: u8 = counts.split_once('-').map_or(0, |(_, done)| done.parse().unwrap());
        let counted = format!("{stem}+{}-{}.conf", left - 1, done + 1);
        let entries = self.path("entries");
        fs::rename(entries.join(name), entries.join(counted)).unwrap();
    }

    /// A restart, and as many more as it takes until something comes up. Whatever is started has to be whole.
    pub fn boots(&mut self) -> &'static str {
        for _ in 0..BOOTS_MAX {
            self.on = self.starts();
            self.boot += 1;
            let cmdline = format!("console=ttyS0 backstay.slot={} panic=5\n", self.on);
            self.puts("cmdline", cmdline.as_bytes());
            self.puts("boot_id", format!("boot-{}\n", self.boot).as_bytes());
            let Some(version) = self.holds(self.on) else {
                panic!("slot {} was started and holds nothing whole", self.on)
            };
            if !self.panics.contains(&version) {
                return version;
            }
        }
        panic!("nothing comes up any more");
    }

    /// The same machine once more, to try something else with it.
    pub fn again(&self) -> Self {
        let Self { loader, on, boot, panics, .. } = *self;
        let again = Self { dir: folder(), loader, on, boot, panics };
        copy(self.dir.path(), again.dir.path());
        for text in ["slots.toml", "fw_env.config"].map(|name| again.path(name)) {
            let Ok(told) = fs::read_to_string(&text) else { continue };
            let there = again.dir.path().to_str().unwrap();
            fs::write(&text, told.replace(self.dir.path().to_str().unwrap(), there)).unwrap();
        }
        again
    }
}

/// Processes are killed here, and never the power: what is in memory is durable enough, and hundreds of machines are quick.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A command's words about a release.
fn words(command: &str, version: &str) -> [String; 5] {
    let words = ReleaseWords(&release(version)).to_string();
    let mut words = words.split(' ').map(str::to_owned);
    let mut next = || words.next().unwrap();
    [command.to_owned(), next(), next(), next(), next()]
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
