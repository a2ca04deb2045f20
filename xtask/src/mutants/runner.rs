//! What runs a test program and stops it at the first test that fails.
//!
//! Here: how cargo is told of it, and what it does. Not here: who asks for it (`round`).
//!
//! One failed test is all that a mutant needs, and a core that is broken likes to run in circles: the tests after that one would
//! be waited for until their time is over. What a test program has started itself is not stopped; of those who may notice none starts
//! anything.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::trouble::Trouble;

/// The command of `cargo xtask` that this is. Nobody types it, so the help leaves it out.
pub(crate) const COMMAND: &str = "until-a-test-fails";
/// How a test program ends the line of a test that failed.
const FAILED: &str = "... FAILED";

/// A copy of this program, so that no build takes it away meanwhile: tests that can't be run look like tests that fail.
pub(super) struct Runner(PathBuf);

impl Runner {
    pub(super) fn put_into(folder: &Path) -> io::Result<Self> {
        let to = folder.join("runner");
        // One that hung may still run what is there, and that can't be written over.
        if to.exists() {
            fs::remove_file(&to)?;
        }
        fs::copy(std::env::current_exe()?, &to)?;
        Ok(Self(to))
    }

    /// What cargo is told, so that it runs each test program by this.
    pub(super) fn arguments(&self) -> [String; 2] {
        // A string in JSON is one in TOML, too.
        let words = serde_json::json!([self.0, COMMAND]);
        ["--config".into(), format!("target.'cfg(all())'.runner={words}")]
    }
}

/// Runs the program and passes on what it says. It failed if it says so in the end, or as soon as one of its tests does.
pub(crate) fn run(words: &[OsString]) -> Result<(), Trouble> {
    let [program, arguments @ ..] = words else {
        return Err(Trouble::new(format!("{COMMAND} needs a program")));
    };
    let failed = || Trouble::new(format!("cannot run {}", program.display()));
    let mut command = Command::new(program);
    let mut child =
        command.args(arguments).stdout(Stdio::piped()).spawn().map_err(|why| failed().why(why))?;
    let mut stopped = false;
    if let Some(told) = child.stdout.take() {
        for line in BufReader::new(told).split(b'\n').map_while(Result::ok) {
            let mut out = io::stdout().lock();
            let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n"));
            if line.ends_with(FAILED.as_bytes()) {
                // It may have ended by itself meanwhile.
                let _ = child.kill();
                stopped = true;
                break;
            }
        }
    }
    let status = child.wait().map_err(|why| failed().why(why))?;
    if stopped {
        Err(Trouble::new("a test failed, and the others were stopped"))
    } else if status.success() {
        Ok(())
    } else {
        Err(failed().why(format!("it ended with {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str) -> String {
        run(&["sh".into(), "-c".into(), script.into()]).map_or_else(|why| why.to_string(), |()| "ok".into())
    }

    #[test]
    fn tests_after_one_that_failed_are_not_waited_for() {
        let first = "echo 'test a ... ok'; echo 'test b ... FAILED'";
        assert_eq!(told(&format!("{first}; exec sleep 3600")), "a test failed, and the others were stopped");
    }

    #[test]
    fn how_the_program_ended_is_passed_on() {
        assert_eq!(told("echo 'test FAILED_before ... ok'"), "ok");
        assert_ne!(told("echo 'test a ... FAILED'; exit 0"), "ok");
        assert!(told("exit 3").contains("exit status: 3"), "{}", told("exit 3"));
        assert!(run(&[]).is_err());
        assert!(run(&["/no/such/program".into()]).is_err());
    }

    #[test]
    fn cargo_is_told_of_a_folder_whatever_it_is_called() {
        let [_, words] = Runner("/a \"b\"/runner".into()).arguments();
        assert_eq!(words, r#"target.'cfg(all())'.runner=["/a \"b\"/runner","until-a-test-fails"]"#);
    }
}
