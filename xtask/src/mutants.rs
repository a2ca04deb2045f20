//! `cargo xtask mutants`: the core, broken at one place after the other, and who notices.
//!
//! Here: which places are taken (each n-th of all that `cargo-mutants` knows), who may notice and in which order, and what came of
//! it. Not here: how a place is broken (`cargo-mutants`), what is left alone and why (`.cargo/mutants.toml`), and what is wrong where
//! nobody notices (docs/faults.md).
//!
//! A *mutant* is the core with one change, on a copy of the tree. It is *killed* if a test fails that passes on the whole core. Only stories and the
//! simulation count: what a part's own small tests say (modules `tests`) says of one function that it does what it does. The quick ones come first, and
//! who comes later is asked only about what is left.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::dist::Output;
use crate::setup::{self, Need};
use crate::steps::run_for_at_most;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// What is broken.
const BROKEN: &str = "backstay-core";
/// The sample that figures are told of: each tenth place, from the first.
const SHARD: &str = "0/10";
/// In thousandths: so many of those that can be built are noticed, or the command fails.
const KILLED_MIN: usize = 950;
/// A run of tests that takes longer than this, in seconds, hangs: on the whole core the longest takes a quarter of it.
const TESTS_SECS_MAX: &str = "120";
/// Copies that are built and tried at once.
const JOBS: &str = "2";
/// A loop without an end may eat memory instead of time, in KiB.
const MEMORY_KIB_MAX: u32 = 8 << 20;
/// The longest that one of those who may notice may take with all mutants.
const ROUND_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// Who may notice.
struct Killer {
    /// As it is told.
    name: &'static str,
    package: &'static str,
    /// What `cargo test` is told beside the package.
    arguments: &'static [&'static str],
}

const KILLERS: &[Killer] = &[
    Killer { name: "core's stories", package: BROKEN, arguments: &["--lib", "--", "--skip", "::tests::"] },
    Killer { name: "tests/stories", package: "backstay-test-stories", arguments: &["--tests"] },
    Killer { name: "tests/sim", package: "backstay-test-sim", arguments: &["--tests"] },
];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// `K/N`: each N-th place, from the K-th.
    pub(crate) shard: String,
    /// Instead of a sample: all whose names one of these fits.
    pub(crate) only: Vec<String>,
    pub(crate) output: Output,
}

impl Default for Wish {
    fn default() -> Self {
        Self { shard: SHARD.into(), only: Vec::new(), output: Output::Table }
    }
}

impl Wish {
    /// A shard as it is written.
    pub(crate) fn shard(text: &str) -> Result<String, String> {
        let number = |part: &str| part.parse::<u32>().ok();
        let shard = text.split_once('/').and_then(|(k, n)| Some((number(k)?, number(n)?)));
        match shard {
            Some((k, n)) if k < n => Ok(format!("{k}/{n}")),
            _ => Err(format!("--shard is K/N with K from 0 to N - 1, and not {text}")),
        }
    }
}

/// What came of one round: names of mutants, as `cargo-mutants` lists them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    killed: BTreeSet<String>,
    /// The tests didn't end.
    hung: BTreeSet<String>,
    /// They can't be built.
    unviable: BTreeSet<String>,
    missed: BTreeSet<String>,
}

/// What came of all.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    /// By whom how many were killed, and how many hung, in order.
    by: Vec<(&'static str, usize, usize)>,
    unviable: usize,
    survivors: BTreeSet<String>,
}

/// Has each of those who may notice look at what the others before didn't.
pub(crate) fn run(workspace: &Workspace, wish: &Wish) -> Result<(), Trouble> {
    setup::ensure(Need::Mutants)?;
    let folder = workspace.target.join("mutants");
    let mut account = Account { by: Vec::new(), unviable: 0, survivors: BTreeSet::new() };
    for (nth, killer) in KILLERS.iter().enumerate() {
        let mut which = vec!["--package".to_owned(), BROKEN.to_owned()];
        match nth {
            0 if wish.only.is_empty() => which.extend(sampled(&wish.shard)),
            0 => which.extend(wish.only.iter().map(|fits| format!("--re={fits}"))),
            _ if account.survivors.is_empty() => break,
            _ => which.extend(left(&account.survivors)),
        }
        let mut round = round(killer, &which, &folder.join(killer.package))?;
        if nth > 0 {
            round.keeps(&account.survivors);
        }
        account.takes(killer.name, round);
    }
    match wish.output {
        Output::Table => print!("{}", account.table()),
        Output::Json => println!("{:#}", account.json(wish)),
    }
    account.is_enough()
}

/// Places far apart, not neighbours.
fn sampled(shard: &str) -> [String; 4] {
    ["--shard".into(), shard.into(), "--sharding".into(), "round-robin".into()]
}

/// What is left, by name. Their files are named as well: in version 27.1 of `cargo-mutants` a mutant that leaves out a field is
/// taken whatever the pattern says, so this keeps what is tried for nothing small.
fn left(survivors: &BTreeSet<String>) -> Vec<String> {
    let file = |name: &String| name.split(':').next().unwrap_or_default().to_owned();
    let files: BTreeSet<String> = survivors.iter().map(file).collect();
    let files = files.iter().map(|file| format!("--file={file}"));
    files.chain(survivors.iter().map(|name| format!("--re=^{}$", exactly(name)))).collect()
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

/// Tries the mutants `which` on one of those who may notice.
fn round(killer: &Killer, which: &[String], folder: &Path) -> Result<Round, Trouble> {
    let failed = || Trouble::new(format!("cannot try mutants on {}", killer.name));
    fs::create_dir_all(folder).map_err(|why| failed().why(why))?;
    eprintln!("mutants: {}", killer.name);
    let cargo = cargo().get_program().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &MEMORY_KIB_MAX.to_string()]).arg(cargo);
    command.args(["mutants", "--profile", "mutants", "--test-package", killer.package, "--jobs", JOBS]);
    command.args(["--timeout", TESTS_SECS_MAX, "--output"]).arg(folder).args(which);
    command.arg("--").args(killer.arguments);
    // A folder that everybody builds into would have the copies wait for one another.
    command.env_remove("CARGO_TARGET_DIR").stdin(Stdio::null());
    // What it says is on the way; the result is for standard output alone.
    command.stdout(std::io::stderr());
    let status = run_for_at_most(ROUND_MAX, &mut command).map_err(|why| failed().why(why))?;
    match status.code() {
        // All were killed; some were missed; some hung.
        Some(0 | 2 | 3) => Round::read(&folder.join("mutants.out")).map_err(|why| failed().why(why)),
        // It tries the whole core first.
        Some(4) => Err(failed().why("a test fails on the core as it is").help(format!(
            "cargo test --profile mutants -p {} {}",
            killer.package,
            killer.arguments.join(" ")
        ))),
        _ => Err(failed().why(format!("cargo mutants ended with {status}"))),
    }
}

impl Round {
    /// Leaves out what wasn't asked for.
    fn keeps(&mut self, asked: &BTreeSet<String>) {
        for names in [&mut self.killed, &mut self.hung, &mut self.unviable, &mut self.missed] {
            names.retain(|name| asked.contains(name));
        }
    }

    /// As `cargo-mutants` leaves it: a file for each end, a line for each mutant.
    fn read(folder: &Path) -> std::io::Result<Self> {
        let names = |file: &str| -> std::io::Result<BTreeSet<String>> {
            Ok(fs::read_to_string(folder.join(file))?.lines().map(str::to_owned).collect())
        };
        Ok(Self {
            killed: names("caught.txt")?,
            hung: names("timeout.txt")?,
            unviable: names("unviable.txt")?,
            missed: names("missed.txt")?,
        })
    }
}

impl Account {
    fn takes(&mut self, name: &'static str, round: Round) {
        self.by.push((name, round.killed.len(), round.hung.len()));
        self.unviable += round.unviable.len();
        self.survivors = round.missed;
    }

    /// Who was noticed by a failing test or one without an end, of those that could be built.
    fn noticed(&self) -> (usize, usize) {
        let noticed: usize = self.by.iter().map(|(_, killed, hung)| killed + hung).sum();
        (noticed, noticed + self.survivors.len())
    }

    fn is_enough(&self) -> Result<(), Trouble> {
        let (noticed, viable) = self.noticed();
        if viable > 0 && noticed * 1000 >= viable * KILLED_MIN {
            return Ok(());
        }
        let what = format!("{noticed} of {viable} mutants were noticed, and {KILLED_MIN} of 1000 should be");
        let help = "tell the story that shows the difference; why the known ones stay is in docs/faults.md";
        Err(Trouble::new(what).help(help))
    }

    fn table(&self) -> String {
        let mut table = format!("{:<16} {:>7} {:>7}\n", "", "killed", "hung");
        for (name, killed, hung) in &self.by {
            let _ = writeln!(table, "{name:<16} {killed:>7} {hung:>7}");
        }
        let (noticed, viable) = self.noticed();
        let share = (noticed * 1000).checked_div(viable).unwrap_or(0);
        let _ = writeln!(table, "noticed {noticed} of {viable}: {}.{} %", share / 10, share % 10);
        let _ = writeln!(table, "not to be built {}, survived {}", self.unviable, self.survivors.len());
        for name in &self.survivors {
            let _ = writeln!(table, "  {name}");
        }
        table
    }

    fn json(&self, wish: &Wish) -> serde_json::Value {
        let by = |(name, killed, hung): &(&str, usize, usize)| json!({ "by": name, "killed": killed, "hung": hung });
        let sample = if wish.only.is_empty() { json!(wish.shard) } else { json!(wish.only) };
        let (noticed, viable) = self.noticed();
        json!({
            "sample": sample,
            "viable": viable,
            "noticed": noticed,
            "by": self.by.iter().map(by).collect::<Vec<_>>(),
            "not_to_be_built": self.unviable,
            "survivors": self.survivors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn account(missed: &[&str]) -> Account {
        let mut account = Account { by: Vec::new(), unviable: 0, survivors: BTreeSet::new() };
        let (killed, unviable) = (names(&["a", "b"]), names(&["c"]));
        account.takes("one", Round { killed, unviable, missed: names(&["d", "e"]), ..Round::default() });
        account.takes("other", Round { hung: names(&["d"]), missed: names(missed), ..Round::default() });
        account
    }

    #[test]
    fn who_comes_later_is_asked_about_what_is_left() {
        let account = account(&["e"]);
        assert_eq!(account.noticed(), (3, 4));
        let table = account.table();
        assert!(table.contains("one                    2       0\n"), "{table}");
        assert!(table.ends_with("noticed 3 of 4: 75.0 %\nnot to be built 1, survived 1\n  e\n"), "{table}");
        let told = account.json(&Wish::default());
        assert_eq!((&told["sample"], &told["survivors"]), (&json!("0/10"), &json!(["e"])));
    }

    #[test]
    fn too_many_that_nobody_notices_fail_the_command() {
        assert!(account(&[]).is_enough().is_ok());
        let told = account(&["e"]).is_enough().unwrap_err().to_string();
        assert!(told.starts_with("3 of 4 mutants were noticed, and 950 of 1000 should be"), "{told}");
        // Where nothing was tried, nothing was shown.
        let nothing = Account { by: Vec::new(), unviable: 0, survivors: BTreeSet::new() };
        assert!(nothing.is_enough().is_err());
    }

    #[test]
    fn a_survivor_is_named_by_a_pattern_that_fits_it_alone() {
        let name = "core/src/a.rs:7:3: replace Vec<T>::is_x -> bool with (true)";
        assert_eq!(exactly("a.b(c) || d"), r"a\.b\(c\) \|\| d");
        assert!(exactly(name).starts_with(r"core\/src\/a\.rs\:7\:3\: replace Vec<T>\:\:is\_x \-> "));
    }

    #[test]
    fn only_what_was_asked_for_is_counted() {
        let mut round = Round { killed: names(&["a", "x"]), missed: names(&["b", "y"]), ..Round::default() };
        round.keeps(&names(&["a", "b"]));
        assert_eq!((round.killed, round.missed), (names(&["a"]), names(&["b"])));
        let left = left(&names(&["core/a.rs:1:2: replace a with b", "core/a.rs:3:2: replace b with c"]));
        assert_eq!((left.len(), left[0].as_str()), (3, "--file=core/a.rs"));
    }

    #[test]
    fn shards_have_bounds() {
        assert_eq!(Wish::shard("3/20"), Ok("3/20".into()));
        for wrong in ["10/10", "x/3", "3", "-1/3", "0/0"] {
            assert!(Wish::shard(wrong).unwrap_err().ends_with(&format!("and not {wrong}")), "{wrong}");
        }
    }

    #[test]
    fn what_is_left_in_a_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("caught.txt", "a: x\nb: y\n"),
            ("timeout.txt", ""),
            ("unviable.txt", "c\n"),
            ("missed.txt", "d\n"),
        ];
        for (file, text) in files {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let round = Round::read(folder.path()).unwrap();
        assert_eq!((round.killed, round.missed), (names(&["a: x", "b: y"]), names(&["d"])));
        assert!(round.hung.is_empty());
    }
}
