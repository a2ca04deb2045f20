//! A program with all that it starts, as one: it is seen to end before it is reaped, and killed as a whole.
//!
//! Here: the process group, and that nothing of it is left when it is dropped. Not here: listening to it, and how long it may
//! take (whoever starts it).

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// What a program that hangs in the kernel is given to end once it was killed.
const REAP: Duration = Duration::from_secs(2);

/// A program at work. Dropped, it is killed with all that it started.
#[derive(Debug)]
pub struct Group {
    /// Until it is reaped.
    child: Option<Child>,
    pid: Pid,
}

impl Group {
    /// Starts a program in a process group of its own.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the kernel's process ids are positive 32-bit numbers");
        Ok(Self { child: Some(child), pid })
    }

    /// What it says, where the command asked for pipes; once.
    pub fn output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        match &mut self.child {
            Some(child) => (child.stdout.take(), child.stderr.take()),
            None => (None, None),
        }
    }

    /// Whether the program has ended. It stays unreaped, so that its number is nobody else's.
    ///
    /// # Errors
    /// Nobody can say.
    pub fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    /// Kills all that is left of it.
    pub fn kill(&self) {
        if self.child.is_some() {
            // It fails only where nobody is left to hear it.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// How the program ended, and an end to what it left behind: that would keep pipes open, and perhaps write on.
    ///
    /// # Errors
    /// That was asked before, or the kernel doesn't say.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.child.take().ok_or(io::ErrorKind::NotFound)?.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let Some(mut child) = self.child.take() else { return };
        let begun = Instant::now();
        // What hangs in the kernel can't be waited for: its entry is left.
        while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < REAP {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_once_and_leaves_nobody_behind() {
        let mut command = Command::new("sh");
        let mut group = Group::start(command.args(["-c", "sleep 1000 & exit 3"])).unwrap();
        while !group.has_ended().unwrap() {
            thread::yield_now();
        }
        assert!(group.has_ended().unwrap(), "it is not reaped by being looked at");
        assert_eq!(group.reap().unwrap().code(), Some(3));
        assert!(group.reap().is_err());
        // Nobody is left in the group, so it is no group any more.
        let none = || kill_process_group(group.pid, Signal::CONT) == Err(rustix::io::Errno::SRCH);
        let begun = Instant::now();
        while !none() && begun.elapsed() < Duration::from_secs(60) {
            thread::yield_now();
        }
        assert!(none());
    }
}
