//! `cargo xtask deb --try`: the package installed, upgraded, removed and purged in a root of its own.
//!
//! Here: the root (Debian's smallest, by mmdebstrap), the story, and what must be so after each step of it. Not here: the package (`deb`), and an agent that
//! runs under systemd: nothing runs in such a root. What the maintainer scripts ask of systemd is written down by stand-ins, which are told that it runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::deb::{self, Agent};
use crate::package::copy;
use crate::setup::on_path;
use crate::steps::run_loudly;
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What the root is made of. Both CPUs' packages install in one of this machine's: dpkg is told of the other CPU.
const SUITE: &str = "bookworm";

const STATE: &str = "var/lib/backstay";
const CONFFILE: &str = "etc/backstay/agent.toml";
const KEYRING: &str = "etc/backstay/keyring";
const UNIT: &str = "usr/lib/systemd/system/backstay-agent.service";
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/backstay-agent.service";
const PROGRAM: &str = "usr/bin/backstay-agent";
const SLOTS: &str = "usr/bin/backstay-slots";
/// Where stand-ins write what they were asked.
const ASKED: &str = "asked";
/// What runs a program of another CPU, once it is copied there.
const EMULATOR: &str = "usr/bin/qemu-aarch64-static";

/// Tells the story of one agent's package; skips it loudly where there is no such root to be had.
pub(crate) fn try_out(workspace: &Workspace, agent: &Agent) -> Result<(), Trouble> {
    if let Some(why) = missing(agent) {
        eprintln!("{}: installing was skipped, because {why}", agent.architecture);
        return Ok(());
    }
    let folder = workspace.target.join("xtask/deb");
    let root = Root::unpack(&folder, &base(&folder)?, agent)?;
    // One that came before, and the one that ships.
    let version = deb::version(workspace);
    let before = format!("{version}~before");
    root.bring(&deb::pack(workspace, agent, &before, &folder)?)?;
    root.bring(&deb::pack(workspace, agent, version, &workspace.target.join("dist"))?)?;
    let package = |version: &str| format!("/backstay-agent_{version}_{}.deb", agent.architecture);
    tell(&root, &package(&before), &package(version))?;
    tell_with_systemd(&root, &package(&before), &package(version))?;
    println!("{}: installed, upgraded, removed and purged as it should be", agent.architecture);
    fs::remove_dir_all(&root.folder)
        .map_err(|why| Trouble::new(format!("cannot remove {}", root.folder.display())).why(why))
}

/// Why it can't be tried here.
fn missing(agent: &Agent) -> Option<&'static str> {
    if on_path("mmdebstrap").is_none() {
        return Some("there is no mmdebstrap here");
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !is_root {
        return Some("only root can change into a root");
    }
    (agent.architecture == "arm64" && on_path("qemu-aarch64-static").is_none())
        .then_some("there is no qemu-aarch64-static here")
}

/// The archive of the root, made once.
fn base(folder: &Path) -> Result<PathBuf, Trouble> {
    let file = folder.join(format!("root-{SUITE}.tar"));
    if !file.is_file() {
        fs::create_dir_all(folder)
            .map_err(|why| Trouble::new(format!("cannot make {}", folder.display())).why(why))?;
        let part = folder.join(format!("root-{SUITE}.part.tar"));
        let mut command = Command::new("mmdebstrap");
        command.args(["--variant=minbase", SUITE]).arg(&part);
        run_loudly(&mut command, &format!("make a root of {SUITE}"))?;
        fs::rename(&part, &file)
            .map_err(|why| Trouble::new(format!("cannot make {}", file.display())).why(why))?;
    }
    Ok(file)
}

/// From the first installation to the purge, with nothing running, as where an image is made.
fn tell(root: &Root, before: &str, after: &str) -> Result<(), Trouble> {
    root.stand_in()?;
    root.dpkg(&["--install", before])?;
    root.has("the first installation", &[PROGRAM, SLOTS, UNIT, CONFFILE, ENABLED, STATE], &[])?;

    // What a factory and an operator do then.
    root.agent(&["provision", "--artifact", "/bin/true", "--version", "1.0.0"])?;
    let fingerprint = root.agent(&["fingerprint"])?;
    root.write(CONFFILE, &root.read(CONFFILE)?.replace("generic", "pump-arm64"))?;
    root.write(KEYRING, "")?;
    let (state, configuration) = (root.state()?, root.read(CONFFILE)?);
    must(state.len() >= 3, "a provisioned device has a key and slots")?;

    let same = |step: &str| {
        must(root.state()? == state, &format!("{step} leaves what the device knows as it was"))?;
        must(root.read(CONFFILE)? == configuration, &format!("{step} leaves an operator's configuration"))
    };
    root.dpkg(&["--install", after])?;
    root.has("the upgrade", &[PROGRAM, UNIT, ENABLED], &[])?;
    same("the upgrade")?;
    must(root.agent(&["fingerprint"])? == fingerprint, "the device is the same after the upgrade")?;

    root.dpkg(&["--remove", "backstay-agent"])?;
    root.has("the removal", &[CONFFILE, KEYRING], &[PROGRAM, SLOTS, UNIT])?;
    same("the removal")?;

    root.dpkg(&["--install", after])?;
    same("installing it again")?;
    must(root.agent(&["fingerprint"])? == fingerprint, "the device is the same when it is installed again")?;

    // `systemctl disable` does this much.
    fs::remove_file(root.at(ENABLED)).map_err(|why| root.failed("disable the unit", why))?;
    root.dpkg(&["--install", before])?;
    root.has("a downgrade", &[PROGRAM], &[ENABLED])?;
    same("a downgrade")?;

    root.dpkg(&["--purge", "backstay-agent"])?;
    root.has("the purge", &[KEYRING], &[PROGRAM, SLOTS, UNIT, ENABLED, CONFFILE, STATE])?;
    must(root.asked()?.is_empty(), "nothing is asked of a systemd that doesn't run")
}

/// The same where systemd runs: what is asked of it, and when.
fn tell_with_systemd(root: &Root, before: &str, after: &str) -> Result<(), Trouble> {
    fs::create_dir_all(root.at("run/systemd/system")).map_err(|why| root.failed("make", why))?;
    let asks = |step: &str, expected: &[&str]| {
        let asked = root.asked()?;
        // `deb-systemd-helper` has systemd look again by itself, where it made or removed a link.
        let of_helper = |line: &&str| line.starts_with("systemctl daemon-reload");
        let asked: Vec<_> = asked.lines().filter(|line| !of_helper(line)).collect();
        must(asked == expected, &format!("{step} asks {expected:?} of systemd, and not {asked:?}"))
    };
    let reload = "systemctl --system daemon-reload";
    root.dpkg(&["--install", before])?;
    asks("an installation that is not set up", &[reload])?;
    root.dpkg(&["--install", after])?;
    let restart = "deb-systemd-invoke restart backstay-agent.service";
    asks("an upgrade", &[reload, reload, restart])?;
    root.dpkg(&["--purge", "backstay-agent"])?;
    // After the program is gone nobody could stop it in an orderly way; the stand-in says if it is there.
    let stop = "deb-systemd-invoke stop backstay-agent.service";
    let gone = format!("{reload} gone");
    root.dpkg(&["--purge", "backstay-agent"])?;
    asks("a purge", &[stop, &gone, &gone])?;

    root.stand_in_for("backstay-agent", "exit 0")?;
    root.dpkg(&["--install", after])?;
    asks("an installation whose configuration is good", &[reload, restart])
}

fn must(is_so: bool, what: &str) -> Result<(), Trouble> {
    if is_so { Ok(()) } else { Err(Trouble::new(format!("the package does not do as it should: {what}"))) }
}

/// A root of Debian in a folder.
struct Root {
    folder: PathBuf,
    /// If programs of the agent's CPU run here by themselves.
    emulated: bool,
}

impl Root {
    fn unpack(above: &Path, base: &Path, agent: &Agent) -> Result<Self, Trouble> {
        let folder = above.join("root");
        let failed = |why| Trouble::new(format!("cannot lay out {}", folder.display())).why(why);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(base).arg("--directory").arg(&folder);
        // Devices can't be made everywhere. What is thrown away goes into a file.
        tar.args(["--exclude=./dev/*", "--numeric-owner"]);
        run_loudly(&mut tar, "unpack the root")?;
        fs::write(folder.join("dev/null"), "").map_err(failed)?;
        let here = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let root = Root { folder, emulated: agent.architecture != here };
        if root.emulated {
            root.run(&["dpkg", "--add-architecture", agent.architecture])?;
            let emulator = on_path("qemu-aarch64-static").unwrap_or_default();
            copy(Path::new(&emulator), &root.at(EMULATOR))?;
        }
        Ok(root)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn failed(&self, what: &str, why: impl std::fmt::Display) -> Trouble {
        Trouble::new(format!("cannot {what} in {}", self.folder.display())).why(why)
    }

    /// Puts a package where dpkg finds it.
    fn bring(&self, package: &Path) -> Result<(), Trouble> {
        copy(package, &self.folder.join(package.file_name().unwrap_or_default()))
    }

    /// Runs a command in the root, and gives what it printed.
    fn run(&self, words: &[&str]) -> Result<String, Trouble> {
        let output = Command::new("chroot")
            .arg(&self.folder)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .map_err(|why| self.failed(words[0], why))?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(told);
        }
        let why = format!("{}\n{told}{}", output.status, String::from_utf8_lossy(&output.stderr));
        Err(self.failed(&format!("run `{}`", words.join(" ")), why))
    }

    /// Nobody is asked about a changed conffile, because dpkg is given no keyboard: a question would be an error.
    fn dpkg(&self, words: &[&str]) -> Result<(), Trouble> {
        // What an agent of glibc's asks for is of its own CPU, and isn't in a root of another.
        let libraries = if self.emulated { "--force-depends" } else { "--refuse-depends" };
        self.run(&[&["dpkg", libraries], words].concat()).map(drop)
    }

    fn agent(&self, words: &[&str]) -> Result<String, Trouble> {
        let program = format!("/{PROGRAM}");
        let emulator = format!("/{EMULATOR}");
        let begin: &[&str] = if self.emulated { &[&emulator, &program] } else { &[&program] };
        self.run(&[begin, words].concat())
    }

    fn read(&self, path: &str) -> Result<String, Trouble> {
        fs::read_to_string(self.at(path)).map_err(|why| self.failed(&format!("read {path}"), why))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Trouble> {
        fs::write(self.at(path), text).map_err(|why| self.failed(&format!("write {path}"), why))
    }

    /// What must be there and what not; a link counts, wherever it points.
    fn has(&self, step: &str, there: &[&str], gone: &[&str]) -> Result<(), Trouble> {
        let is = |path: &&str| self.at(path).symlink_metadata().is_ok();
        let lacks: Vec<_> = there.iter().filter(|path| !is(path)).collect();
        let keeps: Vec<_> = gone.iter().filter(|path| is(path)).collect();
        must(
            lacks.is_empty() && keeps.is_empty(),
            &format!("after {step}, {lacks:?} must be there and {keeps:?} must not"),
        )
    }

    /// All that the device knows: each file with its bytes, and where each link points.
    fn state(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>, Trouble> {
        let mut files = BTreeMap::new();
        // Without the folder, nothing is known: whoever compares says after which step.
        let mut open: Vec<_> = [self.at(STATE)].into_iter().filter(|folder| folder.is_dir()).collect();
        let failed = |why| self.failed("read the state", why);
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let kind = path.symlink_metadata().map_err(failed)?.file_type();
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_symlink() {
                    let to = fs::read_link(&path).map_err(failed)?;
                    files.insert(path, to.into_os_string().into_encoded_bytes());
                } else {
                    let bytes = fs::read(&path).map_err(failed)?;
                    files.insert(path, bytes);
                }
            }
        }
        Ok(files)
    }

    /// Puts stand-ins before what would talk to systemd.
    fn stand_in(&self) -> Result<(), Trouble> {
        for name in ["systemctl", "deb-systemd-invoke"] {
            let script = format!(
                "line=\"{name} $*\"\n[ -e /{PROGRAM} ] || line=\"$line gone\"\necho \"$line\" >>/{ASKED}"
            );
            self.stand_in_for(name, &script)?;
        }
        self.write(ASKED, "")
    }

    fn stand_in_for(&self, name: &str, script: &str) -> Result<(), Trouble> {
        let path = format!("usr/local/bin/{name}");
        self.write(&path, &format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(self.at(&path), fs::Permissions::from_mode(0o755))
            .map_err(|why| self.failed("make a stand-in", why))
    }

    /// What the stand-ins were asked since the last time.
    fn asked(&self) -> Result<String, Trouble> {
        let asked = self.read(ASKED)?;
        self.write(ASKED, "")?;
        Ok(asked)
    }
}
