//! Where it was measured, and with what: a figure without that says nothing.

use std::{fs, process::Command, thread};

use backstay_test_fleet::Broker;

use crate::Failure;

/// The versions of the workspace's packages.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// The machine at the time of the measurement.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it is called, and what it says.
    pub facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn now() -> Self {
        let line = |file: &str, start: &str| {
            let text = fs::read_to_string(file).ok()?;
            let found = text.lines().find(|line| line.starts_with(start))?;
            Some(found.split_once(':').map_or(found, |(_, value)| value).trim().to_owned())
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let memory = line("/proc/meminfo", "MemTotal").and_then(|text| {
            let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some(format!("{} GiB", (kib + (1 << 19)) >> 20))
        });
        let load = fs::read_to_string("/proc/loadavg").ok().and_then(|text| {
            Some(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
                .filter(|text| !text.is_empty())
        });
        let known = |text: Option<String>| text.unwrap_or_else(|| "unknown".into());
        Self {
            facts: vec![
                ("machine", format!("{cores} cores, {}", std::env::consts::ARCH)),
                ("memory", known(memory)),
                ("processor", known(line("/proc/cpuinfo", "model name"))),
                ("kernel", known(line("/proc/sys/kernel/osrelease", ""))),
                ("load before", known(load)),
                ("priority", if real_time() { "real-time" } else { "normal" }.into()),
            ],
        }
    }
}

/// Whether this runs before all that has normal priority (`SCHED_FIFO` or `SCHED_RR`), as `chrt -f 1` has it. A thread that
/// waits by spinning then keeps the one that it waits for from running.
#[must_use]
pub fn real_time() -> bool {
    // The 41st word of proc_pid_stat(5) is the policy; the second, a name in parentheses, may have spaces.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let policy = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(38));
    matches!(policy, Some("1" | "2"))
}

/// The seconds of processor time that a process has taken, with all its threads that run.
///
/// # Errors
/// If it has ended, or the kernel doesn't tell.
pub fn processor_seconds(process: u32) -> Result<f64, Failure> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?.path();
        let told = match fs::read_to_string(thread.join("schedstat")) {
            // It has ended since it was listed, and has taken its time with it.
            Err(_) if !thread.exists() => continue,
            read => read?,
        };
        let ran = told.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
        nanos += ran.ok_or("the kernel does not tell how long a thread ran")?;
    }
    Ok(nanos as f64 / 1e9)
}

/// How often a process of one thread has waited for something.
///
/// # Errors
/// If it has ended, or the kernel doesn't tell.
pub fn times_asleep(process: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(line.ok_or("the kernel does not tell how often a process waited")?.trim().parse()?)
}

/// What is compared, with the version of each.
#[derive(Clone, Debug, Default)]
pub struct Versions(Vec<(String, String)>);

impl Versions {
    /// The compiler, and these packages as the workspace's lock file has them.
    #[must_use]
    pub fn of(packages: &[&str]) -> Self {
        let compiler = said("rustc", &["--version"]).unwrap_or_else(|| "unknown".into());
        Self(vec![("rustc".into(), compiler.trim_start_matches("rustc ").into())]).with(packages, LOCK)
    }

    /// These, too, as another lock file has them. A package that is there twice has both versions.
    #[must_use]
    pub fn with(mut self, packages: &[&str], lock: &str) -> Self {
        for package in packages {
            self.0.push(((*package).into(), locked(package, lock)));
        }
        self
    }

    /// The broker, too.
    #[must_use]
    pub fn with_broker(mut self) -> Self {
        let program = Broker::program();
        let version = program.and_then(|program| said(&program.to_string_lossy(), &["-h"]));
        let version = version.unwrap_or_else(|| "unknown".into());
        self.0.push(("mosquitto".into(), version.trim_start_matches("mosquitto version ").into()));
        self
    }

    /// A program, too, as it answers to these words.
    #[must_use]
    pub fn with_said(mut self, name: &str, program: &str, arguments: &[&str]) -> Self {
        self.0.push((name.into(), said(program, arguments).unwrap_or_else(|| "unknown".into())));
        self
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[(String, String)] {
        &self.0
    }
}

/// The first line that a program says of itself.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

fn locked(package: &str, lock: &str) -> String {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    let mut versions = Vec::new();
    while lines.by_ref().any(|line| line == name) {
        let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
        versions.extend(version);
    }
    if versions.is_empty() { "unknown".into() } else { versions.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"ab\"\nversion = \"3.0.0\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"2.0.0\"\n";
        assert_eq!(locked("a", lock), "1.0.0 and 2.0.0");
        assert_eq!(locked("b", lock), "unknown");
        assert_ne!(locked("rumqttc", LOCK), "unknown");
    }

    #[test]
    fn a_machine_says_what_it_is() {
        let facts = Machine::now().facts;
        assert!(facts.iter().all(|(_, value)| !value.is_empty() && value != "unknown"), "{facts:?}");
    }
}
