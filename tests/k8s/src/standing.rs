//! A control plane that stays: which processes it consists of, written down so that another process can end exactly those.
//!
//! A process is known by its number and the moment of its start, because numbers are given again. Not here: the command line
//! (`main`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ControlPlane;

/// Where it is written down, in the folder of the control plane.
const FILE: &str = "state.json";
/// How long all of it may take to end.
const ENDS: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One that was started and written down.
#[derive(Clone, Debug)]
pub struct Standing {
    folder: PathBuf,
    keeper: One,
    programs: Vec<One>,
    kubeconfig: String,
    server: String,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct One {
    name: String,
    id: u32,
    /// In ticks since the machine's start.
    began: u64,
}

impl One {
    fn new(name: &str, id: u32) -> Self {
        Self { name: name.into(), id, began: began(id).unwrap_or(0) }
    }

    fn runs(&self) -> bool {
        began(self.id) == Some(self.began)
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        // It is looked at again just before: what has that number now is what was started.
        if let Some(id) = id.filter(|_| self.runs()) {
            // It may have ended by now, and that is as well.
            let _ = kill_process(id, signal);
        }
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "pid": self.id, "began": self.began})
    }

    fn read(value: &Value) -> Option<Self> {
        let name = value["name"].as_str()?.to_owned();
        Some(Self { name, id: u32::try_from(value["pid"].as_u64()?).ok()?, began: value["began"].as_u64()? })
    }
}

impl Standing {
    /// Writes down one that this process has started and keeps.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(folder: &Path, cluster: &ControlPlane) -> io::Result<()> {
        let programs = cluster.processes();
        let programs: Vec<_> = programs.iter().map(|(name, id)| One::new(name, *id).json()).collect();
        let state = json!({
            "keeper": One::new("k8s-cluster", std::process::id()).json(),
            "programs": programs,
            "kubeconfig": cluster.kubeconfig(),
            "server": cluster.api().server(),
        });
        // Whoever finds the file finds all of it.
        let part = folder.join("state.part");
        fs::write(&part, state.to_string())?;
        fs::rename(part, folder.join(FILE))
    }

    /// The one in a folder, if it runs.
    #[must_use]
    pub fn find(folder: &Path) -> Option<Self> {
        let state: Value = serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()?;
        let text = |field: &str| state[field].as_str().unwrap_or_default().to_owned();
        let standing = Self {
            folder: folder.into(),
            keeper: One::read(&state["keeper"])?,
            programs: state["programs"].as_array()?.iter().filter_map(One::read).collect(),
            kubeconfig: text("kubeconfig"),
            server: text("server"),
        };
        let runs = standing.keeper.runs() || standing.programs.iter().any(One::runs);
        runs.then_some(standing)
    }

    /// The configuration for `kubectl` and the like.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Where the API server is.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Ends exactly what was started, and says what of it doesn't end.
    ///
    /// # Errors
    /// The names of what still runs.
    pub fn end(&self) -> Result<(), String> {
        self.keeper.signal(Signal::TERM);
        let all = || self.programs.iter().chain([&self.keeper]).filter(|one| one.runs());
        let began = Instant::now();
        while all().next().is_some() && began.elapsed() < ENDS {
            if began.elapsed() > ENDS / 2 {
                all().for_each(|one| one.signal(Signal::KILL));
            }
            thread::sleep(LOOK_AGAIN);
        }
        let left: Vec<_> = all().map(|one| format!("{} ({})", one.name, one.id)).collect();
        if !left.is_empty() {
            return Err(left.join(", "));
        }
        // What is left of it is files, and the next one makes its own.
        let _ = fs::remove_file(self.folder.join(FILE));
        Ok(())
    }
}

/// When a process started: the 22nd field, where the second is its name in parentheses. A zombie has ended.
fn began(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let me = One::new("me", std::process::id());
        assert!(me.runs());
        let other = One { began: me.began + 1, ..me.clone() };
        assert!(!other.runs());
        assert_eq!(One::read(&me.json()), Some(me));
    }
}
