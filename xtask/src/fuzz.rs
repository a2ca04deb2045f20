//! `cargo xtask fuzz`: the targets of tests/fuzz under libFuzzer.
//!
//! Here: building the engine so that it sees which branches an input takes, how long each target runs and in which folders, and
//! what came of it. Not here: the targets and what has to hold of them (`tests/fuzz`), and running what is kept of them without
//! an engine (an ordinary test).
//!
//! libFuzzer is C++, so it has a workspace of its own (tests/fuzz/engine): nobody who doesn't fuzz builds it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::dist::Output;
use crate::setup::{self, Need};
use crate::steps::{run_for_at_most, run_long};
use crate::toolchain;
use crate::trouble::Trouble;
use crate::workspace::{Workspace, cargo};

/// The engine's workspace, from the root.
const ENGINE: &str = "tests/fuzz/engine/Cargo.toml";
/// What is kept for everybody, a folder for each target.
const KEPT: &str = "tests/fuzz/corpus";

/// What the engine is told by: a target's name, or that it is to list them; and where to put what a target begins with.
const TARGET: &str = "BACKSTAY_FUZZ";
const LIST: &str = "list";
const SEEDS: &str = "BACKSTAY_FUZZ_SEEDS";

/// LLVM counts each edge between two blocks, and shows what is compared with what. `-C` options all: the compiler in use is
/// stable, and so are they.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// All targets together, if nothing else is said.
const MINUTES: u32 = 5;
/// As long as a week: more is a slip of the finger.
const MINUTES_MAX: u32 = 7 * 24 * 60;
/// How long one input may take, in seconds, and how much memory the whole process: then that is what was found.
const INPUT_SECS_MAX: u32 = 10;
const MEMORY_MB_MAX: u32 = 1024;
/// What a run may take beyond its time: reading what is there, and one input.
const GRACE: Duration = Duration::from_secs(120);
/// The longest that choosing what is kept may take.
const CHOOSING_MAX: Duration = Duration::from_secs(10 * 60);
/// The most bytes that are kept of one target by `--keep`, beside what was found by name.
const KEPT_BYTES_MAX: u64 = 12 * 1024;
/// The most files of them.
const KEPT_FILES_MAX: usize = 48;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// None: all.
    pub(crate) targets: Vec<String>,
    pub(crate) minutes: u32,
    pub(crate) seed: u32,
    /// Whether what covers most is kept in the tree.
    pub(crate) keep: bool,
    /// One input, once, instead.
    pub(crate) input: Option<PathBuf>,
    pub(crate) output: Output,
}

impl Default for Wish {
    fn default() -> Self {
        let (targets, input) = (Vec::new(), None);
        Self { targets, minutes: MINUTES, seed: 1, keep: false, input, output: Output::Table }
    }
}

impl Wish {
    /// Minutes as they are written.
    pub(crate) fn minutes(text: &str) -> Result<u32, String> {
        let minutes = text.parse().ok().filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
        minutes.ok_or_else(|| format!("--minutes is 1 to {MINUTES_MAX}, and not {text}"))
    }

    /// A seed as it is written.
    pub(crate) fn seed(text: &str) -> Result<u32, String> {
        // To libFuzzer, 0 means one by the clock.
        let seed = text.parse().ok().filter(|seed| *seed > 0);
        seed.ok_or_else(|| format!("--seed is 1 to {}, and not {text}", u32::MAX))
    }
}

/// A target as the engine lists it.
#[derive(Debug)]
struct Target {
    name: String,
    bytes_max: usize,
}

/// What came of one target.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    target: String,
    executions: u64,
    per_second: u64,
    /// Edges that some input takes.
    edges: u64,
    /// Inputs that each take something new.
    inputs: u64,
    /// Where what broke it is, and what it said.
    crash: Option<(PathBuf, String)>,
}

/// Builds the engine, and runs the targets one after the other.
pub(crate) fn run(workspace: &Workspace, wish: &Wish) -> Result<(), Trouble> {
    let engine = build(workspace)?;
    let targets = chosen(&engine, &wish.targets)?;
    if let Some(input) = &wish.input {
        return once(&engine, &targets, input);
    }
    let seconds = (u64::from(wish.minutes) * 60 / targets.len() as u64).max(1);
    let mut all = Vec::new();
    for target in &targets {
        let places = Places::of(workspace, target)?;
        eprintln!("fuzz: {} for {seconds} s", target.name);
        let came = fuzz(&engine, target, &places, wish.seed, seconds)?;
        if wish.keep && came.crash.is_none() {
            keep(&engine, target, &places)?;
        }
        all.push(came);
    }
    match wish.output {
        Output::Table => println!("{}", table(&all)),
        Output::Json => println!("{:#}", told(&all, wish.seed)),
    }
    let broken: Vec<_> = all.iter().filter_map(|came| Some((came, came.crash.as_ref()?))).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let (mut why, mut help) = (String::new(), String::new());
    for (came, (input, said)) in broken {
        let _ = writeln!(why, "{}: {said}", came.target);
        let _ = writeln!(help, "cargo xtask fuzz {} --input {}", came.target, input.display());
    }
    Err(Trouble::new("an input broke what has to hold").why(why).help(help))
}

fn build(workspace: &Workspace) -> Result<PathBuf, Trouble> {
    setup::ensure(Need::CompilerOfCpp)?;
    let (host, folder) = (toolchain::host()?, workspace.target.join("fuzz/build"));
    let mut command = cargo();
    // With the target spelled out, what runs in the build isn't counted along.
    command.args(["build", "--release", "--manifest-path", ENGINE, "--target", host, "--target-dir"]);
    command.arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"));
    run_long(&mut command, "build the engine")?;
    Ok(folder.join(host).join("release/fuzz"))
}

fn chosen(engine: &Path, names: &[String]) -> Result<Vec<Target>, Trouble> {
    let failed = || Trouble::new("cannot ask the engine for its targets");
    let output = Command::new(engine).env(TARGET, LIST).stdin(Stdio::null()).output();
    let output = output.map_err(|why| failed().why(why))?;
    let known = listed(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() || known.is_empty() {
        return Err(failed().why(String::from_utf8_lossy(&output.stderr)));
    }
    let known_names: Vec<_> = known.iter().map(|target| target.name.clone()).collect();
    if let Some(unknown) = names.iter().find(|name| !known_names.contains(name)) {
        let help = format!("there are: {}", known_names.join(", "));
        return Err(Trouble::new(format!("there is no target {unknown}")).help(help));
    }
    // One is there to show that what is planted is found, and is run only by its name.
    let is_meant = |target: &Target| match names {
        [] => target.name != "planted",
        names => names.contains(&target.name),
    };
    Ok(known.into_iter().filter(is_meant).collect())
}

/// `name bytes`, a line each.
fn listed(told: &str) -> Vec<Target> {
    let target = |line: &str| {
        let (name, bytes) = line.split_once(' ')?;
        Some(Target { name: name.into(), bytes_max: bytes.parse().ok()? })
    };
    told.lines().filter_map(target).collect()
}

/// Where what belongs to a target is.
struct Places {
    /// What was found by now, on this machine.
    corpus: PathBuf,
    /// What the target begins with.
    seeds: PathBuf,
    /// What is kept in the tree.
    kept: PathBuf,
    /// What broke it.
    crashes: PathBuf,
    /// What the engine said last.
    log: PathBuf,
    /// Where what is to be kept is chosen.
    choice: PathBuf,
}

impl Places {
    fn of(workspace: &Workspace, target: &Target) -> Result<Self, Trouble> {
        let folder = workspace.target.join("fuzz").join(&target.name);
        let places = Self {
            corpus: folder.join("corpus"),
            seeds: folder.join("seeds"),
            kept: Path::new(KEPT).join(&target.name),
            crashes: folder.join("crashes"),
            log: folder.join("log"),
            choice: folder.join("choice"),
        };
        for stale in [&places.seeds, &places.choice] {
            // What isn't there needn't go.
            let _ = fs::remove_dir_all(stale);
        }
        let all = [&places.corpus, &places.seeds, &places.crashes, &places.choice];
        all.into_iter().try_for_each(fs::create_dir_all).map_err(|why| {
            Trouble::new(format!("cannot make the folders of target {}", target.name)).why(why)
        })?;
        Ok(places)
    }
}

/// Runs one target for its time, or until something breaks it.
fn fuzz(engine: &Path, target: &Target, places: &Places, seed: u32, seconds: u64) -> Result<Came, Trouble> {
    let mut command = Command::new(engine);
    command.args([&places.corpus, &places.seeds]);
    // Of what was planted nothing is kept.
    command.args(Some(&places.kept).filter(|kept| kept.is_dir()));
    command.arg(format!("-seed={seed}")).arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", places.crashes.display()));
    let most = Duration::from_secs(seconds) + GRACE;
    let went_well = start(&mut command, target, &places.seeds, &places.log, most)?;
    let log = fs::read(&places.log).map_err(|why| unreadable(&places.log, why))?;
    let mut came = read(&target.name, &String::from_utf8_lossy(&log));
    if !went_well && came.crash.is_none() {
        return Err(Trouble::new(format!("target {} did not run", target.name))
            .why(last_lines(&String::from_utf8_lossy(&log))));
    }
    if went_well {
        came.crash = None;
    }
    Ok(came)
}

/// Starts the engine on a target, with the bounds that each run has. Says whether it ended well.
fn start(
    command: &mut Command,
    target: &Target,
    seeds: &Path,
    log: &Path,
    most: Duration,
) -> Result<bool, Trouble> {
    let failed = || Trouble::new(format!("cannot run target {}", target.name));
    let file = File::create(log).map_err(|why| unreadable(log, why))?;
    command
        .env(TARGET, &target.name)
        .env(SEEDS, seeds)
        .args([format!("-max_len={}", target.bytes_max), format!("-timeout={INPUT_SECS_MAX}")])
        .args([format!("-rss_limit_mb={MEMORY_MB_MAX}"), "-print_final_stats=1".into()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file);
    run_for_at_most(most, command).map(|status| status.success()).map_err(|why| failed().why(why))
}

/// What the engine said of a run.
fn read(target: &str, log: &str) -> Came {
    let last = |word: &str| {
        let number = |line: &str| line.split_once(word)?.1.split_whitespace().next()?.parse().ok();
        log.lines().rev().find_map(number).unwrap_or(0)
    };
    // `corp: 12/345b`: inputs, and their bytes.
    let inputs = |line: &str| line.split_once("corp: ")?.1.split('/').next()?.parse().ok();
    let said = || {
        let mut lines = log.lines().skip_while(|line| !line.contains("panicked at"));
        let place = lines.next().and_then(|line| Some(line.split_once("panicked at ")?.1))?;
        Some(format!("{} {}", place, lines.next().unwrap_or_default()))
    };
    let summary = || log.lines().rev().find_map(|line| line.strip_prefix("SUMMARY: ")).map(str::to_owned);
    let artifact =
        log.lines().rev().find_map(|line| line.split_once("Test unit written to ").map(|(_, file)| file));
    Came {
        target: target.into(),
        executions: last("stat::number_of_executed_units:"),
        per_second: last("stat::average_exec_per_sec:"),
        edges: last("cov: "),
        inputs: log.lines().rev().find_map(inputs).unwrap_or(0),
        crash: artifact.map(|file| (file.into(), said().or_else(summary).unwrap_or_default())),
    }
}

/// Chooses few inputs that take all that is taken by what was found, and keeps some of each length in the tree in place of those
/// before. What has a name of its own was found once, and stays.
fn keep(engine: &Path, target: &Target, places: &Places) -> Result<(), Trouble> {
    fs::create_dir_all(&places.kept).map_err(|why| unreadable(&places.kept, why))?;
    let mut command = Command::new(engine);
    command.args([&places.choice, &places.seeds, &places.kept, &places.corpus]).arg("-set_cover_merge=1");
    if !start(&mut command, target, &places.choice, &places.log, CHOOSING_MAX)? {
        let log = fs::read(&places.log).map_err(|why| unreadable(&places.log, why))?;
        return Err(Trouble::new(format!("cannot choose what is kept of target {}", target.name))
            .why(last_lines(&String::from_utf8_lossy(&log))));
    }
    let chosen = files(&places.choice)?;
    for (file, _) in files(&places.kept)? {
        if is_a_digest(&file) {
            fs::remove_file(&file).map_err(|why| unreadable(&file, why))?;
        }
    }
    let chosen: Vec<_> = chosen.into_iter().filter(|(file, _)| is_a_digest(file)).collect();
    // The shortest alone would come no further than the door.
    let each = chosen.len().div_ceil(KEPT_FILES_MAX).max(1);
    let mut bytes = 0;
    for (file, length) in chosen.into_iter().step_by(each) {
        bytes += length;
        if bytes > KEPT_BYTES_MAX {
            break;
        }
        if let Some(name) = file.file_name() {
            fs::copy(&file, places.kept.join(name)).map_err(|why| unreadable(&file, why))?;
        }
    }
    Ok(())
}

/// The files of a folder with their lengths, the shortest first.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>, Trouble> {
    let all = || -> io::Result<Vec<(PathBuf, u64)>> {
        fs::read_dir(folder)?
            .map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len()))))
            .collect()
    };
    let mut all = all().map_err(|why| unreadable(folder, why))?;
    all.sort_by(|(one, length), (other, others)| (length, one).cmp(&(others, other)));
    Ok(all)
}

/// What libFuzzer calls a file: the SHA-1 digest of what is in it.
fn is_a_digest(file: &Path) -> bool {
    let name = file.file_name().map(OsString::from).unwrap_or_default();
    name.len() == 40 && name.to_string_lossy().bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One input once more, with all that it says.
fn once(engine: &Path, targets: &[Target], input: &Path) -> Result<(), Trouble> {
    let [target] = targets else {
        return Err(Trouble::new("an input is of one target").help("cargo xtask fuzz TARGET --input FILE"));
    };
    let mut command = Command::new(engine);
    command.env(TARGET, &target.name).arg(input).arg(format!("-timeout={INPUT_SECS_MAX}"));
    let status = run_for_at_most(GRACE, command.stdin(Stdio::null()));
    let failed =
        || Trouble::new(format!("{} breaks what has to hold of target {}", input.display(), target.name));
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(failed().why("what it said is above").help(format!(
            "mend it, and keep the input under a name that says what it found: {KEPT}/{}/",
            target.name
        ))),
        Err(why) => Err(failed().why(why)),
    }
}

fn unreadable(path: &Path, why: io::Error) -> Trouble {
    Trouble::new(format!("cannot work with {}", path.display())).why(why)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn table(all: &[Came]) -> String {
    let mut table = format!(
        "{:<14} {:>12} {:>9} {:>7} {:>7} {:>7}\n",
        "target", "executions", "exec/s", "edges", "inputs", "crashes"
    );
    for came in all {
        let Came { target, executions, per_second, edges, inputs, crash } = came;
        let crashes = usize::from(crash.is_some());
        let _ = writeln!(
            table,
            "{target:<14} {executions:>12} {per_second:>9} {edges:>7} {inputs:>7} {crashes:>7}"
        );
    }
    let executions: u64 = all.iter().map(|came| came.executions).sum();
    let crashes = all.iter().filter(|came| came.crash.is_some()).count();
    let _ = write!(table, "{:<14} {executions:>12} {:>9} {:>7} {:>7} {crashes:>7}", "all", "", "", "");
    table
}

fn told(all: &[Came], seed: u32) -> serde_json::Value {
    let targets: Vec<_> = all
        .iter()
        .map(|came| {
            let (input, said) = came.crash.clone().unzip();
            json!({
                "target": came.target,
                "executions": came.executions,
                "executions_per_second": came.per_second,
                "edges": came.edges,
                "inputs": came.inputs,
                "crash": input,
                "said": said,
            })
        })
        .collect();
    json!({ "seed": seed, "targets": targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libFuzzer 18 writes it, shortened.
    const WELL: &str = "\
#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb
#688181\tDONE   cov: 263 ft: 801 corp: 71/5231b lim: 2048 exec/s: 76464 rss: 60Mb
Done 688181 runs in 9 second(s)
stat::number_of_executed_units: 688181
stat::average_exec_per_sec:     76464
stat::peak_rss_mb:              60
";
    const BROKEN: &str = "\
#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb
#9\tNEW    cov: 14 ft: 15 corp: 2/9b lim: 4 exec/s: 0 rss: 41Mb
thread '<unnamed>' (1) panicked at runtime/evidence/src/chain.rs:145:72:
attempt to add with overflow
SUMMARY: libFuzzer: deadly signal
artifact_prefix='target/'; Test unit written to target/fuzz/records/crashes/crash-01
stat::number_of_executed_units: 143869
stat::average_exec_per_sec:     47956
";

    #[test]
    fn what_the_engine_says_is_read() {
        let came = read("bundle", WELL);
        assert_eq!((came.executions, came.per_second, came.edges, came.inputs), (688_181, 76_464, 263, 71));
        assert_eq!(came.crash, None);
        let came = read("records", BROKEN);
        let said = "runtime/evidence/src/chain.rs:145:72: attempt to add with overflow".to_owned();
        assert_eq!((came.executions, came.edges, came.inputs), (143_869, 14, 2));
        assert_eq!(came.crash, Some(("target/fuzz/records/crashes/crash-01".into(), said)));
        let slow = BROKEN.replace("panicked", "stood").replace("deadly signal", "timeout");
        assert_eq!(read("records", &slow).crash.unwrap().1, "libFuzzer: timeout");
    }

    #[test]
    fn a_table_tells_each_target_and_all_of_them() {
        let table = table(&[read("bundle", WELL), read("records", BROKEN)]);
        let lines: Vec<_> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "target executions exec/s edges inputs crashes",
                "bundle 688181 76464 263 71 0",
                "records 143869 47956 14 2 1",
                "all 832050 1",
            ]
        );
        assert_eq!(told(&[read("records", BROKEN)], 7)["targets"][0]["executions"], 143_869);
    }

    #[test]
    fn only_what_libfuzzer_named_is_replaced() {
        assert!(is_a_digest(Path::new("corpus/records/c786df06b4c8ac425b50f47bb5d7a09199633c91")));
        assert!(!is_a_digest(Path::new("corpus/records/the-last-sequence-there-is")));
        assert!(!is_a_digest(Path::new("seeds/seed-01")));
    }

    #[test]
    fn targets_are_listed_with_their_longest_input() {
        let listed = listed("answers 2048\nbundle 2048\nnot a target\n");
        assert_eq!(
            listed.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(),
            ["answers", "bundle"]
        );
    }

    #[test]
    fn times_and_seeds_have_bounds() {
        assert_eq!(Wish::minutes("20"), Ok(20));
        assert_eq!(Wish::minutes("0").unwrap_err(), "--minutes is 1 to 10080, and not 0");
        assert_eq!(Wish::seed("7"), Ok(7));
        assert!(Wish::seed("0").is_err() && Wish::seed("x").is_err());
    }
}
