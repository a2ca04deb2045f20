//! Jenkins files, run by the Groovy that Jenkins has (2.4), in a Jenkins of the few steps that they use (`jenkins.groovy`).
//!
//! A shell step is a real shell in the workspace; waiting is noted and not done.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Double, program};

/// What `cargo xtask setup` gets: the version that Jenkins is built with.
const JAR: &str = "jenkins/groovy-all-2.4.21.jar";
/// The steps of Jenkins that what ships uses.
const JENKINS: &str = include_str!("jenkins.groovy");

/// A Groovy to run Jenkins files with.
#[derive(Debug)]
pub struct Groovy {
    java: PathBuf,
    jar: PathBuf,
}

/// How a Jenkins file was played: what happened, a line for each thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// `sh 0`, `sleep 180`, `build rollback-controller`, `description ...`, `error ...`.
    pub events: Vec<String>,
}

impl Groovy {
    /// The one that is here, or none after it was said that the test is skipped.
    #[must_use]
    pub fn found() -> Option<Self> {
        let java = program("java")?;
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/toolchains");
        let jar = std::env::var_os("BACKSTAY_TOOLCHAINS").map_or(target, PathBuf::from).join(JAR);
        if jar.is_file() {
            return Some(Self { java, jar });
        }
        println!("skipped, because {} is not here: cargo xtask test gate gets it", jar.display());
        None
    }

    /// Plays `file` once in each workspace, as [`Groovy::plays_each`] does.
    #[must_use]
    pub fn plays(
        &self,
        file: &Path,
        library: Option<&Path>,
        workspaces: &[&Double],
        env: &[(&str, &str)],
    ) -> Vec<Played> {
        let jobs: Vec<_> = workspaces.iter().map(|workspace| (file, *workspace)).collect();
        self.plays_each(&jobs, library, env)
    }

    /// Plays each file in its workspace. `library`: a shared-library step that it calls by its file's name. `env`: what is
    /// set for all jobs, beside what is set in the workspace ([`Double::sets`]). All in one machine, which takes seconds to
    /// come up.
    #[must_use]
    pub fn plays_each(
        &self,
        jobs: &[(&Path, &Double)],
        library: Option<&Path>,
        env: &[(&str, &str)],
    ) -> Vec<Played> {
        let dir = tempfile::tempdir().unwrap();
        let jenkins = dir.path().join("jenkins.groovy");
        fs::write(&jenkins, JENKINS).unwrap();
        let mut command = Command::new(&self.java);
        // Jenkins runs its Groovy of 2020 with the same openings on today's Java.
        command.args(["--add-opens", "java.base/java.lang=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(&self.jar).args(["groovy.ui.GroovyMain"]).arg(&jenkins);
        command.arg(library.map_or("-".as_ref(), Path::as_os_str));
        command.args(jobs.iter().flat_map(|(file, workspace)| [file, workspace.path()]));
        command.stdin(Stdio::null()).env_clear().envs(env.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "Groovy ended with {}:\n{said}", output.status);
        let played = |(_, workspace): &(&Path, &Double)| {
            let events = fs::read_to_string(workspace.path().join("events")).unwrap_or_default();
            assert!(!events.is_empty(), "nothing was played in {}:\n{said}", workspace.path().display());
            Played { events: events.lines().map(str::to_owned).collect() }
        };
        jobs.iter().map(played).collect()
    }
}

impl Played {
    /// What comes after `begin` in the events that begin with it.
    #[must_use]
    pub fn of(&self, begin: &str) -> Vec<&str> {
        self.events.iter().filter_map(|event| event.strip_prefix(begin)).collect()
    }
}
