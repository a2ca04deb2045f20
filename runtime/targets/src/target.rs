//! One target, with everything about it proven.
//!
//! Here: what it is, and the rules across the keys of its file. Not here: the keys themselves (`file`), objectives
//! (`objective`), migrations (`migration`), and the rules across files (`reading`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use backstay_config::{Document, Keys, Plugin, Problem, Setting, Whole};
use backstay_core::{Backoff, Migration, RUNGS_MAX, Rung, SharedData};
use backstay_model::{Millis, Mode, Name, Scope, TargetId};
use backstay_signals::{ObjectiveSpec, Query, Source};

use crate::{
    Shared,
    bounds::written,
    file::{PlaybookTable, RailsTable, TargetFile},
    known::{Known, listed},
    migration::{migration, shared_data, taken},
    objective::{Wrong, objective, queries},
    ranges,
    text::HttpUrl,
};

/// The most objectives of a target: as many as a policy is shown.
const OBJECTIVES_MAX: usize = 32;

/// A service that the server watches and can bring back.
///
/// Made only out of a file that is right as a whole: the names that it holds are in the server's configuration.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Target {
    /// Its id, unique on this server.
    pub id: TargetId,
    /// The file that says so, for messages.
    pub file: PathBuf,
    /// What fails together with it.
    pub domain: Name,
    /// Whether the server acts.
    pub mode: Mode,
    /// What a person is to read.
    pub runbook: Option<HttpUrl>,
    /// What is judged together, 5 s to 1 h.
    pub window: Millis,
    /// Who judges: one of [`Shared::policies`](crate::Shared::policies).
    pub policy: Name,
    /// Who acts: one of [`Shared::executors`](crate::Shared::executors). Always there in [`Mode::Enforce`], and where it `looks`.
    pub executor: Option<Name>,
    /// Where queries are asked: one of [`Shared::prometheus`](crate::Shared::prometheus). Always there if there are queries.
    pub prometheus: Option<Name>,
    /// Whether its executor is asked what it sees at the end of each window. Always so where there is a `migration`.
    pub looks: bool,
    /// Whether its executor is asked to hold a release where it stands, and to let it go on. Never together with `migration`.
    pub holds: bool,
    /// What its executor is told besides, over its own settings. Together at most [`Plugin::SETTINGS_BYTES_MAX`].
    pub settings: BTreeMap<Name, Setting>,
    /// The heal ladder, at most 8 rungs, none twice, and none with a name that orders something else.
    pub playbooks: Vec<Rung>,
    /// How unusual things look, 0 to 1, if somebody says how to ask.
    pub anomaly: Option<Query>,
    /// What is promised, 1 to 32, each name once.
    pub objectives: Vec<ObjectiveSpec>,
    /// Limits to what is done to it.
    pub rails: Rails,
    /// How it is known which version the data has that its releases share, if somebody said. A target that is named here is there, is
    /// another one, and has a `migration`.
    pub schema: Option<SharedData>,
    /// This target is a data base on its way to another schema: `from` is less than `to`, and the soak is 1 min to 90 days. Never
    /// together with `schema`.
    pub migration: Option<Migration>,
}

/// Limits to what is done to one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rails {
    /// For so long nothing is promoted after a roll-back, 1 min to 24 h.
    pub breaker: Millis,
    /// Between tries to heal: `base` is at most `cap`, which is at most 24 h.
    pub backoff: Backoff,
    /// A run that takes longer is let go of, 10 s to 24 h.
    pub run_limit: Millis,
    /// Good windows in a row after which a release counts as healthy, 1 to 1000.
    pub confirm_windows: u32,
    /// Good windows in a row after which a healed target counts as cured, 1 to 1000.
    pub cure_windows: u32,
    /// Roll-backs in an hour, 1 to 64.
    pub rollbacks_per_hour: u32,
    /// Tries to heal in an hour, 1 to 64.
    pub heals_per_hour: u32,
}

impl From<&RailsTable> for Rails {
    fn from(table: &RailsTable) -> Self {
        Self {
            breaker: table.breaker.millis(),
            backoff: Backoff { base: table.backoff_base.millis(), cap: table.backoff_cap.millis() },
            run_limit: table.run_limit.millis(),
            confirm_windows: table.confirm_windows.get(),
            cure_windows: table.cure_windows.get(),
            rollbacks_per_hour: table.rollbacks_per_hour.get(),
            heals_per_hour: table.heals_per_hour.get(),
        }
    }
}

impl Default for Rails {
    fn default() -> Self {
        Self::from(&RailsTable::default())
    }
}

/// What was found in one file.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) target: Option<Target>,
    /// Which id it has, also if something else is wrong with it.
    pub(crate) id: Option<TargetId>,
    /// Whether it has a `[migration]`, right or wrong.
    pub(crate) migrates: bool,
    /// The data base that it names, another target than itself.
    pub(crate) relies: Option<Relies>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// Another target that a file names as its data base, and where.
#[derive(Debug)]
pub(crate) struct Relies {
    pub(crate) on: TargetId,
    /// The place, with nothing said yet: whether it is wrong, only all files together say.
    pub(crate) place: Problem,
}

impl Target {
    /// The target of a file whose name without ending is `stem`.
    pub(crate) fn read(document: &Document, stem: &str, known: &Known) -> Found {
        let mut whole: Whole<TargetFile> = document.whole(Keys::All);
        let mut found = Found { problems: std::mem::take(&mut whole.problems), ..Found::default() };
        let Some(file) = whole.value.clone() else { return found };
        found.migrates = file.migration.is_some() || !whole.is_sound("migration");
        let mut checker = Checker { document, whole: &whole, found: &mut found };
        let id = checker.id(&file, stem);
        checker.names(&file, known);
        checker.hold(&file);
        checker.settings(&file, known);
        let playbooks = checker.playbooks(&file);
        let objectives = checker.objectives(&file);
        checker.rails(&file.rails);
        let migration =
            file.migration.as_ref().and_then(|table| checker.right("migration", migration(table)));
        let schema = checker.schema(&file, id.as_ref());
        found.id.clone_from(&id);
        found.problems.sort_by_key(|problem| problem.line);
        let (Some(id), true) = (id, found.problems.is_empty()) else { return found };
        found.target = Some(Self {
            id,
            file: document.path().into(),
            domain: file.domain,
            mode: file.mode,
            runbook: file.runbook,
            window: file.window.millis(),
            policy: file.policy,
            executor: file.executor,
            holds: file.hold,
            settings: file.settings,
            prometheus: file.prometheus,
            looks: file.look || migration.is_some(),
            playbooks,
            anomaly: file.anomaly.map(|query| query.0),
            objectives,
            rails: Rails::from(&file.rails),
            schema,
            migration,
        });
        found
    }
}

/// Holds rules against a file, and leaves alone what couldn't be read.
struct Checker<'a> {
    document: &'a Document,
    whole: &'a Whole<TargetFile>,
    found: &'a mut Found,
}

impl Checker<'_> {
    fn wrong(&mut self, key: &str, why: impl Into<String>) {
        if self.whole.is_sound(key) {
            self.found.problems.push(self.document.problem(key, why));
        }
    }

    fn warn(&mut self, key: &str, why: impl Into<String>) {
        if self.whole.is_sound(key) {
            self.found.warnings.push(self.document.problem(key, why));
        }
    }

    /// What a table stands for; none, and a problem, where it stands for nothing.
    fn right<T>(&mut self, table: &str, read: Result<T, Wrong>) -> Option<T> {
        let (below, why) = match read {
            Ok(right) => return Some(right),
            Err(wrong) => wrong,
        };
        let dot = if below.is_empty() { "" } else { "." };
        self.wrong(&format!("{table}{dot}{below}"), why);
        None
    }

    fn id(&mut self, file: &TargetFile, stem: &str) -> Option<TargetId> {
        if let Some(id) = &file.service {
            return Some(id.clone());
        }
        if !self.whole.is_sound("service") {
            return None;
        }
        match TargetId::parse(stem) {
            Ok(id) => Some(id),
            Err(error) => {
                self.wrong("service", format!("is missing, and the file's name can't stand for it: {error}"));
                None
            }
        }
    }

    fn names(&mut self, file: &TargetFile, known: &Known) {
        for (key, table, name, known) in [
            ("policy", "policies", Some(&file.policy), &known.policies),
            ("executor", "executors", file.executor.as_ref(), &known.executors),
            ("prometheus", "prometheus", file.prometheus.as_ref(), &known.prometheus),
        ] {
            if let (Some(name), Some(known)) = (name, known)
                && !known.contains(name)
            {
                self.wrong(key, format!("expected a name in [{table}], {}; found \"{name}\"", listed(known)));
            }
        }
        let takes_one = [
            ("to enforce", file.mode == Mode::Enforce && self.whole.is_sound("mode")),
            ("a migration", self.found.migrates),
            ("to look", file.look),
            ("to hold", file.hold),
            ("[settings]", !file.settings.is_empty()),
        ];
        if file.executor.is_none()
            && let Some((what, _)) = takes_one.into_iter().find(|(_, takes)| *takes)
        {
            let known = known.executors.as_ref().map(listed).unwrap_or_default();
            self.wrong("executor", format!("is missing: {what} takes a name in [executors], {known}"));
        }
    }

    /// An executor is told of each target apart, and all of it is recorded before a run.
    fn settings(&mut self, file: &TargetFile, known: &Known) {
        let Some(executor) = &file.executor else { return };
        let mut told = known.settings.get(executor).cloned().unwrap_or_default();
        told.extend(file.settings.clone());
        let (bytes, most) = (Setting::bytes_of(&told), Plugin::SETTINGS_BYTES_MAX);
        if bytes > most {
            let why = format!(
                "expected at most {most} bytes of names and values, with what executors.{executor}.settings says besides; found {bytes}: \
                 shorten some, here or there"
            );
            self.wrong("settings", why);
        }
    }

    /// A data base has no release on its way, so there is none to hold: its steps wait for whoever orders them.
    fn hold(&mut self, file: &TargetFile) {
        if file.hold && self.found.migrates {
            self.wrong(
                "hold",
                "isn't for a data base that migrates: nothing of it goes on by itself. Leave it out here, and say it of the services",
            );
        }
    }

    fn schema(&mut self, file: &TargetFile, id: Option<&TargetId>) -> Option<SharedData> {
        let table = file.schema.as_ref()?;
        if self.found.migrates {
            self.wrong(
                "schema",
                "isn't for a data base that migrates: [migration] says which version there is",
            );
            return None;
        }
        let schema = self.right("schema", shared_data(table))?;
        if let SharedData::Of(of) = &schema {
            if Some(of) == id {
                let why = format!("expected another target, one with a [migration], found \"{of}\" itself");
                self.wrong("schema.of", why);
                return None;
            }
            let place = self.document.problem("schema.of", "");
            self.found.relies = Some(Relies { on: of.clone(), place });
        }
        Some(schema)
    }

    fn playbooks(&mut self, file: &TargetFile) -> Vec<Rung> {
        let number = file.playbooks.len();
        if number > RUNGS_MAX {
            self.wrong("playbooks", format!("expected at most {RUNGS_MAX}, found {number}"));
        }
        let mut seen = BTreeSet::new();
        for (at, playbook) in file.playbooks.iter().enumerate() {
            if !seen.insert(&playbook.name) {
                let why =
                    format!("\"{}\" is on the ladder already: expected each playbook once", playbook.name);
                self.wrong(&format!("playbooks[{at}].name"), why);
            } else if let Some(why) = taken(&playbook.name, self.found.migrates) {
                self.wrong(&format!("playbooks[{at}].name"), why);
            }
        }
        let rung = |playbook: &PlaybookTable| Rung {
            playbook: playbook.name.clone(),
            attempts: playbook.attempts.get(),
        };
        file.playbooks.iter().map(rung).collect()
    }

    fn objectives(&mut self, file: &TargetFile) -> Vec<ObjectiveSpec> {
        let number = file.objective.len();
        if !(1..=OBJECTIVES_MAX).contains(&number) {
            self.wrong("objective", format!("expected 1 to {OBJECTIVES_MAX}, found {number}"));
        }
        let mut seen = BTreeSet::new();
        let mut objectives = Vec::new();
        let mut asks = None;
        for (at, table) in file.objective.iter().enumerate() {
            let key = |below: &str| match below {
                "" => format!("objective[{at}]"),
                below => format!("objective[{at}].{below}"),
            };
            if !seen.insert(&table.name) {
                let why =
                    format!("\"{}\" is another objective's already: expected each name once", table.name);
                self.wrong(&key("name"), why);
            }
            match objective(table) {
                Err((below, why)) => self.wrong(&key(below), why),
                Ok(objective) => {
                    let queries = queries(&objective.source);
                    asks = asks.or(queries.first().map(|(below, _)| key(below)));
                    if let Source::Ratio { .. } = objective.source {
                        for (below, query) in queries {
                            self.range(&key(below), query.as_str(), file.window.millis());
                        }
                    }
                    objectives.push(objective);
                }
            }
        }
        let asks = asks.or(file.anomaly.is_some().then(|| "anomaly".into()));
        if let Some(key) = asks
            && file.prometheus.is_none()
        {
            self.wrong(
                "prometheus",
                format!("is missing: {key} is a query, which takes somewhere to ask it"),
            );
        }
        if self.found.migrates {
            self.nowhere_to_go_back_to(file);
        } else if !file.objective.is_empty() && !file.objective.iter().any(|table| table.critical) {
            self.warn("objective", "none is critical, so nothing is ever worth going back for");
        }
        objectives
    }

    /// A data base isn't brought back, so a roll-back that an objective is worth would come to a freeze, which only a person lifts.
    fn nowhere_to_go_back_to(&mut self, file: &TargetFile) {
        for (at, table) in file.objective.iter().enumerate() {
            if table.critical && Scope::from(table.scope) == Scope::Local {
                let why = "a data base has nothing to go back to, so breaking this ends in a freeze: with critical = false \
                           breaking it holds the migration until it is good again";
                self.warn(&format!("objective[{at}].critical"), why);
            }
        }
    }

    /// Events are counted over the window: a query over more counts some twice, over less none of some.
    fn range(&mut self, key: &str, query: &str, window: Millis) {
        for range in ranges::of(query).filter(|range| *range != window) {
            let (range, window) = (written(range.0), written(window.0));
            self.warn(key, format!("it counts over [{range}], and the window is {window}"));
        }
    }

    fn rails(&mut self, rails: &RailsTable) {
        let (base, cap) = (rails.backoff_base.millis(), rails.backoff_cap.millis());
        if base > cap {
            let why =
                format!("expected at most rails.backoff_cap, {}, found {}", written(cap.0), written(base.0));
            self.wrong("rails.backoff_base", why);
        }
        let breaker = rails.breaker.millis();
        if !(Millis::from_secs(1800)..=Millis::from_secs(3600)).contains(&breaker) {
            self.warn(
                "rails.breaker",
                format!("{} is unusual: 30m to 60m lets a cause be found", written(breaker.0)),
            );
        }
    }
}

impl Target {
    /// Whether `other` is the same, wherever its file stands.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { file: self.file.clone(), ..other.clone() }
    }

    /// Whether what it names in the shared tables is the same in both.
    pub(crate) fn uses_the_same(&self, new: &Shared, old: &Shared) -> bool {
        new.policies.get(&self.policy) == old.policies.get(&self.policy)
            && self.executor.as_ref().is_none_or(|name| new.executors.get(name) == old.executors.get(name))
            && self
                .prometheus
                .as_ref()
                .is_none_or(|name| new.prometheus.get(name) == old.prometheus.get(name))
    }
}
