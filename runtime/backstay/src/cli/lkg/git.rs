//! The program `git`, asked in one folder.
//!
//! Here: how it is started and what its end means. Not here: which questions make a commit (`commit`).

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::{Exit, Failure};

/// What would have it work on another repository than the folder's, as in its own hooks.
const ELSEWHERE: [&str; 6] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"];

/// Git in one folder.
pub(super) struct Git<'a> {
    at: &'a Path,
}

impl<'a> Git<'a> {
    pub(super) const fn at(at: &'a Path) -> Self {
        Self { at }
    }

    fn output(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.at).args(arguments).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        for variable in ELSEWHERE {
            command.env_remove(variable);
        }
        command.output().map_err(|why| {
            Failure::new(Exit::Trouble, "cannot start git").why(why).help("install git, and have it in PATH")
        })
    }

    /// What it says.
    pub(super) fn says(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let output = self.output(arguments)?;
        if output.status.success() { Ok(output.stdout) } else { Err(self.failed(arguments, &output)) }
    }

    /// A line that it says.
    pub(super) fn line(&self, arguments: &[&str]) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(&self.says(arguments)?).trim_end().to_owned())
    }

    /// Whether it says yes, by its exit code: 0, and 1 for no.
    pub(super) fn is(&self, arguments: &[&str]) -> Result<bool, Failure> {
        let output = self.output(arguments)?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            Some(_) | None => Err(self.failed(arguments, &output)),
        }
    }

    fn failed(&self, arguments: &[&str], output: &Output) -> Failure {
        let what = format!("git {} failed in {}", arguments.first().unwrap_or(&""), self.at.display());
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let failure = Failure::new(Exit::Trouble, what);
        if said.is_empty() { failure } else { failure.why(said) }
    }
}
