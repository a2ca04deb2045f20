//! The operator's command line, as an operator calls it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{Trouble, trouble};

/// `backstay` with the server and the token that it needs.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    server: String,
    token_file: PathBuf,
    ca: Option<PathBuf>,
}

impl Cli {
    /// The program in `programs`, for a server.
    #[must_use]
    pub fn new(programs: &Path, server: &str, token_file: &Path) -> Self {
        let (program, server, token_file) = (programs.join("backstay"), server.into(), token_file.into());
        Self { program, server, token_file, ca: None }
    }

    /// The same, for a server whose certificate goes back to these.
    #[must_use]
    pub fn trusting(self, ca: Option<&Path>) -> Self {
        Self { ca: ca.map(Into::into), ..self }
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Runs a command that only works on files.
    ///
    /// # Errors
    /// With what it said, if it did not end with 0.
    pub fn local(&self, arguments: &[&str]) -> Result<String, Trouble> {
        let (code, out, err) = self.run(arguments, None)?;
        if code == Some(0) { Ok(out) } else { Err(failed(arguments, code, &err)) }
    }

    /// Asks the server, and reads the JSON that comes back.
    ///
    /// # Errors
    /// With what it said, if it did not end with 0.
    pub fn ask(&self, arguments: &[&str]) -> Result<Value, Trouble> {
        let (code, out, err) = self.exit(arguments)?;
        if code != Some(0) {
            return Err(failed(arguments, code, &err));
        }
        serde_json::from_str(&out)
            .map_err(trouble(format!("backstay {} printed no JSON", arguments.join(" "))))
    }

    /// The records that the server has of a device, oldest first.
    ///
    /// # Errors
    /// With what the command said, if it did not end with 0.
    pub fn records(&self, device: &str) -> Result<Vec<Value>, Trouble> {
        let shown = self.ask(&["evidence", "show", device])?;
        Ok(shown["records"].as_array().cloned().unwrap_or_default())
    }

    /// Asks the server; its exit code is part of the answer.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn exit(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String), Trouble> {
        self.run(arguments, Some("json"))
    }

    fn run(
        &self,
        arguments: &[&str],
        output: Option<&str>,
    ) -> Result<(Option<i32>, String, String), Trouble> {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        if let Some(output) = output {
            command
                .args(["--output", output, "--server", &self.server])
                .arg("--token-file")
                .arg(&self.token_file);
            if let Some(ca) = &self.ca {
                command.arg("--ca").arg(ca);
            }
        }
        let done = command.output().map_err(trouble(format!("cannot run {}", self.program.display())))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((done.status.code(), text(done.stdout), text(done.stderr)))
    }
}

fn failed(arguments: &[&str], code: Option<i32>, said: &str) -> Trouble {
    Trouble(format!("backstay {} ended with {code:?}: {}", arguments.join(" "), said.trim()))
}
