//! A stock Debian becomes a device in a cohort, by the commands of docs/firmware.md as they stand there.
//!
//! The page says what somebody types on a workstation and at the board's serial line; broker, server and keys are the lab's.
//! The board's disk is what the page lays out. Its U-Boot is Debian's, which can't save its environment: what it lacks for that stands
//! before the page's own boot script, and nothing else differs.
//!
//! Here: typing, and waiting for what has to come of it. Not here: the commands (`page`).

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use backstay_test_fleet::Trouble;
use serde_json::Value;

use crate::{
    device::{PATIENCE, condemned, is_settled},
    disk::{self, Disk},
    machine::{Line, Machine, Mark},
    page::{Blocks, By},
    shore::Shore,
    tool::{self, trouble},
};

/// The page's section.
pub(crate) const SECTION: &str = "From a stock Debian board to a device in a cohort";
/// What is said when a block's commands have ended, with their code.
const END: &str = "LAB end ";
/// How long a person waits for the next word of a login.
const LOGIN: Duration = Duration::from_secs(20);

/// What it takes.
pub(crate) struct Needs<'a> {
    /// `backstay` is in here.
    pub(crate) programs: &'a Path,
    /// The plugins as components.
    pub(crate) components: &'a Path,
    /// The agent's package for arm64.
    pub(crate) package: &'a Path,
    /// The folder that all files go to.
    pub(crate) folder: &'a Path,
}

/// Tells the page's story, from its first block to its last.
///
/// # Errors
/// Says which command failed, or what did not come of it.
pub(crate) fn tell(needs: &Needs<'_>) -> Result<Vec<String>, Trouble> {
    let began = Instant::now();
    let mut blocks = Blocks::of(SECTION)?;
    let shore_folder = needs.folder.join("shore");
    crate::shore::fresh(&shore_folder)?;
    let shore = Shore::start(&shore_folder, needs.programs, needs.components)?;
    let mut desk = Desk::sit_down(needs, &shore)?;
    let once = blocks.next(By::Once)?;
    desk.runs_once(&once)?;
    desk.note("the workstation has a root of Debian");
    desk.runs(&blocks.next(By::Workstation)?)?;

    let board = needs.folder.join("board");
    tool::emptied(&board)?;
    let flash = disk::flash(&board)?;
    let card = desk.work.join("card.img");
    let mut seat = Seat {
        machine: Machine::new(Disk::card(&card), &flash, Some(shore.reach()), &board),
        log: desk.log.try_clone().map_err(trouble("cannot keep a log"))?,
    };
    seat.machine.on()?;
    seat.log_in(Mark::default())?;
    desk.note("stock Debian is up");
    seat.types(&blocks.next(By::Board)?)?;
    seat.machine.until_off(PATIENCE)?;
    desk.note("the board is set up, and off");

    desk.runs(&blocks.next(By::Workstation)?)?;
    let mark = seat.machine.mark();
    seat.machine.on()?;
    seat.log_in(mark)?;
    seat.types(&blocks.next(By::Board)?)?;
    let knows = |seat: &Seat, what: &str, holds: &dyn Fn(&Value) -> bool| {
        let known = shore.until(what, PATIENCE * 2, holds);
        known
            .map_err(|error| Trouble(format!("{error}\nthe board said last:\n{}", seat.machine.last_lines())))
    };
    knows(&seat, "the device is settled on 1.0.0", &|device| is_settled(device, "1.0.0"))?;
    desk.note("enrolled, and settled on 1.0.0");

    let mark = seat.machine.mark();
    desk.runs(&blocks.next(By::Workstation)?)?;
    desk.note("2.0.0 is published and rolled out");
    knows(&seat, "the device is settled on 2.0.0", &|device| is_settled(device, "2.0.0"))?;
    desk.note("2.0.0 is confirmed");
    seat.log_in(mark)?;
    seat.types(&blocks.next(By::Board)?)?;

    let mark = seat.machine.mark();
    desk.runs(&blocks.next(By::Workstation)?)?;
    desk.note("3.0.0 is published and rolled out");
    knows(&seat, "the device is home on 2.0.0", &|device| {
        is_settled(device, "2.0.0") && condemned(device) == 1
    })?;
    desk.note("home on 2.0.0, and 3.0.0 is condemned");
    seat.log_in(mark)?;
    seat.types(&blocks.next(By::Board)?)?;
    blocks.end()?;
    for (kind, what) in shore.records()? {
        desk.logs(&format!("{kind}: {what}\n"))?;
    }
    let records = shore.chain_holds()?;
    desk.note(format!("{records} records hang together; {:.0} s in all", began.elapsed().as_secs_f64()));
    Ok(std::mem::take(&mut desk.notes))
}

/// Somebody at a workstation: a shell in a folder of its own.
struct Desk {
    work: PathBuf,
    shell: Child,
    keyboard: ChildStdin,
    screen: BufReader<ChildStdout>,
    log: fs::File,
    began: Instant,
    notes: Vec<String>,
}

impl Desk {
    /// With the tree, the keys and the bundles where the page has them, and the server known.
    fn sit_down(needs: &Needs<'_>, shore: &Shore) -> Result<Self, Trouble> {
        let (work, tree) = (needs.folder.join("work"), needs.folder.join("tree"));
        tool::emptied(&tree)?;
        tool::write(&tree.join("firmware-integration/u-boot/boot.cmd"), disk::template())?;
        let name = needs.package.file_name().ok_or_else(|| Trouble("the package has no name".into()))?;
        tool::copy(needs.package, &tree.join("target/dist").join(name))?;
        // All but what is kept from run to run.
        fs::create_dir_all(&work).map_err(trouble(format!("cannot make {}", work.display())))?;
        for entry in fs::read_dir(&work).map_err(trouble("cannot read the work folder"))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name != "root" && name != "once" {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(trouble(format!("cannot remove {}", path.display())))?;
            }
        }
        for (name, to) in [("keys", &shore.layout.keys), ("bundles", &shore.layout.plugins)] {
            symlink(to, work.join(name)).map_err(trouble(format!("cannot make {name}")))?;
        }
        let log = fs::File::create(needs.folder.join("transcript")).map_err(trouble("cannot make a log"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        // What it mounts is nobody else's, and goes with it.
        let mut command = Command::new("unshare");
        command.args(["--mount", "setpriv", "--pdeathsig", "KILL", "bash", "--noprofile", "--norc", "-s"]);
        command.current_dir(&work).env("tree", &tree).env("LC_ALL", "C.UTF-8");
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", needs.programs.display()));
        command.env("BACKSTAY_SERVER", shore.cli.server());
        command.env("BACKSTAY_TOKEN_FILE", shore.layout.dir.join("server/token"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().map_err(trouble("cannot start a shell"))?;
        let gone = || Trouble("the shell has no ends".into());
        let (keyboard, screen) =
            (shell.stdin.take().ok_or_else(gone)?, shell.stdout.take().ok_or_else(gone)?);
        let (screen, began) = (BufReader::new(screen), Instant::now());
        let mut desk = Self { work, shell, keyboard, screen, log, began, notes: Vec::new() };
        desk.enters("exec 2>&1; set -e -u -o pipefail; umask 022\n")?;
        Ok(desk)
    }

    /// Runs what need not be run again where the same was run before.
    fn runs_once(&mut self, blocks: &[String]) -> Result<(), Trouble> {
        let (text, kept) = (blocks.concat(), self.work.join("once"));
        if fs::read_to_string(&kept).is_ok_and(|before| before == text) {
            return Ok(());
        }
        let _ = fs::remove_file(&kept);
        let root = self.work.join("root");
        if root.exists() {
            fs::remove_dir_all(&root).map_err(trouble("cannot remove an earlier root"))?;
        }
        let is_ours = emulates()?;
        let done = self.runs(blocks);
        if is_ours {
            fs::write("/proc/sys/fs/binfmt_misc/qemu-aarch64", "-1")
                .map_err(trouble("cannot take back the emulator"))?;
        }
        done?;
        tool::write(&kept, text)
    }

    /// Runs blocks, one after the other.
    fn runs(&mut self, blocks: &[String]) -> Result<(), Trouble> {
        for block in blocks {
            self.logs(&format!(
                "\n--- workstation, {:.0} s\n{block}---\n",
                self.began.elapsed().as_secs_f64()
            ))?;
            // What a command reads is not the next command.
            self.enters(&format!("{{\n{block}}} < /dev/null\necho '{END}'0\n"))?;
            let mut said = String::new();
            loop {
                let mut line = String::new();
                let read =
                    self.screen.read_line(&mut line).map_err(trouble("cannot read what a shell says"))?;
                if line.starts_with(END) {
                    break;
                }
                self.logs(&line)?;
                said.push_str(&line);
                if read == 0 {
                    let last: Vec<_> = said.lines().rev().take(20).collect();
                    let last: Vec<_> = last.into_iter().rev().collect();
                    return Err(Trouble(format!(
                        "on the workstation this failed:\n{block}it said last:\n{}",
                        last.join("\n")
                    )));
                }
            }
        }
        Ok(())
    }

    fn enters(&mut self, text: &str) -> Result<(), Trouble> {
        self.keyboard.write_all(text.as_bytes()).map_err(trouble("cannot type"))
    }

    fn logs(&mut self, text: &str) -> Result<(), Trouble> {
        self.log.write_all(text.as_bytes()).map_err(trouble("cannot keep what was said"))
    }

    fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("lab: {:6.1} s  {what}", self.began.elapsed().as_secs_f64());
        self.notes.push(what);
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Sees to it that programs for 64-bit ARM run here, as they do where systemd has read qemu-user-static's own words on it. Whether that
/// was changed just now.
fn emulates() -> Result<bool, Trouble> {
    const PLACE: &str = "/proc/sys/fs/binfmt_misc";
    if !Path::new(PLACE).join("register").exists() {
        tool::run(Command::new("mount").args(["-t", "binfmt_misc", "binfmt_misc", PLACE]))?;
    }
    if Path::new(PLACE).join("qemu-aarch64").exists() {
        return Ok(false);
    }
    let words = tool::read(Path::new("/usr/lib/binfmt.d/qemu-aarch64.conf"))?;
    fs::write(Path::new(PLACE).join("register"), words).map_err(trouble("cannot name the emulator"))?;
    Ok(true)
}

/// Somebody at the board's serial line.
struct Seat {
    machine: Machine,
    log: fs::File,
}

impl Seat {
    /// Logs in on what came up after `mark`, and makes the shell say nothing but what its commands say.
    fn log_in(&mut self, mark: Mark) -> Result<(), Trouble> {
        let is_ready = |line: &str| line.starts_with("Debian GNU/Linux") && line.ends_with("ttyAMA0");
        self.machine.until(mark, "somebody may log in", PATIENCE, is_ready)?;
        // A terminal that is just being opened forgets what was typed before.
        let entered = self.asks("root\n", "ABSOLUTELY NO WARRANTY")?;
        self.asks("exec bash --noediting\nstty -echo; PS1= PS2=; echo LAB 'shell'\n", "LAB shell")?;
        self.logs(&format!("\n--- logged in: {entered}\n"))
    }

    /// Types until an answer comes.
    fn asks(&mut self, what: &str, answer: &'static str) -> Result<Line, Trouble> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mark = self.machine.mark();
            self.machine.types(what)?;
            match self.machine.until(mark, answer, LOGIN, |line| line.contains(answer)) {
                Ok((line, _)) => return Ok(line),
                Err(error) if Instant::now() > end || backstay_test_fleet::stop_wanted() => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
    }

    /// Types blocks, one after the other, each when the one before has ended well.
    fn types(&mut self, blocks: &[String]) -> Result<(), Trouble> {
        for block in blocks {
            let mark = self.machine.mark();
            self.machine.types(&format!("(set -e\n{block}); echo '{END}'$?\n"))?;
            let (end, _) =
                self.machine.until(mark, "the board has done it", PATIENCE, |line| line.contains(END))?;
            let said = self.machine.since(mark);
            self.logs(&format!("\n--- board\n{block}---\n"))?;
            for line in said.iter().take_while(|line| line.at <= end.at) {
                self.logs(&format!("{line}\n"))?;
            }
            if !end.text.ends_with(&format!("{END}0")) {
                return Err(Trouble(format!(
                    "on the board this failed:\n{block}it said last:\n{}",
                    self.machine.last_lines()
                )));
            }
        }
        Ok(())
    }

    fn logs(&mut self, text: &str) -> Result<(), Trouble> {
        self.log.write_all(text.as_bytes()).map_err(trouble("cannot keep what was said"))
    }
}
