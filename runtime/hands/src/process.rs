//! A child process with all of its offspring: started as a group, and ended as a group when it ends, when its time is over,
//! and when nobody waits for it any more.
//!
//! It never outlives us: where we are killed, the kernel kills it, too. It does not kill what the child had started. On a
//! server the next start ends that (`leftovers`); under systemd's `KillMode=control-group` nothing is left at all. While we
//! live, a process that leaves the group is let go of.
//!
//! Its end is seen before it is reaped. In between, the process id can't have been given to anybody else, so
//! the signal that ends the rest of the group never hits a stranger.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getppid, kill_process_group, pidfd_open,
    set_parent_process_death_signal, waitid,
};
use tokio::io::{Interest, unix::AsyncFd};

/// How often a child is looked at on kernels without process descriptors (before Linux 5.3).
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Children that were killed and not yet reaped when nobody waited for them any more. At each start and end of a
/// child they are looked at again.
static ORPHANS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// What to start.
pub(crate) struct Spawn<'a> {
    pub(crate) program: &'a OsStr,
    pub(crate) args: Vec<OsString>,
    /// All of the environment: nothing is inherited.
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) dir: Option<&'a PathBuf>,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Option<Child>,
    pid: Pid,
    watch: Option<AsyncFd<std::os::fd::OwnedFd>>,
}

impl Process {
    /// Starts it with nothing to read. Must be called on a tokio runtime, by a thread that lives as long as the
    /// child shall.
    pub(crate) fn spawn(spawn: Spawn<'_>) -> io::Result<Self> {
        Self::spawn_reading(spawn, Stdio::null())
    }

    /// Starts it with something to read. What is piped to it stays open until this is dropped.
    pub(crate) fn spawn_reading(spawn: Spawn<'_>, stdin: Stdio) -> io::Result<Self> {
        reap_orphans(None);
        let mut command = std::process::Command::new(spawn.program);
        command.args(spawn.args).env_clear().envs(spawn.environment).process_group(0);
        command.stdin(stdin).stdout(spawn.stdout).stderr(spawn.stderr);
        if let Some(dir) = spawn.dir {
            command.current_dir(dir);
        }
        let parent = rustix::process::getpid();
        #[expect(unsafe_code, reason = "only code that runs between fork and exec can set the death signal")]
        // SAFETY: between fork and exec the closure makes two system calls and neither allocates nor locks.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // Had the parent died before the call above, nobody would send the signal.
                if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("the kernel's process ids are positive 32-bit numbers");
        let watch = pidfd_open(pid, PidfdFlags::empty()).ok();
        #[expect(unsafe_code, reason = "tokio can't know by itself that a descriptor stays open")]
        // SAFETY: an `OwnedFd` that is never lent out mutably is one open descriptor for as long as it lives, and
        // the `AsyncFd` owns it from here on.
        let watch =
            watch.and_then(|fd| unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok());
        Ok(Self { child: Some(child), pid, watch })
    }

    /// Waits until it ends, ends what is left of its group, and says how it ended. Nothing is lost if the wait is
    /// dropped; it can be asked again.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        while !self.ended()? {
            match &self.watch {
                Some(watch) => watch.readable().await?.clear_ready(),
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        self.signal(Signal::KILL);
        let mut child = self.child.take().ok_or(io::ErrorKind::NotFound)?;
        child.wait()
    }

    /// Whether it has ended; it stays unreaped.
    fn ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    /// Sends a signal to the whole group, as long as it is ours for sure.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.child.is_some() {
            // It fails only where nobody is left to hear it.
            let _ = kill_process_group(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        reap_orphans(self.child.take());
    }
}

fn reap_orphans(one_more: Option<Child>) {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.extend(one_more);
    orphans.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// The exit code, or the signal that ended it.
pub(crate) fn ending(status: ExitStatus) -> (Option<i32>, Option<i32>) {
    (status.code(), status.signal())
}
