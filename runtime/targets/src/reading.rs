//! All targets of a server, from the folder that its configuration names.
//!
//! Here: which files are read, and the rules across files. Not here: one file's own rules (`target`), and what a reload changes
//! (`changes`).

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
};

use backstay_config::{Document, Keys, Problem, Problems, ReadError};
use backstay_model::TargetId;

use crate::{
    Shared, Target,
    known::{Known, enumerated},
    target::{Found, Relies},
};

/// The most files in the folder of targets. More than that are not watched by one server.
pub const FILES_MAX: usize = 1000;

/// The most entries of the folder that are looked at, files that aren't read among them.
const ENTRIES_MAX: usize = 10_000;

/// All targets, and what they share. It can be had only whole: every name in it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    shared: Shared,
    targets: BTreeMap<TargetId, Target>,
}

/// What reading a configuration of targets came to.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The whole of it; none if there is any problem.
    pub targets: Option<Targets>,
    /// Everything that is wrong, file by file.
    pub problems: Vec<Problem>,
    /// What is allowed, and hardly meant.
    pub warnings: Vec<Problem>,
}

impl Targets {
    /// The targets of `main`, which is `backstay.toml`.
    ///
    /// # Errors
    /// Everything that is wrong in it and in the folder that it names, each by file, line, key and what was expected.
    pub fn load(main: &Document) -> Result<Self, Problems> {
        let Reading { targets, problems, .. } = Reading::of(main);
        targets.ok_or(Problems(problems))
    }

    /// What they share.
    #[must_use]
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The target of that id.
    #[must_use]
    pub fn get(&self, id: &TargetId) -> Option<&Target> {
        self.targets.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

impl Reading {
    /// Reads the keys of `main` that targets share, and the folder that it names.
    #[must_use]
    pub fn of(main: &Document) -> Self {
        Self::with(main, None)
    }

    /// The same with another folder than the one that `main` names: where a configuration is checked before it is where it will be.
    #[must_use]
    pub fn in_folder(main: &Document, folder: &Path) -> Self {
        Self::with(main, Some(folder))
    }

    fn with(main: &Document, folder: Option<&Path>) -> Self {
        let mut whole = main.whole::<Shared>(Keys::Only(Shared::KEYS));
        let mut reading = Self { problems: std::mem::take(&mut whole.problems), ..Self::default() };
        let known = Known::of(&whole);
        let Some(shared) = whole.value.clone() else { return reading };
        reading.problems.extend(shared.problems(main, &whole));
        reading.problems.sort_by_key(|problem| problem.line);
        let mut targets = BTreeMap::new();
        let named = shared.targets.as_ref().map(|folder| Path::new(folder.as_str()));
        if let Some(folder) = folder.or(named) {
            match paths(folder, &mut reading.warnings) {
                Ok(paths) => reading.read(&paths, &known, &mut targets),
                Err(why) => reading.problems.push(main.problem("targets", why)),
            }
        }
        if reading.problems.is_empty() {
            reading.targets = Some(Targets { shared, targets });
        }
        reading
    }

    fn read(&mut self, paths: &[PathBuf], known: &Known, targets: &mut BTreeMap<TargetId, Target>) {
        let first = self.problems.len();
        let mut owners: BTreeMap<TargetId, &Path> = BTreeMap::new();
        let mut bases = DataBases::default();
        for path in paths {
            let document = match Document::read(path) {
                Ok(document) => document,
                Err(error) => {
                    self.problems.push(unreadable(path, &error));
                    bases.some_nameless = true;
                    continue;
                }
            };
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let Found { target, id, migrates, relies, problems, warnings } =
                Target::read(&document, stem, known);
            self.problems.extend(problems);
            self.warnings.extend(warnings);
            bases.relied_on.extend(relies);
            let Some(id) = id else {
                bases.some_nameless = true;
                continue;
            };
            if migrates {
                bases.migrating.insert(id.clone());
            }
            if let Some(other) = owners.get(&id) {
                let why =
                    format!("\"{id}\" is the target of {} already: expected each once", other.display());
                self.problems.push(document.problem("service", why));
                continue;
            }
            owners.insert(id.clone(), path);
            targets.extend(target.map(|target| (id, target)));
        }
        self.problems.extend(bases.problems(|id| owners.contains_key(id)));
        // File by file, as they were read.
        if let Some(problems) = self.problems.get_mut(first..) {
            problems.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        }
    }
}

/// What files say of each other's data bases, until all of them are read.
#[derive(Default)]
struct DataBases {
    /// Targets with a `[migration]`.
    migrating: BTreeSet<TargetId>,
    relied_on: Vec<Relies>,
    /// Whether a file didn't even say which target it is. It may be any.
    some_nameless: bool,
}

impl DataBases {
    /// Names of targets that aren't there or don't migrate.
    fn problems(self, is_target: impl Fn(&TargetId) -> bool) -> Vec<Problem> {
        let Self { migrating, relied_on, some_nameless } = self;
        let names = match migrating.len() {
            0 => ", and there is none".into(),
            _ => format!(": {}", enumerated(migrating.iter().map(TargetId::as_str))),
        };
        let wrong = |Relies { on, place }: Relies| {
            let found = match is_target(&on) {
                true if migrating.contains(&on) => return None,
                true => format!("\"{on}\", which has none"),
                false if some_nameless => return None,
                false => format!("\"{on}\", which is no target"),
            };
            let why = format!("expected a target with a [migration]{names}; found {found}");
            Some(Problem { why, ..place })
        };
        relied_on.into_iter().filter_map(wrong).collect()
    }
}

/// The files of a folder that are targets, by name; what else is in it is told.
fn paths(folder: &Path, warnings: &mut Vec<Problem>) -> Result<Vec<PathBuf>, String> {
    let failed =
        |error: io::Error| format!("expected a folder that can be read, {}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)?.take(ENTRIES_MAX) {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    paths.retain(|path| match why_not(path) {
        None => true,
        Some(why) => {
            warnings.push(Problem { file: path.clone(), line: None, key: String::new(), why: why.into() });
            false
        }
    });
    if paths.len() > FILES_MAX {
        return Err(format!(
            "expected at most {FILES_MAX} files in {}, found {}",
            folder.display(),
            paths.len()
        ));
    }
    Ok(paths)
}

/// Why an entry of the folder is not read as a target.
fn why_not(path: &Path) -> Option<&'static str> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Some("is not read: its name is no text");
    };
    if name.starts_with('.') {
        Some("is not read: it is hidden")
    } else if !name.ends_with(".toml") {
        Some("is not read: its name doesn't end in .toml")
    } else if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe would be waited for.
        Some("is not read: it is no file")
    } else {
        None
    }
}

fn unreadable(path: &Path, error: &ReadError) -> Problem {
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    Problem { file: path.into(), line: None, key: String::new(), why: format!("cannot be read: {why}") }
}
