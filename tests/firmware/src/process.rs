//! Processes that were started here: running one to its end, finding one among our own, killing one at a chosen moment.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The longest that anything is waited for: much longer than it takes.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs a command that has to succeed, and returns what it printed.
///
/// # Panics
/// It didn't.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Looks again and again until there is something to see.
///
/// # Panics
/// There is nothing for minutes.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < LONGEST, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// When somebody is killed.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// As soon as the slot holds this part of the new image, in thousandths.
    Written(u32),
    /// This part of the time that all of it takes without a kill, in thousandths.
    Into(u32),
}

/// Kill moments, spread over what is written and over the time that it takes.
#[must_use]
pub fn moments(of_each: u32) -> Vec<Moment> {
    let parts = || (0..of_each).map(move |at| at * 1000 / of_each);
    parts().map(Moment::Written).chain(parts().map(Moment::Into)).collect()
}

fn stat(pid: u32) -> Option<(String, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (begin, rest) = text.rsplit_once(") ")?;
    let (_, name) = begin.split_once('(')?;
    let mut words = rest.split(' ');
    // A dead one that nobody has waited for runs no more.
    if words.next()? == "Z" {
        return None;
    }
    Some((name.to_owned(), words.next()?.parse().ok()?))
}

/// Whether a process of that number runs.
#[must_use]
pub fn runs(pid: u32) -> bool {
    stat(pid).is_some()
}

/// A child of `parent` that runs the program `name` with `word` among its arguments, or a child of such a child.
#[must_use]
pub fn child_named(parent: u32, name: &str, word: &str) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let children: Vec<(u32, String)> = pids
        .filter_map(|pid: u32| stat(pid).filter(|(_, of)| *of == parent).map(|(name, _)| (pid, name)))
        .collect();
    for (pid, called) in &children {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has_word = line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes());
        if called == name && has_word {
            return Some(*pid);
        }
    }
    None
}

/// Ends a process that was started here in the middle of whatever it does.
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself just now.
        let _ = kill_process(pid, Signal::KILL);
    }
}
