//! The board: two slots, a boot loader's environment, RAUC's service where RAUC is used, and a ledger.
//!
//! Its boot script is played by `fw_printenv` and `fw_setenv`, so that what is started is decided by nothing of ours.
//!
//! Not here: what is installed (`firmware`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstay_boot::{
    Backend, Finding, LOCK, Rauc, RaucSwitch, RaucWriter, Running, SwUpdate, Switch, UBoot, Write,
};
use backstay_model::{Release, SlotStatus, Transience};
use backstay_slots::{BootWord, Slot, SlotError, Slots as _, System, Tries};

use crate::{
    Firmware, Keys, Kind, Service, SlotDevice, run,
    service::{Bus, Namespace, real},
    until,
};

const TRIES: Tries = Tries::new(2).unwrap();
const ENVIRONMENT_BYTES: &str = "0x1000";
/// Boots after which a machine that starts nothing whole is given up.
const BOOTS_MAX: usize = 12;
/// How much longer a slot is than its image.
const ROOM_BYTES: u64 = 1 << 20;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// RAUC, with bundles.
    Rauc,
    /// SWUpdate, with archives.
    SwUpdate,
}

/// Who switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switching {
    /// We do, in U-Boot's environment.
    Ours,
    /// RAUC does, in the same environment.
    Rauc,
}

/// Slots as the tests open them.
pub type Slots = Backend<System, Box<dyn Switch>, Box<dyn Write>>;

/// A board.
#[derive(Debug)]
pub struct Board {
    /// Who writes.
    pub by: By,
    /// Who switches.
    pub switching: Switching,
    /// Slot a and slot b.
    pub slots: [SlotDevice; 2],
    /// Whom the board trusts.
    pub keys: Keys,
    /// How long one answer of a tool, or one installation, may take.
    pub limit: Duration,
    /// What an image has, in bytes.
    pub image_length: usize,
    /// RAUC's service, while it runs.
    pub service: Option<Service>,
    /// What panics before anything of ours runs.
    pub panics: Vec<String>,
    /// Where the ledger is.
    pub ledger: PathBuf,
    /// All that was ever made for it: what is in a slot is one of these, or nothing.
    pub known: Vec<Firmware>,
    on: Slot,
    boot: u32,
    bus: Option<Bus>,
    namespace: Namespace,
    dir: tempfile::TempDir,
    /// One board at a time: a child that is just being started holds what its parent's other threads have locked.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Board {
    /// A board as it leaves the factory, with version 1.0 in slot a. Images have `image_length` bytes.
    ///
    /// # Panics
    /// A tool that makes it failed.
    #[must_use]
    pub fn made(by: By, switching: Switching, image_length: usize) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::made(dir.path(), "vendor");
        let size = image_length as u64 + ROOM_BYTES;
        let slots = [size, size].map(|size| SlotDevice::made(size).unwrap());
        let uses_rauc = by == By::Rauc || switching == Switching::Rauc;
        let ledger = dir.path().join("ledger");
        let (namespace, bus) = (Namespace::made(dir.path()), uses_rauc.then(|| Bus::made(dir.path())));
        let mut board = Self {
            by,
            switching,
            slots,
            keys,
            limit: Duration::from_secs(120),
            image_length,
            service: None,
            panics: Vec::new(),
            ledger,
            known: Vec::new(),
            on: Slot::A,
            boot: 0,
            bus,
            namespace,
            dir,
            _alone: alone,
        };
        board.has_an_environment();
        board.has_programs();
        let more = "activate-installed=false\n";
        board.configures_rauc(if switching == Switching::Rauc { "uboot" } else { "noop" }, more, "");
        let factory = board.gets("1.0", Kind::Usual);
        board.slots[0].is_given(&factory.image);
        board.boots();
        let (_, findings) = board.open().unwrap();
        assert!(
            matches!(findings[..], [Finding::LedgerLost { confirmed: Slot::A }]),
            "the first time: {findings:?}"
        );
        board
    }

    /// A file of the board's.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The pipe that a bundle's hook waits for.
    #[must_use]
    pub fn pipe(&self, version: &str) -> PathBuf {
        self.path(&format!("pipe-{version}"))
    }

    /// A program of the board's: `rauc`, `fw_printenv`, `fw_setenv`.
    #[must_use]
    pub fn program(&self, name: &str) -> String {
        self.path("bin").join(name).display().to_string()
    }

    fn has_an_environment(&self) {
        fs::write(self.path("variables"), "BOOT_ORDER=A\nBOOT_A_LEFT=2\nBOOT_B_LEFT=0\nethaddr=02:00\n")
            .unwrap();
        run(Command::new("mkenvimage")
            .args(["-r", "-s", ENVIRONMENT_BYTES, "-o"])
            .args([self.path("copy"), self.path("variables")]));
        let copy = fs::read(self.path("copy")).unwrap();
        fs::write(self.path("flash"), [&copy[..], &copy[..]].concat()).unwrap();
        let flash = self.path("flash").display().to_string();
        let config =
            format!("{flash} 0 {ENVIRONMENT_BYTES}\n{flash} {ENVIRONMENT_BYTES} {ENVIRONMENT_BYTES}\n");
        fs::write(self.path("fw_env.config"), config).unwrap();
    }

    fn has_programs(&self) {
        fs::create_dir(self.path("bin")).unwrap();
        let config = self.path("fw_env.config");
        let real = |name: &str| real(name).display().to_string();
        // Two of SWUpdate's that share a folder for their sockets are in each other's way.
        let sockets = self.path("sockets");
        fs::create_dir(&sockets).unwrap();
        let mut programs = vec![
            ("swupdate", format!("export TMPDIR={}\nexec {} \"$@\"", sockets.display(), real("swupdate"))),
            ("fw_printenv", format!("exec {} -c {} \"$@\"", real("fw_printenv"), config.display())),
            ("fw_setenv", format!("exec {} -c {} \"$@\"", real("fw_setenv"), config.display())),
        ];
        if let Some(bus) = &self.bus {
            let variables = bus.variables().map(|(name, value)| format!("export {name}={value}")).join("\n");
            let enter = self.namespace.enter().join(" ");
            let config = self.path("system.conf");
            // `rauc install` goes on where its standard input is held, as any program does.
            programs.push((
                "rauc",
                format!("{variables}\nexec {enter} {} -c {} \"$@\"", real("rauc"), config.display()),
            ));
        }
        for (name, words) in programs {
            fs::write(self.program(name), format!("#!/bin/sh\n{words}\n")).unwrap();
            run(Command::new("chmod").args(["755", &self.program(name)]));
        }
    }

    /// Writes RAUC's `system.conf`; `more` goes into its system section, and `slot` into each slot's.
    ///
    /// # Panics
    /// It can't be written.
    pub fn configures_rauc(&self, bootloader: &str, more: &str, slot: &str) {
        let (mounts, keyring) = (self.path("mounts"), self.keys.authority.display());
        fs::create_dir_all(&mounts).unwrap();
        let (mounts, status) = (mounts.display(), self.path("rauc.status"));
        let status = if more.contains("statusfile=") {
            String::new()
        } else {
            format!("statusfile={}\n", status.display())
        };
        let [a, b] = &self.slots;
        let mut words = format!(
            "[system]\ncompatible=board\nbootloader={bootloader}\nmountprefix={mounts}\n{status}\
             bundle-formats=plain verity\nboot-attempts=2\nboot-attempts-primary=2\n{more}[keyring]\npath={keyring}\n"
        );
        for (at, name, device) in [(0, "A", a), (1, "B", b)] {
            let device = device.path().display();
            words += &format!("[slot.rootfs.{at}]\ndevice={device}\ntype=raw\nbootname={name}\n{slot}");
        }
        fs::write(self.path("system.conf"), words).unwrap();
    }

    /// A version for this board.
    pub fn gets(&mut self, version: &str, kind: Kind) -> Firmware {
        let firmware = Firmware::made(self, version, kind);
        self.known.push(firmware.clone());
        firmware
    }

    /// The boot environment, as `fw_printenv` has it.
    #[must_use]
    pub fn environment(&self) -> String {
        let words = run(&mut Command::new(self.program("fw_printenv")));
        let of = |name: &str| {
            words
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or("-")
                .to_owned()
        };
        assert_eq!(of("ethaddr"), "02:00", "what is not ours stays");
        ["BOOT_ORDER", "BOOT_A_LEFT", "BOOT_B_LEFT"].map(of).join(" | ")
    }

    /// The bytes of the boot environment.
    #[must_use]
    pub fn flash(&self) -> Vec<u8> {
        fs::read(self.path("flash")).unwrap()
    }

    /// Starts RAUC's service, if it is used here and doesn't run.
    pub fn starts_rauc(&mut self) {
        if let Some(bus) = &self.bus
            && self.service.is_none()
        {
            self.service = Some(Service::start(&self.namespace, bus, self.dir.path(), self.on));
            let answers = || {
                let answer = Command::new(self.program("rauc")).arg("status").output().unwrap();
                answer.status.success()
            };
            let log = self.path("log");
            until("RAUC's service", || {
                let runs = self.service.as_ref().is_some_and(|service| crate::runs(service.id()));
                assert!(runs, "RAUC's service ended: {}", fs::read_to_string(&log).unwrap_or_default());
                answers().then_some(())
            });
        }
    }

    /// One start, counted, as the boot script does it.
    fn starts(&self) -> Slot {
        loop {
            let words = self.environment();
            let [order, a, b] = &words.split(" | ").collect::<Vec<_>>()[..] else { panic!("{words}") };
            let left = |name: &str| u8::from_str_radix(if name == "A" { a } else { b }, 16).unwrap_or(0);
            let set = |lines: String| {
                fs::write(self.path("script"), lines).unwrap();
                run(Command::new(self.program("fw_setenv")).arg("-s").arg(self.path("script")));
            };
            match order.split_ascii_whitespace().find(|name| left(name) > 0) {
                Some(name) => {
                    set(format!("BOOT_{name}_LEFT={:x}\n", left(name) - 1));
                    return if name == "A" { Slot::A } else { Slot::B };
                }
                // No slot has any left: those in the order get boots back, and nobody else.
                None => {
                    assert!(!order.is_empty(), "there is nothing to start");
                    set(order.split_ascii_whitespace().map(|name| format!("BOOT_{name}_LEFT=2\n")).collect());
                }
            }
        }
    }

    /// Which version a slot holds whole.
    #[must_use]
    pub fn holds(&self, slot: Slot) -> Option<String> {
        let device = &self.slots[slot as usize];
        let whole = self.known.iter().find(|firmware| device.begins_with(&firmware.image));
        whole.map(|firmware| firmware.release.version.to_string())
    }

    /// A restart, and as many more as it takes until something comes up. Whatever is started has to be whole.
    ///
    /// # Panics
    /// It isn't, or nothing comes up.
    pub fn boots(&mut self) -> String {
        self.service = None;
        for _ in 0..BOOTS_MAX {
            self.on = self.starts();
            self.boot += 1;
            let Some(version) = self.holds(self.on) else {
                panic!("slot {} was started and holds nothing whole", self.on)
            };
            if !self.panics.contains(&version) {
                self.starts_rauc();
                return version;
            }
        }
        panic!("nothing comes up any more");
    }

    /// Which slot runs.
    #[must_use]
    pub fn on(&self) -> Slot {
        self.on
    }

    /// Which boot it is.
    #[must_use]
    pub fn boot(&self) -> String {
        format!("boot-{}", self.boot)
    }

    fn rauc(&self) -> Rauc {
        Rauc::new(vec![self.program("rauc")], ["rootfs.0".into(), "rootfs.1".into()], self.limit)
    }

    /// The command by which SWUpdate is run.
    #[must_use]
    pub fn swupdate(&self) -> Vec<String> {
        let key = self.keys.authority.display().to_string();
        [&*self.program("swupdate"), "-k", &key, "-H", "board:1.0"].map(str::to_owned).to_vec()
    }

    /// Opens the slots as the program on the board does.
    ///
    /// # Errors
    /// As the slots say.
    pub fn open(&self) -> Result<(Slots, Vec<Finding>), SlotError> {
        let [a, b] = self.slots.each_ref().map(SlotDevice::path);
        let write: Box<dyn Write> = match self.by {
            By::Rauc => Box::new(RaucWriter::open(self.rauc(), a, b)?),
            By::SwUpdate => {
                let selections = ["stable,copy1".into(), "stable,copy2".into()];
                Box::new(SwUpdate::open(self.swupdate(), selections, self.limit, a, b)?)
            }
        };
        let switch: Box<dyn Switch> = match self.switching {
            Switching::Ours => {
                Box::new(UBoot::open_with(&self.path("fw_env.config"), Path::new(LOCK)).unwrap())
            }
            Switching::Rauc => Box::new(RaucSwitch::new(self.rauc())),
        };
        let factory = self.known.first().map(|firmware| firmware.release.clone());
        let release = factory.filter(|factory| self.holds(self.on) == Some(factory.version.to_string()));
        let running = Running { slot: self.on, boot: self.boot().parse().unwrap(), release };
        Backend::open(&self.ledger, switch, write, TRIES, running)
    }

    /// Stages a version.
    ///
    /// # Errors
    /// As the slots say.
    pub fn stages(&self, firmware: &Firmware) -> Result<(), SlotError> {
        self.stages_as(&firmware.release, firmware)
    }

    /// Stages the bytes of one version as another release.
    ///
    /// # Errors
    /// As the slots say.
    pub fn stages_as(&self, release: &Release, firmware: &Firmware) -> Result<(), SlotError> {
        let mut artifact = fs::File::open(&firmware.artifact).unwrap();
        self.open()?.0.stage(release, &mut artifact)
    }

    /// Stages a version, again and again as long as that may help.
    ///
    /// # Panics
    /// It is refused for good.
    pub fn stages_in_the_end(&self, firmware: &Firmware) {
        until("a version to be staged", || match self.stages(firmware) {
            Ok(()) => Some(()),
            Err(error) if error.transience() == Transience::Transient => None,
            Err(error) => panic!("{error:?}"),
        });
    }

    /// Has a version tried.
    ///
    /// # Errors
    /// As the slots say.
    pub fn tries(&self, firmware: &Firmware) -> Result<(), SlotError> {
        self.open()?.0.try_next(&firmware.release)
    }

    /// Confirms a version.
    ///
    /// # Errors
    /// As the slots say.
    pub fn confirms(&self, firmware: &Firmware) -> Result<(), SlotError> {
        self.open()?.0.confirm(&firmware.release)
    }

    /// Goes home.
    ///
    /// # Errors
    /// As the slots say.
    pub fn goes_home(&self, firmware: &Firmware) -> Result<(), SlotError> {
        self.open()?.0.go_home(&firmware.release)
    }

    /// What is where.
    ///
    /// # Panics
    /// The slots don't know.
    #[must_use]
    pub fn status(&self) -> SlotStatus {
        self.open().unwrap().0.status().unwrap()
    }

    /// The boot loader's word.
    ///
    /// # Panics
    /// The slots don't know.
    #[must_use]
    pub fn word(&self) -> BootWord {
        self.open().unwrap().0.booted()
    }

    /// Bundles that RAUC has left mounted.
    #[must_use]
    pub fn left_mounted(&self) -> usize {
        self.namespace.mounts_below(&self.path("mounts"))
    }

    /// A small file system that is full, seen by the board's programs and by us.
    ///
    /// # Panics
    /// It can't be mounted.
    #[must_use]
    pub fn full_disk(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir(&dir).unwrap();
        let enter = self.namespace.enter();
        run(Command::new(&enter[0])
            .args(&enter[1..])
            .args(["mount", "-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(&dir));
        self.fills(name);
        dir
    }

    /// Fills a small file system to its last byte.
    ///
    /// # Panics
    /// It didn't.
    pub fn fills(&self, name: &str) {
        let enter = self.namespace.enter();
        let filler = format!("cat /dev/zero > {}/filler", self.path(name).display());
        let filled = Command::new(&enter[0]).args(&enter[1..]).args(["sh", "-c", &filler]).output().unwrap();
        assert!(!filled.status.success(), "it has no end");
    }

    /// A path as the board's programs see it, for who isn't in their namespace.
    #[must_use]
    pub fn seen_from_outside(&self, path: &Path) -> PathBuf {
        let entered = &self.namespace.enter()[1];
        let pid = entered.trim_start_matches("--mount=/proc/").trim_end_matches("/ns/mnt").to_owned();
        PathBuf::from(format!("/proc/{pid}/root{}", path.display()))
    }
}
