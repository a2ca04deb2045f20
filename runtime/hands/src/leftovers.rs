//! Processes that a command had started, and that live on because its server was killed.
//!
//! A command dies with its server (`process`), what it had started doesn't. So the commands of runs, where they run on the
//! server's own machine, carry a mark in their environment, which offspring inherits. The next server ends whoever carries
//! it before it goes on with a run: else it would do again what an old process is still about to do. It doesn't matter who
//! runs it: a command of root's that became another user is not even sent the kernel's signal when its server dies.
//!
//! Not here: who has left the session of its server, as daemons do and `setsid`. It is let go of, also where the command
//! comes to its end: to end a database with the server that once restarted it would be worse than all that is mended here.
//! Nor can anybody be found here who cleared the environment, or whose environment this server may not read, or who runs on
//! another machine (`session`).

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// The variable that holds the mark.
const VARIABLE: &str = "BACKSTAY_INSTANCE";
/// How long what was killed may take to be gone. It takes some milliseconds, if its disk answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon is looked again whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// So many looks in a row have to find nobody: in the middle of an `exec` a process shows no environment for a moment.
const LOOKS: u32 = 2;
/// Linux gives a program at most 6 MiB of arguments and environment.
const ENVIRONMENT_BYTES_MAX: u64 = 6 << 20;
/// Whoever has more ancestors than this has been renumbered while they were counted.
const ANCESTORS_MAX: usize = 4096;

/// What the processes of one server's commands have in common, and nobody else's.
#[derive(Clone, Debug)]
pub struct Mark {
    instance: String,
    /// The session of this process, which stays the same as long as it lives. Whoever starts it next may have another.
    session: i32,
    state: String,
}

/// What became of processes that outlived a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// So many were ended.
    pub ended: usize,
    /// The ids of those that are still there.
    pub remain: BTreeSet<i32>,
}

impl Mark {
    /// Of the one server that may have this folder as its state, and of what this process starts. The instance alone
    /// would not do: it is named by a key, and two servers on a machine may have been set up with one.
    ///
    /// # Errors
    /// If the folder isn't there.
    pub fn new(instance: &str, state: &Path) -> io::Result<Self> {
        let state = fs::canonicalize(state)?.display().to_string();
        // Where the system doesn't show its processes, nobody is found anyway.
        let session = Stat::of("self").map_or(0, |stat| stat.session);
        Ok(Self { instance: instance.into(), session, state })
    }

    /// The variable for what is started now.
    pub(crate) fn variable(&self) -> (String, String) {
        (VARIABLE.into(), self.value(self.session))
    }

    fn value(&self, session: i32) -> String {
        format!("{}:{session}:{}", self.instance, self.state)
    }

    /// Ends what commands of an earlier server had started, and waits until it is gone. Never ends this process or one that
    /// it descends from. To be called before anything is started with the mark.
    ///
    /// # Errors
    /// If nobody can be looked for: `/proc` isn't there.
    pub fn end_leftovers(&self) -> io::Result<Leftovers> {
        let (spared, until) = (line_of(std::process::id().cast_signed()), Instant::now() + PATIENCE);
        let (mut seen, mut looks) = (BTreeSet::new(), 0);
        loop {
            // Who was started by one of them after it was passed over is found by the next look.
            let remain = self.look(&spared)?;
            looks = if remain.is_empty() { looks + 1 } else { 0 };
            if looks == LOOKS || Instant::now() >= until {
                return Ok(Leftovers { ended: seen.difference(&remain).count(), remain });
            }
            remain.iter().for_each(|pid| self.end(*pid));
            seen.extend(remain);
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn look(&self, spared: &BTreeSet<i32>) -> io::Result<BTreeSet<i32>> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(pid.filter(|pid| !spared.contains(pid) && self.marks(*pid)));
        }
        Ok(found)
    }

    /// Whether it was started with the mark, and is still in the session that it was started in.
    fn marks(&self, pid: i32) -> bool {
        let session = || Stat::of(&pid.to_string()).map(|stat| stat.session);
        carried(pid)
            .is_some_and(|value| session().is_ok_and(|session| value == self.value(session).as_bytes()))
    }

    fn end(&self, pid: i32) {
        let Some(id) = Pid::from_raw(pid) else { return };
        // What fails is seen by the next look.
        let _ = match pidfd_open(id, PidfdFlags::empty()) {
            // Now the number can't become another's unseen, but it may have become so before.
            Ok(process) if self.marks(pid) => pidfd_send_signal(process, Signal::KILL),
            Ok(_) => Ok(()),
            // Before Linux 5.3.
            Err(_) => kill_process(id, Signal::KILL),
        };
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ended, remain } = self;
        write!(f, "processes of commands that outlived the server: {ended} ended")?;
        if remain.is_empty() {
            return Ok(());
        }
        let first: Vec<String> = remain.iter().take(8).map(ToString::to_string).collect();
        let (count, first) = (remain.len(), first.join(", "));
        write!(f, ", {count} still there (process {first}): what they do may be done twice")
    }
}

/// The value that a process carries. Who can't be read is a stranger, or gone; what has ended has no environment any more,
/// also if nobody reaps it.
fn carried(pid: i32) -> Option<Vec<u8>> {
    let mut environment = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    variables
        .find_map(|variable| Some(variable.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=")?.to_vec()))
}

/// The process, and all that it descends from.
fn line_of(pid: i32) -> BTreeSet<i32> {
    let mut line = BTreeSet::from([pid]);
    let mut last = pid;
    while let Ok(Stat { parent, .. }) = Stat::of(&last.to_string())
        && line.len() < ANCESTORS_MAX
        && line.insert(parent)
    {
        last = parent;
    }
    line
}

/// What the kernel says of a process.
struct Stat {
    parent: i32,
    /// 0 for one that began outside of this container.
    session: i32,
}

impl Stat {
    fn of(process: &str) -> io::Result<Self> {
        let line = fs::read(format!("/proc/{process}/stat"))?;
        let line = String::from_utf8_lossy(&line);
        // The name may hold anything. Behind it are the state, the parent, the group, the session (proc_pid_stat(5)).
        let mut words = line.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let mut number = |skipped| words.nth(skipped).and_then(|word| word.parse().ok());
        match (number(1), number(1)) {
            (Some(parent), Some(session)) => Ok(Self { parent, session }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A shell and those whose numbers it says in its first line, once each has begun for good: not before its `exec`.
    fn shell(script: &str, mark: &Mark) -> (Child, Vec<i32>) {
        let (name, value) = mark.variable();
        let mut command = Command::new("/bin/sh");
        let command = command.args(["-c", script]).env_clear().env(name, value).env("PATH", "/usr/bin:/bin");
        let mut shell = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let begun: Vec<i32> = said.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        while !begun.iter().all(|pid| name(pid) == "sleep\n" && carried(*pid).is_some()) {
            thread::sleep(Duration::from_millis(1));
        }
        (shell, begun)
    }

    fn kill(mut shell: Child) {
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    fn mark(instance: &str) -> (Mark, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Mark::new(instance, dir.path()).unwrap(), dir)
    }

    const TWO: &str = "sleep 60 & one=$!; sleep 60 & echo $one $!; wait";

    #[test]
    fn what_outlived_its_command_is_ended_and_nobody_elses() {
        let ((ours, dir), (others, _other)) = (mark("a"), mark("a"));
        let another = Mark::new("b", dir.path()).unwrap();
        let (shell_of_ours, left) = shell(TWO, &ours);
        let (shell_of_others, other) = shell(TWO, &others);
        let (shell_of_another, yet_other) = shell(TWO, &another);
        kill(shell_of_ours);
        assert_eq!(ours.look(&BTreeSet::new()).unwrap(), left.iter().copied().collect());
        assert_eq!(ours.end_leftovers().unwrap(), Leftovers { ended: 2, remain: BTreeSet::new() });
        assert_eq!(ours.end_leftovers().unwrap(), Leftovers::default());
        assert!(left.iter().all(|pid| !ours.marks(*pid)));
        assert!(other.iter().all(|pid| others.marks(*pid)), "it is another server's");
        assert!(yet_other.iter().all(|pid| another.marks(*pid)), "it is another server's");
        kill(shell_of_others);
        kill(shell_of_another);
        assert_eq!((others.end_leftovers().unwrap().ended, another.end_leftovers().unwrap().ended), (2, 2));
    }

    /// As daemons do. A command that restarts a database leaves one, and it is not to end with the server.
    #[test]
    fn who_left_the_session_of_the_server_is_let_go_of() {
        let (mark, _dir) = mark("a");
        let script = "setsid sh -c 'echo $$; exec sleep 60' & wait";
        let (shell, daemon) = shell(script, &mark);
        kill(shell);
        assert_eq!(mark.end_leftovers().unwrap(), Leftovers::default());
        let daemon = Pid::from_raw(daemon[0]).unwrap();
        kill_process(daemon, Signal::KILL).unwrap();
    }

    /// Somebody starts the server from a shell that a command of it had started.
    #[test]
    fn who_the_server_descends_from_is_spared() {
        let (mark, _dir) = mark("a");
        let (shell, sleeps) = shell(TWO, &mark);
        let id = shell.id().cast_signed();
        let of_a_sleep = line_of(sleeps[0]);
        assert!(of_a_sleep.is_superset(&BTreeSet::from([sleeps[0], id, std::process::id().cast_signed()])));
        assert_eq!(mark.look(&of_a_sleep).unwrap(), BTreeSet::from([sleeps[1]]));
        assert_eq!(mark.look(&line_of(id)).unwrap(), sleeps.into_iter().collect());
        kill(shell);
        assert_eq!(mark.end_leftovers().unwrap().ended, 2);
    }

    /// While it is looked for, it starts more and more.
    #[test]
    fn who_forks_meanwhile_is_ended_too() {
        let (mark, _dir) = mark("a");
        let (shell, _) =
            shell("(sleep 60 & echo $!; while :; do sleep 60 & sleep 0.001; done) & wait", &mark);
        kill(shell);
        let Leftovers { ended, remain } = mark.end_leftovers().unwrap();
        assert!(ended >= 2 && remain.is_empty(), "{ended} {remain:?}");
        assert!(mark.look(&BTreeSet::new()).unwrap().is_empty());
    }

    #[test]
    fn it_is_told_in_words() {
        let told =
            |ended, remain: &[i32]| Leftovers { ended, remain: remain.iter().copied().collect() }.to_string();
        assert_eq!(told(3, &[]), "processes of commands that outlived the server: 3 ended");
        let remain = "processes of commands that outlived the server: 0 ended, \
                      2 still there (process 7, 9): what they do may be done twice";
        assert_eq!(told(0, &[9, 7]), remain);
    }
}
