//! A process that was started here, and ends with whoever started it.

use std::{
    fs::File,
    io,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{Trouble, trouble};

/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A child with all that it starts, in a process group of its own.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`; what it says goes to the end of `log`.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, Trouble> {
        let name = command.get_program().to_string_lossy().into_owned();
        let open = || File::options().create(true).append(true).open(log);
        let (out, err) = open()
            .and_then(|out| Ok((out, open()?)))
            .map_err(trouble(format!("cannot open {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().map_err(trouble(format!("cannot start {name}")))?;
        Ok(Self { child })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.end()
    }

    /// Ends it in the middle of whatever it does, as the kernel would.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    fn end(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) => std::thread::park_timeout(Duration::from_millis(20)),
                Err(_) => break,
            }
        }
        self.signal(Signal::KILL);
        self.child.wait().ok()
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        // What it started and left behind goes, too.
        self.signal(Signal::KILL);
    }
}

/// Set when somebody wants all of it to end. Everything that waits looks at it.
static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on Ctrl-C ends what is waited for with an error, so that everything that was started is ended, too.
///
/// # Errors
/// If signals can't be listened to.
pub fn stop_on_signals() -> io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&STOP))?;
    }
    Ok(())
}

/// Whether somebody wants all of it to end.
#[must_use]
pub fn stop_wanted() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// A port of the loopback that nobody listens on at this moment.
///
/// # Errors
/// If there is none to be had.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
