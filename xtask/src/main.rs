//! `cargo xtask`: everything that is done with this tree, behind one command.
//!
//! Here: the command line, its help, and the exit code. Not here: what the commands do; each has a file of its name.
//! Nothing here asks a question: what is missing is put in place or told.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test"))]

mod arrows;
mod bench;
mod check;
mod deb;
mod demo;
mod device;
mod dist;
mod fuzz;
mod image;
mod install;
mod k8s;
mod lab;
mod mutants;
mod package;
mod plugins;
mod programs;
#[cfg(test)]
mod recipes;
mod sbom;
mod setup;
mod signature;
mod sim;
mod steps;
mod suite;
mod toolchain;
mod tree;
mod trouble;
#[cfg(test)]
mod units;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;

use crate::bench::Request;
use crate::dist::Output;
use crate::programs::Profile;
use crate::steps::Tally;
use crate::trouble::Trouble;
use crate::workspace::Workspace;

const HELP: &str = "\
cargo xtask COMMAND: everything that is done with this tree

Start with one of these two; they put in place what is missing, and tell what they do:
  demo [--devices N] [...]     a fleet on this machine: a bad release goes out and comes home (about 2 min)
  test [TIER [--allow-missing]]
                               all tests of the pipeline; a TIER is a folder of tests/ and runs its long form

While you work:
  check [--supply-chain]       formatting, lints, arrows, the tree, no_std builds, documentation
  arrows                       who may depend on whom, compared with what cargo says
  build [--release]            the programs and the plugins, into target/programs and target/plugins
  plugins                      the plugins alone
  rerun                        what makes recorded calls again on aarch64, under qemu, beside the programs (docs/replay.md)
  setup [--check]              tools and targets; --check only looks
  sim [--seeds N] [--devices D] [--days T] [--seed S] [--output json]
                               fleets in virtual time with faults, held against the invariants; `sim --help`
  lab [--story NAME...] [cuts] 64-bit ARM boards in QEMU, from the boot loader to the server; `lab --help`
  fuzz [TARGET...] [--minutes M] [--seed S] [--keep] [--output json]
                               inputs made up for what reads foreign bytes (tests/fuzz), 5 min in all; --input FILE runs one again
  mutants [--shard K/N] [--only REGEX...] [--output json]
                               the core broken at each tenth place (or each N-th, or where REGEX fits), and whether the simulation
                               and the stories notice; 95 % is the least (docs/faults.md). It goes on where it was broken off
  k8s up|down                  a Kubernetes control plane on this machine (Go builds it: 10 to 20 min the first time)

To measure and to ship:
  bench [NAME... [OPTION...]]  the measurements of tests/bench; without a name it lists them
  dist [TARGET...] [--key FILE] [--output json]
                               what devices run, for x86_64 and aarch64, stripped, and as an archive; the agent is held against
                               4 MB on aarch64
  dist --server [TARGET...] [--key FILE] [--output json]
                               the server with its plugins' components, scripts and chart, in one archive for each CPU
  deb [--try] [--key FILE]     the agents in target/dist as Debian packages; --try installs, upgrades, removes and purges them
  image [--bundles FOLDER] [--helm FILE]
                               the server's images for a cluster, from nothing that is pulled (buildah, podman or docker)

Exit code: 0 it is so; 1 something failed; 64 the command line is wrong.";

/// As in BSD's sysexits: the command was used incorrectly.
const EXIT_USAGE: u8 = 64;

/// One command with its arguments, read whole before anything is done.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Setup {
        only_look: bool,
    },
    /// Where what a tier needs can't be had, its tests are told as skipped if that is allowed.
    Test {
        tier: Option<String>,
        allow_missing: bool,
    },
    Check {
        supply_chain: bool,
    },
    Arrows,
    Build(Profile),
    Plugins,
    Rerun,
    Demo {
        arguments: Vec<OsString>,
    },
    Bench(Request),
    Dist {
        /// The server, and not the agent.
        server: bool,
        targets: Vec<String>,
        /// What the checksums are signed with.
        key: Option<PathBuf>,
        output: Output,
    },
    /// Debian packages of the agents that are there.
    Deb {
        key: Option<PathBuf>,
        try_out: bool,
    },
    Image(image::Wish),
    Fuzz(fuzz::Wish),
    Mutants(mutants::Wish),
    /// A test program, by what tries mutants on it.
    UntilATestFails {
        words: Vec<OsString>,
    },
    K8s(k8s::Wish),
    Lab {
        arguments: Vec<OsString>,
    },
    Sim {
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let task = match parse(lexopt::Parser::from_env()) {
        Ok(task) => task,
        Err(why) => {
            eprintln!("error: {why}\n  help: `cargo xtask --help` shows all commands");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match perform(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("error: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: lexopt::Parser) -> Result<Task, lexopt::Error> {
    let name = match words.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(Task::Help),
        Some(Value(name)) => name.string()?,
        Some(Short(_) | Long(_)) => return Err("the command comes first, its options after it".into()),
    };
    // The demo, the lab, the simulation and each measurement have a command line of their own.
    if name == "demo" {
        return Ok(Task::Demo { arguments: words.raw_args()?.collect() });
    }
    if name == "lab" {
        return Ok(Task::Lab { arguments: words.raw_args()?.collect() });
    }
    if name == "sim" {
        return Ok(Task::Sim { arguments: words.raw_args()?.collect() });
    }
    if name == mutants::runner::COMMAND {
        return Ok(Task::UntilATestFails { words: words.raw_args()?.collect() });
    }
    if name == "bench" {
        let request = Request::of(words.raw_args()?);
        let asks = |word: &OsString| word == "--help" || word == "-h";
        let help = request.names.is_empty() && request.arguments.iter().any(asks);
        return match request.arguments.first() {
            _ if help => Ok(Task::Help),
            Some(option) if request.names.is_empty() => {
                Err(format!("bench has no option {}", option.to_string_lossy()).into())
            }
            _ => Ok(Task::Bench(request)),
        };
    }
    let (mut flags, mut values, mut output, mut key) = (Vec::new(), Vec::new(), None, None);
    let (mut wish, mut fuzzing) = (image::Wish::default(), fuzz::Wish::default());
    let mut breaking = mutants::Wish::default();
    while let Some(word) = words.next()? {
        match word {
            Short('h') | Long("help") if name == "k8s" => return Ok(Task::K8s(k8s::Wish::Help)),
            Short('h') | Long("help") => return Ok(Task::Help),
            Long("output") if name == "dist" || name == "fuzz" || name == "mutants" => {
                output = Some(match words.value()?.string()?.as_str() {
                    "table" => Output::Table,
                    "json" => Output::Json,
                    other => return Err(format!("--output is table or json, and not {other}").into()),
                });
            }
            Long("key") if name == "dist" || name == "deb" => key = Some(PathBuf::from(words.value()?)),
            Long("minutes") if name == "fuzz" => {
                fuzzing.minutes = fuzz::Wish::minutes(&words.value()?.string()?)?
            }
            Long("seed") if name == "fuzz" => fuzzing.seed = fuzz::Wish::seed(&words.value()?.string()?)?,
            Long("input") if name == "fuzz" => fuzzing.input = Some(PathBuf::from(words.value()?)),
            Long("shard") if name == "mutants" => {
                breaking.shard = mutants::Wish::shard(&words.value()?.string()?)?;
            }
            Long("only") if name == "mutants" => breaking.only.push(words.value()?.string()?),
            Long("bundles") if name == "image" => wish.bundles = Some(words.value()?),
            Long("helm") if name == "image" => wish.helm = Some(words.value()?),
            Long(flag) => flags.push(flag.to_owned()),
            Short(_) => return Err(word.unexpected()),
            Value(value) => values.push(value.string()?),
        }
    }
    let mut flag = |name: &str| {
        let before = flags.len();
        flags.retain(|flag| flag != name);
        before != flags.len()
    };
    let task = match name.as_str() {
        "help" => Task::Help,
        "setup" => Task::Setup { only_look: flag("check") },
        "test" => Task::Test { tier: values.pop(), allow_missing: flag("allow-missing") },
        "k8s" => Task::K8s(k8s::Wish::parse(values.pop().as_deref())?),
        "check" => Task::Check { supply_chain: flag("supply-chain") },
        "arrows" => Task::Arrows,
        "build" => Task::Build(if flag("release") { Profile::Release } else { Profile::Dev }),
        "plugins" => Task::Plugins,
        "rerun" => Task::Rerun,
        "dist" => Task::Dist {
            server: flag("server"),
            targets: std::mem::take(&mut values),
            key,
            output: output.unwrap_or(Output::Table),
        },
        "deb" => Task::Deb { key, try_out: flag("try") },
        "fuzz" => Task::Fuzz(fuzz::Wish {
            targets: std::mem::take(&mut values),
            keep: flag("keep"),
            output: output.unwrap_or(Output::Table),
            ..fuzzing
        }),
        "mutants" => Task::Mutants(mutants::Wish { output: output.unwrap_or(Output::Table), ..breaking }),
        "image" => Task::Image(wish),
        _ => return Err(format!("there is no command {name}").into()),
    };
    match (flags.first(), values.first()) {
        (Some(flag), _) => Err(format!("{name} has no option --{flag}").into()),
        (None, Some(value)) => Err(format!("{name} doesn't know what to do with {value}").into()),
        (None, None) => Ok(task),
    }
}

fn perform(task: Task) -> Result<(), Trouble> {
    let workspace = || {
        let workspace = Workspace::read()?;
        // `cargo xtask` may be called from any folder of the tree; commands and paths start at its root.
        env::set_current_dir(&workspace.root)
            .map_err(|why| Trouble::new(format!("cannot go to {}", workspace.root.display())).why(why))?;
        Ok::<_, Trouble>(workspace)
    };
    match task {
        Task::Help => println!("{HELP}"),
        Task::Setup { only_look } => setup::setup(only_look)?,
        Task::Test { tier, allow_missing } => {
            pass(&suite::run(workspace()?, tier.as_deref(), allow_missing)?)?;
        }
        Task::K8s(wish) => k8s::run(&workspace()?, wish)?,
        Task::Lab { arguments } => lab::run(&workspace()?, &arguments)?,
        Task::Sim { arguments } => sim::run(&workspace()?, &arguments)?,
        Task::Check { supply_chain } => pass(&check::run(workspace()?, supply_chain)?)?,
        Task::Arrows => {
            let workspace = workspace()?;
            arrows::check(&workspace)?;
            arrows::check_trees(&workspace)?;
            println!("all arrows of {} packages are in the table", workspace.packages.len());
        }
        Task::Build(profile) => {
            let workspace = workspace()?;
            plugins::build(&workspace)?;
            println!("{}", programs::build(&workspace, profile)?.display());
        }
        Task::Plugins => {
            let workspace = workspace()?;
            for component in plugins::build(&workspace)? {
                println!("{:>9} bytes  {}", component.bytes, component.file.display());
            }
        }
        Task::Rerun => println!("{}", dist::build_rerun(&workspace()?)?.display()),
        Task::Demo { arguments } => demo::run(&workspace()?, &arguments)?,
        Task::Bench(request) => bench::run(&workspace()?, &request)?,
        Task::Dist { server, targets, key, output } => {
            let key = from_here(key)?;
            let run = if server { package::run } else { dist::run };
            run(&workspace()?, &targets, key.as_deref(), output)?;
        }
        Task::Deb { key, try_out } => {
            let key = from_here(key)?;
            deb::run(&workspace()?, key.as_deref(), try_out)?;
        }
        Task::Fuzz(wish) => {
            let input = from_here(wish.input)?;
            fuzz::run(&workspace()?, &fuzz::Wish { input, ..wish })?;
        }
        Task::Mutants(wish) => mutants::run(&workspace()?, &wish)?,
        Task::UntilATestFails { words } => mutants::runner::run(&words)?,
        Task::Image(wish) => image::run(&workspace()?, &wish)?,
    }
    Ok(())
}

/// A path as it was meant: from where the command was called.
fn from_here(path: Option<PathBuf>) -> Result<Option<PathBuf>, Trouble> {
    path.map(std::path::absolute)
        .transpose()
        .map_err(|why| Trouble::new("cannot tell which folder this is").why(why))
}

/// The summary has been told already; what remains is the exit code, and one sentence.
fn pass(tally: &Tally) -> Result<(), Trouble> {
    if tally.failed == 0 { Ok(()) } else { Err(Trouble::new("not everything passed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        parse(lexopt::Parser::from_args(line.split_whitespace())).map_err(|why| why.to_string())
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        let commands = HELP.lines().filter_map(|line| line.strip_prefix("  "));
        let mut seen = 0;
        for name in commands.filter_map(|line| line.split(' ').next().filter(|name| !name.is_empty())) {
            assert!(read(name).is_ok(), "{name}");
            seen += 1;
        }
        assert_eq!(seen, 18);
    }

    #[test]
    fn a_mistake_is_told_before_anything_is_done() {
        assert_eq!(read("tset").unwrap_err(), "there is no command tset");
        assert_eq!(read("build --relaese").unwrap_err(), "build has no option --relaese");
        assert_eq!(read("check everything").unwrap_err(), "check doesn't know what to do with everything");
        assert_eq!(read("--release build").unwrap_err(), "the command comes first, its options after it");
    }

    #[test]
    fn options_and_names_reach_their_command() {
        assert_eq!(read(""), Ok(Task::Help));
        assert_eq!(read("build --release"), Ok(Task::Build(Profile::Release)));
        let test = |allow_missing| Ok(Task::Test { tier: Some("k8s".into()), allow_missing });
        assert_eq!((read("test k8s"), read("test k8s --allow-missing")), (test(false), test(true)));
        assert_eq!(read("k8s up"), Ok(Task::K8s(k8s::Wish::Up)));
        assert_eq!(read("k8s sideways").unwrap_err(), "k8s is up or down, and not sideways");
        let bench = |names: &[&str], arguments: &[&str]| {
            let names = names.iter().map(|&name| name.into()).collect();
            Ok(Task::Bench(Request { names, arguments: arguments.iter().map(Into::into).collect() }))
        };
        assert_eq!(read("bench a b"), bench(&["a", "b"], &[]));
        assert_eq!(read("bench a --help"), bench(&["a"], &["--help"]));
        assert_eq!(read("bench --help"), Ok(Task::Help));
        assert_eq!(read("bench --fast").unwrap_err(), "bench has no option --fast");
        let dist = |targets, output| Ok(Task::Dist { server: false, targets, key: None, output });
        assert_eq!(read("dist"), dist(vec![], Output::Table));
        assert_eq!(read("dist a --output json"), dist(vec!["a".into()], Output::Json));
        let server = Task::Dist {
            server: true,
            targets: vec!["a".into()],
            key: Some("k".into()),
            output: Output::Table,
        };
        assert_eq!(read("dist --server --key k a"), Ok(server));
        assert_eq!(read("deb --try"), Ok(Task::Deb { key: None, try_out: true }));
        assert_eq!(read("image --key k").unwrap_err(), "image has no option --key");
        let fuzzing = |targets: &[&str], minutes, seed| {
            let targets = targets.iter().map(|&target| target.into()).collect();
            Ok(Task::Fuzz(fuzz::Wish { targets, minutes, seed, ..fuzz::Wish::default() }))
        };
        assert_eq!(read("fuzz"), fuzzing(&[], 5, 1));
        assert_eq!(read("fuzz journal http --minutes 20 --seed 7"), fuzzing(&["journal", "http"], 20, 7));
        assert_eq!(read("fuzz --minutes soon").unwrap_err(), "--minutes is 1 to 10080, and not soon");
        assert_eq!(read("test --minutes 1").unwrap_err(), "test has no option --minutes");
        let wish = image::Wish { bundles: Some("b".into()), helm: None };
        assert_eq!(read("image --bundles b"), Ok(Task::Image(wish)));
        assert_eq!(read("image --bundle b").unwrap_err(), "image has no option --bundle");
        assert_eq!(read("dist --output yaml").unwrap_err(), "--output is table or json, and not yaml");
        let arguments = vec!["--devices".into(), "200".into()];
        assert_eq!(read("demo --devices 200"), Ok(Task::Demo { arguments }));
        let arguments = vec!["cuts".into(), "--count".into(), "9".into()];
        assert_eq!(read("lab cuts --count 9"), Ok(Task::Lab { arguments }));
        let arguments = vec!["--seeds".into(), "9".into()];
        assert_eq!(read("sim --seeds 9"), Ok(Task::Sim { arguments }));
    }
}
