//! `cargo xtask mutants`: the core, broken at one place after the other, and who notices.
//!
//! Here: which places are taken (each n-th of all that `cargo-mutants` knows), who may notice and in which order, and what came of
//! it. Not here: how a place is broken (`cargo-mutants`), what is left alone and why (`.cargo/mutants.toml`), and what is wrong where
//! nobody notices (docs/faults.md).
//!
//! A *mutant* is the core with one change, in a copy of the tree. It is *killed* if a test fails that passes on the whole core. Only stories and the
//! simulation count: what a part's own small tests say (modules `tests`) says of one function that it does what it does. The quick ones come first, and
//! who comes later is asked only about what is left. What was broken off goes on, as long as neither the tree nor what is asked for changes.

mod copy;
mod round;
pub(crate) mod runner;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use self::round::{Round, Workshop, by_name};
use self::runner::Runner;
use crate::dist::Output;
use crate::setup::{self, Need};
use crate::trouble::Trouble;
use crate::workspace::Workspace;

/// What is broken.
const BROKEN: &str = "backstay-core";
/// The sample that figures are told of: each tenth place, from the first.
const SHARD: &str = "0/10";
/// In thousandths: so many of those that can be built are noticed, or the command fails.
const KILLED_MIN: usize = 950;

/// Who may notice.
struct Killer {
    /// As it is told.
    name: &'static str,
    package: &'static str,
    /// What of the package is built and run.
    targets: &'static [&'static str],
    /// What its tests are told.
    filter: &'static [&'static str],
}

const KILLERS: &[Killer] = &[
    Killer {
        name: "core's stories",
        package: BROKEN,
        targets: &["--lib"],
        filter: &["--", "--skip", "::tests::"],
    },
    Killer { name: "tests/stories", package: "backstay-test-stories", targets: &["--tests"], filter: &[] },
    Killer { name: "tests/sim", package: "backstay-test-sim", targets: &["--tests"], filter: &[] },
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
    /// As `cargo-mutants` is told. A sample has places far apart, not neighbours.
    fn which(&self) -> Vec<String> {
        if self.only.is_empty() {
            ["--shard", &self.shard, "--sharding", "round-robin"].map(str::to_owned).to_vec()
        } else {
            self.only.iter().map(|fits| format!("--re={fits}")).collect()
        }
    }

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

/// What came of all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    places: usize,
    /// By whom how many were killed, and how many hung, in order.
    by: Vec<(&'static str, usize, usize)>,
    unviable: usize,
    /// All that hung.
    hung: BTreeSet<String>,
    survivors: BTreeSet<String>,
}

/// Has each of those who may notice look at what the others before didn't.
pub(crate) fn run(workspace: &Workspace, wish: &Wish) -> Result<(), Trouble> {
    setup::ensure(Need::Mutants)?;
    let started = Instant::now();
    let folder = workspace.target.join("mutants");
    let [tree, built, rounds] = ["tree", "built", "rounds"].map(|name| folder.join(name));
    let failed = || Trouble::new(format!("cannot copy the tree to {}", tree.display()));
    let is = copy::mirror(&workspace.root, &tree).map_err(|why| failed().why(why))?;
    begins(&rounds, &format!("{is:016x} {} {:?}", wish.shard, wish.only)).map_err(|why| failed().why(why))?;
    let runner =
        Runner::put_into(&folder).map_err(|why| Trouble::new("cannot copy this program").why(why))?;
    let workshop = Workshop { tree, built, rounds, runner };

    // An hour later is too late to hear that the last of them fails anyhow.
    let takes = KILLERS.iter().map(|killer| workshop.passes(killer)).collect::<Result<Vec<_>, _>>()?;
    let mut which = wish.which();
    let asked: BTreeSet<String> = workshop.names(&which)?.into_iter().collect();
    let mut account = Account { places: asked.len(), survivors: asked, ..Account::default() };
    for (killer, takes) in KILLERS.iter().zip(takes) {
        if account.survivors.is_empty() {
            break;
        }
        let round = workshop.round(killer, takes, &account.survivors, &which)?;
        account.takes(killer.name, round);
        which = by_name(&account.survivors);
    }
    eprintln!("mutants: {} min", started.elapsed().as_secs().div_ceil(60));
    match wish.output {
        Output::Table => print!("{}", account.table()),
        Output::Json => println!("{:#}", account.json(wish)),
    }
    account.is_enough()
}

/// What came of something else is forgotten.
fn begins(rounds: &Path, asked: &str) -> io::Result<()> {
    let file = rounds.join("asked");
    if fs::read_to_string(&file).is_ok_and(|before| before == asked) {
        return Ok(());
    }
    if rounds.exists() {
        fs::remove_dir_all(rounds)?;
    }
    fs::create_dir_all(rounds)?;
    fs::write(file, asked)
}

impl Account {
    fn takes(&mut self, name: &'static str, round: Round) {
        self.by.push((name, round.killed.len(), round.hung.len()));
        self.unviable += round.unviable.len();
        self.hung.extend(round.hung);
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
        let mut table = format!("places {}, not to be built {}\n", self.places, self.unviable);
        let _ = writeln!(table, "{:<16} {:>7} {:>7}", "", "killed", "hung");
        for (name, killed, hung) in &self.by {
            let _ = writeln!(table, "{name:<16} {killed:>7} {hung:>7}");
        }
        let (noticed, viable) = self.noticed();
        let share = (noticed * 1000).checked_div(viable).unwrap_or(0);
        let _ = writeln!(table, "noticed {noticed} of {viable}: {}.{} %", share / 10, share % 10);
        for (what, names) in [("hung", &self.hung), ("survived", &self.survivors)] {
            let _ = writeln!(table, "{what} {}", names.len());
            for name in names {
                let _ = writeln!(table, "  {name}");
            }
        }
        table
    }

    fn json(&self, wish: &Wish) -> serde_json::Value {
        let by = |(name, killed, hung): &(&str, usize, usize)| json!({ "by": name, "killed": killed, "hung": hung });
        let sample = if wish.only.is_empty() { json!(wish.shard) } else { json!(wish.only) };
        let (noticed, viable) = self.noticed();
        json!({
            "sample": sample,
            "places": self.places,
            "viable": viable,
            "noticed": noticed,
            "by": self.by.iter().map(by).collect::<Vec<_>>(),
            "not_to_be_built": self.unviable,
            "hung": self.hung,
            "survivors": self.survivors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn account(missed: &[&str]) -> Account {
        let mut account = Account { places: 5, ..Account::default() };
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
        assert!(table.starts_with("places 5, not to be built 1\n"), "{table}");
        assert!(table.ends_with("noticed 3 of 4: 75.0 %\nhung 1\n  d\nsurvived 1\n  e\n"), "{table}");
        let told = account.json(&Wish::default());
        assert_eq!((&told["sample"], &told["survivors"]), (&json!("0/10"), &json!(["e"])));
    }

    #[test]
    fn too_many_that_nobody_notices_fail_the_command() {
        assert!(account(&[]).is_enough().is_ok());
        let told = account(&["e"]).is_enough().unwrap_err().to_string();
        assert!(told.starts_with("3 of 4 mutants were noticed, and 950 of 1000 should be"), "{told}");
        // Where nothing was tried, nothing was shown.
        assert!(Account::default().is_enough().is_err());
    }

    #[test]
    fn shards_have_bounds() {
        assert_eq!(Wish::shard("3/20"), Ok("3/20".into()));
        for wrong in ["10/10", "x/3", "3", "-1/3", "0/0"] {
            assert!(Wish::shard(wrong).unwrap_err().ends_with(&format!("and not {wrong}")), "{wrong}");
        }
    }

    #[test]
    fn what_came_of_something_else_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (rounds, known) = (folder.path().join("rounds"), folder.path().join("rounds/caught.txt"));
        begins(&rounds, "one").unwrap();
        fs::write(&known, "a\n").unwrap();
        begins(&rounds, "one").unwrap();
        assert!(known.exists());
        begins(&rounds, "other").unwrap();
        assert!(!known.exists());
    }
}
