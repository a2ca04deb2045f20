//! The passphrase of a key: from a file, from the environment, or typed. Never from the command line, where every user
//! of the machine can read it.

use std::{
    env,
    fs::OpenOptions,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::{Exit, Failure, file};

/// The variable that holds a passphrase.
const VARIABLE: &str = "BACKSTAY_PASSPHRASE";

/// The longest passphrase, in bytes.
const BYTES_MAX: usize = 1024;

/// Where a passphrase comes from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Passphrase {
    /// A file with the passphrase of the key and nothing else; without it BACKSTAY_PASSPHRASE is used, or it is asked for
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// The one in a file.
    #[cfg(test)]
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { passphrase_file: Some(path) }
    }

    /// The one that was given, if one was: nobody is asked.
    pub(crate) fn given(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if let Some(path) = &self.passphrase_file {
            let bytes = Zeroizing::new(file::read(path, BYTES_MAX)?);
            let text = std::str::from_utf8(&bytes).map_err(|_| {
                Failure::new(Exit::Usage, format!("{} holds no passphrase: it is no text", path.display()))
            })?;
            // An editor leaves the end of a line; blanks may be meant.
            let text = text.strip_suffix('\n').unwrap_or(text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                return Err(Failure::new(Exit::Usage, format!("{} is empty", path.display())));
            }
            return Ok(Some(Zeroizing::new(text.into())));
        }
        Ok(env::var(VARIABLE).ok().filter(|text| !text.is_empty()).map(Zeroizing::new))
    }

    /// The one that opens `what`.
    pub(crate) fn to_open(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        match self.given()? {
            Some(given) => Ok(given),
            None => ask(&format!("passphrase of {what}: ")).map_err(|why| nobody(what, why)),
        }
    }

    /// A new one for `what`: one that is typed has to be typed twice.
    pub(crate) fn to_seal(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let type_it = |prompt: String| ask(&prompt).map_err(|why| nobody(what, why));
        let first = type_it(format!("new passphrase for {what}: "))?;
        if first.is_empty() {
            return Err(Failure::new(Exit::Usage, "an empty passphrase protects nothing"));
        }
        if type_it("once more: ".into())? != first {
            return Err(Failure::new(Exit::Usage, "the two passphrases differ, and nothing was written"));
        }
        Ok(first)
    }
}

fn nobody(what: &str, why: std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("nobody can be asked for the passphrase of {what}"))
        .why(why)
        .help(format!("name a file with --passphrase-file, or set {VARIABLE}"))
}

/// Asks at the terminal, and shows nothing of what is typed. Standard input and output may be something else.
fn ask(prompt: &str) -> std::io::Result<Zeroizing<String>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    terminal.write_all(prompt.as_bytes())?;
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let mut line = Zeroizing::new(String::with_capacity(BYTES_MAX));
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    let read = BufReader::new(Read::take(&terminal, limit)).read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &shown)?;
    terminal.write_all(b"\n")?;
    read?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_passphrase_is_the_line_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let given = |text: &[u8]| {
            let path = dir.path().join("passphrase");
            fs::write(&path, text).unwrap();
            Passphrase::of(path).given()
        };
        assert_eq!(**given(b"open sesame\n").unwrap().unwrap(), *"open sesame");
        assert_eq!(**given(b" open sesame ").unwrap().unwrap(), *" open sesame ");
        assert_eq!(given(b"\n").unwrap_err().exit(), Exit::Usage);
        assert_eq!(given(&[0xff]).unwrap_err().exit(), Exit::Usage);
        assert_eq!(given(&[b'a'; BYTES_MAX + 1]).unwrap_err().exit(), Exit::Usage);
        let missing = Passphrase::of(dir.path().join("none"));
        assert_eq!(missing.given().unwrap_err().exit(), Exit::NotFound);
    }
}
