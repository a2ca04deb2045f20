//! Credentials: where they come from.
//!
//! Here: reading a credential, afresh or within a bounded time, and what may be one: text of one line that can stand in a
//! header. Not here: which request carries it (`guarded`), and that nobody is shown it (`secret`).

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use backstay_model::{Millis, Transience};
use rustix::fs::OFlags;
use tokio::net::unix::pipe;
use ureq::http;

use crate::{
    beside,
    command::{Command, CommandError, listen},
    output::transience,
    process::{Process, Spawn},
    secret::Secret,
};

/// The longest credential, in bytes. What signs people in at clouds comes up to 4 KiB.
const CREDENTIAL_BYTES_MAX: usize = 8192;
/// The longest that what a command said is used again.
const KEEP_MAX: Millis = Millis::from_secs(3600);

/// A credential as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Where it comes from.
    pub source: CredentialSource,
    /// The header that carries it.
    pub header: String,
    /// What stands before it in the header: `Bearer `, with its space.
    pub prefix: String,
}

impl Credential {
    /// The header where none is configured.
    pub const HEADER: &str = "authorization";

    /// What stands before a credential where nothing is configured: `Bearer ` in [`Credential::HEADER`] (RFC 6750), and
    /// nothing elsewhere.
    #[must_use]
    pub fn usual_prefix(header: &str) -> &'static str {
        if header.eq_ignore_ascii_case(Self::HEADER) { "Bearer " } else { "" }
    }
}

/// Where a credential comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file, an absolute path, read for each request. It may be a link, as where secrets are mounted.
    File(PathBuf),
    /// A variable of the server's own environment.
    Environment(String),
    /// What a command says on its standard output. What it says on the other is dropped.
    Command {
        /// The command.
        command: Command,
        /// For how long what it said is used again, 0 to 1 h. A request that is answered with 401 or 403 ends that time.
        keep: Millis,
    },
}

impl fmt::Debug for CredentialSource {
    /// Of a command only its program: the rest may hold what unlocks a vault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Environment(variable) => f.debug_tuple("Environment").field(variable).finish(),
            Self::Command { command, keep } => {
                f.debug_tuple("Command").field(&command.argv.first()).field(keep).finish()
            }
        }
    }
}

/// A credential that can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialError {
    /// Its header, or what stands before it there, can't be sent.
    Header {
        /// The header.
        header: String,
    },
    /// Its file is not an absolute path.
    NotAbsolute {
        /// What was given.
        path: PathBuf,
    },
    /// No variable can have this name.
    Variable {
        /// What was given.
        variable: String,
    },
    /// Its command can't be run.
    Command {
        /// Why.
        source: CommandError,
    },
    /// It would be used again for more than an hour.
    Keep {
        /// What was given.
        keep: Millis,
    },
}

impl CredentialError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Header { .. } => Some("look for line breaks and other control characters"),
            Self::NotAbsolute { .. } => Some("give the file's full path"),
            Self::Variable { .. } => Some("give the name of a variable, without = in it"),
            Self::Command { source } => source.help(),
            Self::Keep { .. } => Some("give a time of at most 1 h, or 0 to run the command for each request"),
        }
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { header } => write!(f, "header {header:?} can't carry a credential"),
            Self::NotAbsolute { path } => write!(f, "{} is no absolute path", path.display()),
            Self::Variable { variable } => write!(f, "{variable:?} is no name of a variable"),
            Self::Command { .. } => f.write_str("the command for the credential can't be run"),
            Self::Keep { keep } => write!(f, "a credential can't be kept for {keep}"),
        }
    }
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Command { source } => Some(source),
            Self::Header { .. } | Self::NotAbsolute { .. } | Self::Variable { .. } | Self::Keep { .. } => {
                None
            }
        }
    }
}

/// A credential that isn't to be had now. Says where from and why, and nothing of what was read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unread {
    /// Its file can't be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The variable isn't set, or is no text.
    Unset {
        /// Which.
        variable: String,
    },
    /// Its command can't be started or listened to.
    NotRun {
        /// Why.
        source: io::Error,
    },
    /// Its command said that it failed.
    Exited {
        /// Its code; `None` where a signal ended it.
        code: Option<i32>,
    },
    /// Its command took too long.
    TimedOut {
        /// What it was given.
        timeout: Millis,
    },
    /// There is nothing in it.
    Empty,
    /// It has more than 8 KiB.
    TooLong,
    /// It is not one line of printable ASCII.
    Unprintable,
}

impl Unread {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } => Some("see that the file is there and the server's user may read it"),
            Self::Unset { .. } => Some("set the variable where the server is started"),
            Self::NotRun { .. } | Self::Exited { .. } | Self::TimedOut { .. } => Some(
                "run the command by hand, as the server's user and with the configured environment alone",
            ),
            Self::Empty | Self::TooLong | Self::Unprintable => {
                Some("a credential is one line of at most 8192 printable ASCII characters")
            }
        }
    }

    /// Whether it can help to try again later.
    #[must_use]
    pub fn transience(&self) -> Transience {
        match self {
            Self::File { source, .. } | Self::NotRun { source } => transience(source),
            Self::Exited { .. } | Self::TimedOut { .. } => Transience::Transient,
            Self::Unset { .. } | Self::Empty | Self::TooLong | Self::Unprintable => Transience::Permanent,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Unset { variable } => write!(f, "variable {variable} is not set"),
            Self::NotRun { .. } => f.write_str("its command did not start"),
            Self::Exited { code: Some(code) } => write!(f, "its command ended with code {code}"),
            Self::Exited { code: None } => f.write_str("its command was ended by a signal"),
            Self::TimedOut { timeout } => write!(f, "its command did not end within {timeout}"),
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {CREDENTIAL_BYTES_MAX} bytes"),
            Self::Unprintable => f.write_str("it is not one line of printable ASCII"),
        }
    }
}

impl std::error::Error for Unread {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::NotRun { source } => Some(source),
            Self::Unset { .. }
            | Self::Exited { .. }
            | Self::TimedOut { .. }
            | Self::Empty
            | Self::TooLong
            | Self::Unprintable => None,
        }
    }
}

/// Reads a credential that can be used.
#[derive(Debug)]
pub struct CredentialReader {
    credential: Credential,
    /// What the command said, and when.
    kept: Mutex<Option<(Instant, Secret)>>,
}

impl CredentialReader {
    /// Checks a credential once. It is not read yet.
    ///
    /// # Errors
    /// Says what can't be used.
    pub fn new(credential: Credential) -> Result<Self, CredentialError> {
        let Credential { source, header, prefix } = &credential;
        let name = http::HeaderName::try_from(header.as_str());
        if name.is_err() || !prefix.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(CredentialError::Header { header: header.clone() });
        }
        match source {
            CredentialSource::File(path) if !path.is_absolute() => {
                return Err(CredentialError::NotAbsolute { path: path.clone() });
            }
            CredentialSource::Environment(variable)
                if variable.is_empty() || variable.contains(['=', '\0']) =>
            {
                return Err(CredentialError::Variable { variable: variable.clone() });
            }
            CredentialSource::Command { keep, .. } if *keep > KEEP_MAX => {
                return Err(CredentialError::Keep { keep: *keep });
            }
            CredentialSource::Command { command, .. } => {
                command.check().map_err(|source| CredentialError::Command { source })?;
            }
            CredentialSource::File(_) | CredentialSource::Environment(_) => {}
        }
        Ok(Self { credential, kept: Mutex::new(None) })
    }

    /// The header that carries it.
    #[must_use]
    pub fn header(&self) -> &str {
        &self.credential.header
    }

    /// What the header holds, with this credential.
    #[must_use]
    pub fn header_value(&self, secret: &Secret) -> String {
        format!("{}{}", self.credential.prefix, secret.expose())
    }

    /// The credential as it is now.
    ///
    /// # Errors
    /// Says where it should have come from and why it didn't.
    pub async fn read(&self) -> Result<Secret, Unread> {
        match &self.credential.source {
            CredentialSource::File(path) => {
                let file = path.clone();
                let read = beside(move || from_file(&file))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
                secret(read.map_err(|source| Unread::File { path: path.clone(), source })?)
            }
            CredentialSource::Environment(variable) => {
                let value = std::env::var(variable);
                secret(value.map_err(|_| Unread::Unset { variable: variable.clone() })?.into_bytes())
            }
            CredentialSource::Command { command, keep } => {
                if let Some(kept) = self.kept(*keep, Instant::now()) {
                    return Ok(kept);
                }
                let secret = secret(from_command(command).await?)?;
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), secret.clone()));
                Ok(secret)
            }
        }
    }

    /// It was not accepted: what a command said is not used again.
    pub fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn kept(&self, keep: Millis, now: Instant) -> Option<Secret> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, secret) = kept.as_ref()?;
        (now.duration_since(*since) < Duration::from_millis(keep.0)).then(|| secret.clone())
    }
}

/// A credential of what was read: without the end of its line.
fn secret(mut bytes: Vec<u8>) -> Result<Secret, Unread> {
    if bytes.pop_if(|last| *last == b'\n').is_some() {
        bytes.pop_if(|last| *last == b'\r');
    }
    if bytes.is_empty() {
        return Err(Unread::Empty);
    }
    if bytes.len() > CREDENTIAL_BYTES_MAX {
        return Err(Unread::TooLong);
    }
    let text = String::from_utf8(bytes).map_err(|_| Unread::Unprintable)?;
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Ok(Secret::new(text)),
        false => Err(Unread::Unprintable),
    }
}

fn from_file(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe must not keep us waiting for somebody to write to it.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    // Two bytes more may be the end of the line.
    file.take(CREDENTIAL_BYTES_MAX as u64 + 3).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn from_command(command: &Command) -> Result<Vec<u8>, Unread> {
    let said = tokio::time::timeout(Duration::from_millis(command.timeout.0), async {
        let (program, args) = command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (reader, writer) = io::pipe()?;
        let pipe = pipe::Receiver::from_owned_fd(reader.into())?;
        let mut process = Process::spawn(Spawn {
            program: program.as_ref(),
            args: args.iter().map(Into::into).collect(),
            environment: &command.environment,
            dir: command.dir.as_ref(),
            stdout: Stdio::from(writer),
            stderr: Stdio::null(),
        })?;
        let mut bytes = Vec::new();
        let room = CREDENTIAL_BYTES_MAX + 3;
        let take = |said: &[u8]| bytes.extend_from_slice(&said[..said.len().min(room - bytes.len())]);
        let status = listen(&mut process, &pipe, take).await?;
        Ok::<_, io::Error>((status, bytes))
    });
    match said.await {
        Err(_) => Err(Unread::TimedOut { timeout: command.timeout }),
        Ok(Err(source)) => Err(Unread::NotRun { source }),
        Ok(Ok((status, bytes))) if status.success() => Ok(bytes),
        Ok(Ok((status, _))) => Err(Unread::Exited { code: status.code() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::command::tests::shell;

    fn reader(source: CredentialSource) -> CredentialReader {
        CredentialReader::new(Credential { source, header: "authorization".into(), prefix: "Bearer ".into() })
            .unwrap()
    }

    fn saying(script: &str, keep: Millis) -> CredentialReader {
        reader(CredentialSource::Command { command: shell(script), keep })
    }

    #[tokio::test]
    async fn a_file_is_read_afresh_each_time_and_its_last_line_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let credential = reader(CredentialSource::File(path.clone()));
        for (written, read) in
            [("one\n", "one"), ("two\r\n", "two"), ("three", "three"), (" a b \n", " a b ")]
        {
            std::fs::write(&path, written).unwrap();
            assert_eq!(credential.read().await.unwrap().expose(), read);
        }
        let full = "x".repeat(CREDENTIAL_BYTES_MAX);
        std::fs::write(&path, format!("{full}\r\n")).unwrap();
        assert_eq!(credential.read().await.unwrap().expose(), full);
        assert_eq!(credential.header_value(&Secret::new("s".into())), "Bearer s");
    }

    #[tokio::test]
    async fn what_is_no_credential_is_told_without_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let long = format!("canary{}", "x".repeat(CREDENTIAL_BYTES_MAX));
        for (written, why) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("canary\nsecond", "it is not one line of printable ASCII"),
            ("canary\n\n", "it is not one line of printable ASCII"),
            ("canary\u{fc}", "it is not one line of printable ASCII"),
            (&long, "it is longer than 8192 bytes"),
        ] {
            std::fs::write(&path, written).unwrap();
            let error = reader(CredentialSource::File(path.clone())).read().await.unwrap_err();
            assert_eq!(error.to_string(), why);
            assert!(!format!("{error:?}").contains("canary") && error.help().is_some());
        }
        let error = reader(CredentialSource::File(dir.path().into())).read().await.unwrap_err();
        assert!(matches!(error, Unread::File { .. }), "{error:?}");
        assert_eq!(error.transience(), Transience::Permanent);
        let unset = reader(CredentialSource::Environment("BACKSTAY_TEST_NEVER_SET".into()));
        assert!(matches!(unset.read().await, Err(Unread::Unset { .. })));
        let set = reader(CredentialSource::Environment("PATH".into()));
        assert_eq!(set.read().await.unwrap().expose(), std::env::var("PATH").unwrap());
    }

    #[tokio::test]
    async fn a_command_says_it_on_its_standard_output_alone() {
        let good = saying("echo s3cret; echo canary >&2", Millis(0));
        assert_eq!(good.read().await.unwrap().expose(), "s3cret");
        let bad = saying("echo canary; exit 3", Millis(0)).read().await.unwrap_err();
        assert_eq!(format!("{bad:?}: {bad}"), "Exited { code: Some(3) }: its command ended with code 3");
        let endless = Command { timeout: Millis(20), ..shell("exec sleep 1000") };
        let endless = reader(CredentialSource::Command { command: endless, keep: Millis(0) });
        assert!(matches!(endless.read().await, Err(Unread::TimedOut { .. })));
        let much = saying("head -c 300000 /dev/zero", Millis(0));
        assert!(matches!(much.read().await, Err(Unread::TooLong)));
    }

    #[tokio::test]
    async fn what_a_command_said_is_kept_for_as_long_as_it_may_and_until_it_is_not_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let script = format!("echo x >> {0}; wc -l < {0}", count.display());
        let minute = Millis::from_secs(60);
        let kept = saying(&script, minute);
        for _ in 0..2 {
            assert_eq!(kept.read().await.unwrap().expose().trim(), "1");
        }
        let (since, _) = kept.kept.lock().unwrap().clone().unwrap();
        assert!(kept.kept(minute, since + Duration::from_millis(59_999)).is_some());
        assert!(kept.kept(minute, since + Duration::from_millis(60_000)).is_none());
        kept.forget();
        assert_eq!(kept.read().await.unwrap().expose().trim(), "2");
        let fresh = saying(&script, Millis(0));
        assert_eq!(fresh.read().await.unwrap().expose().trim(), "3");
        assert_eq!(fresh.read().await.unwrap().expose().trim(), "4");
    }

    #[test]
    fn a_credential_is_checked_where_it_is_configured_and_shows_nothing() {
        let of = |source, header: &str, prefix: &str| {
            let credential = Credential { source, header: header.into(), prefix: prefix.into() };
            CredentialReader::new(credential).map(drop)
        };
        let file = || CredentialSource::File("/token".into());
        assert!(of(file(), "x-key", Credential::usual_prefix("x-key")).is_ok());
        assert!(of(file(), Credential::HEADER, Credential::usual_prefix("Authorization")).is_ok());
        for (header, prefix) in [("", ""), ("a b", ""), ("x-key", "Bearer\r\n")] {
            assert!(matches!(of(file(), header, prefix), Err(CredentialError::Header { .. })));
        }
        let relative = of(CredentialSource::File("token".into()), "x-key", "");
        assert!(matches!(relative, Err(CredentialError::NotAbsolute { .. })));
        for variable in ["", "A=B"] {
            let odd = of(CredentialSource::Environment(variable.into()), "x-key", "");
            assert!(matches!(odd, Err(CredentialError::Variable { .. })));
        }
        let command = |argv: Vec<String>, keep| CredentialSource::Command {
            command: Command { argv, ..shell("") },
            keep,
        };
        let long = of(command(vec!["/bin/true".into()], Millis::from_secs(3601)), "x-key", "");
        assert!(matches!(long, Err(CredentialError::Keep { .. })));
        let nothing = of(command(vec![], Millis(0)), "x-key", "");
        assert!(matches!(nothing, Err(CredentialError::Command { .. })));
        let source = CredentialSource::Command {
            command: Command {
                environment: BTreeMap::from([("VAULT".into(), "canary".into())]),
                ..shell("canary")
            },
            keep: Millis(0),
        };
        let shown = format!("{:?} {:?}", reader(source), Secret::new("canary".into()));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
