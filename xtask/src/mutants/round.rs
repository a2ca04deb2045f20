//! One of those who may notice, and the mutants that it is asked about.
//!
//! Here: that it passes on the whole core, how `cargo-mutants` is told to try mutants on it, what came of it, and how that goes on where
//! it was broken off. Not here: who is asked in which order, and what it comes to (`mutants`).

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::runner::Runner;
use super::{BROKEN, Killer};
use crate::steps::{run_for_at_most, run_loudly};
use crate::trouble::Trouble;
use crate::workspace::cargo;

/// As in the workspace's `Cargo.toml`.
const PROFILE: [&str; 2] = ["--profile", "mutants"];
/// A run of tests that takes so many times longer than on the whole core hangs ...
const HANGS_TIMES: u32 = 10;
/// ... but not before this: others may want the machine meanwhile, and who only waited for it has noticed nothing. A core that runs in
/// circles mostly fails a test before.
const HANGS_MIN: Duration = Duration::from_secs(300);
/// A loop without an end may eat memory instead of time, in KiB.
const MEMORY_KIB_MAX: u32 = 8 << 20;
/// The longest that one of those who may notice may take with all mutants.
const ROUND_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// With what a line begins that tells of one mutant.
const TOLD: [&str; 4] = ["caught ", "MISSED ", "TIMEOUT ", "unviable "];

/// Where mutants are made and tried.
pub(super) struct Workshop {
    /// The copy that is broken.
    pub(super) tree: PathBuf,
    /// What is built of it.
    pub(super) built: PathBuf,
    /// What came of it.
    pub(super) rounds: PathBuf,
    /// What runs the tests.
    pub(super) runner: Runner,
}

/// What came of one round: names of mutants, as `cargo-mutants` lists them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) killed: BTreeSet<String>,
    /// The tests didn't end.
    pub(super) hung: BTreeSet<String>,
    /// They can't be built.
    pub(super) unviable: BTreeSet<String>,
    pub(super) missed: BTreeSet<String>,
}

impl Workshop {
    /// In the copy, with one folder for what is built: each mutant is built on what was built before it.
    fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.built).stdin(Stdio::null());
        // What is said on the way goes to standard error; the result alone goes to standard output.
        command.stdout(io::stderr());
        command
    }

    /// The names of the mutants `which`, in order.
    pub(super) fn names(&self, which: &[String]) -> Result<Vec<String>, Trouble> {
        let failed = || Trouble::new("cannot list mutants");
        let mut command = self.cargo();
        command.args(["mutants", "--list", "--package", BROKEN]).args(which);
        let output = command.stdout(Stdio::piped()).output().map_err(|why| failed().why(why))?;
        if !output.status.success() {
            return Err(failed().why(String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// How long the tests take on the whole core, on which they have to pass: else each mutant would be killed by what has
    /// nothing to do with it. `cargo-mutants` itself would try the tests of what is broken, not of who may notice.
    pub(super) fn passes(&self, killer: &Killer) -> Result<Duration, Trouble> {
        let test = || {
            let mut command = self.cargo();
            command
                .args(["test", "--quiet"])
                .args(self.runner.arguments())
                .args(PROFILE)
                .args(["-p", killer.package])
                .args(killer.targets);
            command
        };
        eprintln!("mutants: {} on the whole core", killer.name);
        run_loudly(test().arg("--no-run"), &format!("build {}", killer.name))?;
        let started = Instant::now();
        let failed = || Trouble::new(format!("cannot try mutants on {}", killer.name));
        let status =
            run_for_at_most(ROUND_MAX, test().args(killer.filter)).map_err(|why| failed().why(why))?;
        if !status.success() {
            let words = [killer.targets, killer.filter].concat().join(" ");
            return Err(failed()
                .why("a test fails on the core as it is")
                .help(format!("cargo test -p {} {words}", killer.package)));
        }
        Ok(started.elapsed())
    }

    /// Asks `killer`, whose tests take `takes` on the whole core, about the mutants `asked`; `which` is how `cargo-mutants` is
    /// told of all of them. What an earlier run came to isn't asked again.
    pub(super) fn round(
        &self,
        killer: &Killer,
        takes: Duration,
        asked: &BTreeSet<String>,
        which: &[String],
    ) -> Result<Round, Trouble> {
        let failed = || Trouble::new(format!("cannot try mutants on {}", killer.name));
        let folder = self.rounds.join(killer.package);
        let of_this_run = folder.join("mutants.out");
        fs::create_dir_all(&folder).map_err(|why| failed().why(why))?;
        let read = |folder: &Path| Round::read(folder).map_err(|why| failed().why(why));

        let mut round = read(&folder)?;
        round.takes(read(&of_this_run)?);
        // The next run puts its own in their place.
        round.write(&folder).map_err(|why| failed().why(why))?;
        let open = round.open(asked);
        eprintln!("mutants: {}: {} of {} are to be tried", killer.name, open.len(), asked.len());
        if open.is_empty() {
            return Ok(round.of(asked));
        }
        let which = if open.len() == asked.len() { which.to_vec() } else { by_name(&open) };
        let told = self.names(&which)?.len();
        self.try_out(killer, takes, told, &which, &folder).map_err(|why| failed().why(why))?;
        round.takes(read(&of_this_run)?);
        match round.open(asked).first() {
            None => Ok(round.of(asked)),
            Some(first) => Err(failed().why(format!("cargo mutants didn't tell of {first}"))),
        }
    }

    fn try_out(
        &self,
        killer: &Killer,
        takes: Duration,
        told: usize,
        which: &[String],
        folder: &Path,
    ) -> io::Result<()> {
        let program = cargo().get_program().to_owned();
        let hangs = (takes * HANGS_TIMES).max(HANGS_MIN);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &MEMORY_KIB_MAX.to_string()]).arg(program);
        command
            .args(["mutants", "--in-place", "--package", BROKEN, "--test-package", killer.package])
            .args(PROFILE);
        command.args(["--baseline", "skip", "--timeout", &hangs.as_secs().to_string()]);
        command.args(["--caught", "--unviable", "--colors", "never", "--output"]).arg(folder).args(which);
        let by = self.runner.arguments();
        let arguments = by.iter().map(String::as_str).chain(killer.targets.iter().copied());
        command.args(arguments.map(|argument| format!("--cargo-arg={argument}")));
        command.arg("--").args(killer.filter);
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.built).stdin(Stdio::null());
        let (reader, writer) = io::pipe()?;
        command.stdout(writer);
        let tells = thread::spawn(move || tell(reader, told));
        let ended = run_for_at_most(ROUND_MAX, &mut command);
        // With it the pipe's end goes, and so the thread ends.
        drop(command);
        let _ = tells.join();
        let status = ended?;
        match status.code() {
            // All were killed; some were missed; some hung.
            Some(0 | 2 | 3) => Ok(()),
            _ => Err(io::Error::other(format!("cargo mutants ended with {status}"))),
        }
    }
}

/// Passes on what is said, each mutant with its number.
fn tell(reader: PipeReader, of: usize) {
    let mut nth = 0;
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        if TOLD.iter().any(|word| line.starts_with(word)) {
            nth += 1;
            eprintln!("[{nth}/{of}] {line}");
        } else {
            eprintln!("{line}");
        }
    }
}

/// Mutants by name. Their files are named as well: in version 27.1 of `cargo-mutants` a mutant that leaves out a field is
/// taken whatever the pattern says, so this keeps what is tried for nothing small.
pub(super) fn by_name(names: &BTreeSet<String>) -> Vec<String> {
    let file = |name: &String| name.split(':').next().unwrap_or_default().to_owned();
    let files: BTreeSet<String> = names.iter().map(file).collect();
    let files = files.iter().map(|file| format!("--file={file}"));
    files.chain(names.iter().map(|name| format!("--re=^{}$", exactly(name)))).collect()
}

/// A pattern that fits `name` alone.
fn exactly(name: &str) -> String {
    name.chars().fold(String::new(), |mut pattern, letter| {
        // With a stroke before them these two would be the edges of a word.
        if letter.is_ascii_punctuation() && !"<>".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
        pattern
    })
}

impl Round {
    /// As `cargo-mutants` leaves it: a file for each end, a line for each mutant. Empty where there is none.
    fn read(folder: &Path) -> io::Result<Self> {
        let mut round = Self::default();
        for (file, names) in round.files() {
            match fs::read_to_string(folder.join(file)) {
                Ok(text) => names.extend(text.lines().map(str::to_owned)),
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(why),
            }
        }
        Ok(round)
    }

    fn write(&mut self, folder: &Path) -> io::Result<()> {
        for (file, names) in self.files() {
            let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
            fs::write(folder.join(file), lines)?;
        }
        Ok(())
    }

    fn files(&mut self) -> [(&'static str, &mut BTreeSet<String>); 4] {
        [
            ("caught.txt", &mut self.killed),
            ("timeout.txt", &mut self.hung),
            ("unviable.txt", &mut self.unviable),
            ("missed.txt", &mut self.missed),
        ]
    }

    /// Adds what another run came to.
    fn takes(&mut self, mut other: Self) {
        for ((_, names), (_, others)) in self.files().into_iter().zip(other.files()) {
            names.append(others);
        }
    }

    /// Those of `asked` of which nothing is known yet.
    fn open(&mut self, asked: &BTreeSet<String>) -> BTreeSet<String> {
        let mut open = asked.clone();
        open.retain(|name| !self.files().iter().any(|(_, names)| names.contains(name)));
        open
    }

    /// Without what wasn't asked for.
    fn of(mut self, asked: &BTreeSet<String>) -> Self {
        for (_, names) in self.files() {
            names.retain(|name| asked.contains(name));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;

    #[test]
    fn a_mutant_is_named_by_a_pattern_that_fits_it_alone() {
        let name = "core/src/a.rs:7:3: replace Vec<T>::is_x -> bool with (true)";
        assert_eq!(exactly("a.b(c) || d"), r"a\.b\(c\) \|\| d");
        assert!(exactly(name).starts_with(r"core\/src\/a\.rs\:7\:3\: replace Vec<T>\:\:is\_x \-> "));
        let named = by_name(&names(&["core/a.rs:1:2: replace a with b", "core/a.rs:3:2: replace b with c"]));
        assert_eq!((named.len(), named[0].as_str()), (3, "--file=core/a.rs"));
    }

    #[test]
    fn only_what_was_asked_for_is_counted() {
        let round = Round { killed: names(&["a", "x"]), missed: names(&["b", "y"]), ..Round::default() };
        let round = round.of(&names(&["a", "b"]));
        assert_eq!((round.killed, round.missed), (names(&["a"]), names(&["b"])));
    }

    #[test]
    fn what_was_broken_off_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("mutants.out");
        fs::create_dir(&out).unwrap();
        let of_before = [("caught.txt", "a: x\nb: y\n"), ("timeout.txt", ""), ("missed.txt", "d\n")];
        for (file, text) in of_before {
            fs::write(out.join(file), text).unwrap();
        }
        let mut round = Round::read(folder.path()).unwrap();
        assert_eq!(round, Round::default());
        round.takes(Round::read(&out).unwrap());
        round.write(folder.path()).unwrap();
        assert_eq!(round.open(&names(&["a: x", "d", "e"])), names(&["e"]));

        // The next run has a folder of its own, and what was known stays known.
        fs::remove_file(out.join("caught.txt")).unwrap();
        fs::write(out.join("unviable.txt"), "e\n").unwrap();
        let mut round = Round::read(folder.path()).unwrap();
        round.takes(Round::read(&out).unwrap());
        assert_eq!((&round.killed, &round.missed), (&names(&["a: x", "b: y"]), &names(&["d"])));
        assert_eq!(round.unviable, names(&["e"]));
        assert!(round.hung.is_empty());
    }
}
