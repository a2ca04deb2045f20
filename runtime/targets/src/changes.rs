//! What a new configuration changes.
//!
//! A server that is told to read its configuration anew takes all of the new one or none of it ([`Targets::load`]). Not here: what is
//! done about a change.

use backstay_model::TargetId;

use crate::Targets;

/// What is another now, each by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Targets that there weren't.
    pub added: Vec<TargetId>,
    /// Targets that there aren't any more.
    pub removed: Vec<TargetId>,
    /// Targets whose file says something else, or whose policy, executor or Prometheus is configured in another way.
    pub changed: Vec<TargetId>,
    /// The shared tables that are not the same, whoever uses them.
    pub tables: Vec<Table>,
}

/// A shared table of `backstay.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the field of `Shared` of that name")]
pub enum Table {
    Policies,
    Executors,
    Prometheus,
    Endpoints,
    Commands,
    Page,
    Brakes,
}

impl Changes {
    /// Whether nothing is another.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl Targets {
    /// What these change, compared with `old`. Where a folder or a file stands is no change.
    #[must_use]
    pub fn changes(&self, old: &Self) -> Changes {
        let (new, was) = (self.shared(), old.shared());
        let tables = [
            (Table::Policies, new.policies == was.policies),
            (Table::Executors, new.executors == was.executors),
            (Table::Prometheus, new.prometheus == was.prometheus),
            (Table::Endpoints, new.endpoints == was.endpoints),
            (Table::Commands, new.commands == was.commands),
            (Table::Page, new.page == was.page),
            (Table::Brakes, new.brakes == was.brakes),
        ];
        let mut changes = Changes {
            removed: old
                .iter()
                .filter(|target| self.get(&target.id).is_none())
                .map(|target| target.id.clone())
                .collect(),
            tables: tables.into_iter().filter(|(_, same)| !same).map(|(table, _)| table).collect(),
            ..Changes::default()
        };
        for target in self.iter() {
            match old.get(&target.id) {
                None => changes.added.push(target.id.clone()),
                Some(before) if before.says_the_same(target) && target.uses_the_same(new, was) => {}
                Some(_) => changes.changed.push(target.id.clone()),
            }
        }
        changes
    }
}
