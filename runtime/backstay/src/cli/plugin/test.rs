//! `backstay plugin test`: a vendor's vectors, what any plugin has to stand, and the same answers on every machine.
//!
//! The report is bound to the component by its digest: it says nothing of any other. Not here: the cases (`kit`), and
//! what a component imports and how large it is (`check`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_host::{Engine, Machine, world_executor};
use backstay_kit::{
    Answers, Call, Came, CaseCame, CaseReport, Conditions, Done, For, Job, Kind, Settings, Shelf, Trial,
    Tried, UNKNOWN_PLAYBOOK, Vector, Work, conformance, judging,
};
use backstay_model::{Digest, Name};
use backstay_trust::{EffectKind, Keyring, Limits, Permissions};
use clap::Args;
use serde::Serialize;

use super::{COMPONENT_BYTES_MAX, manifest::Manifest};
use crate::{
    Desk, Exit, Failure,
    elsewhere::{self, Elsewhere, Place},
    file,
    table::Table,
    text,
};

/// The largest vector, in bytes.
const VECTOR_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The portable component
    pub(super) component: PathBuf,
    /// What the vendor says of it; what it names under "permissions" it is granted
    #[arg(long, value_name = "FILE", default_value = "manifest.toml")]
    pub(super) manifest: PathBuf,
    /// A vector, or a folder of them; the folder "tests" beside the manifest if it is left out
    #[arg(long, value_name = "FILE|FOLDER")]
    pub(super) vectors: Option<PathBuf>,
    /// A playbook that it is asked to heal by; the commands under "permissions" if it is left out
    #[arg(long, value_name = "NAME")]
    pub(super) playbook: Vec<Name>,
    /// Facts for policies are made by dice from this
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// So many facts are made, at most 100000
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) facts: u32,
    /// Where the report goes, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
}

/// What all of it came to.
#[derive(Debug, Serialize)]
struct Report {
    component: Digest,
    bytes: usize,
    plugin: String,
    version: String,
    world: String,
    tool: &'static str,
    passed: bool,
    calls: usize,
    vectors: Vec<VectorReport>,
    cases: Vec<CaseReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Answers>,
    determinism: Vec<Same>,
}

#[derive(Debug, Serialize)]
struct VectorReport {
    file: String,
    name: String,
    /// None: as it was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<String>,
}

/// Whether the same calls come to the same at a place.
#[derive(Debug, Serialize)]
struct Same {
    engine: String,
    calls: usize,
    #[serde(flatten)]
    came: SameCame,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "came", content = "why")]
enum SameCame {
    Equal,
    Different(String),
    Skipped(String),
}

impl Test {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let component = file::read(&self.component, COMPONENT_BYTES_MAX)?;
        let manifest = Manifest::read(&self.manifest)?;
        let identity = manifest.identity(&self.manifest)?;
        let limits = manifest.limits(Limits::DEFAULT);
        // Asked to heal by what nobody has, an executor may run it: then it is told that there is no such command.
        let mut permissions = manifest.permissions();
        if identity.wants.contains(&EffectKind::Run) {
            permissions.commands.push(
                Name::parse(UNKNOWN_PLAYBOOK).map_err(|why| {
                    Failure::new(Exit::Trouble, "the unknown playbook has no name").why(why)
                })?,
            );
        }
        desk.printer.say(format_args!("compiling {} for three kinds of machine", self.component.display()));
        let (id, version, wants) = (&identity.id, &identity.version, &identity.wants);
        let trial = Trial::code(&component, &Machine::ALL)
            .and_then(|code| Trial::of(&component, id, version, wants, &permissions, limits, &code));
        let trial = trial.map_err(|why| {
            let help = why.help();
            let what = format!("{} can't be tried out", self.component.display());
            Failure::new(Exit::Usage, what).why(why).maybe_help(help)
        })?;
        let executor = trial.world == world_executor();
        let vectors = self.vectors()?;
        let (mut report, calls) = if executor {
            self.try_executor(&trial, &vectors, identity.wants, permissions, limits)?
        } else {
            self.try_policy(&trial, &vectors)?
        };
        report.component = file::digest_of(&component);
        report.bytes = component.len();
        report.plugin = identity.id.to_string();
        report.version = identity.version.to_string();
        report.world = trial.world.to_string();
        desk.printer.say(format_args!("making {} of the calls again elsewhere", calls.len()));
        for place in [Place::Native, Place::Pulley, Place::Aarch64] {
            report.determinism.push(same(&trial, &calls, place)?);
        }
        report.passed = report.is_good();
        if let Some(path) = &self.report {
            let text = serde_json::to_string_pretty(&report)
                .map_err(|why| Failure::new(Exit::Trouble, "cannot write the report").why(why))?;
            file::write(path, (text + "\n").as_bytes())?;
        }
        desk.printer.show("plugin-test", &report, || report.table())?;
        Ok(if report.passed { Exit::Done } else { Exit::Differs })
    }

    fn vectors(&self) -> Result<Vec<(String, Vector)>, Failure> {
        let beside = self.manifest.parent().unwrap_or(Path::new("")).join("tests");
        let path = match &self.vectors {
            Some(path) => path.clone(),
            None if beside.is_dir() => beside,
            None => return Ok(Vec::new()),
        };
        vectors(&path)
    }

    fn try_executor(
        &self,
        trial: &Trial,
        vectors: &[(String, Vector)],
        wants: Vec<EffectKind>,
        permissions: Permissions,
        limits: Limits,
    ) -> Result<(Report, Vec<(Call, Came)>), Failure> {
        let shelf = shelf(trial)?;
        let executor = shelf.into_executor(&trial.grant).ok_or_else(nothing_loaded)?;
        let tried = Tried::new(executor);
        let vectors = told(vectors, For::Executor, |vector| vector.check_executor(&tried));
        let conditions = Conditions {
            settings: Settings::new(),
            wants,
            permissions,
            playbooks: self.playbook.clone(),
            limits,
        };
        let cases = conformance(&tried, &conditions);
        Ok((Report::of(tried.made(), vectors, cases, None), tried.calls()))
    }

    fn try_policy(
        &self,
        trial: &Trial,
        vectors: &[(String, Vector)],
    ) -> Result<(Report, Vec<(Call, Came)>), Failure> {
        let shelf = shelf(trial)?;
        let policy = shelf.into_policy(&trial.grant).ok_or_else(nothing_loaded)?;
        let tried = Tried::new(policy);
        let vectors = told(vectors, For::Policy, |vector| vector.check_policy(&tried));
        let (cases, answers) = judging(&tried, &Settings::new(), self.seed, self.facts);
        Ok((Report::of(tried.made(), vectors, cases, Some(answers)), tried.calls()))
    }
}

fn nothing_loaded() -> Failure {
    Failure::new(Exit::Trouble, "the component was loaded as something else than it is")
}

/// Loads what is tried, in native code and with time enough: that calls end in their time is the device's to see to.
pub(super) fn shelf(trial: &Trial) -> Result<Shelf, Failure> {
    let engine = native()?;
    let keyring = Keyring::decode(&trial.keyring)
        .map_err(|why| Failure::new(Exit::Trouble, "the keys of the trial are none").why(why))?;
    let mut shelf = Shelf::default();
    shelf.add(&engine, &keyring, &trial.bundle).map_err(|why| {
        let help = why.help();
        Failure::new(Exit::Usage, "the component can't be loaded").why(why).maybe_help(help)
    })?;
    Ok(shelf)
}

/// The engine that native code is tried in.
pub(super) fn native() -> Result<Engine, Failure> {
    Kind::Native.engine().map_err(|why| {
        let help = why.help();
        Failure::new(Exit::Trouble, "there is no engine to run plugins in").why(why).maybe_help(help)
    })
}

/// The vectors in a file or in a folder, by name.
pub(super) fn vectors(path: &Path) -> Result<Vec<(String, Vector)>, Failure> {
    let cannot = |why| Failure::new(Exit::NotFound, format!("cannot read {}", path.display())).why(why);
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(cannot)? {
            let file = entry.map_err(cannot)?.path();
            if file.extension().is_some_and(|ending| ending == "toml") {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.into());
    }
    files.into_iter().map(|file| Ok((file.display().to_string(), vector(&file)?))).collect()
}

/// One vector.
pub(super) fn vector(path: &Path) -> Result<Vector, Failure> {
    let bytes = file::read(path, VECTOR_BYTES_MAX)?;
    let no_vector = || Failure::new(Exit::Configuration, format!("{} is no vector", path.display()));
    let text = String::from_utf8(bytes).map_err(|why| no_vector().why(why))?;
    Vector::parse(&text).map_err(|why| no_vector().why(why))
}

fn told(
    vectors: &[(String, Vector)],
    wanted: For,
    check: impl Fn(&Vector) -> Result<(), String>,
) -> Vec<VectorReport> {
    let one = |(file, vector): &(String, Vector)| {
        let otherwise = if vector.is_for() == wanted {
            check(vector).err()
        } else {
            Some("it is for the other kind of plugin".into())
        };
        VectorReport { file: file.clone(), name: vector.name.clone(), otherwise }
    };
    vectors.iter().map(one).collect()
}

/// Makes the calls again at a place, and says whether they come to the same.
fn same(trial: &Trial, calls: &[(Call, Came)], place: Place) -> Result<Same, Failure> {
    let again: Vec<Call> = calls.iter().map(|(call, _)| call.clone()).collect();
    let mut job = Job {
        kind: Kind::Native,
        keyring: trial.keyring.clone(),
        bundles: vec![trial.bundle.clone()],
        work: Work::Calls { grant: trial.grant, calls: again },
    };
    let came = match elsewhere::run(&mut job, place) {
        Ok(Done::Calls(came)) => compare(calls, &came),
        Ok(Done::Replayed(_)) => SameCame::Different("the job was another than was asked for".into()),
        Err(Elsewhere::Missing(why)) => SameCame::Skipped(why),
        Err(Elsewhere::Failed(failure)) => return Err(failure),
    };
    Ok(Same { engine: place.to_string(), calls: calls.len(), came })
}

fn compare(calls: &[(Call, Came)], again: &[Came]) -> SameCame {
    if calls.len() != again.len() {
        return SameCame::Different(format!("{} of {} calls were made", again.len(), calls.len()));
    }
    let differs = |(n, ((_, then), now)): (usize, (&(Call, Came), &Came))| {
        // How long a call takes, and how deep the stack is, is the machine's.
        let unlucky = matches!(then, Came::Unlucky(_)) || matches!(now, Came::Unlucky(_));
        (!unlucky && then != now).then(|| format!("call {n}: {then:?} here, {now:?} there"))
    };
    match calls.iter().zip(again).enumerate().find_map(differs) {
        Some(why) => SameCame::Different(why),
        None => SameCame::Equal,
    }
}

impl Report {
    fn of(
        calls: usize,
        vectors: Vec<VectorReport>,
        cases: Vec<CaseReport>,
        answers: Option<Answers>,
    ) -> Self {
        Self {
            component: Digest([0; 32]),
            bytes: 0,
            plugin: String::new(),
            version: String::new(),
            world: String::new(),
            tool: env!("CARGO_PKG_VERSION"),
            passed: false,
            calls,
            vectors,
            cases,
            answers,
            determinism: Vec::new(),
        }
    }

    fn is_good(&self) -> bool {
        let cases = self.cases.iter().all(|case| !matches!(case.came, CaseCame::Failed(_)));
        let vectors = self.vectors.iter().all(|vector| vector.otherwise.is_none());
        let same = self.determinism.iter().all(|same| !matches!(same.came, SameCame::Different(_)));
        cases && vectors && same
    }

    fn table(&self) -> String {
        let mut told = String::new();
        if !self.vectors.is_empty() {
            let mut table = Table::new(["VECTOR", "CAME", "FILE"]);
            for VectorReport { file, name, otherwise } in &self.vectors {
                table.row([
                    name.clone(),
                    otherwise.clone().unwrap_or_else(|| "as expected".into()),
                    file.clone(),
                ]);
            }
            told.push_str(&format!("{table}\n"));
        }
        let mut table = Table::new(["CASE", "CLASS", "CAME", "PROVES"]);
        let mut counts = [0; 3];
        for CaseReport { name, class, proves, came } in &self.cases {
            let (at, came) = match came {
                CaseCame::Passed => (0, "passed".into()),
                CaseCame::Failed(why) => (1, format!("FAILED: {why}")),
                CaseCame::NotApplicable(why) => (2, format!("- {why}")),
            };
            counts[at] += 1;
            table.row([(*name).into(), class.to_string(), came, (*proves).into()]);
        }
        told.push_str(&format!("{table}\n"));
        if let Some(answers) = &self.answers {
            let actions: Vec<_> =
                answers.actions.iter().map(|(word, count)| format!("{word} {count}")).collect();
            told.push_str(&format!("facts by dice: {}, refused {}\n\n", actions.join(", "), answers.refused));
        }
        let mut table = Table::new(["MACHINE", "CALLS", "SAME BYTES"]);
        for Same { engine, calls, came } in &self.determinism {
            let came = match came {
                SameCame::Equal => "equal".into(),
                SameCame::Different(why) => format!("DIFFERENT: {why}"),
                SameCame::Skipped(why) => format!("skipped, because {why}"),
            };
            table.row([engine.clone(), calls.to_string(), came]);
        }
        let [passed, failed, not_applicable] = counts;
        let verdict = if self.passed { "passed" } else { "FAILED" };
        format!(
            "{told}{table}\n{} {} {verdict}: {passed} cases passed, {failed} failed, {not_applicable} not applicable; {}\ncomponent {}, {}\n",
            self.plugin,
            self.version,
            text::count(self.calls as u64, "call", "calls"),
            self.component,
            text::bytes(self.bytes as u64),
        )
    }
}
