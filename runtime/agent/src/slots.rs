//! Who works the slots: directories of ours, or another program.
//!
//! Here: opening either, and what a restart of what the agent supervises comes to. Not here: what slots promise
//! (`backstay-slots`), and when any of it is asked for (`core`).

use std::{error::Error, fs::File, path::PathBuf};

use backstay_config::Span;
use backstay_model::Release;
use backstay_slots::{Files, Program, SlotError, Slots, Tries, program::Timeouts};

use crate::config;

/// Who works the slots.
#[derive(Debug)]
pub enum Backend {
    /// Directories: what is in them is a program that we start, and a restart is ours to make.
    Files(Files),
    /// Another program: what is in them is what the machine boots, and a restart is the machine's.
    Program(Program),
}

/// A start of what is supervised.
#[derive(Debug)]
pub struct Begun {
    /// The program in the slot that runs, where slots hold one. Where they don't, nothing asks for it: a configuration with
    /// both is refused.
    pub path: PathBuf,
    /// Damage that was found on the way, in words.
    pub findings: Vec<String>,
}

impl Backend {
    /// Opens the slots that a configuration names, and says what was found.
    ///
    /// # Errors
    /// If nobody knows what runs, or somebody else works on them.
    pub fn open(slots: &config::Slots) -> Result<(Self, Vec<String>), SlotError> {
        match slots {
            config::Slots::Files { path, tries } => {
                // Its bounds were checked.
                let (files, findings) = Files::open(path, Tries::new(*tries).unwrap_or_default())?;
                Ok((Self::Files(files), findings.iter().map(ToString::to_string).collect()))
            }
            config::Slots::Program { command, timeout, stage_timeout } => {
                let mut program = program(command, *timeout, *stage_timeout);
                program.status()?;
                let findings = program.findings();
                Ok((Self::Program(program), findings))
            }
        }
    }

    /// The slots.
    pub fn slots(&mut self) -> &mut dyn Slots {
        match self {
            Self::Files(files) => files,
            Self::Program(program) => program,
        }
    }

    /// What was found since this was last asked.
    pub fn findings(&mut self) -> Vec<String> {
        match self {
            // It finds damage when it is opened or started, and says it then.
            Self::Files(_) => Vec::new(),
            Self::Program(program) => program.findings(),
        }
    }

    /// What is supervised starts now: slots of ours say what that is, and count a try.
    ///
    /// # Errors
    /// If there is nothing that could run.
    pub fn begin(&mut self) -> Result<Begun, SlotError> {
        match self {
            Self::Files(files) => {
                let boot = files.begin_boot()?;
                let findings = boot.findings.iter().map(ToString::to_string).collect();
                Ok(Begun { path: boot.path, findings })
            }
            Self::Program(_) => Ok(Begun { path: PathBuf::new(), findings: Vec::new() }),
        }
    }
}

fn program(command: &[String], timeout: Span, stage_timeout: Span) -> Program {
    let timeouts = Timeouts { answer: timeout.duration(), stage: stage_timeout.duration() };
    Program::new(command.to_vec(), timeouts)
}

/// Asks who works the slots whether all is set up.
///
/// # Errors
/// Says what is wrong, as the program says it.
pub fn check(slots: &config::Slots) -> Result<(), SlotError> {
    match slots {
        config::Slots::Files { .. } => Ok(()),
        config::Slots::Program { command, timeout, stage_timeout } => {
            let mut program = program(command, *timeout, *stage_timeout);
            program.check()?;
            program.status().map(|_| ())
        }
    }
}

/// Puts a first release into empty slots, or says that it is there already where an image is written by others.
///
/// # Errors
/// The slots hold something else, or writing failed.
pub fn provision(
    slots: &config::Slots,
    release: &Release,
    artifact: &mut File,
) -> Result<(), Box<dyn Error>> {
    match slots {
        config::Slots::Files { path, .. } => Ok(backstay_slots::provision(path, release, artifact)?),
        config::Slots::Program { command, timeout, stage_timeout } => {
            Ok(program(command, *timeout, *stage_timeout).provision(release)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use backstay_model::{Digest, SlotStatus, Version};
    use backstay_slots::{BootWord, SlotAnswer};

    use super::*;

    /// A device whose slots a program of the shell works, and what that was asked.
    #[test]
    fn a_program_is_asked_and_what_it_found_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let version = Version::parse("1.0").unwrap();
        let release = Release { version, digest: Digest([7; 32]), length: 5, security_epoch: 1 };
        let status =
            SlotStatus { booted: release.clone(), confirmed: release.clone(), other: None, trying: None };
        let findings = vec!["there is no ledger of the slots".to_owned()];
        let answer = SlotAnswer { status: status.clone(), word: BootWord::Rescued, findings };
        fs::write(dir.path().join("answer"), answer.to_bytes()).unwrap();
        let here = dir.path().display();
        let script = format!(
            "echo $1 >> {here}/asked; case $1 in status) cat {here}/answer ;; note-boot) echo odd >&2 ;; esac"
        );
        let slots = config::Slots::Program {
            command: ["/bin/sh", "-c", &script, "slots"].map(str::to_owned).to_vec(),
            timeout: Span::from_secs(60),
            stage_timeout: Span::from_secs(60),
        };
        check(&slots).unwrap();
        let artifact = dir.path().join("artifact");
        fs::write(&artifact, b"bytes").unwrap();
        provision(&slots, &release, &mut File::open(artifact).unwrap()).unwrap();

        let (mut backend, findings) = Backend::open(&slots).unwrap();
        assert_eq!(findings, ["there is no ledger of the slots"]);
        assert_eq!(backend.slots().booted(), BootWord::Rescued);
        let begun = backend.begin().unwrap();
        assert_eq!(
            (begun.path, begun.findings),
            (PathBuf::new(), Vec::new()),
            "a start of ours switches nothing"
        );
        backend.slots().note_boot().unwrap();
        assert_eq!((backend.findings(), backend.findings()), (vec!["odd".to_owned()], Vec::new()));
        assert_eq!(backend.slots().status().unwrap(), status);
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        assert_eq!(
            asked.lines().collect::<Vec<_>>(),
            ["check", "status", "provision", "status", "note-boot", "status"]
        );

        fs::write(dir.path().join("answer"), b"booted 1.0\n").unwrap();
        for error in [Backend::open(&slots).map(|_| ()).unwrap_err(), check(&slots).unwrap_err()] {
            assert_eq!(error.to_string(), "`status` of the slot program failed");
        }
    }
}
