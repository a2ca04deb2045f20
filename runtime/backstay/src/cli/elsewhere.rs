//! Doing a job here, in the portable engine, or on a machine of another kind under an emulator.
//!
//! Here: which of these there are, and starting `backstay-rerun` for the others. Not here: what a job is (`kit`).

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_host::machine;
use backstay_kit::{Done, Job, JobError, Kind};
use clap::ValueEnum;

use crate::{Exit, Failure};

/// Where `backstay-rerun` for aarch64 may be named.
const RERUN: &str = "BACKSTAY_RERUN_AARCH64";
const RERUN_NAME: &str = "backstay-rerun-aarch64";

/// Where a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Place {
    /// In native code, on this machine
    Native,
    /// In the portable engine
    Pulley,
    /// In native code for aarch64: on this machine if it is one, else under an emulator
    Aarch64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => write!(f, "{}", machine()),
            Self::Pulley => f.write_str("pulley64"),
            Self::Aarch64 => f.write_str("aarch64-linux"),
        }
    }
}

/// A job can't be done at a place.
#[derive(Debug)]
pub(crate) enum Elsewhere {
    /// What it takes isn't on this machine.
    Missing(String),
    /// It failed.
    Failed(Failure),
}

/// Does a job. Its kind is set to what the place takes.
pub(crate) fn run(job: &mut Job, place: Place) -> Result<Done, Elsewhere> {
    job.kind = match place {
        Place::Native | Place::Aarch64 => Kind::Native,
        Place::Pulley => Kind::Portable,
    };
    let native = machine().as_str().starts_with("aarch64");
    match place {
        Place::Native | Place::Pulley => job.run().map_err(|why| Elsewhere::Failed(failed(place, why))),
        Place::Aarch64 if native => job.run().map_err(|why| Elsewhere::Failed(failed(place, why))),
        Place::Aarch64 => emulated(job),
    }
}

fn failed(place: Place, why: JobError) -> Failure {
    let help = why.help();
    let exit = match &why {
        JobError::Plugin(_) | JobError::Keyring(_) | JobError::Records(_) => Exit::Untrusted,
        JobError::Engine(_) | JobError::NoPlugin(_) => Exit::Trouble,
    };
    Failure::new(exit, format!("it can't be done on {place}")).why(why).maybe_help(help)
}

fn emulated(job: &Job) -> Result<Done, Elsewhere> {
    let program = rerun()?;
    let emulator = ["qemu-aarch64-static", "qemu-aarch64"].into_iter().find_map(on_path);
    let emulator = emulator.ok_or_else(|| {
        Elsewhere::Missing(
            "there is no qemu-aarch64 on this machine (Debian: apt-get install qemu-user-static)".into(),
        )
    })?;
    let trouble = |what: &str| {
        let what = format!("cannot {what} for aarch64");
        move |why: std::io::Error| Elsewhere::Failed(Failure::new(Exit::Trouble, what).why(why))
    };
    let folder = tempfile::tempdir().map_err(trouble("make a folder"))?;
    let path = folder.path().join("job");
    fs::write(&path, job.encode()).map_err(trouble("write the job"))?;
    let output = Command::new(emulator).arg(&program).arg(&path).stdin(Stdio::null()).output();
    let output = output.map_err(trouble("start the emulator"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let failure = Failure::new(Exit::Trouble, "backstay-rerun failed under the emulator").why(said);
        return Err(Elsewhere::Failed(failure.help("is it of the same version as this program?")));
    }
    serde_json::from_slice(&output.stdout).map_err(|why| {
        let what = "what backstay-rerun printed can't be read";
        Elsewhere::Failed(Failure::new(Exit::Trouble, what).why(why).help("is it of the same version?"))
    })
}

/// `backstay-rerun` for aarch64: where the environment says, or beside this program.
fn rerun() -> Result<PathBuf, Elsewhere> {
    if let Some(named) = env::var_os(RERUN).map(PathBuf::from) {
        if named.is_file() {
            return Ok(named);
        }
        return Err(Elsewhere::Missing(format!("{RERUN} names {}, which is no file", named.display())));
    }
    let beside = env::current_exe().ok().and_then(|path| Some(path.parent()?.join(RERUN_NAME)));
    beside.filter(|path| path.is_file()).ok_or_else(|| {
        Elsewhere::Missing(format!("there is no {RERUN_NAME} beside this program, and {RERUN} names none"))
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths).map(|dir: PathBuf| Path::new(&dir).join(name)).find(|path| path.is_file())
}
