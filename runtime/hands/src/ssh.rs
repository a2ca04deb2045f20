//! Commands on another machine, by the OpenSSH client of this one.
//!
//! Here: whom to reach and how, all of it spelled out, and what it means when the client fails. Not here: what is said on
//! the other side (`session`), and why it is the OpenSSH client (runtime/decisions/0021).
//!
//! The client reads no configuration of anybody's, asks nobody anything, offers one key, believes only host keys that
//! are in a given file, forwards nothing, and notices when the other machine is gone.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use backstay_model::{Answer, Name, Transience};
use tokio::net::unix::pipe;

use crate::{
    command::{Command, drain, not_started},
    output::{Tail, failed, refused},
    process::{Process, Spawn},
    session::{LINE_BYTES_MAX, Session, Stage, line, mark},
};

/// The longest that making a connection may take, in seconds.
const CONNECT_SECS: u32 = 10;
/// After so many seconds of silence the other machine is asked for a sign of life,
const ALIVE_SECS: u32 = 5;
/// and after so many unanswered questions it is gone.
const ALIVE_COUNT: u32 = 3;
/// How the client ends when it is its own failure, or the command's end by a signal.
const OWN_FAILURE: i32 = 255;

/// What holds whatever a configuration file would say.
const OPTIONS: [&str; 22] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=none",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "AddKeysToAgent=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
    "ProxyCommand=none",
    "ControlMaster=no",
    "ControlPath=none",
    "CanonicalizeHostname=no",
    "ConnectionAttempts=1",
    "EscapeChar=none",
    "LogLevel=ERROR",
];

/// An account on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// A name or an address.
    pub host: String,
    /// Its port; [`Ssh::PORT`] where none is configured.
    pub port: u16,
    /// The account. Its shell has to read what POSIX says a shell reads: sh, dash, bash, ksh and zsh do.
    pub user: String,
    /// The file of the private key, an absolute path. Only the server's user may be able to read it, or the client
    /// doesn't use it; it has no passphrase.
    pub key: PathBuf,
    /// The file of the host keys that are believed, an absolute path, as `ssh-keyscan` writes it.
    pub known_hosts: PathBuf,
    /// The client, an absolute path; [`Ssh::PROGRAM`] where none is configured. OpenSSH 7.3 or later.
    pub program: PathBuf,
}

/// A command that can't be run by SSH as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshError {
    /// The host can't be one.
    Host {
        /// What was given.
        host: String,
    },
    /// The port is 0.
    Port,
    /// The user can't be one.
    User {
        /// What was given.
        user: String,
    },
    /// A file is not an absolute path, or one that the client would read in its own way.
    Path {
        /// What was given.
        path: PathBuf,
    },
    /// A shell can't have a variable of this name.
    Variable {
        /// What was given.
        variable: String,
    },
    /// The program's path holds `=`, so it would be taken for a variable.
    Program {
        /// What was given.
        program: String,
    },
    /// The folder on the other machine is not an absolute path.
    Dir {
        /// What was given.
        dir: PathBuf,
    },
    /// Program, arguments and variables are longer than what a shell can be given in one piece.
    TooLong,
}

impl SshError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Host { .. } => Some("give a name or an address: letters, digits and . - : only"),
            Self::Port => Some("give a port from 1 to 65535"),
            Self::User { .. } => Some("give an account's name: letters, digits and . - _ only, 64 at most"),
            Self::Path { .. } => Some("give a full path of letters, digits and / . - _ + @ only"),
            Self::Variable { .. } => Some("name variables by letters, digits and _ only"),
            Self::Program { .. } => Some("give the program a name without ="),
            Self::Dir { .. } => Some("give the folder's full path"),
            Self::TooLong => Some("put what is long into a file on the other machine"),
        }
    }
}

impl fmt::Display for SshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host } => write!(f, "{host:?} is no host"),
            Self::Port => f.write_str("0 is no port"),
            Self::User { user } => write!(f, "{user:?} is no user"),
            Self::Path { path } => write!(f, "ssh can't be given {path:?}"),
            Self::Variable { variable } => write!(f, "{variable:?} can't be set by ssh"),
            Self::Program { program } => write!(f, "{program:?} can't be run by ssh"),
            Self::Dir { dir } => write!(f, "{dir:?} is no absolute path"),
            Self::TooLong => write!(f, "the command is longer than {LINE_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for SshError {}

impl Ssh {
    /// The port of SSH.
    pub const PORT: u16 = 22;
    /// Where the OpenSSH client is.
    pub const PROGRAM: &str = "/usr/bin/ssh";

    /// Checks it once, together with the command that is to run there.
    ///
    /// # Errors
    /// Says what can't be used.
    pub fn check(&self, command: &Command) -> Result<(), SshError> {
        let of = |text: &str, more: &str, max: usize| {
            (1..=max).contains(&text.len())
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !of(&self.host, ".-:", 255) {
            return Err(SshError::Host { host: self.host.clone() });
        }
        if self.port == 0 {
            return Err(SshError::Port);
        }
        if !of(&self.user, ".-_", 64) {
            return Err(SshError::User { user: self.user.clone() });
        }
        // In the client's options `%` and `${` stand for other things, `~` for a folder, and a blank ends a path.
        let plain =
            |path: &Path| path.is_absolute() && path.to_str().is_some_and(|path| of(path, "/.-_+@", 4096));
        let paths = [&self.key, &self.known_hosts, &self.program];
        if let Some(path) = paths.into_iter().find(|path| !plain(path)) {
            return Err(SshError::Path { path: path.clone() });
        }
        let named = |name: &String| of(name, "_", 255) && !name.starts_with(|c: char| c.is_ascii_digit());
        if let Some(variable) = command.environment.keys().find(|name| !named(name)) {
            return Err(SshError::Variable { variable: variable.clone() });
        }
        if let Some(program) = command.argv.first().filter(|program| program.contains('=')) {
            return Err(SshError::Program { program: program.clone() });
        }
        if let Some(dir) = command.dir.as_ref().filter(|dir| !dir.is_absolute()) {
            return Err(SshError::Dir { dir: dir.clone() });
        }
        let words: Vec<_> = command.argv.iter().collect();
        match line("", &words, &command.environment, command.dir.as_ref(), command.timeout) {
            Some(_) => Ok(()),
            None => Err(SshError::TooLong),
        }
    }

    /// Runs a command there, with arguments that it doesn't refuse.
    pub(crate) async fn answer(&self, name: &Name, command: &Command, extra: &[String]) -> Answer {
        let mark = match mark() {
            Ok(mark) => mark,
            Err(error) => return not_started(name, &error),
        };
        let words: Vec<_> = command.argv.iter().chain(extra).collect();
        let Some(line) = line(&mark, &words, &command.environment, command.dir.as_ref(), command.timeout)
        else {
            return refused(format!("command {name} would be longer than {LINE_BYTES_MAX} bytes"));
        };
        let (mut session, mut words) = (Session::new(&mark), Tail::new());
        let timeout = Duration::from_millis(command.timeout.0);
        match tokio::time::timeout(timeout, self.run(line, &mut session, &mut words)).await {
            Err(_) => Answer::TimedOut,
            Ok(Err(error)) => not_started(name, &error),
            Ok(Ok(code)) => match session.stage() {
                Stage::Ended(code) => Answer::Exited { code: Some(code), output: session.finish() },
                Stage::Speaks => Answer::InDoubt,
                Stage::Before => self.not_begun(code, &String::from_utf8_lossy(&words.finish().bytes)),
            },
        }
    }

    /// Until the command has ended, or the client has: that one's code. Dropped, it takes the client along, and that
    /// the command.
    async fn run(&self, line: String, session: &mut Session, words: &mut Tail) -> io::Result<Option<i32>> {
        let (heard, out) = io::pipe()?;
        let (complains, err) = io::pipe()?;
        let heard = pipe::Receiver::from_owned_fd(heard.into())?;
        let complains = pipe::Receiver::from_owned_fd(complains.into())?;
        let spawn = Spawn {
            program: self.program.as_ref(),
            args: self.args(line),
            environment: &BTreeMap::new(),
            dir: None,
            stdout: Stdio::from(out),
            stderr: Stdio::from(err),
        };
        // Nothing is ever written to it. That it is closed, with the connection, is what the other side waits for.
        let mut process = Process::spawn_reading(spawn, Stdio::piped())?;
        let (mut hears, mut complained) = (true, true);
        loop {
            tokio::select! {
                status = process.wait() => {
                    let status = status?;
                    drain(&heard, |said| session.take(said));
                    drain(&complains, |said| words.take(said));
                    return Ok(status.code());
                }
                ready = heard.readable(), if hears => {
                    ready?;
                    hears = some(&heard, |said| session.take(said))?;
                    if let Stage::Ended(_) = session.stage() {
                        return Ok(None);
                    }
                }
                ready = complains.readable(), if complained => {
                    ready?;
                    complained = some(&complains, |said| words.take(said))?;
                }
            }
        }
    }

    fn args(&self, line: String) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["-F", "none", "-T", "-a", "-x"].map(OsString::from).to_vec();
        let files = [("IdentityFile", &self.key), ("UserKnownHostsFile", &self.known_hosts)];
        let files = files.map(|(option, path)| format!("{option}={}", path.display()));
        let times = [
            format!("ConnectTimeout={CONNECT_SECS}"),
            format!("ServerAliveInterval={ALIVE_SECS}"),
            format!("ServerAliveCountMax={ALIVE_COUNT}"),
        ];
        for option in OPTIONS.map(String::from).into_iter().chain(files).chain(times) {
            args.extend(["-o".into(), option.into()]);
        }
        let port = self.port.to_string();
        args.extend(["-p", &port, "-l", &self.user, "--", &self.host].map(OsString::from));
        args.push(line.into());
        args
    }

    /// The client has ended, and no word of the command came. Its own failure is never taken for the command's end: it is
    /// one of those that come before anything is sent, or it is not known what happened.
    fn not_begun(&self, code: Option<i32>, words: &str) -> Answer {
        let Self { host, user, .. } = self;
        let last: String =
            words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().escape_debug().collect();
        let why = |transience, what: String| {
            let why = if last.is_empty() { what } else { format!("{what}: {last}") };
            failed(transience, why)
        };
        if code.is_some_and(|code| code != OWN_FAILURE) {
            return why(
                Transience::Permanent,
                format!("the account {user} on {host} did not start the command"),
            );
        }
        let said = |any: &[&str]| any.iter().any(|part| words.contains(part));
        if code.is_none() {
            Answer::InDoubt
        } else if said(&["Host key verification failed"]) {
            why(Transience::Permanent, format!("the key of host {host} is not known"))
        } else if said(&["Permission denied ("]) {
            why(Transience::Permanent, format!("host {host} does not let {user} in with this key"))
        } else if said(&[
            "Unable to negotiate with",
            "command-line line",
            "command-line: line",
            "No user exists for uid",
        ]) {
            why(Transience::Permanent, format!("ssh can't talk to host {host}"))
        } else if said(&[
            "Could not resolve hostname",
            "connect to host",
            "kex_exchange_identification",
            "banner exchange",
        ]) {
            why(Transience::Transient, format!("host {host} could not be reached"))
        } else {
            Answer::InDoubt
        }
    }
}

/// Takes what there is. `false`: there will be no more.
fn some(pipe: &pipe::Receiver, take: impl FnOnce(&[u8])) -> io::Result<bool> {
    let mut chunk = [0; 8192];
    match pipe.try_read(&mut chunk) {
        Ok(0) => Ok(false),
        Ok(read) => {
            take(&chunk[..read]);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use backstay_model::{Millis, Outcome};

    use super::*;
    use crate::command::tests::shell;

    fn ssh() -> Ssh {
        Ssh {
            host: "10.0.0.5".into(),
            port: Ssh::PORT,
            user: "deploy".into(),
            key: "/etc/backstay/ssh_key".into(),
            known_hosts: "/etc/backstay/known_hosts".into(),
            program: Ssh::PROGRAM.into(),
        }
    }

    /// A client that says and does what a script of ours does, given the line in `$LINE`.
    async fn with_client(script: &str, command: Command) -> Answer {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("ssh");
        let script = format!("#!/bin/sh\nfor LINE; do :; done\n{script}\n");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another test may have this file open for writing in the moment between its fork and exec.
        loop {
            let ssh = Ssh { program: program.clone(), ..ssh() };
            let answer = ssh.answer(&Name::parse("it").unwrap(), &command, &[]).await;
            if !format!("{answer:?}").contains("Text file busy") {
                return answer;
            }
        }
    }

    fn failure(answer: Answer) -> (Transience, String) {
        let Answer::Failed(Outcome::Failed { transience, why }) = answer else { panic!("{answer:?}") };
        (transience, why)
    }

    #[tokio::test]
    async fn a_command_answers_as_one_of_this_machine_does() {
        let command =
            Command { argv: ["/bin/sh", "-c", "echo $A; exit 255"].map(String::from).to_vec(), ..shell("") };
        let command = Command { environment: BTreeMap::from([("A".into(), "b c".into())]), ..command };
        let answer = with_client("echo Welcome; exec /usr/bin/setsid -w /bin/sh -c \"$LINE\"", command).await;
        let Answer::Exited { code: Some(255), output } = answer else { panic!("{answer:?}") };
        assert_eq!(output.bytes, b"b c\n");
    }

    #[tokio::test]
    async fn a_failure_of_the_client_is_never_the_commands_end() {
        let says = |words: &str| format!("echo '{words}' >&2; exit 255");
        for (words, transience, starts) in [
            (
                "Host key verification failed.",
                Transience::Permanent,
                "the key of host 10.0.0.5 is not known: ",
            ),
            (
                "deploy@h: Permission denied (publickey).",
                Transience::Permanent,
                "host 10.0.0.5 does not let deploy in",
            ),
            (
                "ssh: connect to host h port 22: Connection refused",
                Transience::Transient,
                "host 10.0.0.5 could not be",
            ),
            (
                "ssh: Could not resolve hostname h: no",
                Transience::Transient,
                "host 10.0.0.5 could not be reached: ",
            ),
            ("Unable to negotiate with h", Transience::Permanent, "ssh can"),
        ] {
            let (again, why) = failure(with_client(&says(words), shell("true")).await);
            assert!(again == transience && why.starts_with(starts) && why.ends_with(words), "{why}");
        }
        for script in ["exit 255", "echo Oh >&2; exit 255", "kill -9 $$"] {
            assert_eq!(with_client(script, shell("true")).await, Answer::InDoubt, "{script}");
        }
        let begun = "MARK=$(echo \"$LINE\" | grep -o '[0-9a-f]\\{32\\}'); echo $MARK; echo 'Permission denied (x)' >&2; exit 255";
        assert_eq!(
            with_client(begun, shell("true")).await,
            Answer::InDoubt,
            "it began, and its end was not heard"
        );
        let (again, why) = failure(with_client("echo 'no timeout here' >&2; exit 127", shell("true")).await);
        assert_eq!(again, Transience::Permanent);
        assert_eq!(why, "the account deploy on 10.0.0.5 did not start the command: no timeout here");
        let (_, why) = failure(with_client("printf 'a\\033[31mb' >&2; exit 1", shell("true")).await);
        assert!(why.ends_with(r": a\u{1b}[31mb"), "{why}");
    }

    #[tokio::test]
    async fn its_time_is_bounded() {
        let short = Command { timeout: Millis(20), ..shell("true") };
        assert_eq!(with_client("exec /bin/sleep 1000", short).await, Answer::TimedOut);
    }

    #[test]
    fn the_client_is_told_everything() {
        let args = ssh().args("the line".into());
        let args: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert!(args.starts_with(&["-F", "none", "-T", "-a", "-x", "-o", "BatchMode=yes"]));
        assert!(args.ends_with(&["-p", "22", "-l", "deploy", "--", "10.0.0.5", "the line"]));
        for option in ["IdentityFile=/etc/backstay/ssh_key", "UserKnownHostsFile=/etc/backstay/known_hosts"] {
            assert!(args.windows(2).any(|pair| pair == ["-o", option]), "{args:?}");
        }
    }

    #[test]
    fn it_is_checked_where_it_is_configured() {
        let command = shell("true");
        assert_eq!(ssh().check(&command), Ok(()));
        for host in ["", "-oProxyCommand=x", "a b", "user@host", "h\n", "%h", "fe80::1%eth0"] {
            assert_eq!(
                Ssh { host: host.into(), ..ssh() }.check(&command),
                Err(SshError::Host { host: host.into() })
            );
        }
        assert_eq!(Ssh { host: "2001:db8::1".into(), ..ssh() }.check(&command), Ok(()));
        for user in ["", "-x", "a b", "a@b", "$USER"] {
            assert_eq!(
                Ssh { user: user.into(), ..ssh() }.check(&command),
                Err(SshError::User { user: user.into() })
            );
        }
        for path in ["key", "~/key", "/a b", "/%h", "/${HOME}", "/a\"b", ""] {
            let path = PathBuf::from(path);
            let wrong = Err(SshError::Path { path: path.clone() });
            assert_eq!(Ssh { key: path.clone(), ..ssh() }.check(&command), wrong);
            assert_eq!(Ssh { known_hosts: path.clone(), ..ssh() }.check(&command), wrong);
            assert_eq!(Ssh { program: path, ..ssh() }.check(&command), wrong);
        }
        assert_eq!(Ssh { port: 0, ..ssh() }.check(&command), Err(SshError::Port));
        for variable in ["-i", "1A", "A B", "A-B"] {
            let environment = BTreeMap::from([(variable.to_owned(), String::new())]);
            let wrong = ssh().check(&Command { environment, ..command.clone() });
            assert_eq!(wrong, Err(SshError::Variable { variable: variable.into() }));
        }
        let odd = Command { argv: vec!["/a=b".into()], ..command.clone() };
        assert_eq!(ssh().check(&odd), Err(SshError::Program { program: "/a=b".into() }));
        let dir = PathBuf::from("-x");
        let relative = Command { dir: Some(dir.clone()), ..command.clone() };
        assert_eq!(ssh().check(&relative), Err(SshError::Dir { dir }));
        let long = Command { argv: vec!["/x".repeat(LINE_BYTES_MAX)], ..command };
        assert_eq!(ssh().check(&long), Err(SshError::TooLong));
    }
}
