//! What the command `status` has to print.
//!
//! ```text
//! version=1.5.0
//! digest=9b74c9897bac770ffc029102a200c5de...      64 lower-case hexadecimal digits
//! stays=no
//! ```
//!
//! Each line at most once, in any order; `version` or `digest` has to be there. Where there is a digest it decides: a
//! release *is* its digest. `stays` says whether a restart brings back what runs; who leaves it out has a target where
//! that is always so, or can't tell. Empty lines are passed over. Anything else is an error, because a program that prints
//! something else isn't the one that the operator meant.

use alloc::{format, string::String};

use backstay_sdk::{
    executor::{Failed, Output, Release, permanent},
    quote,
};

use crate::desk::lines;

/// What runs on the target. At least one of `version` and `digest` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    version: Option<String>,
    digest: Option<String>,
    stays: Option<bool>,
}

impl Status {
    /// Reads what `command` printed.
    pub(crate) fn parse(command: &str, output: Output) -> Result<Self, Failed> {
        let mut status = Self { version: None, digest: None, stays: None };
        for line in lines(command, output)? {
            let line = line.trim_end();
            let new = match line.split_once('=') {
                _ if line.is_empty() => continue,
                Some(("version", value)) if is_version(value) => {
                    status.version.replace(value.into()).is_none()
                }
                Some(("digest", value)) if is_digest(value) => status.digest.replace(value.into()).is_none(),
                Some(("stays", "yes")) => status.stays.replace(true).is_none(),
                Some(("stays", "no")) => status.stays.replace(false).is_none(),
                _ => {
                    let why = "which is none of version=, digest=, stays=yes|no";
                    return Err(permanent(format!(
                        "the command {command} prints \"{}\", {why}",
                        quote::text(line)
                    )));
                }
            };
            if !new {
                return Err(permanent(format!(
                    "the command {command} prints a second \"{}\"",
                    quote::text(line)
                )));
            }
        }
        if status.version.is_none() && status.digest.is_none() {
            return Err(permanent(format!("the command {command} prints neither version= nor digest=")));
        }
        Ok(status)
    }

    /// Whether `release` runs.
    pub(crate) fn runs(&self, release: &Release) -> bool {
        match &self.digest {
            Some(digest) => *digest == release.digest,
            None => self.version.as_ref() == Some(&release.version),
        }
    }

    /// Whether `release` runs and nothing says that a restart would bring back another.
    pub(crate) fn keeps(&self, release: &Release) -> bool {
        self.runs(release) && self.stays != Some(false)
    }

    /// Whether the target itself says that what runs stays.
    pub(crate) fn says_it_stays(&self) -> bool {
        self.stays == Some(true)
    }

    /// For people: what runs.
    pub(crate) fn told(&self) -> &str {
        self.version.as_deref().or(self.digest.as_deref()).unwrap_or_default()
    }
}

/// As the contract says of a release's version.
fn is_version(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric();
    let others = |b: u8| first(b) || b".-+_".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(others) && text.bytes().next().is_some_and(first)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Status, String> {
        let output = Output { bytes: text.as_bytes().to_vec(), whole: None };
        Status::parse("status", output).map_err(|failed| failed.why)
    }

    fn release(version: &str, digit: &str) -> Release {
        Release { version: version.into(), digest: digit.repeat(64), length: 1, security_epoch: 0 }
    }

    #[test]
    fn the_digest_decides_where_there_is_one() {
        let both = parse(&format!("version=1.5.0\r\n\ndigest={}\nstays=no\n", "a".repeat(64))).unwrap();
        assert!(both.runs(&release("other", "a")) && !both.runs(&release("1.5.0", "b")));
        assert!(!both.keeps(&release("1.5.0", "a")));
        let version = parse("version=1.5.0").unwrap();
        assert!(version.keeps(&release("1.5.0", "b")) && !version.runs(&release("1.5", "b")));
        assert!(!version.says_it_stays());
    }

    #[test]
    fn anything_else_is_garbage() {
        for text in [
            "",
            "\n",
            "stays=yes",
            "version=",
            "version=.1",
            "version=1 2",
            "version = 1",
            "1.5.0",
            "digest=ABC",
            "version=1\nversion=1",
            "version=1\nwarning: late",
            "version=1\nstays=maybe",
            "version=1\0",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let cut = Output { bytes: b"version=1".to_vec(), whole: Some("a".repeat(64)) };
        assert!(Status::parse("status", cut).is_err());
        let binary = Output { bytes: vec![0xff, 0xfe], whole: None };
        assert!(Status::parse("status", binary).is_err());
        assert!(parse(&"x".repeat(4096)).unwrap_err().len() <= 256);
    }
}
