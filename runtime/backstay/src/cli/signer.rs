//! Whoever signs: a key in a file, or a command that has the key.
//!
//! The command is for keys that never leave a device of their own. It gets the bytes to sign on standard input and
//! answers on standard output, with 64 bytes or 128 hexadecimal digits. What it answers is checked with the public key
//! before it is used, so a command that signs with another key, or something else, is found out here.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use backstay_trust::{KeyId, PublicKey, SecretKey, SignError, Statement};
use clap::Args;

use crate::{Exit, Failure, key_file, passphrase::Passphrase};

/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Between two looks at whether the command has ended, once it has answered.
const LOOK: Duration = Duration::from_millis(10);

/// Who signs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Signing {
    /// The key that signs, in PEM; with --sign-with a file with its public half
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A command that signs instead: it gets the bytes on standard input, and answers with 64 bytes or 128 digits
    #[arg(long, value_name = "COMMAND")]
    sign_with: Option<String>,
    /// How long that command may take, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    sign_timeout: u64,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Signing {
    /// With the key in a file.
    #[cfg(test)]
    pub(crate) fn of(key: PathBuf) -> Self {
        Self { key, sign_with: None, sign_timeout: 60, passphrase: Passphrase::default() }
    }

    /// With a command.
    #[cfg(test)]
    pub(crate) fn with(key: PathBuf, command: &str, timeout: u64) -> Self {
        let (sign_with, sign_timeout) = (Some(command.into()), timeout);
        Self { key, sign_with, sign_timeout, passphrase: Passphrase::default() }
    }

    /// Gets ready to sign.
    pub(crate) fn signer(&self) -> Result<Signer, Failure> {
        let Some(command) = &self.sign_with else {
            return Ok(Signer::Key(key_file::read_secret(&self.key, &self.passphrase)?));
        };
        let words = shlex::split(command).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| {
            Failure::new(Exit::Usage, "--sign-with is no command").help("close every quotation mark")
        })?;
        let public = key_file::read_public(&self.key, &self.passphrase)?;
        Ok(Signer::Command { public, words, timeout: Duration::from_secs(self.sign_timeout) })
    }
}

/// What can sign.
#[derive(Debug)]
pub(crate) enum Signer {
    /// A key that is here.
    Key(SecretKey),
    /// A command that has the key.
    Command { public: PublicKey, words: Vec<String>, timeout: Duration },
}

impl Signer {
    /// The public half.
    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Key(key) => key.public(),
            Self::Command { public, .. } => *public,
        }
    }

    /// What the key is called.
    pub(crate) fn id(&self) -> KeyId {
        self.public().id()
    }

    /// Adds its signature.
    pub(crate) fn sign(&self, statement: &mut Statement) -> Result<(), Failure> {
        let added = match self {
            Self::Key(key) => statement.sign(key),
            Self::Command { public, words, timeout } => {
                let signature = ask(words, &statement.message(), *timeout)?;
                statement.add(public, signature)
            }
        };
        added.map_err(|why: SignError| {
            let exit = match why {
                SignError::NotOfKey { .. } => Exit::Untrusted,
                SignError::TooLarge { .. }
                | SignError::Inconsistent { .. }
                | SignError::TooMany { .. }
                | SignError::Unsigned { .. } => Exit::Refused,
            };
            let help = why.help();
            Failure::new(exit, format!("the {} was not signed", statement.domain())).why(why).maybe_help(help)
        })
    }
}

fn ask(words: &[String], message: &[u8], timeout: Duration) -> Result<[u8; 64], Failure> {
    let (program, arguments) = words.split_first().expect("there is a word, it was looked at");
    let deadline = Instant::now() + timeout;
    // What it says on standard error is for whoever sits there: a device may ask to be touched.
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = spawned.map_err(|why| {
        Failure::new(Exit::Trouble, format!("cannot start {program}, which is to sign")).why(why)
    })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let message = message.to_vec();
    thread::spawn(move || {
        // One that doesn't read all, or anything, is judged by what it answers.
        let _ = stdin.map(|mut stdin| stdin.write_all(&message));
    });
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut answer = Vec::new();
        let read = stdout.map(|stdout| stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer));
        let _ = said.send(read.transpose().map(|_| answer));
    });
    let answer = heard.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    let Ok(answer) = answer else { return Err(too_slow(child, program, timeout)) };
    let answer =
        answer.map_err(|why| Failure::new(Exit::Trouble, format!("cannot read from {program}")).why(why))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() >= deadline => return Err(too_slow(child, program, timeout)),
            Ok(None) => thread::sleep(LOOK),
            Err(why) => {
                return Err(Failure::new(Exit::Trouble, format!("cannot wait for {program}")).why(why));
            }
        }
    };
    if !status.success() {
        return Err(Failure::new(Exit::Trouble, format!("{program}, which is to sign, failed: {status}"))
            .help("what it said stands above; nothing was written"));
    }
    signature(&answer).ok_or_else(|| {
        let what = format!("{program} answered with {} bytes, which are no signature", answer.len());
        Failure::new(Exit::Untrusted, what)
            .help("it has to write the 64 bytes of the signature to standard output, or 128 digits")
    })
}

fn too_slow(mut child: Child, program: &str, timeout: Duration) -> Failure {
    // It may have ended just now; either way nobody waits for it any more.
    let _ = child.kill();
    let _ = child.wait();
    Failure::new(Exit::TimedOut, format!("{program} did not sign within {} s", timeout.as_secs()))
        .help("see whether the device waits for a touch or a PIN, or give it more with --sign-timeout")
}

/// The 64 bytes, or what 128 digits say.
fn signature(answer: &[u8]) -> Option<[u8; 64]> {
    if let Ok(raw) = answer.try_into() {
        return Some(raw);
    }
    let digits = std::str::from_utf8(answer).ok()?.trim();
    if digits.len() != 128 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut signature = [0; 64];
    for (byte, pair) in signature.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(signature)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use backstay_model::{FleetId, UnixMs};
    use backstay_trust::{Revocation, Stamp};
    use tempfile::TempDir;

    use super::*;

    fn statement() -> Statement {
        let stamp = Stamp { sequence: 1, issued: UnixMs(1), expires: None };
        Revocation::default().draft(FleetId::parse("acme").unwrap(), stamp).unwrap()
    }

    /// What a key would answer to [`statement`], as digits.
    fn answer(key: &SecretKey) -> String {
        let mut signed = statement();
        signed.sign(key).unwrap();
        let bytes = signed.encode().unwrap();
        bytes[bytes.len() - 64..].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn key() -> SecretKey {
        SecretKey::from_random(&[7; 32])
    }

    struct Bench {
        dir: TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("key.pub"), key().public().to_string()).unwrap();
            Self { dir }
        }

        fn signs(&self, command: &str, timeout: u64) -> Result<(), Failure> {
            let signer = Signing::with(self.dir.path().join("key.pub"), command, timeout).signer()?;
            let mut signed = statement();
            signer.sign(&mut signed)?;
            assert!(signed.is_signed_by(&key().public()));
            Ok(())
        }
    }

    #[test]
    fn a_command_signs_what_it_is_given() {
        let bench = Bench::new();
        let given = bench.dir.path().join("given");
        let command = format!("sh -c 'cat > {}; echo {}'", given.display(), answer(&key()));
        bench.signs(&command, 60).unwrap();
        assert_eq!(fs::read(given).unwrap(), statement().message());
        // As 64 bytes, too.
        let raw = bench.dir.path().join("raw");
        fs::write(&raw, signature(answer(&key()).as_bytes()).unwrap()).unwrap();
        bench.signs(&format!("cat {}", raw.display()), 60).unwrap();
    }

    #[test]
    fn a_command_that_does_not_sign_is_found_out() {
        let bench = Bench::new();
        let other = answer(&SecretKey::from_random(&[8; 32]));
        for (command, exit, said) in [
            (format!("echo {other}"), Exit::Untrusted, "is no signature of key"),
            ("echo no".into(), Exit::Untrusted, "answered with 3 bytes, which are no signature"),
            ("true".into(), Exit::Untrusted, "answered with 0 bytes"),
            ("yes".into(), Exit::Trouble, "which is to sign, failed"),
            ("sh -c 'exit 3'".into(), Exit::Trouble, "exit status: 3"),
            ("/no/such/program".into(), Exit::Trouble, "cannot start /no/such/program"),
            ("echo 'open".into(), Exit::Usage, "--sign-with is no command"),
            (" ".into(), Exit::Usage, "--sign-with is no command"),
        ] {
            let failure = bench.signs(&command, 60).unwrap_err();
            assert_eq!(failure.exit(), exit, "{command}: {failure}");
            assert!(failure.to_string().contains(said), "{command}: {failure}");
        }
    }

    /// One that never answers, and one that has answered and doesn't end.
    #[test]
    fn a_command_that_hangs_is_given_up() {
        let bench = Bench::new();
        for command in ["sleep 600", "sh -c 'exec >&-; exec sleep 600'"] {
            let failure = bench.signs(command, 1).unwrap_err();
            assert_eq!(failure.exit(), Exit::TimedOut, "{failure}");
        }
    }
}
