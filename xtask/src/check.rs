//! `cargo xtask check`: everything about the tree that can be said without running it.
//!
//! Here: which checks there are. Not here: the rules about arrows (`arrows`) and files (`tree`), and tests (`suite`).

use std::process::Stdio;
use std::rc::Rc;

use crate::arrows::{self, NO_STD};
use crate::setup::{self, Need};
use crate::steps::{Counts, Row, Step, Tally, Work, in_colour};
use crate::toolchain::{WASM, cargo_for};
use crate::tree;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// Runs all checks, also after one has failed.
pub(crate) fn run(workspace: Workspace, supply_chain: bool) -> Result<Tally, Trouble> {
    setup::ensure_all(&[Need::Formatter, Need::Linter, Need::Wasm])?;
    let workspace = Rc::new(workspace);
    let features: Vec<_> = workspace.packages.iter().flat_map(|package| package.features.clone()).collect();
    let features = features.join(",");
    let lints = ["clippy", "--workspace", "--all-targets", "--keep-going", "--features", &features, "--"];
    let lints = [&lints[..], &["-D", "warnings"]].concat();
    let mut steps = vec![
        cargo_step("formatting", &["fmt", "--all", "--check"], &[]),
        look("arrows", "cargo xtask arrows", {
            let workspace = Rc::clone(&workspace);
            move || arrows::check(&workspace)
        }),
        look("what is linked", "cargo xtask arrows", {
            let workspace = Rc::clone(&workspace);
            move || arrows::check_trees(&workspace)
        }),
        look("tree of files", "cargo test -p xtask tree::", {
            let workspace = Rc::clone(&workspace);
            move || tree::check(&workspace).and_then(tree::judge)
        }),
        cargo_step("lints", &lints, &[]),
        no_std(&workspace),
        cargo_step(
            "documentation",
            &["doc", "--workspace", "--no-deps", "--document-private-items"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
    ];
    if supply_chain {
        steps.extend(supply_chain_steps());
    }
    let mut row = Row::new(workspace.target.join("xtask/check"), steps.len())?;
    for step in steps {
        row.run(step);
    }
    for hint in tree::check(&workspace)?.hints {
        println!("hint: {hint}");
    }
    Ok(row.finish())
}

/// What comes in from outside. Advisories stand alone: the list of them comes from the network, and where it can't be had, that
/// is said and the rest is checked all the same.
fn supply_chain_steps() -> [Step; 2] {
    const NAMES: [&str; 2] = ["licences, bans and sources", "advisories"];
    if let Err(trouble) = setup::ensure(Need::SupplyChain) {
        return NAMES.map(|name| impossible(name, trouble.to_string()));
    }
    let deny = ["deny", "check", "--config", "xtask/deny.toml"];
    let rest = cargo_step(NAMES[0], &[&deny[..], &["licenses", "bans", "sources"]].concat(), &[]);
    let fetch = ["deny", "fetch", "--config", "xtask/deny.toml", "db"];
    let advisories = match cargo().args(fetch).stdin(Stdio::null()).output() {
        Ok(fetched) if fetched.status.success() => {
            cargo_step(NAMES[1], &[&deny[..], &["--disable-fetch", "advisories"]].concat(), &[])
        }
        Ok(fetched) => {
            let said = String::from_utf8_lossy(&fetched.stderr).into_owned();
            impossible(NAMES[1], format!("the list of advisories can't be fetched\n{}", said.trim_end()))
        }
        Err(why) => impossible(NAMES[1], format!("cargo can't be started: {why}")),
    };
    [rest, advisories]
}

fn impossible(name: &str, why: String) -> Step {
    Step { name: name.into(), alone: String::new(), counts: Counts::Itself, work: Work::Impossible(why) }
}

/// The crates that claim to need no machine, built for one that has nothing. `arrows` sees to it that none of what they
/// use has its standard library switched on.
fn no_std(workspace: &Workspace) -> Step {
    let packages: Vec<_> = NO_STD.iter().filter(|name| workspace.package(name).is_some()).collect();
    let mut alone = format!("cargo check --target {WASM}");
    let work = match cargo_for(WASM, "check") {
        Ok(mut command) => {
            for name in packages {
                command.args(["-p", name]);
                alone.push_str(&format!(" -p {name}"));
            }
            command.env("CARGO_TERM_COLOR", colour());
            Work::Quiet(vec![command])
        }
        Err(trouble) => Work::Impossible(trouble.to_string()),
    };
    Step { name: "no_std".into(), alone, counts: Counts::Itself, work }
}

/// The steps run in the root: a path among the arguments starts there.
fn cargo_step(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Step {
    let mut command = cargo();
    command.args(arguments).envs(environment.iter().copied()).env("CARGO_TERM_COLOR", colour());
    let set: String = environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    Step {
        name: name.into(),
        alone: format!("{set}cargo {}", arguments.join(" ")),
        counts: Counts::Itself,
        work: Work::Quiet(vec![command]),
    }
}

fn look(name: &str, alone: &str, work: impl FnOnce() -> Result<(), Trouble> + 'static) -> Step {
    Step { name: name.into(), alone: alone.into(), counts: Counts::Itself, work: Work::Look(Box::new(work)) }
}

/// What cargo is told, because its output goes through a file.
pub(crate) fn colour() -> &'static str {
    if in_colour() { "always" } else { "never" }
}
