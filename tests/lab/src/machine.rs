//! One machine: QEMU with what a board has, and what it says on its serial line.
//!
//! It is emulated instruction by instruction (TCG), never by the processor's own help: what is shown here is shown on any
//! machine. Its network ends at this one's loopback, at two ports, and nowhere else.
//!
//! Here: power on, power off, the cable, typing, and waiting for a line. Not here: what lies on the disk (`disk`), what lines mean (`story`).

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use backstay_test_fleet::{Trouble, stop_wanted};

use crate::{disk::Disk, tool::trouble};

/// Debian's U-Boot for QEMU's board.
pub(crate) const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-aarch64";
/// How often somebody who waits looks around.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many lines are shown of a machine that did not do what it was to do.
const SHOWN_LINES: usize = 25;

/// What a device says that will not get any further.
const BROKEN: [&str; 2] = ["LAB broken", "LAB loader broken"];

/// Where the broker and the server are for the device; `agent.toml` has the same addresses.
pub(crate) const BROKER: &str = "10.0.2.101:1883";
/// As [`BROKER`].
pub(crate) const SERVER: &str = "10.0.2.100:8080";

/// What a machine can reach: ports of this one's loopback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// The server's.
    pub(crate) server: u16,
    /// The broker's.
    pub(crate) broker: u16,
}

/// A machine that has power, or had.
pub(crate) struct Machine {
    disk: Disk,
    flash: PathBuf,
    reach: Option<Reach>,
    folder: PathBuf,
    began: Instant,
    power: Option<Power>,
    said: Arc<Mutex<Vec<Line>>>,
}

/// A time of power.
struct Power {
    qemu: Child,
    keyboard: ChildStdin,
    ends: Receiver<()>,
    news: Receiver<()>,
}

/// A line of the serial console.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// When it came, on this machine's clock, since the first power on.
    pub(crate) at: Duration,
    /// Without what tells a terminal to move.
    pub(crate) text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7.1} {}", self.at.as_secs_f64(), self.text)
    }
}

/// How much of what a machine says has been looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(usize);

impl Machine {
    /// A machine without power. What it says is also kept in `folder`.
    pub(crate) fn new(disk: Disk, flash: &Path, reach: Option<Reach>, folder: &Path) -> Self {
        let (flash, folder) = (flash.to_owned(), folder.to_owned());
        Self { disk, flash, reach, folder, began: Instant::now(), power: None, said: Arc::default() }
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Gives it power.
    ///
    /// # Errors
    /// If QEMU doesn't start.
    pub(crate) fn on(&mut self) -> Result<(), Trouble> {
        self.disk.ready()?;
        // It ends with this program, also where that is killed.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            QEMU,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "stdio",
        ]);
        command.args([
            "-machine",
            "virt",
            "-cpu",
            "cortex-a53",
            "-accel",
            "tcg",
            "-m",
            "512",
            "-bios",
            U_BOOT,
        ]);
        let flash = self.flash.display();
        command.arg("-drive").arg(format!("if=pflash,unit=1,format=raw,readonly=on,file={flash}"));
        command.arg("-blockdev").arg(self.disk.blockdev());
        command.args(["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]);
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        let mut network = String::from("user,id=cable,restrict=on");
        if let Some(Reach { server, broker }) = self.reach {
            // This very program, and not what lies in its place by now: a build may have put a new one there.
            let lab = format!("/proc/{}/exe", std::process::id());
            for (place, port) in [(SERVER, server), (BROKER, broker)] {
                network += &format!(",guestfwd=tcp:{place}-cmd:{lab} connect {port}");
            }
        }
        command.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=cable"]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", self.monitor().display()));
        let log =
            std::fs::File::create(self.folder.join("qemu.log")).map_err(trouble("cannot make a log"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut qemu = command.spawn().map_err(trouble(format!("cannot start {QEMU}")))?;
        let keyboard = qemu.stdin.take().ok_or_else(|| Trouble("QEMU has no keyboard".into()))?;
        let console = qemu.stdout.take().ok_or_else(|| Trouble("QEMU has no console".into()))?;
        let (end, ends) = mpsc::channel();
        let (tell, news) = mpsc::channel();
        let (said, began) = (Arc::clone(&self.said), self.began);
        let kept = std::fs::File::options().create(true).append(true).open(self.folder.join("serial.log"));
        let mut kept = kept.map_err(trouble("cannot keep what a machine says"))?;
        thread::spawn(move || {
            listen(console, |text| {
                let line = Line { at: began.elapsed(), text };
                let _ = writeln!(kept, "{line}");
                said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                let _ = tell.send(());
            });
            // It has said all that it will.
            drop(end);
        });
        self.power = Some(Power { qemu, keyboard, ends, news });
        Ok(())
    }

    /// Takes the power away, in the middle of whatever it does. When this returns all is heard that it said, and nobody writes to
    /// its disk any more.
    pub(crate) fn off(&mut self) {
        if let Some(mut power) = self.power.take() {
            let _ = power.qemu.kill();
            let _ = power.qemu.wait();
            let _ = power.ends.recv();
        }
    }

    /// Types this on its serial line.
    ///
    /// # Errors
    /// If it has no power.
    pub(crate) fn types(&mut self, text: &str) -> Result<(), Trouble> {
        let power = self.power.as_mut().ok_or_else(|| Trouble("nobody types without power".into()))?;
        let typed = power.keyboard.write_all(text.as_bytes()).and_then(|()| power.keyboard.flush());
        typed.map_err(trouble("cannot type"))
    }

    /// Waits until it has switched itself off.
    ///
    /// # Errors
    /// If it doesn't in time.
    pub(crate) fn until_off(&mut self, most: Duration) -> Result<(), Trouble> {
        let end = Instant::now() + most;
        while let Some(power) = &mut self.power {
            if power.qemu.try_wait().map_err(trouble("cannot wait for QEMU"))?.is_some() {
                self.off();
            } else if Instant::now() > end || stop_wanted() {
                return Err(Trouble(format!(
                    "it doesn't switch itself off; it said last:\n{}",
                    self.last_lines()
                )));
            } else {
                thread::park_timeout(LOOK_EVERY);
            }
        }
        Ok(())
    }

    /// Pulls or plugs the cable of its network.
    ///
    /// # Errors
    /// If QEMU doesn't do it.
    pub(crate) fn cable(&self, plugged: bool) -> Result<(), Trouble> {
        let failed = || trouble("cannot reach QEMU's monitor");
        let stream = UnixStream::connect(self.monitor()).map_err(failed())?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed())?;
        let mut answers = BufReader::new(stream.try_clone().map_err(failed())?).lines();
        let mut stream = stream;
        let set = format!(r#"{{"execute":"set_link","arguments":{{"name":"cable","up":{plugged}}}}}"#);
        for command in [r#"{"execute":"qmp_capabilities"}"#, &set] {
            writeln!(stream, "{command}").map_err(failed())?;
            // The greeting, and events, come between.
            loop {
                let answer = answers.next().ok_or_else(|| Trouble("QEMU's monitor ended".into()))?;
                let answer = answer.map_err(failed())?;
                if answer.contains("\"error\"") {
                    return Err(Trouble(format!("QEMU refused {command}: {answer}")));
                }
                if answer.contains("\"return\"") {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What has been said so far counts as looked at.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.said().len())
    }

    /// All that was said since.
    pub(crate) fn since(&self, mark: Mark) -> Vec<Line> {
        self.said().get(mark.0..).unwrap_or_default().to_vec()
    }

    /// Waits until a line fits that was said after `mark`, and says which, and where it is looked on from.
    ///
    /// # Errors
    /// If none does in time, QEMU ends, or somebody wants all of it to end; with the last lines.
    pub(crate) fn until(
        &self,
        mark: Mark,
        what: &str,
        most: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> Result<(Line, Mark), Trouble> {
        let end = Instant::now() + most;
        let mut next = mark.0;
        loop {
            // Whether it has ended is asked before the lines are looked at: none comes after.
            let ended = match &self.power {
                Some(power) => match power.news.recv_timeout(LOOK_EVERY) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => true,
                },
                None => true,
            };
            {
                let said = self.said();
                while let Some(line) = said.get(next) {
                    next += 1;
                    if fits(&line.text) {
                        return Ok((line.clone(), Mark(next)));
                    }
                    if BROKEN.iter().any(|word| line.text.starts_with(word)) {
                        return Err(Trouble(format!("`{}`, and it was waited until {what}", line.text)));
                    }
                }
            }
            let why = if stop_wanted() {
                "stopped by a signal".to_owned()
            } else if ended {
                "the machine has no power".to_owned()
            } else if Instant::now() > end {
                format!("waited {} s in vain", most.as_secs())
            } else {
                continue;
            };
            return Err(Trouble(format!("{why}, until {what}; it said last:\n{}", self.last_lines())));
        }
    }

    /// The last lines, for a person.
    pub(crate) fn last_lines(&self) -> String {
        let said = self.said();
        let shown: Vec<_> = said.iter().filter(|line| !line.text.is_empty()).collect();
        let shown = shown.get(shown.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
        shown.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }

    fn said(&self) -> MutexGuard<'_, Vec<Line>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn monitor(&self) -> PathBuf {
        self.folder.join("qmp")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.off();
    }
}

/// Tells each line that comes, until no more does. A line that has no end yet when the power goes is none.
fn listen(console: impl Read, mut tell: impl FnMut(String)) {
    let mut console = BufReader::new(console);
    let mut bytes = Vec::new();
    while console.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
        if bytes.last() == Some(&b'\n') {
            tell(plain(&bytes));
        }
        bytes.clear();
    }
}

/// A line without what moves a cursor: U-Boot colours what it says.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(|letter| letter.is_ascii_alphabetic());
        } else if !letter.is_control() {
            plain.push(letter);
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_without_a_terminals_words_and_half_a_line_is_none() {
        let mut told = Vec::new();
        listen(&b"\x1b[0mLAB up slot=a\r\n\nLAB durable 4"[..], |line| told.push(line));
        assert_eq!(told, ["LAB up slot=a", ""]);
    }
}
