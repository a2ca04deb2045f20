//! The names that there are to choose from, and how a message tells them.
//!
//! Not here: who chooses, and whether it has to (`target`, `reading`).

use std::collections::{BTreeMap, BTreeSet};

use backstay_config::{Setting, Whole};
use backstay_model::Name;

use crate::Shared;

/// The names that a target may use; none where it can't be said, because an entry of that table can't be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) policies: Option<BTreeSet<Name>>,
    pub(crate) executors: Option<BTreeSet<Name>>,
    pub(crate) prometheus: Option<BTreeSet<Name>>,
    /// What executors are told for every target.
    pub(crate) settings: BTreeMap<Name, BTreeMap<Name, Setting>>,
}

impl Known {
    pub(crate) fn of(shared: &Whole<Shared>) -> Self {
        fn names<T>(aside: &[String], table: &str, entries: &BTreeMap<Name, T>) -> Option<BTreeSet<Name>> {
            let is_entry =
                |key: &str| key.strip_prefix(table).is_some_and(|rest| rest.matches(['.', '[']).count() <= 1);
            let is_whole = !aside.iter().any(|key| is_entry(key));
            is_whole.then(|| entries.keys().cloned().collect())
        }
        let Some(value) = &shared.value else { return Self::default() };
        Self {
            policies: names(&shared.aside, "policies", &value.policies),
            executors: names(&shared.aside, "executors", &value.executors),
            prometheus: names(&shared.aside, "prometheus", &value.prometheus),
            settings: value
                .executors
                .iter()
                .map(|(name, plugin)| (name.clone(), plugin.settings.clone()))
                .collect(),
        }
    }
}

/// The names that a table has, for a message.
pub(crate) fn listed(names: &BTreeSet<Name>) -> String {
    if names.is_empty() {
        return "which is empty".into();
    }
    format!("which has {}", enumerated(names.iter().map(Name::as_str)))
}

/// Some names, as many as fit a message.
pub(crate) fn enumerated<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let more = (names.len() > SHOWN).then_some("...");
    names.take(SHOWN).chain(more).collect::<Vec<_>>().join(", ")
}
