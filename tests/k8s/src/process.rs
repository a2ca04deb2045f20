//! A program that runs beside the test, and can't outlive it; and a folder that can't, either.
//!
//! The kernel ends a child when the *thread* that started it ends. Whoever starts one here keeps that thread.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// One program. It is killed when this is dropped, and when the thread that started it ends, however that happens.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it, with all that it says at the end of `NAME.log` in `folder`.
    ///
    /// # Panics
    /// If it can't be started.
    pub(crate) fn start(name: &'static str, mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let parent = getpid();
        #[expect(unsafe_code, reason = "only code that runs between fork and exec can set the death signal")]
        // SAFETY: between fork and exec the closure makes two system calls and neither allocates nor locks.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // Had the parent died before the call above, nobody would send the signal.
                if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let open = File::options().create(true).append(true).open(&log);
        let said = open.and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) = said.unwrap_or_else(|e| panic!("no log for {name}: {e}"));
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { name, child, log }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// All it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and that is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removes a folder once this process has ended, also where it was killed: a shell waits for the end of a pipe that nobody else
/// has. It is in a group of its own, so that Ctrl-C doesn't end it first.
///
/// # Panics
/// If there is no shell.
#[expect(clippy::zombie_processes, reason = "it ends after this process, which is what it is for")]
pub(crate) fn removed_after_us(folder: &Path) {
    let script = "read -r _; for _ in 1 2 3 4 5; do rm -rf -- \"$1\" && exit; sleep 0.2; done";
    let shell = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut shell = shell.unwrap_or_else(|e| panic!("cannot start sh: {e}"));
    // The pipe stays open as long as this process lives.
    std::mem::forget(shell.stdin.take());
}
