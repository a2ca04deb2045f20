//! RAUC's service on a bus of its own, in a mount namespace of the board's.
//!
//! Not here: what it is configured to do (`board`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use backstay_slots::Slot;

use crate::{kill, until};

/// A process that ends with this one, however that ends.
#[derive(Debug)]
pub(crate) struct Held(Child);

impl Held {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let program = command.get_program().to_owned();
        let mut held = Command::new("setpriv");
        held.args(["--pdeathsig", "KILL"]).arg(program).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                held.env(name, value);
            }
        }
        let log = || fs::File::options().create(true).append(true).open(log).unwrap();
        held.stdin(Stdio::null()).stdout(log()).stderr(log());
        Self(held.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        kill(self.0.id());
        let _ = self.0.wait();
    }
}

/// Whoever is in it sees mounts of its own; they go with the last process in it.
#[derive(Debug)]
pub(crate) struct Namespace(Held);

impl Namespace {
    pub(crate) fn made(dir: &Path) -> Self {
        let words = ["--mount", "--propagation", "private", "sleep", "infinity"];
        let held = Held::start(Command::new("unshare").args(words), &dir.join("log"));
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let (own, pid) = (of("self"), held.id().to_string());
        until("a mount namespace", || of(&pid).filter(|namespace| Some(namespace) != own.as_ref()));
        Self(held)
    }

    /// How something is started in it.
    pub(crate) fn enter(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", self.0.id()), "--".into()]
    }

    /// How many mounts below a folder there are in it.
    pub(crate) fn mounts_below(&self, dir: &Path) -> usize {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.0.id())).unwrap();
        let below = |line: &&str| line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(dir));
        mounts.lines().filter(below).count()
    }
}

/// Where a program is: a board has programs of the same names.
pub(crate) fn real(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed"))
}

/// A message bus: RAUC needs one.
#[derive(Debug)]
pub(crate) struct Bus {
    socket: PathBuf,
    _daemon: Held,
}

impl Bus {
    pub(crate) fn made(dir: &Path) -> Self {
        let (socket, config) = (dir.join("bus"), dir.join("bus.conf"));
        let words = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>\n",
            socket.display()
        );
        fs::write(&config, words).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg(format!("--config-file={}", config.display())).args(["--nofork", "--nopidfile"]);
        let daemon = Held::start(&mut command, &dir.join("log"));
        until("a message bus", || socket.exists().then_some(()));
        Self { socket, _daemon: daemon }
    }

    /// What a program is told so that it takes this bus for the system's.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let address = format!("unix:path={}", self.socket.display());
        [("DBUS_STARTER_BUS_TYPE", "session".into()), ("DBUS_SESSION_BUS_ADDRESS", address)]
    }
}

/// RAUC's service.
#[derive(Debug)]
pub struct Service(Held);

impl Service {
    pub(crate) fn start(namespace: &Namespace, bus: &Bus, dir: &Path, on: Slot) -> Self {
        let enter = namespace.enter();
        let mut command = Command::new(&enter[0]);
        let slot = if on == Slot::A { "A" } else { "B" };
        command
            .args(&enter[1..])
            .arg(real("rauc"))
            .arg(format!("--conf={}", dir.join("system.conf").display()));
        command.arg(format!("--override-boot-slot={slot}")).arg("service").envs(bus.variables());
        // Its `fw_setenv` is the board's.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", dir.join("bin").display()));
        Self(Held::start(&mut command, &dir.join("log")))
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}
